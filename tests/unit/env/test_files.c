/* What env.h promises of files, run against the real world and the simulated one alike. */
#include "base/env/env.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    struct env *env;
    bool simulated;
    char dir[TEMP_DIR_MAX];
    char path[4][TEMP_DIR_MAX + 64];
};

static const char *in(struct world *w, int slot, const char *name)
{
    snprintf(w->path[slot], sizeof w->path[slot], "%s/%s", w->dir, name);
    return w->path[slot];
}

static int set_up_real(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->env = env_linux();
    *state = w;
    return temp_dir_make(w->dir, "env") ? 0 : -1;
}

static int set_up_sim(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->env = sim_env_new(&(struct sim_options){.seed = 7});
    w->simulated = true;
    strcpy(w->dir, "/tmp/env");
    *state = w;
    return env_mkdirs(w->env, w->dir, NULL) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bool ok = w->simulated || temp_dir_remove(w->dir);
    if (w->simulated)
        sim_env_free(w->env);
    free(w);
    return ok ? 0 : -1;
}

static struct env_file *must_open(struct world *w, const char *name, unsigned flags)
{
    struct env_file *f = NULL;
    struct err err;
    err_init(&err);
    enum status st = env_open(w->env, in(w, 3, name), flags, &f, &err);
    if (st)
        print_error("%s\n", err.detail);
    assert_int_equal(st, ST_OK);
    return f;
}

#define RWC (ENV_READ | ENV_WRITE | ENV_CREATE)

static void test_env_open_flags(void **state)
{
    struct world *w = *state;
    struct env_file *f = NULL, *untouched = (struct env_file *)(void *)w;
    struct err err;
    err_init(&err);
    const char *a = in(w, 0, "a");
    f = untouched;
    assert_int_equal(env_open(w->env, a, ENV_READ, &f, &err), ST_NOT_FOUND);
    assert_int_equal(err.status, ST_NOT_FOUND);
    assert_non_null(strstr(err.detail, a));
    assert_ptr_equal(f, untouched);
    assert_int_equal(env_open(w->env, a, ENV_READ | ENV_CREATE, &f, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_open(w->env, a, ENV_READ | ENV_TRUNC, &f, NULL), ST_INVALID_ARGUMENT);

    assert_int_equal(env_open(w->env, a, RWC | ENV_EXCL, &f, NULL), ST_OK);
    assert_int_equal(env_pwrite(f, 0, "hello", 5, NULL), ST_OK);
    env_close(f);
    assert_int_equal(env_open(w->env, a, RWC | ENV_EXCL, &f, NULL), ST_ALREADY_EXISTS);
    assert_int_equal(env_open(w->env, a, RWC, &f, NULL), ST_OK);
    uint64_t size = 99;
    assert_int_equal(env_size(f, &size, NULL), ST_OK);
    assert_int_equal(size, 5);
    env_close(f);
    assert_int_equal(env_open(w->env, a, ENV_WRITE | ENV_TRUNC, &f, NULL), ST_OK);
    assert_int_equal(env_size(f, &size, NULL), ST_OK);
    assert_int_equal(size, 0);
    env_close(f);

    assert_int_equal(env_open(w->env, w->dir, ENV_READ, &f, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_open(w->env, in(w, 1, "no/where"), RWC, &f, NULL), ST_NOT_FOUND);
    assert_int_equal(env_open(w->env, in(w, 1, "a/below-a-file"), RWC, &f, NULL), ST_NOT_FOUND);
    assert_int_equal(env_open(w->env, "", ENV_READ, &f, NULL), ST_NOT_FOUND);
    char longer[300];
    memset(longer, 'x', sizeof longer);
    longer[299] = '\0';
    char path[900];
    snprintf(path, sizeof path, "%s/%s", w->dir, longer);
    assert_int_equal(env_open(w->env, path, RWC, &f, NULL), ST_INVALID_ARGUMENT);
    env_close(NULL);
}

static void test_env_read_only_handle(void **state)
{
    struct world *w = *state;
    env_close(must_open(w, "a", RWC));
    struct env_file *f = must_open(w, "a", ENV_READ);
    struct err err;
    err_init(&err);
    assert_int_equal(env_pwrite(f, 0, "x", 1, &err), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.detail, "/a"));
    assert_int_equal(env_truncate(f, 3, NULL), ST_INVALID_ARGUMENT);
    env_close(f);
}

static void test_env_pread(void **state)
{
    struct world *w = *state;
    struct env_file *f = must_open(w, "a", RWC);
    char out[16] = "................";
    size_t n = 99;
    assert_int_equal(env_pread(f, 0, out, sizeof out, &n, NULL), ST_OK);
    assert_int_equal(n, 0);
    assert_int_equal(env_pwrite(f, 4, "tail", 4, NULL), ST_OK); /* a hole before it */
    assert_int_equal(env_pread(f, 0, out, sizeof out, &n, NULL), ST_OK);
    assert_int_equal(n, 8);
    assert_memory_equal(out, "\0\0\0\0tail........", 16);
    assert_int_equal(env_pread(f, 6, out, 2, &n, NULL), ST_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(out, "il", 2);
    assert_int_equal(env_pread(f, 8, out, 1, &n, NULL), ST_OK);
    assert_int_equal(n, 0);
    assert_int_equal(env_pread(f, 1 << 30, out, 1, &n, NULL), ST_OK);
    assert_int_equal(n, 0);
    n = 77;
    assert_int_equal(env_pread(f, UINT64_MAX, out, 1, &n, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(n, 77);
    env_close(f);
}

/* Any parts and offsets against one flat array. */
static void test_env_pwritev_model(void **state)
{
    struct world *w = *state;
    enum { SIZE = 1 << 16, PARTS = 3000 };
    uint8_t *model = calloc(1, SIZE), *data = malloc(SIZE), *got = malloc(SIZE);
    struct bytes *parts = calloc(PARTS, sizeof *parts);
    uint64_t seed;
    FOR_EACH_SEED(seed, 20)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        struct env_file *f = must_open(w, "a", RWC | ENV_TRUNC);
        memset(model, 0, SIZE);
        uint64_t size = 0;
        for (int step = 0; step < 30; step++) {
            if (test_rng_chance(&r, 1, 6)) {
                uint64_t to = test_rng_below(&r, SIZE);
                assert_int_equal(env_truncate(f, to, NULL), ST_OK);
                if (to < size)
                    memset(model + to, 0, (size_t)(size - to));
                size = to;
            } else {
                test_rng_bytes(&r, data, SIZE);
                if (test_rng_chance(&r, 1, 3))
                    memset(data, 0, SIZE);
                uint64_t off = test_rng_below(&r, SIZE / 2);
                size_t n = test_rng_below(&r, PARTS + 1), total = 0;
                for (size_t i = 0; i < n; i++) {
                    size_t len = test_rng_below(&r, n > 100 ? 10 : SIZE / 200);
                    parts[i] = len ? BYTES(data + total, len) : (struct bytes){NULL, 0};
                    total += len;
                }
                assert_int_equal(env_pwritev(f, off, parts, n, NULL), ST_OK);
                memcpy(model + off, data, total);
                if (total && off + total > size)
                    size = off + total;
            }
            if (test_rng_chance(&r, 1, 4))
                assert_int_equal(env_sync(f, NULL), ST_OK);
            uint64_t has = 0;
            size_t n = 0;
            assert_int_equal(env_size(f, &has, NULL), ST_OK);
            assert_int_equal(has, size);
            assert_int_equal(env_pread(f, 0, got, SIZE, &n, NULL), ST_OK);
            assert_int_equal(n, size);
            assert_memory_equal(got, model, n);
        }
        env_close(f);
    }
    free(model);
    free(data);
    free(got);
    free(parts);
}

static void test_env_direct(void **state)
{
    struct world *w = *state;
    struct env_file *f = must_open(w, "direct", RWC | ENV_DIRECT);
    uint8_t *page = aligned_alloc(4096, 8192), *got = aligned_alloc(4096, 16384);
    memset(page, 0x5a, 8192);
    struct bytes parts[2] = {BYTES(page, 4096), BYTES(page + 4096, 4096)};
    assert_int_equal(env_pwritev(f, 4096, parts, 2, NULL), ST_OK);
    assert_int_equal(env_sync(f, NULL), ST_OK);
    size_t n = 0;
    assert_int_equal(env_pread(f, 0, got, 16384, &n, NULL), ST_OK);
    assert_int_equal(n, 12288);
    assert_int_equal(got[4095], 0);
    assert_memory_equal(got + 4096, page, 8192);
    free(page);
    free(got);
    env_close(f);
}

static void put(struct world *w, const char *name, const char *text)
{
    struct env_file *f = must_open(w, name, RWC | ENV_TRUNC);
    assert_int_equal(env_pwrite(f, 0, text, strlen(text), NULL), ST_OK);
    env_close(f);
}

static void assert_content(struct world *w, const char *name, const char *text)
{
    struct buf b = BUF_INIT;
    assert_int_equal(env_read_file(w->env, in(w, 3, name), 1000, &b, NULL), ST_OK);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(buf_bytes(&b).data, text, b.len);
    buf_deinit(&b);
}

static void test_env_names(void **state)
{
    struct world *w = *state;
    put(w, "a", "one");
    put(w, "b", "two");
    assert_int_equal(env_rename(w->env, in(w, 0, "a"), in(w, 1, "b"), NULL), ST_OK);
    assert_content(w, "b", "one");
    assert_false(env_exists(w->env, in(w, 0, "a")));
    assert_int_equal(env_rename(w->env, in(w, 0, "a"), in(w, 1, "b"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_rename(w->env, in(w, 1, "b"), in(w, 2, "b"), NULL), ST_OK);
    assert_content(w, "b", "one");

    assert_int_equal(env_mkdir(w->env, in(w, 0, "d"), NULL), ST_OK);
    assert_int_equal(env_mkdir(w->env, in(w, 0, "d"), NULL), ST_ALREADY_EXISTS);
    assert_int_equal(env_mkdir(w->env, in(w, 1, "b"), NULL), ST_ALREADY_EXISTS);
    assert_int_equal(env_mkdir(w->env, in(w, 1, "x/y"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_rename(w->env, in(w, 1, "b"), in(w, 0, "d"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_rename(w->env, in(w, 1, "b"), in(w, 0, "d/c"), NULL), ST_OK);
    assert_content(w, "d/c", "one");
    assert_int_equal(env_rename(w->env, in(w, 0, "d"), in(w, 1, "d/e"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_unlink(w->env, in(w, 0, "d"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_rename(w->env, in(w, 0, "d"), in(w, 1, "moved"), NULL), ST_OK);
    assert_content(w, "moved/c", "one");
    assert_int_equal(env_sync_dir(w->env, w->dir, NULL), ST_OK);
    assert_int_equal(env_sync_dir(w->env, in(w, 0, "moved/c"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_sync_dir(w->env, in(w, 0, "nothing"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_rmdir(w->env, in(w, 0, "moved"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_rmdir(w->env, in(w, 0, "moved/c"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(env_unlink(w->env, in(w, 0, "moved/c"), NULL), ST_OK);
    struct err err;
    err_init(&err);
    assert_int_equal(env_unlink(w->env, in(w, 0, "moved/c"), &err), ST_NOT_FOUND);
    assert_non_null(strstr(err.detail, "moved/c"));
    assert_true(env_exists(w->env, in(w, 0, "moved")));
    assert_int_equal(env_rmdir(w->env, in(w, 0, "moved"), NULL), ST_OK);
    assert_false(env_exists(w->env, in(w, 0, "moved")));
    assert_int_equal(env_rmdir(w->env, in(w, 0, "moved"), &err), ST_NOT_FOUND);
    assert_int_equal(env_mkdir(w->env, in(w, 0, "moved"), NULL), ST_OK);
    assert_true(env_exists(w->env, in(w, 0, "moved")));
}

/* A file that lost its name stays readable through its handle. */
static void test_env_unlinked_stays_open(void **state)
{
    struct world *w = *state;
    put(w, "a", "still here");
    struct env_file *f = must_open(w, "a", ENV_READ);
    assert_int_equal(env_unlink(w->env, in(w, 0, "a"), NULL), ST_OK);
    put(w, "a", "another");
    char out[32];
    size_t n = 0;
    assert_int_equal(env_pread(f, 0, out, sizeof out, &n, NULL), ST_OK);
    assert_int_equal(n, 10);
    assert_memory_equal(out, "still here", 10);
    env_close(f);
}

static void test_env_list(void **state)
{
    struct world *w = *state;
    struct buf names = BUF_INIT;
    assert_int_equal(env_list(w->env, w->dir, &names, NULL), ST_OK);
    assert_int_equal(names.len, 0);
    put(w, "b", "");
    put(w, "a", "");
    put(w, "aa", "");
    put(w, ".hidden", "");
    put(w, "B", "");
    put(w, "\xc3\xa9", "");
    assert_int_equal(env_mkdir(w->env, in(w, 0, "c"), NULL), ST_OK);
    assert_int_equal(buf_append(&names, "kept", 5), ST_OK);
    assert_int_equal(env_list(w->env, w->dir, &names, NULL), ST_OK);
    static const char want[] = "kept\0.hidden\0B\0a\0aa\0b\0c\0\xc3\xa9";
    assert_int_equal(names.len, sizeof want);
    assert_memory_equal(names.data, want, sizeof want);
    assert_int_equal(env_list(w->env, in(w, 0, "a"), &names, NULL), ST_NOT_FOUND);
    assert_int_equal(env_list(w->env, in(w, 0, "zzz"), &names, NULL), ST_NOT_FOUND);
    assert_int_equal(names.len, sizeof want);
    buf_deinit(&names);

    struct buf tiny;
    buf_init(&tiny, 4);
    assert_int_equal(env_list(w->env, w->dir, &tiny, NULL), ST_TOO_LARGE);
    assert_int_equal(tiny.len, 0);
    buf_deinit(&tiny);
}

static void test_env_list_many(void **state)
{
    struct world *w = *state;
    char name[64];
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "file-with-a-rather-long-name-%03u", i * 7 % 500);
        put(w, name, "");
    }
    struct buf names = BUF_INIT;
    assert_int_equal(env_list(w->env, w->dir, &names, NULL), ST_OK);
    const char *p = (const char *)names.data;
    for (unsigned i = 0; i < 500; i++, p += strlen(p) + 1) {
        snprintf(name, sizeof name, "file-with-a-rather-long-name-%03u", i);
        assert_string_equal(p, name);
    }
    assert_ptr_equal(p, (const char *)names.data + names.len);
    buf_deinit(&names);
}

static void test_env_whole_files(void **state)
{
    struct world *w = *state;
    const char *a = in(w, 0, "a");
    struct buf b = BUF_INIT;
    struct err err;
    err_init(&err);
    assert_int_equal(env_read_file(w->env, a, 10, &b, NULL), ST_NOT_FOUND);
    assert_int_equal(env_write_file(w->env, a, BYTES_LIT("0123456789"), NULL), ST_OK);
    assert_int_equal(env_read_file(w->env, a, 9, &b, &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "9"));
    assert_int_equal(b.len, 0);
    assert_int_equal(env_read_file(w->env, a, 10, &b, NULL), ST_OK);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "0123456789", 10);
    assert_int_equal(env_write_file(w->env, a, BYTES_EMPTY, NULL), ST_OK);
    assert_int_equal(env_read_file(w->env, a, 0, &b, NULL), ST_OK); /* appends nothing */
    assert_int_equal(b.len, 10);
    assert_int_equal(env_write_file(w->env, in(w, 1, "x/y"), BYTES_EMPTY, NULL), ST_NOT_FOUND);
    buf_deinit(&b);
    assert_int_equal(env_list(w->env, w->dir, &b, NULL), ST_OK);
    assert_int_equal(b.len, 2); /* "a": nothing is left beside it */
    buf_deinit(&b);
}

static void test_env_mkdirs(void **state)
{
    struct world *w = *state;
    assert_int_equal(env_mkdirs(w->env, in(w, 0, "p//q/./r/"), NULL), ST_OK);
    assert_int_equal(env_mkdirs(w->env, in(w, 0, "p/q/r"), NULL), ST_OK);
    put(w, "p/q/r/file", "x");
    assert_int_equal(env_mkdirs(w->env, in(w, 0, "p/q/r/file"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_mkdirs(w->env, in(w, 0, "p/q/r/file/z"), NULL), ST_NOT_FOUND);
    assert_int_equal(env_mkdirs(w->env, "/", NULL), ST_OK);
    assert_int_equal(env_mkdirs(w->env, ".", NULL), ST_OK);
    assert_int_equal(env_mkdirs(w->env, "", NULL), ST_NOT_FOUND);
}

static void test_env_lock(void **state)
{
    struct world *w = *state;
    struct env_file *a = NULL, *b = NULL;
    struct err err;
    err_init(&err);
    const char *path = in(w, 0, "LOCK");
    assert_int_equal(env_lock(w->env, path, &a, NULL), ST_OK);
    assert_int_equal(env_lock(w->env, path, &b, &err), ST_LOCKED);
    assert_non_null(strstr(err.detail, path));
    assert_null(b);
    /* A handle that merely reads it does not let it go. */
    env_close(must_open(w, "LOCK", ENV_READ));
    assert_int_equal(env_lock(w->env, path, &b, NULL), ST_LOCKED);
    assert_int_equal(env_pwrite(a, 0, "42\n", 3, NULL), ST_OK);
    env_close(a);
    assert_int_equal(env_lock(w->env, path, &b, NULL), ST_OK);
    assert_content(w, "LOCK", "42\n");
    env_close(b);
    assert_int_equal(env_lock(w->env, in(w, 1, "x/LOCK"), &b, NULL), ST_NOT_FOUND);
}

static void test_env_clock_and_random(void **state)
{
    struct world *w = *state;
    assert_true(env_now_ms(w->env) > UINT64_C(1500000000000));
    uint64_t before = env_mono_ns(w->env);
    env_sleep_ms(w->env, 3);
    assert_true(env_mono_ns(w->env) - before >= 3000000);
    uint8_t seen[256] = {0}, bytes[4001];
    memset(bytes, 0, sizeof bytes);
    env_random(w->env, bytes, sizeof bytes - 1);
    unsigned different = 0;
    for (size_t i = 0; i < sizeof bytes - 1; i++)
        different += !seen[bytes[i]]++;
    assert_true(different > 200);
    assert_int_equal(bytes[4000], 0);
    uint64_t space = 0;
    assert_int_equal(env_free_space(w->env, w->dir, &space, NULL), ST_OK);
    assert_true(space > 0);
    assert_int_equal(env_free_space(w->env, in(w, 0, "none"), &space, NULL), ST_NOT_FOUND);
}

#define SUITE(world)                                                                               \
    {                                                                                              \
        T(open_flags, world), T(read_only_handle, world), T(pread, world),                         \
            T(pwritev_model, world), T(direct, world), T(names, world),                            \
            T(unlinked_stays_open, world), T(list, world), T(list_many, world),                    \
            T(whole_files, world), T(mkdirs, world), T(lock, world), T(clock_and_random, world),   \
    }
#define T(name, world) cmocka_unit_test_setup_teardown(test_env_##name, set_up_##world, tear_down)

int main(void)
{
    const struct CMUnitTest on_real[] = SUITE(real);
    const struct CMUnitTest on_sim[] = SUITE(sim);
    int failed = cmocka_run_group_tests_name("real", on_real, NULL, NULL);
    return failed + cmocka_run_group_tests_name("sim", on_sim, NULL, NULL);
}
