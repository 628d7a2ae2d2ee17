/* load_varve.c - varve.v1.KV as load says and hears it: messages by hand, field by field. The numbers
 * are those of proto/varve/v1/kv.proto and types.proto. */
#include "serve/load/load_grpc.h"

#include "base/assert.h"
#include "wire/proto/pb.h"

enum { FIELD_ROOM = 1 + PB_VARINT_MAX }; /* tag and length */

static struct bytes path(const struct load_op *op)
{
    static const struct bytes paths[LOAD_KINDS] = {
        [LOAD_GET] = BYTES_LIT("/varve.v1.KV/Get"),
        [LOAD_PUT] = BYTES_LIT("/varve.v1.KV/Put"),
        [LOAD_INSERT] = BYTES_LIT("/varve.v1.KV/Put"),
        [LOAD_SCAN] = BYTES_LIT("/varve.v1.KV/Scan"),
        [LOAD_BATCH] = BYTES_LIT("/varve.v1.KV/BatchWrite"),
    };
    return paths[op->kind != LOAD_RMW ? op->kind : op->write ? LOAD_PUT : LOAD_GET];
}

/* --- requests --- */

/* Value { raw = 1 } as field `number`. */
static uint8_t *put_value(uint8_t *p, uint32_t number, const struct load_value *v)
{
    size_t n = LOAD_VALUE_MIN + v->body.len;
    p = pb_w_head(pb_w_head(p, number, pb_field_size(n)), 1, n);
    memcpy(p, v->head, LOAD_VALUE_MIN);
    if (v->body.len)
        memcpy(p + LOAD_VALUE_MIN, v->body.data, v->body.len);
    return p + n;
}

static uint8_t *put_options(uint8_t *p, uint32_t number, enum load_sync sync)
{
    if (sync == LOAD_SYNC_DEFAULT)
        return p;
    p = pb_w_head(p, number, 2);
    return pb_w_varint(pb_w_tag(p, 1, PB_VARINT), (uint64_t)sync);
}

/* collection = 1, key = 2, and then Put's value = 3, or nothing. */
static uint8_t *put_record(uint8_t *p, const struct load_varve *o, uint64_t number,
                           const struct load_value *v)
{
    uint8_t key[LOAD_KEY];
    load_key_text(number, key);
    p = pb_w_bytes(pb_w_bytes(p, 1, o->collection), 2, BYTES(key, LOAD_KEY));
    return v ? put_value(p, 3, v) : p;
}

static size_t record_size(const struct load_varve *o, size_t value)
{
    return pb_field_size(o->collection.len) + pb_field_size(LOAD_KEY) +
           (value ? pb_field_size(pb_field_size(value)) : 0);
}

static uint8_t *put_batch(uint8_t *p, const struct load_varve *o, const struct load_values *values,
                          const struct load_op *op)
{
    struct load_value v;
    for (uint32_t i = 0; i < op->rows; i++) {
        load_value_make(values, op->key + i, op->turn, &v);
        p = pb_w_head(p, 1, record_size(o, values->value_bytes));
        p = put_record(p, o, op->key + i, &v);
    }
    return put_options(p, 3, o->sync);
}

static uint8_t *put_scan(uint8_t *p, const struct load_varve *o, const struct load_op *op)
{
    uint8_t key[LOAD_KEY];
    load_key_text(op->key, key);
    p = pb_w_bytes(pb_w_bytes(p, 1, o->collection), 3, BYTES(key, LOAD_KEY));
    p = pb_w_varint(pb_w_tag(p, 7, PB_VARINT), op->rows);
    return o->page_rows ? pb_w_varint(pb_w_tag(p, 11, PB_VARINT), o->page_rows) : p;
}

static enum status encode(const void *arg, const struct load_context *c, const struct load_op *op,
                          struct buf *out)
{
    const struct load_varve *o = arg;
    bool writes = !load_op_reads(op) && op->kind != LOAD_SCAN;
    size_t each = record_size(o, writes ? c->values->value_bytes : 0) + FIELD_ROOM;
    enum status st = buf_reserve(out, each * op->rows * writes + each + 4 * FIELD_ROOM);
    if (st != ST_OK)
        return st;
    uint8_t *begin = out->data + out->len, *p = begin;
    struct load_value v;
    if (op->kind == LOAD_SCAN) {
        p = put_scan(p, o, op);
    } else if (op->kind == LOAD_BATCH) {
        p = put_batch(p, o, c->values, op);
    } else if (writes) {
        load_value_make(c->values, op->key, op->turn, &v);
        p = put_options(put_record(p, o, op->key, &v), 5, o->sync);
    } else {
        p = put_record(p, o, op->key, NULL);
    }
    out->len += (size_t)(p - begin);
    ASSERT(out->len <= out->cap);
    return ST_OK;
}

/* --- answers --- */

/* The bytes of field `number`, the last such one; false: there is none, or the message is broken. */
static bool find(struct bytes message, uint32_t number, struct bytes *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    bool found = false;
    while (reader_left(&r)) {
        if (!pb_next(&r, &f))
            return false;
        if (f.number == number && f.wire == PB_BYTES) {
            *ret = f.bytes;
            found = true;
        }
    }
    return found;
}

/* GetResponse { record = 1 { value = 3 { raw = 1 } } } */
static const char *decode_get(const struct load_op *op, struct bytes m, uint64_t *rows,
                              uint64_t *sum)
{
    struct bytes record, value, raw;
    if (!find(m, 1, &record) || !find(record, 3, &value) || !find(value, 1, &raw))
        return "BAD_ANSWER";
    if (!load_value_is_of(raw, op->key))
        return load_wrong_value;
    *rows += 1;
    *sum += load_value_sum(op->key, raw);
    return NULL;
}

/* ScanResponse { repeated records = 1 { key = 1, value = 3 { raw = 1 } } } */
static const char *decode_scan(struct bytes m, uint64_t *rows, uint64_t *sum)
{
    struct reader r = reader_of(m);
    struct pb_field f;
    struct bytes key, value;
    while (reader_left(&r)) {
        if (!pb_next(&r, &f))
            return "BAD_ANSWER";
        if (f.number != 1 || f.wire != PB_BYTES)
            continue;
        if (!find(f.bytes, 1, &key) || !find(f.bytes, 3, &value))
            return "BAD_ANSWER";
        *rows += 1;
        *sum += load_mix64(key.len, value.len);
    }
    return NULL;
}

static const char *decode(const void *arg, const struct load_op *op, struct bytes message,
                          uint64_t *rows, uint64_t *sum)
{
    (void)arg;
    if (load_op_reads(op))
        return decode_get(op, message, rows, sum);
    if (op->kind == LOAD_SCAN)
        return decode_scan(message, rows, sum);
    *rows += op->rows; /* { version = 1 } */
    return NULL;
}

const struct load_codec load_varve_codec = {.path = path, .encode = encode, .decode = decode};
