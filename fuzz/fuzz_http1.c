/* fuzz_http1.c - an HTTP/1.1 connection takes any bytes, and reads the same from them however they
 * are split. The first byte: 1 = the client's side, with a request out (2: HEAD); the rest is input.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "wire/http1/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENT = 1, HEAD = 2 };

struct reader_log {
    struct buf log;
    size_t exchanges;
};

static void put(struct reader_log *r, struct bytes b)
{
    enum status st = buf_append(&r->log, b.data, b.len);
    ASSERT(st == ST_OK);
}

static void on_headers(void *arg, struct h1_conn *c)
{
    struct reader_log *r = arg;
    size_t n;
    const struct wire_header *h = h1_headers(c, &n);
    put(r, h1_method(c));
    put(r, h1_target(c));
    for (size_t i = 0; i < n; i++) {
        ASSERT(h[i].name.len > 0);
        put(r, h[i].name);
        put(r, BYTES_LIT(":"));
        put(r, h[i].value);
        ASSERT(!memchr(h[i].value.data, '\n', h[i].value.len));
    }
    put(r, BYTES_LIT("{"));
}

static void on_data(void *arg, struct h1_conn *c, struct bytes data)
{
    (void)c;
    ASSERT(data.len > 0);
    put(arg, data);
}

static void on_end(void *arg, struct h1_conn *c)
{
    struct reader_log *r = arg;
    put(r, BYTES_LIT("}"));
    r->exchanges++;
    if (h1_method(c).len == 0)
        return;
    enum status st = h1_respond(c, 200, NULL, 0, H1_CHUNKED);
    ASSERT(st == ST_OK);
    st = h1_write(c, h1_target(c));
    ASSERT(st == ST_OK || st == ST_OVERLOADED);
    st = h1_end(c);
    ASSERT(st == ST_OK);
}

static const struct h1_events events = {.headers = on_headers, .data = on_data, .end = on_end};

static void run(uint8_t mode, struct bytes in, size_t piece, struct reader_log *r,
                unsigned *ret_error)
{
    const struct h1_options o = {.header_bytes = 1000, .header_count = 20, .body_bytes = 5000};
    struct h1_conn *c;
    enum status st =
        mode & CLIENT ? h1_client_new(&o, &events, r, 0, &c) : h1_server_new(&o, &events, r, 0, &c);
    ASSERT(st == ST_OK);
    if (mode & CLIENT) {
        st = h1_request(c, mode & HEAD ? BYTES_LIT("HEAD") : BYTES_LIT("GET"), BYTES_LIT("/"), NULL,
                        0, H1_NO_CONTENT);
        ASSERT(st == ST_OK);
    }
    size_t at = 0;
    while (st == ST_OK && at < in.len && h1_wants_input(c)) {
        size_t used, n = in.len - at < piece ? in.len - at : piece;
        st = h1_recv(c, BYTES(in.data + at, n), at, &used, NULL);
        ASSERT(used <= n && (used || st != ST_OK || !h1_wants_input(c)));
        at += used;
        h1_output_done(c, h1_output(c).len);
    }
    if (st == ST_OK)
        st = h1_recv_eof(c, NULL);
    *ret_error = st == ST_OK ? 0 : (unsigned)st * 1000 + h1_error_status(c);
    if (st != ST_OK && h1_respond(c, 400, NULL, 0, 0) == ST_OK) {
        st = h1_end(c);
        ASSERT(st == ST_OK);
    }
    (void)h1_finished(c);
    h1_conn_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader_log whole = {0}, split = {0};
    unsigned error, split_error;
    if (size < 1)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1);
    run(data[0], in, in.len + 1, &whole, &error);
    run(data[0], in, 1, &split, &split_error);
    /* Body bytes before an error may have been handed on in one case and not in the other. */
    ASSERT(whole.exchanges == split.exchanges && error == split_error);
    if (error == 0)
        ASSERT(bytes_eq(buf_bytes(&whole.log), buf_bytes(&split.log)));
    buf_deinit(&whole.log);
    buf_deinit(&split.log);
    return 0;
}
