/* Power cuts and kills of libvarve over RocksDB: a workload is recorded, folders that a cut could
 * have left are made at random places of the trace, and each is opened and held against what had
 * been acknowledged by then.
 *
 *     test_crash_power [SEEDS [IMAGES]]      so many workloads, so many images of each
 *
 * VARVE_SEED=S runs workload S alone; VARVE_KEEP=1 leaves the folder of a failure. */
#include "crash/library/crash_process.h"
#include "crash/preload/crash_images.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 160, STEPS_AFTER = 12, AT_ONCE = 2, SECONDS = 120 };

struct image {
    size_t position;
    enum crash_model model;
    struct crash_cut cut;
    char dir[PATH_MAX], journal[PATH_MAX];
    pid_t pid;
};

static uint64_t seeds = 6, images = 20;
static const char *const losses[] = {"keep", "lose", "ordered", "scattered", "mixed"};

static char *number(uint64_t n, char out[24])
{
    snprintf(out, 24, "%" PRIu64, n);
    return out;
}

static void record(const char *folder, uint64_t seed, char trace[PATH_MAX])
{
    char root[PATH_MAX], env_root[PATH_MAX + 16], env_trace[PATH_MAX + 16], a[24], b[24], c[24];
    snprintf(root, sizeof(root), "%s/db", folder);
    snprintf(trace, PATH_MAX, "%s/trace", folder);
    snprintf(env_root, sizeof(env_root), "CRASH_ROOT=%s", root);
    snprintf(env_trace, sizeof(env_trace), "CRASH_TRACE=%s", trace);
    const char *env[] = {"LD_PRELOAD=" CRASH_RECORDER, env_root, env_trace, NULL};
    uint64_t streams = seed % 3 ? 1 : 2; /* every third with two threads */
    char *argv[] = {(char[]){CRASH_WORKLOAD}, root, number(seed, a), number(streams, b),
                    number(STEPS, c),         NULL};
    int rc = process_run(argv, env, NULL, SECONDS);
    if (rc != 0)
        fail_msg("the recorded workload of seed %" PRIu64 " ended with %d", seed, rc);
    assert_true(temp_dir_remove(root));
}

static void write_journal(const struct crash_images *c, const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < crash_images_marks(c); i++) {
        size_t len;
        const char *text = crash_images_mark(c, i, &len);
        fprintf(f, "%.*s\n", (int)len, text);
    }
    assert_int_equal(fclose(f), 0);
}

/* Right behind the writes to RocksDB's manifest, of which nothing was synced then. */
struct places {
    size_t *at;
    size_t n;
};

static struct places manifest_writes(const struct crash_images *c)
{
    size_t count = crash_images_count(c);
    struct places p = {calloc(count + 1, sizeof(*p.at)), 0};
    bool *is = calloc(count + 1, sizeof(*is)); /* by handle; there are fewer than records */
    assert_true(p.at && is);
    for (size_t i = 0; i < count; i++) {
        const char *body;
        struct crash_record rec = crash_images_record(c, i, &body);
        assert_true(rec.handle <= count);
        if (rec.kind == CRASH_OPEN && memmem(body, rec.path_len, "/MANIFEST-", 10))
            is[rec.handle] = true;
        else if (rec.kind == CRASH_WRITE && is[rec.handle])
            p.at[p.n++] = i + 1;
    }
    free(is);
    return p;
}

/* Half of the places anywhere, a quarter right at the steps that reorder things (syncs and names), a
 * quarter in changes of the manifest. */
static size_t any_position(const struct crash_images *c, const struct places *manifest,
                           struct test_rng *r)
{
    size_t count = crash_images_count(c), at = (size_t)test_rng_between(r, 1, count);
    if (test_rng_chance(r, 1, 2))
        return at;
    if (manifest->n && test_rng_chance(r, 1, 2))
        return manifest->at[test_rng_below(r, manifest->n)];
    for (size_t i = at; i < count; i++) {
        const char *body;
        struct crash_record rec = crash_images_record(c, i, &body);
        if (rec.kind != CRASH_WRITE && rec.kind != CRASH_MARK && rec.kind != CRASH_OPEN &&
            rec.kind != CRASH_CLOSE)
            return i + (size_t)test_rng_below(r, 2);
    }
    return at;
}

static int by_position(const void *a, const void *b)
{
    const struct image *x = a, *y = b;
    return (x->position > y->position) - (x->position < y->position);
}

static void start_check(struct image *m, uint64_t seed)
{
    static char kill[] = "kill", power[] = "power";
    char a[24], b[24];
    char *argv[] = {(char[]){CRASH_CHECK},
                    m->dir,
                    m->journal,
                    number(seed, a),
                    m->cut.loss == CRASH_KEEP_ALL ? kill : power,
                    number(STEPS_AFTER, b),
                    NULL};
    m->pid = process_start(argv, NULL, NULL, NULL);
    assert_true(m->pid > 0);
}

static bool end_check(struct image *m, uint64_t seed, const char *trace)
{
    int rc = process_wait(m->pid, SECONDS);
    if (rc != 0) {
        fprintf(stderr,
                "FAILED (%d): VARVE_SEED=%" PRIu64 ", crash_tool image %s %zu %s %s %u %" PRIu64
                "\n",
                rc, seed, trace, m->position, m->model == CRASH_POSIX ? "posix" : "ext4",
                losses[m->cut.loss], m->cut.unit, m->cut.seed);
        return false;
    }
    assert_true(temp_dir_remove(m->dir));
    unlink(m->journal);
    return true;
}

static void plan(const struct crash_images *c, struct test_rng *r, uint64_t seed,
                 enum crash_model model, struct image *all)
{
    struct places manifest = manifest_writes(c);
    for (size_t i = 0; i < images; i++)
        all[i] = (struct image){.position = any_position(c, &manifest, r),
                                .model = model,
                                .cut = {.seed = seed * 1000 + i,
                                        .unit = test_rng_chance(r, 1, 2) ? 512 : 4096,
                                        .loss = (enum crash_loss)test_rng_below(r, 5)}};
    qsort(all, images, sizeof(*all), by_position);
    free(manifest.at);
}

static bool run_seed(uint64_t seed)
{
    char folder[TEMP_DIR_MAX], trace[PATH_MAX], err[CRASH_ERROR_MAX];
    struct test_rng r;
    struct crash_images *c = NULL;
    bool ok = true;
    test_rng_init(&r, seed);
    assert_true(process_folder(folder, "power"));
    record(folder, seed, trace);
    enum crash_model model = seed % 2 ? CRASH_POSIX : CRASH_EXT4;
    if (!crash_images_open(trace, model, &c, err))
        fail_msg("%s", err);
    struct image *all = calloc(images, sizeof(*all));
    assert_non_null(all);
    plan(c, &r, seed, model, all);
    for (size_t i = 0; i < images + AT_ONCE; i++) {
        if (i >= AT_ONCE && !end_check(&all[i - AT_ONCE], seed, trace))
            ok = false;
        if (i >= images)
            continue;
        snprintf(all[i].dir, sizeof(all[i].dir), "%s/image-%zu", folder, i);
        snprintf(all[i].journal, sizeof(all[i].journal), "%s/journal-%zu", folder, i);
        if (!crash_images_advance(c, all[i].position, err) ||
            !crash_images_write(c, &all[i].cut, all[i].dir, err))
            fail_msg("%s", err);
        write_journal(c, all[i].journal);
        start_check(&all[i], seed);
    }
    printf("seed %" PRIu64 ": %zu operations, %" PRIu64 " images of them%s\n", seed,
           crash_images_count(c), images, ok ? "" : ", FAILED");
    crash_images_close(c);
    free(all);
    if (ok || !getenv("VARVE_KEEP"))
        assert_true(temp_dir_remove(folder));
    return ok;
}

static void test_what_was_acknowledged_survives_every_cut(void **state)
{
    (void)state;
    const char *only = getenv("VARVE_SEED");
    uint64_t failed = 0;
    if (only)
        failed = run_seed(strtoull(only, NULL, 0)) ? 0 : 1;
    for (uint64_t seed = 1; !only && seed <= seeds; seed++)
        failed += run_seed(seed) ? 0 : 1;
    assert_int_equal(failed, 0);
}

/* A folder from before some acknowledgements, and a journal from after them. */
static void test_the_check_notices_what_is_missing(void **state)
{
    (void)state;
    char folder[TEMP_DIR_MAX], trace[PATH_MAX], err[CRASH_ERROR_MAX];
    struct crash_images *c = NULL;
    struct image m = {.cut = {.seed = 1, .unit = 512, .loss = CRASH_LOSE_ALL}};
    assert_true(process_folder(folder, "power"));
    record(folder, 1, trace);
    assert_true(crash_images_open(trace, CRASH_POSIX, &c, err));
    snprintf(m.dir, sizeof(m.dir), "%s/image", folder);
    snprintf(m.journal, sizeof(m.journal), "%s/journal", folder);
    size_t middle = crash_images_count(c) / 2;
    assert_true(crash_images_advance(c, middle, err));
    assert_true(crash_images_write(c, &m.cut, m.dir, err));
    size_t marks = crash_images_marks(c);
    /* Some ten steps on: one of them at least is a write that must be durable. */
    for (size_t at = middle; crash_images_marks(c) < marks + 20; at++)
        assert_true(crash_images_advance(c, at, err));
    write_journal(c, m.journal);
    printf("what it says now is as it must be:\n");
    start_check(&m, 1);
    assert_int_equal(process_wait(m.pid, SECONDS), 1);
    crash_images_close(c);
    assert_true(temp_dir_remove(folder));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_check_notices_what_is_missing),
        cmocka_unit_test(test_what_was_acknowledged_survives_every_cut),
    };
    if (argc > 1)
        seeds = strtoull(argv[1], NULL, 0);
    if (argc > 2)
        images = strtoull(argv[2], NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
