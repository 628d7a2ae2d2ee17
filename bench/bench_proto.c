/* Protobuf for the hot calls: reading requests by protobuf-c (into an arena) and by pb_decode,
 * writing a GetResponse by protobuf-c and by record_out. Keys of 16 B, values of 256 B.
 * Usage: bench_proto [thousand rounds] */
#include "bench/bench_util.h"
#include "serve/grpc/door_internal.h"

#include <stdio.h>
#include <stdlib.h>

static void *take(void *data, size_t n)
{
    return arena_alloc(data, n);
}
static void leave(void *data, void *p)
{
    (void)data;
    (void)p;
}

static void reading(const char *what, const ProtobufCMessage *m, uint64_t rounds)
{
    struct buf in = BUF_INIT;
    struct arena arena;
    ProtobufCAllocator allocator = {take, leave, &arena};
    char name[80];
    uint64_t sum = 0;
    arena_init(&arena, 0);
    if (pb_encode(m, &in) != ST_OK)
        bench_die("no memory");
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        sum +=
            (uintptr_t)protobuf_c_message_unpack(m->descriptor, &allocator, in.len, in.data) != 0;
        arena_reset(&arena);
    }
    (void)snprintf(name, sizeof name, "%s read by protobuf-c", what);
    bench_rate(name, rounds, bench_ns() - t0);
    t0 = bench_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        void *got = NULL;
        sum += pb_decode(m->descriptor, buf_bytes(&in), &arena, &got, NULL, NULL) == ST_OK;
        arena_reset(&arena);
    }
    (void)snprintf(name, sizeof name, "%s read by pb_decode", what);
    bench_rate(name, rounds, bench_ns() - t0);
    bench_checksum(sum);
    arena_deinit(&arena);
    buf_deinit(&in);
}

static void writing(struct bytes value, uint64_t rounds)
{
    struct buf out = BUF_INIT;
    struct record rec = {.version = {0x018f3a2b4c5d0001, 0},
                         .kind = RECORD_PUT,
                         .writer = BYTES_LIT("server"),
                         .value = value};
    uint64_t sum = 0, t0 = bench_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        Varve__V1__GetResponse m = VARVE__V1__GET_RESPONSE__INIT;
        Varve__V1__Record r = VARVE__V1__RECORD__INIT;
        Varve__V1__Version v = VARVE__V1__VERSION__INIT;
        Varve__V1__Value val = VARVE__V1__VALUE__INIT;
        char writer[8] = "server";
        v.hlc = rec.version.hlc;
        val.kind_case = VARVE__V1__VALUE__KIND_RAW;
        val.raw = pb_data(rec.value);
        r.version = &v;
        r.value = &val;
        r.writer = writer;
        m.record = &r;
        buf_clear(&out);
        sum += pb_encode(&m.base, &out) == ST_OK ? out.len : 0;
    }
    bench_rate("GetResponse written by protobuf-c", rounds, bench_ns() - t0);
    t0 = bench_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        struct record_out o;
        buf_clear(&out);
        if (record_out_of(&o, &rec, BYTES_EMPTY, RECORD_OUT_VALUE, DOC_OUT_BSON, NULL, NULL) ==
                ST_OK &&
            record_out_append(&o, 1, &out) == ST_OK)
            sum += out.len;
    }
    bench_rate("GetResponse written by record_out", rounds, bench_ns() - t0);
    bench_checksum(sum);
    buf_deinit(&out);
}

int main(int argc, char **argv)
{
    enum { OPERATIONS = 1000 };
    static uint8_t value[256], key[16];
    static Varve__V1__BatchWriteRequest__Operation op, *ops[OPERATIONS];
    uint64_t rounds = bench_arg(argc, argv, 1, 2000) * 1000;
    bench_machine("bench_proto: messages of hot calls");
    Varve__V1__GetRequest get = VARVE__V1__GET_REQUEST__INIT;
    get.collection = (char *)(uintptr_t) "users";
    get.key = (ProtobufCBinaryData){.len = sizeof key, .data = key};
    reading("GetRequest", &get.base, rounds);
    Varve__V1__PutRequest put = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = (ProtobufCBinaryData){.len = sizeof value, .data = value};
    put.collection = get.collection;
    put.key = get.key;
    put.value = &v;
    reading("PutRequest", &put.base, rounds);
    Varve__V1__BatchWriteRequest batch = VARVE__V1__BATCH_WRITE_REQUEST__INIT;
    varve__v1__batch_write_request__operation__init(&op);
    op.collection = get.collection;
    op.key = get.key;
    op.action_case = VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT;
    op.put = &v;
    for (int i = 0; i < OPERATIONS; i++)
        ops[i] = &op;
    batch.operations = ops;
    batch.n_operations = OPERATIONS;
    reading("BatchWrite of 1,000", &batch.base, rounds / 1000);
    writing(BYTES(value, sizeof value), rounds);
    return 0;
}
