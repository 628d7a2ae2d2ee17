/* Framing, compression, timeouts and codings, each against what it must be. */
#include "base/alloc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/grpc/grpc_codec.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 20, MESSAGE_TEST_MAX = 40000 };

struct sent {
    uint8_t *data;
    size_t len;
};

static void random_message(struct test_rng *r, struct sent *m)
{
    m->len = (size_t)test_rng_below(r, test_rng_chance(r, 1, 4) ? MESSAGE_TEST_MAX : 100);
    m->data = malloc(m->len + 1);
    for (size_t i = 0; i < m->len; i++) /* compresses somewhat */
        m->data[i] = (uint8_t)(test_rng_below(r, 4) + i / 100);
}

static void put(struct buf *wire, const struct sent *m, bool gzip)
{
    uint8_t prefix[GRPC_PREFIX];
    struct buf body = BUF_INIT;
    if (gzip)
        assert_int_equal(grpc_gzip(BYTES(m->data, m->len), &body), ST_OK);
    else
        assert_int_equal(buf_append(&body, m->data, m->len), ST_OK);
    grpc_prefix(prefix, gzip, (uint32_t)body.len);
    assert_int_equal(buf_append(wire, prefix, sizeof prefix), ST_OK);
    assert_int_equal(buf_append(wire, body.data, body.len), ST_OK);
    buf_deinit(&body);
}

static void messages_come_out_as_they_went_in(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 200)
    {
        struct test_rng r;
        struct sent sent[MESSAGES];
        struct buf wire = BUF_INIT;
        struct wire_budget budget = {64 * MESSAGE_TEST_MAX, 0};
        struct grpc_decoder d;
        test_rng_init(&r, seed);
        grpc_decoder_init(&d, MESSAGE_TEST_MAX, &budget);
        d.encoding = GRPC_GZIP;
        for (size_t i = 0; i < MESSAGES; i++) {
            random_message(&r, &sent[i]);
            put(&wire, &sent[i], test_rng_chance(&r, 1, 2));
        }
        size_t at = 0, got = 0, owed = 0;
        while (got < MESSAGES) {
            if (at < wire.len && test_rng_chance(&r, 1, 2)) {
                size_t n = (size_t)test_rng_between(&r, 1, test_rng_chance(&r, 1, 2) ? 7 : 9000);
                n = n < wire.len - at ? n : wire.len - at;
                assert_int_equal(grpc_decoder_feed(&d, BYTES(wire.data + at, n), NULL), ST_OK);
                at += n;
            } else {
                bool any;
                struct bytes m;
                size_t more;
                assert_int_equal(grpc_decoder_next(&d, &any, &m, &more, NULL), ST_OK);
                owed += more;
                if (any) {
                    assert_true(bytes_eq(m, BYTES(sent[got].data, sent[got].len)));
                    got++;
                }
            }
            owed += grpc_decoder_owed(&d);
            assert_true(owed <= at);
            assert_true(got < MESSAGES || owed == wire.len);
        }
        assert_true(grpc_decoder_between(&d));
        assert_int_equal(at, wire.len);
        grpc_decoder_deinit(&d);
        assert_int_equal(budget.used, 0);
        for (size_t i = 0; i < MESSAGES; i++)
            free(sent[i].data);
        buf_deinit(&wire);
    }
}

static enum status feed(struct grpc_decoder *d, const char *data, size_t len, struct err *err)
{
    err_init(err);
    return grpc_decoder_feed(d, BYTES(data, len), err);
}

static void bad_frames_are_refused(void **state)
{
    (void)state;
    struct grpc_decoder d;
    struct err err;
    grpc_decoder_init(&d, 10, NULL);
    assert_int_equal(feed(&d, "\2\0\0\0\1", 5, &err), ST_INTERNAL);
    grpc_decoder_deinit(&d);
    grpc_decoder_init(&d, 10, NULL);
    assert_int_equal(feed(&d, "\1\0\0\0\1", 5, &err), ST_INTERNAL); /* nothing said how */
    grpc_decoder_deinit(&d);
    grpc_decoder_init(&d, 10, NULL);
    assert_int_equal(feed(&d, "\0\0\0\0\n", 5, &err), ST_OK);
    grpc_decoder_deinit(&d);
    grpc_decoder_init(&d, 10, NULL);
    assert_int_equal(feed(&d, "\0\0\0\0\13", 5, &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "11 bytes is over the limit of 10"));
    grpc_decoder_deinit(&d);
    grpc_decoder_init(&d, 0, NULL);
    assert_int_equal(feed(&d, "\0\2\0\0\1", 5, &err), ST_TOO_LARGE); /* default: 32 MiB */
    assert_false(grpc_decoder_between(&d));
    grpc_decoder_deinit(&d);
    grpc_decoder_deinit(&(struct grpc_decoder){0});
}

static void memory_grows_with_what_has_come(void **state)
{
    (void)state;
    struct wire_budget budget = {1 << 20, 0};
    struct grpc_decoder d;
    struct err err;
    char chunk[1000] = {0};
    grpc_decoder_init(&d, 0, &budget);
    assert_int_equal(feed(&d, "\0\2\0\0\0", 5, &err), ST_OK); /* 32 MiB are announced */
    assert_int_equal(budget.used, 0);
    for (size_t had = 0; had < 400000; had += sizeof chunk) {
        assert_int_equal(feed(&d, chunk, sizeof chunk, &err), ST_OK);
        assert_true(budget.used <= 2 * (had + sizeof chunk) + 16384);
    }
    enum status st = ST_OK;
    for (int i = 0; i < 2000 && st == ST_OK; i++)
        st = feed(&d, chunk, sizeof chunk, &err);
    assert_int_equal(st, ST_OVERLOADED);
    assert_non_null(strstr(err.detail, "1048576"));
    grpc_decoder_deinit(&d);
    assert_int_equal(budget.used, 0);
}

static void a_bomb_costs_no_more_than_the_limit(void **state)
{
    (void)state;
    struct sent zeros = {calloc(1, 5000000), 5000000};
    struct buf wire = BUF_INIT;
    struct grpc_decoder d;
    struct err err;
    bool any;
    struct bytes m;
    size_t owed;
    put(&wire, &zeros, true);
    assert_true(wire.len < 30000);
    grpc_decoder_init(&d, 1000000, NULL);
    d.encoding = GRPC_GZIP;
    assert_int_equal(feed(&d, (char *)wire.data, wire.len, &err), ST_OK);
    assert_int_equal(grpc_decoder_next(&d, &any, &m, &owed, &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "more than 1000000 bytes"));
    assert_true(d.inflated.cap <= 2000000);
    grpc_decoder_deinit(&d);

    struct wire_budget budget = {100000, 0};
    grpc_decoder_init(&d, 0, &budget);
    d.encoding = GRPC_GZIP;
    assert_int_equal(feed(&d, (char *)wire.data, wire.len, &err), ST_OK);
    assert_int_equal(grpc_decoder_next(&d, &any, &m, &owed, &err), ST_OVERLOADED);
    grpc_decoder_deinit(&d);
    assert_int_equal(budget.used, 0);
    buf_deinit(&wire);
    free(zeros.data);
}

static void gzip_stops_at_the_limit_exactly(void **state)
{
    (void)state;
    uint8_t data[5000];
    struct buf packed = BUF_INIT, out = BUF_INIT;
    struct err err;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3);
    assert_int_equal(grpc_gzip(BYTES(data, sizeof data), &packed), ST_OK);
    assert_int_equal(buf_append(&out, "kept", 4), ST_OK);
    assert_int_equal(grpc_gunzip(buf_bytes(&packed), sizeof data - 1, &out, &err), ST_TOO_LARGE);
    assert_true(bytes_eq(buf_bytes(&out), BYTES_LIT("kept")));
    assert_int_equal(grpc_gunzip(buf_bytes(&packed), sizeof data, &out, &err), ST_OK);
    assert_int_equal(out.len, 4 + sizeof data);
    assert_memory_equal(out.data + 4, data, sizeof data);
    for (size_t cut = 0; cut < packed.len; cut++) {
        buf_clear(&out);
        assert_int_equal(grpc_gunzip(BYTES(packed.data, cut), 10000, &out, &err), ST_INTERNAL);
        assert_int_equal(out.len, 0);
    }
    assert_int_equal(buf_append_u8(&packed, 0), ST_OK);
    assert_int_equal(grpc_gunzip(buf_bytes(&packed), 10000, &out, &err), ST_INTERNAL);
    buf_clear(&packed);
    assert_int_equal(grpc_gzip(BYTES_EMPTY, &packed), ST_OK);
    assert_int_equal(grpc_gunzip(buf_bytes(&packed), 0, &out, &err), ST_OK);
    assert_int_equal(out.len, 0);
    buf_deinit(&packed);
    buf_deinit(&out);
}

static uint64_t timeout_of(const char *text)
{
    uint64_t ns = 77;
    return grpc_timeout_parse(BYTES_STR(text), &ns) ? ns : (assert_int_equal(ns, 77), UINT64_MAX);
}

static void timeouts_are_read_and_written(void **state)
{
    (void)state;
    assert_int_equal(timeout_of("1n"), 1);
    assert_int_equal(timeout_of("20u"), 20000);
    assert_int_equal(timeout_of("100m"), 100000000);
    assert_int_equal(timeout_of("3S"), UINT64_C(3000000000));
    assert_int_equal(timeout_of("1M"), UINT64_C(60000000000));
    assert_int_equal(timeout_of("2H"), UINT64_C(7200000000000));
    assert_int_equal(timeout_of("0S"), 0);
    assert_int_equal(timeout_of("99999999H"), INT64_MAX);
    static const char *const wrong[] = {"",    "1",          "S",    "1s", "-1S",
                                        "1 S", "123456789n", "1.5S", "S1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(timeout_of(wrong[i]), UINT64_MAX);
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        char text[GRPC_TIMEOUT_TEXT];
        uint64_t ns, back;
        test_rng_init(&r, seed);
        ns = test_rng_any_width(&r);
        if (ns > INT64_MAX)
            ns = INT64_MAX;
        size_t n = grpc_timeout_format(ns, text);
        assert_true(n <= sizeof text - 1);
        assert_true(grpc_timeout_parse(BYTES(text, n), &back));
        assert_true(back >= ns && back - ns <= ns / 90000);
    }
}

static void texts_survive_their_coding(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 500)
    {
        struct test_rng r;
        uint8_t data[60];
        struct buf coded = BUF_INIT, back = BUF_INIT;
        test_rng_init(&r, seed);
        size_t n = (size_t)test_rng_below(&r, sizeof data);
        test_rng_bytes(&r, data, n);
        assert_int_equal(grpc_percent_encode(BYTES(data, n), &coded), ST_OK);
        for (size_t i = 0; i < coded.len; i++)
            assert_in_range(coded.data[i], 0x20, 0x7e);
        assert_int_equal(grpc_percent_decode(buf_bytes(&coded), &back), ST_OK);
        assert_true(bytes_eq(buf_bytes(&back), BYTES(data, n)));
        buf_clear(&coded);
        buf_clear(&back);
        assert_int_equal(grpc_base64_encode(BYTES(data, n), &coded), ST_OK);
        assert_int_equal(grpc_base64_decode(buf_bytes(&coded), &back), ST_OK);
        assert_true(bytes_eq(buf_bytes(&back), BYTES(data, n)));
        while (coded.len % 4) /* others pad */
            assert_int_equal(buf_append_u8(&coded, '='), ST_OK);
        buf_clear(&back);
        assert_int_equal(grpc_base64_decode(buf_bytes(&coded), &back), ST_OK);
        assert_true(bytes_eq(buf_bytes(&back), BYTES(data, n)));
        buf_deinit(&coded);
        buf_deinit(&back);
    }
}

static void known_codings(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    assert_int_equal(grpc_percent_encode(BYTES_LIT("50% \xc3\xa4\n"), &out), ST_OK);
    assert_string_equal(buf_cstr(&out), "50%25 %C3%A4%0A");
    buf_clear(&out);
    assert_int_equal(grpc_percent_decode(BYTES_LIT("a%2fb%2Fc%zz%4"), &out), ST_OK);
    assert_string_equal(buf_cstr(&out), "a/b/c%zz%4");
    buf_clear(&out);
    assert_int_equal(grpc_base64_encode(BYTES_LIT("foobar!"), &out), ST_OK);
    assert_string_equal(buf_cstr(&out), "Zm9vYmFyIQ");
    buf_clear(&out);
    static const char *const wrong[] = {"A", "AAAAA", "A===", "AA=A", "AA A", "Zm9v=", "===="};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(grpc_base64_decode(BYTES_STR(wrong[i]), &out), ST_INVALID_ARGUMENT);
        assert_int_equal(out.len, 0);
    }
    buf_deinit(&out);
}

static void codes_and_statuses_agree(void **state)
{
    (void)state;
    static const enum status all[] = {
#define X(name, num, text, grpc, http, retry) ST_##name,
        STATUS_TABLE(X)
#undef X
    };
    enum grpc_code code;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        code = (enum grpc_code)status_grpc(all[i]);
        enum status back = grpc_status_of(code);
        assert_int_equal(status_grpc(back), code);
        assert_int_equal(grpc_status_of((enum grpc_code)status_grpc(back)), back);
    }
    assert_int_equal(grpc_status_of((enum grpc_code)99), ST_INTERNAL);
    assert_true(grpc_code_parse(BYTES_LIT("14"), &code) && code == GRPC_UNAVAILABLE);
    assert_true(grpc_code_parse(BYTES_LIT("99"), &code) && code == GRPC_UNKNOWN);
    assert_false(grpc_code_parse(BYTES_LIT(""), &code));
    assert_false(grpc_code_parse(BYTES_LIT("-1"), &code));
    assert_false(grpc_code_parse(BYTES_LIT("0000000000"), &code));
    assert_string_equal(grpc_code_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_string_equal(grpc_code_name((enum grpc_code)17), "UNKNOWN");
}

static enum status everything(struct buf *wire, struct wire_budget *budget)
{
    struct grpc_decoder d;
    struct buf packed = BUF_INIT;
    bool any;
    struct bytes m;
    size_t owed;
    grpc_decoder_init(&d, 100000, budget);
    d.encoding = GRPC_GZIP;
    enum status st = grpc_gzip(buf_bytes(wire), &packed);
    for (size_t at = 0; st == ST_OK && at < wire->len; at += 5000)
        st = grpc_decoder_feed(
            &d, BYTES(wire->data + at, wire->len - at < 5000 ? wire->len - at : 5000), NULL);
    for (any = true; st == ST_OK && any;)
        st = grpc_decoder_next(&d, &any, &m, &owed, NULL);
    grpc_decoder_deinit(&d);
    buf_deinit(&packed);
    return st;
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    struct test_rng r;
    struct buf wire = BUF_INIT;
    test_rng_init(&r, 5);
    for (int i = 0; i < 6; i++) {
        struct sent m;
        random_message(&r, &m);
        put(&wire, &m, i % 2);
        free(m.data);
    }
    for (uint64_t n = 1;; n++) {
        struct wire_budget budget = {1000000, 0};
        mem_fail_at(n, 0);
        enum status st = everything(&wire, &budget);
        mem_fail_at(0, 0);
        assert_int_equal(budget.used, 0);
        if (!mem_fail_hits()) {
            assert_int_equal(st, ST_OK);
            assert_true(n > 8);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
    }
    buf_deinit(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_as_they_went_in),
        cmocka_unit_test(bad_frames_are_refused),
        cmocka_unit_test(memory_grows_with_what_has_come),
        cmocka_unit_test(a_bomb_costs_no_more_than_the_limit),
        cmocka_unit_test(gzip_stops_at_the_limit_exactly),
        cmocka_unit_test(timeouts_are_read_and_written),
        cmocka_unit_test(texts_survive_their_coding),
        cmocka_unit_test(known_codings),
        cmocka_unit_test(codes_and_statuses_agree),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
