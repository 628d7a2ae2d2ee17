/* fuzz_keyenc.c - whatever a key decoder accepts, the encoder writes back byte for byte; whatever
 * it refuses, it does not move over. The first byte of the input says which decoder is tried first;
 * the rest is the key. */
#include "base/assert.h"
#include "base/keyenc.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KINDS = 7 };

/* Decodes one part and encodes it again into `again`. False when it is malformed. */
static bool round_trip(unsigned kind, struct reader *r, struct buf *again)
{
    struct buf text = BUF_INIT;
    uint64_t u64;
    uint32_t u32;
    int64_t i64;
    double d;
    enum status st = ST_OK;
    bool ok = false;
    switch (kind) {
    case 0:
        ok = keydec_bytes(r, &text);
        st = ok ? keyenc_bytes(again, buf_bytes(&text)) : ST_OK;
        break;
    case 1:
        ok = keydec_u64(r, &u64);
        st = ok ? keyenc_u64(again, u64) : ST_OK;
        break;
    case 2:
        ok = keydec_u64_desc(r, &u64);
        st = ok ? keyenc_u64_desc(again, u64) : ST_OK;
        break;
    case 3:
        ok = keydec_u32(r, &u32);
        st = ok ? keyenc_u32(again, u32) : ST_OK;
        break;
    case 4:
        ok = keydec_u32_desc(r, &u32);
        st = ok ? keyenc_u32_desc(again, u32) : ST_OK;
        break;
    case 5:
        ok = keydec_i64(r, &i64);
        st = ok ? keyenc_i64(again, i64) : ST_OK;
        break;
    default:
        ok = keydec_double(r, &d);
        st = ok ? keyenc_double(again, d) : ST_OK;
        break;
    }
    ASSERT(st == ST_OK);
    buf_deinit(&text);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct reader r = reader_of(BYTES(data + 1, size - 1));
    for (unsigned kind = data[0]; reader_left(&r) > 0; kind++) {
        struct buf again = BUF_INIT;
        struct reader before = r, skipped = r;
        struct bytes raw;
        bool ok = round_trip(kind % KINDS, &r, &again);
        if (ok)
            ASSERT(bytes_eq(buf_bytes(&again), BYTES(before.p, (size_t)(r.p - before.p))));
        else
            ASSERT(r.p == before.p && again.len == 0);
        if (kind % KINDS == 0) {
            ASSERT(keydec_skip_bytes(&skipped, &raw) == ok && skipped.p == r.p);
            ASSERT(!ok || bytes_eq(raw, buf_bytes(&again)));
        }
        buf_deinit(&again);
        if (!ok)
            break;
    }
    return 0;
}
