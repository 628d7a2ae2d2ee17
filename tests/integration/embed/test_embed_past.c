/* The past: history, differences, restoring, named snapshots, times, expiry, retention. */
#include "embed_util.h"

#include <stdio.h>

/* Rows of a history as "value(kind)" text, newest first, checking that parents chain. */
static void expect_history(struct world *w, const char *collection, const char *key, uint64_t limit,
                           const char *const *want)
{
    varve_iter *it;
    assert_ok(varve_history(w->db, collection, key, strlen(key), limit, &it));
    varve_version above_parent = {0, 0};
    for (size_t i = 0;; i++) {
        int rc = varve_iter_next(it);
        assert_true(rc >= 0);
        if (rc == 0) {
            assert_null(want[i]);
            break;
        }
        assert_non_null(want[i]);
        assert_string_equal(varve_iter_collection(it), collection);
        assert_true(bytes_are(varve_iter_key(it), key));
        if (i > 0)
            assert_true(same_version(above_parent, varve_iter_version(it)));
        above_parent = varve_iter_parent(it);
        assert_int_equal(varve_iter_is_delete(it), want[i][0] == '-');
        if (want[i][0] != '-')
            assert_true(bytes_are(varve_iter_value(it), want[i]));
        assert_string_equal(varve_iter_token(it), "");
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
}

static void shows_history_newest_first(void **state)
{
    struct world *w = *state;
    db_open(w);
    put(w, "c", "k", "1");
    put(w, "c", "k2", "x");
    put(w, "c", "k", "2");
    assert_ok(varve_checkpoint(w->db));
    del(w, "c", "k");
    assert_ok(varve_checkpoint(w->db));
    put(w, "c", "k", "3");
    for (int pass = 0; pass < 3; pass++) {
        expect_history(w, "c", "k", 0, (const char *const[]){"3", "-", "2", "1", NULL});
        expect_history(w, "c", "k", 2, (const char *const[]){"3", "-", NULL});
        expect_history(w, "c", "none", 0, (const char *const[]){NULL});
        expect_history(w, "none", "k", 0, (const char *const[]){NULL});
        if (pass == 0)
            assert_ok(varve_checkpoint(w->db));
        else
            db_reopen(w);
    }
    db_end(w);
}

static void reads_at_versions_and_times(void **state)
{
    struct world *w = *state;
    enum { N = 40 };
    varve_version versions[N];
    uint64_t times[N];
    db_open(w);
    for (int i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        nap_ms(2);
        versions[i] = i % 7 == 6 ? del(w, "c", "k") : put(w, "c", "k", text);
        times[i] = varve_version_time_ms(versions[i]);
        if (i % 11 == 10)
            assert_ok(varve_checkpoint(w->db));
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < N; i++) {
            char text[16];
            snprintf(text, sizeof(text), "%d", i);
            const char *want = i % 7 == 6 ? NULL : text;
            varve_at v = at_version(versions[i]), t = at_time(times[i]);
            expect(w, "c", "k", &v, want);
            expect(w, "c", "k", &t, want);
        }
        varve_at before = at_time(times[0] - 1);
        expect(w, "c", "k", &before, NULL);
        db_reopen(w);
    }
    db_end(w);
}

/* What a time showed once it shows for ever: later writes of the same millisecond are not let in.
 */
static void a_fixed_time_never_changes(void **state)
{
    struct world *w = *state;
    db_open(w);
    for (int i = 0; i < 200; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        uint64_t ms = varve_version_time_ms(put(w, "c", "k", text));
        while (clock_ms() < ms) /* versions run ahead of the clock when a millisecond was fixed */
            nap_ms(1);
        varve_at at = at_time(ms);
        expect(w, "c", "k", &at, text);
        put(w, "c", "k", "later");
        expect(w, "c", "k", &at, text);
    }
    db_end(w);
}

static void tells_differences(void **state)
{
    struct world *w = *state;
    char *text;
    db_open(w);
    varve_version a = put_json(w, "c", "k", "{\"name\":\"A\",\"age\":1}");
    varve_version b = put_json(w, "c", "k", "{\"name\":\"A\",\"zip\":2}");
    varve_version raw = put(w, "c", "r", "x");
    const varve_version present = {0, 0};
    assert_ok(varve_diff(w->db, "c", "k", 1, a, b, VARVE_DIFF_PATHS, &text));
    assert_string_equal(text, "{\"set\":{\"zip\":2},\"unset\":[\"age\"]}");
    varve_free(text);
    assert_ok(varve_diff(w->db, "c", "k", 1, b, present, VARVE_DIFF_JSON_PATCH, &text));
    assert_string_equal(text, "[]");
    varve_free(text);
    assert_fails(varve_diff(w->db, "c", "r", 1, raw, present, VARVE_DIFF_PATHS, &text),
                 VARVE_INVALID_ARGUMENT, ": the value is raw");
    assert_fails(varve_diff(w->db, "c", "none", 4, a, b, VARVE_DIFF_PATHS, &text), VARVE_NOT_FOUND,
                 "version a");
    assert_fails(varve_diff(w->db, "c", "k", 1, present, b, VARVE_DIFF_PATHS, &text),
                 VARVE_INVALID_ARGUMENT, "a: ");
    assert_fails(varve_diff(w->db, "c", "k", 1, a, b, (varve_diff_format)5, &text),
                 VARVE_INVALID_ARGUMENT, "format");
    del(w, "c", "k");
    assert_fails(varve_diff(w->db, "c", "k", 1, a, present, VARVE_DIFF_PATHS, &text),
                 VARVE_NOT_FOUND, "version b");
    assert_fails(
        varve_diff(w->db, "c", "k", 1, a, (varve_version){UINT64_MAX, 0}, VARVE_DIFF_PATHS, &text),
        VARVE_FUTURE_TIME, "version b");
    db_end(w);
}

static void restores(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_version start = put(w, "other", "k", "x");
    varve_version a = put_json(w, "c", "k", "{\"v\":1}");
    put(w, "c", "k", "raw");
    varve_at at = at_version(a), early = at_version(start);
    varve_version v;
    assert_ok(varve_restore(w->db, "c", "k", 1, &at, NULL, &v));
    assert_ok(varve_get(w->db, "c", "k", 1, NULL, w->v));
    assert_int_equal(varve_value_type(w->v), VARVE_DOC);
    assert_true(same_version(varve_value_version(w->v), v));
    /* Absent then: deleted now; absent now as well: nothing to do. */
    assert_ok(varve_restore(w->db, "c", "k", 1, &early, NULL, NULL));
    expect(w, "c", "k", NULL, NULL);
    assert_fails(varve_restore(w->db, "c", "k", 1, &early, NULL, NULL), VARVE_NOT_FOUND, "");
    assert_fails(varve_restore(w->db, "c", "k", 1, NULL, NULL, NULL), VARVE_INVALID_ARGUMENT,
                 "present");
    /* An expiry of then is not taken over; a new one can be given. */
    varve_write_options o = {.size = sizeof(o), .ttl_ms = 3600000};
    assert_ok(varve_put(w->db, "c", "t", 1, VARVE_RAW, "x", 1, &o, &v));
    at = at_version(v);
    assert_ok(varve_restore(w->db, "c", "t", 1, &at, NULL, NULL));
    expect(w, "c", "t", NULL, "x");
    assert_int_equal(varve_value_expires_ms(w->v), 0);
    assert_ok(varve_restore(w->db, "c", "t", 1, &at, &o, NULL));
    expect(w, "c", "t", NULL, "x");
    assert_true(varve_value_expires_ms(w->v) > clock_ms());
    /* Out of a dropped collection: it is made anew. */
    at = at_version(put(w, "gone", "k", "kept"));
    assert_ok(varve_collection_drop(w->db, "gone", NULL));
    assert_ok(varve_restore(w->db, "gone", "k", 1, &at, NULL, NULL));
    expect(w, "gone", "k", NULL, "kept");
    db_end(w);
}

static void names_moments(void **state)
{
    struct world *w = *state;
    varve_version made, got;
    db_open(w);
    assert_ok(varve_snapshot_create(w->db, "empty", NULL, NULL));
    put(w, "c", "k", "1");
    assert_ok(varve_snapshot_create(w->db, "s1", NULL, &made));
    varve_version second = put(w, "c", "k", "2");
    varve_at past = at_version(second);
    put(w, "c", "k", "3");
    assert_ok(varve_snapshot_create(w->db, "s2", &past, &got));
    assert_true(same_version(got, second));
    assert_fails(varve_snapshot_create(w->db, "s2", NULL, NULL), VARVE_ALREADY_EXISTS, "s2");
    past = at_time(clock_ms() + 100000);
    assert_fails(varve_snapshot_create(w->db, "s3", &past, NULL), VARVE_FUTURE_TIME, "");
    assert_fails(varve_snapshot_create(w->db, "", NULL, NULL), VARVE_INVALID_ARGUMENT, "snapshot");
    for (int pass = 0; pass < 2; pass++) {
        varve_at s0 = at_snapshot("empty"), s1 = at_snapshot("s1"), s2 = at_snapshot("s2");
        expect(w, "c", "k", &s0, NULL);
        expect(w, "c", "k", &s1, "1");
        expect(w, "c", "k", &s2, "2");
        expect(w, "c", "k", NULL, "3");
        db_reopen(w);
    }
    varve_iter *it;
    assert_ok(varve_snapshots(w->db, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "empty"));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "s1") && same_version(varve_iter_version(it), made));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "s2") &&
                same_version(varve_iter_version(it), second));
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_ok(varve_snapshot_delete(w->db, "s1"));
    assert_fails(varve_snapshot_delete(w->db, "s1"), VARVE_NOT_FOUND, "s1");
    db_end(w);
}

static void records_expire(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_write_options o = {.size = sizeof(o), .ttl_ms = 60};
    varve_version v;
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "short", 5, &o, &v));
    put(w, "c", "l", "long");
    varve_batch *b = varve_batch_new();
    assert_ok(varve_batch_put(b, "c", "b", 1, VARVE_RAW, "short", 5, 60));
    assert_ok(varve_commit(w->db, b, NULL, NULL, NULL));
    varve_batch_free(b);
    expect(w, "c", "k", NULL, "short");
    uint64_t expires = varve_value_expires_ms(w->v);
    assert_true(expires >= varve_version_time_ms(v) + 50);
    nap_ms(80);
    varve_at then = at_version(v);
    for (int pass = 0; pass < 4; pass++) {
        expect(w, "c", "k", NULL,
               NULL); /* once out of the cache, then out of the table, then out of the engine */
        expect(w, "c", "b", NULL, NULL);
        expect(w, "c", "l", NULL, "long");
        expect(w, "c", "k", &then, "short"); /* judged at that time */
        varve_iter *it;
        assert_ok(varve_scan(w->db, "c", NULL, &it));
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_key(it), "l"));
        assert_int_equal(varve_iter_next(it), 0);
        varve_iter_close(it);
        if (pass == 0)
            assert_ok(varve_checkpoint(w->db));
        else if (pass == 1)
            db_reopen(w);
    }
    /* Vacuum makes ordinary deletes of them. */
    varve_vacuum_result r;
    assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, &r));
    assert_int_equal(r.expired, 2);
    varve_iter *it;
    assert_ok(varve_history(w->db, "c", "k", 1, 1, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(varve_iter_is_delete(it) && bytes_are(varve_iter_writer(it), "ttl"));
    varve_iter_close(it);
    assert_ok(varve_compare_and_set(w->db, "c", "k", 1, (varve_version){0, 0}, VARVE_RAW, "new", 3,
                                    NULL, NULL));
    db_end(w);
}

/* What is dropped is past, and stays as it was, however often the folder is opened. */
static void vacuum_leaves_the_dropped_alone(void **state)
{
    struct world *w = *state;
    varve_write_options o = {.size = sizeof(o), .ttl_ms = 1};
    varve_retention r = {.max_count = 1};
    varve_vacuum_result res;
    varve_version early;
    varve_watch *watch;
    const varve_iter *row;
    db_open(w);
    early = put(w, "other", "k", "1");
    put(w, "c", "counted", "1");
    put(w, "c", "counted", "2");
    assert_ok(varve_retention_set(w->db, "c", &r));
    assert_ok(varve_vacuum(w->db, "c", NULL, NULL, NULL));
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "old", 3, &o, NULL));
    nap_ms(5);
    assert_ok(varve_collection_drop(w->db, "c", NULL));
    put(w, "c", "k", "new");
    for (int pass = 0; pass < 2; pass++) {
        varve_at at = at_version(early);
        assert_ok(varve_watch_open(w->db, "now", NULL, &watch));
        assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, &res));
        if (varve_watch_next(watch, 0, &row) != 0) /* it would be taken for the present's */
            fail_msg("vacuum deleted %.1s of %s", (const char *)varve_iter_key(row).data,
                     varve_iter_collection(row));
        varve_watch_close(watch);
        assert_int_equal(res.expired, 0);
        expect(w, "c", "k", NULL, "new");
        assert_ok(varve_snapshot_create(w->db, "early", &at, NULL));
        assert_ok(varve_snapshot_delete(w->db, "early"));
        db_reopen(w);
    }
    db_end(w);
}

/* The moment sees what has been dropped since: a name of it would promise what is gone. */
static void names_no_moment_that_the_dropped_lack(void **state)
{
    struct world *w = *state;
    varve_retention r = {.max_count = 1};
    db_open(w);
    varve_version before = put(w, "other", "k", "1");
    varve_version lost = put(w, "c", "k", "1");
    put(w, "c", "k", "2");
    assert_ok(varve_retention_set(w->db, "c", &r));
    assert_ok(varve_vacuum(w->db, "c", NULL, NULL, NULL));
    varve_version after = put(w, "c", "k", "3");
    assert_ok(varve_collection_drop(w->db, "c", NULL));
    put(w, "c", "k", "anew");
    varve_at early = at_version(before), at = at_version(lost), late = at_version(after);
    for (int pass = 0; pass < 2; pass++) {
        assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_BELOW_HORIZON, "");
        assert_fails(varve_snapshot_create(w->db, "lost", &at, NULL), VARVE_BELOW_HORIZON,
                     "collection c");
        assert_ok(varve_snapshot_create(w->db, "early", &early, NULL));
        assert_ok(varve_snapshot_create(w->db, "late", &late, NULL));
        varve_at named = at_snapshot("late");
        expect(w, "c", "k", &named, "3");
        assert_ok(varve_snapshot_delete(w->db, "early"));
        assert_ok(varve_snapshot_delete(w->db, "late"));
        db_reopen(w);
    }
    db_end(w);
}

static void retention_by_count(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_version versions[10];
    for (int i = 0; i < 10; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        versions[i] = put(w, "c", "k", text);
        put(w, "free", "k", text);
    }
    varve_retention r = {.max_count = 3};
    assert_ok(varve_retention_set(w->db, "c", &r));
    /* A named snapshot holds on to everything it sees. */
    varve_at at = at_version(versions[2]);
    assert_ok(varve_snapshot_create(w->db, "hold", &at, NULL));
    varve_vacuum_result res, held;
    assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, &held));
    at = at_snapshot("hold");
    expect(w, "c", "k", &at, "2");
    assert_ok(varve_snapshot_delete(w->db, "hold"));
    assert_ok(varve_vacuum(w->db, "c", NULL, NULL, &res));
    assert_int_equal(held.versions_removed + res.versions_removed, 7);
    for (int pass = 0; pass < 2; pass++) {
        expect_history(w, "c", "k", 0, (const char *const[]){"9", "8", "7", NULL});
        at = at_version(versions[8]);
        expect(w, "c", "k", &at, "8");
        at = at_version(versions[2]);
        assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_BELOW_HORIZON, "");
        expect(w, "free", "k", &at, "1"); /* written right before versions[2]'s twin */
        assert_fails(varve_snapshot_create(w->db, "late", &at, NULL), VARVE_BELOW_HORIZON,
                     "collection c");
        varve_iter *it;
        assert_fails(varve_changes(w->db, NULL, NULL, &it), VARVE_BELOW_HORIZON, "collection c");
        db_reopen(w);
    }
    assert_fails(varve_vacuum(w->db, "none", NULL, NULL, NULL), VARVE_NOT_FOUND, "none");
    db_end(w);
}

static void retention_by_age(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_version first = put(w, "c", "k", "1");
    nap_ms(30);
    varve_version second = put(w, "c", "k", "2");
    put(w, "c", "gone", "x");
    del(w, "c", "gone");
    varve_at old = at_version(first), held = at_version(second);
    assert_ok(varve_snapshot_create(w->db, "hold", &held, NULL));
    varve_retention r = {.max_age_ms = 20};
    assert_ok(varve_retention_set(w->db, "c", &r));
    put(w, "c", "k", "3");
    nap_ms(50);
    varve_vacuum_result res;
    assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, &res));
    expect(w, "c", "k", NULL, "3");
    held = at_snapshot("hold");
    expect(w, "c", "k", &held, "2");
    assert_fails(varve_get(w->db, "c", "k", 1, &old, w->v), VARVE_BELOW_HORIZON, "c");
    varve_iter *it;
    varve_scan_options so = {.size = sizeof(so), .at = old};
    assert_fails(varve_scan(w->db, "c", &so, &it), VARVE_BELOW_HORIZON, "c");
    assert_ok(varve_snapshot_delete(w->db, "hold"));
    assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, &res));
    held = at_version(second);
    for (int pass = 0; pass < 2; pass++) {
        assert_fails(varve_get(w->db, "c", "k", 1, &held, w->v), VARVE_BELOW_HORIZON, "c");
        assert_fails(varve_snapshot_create(w->db, "s", &held, NULL), VARVE_BELOW_HORIZON, "c");
        assert_fails(varve_changes(w->db, "", NULL, &it), VARVE_BELOW_HORIZON, "c");
        expect_history(w, "c", "k", 0, (const char *const[]){"3", NULL});
        expect(w, "c", "k", NULL, "3");
        expect(w, "c", "gone", NULL, NULL);
        db_reopen(w);
    }
    db_end(w);
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(int *)arg;
    return false;
}

static void long_work_can_be_stopped(void **state)
{
    struct world *w = *state;
    db_open(w);
    for (int i = 0; i < 20000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        put(w, "c", key, "some value that is long enough to fill a page or two of the log");
    }
    assert_ok(varve_sync_now(w->db)); /* only what is synced is verified */
    int calls = 0;
    varve_status st = varve_verify(w->db, NULL, stop_at_once, &calls);
    assert_true(calls > 0);
    assert_int_equal(st, VARVE_CANCELLED);
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(shows_history_newest_first),
        WORLD_TEST(reads_at_versions_and_times),
        WORLD_TEST(a_fixed_time_never_changes),
        WORLD_TEST(tells_differences),
        WORLD_TEST(restores),
        WORLD_TEST(names_moments),
        WORLD_TEST(records_expire),
        WORLD_TEST(vacuum_leaves_the_dropped_alone),
        WORLD_TEST(names_no_moment_that_the_dropped_lack),
        WORLD_TEST(retention_by_count),
        WORLD_TEST(retention_by_age),
        WORLD_TEST(long_work_can_be_stopped),
    };
    return RUN_ON(tests, "mem", "rocks");
}
