/* Transactions that read a list whole and append to it, when nobody reads what they appended: the
 * simulator's lists end so. */
#include "sim/check/check.h"
#include "support/cmocka.h"

static void put64(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

/* Reads `n` elements 1..n and appends `x`, all at once. */
static void append(struct history *h, uint32_t client, uint64_t begin, uint64_t end, size_t n,
                   int64_t x)
{
    uint8_t seen[80];
    uint32_t op;
    for (size_t i = 0; i < n; i++)
        put64(seen + 8 * i, i + 1);
    struct history_step s[2] = {{.verb = HISTORY_GET, .key = BYTES_LIT("l"), .found = n > 0},
                                {.verb = HISTORY_ADD, .key = BYTES_LIT("l"), .number = x}};
    struct history_call call = {
        .client = client, .node = 1, .family = HISTORY_LIST, .steps = s, .n = 2};
    assert_int_equal(history_invoke(h, begin, &call, &op), ST_OK);
    s[0].value = BYTES(seen, 8 * n);
    assert_int_equal(history_complete(h, end, op, HISTORY_OK, s, 2), ST_OK);
}

static uint64_t violations(struct history *h)
{
    struct check_report *r = check_report_new();
    assert_non_null(r);
    assert_int_equal(check_list(h, r), ST_OK);
    uint64_t n = check_violations(r);
    check_report_free(r);
    return n;
}

static void test_last_append(void **state)
{
    (void)state;
    struct history *h = history_new();
    append(h, 1, 1, 2, 0, 1);
    append(h, 1, 3, 4, 1, 2);
    append(h, 2, 5, 6, 2, 3);
    assert_int_equal(violations(h), 0);
    /* One more that saw what the last one saw: one of the two is lost. */
    append(h, 3, 7, 8, 2, 4);
    assert_true(violations(h) > 0);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_last_append)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
