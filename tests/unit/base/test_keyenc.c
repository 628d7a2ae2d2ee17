/* test_keyenc.c - memcmp order is tuple order, decoding gives back what was encoded, and the rest
 * is refused. */
#include "base/alloc.h"
#include "base/keyenc.h"
#include "support/cmocka.h"
#include "support/hexdump.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <math.h>
#include <string.h>

enum kind { K_BYTES, K_U64, K_U64_DESC, K_U32, K_U32_DESC, K_I64, K_DOUBLE, KIND_COUNT };
enum { PARTS_MAX = 4, TEXT_MAX = 12 };

struct part {
    enum kind kind;
    uint8_t text[TEXT_MAX];
    size_t len;
    uint64_t u64;
    uint32_t u32;
    int64_t i64;
    double d;
};

static struct bytes text_of(const struct part *p)
{
    return (struct bytes){p->text, p->len};
}

/* Few different bytes and short strings, so that prefixes, zeros and the escape's own bytes meet
 * often. */
static void random_text(struct test_rng *rng, struct part *p)
{
    static const uint8_t likely[] = {0x00, 0x01, 0xff, 0x00, 'a', 'b'};
    p->len = (size_t)test_rng_below(rng, test_rng_chance(rng, 1, 2) ? 4 : TEXT_MAX + 1);
    for (size_t i = 0; i < p->len; i++)
        p->text[i] = test_rng_chance(rng, 1, 8) ? (uint8_t)test_rng_u64(rng)
                                                : likely[test_rng_below(rng, sizeof likely)];
}

static double random_double(struct test_rng *rng)
{
    static const double special[] = {0.0,
                                     -0.0,
                                     1.0,
                                     -1.0,
                                     0.5,
                                     -0.5,
                                     INFINITY,
                                     -INFINITY,
                                     NAN,
                                     5e-324,
                                     -5e-324,
                                     1.7976931348623157e308,
                                     -1.7976931348623157e308,
                                     2.2250738585072014e-308};
    double d;
    if (test_rng_chance(rng, 1, 2))
        return special[test_rng_below(rng, sizeof special / sizeof special[0])];
    uint64_t bits = test_rng_u64(rng);
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void random_part(struct test_rng *rng, struct part *p)
{
    static const int64_t edges[] = {0, 1, -1, INT64_MAX, INT64_MIN, 255, 256, -256};
    memset(p->text, 0, sizeof p->text);
    random_text(rng, p);
    p->u64 = test_rng_any_width(rng);
    p->u32 = (uint32_t)test_rng_any_width(rng);
    p->i64 = test_rng_chance(rng, 1, 2) ? edges[test_rng_below(rng, 8)]
                                        : (int64_t)(test_rng_any_width(rng) * 3);
    p->d = random_double(rng);
}

static int cmp_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* The documented order: NaN, then -infinity ... infinity, zeros equal. */
static int cmp_double(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isnan(b) != 0) - (isnan(a) != 0);
    return (a > b) - (a < b);
}

static int cmp_part(const struct part *a, const struct part *b)
{
    switch (a->kind) {
    case K_BYTES:
        return bytes_cmp(text_of(a), text_of(b));
    case K_U64:
        return cmp_u64(a->u64, b->u64);
    case K_U64_DESC:
        return cmp_u64(b->u64, a->u64);
    case K_U32:
        return cmp_u64(a->u32, b->u32);
    case K_U32_DESC:
        return cmp_u64(b->u32, a->u32);
    case K_I64:
        return (a->i64 > b->i64) - (a->i64 < b->i64);
    case K_DOUBLE:
        return cmp_double(a->d, b->d);
    case KIND_COUNT:
        break;
    }
    fail();
    return 0;
}

static enum status encode(struct buf *b, const struct part *p)
{
    switch (p->kind) {
    case K_BYTES:
        return keyenc_bytes(b, text_of(p));
    case K_U64:
        return keyenc_u64(b, p->u64);
    case K_U64_DESC:
        return keyenc_u64_desc(b, p->u64);
    case K_U32:
        return keyenc_u32(b, p->u32);
    case K_U32_DESC:
        return keyenc_u32_desc(b, p->u32);
    case K_I64:
        return keyenc_i64(b, p->i64);
    case K_DOUBLE:
        return keyenc_double(b, p->d);
    case KIND_COUNT:
        break;
    }
    return ST_INTERNAL;
}

static bool decode(struct reader *r, enum kind kind, struct part *ret)
{
    struct buf text = BUF_INIT;
    bool ok = false;
    memset(ret, 0, sizeof *ret);
    ret->kind = kind;
    switch (kind) {
    case K_BYTES:
        ok = keydec_bytes(r, &text) && text.len <= TEXT_MAX;
        if (ok && text.len)
            memcpy(ret->text, text.data, text.len);
        ret->len = text.len;
        buf_deinit(&text);
        return ok;
    case K_U64:
        return keydec_u64(r, &ret->u64);
    case K_U64_DESC:
        return keydec_u64_desc(r, &ret->u64);
    case K_U32:
        return keydec_u32(r, &ret->u32);
    case K_U32_DESC:
        return keydec_u32_desc(r, &ret->u32);
    case K_I64:
        return keydec_i64(r, &ret->i64);
    case K_DOUBLE:
        return keydec_double(r, &ret->d);
    case KIND_COUNT:
        break;
    }
    return false;
}

static void encode_tuple(struct buf *b, const struct part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(encode(b, &parts[i]), ST_OK);
}

static int cmp_tuple(const struct part *a, const struct part *b, size_t count)
{
    int c = 0;
    for (size_t i = 0; i < count && c == 0; i++)
        c = cmp_part(&a[i], &b[i]);
    return c;
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void key_order_is_tuple_order(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 100000)
    {
        struct test_rng rng;
        struct part a[PARTS_MAX], b[PARTS_MAX];
        struct buf ka = BUF_INIT, kb = BUF_INIT;
        test_rng_init(&rng, seed);
        size_t count = (size_t)test_rng_between(&rng, 1, PARTS_MAX);
        for (size_t i = 0; i < count; i++) {
            random_part(&rng, &a[i]);
            random_part(&rng, &b[i]);
            if (test_rng_chance(&rng, 1, 2))
                b[i] = a[i];
            a[i].kind = b[i].kind = (enum kind)test_rng_below(&rng, KIND_COUNT);
        }
        encode_tuple(&ka, a, count);
        encode_tuple(&kb, b, count);
        int want = sign(cmp_tuple(a, b, count));
        int got = sign(bytes_cmp(buf_bytes(&ka), buf_bytes(&kb)));
        if (want != got) {
            hex_dump(stderr, "a", ka.data, ka.len);
            hex_dump(stderr, "b", kb.data, kb.len);
        }
        assert_int_equal(got, want);
        buf_deinit(&ka);
        buf_deinit(&kb);
    }
}

static void decoding_gives_back_the_tuple(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 20000)
    {
        struct test_rng rng;
        struct part parts[PARTS_MAX], back;
        struct buf key = BUF_INIT;
        test_rng_init(&rng, seed);
        for (size_t i = 0; i < PARTS_MAX; i++) {
            random_part(&rng, &parts[i]);
            parts[i].kind = (enum kind)test_rng_below(&rng, KIND_COUNT);
        }
        encode_tuple(&key, parts, PARTS_MAX);
        struct reader r = reader_of(buf_bytes(&key));
        for (size_t i = 0; i < PARTS_MAX; i++) {
            assert_true(decode(&r, parts[i].kind, &back));
            assert_int_equal(cmp_part(&parts[i], &back), 0);
        }
        assert_int_equal(reader_left(&r), 0);
        buf_deinit(&key);
    }
}

static void a_key_cut_anywhere_is_refused(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng rng;
        struct part p, back;
        struct buf key = BUF_INIT;
        test_rng_init(&rng, seed);
        random_part(&rng, &p);
        p.kind = (enum kind)test_rng_below(&rng, KIND_COUNT);
        encode_tuple(&key, &p, 1);
        for (size_t len = 0; len < key.len; len++) {
            struct reader r = reader_of(BYTES(key.data, len));
            assert_false(decode(&r, p.kind, &back));
            assert_ptr_equal(r.p, key.data);
        }
        buf_deinit(&key);
    }
}

static void malformed_strings_are_refused(void **state)
{
    (void)state;
    static const struct bytes bad[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"abc", 3},
        {(const uint8_t *)"abc\0", 4},
        {(const uint8_t *)"abc\0\0", 5},
        {(const uint8_t *)"abc\0\x02\0\x01", 7},
        {(const uint8_t *)"\0\xfe\0\x01", 4},
        {(const uint8_t *)"\0\xff", 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out = BUF_INIT;
        struct reader r = reader_of(bad[i]);
        struct bytes raw = {NULL, 99};
        assert_int_equal(buf_append(&out, "kept", 4), ST_OK);
        assert_false(keydec_bytes(&r, &out));
        assert_false(keydec_skip_bytes(&r, &raw));
        assert_ptr_equal(r.p, bad[i].data);
        assert_int_equal(raw.len, 99);
        assert_string_equal(buf_cstr(&out), "kept");
        buf_deinit(&out);
    }
}

static void strings_are_written_as_documented(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, out = BUF_INIT;
    struct bytes raw;
    assert_int_equal(keyenc_bytes(&b, BYTES_LIT("a\0b")), ST_OK);
    assert_int_equal(keyenc_bytes(&b, (struct bytes){NULL, 0}), ST_OK);
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.data,
                        "a\0\xff"
                        "b\0\x01\0\x01",
                        8);
    struct reader r = reader_of(buf_bytes(&b));
    assert_true(keydec_skip_bytes(&r, &raw));
    assert_int_equal(raw.len, 6);
    assert_true(keydec_bytes(&r, &out));
    assert_int_equal(out.len, 0);
    r = reader_of(buf_bytes(&b));
    assert_int_equal(buf_append(&out, "<", 1), ST_OK);
    assert_true(keydec_bytes(&r, &out)); /* appends */
    assert_memory_equal(out.data, "<a\0b", 4);
    buf_deinit(&b);
    buf_deinit(&out);
}

static uint64_t encoded_double(double v)
{
    struct buf b = BUF_INIT;
    uint64_t bits = 0;
    assert_int_equal(keyenc_double(&b, v), ST_OK);
    struct reader r = reader_of(buf_bytes(&b));
    assert_true(read_be64(&r, &bits));
    buf_deinit(&b);
    return bits;
}

static bool double_decodes(uint64_t ordered)
{
    struct buf b = BUF_INIT;
    double v = 42;
    assert_int_equal(buf_append_be64(&b, ordered), ST_OK);
    struct reader r = reader_of(buf_bytes(&b));
    bool ok = keydec_double(&r, &v);
    assert_int_equal(reader_left(&r), ok ? 0 : 8);
    assert_true(ok || (v >= 42 && v <= 42));
    buf_deinit(&b);
    return ok;
}

static void doubles_have_one_zero_and_one_nan(void **state)
{
    (void)state;
    uint64_t payload = UINT64_C(0x7ff8000000001234);
    double other_nan;
    memcpy(&other_nan, &payload, sizeof other_nan);
    assert_true(encoded_double(-0.0) == encoded_double(0.0));
    assert_true(encoded_double(0.0) == UINT64_C(0x8000000000000000));
    assert_true(encoded_double(NAN) == encoded_double(-NAN));
    assert_true(encoded_double(NAN) == encoded_double(other_nan));
    assert_true(encoded_double(NAN) < encoded_double(-INFINITY));
    assert_true(double_decodes(encoded_double(NAN)));
    assert_true(double_decodes(encoded_double(0.0)));
    assert_false(double_decodes(UINT64_C(0x7fffffffffffffff))); /* -0 */
    assert_false(double_decodes(payload ^ UINT64_C(0x8000000000000000)));
    assert_false(double_decodes(0)); /* the negative NaN with all bits set */
    static const double rising[] = {-INFINITY, -1.7e308, -1.5, -1.0, -2.3e-308, -5e-324, 0.0,
                                    5e-324,    2.3e-308, 1.0,  1.5,  1.7e308,   INFINITY};
    for (size_t i = 1; i < sizeof rising / sizeof rising[0]; i++)
        assert_true(encoded_double(rising[i - 1]) < encoded_double(rising[i]));
}

static void limits_and_lack_of_memory_leave_the_key(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(keyenc_u32(&b, 1), ST_OK);
    assert_int_equal(keyenc_u64(&b, 1), ST_TOO_LARGE);
    assert_int_equal(keyenc_bytes(&b, BYTES_LIT("\0\0")), ST_TOO_LARGE);
    assert_int_equal(keyenc_bytes(&b, BYTES_LIT("abc")), ST_TOO_LARGE);
    assert_int_equal(b.len, 4);
    assert_int_equal(keyenc_bytes(&b, BYTES_LIT("ab")), ST_OK);
    /* Decoding where there is no room answers false and appends nothing. */
    struct buf small;
    struct reader r = reader_of(BYTES("abc\0\x01", 5));
    buf_init(&small, 2);
    assert_false(keydec_bytes(&r, &small));
    assert_int_equal(small.len, 0);
    assert_int_equal(reader_left(&r), 5);
    mem_fail_at(1, 1);
    struct buf none = BUF_INIT;
    assert_int_equal(keyenc_bytes(&none, BYTES_LIT("x")), ST_NO_MEMORY);
    assert_int_equal(keyenc_double(&none, 1), ST_NO_MEMORY);
    assert_false(keydec_bytes(&r, &none));
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 3);
    assert_int_equal(none.len, 0);
    buf_deinit(&b);
    buf_deinit(&small);
    buf_deinit(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_order_is_tuple_order),
        cmocka_unit_test(decoding_gives_back_the_tuple),
        cmocka_unit_test(a_key_cut_anywhere_is_refused),
        cmocka_unit_test(malformed_strings_are_refused),
        cmocka_unit_test(strings_are_written_as_documented),
        cmocka_unit_test(doubles_have_one_zero_and_one_nan),
        cmocka_unit_test(limits_and_lack_of_memory_leave_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
