/* pb_decode.c - messages out of bytes, by descriptor. */
#include "base/assert.h"
#include "wire/proto/pb.h"

#include <stdio.h>

/* Where the decoder stands, so that a refusal can say so; a list up through the callers' frames. */
struct place {
    const struct place *up;
    const char *name;
    size_t index; /* of a repeated field */
    bool repeated;
};

struct decoder {
    struct arena *arena;
    size_t memory;
    unsigned depth;
    bool over; /* PB_MEMORY_MAX */
    struct err *err;
};

static size_t path_of(const struct place *at, char *out, size_t cap)
{
    size_t n = at->up ? path_of(at->up, out, cap) : 0;
    if (n >= cap)
        return n;
    int more = at->repeated
                   ? snprintf(out + n, cap - n, "%s%s[%zu]", n ? "." : "", at->name, at->index)
                   : snprintf(out + n, cap - n, "%s%s", n ? "." : "", at->name);
    return n + (more > 0 ? (size_t)more : 0);
}

static enum status refuse(struct decoder *d, const struct place *at, enum status st,
                          const char *why)
{
    char path[200] = "";
    if (at)
        (void)path_of(at, path, sizeof path);
    return err_set(d->err, st, "%s: %s", at ? path : "request", why);
}

static void *take(struct decoder *d, size_t n, size_t align)
{
    d->over = n > PB_MEMORY_MAX - d->memory;
    if (d->over)
        return NULL;
    void *p = arena_alloc_align(d->arena, n, align);
    if (p)
        d->memory += n;
    return p;
}

static enum status no_room(struct decoder *d, const struct place *at)
{
    return d->over ? refuse(d, at, ST_TOO_LARGE, "decoded, the request is over the limit of 64 MiB")
                   : err_set(d->err, ST_NO_MEMORY, "no memory to decode the request");
}

bool pb_next(struct reader *r, struct pb_field *ret)
{
    uint64_t tag, n;
    uint32_t v32;
    if (!read_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    *ret = (struct pb_field){.number = (uint32_t)(tag >> 3), .wire = (enum pb_wire)(tag & 7)};
    switch ((int)(tag & 7)) {
    case PB_VARINT:
        return read_varint(r, &ret->value);
    case PB_64BIT:
        return read_le64(r, &ret->value);
    case PB_BYTES:
        return read_varint(r, &n) && n <= reader_left(r) && read_bytes(r, (size_t)n, &ret->bytes);
    case PB_32BIT:
        if (!read_le32(r, &v32))
            return false;
        ret->value = v32;
        return true;
    default: /* groups, and what is no wire type */
        return false;
    }
}

static enum pb_wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PB_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PB_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PB_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return PB_VARINT;
}

static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return 4;
}

static void put_number(ProtobufCType type, uint64_t v, void *to)
{
    if (type == PROTOBUF_C_TYPE_BOOL)
        v = v != 0;
    else if (type == PROTOBUF_C_TYPE_SINT32)
        v = (uint32_t)v >> 1 ^ (uint32_t)(0 - (v & 1));
    else if (type == PROTOBUF_C_TYPE_SINT64)
        v = v >> 1 ^ (0 - (v & 1));
    uint32_t low = (uint32_t)v;
    if (size_of(type) == 8)
        memcpy(to, &v, 8);
    else
        memcpy(to, &low, 4);
}

static enum status put_string(struct decoder *d, const struct place *at, struct bytes b, void *to)
{
    if (!pb_is_utf8(b))
        return refuse(d, at, ST_INVALID_ARGUMENT, "it is not UTF-8");
    if (b.len && memchr(b.data, 0, b.len))
        return refuse(d, at, ST_INVALID_ARGUMENT, "it has a NUL character");
    char *text = take(d, b.len + 1, 1);
    if (!text)
        return no_room(d, at);
    if (b.len)
        memcpy(text, b.data, b.len);
    text[b.len] = '\0';
    memcpy(to, &text, sizeof text);
    return ST_OK;
}

static enum status fill(struct decoder *d, const struct place *at, ProtobufCMessage *m,
                        struct bytes in);

/* A message that is there already is added to, as protobuf wants it of a field that comes twice. */
static enum status put_message(struct decoder *d, const struct place *at,
                               const ProtobufCMessageDescriptor *type, struct bytes b, void *to)
{
    ProtobufCMessage *m;
    memcpy(&m, to, sizeof m);
    if (!m) {
        m = take(d, type->sizeof_message, 8);
        if (!m)
            return no_room(d, at);
        type->message_init(m);
        memcpy(to, &m, sizeof m);
    }
    if (d->depth == PB_DEPTH_MAX)
        return refuse(d, at, ST_INVALID_ARGUMENT, "messages are nested over the limit of 32");
    d->depth++;
    enum status st = fill(d, at, m, b);
    d->depth--;
    return st;
}

static enum status put(struct decoder *d, const struct place *at, const ProtobufCFieldDescriptor *f,
                       const struct pb_field *v, void *to)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return put_message(d, at, f->descriptor, v->bytes, to);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return put_string(d, at, v->bytes, to);
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data = pb_data(v->bytes);
        memcpy(to, &data, sizeof data);
    } else {
        put_number(f->type, v->value, to);
    }
    return ST_OK;
}

/* Room for one more element of a repeated field. The capacity is not kept: it is 4, and then doubles
 * whenever the count has come to it. */
static enum status one_more(struct decoder *d, const struct place *at,
                            const ProtobufCFieldDescriptor *f, ProtobufCMessage *m, void **ret)
{
    size_t *n = (size_t *)(void *)((char *)m + f->quantifier_offset);
    void **array = (void **)(void *)((char *)m + f->offset);
    size_t size = size_of(f->type);
    if (*n == 0 || (*n >= 4 && (*n & (*n - 1)) == 0)) {
        void *wider = take(d, (*n == 0 ? 4 : *n * 2) * size, 8);
        if (!wider)
            return no_room(d, at);
        if (*n)
            memcpy(wider, *array, *n * size);
        *array = wider;
    }
    *ret = (char *)*array + *n * size;
    memset(*ret, 0, size);
    ++*n;
    return ST_OK;
}

static enum status put_repeated(struct decoder *d, struct place *at,
                                const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
                                const struct pb_field *v)
{
    void *to;
    at->repeated = true;
    at->index = *(size_t *)(void *)((char *)m + f->quantifier_offset);
    if (v->wire == wire_of(f->type)) {
        enum status st = one_more(d, at, f, m, &to);
        return st == ST_OK ? put(d, at, f, v, to) : st;
    }
    if (v->wire != PB_BYTES)
        return refuse(d, at, ST_INVALID_ARGUMENT, "it has the wrong wire type");
    /* Packed: numbers one after the other. */
    struct reader r = reader_of(v->bytes);
    while (reader_left(&r)) {
        uint64_t number = 0;
        uint32_t number32 = 0;
        enum pb_wire wire = wire_of(f->type);
        bool good = wire == PB_VARINT  ? read_varint(&r, &number)
                    : wire == PB_64BIT ? read_le64(&r, &number)
                                       : read_le32(&r, &number32);
        if (!good)
            return refuse(d, at, ST_INVALID_ARGUMENT, "malformed");
        enum status st = one_more(d, at, f, m, &to);
        if (st != ST_OK)
            return st;
        put_number(f->type, wire == PB_32BIT ? number32 : number, to);
    }
    return ST_OK;
}

static enum status put_single(struct decoder *d, const struct place *at,
                              const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
                              const struct pb_field *v)
{
    char *to = (char *)m + f->offset, *quantifier = (char *)m + f->quantifier_offset;
    if (v->wire != wire_of(f->type))
        return refuse(d, at, ST_INVALID_ARGUMENT, "it has the wrong wire type");
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t which;
        memcpy(&which, quantifier, sizeof which);
        if (which != f->id) {
            memset(to, 0, size_of(f->type));
            memcpy(quantifier, &f->id, sizeof f->id);
        }
    }
    return put(d, at, f, v, to);
}

/* Fields come in the order of their numbers, nearly always: *next is where the last one lay. */
static const ProtobufCFieldDescriptor *find(const ProtobufCMessageDescriptor *type, uint32_t number,
                                            unsigned *next)
{
    unsigned i = *next;
    for (unsigned tried = 0; tried < type->n_fields; tried++) {
        if (type->fields[i].id == number) {
            *next = i;
            return &type->fields[i];
        }
        i = i + 1 == type->n_fields ? 0 : i + 1;
    }
    return NULL;
}

static enum status fill(struct decoder *d, const struct place *at, ProtobufCMessage *m,
                        struct bytes in)
{
    struct reader r = reader_of(in);
    unsigned next = 0;
    enum status st = ST_OK;
    while (st == ST_OK && reader_left(&r)) {
        struct pb_field v;
        if (!pb_next(&r, &v))
            return refuse(d, at, ST_INVALID_ARGUMENT, "malformed protobuf");
        const ProtobufCFieldDescriptor *f = find(m->descriptor, v.number, &next);
        if (!f)
            continue;
        struct place here = {.up = at, .name = f->name};
        st = f->label == PROTOBUF_C_LABEL_REPEATED ? put_repeated(d, &here, f, m, &v)
                                                   : put_single(d, &here, f, m, &v);
    }
    return st;
}

enum status pb_decode(const ProtobufCMessageDescriptor *type, struct bytes in, struct arena *arena,
                      void **ret, size_t *ret_memory, struct err *err)
{
    struct decoder d = {.arena = arena, .err = err};
    void *m = NULL;
    ASSERT(type->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC);
    enum status st = put_message(&d, NULL, type, in, &m);
    if (st != ST_OK)
        return st;
    *ret = m;
    if (ret_memory)
        *ret_memory = d.memory;
    return ST_OK;
}
