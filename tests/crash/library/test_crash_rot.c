/* One bit turned in a file of a folder: the open, the reads or verify say CORRUPT and name the file,
 * or every answer is right. Never a wrong answer, never a crash; and what lies in log records or in
 * sorted files verify finds.
 *
 *     test_crash_rot [FLIPS]      so many of each kind of file */
#include "crash/library/crash_judge.h"
#include "crash/library/crash_process.h"
#include "crash/library/crash_rig.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAMES_MAX = 64, SEED = 31 };

struct kind {
    const char *title, *dir, *prefix, *suffix;
    bool nonzero; /* only where something was written */
    bool found;   /* all of it must be */
};

static const struct kind kinds[] = {
    {"VARVE", "", "VARVE", "", false, false}, /* a digit's case says the same */
    {"engine.format", "engine", "engine.format", "", false, false},
    {"log segment", "log", "", ".seg", true, false},
    {"sorted file", "engine/rocks", "", ".sst", false, true},
    {"MANIFEST", "engine/rocks", "MANIFEST-", "", false, false},
    {"manifest.end", "engine", "manifest.end", "", false, false},
    {"CURRENT", "engine/rocks", "CURRENT", "", false, false},
    {"OPTIONS", "engine/rocks", "OPTIONS-", "", false, false},
    {"IDENTITY", "engine/rocks", "IDENTITY", "", false, false},
};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static unsigned long flips = 12;

static void copy(const char *from, const char *to)
{
    char *argv[] = {(char[]){"/bin/cp"}, (char[]){"-a"}, (char *)(uintptr_t)from,
                    (char *)(uintptr_t)to, NULL};
    assert_int_equal(process_run(argv, NULL, NULL, 60), 0);
}

/* A file of the kind that holds something; false: there is none. */
static bool any_file(const char *folder, const struct kind *k, struct test_rng *r,
                     char out[PATH_MAX], char name[256])
{
    char dir[2 * PATH_MAX], names[NAMES_MAX][256];
    size_t n = 0;
    snprintf(dir, sizeof(dir), "%s/%s", folder, k->dir);
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL && n < NAMES_MAX) {
        size_t len = strlen(e->d_name), tail = strlen(k->suffix);
        if (strncmp(e->d_name, k->prefix, strlen(k->prefix)) == 0 && len >= tail &&
            strcmp(e->d_name + len - tail, k->suffix) == 0 && e->d_name[0] != '.')
            memcpy(names[n++], e->d_name, len + 1);
    }
    if (d)
        closedir(d);
    if (!n)
        return false;
    memcpy(name, names[test_rng_below(r, n)], 256);
    int len = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    assert_true(len > 0 && len < PATH_MAX);
    return true;
}

static bool flip(const char *path, const struct kind *k, struct test_rng *r, uint64_t *ret_at,
                 uint64_t *ret_size)
{
    struct stat st;
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(stat(path, &st), 0);
    *ret_size = (uint64_t)st.st_size;
    for (int tries = 0; st.st_size && tries < 20000; tries++) {
        uint64_t at = test_rng_below(r, (uint64_t)st.st_size);
        assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
        int c = fgetc(f);
        if (k->nonzero && c == 0)
            continue;
        assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
        assert_true(fputc(c ^ (1 << test_rng_below(r, 8)), f) != EOF);
        assert_int_equal(fclose(f), 0);
        *ret_at = at;
        return true;
    }
    fclose(f);
    return false;
}

/* Nothing follows but the note that the log is idle, whose loss loses nothing. */
static bool near_end(const char *path, uint64_t at)
{
    FILE *f = fopen(path, "r");
    uint64_t end = 0;
    assert_non_null(f);
    for (uint64_t i = 0;; i++) {
        int c = fgetc(f);
        if (c == EOF)
            break;
        end = c ? i + 1 : end;
    }
    fclose(f);
    return at + 160 > end;
}

static int judge_one(struct rig *r, const char *from, const struct kind *k, struct test_rng *rng)
{
    char to[PATH_MAX], path[PATH_MAX], name[256], seed[24];
    uint64_t at = 0, size = 0;
    snprintf(to, sizeof(to), "%s/turned", r->folder);
    copy(from, to);
    int rc = 0;
    if (any_file(to, k, rng, path, name) && flip(path, k, rng, &at, &size)) {
        snprintf(seed, sizeof(seed), "%" PRIu64, r->seed);
        bool last = k->nonzero && near_end(path, at);
        char *argv[] = {(char[]){CRASH_JUDGE}, to, r->journal, seed, name, NULL};
        rc = process_run(argv, NULL, NULL, 60);
        /* A file that merging had replaced goes when the folder is opened. */
        if (rc == JUDGE_HARMLESS && k->found && (last || access(path, F_OK) < 0))
            rc = 0;
        if (rc < JUDGE_HARMLESS || rc >= JUDGE_READS_ONLY || (rc == JUDGE_HARMLESS && k->found))
            printf("%s: byte %" PRIu64 " of %" PRIu64 ": outcome %d\n", name, at, size, rc);
    }
    assert_true(temp_dir_remove(to));
    return rc;
}

static void judge_kind(struct rig *r, const char *from, const struct kind *k, uint64_t salt)
{
    static const char *const words[] = {
        "harmless",       "open names it", "open says so", "verify names it",
        "verify says so", "reads alone",   "WRONG"};
    struct test_rng rng;
    unsigned long counts[JUDGE_END] = {0}, other = 0;
    test_rng_init(&rng, r->seed + salt);
    for (unsigned long i = 0; i < flips; i++) {
        int rc = judge_one(r, from, k, &rng);
        if (rc >= JUDGE_HARMLESS && rc < JUDGE_END)
            counts[rc]++;
        else if (rc)
            other++;
    }
    printf("%s:", k->title);
    for (int i = JUDGE_HARMLESS; i < JUDGE_END; i++)
        if (counts[i])
            printf(" %s %lu", words[i - JUDGE_HARMLESS], counts[i]);
    printf(other ? ", CRASHED %lu\n" : "\n", other);
    assert_int_equal(other, 0);
    assert_int_equal(counts[JUDGE_WRONG], 0);
    assert_int_equal(counts[JUDGE_READS_ONLY], 0);
    if (k->found)
        assert_int_equal(counts[JUDGE_HARMLESS], 0);
}

static void settle(struct rig *r)
{
    struct timespec nap = {0, 500000000};
    assert_int_equal(varve_sync_now(r->db), VARVE_OK);
    nanosleep(&nap, NULL); /* the log notes that it is idle */
}

/* As a kill leaves it: part in sorted files, part in the log alone. */
static void test_a_turned_bit_is_found(void **state)
{
    (void)state;
    struct rig r;
    char from[PATH_MAX];
    rig_init(&r, SEED, NULL);
    varve_options o = exec_options(r.seed);
    o.table_bytes = 1 << 20;
    o.checkpoint_interval_ms = UINT32_MAX;
    assert_int_equal(varve_open(r.dir, &o, &r.db), VARVE_OK);
    rig_must_steps(&r, 150);
    assert_int_equal(varve_checkpoint(r.db), VARVE_OK);
    rig_must_steps(&r, 60);
    settle(&r);
    snprintf(from, sizeof(from), "%s/from", r.folder);
    copy(r.dir, from);
    (void)!rig_close(&r);
    for (size_t i = 0; i < KINDS; i++)
        judge_kind(&r, from, &kinds[i], i);
    rig_deinit(&r);
}

/* Where everything is in the log, each record of it counts. */
static void test_a_turned_bit_of_a_log_record_is_found(void **state)
{
    (void)state;
    static const struct kind log = {"log alone", "log", "00000000", ".seg", true, true};
    struct rig r;
    char from[PATH_MAX];
    rig_init(&r, SEED + 2, NULL);
    varve_options o = exec_options(r.seed);
    o.table_bytes = 64 << 20;
    o.log_bytes = 1 << 30;
    o.checkpoint_interval_ms = UINT32_MAX;
    assert_int_equal(varve_open(r.dir, &o, &r.db), VARVE_OK);
    for (int n = 0; n < 40; n++) { /* no checkpoints */
        char key[16];
        snprintf(key, sizeof(key), "%d", n);
        assert_int_equal(
            varve_put(r.db, "log", key, strlen(key), VARVE_RAW, key, strlen(key), NULL, NULL),
            VARVE_OK);
    }
    settle(&r);
    snprintf(from, sizeof(from), "%s/from", r.folder);
    copy(r.dir, from);
    (void)!rig_close(&r);
    judge_kind(&r, from, &log, 1);
    rig_deinit(&r);
}

/* What a power cut leaves of a change that was never synced is no rot, even if its end is there and
 * its beginning is not. */
static void test_a_torn_end_of_the_manifest_is_cut_off(void **state)
{
    (void)state;
    static const struct kind manifest = {"MANIFEST", "engine/rocks", "MANIFEST-", "", false, true};
    struct rig r;
    struct test_rng rng;
    char path[PATH_MAX], name[256], seed[24];
    unsigned char torn[600];
    rig_init(&r, SEED + 4, NULL);
    test_rng_init(&rng, SEED);
    rig_must_open(&r);
    rig_must_steps(&r, 60);
    assert_int_equal(rig_close(&r), VARVE_OK);
    for (size_t len = 1; len <= sizeof(torn); len *= 3) {
        test_rng_bytes(&rng, torn, len);
        memset(torn, 0, len / 2); /* a sector that never came */
        assert_true(any_file(r.dir, &manifest, &rng, path, name));
        FILE *f = fopen(path, "a");
        assert_non_null(f);
        assert_int_equal(fwrite(torn, 1, len, f), len);
        assert_int_equal(fclose(f), 0);
        snprintf(seed, sizeof(seed), "%" PRIu64, r.seed);
        char *argv[] = {(char[]){CRASH_JUDGE}, r.dir, r.journal, seed, name, NULL};
        assert_int_equal(process_run(argv, NULL, NULL, 60), JUDGE_HARMLESS);
    }
    rig_deinit(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_turned_bit_is_found),
        cmocka_unit_test(test_a_turned_bit_of_a_log_record_is_found),
        cmocka_unit_test(test_a_torn_end_of_the_manifest_is_cut_off),
    };
    if (argc > 1)
        flips = strtoul(argv[1], NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
