/* The simulated world: what survives a power cut, what may not, and that one seed is one world. */
#include "base/hash.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RWC (ENV_READ | ENV_WRITE | ENV_CREATE)

static struct env *world(uint64_t seed)
{
    return sim_env_new(&(struct sim_options){.seed = seed});
}

static struct env_file *must_open(struct env *e, const char *path, unsigned flags)
{
    struct env_file *f = NULL;
    assert_int_equal(env_open(e, path, flags, &f, NULL), ST_OK);
    return f;
}

static void put(struct env *e, const char *path, const char *text, bool sync)
{
    struct env_file *f = must_open(e, path, RWC | ENV_TRUNC);
    assert_int_equal(env_pwrite(f, 0, text, strlen(text), NULL), ST_OK);
    if (sync)
        assert_int_equal(env_sync(f, NULL), ST_OK);
    env_close(f);
}

static bool has(struct env *e, const char *path, const char *text)
{
    struct bytes b;
    return sim_file(e, path, &b) && bytes_eq(b, BYTES_STR(text));
}

/* How many seeds run, where they are enough to expect every kind of luck; else 0. */
static unsigned enough(unsigned count)
{
    uint64_t n = seeds_scaled(count);
    return getenv("VARVE_SEED") || n < 200 ? 0 : (unsigned)n;
}

/* --- synced data survive; each un-synced unit is old, new or a version between --- */

enum { FILES = 3, FILE_SIZE = 1 << 16, UNIT = 512, UNITS = FILE_SIZE / UNIT };

/* Each write stamps whole units with its own number, so a unit tells which write it is from. */
struct file_model {
    uint32_t last[UNITS];       /* the number that reads see */
    uint32_t allowed[UNITS][8]; /* what a crash may leave: the synced one, and those since */
    unsigned n_allowed[UNITS];
};

static uint32_t stamp_at(struct bytes content, size_t unit)
{
    uint32_t v = 0;
    if ((unit + 1) * UNIT <= content.len)
        memcpy(&v, content.data + unit * UNIT, sizeof v);
    for (size_t i = 0; i < UNIT / sizeof v && (unit + 1) * UNIT <= content.len; i++)
        assert_memory_equal(content.data + unit * UNIT + i * sizeof v, &v, sizeof v);
    return v;
}

static void model_sync(struct file_model *m)
{
    for (size_t u = 0; u < UNITS; u++) {
        m->allowed[u][0] = m->last[u];
        m->n_allowed[u] = 1;
    }
}

static void stamp_write(struct env_file *f, struct file_model *m, struct test_rng *r,
                        uint32_t number)
{
    static uint32_t data[FILE_SIZE / sizeof(uint32_t)];
    size_t from = test_rng_below(r, UNITS), n = 1 + test_rng_below(r, UNITS - from);
    if (test_rng_chance(r, 1, 2) && n > 4)
        n = 1 + n % 4;
    for (size_t u = from; u < from + n; u++)
        if (m->n_allowed[u] == 8)
            return; /* more versions than the model holds */
    for (size_t u = from; u < from + n; u++) {
        m->allowed[u][m->n_allowed[u]++] = number;
        m->last[u] = number;
    }
    for (size_t i = 0; i < n * UNIT / sizeof *data; i++)
        data[i] = number;
    struct bytes parts[2] = {BYTES(data, UNIT / 2), BYTES(data, n * UNIT - UNIT / 2)};
    assert_int_equal(env_pwritev(f, from * UNIT, parts, 2, NULL), ST_OK);
}

static void check_crashed(struct env *e, const char *path, struct file_model *m, unsigned seen[3])
{
    struct bytes content;
    unsigned kept = 0, lost = 0;
    assert_true(sim_file(e, path, &content));
    assert_true(content.len <= FILE_SIZE && content.len % UNIT == 0);
    for (size_t u = 0; u < UNITS; u++) {
        uint32_t v = stamp_at(content, u);
        bool fine = false;
        for (unsigned i = 0; i < m->n_allowed[u]; i++)
            fine |= m->allowed[u][i] == v;
        assert_true(fine);
        if (m->n_allowed[u] > 1 && v == m->last[u])
            kept++;
        else if (m->n_allowed[u] > 1)
            lost++;
        m->last[u] = v;
    }
    if (kept + lost > 0)
        seen[kept && lost ? 0 : kept ? 1 : 2]++;
    model_sync(m);
}

static void test_env_sim_crash_keeps_synced(void **state)
{
    (void)state;
    static struct file_model models[FILES];
    unsigned seen[3] = {0}; /* torn, all kept, all lost */
    uint64_t seed;
    FOR_EACH_SEED(seed, 2500)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        struct env *e = world(seed);
        struct env_file *f[FILES];
        char path[FILES][16];
        uint32_t number = 0;
        memset(models, 0, sizeof models);
        for (int i = 0; i < FILES; i++) {
            snprintf(path[i], sizeof path[i], "/f%d", i);
            f[i] = must_open(e, path[i], RWC);
            model_sync(&models[i]);
        }
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        for (int round = 0; round < 2; round++) {
            for (int step = 0; step < 25; step++) {
                size_t i = test_rng_below(&r, FILES);
                stamp_write(f[i], &models[i], &r, ++number);
                if (test_rng_chance(&r, 1, 5)) {
                    assert_int_equal(env_sync(f[i], NULL), ST_OK);
                    model_sync(&models[i]);
                }
            }
            sim_crash(e, SIM_CRASH_POWER, UNIT);
            for (int i = 0; i < FILES; i++) {
                check_crashed(e, path[i], &models[i], seen);
                env_close(f[i]);
                f[i] = must_open(e, path[i], ENV_WRITE);
            }
        }
        for (int i = 0; i < FILES; i++)
            env_close(f[i]);
        sim_env_free(e);
    }
    unsigned many = enough(2500) / 25;
    assert_true(!many || (seen[0] > 5 * many && seen[1] > many && seen[2] > many));
}

/* A write over the boundary of units is torn there and nowhere else. */
static void test_env_sim_torn_units(void **state)
{
    (void)state;
    unsigned torn = 0, grown = 0;
    uint64_t seed;
    FOR_EACH_SEED(seed, 400)
    {
        uint32_t unit = seed % 2 ? 512 : 4096;
        struct env *e = world(seed);
        struct env_file *f = must_open(e, "/f", RWC);
        char data[20000];
        memset(data, 'n', sizeof data);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        assert_int_equal(env_pwrite(f, 100, data, sizeof data, NULL), ST_OK);
        sim_crash(e, SIM_CRASH_POWER, unit);
        env_close(f);
        struct bytes b;
        assert_true(sim_file(e, "/f", &b));
        assert_true(b.len <= 100 + sizeof data);
        unsigned kinds = 0;
        for (size_t i = 0; i < b.len; i++) {
            assert_true(b.data[i] == (i < 100 ? 0 : b.data[i] ? 'n' : 0));
            if (i > 100 && i % unit != 0)
                assert_int_equal(b.data[i], b.data[i - 1]);
            if (i >= 100)
                kinds |= b.data[i] ? 1 : 2;
        }
        torn += kinds == 3;
        grown += b.len == 100 + sizeof data;
        sim_env_free(e);
    }
    unsigned many = enough(400) / 8;
    assert_true(!many || (torn > many && grown > many));
}

static void test_env_sim_process_crash_keeps_all(void **state)
{
    (void)state;
    struct env *e = world(1);
    struct env_file *f = must_open(e, "/a", RWC), *lock = NULL, *again = NULL;
    assert_int_equal(env_pwrite(f, 0, "un-synced", 9, NULL), ST_OK);
    assert_int_equal(env_lock(e, "/LOCK", &lock, NULL), ST_OK);
    sim_crash(e, SIM_CRASH_PROCESS_ONLY, 512);
    assert_true(has(e, "/a", "un-synced"));
    char out[4];
    size_t n;
    uint64_t size;
    assert_int_equal(env_pread(f, 0, out, 4, &n, NULL), ST_CLOSED);
    assert_int_equal(env_pwrite(f, 0, "x", 1, NULL), ST_CLOSED);
    assert_int_equal(env_sync(f, NULL), ST_CLOSED);
    assert_int_equal(env_truncate(f, 0, NULL), ST_CLOSED);
    assert_int_equal(env_size(f, &size, NULL), ST_CLOSED);
    assert_int_equal(env_lock(e, "/LOCK", &again, NULL), ST_OK); /* the dead one's lock is gone */
    env_close(lock);                                             /* and its close takes nothing */
    assert_int_equal(env_lock(e, "/LOCK", &lock, NULL), ST_LOCKED);
    env_close(again);
    env_close(f);
    /* It is still not durable: a power cut after the kill may take it. */
    unsigned gone = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct env *w = world(seed);
        put(w, "/a", "x", false);
        sim_crash(w, SIM_CRASH_PROCESS_ONLY, 512);
        sim_crash(w, SIM_CRASH_POWER, 512);
        gone += !env_exists(w, "/a");
        sim_env_free(w);
    }
    assert_in_range(gone, 5, 45);
    sim_env_free(e);
}

/* --- names --- */

static void test_env_sim_names_need_sync_dir(void **state)
{
    (void)state;
    unsigned created[2] = {0}, renamed[2] = {0}, removed[2] = {0}, empty = 0, second_only = 0;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct env *e = world(seed);
        put(e, "/old", "old", true);
        put(e, "/gone", "gone", true);
        put(e, "/kept", "kept", true);
        assert_int_equal(env_mkdirs(e, "/d", NULL), ST_OK);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        put(e, "/new", "new", false);
        assert_int_equal(env_rename(e, "/old", "/d/moved", NULL), ST_OK);
        assert_int_equal(env_unlink(e, "/gone", NULL), ST_OK);
        sim_crash(e, SIM_CRASH_POWER, 512);
        assert_true(has(e, "/kept", "kept"));
        bool made = env_exists(e, "/new"), moved = env_exists(e, "/d/moved");
        created[made]++;
        renamed[moved]++;
        removed[!env_exists(e, "/gone")]++;
        assert_true(moved != env_exists(e, "/old")); /* one name, neither none nor two */
        assert_true(has(e, moved ? "/d/moved" : "/old", "old"));
        empty += made && has(e, "/new", "");
        second_only += !made && moved;
        sim_env_free(e);
    }
    for (int i = 0; i < 2; i++)
        assert_true(created[i] > 100 && renamed[i] > 100 && removed[i] > 100);
    assert_true(empty > 30);       /* a name without its content */
    assert_true(second_only > 10); /* not only prefixes */
}

static void test_env_sim_sync_dir_keeps_names(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct env *e = world(seed);
        assert_int_equal(env_mkdir(e, "/a", NULL), ST_OK);
        assert_int_equal(env_mkdir(e, "/b", NULL), ST_OK);
        put(e, "/a/x", "x", true);
        put(e, "/a/y", "y", true);
        put(e, "/b/x", "other", true);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        assert_int_equal(env_unlink(e, "/b/x", NULL), ST_OK);
        assert_int_equal(env_rename(e, "/a/x", "/b/x", NULL), ST_OK);
        assert_int_equal(env_rename(e, "/a/y", "/a/z", NULL), ST_OK);
        /* One side of the move is enough, and it brings the removal before it along. */
        assert_int_equal(env_sync_dir(e, seed % 2 ? "/a" : "/b", NULL), ST_OK);
        sim_crash(e, SIM_CRASH_POWER, 512);
        assert_true(has(e, "/b/x", "x"));
        assert_false(env_exists(e, "/a/x"));
        assert_true(has(e, "/a/z", "y") && !env_exists(e, "/a/y"));
        sim_env_free(e);
    }
}

/* env_write_file: after a power cut the old or the new content, and the new one when it answered
 * OK. */
static void test_env_sim_write_file_is_atomic(void **state)
{
    (void)state;
    unsigned kept_old = 0, got_new = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct env *e = world(seed);
        assert_int_equal(env_write_file(e, "/c", BYTES_LIT("old"), NULL), ST_OK);
        sim_set_faults(
            e, &(struct sim_faults){.fail_after_ops = 1 + seed % 12, .partial_on_error = true});
        enum status st = env_write_file(e, "/c", BYTES_LIT("newer"), NULL);
        sim_set_faults(e, &(struct sim_faults){0});
        sim_crash(e, SIM_CRASH_POWER, 512);
        bool old = has(e, "/c", "old"), new = has(e, "/c", "newer");
        assert_true(st == ST_OK ? new : old || new);
        kept_old += old;
        got_new += new;
        sim_env_free(e);
    }
    assert_true(kept_old > 50 && got_new > 50);
}

static void test_env_sim_truncate_is_not_synced(void **state)
{
    (void)state;
    unsigned cut = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct env *e = world(seed);
        put(e, "/f", "0123456789", true);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        struct env_file *f = must_open(e, "/f", ENV_WRITE);
        assert_int_equal(env_truncate(f, 4, NULL), ST_OK);
        assert_true(has(e, "/f", "0123"));
        bool synced = seed % 4 == 0;
        if (synced)
            assert_int_equal(env_sync(f, NULL), ST_OK);
        sim_crash(e, SIM_CRASH_POWER, 512);
        bool is_cut = has(e, "/f", "0123");
        assert_true(is_cut || (!synced && has(e, "/f", "0123456789")));
        cut += is_cut && !synced;
        env_close(f);
        sim_env_free(e);
    }
    assert_in_range(cut, 30, 120);
}

/* --- faults --- */

static void test_env_sim_failed_sync_is_for_ever(void **state)
{
    (void)state;
    unsigned lost = 0, lost_name = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct env *e = world(seed);
        put(e, "/f", "aaaa", true);
        put(e, "/n", "n", true);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        struct env_file *f = must_open(e, "/f", ENV_WRITE);
        assert_int_equal(env_pwrite(f, 0, "bb", 2, NULL), ST_OK);
        assert_int_equal(env_rename(e, "/n", "/m", NULL), ST_OK);
        sim_set_faults(e, &(struct sim_faults){.sync_eio_ppm = 1000000});
        assert_int_equal(env_sync(f, NULL), ST_IO_ERROR);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_IO_ERROR);
        sim_set_faults(e, &(struct sim_faults){0});
        assert_int_equal(env_pwrite(f, 1, "cc", 2, NULL), ST_OK);
        put(e, "/later", "", true);
        assert_int_equal(env_sync(f, NULL), ST_OK);
        assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
        assert_true(has(e, "/f", "bcca"));
        sim_crash(e, SIM_CRASH_POWER, 512);
        assert_true(has(e, "/f", "bcca") || has(e, "/f", "acca")); /* the good sync's own is kept */
        assert_true(has(e, "/n", "n") || has(e, "/m", "n"));
        assert_true(has(e, "/later", ""));
        lost += has(e, "/f", "acca");
        lost_name += env_exists(e, "/n");
        env_close(f);
        sim_env_free(e);
    }
    assert_in_range(lost, 40, 160);
    assert_in_range(lost_name, 40, 160);
}

static void test_env_sim_disk_full_and_back(void **state)
{
    (void)state;
    struct env *e = sim_env_new(&(struct sim_options){.seed = 3, .disk_bytes = 64 << 10});
    struct env_file *f = must_open(e, "/f", RWC);
    char page[4096];
    memset(page, 'p', sizeof page);
    uint64_t off = 0, space = 1;
    while (env_pwrite(f, off, page, sizeof page, NULL) == ST_OK)
        off += sizeof page;
    assert_int_equal(off, 64 << 10);
    struct err err;
    err_init(&err);
    assert_int_equal(env_pwrite(f, off, page, 1, &err), ST_DISK_FULL);
    assert_non_null(strstr(err.detail, "/f"));
    assert_int_equal(env_truncate(f, off + 1, NULL), ST_DISK_FULL);
    assert_int_equal(env_pwrite(f, 0, page, sizeof page, NULL), ST_OK); /* over what is there */
    assert_int_equal(env_free_space(e, "/", &space, NULL), ST_OK);
    assert_int_equal(space, 0);
    sim_set_disk_bytes(e, 68 << 10);
    assert_int_equal(env_pwrite(f, off, page, sizeof page, NULL), ST_OK);
    assert_int_equal(env_truncate(f, 4096, NULL), ST_OK);
    assert_int_equal(env_free_space(e, "/", &space, NULL), ST_OK);
    assert_int_equal(space, 64 << 10);

    /* A removed file gives its space back when the last handle lets go. */
    struct env_file *g = must_open(e, "/g", RWC);
    assert_int_equal(env_pwrite(g, 61440, page, 4096, NULL), ST_OK);
    assert_int_equal(env_unlink(e, "/g", NULL), ST_OK);
    assert_int_equal(env_pwrite(f, 4096, page, 1, NULL), ST_DISK_FULL);
    env_close(g);
    assert_int_equal(env_pwrite(f, 4096, page, 1, NULL), ST_OK);
    env_close(f);
    sim_crash(e, SIM_CRASH_PROCESS_ONLY, 512);
    assert_int_equal(env_free_space(e, "/", &space, NULL), ST_OK);
    assert_int_equal(space, 60 << 10);

    sim_set_faults(e, &(struct sim_faults){.write_enospc_ppm = 1000000});
    f = must_open(e, "/f", ENV_WRITE);
    assert_int_equal(env_pwrite(f, 0, page, 1, NULL), ST_DISK_FULL);
    assert_int_equal(env_mkdir(e, "/d", NULL), ST_DISK_FULL);
    sim_set_faults(e, &(struct sim_faults){0});
    assert_int_equal(env_pwrite(f, 0, page, 1, NULL), ST_OK);
    env_close(f);
    sim_env_free(e);
}

static void test_env_sim_partial_writes(void **state)
{
    (void)state;
    unsigned some = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct env *e = world(seed);
        struct env_file *f = must_open(e, "/f", RWC);
        bool partial = seed % 2;
        sim_set_faults(e,
                       &(struct sim_faults){.write_eio_ppm = 1000000, .partial_on_error = partial});
        char data[1000];
        memset(data, 'w', sizeof data);
        assert_int_equal(env_pwrite(f, 0, data, sizeof data, NULL), ST_IO_ERROR);
        struct bytes b;
        assert_true(sim_file(e, "/f", &b));
        assert_true(b.len <= (partial ? 1000u : 0u));
        assert_memory_equal(b.data, data, b.len);
        some += b.len > 0 && b.len < 1000;
        env_close(f);
        sim_env_free(e);
    }
    assert_true(some > 80);
}

static void test_env_sim_fail_after_ops(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct env *e = world(1);
        struct env_file *f = must_open(e, "/f", RWC);
        uint64_t ops = sim_ops(e);
        char out[8];
        size_t n;
        sim_set_faults(e, &(struct sim_faults){.fail_after_ops = nth});
        enum status st[4] = {
            env_pwrite(f, 0, "x", 1, NULL),
            env_sync(f, NULL),
            env_pread(f, 0, out, 1, &n, NULL),
            env_mkdir(e, "/d", NULL),
        };
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(st[i], i + 1 >= nth ? ST_IO_ERROR : ST_OK);
        assert_int_equal(sim_ops(e), ops + 4);
        sim_set_faults(e, &(struct sim_faults){0});
        assert_int_equal(env_sync(f, NULL), ST_OK);
        env_close(f);
        sim_env_free(e);
    }
}

static void test_env_sim_chances(void **state)
{
    (void)state;
    struct env *e = world(5);
    struct env_file *f = must_open(e, "/f", RWC);
    sim_set_faults(e, &(struct sim_faults){
                          .write_eio_ppm = 100000, .read_eio_ppm = 200000, .sync_eio_ppm = 300000});
    unsigned bad[3] = {0};
    char c;
    size_t n;
    for (int i = 0; i < 2000; i++) {
        bad[0] += env_pwrite(f, 0, "x", 1, NULL) == ST_IO_ERROR;
        bad[1] += env_pread(f, 0, &c, 1, &n, NULL) == ST_IO_ERROR;
        bad[2] += env_sync(f, NULL) == ST_IO_ERROR;
    }
    assert_in_range(bad[0], 140, 260);
    assert_in_range(bad[1], 320, 480);
    assert_in_range(bad[2], 500, 700);
    env_close(f);
    sim_env_free(e);
}

static void test_env_sim_flip_bit(void **state)
{
    (void)state;
    struct env *e = world(1);
    put(e, "/f", "abcd", true);
    assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
    assert_true(sim_flip_bit(e, "/f", 1, 0));
    assert_true(has(e, "/f", "accd"));
    assert_false(sim_flip_bit(e, "/f", 4, 0));
    assert_false(sim_flip_bit(e, "/none", 0, 0));
    sim_crash(e, SIM_CRASH_POWER, 512);
    assert_true(has(e, "/f", "accd"));
    /* Also in what was not synced, long or short. */
    struct env_file *f = must_open(e, "/f", ENV_WRITE);
    static char big[10000];
    assert_int_equal(env_pwrite(f, 0, big, sizeof big, NULL), ST_OK);
    assert_int_equal(env_pwrite(f, 3, "0000", 4, NULL), ST_OK);
    assert_true(sim_flip_bit(e, "/f", 4, 3));
    assert_true(sim_flip_bit(e, "/f", 9000, 7));
    assert_int_equal(env_sync(f, NULL), ST_OK);
    sim_crash(e, SIM_CRASH_POWER, 512);
    struct bytes b;
    assert_true(sim_file(e, "/f", &b));
    assert_memory_equal(b.data, "\0\0\0000800\0", 8);
    assert_int_equal(b.data[9000], 0x80);
    env_close(f);
    sim_env_free(e);
}

static void test_env_sim_limits(void **state)
{
    (void)state;
    struct env *e = sim_env_new(&(struct sim_options){.seed = 1, .max_open_files = 2});
    struct env_file *a = must_open(e, "/a", RWC), *b = must_open(e, "/b", RWC), *c = NULL;
    assert_int_equal(env_open(e, "/c", RWC, &c, NULL), ST_TOO_MANY_FILES);
    assert_int_equal(env_lock(e, "/c", &c, NULL), ST_TOO_MANY_FILES);
    env_close(b);
    c = must_open(e, "/c", RWC);
    sim_crash(e, SIM_CRASH_POWER, 4096);
    b = must_open(e, "/b", RWC); /* the dead ones do not count */
    env_close(a);
    env_close(b);
    env_close(c);
    char page[8192] = {0};
    char *odd = page + (4096 - (uintptr_t)page % 4096) + 1;
    struct env_file *d = must_open(e, "/d", RWC | ENV_DIRECT);
    assert_int_equal(env_pwrite(d, 0, odd - 1, 4096, NULL), ST_OK);
    assert_int_equal(env_pwrite(d, 0, odd, 4096, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_pwrite(d, 512, odd - 1, 4096, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_pwrite(d, 0, odd - 1, 100, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_pwrite(d, UINT64_C(1) << 50, odd - 1, 4096, NULL), ST_TOO_LARGE);
    env_close(d);
    assert_int_equal(env_open(e, "/x/../y", RWC, &d, NULL), ST_INVALID_ARGUMENT);
    sim_env_free(e);
    sim_env_free(NULL);
}

/* --- time --- */

static void test_env_sim_time(void **state)
{
    (void)state;
    struct env *e = sim_env_new(&(struct sim_options){.seed = 1, .op_ns = 500000});
    assert_int_equal(env_now_ms(e), UINT64_C(1767225600000));
    uint64_t mono = env_mono_ns(e);
    assert_false(env_exists(e, "/x"));
    assert_false(env_exists(e, "/x"));
    assert_int_equal(env_mono_ns(e), mono + 1000000);
    assert_int_equal(env_now_ms(e), UINT64_C(1767225600001));
    env_sleep_ms(e, 5000);
    sim_advance_ms(e, 1);
    assert_int_equal(env_now_ms(e), UINT64_C(1767225605002));
    mono = env_mono_ns(e);
    sim_set_wall_ms(e, 17);
    assert_int_equal(env_now_ms(e), 17);
    assert_int_equal(env_mono_ns(e), mono);
    sim_advance_ms(e, 3);
    assert_int_equal(env_now_ms(e), 20);
    sim_env_free(e);
}

/* --- one seed, one world --- */

struct trace {
    uint64_t digest, hash, ops, mono_ns;
};

static void scene_step(struct env *e, struct test_rng *r, uint64_t *hash)
{
    char path[2][32], data[9000];
    snprintf(path[0], sizeof path[0], "/d%u/f%u", (unsigned)test_rng_below(r, 2),
             (unsigned)test_rng_below(r, 4));
    snprintf(path[1], sizeof path[1], "/d%u/f%u", (unsigned)test_rng_below(r, 2),
             (unsigned)test_rng_below(r, 4));
    enum status st = ST_OK;
    struct env_file *f = NULL;
    uint64_t rnd[2] = {0};
    switch (test_rng_below(r, 7)) {
    case 0:
        st = env_rename(e, path[0], path[1], NULL);
        break;
    case 1:
        st = env_unlink(e, path[0], NULL);
        break;
    case 2:
        st = env_sync_dir(e, test_rng_chance(r, 1, 2) ? "/d0" : "/d1", NULL);
        break;
    case 3:
        sim_crash(e, test_rng_chance(r, 1, 3) ? SIM_CRASH_PROCESS_ONLY : SIM_CRASH_POWER, 512);
        break;
    default:
        st = env_open(e, path[0], RWC, &f, NULL);
        if (st)
            break;
        env_random(e, data, sizeof data);
        if (test_rng_chance(r, 1, 3))
            memset(data, 0, sizeof data);
        st = env_pwrite(f, test_rng_below(r, 20000), data, test_rng_below(r, sizeof data), NULL);
        if (test_rng_chance(r, 1, 4))
            (void)env_truncate(f, test_rng_below(r, 30000), NULL);
        if (test_rng_chance(r, 1, 3))
            st = env_sync(f, NULL);
        env_close(f);
    }
    struct bytes b = BYTES_EMPTY;
    rnd[0] = sim_file(e, path[0], &b);
    rnd[1] = (uint64_t)st;
    *hash = hash_xxh64(b.data, b.len, hash_xxh64(rnd, sizeof rnd, *hash ^ sim_digest(e)));
}

static struct trace scene(uint64_t seed)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    struct env *e = sim_env_new(&(struct sim_options){.seed = seed, .disk_bytes = 100 << 10});
    struct trace t = {0};
    assert_int_equal(env_mkdirs(e, "/d0", NULL), ST_OK);
    assert_int_equal(env_mkdirs(e, "/d1", NULL), ST_OK);
    sim_set_faults(e, &(struct sim_faults){.write_eio_ppm = 20000,
                                           .sync_eio_ppm = 20000,
                                           .write_enospc_ppm = 20000,
                                           .partial_on_error = true});
    for (int i = 0; i < 120; i++)
        scene_step(e, &r, &t.hash);
    t.digest = sim_digest(e);
    t.ops = sim_ops(e);
    t.mono_ns = env_mono_ns(e);
    sim_env_free(e);
    return t;
}

static void test_env_sim_determinism(void **state)
{
    (void)state;
    uint64_t seed, before = 0;
    FOR_EACH_SEED(seed, 150)
    {
        struct trace a = scene(seed), b = scene(seed);
        assert_memory_equal(&a, &b, sizeof a);
        assert_int_not_equal(a.hash, before);
        before = a.hash;
    }
}

/* A disk that lies shows old content, or puts new content in another place; it never says so. */
static void test_env_sim_lies(void **state)
{
    (void)state;
    struct env *e = world(3);
    uint8_t page[3 * 4096], got[4096];
    size_t n;
    struct env_file *f = must_open(e, "/f", ENV_CREATE | ENV_WRITE);
    memset(page, 'a', sizeof page);
    assert_int_equal(env_pwrite(f, 0, page, sizeof page, NULL), ST_OK);
    assert_int_equal(env_sync(f, NULL), ST_OK);
    sim_set_faults(e, &(struct sim_faults){.stale_read_ppm = 1000000});
    memset(page, 'b', 4096);
    assert_int_equal(env_pwrite(f, 0, page, 4096, NULL), ST_OK);
    assert_int_equal(env_pread(f, 0, got, 4096, &n, NULL), ST_OK);
    assert_int_equal(got[0], 'a');
    sim_set_faults(e, &(struct sim_faults){.misdirect_ppm = 1000000});
    unsigned elsewhere = 0;
    for (int i = 0; i < 50; i++) {
        memset(page, 'c' + i % 8, 4096);
        assert_int_equal(env_pwrite(f, 4096, page, 4096, NULL), ST_OK);
        assert_int_equal(env_pread(f, 4096, got, 4096, &n, NULL), ST_OK);
        elsewhere += got[0] != page[0];
    }
    assert_in_range(elsewhere, 5, 49);
    uint64_t size;
    assert_int_equal(env_size(f, &size, NULL), ST_OK);
    assert_int_equal(size, sizeof page);
    env_close(f);
    sim_env_free(e);
}

static void test_env_sim_slow(void **state)
{
    (void)state;
    struct env *e = world(4);
    struct env_file *f = must_open(e, "/f", ENV_CREATE | ENV_WRITE);
    sim_set_faults(e, &(struct sim_faults){.sync_ns = 5000000});
    uint64_t before = env_mono_ns(e);
    assert_int_equal(env_sync(f, NULL), ST_OK);
    assert_in_range(env_mono_ns(e) - before, 5000000, 5100000);
    sim_set_faults(e, &(struct sim_faults){.slow_ppm = 500000, .slow_ns = 1000000});
    before = env_mono_ns(e);
    for (int i = 0; i < 100; i++)
        assert_int_equal(env_sync(f, NULL), ST_OK);
    assert_in_range(env_mono_ns(e) - before, 10000000, 60000000);
    env_close(f);
    sim_env_free(e);
}

/* The digest sees durable content and names, and nothing else. */
static void test_env_sim_digest(void **state)
{
    (void)state;
    struct env *e = world(1);
    uint64_t d0 = sim_digest(e);
    put(e, "/f", "x", false);
    assert_int_equal(sim_digest(e), d0);
    assert_int_equal(env_sync_dir(e, "/", NULL), ST_OK);
    uint64_t d1 = sim_digest(e);
    assert_int_not_equal(d1, d0);
    put(e, "/f", "x", true);
    uint64_t d2 = sim_digest(e);
    assert_int_not_equal(d2, d1);
    assert_true(sim_flip_bit(e, "/f", 0, 0));
    assert_int_not_equal(sim_digest(e), d2);
    assert_true(sim_flip_bit(e, "/f", 0, 0));
    assert_int_equal(sim_digest(e), d2);
    sim_env_free(e);
}

#define T(name) cmocka_unit_test(test_env_sim_##name)

/* --- looking at what is durable --- */

static void test_env_sim_durable(void **state)
{
    (void)state;
    struct env *e = world(1);
    assert_int_equal(env_mkdir(e, "d", NULL), ST_OK);
    assert_int_equal(env_sync_dir(e, ".", NULL), ST_OK);
    put(e, "d/a", "synced", true);
    assert_int_equal(env_sync_dir(e, "d", NULL), ST_OK);
    put(e, "d/a", "later", false);
    put(e, "d/nameless", "its name is not synced", true);
    uint64_t before = sim_digest(e), ops = sim_ops(e);
    struct env *copy = sim_env_durable(e);
    struct bytes b;
    assert_true(has(copy, "d/a", "synced"));
    assert_false(sim_file(copy, "d/nameless", &b));
    put(copy, "d/a", "theirs", true); /* a world of its own */
    sim_env_free(copy);
    assert_true(has(e, "d/a", "later"));
    assert_true(sim_digest(e) == before && sim_ops(e) == ops);

    /* A sync that failed leaves its writes open for ever; what is synced behind them is safe. */
    struct env_file *f = must_open(e, "d/a", RWC);
    sim_set_faults(e, &(struct sim_faults){.sync_eio_ppm = 1000000});
    assert_int_equal(env_sync(f, NULL), ST_IO_ERROR);
    sim_set_faults(e, &(struct sim_faults){0});
    assert_int_equal(env_pwrite(f, 0, "again!", 6, NULL), ST_OK);
    assert_int_equal(env_sync(f, NULL), ST_OK);
    env_close(f);
    copy = sim_env_durable(e);
    assert_true(has(copy, "d/a", "again!"));
    sim_env_free(copy);
    sim_env_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(durable),
        T(crash_keeps_synced),
        T(torn_units),
        T(process_crash_keeps_all),
        T(names_need_sync_dir),
        T(sync_dir_keeps_names),
        T(write_file_is_atomic),
        T(truncate_is_not_synced),
        T(failed_sync_is_for_ever),
        T(disk_full_and_back),
        T(partial_writes),
        T(fail_after_ops),
        T(chances),
        T(flip_bit),
        T(limits),
        T(time),
        T(determinism),
        T(digest),
        T(lies),
        T(slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
