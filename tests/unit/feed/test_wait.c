/* Waiting for changes of one collection: nothing is missed beside writers, drops and checkpoints, and
 * who waits for something else sleeps on. */
#include "base/env/thread.h"
#include "node/feed/feed.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 4, WRITERS = 3, WRITES = 400, FOLLOWERS = NAMES + 1 };
static const char *const names[NAMES] = {"a", "b", "c", "seldom"};

struct world {
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct store *s;
    struct err err;
    _Atomic unsigned written[NAMES], bad;
    _Atomic bool done;
};

/* What fails in a thread is counted: cmocka belongs to the test's own. */
#define EXPECT(w, what)                                                                            \
    do {                                                                                           \
        if (!(what) && atomic_fetch_add(&(w)->bad, 1) == 0)                                        \
            print_error("%d: %s\n", __LINE__, #what);                                              \
    } while (0)

static void write_to(struct world *w, unsigned name, const uint32_t *numbers, size_t n)
{
    struct err err;
    enum status st;
    err_init(&err);
    do { /* dropped meanwhile: into the next one of that name */
        struct collection *c;
        uint8_t key[8][STORE_ROUTE_BYTES + 4];
        struct entry_op ops[8];
        struct store_write sw = {.collections = &c, .n_collections = 1};
        st = store_collection_open(w->s, BYTES_STR(names[name]), BYTES_EMPTY, &c, &err);
        if (st == ST_NOT_FOUND) {
            st = ST_CANCELLED;
            continue;
        }
        EXPECT(w, st == ST_OK && n <= 8);
        uint32_t id = collection_id(c);
        for (size_t k = 0; k < n; k++) {
            for (int i = 0; i < 4; i++) {
                key[k][i] = (uint8_t)(id >> (24 - 8 * i));
                key[k][4 + i] = (uint8_t)(numbers[k] >> (24 - 8 * i));
            }
            ops[k] = (struct entry_op){.key = BYTES(key[k], sizeof(key[k])),
                                       .kind = RECORD_PUT,
                                       .value = BYTES(key[k], sizeof(key[k]))};
        }
        EXPECT(w, entry_encode(ops, n, BYTES_EMPTY, &sw.entry, &err) == ST_OK);
        st = store_propose(w->s, &sw, &err);
        blob_unref(sw.entry);
    } while (st == ST_CANCELLED);
    EXPECT(w, st == ST_OK);
    atomic_fetch_add(&w->written[name], (unsigned)n);
}

struct thread {
    struct world *w;
    unsigned nth;
    struct env_thread t;
};

/* Keys of a writer rise, so that whoever follows knows what it must see next of that writer. */
static void write_much(void *arg)
{
    struct thread *me = arg;
    struct test_rng rng;
    uint32_t next[NAMES] = {0}, numbers[8];
    test_rng_init(&rng, me->nth + 1);
    for (int i = 0; i < WRITES; i++) {
        unsigned name = test_rng_chance(&rng, 1, 40) ? 3 : (unsigned)test_rng_below(&rng, 3);
        size_t n = 1 + (size_t)test_rng_below(&rng, 4);
        for (size_t k = 0; k < n; k++)
            numbers[k] = me->nth << 24 | next[name]++;
        write_to(me->w, name, numbers, n);
        if (test_rng_chance(&rng, 1, 60))
            EXPECT(me->w, store_checkpoint(me->w->s, NULL) == ST_OK);
        if (me->nth == 0 && test_rng_chance(&rng, 1, 60)) {
            enum status st = store_collection_drop(me->w->s, BYTES_LIT("b"), BYTES_EMPTY, NULL);
            EXPECT(me->w, st == ST_OK || st == ST_NOT_FOUND);
        }
    }
}

static void take(struct thread *me, const struct feed_row *row, uint32_t next[NAMES][WRITERS],
                 unsigned *seen)
{
    unsigned name = 0;
    while (name < NAMES && strcmp(names[name], row->collection) != 0)
        name++;
    EXPECT(me->w, name < NAMES && (me->nth == NAMES || name == me->nth));
    EXPECT(me->w, row->key.len == 4 && row->key.data[0] < WRITERS);
    uint32_t number =
        (uint32_t)row->key.data[1] << 16 | (uint32_t)row->key.data[2] << 8 | row->key.data[3];
    if (atomic_load(&me->w->bad))
        return;
    EXPECT(me->w, number == next[name][row->key.data[0]]++);
    (*seen)++;
}

/* All that the writers wrote to what it follows, each once and in order. A wait that outlasts any
 * commit is a wake-up that was lost. */
static void follow(void *arg)
{
    struct thread *me = arg;
    struct world *w = me->w;
    struct err err;
    uint32_t next[NAMES][WRITERS] = {{0}};
    unsigned seen = 0;
    struct feed *f;
    struct feed_options o = {.collection =
                                 me->nth < NAMES ? BYTES_STR(names[me->nth]) : BYTES_EMPTY};
    err_init(&err);
    EXPECT(w, feed_open(w->s, BYTES_EMPTY, &o, &f, &err) == ST_OK);
    for (;;) {
        struct feed_row row;
        int rc = feed_next(f, &row, &err);
        EXPECT(w, rc >= 0);
        if (rc > 0)
            take(me, &row, next, &seen);
        if (atomic_load(&w->bad))
            break;
        if (rc > 0)
            continue;
        bool done = atomic_load(&w->done);
        unsigned all = 0;
        for (unsigned i = 0; i < NAMES; i++)
            if (me->nth == NAMES || me->nth == i)
                all += atomic_load(&w->written[i]);
        if (done && seen == all)
            break;
        EXPECT(w, feed_wait(f, 20000, &w->done) || atomic_load(&w->done));
    }
    feed_close(f);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    assert_true(temp_dir_make(w->dir, "wait"));
    snprintf(w->folder, sizeof(w->folder), "%s/db", w->dir);
    struct store_options o = {
        .engine_name = "mem", .engine_open = engine_mem_open, .sync = STORE_SYNC_OFF};
    assert_int_equal(store_open(env_linux(), w->folder, &o, &w->s, &w->err), ST_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(store_close(w->s, &w->err), ST_OK);
    bool gone = temp_dir_remove(w->dir);
    free(w);
    return gone ? 0 : -1;
}

static void start(struct world *w, struct thread *t, unsigned nth, void (*fn)(void *arg))
{
    *t = (struct thread){.w = w, .nth = nth};
    assert_int_equal(env_thread_start(&t->t, "test", fn, t, &w->err), ST_OK);
}

static void misses_nothing_beside_writers(void **state)
{
    struct world *w = *state;
    struct thread writers[WRITERS], followers[FOLLOWERS];
    for (unsigned i = 0; i < FOLLOWERS; i++)
        start(w, &followers[i], i, follow);
    for (unsigned i = 0; i < WRITERS; i++)
        start(w, &writers[i], i, write_much);
    for (unsigned i = 0; i < WRITERS; i++)
        env_thread_join(&writers[i].t);
    atomic_store(&w->done, true);
    store_wake_watchers(w->s);
    for (unsigned i = 0; i < FOLLOWERS; i++)
        env_thread_join(&followers[i].t);
    assert_int_equal(w->bad, 0);
}

/* ---- who is woken ---- */

static void wait_once(void *arg)
{
    struct thread *me = arg;
    struct feed *f;
    struct feed_row row;
    struct err err;
    struct feed_options o = {.collection = BYTES_STR(names[me->nth])};
    err_init(&err);
    EXPECT(me->w, feed_open(me->w->s, BYTES_LIT("now"), &o, &f, &err) == ST_OK);
    EXPECT(me->w, feed_next(f, &row, &err) == 0);
    store_watchers_add(me->w->s, 1); /* counted from here on, so that the test knows */
    while (!atomic_load(&me->w->done) && feed_next(f, &row, &err) != 1)
        (void)feed_wait(f, UINT64_MAX, &me->w->done);
    store_watchers_add(me->w->s, -1);
    feed_close(f);
}

static struct store_stats stats(struct world *w)
{
    struct store_stats st;
    store_stats(w->s, &st);
    return st;
}

static void until_watchers(struct world *w, uint64_t n)
{
    for (int i = 0; i < 20000 && stats(w).watchers != n; i++)
        env_sleep_ms(env_linux(), 1);
    assert_int_equal(stats(w).watchers, n);
    env_sleep_ms(env_linux(), 20); /* they are counted a moment before they wait */
}

static void others_sleep_on(void **state)
{
    struct world *w = *state;
    struct thread waiting[3];
    uint32_t number = 0;
    for (unsigned i = 0; i < 3; i++)
        write_to(w, i, &number, 1);
    for (unsigned i = 0; i < 3; i++)
        start(w, &waiting[i], i == 2 ? 3 : i, wait_once); /* a, b, and one that is not there */
    until_watchers(w, 3);
    uint64_t before = stats(w).wakes;
    for (number = 1; number < 100; number++)
        write_to(w, 2, &number, 1);
    assert_int_equal(stats(w).wakes, before);
    write_to(w, 0, &number, 1);
    until_watchers(w, 2);
    assert_int_equal(stats(w).wakes, before + 1);
    /* The catalog's writes concern all; who finds nothing goes on waiting. */
    write_to(w, 3, &number, 1);
    until_watchers(w, 1);
    assert_true(stats(w).wakes >= before + 3);
    atomic_store(&w->done, true);
    store_wake_watchers(w->s);
    for (unsigned i = 0; i < 3; i++)
        env_thread_join(&waiting[i].t);
    assert_int_equal(w->bad, 0);
}

static void wait_for_ages(void *arg)
{
    struct thread *me = arg;
    struct feed *f;
    struct feed_row row;
    struct err err;
    struct feed_options o = {.collection = BYTES_LIT("a")};
    err_init(&err);
    EXPECT(me->w, feed_open(me->w->s, BYTES_LIT("now"), &o, &f, &err) == ST_OK);
    EXPECT(me->w, feed_next(f, &row, &err) == 0);
    store_watchers_add(me->w->s, 1);
    EXPECT(me->w, !feed_wait(f, INT64_MAX, &me->w->done));
    EXPECT(me->w, atomic_load(&me->w->done));
    store_watchers_add(me->w->s, -1);
    feed_close(f);
}

static void a_wait_may_be_longer_than_time(void **state)
{
    struct world *w = *state;
    struct thread waiting;
    start(w, &waiting, 0, wait_for_ages);
    until_watchers(w, 1);
    atomic_store(&w->done, true);
    store_wake_watchers(w->s);
    env_thread_join(&waiting.t);
    assert_int_equal(w->bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(misses_nothing_beside_writers, setup, teardown),
        cmocka_unit_test_setup_teardown(others_sleep_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wait_may_be_longer_than_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
