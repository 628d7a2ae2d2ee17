/* The queue of events against the naive model: the earliest, and of those the one added first. */
#include "sim/core/dice.h"
#include "sim/core/queue.h"
#include "support/cmocka.h"

enum { EVENTS = 50, STEPS = 20000 };

struct world {
    struct sim_event e[EVENTS];
    uint64_t at[EVENTS], order[EVENTS]; /* at 0: not queued */
    size_t ran;
};

static void note(void *arg)
{
    *(size_t *)arg += 1;
}

static size_t expected(const struct world *w)
{
    size_t best = EVENTS;
    for (size_t i = 0; i < EVENTS; i++)
        if (w->at[i] && (best == EVENTS || w->at[i] < w->at[best] ||
                         (w->at[i] == w->at[best] && w->order[i] < w->order[best])))
            best = i;
    return best;
}

static void test_order(void **state)
{
    (void)state;
    struct world w = {0};
    struct sim_queue *q = sim_queue_new();
    struct dice d = {7};
    size_t count[EVENTS] = {0};
    uint64_t order = 0;
    for (size_t i = 0; i < EVENTS; i++)
        w.e[i] = (struct sim_event){.fn = note, .arg = &count[i]};
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)dice_below(&d, EVENTS);
        uint64_t now = sim_queue_now(q);
        switch (dice_below(&d, 4)) {
        case 0:
        case 1:
            w.at[i] = now + 1 + dice_below(&d, 20);
            w.order[i] = ++order;
            sim_queue_add(q, &w.e[i], w.at[i]);
            break;
        case 2:
            w.at[i] = 0;
            sim_queue_drop(q, &w.e[i]);
            break;
        default: {
            uint64_t until = now + dice_below(&d, 10);
            size_t next = expected(&w);
            bool due = next < EVENTS && w.at[next] <= until;
            size_t before = due ? count[next] : 0;
            assert_int_equal(sim_queue_next(q), next < EVENTS ? w.at[next] : UINT64_MAX);
            assert_int_equal(sim_queue_step(q, until), due);
            if (due) {
                assert_int_equal(count[next], before + 1);
                assert_int_equal(sim_queue_now(q), w.at[next]);
                w.at[next] = 0;
            }
        }
        }
    }
    assert_true(sim_queue_ran(q) > STEPS / 10);
    sim_queue_free(q);
}

static void test_late_is_now(void **state)
{
    (void)state;
    struct sim_queue *q = sim_queue_new();
    size_t a = 0, b = 0;
    struct sim_event ea = {.fn = note, .arg = &a}, eb = {.fn = note, .arg = &b};
    sim_queue_add(q, &ea, 100);
    assert_true(sim_queue_step(q, 100));
    sim_queue_add(q, &eb, 5);
    assert_int_equal(sim_queue_next(q), 100);
    assert_true(sim_queue_step(q, UINT64_MAX));
    assert_false(sim_queue_step(q, UINT64_MAX));
    assert_int_equal(a + b, 2);
    sim_queue_free(q);
}

static void test_dice(void **state)
{
    (void)state;
    struct dice a = dice_fork(1, 'a'), again = dice_fork(1, 'a'), b = dice_fork(1, 'b');
    assert_true(dice_next(&a) == dice_next(&again));
    assert_true(dice_next(&a) != dice_next(&b));
    uint64_t sum = 0, most = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t t = dice_tail(&a, 1000);
        sum += t;
        most = t > most ? t : most;
    }
    assert_in_range(sum / 100000, 300, 2000); /* mostly about the spread... */
    assert_in_range(most, 20000, 32000);      /* ... and sometimes far more */
    assert_int_equal(dice_tail(&a, 0), 0);
    assert_false(dice_ppm(&a, 0));
    assert_true(dice_ppm(&a, 1000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_late_is_now),
        cmocka_unit_test(test_dice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
