/* Flipped bits and missing files: an error that names the place, never a wrong record. */
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdio.h>
#include <stdlib.h>

static const struct wal_options small = {.segment_bytes = 64 * 1024,
                                         .first_segment_bytes = 64 * 1024};

struct findings {
    size_t n;
    char file[64];
    uint64_t offset;
};

static void note(void *arg, const struct wal_finding *f)
{
    struct findings *all = arg;
    assert_non_null(f->text);
    if (all->n++ == 0) {
        snprintf(all->file, sizeof all->file, "%s", f->file);
        all->offset = f->offset;
    }
}

/* A log of a few segments, some recycled, closed properly. */
static void make_log(struct env *env, struct model *m, struct test_rng *r, int groups)
{
    struct wal *w = NULL;
    model_replay_begin(m);
    assert_int_equal(wal_open(env, "/log", &small, model_replay, m, &w, NULL), ST_OK);
    model_check(m);
    for (int i = 0; i < groups; i++) {
        struct wal_record recs[MODEL_GROUP_MAX];
        size_t n = model_make_group(m, r, 6000, recs);
        assert_int_equal(wal_append(w, recs, n, NULL, NULL), ST_OK);
        model_appended(m, recs, n);
        if (i % 5 == 4) {
            assert_int_equal(wal_sync(w, NULL), ST_OK);
            model_synced(m);
            uint64_t index, range = model_release(m, r, &index);
            if (range)
                wal_release(w, range, index);
        }
        if (i % 20 == 19)
            assert_int_equal(wal_maintain(w, NULL), ST_OK);
    }
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_synced(m);
}

struct place {
    uint32_t slot;
    uint64_t epoch, bytes, used; /* `used`: the end of what is below the mark */
};

static size_t live_places(struct env *env, struct place out[64])
{
    struct wal *w = NULL;
    const struct wal_options ro = {.read_only = true};
    assert_int_equal(wal_open(env, "/log", &ro, NULL, NULL, &w, NULL), ST_OK);
    size_t n = 0;
    assert_true(w->segs.n <= 64);
    for (size_t i = 0; i < w->segs.n; i++) {
        const struct wal__seg *s = w->segs.v[i];
        if (s->h.epoch >= w->low) /* what lies below is there by chance */
            out[n++] = (struct place){s->slot, s->h.epoch, s->h.bytes, s->end};
    }
    out[n - 1].used = w->mark.epoch == out[n - 1].epoch ? w->mark.offset : WAL_SEG_PAGE;
    assert_int_equal(wal_close(w, NULL), ST_OK);
    return n;
}

static void flip(struct env *env, const struct place *p, uint64_t offset, unsigned bit,
                 char path[64])
{
    snprintf(path, 64, "/log/%08u.seg", p->slot);
    assert_true(sim_flip_bit(env, path, offset, bit));
}

/* A header that begins no data, or the unused rest of its page, may be damaged without harm. */
static bool harmless(uint64_t offset, const struct place *p, size_t i, size_t n)
{
    return (offset >= WAL_SEG_HEADER && offset < WAL_SEG_PAGE) ||
           (i + 1 == n && p->used <= WAL_SEG_PAGE && offset < WAL_SEG_PAGE);
}

struct kept {
    size_t n, rotten;
};

static enum status keep(void *arg, const struct wal_record *rec, struct wal_pos pos,
                        struct err *err)
{
    struct kept *k = arg;
    (void)pos;
    (void)err;
    k->n++;
    k->rotten += rec->rotten;
    if (rec->rotten)
        assert_true((rec->kind == WAL_ENTRY || rec->kind == WAL_HARD_STATE) &&
                    rec->payload.len == 0);
    else if (rec->kind != WAL_RELEASE)
        assert_true(model_payload_is(rec->term, rec->payload));
    return ST_OK;
}

/* Told to go on, the log says which record is rotten, or still refuses: never a wrong one, and never
 * one less. */
static bool check_keeping(struct env *env, bool strictly_ok, size_t all)
{
    const struct wal_options o = {.read_only = true, .keep_rotten = true};
    struct wal *w = NULL;
    struct kept k = {0};
    enum status st = wal_open(env, "/log", &o, keep, &k, &w, NULL);
    if (st != ST_OK) {
        assert_false(strictly_ok);
        assert_int_equal(st, ST_CORRUPT);
        return false;
    }
    assert_true(strictly_ok || k.rotten <= 1); /* padding may be hit */
    assert_int_equal(k.n, all);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    return !strictly_ok;
}

static void a_flipped_bit_is_never_a_wrong_record(void **state)
{
    (void)state;
    uint64_t seed, refused = 0, harmless_flips = 0, kept = 0;
    FOR_EACH_SEED(seed, 40)
    {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct model m;
        struct test_rng r;
        struct place places[64];
        model_init(&m);
        test_rng_init(&r, seed);
        make_log(env, &m, &r, 60);
        size_t n = live_places(env, places);
        assert_int_equal(wal_verify(env, "/log", NULL, NULL, NULL, NULL), ST_OK);
        struct kept all = {0};
        struct wal *whole = NULL;
        const struct wal_options look = {.read_only = true};
        assert_int_equal(wal_open(env, "/log", &look, keep, &all, &whole, NULL), ST_OK);
        assert_int_equal(wal_close(whole, NULL), ST_OK);
        assert_int_equal(env_sync_dir(env, "/log", NULL), ST_OK); /* opening does that much */
        for (int k = 0; k < 40; k++) {
            size_t i = test_rng_below(&r, n);
            uint64_t offset = test_rng_chance(&r, 1, 8) ? test_rng_below(&r, WAL_SEG_HEADER)
                                                        : test_rng_below(&r, places[i].used);
            unsigned bit = (unsigned)test_rng_below(&r, 8);
            char path[64], want[32];
            flip(env, &places[i], offset, bit, path);
            struct wal *w = NULL;
            struct err err;
            err_init(&err);
            const struct wal_options ro = {.read_only = true};
            model_replay_begin(&m);
            enum status st = wal_open(env, "/log", &ro, model_replay, &m, &w, &err);
            if (st == ST_OK) {
                assert_true(harmless(offset, &places[i], i, n));
                model_check(&m);
                assert_int_equal(wal_close(w, NULL), ST_OK);
                harmless_flips++;
            } else {
                assert_int_equal(st, ST_CORRUPT);
                assert_non_null(strstr(err.detail, "offset"));
                assert_non_null(strstr(err.detail, "range"));
                snprintf(want, sizeof want, "%08u.seg", places[i].slot);
                assert_non_null(strstr(err.detail, want));
                refused++;
                /* Opening for writing refuses too, and changes nothing. */
                uint64_t before = sim_digest(env);
                assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, NULL), ST_CORRUPT);
                assert_int_equal(sim_digest(env), before);
            }
            kept += check_keeping(env, st == ST_OK, all.n);
            struct findings found = {0};
            assert_int_equal(wal_verify(env, "/log", note, NULL, &found, &err), ST_CORRUPT);
            assert_true(found.n >= 1);
            assert_string_equal(found.file, path);
            assert_true(found.offset <=
                        offset); /* the flaw is named where its group or record begins */
            flip(env, &places[i], offset, bit, path);
        }
        model_deinit(&m);
        sim_env_free(env);
    }
    print_message("%llu flips refused, %llu harmless; %llu of the refused kept as rotten\n",
                  (unsigned long long)refused, (unsigned long long)harmless_flips,
                  (unsigned long long)kept);
    assert_true(refused > 0 && kept > 0);
}

/* Above the last mark rot looks like a torn tail: what comes back is still a prefix of what was
 * there. */
static void above_the_last_mark_a_flip_costs_a_suffix(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 100)
    {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct model m;
        struct test_rng r;
        struct wal *w = NULL;
        struct err err;
        err_init(&err);
        model_init(&m);
        test_rng_init(&r, seed);
        make_log(env, &m, &r, 5);
        size_t base = m.n;
        model_replay_begin(&m);
        assert_int_equal(wal_open(env, "/log", &small, model_replay, &m, &w, NULL), ST_OK);
        model_check(&m);
        struct wal_record recs[MODEL_GROUP_MAX];
        size_t n = model_make_group(&m, &r, 3000, recs);
        uint64_t from = w->current->end;
        assert_int_equal(wal_append(w, recs, n, NULL, NULL), ST_OK);
        model_appended(&m, recs, n);
        assert_int_equal(wal_sync(w, NULL), ST_OK);
        struct place p = {w->current->slot, 0, 0, w->current->end};
        bool same_segment = from < p.used;
        sim_crash(env, SIM_CRASH_POWER, 512); /* before the idle marker */
        (void)wal_close(w, NULL);
        if (same_segment) {
            char path[64];
            flip(env, &p, test_rng_between(&r, from, p.used - 1), 3, path);
            m.durable = base;
        }
        model_replay_begin(&m);
        assert_int_equal(wal_open(env, "/log", &small, model_replay, &m, &w, &err), ST_OK);
        model_check(&m);
        assert_int_equal(m.n, same_segment ? base : base + n);
        /* The log goes on, and nothing of the lost group comes back. */
        n = model_make_group(&m, &r, 3000, recs);
        assert_int_equal(wal_append(w, recs, n, NULL, NULL), ST_OK);
        model_appended(&m, recs, n);
        assert_int_equal(wal_close(w, NULL), ST_OK);
        model_synced(&m);
        model_replay_begin(&m);
        assert_int_equal(wal_open(env, "/log", &small, model_replay, &m, &w, NULL), ST_OK);
        model_check(&m);
        assert_int_equal(wal_close(w, NULL), ST_OK);
        model_deinit(&m);
        sim_env_free(env);
    }
}

static void a_missing_segment_is_noticed(void **state)
{
    (void)state;
    struct place places[64];
    for (size_t gone = 0; gone < 6; gone++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = 3});
        struct model m;
        struct test_rng r;
        struct err err;
        err_init(&err);
        char path[64];
        struct wal *w = NULL;
        model_init(&m);
        test_rng_init(&r, 3);
        make_log(env, &m, &r, 120);
        size_t n = live_places(env, places);
        if (gone + 1 < n) { /* all but the newest, whose loss looks like a log that never rolled */
            snprintf(path, sizeof path, "/log/%08u.seg", places[gone].slot);
            assert_int_equal(env_unlink(env, path, NULL), ST_OK);
            assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, &err), ST_CORRUPT);
            assert_non_null(strstr(err.detail, "missing"));
            struct findings found = {0};
            assert_int_equal(wal_verify(env, "/log", note, NULL, &found, &err), ST_CORRUPT);
            assert_true(found.n > 0);
        }
        model_deinit(&m);
        sim_env_free(env);
    }
}

static void a_segment_copied_beside_is_noticed(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 4});
    struct model m;
    struct test_rng r;
    struct bytes file;
    struct env_file *f;
    struct wal *w = NULL;
    model_init(&m);
    test_rng_init(&r, 4);
    make_log(env, &m, &r, 10);
    assert_true(sim_file(env, "/log/00000000.seg", &file));
    uint8_t *copy = malloc(file.len);
    assert_non_null(copy);
    size_t len = file.len;
    memcpy(copy, file.data, len);
    /* Under another name its header does not fit: its groups are accounted for, so it is nothing.
     */
    assert_int_equal(
        env_open(env, "/log/00000009.seg", ENV_READ | ENV_WRITE | ENV_CREATE, &f, NULL), ST_OK);
    assert_int_equal(env_pwrite(f, 0, copy, len, NULL), ST_OK);
    env_close(f);
    free(copy);
    model_replay_begin(&m);
    assert_int_equal(wal_open(env, "/log", &small, model_replay, &m, &w, NULL), ST_OK);
    model_check(&m);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_deinit(&m);
    sim_env_free(env);
}

static void one_rotten_payload_names_its_range(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 5});
    struct wal *w = NULL;
    struct err err;
    err_init(&err);
    assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, NULL), ST_OK);
    struct wal_record r[3] = {
        {.range = 11, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(1, 100)},
        {.range = 4711, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(2, 100)},
        {.range = 12, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(3, 100)},
    };
    assert_int_equal(wal_append(w, r, 3, NULL, NULL), ST_OK);
    assert_int_equal(wal_append(w, r, 1, NULL, NULL), ST_OK);
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    uint64_t at = WAL_SEG_PAGE + WAL_GROUP_HEADER + WAL_RECORD_HEADER + 100;
    assert_true(sim_flip_bit(env, "/log/00000000.seg", at + WAL_RECORD_HEADER + 50, 1));
    struct findings found = {0};
    assert_int_equal(wal_verify_open(w, note, NULL, &found, NULL), ST_CORRUPT);
    assert_int_equal(found.n, 1); /* the group behind it is fine */
    assert_int_equal(found.offset, at);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, &err), ST_CORRUPT);
    char want[64];
    snprintf(want, sizeof want, "/log/00000000.seg, offset %llu, range 4711",
             (unsigned long long)at);
    assert_non_null(strstr(err.detail, want));
    sim_env_free(env);
}

/* A group of the segment that says that something in the segment was synced. */
static bool vouches(const uint8_t *bytes, size_t len, uint64_t epoch)
{
    struct wal_group_header g;
    for (size_t at = WAL_SEG_PAGE; at + WAL_GROUP_HEADER <= len; at += WAL_ALIGN)
        if (wal__group_decode(bytes + at, &g) && g.epoch == epoch && g.offset == at &&
            g.mark.epoch == epoch)
            return true;
    return false;
}

/* The newest segment calls itself a spare, and its first group may be gone too. Whether it was to be
 * missed, which it was then. */
static bool newest_without_header(uint64_t seed, bool without_group)
{
    static uint8_t bytes[1 << 20];
    struct test_rng r;
    struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
    struct model m;
    struct place places[64];
    model_init(&m);
    test_rng_init(&r, seed);
    make_log(env, &m, &r, 20 + (int)test_rng_below(&r, 60));
    size_t n = live_places(env, places), got;
    const struct place *p = &places[n - 1];
    char path[64];
    struct wal_seg_header h;
    struct env_file *f;
    struct err err;
    struct wal *w = NULL;
    err_init(&err);
    snprintf(path, sizeof path, "/log/%08u.seg", p->slot);
    assert_int_equal(env_open(env, path, ENV_READ | ENV_WRITE, &f, NULL), ST_OK);
    assert_int_equal(env_pread(f, 0, bytes, sizeof bytes, &got, NULL), ST_OK);
    assert_int_equal(wal__seg_decode(bytes, &h), WAL_HEAD_OK);
    wal__seg_encode(&(struct wal_seg_header){.slot = p->slot, .bytes = p->bytes}, bytes);
    if (without_group)
        memset(bytes + WAL_SEG_PAGE, 0, WAL_GROUP_HEADER);
    assert_int_equal(env_pwrite(f, 0, bytes, WAL_SEG_PAGE + WAL_GROUP_HEADER, NULL), ST_OK);
    assert_int_equal(env_sync(f, NULL), ST_OK);
    env_close(f);
    bool missed = n > 1 && (without_group ? vouches(bytes, got, h.epoch) : p->used > WAL_SEG_PAGE);
    enum status st = wal_open(env, "/log", &small, NULL, NULL, &w, &err);
    if (missed) {
        assert_int_equal(st, ST_CORRUPT);
        assert_non_null(strstr(err.detail, path));
    } else if (st == ST_OK) {
        assert_int_equal(wal_close(w, NULL), ST_OK);
    }
    model_deinit(&m);
    sim_env_free(env);
    return missed;
}

/* A disk that puts the header of a new segment elsewhere leaves a spare with the log's newest groups
 * in it: they were synced, so they are missed, and not passed over. What was dropped by a recovery
 * lies in spares too, and is nobody's. */
static void a_segment_whose_header_never_arrived_is_missed(void **state)
{
    (void)state;
    unsigned missed = 0;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        missed += newest_without_header(seed, false);
    }
    assert_true(missed > 20);
}

/* Nor its first group: the others tell. */
static void a_segment_without_header_and_first_group_is_missed(void **state)
{
    (void)state;
    unsigned missed = 0;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        missed += newest_without_header(seed, true);
    }
    assert_true(missed > 20);
}

static void not_without_end(void *arg, const struct wal_finding *f)
{
    size_t *n = arg;
    if (++*n > 100)
        fail_msg("%s offset %lu: %s, again and again", f->file, (unsigned long)f->offset, f->text);
}

/* Checksums can be right and the mark nowhere: behind the end of the newest segment. */
static void a_mark_behind_its_segment(void **state)
{
    (void)state;
    static const uint64_t beyond[] = {0, 8, WAL_GROUP_HEADER, 1 << 20, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = 3});
        struct test_rng r;
        struct model m;
        struct place places[64];
        struct wal_seg_header h;
        uint8_t head[WAL_SEG_HEADER];
        char path[32];
        struct env_file *f;
        size_t got, n_found = 0;
        struct wal *w = NULL;
        model_init(&m);
        test_rng_init(&r, 3);
        make_log(env, &m, &r, 40);
        size_t n = live_places(env, places);
        snprintf(path, sizeof path, "/log/%08u.seg", places[n - 1].slot);
        assert_int_equal(env_open(env, path, ENV_READ | ENV_WRITE, &f, NULL), ST_OK);
        assert_int_equal(env_pread(f, 0, head, sizeof head, &got, NULL), ST_OK);
        assert_int_equal(wal__seg_decode(head, &h), WAL_HEAD_OK);
        uint64_t offset = beyond[i] > UINT64_MAX - h.bytes ? beyond[i] : h.bytes + beyond[i];
        h.mark = (struct wal_pos){h.epoch, offset};
        wal__seg_encode(&h, head);
        assert_int_equal(env_pwrite(f, 0, head, sizeof head, NULL), ST_OK);
        assert_int_equal(env_sync(f, NULL), ST_OK);
        env_close(f);
        assert_int_equal(wal_verify(env, "/log", not_without_end, NULL, &n_found, NULL),
                         ST_CORRUPT);
        assert_true(n_found > 0);
        assert_int_equal(wal_open(env, "/log", &small, NULL, NULL, &w, NULL), ST_CORRUPT);
        model_deinit(&m);
        sim_env_free(env);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_never_a_wrong_record),
        cmocka_unit_test(above_the_last_mark_a_flip_costs_a_suffix),
        cmocka_unit_test(a_missing_segment_is_noticed),
        cmocka_unit_test(a_segment_copied_beside_is_noticed),
        cmocka_unit_test(one_rotten_payload_names_its_range),
        cmocka_unit_test(a_segment_whose_header_never_arrived_is_missed),
        cmocka_unit_test(a_segment_without_header_and_first_group_is_missed),
        cmocka_unit_test(a_mark_behind_its_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
