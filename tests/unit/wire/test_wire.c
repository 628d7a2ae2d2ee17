/* Telling protocols apart, rates, header lookup, event streams. */
#include "base/alloc.h"
#include "support/cmocka.h"
#include "wire/sse.h"
#include "wire/wire.h"

static void protocols_are_told_apart(void **state)
{
    (void)state;
    struct bytes preface = BYTES_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_int_equal(preface.len, WIRE_PREFACE);
    for (size_t n = 0; n < WIRE_PREFACE; n++)
        assert_int_equal(wire_detect(BYTES(preface.data, n)), WIRE_UNDECIDED);
    assert_int_equal(wire_detect(preface), WIRE_HTTP2);
    assert_int_equal(wire_detect(BYTES_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")), WIRE_HTTP2);
    assert_int_equal(wire_detect(BYTES_LIT("PRI * HTTP/1.1\r\n")), WIRE_HTTP1);
    assert_int_equal(wire_detect(BYTES_LIT("PUT /")), WIRE_HTTP1);
    assert_int_equal(wire_detect(BYTES_LIT("\x16\x03\x01")), WIRE_HTTP1);
}

static void a_rate_allows_a_burst_and_then_its_rate(void **state)
{
    (void)state;
    struct wire_rate rate = {3, 2};
    struct wire_bucket b;
    wire_bucket_init(&b, rate, 1000);
    for (int i = 0; i < 3; i++)
        assert_true(wire_bucket_take(&b, rate, 1000));
    assert_false(wire_bucket_take(&b, rate, 1000));
    assert_false(wire_bucket_take(&b, rate, 1499));
    assert_true(wire_bucket_take(&b, rate, 1500));
    assert_false(wire_bucket_take(&b, rate, 1500));
    assert_false(wire_bucket_take(&b, rate, 900)); /* a clock that goes back gives nothing */
    wire_bucket_give(&b, rate, 1);
    assert_true(wire_bucket_take(&b, rate, 1500));
    for (int i = 0; i < 3; i++) /* never more than the burst, however long it waits */
        assert_true(wire_bucket_take(&b, rate, UINT64_MAX));
    assert_false(wire_bucket_take(&b, rate, UINT64_MAX));
    wire_bucket_give(&b, rate, 100);
    for (int i = 0; i < 3; i++)
        assert_true(wire_bucket_take(&b, rate, UINT64_MAX));
    assert_false(wire_bucket_take(&b, rate, UINT64_MAX));
    struct wire_rate never = {1, 0};
    wire_bucket_init(&b, never, 0);
    assert_true(wire_bucket_take(&b, never, 0));
    assert_false(wire_bucket_take(&b, never, UINT64_MAX));
}

static void a_budget_is_shared(void **state)
{
    (void)state;
    struct wire_budget b = {100, 0};
    assert_true(wire_budget_take(&b, 60));
    assert_false(wire_budget_take(&b, 41));
    assert_true(wire_budget_take(&b, 40));
    assert_false(wire_budget_take(&b, SIZE_MAX));
    wire_budget_give(&b, 100);
    assert_true(wire_budget_take(&b, 100));
}

static void headers_are_found_in_any_case(void **state)
{
    (void)state;
    struct wire_header h[] = {WIRE_HEADER(BYTES_LIT("Host"), BYTES_LIT("a")),
                              WIRE_HEADER(BYTES_LIT("ETag"), BYTES_LIT("b")),
                              WIRE_HEADER(BYTES_LIT("etag"), BYTES_LIT("c"))};
    assert_ptr_equal(wire_header_find(h, 3, BYTES_LIT("etag")), &h[1]);
    assert_ptr_equal(wire_header_find(h, 3, BYTES_LIT("HOST")), &h[0]);
    assert_null(wire_header_find(h, 3, BYTES_LIT("hos")));
    assert_null(wire_header_find(h, 0, BYTES_LIT("host")));
    assert_false(wire_eq_nocase(BYTES_LIT("@"), BYTES_LIT("`"))); /* letters only */
}

static void an_event_is_whole_or_not_there(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 200);
    assert_int_equal(sse_event(&b, BYTES_LIT("7"), BYTES_LIT("put"), BYTES_LIT("a\nb\r\nc\rd\n")),
                     ST_OK);
    assert_string_equal(buf_cstr(&b), "id: 7\nevent: put\ndata: a\ndata: b\ndata: c\ndata: d\n"
                                      "data: \n\n");
    buf_clear(&b);
    assert_int_equal(sse_event(&b, BYTES_EMPTY, BYTES_EMPTY, BYTES_EMPTY), ST_OK);
    assert_int_equal(sse_comment(&b, BYTES_LIT("beat")), ST_OK);
    assert_int_equal(sse_retry(&b, 1500), ST_OK);
    assert_string_equal(buf_cstr(&b), "data: \n\n: beat\n\nretry: 1500\n\n");
    assert_int_equal(sse_event(&b, BYTES_LIT("1\n2"), BYTES_EMPTY, BYTES_EMPTY),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(sse_event(&b, BYTES_EMPTY, BYTES_LIT("1\r"), BYTES_EMPTY),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(sse_event(&b, BYTES("\0", 1), BYTES_EMPTY, BYTES_EMPTY), ST_INVALID_ARGUMENT);
    assert_int_equal(sse_comment(&b, BYTES_LIT("a\nb")), ST_INVALID_ARGUMENT);
    size_t before = b.len;
    char big[300];
    memset(big, 'x', sizeof big);
    assert_int_equal(sse_event(&b, BYTES_LIT("1"), BYTES_EMPTY, BYTES(big, sizeof big)),
                     ST_TOO_LARGE);
    assert_int_equal(b.len, before);
    buf_deinit(&b);
}

static void events_without_memory_leave_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct buf b = BUF_INIT;
        mem_fail_at(n, 0);
        enum status st = sse_event(&b, BYTES_LIT("1"), BYTES_LIT("e"), BYTES_LIT("d"));
        mem_fail_at(0, 0);
        size_t len = b.len;
        buf_deinit(&b);
        if (!mem_fail_hits())
            break;
        assert_int_equal(st, ST_NO_MEMORY);
        assert_int_equal(len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocols_are_told_apart),
        cmocka_unit_test(a_rate_allows_a_burst_and_then_its_rate),
        cmocka_unit_test(a_budget_is_shared),
        cmocka_unit_test(headers_are_found_in_any_case),
        cmocka_unit_test(an_event_is_whole_or_not_there),
        cmocka_unit_test(events_without_memory_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
