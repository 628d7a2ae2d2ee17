/* Requests whose header block is not decoded again (http2_repeat.c): the owner must be told the same as by
 * a connection that gets every byte alone, and so never sees a block that is all there. */
#include "base/buf.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/http2/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { NOW = 1000, HEAD = 9, FIELDS = 16, HELD = 512, FRAME = 1024 };

struct side {
    struct h2_conn *conn;
    struct buf log;
    bool holds; /* streams stay until let_go */
    struct h2_stream *held[HELD];
    size_t n;
};

struct world {
    struct side whole, bytewise;
    nghttp2_hd_deflater *deflater;
    uint32_t next; /* stream */
    struct buf input;
};

/* --- the owner --- */

static void say(struct side *o, const char *what, struct bytes name, struct bytes value)
{
    assert_int_equal(buf_printf(&o->log, "%s %.*s=%.*s\n", what, (int)name.len,
                                (const char *)name.data, (int)value.len, (const char *)value.data),
                     ST_OK);
}

static void say_headers(struct side *o, const struct h2_stream *s)
{
    size_t n;
    const struct wire_header *h = h2_headers(s, &n);
    say(o, "request", h2_method(s), h2_path(s));
    say(o, " at", h2_scheme(s), h2_authority(s));
    for (size_t i = 0; i < n; i++)
        say(o, " header", h[i].name, h[i].value);
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    struct side *o = arg;
    say_headers(o, s);
    say(o, end ? " ends" : " goes on", BYTES_EMPTY, BYTES_EMPTY);
    if (o->holds) {
        assert_true(o->n < HELD);
        o->held[o->n++] = s;
    }
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    (void)arg;
    h2_consume(s, data.len);
}

static void on_trailers(void *arg, struct h2_stream *s)
{
    struct side *o = arg;
    size_t n;
    const struct wire_header *h = h2_trailer_fields(s, &n);
    for (size_t i = 0; i < n; i++)
        say(o, " trailer", h[i].name, h[i].value);
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct side *o = arg;
    say(o, "end", h2_method(s), h2_path(s));
    assert_int_equal(h2_respond(s, 200, NULL, 0, true), ST_OK);
    if (!o->holds)
        h2_release(s);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct side *o = arg;
    char text[16];
    (void)snprintf(text, sizeof text, "%u", code);
    say(o, "closed", BYTES_STR(text), h2_path(s));
    if (!o->holds)
        h2_release(s);
}

static const struct h2_events events = {.headers = on_headers,
                                        .data = on_data,
                                        .trailers = on_trailers,
                                        .end = on_end,
                                        .closed = on_closed};

static void let_go(struct side *o)
{
    for (size_t i = 0; i < o->n; i++) {
        say_headers(o, o->held[i]); /* as they were */
        h2_release(o->held[i]);
    }
    o->n = 0;
}

/* --- the client --- */

static void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
                  size_t len)
{
    const uint8_t head[HEAD] = {
        0, (uint8_t)(len >> 8), (uint8_t)len, type, flags, (uint8_t)(id >> 24),
        0, (uint8_t)(id >> 8),  (uint8_t)id};
    assert_int_equal(buf_append(&w->input, head, HEAD), ST_OK);
    assert_int_equal(buf_append(&w->input, payload, len), ST_OK);
}

struct list {
    nghttp2_nv v[FIELDS];
    size_t n;
};

/* `flags`: of nghttp2, for the header. */
static void add(struct list *l, const char *name, const char *value, uint8_t flags)
{
    assert_true(l->n < FIELDS);
    l->v[l->n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value,
                                strlen(name), strlen(value), flags};
}

static struct list request(const char *path)
{
    struct list l = {.n = 0};
    add(&l, ":method", "POST", 0);
    add(&l, ":scheme", "http", 0);
    add(&l, ":path", path, 0);
    add(&l, ":authority", "varve.test:80", 0);
    add(&l, "content-type", "application/grpc", 0);
    add(&l, "te", "trailers", 0);
    return l;
}

/* How a block is sent. */
enum form { PLAIN, PADDED, PRIORITY, CUT, FORMS };

static void headers(struct world *w, uint32_t id, const struct list *l, bool end, enum form form)
{
    uint8_t out[FRAME] = {0}, *block = out + (form == PADDED ? 1 : form == PRIORITY ? 5 : 0);
    const uint8_t ends = end ? NGHTTP2_FLAG_END_STREAM : 0;
    ssize_t n = nghttp2_hd_deflate_hd(w->deflater, block, sizeof out - 16, l->v, l->n);
    assert_true(n > 0);
    if (form == PADDED) {
        out[0] = 3;
        frame(w, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PADDED | ends, id, out,
              (size_t)n + 4);
    } else if (form == PRIORITY) {
        out[4] = 7;
        frame(w, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PRIORITY | ends, id, out,
              (size_t)n + 5);
    } else if (form == CUT) {
        frame(w, NGHTTP2_HEADERS, ends, id, block, (size_t)n / 2);
        frame(w, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, id, block + n / 2,
              (size_t)n - (size_t)n / 2);
    } else {
        frame(w, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | ends, id, block, (size_t)n);
    }
}

/* --- both --- */

static void drain(struct side *o)
{
    struct bytes out;
    do {
        assert_int_equal(h2_output(o->conn, &out), ST_OK);
        h2_output_done(o->conn, out.len);
    } while (out.len);
}

/* What was made since: to one connection in pieces of `piece` bytes, to the other one by one. */
static void flush(struct world *w, size_t piece)
{
    const struct bytes in = buf_bytes(&w->input);
    for (size_t at = 0; at < in.len; at += piece) {
        const size_t n = in.len - at < piece ? in.len - at : piece;
        assert_int_equal(h2_recv(w->whole.conn, BYTES(in.data + at, n), NOW, NULL), ST_OK);
    }
    for (size_t at = 0; at < in.len; at++)
        assert_int_equal(h2_recv(w->bytewise.conn, BYTES(in.data + at, 1), NOW, NULL), ST_OK);
    buf_clear(&w->input);
    drain(&w->whole);
    drain(&w->bytewise);
    assert_string_equal(buf_cstr(&w->whole.log), buf_cstr(&w->bytewise.log));
}

static void begin(struct world *w)
{
    *w = (struct world){.next = 1};
    assert_int_equal(h2_server_new(NULL, &events, &w->whole, NOW, &w->whole.conn), ST_OK);
    assert_int_equal(h2_server_new(NULL, &events, &w->bytewise, NOW, &w->bytewise.conn), ST_OK);
    assert_int_equal(nghttp2_hd_deflate_new(&w->deflater, 4096), 0);
    assert_int_equal(buf_append(&w->input, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN), ST_OK);
    frame(w, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    flush(w, SIZE_MAX / 2);
}

static uint64_t repeated(const struct side *o)
{
    struct h2_stats st;
    h2_conn_stats(o->conn, &st);
    return st.heads_repeated;
}

static void end(struct world *w)
{
    assert_int_equal(repeated(&w->bytewise), 0);
    h2_conn_free(w->whole.conn);
    h2_conn_free(w->bytewise.conn);
    let_go(&w->whole);
    let_go(&w->bytewise);
    nghttp2_hd_deflate_del(w->deflater);
    buf_deinit(&w->whole.log);
    buf_deinit(&w->bytewise.log);
    buf_deinit(&w->input);
}

static uint32_t ask(struct world *w, const struct list *l, enum form form)
{
    const uint32_t id = w->next;
    w->next += 2;
    headers(w, id, l, true, form);
    return id;
}

/* Asks that often, and answers how many of them were not decoded. */
static uint64_t repeats_of(struct world *w, const struct list *l, unsigned times)
{
    const uint64_t before = repeated(&w->whole);
    for (unsigned i = 0; i < times; i++)
        ask(w, l, PLAIN);
    flush(w, SIZE_MAX / 2);
    return repeated(&w->whole) - before;
}

/* --- the tests --- */

/* The first block fills the table, the second is seen, the third is kept. */
static void the_fourth_is_not_decoded(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const struct list get = request("/varve.v1.KV/Get"), put = request("/varve.v1.KV/Put");
    assert_int_equal(repeats_of(&w, &get, 10), 7);
    /* A path goes into no table, so nothing is forgotten. */
    assert_int_equal(repeats_of(&w, &put, 10), 8);
    assert_int_equal(repeats_of(&w, &get, 10), 10);
    assert_int_equal(repeats_of(&w, &put, 10), 10);
    end(&w);
}

static void a_new_header_forgets(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const struct list get = request("/varve.v1.KV/Get");
    struct list other = get;
    assert_int_equal(repeats_of(&w, &get, 4), 1);
    add(&other, "x-new", "1", 0);
    assert_int_equal(repeats_of(&w, &other, 1), 0);
    /* Each place in the table has moved: these are other bytes. */
    assert_int_equal(repeats_of(&w, &get, 5), 3);
    end(&w);
}

/* Bytes that mean something else since the table has changed, by a block that came in pieces. */
static void in_another_table(size_t piece)
{
    struct world w;
    static const uint8_t adds[][11] = {{0x83, 0x86, 0x84, 0x41, 1, 'a', 0x40, 1, 'x', 1, '1'},
                                       {0x83, 0x86, 0x84, 0x41, 1, 'a', 0x40, 1, 'x', 1, '2'}};
    static const uint8_t refers[] = {0x83, 0x86, 0x84, 0xbf, 0xbe}; /* the two newest entries */
    begin(&w);
    for (unsigned k = 0; k < 2; k++, w.next += 2) {
        frame(&w, NGHTTP2_HEADERS, 5, w.next, adds[k], sizeof adds[k]);
        flush(&w, piece);
        for (unsigned i = 0; i < 4; i++)
            frame(&w, NGHTTP2_HEADERS, 5, w.next += 2, refers, sizeof refers);
        flush(&w, SIZE_MAX / 2);
    }
    assert_int_equal(repeated(&w.whole), 2 + 3);
    assert_non_null(strstr(buf_cstr(&w.whole.log), "header x=2"));
    end(&w);
}

static void the_same_bytes_in_another_table(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= HEAD + 11; piece++)
        in_another_table(piece);
}

/* A secret is in no table, and is not kept here either. */
static void secrets_are_not_kept(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    struct list l = request("/varve.v1.KV/Get");
    add(&l, "authorization", "Bearer abc", NGHTTP2_NV_FLAG_NO_INDEX);
    assert_int_equal(repeats_of(&w, &l, 10), 0);
    end(&w);
}

/* A small block may stand for much. */
static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    struct world w;
    char value[1000];
    begin(&w);
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    struct list l = request("/varve.v1.KV/Get");
    add(&l, "x-long", value, 0);
    assert_int_equal(repeats_of(&w, &l, 6), 3);
    for (unsigned i = 0; i < 3; i++)
        add(&l, "x-long", value, 0);
    assert_int_equal(repeats_of(&w, &l, 6), 0);
    end(&w);
}

static void forms_that_are_not_looked_at(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const struct list get = request("/varve.v1.KV/Get");
    for (enum form form = PADDED; form < FORMS; form++) {
        assert_true(repeats_of(&w, &get, 6) >= 3);
        ask(&w, &get, form);
        assert_int_equal(repeats_of(&w, &get, 3), 2); /* kept anew */
    }
    end(&w);
}

/* What looks like a request that came before, but is what ends one. */
static void trailers_are_decoded(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const struct list get = request("/varve.v1.KV/Get");
    struct list trailer = {.n = 0};
    add(&trailer, "x-sum", "1", 0);
    assert_int_equal(repeats_of(&w, &get, 6), 3);
    for (unsigned i = 0; i < 4; i++) {
        headers(&w, w.next, &get, false, PLAIN);
        headers(&w, w.next, &trailer, true, PLAIN);
        w.next += 2;
        flush(&w, SIZE_MAX / 2);
    }
    /* A request of the same bytes as trailers is malformed, the other way round as well. */
    headers(&w, w.next, &get, false, PLAIN);
    headers(&w, w.next, &get, true, PLAIN);
    w.next += 2;
    for (unsigned i = 0; i < 4; i++)
        ask(&w, &trailer, PLAIN);
    flush(&w, SIZE_MAX / 2);
    end(&w);
}

/* Streams have their headers for as long as they are held: when their block is forgotten, when the
 * connection has had a rest, and when it has gone. */
static void held_streams_keep_their_headers(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.whole.holds = w.bytewise.holds = true;
    const struct list get = request("/varve.v1.KV/Get");
    struct list other = get;
    add(&other, "x-new", "1", 0);
    assert_int_equal(repeats_of(&w, &get, 10), 7);
    assert_int_equal(repeats_of(&w, &other, 10), 7);
    (void)h2_tick(w.whole.conn, NOW + 60000);
    assert_int_equal(repeats_of(&w, &other, 10), 10); /* with streams nothing is given back */
    h2_conn_free(w.whole.conn);
    h2_conn_free(w.bytewise.conn);
    let_go(&w.whole);
    let_go(&w.bytewise);
    assert_string_equal(buf_cstr(&w.whole.log), buf_cstr(&w.bytewise.log));
    nghttp2_hd_deflate_del(w.deflater);
    buf_deinit(&w.whole.log);
    buf_deinit(&w.bytewise.log);
    buf_deinit(&w.input);
}

static void a_rest_gives_all_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const struct list get = request("/varve.v1.KV/Get");
    assert_int_equal(repeats_of(&w, &get, 10), 7);
    struct h2_stats before, after;
    h2_conn_stats(w.whole.conn, &before);
    (void)h2_tick(w.whole.conn, NOW + 5000);
    h2_conn_stats(w.whole.conn, &after);
    assert_true(after.memory < before.memory);
    assert_int_equal(repeats_of(&w, &get, 10), 9);
    end(&w);
}

/* Any mix of requests, forms, tables and pieces. */
static void any_mix_is_understood(void **state)
{
    (void)state;
    uint64_t seed, all = 0;
    static const char *const paths[] = {"/varve.v1.KV/Get",   "/varve.v1.KV/Put",
                                        "/varve.v1.KV/Scan",  "/varve.v1.KV/Batch",
                                        "/varve.v1.KV/Watch", "/a"};
    FOR_EACH_SEED(seed, 60)
    {
        struct world w;
        struct test_rng r;
        char text[16];
        test_rng_init(&r, seed);
        begin(&w);
        w.whole.holds = w.bytewise.holds = test_rng_below(&r, 2);
        const unsigned mostly = (unsigned)test_rng_below(&r, 6);
        for (unsigned i = 0; i < 300; i++) {
            struct list l =
                request(test_rng_below(&r, 3) ? paths[mostly] : paths[test_rng_below(&r, 6)]);
            (void)snprintf(text, sizeof text, "%u", i);
            if (test_rng_below(&r, 20) == 0)
                add(&l, "x-new", text, 0);
            if (test_rng_below(&r, 10) == 0)
                add(&l, "x-secret", text, NGHTTP2_NV_FLAG_NO_INDEX);
            if (test_rng_below(&r, 50) == 0)
                add(&l, "content-length", "0", 0);
            if (test_rng_below(&r, 50) == 0)
                add(&l, "te", "gzip", 0); /* malformed */
            if (test_rng_below(&r, 40) == 0) {
                const size_t size = test_rng_below(&r, 2) ? 100 : 4096;
                assert_int_equal(nghttp2_hd_deflate_change_table_size(w.deflater, size), 0);
            }
            const uint32_t id = w.next;
            w.next += 2;
            const bool body = test_rng_below(&r, 3) == 0, trailer = test_rng_below(&r, 9) == 0;
            headers(&w, id, &l, !body && !trailer,
                    test_rng_below(&r, 15) ? PLAIN : (enum form)test_rng_below(&r, FORMS));
            if (body)
                frame(&w, NGHTTP2_DATA, trailer ? 0 : NGHTTP2_FLAG_END_STREAM, id, "body", 4);
            if (trailer)
                headers(&w, id, &l, true, PLAIN); /* malformed */
            if (test_rng_below(&r, 4) == 0)
                flush(&w, test_rng_below(&r, 2) ? SIZE_MAX / 2 : 1 + test_rng_below(&r, 90));
            if (test_rng_below(&r, 30) == 0) {
                let_go(&w.whole);
                let_go(&w.bytewise);
            }
        }
        flush(&w, SIZE_MAX / 2);
        all += repeated(&w.whole);
        end(&w);
    }
    assert_true(all > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fourth_is_not_decoded),
        cmocka_unit_test(a_new_header_forgets),
        cmocka_unit_test(the_same_bytes_in_another_table),
        cmocka_unit_test(secrets_are_not_kept),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(forms_that_are_not_looked_at),
        cmocka_unit_test(trailers_are_decoded),
        cmocka_unit_test(held_streams_keep_their_headers),
        cmocka_unit_test(a_rest_gives_all_back),
        cmocka_unit_test(any_mix_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
