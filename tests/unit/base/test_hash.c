/* test_hash.c - CRC32C against RFC 3720's vectors and a bit-by-bit model, in both implementations;
 * XXH64's known values. */
#include "base/hash.h"
#include "base/le.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdlib.h>
#include <string.h>

static uint32_t crc_by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static void check_crc(const void *data, size_t len, uint32_t want)
{
    assert_int_equal(crc32c(0, data, len), want);
    assert_int_equal(crc32c_portable(0, data, len), want);
}

static void crc_of_the_rfc(void **state)
{
    (void)state;
    /* RFC 3720, appendix B.4; the RFC prints the bytes in wire order. */
    uint8_t data[32];
    memset(data, 0, 32);
    check_crc(data, 32, 0x8a9136aa);
    memset(data, 0xff, 32);
    check_crc(data, 32, 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    check_crc(data, 32, 0x46dd794e);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    check_crc(data, 32, 0x113fdb5c);
    static const uint8_t read_pdu[48] = {0x01, 0xc0, 0, 0,    0,    0, 0, 0,    0,    0, 0,    0,
                                         0,    0,    0, 0,    0x14, 0, 0, 0,    0,    0, 0x04, 0,
                                         0,    0,    0, 0x14, 0,    0, 0, 0x18, 0x28, 0, 0,    0,
                                         0,    0,    0, 0,    0x02, 0, 0, 0,    0,    0, 0,    0};
    check_crc(read_pdu, 48, 0xd9963a56);
    check_crc("123456789", 9, 0xe3069283);
    check_crc("", 0, 0);
}

enum { BIG = 40000 };

static void both_ways_agree_at_every_length_and_alignment(void **state)
{
    (void)state;
    uint8_t *data = malloc(BIG + 64);
    uint64_t seed;
    assert_non_null(data);
    FOR_EACH_SEED(seed, 400)
    {
        struct test_rng rng;
        test_rng_init(&rng, seed);
        size_t len = (size_t)test_rng_below(&rng, test_rng_chance(&rng, 1, 4) ? BIG : 2000);
        size_t offset = (size_t)test_rng_below(&rng, 64);
        uint32_t start = (uint32_t)test_rng_u64(&rng);
        test_rng_bytes(&rng, data + offset, len);
        uint32_t want = crc_by_bits(start, data + offset, len);
        assert_int_equal(crc32c(start, data + offset, len), want);
        assert_int_equal(crc32c_portable(start, data + offset, len), want);
        size_t cut = (size_t)test_rng_below(&rng, len + 1);
        uint32_t first = crc32c(start, data + offset, cut);
        assert_int_equal(crc32c(first, data + offset + cut, len - cut), want);
    }
    free(data);
}

static void words_are_their_little_endian_bytes(void **state)
{
    (void)state;
    struct test_rng rng;
    test_rng_init(&rng, 5);
    for (int i = 0; i < 100; i++) {
        uint64_t w[5];
        uint8_t bytes[40];
        uint32_t start = (uint32_t)test_rng_u64(&rng);
        for (size_t k = 0; k < 5; k++) {
            w[k] = test_rng_u64(&rng);
            for (size_t b = 0; b < 8; b++)
                bytes[8 * k + b] = (uint8_t)(w[k] >> (8 * b));
        }
        assert_int_equal(crc32c_words(start, w[0], w[1], w[2], w[3], w[4]),
                         crc_by_bits(start, bytes, sizeof bytes));
        put_le64(bytes + 3, w[4]);
        put_le32(bytes + 17, (uint32_t)w[3]);
        put_le16(bytes + 31, (unsigned)w[2] & 0xffff);
        assert_int_equal(bytes[3], w[4] & 0xff);
        assert_int_equal(bytes[10], w[4] >> 56);
        assert_int_equal(bytes[20], w[3] >> 24 & 0xff);
        assert_int_equal(bytes[32], w[2] >> 8 & 0xff);
        assert_true(get_le64(bytes + 3) == w[4] && get_le32(bytes + 17) == (uint32_t)w[3]);
    }
}

static void block_edges_agree(void **state)
{
    (void)state;
    static const size_t edges[] = {8, 3 * 256, 6 * 256, 3 * 4096, 3 * 4096 + 3 * 256, 6 * 4096};
    uint8_t *data = malloc(BIG);
    struct test_rng rng;
    assert_non_null(data);
    test_rng_init(&rng, 1);
    test_rng_bytes(&rng, data, BIG);
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        for (size_t len = edges[i] - 8; len <= edges[i] + 9; len++)
            assert_int_equal(crc32c(0, data, len), crc_by_bits(0, data, len));
    free(data);
}

static void xxh64_is_the_published_one(void **state)
{
    (void)state;
    assert_true(hash_xxh64("", 0, 0) == UINT64_C(0xef46db3751d8e999));
    assert_true(hash_xxh64("a", 1, 0) == UINT64_C(0xd24ec4f1a98c6e5b));
    assert_true(hash_xxh64("abc", 3, 0) == UINT64_C(0x44bc2cf5ad770999));
    assert_true(hash_xxh64("abc", 3, 1) != hash_xxh64("abc", 3, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_of_the_rfc),
        cmocka_unit_test(both_ways_agree_at_every_length_and_alignment),
        cmocka_unit_test(words_are_their_little_endian_bytes),
        cmocka_unit_test(block_edges_agree),
        cmocka_unit_test(xxh64_is_the_published_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
