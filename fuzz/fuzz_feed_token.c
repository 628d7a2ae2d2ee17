/* fuzz_feed_token.c - whatever is taken for a token is written back the same, character by
 * character. */
#include "base/assert.h"
#include "node/feed/token.h"
#include "storage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf scratch = BUF_INIT, again = BUF_INIT;
    struct token t;
    if (token_decode(BYTES(data, size), &scratch, &t, NULL) == ST_OK) {
        ASSERT(t.key.len <= RECORD_KEY_MAX);
        enum status st = token_encode(&t, &again);
        ASSERT(st == ST_OK);
        ASSERT(bytes_eq(buf_bytes(&again), BYTES(data, size)));
    }
    buf_deinit(&scratch);
    buf_deinit(&again);
    return 0;
}
