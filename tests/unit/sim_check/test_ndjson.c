/* test_ndjson.c - a history survives being written and read; broken text is refused with its line. */
#include "base/alloc.h"
#include "sim/check/check.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "unit/sim_check/gen.h"

static void write_out(const struct history *h, struct buf *out)
{
    assert_int_equal(history_write_ndjson(h, out), ST_OK);
}

static void generated_histories_come_back_the_same(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        struct gen_options o = {
            .seed = seed, .ops = 200, .clients = 6, .keys = 6, .lost_percent = 5};
        struct history *h = history_new(), *back = history_new();
        struct buf text = BUF_INIT, again = BUF_INIT;
        struct err err = {0};
        gen_history(&o, h);
        write_out(h, &text);
        assert_int_equal(history_read_ndjson(back, buf_bytes(&text), &err), ST_OK);
        write_out(back, &again);
        assert_true(bytes_eq(buf_bytes(&text), buf_bytes(&again)));
        struct check_options c = {.bank_total = GEN_ACCOUNTS * GEN_BALANCE};
        struct check_report *r = check_report_new();
        assert_int_equal(check_all(back, &c, r), ST_OK);
        assert_int_equal(check_violations(r), 0);
        check_report_free(r);
        buf_deinit(&text);
        buf_deinit(&again);
        history_free(h);
        history_free(back);
    }
}

static void any_bytes_may_be_keys_and_values(void **state)
{
    (void)state;
    struct history *h = history_new(), *back = history_new();
    struct history_step s = {.verb = HISTORY_PUT,
                             .key = BYTES_LIT("\xff\x00 not text"),
                             .value = BYTES_LIT("\"quote\"\\ \n\x01 \xf0\x9f\x90\xa2"),
                             .version = UINT64_MAX,
                             .number = INT64_MIN};
    struct history_call call = {.client = 1, .steps = &s, .n = 1};
    uint32_t op;
    assert_int_equal(history_invoke(h, 1, &call, &op), ST_OK);
    assert_int_equal(history_complete(h, 2, op, HISTORY_OK, &s, 1), ST_OK);
    struct buf text = BUF_INIT;
    write_out(h, &text);
    assert_int_equal(history_read_ndjson(back, buf_bytes(&text), NULL), ST_OK);
    size_t n;
    const struct history_step *b = history_ops(back, &n)->steps;
    assert_true(bytes_eq(b->key, s.key) && bytes_eq(b->value, s.value));
    assert_true(b->version == s.version && b->number == s.number);
    buf_deinit(&text);
    history_free(h);
    history_free(back);
}

#define OP                                                                                         \
    "{\"type\":\"op\",\"client\":1,\"family\":\"register\",\"outcome\":\"ok\",\"call\":1,"         \
    "\"return\":2,\"steps\":[{\"verb\":\"get\",\"key\":\"x\"}]}"

static void what_is_broken_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wrong;
    } cases[] = {
        {"{}", "line 1 of the history: the first field is not the type"},
        {"{\"type\":\"op\"", "line 1"},
        {"{\"type\":\"tree\"}", "an unknown type"},
        {OP "x", "more after the end"},
        {OP "\n" OP, "line 2 of the history: operations are not in the order of their calls"},
        {"{\"type\":\"op\",\"wrong\":1}", "an unknown field of an operation"},
        {"{\"type\":\"op\",\"outcome\":\"fine\"}", "a word that is none"},
        {"{\"type\":\"op\",\"call\":3,\"return\":2,\"outcome\":\"ok\"}", "a return before"},
        {"{\"type\":\"op\",\"call\":3,\"outcome\":\"ok\"}", "an outcome without a return"},
        {"{\"type\":\"op\",\"call\":18446744073709551616}", "over 64 bits"},
        {"{\"type\":\"op\",\"client\":4294967296}", "over 32 bits"},
        {"{\"type\":\"op\",\"steps\":[{}]}", "a step without a verb"},
        {"{\"type\":\"op\",\"steps\":[{\"verb\":\"get\",\"key\":\"\\ud800\"}]}", "surrogate"},
        {"{\"type\":\"op\",\"steps\":[{\"key\":{\"$binary\":{\"base64\":\"?\",\"subType\":\"00\"}}"
         "}]}",
         "not base64"},
        {"{\"type\":\"op\",\"steps\":[{\"key\":\"\xff\"}]}", "not UTF-8"},
        {"{\"type\":\"note\",\"fact\":\"leader\"}", "a note without its fact or place"},
        {"{\"type\":\"watch\",\"place\":1}", "a watch without its kind or place"},
        {"{\"type\":\"row\",\"verb\":\"get\"}", "neither a put nor a delete"},
        {"{\"type\":\"rows_done\",\"no\":1}", "unknown field of rows_done"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct history *h = history_new();
        struct err err = {0};
        assert_int_equal(history_read_ndjson(h, BYTES_STR(cases[i].text), &err),
                         ST_INVALID_ARGUMENT);
        if (!strstr(err.detail, cases[i].wrong))
            print_message("%s: %s\n", cases[i].text, err.detail);
        assert_non_null(strstr(err.detail, cases[i].wrong));
        history_free(h);
    }
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    struct gen_options o = {.seed = 5, .ops = 40, .clients = 4, .keys = 4, .lost_percent = 5};
    struct history *h = history_new();
    struct buf text = BUF_INIT;
    gen_history(&o, h);
    write_out(h, &text);
    uint64_t at = 0;
    for (bool whole = false; !whole;) {
        struct history *back = history_new();
        struct err err = {0};
        mem_fail_at(++at, 1);
        enum status st = history_read_ndjson(back, buf_bytes(&text), &err);
        mem_fail_at(0, 0);
        whole = st == ST_OK;
        if (!whole)
            assert_int_equal(st, ST_NO_MEMORY);
        history_free(back);
    }
    assert_true(at > 5);
    for (at = 1;; at++) {
        struct buf out = BUF_INIT;
        mem_fail_at(at, 1);
        enum status st = history_write_ndjson(h, &out);
        mem_fail_at(0, 0);
        buf_deinit(&out);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NO_MEMORY);
    }
    buf_deinit(&text);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_histories_come_back_the_same),
        cmocka_unit_test(any_bytes_may_be_keys_and_values),
        cmocka_unit_test(what_is_broken_is_refused_with_its_line),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
