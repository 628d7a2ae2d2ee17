/* test_engine_rocks_held.c - what a failed write left, while readers hold on to the DB so that it cannot
 * be opened anew: the next write has to know of it. */
#include "storage/engine/engine_testing.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <string.h>

enum { RANGE = 1, VERSIONS = 10 };

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

/* Versions first..last of one key, drained. */
static enum status drain(struct engine *e, const char *key, uint64_t first, uint64_t last,
                         struct err *err)
{
    struct table *t = table_new();
    for (uint64_t v = first; v <= last; v++) {
        struct record r = {.version = {v, 0},
                           .kind = RECORD_PUT,
                           .writer = BYTES_EMPTY,
                           .value = BYTES_LIT("value")};
        assert_int_equal(table_put(t, BYTES(key, strlen(key)), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = last, .term = 1, .version = {last, 0}};
    enum status st = e->ops->drain(e, RANGE, t, &mark, err);
    table_unref(t);
    return st;
}

static enum status vacuum(struct engine *e, const char *from, uint64_t horizon, struct err *err)
{
    struct engine_vacuum q = {.in = {BYTES(from, strlen(from)), BYTES_EMPTY},
                              .horizon = {horizon, 0}};
    struct engine_vacuum_result r;
    return e->ops->vacuum(e, RANGE, &q, &r, err);
}

static void show(void *arg, const struct engine_finding *f)
{
    (void)arg;
    print_message("%s\n", f->text);
}

static void clean(struct engine *e)
{
    struct err err;
    must(e->ops->verify(e, RANGE, show, NULL, NULL, &err), &err);
}

static struct engine *begin(char dir[TEMP_DIR_MAX], struct env *env, struct engine_snapshot **held)
{
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "held"));
    must(engine_rocks_open(env, dir, NULL, &e, &err), &err);
    must(drain(e, "a", 1, VERSIONS, &err), &err);
    must(e->ops->snapshot(e, held, &err), &err);
    return e;
}

static void end(struct engine *e, struct engine_snapshot *held, const char *dir)
{
    e->ops->snapshot_release(e, held);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

/* When rows are gone and their past rows are not: the mark says so, whatever is written next. */
static void cut_vacuum(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    struct engine_snapshot *held;
    struct engine_stats s;
    struct err err;
    for (int then = 0; then < 2; then++) {
        struct engine *e = begin(dir, env_linux(), &held);
        must(drain(e, "b", VERSIONS + 1, 2 * VERSIONS, &err), &err);
        engine_rocks_test_fail_step(e, 2);
        assert_int_equal(vacuum(e, "a", 2 * VERSIONS, &err), ST_IO_ERROR);
        engine_rocks_test_fail_step(e, 0);
        if (then == 0)
            must(drain(e, "c", 2 * VERSIONS + 1, 2 * VERSIONS + 1, &err), &err);
        else
            must(vacuum(e, "b", 2 * VERSIONS, &err), &err);
        clean(e);
        must(vacuum(e, "a", 2 * VERSIONS, &err), &err);
        clean(e);
        e->ops->stats(e, &s);
        assert_int_equal(s.past_rows, 0);
        end(e, held, dir);
    }
}

static bool stop(void *arg, uint64_t done, uint64_t estimate)
{
    (void)arg, (void)done, (void)estimate;
    return false;
}

/* The one that is to finish what was cut is stopped before it knows: the mark goes on saying so. */
static void cut_vacuum_stopped_in_its_next(void **state)
{
    (void)state;
    enum { MANY = 4000 };
    char dir[TEMP_DIR_MAX];
    struct engine_snapshot *held;
    struct engine_vacuum_result r;
    struct err err;
    struct engine *e = begin(dir, env_linux(), &held);
    must(drain(e, "b", VERSIONS + 1, MANY, &err), &err);
    engine_rocks_test_fail_step(e, 2);
    assert_int_equal(vacuum(e, "a", MANY, &err), ST_IO_ERROR);
    engine_rocks_test_fail_step(e, 0);
    struct engine_vacuum q = {
        .in = {BYTES_LIT("a"), BYTES_EMPTY}, .horizon = {MANY, 0}, .progress = stop};
    assert_int_equal(e->ops->vacuum(e, RANGE, &q, &r, &err), ST_CANCELLED);
    clean(e);
    must(vacuum(e, "a", MANY, &err), &err);
    clean(e);
    end(e, held, dir);
}

/* ---- a drain that was linked in whole, yet could not be noted ---- */

static struct env_ops ops;
static int fails; /* the nth note */

static enum status open_note(struct env *env, const char *path, unsigned flags,
                             struct env_file **ret, struct err *err)
{
    if (strstr(path, "/manifest.end.tmp") && fails > 0 && --fails == 0)
        return err_set(err, ST_DISK_FULL, "%s: the disk is full", path);
    return env_linux()->ops->open(env, path, flags, ret, err);
}

static void unnoted_drain(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    struct engine_snapshot *held;
    struct engine_mark mark;
    struct err err;
    struct env env = {&ops};
    ops = *env_linux()->ops;
    ops.open = open_note;
    struct engine *e = begin(dir, &env, &held);
    fails = 2; /* the one behind the linking */
    assert_int_equal(drain(e, "a", VERSIONS + 1, 2 * VERSIONS, &err), ST_DISK_FULL);
    assert_int_equal(fails, 0);
    must(e->ops->persisted(e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, VERSIONS); /* it is not sure */
    must(vacuum(e, "a", VERSIONS, &err), &err);
    clean(e);
    must(drain(e, "a", VERSIONS + 1, 2 * VERSIONS, &err), &err);
    must(e->ops->persisted(e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, 2 * VERSIONS);
    clean(e);
    end(e, held, dir);
}

/* Opening anew after a disk error failed: until a write gets it open, every call says so. */
static void closed(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], copy[TEMP_DIR_MAX + 8];
    struct engine_snapshot *held;
    struct engine_stats s;
    struct err err;
    struct env env = {&ops};
    ops = *env_linux()->ops;
    ops.open = open_note;
    struct engine *e = begin(dir, &env, &held);
    e->ops->snapshot_release(e, held);
    engine_rocks_test_fail_step(e, 1);
    assert_int_equal(drain(e, "b", VERSIONS + 1, 2 * VERSIONS, &err), ST_IO_ERROR);
    engine_rocks_test_fail_step(e, 0);
    fails = 1;
    assert_int_equal(drain(e, "b", VERSIONS + 1, 2 * VERSIONS, &err), ST_IO_ERROR);
    assert_int_equal(fails, 0);
    snprintf(copy, sizeof(copy), "%s/copy", dir);
    assert_int_equal(e->ops->snapshot(e, &held, &err), ST_IO_ERROR);
    assert_int_equal(e->ops->copy(e, copy, &err), ST_IO_ERROR);
    assert_int_equal(e->ops->compact(e, &err), ST_IO_ERROR);
    assert_int_equal(e->ops->verify(e, RANGE, show, NULL, NULL, &err), ST_IO_ERROR);
    e->ops->stats(e, &s);
    must(drain(e, "b", VERSIONS + 1, 2 * VERSIONS, &err), &err);
    clean(e);
    must(e->ops->snapshot(e, &held, &err), &err);
    end(e, held, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_vacuum),
        cmocka_unit_test(cut_vacuum_stopped_in_its_next),
        cmocka_unit_test(unnoted_drain),
        cmocka_unit_test(closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
