/* test_search.c - tiny histories of one key, judged by the search, by versions, and by brute force:
 * every subset of what may have happened, in every order, with every version that it may have got.
 */
#include "base/alloc.h"
#include "sim/check/check.h"
#include "sim/check/check_internal.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>

enum { OPS_MAX = 6, STRIDE = 10 };

/* --- brute force, over the operations as they were recorded --- */

struct cell {
    bool present;
    uint32_t value;
    uint64_t version;
};

struct brute {
    const struct history_op *ops;
    size_t n;
    uint64_t versions[4 * OPS_MAX]; /* all that were told or wanted */
    size_t versions_n;
};

static bool met(const struct history_step *s, const struct cell *c)
{
    switch (s->require) {
    case HISTORY_ABSENT:
        return !c->present;
    case HISTORY_PRESENT:
        return c->present;
    case HISTORY_AT_VERSION:
        return c->present && c->version == s->want;
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    return true;
}

static bool seen(const struct history_step *s, const struct cell *c)
{
    if (s->version && s->version != c->version)
        return false;
    return s->found == c->present && (!s->found || s->value_id == c->value);
}

static bool go_on(const struct brute *b, unsigned done, struct cell c);

/* Takes operation i with the version `v` if it writes. */
static bool take(const struct brute *b, unsigned done, struct cell c, size_t i, uint64_t v)
{
    const struct history_op *op = &b->ops[i];
    const struct history_step *s = op->steps;
    bool held = met(s, &c);
    if (op->outcome == HISTORY_UNMET) {
        if (held || (s->version && s->version != c.version))
            return false;
    } else if (s->verb == HISTORY_GET) {
        if (!seen(s, &c))
            return false;
    } else if (held) {
        if (v <= c.version)
            return false;
        c = (struct cell){s->verb == HISTORY_PUT, s->value_id, v};
    } else if (op->outcome == HISTORY_OK) {
        return false;
    }
    return go_on(b, done | 1u << i, c);
}

static bool go_on(const struct brute *b, unsigned done, struct cell c)
{
    bool left = false;
    for (size_t i = 0; i < b->n; i++)
        left |= !(done & 1u << i) && b->ops[i].outcome != HISTORY_UNKNOWN &&
                b->ops[i].outcome != HISTORY_FAILED;
    if (!left)
        return true;
    for (size_t i = 0; i < b->n; i++) {
        const struct history_op *op = &b->ops[i];
        if (done & 1u << i || op->outcome == HISTORY_FAILED)
            continue;
        bool first = true; /* nothing that is left was over before it began */
        for (size_t j = 0; j < b->n; j++)
            first &= done & 1u << j || b->ops[j].outcome == HISTORY_FAILED ||
                     b->ops[j].completed > op->invoked;
        if (!first)
            continue;
        if (op->outcome != HISTORY_UNKNOWN) {
            if (take(b, done, c, i, op->steps[0].version))
                return true;
            continue;
        }
        /* One that nobody mentions, or any that somebody does. */
        if (op->steps[0].verb == HISTORY_GET)
            continue;
        if (take(b, done, c, i, c.version + 1))
            return true;
        for (size_t v = 0; v < b->versions_n; v++)
            if (take(b, done, c, i, b->versions[v]))
                return true;
    }
    return false;
}

static bool brute_force(const struct history *h)
{
    struct brute b = {0};
    b.ops = history_ops(h, &b.n);
    for (size_t i = 0; i < b.n; i++) {
        b.versions[b.versions_n++] = b.ops[i].steps[0].version;
        b.versions[b.versions_n++] = b.ops[i].steps[0].want;
    }
    return go_on(&b, 0, (struct cell){0});
}

/* --- random histories --- */

static struct history_step random_step(struct test_rng *r, bool unique, uint32_t i)
{
    static const char *const common[] = {"a", "b"};
    static const char *const own[OPS_MAX] = {"v0", "v1", "v2", "v3", "v4", "v5"};
    struct history_step s = {.key = BYTES_LIT("x"), .value = BYTES_EMPTY};
    s.verb = (enum history_verb)test_rng_below(r, 3);
    if (s.verb != HISTORY_GET && test_rng_below(r, 3) == 0) {
        s.require = (enum history_require)(1 + test_rng_below(r, 3));
        s.want = s.require == HISTORY_AT_VERSION ? STRIDE * (1 + test_rng_below(r, 3)) : 0;
    }
    if (s.verb == HISTORY_PUT)
        s.value = unique ? BYTES_STR(own[i]) : BYTES_STR(common[test_rng_below(r, 2)]);
    return s;
}

static void random_result(struct test_rng *r, bool unique, struct history_step *s,
                          enum history_outcome *outcome)
{
    uint64_t luck = test_rng_below(r, 10);
    uint64_t version = STRIDE * (1 + test_rng_below(r, 4));
    *outcome = luck < 2 ? HISTORY_UNKNOWN : luck == 2 ? HISTORY_FAILED : HISTORY_OK;
    if (*outcome == HISTORY_OK && s->require != HISTORY_ANY && test_rng_below(r, 2)) {
        *outcome = HISTORY_UNMET;
        s->unmet = true;
        s->version = test_rng_below(r, 3) ? version : 0;
    } else if (*outcome == HISTORY_OK && s->verb == HISTORY_GET) {
        s->found = test_rng_below(r, 3) > 0;
        s->version = s->found && test_rng_below(r, 4) ? version : 0;
        struct history_step other = {0};
        do
            other = random_step(r, unique, (uint32_t)test_rng_below(r, OPS_MAX));
        while (other.verb != HISTORY_PUT);
        if (s->found)
            s->value = other.value;
    } else if (*outcome == HISTORY_OK) {
        s->version = version;
    }
}

/* Up to three under way at a time. */
static void random_history(struct test_rng *r, struct history *h)
{
    uint32_t n = 1 + (uint32_t)test_rng_below(r, OPS_MAX), begun = 0, open_n = 0, open[3];
    struct history_step steps[OPS_MAX];
    bool unique = test_rng_below(r, 2);
    while (begun < n || open_n) {
        if (begun < n && open_n < 3 && (open_n == 0 || test_rng_below(r, 2))) {
            steps[begun] = random_step(r, unique, begun);
            struct history_call call = {.client = begun, .steps = &steps[begun], .n = 1};
            assert_int_equal(history_invoke(h, begun, &call, &open[open_n++]), ST_OK);
            begun++;
            continue;
        }
        uint32_t i = (uint32_t)test_rng_below(r, open_n), op = open[i];
        enum history_outcome outcome;
        open[i] = open[--open_n];
        random_result(r, unique, &steps[op], &outcome);
        assert_int_equal(history_complete(h, 99, op, outcome, &steps[op], 1), ST_OK);
    }
}

/* Random results are rarely right; those of an imagined register are, unless one is bent. */
static void likely_history(struct test_rng *r, struct history *h)
{
    uint32_t n = 2 + (uint32_t)test_rng_below(r, OPS_MAX - 1), op;
    struct cell c = {0};
    char value[4] = "";
    uint64_t last = 0;
    bool unique = test_rng_below(r, 3) > 0;
    uint32_t lost[OPS_MAX], lost_n = 0;
    struct history_step lost_steps[OPS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        struct history_step s = random_step(r, unique, i);
        struct history_call call = {.client = i, .steps = &s, .n = 1};
        if (s.require == HISTORY_AT_VERSION && c.version && test_rng_below(r, 3))
            s.want = c.version;
        assert_int_equal(history_invoke(h, i, &call, &op), ST_OK);
        bool late = s.verb != HISTORY_GET && test_rng_below(r, 4) == 0;
        if (late) { /* applied at some time, or never, and nobody is told */
            lost_steps[lost_n] = s;
            lost[lost_n++] = op;
        }
        struct history_step *a = &s;
        if (late && test_rng_below(r, 2))
            continue;
        if (!late && lost_n && test_rng_below(r, 3) == 0)
            a = &lost_steps[--lost_n];
        for (;;) {
            bool held = met(a, &c);
            if (a->verb == HISTORY_GET) {
                a->found = c.present;
                a->version = c.present && test_rng_below(r, 3) ? c.version : 0;
                a->value = c.present ? BYTES_STR(value) : BYTES_EMPTY;
            } else if (held) {
                last += STRIDE;
                c = (struct cell){a->verb == HISTORY_PUT, 0, last};
                snprintf(value, sizeof value, "%.*s", (int)a->value.len,
                         (const char *)a->value.data);
                a->version = last;
            } else {
                a->unmet = true;
                a->version = c.present && test_rng_below(r, 3) ? c.version : 0;
            }
            if (a == &s)
                break;
            a = &s;
        }
        if (late)
            continue;
        if (test_rng_below(r, 12) == 0 && s.version)
            s.version = STRIDE * (1 + test_rng_below(r, 3)); /* bent */
        else if (test_rng_below(r, 12) == 0 && s.verb == HISTORY_GET)
            s.found = !s.found;
        enum history_outcome outcome = s.unmet ? HISTORY_UNMET : HISTORY_OK;
        assert_int_equal(history_complete(h, i, op, outcome, &s, 1), ST_OK);
    }
    (void)lost;
}

struct tally {
    uint64_t right, wrong, open;
};

static void judge(const struct history *h, struct tally *t, uint64_t seed)
{
    struct check_registers all;
    assert_int_equal(check__registers(h, &all), ST_OK);
    assert_int_equal(all.n, 1);
    enum check_verdict versions = CHECK_RIGHT, search = CHECK_RIGHT;
    struct check_reason a = {0}, b = {0};
    assert_int_equal(check__by_versions(&all, all.of, &versions, &a), ST_OK);
    assert_int_equal(check__by_search(all.of, UINT64_MAX, &search, &b), ST_OK);
    enum check_verdict brute = brute_force(h) ? CHECK_RIGHT : CHECK_WRONG;
    if (search != brute || (versions != CHECK_OPEN && versions != brute)) {
        struct buf text = BUF_INIT;
        assert_int_equal(history_write_ndjson(h, &text), ST_OK);
        print_message("seed %llu: brute force %d, search %d (%s), versions %d (%s: %s)\n%s",
                      (unsigned long long)seed, brute, search, b.words, versions,
                      a.anomaly ? a.anomaly : "", a.words, buf_cstr(&text));
        buf_deinit(&text);
    }
    assert_int_equal(search, brute);
    if (versions == CHECK_OPEN)
        t->open++;
    else
        assert_int_equal(versions, brute);
    t->right += brute == CHECK_RIGHT;
    t->wrong += brute == CHECK_WRONG;
    check__registers_deinit(&all);
}

static void run_many(void (*make)(struct test_rng *, struct history *), uint64_t count)
{
    struct tally t = {0};
    uint64_t seed;
    FOR_EACH_SEED(seed, count)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        struct history *h = history_new();
        make(&r, h);
        judge(h, &t, seed);
        history_free(h);
    }
    print_message("%llu right, %llu wrong, %llu not decided by versions\n",
                  (unsigned long long)t.right, (unsigned long long)t.wrong,
                  (unsigned long long)t.open);
    if (count > 1000) { /* all three ways were gone */
        assert_true(t.right > count / 100);
        assert_true(t.wrong > count / 100);
        assert_true(t.right + t.wrong - t.open > count / 4);
    }
}

static void random_results_are_judged_as_by_brute_force(void **state)
{
    (void)state;
    run_many(random_history, 20000);
}

static void likely_results_are_judged_as_by_brute_force(void **state)
{
    (void)state;
    run_many(likely_history, 20000);
}

/* A search without bound would go on for ever here: it says that it gave up. */
static void a_search_has_a_bound(void **state)
{
    (void)state;
    struct history *h = history_new();
    uint32_t op[40], reader;
    for (uint32_t i = 0; i < 40; i++) { /* all at once, no versions, values that many wrote */
        struct history_step s = {.verb = HISTORY_PUT,
                                 .key = BYTES_LIT("x"),
                                 .value = i % 2 ? BYTES_LIT("a") : BYTES_LIT("b")};
        struct history_call call = {.client = i, .steps = &s, .n = 1};
        assert_int_equal(history_invoke(h, 0, &call, &op[i]), ST_OK);
    }
    struct history_step get = {.verb = HISTORY_GET, .key = BYTES_LIT("x")};
    struct history_call call = {.client = 99, .steps = &get, .n = 1};
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(history_complete(h, 1, op[i], HISTORY_OK, NULL, 0), ST_OK);
    assert_int_equal(history_invoke(h, 2, &call, &reader), ST_OK);
    assert_int_equal(history_complete(h, 3, reader, HISTORY_OK, NULL, 0), ST_OK); /* nothing */
    struct check_report *r = check_report_new();
    struct check_options o = {.search_steps = 20000};
    assert_int_equal(check_linear(h, &o, r), ST_OK);
    assert_int_equal(check_violations(r), 0);
    assert_int_equal(check_undecided(r), 1);
    check_report_free(r);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_results_are_judged_as_by_brute_force),
        cmocka_unit_test(likely_results_are_judged_as_by_brute_force),
        cmocka_unit_test(a_search_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
