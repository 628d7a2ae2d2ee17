/* Single writes, syncs and name changes fail under an open handle over RocksDB. After each: reads
 * go on, nothing acknowledged is lost, and the handle either works again or says that it does not;
 * a new process opens the folder and goes on. */
#include "crash/library/crash_fault.h"
#include "crash/library/crash_rig.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

enum { BEFORE = 25, UNTIL = 150, UNTIL_LONG = 1500, AFTER = 10, SEEDS = 2 };

static uint64_t clear(void)
{
    uint64_t hits;
    assert_true(crash_fault(NULL, &hits));
    return hits;
}

/* Steps until one fails or enough were done; then the fault is lifted. */
static varve_status until_fault(struct rig *r, const struct fault *f, uint64_t steps,
                                uint64_t *ret_hits)
{
    assert_true(crash_fault(f, NULL));
    varve_status st = rig_steps(r, steps);
    *ret_hits = clear();
    return st;
}

static void all_writes_are_refused(struct rig *r)
{
    varve_version v;
    assert_true(rig_poisoned(r));
    assert_int_equal(varve_put(r->db, "full-0", "k", 1, VARVE_RAW, "v", 1, NULL, &v),
                     VARVE_POISONED);
    assert_int_equal(varve_delete(r->db, "full-0", "\0", 1, NULL, &v), VARVE_POISONED);
    assert_int_equal(varve_snapshot_create(r->db, "poisoned", NULL, &v), VARVE_POISONED);
    assert_int_equal(varve_checkpoint(r->db), VARVE_POISONED);
    assert_int_equal(varve_collection_drop(r->db, "full-0", NULL), VARVE_POISONED);
}

static void test_a_failed_sync_of_the_log_poisons_the_handle(void **state)
{
    (void)state;
    uint64_t seed, hits;
    FOR_EACH_SEED(seed, 6)
    {
        struct rig r;
        rig_init(&r, seed, NULL);
        rig_must_open(&r);
        rig_must_steps(&r, BEFORE);
        /* The one sync that does no harm is that of a segment in the making; a write that waits for
         * it is refused, and that is all. */
        varve_status st = VARVE_OK;
        for (uint64_t tries = 0; !rig_poisoned(&r) && tries < 20; tries++) {
            struct fault f = {"sync", "/log/", seed * 3 + tries, 1, EIO};
            st = until_fault(&r, &f, UNTIL, &hits);
            assert_int_equal(hits, 1);
        }
        if (st == VARVE_OK) /* the thread met it after our last step */
            st = rig_steps(&r, 1);
        assert_true(st == VARVE_POISONED || st == VARVE_IO_ERROR);
        all_writes_are_refused(&r);
        rig_hold(&r); /* reads go on */
        all_writes_are_refused(&r);
        (void)!rig_close(&r);
        rig_check_in_new_process(&r);
        rig_deinit(&r);
    }
}

/* Whether checkpoints work again. If not, the message must say what to do. */
static bool works_again(struct rig *r, int error)
{
    varve_status st = VARVE_IO_ERROR;
    /* RocksDB looks for room every five seconds. */
    for (int tries = error == ENOSPC ? 40 : 3; st != VARVE_OK && tries > 0; tries--) {
        /* With nothing new a checkpoint has nothing to do, and ends well whatever is broken. */
        st = varve_put(r->db, "other", "k", 1, VARVE_RAW, "v", 1, NULL, NULL);
        if (st == VARVE_OK)
            st = varve_checkpoint(r->db);
        if (st != VARVE_OK && strstr(varve_last_error(), "opened anew"))
            break;
        if (st != VARVE_OK && error == ENOSPC)
            usleep(500000);
    }
    if (st == VARVE_OK)
        return true;
    printf("  stays: %s: %s\n", varve_status_name(st), varve_last_error());
    assert_int_equal(st, VARVE_IO_ERROR);
    assert_non_null(strstr(varve_last_error(), "is closed and opened anew"));
    return false;
}

/* Everything else that can fail: afterwards the handle works, or is poisoned. */
static void test_other_failures_pass(void **state)
{
    (void)state;
    static const struct fault kinds[] = {
        {"sync", ".sst", 0, 1, EIO},         {"sync", "MANIFEST", 0, 1, EIO},
        {"sync", "engine/", 0, 3, EIO},      {"write", ".sst", 0, 1, EIO},
        {"write", ".sst", 0, 4, ENOSPC},     {"write", "MANIFEST", 0, 1, EIO},
        {"write", "MANIFEST", 0, 1, ENOSPC}, {"write", "/log/", 0, 1, EIO},
        {"write", "/log/", 0, 5, ENOSPC},    {"open", ".sst", 0, 2, EMFILE},
        {"open", "/log/", 0, 2, EMFILE},     {"name", ".sst", 0, 2, EIO},
        {"name", "/log/", 0, 2, EIO},        {"write", "engine/", 0, 20, ENOSPC},
    };
    const char *only = getenv("CRASH_KIND"); /* one of them alone */
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        uint64_t seed, met = 0;
        if (only && strtoul(only, NULL, 0) != i)
            continue;
        FOR_EACH_SEED(seed, SEEDS)
        {
            struct rig r;
            struct test_rng rng;
            uint64_t hits;
            struct fault f = kinds[i];
            test_rng_init(&rng, seed * 100 + i);
            rig_init(&r, seed * 100 + i, NULL);
            rig_must_open(&r);
            rig_must_steps(&r, BEFORE);
            /* Names of the log change seldom, when one segment less is kept after several small
             * releases: the first must do. */
            bool seldom = strcmp(f.call, "name") == 0 && strcmp(f.pattern, "/log/") == 0;
            f.skip = seldom ? 0 : test_rng_below(&rng, 4);
            varve_status st = until_fault(&r, &f, seldom ? UNTIL_LONG : UNTIL, &hits);
            char why[300];
            snprintf(why, sizeof(why), "%s", varve_last_error());
            met += hits;
            rig_hold(&r);
            bool poisoned = rig_poisoned(&r);
            printf("%s of %s, errno %d, %" PRIu64 " hits: %s %s%s\n", f.call, f.pattern, f.error,
                   hits, varve_status_name(st), poisoned ? "(poisoned) " : "", st ? why : "");
            if (poisoned) {
                all_writes_are_refused(&r);
            }
            bool works = !poisoned && works_again(&r, f.error);
            if (works) {
                rig_must_steps(&r, AFTER);
                rig_hold(&r);
                assert_true(hold_verify(r.db));
            }
            varve_status closed = rig_close(&r);
            assert_true(!works || closed == VARVE_OK);
            rig_check_in_new_process(&r);
            rig_deinit(&r);
        }
        if (met == 0)
            fail_msg("no %s of %s was met", kinds[i].call, kinds[i].pattern);
    }
}

/* The handle does not come back to what a checkpoint that keeps failing has left; it only waits. */
static void test_a_checkpoint_reports_and_a_later_one_works(void **state)
{
    (void)state;
    static const struct fault kinds[] = {{"sync", ".sst", 0, UINT64_MAX, EIO},
                                         {"sync", "MANIFEST", 0, UINT64_MAX, EIO},
                                         {"write", "MANIFEST", 0, UINT64_MAX, EIO},
                                         {"write", ".sst", 0, UINT64_MAX, ENOSPC}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct rig r;
        varve_status st = VARVE_OK;
        rig_init(&r, 1000 + i, NULL);
        rig_must_open(&r);
        rig_must_steps(&r, BEFORE);
        assert_int_equal(varve_put(r.db, "other", "k", 1, VARVE_RAW, "v", 1, NULL, NULL), VARVE_OK);
        assert_true(crash_fault(&kinds[i], NULL));
        for (int n = 0; n < 3; n++) {
            st = varve_checkpoint(r.db);
            assert_true(st == VARVE_IO_ERROR || st == VARVE_DISK_FULL);
        }
        printf("%s of %s, errno %d: %s: %s\n", kinds[i].call, kinds[i].pattern, kinds[i].error,
               varve_status_name(st), varve_last_error());
        if (kinds[i].error == ENOSPC)
            assert_int_equal(st, VARVE_DISK_FULL);
        assert_false(rig_poisoned(&r));
        rig_hold(&r);
        assert_true(clear() > 0);
        if (works_again(&r, kinds[i].error))
            rig_must_steps(&r, AFTER);
        rig_hold(&r);
        (void)!rig_close(&r);
        rig_must_open(&r); /* the same process may, as the log is fine */
        rig_must_steps(&r, AFTER);
        assert_int_equal(rig_close(&r), VARVE_OK);
        rig_check_in_new_process(&r);
        rig_deinit(&r);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_sync_of_the_log_poisons_the_handle),
        cmocka_unit_test(test_a_checkpoint_reports_and_a_later_one_works),
        cmocka_unit_test(test_other_failures_pass),
    };
    (void)argc;
    if (!crash_fault(NULL, NULL)) { /* once more, with the injector */
        if (setenv("LD_PRELOAD", CRASH_FAULT, 1))
            return 2;
        execv("/proc/self/exe", argv);
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
