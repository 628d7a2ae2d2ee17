/* door_error.c - how a call fails: the code, the message, and google.rpc's details of them. */
#include "serve/grpc/door_internal.h"

#include <stdio.h>

#define TYPE_URL "type.googleapis.com/"
enum { DETAILS_MAX = 4, NS_PER_MS = 1000000 };

/* The verbs name the fields of their structs; a client knows those of the contracts. */
struct bytes door__field(struct bytes field)
{
    static const struct {
        const char *verb, *contract;
    } names[] = {
        {"options.prefix", "prefix"},
        {"options.from", "start_key"},
        {"options.to", "end_key"},
        {"options.collection", "collection"},
        {"page.token", "resume_token"},
        {"page.max_rows", "page_rows"},
        {"token", "resume_token"},
        {"at.time_ms", "at.time_unix_ms"},
        {"a", "older"},
        {"ttl_ms", "options.ttl_ms"},
        {"writer", "options.writer"},
        {"require.what", "precondition"},
        {"snapshot", "name"},
        {"b", "operations"},
        {"batch", "operations"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (bytes_eq(field, text_bytes(names[i].verb)))
            return text_bytes(names[i].contract);
    return field;
}

void door__rename(struct err *err, const char *from, const char *to)
{
    char rest[ERR_DETAIL_MAX];
    struct bytes field = command_field(err);
    if (!bytes_eq(field, text_bytes(from)))
        return;
    (void)snprintf(rest, sizeof rest, "%s", err->detail + field.len);
    (void)!err_set(err, err->status, "%s%s", to, rest);
}

struct details {
    struct arena *arena;
    Google__Protobuf__Any *list[DETAILS_MAX];
    size_t n;
};

static enum status add(struct details *d, const char *type, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    Google__Protobuf__Any *any = arena_alloc(d->arena, sizeof *any);
    uint8_t *data = arena_alloc(d->arena, len + 1);
    if (!any || !data)
        return ST_NO_MEMORY;
    google__protobuf__any__init(any);
    any->type_url = (char *)(uintptr_t)type;
    any->value = (ProtobufCBinaryData){.len = protobuf_c_message_pack(m, data), .data = data};
    d->list[d->n++] = any;
    return ST_OK;
}

/* Strings of generated structs are not const, though packing only reads them. */
static char *lend(const char *s)
{
    return (char *)(uintptr_t)s;
}

static enum status add_info(struct details *d, const struct call *c, enum status st)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry entry = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry *entries[1] = {&entry};
    char version[VERSION_TEXT_MAX] = "";
    info.reason = lend(status_name(st));
    info.domain = lend("varve");
    if (st == ST_PRECONDITION_FAILED && c->present != DOOR_PRESENT_UNKNOWN) {
        if (c->present == DOOR_PRESENT_VERSION)
            (void)version_format(c->version, version);
        entry.key = lend("present_version");
        entry.value = version;
        info.metadata = entries;
        info.n_metadata = 1;
    }
    return add(d, TYPE_URL "google.rpc.ErrorInfo", &info.base);
}

static enum status add_field(struct details *d, const struct call *c)
{
    struct bytes field = command_field(&c->err);
    size_t head = field.len ? field.len + 2 : 0;
    /* A moment to come is refused by the store, which does not know what it was named by. */
    if (!head && c->err.status == ST_FUTURE_TIME)
        field = BYTES_LIT("at");
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[1] = {&violation};
    if (field.len == 0 || bytes_eq(field, BYTES_LIT("request")))
        return ST_OK;
    violation.description = pb_text(text_bytes(c->err.detail + head), d->arena);
    violation.field = pb_text(door__field(field), d->arena);
    if (!violation.field || !violation.description)
        return ST_NO_MEMORY;
    bad.field_violations = violations;
    bad.n_field_violations = 1;
    return add(d, TYPE_URL "google.rpc.BadRequest", &bad.base);
}

static enum status add_precondition(struct details *d, const struct call *c)
{
    Google__Rpc__PreconditionFailure failure = GOOGLE__RPC__PRECONDITION_FAILURE__INIT;
    Google__Rpc__PreconditionFailure__Violation violation =
        GOOGLE__RPC__PRECONDITION_FAILURE__VIOLATION__INIT;
    Google__Rpc__PreconditionFailure__Violation *violations[1] = {&violation};
    violation.type = lend(c->required ? c->required : "");
    violation.subject = lend(c->subject ? c->subject : "");
    violation.description = pb_text(text_bytes(c->err.detail), d->arena);
    if (!violation.description)
        return ST_NO_MEMORY;
    failure.violations = violations;
    failure.n_violations = 1;
    return add(d, TYPE_URL "google.rpc.PreconditionFailure", &failure.base);
}

static uint64_t retry_ms(struct call *c, enum status st)
{
    if (call_request(c)->retry_ms)
        return call_request(c)->retry_ms;
    switch ((int)st) {
    case ST_DISK_FULL:
        return 5000; /* somebody must make room */
    case ST_LOCKED:
    case ST_NO_MEMORY:
    case ST_TOO_MANY_FILES:
        return 1000;
    default:
        return 100;
    }
}

/* A write that ran out of time may have been done: nobody is told to send it again. */
static bool worth_repeating(const struct call *c, enum status st)
{
    bool writes =
        c->method && c->method->gated && command_verb_access(c->method->verb) != COMMAND_READ;
    return st == ST_CLOSED || (status_retryable(st) && !(st == ST_TIMED_OUT && writes));
}

static enum status add_retry(struct details *d, uint64_t ms)
{
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    delay.seconds = (int64_t)(ms / 1000);
    delay.nanos = (int32_t)(ms % 1000) * NS_PER_MS;
    retry.retry_delay = &delay;
    return add(d, TYPE_URL "google.rpc.RetryInfo", &retry.base);
}

enum status door__details(struct call *c, enum status st, int code, struct bytes message,
                          struct buf *out)
{
    struct details d = {.arena = call_request(c)->arena};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    enum status done = add_info(&d, c, st);
    c->err.status = st;
    if (done == ST_OK)
        done = add_field(&d, c);
    if (done == ST_OK && st == ST_PRECONDITION_FAILED)
        done = add_precondition(&d, c);
    if (done == ST_OK && worth_repeating(c, st))
        done = add_retry(&d, retry_ms(c, st));
    status.code = code;
    status.message = pb_text(message, d.arena);
    status.details = d.list;
    status.n_details = d.n;
    return done == ST_OK && status.message ? pb_encode(&status.base, out) : ST_NO_MEMORY;
}

void door__fail(struct call *c, enum status st)
{
    struct grpc_finish f = {.code = (enum grpc_code)status_grpc(st)};
    struct buf details = BUF_INIT;
    if (rpc_finished(c->rpc))
        return;
    if (st == ST_CLOSED) { /* of a request: the server stops */
        f.code = GRPC_UNAVAILABLE;
        (void)err_set(&c->err, st, "the server is stopping");
    } else if (!c->err.detail[0]) {
        (void)err_set(&c->err, st, "%s", status_text(st));
    }
    /* What it quotes may have been cut in the middle of a character, or be none. */
    const char *text = pb_text(text_bytes(c->err.detail), call_request(c)->arena);
    f.message = text_bytes(text ? text : c->err.detail);
    /* The code and the message are enough where there is no memory for the details. */
    if (door__details(c, st, (int)f.code, f.message, &details) == ST_OK)
        f.details = buf_bytes(&details);
    call_request(c)->note = arena_strdup(call_request(c)->arena, c->err.detail);
    if (rpc_finish(c->rpc, &f) == ST_NO_MEMORY)
        (void)!rpc_finish_status(c->rpc, st, NULL); /* failing that, the port cuts it off */
    buf_deinit(&details);
}
