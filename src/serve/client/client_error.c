/* client_error.c - how a call ended, in the words of the table of statuses. */
#include "serve/client/client_internal.h"

#include "wire/proto/pb.h"

#include <stdio.h>

static enum status status_of(struct bytes reason)
{
#define X(name, number, text, grpc, http, retry)                                                   \
    if (bytes_eq(reason, BYTES_LIT(#name)))                                                        \
        return ST_##name;
    STATUS_TABLE(X)
#undef X
    return ST_OK;
}

static void keep(char *to, size_t cap, const char *from)
{
    (void)snprintf(to, cap, "%s", from ? from : "");
}

/* ---- google.rpc's details ---- */

static void take_info(const Google__Rpc__ErrorInfo *m, bool *told, struct client_failure *f)
{
    enum status st = strcmp(m->domain, "varve") == 0 ? status_of(BYTES_STR(m->reason)) : ST_OK;
    if (st != ST_OK) {
        f->err.status = st;
        *told = true;
    }
    for (size_t i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[i]->key, "present_version") == 0) {
            f->has_present = true;
            keep(f->present, sizeof f->present, m->metadata[i]->value);
        }
}

static void take_detail(const Google__Protobuf__Any *any, struct arena *arena, bool *told,
                        struct client_failure *f)
{
    const char *type = strrchr(any->type_url, '/');
    struct bytes in = pb_bytes(any->value);
    void *m = NULL;
    if (!type)
        return;
    type++;
    if (strcmp(type, "google.rpc.ErrorInfo") == 0) {
        if (pb_decode(&google__rpc__error_info__descriptor, in, arena, &m, NULL, NULL) == ST_OK)
            take_info(m, told, f);
    } else if (strcmp(type, "google.rpc.BadRequest") == 0) {
        if (pb_decode(&google__rpc__bad_request__descriptor, in, arena, &m, NULL, NULL) != ST_OK)
            return;
        const Google__Rpc__BadRequest *bad = m;
        if (bad->n_field_violations)
            keep(f->field, sizeof f->field, bad->field_violations[0]->field);
    } else if (strcmp(type, "google.rpc.PreconditionFailure") == 0) {
        if (pb_decode(&google__rpc__precondition_failure__descriptor, in, arena, &m, NULL, NULL) !=
            ST_OK)
            return;
        const Google__Rpc__PreconditionFailure *p = m;
        if (p->n_violations)
            keep(f->subject, sizeof f->subject, p->violations[0]->subject);
    } else if (strcmp(type, "google.rpc.RetryInfo") == 0) {
        if (pb_decode(&google__rpc__retry_info__descriptor, in, arena, &m, NULL, NULL) != ST_OK)
            return;
        const Google__Protobuf__Duration *d = ((Google__Rpc__RetryInfo *)m)->retry_delay;
        f->repeatable = true;
        if (d && d->seconds >= 0 && d->seconds < 3600 && d->nanos >= 0)
            f->retry_ms = (uint64_t)d->seconds * 1000 + (uint64_t)d->nanos / CLIENT_NS_PER_MS;
    }
}

/* What cannot be read of the details is left out: the code and the message are there. */
static void take_details(struct bytes details, bool *told, struct client_failure *f)
{
    struct arena arena;
    void *m = NULL;
    arena_init(&arena, 4096);
    if (details.len &&
        pb_decode(&google__rpc__status__descriptor, details, &arena, &m, NULL, NULL) == ST_OK) {
        const Google__Rpc__Status *s = m;
        for (size_t i = 0; i < s->n_details; i++)
            take_detail(s->details[i], &arena, told, f);
    }
    arena_deinit(&arena);
}

/* ---- what follows from it ---- */

static bool nothing_was_done(const struct client_failure *f)
{
    switch ((int)f->err.status) {
    case ST_OVERLOADED:
    case ST_NO_MEMORY:
    case ST_TOO_MANY_FILES:
    case ST_LOCKED:
        return f->repeatable;
    default:
        return false;
    }
}

/* `told`: the status is the server's own, not guessed from the code. */
static void judge(enum grpc_code code, bool told, struct client_failure *f)
{
    switch ((int)f->err.status) {
    case ST_DISK_FULL: /* somebody must make room: no use in waiting for it */
    case ST_POISONED:
        f->repeatable = false;
        return;
    case ST_TIMED_OUT:
        f->lost = true;
        f->repeatable = false;
        return;
    case ST_CLOSED: /* it stops; whether before or after is not known */
    case ST_CANCELLED:
        f->lost = f->repeatable = true;
        break;
    default:
        f->undone = f->undone || nothing_was_done(f);
        break;
    }
    /* A proxy's word, or a server that is none of ours. */
    if (code == GRPC_UNAVAILABLE && !told) {
        f->lost = !f->undone;
        f->repeatable = true;
    }
}

static void lost(struct client_try *t, struct client_failure *f)
{
    const struct client_link *k = t->link;
    f->lost = true;
    f->repeatable = k->why.status != ST_UNIMPLEMENTED && k->why.status != ST_UNAUTHENTICATED;
    (void)err_set(&f->err, f->repeatable ? ST_IO_ERROR : k->why.status, "%s: %s", k->server->text,
                  k->why.detail[0] ? k->why.detail : "connection lost");
}

bool client__failed(struct client_try *t, struct client_failure *f)
{
    struct grpc_call *call = &t->call.grpc;
    struct grpc_result r;
    bool told = false;
    *f = (struct client_failure){0};
    if (grpc_result(call, &r) != ST_OK) {
        (void)client__no_memory(f);
        f->lost = true;
        return true;
    }
    if (r.code == GRPC_OK) {
        grpc_result_deinit(&r);
        return false;
    }
    if (!call->peer_ended && link_closed(t->link->link) && !r.not_processed) {
        lost(t, f);
    } else {
        const char *text = buf_cstr(&r.message);
        (void)err_set(&f->err, grpc_status_of(r.code), "%s",
                      text && *text ? text : grpc_code_name(r.code));
        f->undone = f->repeatable = r.not_processed;
        take_details(buf_bytes(&r.details), &told, f);
        judge(r.code, told, f);
    }
    grpc_result_deinit(&r);
    return true;
}

void client__timed_out(const struct client_request *q, struct client_failure *f)
{
    *f = (struct client_failure){.lost = true};
    const char *name = strrchr(q->method, '/');
    (void)err_set(&f->err, ST_TIMED_OUT, "%s: no answer before the deadline",
                  name ? name + 1 : q->method);
}

void client__cancelled(struct client_failure *f)
{
    *f = (struct client_failure){.lost = true};
    (void)err_set(&f->err, ST_CANCELLED, "stopped");
}

enum status client__no_memory(struct client_failure *f)
{
    return err_set(&f->err, ST_NO_MEMORY, "no memory for the call");
}
