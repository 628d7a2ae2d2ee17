/* The store under fibers of one thread, as a reactor runs them: the writes of a round are one group,
 * and whoever waits holds up nobody else. */
#include "base/env/fiber.h"
#include "base/env/thread.h"
#include "node/store/store.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <sched.h>
#include <stdio.h>

enum { FIBERS = 50 };

struct fixture {
    char dir[TEMP_DIR_MAX];
    struct store *s;
    struct collection *c;
    struct fiber_sched *fibers;
    unsigned done, failed;
    unsigned next;
    enum store_sync sync;
};

static void open_with(struct fixture *f, store_engine_open_fn engine, bool spill)
{
    struct err err;
    err_init(&err);
    memset(f, 0, sizeof *f);
    assert_true(temp_dir_make(f->dir, "fibers"));
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine,
                              .table_bytes = 256 * 1024,
                              .spill_always = spill,
                              .wal = {.segment_bytes = 1 << 20}};
    assert_int_equal(store_open(env_linux(), f->dir, &o, &f->s, &err), ST_OK);
    assert_int_equal(store_collection_open(f->s, BYTES_LIT("t"), BYTES_EMPTY, &f->c, &err), ST_OK);
    f->fibers = fiber_sched_new(2 * FIBERS, FIBER_STACK_DEFAULT, &err);
    assert_non_null(f->fibers);
}

static void open_it(struct fixture *f)
{
    open_with(f, engine_mem_open, false);
}

static void close_it(struct fixture *f)
{
    struct err err;
    err_init(&err);
    fiber_sched_free(f->fibers);
    assert_int_equal(store_close(f->s, &err), ST_OK);
    assert_true(temp_dir_remove(f->dir));
}

static enum status put(struct fixture *f, const char *name, const char *value, struct version *ret)
{
    uint8_t key[64];
    uint32_t id = collection_id(f->c);
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(id >> (24 - 8 * i));
    memcpy(key + 4, name, strlen(name));
    struct entry_op op = {
        .key = BYTES(key, 4 + strlen(name)), .kind = RECORD_PUT, .value = BYTES_STR(value)};
    struct store_write w = {.collections = &f->c, .n_collections = 1, .sync = f->sync};
    struct err err;
    err_init(&err);
    enum status st = entry_encode(&op, 1, BYTES_EMPTY, &w.entry, &err);
    if (st == ST_OK)
        st = store_propose(f->s, &w, &err);
    blob_unref(w.entry);
    *ret = w.version;
    return st;
}

static void one_put(void *arg)
{
    struct fixture *f = arg;
    char name[32];
    struct version v;
    (void)snprintf(name, sizeof name, "key %u", f->next++);
    if (put(f, name, name, &v) != ST_OK || version_is_none(v))
        f->failed++;
    f->done++;
}

/* The same name is asked for by several at once. */
static void one_collection(void *arg)
{
    struct fixture *f = arg;
    char name[32];
    struct collection *c;
    struct err err;
    (void)snprintf(name, sizeof name, "made %u", f->next++ % 10);
    if (store_collection_open(f->s, BYTES_STR(name), BYTES_EMPTY, &c, &err) != ST_OK)
        f->failed++;
    f->done++;
}

static void spawn(struct fixture *f, void (*fn)(void *), unsigned n)
{
    struct err err;
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(fiber_spawn(f->fibers, fn, f, &err), ST_OK);
}

static void run(struct fixture *f, unsigned until)
{
    while (f->done < until)
        if (fiber_sched_run(f->fibers) == 0)
            sched_yield();
    assert_int_equal(f->failed, 0);
    assert_int_equal(fiber_sched_alive(f->fibers), 0);
}

static void test_a_round_is_one_group(void **state)
{
    (void)state;
    struct fixture f;
    struct store_stats before, after;
    open_it(&f);
    store_stats(f.s, &before);
    spawn(&f, one_put, FIBERS);
    run(&f, FIBERS);
    store_stats(f.s, &after);
    assert_int_equal(after.commits - before.commits, FIBERS);
    assert_int_equal(after.groups - before.groups, 1);
    spawn(&f, one_put, 1); /* and one alone is one too */
    run(&f, FIBERS + 1);
    store_stats(f.s, &before);
    assert_int_equal(before.groups - after.groups, 1);
    close_it(&f);
}

/* Those who make a collection hold the catalog while they wait for their write: with a mutex the
 * second of them would block the thread on which the first has to go on. */
static void test_collections_are_made_together(void **state)
{
    (void)state;
    struct fixture f;
    open_it(&f);
    spawn(&f, one_collection, FIBERS);
    spawn(&f, one_put, FIBERS);
    run(&f, 2 * FIBERS);
    assert_int_equal(store_collection_count(f.s), 11);
    close_it(&f);
}

struct writer {
    struct fixture *f;
    _Atomic bool stop;
    _Atomic unsigned failed, wrote;
};

static void write_on(void *arg)
{
    struct writer *w = arg;
    char name[32];
    struct version v;
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        (void)snprintf(name, sizeof name, "thread %u", i % 100);
        if (put(w->f, name, name, &v) != ST_OK)
            atomic_fetch_add(&w->failed, 1);
        atomic_fetch_add(&w->wrote, 1);
    }
}

/* Fibers and threads take turns at leading; nobody waits for ever. */
static void test_beside_threads(void **state)
{
    (void)state;
    struct fixture f;
    struct env_thread t;
    struct err err;
    open_it(&f);
    struct writer w = {.f = &f};
    assert_int_equal(env_thread_start(&t, "writer", write_on, &w, &err), ST_OK);
    for (unsigned round = 1; round <= 20; round++) {
        spawn(&f, one_put, FIBERS / 2);
        spawn(&f, one_collection, FIBERS / 2);
        run(&f, round * FIBERS);
    }
    atomic_store(&w.stop, true);
    env_thread_join(&t);
    assert_int_equal(atomic_load(&w.failed), 0);
    close_it(&f);
}

/* ---- a drain that does not end ---- */

static struct {
    struct engine_ops ops;
    const struct engine_ops *real;
    _Atomic bool slow, give_up;
} hold;

static enum status held_drain(struct engine *e, uint64_t range, const struct table *t,
                              const struct engine_mark *mark, struct err *err)
{
    for (int i = 0; atomic_load(&hold.slow) && i < 5000; i++)
        env_sleep_ms(env_linux(), 1);
    if (atomic_load(&hold.slow))
        atomic_store(&hold.give_up, true);
    return hold.real->drain(e, range, t, mark, err);
}

static enum status held_open(struct env *env, const char *dir, const struct engine_options *o,
                             struct engine **ret, struct err *err)
{
    enum status st = engine_mem_open(env, dir, o, ret, err);
    if (st == ST_OK) {
        hold.real = (*ret)->ops;
        hold.ops = *hold.real;
        hold.ops.drain = held_drain;
        (*ret)->ops = &hold.ops;
    }
    return st;
}

enum { FULL = 2 * 256 * 1024 };

static void put_much(void *arg)
{
    struct fixture *f = arg;
    char name[48];
    struct version v;
    for (unsigned i = 0; i < FULL / 128; i++) {
        (void)snprintf(name, sizeof name, "a key of its own, %u", i);
        if (put(f, name, name, &v) != ST_OK)
            f->failed++;
    }
    f->done++;
}

/* Until the writer beside it waits for room: then it lets the drain go on. */
static void read_on(void *arg)
{
    struct fixture *f = arg;
    struct store_stats now, before = {0};
    for (unsigned still = 0; still < 50; before = now) {
        struct buf buf = BUF_INIT;
        struct record rec;
        uint8_t key[] = {0, 0, 0, 0, 'x'};
        if (store_get(f->s, BYTES(key, sizeof key), VERSION_NONE, &buf, &rec, NULL) != ST_NOT_FOUND)
            f->failed++;
        buf_deinit(&buf);
        store_stats(f->s, &now);
        still = now.table_bytes > FULL && now.writes == before.writes ? still + 1 : 0;
        if (still)
            env_sleep_ms(env_linux(), 1);
        fiber_yield();
    }
    f->failed += atomic_load(&hold.give_up);
    atomic_store(&hold.slow, false);
    f->done++;
}

/* Who leads on a fiber while both tables are full is parked, and its thread serves readers. */
static void test_a_full_table_holds_up_no_reader(void **state)
{
    (void)state;
    struct fixture f;
    atomic_store(&hold.slow, true);
    open_with(&f, held_open, false);
    f.sync = STORE_SYNC_OFF;
    spawn(&f, put_much, 1);
    spawn(&f, read_on, 1);
    run(&f, 2);
    assert_false(atomic_load(&hold.give_up));
    close_it(&f);
}

/* ---- tables that rest on the disk, while others ask for checkpoints ---- */

enum { CHECKPOINTERS = 3, LARGE = 30000, LARGES = 2000 };

struct checkpointer {
    struct fixture *f;
    _Atomic bool stop;
    _Atomic unsigned failed;
};

static void ask_for_checkpoints(void *arg)
{
    struct checkpointer *c = arg;
    struct err err;
    err_init(&err);
    while (!atomic_load(&c->stop))
        if (store_checkpoint(c->f->s, &err) != ST_OK)
            atomic_fetch_add(&c->failed, 1);
}

static void put_large(void *arg)
{
    struct fixture *f = arg;
    static char text[LARGE];
    struct version v;
    memset(text, 'x', LARGE - 1);
    for (unsigned i = 0; i < LARGES; i++)
        if (put(f, "large", text, &v) != ST_OK)
            f->failed++;
    f->done++;
}

static void test_checkpoints_beside_tables_that_rest(void **state)
{
    (void)state;
    struct fixture f;
    struct env_thread t[CHECKPOINTERS];
    struct err err;
    open_with(&f, engine_mem_open, true);
    f.sync = STORE_SYNC_OFF;
    struct checkpointer c = {.f = &f};
    for (int i = 0; i < CHECKPOINTERS; i++)
        assert_int_equal(env_thread_start(&t[i], "checkpoint", ask_for_checkpoints, &c, &err),
                         ST_OK);
    spawn(&f, put_large, 1);
    run(&f, 1);
    atomic_store(&c.stop, true);
    for (int i = 0; i < CHECKPOINTERS; i++)
        env_thread_join(&t[i]);
    assert_int_equal(atomic_load(&c.failed), 0);
    close_it(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_round_is_one_group),
        cmocka_unit_test(test_collections_are_made_together),
        cmocka_unit_test(test_beside_threads),
        cmocka_unit_test(test_checkpoints_beside_tables_that_rest),
        cmocka_unit_test(test_a_full_table_holds_up_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
