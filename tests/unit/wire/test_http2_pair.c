/* A client and a server joined by two pipes that split, hold back and reorder nothing: whatever is
 * sent on a stream arrives in order, whole, and nobody holds more than the options say. */
#include "base/alloc.h"
#include "base/hash.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/http2/http2.h"

#include <stdio.h>
#include <stdlib.h>

enum { STREAMS_MAX = 12, PIPE_MAX = 20000, WRITE_MAX = 3000, HEADERS_MAX = 8 };

struct pipe {
    uint8_t data[PIPE_MAX];
    size_t len;
};

/* One direction of one stream, as its sender means it to be. */
struct flow {
    uint64_t seed;
    size_t total, sent, got;
    bool trailers, ended, got_trailers, refused, said;
};

struct side;
struct talk {
    struct flow up, down; /* request, response */
    struct h2_stream *client, *server;
    size_t held_client, held_server; /* received, not yet consumed */
    bool answered, reset, client_closed, server_closed, got_headers;
    uint32_t client_code;
};

struct side {
    struct world *w;
    struct h2_conn *c;
    struct h2_options o;
    struct pipe out;
};

struct world {
    struct test_rng r;
    struct side client, server;
    struct talk talks[STREAMS_MAX];
    size_t n, opened;
    uint64_t now;
};

static uint8_t body_byte(uint64_t seed, size_t at)
{
    return (uint8_t)(hash_xxh64(&seed, sizeof seed, at / 8) >> (at % 8 * 8));
}

static void body_bytes(const struct flow *f, size_t at, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = body_byte(f->seed, at + i);
}

static struct bytes header_text(uint64_t seed, size_t i, char *out, size_t size)
{
    size_t len = (size_t)(hash_xxh64(&seed, sizeof seed, i) % (size - 1));
    for (size_t k = 0; k < len; k++)
        out[k] = (char)('a' + body_byte(seed + i, k) % 26);
    return BYTES(out, len);
}

static void check_headers(const struct wire_header *h, size_t n, size_t skip, uint64_t seed)
{
    assert_int_equal(n, skip + seed % HEADERS_MAX);
    for (size_t i = skip; i < n; i++) {
        char name[16], value[200];
        (void)snprintf(name, sizeof name, "x-h%zu", i - skip);
        assert_true(bytes_eq(h[i].name, BYTES_STR(name)));
        assert_true(bytes_eq(h[i].value, header_text(seed, i - skip, value, sizeof value)));
    }
}

struct header_room {
    struct wire_header h[HEADERS_MAX + 5];
    char names[HEADERS_MAX][16], values[HEADERS_MAX][200];
};

static size_t make_headers(struct header_room *room, size_t at, uint64_t seed)
{
    size_t n = seed % HEADERS_MAX;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(room->names[i], sizeof room->names[i], "x-h%zu", i);
        room->h[at + i] =
            WIRE_HEADER(BYTES_STR(room->names[i]),
                        header_text(seed, i, room->values[i], sizeof room->values[i]));
        room->h[at + i].secret = i % 3 == 0;
    }
    return at + n;
}

static struct talk *talk_of_path(struct world *w, struct bytes path)
{
    assert_true(path.len >= 2 && path.data[0] == '/');
    size_t i = (size_t)(path.data[1] - 'a');
    assert_true(i < w->n);
    return &w->talks[i];
}

static void take(struct flow *f, struct bytes data)
{
    assert_true(data.len > 0 && f->got + data.len <= f->total && !f->ended);
    for (size_t i = 0; i < data.len; i++)
        assert_int_equal(data.data[i], body_byte(f->seed, f->got + i));
    f->got += data.len;
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    struct side *side = arg;
    struct world *w = side->w;
    size_t n;
    const struct wire_header *h = h2_headers(s, &n);
    if (side == &w->server) {
        struct talk *t = talk_of_path(w, h2_path(s));
        assert_true(bytes_eq(h2_method(s), BYTES_LIT("POST")));
        assert_true(bytes_eq(h2_authority(s), BYTES_LIT("varve:7878")));
        check_headers(h, n, 0, t->up.seed);
        assert_null(t->server);
        t->server = s;
        h2_set_user(s, t);
        assert_true(!end || t->up.total == 0);
    } else {
        struct talk *t = h2_user(s);
        assert_int_equal(h2_status(s), 200);
        check_headers(h, n, 0, t->down.seed);
        assert_false(t->got_headers);
        t->got_headers = true;
    }
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct side *side = arg;
    struct talk *t = h2_user(s);
    if (side == &side->w->server) {
        take(&t->up, data);
        t->held_server += data.len;
    } else {
        take(&t->down, data);
        t->held_client += data.len;
    }
}

static void on_trailers(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    struct talk *t = h2_user(s);
    struct flow *f = side == &side->w->server ? &t->up : &t->down;
    size_t n;
    const struct wire_header *h = h2_trailer_fields(s, &n);
    assert_true(f->trailers && !f->got_trailers && f->got == f->total);
    check_headers(h, n, 1, f->seed);
    assert_true(bytes_eq(h[0].name, BYTES_LIT("x-end")));
    f->got_trailers = true;
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    struct talk *t = h2_user(s);
    struct flow *f = side == &side->w->server ? &t->up : &t->down;
    assert_int_equal(f->got, f->total);
    assert_int_equal(f->trailers, f->got_trailers);
    assert_false(f->ended);
    f->ended = true;
}

static void on_writable(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    struct talk *t = h2_user(s);
    struct flow *f = side == &side->w->server ? &t->down : &t->up;
    assert_true(f->refused);
    assert_true(h2_writable(s));
    f->refused = false;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct side *side = arg;
    struct talk *t = h2_user(s);
    if (side == &side->w->server) {
        assert_false(t->server_closed);
        t->server_closed = true;
    } else {
        assert_false(t->client_closed);
        t->client_closed = true;
        t->client_code = code;
    }
    assert_true(h2_closed(s));
    assert_int_equal(h2_write(s, BYTES_LIT("x"), false), ST_CLOSED);
}

static const struct h2_events events = {.headers = on_headers,
                                        .data = on_data,
                                        .trailers = on_trailers,
                                        .end = on_end,
                                        .writable = on_writable,
                                        .closed = on_closed};

static void move_out(struct side *from)
{
    struct world *w = from->w;
    struct bytes out;
    assert_int_equal(h2_output(from->c, &out), ST_OK);
    assert_true(out.len <= from->o.output_bytes + 16384 + 9 + 2000);
    if (out.len == 0)
        assert_false(h2_has_output(from->c));
    size_t room = PIPE_MAX - from->out.len;
    size_t n = out.len < room ? out.len : room;
    if (n)
        n = (size_t)test_rng_below(&w->r, n + 1);
    if (n)
        memcpy(from->out.data + from->out.len, out.data, n);
    from->out.len += n;
    h2_output_done(from->c, n);
}

static void move_in(struct side *from, struct side *to)
{
    struct world *w = from->w;
    struct err err;
    if (from->out.len == 0 || !h2_wants_input(to->c))
        return;
    size_t n = (size_t)test_rng_between(
        &w->r, 1,
        test_rng_chance(&w->r, 1, 3) ? (from->out.len < 20 ? from->out.len : 20) : from->out.len);
    uint8_t *exact = malloc(n);
    memcpy(exact, from->out.data, n);
    if (h2_recv(to->c, BYTES(exact, n), w->now, &err) != ST_OK)
        fail_msg("recv: %s", err.detail);
    free(exact);
    memmove(from->out.data, from->out.data + n, from->out.len - n);
    from->out.len -= n;
}

static void open_one(struct world *w)
{
    struct header_room room;
    if (w->opened == w->n)
        return;
    struct talk *t = &w->talks[w->opened];
    char path[3] = {'/', (char)('a' + w->opened), 0};
    room.h[0] = WIRE_HEADER(BYTES_LIT(":method"), BYTES_LIT("POST"));
    room.h[1] = WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http"));
    room.h[2] = WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("varve:7878"));
    room.h[3] = WIRE_HEADER(BYTES_LIT(":path"), BYTES_STR(path));
    size_t n = make_headers(&room, 4, t->up.seed);
    bool end = t->up.total == 0 && !t->up.trailers;
    enum status st = h2_request(w->client.c, room.h, n, end, t, &t->client);
    if (st == ST_OVERLOADED)
        return;
    assert_int_equal(st, ST_OK);
    assert_ptr_equal(h2_user(t->client), t);
    w->opened++;
}

static void answer(struct talk *t)
{
    struct header_room room;
    if (!t->server || t->answered || t->server_closed)
        return;
    size_t n = make_headers(&room, 0, t->down.seed);
    bool end = t->down.total == 0 && !t->down.trailers;
    enum status st = h2_respond(t->server, 200, room.h, n, end);
    assert_true(st == ST_OK || (st == ST_CLOSED && t->reset));
    assert_int_equal(h2_respond(t->server, 200, room.h, n, end),
                     st == ST_OK ? ST_INVALID_ARGUMENT : ST_CLOSED);
    t->answered = st == ST_OK;
}

static enum status write_some(struct world *w, struct h2_stream *s, const struct flow *f, size_t n,
                              bool end)
{
    if (test_rng_chance(&w->r, 1, 3)) {
        size_t before = (size_t)test_rng_below(&w->r, 5);
        struct blob *b = blob_new(before + n + 3);
        assert_non_null(b);
        body_bytes(f, f->sent, b->data + before, n);
        struct h2_part parts[3] = {
            {.bytes = BYTES(b->data + before, n / 3)},
            {.bytes = BYTES(b->data + before + n / 3, n / 3), .blob = b},
            {.bytes = BYTES(b->data + before + n / 3 * 2, n - n / 3 * 2), .blob = b},
        };
        enum status st = h2_write_parts(s, parts, 3, end);
        blob_unref(b);
        return st;
    }
    uint8_t data[WRITE_MAX];
    body_bytes(f, f->sent, data, n);
    return h2_write(s, BYTES(data, n), end);
}

static void send_some(struct world *w, struct talk *t, struct h2_stream *s, struct flow *f)
{
    struct header_room room;
    size_t left = f->total - f->sent;
    if (f->refused || f->said || (left == 0 && !f->trailers))
        return;
    if (left == 0) {
        room.h[0] = WIRE_HEADER(BYTES_LIT("x-end"), BYTES_LIT(""));
        enum status st = h2_trailers(s, room.h, make_headers(&room, 1, f->seed));
        assert_true(st == ST_OK || st == ST_CLOSED);
        f->said = true;
        return;
    }
    size_t n = (size_t)test_rng_between(&w->r, 1, WRITE_MAX);
    if (n > left)
        n = left;
    enum status st = write_some(w, s, f, n, n == left && !f->trailers);
    if (st == ST_OVERLOADED) {
        f->refused = true;
        return;
    }
    assert_true(st == ST_OK || (st == ST_CLOSED && t->reset));
    if (st == ST_OK)
        f->sent += n;
}

static void consume(struct world *w, struct h2_stream *s, size_t *held)
{
    if (!s || *held == 0)
        return;
    size_t n = (size_t)test_rng_between(&w->r, 1, *held);
    h2_consume(s, n);
    *held -= n;
}

static void check_bounds(const struct side *side)
{
    struct h2_stats st;
    h2_conn_stats(side->c, &st);
    assert_true(st.unconsumed <= side->o.conn_window);
    assert_true(st.queued <= (uint64_t)STREAMS_MAX * (side->o.send_queue_bytes + WRITE_MAX));
    assert_true(st.memory <
                40 * 1024 + 64 * 1024 + side->o.output_bytes * 2 +
                    STREAMS_MAX * (8000 + 3 * side->o.send_queue_bytes + 3 * WRITE_MAX));
}

static void step(struct world *w)
{
    struct talk *t = &w->talks[test_rng_below(&w->r, w->n)];
    w->now += test_rng_below(&w->r, 2);
    switch (test_rng_below(&w->r, 12)) {
    case 0:
        open_one(w);
        break;
    case 1:
        answer(t);
        break;
    case 2:
    case 3:
        if (t->client && !t->client_closed)
            send_some(w, t, t->client, &t->up);
        break;
    case 4:
    case 5:
        if (t->answered && !t->server_closed)
            send_some(w, t, t->server, &t->down);
        break;
    case 6:
        consume(w, t->client, &t->held_client);
        break;
    case 7:
        consume(w, t->server, &t->held_server);
        break;
    case 8:
        move_out(&w->client);
        break;
    case 9:
        move_out(&w->server);
        break;
    case 10:
        move_in(&w->client, &w->server);
        break;
    default:
        move_in(&w->server, &w->client);
        if (test_rng_chance(&w->r, 1, 400) && t->client && !t->client_closed) {
            h2_reset(t->client, H2_CANCEL);
            t->reset = true;
        }
        break;
    }
    check_bounds(&w->client);
    check_bounds(&w->server);
}

static bool over(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct talk *t = &w->talks[i];
        if (!t->client_closed || (t->server && !t->server_closed))
            return false;
    }
    return w->client.out.len == 0 && w->server.out.len == 0 && !h2_has_output(w->client.c) &&
           !h2_has_output(w->server.c);
}

static void random_flow(struct world *w, struct flow *f)
{
    f->seed = test_rng_u64(&w->r);
    f->total = (size_t)test_rng_below(&w->r, test_rng_chance(&w->r, 1, 4) ? 60000 : 500);
    if (test_rng_chance(&w->r, 1, 5))
        f->total = 0;
    f->trailers = test_rng_chance(&w->r, 1, 2);
}

static void random_options(struct world *w, struct h2_options *o)
{
    o->stream_window = (uint32_t)test_rng_between(&w->r, 100, 20000);
    o->conn_window = 65535 + (uint32_t)test_rng_below(&w->r, 10000);
    o->send_queue_bytes = (uint32_t)test_rng_between(&w->r, 1, 10000);
    o->output_bytes = (uint32_t)test_rng_between(&w->r, 1, 10000);
    o->max_streams = (uint32_t)test_rng_between(&w->r, 2, STREAMS_MAX);
    o->max_held_streams = STREAMS_MAX;
    /* Windows this small make many small frames: that is the point here, not an attack. */
    o->tiny_windows = o->window_updates = (struct wire_rate){1000000, 1000};
}

static void release_all(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct talk *t = &w->talks[i];
        h2_release(t->client);
        h2_release(t->server);
        /* Opened before the server had said how many it takes. */
        if (t->client_code == H2_REFUSED_STREAM && !t->server)
            continue;
        if (t->reset)
            continue;
        assert_int_equal(t->client_code, H2_NO_ERROR);
        assert_true(t->up.ended && t->down.ended && t->got_headers);
        assert_int_equal(t->up.got, t->up.total);
        assert_int_equal(t->down.got, t->down.total);
    }
}

static void whatever_is_sent_arrives(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 400)
    {
        struct world *w = calloc(1, sizeof *w);
        test_rng_init(&w->r, seed);
        w->n = (size_t)test_rng_between(&w->r, 1, STREAMS_MAX);
        for (size_t i = 0; i < w->n; i++) {
            random_flow(w, &w->talks[i].up);
            random_flow(w, &w->talks[i].down);
        }
        w->client.w = w->server.w = w;
        random_options(w, &w->client.o);
        random_options(w, &w->server.o);
        assert_int_equal(h2_client_new(&w->client.o, &events, &w->client, 0, &w->client.c), ST_OK);
        assert_int_equal(h2_server_new(&w->server.o, &events, &w->server, 0, &w->server.c), ST_OK);
        for (size_t steps = 0; !over(w); steps++) {
            assert_true(steps < 3000000);
            step(w);
        }
        release_all(w);
        struct h2_stats st;
        h2_conn_stats(w->server.c, &st);
        assert_int_equal(st.streams_held, 0);
        assert_int_equal(st.streams_open, 0);
        assert_int_equal(st.unconsumed, 0);
        assert_int_equal(st.queued, 0);
        h2_conn_free(w->client.c);
        h2_conn_free(w->server.c);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_sent_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
