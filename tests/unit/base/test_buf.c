/* test_buf.c - growth, the maximum, every writer against its reader, and what is left after a
 * failure. */
#include "base/alloc.h"
#include "base/buf.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <string.h>

static void a_zeroed_buf_is_empty(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_int_equal(buf_bytes(&b).len, 0);
    assert_non_null(buf_bytes(&b).data);
    assert_int_equal(buf_append(&b, NULL, 0), ST_OK);
    assert_string_equal(buf_cstr(&b), "");
    buf_deinit(&b);
    buf_deinit(&b);
    buf_deinit(NULL);
}

static void appends_grow_by_doubling(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    size_t moves = 0, cap = 0;
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(buf_append_u8(&b, (uint8_t)(i * 7)), ST_OK);
        moves += b.cap != cap;
        cap = b.cap;
    }
    assert_true(moves < 20);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], (uint8_t)(i * 7));
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    buf_deinit(&b);
}

static void the_maximum_is_exact(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    char text[100];
    memset(text, 'x', sizeof text);
    assert_int_equal(buf_append(&b, text, 99), ST_OK);
    assert_int_equal(buf_append(&b, text, 2), ST_TOO_LARGE);
    assert_int_equal(buf_printf(&b, "yz"), ST_TOO_LARGE);
    assert_int_equal(buf_append_le32(&b, 1), ST_TOO_LARGE);
    assert_int_equal(buf_reserve(&b, 2), ST_TOO_LARGE);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ST_TOO_LARGE);
    assert_int_equal(b.len, 99);
    assert_int_equal(buf_printf(&b, "y"), ST_OK);
    assert_int_equal(buf_append_u8(&b, 0), ST_TOO_LARGE);
    /* The NUL is not content: it fits even here, and no further append gets through because of it.
     */
    assert_int_equal(strlen(buf_cstr(&b)), 100);
    assert_int_equal(buf_append_u8(&b, 0), ST_TOO_LARGE);
    assert_int_equal(b.data[99], 'y');
    buf_deinit(&b);
}

static void impossible_sizes_are_no_memory(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_int_equal(buf_append(&b, "abc", 3), ST_OK);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ST_NO_MEMORY);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 3), ST_NO_MEMORY);
    assert_int_equal(buf_reserve(&b, (size_t)PTRDIFF_MAX), ST_NO_MEMORY);
    assert_string_equal(buf_cstr(&b), "abc");
    buf_deinit(&b);
}

static void fixed_encodings_have_fixed_bytes(void **state)
{
    (void)state;
    static const uint8_t want[] = {0xab, 4, 3, 2,    1,    1,    2,    3,    4,   8, 7,
                                   6,    5, 4, 3,    2,    1,    1,    2,    3,   4, 5,
                                   6,    7, 8, 0x00, 0x7f, 0x80, 0x01, 0xac, 0x02};
    struct buf b = BUF_INIT;
    assert_int_equal(buf_append_u8(&b, 0xab), ST_OK);
    assert_int_equal(buf_append_le32(&b, 0x01020304), ST_OK);
    assert_int_equal(buf_append_be32(&b, 0x01020304), ST_OK);
    assert_int_equal(buf_append_le64(&b, UINT64_C(0x0102030405060708)), ST_OK);
    assert_int_equal(buf_append_be64(&b, UINT64_C(0x0102030405060708)), ST_OK);
    assert_int_equal(buf_append_varint(&b, 0), ST_OK);
    assert_int_equal(buf_append_varint(&b, 127), ST_OK);
    assert_int_equal(buf_append_varint(&b, 128), ST_OK);
    assert_int_equal(buf_append_varint(&b, 300), ST_OK);
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_deinit(&b);
}

static void readers_read_what_was_written(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 300)
    {
        struct test_rng rng;
        struct buf b = BUF_INIT;
        struct {
            uint64_t kind, value;
        } log[64];
        test_rng_init(&rng, seed);
        for (size_t i = 0; i < 64; i++) {
            enum status st = ST_OK;
            log[i].kind = test_rng_below(&rng, 6);
            log[i].value = test_rng_any_width(&rng);
            switch (log[i].kind) {
            case 0:
                st = buf_append_u8(&b, (uint8_t)log[i].value);
                break;
            case 1:
                st = buf_append_le32(&b, (uint32_t)log[i].value);
                break;
            case 2:
                st = buf_append_be32(&b, (uint32_t)log[i].value);
                break;
            case 3:
                st = buf_append_le64(&b, log[i].value);
                break;
            case 4:
                st = buf_append_be64(&b, log[i].value);
                break;
            default:
                st = buf_append_varint(&b, log[i].value);
                break;
            }
            assert_int_equal(st, ST_OK);
        }
        struct reader r = reader_of(buf_bytes(&b));
        for (size_t i = 0; i < 64; i++) {
            uint8_t u8;
            uint32_t u32;
            uint64_t u64;
            bool ok = false;
            switch (log[i].kind) {
            case 0:
                ok = read_u8(&r, &u8) && u8 == (uint8_t)log[i].value;
                break;
            case 1:
                ok = read_le32(&r, &u32) && u32 == (uint32_t)log[i].value;
                break;
            case 2:
                ok = read_be32(&r, &u32) && u32 == (uint32_t)log[i].value;
                break;
            case 3:
                ok = read_le64(&r, &u64) && u64 == log[i].value;
                break;
            case 4:
                ok = read_be64(&r, &u64) && u64 == log[i].value;
                break;
            default:
                ok = read_varint(&r, &u64) && u64 == log[i].value;
                break;
            }
            assert_true(ok);
        }
        assert_int_equal(reader_left(&r), 0);
        buf_deinit(&b);
    }
}

static void a_short_read_moves_nothing(void **state)
{
    (void)state;
    static const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t len = 0; len < 8; len++) {
        struct reader r = reader_of(BYTES(data, len));
        uint8_t u8 = 99;
        uint32_t u32 = 99;
        uint64_t u64 = 99;
        struct bytes part = {data, 99};
        assert_false(read_le64(&r, &u64));
        assert_false(read_be64(&r, &u64));
        assert_int_equal(len >= 4, read_le32(&(struct reader){r.p, r.end}, &u32));
        assert_false(read_bytes(&r, len + 1, &part));
        assert_false(read_bytes(&r, SIZE_MAX, &part));
        assert_int_equal(u64, 99);
        assert_int_equal(part.len, 99);
        assert_ptr_equal(r.p, data);
        if (len == 0)
            assert_false(read_u8(&r, &u8));
        if (len < 4)
            assert_false(read_be32(&r, &u32));
        assert_true(read_bytes(&r, len, &part));
        assert_int_equal(part.len, len);
        assert_int_equal(reader_left(&r), 0);
    }
    struct reader none = reader_of((struct bytes){NULL, 0});
    struct bytes part;
    assert_true(read_bytes(&none, 0, &part));
    assert_false(read_bytes(&none, 1, &part));
}

static void bad_varints_are_refused(void **state)
{
    (void)state;
    static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                     0x80, 0x80, 0x80, 0x80, 0x00};
    static const uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t most[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    static const uint8_t cut[] = {0x80, 0x80};
    uint64_t v = 99;
    struct reader r = reader_of(BYTES(eleven, sizeof eleven));
    assert_false(read_varint(&r, &v));
    assert_ptr_equal(r.p, eleven);
    r = reader_of(BYTES(over, sizeof over));
    assert_false(read_varint(&r, &v));
    r = reader_of(BYTES(cut, sizeof cut));
    assert_false(read_varint(&r, &v));
    assert_int_equal(v, 99);
    r = reader_of(BYTES(most, sizeof most));
    assert_true(read_varint(&r, &v));
    assert_true(v == UINT64_MAX);
    assert_int_equal(reader_left(&r), 0);
}

static void printf_appends_at_every_fill(void **state)
{
    (void)state;
    for (size_t fill = 0; fill < 130; fill++) {
        struct buf b = BUF_INIT;
        for (size_t i = 0; i < fill; i++)
            assert_int_equal(buf_append_u8(&b, 'a'), ST_OK);
        assert_int_equal(buf_printf(&b, "<%s %d>", "n", 12345), ST_OK);
        assert_int_equal(b.len, fill + 9);
        assert_string_equal(buf_cstr(&b) + fill, "<n 12345>");
        buf_deinit(&b);
    }
}

static void a_buf_may_append_itself(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_int_equal(buf_append(&b, "ab", 2), ST_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(buf_append(&b, b.data, b.len), ST_OK);
    assert_int_equal(b.len, 2048);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.data[i], i % 2 ? 'b' : 'a');
    buf_deinit(&b);
}

static void stealing_leaves_an_empty_buf(void **state)
{
    (void)state;
    struct buf b;
    size_t len;
    buf_init(&b, 10);
    assert_int_equal(buf_append(&b, "abc", 3), ST_OK);
    uint8_t *data = buf_steal(&b, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    mem_free(data);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_append(&b, "0123456789", 10), ST_OK);
    assert_int_equal(buf_append_u8(&b, 0), ST_TOO_LARGE);
    buf_deinit(&b);
}

/* A run of every kind of growth. False when an allocation failed; then the content is a prefix of
 * the whole. */
static bool fill_all(struct buf *b)
{
    char big[300];
    memset(big, 'q', sizeof big);
    return buf_append(b, big, 60) == ST_OK && buf_printf(b, "%s", "0123456789") == ST_OK &&
           buf_append_be64(b, 1) == ST_OK && buf_append_varint(b, 300) == ST_OK &&
           buf_append(b, big, sizeof big) == ST_OK && buf_reserve(b, 5000) == ST_OK;
}

static void every_failed_allocation_keeps_the_content(void **state)
{
    (void)state;
    struct buf whole = BUF_INIT;
    assert_true(fill_all(&whole));
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct buf b = BUF_INIT;
        mem_fail_at(n, n % 2);
        done = fill_all(&b);
        uint64_t hits = mem_fail_hits();
        mem_fail_at(0, 0);
        assert_int_equal(done, hits == 0);
        assert_true(b.len <= whole.len);
        assert_true(b.len == 0 || memcmp(b.data, whole.data, b.len) == 0);
        assert_int_equal(buf_append(&b, "again", 5), ST_OK);
        buf_deinit(&b);
        assert_true(n < 100);
    }
    /* 64 bytes, an exactly full buf: the NUL needs memory. */
    struct buf full = BUF_INIT;
    for (int i = 0; i < 64; i++)
        assert_int_equal(buf_append_u8(&full, 'f'), ST_OK);
    mem_fail_at(1, 0);
    assert_null(buf_cstr(&full));
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 1);
    assert_int_equal(strlen(buf_cstr(&full)), 64);
    buf_deinit(&full);
    buf_deinit(&whole);
}

static void bytes_compare_as_unsigned_shorter_first(void **state)
{
    (void)state;
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("b")) < 0);
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("ab")) < 0);
    assert_true(bytes_cmp(BYTES_LIT("\xff"), BYTES_LIT("a")) > 0);
    assert_true(bytes_cmp(BYTES_EMPTY, (struct bytes){NULL, 0}) == 0);
    assert_true(bytes_eq(BYTES_EMPTY, (struct bytes){NULL, 0}));
    assert_false(bytes_eq(BYTES_LIT("a"), BYTES_LIT("b")));
    assert_true(bytes_has_prefix(BYTES_LIT("abc"), BYTES_LIT("ab")));
    assert_true(bytes_has_prefix(BYTES_LIT("abc"), BYTES_EMPTY));
    assert_false(bytes_has_prefix(BYTES_LIT("ab"), BYTES_LIT("abc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_buf_is_empty),
        cmocka_unit_test(appends_grow_by_doubling),
        cmocka_unit_test(the_maximum_is_exact),
        cmocka_unit_test(impossible_sizes_are_no_memory),
        cmocka_unit_test(fixed_encodings_have_fixed_bytes),
        cmocka_unit_test(readers_read_what_was_written),
        cmocka_unit_test(a_short_read_moves_nothing),
        cmocka_unit_test(bad_varints_are_refused),
        cmocka_unit_test(printf_appends_at_every_fill),
        cmocka_unit_test(a_buf_may_append_itself),
        cmocka_unit_test(stealing_leaves_an_empty_buf),
        cmocka_unit_test(every_failed_allocation_keeps_the_content),
        cmocka_unit_test(bytes_compare_as_unsigned_shorter_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
