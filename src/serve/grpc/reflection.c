/* reflection.c - grpc.reflection.v1 and v1alpha, whose messages are the same on the wire. */
#include "serve/grpc/door_internal.h"

#include <stdio.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;

/* Answers to one question, in an arena of their own: a stream may have any number of them. */
struct reflecting {
    const struct descriptors *d;
    struct arena arena;
};

static enum status no_such(struct reflecting *r, const char *what, const char *name, answer *ret)
{
    Grpc__Reflection__V1__ErrorResponse *e = arena_alloc(&r->arena, sizeof *e);
    size_t len = strlen(what) + strlen(name) + 16;
    char *text = arena_alloc(&r->arena, len);
    if (!e || !text)
        return ST_NO_MEMORY;
    (void)snprintf(text, len, "there is no %s %s", what, name);
    grpc__reflection__v1__error_response__init(e);
    e->error_code = GRPC_NOT_FOUND;
    e->error_message = text;
    ret->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    ret->error_response = e;
    return ST_OK;
}

/* The file, then what it imports, each once. */
static void collect(struct reflecting *r, const struct descriptor_file *f,
                    bool seen[DESCRIPTORS_MAX], Grpc__Reflection__V1__FileDescriptorResponse *m)
{
    struct bytes import;
    size_t at = (size_t)(f - r->d->files);
    if (seen[at])
        return;
    seen[at] = true;
    m->file_descriptor_proto[m->n_file_descriptor_proto++] = pb_data(f->content);
    for (size_t i = 0; descriptors_import(f, i, &import); i++) {
        const struct descriptor_file *next = descriptors_by_name(r->d, import);
        if (next)
            collect(r, next, seen, m);
    }
}

static enum status give_file(struct reflecting *r, const struct descriptor_file *f, answer *ret)
{
    bool seen[DESCRIPTORS_MAX] = {false};
    Grpc__Reflection__V1__FileDescriptorResponse *m = arena_alloc(&r->arena, sizeof *m);
    if (!m)
        return ST_NO_MEMORY;
    grpc__reflection__v1__file_descriptor_response__init(m);
    m->file_descriptor_proto = arena_alloc(&r->arena, r->d->n * sizeof(ProtobufCBinaryData));
    if (!m->file_descriptor_proto)
        return ST_NO_MEMORY;
    collect(r, f, seen, m);
    ret->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    ret->file_descriptor_response = m;
    return ST_OK;
}

static enum status add_service(struct reflecting *r, const struct descriptor_file *f,
                               struct bytes name, Grpc__Reflection__V1__ListServiceResponse *m)
{
    Grpc__Reflection__V1__ServiceResponse *s = arena_alloc(&r->arena, sizeof *s);
    size_t len = f->package.len + name.len + 2;
    char *text = arena_alloc(&r->arena, len);
    if (!s || !text)
        return ST_NO_MEMORY;
    (void)snprintf(text, len, "%.*s.%.*s", (int)f->package.len, (const char *)f->package.data,
                   (int)name.len, (const char *)name.data);
    grpc__reflection__v1__service_response__init(s);
    s->name = text;
    m->service[m->n_service++] = s;
    return ST_OK;
}

static enum status give_list(struct reflecting *r, answer *ret)
{
    enum { SERVICES_MAX = 64 };
    struct bytes name;
    enum status st = ST_OK;
    Grpc__Reflection__V1__ListServiceResponse *m = arena_alloc(&r->arena, sizeof *m);
    if (!m)
        return ST_NO_MEMORY;
    grpc__reflection__v1__list_service_response__init(m);
    m->service = arena_alloc(&r->arena, SERVICES_MAX * sizeof *m->service);
    if (!m->service)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < r->d->n; i++)
        for (size_t k = 0; st == ST_OK && m->n_service < SERVICES_MAX &&
                           descriptors_service(&r->d->files[i], k, &name);
             k++)
            st = add_service(r, &r->d->files[i], name, m);
    ret->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    ret->list_services_response = m;
    return st;
}

/* Nothing here has extensions: those of a type that is there are none. */
static enum status give_extensions(struct reflecting *r, const char *type, answer *ret)
{
    Grpc__Reflection__V1__ExtensionNumberResponse *m = arena_alloc(&r->arena, sizeof *m);
    if (!descriptors_by_symbol(r->d, text_bytes(type)))
        return no_such(r, "type", type, ret);
    if (!m)
        return ST_NO_MEMORY;
    grpc__reflection__v1__extension_number_response__init(m);
    m->base_type_name = (char *)(uintptr_t)type;
    ret->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    ret->all_extension_numbers_response = m;
    return ST_OK;
}

static enum status reply(struct reflecting *r, question *q, answer *ret, struct err *err)
{
    const struct descriptor_file *f;
    grpc__reflection__v1__server_reflection_response__init(ret);
    ret->valid_host = q->host;
    ret->original_request = q;
    switch ((int)q->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        f = descriptors_by_name(r->d, text_bytes(q->file_by_filename));
        return f ? give_file(r, f, ret) : no_such(r, "file", q->file_by_filename, ret);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        f = descriptors_by_symbol(r->d, text_bytes(q->file_containing_symbol));
        return f ? give_file(r, f, ret) : no_such(r, "symbol", q->file_containing_symbol, ret);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        return no_such(r, "extension of", q->file_containing_extension->containing_type, ret);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        return give_extensions(r, q->all_extension_numbers_of_type, ret);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return give_list(r, ret);
    default:
        return err_set(err, ST_INVALID_ARGUMENT, "message_request: it must be set");
    }
}

static enum status one(struct call *c, struct reflecting *r, struct bytes message)
{
    void *q = NULL;
    answer a;
    enum status st = pb_decode(&grpc__reflection__v1__server_reflection_request__descriptor,
                               message, &r->arena, &q, NULL, &c->err);
    if (st == ST_OK)
        st = reply(r, q, &a, &c->err);
    return st == ST_OK ? call_send(c, &a.base) : st;
}

static enum status info(struct call *c, const void *request)
{
    struct reflecting r = {.d = &c->door->descriptors};
    struct bytes message;
    bool end = false;
    enum status st;
    (void)request;
    arena_init(&r.arena, 4096);
    while ((st = rpc_recv(c->rpc, &message, &end, &c->err)) == ST_OK && !end) {
        st = one(c, &r, message);
        arena_reset(&r.arena);
        if (st != ST_OK || (st = request_stop(call_request(c))) != ST_OK)
            break;
    }
    arena_deinit(&r.arena);
    return st == ST_OK ? call_end(c) : st;
}

#define V1    "grpc.reflection.v1.ServerReflection"
#define ALPHA "grpc.reflection.v1alpha.ServerReflection"
static const struct method methods[] = {
    {"ServerReflectionInfo", V1 "/ServerReflectionInfo", NULL, info, 0, false, NULL},
};
static const struct method methods_alpha[] = {
    {"ServerReflectionInfo", ALPHA "/ServerReflectionInfo", NULL, info, 0, false, NULL},
};
const struct service door__reflection = {V1, methods, 1};
const struct service door__reflection_alpha = {ALPHA, methods_alpha, 1};
