#include "base/hash.h"
#include "sim/env/sim_env.h"
#include "storage/table/table.h"
#include "support/cmocka.h"
#include "unit/engine/suite_engine.h"

#include <stdio.h>

const struct backend suite_backend = {"mem", 30, engine_mem_open, engine_mem_test_raw, NULL};

static enum status drain_one(struct engine *e, uint64_t index, struct err *err)
{
    struct table *t = table_new();
    struct record r = {.version = {index, 0},
                       .kind = RECORD_PUT,
                       .writer = BYTES_EMPTY,
                       .value = BYTES_LIT("value")};
    struct engine_mark mark = {.index = index, .term = 1, .version = {index, 0}};
    assert_int_equal(table_put(t, BYTES_LIT("key"), &r, NULL), ST_OK);
    enum status st = e->ops->drain(e, 1, t, &mark, err);
    table_unref(t);
    return st;
}

static uint64_t mark_of(struct engine *e)
{
    struct engine_mark mark = {0};
    struct err err;
    assert_int_equal(e->ops->persisted(e, 1, &mark, &err), ST_OK);
    return mark.index;
}

/* A drain whose nth disk operation and all later ones fail; the engine is opened anew, as by a process that
 * takes over, and says how far it is; then the power goes. It must be as far still. */
static void what_it_opened_with_stays(void **state)
{
    (void)state;
    bool newer = false;
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (uint64_t n = 1; n <= 12; n++) {
            struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
            struct engine *e;
            struct err err;
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            assert_int_equal(drain_one(e, 1, &err), ST_OK);
            sim_set_faults(env, &(struct sim_faults){.fail_after_ops = n});
            (void)drain_one(e, 2, &err);
            sim_set_faults(env, &(struct sim_faults){0});
            e->ops->close(e);
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            uint64_t mark = mark_of(e);
            newer = newer || mark == 2;
            sim_crash(env, SIM_CRASH_POWER, 512);
            e->ops->close(e);
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            if (mark_of(e) < mark)
                fail_msg("seed %lu, operation %lu: the mark went back", (unsigned long)seed,
                         (unsigned long)n);
            e->ops->close(e);
            sim_env_free(env);
        }
    assert_true(newer);
}

/* On a full disk it opens all the same, and says that it could not make sure. */
static void a_full_disk_leaves_it_unsure(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct engine *e;
    struct err err;
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_int_equal(drain_one(e, 1, &err), ST_OK);
    assert_false(e->unsure);
    e->ops->close(e);
    sim_set_disk_bytes(env, 1);
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_true(e->unsure);
    assert_int_equal(mark_of(e), 1);
    e->ops->close(e);
    sim_env_free(env);
}

/* --- the whole state and the changes beside it --- */

/* Changes come one after the other until they are as much as the whole, and are then void. */
static void changes_lie_beside_the_whole(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct engine *e;
    struct err err;
    uint64_t most = 0, wholes = 0;
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    for (uint64_t i = 1; i <= 1000; i++) {
        struct engine_stats stats;
        assert_int_equal(drain_one(e, i, &err), ST_OK);
        e->ops->stats(e, &stats);
        wholes += stats.files == 1;
        most = stats.files > most ? stats.files : most;
        assert_int_equal(env_exists(env, "/e/mem.1"), stats.files > 1);
        if (i % 250)
            continue;
        e->ops->close(e);
        assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
        assert_int_equal(mark_of(e), i);
        assert_false(env_exists(env, "/e/mem.1")); /* an open writes the whole */
    }
    assert_true(most > 10);
    assert_true(wholes > 1);
    e->ops->close(e);
    sim_env_free(env);
}

/* The power goes at any operation of a drain, also one that writes the whole; before that some operation
 * may have failed. What was acknowledged is there, and the next is there whole or not at all. */
static void acknowledged_changes_stay(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct engine *e;
        struct err err;
        uint64_t done = 0, tried = 0;
        assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t calm = (seed * 7 + round * 131) % 300, failing = (seed + round) % 3;
            for (uint64_t i = 0; i < calm; i++)
                if (drain_one(e, ++tried, &err) == ST_OK)
                    done = tried;
            for (uint64_t i = 0; i < failing; i++) {
                sim_set_faults(env, &(struct sim_faults){.fail_after_ops = 1 + (seed + i) % 14});
                if (drain_one(e, ++tried, &err) == ST_OK)
                    done = tried;
                sim_set_faults(env, &(struct sim_faults){0});
                if ((seed + round) % 2 && drain_one(e, ++tried, &err) == ST_OK)
                    done = tried;
            }
            sim_crash(env, round % 2 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY, 512);
            e->ops->close(e);
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            if (mark_of(e) < done || mark_of(e) > tried)
                fail_msg("seed %lu: %lu were acknowledged, %lu are there", (unsigned long)seed,
                         (unsigned long)done, (unsigned long)mark_of(e));
            done = tried = mark_of(e);
        }
        e->ops->close(e);
        sim_env_free(env);
    }
}

/* Any bit of any file: the open names the file. */
static void a_flipped_bit_of_any_file_is_named(void **state)
{
    (void)state;
    static const char *const files[] = {"/e/mem.dump", "/e/mem.1", "/e/mem.2", "/e/mem.3"};
    for (size_t f = 0; f < 4; f++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
        struct engine *e;
        struct err err;
        struct bytes content;
        assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
        for (uint64_t i = 1; i <= 4; i++)
            assert_int_equal(drain_one(e, i, &err), ST_OK);
        e->ops->close(e);
        assert_true(sim_file(env, files[f], &content));
        size_t len = content.len;
        for (size_t at = 0; at < len; at++) {
            const struct engine_options read_only = {.read_only = true};
            assert_true(sim_flip_bit(env, files[f], at, at % 8));
            enum status st = engine_mem_open(env, "/e", &read_only, &e, &err);
            assert_true(st == ST_CORRUPT || st == ST_FORMAT_NEWER);
            assert_non_null(strstr(err.detail, files[f]));
            assert_true(sim_flip_bit(env, files[f], at, at % 8));
        }
        sim_env_free(env);
    }
}

/* What lies behind a change that is missing is not passed over in silence; of the last one nobody knows. */
static void a_missing_change_is_noticed(void **state)
{
    (void)state;
    static const char *const files[] = {"/e/mem.1", "/e/mem.2", "/e/mem.3"};
    const struct engine_options read_only = {.read_only = true};
    for (uint64_t f = 0; f < 3; f++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
        struct engine *e;
        struct err err;
        enum status wanted = f == 2 ? ST_OK : ST_CORRUPT;
        assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
        for (uint64_t i = 1; i <= 4; i++)
            assert_int_equal(drain_one(e, i, &err), ST_OK);
        assert_int_equal(e->ops->verify(e, 1, NULL, NULL, NULL, &err), ST_OK);
        assert_int_equal(env_unlink(env, files[f], &err), ST_OK);
        assert_int_equal(e->ops->verify(e, 1, NULL, NULL, NULL, &err), wanted);
        e->ops->close(e);
        assert_int_equal(engine_mem_open(env, "/e", &read_only, &e, &err), wanted);
        if (wanted == ST_OK) {
            assert_int_equal(mark_of(e), 3);
            e->ops->close(e);
        } else {
            assert_non_null(strstr(err.detail, files[f]));
        }
        sim_env_free(env);
    }
}

/* As it was before there were changes: no id behind the format. */
static void the_first_format_is_read(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct engine *e;
    struct err err;
    struct buf file = BUF_INIT;
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_int_equal(drain_one(e, 5, &err), ST_OK);
    e->ops->close(e);
    assert_int_equal(env_read_file(env, "/e/mem.dump", 1 << 20, &file, &err), ST_OK);
    file.data[8] = 1;
    memmove(file.data + 12, file.data + 24, file.len - 24);
    file.len -= 12 + 4;
    assert_int_equal(buf_append_le32(&file, crc32c(0, file.data, file.len)), ST_OK);
    assert_int_equal(env_write_file(env, "/e/mem.dump", buf_bytes(&file), &err), ST_OK);
    buf_deinit(&file);
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_int_equal(mark_of(e), 5);
    assert_int_equal(drain_one(e, 6, &err), ST_OK);
    e->ops->close(e);
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_int_equal(mark_of(e), 6);
    e->ops->close(e);
    sim_env_free(env);
}

static bool stop_and_fail(void *arg, uint64_t done, uint64_t estimate)
{
    (void)done, (void)estimate;
    sim_set_faults(arg, &(struct sim_faults){.fail_after_ops = 1});
    return false;
}

/* A vacuum that is stopped keeps what it has removed by then; if that cannot be written, it says so. */
static void a_stopped_vacuum_names_a_failed_commit(void **state)
{
    (void)state;
    enum { ROWS = 2000 };
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct engine *e;
    struct engine_vacuum_result ret;
    struct err err;
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    struct table *t = table_new();
    for (uint64_t i = 1; i <= ROWS; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "%u", (unsigned)i % (ROWS / 4));
        struct record r = {.version = {i, 0},
                           .kind = RECORD_PUT,
                           .writer = BYTES_EMPTY,
                           .value = BYTES_LIT("value")};
        assert_int_equal(table_put(t, BYTES(key, (size_t)len), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = ROWS, .term = 1, .version = {ROWS, 0}};
    assert_int_equal(e->ops->drain(e, 1, t, &mark, &err), ST_OK);
    table_unref(t);
    struct engine_vacuum q = {.horizon = {ROWS, 0}, .progress = stop_and_fail, .arg = env};
    assert_int_equal(e->ops->vacuum(e, 1, &q, &ret, &err), ST_IO_ERROR);
    assert_null(strstr(err.detail, "stopped"));
    sim_set_faults(env, &(struct sim_faults){0});
    e->ops->close(e);
    sim_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suite_random),
        cmocka_unit_test(suite_changes_order),
        cmocka_unit_test(suite_long_history),
        cmocka_unit_test(suite_large),
        cmocka_unit_test(suite_move),
        cmocka_unit_test(suite_copy),
        cmocka_unit_test(suite_refusals),
        cmocka_unit_test(suite_no_memory),
        cmocka_unit_test(suite_verify_planted),
        cmocka_unit_test(suite_verify_random),
        cmocka_unit_test(what_it_opened_with_stays),
        cmocka_unit_test(a_full_disk_leaves_it_unsure),
        cmocka_unit_test(changes_lie_beside_the_whole),
        cmocka_unit_test(acknowledged_changes_stay),
        cmocka_unit_test(a_flipped_bit_of_any_file_is_named),
        cmocka_unit_test(a_missing_change_is_noticed),
        cmocka_unit_test(the_first_format_is_read),
        cmocka_unit_test(a_stopped_vacuum_names_a_failed_commit),
    };
    return cmocka_run_group_tests_name("engine_mem", tests, suite_setup, NULL);
}
