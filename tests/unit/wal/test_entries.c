/* Old entries read back out of an open log, as Raft writes it: overwritten, truncated, with gaps,
 * recycled, crashed, rotten and mended. Held against arrays. */
#include "base/alloc.h"
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdio.h>
#include <stdlib.h>

enum { GROUPS = 3, INDEX_MAX = 6000, BATCH_MAX = 12 };

static const struct wal_options small = {
    .segment_bytes = 128 * 1024, .first_segment_bytes = 64 * 1024, .keep_rotten = true};

struct entry {
    uint64_t term; /* a serial number */
    size_t len;
    bool rotten;
};
/* What is live of one range: [first, next). */
struct array {
    uint64_t first, next, commit;
    uint64_t hard; /* serial of the newest hard state */
    struct entry e[INDEX_MAX];
};
struct world {
    struct env *env;
    struct wal *w;
    struct test_rng r;
    struct array *a;   /* by range */
    struct array *was; /* as of the last sync */
    uint64_t serial, released[GROUPS + 1];
    struct wal_entries got;
    uint64_t reads, entries, missing, voided, gaps, rotten;
};

static void apply_record(struct array *a, const struct wal_record *r)
{
    assert_true(r->index < INDEX_MAX);
    switch ((enum wal_kind)r->kind) {
    case WAL_ENTRY:
        if (r->index != a->next && (r->index > a->next || r->index < a->first))
            a->first = r->index; /* a gap, or all of it is overwritten */
        a->e[r->index] = (struct entry){r->term, r->payload.len, r->rotten};
        a->next = r->index + 1;
        break;
    case WAL_TRUNCATE:
        if (r->index < a->next)
            a->next = r->index;
        if (a->first > a->next)
            a->first = a->next;
        break;
    case WAL_HARD_STATE:
        a->hard = r->term;
        break;
    case WAL_RELEASE:
        break;
    }
}

static enum status replay(void *arg, const struct wal_record *r, struct wal_pos pos,
                          struct err *err)
{
    struct world *t = arg;
    (void)pos;
    (void)err;
    if (!r->rotten && r->kind != WAL_RELEASE)
        assert_true(model_payload_is(r->term, r->payload));
    apply_record(&t->a[r->range], r);
    return ST_OK;
}

static void setup(struct world *t, uint64_t seed)
{
    *t = (struct world){.env = sim_env_new(&(struct sim_options){.seed = seed}), .serial = 1};
    test_rng_init(&t->r, seed);
    t->a = calloc(GROUPS + 1, sizeof *t->a);
    t->was = calloc(GROUPS + 1, sizeof *t->was);
    assert_true(t->a && t->was);
    for (int i = 0; i <= GROUPS; i++)
        t->a[i].first = t->a[i].next = 1;
    assert_int_equal(wal_open(t->env, "/log", &small, NULL, NULL, &t->w, NULL), ST_OK);
}

static void teardown(struct world *t)
{
    wal_entries_deinit(&t->got);
    free(t->a);
    free(t->was);
    sim_env_free(t->env);
}

static size_t add_entries(struct world *t, uint64_t range, uint64_t from, size_t n, size_t len_max,
                          struct wal_record *out)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t serial = t->serial++;
        size_t len = test_rng_chance(&t->r, 1, 20) ? test_rng_below(&t->r, len_max)
                                                   : test_rng_below(&t->r, 200);
        out[i] = (struct wal_record){.range = range,
                                     .term = serial,
                                     .index = from + i,
                                     .kind = WAL_ENTRY,
                                     .payload = model_payload(serial, len)};
    }
    return n;
}

/* One append with entries of some ranges: behind the last, over earlier ones that are not
 * committed, behind a truncation, or behind a gap. */
static void append(struct world *t)
{
    struct wal_record recs[GROUPS * (BATCH_MAX + 2)];
    size_t n = 0;
    for (uint64_t g = 1; g <= GROUPS; g++) {
        struct array *a = &t->a[g];
        uint64_t from = a->next;
        if (test_rng_chance(&t->r, 1, 3) || a->next + BATCH_MAX * 2 >= INDEX_MAX)
            continue;
        if (test_rng_chance(&t->r, 1, 12) && a->commit + 1 < a->next) {
            from = test_rng_between(&t->r, a->commit + 1, a->next - 1);
            t->voided++;
            if (test_rng_chance(&t->r, 1, 2))
                recs[n++] = (struct wal_record){.range = g,
                                                .term = t->serial++,
                                                .index = from,
                                                .kind = WAL_TRUNCATE,
                                                .payload = BYTES_EMPTY};
        } else if (test_rng_chance(&t->r, 1, 60)) {
            /* A snapshot was installed: it covers all that is left out. */
            from = a->next + test_rng_between(&t->r, 1, 20);
            a->commit = t->released[g] = from - 1;
            wal_release(t->w, g, t->released[g]);
            t->gaps++;
        }
        uint64_t least = from > a->next;
        n += add_entries(t, g, from, test_rng_between(&t->r, least, BATCH_MAX), 40000, recs + n);
        if (test_rng_chance(&t->r, 1, 3)) {
            uint64_t serial = t->serial++;
            recs[n++] = (struct wal_record){.range = g,
                                            .term = serial,
                                            .kind = WAL_HARD_STATE,
                                            .payload = model_payload(serial, 24)};
        }
    }
    if (n == 0)
        return;
    assert_int_equal(wal_append(t->w, recs, n, NULL, NULL), ST_OK);
    for (size_t i = 0; i < n; i++)
        apply_record(&t->a[recs[i].range], &recs[i]);
}

static void sync_it(struct world *t)
{
    assert_int_equal(wal_sync(t->w, NULL), ST_OK);
    for (uint64_t g = 1; g <= GROUPS; g++) {
        struct array *a = &t->a[g];
        if (a->next > a->first)
            a->commit = test_rng_between(&t->r, a->first > a->commit ? a->first : a->commit,
                                         a->next - 1 > a->commit ? a->next - 1 : a->commit);
        if (a->commit >= a->next)
            a->commit = a->next - 1;
    }
    memcpy(t->was, t->a, (GROUPS + 1) * sizeof *t->a);
}

static void release(struct world *t)
{
    uint64_t g = test_rng_between(&t->r, 1, GROUPS);
    if (t->a[g].commit <= t->released[g])
        return;
    t->released[g] = test_rng_between(&t->r, t->released[g] + 1, t->a[g].commit);
    wal_release(t->w, g, t->released[g]);
}

static void check_entry(const struct world *t, uint64_t g, const struct wal_record *r)
{
    const struct entry *e = &t->a[g].e[r->index];
    assert_int_equal(r->range, g);
    assert_int_equal(r->kind, WAL_ENTRY);
    assert_int_equal(r->term, e->term);
    assert_int_equal(r->payload.len, e->len);
    assert_true(model_payload_is(r->term, r->payload));
}

/* Reads from `from` and holds it against the array. Returns how many came. */
static size_t read_some(struct world *t, uint64_t g, uint64_t from, uint64_t to, size_t max)
{
    const struct array *a = &t->a[g];
    struct err err;
    err_init(&err);
    enum status st = wal_read_entries(t->w, g, from, to, max, &t->got, &err);
    t->reads++;
    if (from < a->first || from >= a->next) {
        if (from > t->released[g])
            assert_int_equal(st, ST_NOT_FOUND);
        return 0;
    }
    if (st == ST_NOT_FOUND) {
        assert_true(from <= t->released[g]); /* recycled */
        t->missing++;
        return 0;
    }
    size_t used = 0;
    uint64_t end = to < a->next ? to + 1 : a->next;
    for (size_t i = 0; i < t->got.n; i++) {
        assert_int_equal(t->got.v[i].index, from + i);
        check_entry(t, g, &t->got.v[i]);
        assert_false(a->e[from + i].rotten);
        used += WAL_RECORD_HEADER + t->got.v[i].payload.len;
    }
    if (st == ST_CORRUPT) {
        assert_true(a->e[from + t->got.n].rotten);
        assert_non_null(strstr(err.detail, ".seg, offset "));
        t->rotten++;
        return t->got.n;
    }
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err.detail);
    assert_true(t->got.n > 0 && from + t->got.n <= end);
    assert_true(used <= max || t->got.n == 1);
    if (from + t->got.n < end) /* no more would have fitted */
        assert_true(used + WAL_RECORD_HEADER + a->e[from + t->got.n].len > max);
    t->entries += t->got.n;
    return t->got.n;
}

static size_t some_max(struct world *t)
{
    return test_rng_chance(&t->r, 1, 3) ? test_rng_below(&t->r, 300) : test_rng_below(&t->r, 60000);
}

static void read_anywhere(struct world *t)
{
    uint64_t g = test_rng_between(&t->r, 1, GROUPS);
    uint64_t from = test_rng_below(&t->r, t->a[g].next + 2);
    uint64_t to = test_rng_chance(&t->r, 1, 4) ? UINT64_MAX : from + test_rng_below(&t->r, 40);
    (void)read_some(t, g, from, to, some_max(t));
}

/* As a follower that catches up. */
static void read_on(struct world *t)
{
    uint64_t g = test_rng_between(&t->r, 1, GROUPS), at = t->released[g] + 1;
    size_t max = some_max(t);
    for (size_t n; (n = read_some(t, g, at, UINT64_MAX, max)) > 0; at += n) {
        if (test_rng_chance(&t->r, 1, 10))
            append(t);
    }
}

static void reopen(struct world *t)
{
    struct err err;
    err_init(&err);
    for (int i = 0; i <= GROUPS; i++) {
        uint64_t commit = t->was[i].commit;
        t->a[i] = (struct array){.first = 1, .next = 1, .commit = commit};
    }
    enum status st = wal_open(t->env, "/log", &small, replay, t, &t->w, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
}

static void crash(struct world *t)
{
    sim_crash(t->env, test_rng_chance(&t->r, 1, 2) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY, 512);
    (void)wal_close(t->w, NULL);
    reopen(t);
    for (uint64_t g = 1; g <= GROUPS; g++) {
        const struct array *a = &t->a[g], *was = &t->was[g];
        /* What was committed is there, but what was released may be gone, all of it too. */
        for (uint64_t i = t->released[g] + 1; i <= was->commit; i++) {
            assert_true(i < was->first || (i >= a->first && i < a->next));
            if (i >= was->first)
                assert_int_equal(a->e[i].term, was->e[i].term);
        }
        assert_true(a->hard >= was->hard);
        if (t->a[g].commit < t->released[g])
            t->a[g].commit = t->released[g];
        if (a->next <= a->commit) /* released to the end */
            t->a[g].first = t->a[g].next = a->commit + 1;
    }
    sync_it(t);
}

static void arrays_agree_with_the_log(void **state)
{
    (void)state;
    struct world sum = {0};
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        struct world t;
        setup(&t, seed);
        sync_it(&t);
        for (int i = 0; i < 400; i++) {
            switch (test_rng_below(&t.r, 16)) {
            case 0:
                sync_it(&t);
                break;
            case 1:
                release(&t);
                break;
            case 2:
                assert_int_equal(wal_maintain(t.w, NULL), ST_OK);
                break;
            case 3:
                if (test_rng_chance(&t.r, 1, 6))
                    crash(&t);
                break;
            case 4:
                read_on(&t);
                break;
            case 5:
            case 6:
            case 7:
            case 8:
                read_anywhere(&t);
                break;
            default:
                append(&t);
                break;
            }
        }
        assert_int_equal(wal_close(t.w, NULL), ST_OK);
        sum.reads += t.reads;
        sum.entries += t.entries;
        sum.missing += t.missing;
        sum.voided += t.voided;
        sum.gaps += t.gaps;
        teardown(&t);
    }
    print_message("%llu reads of %llu entries, %llu of what was recycled; %llu overwritings, %llu "
                  "gaps\n",
                  (unsigned long long)sum.reads, (unsigned long long)sum.entries,
                  (unsigned long long)sum.missing, (unsigned long long)sum.voided,
                  (unsigned long long)sum.gaps);
    assert_true(sum.entries > 0 && sum.voided > 0 && sum.gaps > 0);
}

/* Flips a bit in the payload of the entry; it has one. */
static bool spoil(struct world *t, uint64_t g, uint64_t index)
{
    struct wal__sample from;
    uint64_t until;
    const struct wal__range *r = wal__range_find(t->w, g);
    if (!r || !wal__index_find(r, index, &from, &until) || t->a[g].e[index].len == 0)
        return false;
    const struct wal__seg *seg = t->w->segs.v[from.epoch - t->w->segs.v[0]->h.epoch];
    char path[64];
    struct bytes file;
    snprintf(path, sizeof path, "/log/%08u.seg", seg->slot);
    assert_true(sim_file(t->env, path, &file));
    /* The header is the only place where these numbers stand together. */
    for (uint64_t at = WAL_SEG_PAGE; at + WAL_RECORD_HEADER <= file.len; at++) {
        struct wal_record_header h;
        if (!wal__record_decode(file.data + at, &h) || h.range != g || h.index != index ||
            h.term != t->a[g].e[index].term || h.kind != WAL_ENTRY)
            continue;
        t->a[g].e[index].rotten = true;
        return sim_flip_bit(t->env, path, at + WAL_RECORD_HEADER + test_rng_below(&t->r, h.length),
                            3);
    }
    return false;
}

static void mend(struct world *t, uint64_t g, uint64_t index)
{
    struct entry *e = &t->a[g].e[index];
    struct wal_record r = {.range = g,
                           .term = e->term,
                           .index = index,
                           .kind = WAL_ENTRY,
                           .payload = model_payload(e->term, e->len)};
    struct wal_record other = r;
    other.term++;
    assert_int_equal(wal_repair(t->w, &other, NULL), ST_PRECONDITION_FAILED);
    other = r;
    other.payload.len--;
    assert_int_equal(wal_repair(t->w, &other, NULL), ST_PRECONDITION_FAILED);
    other = r;
    other.index = t->a[g].next;
    assert_int_equal(wal_repair(t->w, &other, NULL), ST_NOT_FOUND);
    assert_int_equal(wal_repair(t->w, &r, NULL), ST_OK);
    e->rotten = false;
}

static void check_all(struct world *t)
{
    for (uint64_t g = 1; g <= GROUPS; g++) {
        for (uint64_t i = t->a[g].first; i < t->a[g].next; i++)
            (void)read_some(t, g, i, i + 2, 100000);
    }
}

static void rotten_entries_are_kept_and_mended(void **state)
{
    (void)state;
    uint64_t seed, spoiled = 0, seen = 0;
    FOR_EACH_SEED(seed, 60)
    {
        struct world t;
        uint64_t bad[8][2];
        size_t n = 0;
        setup(&t, seed);
        for (int i = 0; i < 40; i++)
            append(&t);
        assert_int_equal(wal_close(t.w, NULL), ST_OK); /* with the idle marker */
        reopen(&t);
        sync_it(&t);
        while (n < 8) {
            uint64_t g = test_rng_between(&t.r, 1, GROUPS);
            if (t.a[g].next <= t.a[g].first)
                continue;
            uint64_t i = test_rng_between(&t.r, t.a[g].first, t.a[g].next - 1);
            if (t.a[g].e[i].len && !t.a[g].e[i].rotten && spoil(&t, g, i)) {
                bad[n][0] = g;
                bad[n++][1] = i;
            }
        }
        spoiled += n;
        check_all(&t);
        assert_true(t.rotten > 0);
        struct array *before = malloc((GROUPS + 1) * sizeof *before);
        assert_non_null(before);
        memcpy(before, t.a, (GROUPS + 1) * sizeof *before);
        sync_it(&t);
        crash(&t); /* opening finds the same ones */
        for (uint64_t g = 1; g <= GROUPS; g++) {
            assert_int_equal(t.a[g].next, before[g].next);
            for (uint64_t i = before[g].first; i < before[g].next; i++) {
                assert_int_equal(t.a[g].e[i].rotten, before[g].e[i].rotten);
                assert_int_equal(t.a[g].e[i].term, before[g].e[i].term);
                seen += t.a[g].e[i].rotten;
                t.a[g].e[i].len = before[g].e[i].len; /* a rotten one comes without payload */
            }
        }
        free(before);
        check_all(&t);
        /* Strictly, the log does not open; mended, it does, and nothing behind was lost. */
        struct wal_options strict = small;
        strict.keep_rotten = false;
        strict.read_only = true;
        struct wal *ro = NULL;
        assert_int_equal(wal_open(t.env, "/log", &strict, NULL, NULL, &ro, NULL), ST_CORRUPT);
        for (size_t i = 0; i < n; i++)
            mend(&t, bad[i][0], bad[i][1]);
        uint64_t was = t.rotten;
        check_all(&t);
        assert_int_equal(t.rotten, was);
        sim_crash(t.env, SIM_CRASH_POWER, 512); /* mending is durable by itself */
        (void)wal_close(t.w, NULL);
        assert_int_equal(wal_open(t.env, "/log", &strict, NULL, NULL, &ro, NULL), ST_OK);
        assert_int_equal(wal_close(ro, NULL), ST_OK);
        assert_int_equal(wal_verify(t.env, "/log", NULL, NULL, NULL, NULL), ST_OK);
        reopen(&t);
        check_all(&t);
        assert_int_equal(t.rotten, was);
        assert_int_equal(wal_close(t.w, NULL), ST_OK);
        teardown(&t);
    }
    assert_true(spoiled > 0 && seen == spoiled);
}

/* A vote must not be forgotten; one that a later vote replaces may be. */
static void a_rotten_hard_state_matters_only_if_it_is_the_newest(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = 7});
        struct wal *w = NULL;
        struct err err;
        err_init(&err);
        uint64_t at[2];
        assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, NULL), ST_OK);
        for (uint64_t i = 0; i < 2; i++) {
            struct wal_record r = {
                .range = 1, .term = i + 1, .kind = WAL_HARD_STATE, .payload = BYTES_LIT("vote")};
            at[i] = w->end.offset + WAL_GROUP_HEADER + WAL_RECORD_HEADER;
            assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
        }
        assert_int_equal(wal_close(w, NULL), ST_OK);
        assert_true(sim_flip_bit(env, "/log/00000000.seg", at[which], 0));
        enum status st = wal_open(env, "/log", &small, NULL, NULL, &w, &err);
        assert_int_equal(st, which == 0 ? ST_OK : ST_CORRUPT);
        if (st == ST_OK)
            assert_int_equal(wal_close(w, NULL), ST_OK);
        else
            assert_non_null(strstr(err.detail, "hard state"));
        sim_env_free(env);
    }
}

static void without_memory_nothing_is_half_read(void **state)
{
    (void)state;
    struct world t;
    setup(&t, 5);
    for (int i = 0; i < 60; i++)
        append(&t);
    for (uint64_t at = 1;; at++) {
        wal_entries_deinit(&t.got);
        (void)mem_fail_hits();
        mem_fail_at(at, 0);
        enum status st = wal_read_entries(t.w, 1, t.a[1].first, UINT64_MAX, 1 << 20, &t.got, NULL);
        mem_fail_at(0, 0);
        if (mem_fail_hits() == 0) {
            assert_int_equal(st, ST_OK);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
        assert_int_equal(t.got.n, 0);
    }
    check_all(&t);
    /* Nothing is left pinned. */
    for (size_t i = 0; i < t.w->segs.n; i++)
        assert_int_equal(t.w->segs.v[i]->readers, 0);
    assert_int_equal(wal_close(t.w, NULL), ST_OK);
    teardown(&t);
}

static void failing_reads_are_told(void **state)
{
    (void)state;
    struct world t;
    setup(&t, 6);
    for (int i = 0; i < 60; i++)
        append(&t);
    sim_set_faults(t.env, &(struct sim_faults){.read_eio_ppm = 1000000});
    assert_int_equal(wal_read_entries(t.w, 1, t.a[1].first, UINT64_MAX, 1 << 20, &t.got, NULL),
                     ST_IO_ERROR);
    assert_int_equal(t.got.n, 0);
    sim_set_faults(t.env, &(struct sim_faults){0});
    check_all(&t);
    assert_int_equal(wal_close(t.w, NULL), ST_OK);
    teardown(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_agree_with_the_log),
        cmocka_unit_test(rotten_entries_are_kept_and_mended),
        cmocka_unit_test(a_rotten_hard_state_matters_only_if_it_is_the_newest),
        cmocka_unit_test(without_memory_nothing_is_half_read),
        cmocka_unit_test(failing_reads_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
