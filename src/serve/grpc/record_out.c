/* record_out.c - varve.v1.Record written straight from the store's records.
 *
 * protobuf-c wants a tree of structs and walks it twice; rows go out by the million, so their bytes
 * are written here. tests/unit/grpc holds the result against protobuf-c.
 */
#include "serve/grpc/door_internal.h"

#include "base/assert.h"
#include "model/doc/doc.h"

/* Numbers of the fields in proto/varve/v1/types.proto. */
enum {
    RECORD_KEY = 1,
    RECORD_VERSION = 2,
    RECORD_VALUE = 3,
    RECORD_EXPIRES = 4,
    RECORD_WRITER = 5,
    RECORD_DELETED = 6,
    RECORD_PARENT = 7,
    VALUE_RAW = 1,
    VALUE_BSON = 2,
    VALUE_JSON = 3,
    VERSION_HLC = 1,
    VERSION_ORIGIN = 2,
};

/* As in proto3, what has its default value is left out. */
size_t version_out_size(struct version v)
{
    return (v.hlc ? 9 : 0) + (v.origin ? 1 + pb_varint_size(v.origin) : 0);
}

uint8_t *version_out(struct version v, uint8_t *p)
{
    if (v.hlc)
        p = pb_w_fixed64(p, VERSION_HLC, v.hlc);
    if (v.origin)
        p = pb_w_varint(pb_w_tag(p, VERSION_ORIGIN, PB_VARINT), v.origin);
    return p;
}

static enum status take_value(struct record_out *o, const struct record *rec, enum doc_out format,
                              struct buf *json, struct err *err)
{
    o->value = rec->value;
    o->value_kind = rec->type == RECORD_DOC ? VALUE_BSON : VALUE_RAW;
    if (rec->type != RECORD_DOC || format == DOC_OUT_BSON)
        return ST_OK;
    buf_clear(json);
    enum status st =
        doc_to_json(rec->value, format == DOC_OUT_JSON ? DOC_JSON_RELAXED : DOC_JSON_CANONICAL,
                    false, json, err);
    o->value = buf_bytes(json);
    o->value_kind = VALUE_JSON;
    return st;
}

/* The library takes any bytes as a writer; a string must be UTF-8. */
static void take_writer(struct record_out *o, struct bytes writer)
{
    o->writer = writer;
    if (pb_is_utf8(writer))
        return;
    ASSERT(writer.len <= sizeof o->writer_text);
    for (size_t i = 0; i < writer.len; i++)
        o->writer_text[i] = writer.data[i] & 0x80 ? '?' : writer.data[i];
    o->writer.data = o->writer_text;
}

enum status record_out_of(struct record_out *o, const struct record *rec, struct bytes key,
                          unsigned what, enum doc_out format, struct buf *json, struct err *err)
{
    enum status st = ST_OK;
    o->key = what & RECORD_OUT_KEY ? key : BYTES_EMPTY;
    o->version = rec->version;
    o->parent = what & RECORD_OUT_PAST ? rec->parent : VERSION_NONE;
    o->deleted = (what & RECORD_OUT_PAST) && rec->kind == RECORD_DELETE;
    o->expires_ms = rec->expires_ms;
    o->value_kind = 0;
    o->value = BYTES_EMPTY;
    take_writer(o, rec->writer);
    if ((what & RECORD_OUT_VALUE) && rec->kind == RECORD_PUT)
        st = take_value(o, rec, format, json, err);
    o->version_size = version_out_size(o->version);
    o->parent_size = version_out_size(o->parent);
    o->value_size = o->value_kind ? pb_field_size(o->value.len) : 0;
    o->size = (o->key.len ? pb_field_size(o->key.len) : 0) + pb_field_size(o->version_size) +
              (o->value_kind ? pb_field_size(o->value_size) : 0) +
              (o->expires_ms ? 1 + pb_varint_size(o->expires_ms) : 0) +
              (o->writer.len ? pb_field_size(o->writer.len) : 0) + (o->deleted ? 2 : 0) +
              (o->parent_size ? pb_field_size(o->parent_size) : 0);
    return st;
}

uint8_t *record_out_head(const struct record_out *o, uint8_t *p)
{
    if (o->key.len)
        p = pb_w_bytes(p, RECORD_KEY, o->key);
    p = version_out(o->version, pb_w_head(p, RECORD_VERSION, o->version_size));
    if (o->value_kind)
        p = pb_w_head(pb_w_head(p, RECORD_VALUE, o->value_size), o->value_kind, o->value.len);
    return p;
}

uint8_t *record_out_tail(const struct record_out *o, uint8_t *p)
{
    if (o->expires_ms)
        p = pb_w_varint(pb_w_tag(p, RECORD_EXPIRES, PB_VARINT), o->expires_ms);
    if (o->writer.len)
        p = pb_w_bytes(p, RECORD_WRITER, o->writer);
    if (o->deleted)
        p = pb_w_varint(pb_w_tag(p, RECORD_DELETED, PB_VARINT), 1);
    if (o->parent_size)
        p = version_out(o->parent, pb_w_head(p, RECORD_PARENT, o->parent_size));
    return p;
}

enum status record_out_append(const struct record_out *o, uint32_t number, struct buf *out)
{
    enum status st = buf_reserve(out, pb_field_size(o->size));
    if (st != ST_OK)
        return st;
    uint8_t *begin = out->data + out->len, *p = pb_w_head(begin, number, o->size);
    uint8_t *content = p;
    p = record_out_head(o, p);
    if (o->value.len)
        memcpy(p, o->value.data, o->value.len);
    p = record_out_tail(o, p + o->value.len);
    ASSERT((size_t)(p - content) == o->size);
    out->len += (size_t)(p - begin);
    return ST_OK;
}
