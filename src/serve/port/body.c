/* body.c - the body of an HTTP request: it gathers until somebody wants it, or comes in pieces. */
#include "serve/port/port_internal.h"

#include <inttypes.h>
#include <stdio.h>

static void consume(struct slot *s, size_t n)
{
    if (n && s->stream && !h2_closed(s->stream)) {
        h2_consume(s->stream, n);
        conn_want_output(s->pc->c);
    }
}

void body__fail(struct slot *s, enum status st, const char *text)
{
    if (s->body_st)
        return;
    s->body_st = st;
    (void)snprintf(s->body_detail, sizeof s->body_detail, "%s", text);
    if (s->state == SLOT_WAITING)
        slot__dispatch(s);
    else
        slot__wake(s);
}

/* Whether it was taken; else *ret_why says why not, and of TOO_LARGE *ret_limit over what. */
static enum status keep(struct slot *s, struct bytes data, const char **ret_why,
                        uint64_t *ret_limit)
{
    const struct port_options *o = &s->pc->pr->port->o;
    *ret_limit = o->body_bytes;
    if (s->bytes_in > o->body_bytes)
        return ST_TOO_LARGE;
    *ret_limit = s->gather_max;
    if (s->gather && s->body.len + data.len > s->gather_max)
        return ST_TOO_LARGE;
    *ret_why = "too many request bodies at once (conn_body_bytes, reactor_body_bytes)";
    if (!wire_budget_take(&s->pc->budget, data.len))
        return ST_OVERLOADED;
    s->budgeted += data.len;
    *ret_why = "no memory for the body";
    return buf_append(&s->body, data.data, data.len);
}

/* A dispatch may refuse, and then `s` is gone: nothing comes after it. */
void body__data(struct slot *s, struct bytes data)
{
    s->bytes_in += data.len;
    s->seen_ms = port__now_ms(s->pc);
    if (s->body_st || s->state == SLOT_LINGERING) { /* thrown away */
        consume(s, data.len);
        return;
    }
    const char *why = NULL;
    char over[64];
    uint64_t limit;
    enum status st = keep(s, data, &why, &limit);
    if (st == ST_TOO_LARGE) {
        (void)snprintf(over, sizeof over, "the body is over the limit of %" PRIu64 " bytes", limit);
        why = over;
    }
    if (st) {
        consume(s, data.len);
        body__fail(s, st, why);
        return;
    }
    bool enough = s->state == SLOT_WAITING && s->body.len > PORT_GATHER;
    if (s->gather)
        consume(s, data.len);
    else
        s->unconsumed += data.len;
    if (enough)
        s->gather = false;
    if (!s->gather && !s->stream && s->body.len >= PORT_HELD)
        h1__want_body(s, false);
    if (enough)
        slot__dispatch(s);
    else
        slot__wake(s);
}

void body__end(struct slot *s)
{
    s->body_end = true;
    if (s->state == SLOT_WAITING)
        slot__dispatch(s);
    else
        slot__wake(s);
}

/* What has come was only held back: the peer may send on. */
static void want(struct slot *s)
{
    consume(s, s->unconsumed);
    s->unconsumed = 0;
    if (s->pc->turn == s && !s->body_end)
        h1__want_body(s, true);
}

static enum status say_continue(struct slot *s)
{
    struct bytes v;
    if (s->continued || s->body_end || s->begun)
        return ST_OK;
    s->continued = true;
    if (!s->stream)
        return s->pc->h1 ? h1_continue(s->pc->h1) : ST_OK;
    if (s->bytes_in == 0 && request_header(&s->as.q, BYTES_LIT("expect"), &v) &&
        wire_eq_nocase(v, BYTES_LIT("100-continue")) && !h2_closed(s->stream))
        return h2_continue(s->stream);
    return ST_OK;
}

static enum status failed(struct slot *s, struct err *err)
{
    return err_set(err, s->body_st, "%s", s->body_detail);
}

uint64_t exchange_length(const struct exchange *x)
{
    return slot_of(&x->req)->body_length;
}

enum status exchange_body(struct exchange *x, size_t max, struct bytes *ret, struct err *err)
{
    struct slot *s = slot_of(&x->req);
    if (s->in_pieces)
        return err_set(err, ST_INVALID_ARGUMENT, "the body has been read in pieces");
    if (s->body_st)
        return failed(s, err);
    if (s->body.len > max || (s->body_length != UINT64_MAX && s->body_length > max))
        return err_set(err, ST_TOO_LARGE, "the body is over the limit of %zu bytes", max);
    if (!s->body_end) {
        if (say_continue(s) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory to ask for the body");
        s->gather = true;
        s->gather_max = max;
        want(s);
    }
    while (!s->body_end && !s->body_st) {
        enum status st = slot__wait(s, err);
        if (st)
            return st;
    }
    if (s->body_st)
        return failed(s, err);
    *ret = buf_bytes(&s->body);
    return ST_OK;
}

enum status exchange_read(struct exchange *x, struct bytes *ret, struct err *err)
{
    struct slot *s = slot_of(&x->req);
    s->in_pieces = true;
    s->gather = false;
    wire_budget_give(&s->pc->budget, s->lent.len);
    port__budget_after(s->pc);
    s->budgeted -= s->lent.len;
    buf_clear(&s->lent);
    if (s->body.len == 0 && !s->body_end && !s->body_st) {
        if (say_continue(s) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory to ask for the body");
        want(s);
    }
    while (s->body.len == 0 && !s->body_end && !s->body_st) {
        enum status st = slot__wait(s, err);
        if (st)
            return st;
    }
    if (s->body.len == 0 && s->body_st)
        return failed(s, err);
    struct buf swap = s->lent;
    s->lent = s->body;
    s->body = swap;
    want(s);
    *ret = buf_bytes(&s->lent);
    return ST_OK;
}
