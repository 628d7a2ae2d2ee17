/* test_anomalies.c - each anomaly by hand, in the smallest history that has it, with its name. */
#include "sim/check/check.h"
#include "support/cmocka.h"

#include <stdio.h>

static struct history *h;
static uint64_t now;

static int fresh(void **state)
{
    (void)state;
    h = history_new();
    now = 0;
    return h ? 0 : -1;
}

static int done(void **state)
{
    (void)state;
    history_free(h);
    return 0;
}

static uint32_t begin(uint32_t client, enum history_family family, const struct history_step *steps,
                      size_t n)
{
    struct history_call call = {.client = client, .family = family, .steps = steps, .n = n};
    uint32_t op;
    assert_int_equal(history_invoke(h, ++now, &call, &op), ST_OK);
    return op;
}

static void end(uint32_t op, enum history_outcome outcome, const struct history_step *steps,
                size_t n)
{
    assert_int_equal(history_complete(h, ++now, op, outcome, steps, n), ST_OK);
}

/* A call and its answer with nothing between. */
static uint32_t one(uint32_t client, enum history_family family, struct history_step *steps,
                    size_t n)
{
    uint32_t op = begin(client, family, steps, n);
    end(op, HISTORY_OK, steps, n);
    return op;
}

static struct history_step put(const char *key, const char *value, uint64_t version)
{
    return (struct history_step){
        .verb = HISTORY_PUT, .key = BYTES_STR(key), .value = BYTES_STR(value), .version = version};
}

static struct history_step got(const char *key, const char *value, uint64_t version)
{
    struct history_step s = put(key, value, version);
    s.verb = HISTORY_GET;
    s.found = *value != 0;
    return s;
}

static struct history_step add(const char *key, int64_t x)
{
    return (struct history_step){.verb = HISTORY_ADD, .key = BYTES_STR(key), .number = x};
}

/* A read of a list of the digits of `digits`. */
static struct history_step list(const char *key, const char *digits)
{
    static uint8_t room[64][80];
    static unsigned next;
    uint8_t *b = room[next++ % 64];
    size_t n = strlen(digits);
    memset(b, 0, 80);
    for (size_t i = 0; i < n; i++)
        b[8 * i] = (uint8_t)(digits[i] - '0');
    return (struct history_step){
        .verb = HISTORY_GET, .key = BYTES_STR(key), .value = BYTES(b, 8 * n), .found = true};
}

static void expect(const char *checker, const char *anomaly)
{
    struct check_options o = {.search_always = true, .bank_total = 10};
    struct check_report *r = check_report_new();
    assert_int_equal(check_all(h, &o, r), ST_OK);
    size_t n;
    bool found = false;
    const struct check_finding *f = check_findings(r, &n);
    for (size_t i = 0; i < n; i++)
        found |= !strcmp(f[i].checker, checker) && !strcmp(f[i].anomaly, anomaly);
    if (!found) {
        struct buf text = BUF_INIT;
        assert_int_equal(check_report_text(r, &text), ST_OK);
        print_message("no %s: %s in:\n%s", checker, anomaly, buf_cstr(&text));
        buf_deinit(&text);
    }
    assert_true(found);
    check_report_free(r);
}

static void expect_nothing(void)
{
    struct check_options o = {.search_always = true, .bank_total = 10};
    struct check_report *r = check_report_new();
    assert_int_equal(check_all(h, &o, r), ST_OK);
    struct buf text = BUF_INIT;
    assert_int_equal(check_report_text(r, &text), ST_OK);
    assert_string_equal(buf_cstr(&text), "");
    buf_deinit(&text);
    check_report_free(r);
}

#define ONE(client, family, ...)                                                                   \
    one(client, family, (struct history_step[]){__VA_ARGS__},                                      \
        sizeof((struct history_step[]){__VA_ARGS__}) / sizeof(struct history_step))

/* --- registers --- */

static void a_read_behind_an_acknowledged_write(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 2));
    ONE(2, HISTORY_REGISTER, got("x", "a", 1));
    expect("linear", "stale read");
}

static void a_read_that_goes_back_in_one_session(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(2, HISTORY_REGISTER, put("x", "b", 2));
    ONE(2, HISTORY_REGISTER, got("x", "a", 1));
    expect("session", "went back");
}

static void a_value_that_goes_away_in_one_session(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, got("x", "", 0));
    expect("session", "value went away");
}

static void a_read_of_what_failed(void **state)
{
    (void)state;
    struct history_step s = put("x", "a", 0);
    end(begin(1, HISTORY_REGISTER, &s, 1), HISTORY_FAILED, NULL, 0);
    ONE(2, HISTORY_REGISTER, got("x", "a", 1));
    expect("linear", "dirty read");
}

static void a_read_of_what_nobody_wrote(void **state)
{
    (void)state;
    ONE(2, HISTORY_REGISTER, got("x", "a", 1));
    expect("linear", "phantom");
}

static void a_write_that_is_there_twice(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 2));
    ONE(2, HISTORY_REGISTER, got("x", "a", 3));
    expect("linear", "write applied twice");
}

static void two_inserts_of_one_key(void **state)
{
    (void)state;
    struct history_step s = put("x", "a", 1), t = put("x", "b", 2);
    s.require = t.require = HISTORY_ABSENT;
    ONE(1, HISTORY_REGISTER, s);
    ONE(2, HISTORY_REGISTER, t);
    expect("linear", "insert over a value");
}

static void a_refusal_without_reason(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    struct history_step s = put("x", "b", 0);
    s.require = HISTORY_AT_VERSION;
    s.want = 1;
    uint32_t op = begin(2, HISTORY_REGISTER, &s, 1);
    s.unmet = true;
    s.version = 1;
    end(op, HISTORY_UNMET, &s, 1);
    expect("linear", "refused without reason");
}

static void a_lost_answer_may_take_effect_late_or_never(void **state)
{
    (void)state;
    struct history_step s = put("x", "a", 0), t = put("y", "b", 0);
    begin(1, HISTORY_REGISTER, &s, 1);
    begin(2, HISTORY_REGISTER, &t, 1);
    ONE(3, HISTORY_REGISTER, got("x", "", 0));
    ONE(3, HISTORY_REGISTER, got("x", "a", 1));
    ONE(3, HISTORY_REGISTER, got("y", "", 0));
    expect_nothing();
}

static void a_lost_answer_does_not_come_and_go(void **state)
{
    (void)state;
    ONE(9, HISTORY_REGISTER, put("x", "first", 1));
    struct history_step s = put("x", "a", 0);
    begin(1, HISTORY_REGISTER, &s, 1);
    ONE(3, HISTORY_REGISTER, got("x", "a", 2));
    ONE(4, HISTORY_REGISTER, got("x", "first", 1));
    expect("linear", "stale read");
}

static void skew_between_two_registers(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1), put("y", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 2), put("y", "b", 2));
    /* No key by itself is wrong here: the reads run beside the second batch of their time. */
    struct history_step late[] = {got("x", "b", 2), got("y", "a", 1)};
    struct history_call past = {
        .client = 2, .family = HISTORY_REGISTER, .weak = true, .steps = late, .n = 2};
    uint32_t op;
    assert_int_equal(history_invoke(h, ++now, &past, &op), ST_OK);
    end(op, HISTORY_OK, late, 2);
    expect("serial", "G-single");
}

/* --- lists --- */

static void g0_writes_in_a_circle(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1), add("b", 1));
    ONE(2, HISTORY_LIST, add("a", 2), add("b", 2));
    ONE(3, HISTORY_LIST, list("a", "12"), list("b", "21"));
    expect("list", "G0");
}

static void g1a_an_aborted_append(void **state)
{
    (void)state;
    struct history_step s = add("a", 1);
    end(begin(1, HISTORY_LIST, &s, 1), HISTORY_FAILED, NULL, 0);
    ONE(2, HISTORY_LIST, list("a", "1"));
    expect("list", "G1a");
}

static void g1b_the_middle_of_a_transaction(void **state)
{
    (void)state;
    struct history_step two[] = {add("a", 1), add("a", 2)};
    uint32_t op = begin(1, HISTORY_LIST, two, 2);
    ONE(2, HISTORY_LIST, list("a", "1"));
    end(op, HISTORY_OK, two, 2);
    ONE(2, HISTORY_LIST, list("a", "12"));
    expect("list", "G1b");
}

static void g1c_reads_in_a_circle(void **state)
{
    (void)state;
    struct history_step s[] = {add("a", 1), list("b", "1")}, t[] = {add("b", 1), list("a", "1")};
    uint32_t p = begin(1, HISTORY_LIST, s, 2), q = begin(2, HISTORY_LIST, t, 2);
    end(p, HISTORY_OK, s, 2);
    end(q, HISTORY_OK, t, 2);
    expect("list", "G1c");
}

static void g_single_read_skew(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1), add("b", 1));
    struct history_step w[] = {add("a", 2), add("b", 2)};
    uint32_t op = begin(1, HISTORY_LIST, w, 2);
    ONE(2, HISTORY_LIST, list("a", "1"), list("b", "12"));
    end(op, HISTORY_OK, w, 2);
    ONE(2, HISTORY_LIST, list("a", "12"), list("b", "12"));
    expect("list", "G-single");
}

static void an_update_that_is_lost(void **state)
{
    (void)state;
    struct history_step s[] = {list("a", ""), add("a", 1)}, t[] = {list("a", ""), add("a", 2)};
    uint32_t p = begin(1, HISTORY_LIST, s, 2), q = begin(2, HISTORY_LIST, t, 2);
    end(p, HISTORY_OK, s, 2);
    end(q, HISTORY_OK, t, 2);
    ONE(3, HISTORY_LIST, list("a", "12"));
    expect("list", "lost update");
}

static void write_skew(void **state)
{
    (void)state;
    struct history_step s[] = {list("a", ""), add("b", 1)}, t[] = {list("b", ""), add("a", 2)};
    uint32_t p = begin(1, HISTORY_LIST, s, 2), q = begin(2, HISTORY_LIST, t, 2);
    end(p, HISTORY_OK, s, 2);
    end(q, HISTORY_OK, t, 2);
    ONE(3, HISTORY_LIST, list("a", "2"), list("b", "1"));
    expect("list", "write skew");
}

static void a_list_that_is_read_too_short(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1));
    ONE(1, HISTORY_LIST, add("a", 2));
    ONE(2, HISTORY_LIST, list("a", "1"));
    ONE(2, HISTORY_LIST, list("a", "12"));
    expect("list", "G-single in real time");
}

static void an_append_that_nobody_ever_sees(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1));
    ONE(1, HISTORY_LIST, add("a", 2));
    ONE(2, HISTORY_LIST, list("a", "1"));
    expect("list", "G-single in real time");
}

static void an_append_to_what_was_read_that_nobody_reads(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1));
    ONE(2, HISTORY_LIST, list("a", "1"), add("a", 2));
    expect_nothing(); /* it comes behind what it read, and is no danger to itself */
    struct history_step s[] = {list("a", "1"), add("a", 3)};
    ONE(3, HISTORY_LIST, s[0], s[1]);
    expect("list", "lost update"); /* it did not see 2 */
}

static void two_updates_that_nobody_reads(void **state)
{
    (void)state;
    struct history_step s[] = {list("a", ""), add("a", 1)}, t[] = {list("a", ""), add("a", 2)};
    uint32_t p = begin(1, HISTORY_LIST, s, 2), q = begin(2, HISTORY_LIST, t, 2);
    end(p, HISTORY_OK, s, 2);
    end(q, HISTORY_OK, t, 2);
    expect("list", "lost update");
}

static void appends_out_of_their_order_in_time(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1));
    ONE(1, HISTORY_LIST, add("a", 2));
    ONE(2, HISTORY_LIST, list("a", "21"));
    expect("list", "G0 in real time");
}

static void lists_that_do_not_agree(void **state)
{
    (void)state;
    struct history_step s = add("a", 1), t = add("a", 2);
    uint32_t p = begin(1, HISTORY_LIST, &s, 1), q = begin(2, HISTORY_LIST, &t, 1);
    end(p, HISTORY_OK, &s, 1);
    end(q, HISTORY_OK, &t, 1);
    ONE(3, HISTORY_LIST, list("a", "12"));
    ONE(3, HISTORY_LIST, list("a", "21"));
    expect("list", "incompatible order");
}

static void an_element_that_is_there_twice(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1));
    ONE(3, HISTORY_LIST, list("a", "11"));
    expect("list", "applied twice");
}

static void a_transaction_that_does_not_see_itself(void **state)
{
    (void)state;
    ONE(1, HISTORY_LIST, add("a", 1), list("a", ""));
    ONE(2, HISTORY_LIST, list("a", "1"));
    expect("list", "internal");
}

static void lists_that_are_right(void **state)
{
    (void)state;
    struct history_step s = add("a", 3);
    begin(9, HISTORY_LIST, &s, 1); /* its answer is lost; somebody sees it */
    ONE(1, HISTORY_LIST, list("a", ""), add("a", 1), list("a", "1"));
    ONE(2, HISTORY_LIST, list("a", "1"), add("b", 2), add("a", 2));
    ONE(3, HISTORY_LIST, list("a", "123"), list("b", "2"));
    expect_nothing();
}

/* --- the others --- */

static struct history_step number(enum history_verb verb, const char *key, int64_t x)
{
    return (struct history_step){
        .verb = verb, .key = BYTES_STR(key), .number = x, .found = verb == HISTORY_GET};
}

static void an_overdraft(void **state)
{
    (void)state;
    ONE(1, HISTORY_BANK, number(HISTORY_GET, "a", -1), number(HISTORY_GET, "b", 11));
    expect("bank", "overdraft");
}

static void money_from_nowhere(void **state)
{
    (void)state;
    ONE(1, HISTORY_BANK, number(HISTORY_GET, "a", 5), number(HISTORY_GET, "b", 6));
    expect("bank", "wrong total");
}

static void a_counter_that_goes_back(void **state)
{
    (void)state;
    struct history_step s = number(HISTORY_ADD, "c", 5);
    begin(1, HISTORY_COUNTER, &s, 1);
    ONE(2, HISTORY_COUNTER, number(HISTORY_GET, "c", 5));
    ONE(2, HISTORY_COUNTER, number(HISTORY_GET, "c", 0));
    expect("counter", "went back");
}

static void an_element_that_was_seen_and_is_gone(void **state)
{
    (void)state;
    struct history_step s = add("s", 1);
    begin(1, HISTORY_SET, &s, 1);
    ONE(2, HISTORY_SET, list("s", "1"));
    ONE(2, HISTORY_SET, list("s", ""));
    expect("set", "lost");
}

static void an_element_that_nobody_added(void **state)
{
    (void)state;
    ONE(2, HISTORY_SET, list("s", "4"));
    expect("set", "phantom");
}

static void the_past_without_final_rows(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 5));
    struct history_step s = got("x", "a", 1);
    struct history_call past = {.client = 2, .at = 7, .steps = &s, .n = 1};
    uint32_t op;
    assert_int_equal(history_invoke(h, ++now, &past, &op), ST_OK);
    end(op, HISTORY_OK, &s, 1);
    expect("past", "another past");
}

static void weak_read(struct history_step s)
{
    struct history_call weak = {.client = 2, .weak = true, .steps = &s, .n = 1};
    uint32_t op;
    assert_int_equal(history_invoke(h, ++now, &weak, &op), ST_OK);
    end(op, HISTORY_OK, &s, 1);
}

static void a_weak_read_of_another_value(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 5));
    weak_read(got("x", "a", 1)); /* it is old, and may be */
    weak_read(got("x", "", 0));
    expect_nothing();
    weak_read(got("x", "a", 5));
    expect("past", "wrong value");
}

static void a_weak_read_of_what_nobody_wrote(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 5));
    weak_read(got("x", "z", 7));
    expect_nothing(); /* a write without an answer may have put it there */
    struct history_row row = {
        .verb = HISTORY_PUT, .version = 5, .key = BYTES_LIT("x"), .value = BYTES_LIT("a")};
    assert_int_equal(history_final(h, &row), ST_OK);
    history_final_done(h, 0);
    expect("past", "phantom");
}

static void below_the_horizon_rows_may_be_gone(void **state)
{
    (void)state;
    ONE(1, HISTORY_REGISTER, put("x", "a", 1));
    ONE(1, HISTORY_REGISTER, put("x", "b", 5));
    struct history_watch open = {.kind = HISTORY_WATCH_OPEN, .watcher = 1};
    struct history_watch e = {.kind = HISTORY_WATCH_EVENT,
                              .watcher = 1,
                              .verb = HISTORY_PUT,
                              .version = 1,
                              .key = BYTES_LIT("x"),
                              .value = BYTES_LIT("a")};
    assert_int_equal(history_watch(h, ++now, &open), ST_OK);
    assert_int_equal(history_watch(h, ++now, &e), ST_OK);
    e.version = 5;
    e.value = BYTES_LIT("b");
    assert_int_equal(history_watch(h, ++now, &e), ST_OK);
    struct history_row row = {
        .verb = HISTORY_PUT, .version = 5, .key = BYTES_LIT("x"), .value = BYTES_LIT("b")};
    assert_int_equal(history_final(h, &row), ST_OK);
    history_final_done(h, 4);
    expect_nothing();
}

static void a_wiped_disk_promises_nothing(void **state)
{
    (void)state;
    struct history_note n = {.fact = HISTORY_DURABLE, .node = 1, .term = 2, .vote = 1, .index = 9};
    assert_int_equal(history_note(h, ++now, &n), ST_OK);
    n.fact = HISTORY_ACKED;
    assert_int_equal(history_note(h, ++now, &n), ST_OK);
    expect_nothing();
    assert_int_equal(
        history_note(h, ++now, &(struct history_note){.fact = HISTORY_WIPED, .node = 1}), ST_OK);
    assert_int_equal(history_note(h, ++now, &n), ST_OK);
    expect("replicas", "acknowledgement not durable");
}

static void a_term_that_is_forgotten(void **state)
{
    (void)state;
    struct history_note n = {.fact = HISTORY_DURABLE, .node = 1, .term = 2, .vote = 1};
    assert_int_equal(history_note(h, ++now, &n), ST_OK);
    n.term = 1;
    assert_int_equal(history_note(h, ++now, &n), ST_OK);
    expect("replicas", "term went back");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_read_behind_an_acknowledged_write),
        TEST(a_read_that_goes_back_in_one_session),
        TEST(a_value_that_goes_away_in_one_session),
        TEST(a_read_of_what_failed),
        TEST(a_read_of_what_nobody_wrote),
        TEST(a_write_that_is_there_twice),
        TEST(two_inserts_of_one_key),
        TEST(a_refusal_without_reason),
        TEST(a_lost_answer_may_take_effect_late_or_never),
        TEST(a_lost_answer_does_not_come_and_go),
        TEST(skew_between_two_registers),
        TEST(g0_writes_in_a_circle),
        TEST(g1a_an_aborted_append),
        TEST(g1b_the_middle_of_a_transaction),
        TEST(g1c_reads_in_a_circle),
        TEST(g_single_read_skew),
        TEST(an_update_that_is_lost),
        TEST(write_skew),
        TEST(a_list_that_is_read_too_short),
        TEST(an_append_that_nobody_ever_sees),
        TEST(an_append_to_what_was_read_that_nobody_reads),
        TEST(two_updates_that_nobody_reads),
        TEST(appends_out_of_their_order_in_time),
        TEST(lists_that_do_not_agree),
        TEST(an_element_that_is_there_twice),
        TEST(a_transaction_that_does_not_see_itself),
        TEST(lists_that_are_right),
        TEST(an_overdraft),
        TEST(money_from_nowhere),
        TEST(a_counter_that_goes_back),
        TEST(an_element_that_was_seen_and_is_gone),
        TEST(an_element_that_nobody_added),
        TEST(the_past_without_final_rows),
        TEST(a_weak_read_of_another_value),
        TEST(a_weak_read_of_what_nobody_wrote),
        TEST(below_the_horizon_rows_may_be_gone),
        TEST(a_wiped_disk_promises_nothing),
        TEST(a_term_that_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
