/* fuzz_record.c - whatever record_decode accepts, record_encode writes back byte for byte; whatever
 * it refuses leaves the result untouched. The first byte of the input says whether the record
 * carries its version and, if not, which one it is given; the rest is the record. */
#include "base/assert.h"
#include "storage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1);
    unsigned flags = data[0] & 1 ? RECORD_WITH_VERSION : 0;
    struct version given = {data[0] & 2 ? 0x018f3a2b4c5d0001u : 300, data[0] & 4 ? 7 : 0};
    struct record rec = {.version = given, .kind = 99};
    struct buf again = BUF_INIT;
    if (!record_decode(in, flags, &rec)) {
        ASSERT(rec.kind == 99 && version_cmp(rec.version, given) == 0);
        return 0;
    }
    ASSERT(rec.kind >= RECORD_PUT && rec.kind <= RECORD_FLOOR);
    ASSERT(rec.writer.len <= RECORD_WRITER_MAX && rec.parent.hlc <= rec.version.hlc);
    ASSERT(rec.value.data + rec.value.len == in.data + in.len);
    ASSERT(record_encode(&again, &rec, flags) == ST_OK);
    ASSERT(bytes_eq(buf_bytes(&again), in));
    buf_deinit(&again);
    return 0;
}
