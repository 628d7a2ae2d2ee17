/* Many threads on one handle: compare-and-set, batches, reads at one moment, feeds and watches
 * beside writers and checkpoints. Under TSan on the engine mem: RocksDB is not built for it. */
#include "embed_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { THREADS = 6 };

static const varve_version none = {0, 0};

struct job {
    struct world *w;
    int number, rounds;
    _Atomic bool *stop;
    uint64_t done;
};

static void run(struct world *w, void *(*fn)(void *), int n, int rounds, _Atomic bool *stop,
                struct job *jobs, pthread_t *threads)
{
    for (int i = 0; i < n; i++) {
        jobs[i] = (struct job){.w = w, .number = i, .rounds = rounds, .stop = stop};
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &jobs[i]), 0);
    }
}

/* cmocka's assertions belong to the main thread. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, varve_last_error());     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- a counter by compare-and-set ---- */

static void *count_up(void *arg)
{
    struct job *j = arg;
    varve_value *v = varve_value_new();
    for (int i = 0; i < j->rounds; i++) {
        for (;;) {
            uint64_t n = 0;
            varve_version at = none;
            varve_status st = varve_get(j->w->db, "counter", "n", 1, NULL, v);
            CHECK(st == VARVE_OK || st == VARVE_NOT_FOUND);
            if (st == VARVE_OK) {
                memcpy(&n, varve_value_bytes(v).data, sizeof(n));
                at = varve_value_version(v);
            }
            n++;
            st = varve_compare_and_set(j->w->db, "counter", "n", 1, at, VARVE_RAW, &n, sizeof(n),
                                       NULL, &at);
            if (st == VARVE_OK)
                break;
            CHECK(st == VARVE_PRECONDITION_FAILED);
        }
        j->done++;
    }
    varve_value_free(v);
    return NULL;
}

static void counters_reach_their_sum(void **state)
{
    struct world *w = *state;
    struct job jobs[THREADS];
    pthread_t threads[THREADS];
    db_open(w);
    run(w, count_up, THREADS, 150, NULL, jobs, threads);
    for (int i = 0; i < 4; i++)
        assert_ok(varve_checkpoint(w->db));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    db_reopen(w);
    assert_ok(varve_get(w->db, "counter", "n", 1, NULL, w->v));
    uint64_t n;
    memcpy(&n, varve_value_bytes(w->v).data, sizeof(n));
    assert_int_equal(n, THREADS * 150);
    varve_iter *it;
    assert_ok(varve_history(w->db, "counter", "n", 1, 0, &it));
    for (uint64_t want = n; want > 0; want--) {
        uint64_t got;
        assert_int_equal(varve_iter_next(it), 1);
        memcpy(&got, varve_iter_value(it).data, sizeof(got));
        assert_int_equal(got, want);
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    db_end(w);
}

/* ---- transfers in batches, read at one moment ---- */

enum { ACCOUNTS = 5, START = 1000 };

static _Atomic uint64_t transfers;

static void *transfer(void *arg)
{
    struct job *j = arg;
    struct test_rng r;
    test_rng_init(&r, (uint64_t)j->number);
    varve_value *a = varve_value_new(), *b = varve_value_new();
    varve_batch *batch = varve_batch_new();
    while (!atomic_load(j->stop)) {
        char from = (char)('a' + test_rng_below(&r, ACCOUNTS)),
             to = (char)('a' + test_rng_below(&r, ACCOUNTS));
        int64_t x, y;
        if (from == to)
            continue;
        CHECK(varve_get(j->w->db, "bank", &from, 1, NULL, a) == VARVE_OK);
        CHECK(varve_get(j->w->db, "bank", &to, 1, NULL, b) == VARVE_OK);
        memcpy(&x, varve_value_bytes(a).data, sizeof(x));
        memcpy(&y, varve_value_bytes(b).data, sizeof(y));
        x--;
        y++;
        varve_batch_clear(batch);
        CHECK(varve_batch_require(batch, "bank", &from, 1, VARVE_REQUIRE_VERSION,
                                  varve_value_version(a)) == VARVE_OK);
        CHECK(varve_batch_require(batch, "bank", &to, 1, VARVE_REQUIRE_VERSION,
                                  varve_value_version(b)) == VARVE_OK);
        CHECK(varve_batch_put(batch, "bank", &from, 1, VARVE_RAW, &x, sizeof(x), 0) == VARVE_OK);
        CHECK(varve_batch_put(batch, "bank", &to, 1, VARVE_RAW, &y, sizeof(y), 0) == VARVE_OK);
        size_t failed = 9;
        varve_status st = varve_commit(j->w->db, batch, NULL, NULL, &failed);
        CHECK(st == VARVE_OK || (st == VARVE_PRECONDITION_FAILED && failed < 2));
        j->done += st == VARVE_OK;
        atomic_fetch_add(&transfers, st == VARVE_OK);
    }
    varve_batch_free(batch);
    varve_value_free(a);
    varve_value_free(b);
    return NULL;
}

static void totals_hold_at_every_moment(void **state)
{
    struct world *w = *state;
    struct job jobs[3];
    pthread_t threads[3];
    _Atomic bool stop = false;
    varve_key keys[ACCOUNTS];
    varve_value *values[ACCOUNTS];
    varve_status sts[ACCOUNTS];
    char names[ACCOUNTS];
    db_open(w);
    for (int i = 0; i < ACCOUNTS; i++) {
        int64_t start = START;
        names[i] = (char)('a' + i);
        keys[i] = (varve_key){"bank", &names[i], 1};
        values[i] = varve_value_new();
        assert_ok(
            varve_put(w->db, "bank", &names[i], 1, VARVE_RAW, &start, sizeof(start), NULL, NULL));
    }
    atomic_store(&transfers, 0);
    run(w, transfer, 3, 0, &stop, jobs, threads);
    /* On a slow disk 400 rounds of reading may pass before the first transfer does. */
    for (int round = 0; round < 400 || atomic_load(&transfers) < 10; round++) {
        int64_t sum = 0, x;
        assert_ok(varve_get_many(w->db, keys, ACCOUNTS, NULL, values, sts));
        for (int i = 0; i < ACCOUNTS; i++) {
            assert_int_equal(sts[i], VARVE_OK);
            memcpy(&x, varve_value_bytes(values[i]).data, sizeof(x));
            sum += x;
        }
        assert_int_equal(sum, ACCOUNTS * START);
        varve_iter *it;
        sum = 0;
        assert_ok(varve_scan(w->db, "bank", NULL, &it));
        while (varve_iter_next(it) == 1) {
            memcpy(&x, varve_iter_value(it).data, sizeof(x));
            sum += x;
        }
        varve_iter_close(it);
        assert_int_equal(sum, ACCOUNTS * START);
        if (round % 100 == 50)
            assert_ok(varve_checkpoint(w->db));
    }
    atomic_store(&stop, true);
    uint64_t done = 0;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        done += jobs[i].done;
    }
    assert_true(done > 0);
    for (int i = 0; i < ACCOUNTS; i++)
        varve_value_free(values[i]);
    db_end(w);
}

/* ---- writers while collections come and go ---- */

static void *put_many(void *arg)
{
    struct job *j = arg;
    varve_batch *b = varve_batch_new();
    for (int i = 0; i < j->rounds; i++) {
        char key[24], name[16];
        snprintf(key, sizeof(key), "%d-%06d", j->number, i);
        snprintf(name, sizeof(name), "c%d", i % 3);
        if (i % 4 == 3) {
            varve_batch_clear(b);
            for (int k = 0; k < 3; k++) {
                char part[48];
                snprintf(part, sizeof(part), "%s-%d", key, k);
                CHECK(varve_batch_put(b, name, part, strlen(part), VARVE_RAW, &i, sizeof(i), 0) ==
                      VARVE_OK);
            }
            CHECK(varve_commit(j->w->db, b, NULL, NULL, NULL) == VARVE_OK);
            j->done += 3;
        } else {
            CHECK(varve_put(j->w->db, name, key, strlen(key), VARVE_RAW, &i, sizeof(i), NULL,
                            NULL) == VARVE_OK);
            j->done++;
        }
    }
    varve_batch_free(b);
    return NULL;
}

static void *drop_and_make(void *arg)
{
    struct job *j = arg;
    while (!atomic_load(j->stop)) {
        varve_status st = varve_collection_drop(j->w->db, "c1", NULL);
        CHECK(st == VARVE_OK || st == VARVE_NOT_FOUND);
        nap_ms(2);
    }
    return NULL;
}

static void feeds_miss_nothing_beside_writers(void **state)
{
    struct world *w = *state;
    struct job jobs[THREADS], dropper;
    pthread_t threads[THREADS], drop_thread;
    _Atomic bool stop = false;
    enum { ROUNDS = 200 };
    db_open(w);
    run(w, put_many, THREADS, ROUNDS, NULL, jobs, threads);
    run(w, drop_and_make, 1, 0, &stop, &dropper, &drop_thread);
    const uint64_t want = THREADS * (ROUNDS / 4 * 3 + ROUNDS / 4 * 3);
    uint64_t seen = 0;
    varve_version last = none;
    char last_key[64] = "", *token = strdup("");
    char last_collection[16] = "";
    int next[THREADS] = {0};
    while (seen < want) { /* again and again from the last token */
        varve_iter *it;
        int rc;
        assert_ok(varve_changes(w->db, token, NULL, &it));
        for (int i = 0; i < 37 && (rc = varve_iter_next(it)) == 1; i++) {
            varve_version v = varve_iter_version(it);
            varve_bytes key = varve_iter_key(it);
            int c = varve_version_compare(v, last);
            assert_true(c >= 0);
            char now[64];
            snprintf(now, sizeof(now), "%.*s", (int)key.len, (const char *)key.data);
            if (c == 0)
                assert_true(strcmp(varve_iter_collection(it), last_collection) == 0 &&
                            strcmp(now, last_key) > 0);
            int number, round;
            assert_int_equal(sscanf(now, "%d-%d", &number, &round), 2);
            assert_true(round == next[number] ||
                        round == next[number] - 1); /* each thread's own, in order */
            next[number] = round + 1;
            last = v;
            memcpy(last_key, now, sizeof(now));
            snprintf(last_collection, sizeof(last_collection), "%s", varve_iter_collection(it));
            seen++;
        }
        free(token);
        token = strdup(varve_iter_token(it));
        varve_iter_close(it);
        if (seen % 5 == 0)
            assert_ok(varve_checkpoint(w->db));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(drop_thread, NULL);
    varve_iter *it;
    assert_ok(varve_changes(w->db, token, NULL, &it));
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_int_equal(seen, want);
    free(token);
    db_end(w);
}

/* ---- requirements of absence while the collection is made ---- */

static void *make_once(void *arg)
{
    struct job *j = arg;
    varve_batch *b = varve_batch_new();
    char mine[16];
    snprintf(mine, sizeof(mine), "%d", j->number);
    for (int i = 0; i < j->rounds; i++) {
        char lock[16];
        snprintf(lock, sizeof(lock), "lock%d", i);
        varve_batch_clear(b);
        /* The lock's collection may be made by any of the threads meanwhile; only one may take it.
         */
        CHECK(varve_batch_require(b, lock, "k", 1, VARVE_REQUIRE_ABSENT, none) == VARVE_OK);
        CHECK(varve_batch_put(b, lock, "k", 1, VARVE_RAW, mine, strlen(mine), 0) == VARVE_OK);
        CHECK(varve_batch_put(b, "winners", lock, strlen(lock), VARVE_RAW, mine, strlen(mine), 0) ==
              VARVE_OK);
        varve_status st = varve_commit(j->w->db, b, NULL, NULL, NULL);
        CHECK(st == VARVE_OK || st == VARVE_PRECONDITION_FAILED);
        j->done += st == VARVE_OK;
        /* And one that does not write there: it must never hold once somebody has put the key. */
        varve_batch_clear(b);
        CHECK(varve_batch_require(b, lock, "k", 1, VARVE_REQUIRE_ABSENT, none) == VARVE_OK);
        CHECK(varve_batch_put(b, "late", lock, strlen(lock), VARVE_RAW, mine, strlen(mine), 0) ==
              VARVE_OK);
        CHECK(varve_commit(j->w->db, b, NULL, NULL, NULL) == VARVE_PRECONDITION_FAILED);
    }
    varve_batch_free(b);
    return NULL;
}

static void absence_is_held_while_collections_are_made(void **state)
{
    struct world *w = *state;
    struct job jobs[THREADS];
    pthread_t threads[THREADS];
    db_open(w);
    run(w, make_once, THREADS, 60, NULL, jobs, threads);
    uint64_t won = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        won += jobs[i].done;
    }
    assert_int_equal(won, 60);
    expect(w, "late", "lock0", NULL, NULL);
    db_end(w);
}

/* ---- watching ---- */

struct watcher {
    varve_watch *watch;
    pthread_t thread;
    uint64_t seen;
};

static void *watch_all(void *arg)
{
    struct watcher *me = arg;
    const varve_iter *row;
    int rc;
    varve_version last = none;
    while ((rc = varve_watch_next(me->watch, -1, &row)) == 1) {
        CHECK(varve_version_compare(varve_iter_version(row), last) >= 0);
        last = varve_iter_version(row);
        me->seen++;
        if (bytes_are(varve_iter_key(row), "end"))
            break;
    }
    CHECK(rc >= 0);
    return NULL;
}

static void watchers_see_everything(void **state)
{
    struct world *w = *state;
    enum { WATCHERS = 4, ROUNDS = 100 };
    struct watcher watchers[WATCHERS + 1];
    struct job jobs[2];
    pthread_t threads[2];
    varve_changes_options one = {.size = sizeof(one), .collection = "c0"},
                          quiet = {.size = sizeof(quiet), .collection = "quiet"};
    db_open(w);
    for (int i = 0; i <= WATCHERS; i++) {
        watchers[i].seen = 0;
        assert_ok(varve_watch_open(w->db, i & 1 ? "now" : "",
                                   i == WATCHERS ? &quiet
                                   : i == 0      ? &one
                                                 : NULL,
                                   &watchers[i].watch));
        assert_int_equal(pthread_create(&watchers[i].thread, NULL, watch_all, &watchers[i]), 0);
    }
    run(w, put_many, 2, ROUNDS, NULL, jobs, threads);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_ok(varve_checkpoint(w->db));
    put(w, "c0", "end", "");
    for (int i = 0; i < WATCHERS; i++) {
        pthread_join(watchers[i].thread, NULL);
        if (i > 0)
            assert_int_equal(watchers[i].seen, 2 * (ROUNDS / 4 * 6) + 1);
    }
    /* The one that nothing was for waits without end, until it is called off. */
    varve_watch_cancel(watchers[WATCHERS].watch);
    pthread_join(watchers[WATCHERS].thread, NULL);
    assert_int_equal(watchers[WATCHERS].seen, 0);
    for (int i = 0; i <= WATCHERS; i++)
        varve_watch_close(watchers[i].watch);
    db_end(w);
}

static void a_thousand_idle_watchers(void **state)
{
    struct world *w = *state;
    enum { N = 1000 };
    varve_watch **watches = calloc(N, sizeof(varve_watch *));
    const varve_iter *row;
    db_open(w);
    for (int i = 0; i < N; i++)
        assert_ok(varve_watch_open(w->db, "now", NULL, &watches[i]));
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.watchers, N);
    put(w, "c", "k", "1");
    assert_ok(varve_checkpoint(w->db));
    put(w, "c", "k", "2");
    for (int i = 0; i < N; i++) {
        assert_int_equal(varve_watch_next(watches[i], 0, &row), 1);
        assert_int_equal(varve_watch_next(watches[i], 0, &row), 1);
        assert_int_equal(varve_watch_next(watches[i], 0, &row), 0);
        varve_watch_close(watches[i]);
    }
    free(watches);
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(counters_reach_their_sum),
        WORLD_TEST(totals_hold_at_every_moment),
        WORLD_TEST(feeds_miss_nothing_beside_writers),
        WORLD_TEST(absence_is_held_while_collections_are_made),
        WORLD_TEST(watchers_see_everything),
        WORLD_TEST(a_thousand_idle_watchers),
    };
#ifdef __SANITIZE_THREAD__
    return RUN_ON(tests, "mem");
#else
    return RUN_ON(tests, "mem", "rocks");
#endif
}
