/* Runs the scripts of tests/wire/http2 (tests/wire/README.md says how they read). */
#include "base/buf.h"
#include "support/cmocka.h"
#include "wire/http2/http2.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORDS = 16, REPEATS = 4, TYPES = 16, STREAMS = 512, BREACH_NAME = 24 };

struct run {
    const char *file;
    unsigned line;
    struct h2_conn *c;
    struct h2_options o;
    uint64_t now;
    uint32_t stream; /* the last one of the script's */
    long answer;     /* -1: none */
    bool reads, client;
    struct buf log, out; /* out: not yet parsed */
    /* what it has sent */
    unsigned sent[TYPES];
    uint32_t goaway, rst[STREAMS];
    bool has_goaway, has_rst[STREAMS];
    unsigned status[STREAMS];
    size_t body[STREAMS];
};

#define BAD(r, ...)                                                                                \
    do {                                                                                           \
        print_error("%s:%u: ", (r)->file, (r)->line);                                              \
        fail_msg(__VA_ARGS__);                                                                     \
    } while (0)

static void say(struct run *r, uint32_t id, char what)
{
    assert_int_equal(buf_printf(&r->log, "%u%c ", id, what), ST_OK);
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    (void)end;
    say(arg, h2_id(s), 'H');
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct run *r = arg;
    assert_int_equal(buf_printf(&r->log, "%uD%zu ", h2_id(s), data.len), ST_OK);
    h2_consume(s, data.len);
}

static void on_trailers(void *arg, struct h2_stream *s)
{
    say(arg, h2_id(s), 'T');
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct run *r = arg;
    say(r, h2_id(s), 'E');
    if (r->answer < 0)
        return;
    assert_int_equal(h2_respond(s, 200, NULL, 0, r->answer == 0), ST_OK);
    if (r->answer > 0) {
        uint8_t *body = calloc(1, (size_t)r->answer);
        assert_int_equal(h2_write(s, BYTES(body, (size_t)r->answer), true), ST_OK);
        free(body);
    }
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct run *r = arg;
    assert_int_equal(buf_printf(&r->log, "%uC(%u) ", h2_id(s), code), ST_OK);
    h2_release(s);
}

static const struct h2_events events = {.headers = on_headers,
                                        .data = on_data,
                                        .trailers = on_trailers,
                                        .end = on_end,
                                        .closed = on_closed};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static unsigned status_of(const uint8_t *p, size_t len)
{
    static const unsigned indexed[] = {200, 204, 206, 304, 400, 404, 500};
    if (len && p[0] >= 0x88 && p[0] <= 0x8e)
        return indexed[p[0] - 0x88];
    /* a literal with the name :status; its value is three Huffman-coded or plain digits */
    for (size_t i = 0; i + 2 < len && i < 4; i++)
        if (p[i] == 3)
            return (unsigned)atoi((char[]){(char)p[i + 1], (char)p[i + 2], (char)p[i + 3], 0});
    return len > 3 && p[1] == 0x82 && p[2] == 0x68 && p[3] == 0x0f ? 431 : 999;
}

static void take_frame(struct run *r, const uint8_t *p, size_t len)
{
    uint8_t type = p[3];
    uint32_t id = be32(p + 5) & 0x7fffffff;
    const uint8_t *body = p + 9;
    assert_true(type < TYPES);
    r->sent[type]++;
    if (type == 7) {
        r->has_goaway = true;
        r->goaway = be32(body + 4);
    }
    if (id >= STREAMS)
        return;
    if (type == 3) {
        r->has_rst[id] = true;
        r->rst[id] = be32(body);
    } else if (type == 1) {
        r->status[id] = status_of(body, len);
    } else if (type == 0) {
        r->body[id] += len;
    }
}

static void take_output(struct run *r)
{
    struct bytes out;
    enum status st = ST_OK;
    while (r->reads && (st = h2_output(r->c, &out)) == ST_OK && out.len) {
        assert_int_equal(buf_append(&r->out, out.data, out.len), ST_OK);
        h2_output_done(r->c, out.len);
    }
    assert_int_equal(st, ST_OK);
    size_t at = r->client && r->out.len >= 24 && memcmp(r->out.data, "PRI", 3) == 0 ? 24 : 0;
    while (r->out.len - at >= 9) {
        const uint8_t *p = r->out.data + at;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (r->out.len - at < 9 + len)
            break;
        take_frame(r, p, len);
        at += 9 + len;
    }
    memmove(r->out.data, r->out.data + at, r->out.len - at);
    r->out.len -= at;
}

static void give(struct run *r, const void *data, size_t len)
{
    struct err err;
    /* What comes after the end is not wanted, and does no harm. */
    enum status st = h2_recv(r->c, BYTES(data, len), r->now, &err);
    enum status now = h2_conn_status(r->c, NULL);
    if ((st == ST_OK) != (now == ST_OK) && st != ST_CLOSED)
        BAD(r, "h2_recv says %s, h2_conn_status %s", status_name(st), status_name(now));
    take_output(r);
}

static void frame(struct run *r, uint8_t type, uint8_t flags, uint32_t id, const void *data,
                  size_t len)
{
    uint8_t *f = malloc(9 + len);
    f[0] = (uint8_t)(len >> 16);
    f[1] = (uint8_t)(len >> 8);
    f[2] = (uint8_t)len;
    f[3] = type;
    f[4] = flags;
    for (int i = 0; i < 4; i++)
        f[5 + i] = (uint8_t)(id >> (24 - 8 * i));
    if (len)
        memcpy(f + 9, data, len);
    give(r, f, 9 + len);
    free(f);
}

static long number(struct run *r, const char *s)
{
    char *end;
    if (!s)
        BAD(r, "a number is missing");
    long n = strtol(s, &end, 0);
    if (*end)
        BAD(r, "not a number: %s", s);
    return n;
}

static uint32_t stream(struct run *r, const char *s)
{
    if (s && strcmp(s, "+") == 0)
        return r->stream = r->stream ? r->stream + 2 : 1;
    if (s && strcmp(s, ".") == 0)
        return r->stream;
    uint32_t id = (uint32_t)number(r, s);
    if (id) /* 0 is the connection */
        r->stream = id;
    return id;
}

static uint32_t code(struct run *r, const char *s)
{
    for (uint32_t i = 0; i < 14; i++)
        if (s && strcmp(h2_code_name(i), s) == 0)
            return i;
    return (uint32_t)number(r, s);
}

/* "a1b2", "-" or "N*bb" */
static size_t hex(struct run *r, const char *s, struct buf *out)
{
    const char *star = strchr(s, '*');
    long n = star ? strtol(s, NULL, 10) : 1;
    const char *digits = star ? star + 1 : s;
    buf_clear(out);
    for (long k = 0; k < n && strcmp(digits, "-") != 0; k++)
        for (const char *p = digits; *p; p += 2) {
            unsigned v;
            if (sscanf(p, "%2x", &v) != 1)
                BAD(r, "not hexadecimal: %s", s);
            assert_int_equal(buf_append_u8(out, (uint8_t)v), ST_OK);
        }
    return out->len;
}

static void literal(struct buf *b, const char *name, size_t name_len, const char *value)
{
    size_t len = strlen(value);
    assert_true(name_len < 127 && len < 16000);
    assert_int_equal(buf_append_u8(b, 0), ST_OK); /* not indexed, new name */
    assert_int_equal(buf_append_u8(b, (uint8_t)name_len), ST_OK);
    assert_int_equal(buf_append(b, name, name_len), ST_OK);
    if (len < 127) {
        assert_int_equal(buf_append_u8(b, (uint8_t)len), ST_OK);
    } else {
        assert_int_equal(buf_append_u8(b, 127), ST_OK);
        assert_int_equal(buf_append_varint(b, len - 127), ST_OK);
    }
    assert_int_equal(buf_append(b, value, len), ST_OK);
}

static void do_headers(struct run *r, char **w, size_t n)
{
    struct buf b = BUF_INIT;
    uint32_t id = stream(r, w[1]);
    uint8_t flags = strstr(w[2], "end") ? 1 : 0;
    flags |= strstr(w[2], "open") ? 0 : 4;
    if (strcmp(w[3], "-") != 0) {
        literal(&b, ":method", 7, w[3]);
        literal(&b, ":path", 5, w[4]);
        literal(&b, ":scheme", 7, "http");
        literal(&b, ":authority", 10, "a");
    }
    for (size_t i = 5; i < n; i++) {
        char *eq = strchr(w[i], '=');
        if (!eq)
            BAD(r, "not NAME=VALUE: %s", w[i]);
        char *value = eq + 1, *star = strchr(value, '*');
        char big[16000];
        if (star) { /* N*x */
            size_t len = (size_t)atoi(value);
            memset(big, star[1], len);
            big[len] = 0;
            value = big;
        }
        literal(&b, w[i], (size_t)(eq - w[i]), value);
    }
    frame(r, 1, flags, id, b.data, b.len);
    buf_deinit(&b);
}

static void do_data(struct run *r, char **w)
{
    static const uint8_t zeros[20000];
    uint32_t id = stream(r, w[1]);
    size_t n = (size_t)number(r, w[3]);
    assert_true(n <= sizeof zeros);
    frame(r, 0, strcmp(w[2], "end") == 0, id, zeros, n);
}

static void do_settings(struct run *r, char **w, size_t n)
{
    uint8_t b[6 * WORDS];
    size_t len = 0;
    for (size_t i = 1; i < n; i++) {
        unsigned id;
        unsigned long value;
        if (sscanf(w[i], "%u=%lu", &id, &value) != 2)
            BAD(r, "not ID=VALUE: %s", w[i]);
        b[len++] = (uint8_t)(id >> 8);
        b[len++] = (uint8_t)id;
        for (int k = 0; k < 4; k++)
            b[len++] = (uint8_t)(value >> (24 - 8 * k));
    }
    frame(r, 4, 0, 0, b, len);
}

static void do_window(struct run *r, char **w)
{
    uint32_t n = (uint32_t)number(r, w[2]);
    uint8_t b[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    frame(r, 8, 0, stream(r, w[1]), b, 4);
}

static void do_option(struct run *r, char **w, size_t n)
{
#define FIELD(f)                                                                                   \
    {                                                                                              \
#f, offsetof(struct h2_options, f)                                                         \
    }
    static const struct {
        const char *name;
        size_t at;
    } fields[] = {FIELD(max_streams),
                  FIELD(max_held_streams),
                  FIELD(stream_window),
                  FIELD(conn_window),
                  FIELD(send_queue_bytes),
                  FIELD(output_bytes),
                  FIELD(output_frames),
                  FIELD(header_list_bytes),
                  FIELD(header_count),
                  FIELD(continuation_frames),
                  FIELD(preface_timeout_ms),
                  FIELD(headers_timeout_ms),
                  FIELD(keepalive_ms),
                  FIELD(keepalive_timeout_ms),
                  FIELD(idle_timeout_ms),
                  FIELD(resets),
                  FIELD(refused),
                  FIELD(settings),
                  FIELD(pings),
                  FIELD(empty_frames),
                  FIELD(window_updates),
                  FIELD(tiny_windows)};
#undef FIELD
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strcmp(w[1], fields[i].name) == 0) {
            uint32_t *field = (uint32_t *)(void *)((char *)&r->o + fields[i].at);
            field[0] = (uint32_t)number(r, w[2]);
            if (n > 3) /* a rate */
                field[1] = (uint32_t)number(r, w[3]);
            return;
        }
    BAD(r, "no such option: %s", w[1]);
}

static const char *breach_name(enum h2_breach b)
{
    static const char *const names[] = {[H2_BREACH_NONE] = "-",
#define X(name, text) [H2_BREACH_##name] = #name,
                                        H2_BREACHES(X)
#undef X
    };
    return names[b];
}

static void expect_cut(struct run *r, char **w)
{
    struct err err;
    if (!r->has_goaway || r->goaway != code(r, w[2]))
        BAD(r, "GOAWAY: %s", r->has_goaway ? h2_code_name(r->goaway) : "none");
    if (strcmp(breach_name(h2_conn_breach(r->c)), w[3]) != 0)
        BAD(r, "breach: %s", breach_name(h2_conn_breach(r->c)));
    enum status st = h2_conn_status(r->c, &err);
    if (st != (strcmp(w[3], "-") == 0 ? ST_INVALID_ARGUMENT : ST_OVERLOADED))
        BAD(r, "status: %s", status_name(st));
    if (!h2_finished(r->c))
        BAD(r, "it is not finished");
    assert_int_equal(h2_recv(r->c, BYTES("x", 1), r->now, &err), ST_CLOSED);
}

static void expect_events(struct run *r, char **w, size_t n)
{
    char want[512] = "";
    for (size_t i = 2; i < n; i++) {
        strcat(want, w[i]);
        strcat(want, " ");
    }
    if (strcmp(buf_cstr(&r->log), want) != 0)
        BAD(r, "events: %s", buf_cstr(&r->log));
    buf_clear(&r->log);
}

static void do_expect(struct run *r, char **w, size_t n)
{
    struct err err;
    const char *what = n > 1 ? w[1] : "";
    uint32_t id = n > 3 && strcmp(what, "cut") != 0 && strcmp(what, "events") != 0 &&
                          strcmp(what, "sent") != 0
                      ? stream(r, w[2])
                      : 0;
    if (strcmp(what, "ok") == 0) {
        if (h2_conn_status(r->c, &err) != ST_OK)
            BAD(r, "%s", err.detail);
    } else if (strcmp(what, "cut") == 0 && n == 4) {
        expect_cut(r, w);
    } else if (strcmp(what, "events") == 0) {
        expect_events(r, w, n);
    } else if (strcmp(what, "rst") == 0 && n == 4) {
        if (!r->has_rst[id] || r->rst[id] != code(r, w[3]))
            BAD(r, "RST_STREAM: %s", r->has_rst[id] ? h2_code_name(r->rst[id]) : "none");
    } else if (strcmp(what, "status") == 0 && n == 4) {
        if (r->status[id] != (unsigned)number(r, w[3]))
            BAD(r, "status: %u", r->status[id]);
    } else if (strcmp(what, "body") == 0 && n == 4) {
        if (r->body[id] != (size_t)number(r, w[3]))
            BAD(r, "body: %zu", r->body[id]);
    } else if (strcmp(what, "sent") == 0 && n == 4) {
        if (r->sent[number(r, w[2])] != (unsigned)number(r, w[3]))
            BAD(r, "sent: %u", r->sent[number(r, w[2])]);
    } else if (strcmp(what, "finished") == 0) {
        if (!h2_finished(r->c))
            BAD(r, "it is not finished");
    } else if (strcmp(what, "open") == 0) {
        if (h2_finished(r->c))
            BAD(r, "it is finished");
    } else {
        BAD(r, "expect what?");
    }
}

static void begin(struct run *r)
{
    if (r->c)
        return;
    enum status st = r->client ? h2_client_new(&r->o, &events, r, r->now, &r->c)
                               : h2_server_new(&r->o, &events, r, r->now, &r->c);
    assert_int_equal(st, ST_OK);
    take_output(r);
}

static void do_request(struct run *r)
{
    struct wire_header h[] = {WIRE_HEADER(BYTES_LIT(":method"), BYTES_LIT("GET")),
                              WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http")),
                              WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("a")),
                              WIRE_HEADER(BYTES_LIT(":path"), BYTES_LIT("/"))};
    struct h2_stream *s;
    enum status st = h2_request(r->c, h, 4, true, NULL, &s);
    if (st == ST_OK)
        say(r, h2_id(s), 'R');
    else
        assert_int_equal(buf_printf(&r->log, "%s ", status_name(st)), ST_OK);
    take_output(r);
}

static void do_line(struct run *r, char **w, size_t n)
{
    struct buf b = BUF_INIT;
    if (strcmp(w[0], "option") == 0 && n > 2) {
        do_option(r, w, n);
        return;
    }
    if (strcmp(w[0], "client") == 0) {
        r->client = true;
        return;
    }
    begin(r);
    if (strcmp(w[0], "preface") == 0) {
        give(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        frame(r, 4, 0, 0, NULL, 0);
    } else if (strcmp(w[0], "headers") == 0 && n >= 5) {
        do_headers(r, w, n);
    } else if (strcmp(w[0], "data") == 0 && n == 4) {
        do_data(r, w);
    } else if (strcmp(w[0], "settings") == 0) {
        do_settings(r, w, n);
    } else if (strcmp(w[0], "window") == 0 && n == 3) {
        do_window(r, w);
    } else if (strcmp(w[0], "ping") == 0) {
        frame(r, 6, 0, 0, "12345678", 8);
    } else if (strcmp(w[0], "rst") == 0 && n == 3) {
        uint8_t c[4] = {0, 0, 0, (uint8_t)code(r, w[2])};
        frame(r, 3, 0, stream(r, w[1]), c, 4);
    } else if (strcmp(w[0], "frame") == 0 && n == 5) {
        size_t len = hex(r, w[4], &b);
        frame(r, (uint8_t)strtol(w[1], NULL, 16), (uint8_t)strtol(w[2], NULL, 16), stream(r, w[3]),
              b.data, len);
    } else if (strcmp(w[0], "raw") == 0 && n == 2) {
        size_t len = hex(r, w[1], &b);
        give(r, b.data, len);
    } else if (strcmp(w[0], "tick") == 0 && n == 2) {
        r->now += (uint64_t)number(r, w[1]);
        (void)h2_tick(r->c, r->now);
        take_output(r);
    } else if (strcmp(w[0], "answer") == 0 && n == 2) {
        r->answer = strcmp(w[1], "none") == 0    ? -1
                    : strcmp(w[1], "empty") == 0 ? 0
                                                 : number(r, w[1]);
    } else if (strcmp(w[0], "read") == 0 && n == 2) {
        r->reads = strcmp(w[1], "on") == 0;
        take_output(r);
    } else if (strcmp(w[0], "shutdown") == 0) {
        h2_shutdown(r->c);
        take_output(r);
    } else if (strcmp(w[0], "request") == 0) {
        do_request(r);
    } else if (strcmp(w[0], "expect") == 0) {
        do_expect(r, w, n);
    } else {
        BAD(r, "what is this? %s", w[0]);
    }
    buf_deinit(&b);
}

static size_t split(char *line, char **w)
{
    size_t n = 0;
    char *hash = strchr(line, '#');
    if (hash)
        *hash = 0;
    for (char *save, *word = strtok_r(line, " \t\n", &save); word && n < WORDS;
         word = strtok_r(NULL, " \t\n", &save))
        w[n++] = word;
    return n;
}

static void run_lines(struct run *r, FILE *f)
{
    char text[1024];
    struct {
        long at, left;
        unsigned line;
    } loops[REPEATS];
    size_t depth = 0;
    while (fgets(text, sizeof text, f)) {
        char *w[WORDS];
        r->line++;
        size_t n = split(text, w);
        if (n == 0)
            continue;
        if (strcmp(w[0], "repeat") == 0) {
            assert_true(depth < REPEATS);
            loops[depth].left = number(r, w[1]);
            loops[depth].line = r->line;
            loops[depth++].at = ftell(f);
        } else if (strcmp(w[0], "done") == 0) {
            assert_true(depth > 0);
            if (--loops[depth - 1].left > 0) {
                (void)fseek(f, loops[depth - 1].at, SEEK_SET);
                r->line = loops[depth - 1].line;
            } else {
                depth--;
            }
        } else {
            do_line(r, w, n);
        }
    }
}

static void run_script(void **state)
{
    const char *path = *state;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    struct run r = {.file = path, .answer = -1, .reads = true};
    run_lines(&r, f);
    (void)fclose(f);
    assert_non_null(r.c);
    h2_conn_free(r.c);
    buf_deinit(&r.log);
    buf_deinit(&r.out);
}

static int scripts_only(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');
    return dot && strcmp(dot, ".txt") == 0;
}

int main(int argc, char **argv)
{
    struct dirent **names;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int n = scandir(argv[1], &names, scripts_only, alphasort);
    if (n <= 0) {
        fprintf(stderr, "%s: no scripts in %s\n", argv[0], argv[1]);
        return 2;
    }
    struct CMUnitTest *tests = calloc((size_t)n, sizeof *tests);
    for (int i = 0; i < n; i++) {
        size_t size = strlen(argv[1]) + strlen(names[i]->d_name) + 2;
        char *path = malloc(size);
        (void)snprintf(path, size, "%s/%s", argv[1], names[i]->d_name);
        tests[i] = (struct CMUnitTest){names[i]->d_name, run_script, NULL, NULL, path};
    }
    int failed = _cmocka_run_group_tests("scripts", tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) {
        free(tests[i].initial_state);
        free(names[i]);
    }
    free(tests);
    free(names);
    return failed;
}
