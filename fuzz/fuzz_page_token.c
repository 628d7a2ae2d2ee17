/* fuzz_page_token.c - whatever is taken for a token of a page is written back the same, character by
 * character, and stays within its bounds. The input is tried as a token's text, and as the bytes of
 * one that lack only their checksum, which nothing random would meet. */
#include "base/assert.h"
#include "base/base64url.h"
#include "base/hash.h"
#include "serve/command/command.h"
#include "serve/command/page_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(struct bytes text)
{
    struct buf scratch = BUF_INIT, again = BUF_INIT;
    struct page_token t;
    if (page_token_decode(text, &scratch, &t, NULL) == ST_OK) {
        ASSERT(t.key.len <= STORE_KEY_MAX && text.len <= COMMAND_TOKEN_MAX);
        enum status st = page_token_encode(&t, &again);
        ASSERT(st == ST_OK);
        ASSERT(bytes_eq(buf_bytes(&again), text));
    }
    buf_deinit(&scratch);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf raw = BUF_INIT, text = BUF_INIT;
    try_text(BYTES(data, size));
    if (buf_append(&raw, data, size) == ST_OK &&
        buf_append_be32(&raw, crc32c(0, data, size)) == ST_OK &&
        buf_reserve(&text, base64url_len(raw.len) + 1) == ST_OK) {
        text.len = base64url_put(raw.data, raw.len, text.data);
        try_text(buf_bytes(&text));
    }
    buf_deinit(&raw);
    buf_deinit(&text);
    return 0;
}
