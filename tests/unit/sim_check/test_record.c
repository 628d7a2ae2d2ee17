/* test_record.c - a history keeps what it was given, in one order, and survives without memory. */
#include "base/alloc.h"
#include "sim/check/history.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>

static struct history_step put_step(const char *key, const char *value)
{
    return (struct history_step){
        .verb = HISTORY_PUT, .key = BYTES_STR(key), .value = BYTES_STR(value)};
}

static void operations_get_places_and_ids(void **state)
{
    (void)state;
    struct history *h = history_new();
    char key[] = "k";
    struct history_step steps[] = {put_step(key, "v"), put_step("l", "w")};
    struct history_call call = {.client = 7, .node = 2, .steps = steps, .n = 2};
    uint32_t a, b;
    assert_int_equal(history_invoke(h, 10, &call, &a), ST_OK);
    key[0] = 'X'; /* it has its own copy */
    struct history_step get = {.verb = HISTORY_GET, .key = BYTES_LIT("l")};
    call = (struct history_call){.client = 8, .steps = &get, .n = 1};
    assert_int_equal(history_invoke(h, 11, &call, &b), ST_OK);
    get.found = true;
    get.version = 5;
    get.value = BYTES_LIT("w");
    assert_int_equal(history_complete(h, 12, b, HISTORY_OK, &get, 1), ST_OK);
    assert_int_equal(history_complete(h, 13, a, HISTORY_UNKNOWN, NULL, 0), ST_OK);

    size_t n;
    const struct history_op *ops = history_ops(h, &n);
    assert_int_equal(n, 2);
    assert_int_equal(ops[a].client, 7);
    assert_true(bytes_eq(ops[a].steps[0].key, BYTES_LIT("k")));
    assert_true(ops[a].invoked < ops[b].invoked && ops[b].invoked < ops[b].completed);
    assert_true(ops[a].completed == UINT64_MAX && ops[a].completed_ns == 13);
    assert_int_equal(ops[a].steps[1].key_id, ops[b].steps[0].key_id);
    assert_int_equal(ops[a].steps[1].value_id, ops[b].steps[0].value_id);
    assert_int_not_equal(ops[a].steps[0].key_id, ops[a].steps[1].key_id);
    assert_int_equal(history_key_count(h), 2);
    assert_int_equal(history_value_count(h), 3); /* and the empty one */
    assert_int_equal(history_value(h, 0).len, 0);
    assert_true(bytes_eq(history_key(h, ops[b].steps[0].key_id), BYTES_LIT("l")));
    history_free(h);
    history_free(NULL);
}

static void all_kinds_are_kept(void **state)
{
    (void)state;
    struct history *h = history_new();
    struct history_watch w = {.kind = HISTORY_WATCH_EVENT,
                              .watcher = 3,
                              .verb = HISTORY_PUT,
                              .version = 9,
                              .key = BYTES_LIT("k"),
                              .value = BYTES_LIT("v")};
    assert_int_equal(history_watch(h, 1, &w), ST_OK);
    struct history_row row = {
        .verb = HISTORY_PUT, .version = 9, .key = BYTES_LIT("k"), .value = BYTES_LIT("v")};
    assert_int_equal(history_final(h, &row), ST_OK);
    struct history_note note = {.fact = HISTORY_LEADER, .node = 1, .term = 4};
    assert_int_equal(history_note(h, 2, &note), ST_OK);
    size_t n;
    bool complete;
    uint64_t horizon;
    const struct history_row *rows = history_rows(h, &n, &complete, &horizon);
    assert_true(n == 1 && !complete);
    history_final_done(h, 3);
    rows = history_rows(h, &n, &complete, &horizon);
    assert_true(complete && horizon == 3);
    const struct history_watch *watches = history_watches(h, &n);
    assert_true(n == 1 && watches[0].place == 1 && watches[0].key_id == rows[0].key_id &&
                watches[0].value_id == rows[0].value_id);
    const struct history_note *notes = history_notes(h, &n);
    assert_true(n == 1 && notes[0].place == 2 && notes[0].now_ns == 2 && notes[0].term == 4);
    history_free(h);
}

/* Many keys and values, so that the tables grow; equal bytes keep one number. */
static void ids_follow_the_bytes(void **state)
{
    (void)state;
    struct history *h = history_new();
    struct test_rng r;
    test_rng_init(&r, 1);
    for (int i = 0; i < 20000; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k%d", (int)test_rng_below(&r, 1000));
        snprintf(value, sizeof value, "v%d", (int)test_rng_below(&r, 5000));
        struct history_step s = put_step(key, value);
        struct history_call call = {.steps = &s, .n = 1};
        uint32_t op;
        assert_int_equal(history_invoke(h, 0, &call, &op), ST_OK);
        assert_int_equal(op, i);
    }
    size_t n;
    const struct history_op *ops = history_ops(h, &n);
    for (size_t i = 0; i < n; i++) {
        const struct history_step *s = ops[i].steps;
        assert_true(bytes_eq(history_key(h, s->key_id), s->key));
        assert_true(bytes_eq(history_value(h, s->value_id), s->value));
    }
    assert_true(history_key_count(h) <= 1000 && history_value_count(h) <= 5001);
    history_free(h);
}

static enum status record_some(struct history *h)
{
    for (int i = 0; i < 150; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        struct history_step s = put_step(key, key);
        struct history_call call = {.steps = &s, .n = 1};
        struct history_watch w = {.kind = HISTORY_WATCH_OPEN, .prefix = BYTES_LIT("p")};
        struct history_row row = {.verb = HISTORY_DELETE, .key = BYTES_STR(key)};
        struct history_note note = {.fact = HISTORY_WIPED};
        uint32_t op;
        enum status st = history_invoke(h, 1, &call, &op);
        if (st == ST_OK)
            st = history_complete(h, 2, op, HISTORY_OK, &s, 1);
        if (st == ST_OK)
            st = history_watch(h, 3, &w);
        if (st == ST_OK)
            st = history_final(h, &row);
        if (st == ST_OK)
            st = history_note(h, 4, &note);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    for (uint64_t at = 1;; at++) {
        mem_fail_at(at, 1);
        struct history *h = history_new();
        enum status st = h ? record_some(h) : ST_NO_MEMORY;
        mem_fail_at(0, 0);
        if (st == ST_OK) {
            history_free(h);
            assert_true(at > 10);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
        if (h) { /* whole still */
            size_t n;
            const struct history_op *ops = history_ops(h, &n);
            for (size_t i = 0; i < n; i++)
                assert_true(bytes_eq(ops[i].steps[0].key, ops[i].steps[0].value));
            assert_int_equal(record_some(h), ST_OK);
        }
        history_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_get_places_and_ids),
        cmocka_unit_test(all_kinds_are_kept),
        cmocka_unit_test(ids_follow_the_bytes),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
