/* etcd's KV service, by hand: the numbers are those of its rpc.proto and kv.proto. */
#include "bench/bench_server_peers.h"

#include "wire/proto/pb.h"

/* RangeRequest { key = 1, range_end = 2, limit = 3, serializable = 7 }
 * RangeResponse { kvs = 2 { key = 1, value = 5 } }
 * PutRequest { key = 1, value = 2 }
 * TxnRequest { success = 2 { request_put = 2 } } */
enum { FIELD_ROOM = 2 * (1 + PB_VARINT_MAX) };

static struct bytes path(const struct load_op *op)
{
    if (op->kind == LOAD_BATCH)
        return BYTES_LIT("/etcdserverpb.KV/Txn");
    return load_op_reads(op) || op->kind == LOAD_SCAN ? BYTES_LIT("/etcdserverpb.KV/Range")
                                                      : BYTES_LIT("/etcdserverpb.KV/Put");
}

static size_t put_size(const struct load_values *values)
{
    return pb_field_size(LOAD_KEY) + pb_field_size(values->value_bytes);
}

static uint8_t *put(uint8_t *p, const struct load_values *values, uint64_t number, uint64_t turn)
{
    uint8_t key[LOAD_KEY];
    struct load_value v;
    load_key_text(number, key);
    load_value_make(values, number, turn, &v);
    p = pb_w_bytes(p, 1, BYTES(key, LOAD_KEY));
    p = pb_w_head(p, 2, values->value_bytes);
    memcpy(p, v.head, LOAD_VALUE_MIN);
    memcpy(p + LOAD_VALUE_MIN, v.body.data, v.body.len);
    return p + values->value_bytes;
}

static uint8_t *range(uint8_t *p, const struct bench_etcd *o, const struct load_op *op)
{
    uint8_t key[LOAD_KEY];
    load_key_text(op->key, key);
    p = pb_w_bytes(p, 1, BYTES(key, LOAD_KEY));
    if (op->kind == LOAD_SCAN) {
        p = pb_w_bytes(p, 2, BYTES("\0", 1)); /* all keys from there on */
        p = pb_w_varint(pb_w_tag(p, 3, PB_VARINT), op->rows);
    }
    return o->serializable ? pb_w_varint(pb_w_tag(p, 7, PB_VARINT), 1) : p;
}

static enum status encode(const void *arg, const struct load_context *c, const struct load_op *op,
                          struct buf *out)
{
    const struct bench_etcd *o = arg;
    size_t each = put_size(c->values) + FIELD_ROOM;
    enum status st = buf_reserve(out, each * op->rows + each);
    if (st != ST_OK)
        return st;
    uint8_t *begin = out->data + out->len, *p = begin;
    if (op->kind == LOAD_SCAN || load_op_reads(op)) {
        p = range(p, o, op);
    } else if (op->kind == LOAD_BATCH) {
        for (uint32_t i = 0; i < op->rows; i++) {
            p = pb_w_head(p, 2, pb_field_size(put_size(c->values)));
            p = pb_w_head(p, 2, put_size(c->values));
            p = put(p, c->values, op->key + i, op->turn);
        }
    } else {
        p = put(p, c->values, op->key, op->turn);
    }
    out->len += (size_t)(p - begin);
    return ST_OK;
}

/* The key's and the value's length of one row; the value itself in *ret. */
static bool row(struct bytes kv, struct bytes *ret_key, struct bytes *ret_value)
{
    struct reader r = reader_of(kv);
    struct pb_field f;
    *ret_key = *ret_value = BYTES_EMPTY;
    while (reader_left(&r)) {
        if (!pb_next(&r, &f))
            return false;
        if (f.wire == PB_BYTES && f.number == 1)
            *ret_key = f.bytes;
        else if (f.wire == PB_BYTES && f.number == 5)
            *ret_value = f.bytes;
    }
    return true;
}

static const char *decode(const void *arg, const struct load_op *op, struct bytes message,
                          uint64_t *rows, uint64_t *sum)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    struct bytes key, value;
    bool reads = load_op_reads(op);
    uint64_t before = *rows;
    (void)arg;
    if (!reads && op->kind != LOAD_SCAN) {
        *rows += op->rows;
        return NULL;
    }
    while (reader_left(&r)) {
        if (!pb_next(&r, &f))
            return "BAD_ANSWER";
        if (f.number != 2 || f.wire != PB_BYTES)
            continue;
        if (!row(f.bytes, &key, &value))
            return "BAD_ANSWER";
        if (reads && !load_value_is_of(value, op->key))
            return load_wrong_value;
        *rows += 1;
        *sum += reads ? load_value_sum(op->key, value) : load_mix64(key.len, value.len);
    }
    return *rows == before ? "NOT_FOUND" : NULL;
}

const struct load_codec bench_etcd_codec = {.path = path, .encode = encode, .decode = decode};

/* --- calls without fields --- */

static _Thread_local const struct bytes *call; /* a codec's path has no argument of its own */

static struct bytes call_path(const struct load_op *op)
{
    (void)op;
    return *call;
}

static enum status call_encode(const void *arg, const struct load_context *c,
                               const struct load_op *op, struct buf *out)
{
    (void)arg;
    (void)c;
    (void)op;
    return buf_reserve(out, 1);
}

static const char *call_decode(const void *arg, const struct load_op *op, struct bytes message,
                               uint64_t *rows, uint64_t *sum)
{
    (void)arg;
    (void)op;
    (void)message;
    (void)rows;
    (void)sum;
    return NULL;
}

void bench_call(const struct bytes *path_of_call)
{
    call = path_of_call;
}

const struct load_codec bench_call_codec = {
    .path = call_path, .encode = call_encode, .decode = call_decode};
