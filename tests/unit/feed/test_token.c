/* Tokens: what is encoded comes back, and nothing else is taken for one. */
#include "base/alloc.h"
#include "node/feed/token.h"
#include "storage/record.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdlib.h>

static void round_trips(void **state)
{
    (void)state;
    uint64_t seed;
    uint8_t *key = malloc(RECORD_KEY_MAX);
    struct buf text = BUF_INIT, scratch = BUF_INIT;
    struct err err;
    FOR_EACH_SEED(seed, 300)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        size_t len = seed == 0 ? RECORD_KEY_MAX : test_rng_below(&r, seed % 10 == 0 ? 5000 : 40);
        test_rng_bytes(&r, key, len);
        struct token t = {.range = test_rng_any_width(&r),
                          .version = {test_rng_any_width(&r), (uint32_t)test_rng_u64(&r)},
                          .key = BYTES(key, len)};
        assert_int_equal(token_encode(&t, &text), ST_OK);
        assert_true(text.cap >= text.len + 1 && text.data[text.len] == 0 &&
                    text.len < token_text_max(len));
        struct token back;
        assert_int_equal(token_decode(buf_bytes(&text), &scratch, &back, &err), ST_OK);
        assert_true(back.range == t.range && version_cmp(back.version, t.version) == 0 &&
                    bytes_eq(back.key, t.key));
        /* One character otherwise, and it is none (the checksum finds one changed byte of any
         * length of token). */
        size_t at = test_rng_below(&r, text.len);
        uint8_t old = text.data[at];
        text.data[at] = old == 'A' ? 'B' : 'A';
        assert_int_equal(token_decode(buf_bytes(&text), &scratch, &back, &err),
                         ST_INVALID_ARGUMENT);
        text.data[at] = old;
        assert_int_equal(token_decode(BYTES(text.data, at), &scratch, &back, &err),
                         ST_INVALID_ARGUMENT);
    }
    buf_deinit(&text);
    buf_deinit(&scratch);
    free(key);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "A",    "AQ",   "AQE=", "AQ E",
                                      "now", "AgEB", "AQIB", "////", "AQEBAAAAAAAAAAAAAAAAAAAA"};
    struct buf scratch = BUF_INIT;
    struct err err;
    struct token t = {.range = 77};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(token_decode(BYTES_STR(bad[i]), &scratch, &t, &err), ST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.detail, "token"));
        assert_int_equal(t.range, 77);
    }
    static const uint8_t huge[200000];
    assert_int_equal(token_decode(BYTES(huge, sizeof(huge)), &scratch, &t, &err),
                     ST_INVALID_ARGUMENT);
    buf_deinit(&scratch);
}

static void lives_without_memory(void **state)
{
    (void)state;
    struct buf text = BUF_INIT, scratch = BUF_INIT;
    struct err err;
    struct token t = {.range = 1, .version = {5, 0}, .key = BYTES_LIT("key")}, back;
    mem_fail_at(1, 1);
    assert_int_equal(token_encode(&t, &text), ST_NO_MEMORY);
    assert_int_equal(token_decode(BYTES_LIT("AQEB"), &scratch, &back, &err), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    buf_deinit(&text);
    buf_deinit(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refuses),
        cmocka_unit_test(lives_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
