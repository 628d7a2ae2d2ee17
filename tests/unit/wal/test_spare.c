/* Spares are made in steps, and whatever comes between two of them loses nothing. */
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"

#include <stdio.h>

enum { MIB = 1024 * 1024, SEGMENT = 4 * MIB, STEPS = 4 };
static const struct wal_options usual = {.segment_bytes = SEGMENT, .first_segment_bytes = SEGMENT};

struct bench {
    struct env *env;
    struct wal *w;
    uint64_t last; /* entry that was replayed or appended */
};

static enum status count(void *arg, const struct wal_record *rec, struct wal_pos pos,
                         struct err *err)
{
    struct bench *b = arg;
    (void)pos;
    (void)err;
    if (rec->kind == WAL_ENTRY) {
        assert_int_equal(rec->index, b->last + 1);
        assert_true(model_payload_is(rec->index, rec->payload));
        b->last = rec->index;
    }
    return ST_OK;
}

static void open_it(struct bench *b, const struct wal_options *o)
{
    struct err err;
    err_init(&err);
    b->last = 0;
    if (wal_open(b->env, "/log", o, count, b, &b->w, &err) != ST_OK)
        fail_msg("open: %s", err.detail);
}

static void begin(struct bench *b, const struct wal_options *o)
{
    b->env = sim_env_new(&(struct sim_options){.seed = 1});
    open_it(b, o);
}

static void end(struct bench *b)
{
    assert_int_equal(wal_close(b->w, NULL), ST_OK);
    sim_env_free(b->env);
}

static uint64_t step(struct bench *b)
{
    uint64_t pause_ms = 0;
    assert_int_equal(wal_make_spare(b->w, &pause_ms, NULL), ST_OK);
    return pause_ms;
}

static enum status append(struct bench *b, size_t bytes)
{
    struct wal_record r = {.range = 1,
                           .term = 1,
                           .index = b->last + 1,
                           .kind = WAL_ENTRY,
                           .payload = model_payload(b->last + 1, bytes)};
    enum status st = wal_append(b->w, &r, 1, NULL, NULL);
    b->last += st == ST_OK;
    return st;
}

static void fill_to(struct bench *b, uint64_t offset)
{
    while (b->w->end.offset < offset)
        assert_int_equal(append(b, 32 * 1024), ST_OK);
    assert_int_equal(wal_sync(b->w, NULL), ST_OK);
}

static struct wal_stats stats(struct bench *b)
{
    struct wal_stats s;
    wal_stats(b->w, &s);
    return s;
}

static size_t files(struct bench *b)
{
    struct buf names = BUF_INIT;
    size_t n = 0;
    assert_int_equal(env_list(b->env, "/log", &names, NULL), ST_OK);
    for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1)
        n++;
    buf_deinit(&names);
    return n;
}

static void a_spare_is_made_in_steps_with_pauses(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &usual);
    for (int i = 1; i < STEPS; i++) {
        assert_in_range(step(&b), 1, 1000);
        assert_int_equal(stats(&b).spare_segments, 0);
        assert_int_equal(files(&b), 2);
    }
    assert_true(step(&b) == UINT64_MAX);
    assert_int_equal(stats(&b).spare_segments, 1);
    assert_int_equal(stats(&b).bytes, 2 * SEGMENT);
    assert_true(step(&b) == UINT64_MAX); /* nothing is left to do */
    assert_int_equal(files(&b), 2);
    uint64_t epoch = b.w->end.epoch;
    while (b.w->end.epoch == epoch)
        assert_int_equal(append(&b, 32 * 1024), ST_OK);
    assert_int_equal(files(&b), 2); /* it was good for use */
    end(&b);
}

static void a_log_that_fills_fast_gets_its_spare_without_a_pause(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &usual);
    assert_true(step(&b) > 0);
    fill_to(&b, SEGMENT / 3);
    assert_int_equal(step(&b), 0); /* half is made, a third used */
    assert_true(step(&b) > 0);     /* three quarters */
    fill_to(&b, SEGMENT / 2);
    assert_true(step(&b) == UINT64_MAX);
    end(&b);
}

static void an_append_finishes_what_is_being_made(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &usual);
    (void)step(&b);
    uint64_t epoch = b.w->end.epoch;
    while (b.w->end.epoch == epoch)
        assert_int_equal(append(&b, 32 * 1024), ST_OK);
    assert_int_equal(files(&b), 2);
    assert_int_equal(stats(&b).bytes, 2 * SEGMENT);
    assert_int_equal(wal_sync(b.w, NULL), ST_OK);
    assert_in_range(step(&b), 0, 1000); /* the next one is begun */
    assert_int_equal(files(&b), 3);
    uint64_t last = b.last;
    sim_crash(b.env, SIM_CRASH_POWER, 512);
    wal_abandon(b.w);
    open_it(&b, &usual);
    assert_int_equal(b.last, last);
    end(&b);
}

static void a_power_cut_between_two_steps_leaves_nothing(void **state)
{
    (void)state;
    for (int steps = 1; steps <= STEPS; steps++) {
        struct bench b;
        begin(&b, &usual);
        fill_to(&b, MIB);
        for (int i = 0; i < steps; i++)
            (void)step(&b);
        uint64_t last = b.last;
        sim_crash(b.env, SIM_CRASH_POWER, 512);
        wal_abandon(b.w);
        open_it(&b, &usual);
        assert_int_equal(b.last, last);
        assert_int_equal(files(&b), 1 + stats(&b).spare_segments);
        assert_int_equal(wal_close(b.w, NULL), ST_OK);
        assert_int_equal(wal_verify(b.env, "/log", NULL, NULL, NULL, NULL), ST_OK);
        sim_env_free(b.env);
    }
}

static void closing_between_two_steps_leaves_nothing(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &usual);
    fill_to(&b, MIB);
    (void)step(&b);
    assert_int_equal(files(&b), 2);
    assert_int_equal(wal_close(b.w, NULL), ST_OK);
    assert_int_equal(files(&b), 1);
    sim_env_free(b.env);
}

static void a_full_disk_gets_back_what_was_made(void **state)
{
    (void)state;
    struct bench b;
    uint64_t pause_ms;
    begin(&b, &usual);
    (void)step(&b);
    sim_set_faults(b.env, &(struct sim_faults){.write_enospc_ppm = 1000000});
    assert_int_equal(wal_make_spare(b.w, &pause_ms, NULL), ST_DISK_FULL);
    assert_int_equal(files(&b), 1);
    assert_int_equal(stats(&b).bytes, SEGMENT);
    sim_set_faults(b.env, &(struct sim_faults){0});
    for (int i = 1; i < STEPS; i++)
        assert_true(step(&b) != UINT64_MAX); /* from the beginning */
    assert_true(step(&b) == UINT64_MAX);
    assert_int_equal(stats(&b).spare_segments, 1);
    end(&b);
}

static void a_failed_sync_of_a_spare_is_not_one_of_the_log(void **state)
{
    (void)state;
    struct bench b;
    uint64_t pause_ms;
    begin(&b, &usual);
    sim_set_faults(b.env, &(struct sim_faults){.sync_eio_ppm = 1000000});
    assert_int_equal(wal_make_spare(b.w, &pause_ms, NULL), ST_IO_ERROR);
    sim_set_faults(b.env, &(struct sim_faults){0});
    assert_int_equal(files(&b), 1);
    assert_false(wal_poisoned(b.w));
    fill_to(&b, MIB);
    end(&b);
}

static void a_spare_counts_against_max_bytes_from_its_first_step(void **state)
{
    (void)state;
    struct wal_options o = usual;
    o.max_bytes = 4 * (uint64_t)SEGMENT;
    o.spare_segments = 2;
    struct bench b;
    begin(&b, &o);
    (void)step(&b);
    assert_int_equal(stats(&b).bytes, 2 * SEGMENT);
    enum status st = ST_OK;
    while (st == ST_OK)
        st = append(&b, 32 * 1024);
    assert_int_equal(st, ST_OVERLOADED);
    assert_true(stats(&b).bytes <= o.max_bytes);
    assert_true(step(&b) == UINT64_MAX); /* nor is there room for another spare */
    end(&b);
}

static void a_spare_is_given_up_when_others_were_recycled(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &usual);
    fill_to(&b, SEGMENT - MIB);
    uint64_t epoch = b.w->end.epoch;
    while (b.w->end.epoch == epoch)
        assert_int_equal(append(&b, 32 * 1024), ST_OK);
    (void)step(&b);
    assert_int_equal(files(&b), 3);
    wal_release(b.w, 1, b.last);
    assert_int_equal(wal_tidy(b.w, NULL), ST_OK);
    assert_int_equal(stats(&b).spare_segments, 1);
    assert_true(step(&b) == UINT64_MAX);
    assert_int_equal(files(&b), 2);
    assert_int_equal(stats(&b).bytes, 2 * SEGMENT);
    end(&b);
}

/* A name holds eight digits: behind the last comes the first that is free. */
static void names_do_not_run_out(void **state)
{
    (void)state;
    struct bench b;
    struct buf names = BUF_INIT;
    char spare[64];
    begin(&b, &usual);
    for (uint64_t pause_ms = 0; pause_ms != UINT64_MAX;)
        pause_ms = step(&b);
    assert_int_equal(wal_close(b.w, NULL), ST_OK);
    assert_int_equal(env_list(b.env, "/log", &names, NULL), ST_OK);
    const char *last = (const char *)names.data + strlen((const char *)names.data) + 1;
    (void)snprintf(spare, sizeof(spare), "/log/%s", last);
    assert_int_equal(env_rename(b.env, spare, "/log/99999999.seg", NULL), ST_OK);
    buf_deinit(&names);
    open_it(&b, &usual);
    while (b.w->segs.n < 3) /* in the spare, and in one that is made */
        assert_int_equal(append(&b, 32 * 1024), ST_OK);
    assert_int_equal(wal_sync(b.w, NULL), ST_OK);
    uint64_t appended = b.last;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(wal_close(b.w, NULL), ST_OK);
        open_it(&b, &usual);
        assert_int_equal(b.last, appended);
    }
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spare_is_made_in_steps_with_pauses),
        cmocka_unit_test(a_log_that_fills_fast_gets_its_spare_without_a_pause),
        cmocka_unit_test(an_append_finishes_what_is_being_made),
        cmocka_unit_test(a_power_cut_between_two_steps_leaves_nothing),
        cmocka_unit_test(closing_between_two_steps_leaves_nothing),
        cmocka_unit_test(a_full_disk_gets_back_what_was_made),
        cmocka_unit_test(a_failed_sync_of_a_spare_is_not_one_of_the_log),
        cmocka_unit_test(a_spare_counts_against_max_bytes_from_its_first_step),
        cmocka_unit_test(a_spare_is_given_up_when_others_were_recycled),
        cmocka_unit_test(names_do_not_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
