/* Text of bytes and back: the vectors of RFC 4648, every length, and nothing but what was encoded is
 * taken. */
#include "base/base64url.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

static void the_vectors_of_the_rfc(void **state)
{
    static const char *const vectors[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "-_8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct bytes raw = BYTES_STR(vectors[i][0]), text = BYTES_STR(vectors[i][1]);
        uint8_t out[16];
        assert_int_equal(base64url_len(raw.len), text.len);
        assert_int_equal(base64url_put(raw.data, raw.len, out), text.len);
        assert_memory_equal(out, text.data, text.len);
        assert_true(base64url_get(text, out));
        assert_memory_equal(out, raw.data, raw.len);
    }
}

static void there_and_back(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 300)
    {
        struct test_rng r;
        uint8_t raw[100], text[140], again[140];
        test_rng_init(&r, seed);
        size_t n = test_rng_below(&r, sizeof(raw) + 1);
        test_rng_bytes(&r, raw, n);
        size_t len = base64url_put(raw, n, text);
        assert_int_equal(len, base64url_len(n));
        assert_true(base64url_get(BYTES(text, len), again));
        assert_int_equal(len * 3 / 4, n);
        assert_memory_equal(raw, again, n);
    }
}

static void what_is_none_is_refused(void **state)
{
    (void)state;
    uint8_t out[16];
    assert_false(base64url_get(BYTES_LIT("Z"), out));
    assert_false(base64url_get(BYTES_LIT("Zm9vZ"), out));
    assert_false(base64url_get(BYTES_LIT("Zh"), out)); /* bits that would be lost */
    assert_false(base64url_get(BYTES_LIT("Zm9="), out));
    assert_false(base64url_get(BYTES_LIT("Zm9 "), out));
    assert_false(base64url_get(BYTES_LIT("Zm+/"), out));
    assert_false(base64url_get(BYTES_LIT("Zm9\0"), out));
    assert_false(base64url_get(BYTES_LIT("Zm\xc3\xa4"), out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
