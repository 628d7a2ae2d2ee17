/* test_checkers.c - generated histories: what is right has no finding, each planted violation has
 * one by the checker that is there for it, and memory may fail at any point. */
#include "base/alloc.h"
#include "sim/check/check.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "unit/sim_check/gen.h"

#include <stdio.h>

static const struct check_options OPTIONS = {.bank_total = GEN_ACCOUNTS * GEN_BALANCE,
                                             .search_always = true};

static const struct {
    enum gen_plant plant;
    const char *name, *checker;
} PLANTS[] = {
#define X(name, checker) {GEN_##name, #name, checker},
    GEN_PLANTS(X)
#undef X
};

static void print_report(const struct check_report *r)
{
    struct buf text = BUF_INIT;
    assert_int_equal(check_report_text(r, &text), ST_OK);
    print_message("%s", buf_cstr(&text));
    buf_deinit(&text);
}

static struct gen_options shape(uint64_t seed)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    return (struct gen_options){.seed = seed,
                                .ops = 50 + (uint32_t)test_rng_below(&r, 400),
                                .clients = 2 + (uint32_t)test_rng_below(&r, 12),
                                .keys = 4 + (uint32_t)test_rng_below(&r, 10),
                                .lost_percent = (uint32_t)test_rng_below(&r, 8)};
}

static void right_histories_have_no_finding(void **state)
{
    (void)state;
    uint64_t seed, undecided = 0;
    FOR_EACH_SEED(seed, 300)
    {
        struct gen_options o = shape(seed);
        o.common_values = seed % 3 == 0;
        o.registers_only = seed % 5 == 0;
        o.quiet_end = seed % 4 == 1;
        struct history *h = history_new();
        struct check_report *r = check_report_new();
        gen_history(&o, h);
        assert_int_equal(check_all(h, &OPTIONS, r), ST_OK);
        if (check_violations(r))
            print_report(r);
        assert_int_equal(check_violations(r), 0);
        undecided += check_undecided(r);
        check_report_free(r);
        history_free(h);
    }
    assert_int_equal(undecided, 0);
}

static bool found_by(const struct check_report *r, const char *checker)
{
    size_t n;
    const struct check_finding *f = check_findings(r, &n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(f[i].checker, checker))
            return true;
    return false;
}

static void find_plant(size_t i, uint64_t seed, uint64_t *planted)
{
    struct gen_options o = shape(seed);
    o.plant = PLANTS[i].plant;
    /* What an unanswered operation may explain is no violation. */
    if (o.plant == GEN_VANISHED || o.plant == GEN_COUNTER_LOST || o.plant == GEN_COUNTER_TWICE)
        o.lost_percent = 0;
    struct history *h = history_new();
    struct check_report *r = check_report_new();
    bool there = gen_history(&o, h);
    assert_int_equal(check_all(h, &OPTIONS, r), ST_OK);
    if (there != found_by(r, PLANTS[i].checker)) {
        print_message("%s at seed %llu was %splanted\n", PLANTS[i].name, (unsigned long long)seed,
                      there ? "" : "not ");
        print_report(r);
    }
    assert_int_equal(there, found_by(r, PLANTS[i].checker));
    assert_int_equal(there, check_violations(r) > 0);
    assert_false(found_by(r, "checkers disagree"));
    *planted += there;
    check_report_free(r);
    history_free(h);
}

static void each_planted_violation_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof PLANTS / sizeof *PLANTS; i++) {
        uint64_t seed, planted = 0;
        FOR_EACH_SEED(seed, 30)
        {
            find_plant(i, seed, &planted);
        }
        if (planted == 0)
            print_message("%s was never planted\n", PLANTS[i].name);
        assert_true(planted > 0);
    }
}

/* The words, for somebody who has not read the code. */
static void a_story_names_who_did_what(void **state)
{
    (void)state;
    struct history *h = history_new();
    struct check_report *r = check_report_new();
    struct history_step put = {
        .verb = HISTORY_PUT, .key = BYTES_LIT("x"), .value = BYTES_LIT("new"), .version = 7};
    struct history_step get = {.verb = HISTORY_GET, .key = BYTES_LIT("x")};
    struct history_call c1 = {.client = 1, .node = 2, .steps = &put, .n = 1};
    struct history_call c2 = {.client = 2, .node = 3, .steps = &get, .n = 1};
    uint32_t op;
    assert_int_equal(history_invoke(h, 1000000, &c1, &op), ST_OK);
    assert_int_equal(history_complete(h, 2000000, op, HISTORY_OK, &put, 1), ST_OK);
    assert_int_equal(history_invoke(h, 3000000, &c2, &op), ST_OK);
    assert_int_equal(history_complete(h, 4000000, op, HISTORY_OK, &get, 1), ST_OK);
    assert_int_equal(check_linear(h, &OPTIONS, r), ST_OK);
    struct buf text = BUF_INIT;
    assert_int_equal(check_report_text(r, &text), ST_OK);
    assert_string_equal(buf_cstr(&text),
                        "linear: stale read\n"
                        "  Key \"x\": Nothing was found, although at no moment of the read there "
                        "was nothing.\n"
                        "      0.001000 to 0.002000  client 1 at node 2: put \"x\" = \"new\" @7  "
                        "(operation 0)\n"
                        "      0.003000 to 0.004000  client 2 at node 3: get \"x\" -> nothing  "
                        "(operation 1)\n");
    buf_deinit(&text);
    check_report_free(r);
    history_free(h);
}

static void many_of_a_kind_are_counted_and_few_told(void **state)
{
    (void)state;
    struct history *h = history_new();
    struct check_report *r = check_report_new();
    for (uint32_t i = 0; i < 10; i++) {
        struct history_note n = {.fact = HISTORY_APPLIED, .node = 1, .index = i};
        assert_int_equal(history_note(h, i, &n), ST_OK);
        n.node = 2;
        n.digest = 1;
        assert_int_equal(history_note(h, i, &n), ST_OK);
    }
    assert_int_equal(check_all(h, &OPTIONS, r), ST_OK);
    size_t n;
    check_findings(r, &n);
    assert_int_equal(n, CHECK_STORIES_MAX);
    assert_int_equal(check_violations(r), 10);
    struct buf text = BUF_INIT;
    assert_int_equal(check_report_text(r, &text), ST_OK);
    assert_non_null(strstr(buf_cstr(&text), "replicas: replicas differ: 6 more of these\n"));
    buf_deinit(&text);
    check_report_free(r);
    history_free(h);
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    const enum gen_plant plants[] = {GEN_RIGHT, GEN_STALE_READ, GEN_LIST_SKEW, GEN_HALF_BATCH};
    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
        struct gen_options o = {
            .seed = 3, .ops = 60, .clients = 4, .keys = 4, .plant = plants[i], .lost_percent = 5};
        struct history *h = history_new();
        while (!gen_history(&o, h) && o.plant != GEN_RIGHT) {
            history_free(h);
            h = history_new();
            o.seed++;
        }
        uint64_t whole = 0;
        for (uint64_t at = 1; whole == 0; at++) {
            struct check_report *r = check_report_new();
            mem_fail_at(at, 1);
            enum status st = check_all(h, &OPTIONS, r);
            mem_fail_at(0, 0);
            if (st == ST_OK)
                whole = at;
            else
                assert_int_equal(st, ST_NO_MEMORY);
            if (st == ST_OK)
                assert_int_equal(check_violations(r) > 0, o.plant != GEN_RIGHT);
            check_report_free(r);
        }
        assert_true(whole > 50);
        history_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_story_names_who_did_what),
        cmocka_unit_test(many_of_a_kind_are_counted_and_few_told),
        cmocka_unit_test(right_histories_have_no_finding),
        cmocka_unit_test(each_planted_violation_is_found),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
