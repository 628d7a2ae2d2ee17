/* Segments come and go; what a range still needs stays. */
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"

static const struct wal_options small = {.segment_bytes = 64 * 1024,
                                         .first_segment_bytes = 64 * 1024};

struct last {
    uint64_t entries, first_index, last_index, hs_term[8], released[8];
    char vote[16];
};

static enum status keep(void *arg, const struct wal_record *rec, struct wal_pos pos,
                        struct err *err)
{
    struct last *l = arg;
    (void)pos;
    (void)err;
    assert_true(rec->range < 8);
    switch ((enum wal_kind)rec->kind) {
    case WAL_ENTRY:
        assert_true(model_payload_is(rec->index, rec->payload));
        if (l->entries++ == 0)
            l->first_index = rec->index;
        else
            assert_int_equal(rec->index, l->last_index + 1); /* never shifted, never a gap */
        l->last_index = rec->index;
        break;
    case WAL_HARD_STATE:
        l->hs_term[rec->range] = rec->term;
        memcpy(l->vote, rec->payload.data, rec->payload.len);
        break;
    case WAL_TRUNCATE:
        break;
    case WAL_RELEASE:
        l->released[rec->range] = rec->index;
        break;
    }
    return ST_OK;
}

static struct wal *open_log(struct env *env, struct last *l)
{
    struct wal *w = NULL;
    struct err err;
    err_init(&err);
    *l = (struct last){0};
    enum status st = wal_open(env, "/log", &small, keep, l, &w, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
    return w;
}

static void add(struct wal *w, uint64_t range, uint8_t kind, uint64_t term, uint64_t index,
                struct bytes payload)
{
    struct wal_record r = {
        .range = range, .term = term, .index = index, .kind = kind, .payload = payload};
    assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
}

static void entries(struct wal *w, uint64_t range, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++)
        add(w, range, WAL_ENTRY, 1, i, model_payload(i, 1000));
    assert_int_equal(wal_sync(w, NULL), ST_OK);
}

static void power_cut(struct env *env, struct wal *w)
{
    sim_crash(env, SIM_CRASH_POWER, 512);
    (void)wal_close(w, NULL);
}

static void released_segments_are_used_again(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    for (uint64_t i = 0; i < 50; i++) {
        entries(w, 1, i * 100 + 1, i * 100 + 100);
        wal_release(w, 1, i * 100 + 100);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        wal_stats(w, &s);
        assert_true(s.segments <= 3 && s.spare_segments <= 3);
        assert_true(s.bytes <= 5 * small.segment_bytes);
    }
    assert_true(s.first.epoch > 50);
    power_cut(env, w);
    w = open_log(env, &l);
    assert_true(l.first_index > 4800);
    assert_int_equal(l.last_index, 5000);
    assert_int_equal(l.released[1], 5000);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    assert_int_equal(wal_verify(env, "/log", NULL, NULL, NULL, NULL), ST_OK);
    sim_env_free(env);
}

/* What lies behind it in a segment that stays need not be released. */
static void what_is_worth_releasing_frees_as_much(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct last l;
    struct wal_stats before, after;
    struct wal *w = open_log(env, &l);
    uint64_t last = 0, steps = 0;
    assert_int_equal(wal_worth_releasing(w, 1, 100), 0);
    entries(w, 1, 1, 500);
    add(w, 2, WAL_ENTRY, 1, 1, model_payload(1, 1000));
    assert_int_equal(wal_worth_releasing(w, 2, 1), 0); /* in the segment that is being filled */
    for (uint64_t index = 1; index <= 500; index += 7) {
        uint64_t worth = wal_worth_releasing(w, 1, index);
        assert_true(worth <= index && worth >= last);
        wal_release(w, 1, worth);
        wal_stats(w, &before);
        wal_release(w, 1, index);
        wal_stats(w, &after);
        assert_int_equal(before.live_bytes, after.live_bytes);
        steps += worth > last;
        last = worth;
    }
    assert_true(steps > 5 && last < 500);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static size_t files(struct env *env)
{
    struct buf names = BUF_INIT;
    size_t n = 0;
    assert_int_equal(env_list(env, "/log", &names, NULL), ST_OK);
    for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1)
        n++;
    buf_deinit(&names);
    return n;
}

/* A checkpoint frees several segments at once, and as much log comes after it: they are kept, or all
 * of that would be written twice, as zeros first. Closing gives them up. */
static void what_one_release_frees_is_kept_for_the_next(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 5});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    size_t most = 0;
    for (uint64_t i = 0; i < 10; i++) {
        entries(w, 1, i * 200 + 1, i * 200 + 200);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        wal_release(w, 1, i * 200 + 200);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        wal_stats(w, &s);
        if (i >= 2) /* from then on nothing is made and nothing removed */
            assert_int_equal(files(env), most);
        most = files(env);
        assert_in_range(s.spare_segments, 2, 5);
    }
    assert_int_equal(wal_close(w, NULL), ST_OK);
    w = open_log(env, &l);
    wal_stats(w, &s);
    assert_true(s.spare_segments <= 1);
    assert_int_equal(l.last_index, 2000);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

/* Nor is a segment made at the end of each round, when all that were freed are used up, and given up
 * after the next release: rounds are never quite alike. */
static void nothing_is_made_anew_while_as_much_is_released_as_written(void **state)
{
    (void)state;
    static const uint64_t rounds[] = {2, 2, 3, 2, 1, 3, 2, 2, 2, 1, 2, 3, 2, 2, 2, 2, 2, 2, 3, 2};
    struct env *env = sim_env_new(&(struct sim_options){.seed = 6});
    struct last l;
    struct wal *w = open_log(env, &l);
    uint64_t index = 0;
    uint32_t made = 0;
    size_t most = 0;
    for (size_t i = 0; i < 3 * (sizeof rounds / sizeof *rounds); i++) {
        uint64_t epoch = w->current->h.epoch + rounds[i % (sizeof rounds / sizeof *rounds)];
        while (w->current->h.epoch < epoch) {
            entries(w, 1, index + 1, index + 10);
            index += 10;
            assert_int_equal(wal_maintain(w, NULL), ST_OK);
        }
        wal_release(w, 1, index);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        if (i == 5) {
            made = w->next_slot;
            most = files(env);
        }
    }
    assert_int_equal(w->next_slot, made);
    assert_int_equal(files(env), most);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void one_slow_range_keeps_its_segment(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 2});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    entries(w, 1, 1, 200);
    add(w, 2, WAL_ENTRY, 1, 201, model_payload(201, 10)); /* the model wants indexes in a row */
    entries(w, 1, 202, 500);
    wal_release(w, 1, 500);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_true(s.first.epoch > 1 && s.live_bytes > 250 * 1000);
    power_cut(env, w);
    w = open_log(env, &l);
    assert_true(l.first_index <= 201 && l.last_index == 500);
    wal_release(w, 2, 201);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.segments, 1);
    assert_int_equal(s.live_bytes, 0);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void vote_or_term_kept_only_in_memory(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 3});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    add(w, 3, WAL_HARD_STATE, 6, 0, BYTES_LIT("vote for a"));
    add(w, 3, WAL_HARD_STATE, 7, 0, BYTES_LIT("vote for b"));
    for (uint64_t round = 0; round < 20; round++) {
        entries(w, 1, round * 100 + 1, round * 100 + 100);
        wal_release(w, 1, round * 100 + 100);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        if (round % 3 == 0) {
            power_cut(env, w);
            w = open_log(env, &l);
            assert_int_equal(l.hs_term[3], 7);
            assert_string_equal(l.vote, "vote for b");
        }
    }
    wal_stats(w, &s);
    assert_true(s.first.epoch > 10);
    wal_release(w, 3, WAL_RELEASE_ALL); /* the range is gone: it is carried no more */
    entries(w, 1, 2001, 2200);
    wal_release(w, 1, 2200);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    entries(w, 1, 2201, 2400);
    wal_release(w, 1, 2400);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    power_cut(env, w);
    w = open_log(env, &l);
    assert_int_equal(l.hs_term[3], 0);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void compaction_that_shifts_raft_indexes(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 4});
    struct last l;
    struct wal *w = open_log(env, &l);
    uint64_t next = 1000001; /* far from what a count from 0 or from the first entry would give */
    for (int round = 0; round < 12; round++) {
        entries(w, 1, next, next + 149);
        next += 150;
        wal_release(w, 1, next - 20);
        assert_int_equal(wal_maintain(w, NULL), ST_OK);
        power_cut(env, w);
        w = open_log(env, &l); /* keep() checks that indexes follow one another, and payloads follow
                                  from indexes */
        assert_true(l.first_index <= next - 19 && l.first_index >= 1000001);
        assert_int_equal(l.last_index, next - 1);
    }
    assert_true(l.first_index > 1001000);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void truncated_entries_hold_nothing_back(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 5});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    entries(w, 1, 1, 150);
    add(w, 1, WAL_TRUNCATE, 2, 11, BYTES_EMPTY);
    wal_release(w, 1, 10);
    for (uint64_t i = 0; i < 100; i++)
        add(w, 2, WAL_HARD_STATE, i, 0, model_payload(i, 15));
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.live_bytes, 0);
    assert_int_equal(s.segments, 1);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void write_acknowledged_before_its_sync(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 6});
    struct last l;
    struct wal *w = open_log(env, &l);
    struct wal_record r = {
        .range = 1, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(1, 100)};
    for (int i = 0; i < 300; i++, r.index++) {
        struct wal_pos end;
        r.payload = model_payload(r.index, 1000);
        assert_int_equal(wal_append(w, &r, 1, &end, NULL), ST_OK);
        assert_true(wal_pos_cmp(wal_synced(w), end) < 0); /* also right after a roll */
        if (i % 7 == 0)
            assert_int_equal(wal_maintain(w, NULL), ST_OK);
        assert_true(wal_pos_cmp(wal_synced(w), end) <
                    0); /* housekeeping does not vouch for it either */
        if (i % 10 == 9) {
            assert_int_equal(wal_sync(w, NULL), ST_OK);
            assert_true(wal_pos_cmp(wal_synced(w), end) >= 0);
            if (i % 50 == 49) {
                power_cut(env, w);
                w = open_log(env, &l);
                assert_int_equal(l.last_index, r.index);
            }
        }
    }
    sim_set_faults(env, &(struct sim_faults){.sync_eio_ppm = 1000000});
    struct wal_pos end;
    r.payload = model_payload(r.index, 1000);
    assert_int_equal(wal_append(w, &r, 1, &end, NULL), ST_OK);
    assert_int_equal(wal_sync(w, NULL), ST_POISONED);
    sim_set_faults(env, &(struct sim_faults){0});
    assert_int_equal(wal_sync(w, NULL), ST_POISONED);
    assert_true(wal_pos_cmp(wal_synced(w), end) < 0);
    power_cut(env, w);
    sim_env_free(env);
}

static void verifying_keeps_segments_from_being_recycled(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 7});
    struct last l;
    struct wal_stats s;
    struct wal *w = open_log(env, &l);
    entries(w, 1, 1, 300);
    wal_release(w, 1, 300);
    w->pinned = 2; /* as wal_verify_open does while it reads */
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.first.epoch, 2);
    w->pinned = UINT64_MAX;
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.segments, 1);
    assert_int_equal(wal_verify_open(w, NULL, NULL, NULL, NULL), ST_OK);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

/* The group that raises `low` is not synced when the log rolls: the new header may survive without
 * it. */
static void a_header_claims_no_low_that_is_not_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct last l;
        struct wal *w = open_log(env, &l);
        entries(w, 1, 1, 90);
        wal_release(w, 1, 90);
        uint64_t low = w->end.epoch;
        assert_true(low == 2);
        assert_int_equal(wal__append_group(w, NULL, 0, true, low, NULL),
                         ST_OK); /* as wal_maintain begins */
        for (uint64_t i = 91; w->end.epoch == low; i++)
            add(w, 1, WAL_ENTRY, 1, i, model_payload(i, 1000));
        power_cut(env, w);
        w = open_log(env, &l);
        assert_true(l.first_index == 1 && l.last_index >= 90);
        power_cut(env, w);
        w = open_log(env, &l);
        assert_true(l.first_index == 1 && l.last_index >= 90);
        assert_int_equal(wal_close(w, NULL), ST_OK);
        sim_env_free(env);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_worth_releasing_frees_as_much),
        cmocka_unit_test(released_segments_are_used_again),
        cmocka_unit_test(what_one_release_frees_is_kept_for_the_next),
        cmocka_unit_test(nothing_is_made_anew_while_as_much_is_released_as_written),
        cmocka_unit_test(one_slow_range_keeps_its_segment),
        cmocka_unit_test(vote_or_term_kept_only_in_memory),
        cmocka_unit_test(compaction_that_shifts_raft_indexes),
        cmocka_unit_test(truncated_entries_hold_nothing_back),
        cmocka_unit_test(write_acknowledged_before_its_sync),
        cmocka_unit_test(a_header_claims_no_low_that_is_not_durable),
        cmocka_unit_test(verifying_keeps_segments_from_being_recycled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
