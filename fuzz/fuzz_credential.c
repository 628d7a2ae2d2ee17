/* Records of users and tokens, and grants as text: what is accepted is what encoding makes of it
 * again. The first byte picks. */
#include "base/assert.h"
#include "serve/security/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1), id;
    struct user_record u;
    struct token_record t;
    struct grant g;
    struct buf b = BUF_INIT;
    switch (data[0] % 3) {
    case 0:
        if (!user_decode(in, &u))
            break;
        ASSERT(user_encode(&b, &u) == ST_OK);
        ASSERT(b.len <= in.len); /* varints may have been longer than they need be */
        ASSERT(user_decode(buf_bytes(&b), &u));
        break;
    case 1:
        if (!token_record_decode(in, &t))
            break;
        ASSERT(token_record_encode(&b, &t) == ST_OK);
        ASSERT(b.len <= in.len);
        ASSERT(token_record_decode(buf_bytes(&b), &t));
        break;
    default:
        if (grant_parse(in, &g, NULL) == ST_OK)
            ASSERT(g.pattern.len > 0 && g.pattern.len <= GRANT_PATTERN_MAX);
        if (token_parse(in, &id))
            ASSERT(id.len == TOKEN_ID);
        break;
    }
    buf_deinit(&b);
    return 0;
}
