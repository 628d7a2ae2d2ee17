/* rpc.c - gRPC calls of handlers: messages in and out, and the end. */
#include "serve/port/port_internal.h"

static struct slot *slot_r(const struct rpc *r)
{
    return slot_of(&r->req);
}

enum status rpc_recv(struct rpc *r, struct bytes *ret, bool *ret_end, struct err *err)
{
    struct slot *s = slot_r(r);
    struct err own;
    if (s->have_first) {
        s->have_first = false;
        *ret = s->first;
        *ret_end = false;
        return ST_OK;
    }
    for (;;) {
        enum grpc_next next = grpc_next(&s->call, ret, &own);
        port__budget_after(s->pc);
        switch (next) {
        case GRPC_MESSAGE:
            *ret_end = false;
            conn_want_output(s->pc->c); /* room for the peer */
            return ST_OK;
        case GRPC_END:
            *ret_end = true;
            return ST_OK;
        case GRPC_FAILED:
            return err_set(err, own.status, "%s", own.detail);
        case GRPC_WAIT:
            break;
        }
        enum status st = slot__wait(s, err);
        if (st)
            return st;
    }
}

bool rpc_ready(const struct rpc *r)
{
    const struct slot *s = slot_r(r);
    return s->have_first || grpc_has_message(&s->call);
}

bool rpc__is_over(const struct slot *s)
{
    return s->call.peer_ended || grpc_has_message(&s->call) || s->call.failure.status != ST_OK;
}

enum status rpc_recv_one(struct rpc *r, struct bytes *ret, struct err *err)
{
    struct slot *s = slot_r(r);
    const struct err *failure = &s->call.failure;
    bool end;
    enum status st = rpc_recv(r, ret, &end, err);
    if (!st && end)
        st = err_set(err, ST_UNIMPLEMENTED, "the call takes one message, but came without any");
    while (!st && !rpc__is_over(s))
        st = slot__wait(s, err);
    if (st)
        return st;
    if (grpc_has_message(&s->call))
        return err_set(err, ST_UNIMPLEMENTED, "the call takes one message, but came with more");
    return failure->status == ST_OK ? ST_OK : err_set(err, failure->status, "%s", failure->detail);
}

enum status rpc_send(struct rpc *r, struct bytes message)
{
    return rpc_send_parts(r, &(struct h2_part){.bytes = message}, 1);
}

static size_t total_of(const struct h2_part *parts, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += parts[i].bytes.len;
    return total;
}

/* Once, without waiting. */
static enum status try_send(struct slot *s, const struct h2_part *parts, size_t n, size_t total)
{
    if (s->gone)
        return ST_CANCELLED;
    if (grpc_writable(&s->call))
        slot__answer_gone(s); /* what was sent before has gone, but for a rest */
    size_t before = s->answer_charged;
    enum status st = slot__charge_answer(s, total);
    if (st)
        return st;
    st = grpc_send_parts(&s->call, parts, n, false);
    if (st && s->answer_charged > before)
        slot__answer_gone(s);
    if (!st) {
        s->bytes_out += total;
        conn_want_output(s->pc->c);
    }
    return st;
}

enum status rpc_send_parts(struct rpc *r, const struct h2_part *parts, size_t n)
{
    struct slot *s = slot_r(r);
    size_t total = total_of(parts, n);
    for (;;) {
        bool room = grpc_writable(&s->call);
        enum status st = try_send(s, parts, n, total);
        if (st == ST_CLOSED && !s->call.finished)
            return ST_CANCELLED;
        if (st != ST_OVERLOADED || room)
            return st; /* with room it is memory that lacks */
        st = slot__wait(s, NULL);
        if (st)
            return st;
    }
}

enum status rpc_send_headers(struct rpc *r, const struct wire_header *metadata, size_t n)
{
    struct slot *s = slot_r(r);
    if (s->gone)
        return ST_CANCELLED;
    enum status st = grpc_send_headers(&s->call, metadata, n);
    if (!st)
        conn_want_output(s->pc->c);
    return st;
}

bool rpc_sends_gzip(const struct rpc *r)
{
    return slot_r(r)->call.decoder.encoding == GRPC_GZIP;
}

void rpc_use_gzip(struct rpc *r)
{
    grpc_use_gzip(&slot_r(r)->call);
}

enum status rpc_respond(struct rpc *r, struct bytes message)
{
    return rpc_respond_parts(r, &(struct h2_part){.bytes = message}, 1);
}

enum status rpc_respond_parts(struct rpc *r, const struct h2_part *parts, size_t n)
{
    struct slot *s = slot_r(r);
    enum status st = try_send(s, parts, n, total_of(parts, n));
    if (st == ST_CLOSED && !s->call.finished)
        return ST_CANCELLED;
    if (st)
        return st;
    return rpc_finish(r, &(struct grpc_finish){.code = GRPC_OK});
}

static enum status finished(struct slot *s, enum grpc_code code, enum status st)
{
    if (!st)
        s->grpc_code = (int)code;
    conn_want_output(s->pc->c);
    return st;
}

enum status rpc_finish(struct rpc *r, const struct grpc_finish *f)
{
    struct slot *s = slot_r(r);
    if (s->gone)
        return ST_CANCELLED;
    return finished(s, f->code, grpc_finish(&s->call, f));
}

enum status rpc_finish_status(struct rpc *r, enum status st, const struct err *err)
{
    struct slot *s = slot_r(r);
    if (s->gone)
        return ST_CANCELLED;
    return finished(s, (enum grpc_code)status_grpc(st), grpc_finish_status(&s->call, st, err));
}

bool rpc_finished(const struct rpc *r)
{
    return slot_r(r)->call.finished;
}

bool rpc_metadata_next(const struct rpc *r, size_t *at, struct wire_header *ret)
{
    return grpc_metadata_next(&slot_r(r)->call, at, ret);
}

void rpc__finish(struct slot *s)
{
    if (!s->call.finished && !s->gone) {
        struct err err;
        enum status st = err_set(&err, ST_INTERNAL, "the call was not answered");
        st = rpc_finish_status(&s->as.r, st, &err);
        if (st) /* then the release resets the stream */
            s->grpc_code = GRPC_INTERNAL;
    }
    if (s->grpc_code < 0)
        s->grpc_code = GRPC_CANCELLED;
    port__done(s);
    if (s->answer_charged && !s->gone)
        s->state = SLOT_LINGERING;
    else
        slot__free(s);
}
