/* Vacuum and expiry on the simulated disk: retention by age and by count, named snapshots as holds,
 * power cuts and kills at random disk operations of a vacuum or checkpoint, from seeds, held against
 * the model. What is at or above the horizon or a hold reads right for ever; what is below reads
 * right or is refused, and is refused once the vacuum has answered; nothing is ever wrong. */
#include "base/log.h"
#include "store_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdio.h>
#include <stdlib.h>

enum { SNAPSHOTS = 4 };

struct hold {
    bool used;
    struct version at;
};
struct past {
    struct world w;
    uint64_t max_age, max_count;
    struct hold holds[SNAPSHOTS];
    uint64_t age_safe, feed_safe;    /* at or above: must be right */
    uint64_t refused;                /* below: must be refused */
    uint64_t count_safe[MODEL_KEYS]; /* likewise by key, for what count removes */
    uint64_t count_refused[MODEL_KEYS];
    uint64_t removed, expired, refusals, crashes; /* did the seeds reach anything? */
};
static struct past total;

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct bytes hold_name(int i, char out[8])
{
    return BYTES(out, (size_t)snprintf(out, 8, "s%d", i));
}

static uint64_t oldest_hold(const struct past *p)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < SNAPSHOTS; i++)
        if (p->holds[i].used && p->holds[i].at.hlc < oldest)
            oldest = p->holds[i].at.hlc;
    return oldest;
}

static bool alive(const struct model_op *op, uint64_t ms)
{
    return op && op->kind == RECORD_PUT && (op->expires_ms == 0 || op->expires_ms > ms);
}

static void same_value(const struct model_op *op, struct bytes got)
{
    static uint8_t want[1 << 14];
    model_value(op->value_seed, op->value_len, want);
    assert_int_equal(got.len, op->value_len);
    if (op->value_len)
        assert_memory_equal(got.data, want, op->value_len);
}

/* ---- reading ---- */

static void check_get_at(struct past *p, uint8_t key, struct version at, bool held)
{
    uint8_t space[256];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    struct version version;
    err_init(&err);
    const struct model_op *op = model_find(&p->w.m, key, at, &version);
    bool there = alive(op, version_ms(at));
    enum status st = store_get(p->w.s, model_key(&p->w.m, key, space), at, &buf, &rec, &err);
    if (st == ST_BELOW_HORIZON) {
        total.refusals++;
        if (held || (at.hlc >= p->age_safe && at.hlc >= p->count_safe[key]))
            fail_msg("key %u at %llx is above what was removed, and is refused: %s", key,
                     (unsigned long long)at.hlc, err.detail);
    } else {
        if (at.hlc < p->refused || (there && at.hlc < p->count_refused[key]))
            fail_msg("key %u at %llx was removed, and answers %s", key, (unsigned long long)at.hlc,
                     status_name(st));
        assert_int_equal(st, there ? ST_OK : ST_NOT_FOUND);
        if (there) {
            assert_int_equal(version_cmp(rec.version, version), 0);
            same_value(op, rec.value);
        }
    }
    buf_deinit(&buf);
}

static void check_present(struct past *p, uint8_t key)
{
    uint8_t space[256];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    err_init(&err);
    const struct model_op *op = model_find(&p->w.m, key, VERSION_MAX, NULL);
    for (int pass = 0; pass < 2; pass++) { /* the second may come from the cache */
        bool there = alive(op, env_now_ms(p->w.env));
        enum status st =
            store_get(p->w.s, model_key(&p->w.m, key, space), VERSION_NONE, &buf, &rec, &err);
        assert_int_equal(st, there ? ST_OK : ST_NOT_FOUND);
        if (there)
            same_value(op, rec.value);
    }
    buf_deinit(&buf);
}

/* Newest first as the model has it, and may end only where something was removed. */
static void check_history(struct past *p, uint8_t key)
{
    uint8_t space[256];
    struct store_iter *it;
    struct store_row row;
    struct err err;
    struct version at = VERSION_MAX, version, parent = VERSION_NONE;
    const struct model_op *op;
    int rc = 1;
    err_init(&err);
    assert_int_equal(store_history(p->w.s, model_key(&p->w.m, key, space), 0, &it, &err), ST_OK);
    while (rc > 0 && (op = model_find(&p->w.m, key, at, &version)) != NULL) {
        rc = store_iter_next(it, &row, &err);
        assert_true(rc >= 0);
        if (rc == 0) {
            if (version.hlc > p->age_safe && version.hlc >= p->count_safe[key])
                fail_msg("key %u: version %llx is gone", key, (unsigned long long)version.hlc);
            break;
        }
        assert_int_equal(version_cmp(row.rec.version, version), 0);
        assert_int_equal(row.rec.kind, op->kind);
        assert_int_equal(row.rec.expires_ms, op->expires_ms);
        if (!version_is_none(parent))
            assert_int_equal(version_cmp(parent, version), 0);
        parent = row.rec.parent;
        at = (struct version){version.hlc - 1, UINT32_MAX};
    }
    if (rc > 0)
        assert_int_equal(store_iter_next(it, &row, &err), 0);
    store_iter_close(it);
}

/* From behind one of the writes: every one since, unless it is refused where it may be. */
static void check_feed(struct past *p, size_t from)
{
    const struct model *m = &p->w.m;
    struct store_iter *it;
    struct store_row row;
    struct err err;
    uint8_t space[256], last[256];
    const struct model_write *w = &m->writes[from];
    err_init(&err);
    enum status st = store_changes(p->w.s, BYTES_EMPTY, w->version,
                                   model_key(m, w->ops[w->n - 1].key, last), &it, &err);
    if (st == ST_BELOW_HORIZON) {
        assert_true(w->version.hlc < p->feed_safe);
        return;
    }
    assert_int_equal(st, ST_OK);
    for (size_t i = from + 1; i < m->n; i++)
        for (size_t j = 0; j < m->writes[i].n; j++) {
            assert_int_equal(store_iter_next(it, &row, &err), 1);
            assert_int_equal(version_cmp(row.rec.version, m->writes[i].version), 0);
            assert_true(bytes_eq(row.key, model_key(m, m->writes[i].ops[j].key, space)));
            assert_int_equal(row.rec.kind, m->writes[i].ops[j].kind);
        }
    assert_int_equal(store_iter_next(it, &row, &err), 0);
    store_iter_close(it);
}

static int key_order(const void *a, const void *b, void *arg)
{
    uint8_t x[256], y[256];
    return bytes_cmp(model_key(arg, *(const uint8_t *)a, x),
                     model_key(arg, *(const uint8_t *)b, y));
}

static void check_scan_at(struct past *p, struct version at, bool held)
{
    struct model *m = &p->w.m;
    uint8_t order[MODEL_KEYS], lower[256], upper[4], space[256];
    uint64_t safe = p->age_safe;
    struct store_iter *it;
    struct store_row row;
    struct err err;
    struct version version;
    int rc = 1;
    err_init(&err);
    for (uint8_t i = 0; i < MODEL_KEYS; i++) {
        order[i] = i;
        safe = max64(safe, p->count_safe[i]);
    }
    qsort_r(order, MODEL_KEYS, 1, key_order, m);
    struct bytes lo = model_key(m, 0, lower);
    lo.len = 4;
    memcpy(upper, lower, 4);
    upper[3]++;
    struct store_scan q = {.in = {lo, BYTES(upper, 4)}, .at = at};
    enum status st = store_scan(p->w.s, &q, &it, &err);
    if (st == ST_BELOW_HORIZON) {
        assert_true(!held && at.hlc < safe);
        return;
    }
    assert_int_equal(st, ST_OK);
    for (size_t i = 0; i < MODEL_KEYS && rc > 0; i++) {
        const struct model_op *op = model_find(m, order[i], at, &version);
        if (!alive(op, version_ms(at)))
            continue;
        rc = store_iter_next(it, &row, &err);
        if (rc == -(int)ST_BELOW_HORIZON)
            break;
        assert_int_equal(rc, 1);
        assert_true(bytes_eq(row.key, model_key(m, order[i], space)));
        assert_int_equal(version_cmp(row.rec.version, version), 0);
        same_value(op, row.rec.value);
    }
    if (rc > 0)
        rc = store_iter_next(it, &row, &err);
    if (rc == -(int)ST_BELOW_HORIZON)
        assert_true(!held && at.hlc < safe);
    else
        assert_int_equal(rc, 0);
    store_iter_close(it);
}

static void check_all(struct past *p)
{
    struct model *m = &p->w.m;
    struct err err;
    err_init(&err);
    for (uint8_t key = 0; key < MODEL_KEYS; key++) {
        check_present(p, key);
        check_history(p, key);
        for (int i = 0; i < 4 && m->n; i++)
            check_get_at(p, key, m->writes[test_rng_below(&p->w.rng, m->n)].version, false);
    }
    for (int i = 0; i < SNAPSHOTS; i++) {
        char name[8];
        struct version at;
        if (!p->holds[i].used)
            continue;
        assert_int_equal(store_snapshot_find(p->w.s, hold_name(i, name), &at, &err), ST_OK);
        assert_int_equal(version_cmp(at, p->holds[i].at), 0);
        for (uint8_t key = 0; key < MODEL_KEYS; key++)
            check_get_at(p, key, at, true);
        check_scan_at(p, at, true);
    }
    if (m->n) {
        check_scan_at(p, m->writes[test_rng_below(&p->w.rng, m->n)].version, false);
        check_feed(p, test_rng_below(&p->w.rng, m->n));
        check_feed(p, m->n - 1);
    }
    assert_int_equal(store_verify(p->w.s, NULL, NULL, NULL, &err), ST_OK);
}

/* ---- what vacuum wrote, and what it may have removed ---- */

/* Deletes by "ttl" that are newer than the model's writes become the model's too. */
static void absorb(struct past *p)
{
    struct model *m = &p->w.m;
    struct model_write fresh[MODEL_KEYS];
    size_t n = 0;
    struct version newest = m->n ? m->writes[m->n - 1].version : VERSION_NONE;
    struct err err;
    err_init(&err);
    for (uint8_t key = 0; key < MODEL_KEYS; key++) {
        uint8_t space[256];
        struct store_iter *it;
        struct store_row row;
        assert_int_equal(store_history(p->w.s, model_key(m, key, space), 1, &it, &err), ST_OK);
        if (store_iter_next(it, &row, &err) == 1 && version_cmp(row.rec.version, newest) > 0) {
            struct version was;
            const struct model_op *op = model_find(m, key, VERSION_MAX, &was);
            assert_non_null(op);
            assert_int_equal(row.rec.kind, RECORD_DELETE);
            assert_true(bytes_eq(row.rec.writer, BYTES_LIT("ttl")));
            assert_int_equal(op->kind, RECORD_PUT);
            assert_true(op->expires_ms != 0 && op->expires_ms <= env_now_ms(p->w.env));
            assert_int_equal(version_cmp(row.rec.parent, was), 0);
            fresh[n++] = (struct model_write){
                .version = row.rec.version, .n = 1, .ops = {{.key = key, .kind = RECORD_DELETE}}};
        }
        store_iter_close(it);
    }
    for (; n > 0; n--) {
        size_t first = 0;
        for (size_t i = 1; i < n; i++)
            if (version_cmp(fresh[i].version, fresh[first].version) < 0)
                first = i;
        assert_true(m->n < MODEL_WRITES_MAX);
        m->writes[m->n++] = fresh[first];
        fresh[first] = fresh[n - 1];
        total.expired++;
    }
}

/* The nth newest version of a key, from 0; false: it has no so many. */
static bool nth_newest(const struct model *m, uint8_t key, uint64_t n, struct version *ret)
{
    struct version at = VERSION_MAX;
    for (;; n--) {
        if (!model_find(m, key, at, ret))
            return false;
        if (n == 0)
            return true;
        at = (struct version){ret->hlc - 1, UINT32_MAX};
    }
}

static void note_count(struct past *p, uint64_t hold, bool done)
{
    for (uint8_t key = 0; key < MODEL_KEYS; key++) {
        struct version least, gone, seen;
        if (!nth_newest(&p->w.m, key, p->max_count, &gone))
            continue; /* it has no more than may stay */
        assert_true(nth_newest(&p->w.m, key, p->max_count - 1, &least));
        uint64_t safe = least.hlc;
        if (hold < safe)
            safe =
                model_find(&p->w.m, key, (struct version){hold, UINT32_MAX}, &seen) ? seen.hlc : 0;
        p->count_safe[key] = max64(p->count_safe[key], safe);
        if (done && p->max_age == 0)
            p->count_refused[key] = max64(p->count_refused[key], safe);
    }
}

/* before_ms: the clock as the vacuum began. Bounds what it may and, if it is done, must have cut. */
static void note_vacuum(struct past *p, uint64_t before_ms, uint64_t after_ms, bool done)
{
    uint64_t hold = oldest_hold(p);
    if (p->max_age && p->max_age < after_ms) {
        uint64_t upper = version_at_ms(after_ms - p->max_age).hlc;
        uint64_t lower = p->max_age < before_ms ? version_at_ms(before_ms - p->max_age).hlc : 0;
        p->age_safe = max64(p->age_safe, upper < hold ? upper : hold);
        p->feed_safe = max64(p->feed_safe, p->age_safe);
        if (done)
            p->refused = max64(p->refused, lower < hold ? lower : hold);
    }
    if (p->max_count) {
        note_count(p, hold, done);
        p->feed_safe = max64(p->feed_safe, store_visible(p->w.s).hlc);
    }
}

static void vacuum(struct past *p)
{
    struct store_vacuum_result r = {0};
    struct err err;
    struct version was;
    bool stale[MODEL_KEYS];
    err_init(&err);
    uint64_t before = env_now_ms(p->w.env);
    for (uint8_t key = 0; key < MODEL_KEYS; key++) {
        const struct model_op *op = model_find(&p->w.m, key, VERSION_MAX, &was);
        stale[key] = op && op->kind == RECORD_PUT && !alive(op, before);
    }
    enum status st = store_vacuum(p->w.s, BYTES_LIT("things"), NULL, NULL, &r, &err);
    if (st != ST_OK)
        fail_msg("vacuum: %s: %s", status_name(st), err.detail);
    total.removed += r.versions_removed;
    size_t n = p->w.m.n;
    absorb(p);
    assert_int_equal(p->w.m.n - n, r.expired);
    for (uint8_t key = 0; key < MODEL_KEYS; key++)
        if (stale[key])
            assert_int_equal(model_find(&p->w.m, key, VERSION_MAX, NULL)->kind, RECORD_DELETE);
    note_vacuum(p, before, env_now_ms(p->w.env), true);
    if (n && p->w.m.n > n && p->w.m.writes[n - 1].version.hlc >= p->feed_safe)
        check_feed(p, n - 1); /* the deletes are changes like any other */
}

/* Dies at a random disk operation of a vacuum or a checkpoint. */
static void die_at_work(struct past *p)
{
    struct err err;
    err_init(&err);
    uint64_t before = env_now_ms(p->w.env);
    sim_set_faults(p->w.env,
                   &(struct sim_faults){.fail_after_ops = 1 + test_rng_below(&p->w.rng, 60),
                                        .partial_on_error = test_rng_chance(&p->w.rng, 1, 2)});
    bool vacuumed = test_rng_chance(&p->w.rng, 3, 4);
    enum status st = vacuumed ? store_vacuum(p->w.s, BYTES_LIT("things"), NULL, NULL, NULL, &err)
                              : store_checkpoint(p->w.s, &err);
    (void)st; /* either way the machine dies now */
    uint64_t after = env_now_ms(p->w.env);
    total.crashes++;
    world_crash(&p->w, test_rng_chance(&p->w.rng, 2, 3) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
    absorb(p);
    if (vacuumed)
        note_vacuum(p, before, after, false);
    check_all(p);
}

/* ---- the random walk ---- */

static void change_snapshot(struct past *p)
{
    char text[8];
    int i = (int)test_rng_below(&p->w.rng, SNAPSHOTS);
    struct bytes name = hold_name(i, text);
    struct err err;
    err_init(&err);
    if (p->holds[i].used) {
        assert_int_equal(store_snapshot_delete(p->w.s, name, &err), ST_OK);
        p->holds[i].used = false;
        return;
    }
    if (p->w.m.n == 0)
        return;
    struct version at = p->w.m.writes[test_rng_below(&p->w.rng, p->w.m.n)].version;
    enum status st = store_snapshot_create(p->w.s, name, at, &err);
    if (st == ST_BELOW_HORIZON) {
        assert_true(at.hlc < p->feed_safe);
        return;
    }
    assert_int_equal(st, ST_OK);
    assert_true(at.hlc >= p->refused);
    p->holds[i] = (struct hold){true, at};
    world_durable_so_far(&p->w); /* it is written with sync, and so is all before it */
}

static void set_retention(struct past *p)
{
    struct err err;
    err_init(&err);
    p->max_age = test_rng_chance(&p->w.rng, 1, 2) ? 1 + test_rng_below(&p->w.rng, 200) : 0;
    p->max_count = test_rng_chance(&p->w.rng, 1, 2) ? 1 + test_rng_below(&p->w.rng, 4) : 0;
    struct collection_settings set = {p->max_age, p->max_count};
    assert_int_equal(store_settings_set(p->w.s, BYTES_LIT("things"), &set, &err), ST_OK);
    world_durable_so_far(&p->w);
}

static void step(struct past *p)
{
    static const enum store_sync modes[] = {STORE_SYNC_ALWAYS, STORE_SYNC_OFF, STORE_SYNC_INTERVAL};
    struct world *w = &p->w;
    unsigned what = (unsigned)test_rng_below(&w->rng, 100);
    if (what < 62) {
        enum store_sync sync = modes[test_rng_below(&w->rng, 3)];
        if (!world_write(w, sync))
            world_checkpoint(w);
        else if (sync == STORE_SYNC_ALWAYS)
            world_durable_so_far(w);
    } else if (what < 72) {
        sim_advance_ms(w->env, test_rng_below(&w->rng, 60));
    } else if (what < 76) {
        world_checkpoint(w);
    } else if (what < 81) {
        change_snapshot(p);
    } else if (what < 84) {
        set_retention(p);
    } else if (what < 91) {
        vacuum(p);
    } else if (what < 95) {
        die_at_work(p);
    } else {
        check_all(p);
    }
}

static void test_random_vacuums_and_crashes(void **state)
{
    (void)state;
    uint64_t seed;
    static struct past p;
    FOR_EACH_SEED(seed, 250)
    {
        p = (struct past){0};
        world_init(&p.w, seed);
        set_retention(&p);
        size_t steps = 40 + test_rng_below(&p.w.rng, 100);
        for (size_t i = 0; i < steps; i++)
            step(&p);
        vacuum(&p);
        check_all(&p);
        world_crash(&p.w, SIM_CRASH_POWER);
        absorb(&p);
        check_all(&p);
        world_deinit(&p.w);
    }
    print_message("  removed %llu, expired %llu, refused reads %llu, crashes at work %llu\n",
                  (unsigned long long)total.removed, (unsigned long long)total.expired,
                  (unsigned long long)total.refusals, (unsigned long long)total.crashes);
    if (seeds_scaled(250) >= 50 && !getenv("VARVE_SEED")) {
        assert_true(total.removed > 0 && total.expired > 0);
        assert_true(total.refusals > 0 && total.crashes > 0);
    }
}

/* With a bound of age and one of count the horizon may lie above everything that was ever written:
 * a name for a moment below it would promise what reads refuse. */
static void test_no_name_for_what_retention_refuses(void **state)
{
    (void)state;
    static struct past p;
    struct err err;
    err_init(&err);
    p = (struct past){.max_age = 30, .max_count = 4};
    world_init(&p.w, 7);
    struct collection_settings set = {p.max_age, p.max_count};
    assert_int_equal(store_settings_set(p.w.s, BYTES_LIT("things"), &set, &err), ST_OK);
    while (p.w.m.n == 0)
        (void)world_write(&p.w, STORE_SYNC_ALWAYS);
    struct version written = p.w.m.writes[p.w.m.n - 1].version;
    sim_advance_ms(p.w.env, 1000);
    assert_int_equal(store_vacuum(p.w.s, BYTES_LIT("things"), NULL, NULL, NULL, &err), ST_OK);
    assert_int_equal(store_snapshot_create(p.w.s, BYTES_LIT("then"), written, &err),
                     ST_BELOW_HORIZON);
    world_deinit(&p.w);
}

/* ---- expiry, wherever the record lies ---- */

static struct version put_expiring(struct world *w, struct bytes key, uint64_t expires_ms)
{
    struct entry_op op = {
        .key = key, .kind = RECORD_PUT, .expires_ms = expires_ms, .value = BYTES_LIT("short")};
    struct store_write sw = {.sync = STORE_SYNC_ALWAYS};
    struct err err;
    err_init(&err);
    assert_int_equal(entry_encode(&op, 1, BYTES_LIT("tester"), &sw.entry, &err), ST_OK);
    assert_int_equal(store_propose(w->s, &sw, &err), ST_OK);
    blob_unref(sw.entry);
    return sw.version;
}

static enum status read_at(struct world *w, struct bytes key, struct version at)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    err_init(&err);
    enum status st = store_get(w->s, key, at, &buf, &rec, &err);
    buf_deinit(&buf);
    return st;
}

static int rows_now(struct world *w, struct bytes key)
{
    uint8_t upper[256];
    struct store_iter *it;
    struct store_row row;
    struct err err;
    int n = 0;
    err_init(&err);
    memcpy(upper, key.data, key.len);
    upper[key.len] = 0;
    struct store_scan q = {.in = {key, BYTES(upper, key.len + 1)}};
    assert_int_equal(store_scan(w->s, &q, &it, &err), ST_OK);
    while (store_iter_next(it, &row, &err) == 1)
        n++;
    store_iter_close(it);
    return n;
}

enum home { CACHED, IN_TABLE, IN_ENGINE, REOPENED };

static void test_expired_records_are_absent_everywhere(void **state)
{
    (void)state;
    for (int home = CACHED; home <= REOPENED; home++) {
        struct world w;
        uint8_t space[256];
        struct err err;
        struct store_vacuum_result r;
        err_init(&err);
        world_init(&w, 5);
        w.o.cache_bytes = home == CACHED || home == IN_ENGINE ? 1 << 20 : 0;
        world_crash(&w, SIM_CRASH_PROCESS_ONLY);
        struct bytes key = model_key(&w.m, 4, space);
        uint64_t end = env_now_ms(w.env) + 1000;
        struct version put = put_expiring(&w, key, end);
        if (home >= IN_ENGINE)
            world_checkpoint(&w);
        if (home == REOPENED)
            world_crash(&w, SIM_CRASH_POWER);
        assert_int_equal(read_at(&w, key, VERSION_NONE), ST_OK);
        assert_int_equal(read_at(&w, key, VERSION_NONE), ST_OK);
        assert_int_equal(rows_now(&w, key), 1);
        sim_advance_ms(w.env, end - env_now_ms(w.env)); /* the moment itself is past */
        assert_int_equal(read_at(&w, key, VERSION_NONE), ST_NOT_FOUND);
        assert_int_equal(rows_now(&w, key), 0);
        assert_int_equal(read_at(&w, key, put), ST_OK); /* the past keeps it */

        assert_int_equal(store_vacuum(w.s, BYTES_LIT("things"), NULL, NULL, &r, &err), ST_OK);
        assert_int_equal(r.expired, 1);
        struct store_iter *it;
        struct store_row row;
        assert_int_equal(store_changes(w.s, BYTES_EMPTY, put, key, &it, &err), ST_OK);
        assert_int_equal(store_iter_next(it, &row, &err), 1);
        assert_true(bytes_eq(row.key, key));
        assert_int_equal(row.rec.kind, RECORD_DELETE);
        assert_int_equal(version_cmp(row.rec.parent, put), 0);
        assert_int_equal(store_iter_next(it, &row, &err), 0);
        store_iter_close(it);
        assert_int_equal(read_at(&w, key, VERSION_NONE), ST_NOT_FOUND);
        assert_int_equal(read_at(&w, key, put), ST_OK);
        assert_int_equal(store_vacuum(w.s, BYTES_LIT("things"), NULL, NULL, &r, &err), ST_OK);
        assert_int_equal(r.expired, 0); /* once is enough */
        assert_int_equal(store_verify(w.s, NULL, NULL, NULL, &err), ST_OK);
        world_deinit(&w);
    }
}

/* Looking at the clock, which a scan does between its moment and its view, writes all anew and lets a
 * vacuum remove what was there at that moment. */
static struct {
    struct world *w;
    struct env_ops ops;
    const struct env_ops *real;
} overtaking;

static uint64_t now_after_a_vacuum(struct env *e)
{
    struct world *w = overtaking.w;
    struct err err;
    err_init(&err);
    e->ops = overtaking.real;
    for (uint8_t key = 1; key <= 2; key++) {
        uint8_t space[256];
        (void)put_expiring(w, model_key(&w->m, key, space), 0);
    }
    sim_advance_ms(e, 5000);
    assert_int_equal(store_vacuum(w->s, BYTES_LIT("things"), NULL, NULL, NULL, &err), ST_OK);
    return env_now_ms(e);
}

static int rows_overtaken(struct world *w)
{
    uint8_t space[256];
    overtaking.w = w;
    overtaking.real = w->env->ops;
    overtaking.ops = *w->env->ops;
    overtaking.ops.now_ms = now_after_a_vacuum;
    w->env->ops = &overtaking.ops;
    int n = rows_now(w, model_key(&w->m, 1, space));
    assert_ptr_equal(w->env->ops, overtaking.real);
    return n;
}

/* A scan of the present finds what is there all the time, whatever a vacuum removes meanwhile. */
static void test_a_vacuum_does_not_overtake_the_present(void **state)
{
    static const struct collection_settings kept[] = {{.max_age_ms = 1000}, {.max_count = 1}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct err err;
        uint8_t space[256];
        err_init(&err);
        world_init(&w, 7);
        assert_int_equal(store_settings_set(w.s, BYTES_LIT("things"), &kept[i], &err), ST_OK);
        (void)put_expiring(&w, model_key(&w.m, 1, space), 0);
        sim_advance_ms(w.env, 5000);
        assert_int_equal(rows_overtaken(&w), 1);
        world_deinit(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_vacuums_and_crashes),
        cmocka_unit_test(test_no_name_for_what_retention_refuses),
        cmocka_unit_test(test_expired_records_are_absent_everywhere),
        cmocka_unit_test(test_a_vacuum_does_not_overtake_the_present),
    };
    log_configure(LOG_OFF, LOG_HUMAN); /* dying disks give it much to say */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
