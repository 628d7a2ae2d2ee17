/* fuzz_http2.c - an HTTP/2 connection takes any bytes, and holds no more than its options say.
 *
 * The first byte says: 1 = a valid preface and SETTINGS come before the input; 2 = the client's
 * side, with two requests open; 4 = nothing that it sends is read; 8 = the owner consumes late. The
 * second byte is the length of the pieces.
 */
#include "base/assert.h"
#include "wire/http2/http2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HELD = 64, PREFACED = 1, CLIENT = 2, DEAF = 4, LATE = 8, MEMORY_MAX = 2 * 1024 * 1024 };

struct owner {
    struct h2_stream *held[HELD]; /* not released yet */
    size_t owed[HELD];
    size_t n;
    bool late;
};

static size_t find(const struct owner *o, const struct h2_stream *s)
{
    size_t i = 0;
    while (i < o->n && o->held[i] != s)
        i++;
    ASSERT(i < o->n);
    return i;
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    struct owner *o = arg;
    size_t n;
    const struct wire_header *h = h2_headers(s, &n);
    for (size_t i = 0; i < n; i++)
        ASSERT(h[i].name.len > 0 && h[i].name.data[0] != ':');
    ASSERT(!end || !h2_ended(s));
    if (h2_status(s))
        return; /* a response */
    ASSERT(h2_method(s).len && o->n < HELD);
    o->owed[o->n] = 0;
    o->held[o->n++] = s;
    struct wire_header answer = WIRE_HEADER(BYTES_LIT("x-fuzz"), BYTES_LIT("1"));
    if (h2_respond(s, 200, &answer, 1, false) == ST_OK && h2_path(s).len % 2) {
        (void)!h2_write(s, h2_path(s), false);
        (void)!h2_trailers(s, &answer, 1);
    }
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct owner *o = arg;
    (void)!h2_write(s, data, false);
    if (o->late)
        o->owed[find(o, s)] += data.len;
    else
        h2_consume(s, data.len);
}

static void on_end(void *arg, struct h2_stream *s)
{
    (void)arg;
    (void)!h2_write(s, BYTES_EMPTY, true);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct owner *o = arg;
    (void)code;
    size_t i = find(o, s);
    o->held[i] = o->held[--o->n];
    o->owed[i] = o->owed[o->n];
    h2_release(s);
}

static const struct h2_events events = {
    .headers = on_headers, .data = on_data, .end = on_end, .closed = on_closed};

static void drain(struct h2_conn *c, const struct h2_options *o)
{
    struct bytes out;
    for (;;) {
        enum status st = h2_output(c, &out);
        if (st != ST_OK || out.len == 0)
            return;
        ASSERT(out.len <= o->output_bytes + 16384 + 9 + 4096);
        h2_output_done(c, out.len);
    }
}

static void check(const struct h2_conn *c, const struct h2_options *o)
{
    struct h2_stats st;
    h2_conn_stats(c, &st);
    ASSERT(st.unconsumed <= o->conn_window);
    ASSERT(st.streams_held <= o->max_held_streams);
    ASSERT(st.memory <= MEMORY_MAX);
}

static void consume_some(struct owner *o)
{
    for (size_t i = 0; i < o->n; i++) {
        h2_consume(o->held[i], o->owed[i] / 2);
        o->owed[i] -= o->owed[i] / 2;
    }
}

static void feed(struct h2_conn *c, struct owner *o, const struct h2_options *options, uint8_t mode,
                 size_t piece, struct bytes in)
{
    uint64_t now = 0;
    for (size_t at = 0; at < in.len; at += piece) {
        size_t n = in.len - at < piece ? in.len - at : piece;
        enum status st = h2_recv(c, BYTES(in.data + at, n), now += 7, NULL);
        ASSERT(st == h2_conn_status(c, NULL));
        check(c, options);
        if (!(mode & DEAF))
            drain(c, options);
        consume_some(o);
        if (h2_conn_status(c, NULL) != ST_OK)
            break;
        (void)h2_tick(c, now);
        if (h2_conn_status(c, NULL) != ST_OK)
            break; /* so many pieces that a deadline has passed */
    }
    drain(c, options);
    check(c, options);
    (void)h2_finished(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    const struct h2_options options = {.max_streams = 16,
                                       .max_held_streams = 30,
                                       .stream_window = 20000,
                                       .conn_window = 70000,
                                       .send_queue_bytes = 10000,
                                       .output_bytes = 10000,
                                       .output_frames = 50,
                                       .header_list_bytes = 2000,
                                       .keepalive_ms = 50};
    struct owner o = {0};
    struct h2_conn *c;
    if (size < 2)
        return 0;
    const uint8_t mode = data[0];
    const size_t piece = (size_t)data[1] + 1;
    o.late = mode & LATE;
    if (mode & CLIENT) {
        struct wire_header h[] = {WIRE_HEADER(BYTES_LIT(":method"), BYTES_LIT("POST")),
                                  WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http")),
                                  WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("a")),
                                  WIRE_HEADER(BYTES_LIT(":path"), BYTES_LIT("/"))};
        enum status st = h2_client_new(&options, &events, &o, 0, &c);
        ASSERT(st == ST_OK);
        for (; o.n < 2; o.n++) {
            o.owed[o.n] = 0;
            st = h2_request(c, h, 4, o.n == 0, NULL, &o.held[o.n]);
            ASSERT(st == ST_OK);
        }
        drain(c, &options);
    } else {
        enum status st = h2_server_new(&options, &events, &o, 0, &c);
        ASSERT(st == ST_OK);
        if (mode & PREFACED)
            ASSERT(h2_recv(c, BYTES(start, sizeof start - 1), 0, NULL) == ST_OK);
    }
    feed(c, &o, &options, mode, piece, BYTES(data + 2, size - 2));
    h2_conn_free(c);
    ASSERT(o.n == 0);
    return 0;
}
