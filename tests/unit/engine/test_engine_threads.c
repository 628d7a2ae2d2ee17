/* test_engine_threads.c - readers of snapshots beside drains, vacuums, merging and verify.
 *
 * Round r writes every key: key i at version r * ROUND + i, so that whatever a snapshot shows of one
 * key says what it must show of all others, in every kind of read. Built once for each engine, which
 * ENGINE_OPEN names. */
#include "storage/engine/engine_rows.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RANGE = 3, KEYS = 60, ROUND = 1000, ROUNDS = 40, KEPT = 5, VACUUM_EACH = 4, READERS = 2 };
enum { HELD_ROUND = 6 };

static struct engine *engine;
static atomic_bool over;
static struct engine_snapshot *_Atomic held; /* of HELD_ROUND, shared by all readers */
static atomic_uint reads;

/* Asserting would jump out of the wrong thread. */
static _Noreturn void wrong(const char *what, unsigned r, unsigned i, const struct err *err)
{
    fprintf(stderr, "%s: round %u, key %u: %s\n", what, r, i, err ? err->detail : "");
    abort();
}

#define MUST(call, what, r, i)                                                                     \
    do {                                                                                           \
        if ((call) != ST_OK)                                                                       \
            wrong(what, r, i, &err);                                                               \
    } while (0)

static struct bytes key_of(unsigned i, char out[16])
{
    int n = snprintf(out, 16, "key%03u", i);
    return BYTES(out, (size_t)n);
}

/* Key 0 is never deleted. */
static bool deleted(unsigned r, unsigned i)
{
    return i && i % 7 == r % 7;
}

static void drain_round(unsigned r)
{
    struct table *t = table_new();
    struct err err;
    for (unsigned i = 0; i < KEYS; i++) {
        char text[16];
        struct bytes key = key_of(i, text);
        struct record rec = {.version = {(uint64_t)r * ROUND + i, 0},
                             .kind = deleted(r, i) ? RECORD_DELETE : RECORD_PUT,
                             .writer = BYTES_EMPTY,
                             .value = deleted(r, i) ? BYTES_EMPTY : key};
        err.detail[0] = 0;
        MUST(table_put(t, key, &rec, NULL), "table", r, i);
    }
    struct engine_mark mark = {.index = r, .term = 1, .version = {(uint64_t)r * ROUND + KEYS, 0}};
    MUST(engine->ops->drain(engine, RANGE, t, &mark, &err), "drain", r, 0);
    table_unref(t);
}

static void get_is(struct engine_snapshot *s, unsigned r, unsigned i, struct version at)
{
    char text[16];
    struct record rec;
    struct engine_pin pin = {0};
    struct err err;
    struct bytes key = key_of(i, text);
    MUST(engine->ops->get(engine, s, key, at, false, &rec, &pin, &err), "get", r, i);
    if (rec.version.hlc != (uint64_t)r * ROUND + i ||
        rec.kind != (deleted(r, i) ? RECORD_DELETE : RECORD_PUT) ||
        (rec.kind == RECORD_PUT && !bytes_eq(rec.value, key)))
        wrong("get answers another round", r, i, NULL);
    engine_pin_release(&pin);
}

static void scan_is(struct engine_snapshot *s, unsigned r, struct version at, bool reverse)
{
    struct engine_scan q = {.at = at, .reverse = reverse};
    struct engine_iter *it;
    struct engine_row row;
    struct err err;
    int got;
    unsigned i = 0;
    MUST(engine->ops->scan(engine, s, &q, &it, &err), "scan", r, 0);
    for (; (got = engine_iter_next(it, &row, &err)) == 1; i++) {
        char text[16];
        while (i < KEYS && deleted(r, reverse ? KEYS - 1 - i : i))
            i++;
        unsigned k = reverse ? KEYS - 1 - i : i;
        if (i >= KEYS || !bytes_eq(row.key, key_of(k, text)) ||
            row.rec.version.hlc != (uint64_t)r * ROUND + k)
            wrong("scan mixes rounds", r, i, NULL);
    }
    while (i < KEYS && deleted(r, reverse ? KEYS - 1 - i : i))
        i++;
    if (got != 0 || i != KEYS)
        wrong("scan ends early", r, i, got ? &err : NULL);
    engine_iter_close(it);
}

/* Every round down to where a vacuum has cut. */
static void history_is(struct engine_snapshot *s, unsigned r, unsigned i)
{
    char text[16];
    struct engine_iter *it;
    struct engine_row row;
    struct err err;
    unsigned n = 0;
    int got;
    MUST(engine->ops->history(engine, s, key_of(i, text), VERSION_MAX, &it, &err), "history", r, i);
    while ((got = engine_iter_next(it, &row, &err)) == 1 && row.rec.kind != RECORD_FLOOR) {
        if (n >= r || row.rec.version.hlc != (uint64_t)(r - n) * ROUND + i)
            wrong("history has a gap", r, i, NULL);
        n++;
    }
    if (got < 0 || n < (r < KEPT ? r : KEPT) || (got == 0 && n != r))
        wrong("history ends early", r, i, got < 0 ? &err : NULL);
    engine_iter_close(it);
}

static void changes_are(struct engine_snapshot *s, unsigned r)
{
    struct version after = {(uint64_t)r * ROUND - 1, 0};
    struct engine_iter *it;
    struct engine_row row;
    struct err err;
    unsigned i = 0;
    int got;
    MUST(engine->ops->changes(engine, s, RANGE, after, BYTES_EMPTY, &it, &err), "changes", r, 0);
    for (; (got = engine_iter_next(it, &row, &err)) == 1; i++) {
        char text[16];
        if (i >= KEYS || row.rec.version.hlc != (uint64_t)r * ROUND + i ||
            !bytes_eq(row.key, key_of(i, text)))
            wrong("changes of another round", r, i, NULL);
    }
    if (got != 0 || i != KEYS)
        wrong("changes end early", r, i, got ? &err : NULL);
    engine_iter_close(it);
}

static unsigned round_of(struct engine_snapshot *s)
{
    char text[16];
    struct record rec;
    struct engine_pin pin = {0};
    struct err err;
    MUST(engine->ops->get(engine, s, key_of(0, text), VERSION_MAX, false, &rec, &pin, &err),
         "get of the first key", 0, 0);
    unsigned r = (unsigned)(rec.version.hlc / ROUND);
    engine_pin_release(&pin);
    return r;
}

static void check_snapshot(struct engine_snapshot *s, unsigned turn)
{
    unsigned r = round_of(s), past = r > 2 ? r - 2 : r;
    struct version then = {(uint64_t)past * ROUND + KEYS, 0};
    for (unsigned i = 0; i < KEYS; i++) {
        get_is(s, r, i, VERSION_MAX);
        get_is(s, past, i, then);
    }
    scan_is(s, r, VERSION_MAX, turn % 2);
    scan_is(s, past, then, turn % 3 == 0);
    history_is(s, r, turn % KEYS);
    history_is(s, r, 0);
    changes_are(s, r);
}

static void *reader(void *arg)
{
    unsigned last = 0;
    for (unsigned turn = *(unsigned *)arg; !atomic_load(&over); turn++) {
        struct engine_snapshot *s, *shared = atomic_load(&held);
        struct engine_mark mark;
        struct err err;
        MUST(engine->ops->persisted(engine, RANGE, &mark, &err), "persisted", last, 0);
        MUST(engine->ops->snapshot(engine, &s, &err), "snapshot", last, 0);
        unsigned r = round_of(s);
        if (r < last || r < mark.index)
            wrong("a snapshot goes back", r, last, NULL);
        last = r;
        check_snapshot(s, turn);
        engine->ops->snapshot_release(engine, s);
        if (shared && round_of(shared) != HELD_ROUND)
            wrong("a held snapshot moves", round_of(shared), 0, NULL);
        if (shared)
            check_snapshot(shared, turn);
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void report(void *arg, const struct engine_finding *f)
{
    (void)arg;
    fprintf(stderr, "finding: %s: %s\n", f->file, f->text);
}

static void *keeper(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct engine_stats stats;
        struct err err;
        MUST(engine->ops->verify(engine, RANGE, report, NULL, NULL, &err), "verify", 0, 0);
        engine->ops->stats(engine, &stats);
        if (stats.live_rows > KEYS)
            wrong("statistics count too many", (unsigned)stats.live_rows, 0, NULL);
        MUST(engine->ops->compact(engine, &err), "compact", 0, 0);
    }
    return NULL;
}

static void vacuum(unsigned r)
{
    struct engine_vacuum q = {.keep_count = KEPT};
    struct engine_vacuum_result res;
    struct err err;
    MUST(engine->ops->vacuum(engine, RANGE, &q, &res, &err), "vacuum", r, 0);
    if (r > KEPT + VACUUM_EACH && res.versions_removed == 0)
        wrong("vacuum finds nothing", r, 0, NULL);
}

static void beside_each_other(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    pthread_t threads[READERS + 1];
    unsigned turns[READERS];
    struct err err;
    assert_true(temp_dir_make(dir, "threads"));
    MUST(ENGINE_OPEN(env_linux(), dir, NULL, &engine, &err), "open", 0, 0);
    drain_round(1);
    for (unsigned i = 0; i < READERS; i++) {
        turns[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &turns[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, keeper, NULL), 0);
    for (unsigned r = 2; r <= ROUNDS || atomic_load(&reads) < 150; r++) {
        drain_round(r);
        if (r == HELD_ROUND) {
            struct engine_snapshot *s;
            MUST(engine->ops->snapshot(engine, &s, &err), "snapshot", r, 0);
            atomic_store(&held, s);
        }
        if (r % VACUUM_EACH == 0)
            vacuum(r);
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i <= READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    engine->ops->snapshot_release(engine, atomic_load(&held));
    MUST(engine->ops->verify(engine, RANGE, report, NULL, NULL, &err), "verify", 0, 0);
    engine->ops->close(engine);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_each_other)};
    /* Many small syncs, none of which matters here. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests_name("engine_threads", tests, NULL, NULL);
}
