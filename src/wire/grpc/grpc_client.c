/* grpc_client.c - starting a call, and how it ended. */
#include "wire/grpc/grpc_internal.h"

static void add(struct grpc_fields *f, struct bytes name, struct bytes value, bool fixed)
{
    grpc__fields_add(f, name, value);
    f->v[f->n - 1].fixed = fixed;
}

static enum status put_start(struct grpc_fields *f, const struct grpc_start *start,
                             char timeout[GRPC_TIMEOUT_TEXT])
{
    const bool lasting = start->lasting;
    add(f, BYTES_LIT(":method"), BYTES_LIT("POST"), true);
    add(f, BYTES_LIT(":scheme"), start->https ? BYTES_LIT("https") : BYTES_LIT("http"), true);
    add(f, BYTES_LIT(":authority"), start->authority, lasting);
    add(f, BYTES_LIT(":path"), start->path, lasting);
    add(f, BYTES_LIT("te"), BYTES_LIT("trailers"), true);
    add(f, BYTES_LIT("content-type"), BYTES_LIT("application/grpc"), true);
    if (start->user_agent.len)
        add(f, BYTES_LIT("user-agent"), start->user_agent, lasting);
    if (start->timeout_ns)
        grpc__fields_add(f, BYTES_LIT("grpc-timeout"),
                         BYTES(timeout, grpc_timeout_format(start->timeout_ns, timeout)));
    if (start->gzip) {
        grpc__fields_add(f, BYTES_LIT("grpc-encoding"), BYTES_LIT("gzip"));
        grpc__fields_add(f, BYTES_LIT("grpc-accept-encoding"), BYTES_LIT("identity,gzip"));
    }
    return grpc__fields_metadata(f, start->metadata, start->metadata_count);
}

enum status grpc_start(struct grpc_call *call, struct h2_conn *c, const struct grpc_start *start,
                       const struct grpc_limits *limits, void *user, struct err *err)
{
    char timeout[GRPC_TIMEOUT_TEXT];
    struct grpc_fields f;
    struct h2_stream *s;
    f.n = 0;
    buf_init(&f.text, 0);
    enum status st = put_start(&f, start, timeout);
    if (st == ST_OK) {
        grpc__fields_end(&f);
        st = h2_request(c, f.v, f.n, false, user, &s);
    }
    buf_deinit(&f.text);
    if (st != ST_OK)
        return err_set(err, st, "cannot start %.*s: %s",
                       (int)(start->path.len < 100 ? start->path.len : 100),
                       (const char *)start->path.data, status_text(st));
    grpc__call_init(call, s, limits, true);
    call->headers_sent = true;
    call->send_gzip = start->gzip;
    return ST_OK;
}

void grpc_on_headers(struct grpc_call *call, bool end)
{
    struct err err;
    struct bytes encoding;
    (void)end; /* grpc_on_end is called as well */
    if (h2_status(call->stream) != 200 || !grpc__is_grpc_content(call->stream)) {
        call->not_grpc = true; /* a proxy's page: the status is all there is */
        return;
    }
    if (h2_header(call->stream, BYTES_LIT("grpc-encoding"), &encoding) &&
        grpc__take_encoding(call, encoding, &err) != ST_OK)
        grpc__fail(call, &err);
}

enum status grpc_send_end(struct grpc_call *call)
{
    if (!call->client)
        return ST_INVALID_ARGUMENT;
    if (call->send_ended || call->closed)
        return ST_CLOSED;
    enum status st = h2_write(call->stream, BYTES_EMPTY, true);
    if (st == ST_OK)
        call->send_ended = true;
    return st;
}

/* A trailer; Trailers-Only answers have them among their headers. */
static bool ending(const struct grpc_call *call, struct bytes name, struct bytes *ret)
{
    size_t n;
    (void)h2_trailer_fields(call->stream, &n);
    return n ? h2_trailer(call->stream, name, ret) : h2_header(call->stream, name, ret);
}

static enum status said(const struct grpc_call *call, struct grpc_result *r)
{
    struct bytes v;
    enum status st = ST_OK;
    if (ending(call, BYTES_LIT("grpc-message"), &v))
        st = grpc_percent_decode(v, &r->message);
    if (st == ST_OK && ending(call, BYTES_LIT("grpc-status-details-bin"), &v)) {
        st = grpc_base64_decode(v, &r->details);
        if (st == ST_INVALID_ARGUMENT)
            st = ST_OK; /* details that cannot be read are none */
    }
    return st;
}

static enum status explain(struct grpc_result *r, const char *text)
{
    return buf_append(&r->message, text, strlen(text));
}

static enum status unsaid(const struct grpc_call *call, struct grpc_result *r)
{
    unsigned http = h2_status(call->stream);
    if (call->closed && call->closed_code != H2_NO_ERROR) {
        r->code = grpc_code_of_h2(call->closed_code);
        r->not_processed = call->closed_code == H2_REFUSED_STREAM;
        return buf_printf(&r->message, "the stream was reset: %s", h2_code_name(call->closed_code));
    }
    if (http && http != 200) {
        r->code = grpc_code_of_http(http);
        return buf_printf(&r->message, "the answer is no gRPC: HTTP status %u", http);
    }
    r->code = GRPC_UNKNOWN;
    return explain(r, "the answer has no grpc-status");
}

enum status grpc_result(const struct grpc_call *call, struct grpc_result *ret)
{
    struct bytes v;
    struct grpc_result r = {.code = GRPC_UNKNOWN};
    enum status st;
    if (call->failure.status != ST_OK && !call->reset) { /* what came could not be read */
        r.code = (enum grpc_code)status_grpc(call->failure.status);
        st = explain(&r, call->failure.detail);
    } else if (!call->not_grpc && call->peer_ended && ending(call, BYTES_LIT("grpc-status"), &v) &&
               grpc_code_parse(v, &r.code)) {
        st = said(call, &r);
    } else {
        st = unsaid(call, &r);
    }
    if (st != ST_OK) {
        grpc_result_deinit(&r);
        return st;
    }
    *ret = r;
    return ST_OK;
}

void grpc_result_deinit(struct grpc_result *r)
{
    if (!r)
        return;
    buf_deinit(&r->message);
    buf_deinit(&r->details);
}
