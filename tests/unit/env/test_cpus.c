/* Limits on processor time, as control groups of both versions tell them (cpus.c). */
#include "base/env/thread.h"
#include "base/env/thread_internal.h"
#include "support/cmocka.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

/* With the folders before it. */
static void file(const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void begin(void)
{
    (void)snprintf(root, sizeof root, "/tmp/varve-cpus-XXXXXX");
    assert_non_null(mkdtemp(root));
}

static unsigned limit(const char *groups)
{
    char at[96];
    file("groups", groups);
    (void)snprintf(at, sizeof at, "%s/groups", root);
    unsigned ret = thread__cpu_limit(at, root);
    assert_int_equal(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    return ret;
}

static void version_2(void **state)
{
    (void)state;
    begin();
    file("a/b/cpu.max", "max 100000\n");
    assert_int_equal(limit("0::/a/b\n"), UINT_MAX);
    begin();
    file("a/b/cpu.max", "150000 100000\n");
    assert_int_equal(limit("0::/a/b\n"), 2); /* rounded up */
    begin();
    file("a/b/cpu.max", "400000 100000\n");
    file("a/cpu.max", "50000 100000\n"); /* what is around it counts as well */
    file("cpu.max", "800000 100000\n");
    assert_int_equal(limit("0::/a/b\n"), 1);
    begin();
    file("cpu.max", "300000 100000\n"); /* a container, which sees its group as the root */
    assert_int_equal(limit("0::/\n"), 3);
    begin();
    file("cpu.max", "200000 100000\n"); /* or is told a group that it does not see */
    assert_int_equal(limit("0::/docker/1234\n"), 2);
}

static void version_1(void **state)
{
    (void)state;
    begin();
    file("cpu/a/cpu.cfs_quota_us", "-1\n");
    file("cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(limit("5:memory:/a\n4:cpu,cpuacct:/a\n0::/a\n"), UINT_MAX);
    begin();
    file("cpu/a/cpu.cfs_quota_us", "200000\n");
    file("cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(limit("5:cpuset:/\n4:cpuacct,cpu:/a\n0::/\n"), 2);
    begin();
    file("cpu/a/cpu.cfs_quota_us", "200000\n");
    file("cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(limit("4:cpuset,cpuacct:/a\n"), UINT_MAX); /* another controller */
}

static void what_is_no_limit(void **state)
{
    static const char *const texts[] = {"",       "\n",  "max",      "0 100000", "-5 100000",
                                        "100000", "x y", "100000 0", "100000 -1"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        begin();
        file("cpu.max", texts[i]);
        assert_int_equal(limit("0::/\n"), UINT_MAX);
    }
    static const char *const groups[] = {"", "0", "0:", ":::", "nothing\n", "0::\n", "1:cpu:\n"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        begin();
        assert_int_equal(limit(groups[i]), UINT_MAX);
    }
    assert_int_equal(thread__cpu_limit("/nonexistent", "/nonexistent"), UINT_MAX);
    assert_true(env_cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(version_2), cmocka_unit_test(version_1),
                                       cmocka_unit_test(what_is_no_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
