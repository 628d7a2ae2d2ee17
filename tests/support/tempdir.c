/* tempdir.c - see tempdir.h. */
#include "support/tempdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "varve-test-";

bool temp_dir_make(char out[TEMP_DIR_MAX], const char *tag)
{
    const char *parent = getenv("TMPDIR");
    if (!parent || !*parent)
        parent = "/tmp";
    int n = snprintf(out, TEMP_DIR_MAX, "%s/%s%s-XXXXXX", parent, prefix, tag);
    if (n < 0 || n >= TEMP_DIR_MAX) {
        fprintf(stderr, "temp_dir_make: the path is over %d bytes\n", TEMP_DIR_MAX - 1);
        return false;
    }
    if (!mkdtemp(out)) {
        fprintf(stderr, "temp_dir_make: %s: %s\n", out, strerror(errno));
        return false;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    if (remove(path) == 0 || errno == ENOENT)
        return 0;
    fprintf(stderr, "temp_dir_remove: %s: %s\n", path, strerror(errno));
    return -1;
}

bool temp_dir_remove(const char *path)
{
    if (!path || !strstr(path, prefix)) {
        fprintf(stderr, "temp_dir_remove: refused: not a test's folder\n");
        return false;
    }
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || access(path, F_OK) != 0;
}
