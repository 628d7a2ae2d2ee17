#include "base/alloc.h"
#include "storage/record.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t rnd(uint64_t *s)
{
    *s += 0x9e3779b97f4a7c15u;
    uint64_t z = *s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(version_cmp(a->version, b->version), 0);
    assert_int_equal(version_cmp(a->parent, b->parent), 0);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->type, b->type);
    assert_true(a->expires_ms == b->expires_ms);
    assert_true(bytes_eq(a->writer, b->writer));
    assert_true(bytes_eq(a->value, b->value));
}

static struct record random_record(uint64_t *s, const uint8_t *bytes)
{
    struct record r = {
        .version = {1 + (rnd(s) >> (rnd(s) % 63)), rnd(s) % 2 ? 0 : (uint32_t)rnd(s)},
        .kind = (uint8_t)(1 + rnd(s) % 3),
        .type = (uint8_t)(rnd(s) % 3),
        .expires_ms = rnd(s) % 2 ? 0 : rnd(s) >> (rnd(s) % 63),
        .writer = BYTES(bytes, rnd(s) % 2 ? 0 : rnd(s) % (RECORD_WRITER_MAX + 1)),
        .value = BYTES(bytes, rnd(s) % 600),
    };
    if (rnd(s) % 2)
        r.parent =
            (struct version){rnd(s) % (r.version.hlc + 1), rnd(s) % 2 ? 0 : (uint32_t)rnd(s)};
    return r;
}

/* Round trips, and every cut of an encoding either fails or means a record whose value is cut. */
static void test_storage_record_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[600];
    uint64_t s = 5;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rnd(&s);
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        s = seed;
        unsigned flags = seed % 2 ? RECORD_WITH_VERSION : 0;
        struct record r = random_record(&s, bytes),
                      got = {.version = flags ? VERSION_NONE : r.version};
        struct buf b = BUF_INIT;
        assert_int_equal(buf_append(&b, "before", 6), ST_OK);
        assert_int_equal(record_encode(&b, &r, flags), ST_OK);
        assert_memory_equal(b.data, "before", 6);
        struct bytes in = BYTES(b.data + 6, b.len - 6);
        if (!record_decode(in, flags, &got))
            fail_msg("seed %llu", (unsigned long long)seed);
        assert_same(&got, &r);
        for (size_t cut = 0; cut < in.len; cut++) {
            struct record part = {.version = r.version, .kind = 99};
            if (record_decode(BYTES(in.data, cut), flags, &part))
                assert_true(part.value.len == r.value.len - (in.len - cut));
            else
                assert_int_equal(part.kind, 99);
        }
        buf_deinit(&b);
    }
}

static bool decodes(struct bytes in, unsigned flags)
{
    struct record r = {.version = {300, 0}, .kind = 99};
    bool ok = record_decode(in, flags, &r);
    if (!ok)
        assert_int_equal(r.kind, 99);
    return ok;
}

static void test_storage_record_refuses(void **state)
{
    (void)state;
    assert_true(decodes(BYTES_LIT("\0\0\x01"), 0));     /* an empty value */
    assert_false(decodes(BYTES_EMPTY, 0));              /* nothing */
    assert_false(decodes(BYTES_LIT("\x01\0\x01v"), 0)); /* a codec to come */
    assert_false(decodes(BYTES_LIT("\0\x01\x01v"), 0)); /* an encryption key to come */
    assert_false(decodes(BYTES_LIT("\0\0\0v"), 0));     /* kind 0 */
    assert_false(decodes(BYTES_LIT("\0\0\x0dv"), 0));   /* type 3 */
    assert_false(decodes(BYTES_LIT("\0\0\x01v"), 1));   /* no room for a version */
    assert_false(decodes(BYTES_LIT("\0\0\x11\0v"), 0)); /* expiry 0 is written by leaving it out */
    assert_false(decodes(BYTES_LIT("\0\0\x21\0v"), 0)); /* a writer of no bytes, too */
    assert_false(decodes(BYTES_LIT("\0\0\x21\x80\x02v"), 0)); /* a writer over 255 bytes */
    assert_true(decodes(BYTES_LIT("\0\0\x41\x05v"), 0));      /* parent 295 */
    assert_false(decodes(BYTES_LIT("\0\0\x41\xac\x02v"), 0)); /* parent 0 is none */
    assert_false(decodes(BYTES_LIT("\0\0\x41\xad\x02v"), 0)); /* parent below 0 */
    assert_false(decodes(BYTES_LIT("\0\0\x41\x85\0v"), 0));   /* a varint longer than it need be */
    assert_true(decodes(BYTES_LIT("\0\0\xc1\x05\x01v"), 0));  /* parent 295 of origin 1 */
    assert_false(
        decodes(BYTES_LIT("\0\0\xc1\x05\0v"), 0)); /* an origin is said to be there, and none is */
    assert_false(
        decodes(BYTES_LIT("\0\0\xc1\x05\xff\xff\xff\xff\x1fv"), 0)); /* an origin over 32 bits */
}

static void test_storage_record_bytes_stay(void **state)
{
    (void)state;
    static const uint8_t want[] = {0,    0,    0xf5, 1,    0x8f, 0x3a, 0x2b, 0x4c, 0x5d, 0,   1,  7,
                                   0x90, 0x4e, 3,    0xe8, 7,    2,    'm',  'e',  'v',  'a', 'l'};
    struct record r = {.version = {0x018f3a2b4c5d0001u, 7},
                       .parent = {0x018f3a2b4c5d0001u - 10000, 3},
                       .kind = RECORD_PUT,
                       .type = RECORD_DOC,
                       .expires_ms = 1000,
                       .writer = BYTES_LIT("me"),
                       .value = BYTES_LIT("val")};
    struct buf b = BUF_INIT;
    assert_int_equal(record_encode(&b, &r, RECORD_WITH_VERSION), ST_OK);
    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(b.data, want, sizeof(want));
    buf_deinit(&b);
}

static void test_storage_record_no_room(void **state)
{
    (void)state;
    uint8_t bytes[600] = {0};
    uint64_t s = 9;
    struct record r = random_record(&s, bytes);
    for (size_t max = 1; max < 40; max++) { /* what did not fit leaves nothing behind */
        struct buf b;
        buf_init(&b, max);
        r.value = BYTES(bytes, 100);
        assert_int_equal(buf_append(&b, "x", 1), ST_OK);
        assert_int_equal(record_encode(&b, &r, RECORD_WITH_VERSION), ST_TOO_LARGE);
        assert_int_equal(b.len, 1);
        buf_deinit(&b);
    }
    struct buf b = BUF_INIT;
    mem_fail_at(1, 1);
    assert_int_equal(record_encode(&b, &r, 0), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

static void test_storage_record_alive(void **state)
{
    (void)state;
    struct record r = {.version = {1, 0}, .kind = RECORD_PUT};
    assert_true(record_alive(&r, UINT64_MAX));
    r.expires_ms = 10;
    assert_true(record_alive(&r, 9));
    assert_false(record_alive(&r, 10));
    r.kind = RECORD_DELETE;
    assert_false(record_alive(&r, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storage_record_round_trip),
        cmocka_unit_test(test_storage_record_refuses),
        cmocka_unit_test(test_storage_record_bytes_stay),
        cmocka_unit_test(test_storage_record_no_room),
        cmocka_unit_test(test_storage_record_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
