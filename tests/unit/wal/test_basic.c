/* What goes in comes out: sizes, groups, rolls, limits, read-only, formats. */
#include "base/alloc.h"
#include "base/hash.h"
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdlib.h>

struct seen {
    struct wal_record recs[64];
    uint32_t crc[64];
    struct wal_pos pos[64];
    size_t n;
};

static enum status keep(void *arg, const struct wal_record *rec, struct wal_pos pos,
                        struct err *err)
{
    struct seen *s = arg;
    (void)err;
    assert_true(s->n < 64);
    s->crc[s->n] = crc32c(0, rec->payload.data, rec->payload.len);
    s->pos[s->n] = pos;
    s->recs[s->n++] = *rec;
    return ST_OK;
}

static struct wal *open_log(struct env *env, const struct wal_options *o, wal_replay_fn fn,
                            void *arg)
{
    struct wal *w = NULL;
    struct err err;
    err_init(&err);
    enum status st = wal_open(env, "/db/log", o, fn, arg, &w, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
    return w;
}

static void payloads_of_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        0,    1,    7,     8,     9,      40,      511,      512,      2047,           2048,
        2049, 4095, 65536, 99999, 262144, 1048577, 16777216, 33554432, WAL_PAYLOAD_MAX};
    enum { N = sizeof sizes / sizeof *sizes };
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    uint8_t *data = malloc(WAL_PAYLOAD_MAX);
    assert_non_null(data);
    for (size_t i = 0; i < WAL_PAYLOAD_MAX; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    const struct wal_options o = {.segment_bytes = 1024 * 1024};
    struct wal *w = open_log(env, &o, NULL, NULL);
    struct wal_pos last = {0, 0}, end;
    for (size_t i = 0; i < N; i++) {
        struct wal_record r = {.range = i,
                               .term = ~i,
                               .index = 1000 + i,
                               .kind = WAL_ENTRY,
                               .payload = BYTES(data + i, sizes[i])};
        if (sizes[i] == WAL_PAYLOAD_MAX)
            r.payload.data = data;
        assert_int_equal(wal_append(w, &r, 1, &end, NULL), ST_OK);
        assert_true(wal_pos_cmp(last, end) < 0);
        last = end;
    }
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    assert_int_equal(wal_pos_cmp(wal_synced(w), end), 0);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    struct seen s = {0};
    w = open_log(env, &o, keep, &s);
    assert_int_equal(s.n, N);
    for (size_t i = 0; i < N; i++) {
        const uint8_t *want = sizes[i] == WAL_PAYLOAD_MAX ? data : data + i;
        assert_int_equal(s.recs[i].payload.len, sizes[i]);
        assert_int_equal(s.crc[i], crc32c(0, want, sizes[i]));
        assert_true(s.recs[i].range == i && s.recs[i].term == ~i && s.recs[i].index == 1000 + i);
        assert_true(i == 0 || wal_pos_cmp(s.pos[i - 1], s.pos[i]) < 0);
    }
    assert_int_equal(wal_verify_open(w, NULL, NULL, NULL, NULL), ST_OK);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    free(data);
    sim_env_free(env);
}

static void limits_are_named(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 2});
    struct wal *w = open_log(env, NULL, NULL, NULL);
    struct err err;
    err_init(&err);
    static uint8_t byte;
    struct wal_record r = {
        .range = 1, .kind = WAL_ENTRY, .payload = BYTES(&byte, (size_t)WAL_PAYLOAD_MAX + 1)};
    assert_int_equal(wal_append(w, &r, 1, NULL, &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "33619968"));
    r.payload = BYTES_EMPTY;
    r.kind = 0;
    assert_int_equal(wal_append(w, &r, 1, NULL, &err), ST_INVALID_ARGUMENT);
    r.kind = 5;
    assert_int_equal(wal_append(w, &r, 1, NULL, &err), ST_INVALID_ARGUMENT);
    struct wal_pos before, after;
    r.kind = WAL_ENTRY;
    assert_int_equal(wal_append(w, &r, 1, &before, NULL), ST_OK);
    assert_int_equal(wal_append(w, NULL, 0, &after, NULL),
                     ST_OK); /* nothing is a group of nothing */
    assert_int_equal(wal_pos_cmp(before, after), 0);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    struct wal *bad = NULL;
    assert_int_equal(
        wal_open(env, "/x", &(struct wal_options){.segment_bytes = 1000}, NULL, NULL, &bad, &err),
        ST_INVALID_ARGUMENT);
    assert_null(bad);
    sim_env_free(env);
}

static void a_log_may_be_bounded(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 3});
    const struct wal_options o = {.max_bytes = 512 * 1024};
    struct wal *w = open_log(env, &o, NULL, NULL);
    struct err err;
    err_init(&err);
    uint64_t index = 0;
    enum status st;
    struct wal_record r = {
        .range = 1, .term = 5, .kind = WAL_ENTRY, .payload = model_payload(5, 5000)};
    do {
        r.index = ++index;
        st = wal_append(w, &r, 1, NULL, &err);
    } while (st == ST_OK);
    assert_int_equal(st, ST_OVERLOADED);
    assert_non_null(strstr(err.detail, "max_bytes"));
    struct wal_stats s;
    wal_stats(w, &s);
    assert_true(s.bytes <= o.max_bytes);
    wal_release(w, 1, index - 1);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    for (int i = 0; i < 50; i++, r.index++)
        assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void an_empty_log_is_small_and_grows_by_doubling(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 4});
    struct wal_stats s;
    struct wal *w = open_log(env, NULL, NULL, NULL);
    wal_stats(w, &s);
    assert_int_equal(s.bytes, 256 * 1024);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.spare_segments, 1);
    assert_int_equal(s.bytes, (256 + 512) * 1024);
    struct wal_record r = {
        .range = 1, .term = 5, .kind = WAL_ENTRY, .payload = model_payload(5, 200000)};
    for (r.index = 1; r.index < 40; r.index++)
        assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    wal_stats(w, &s);
    assert_int_equal(s.segments, 6); /* 256 K + 512 K + 1 M + 2 M + 4 M + 8 M */
    assert_int_equal(s.records, 39);
    assert_true(s.live_bytes >= 39 * 200000);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

static void replay_equals_the_model(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 40)
    {
        struct test_rng rng;
        struct model m;
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        const struct wal_options o = {.segment_bytes = 256 * 1024};
        test_rng_init(&rng, seed);
        model_init(&m);
        for (int life = 0; life < 3; life++) {
            model_replay_begin(&m);
            struct wal *w = open_log(env, &o, model_replay, &m);
            model_check(&m);
            for (int i = 0; i < 60; i++) {
                struct wal_record recs[MODEL_GROUP_MAX];
                size_t n = model_make_group(&m, &rng, MODEL_PAYLOAD_MAX, recs);
                assert_int_equal(wal_append(w, recs, n, NULL, NULL), ST_OK);
                model_appended(&m, recs, n);
            }
            assert_int_equal(wal_close(w, NULL), ST_OK);
            model_synced(&m);
        }
        assert_int_equal(wal_verify(env, "/db/log", NULL, NULL, NULL, NULL), ST_OK);
        model_deinit(&m);
        sim_env_free(env);
    }
}

static enum status refuse(void *arg, const struct wal_record *rec, struct wal_pos pos,
                          struct err *err)
{
    (void)arg;
    (void)rec;
    (void)pos;
    return err_set(err, ST_CANCELLED, "not today");
}

static void replay_may_refuse(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 5});
    struct wal *w = open_log(env, NULL, NULL, NULL), *again = NULL;
    struct wal_record r = {.range = 1, .index = 1, .kind = WAL_ENTRY, .payload = BYTES_LIT("x")};
    assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    assert_int_equal(wal_open(env, "/db/log", NULL, refuse, NULL, &again, NULL), ST_CANCELLED);
    assert_null(again);
    sim_env_free(env);
}

static void read_only_changes_nothing(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 6});
    const struct wal_options ro = {.read_only = true};
    struct wal *w = NULL;
    assert_int_equal(wal_open(env, "/db/log", &ro, NULL, NULL, &w, NULL), ST_NOT_FOUND);
    w = open_log(env, NULL, NULL, NULL);
    struct wal_record r = {.range = 1, .index = 1, .kind = WAL_ENTRY, .payload = BYTES_LIT("x")};
    assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    sim_crash(env, SIM_CRASH_POWER, 512);
    (void)wal_close(w, NULL);
    uint64_t before = sim_digest(env);
    struct seen s = {0};
    w = open_log(env, &ro, keep, &s);
    assert_int_equal(s.n, 1);
    assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_READ_ONLY);
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    assert_int_equal(wal_verify_open(w, NULL, NULL, NULL, NULL), ST_OK);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    assert_int_equal(sim_digest(env), before);
    sim_env_free(env);
}

static void patch_header(struct env *env, const char *path, size_t at, uint8_t value)
{
    struct env_file *f;
    uint8_t h[WAL_SEG_HEADER];
    size_t got;
    assert_int_equal(env_open(env, path, ENV_READ | ENV_WRITE, &f, NULL), ST_OK);
    assert_int_equal(env_pread(f, 0, h, sizeof h, &got, NULL), ST_OK);
    h[at] = value;
    uint32_t crc = crc32c(0, h + 12, sizeof h - 12);
    for (int i = 0; i < 4; i++)
        h[8 + i] = (uint8_t)(crc >> (8 * i));
    assert_int_equal(env_pwrite(f, 0, h, sizeof h, NULL), ST_OK);
    env_close(f);
}

static void a_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 7});
    struct wal *w = open_log(env, NULL, NULL, NULL), *none = NULL;
    struct err err;
    err_init(&err);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    patch_header(env, "/db/log/00000000.seg", 12, WAL_FORMAT_VERSION + 1);
    assert_int_equal(wal_open(env, "/db/log", NULL, NULL, NULL, &none, &err), ST_FORMAT_NEWER);
    assert_non_null(strstr(err.detail, "version 2"));
    assert_int_equal(wal_verify(env, "/db/log", NULL, NULL, NULL, &err), ST_FORMAT_NEWER);
    patch_header(env, "/db/log/00000000.seg", 12, WAL_FORMAT_VERSION);
    patch_header(env, "/db/log/00000000.seg", 18, 1); /* an encryption key */
    assert_int_equal(wal_open(env, "/db/log", NULL, NULL, NULL, &none, &err), ST_FORMAT_NEWER);
    assert_null(none);
    sim_env_free(env);
}

/* A user's value that is a copy of the log must not be taken for the log. */
static void a_log_inside_a_value_is_only_a_value(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 8});
    struct wal *w = open_log(env, NULL, NULL, NULL);
    struct wal_record r = {
        .range = 1, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(1, 500)};
    for (; r.index <= 20; r.index++)
        assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    struct bytes file;
    uint8_t *copy = malloc(20000);
    assert_true(copy && sim_file(env, "/db/log/00000000.seg", &file) && file.len > 24000);
    for (size_t shift = 0; shift < 64; shift += 8) {
        memcpy(copy, file.data + WAL_SEG_PAGE + shift, 20000);
        r.payload = BYTES(copy, 20000);
        assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK); /* and never synced */
        r.index++;
    }
    sim_crash(env, SIM_CRASH_POWER, 512);
    (void)wal_close(w, NULL);
    struct seen s = {0};
    w = open_log(env, NULL, keep, &s);
    assert_true(s.n >= 20 && s.n <= 28);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(s.recs[i].index, i + 1);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    free(copy);
    sim_env_free(env);
}

/* Two groups of the same shape: the header of one over the records of the other is no group. */
static void a_group_is_bound_to_its_records_and_its_place(void **state)
{
    (void)state;
    uint8_t bodies[2][WAL_RECORD_HEADER + 8], header[WAL_GROUP_HEADER];
    uint32_t crc[2];
    for (int i = 0; i < 2; i++) {
        struct wal_record r = {.range = 1,
                               .index = (uint64_t)i,
                               .kind = WAL_ENTRY,
                               .payload = model_payload(7 + (uint64_t)i, 8)};
        crc[i] = 0;
        wal__record_encode(&r, crc32c(0, r.payload.data, 8), &crc[i], bodies[i]);
        memcpy(bodies[i] + WAL_RECORD_HEADER, r.payload.data, 8);
        assert_int_equal(crc[i], crc32c(0, bodies[i], WAL_RECORD_HEADER));
    }
    struct wal_flaw flaw;
    struct wal_group_header g = {.epoch = 5,
                                 .stamp = 77,
                                 .offset = 4096,
                                 .low = 2,
                                 .mark = {4, 8192},
                                 .length = sizeof bodies[0],
                                 .count = 1};
    for (int i = 0; i < 2; i++) {
        g.records_crc = crc[i];
        assert_true(wal__group_check(&g, bodies[i], &flaw));
        assert_false(wal__group_check(&g, bodies[1 - i], &flaw));
    }
    struct wal_group_header back;
    wal__group_encode(&g, header);
    assert_true(wal__group_decode(header, &back));
    assert_true(back.low == 2 && back.mark.epoch == 4 && back.mark.offset == 8192 &&
                back.offset == 4096);
    struct wal_seg_header seg = {.epoch = 5, .stamp = 77, .bytes = 65536};
    assert_true(wal__group_is_live(&g, &seg, 4096));
    assert_false(wal__group_is_live(&g, &seg, 4104));
    seg.stamp++;
    assert_false(wal__group_is_live(&g, &seg, 4096));
    seg.stamp--;
    seg.epoch++;
    assert_false(wal__group_is_live(&g, &seg, 4096));
    seg.epoch--;
    seg.bytes = 4096 + 64;
    assert_false(wal__group_is_live(&g, &seg, 4096));
}

static void an_append_is_one_write_and_a_sync_is_one_sync(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 9});
    struct wal *w = open_log(env, NULL, NULL, NULL);
    struct wal_record r = {
        .range = 1, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(1, 150)};
    assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
    mem_fail_at(1, 1); /* no memory is asked for any more */
    for (r.index = 2; r.index < 500; r.index++) {
        uint64_t ops = sim_ops(env);
        assert_int_equal(wal_append(w, &r, 1, NULL, NULL), ST_OK);
        assert_int_equal(sim_ops(env), ops + 1);
        assert_int_equal(wal_sync(w, NULL), ST_OK);
        assert_int_equal(wal_sync(w, NULL), ST_OK); /* nothing to do */
        assert_int_equal(sim_ops(env), ops + 2);
    }
    mem_fail_at(0, 0);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    sim_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_of_every_size),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(a_log_may_be_bounded),
        cmocka_unit_test(an_empty_log_is_small_and_grows_by_doubling),
        cmocka_unit_test(replay_equals_the_model),
        cmocka_unit_test(replay_may_refuse),
        cmocka_unit_test(read_only_changes_nothing),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(a_log_inside_a_value_is_only_a_value),
        cmocka_unit_test(an_append_is_one_write_and_a_sync_is_one_sync),
        cmocka_unit_test(a_group_is_bound_to_its_records_and_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
