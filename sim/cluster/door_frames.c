/* Frames of HTTP/2 (RFC 9113) made by hand, for clients that a library would not let be so. */
#include "sim/cluster/door_rogue.h"

#include "base/assert.h"
#include "sim/core/memory.h"

#include <string.h>

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
    UNKNOWN = 0x2a,
};
enum { END_STREAM = 1, END_HEADERS = 4, HEAD = 9, BIG = 12000 };

static void put(struct buf *out, const void *data, size_t len)
{
    enum status st = buf_append(out, data, len);
    ASSERT(st == ST_OK);
}

static void put_head(struct buf *out, size_t len, unsigned type, unsigned flags, uint32_t stream)
{
    uint8_t h[HEAD] = {(uint8_t)(len >> 16),    (uint8_t)(len >> 8),    (uint8_t)len,
                       (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    put(out, h, sizeof h);
}

static void frame(struct buf *out, unsigned type, unsigned flags, uint32_t stream, const void *data,
                  size_t len)
{
    put_head(out, len, type, flags, stream);
    if (len)
        put(out, data, len);
}

static void number(struct buf *out, unsigned type, uint32_t stream, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    frame(out, type, 0, stream, b, 4);
}

static void setting(struct buf *out, unsigned id, uint32_t v)
{
    uint8_t b[6] = {(uint8_t)(id >> 8), (uint8_t)id,       (uint8_t)(v >> 24),
                    (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    frame(out, SETTINGS, 0, 0, b, 6);
}

static void preface(struct buf *out)
{
    put(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
}

static void begin(struct buf *out)
{
    preface(out);
    frame(out, SETTINGS, 0, 0, NULL, 0);
}

/* --- header blocks: literals that no table keeps (RFC 7541, 6.2.2) --- */

static void literal(struct buf *out, const char *name, const char *value)
{
    uint8_t zero = 0, n = (uint8_t)strlen(name), v = (uint8_t)strlen(value);
    ASSERT(n < 127 && v < 127);
    put(out, &zero, 1);
    put(out, &n, 1);
    put(out, name, n);
    put(out, &v, 1);
    put(out, value, v);
}

static void pseudo(struct buf *block, const char *method, const char *path)
{
    literal(block, ":method", method);
    literal(block, ":scheme", "http");
    literal(block, ":path", path);
    literal(block, ":authority", "node");
}

static void request(struct buf *out, uint32_t stream, const char *method, const char *path,
                    bool end)
{
    struct buf block = BUF_INIT;
    pseudo(&block, method, path);
    frame(out, HEADERS, END_HEADERS | (end ? END_STREAM : 0U), stream, block.data, block.len);
    buf_deinit(&block);
}

/* A call with one more header, and what comes behind. */
static void call(struct buf *out, uint32_t stream, const char *path, const char *name,
                 const char *value, const void *body, size_t len)
{
    struct buf block = BUF_INIT;
    pseudo(&block, "POST", path);
    literal(&block, "content-type", "application/grpc");
    literal(&block, "te", "trailers");
    if (name)
        literal(&block, name, value);
    frame(out, HEADERS, END_HEADERS, stream, block.data, block.len);
    frame(out, DATA, END_STREAM, stream, body, len);
    buf_deinit(&block);
}

/* --- the scripts --- */

static void many_pings(struct buf *out)
{
    begin(out);
    for (int i = 0; i < 200; i++)
        frame(out, PING, 0, 0, "12345678", 8);
}

static void many_settings(struct buf *out)
{
    begin(out);
    for (int i = 0; i < 60; i++)
        setting(out, 4, 65535 + (uint32_t)i);
}

static void rapid_resets(struct buf *out)
{
    begin(out);
    for (uint32_t i = 0; i < 1300; i++) {
        request(out, 2 * i + 1, "GET", "/livez", true);
        number(out, RST_STREAM, 2 * i + 1, 8);
    }
}

static void many_continuations(struct buf *out)
{
    struct buf block = BUF_INIT;
    begin(out);
    pseudo(&block, "GET", "/livez");
    frame(out, HEADERS, END_STREAM, 1, block.data, block.len);
    for (int i = 0; i < 20; i++) {
        buf_clear(&block);
        literal(&block, "x-more", "and more");
        frame(out, CONTINUATION, i == 19 ? END_HEADERS : 0, 1, block.data, block.len);
    }
    buf_deinit(&block);
}

/* 5 of these: more than a node takes of headers, less than what cuts off; 15: more than that. */
static void big_headers(struct buf *out, int frames)
{
    struct buf block = BUF_INIT;
    begin(out);
    pseudo(&block, "GET", "/livez");
    frame(out, HEADERS, END_STREAM, 1, block.data, block.len);
    for (int i = 0; i < frames; i++) {
        buf_clear(&block);
        while (block.len < BIG)
            literal(&block, "x-filler",
                    "0123456789012345678901234567890123456789012345678901234567890123456789");
        frame(out, CONTINUATION, i == frames - 1 ? END_HEADERS : 0, 1, block.data, block.len);
    }
    buf_deinit(&block);
}

static void headers_too_many(struct buf *out)
{
    big_headers(out, 5);
}

static void headers_far_too_many(struct buf *out)
{
    big_headers(out, 7);
}

static void empty_frames(struct buf *out)
{
    begin(out);
    request(out, 1, "PUT", "/v1/rogue/k", false);
    for (int i = 0; i < 1200; i++)
        frame(out, i % 3 ? DATA : UNKNOWN, 0, 1, NULL, 0);
}

static void window_updates(struct buf *out)
{
    begin(out);
    for (int i = 0; i < 11000; i++)
        number(out, WINDOW_UPDATE, 0, 1);
}

static void window_of_nothing(struct buf *out)
{
    begin(out);
    number(out, WINDOW_UPDATE, 0, 0);
}

static void window_overflows(struct buf *out)
{
    begin(out);
    number(out, WINDOW_UPDATE, 0, 0x7fffffff);
    request(out, 1, "GET", "/livez", true);
}

static void data_of_no_stream(struct buf *out)
{
    begin(out);
    frame(out, DATA, 0, 0, "hello", 5);
}

static void frame_too_large(struct buf *out)
{
    begin(out);
    put_head(out, 70000, DATA, 0, 1);
    request(out, 1, "GET", "/livez", true);
}

static void half_a_frame(struct buf *out)
{
    begin(out);
    put_head(out, 100, HEADERS, END_HEADERS, 1);
    put(out, "\x82\x86", 2);
}

static void half_a_block(struct buf *out)
{
    struct buf block = BUF_INIT;
    begin(out);
    pseudo(&block, "GET", "/livez");
    frame(out, HEADERS, END_STREAM, 1, block.data, block.len);
    buf_deinit(&block);
}

static void half_a_preface(struct buf *out)
{
    put(out, "PRI * HTTP/2.0\r\n\r\nS", 19);
}

static void preface_alone(struct buf *out)
{
    preface(out);
}

static void no_settings(struct buf *out)
{
    preface(out);
    frame(out, PING, 0, 0, "12345678", 8);
}

/* Each has no end: they stay at work, and more than are allowed at once are refused. */
static void many_streams(struct buf *out)
{
    begin(out);
    for (uint32_t i = 0; i < 1400; i++)
        request(out, 2 * i + 1, "PUT", "/v1/rogue/k", false);
}

static void tiny_window(struct buf *out)
{
    preface(out);
    setting(out, 4, 1);
    request(out, 1, "GET", "/openapi.json", true);
    for (int i = 0; i < 1500; i++)
        number(out, WINDOW_UPDATE, 1, 1);
}

static void header_against_rules(struct buf *out)
{
    struct buf block = BUF_INIT;
    begin(out);
    literal(&block, "UPPER", "case");
    literal(&block, ":method", "GET");
    frame(out, HEADERS, END_HEADERS | END_STREAM, 1, block.data, block.len);
    request(out, 3, "CONNECT", "/", true);
    buf_deinit(&block);
}

static void header_that_is_none(struct buf *out)
{
    begin(out);
    frame(out, HEADERS, END_HEADERS | END_STREAM, 1, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
}

static void goes_away(struct buf *out)
{
    begin(out);
    request(out, 1, "GET", "/livez", true);
    frame(out, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
}

static void pushes(struct buf *out)
{
    begin(out);
    frame(out, PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82", 5);
}

static void backwards(struct buf *out)
{
    begin(out);
    request(out, 5, "GET", "/livez", true);
    request(out, 3, "GET", "/livez", true);
    frame(out, DATA, END_STREAM, 5, "more", 4);
}

static void with_trailers(struct buf *out)
{
    struct buf block = BUF_INIT;
    begin(out);
    request(out, 1, "PUT", "/v1/rogue/k", false);
    frame(out, DATA, 0, 1, "a value", 7);
    literal(&block, "x-sum", "7");
    frame(out, HEADERS, END_HEADERS | END_STREAM, 1, block.data, block.len);
    frame(out, PRIORITY, 0, 1, "\0\0\0\3\20", 5);
    buf_deinit(&block);
}

static void odd_calls(struct buf *out)
{
    static const char get[] = "/varve.v1.KV/Get", flag[] = "\7\0\0\0\0",
                      huge[] = "\0\177\377\377\377", cut[] = "\0\0\0\0\11abc",
                      none[] = "\0\0\0\0\0", zip[] = "\1\0\0\0\3abc",
                      bad[] = "\0\0\0\0\3\xff\xff\xff";
    begin(out);
    call(out, 1, get, NULL, NULL, flag, 5);
    call(out, 3, get, NULL, NULL, huge, 5);
    call(out, 5, get, NULL, NULL, cut, 8);
    call(out, 7, get, NULL, NULL, zip, 8);
    call(out, 9, get, NULL, NULL, bad, 8);
    call(out, 11, get, "grpc-timeout", "5x", none, 5);
    call(out, 13, get, "grpc-timeout", "1u", none, 5);
    call(out, 15, get, "grpc-encoding", "brotli", none, 5);
    call(out, 17, get, "grpc-encoding", "gzip", zip, 8);
    call(out, 19, "/varve.v1.KV/Nothing", NULL, NULL, none, 5);
    call(out, 21, "/nowhere", NULL, NULL, none, 5);
    call(out, 23, get, "grpc-accept-encoding", "gzip,identity", none, 5);
    call(out, 25, "/grpc.health.v1.Health/Check", "grpc-timeout", "9H", none, 5);
    call(out, 27, get, NULL, NULL, "\0\0\0\0\0\0\0\0\0\0", 10);
}

struct script {
    struct frames what;
    void (*make)(struct buf *out);
};

enum { PROTOCOL = 1, TIMEOUT = 4, CLOSED = 5, SIZE = 6, FLOW = 3, HPACK = 9, CALM = 11 };

static const struct script scripts[] = {
    {{"many pings", {CALM}}, many_pings},
    {{"many settings", {CALM}}, many_settings},
    {{"rapid resets", {CALM}}, rapid_resets},
    /* PROTOCOL is nghttp2's own: of a stream that is not served any more, frames are not shown to us. */
    {{"many continuations", {CALM, PROTOCOL}}, many_continuations},
    {{"too many headers", {CALM}}, headers_too_many},
    {{"far too many headers", {CALM}}, headers_far_too_many},
    {{"empty frames", {CALM}}, empty_frames},
    {{"window updates", {CALM}}, window_updates},
    {{"a window of nothing", {PROTOCOL}}, window_of_nothing},
    {{"a window that overflows", {FLOW}}, window_overflows},
    {{"data of no stream", {PROTOCOL}}, data_of_no_stream},
    {{"a frame too large", {SIZE}}, frame_too_large},
    {{"half a frame", {CALM}}, half_a_frame},
    {{"half a block", {CALM}}, half_a_block},
    {{"half a preface", {TIMEOUT}}, half_a_preface},
    {{"a preface alone", {TIMEOUT}}, preface_alone},
    {{"no settings", {PROTOCOL, TIMEOUT}}, no_settings},
    {{"many streams", {CALM}}, many_streams},
    {{"a tiny window", {CALM}}, tiny_window},
    {{"a header against the rules", {PROTOCOL}}, header_against_rules},
    {{"a header that is none", {HPACK}}, header_that_is_none},
    {{"goes away", {0}}, goes_away},
    {{"pushes", {PROTOCOL}}, pushes},
    {{"streams backwards", {PROTOCOL, CLOSED}}, backwards},
    {{"trailers", {0}}, with_trailers},
    {{"odd calls", {0}}, odd_calls},
};

const struct frames *frames_draw(struct dice *d, struct buf *out)
{
    const struct script *s = &scripts[dice_below(d, sizeof scripts / sizeof *scripts)];
    s->make(out);
    return &s->what;
}

bool frames_goaway(struct bytes heard, unsigned *ret_code, bool *ret_sound)
{
    bool found = false;
    *ret_sound = heard.len < HEAD || heard.data[3] == SETTINGS;
    for (size_t at = 0; at + HEAD <= heard.len;) {
        const uint8_t *h = heard.data + at;
        size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
        *ret_sound &= len <= 16384 && (h[3] <= CONTINUATION);
        if (h[3] == GOAWAY && at + HEAD + 8 <= heard.len) {
            *ret_code = (unsigned)h[HEAD + 6] << 8 | h[HEAD + 7];
            found = true;
        }
        at += HEAD + len;
    }
    return found;
}
