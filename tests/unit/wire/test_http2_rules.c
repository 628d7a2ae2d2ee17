/* Malformed messages (http2_rules.c): rule by rule, and in any mix as nghttp2's own rules judge them.
 *
 * Each case goes to a session of nghttp2 that enforces messaging and to a connection of ours, as the
 * same bytes, five times on one connection: from the second time on its headers come by reference,
 * from the third on they are known (http2_known.c), and at last they are not decoded again
 * (http2_repeat.c). Both keep a log of what they took in, which must be the same. */
#include "base/buf.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/http2/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { FIELDS = 24, TIMES = 5, NOW = 1000, STREAMS = 2 * TIMES + 2, RST = 3, HEAD = 9 };

/* Header lists are "name=value;name=value". */
struct message {
    const char *asks;    /* of a response: the request's :method; NULL: it is a request */
    const char *first;   /* a block before the headers, or NULL */
    const char *headers; /* or NULL */
    int data[2];         /* bytes in DATA frames; -1: none */
    const char *trailers;
    int end; /* the frame that ends the stream: 1 of headers, 2 of data, 3 of trailers, 0 none */
};

struct side {
    struct buf log;
    uint32_t stream; /* that is being received */
    /* of nghttp2 */
    struct buf fields, pseudo;
    bool informational;
    size_t body;
    bool final;
};

struct world {
    bool client;
    size_t piece; /* bytes given at once; 0: a frame */
    struct h2_conn *ours;
    nghttp2_session *theirs;
    nghttp2_hd_deflater *deflater;
    struct side a, b;
};

static void field(struct buf *to, struct bytes name, struct bytes value)
{
    assert_int_equal(buf_printf(to, "%.*s=%.*s;", (int)name.len, (const char *)name.data,
                                (int)value.len, (const char *)value.data),
                     ST_OK);
}

static void say(struct buf *to, const char *text)
{
    assert_int_equal(buf_printf(to, "%s", text), ST_OK);
}

/* --- ours --- */

static void pseudo(struct buf *to, const char *name, struct bytes value)
{
    if (value.len)
        field(to, BYTES_STR(name), value);
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    struct world *w = arg;
    size_t n;
    char status[8];
    (void)end;
    const struct wire_header *h = h2_headers(s, &n);
    say(&w->a.log, "headers ");
    pseudo(&w->a.log, ":method", h2_method(s));
    pseudo(&w->a.log, ":scheme", h2_scheme(s));
    pseudo(&w->a.log, ":path", h2_path(s));
    pseudo(&w->a.log, ":authority", h2_authority(s));
    (void)snprintf(status, sizeof status, "%u", h2_status(s));
    pseudo(&w->a.log, ":status", h2_status(s) ? BYTES_STR(status) : BYTES_EMPTY);
    for (size_t i = 0; i < n; i++)
        field(&w->a.log, h[i].name, h[i].value);
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct world *w = arg;
    assert_int_equal(buf_printf(&w->a.log, " data %zu", data.len), ST_OK);
    h2_consume(s, data.len);
}

static void on_trailers(void *arg, struct h2_stream *s)
{
    struct world *w = arg;
    size_t n;
    const struct wire_header *h = h2_trailer_fields(s, &n);
    say(&w->a.log, " trailers ");
    for (size_t i = 0; i < n; i++)
        field(&w->a.log, h[i].name, h[i].value);
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct world *w = arg;
    (void)s;
    say(&w->a.log, " end");
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    (void)arg;
    (void)code;
    h2_release(s);
}

static const struct h2_events events = {.headers = on_headers,
                                        .data = on_data,
                                        .trailers = on_trailers,
                                        .end = on_end,
                                        .closed = on_closed};

/* --- nghttp2's --- */

static int ref_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                      void *arg)
{
    struct world *w = arg;
    (void)session;
    (void)frame;
    (void)flags;
    if (name_len && name[0] == ':')
        field(&w->b.pseudo, BYTES(name, name_len), BYTES(value, value_len));
    else
        field(&w->b.fields, BYTES(name, name_len), BYTES(value, value_len));
    return 0;
}

/* In the order in which ours are told. */
static void put_pseudo(struct side *s)
{
    static const char *const names[] = {
        ":method=", ":scheme=", ":path=", ":authority=", ":status="};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "%s", buf_cstr(&s->pseudo));
        for (char *save, *p = strtok_r(text, ";", &save); p; p = strtok_r(NULL, ";", &save))
            if (strncmp(p, names[i], strlen(names[i])) == 0)
                assert_int_equal(buf_printf(&s->log, "%s;", p), ST_OK);
    }
}

static int ref_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct world *w = arg;
    struct side *s = &w->b;
    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        const char *text = buf_cstr(&s->pseudo);
        if (w->client && !s->final && strncmp(text, ":status=1", 9) == 0) {
            buf_clear(&s->pseudo);
            buf_clear(&s->fields);
            return 0;
        }
        say(&s->log, s->final ? " trailers " : "headers ");
        s->final = true;
        put_pseudo(s);
        say(&s->log, buf_cstr(&s->fields));
        buf_clear(&s->pseudo);
        buf_clear(&s->fields);
    }
    if (frame->hd.type <= NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        say(&s->log, " end");
    return 0;
}

static int ref_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                    size_t len, void *arg)
{
    struct world *w = arg;
    (void)session;
    (void)flags;
    (void)id;
    (void)data;
    if (len)
        assert_int_equal(buf_printf(&w->b.log, " data %zu", len), ST_OK);
    return 0;
}

/* --- both --- */

static void take_output(struct side *s, const uint8_t *p, size_t n)
{
    while (n >= HEAD && memcmp(p, "PRI", 3) != 0) {
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        assert_true(n >= HEAD + len);
        if (p[3] == RST)
            assert_int_equal(buf_printf(&s->log, " reset %u", p[HEAD + 3]), ST_OK);
        assert_int_not_equal(p[3], NGHTTP2_GOAWAY);
        p += HEAD + len;
        n -= HEAD + len;
    }
}

static void drain(struct world *w)
{
    const uint8_t *data;
    struct bytes out;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(w->theirs, &data)) > 0)
        take_output(&w->b, data, (size_t)n);
    do {
        assert_int_equal(h2_output(w->ours, &out), ST_OK);
        const bool preface = out.len >= 24 && memcmp(out.data, "PRI", 3) == 0;
        take_output(&w->a, out.data + (preface ? 24 : 0), out.len - (preface ? 24 : 0));
        h2_output_done(w->ours, out.len);
    } while (out.len);
}

static void give(struct world *w, const void *data, size_t len)
{
    struct err err;
    const uint8_t *p = data;
    while (len) {
        const size_t n = w->piece && w->piece < len ? w->piece : len;
        assert_int_equal(h2_recv(w->ours, BYTES(p, n), NOW, &err), ST_OK);
        assert_int_equal(nghttp2_session_mem_recv(w->theirs, p, n), n);
        drain(w);
        p += n;
        len -= n;
    }
}

static void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t id, struct bytes payload)
{
    uint8_t f[2048] = {0, (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type, flags};
    assert_true(HEAD + payload.len <= sizeof f);
    f[7] = (uint8_t)(id >> 8);
    f[8] = (uint8_t)id;
    if (payload.len)
        memcpy(f + HEAD, payload.data, payload.len);
    give(w, f, HEAD + payload.len);
}

static void block(struct world *w, uint32_t id, const char *list, bool end)
{
    nghttp2_nv nv[FIELDS];
    size_t n = 0;
    uint8_t out[1024];
    for (const char *p = list; *p; n++) {
        const size_t len = strcspn(p, ";"), name = strcspn(p, "=");
        assert_true(n < FIELDS && name <= len);
        nv[n] = (nghttp2_nv){(uint8_t *)(uintptr_t)p, (uint8_t *)(uintptr_t)(p + name + 1), name,
                             len - name - 1, NGHTTP2_NV_FLAG_NONE};
        p += len + (p[len] == ';');
    }
    ssize_t used = nghttp2_hd_deflate_hd(w->deflater, out, sizeof out, nv, n);
    assert_true(used >= 0);
    frame(w, NGHTTP2_HEADERS, (uint8_t)(NGHTTP2_FLAG_END_HEADERS | end), id,
          BYTES(out, (size_t)used));
}

static void ask(struct world *w, const char *method)
{
    struct h2_stream *s;
    const char *names[] = {":method", ":scheme", ":authority", ":path"};
    const char *values[] = {method, "http", "a", "/"};
    struct wire_header h[4];
    nghttp2_nv nv[4];
    const size_t n = strcmp(method, "CONNECT") == 0 ? 2 : 4;
    for (size_t i = 0; i < n; i++) {
        const size_t k = n == 2 ? 2 * i : i;
        h[i] = WIRE_HEADER(BYTES_STR(names[k]), BYTES_STR(values[k]));
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)names[k], (uint8_t *)(uintptr_t)values[k],
                             strlen(names[k]), strlen(values[k]), NGHTTP2_NV_FLAG_NONE};
    }
    assert_int_equal(h2_request(w->ours, h, n, true, NULL, &s), ST_OK);
    assert_true(nghttp2_submit_request(w->theirs, NULL, nv, n, NULL, NULL) > 0);
    drain(w);
}

static void side_new_message(struct side *s)
{
    buf_clear(&s->log);
    buf_clear(&s->fields);
    buf_clear(&s->pseudo);
    s->final = false;
}

static void send_message(struct world *w, uint32_t id, const struct message *m)
{
    static const uint8_t zeros[1000];
    side_new_message(&w->a);
    side_new_message(&w->b);
    if (m->asks)
        ask(w, m->asks);
    if (m->first)
        block(w, id, m->first, false);
    if (m->headers)
        block(w, id, m->headers, m->end == 1);
    for (size_t i = 0; i < 2 && m->data[i] >= 0; i++)
        frame(w, NGHTTP2_DATA, m->end == 2 && (i == 1 || m->data[1] < 0), id,
              BYTES(zeros, (size_t)m->data[i]));
    if (m->trailers)
        block(w, id, m->trailers, m->end == 3);
}

static void world_new(struct world *w, bool client)
{
    nghttp2_session_callbacks *cb;
    *w = (struct world){.client = client};
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, ref_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, ref_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, ref_data);
    assert_int_equal(client ? nghttp2_session_client_new(&w->theirs, cb, w)
                            : nghttp2_session_server_new(&w->theirs, cb, w),
                     0);
    nghttp2_session_callbacks_del(cb);
    assert_int_equal(client ? h2_client_new(NULL, &events, w, NOW, &w->ours)
                            : h2_server_new(NULL, &events, w, NOW, &w->ours),
                     ST_OK);
    assert_int_equal(nghttp2_hd_deflate_new(&w->deflater, 4096), 0);
    assert_int_equal(nghttp2_submit_settings(w->theirs, NGHTTP2_FLAG_NONE, NULL, 0), 0);
    if (!client)
        give(w, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    frame(w, NGHTTP2_SETTINGS, 0, 0, BYTES_EMPTY);
}

static void world_end(struct world *w)
{
    h2_conn_free(w->ours);
    nghttp2_session_del(w->theirs);
    nghttp2_hd_deflate_del(w->deflater);
    struct buf *all[] = {&w->a.log, &w->a.fields, &w->a.pseudo,
                         &w->b.log, &w->b.fields, &w->b.pseudo};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_deinit(all[i]);
}

/* `want`: NULL, or what both logs must have in them. */
static void compare_in_pieces(const struct message *m, const char *want, size_t piece)
{
    struct world w;
    world_new(&w, m->asks != NULL);
    w.piece = piece;
    for (uint32_t i = 0; i < TIMES; i++) {
        send_message(&w, 2 * i + 1, m);
        if (strcmp(buf_cstr(&w.a.log), buf_cstr(&w.b.log)) != 0)
            print_error("asks %s, first %s, headers %s, data %d %d, trailers %s, end %d\n",
                        m->asks ? m->asks : "-", m->first ? m->first : "-",
                        m->headers ? m->headers : "-", m->data[0], m->data[1],
                        m->trailers ? m->trailers : "-", m->end);
        assert_string_equal(buf_cstr(&w.a.log), buf_cstr(&w.b.log));
        if (want && !strstr(buf_cstr(&w.a.log), want)) {
            print_error("%s: %s instead of %s\n", m->headers, buf_cstr(&w.a.log), want);
            fail();
        }
        if (want && !strstr(want, "reset"))
            assert_null(strstr(buf_cstr(&w.a.log), "reset"));
    }
    world_end(&w);
}

static void compare(const struct message *m, const char *want)
{
    compare_in_pieces(m, want, 0);
}

/* --- rule by rule --- */

#define FIRST ":scheme=http;:path=/;:authority=a"
#define GET   ":method=GET;" FIRST
#define POST  ":method=POST;" FIRST
#define NONE                                                                                       \
    {                                                                                              \
        -1, -1                                                                                     \
    }
#define REFUSED "reset 1"

static void requests(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *want;
    } rows[] = {
        {GET, "end"},
        {GET ";a=b;te=trailers;host=a;content-length=0", "host=a;content-length=0; end"},
        /* names */
        {GET ";Big=1", REFUSED},
        {GET ";=1", REFUSED},
        {GET ";b d=1", REFUSED},
        {GET ";b\x80=1", REFUSED},
        /* values */
        {GET ";a=x\x01y", REFUSED},
        {GET ";a= x", REFUSED},
        {GET ";a=x\t", REFUSED},
        {GET ";a=\x7f", REFUSED},
        {GET ";a=;b=x\ty", "a=;b=x\ty; end"},
        /* pseudo-headers: known, once, filled, first */
        {GET ";x=1;:path=/", REFUSED},
        {":method=GET;:scheme=http;:path=/;x=1;:authority=a", REFUSED},
        {GET ";:other=1", REFUSED},
        {GET ";:status=200", REFUSED},
        {GET ";:=1", REFUSED},
        {GET ";:protocol=x", REFUSED},
        {GET ";:method=GET", REFUSED},
        {GET ";:scheme=http", REFUSED},
        {GET ";:path=/", REFUSED},
        {GET ";:authority=a", REFUSED},
        {":method=;" FIRST, REFUSED},
        {":method=GET;:scheme=;:path=/;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=/;:authority=", REFUSED},
        {":method=G T;" FIRST, REFUSED},
        {":method=GET;:scheme=x;:path=;:authority=a", REFUSED},
        {":method=GET;:scheme=1http;:path=/;:authority=a", REFUSED},
        {":method=GET;:scheme=ht tp;:path=/;:authority=a", REFUSED},
        {":method=GET;:scheme=a1+-.;:path=x;:authority=a", "end"},
        {":method=GET;:scheme=http;:path=/ x;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=/\x7f;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=/;:authority=a b", REFUSED},
        /* what must be there */
        {FIRST, REFUSED},
        {":method=GET;:path=/;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=/", REFUSED},
        {":method=GET;:scheme=http;:path=/;host=a", "host=a; end"},
        {"", REFUSED},
        {":method=GET;:scheme=http;:path=x;:authority=a", REFUSED},
        {":method=GET;:scheme=HTTPS;:path=x;:authority=a", REFUSED},
        {":method=GET;:scheme=http;:path=*;:authority=a", REFUSED},
        {":method=OPTIONS;:scheme=http;:path=*;:authority=a", "end"},
        {":method=OPTIONS;:scheme=http;:path=*x;:authority=a", REFUSED},
        {":method=CONNECT;:authority=a", "end"},
        {":method=CONNECT", REFUSED},
        {":method=CONNECT;:authority=a;:path=/", REFUSED},
        {":method=CONNECT;:authority=a;:scheme=http", REFUSED},
        /* of connections */
        {GET ";connection=close", REFUSED},
        {GET ";keep-alive=1", REFUSED},
        {GET ";proxy-connection=close", REFUSED},
        {GET ";transfer-encoding=chunked", REFUSED},
        {GET ";upgrade=x", REFUSED},
        {GET ";te=gzip", REFUSED},
        {GET ";te=trailers, gzip", REFUSED},
        {GET ";te=Trailers", "te=Trailers; end"},
        /* once */
        {GET ";host=a;host=a", REFUSED},
        {GET ";host=", REFUSED},
        {GET ";host=a b", REFUSED},
        {GET ";content-length=0;content-length=0", REFUSED},
        {GET ";content-length=", REFUSED},
        {GET ";content-length=0x", REFUSED},
        {GET ";content-length=+0", REFUSED},
        {GET ";content-length=-1", REFUSED},
        {GET ";content-length=18446744073709551616", REFUSED},
        {GET ";content-length=1", REFUSED}, /* and the stream has ended */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        compare(&(struct message){.headers = rows[i].headers, .data = NONE, .end = 1},
                rows[i].want);
}

static void bodies_and_trailers_of_requests(void **state)
{
    (void)state;
    static const struct {
        struct message m;
        const char *want;
    } rows[] = {
        {{NULL, NULL, POST, {5, 5}, NULL, 2}, "data 5 data 5 end"},
        {{NULL, NULL, POST ";content-length=10", {5, 5}, NULL, 2}, "data 5 data 5 end"},
        {{NULL, NULL, POST ";content-length=9", {5, 5}, NULL, 2}, "data 5 reset 1"},
        {{NULL, NULL, POST ";content-length=9", {5, 5}, NULL, 0}, "data 5 reset 1"},
        {{NULL, NULL, POST ";content-length=11", {5, 5}, NULL, 2}, "data 5 data 5 reset 1"},
        {{NULL, NULL, POST ";content-length=9223372036854775807", {5, -1}, NULL, 0}, "data 5"},
        {{NULL, NULL, POST ";content-length=9223372036854775808", {5, -1}, NULL, 0}, "reset 1"},
        {{NULL, NULL, POST ";content-length=10", {5, 0}, NULL, 2}, "data 5 reset 1"},
        {{NULL, NULL, POST ";content-length=5", {5, -1}, "a=b", 3}, "data 5 trailers a=b; end"},
        {{NULL, NULL, POST ";content-length=6", {5, -1}, "a=b", 3}, "data 5 reset 1"},
        {{NULL, NULL, POST, {5, -1}, "a=b", 0}, "data 5 reset 1"}, /* they do not end it */
        {{NULL, NULL, POST, {5, -1}, ":path=/", 3}, "data 5 reset 1"},
        {{NULL, NULL, POST, {5, -1}, "a=b;:path=/", 3}, "data 5 reset 1"},
        {{NULL, NULL, POST, {5, -1}, "connection=close", 3}, "data 5 reset 1"},
        {{NULL, NULL, POST, {5, -1}, "Big=1", 3}, "data 5 reset 1"},
        {{NULL, NULL, POST ";content-length=5", {5, -1}, "content-length=5", 3}, "reset 1"},
        {{NULL, NULL, POST, {5, -1}, "content-length=4", 3}, "reset 1"},
        {{NULL, NULL, POST ";host=a", {5, -1}, "host=a", 3}, "reset 1"},
        {{NULL, NULL, ":method=CONNECT;:authority=a;content-length=3", {5, -1}, NULL, 2}, "end"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        compare(&rows[i].m, strstr(rows[i].want, "reset") ? "reset 1" : rows[i].want);
}

static void responses(void **state)
{
    (void)state;
    static const struct {
        struct message m;
        const char *want;
    } rows[] = {
        {{"GET", NULL, ":status=200;a=b", {5, -1}, NULL, 2}, ":status=200;a=b; data 5 end"},
        {{"GET", ":status=103;a=b", ":status=200;c=d", {5, -1}, NULL, 2}, ":status=200;c=d; data"},
        {{"GET", NULL, "a=b", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=20", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=2000", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=2x0", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=101", NONE, NULL, 0}, REFUSED},
        {{"GET", NULL, ":status=200;:status=200", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, "a=b;:status=200", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;:path=/", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":method=GET;:status=200", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;connection=close", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;keep-alive=1", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;proxy-connection=1", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;transfer-encoding=x", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;upgrade=x", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;te=gzip", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;Big=1", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;a= b", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;a=\x02", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;b d=1", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;host=a b", NONE, NULL, 1}, "host=a b; end"},
        {{"GET", NULL, ":status=200;host=a;host=b", NONE, NULL, 1}, "host=b; end"},
        /* a final response is wanted */
        {{"GET", NULL, ":status=103", NONE, NULL, 1}, REFUSED},
        {{"GET", ":status=103", NULL, {5, -1}, NULL, 2}, REFUSED},
        {{"GET", ":status=103", NULL, {0, -1}, NULL, 2}, REFUSED},
        {{"GET", ":status=103", "a=b", NONE, NULL, 1}, REFUSED},
        {{"GET", ":status=103;content-length=0", ":status=200", NONE, NULL, 1}, REFUSED},
        /* lengths */
        {{"GET", NULL, ":status=200;content-length=5", {5, -1}, NULL, 2}, "data 5 end"},
        {{"GET", NULL, ":status=200;content-length=4", {5, -1}, NULL, 2}, REFUSED},
        {{"GET", NULL, ":status=200;content-length=6", {5, -1}, NULL, 2}, REFUSED},
        {{"GET", NULL, ":status=200;content-length=6", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=200;content-length=5;content-length=5", {5, -1}, NULL, 2}, REFUSED},
        {{"HEAD", NULL, ":status=200;content-length=6", NONE, NULL, 1}, "content-length=6; end"},
        {{"HEAD", NULL, ":status=200", {1, -1}, NULL, 2}, REFUSED},
        {{"HEAD", ":status=103", ":status=200", {1, -1}, NULL, 2}, REFUSED},
        {{"GET", NULL, ":status=304;content-length=6", NONE, NULL, 1}, "content-length=6; end"},
        {{"GET", NULL, ":status=304", {1, -1}, NULL, 2}, REFUSED},
        {{"GET", NULL, ":status=204", {1, -1}, NULL, 2}, REFUSED},
        {{"GET", NULL, ":status=204;content-length=1", NONE, NULL, 1}, REFUSED},
        {{"GET", NULL, ":status=204;content-length=0", NONE, NULL, 1}, ":status=204; end"},
        {{"CONNECT", NULL, ":status=200;content-length=1", {5, -1}, NULL, 2}, "data 5 end"},
        /* trailers */
        {{"GET", NULL, ":status=200", {5, -1}, "a=b", 3}, "data 5 trailers a=b; end"},
        {{"GET", NULL, ":status=200", {5, -1}, "a=b", 0}, REFUSED},
        {{"GET", NULL, ":status=200", {5, -1}, ":status=200", 3}, REFUSED},
        {{"GET", NULL, ":status=200;content-length=4", {5, -1}, "a=b", 3}, REFUSED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        compare(&rows[i].m, rows[i].want);
}

/* --- any mix --- */

static const char *const pool[] = {
    ":method=GET",
    ":method=HEAD",
    ":method=CONNECT",
    ":method=OPTIONS",
    ":scheme=http",
    ":scheme=x",
    ":path=/",
    ":path=*",
    ":path=x",
    ":authority=a",
    ":status=200",
    ":status=204",
    ":status=304",
    ":status=103",
    ":status=404",
    "host=a",
    "host=",
    "content-length=0",
    "content-length=5",
    "content-length=10",
    "te=trailers",
    "te=x",
    "connection=x",
    "a=b",
    "a= b",
    "b d=1",
    "Big=1",
    ":other=1",
    "=x",
    "cookie=a",
    "priority=u=1",
    ":protocol=x",
    "upgrade=x",
    "content-length=x",
    "te=TRAILERS",
    ":status=101",
    "trailer=a",
    "expect=100-continue",
};

static void any_fields(struct test_rng *r, const char *base, size_t most, char *out, size_t size)
{
    size_t n = test_rng_below(r, most + 1), at = 0;
    at += (size_t)snprintf(out, size, "%s", base);
    while (n--)
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ";" : "",
                               pool[test_rng_below(r, sizeof pool / sizeof pool[0])]);
    assert_true(at < size);
}

static void any_message(struct test_rng *r, bool client)
{
    static const char *const asks[] = {"GET", "HEAD", "CONNECT"};
    static const char *const statuses[] = {":status=200", ":status=204", ":status=304", ""};
    static const char *const requests_of[] = {GET, POST, ":method=CONNECT;:authority=a", ""};
    char first[256], headers[256], trailers[256];
    struct message m = {.data = NONE, .headers = headers};
    if (client)
        m.asks = asks[test_rng_below(r, 3)];
    any_fields(r, ":status=103", 1, first, sizeof first);
    any_fields(r, (client ? statuses : requests_of)[test_rng_below(r, 4)], 3, headers,
               sizeof headers);
    any_fields(r, test_rng_below(r, 4) ? "x=y" : "", 2, trailers, sizeof trailers);
    if (client && test_rng_below(r, 3) == 0)
        m.first = first;
    for (size_t i = 0; i < 2 && test_rng_below(r, 3); i++)
        m.data[i] = test_rng_below(r, 5) ? 5 : 0;
    if (test_rng_below(r, 3) == 0)
        m.trailers = trailers;
    m.end = m.trailers ? 3 : m.data[0] >= 0 ? 2 : 1;
    if (test_rng_below(r, 8) == 0)
        m.end = 0;
    compare_in_pieces(&m, NULL, test_rng_below(r, 2) * test_rng_below(r, 12));
}

static void any_mix_is_judged_as_by_nghttp2(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        any_message(&r, seed % 2 == 0);
    }
}

/* Each byte at the beginning, in the middle and at the end of each kind of text; "?" stands for it. */
static void any_letter_is_judged_as_by_nghttp2(void **state)
{
    (void)state;
    static const struct {
        const char *asks, *headers;
    } texts[] = {
        {NULL, GET ";?x=1"},
        {NULL, GET ";x?=1"},
        {NULL, GET ";a=?"},
        {NULL, GET ";a=?x"},
        {NULL, GET ";a=x?y"},
        {NULL, GET ";a=x?"},
        {NULL, GET ";host=?a"},
        {NULL, ":method=G?;" FIRST},
        {NULL, ":method=GET;:scheme=?h;:path=/;:authority=a"},
        {NULL, ":method=GET;:scheme=h?;:path=/;:authority=a"},
        {NULL, ":method=GET;:scheme=x;:path=?;:authority=a"},
        {NULL, ":method=GET;:scheme=http;:path=/?;:authority=a"},
        {NULL, ":method=GET;:scheme=http;:path=/;:authority=?a"},
        {"GET", ":status=200;x?=1"},
        {"GET", ":status=200;a=x?y"},
        {"GET", ":status=200;a=x?"},
        {"GET", ":status=200;host=a?"},
        {"GET", ":status=2?0"},
    };
    for (unsigned byte = 1; byte <= UINT8_MAX; byte++)
        for (size_t i = 0; byte != ';' && byte != '=' && i < sizeof texts / sizeof texts[0]; i++) {
            char headers[128];
            (void)snprintf(headers, sizeof headers, "%s", texts[i].headers);
            *strchr(headers, '?') = (char)byte;
            compare(
                &(struct message){
                    .asks = texts[i].asks, .headers = headers, .data = NONE, .end = 1},
                NULL);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests), cmocka_unit_test(bodies_and_trailers_of_requests),
        cmocka_unit_test(responses), cmocka_unit_test(any_mix_is_judged_as_by_nghttp2),
        cmocka_unit_test(any_letter_is_judged_as_by_nghttp2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
