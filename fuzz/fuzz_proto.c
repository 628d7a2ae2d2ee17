/* fuzz_proto.c - any bytes as a request of any type. The first byte chooses the type. What is taken
 * must come out the same when packed and read again, and protobuf-c must read it the same.
 */
#include "base/assert.h"
#include "wire/proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &varve__v1__get_request__descriptor,
    &varve__v1__put_request__descriptor,
    &varve__v1__delete_request__descriptor,
    &varve__v1__batch_get_request__descriptor,
    &varve__v1__batch_write_request__descriptor,
    &varve__v1__compare_and_set_request__descriptor,
    &varve__v1__scan_request__descriptor,
    &varve__v1__history_request__descriptor,
    &varve__v1__diff_request__descriptor,
    &varve__v1__restore_request__descriptor,
    &varve__v1__watch_request__descriptor,
    &varve__v1__create_snapshot_request__descriptor,
    &varve__v1__set_retention_request__descriptor,
    &varve__v1__list_collections_request__descriptor,
    &grpc__reflection__v1__server_reflection_request__descriptor,
    &google__rpc__status__descriptor,
    &varve__v1__watch_response__descriptor,
    &grpc__reflection__v1__extension_number_response__descriptor,
};

static void check(const ProtobufCMessageDescriptor *type, struct bytes in, struct arena *arena)
{
    struct buf packed = BUF_INIT, again = BUF_INIT;
    void *m, *back;
    size_t memory;
    if (pb_decode(type, in, arena, &m, &memory, NULL) != ST_OK)
        return;
    ASSERT(memory <= PB_MEMORY_MAX);
    ASSERT(pb_encode(m, &packed) == ST_OK);
    ASSERT(pb_decode(type, buf_bytes(&packed), arena, &back, NULL, NULL) == ST_OK);
    ASSERT(pb_encode(back, &again) == ST_OK);
    ASSERT(bytes_eq(buf_bytes(&packed), buf_bytes(&again)));
    ProtobufCMessage *theirs =
        protobuf_c_message_unpack(type, NULL, packed.len, buf_bytes(&packed).data);
    ASSERT(theirs);
    buf_clear(&again);
    ASSERT(pb_encode(theirs, &again) == ST_OK);
    ASSERT(bytes_eq(buf_bytes(&packed), buf_bytes(&again)));
    protobuf_c_message_free_unpacked(theirs, NULL);
    buf_deinit(&packed);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    if (size == 0)
        return 0;
    arena_init(&arena, 4096);
    check(types[data[0] % (sizeof types / sizeof types[0])], BYTES(data + 1, size - 1), &arena);
    arena_deinit(&arena);
    return 0;
}
