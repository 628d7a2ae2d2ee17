/* rocks_doubt.c - linking files into the DB that fails half way.
 *
 * RocksDB 7.8 appends the change to its manifest and syncs that; when either fails it removes the
 * files again. But the change may have reached the disk all the same, and then the manifest names
 * files that are gone, and the DB does not open. So, while files are linked, DIR/linking says which
 * number the newest file had before. When opening fails for want of newer files alone, the DB is
 * opened at the last state that is whole: that before the linking, which was never reported as done
 * and which the log repeats. Files at or below the number must be there: their loss stays an error.
 */
#include "storage/engine/rocks/rocks_internal.h"

#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

#define DOUBT_TEXT "files above "

static void doubt_path(const struct rocks *e, char out[ROCKS_DIR_MAX])
{
    snprintf(out, ROCKS_DIR_MAX, "%s/linking", e->dir);
}

static uint64_t newest_file(const struct rocks *e)
{
    uint64_t newest = 0;
    const rocksdb_livefiles_t *files = rocksdb_livefiles(e->db);
    for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
        const char *name = rocksdb_livefiles_name(files, i); /* "/000123.sst" */
        uint64_t number = strtoull(*name == '/' ? name + 1 : name, NULL, 10);
        if (number > newest)
            newest = number;
    }
    rocksdb_livefiles_destroy(files);
    return newest;
}

enum status rocks__doubt_begin(struct rocks *e, struct err *err)
{
    char path[ROCKS_DIR_MAX], text[64];
    doubt_path(e, path);
    int n = snprintf(text, sizeof(text), DOUBT_TEXT "%" PRIu64 "\n", newest_file(e));
    return env_write_file(e->env, path, BYTES(text, (size_t)n), err);
}

void rocks__doubt_end(struct rocks *e)
{
    char path[ROCKS_DIR_MAX];
    struct err ignored; /* what stays is written over by the next */
    doubt_path(e, path);
    enum status st = e->env->ops->unlink(e->env, path, &ignored);
    (void)st;
}

/* The number of the next sorted file that the message names ("/000025.ldb": an old name of .sst);
 * false: there is none. */
static bool next_named(const char **at, uint64_t *ret)
{
    for (const char *p = *at; (p = strchr(p, '/')) != NULL;) {
        char *end;
        uint64_t number = strtoull(++p, &end, 10);
        if (end == p || (strncmp(end, ".sst", 4) != 0 && strncmp(end, ".ldb", 4) != 0))
            continue;
        *ret = number;
        *at = end;
        return true;
    }
    return false;
}

bool rocks__doubt_explains(struct rocks *e, const char *message)
{
    char path[ROCKS_DIR_MAX];
    struct buf content = BUF_INIT;
    struct err ignored;
    uint64_t above, number;
    size_t named = 0;
    doubt_path(e, path);
    bool explains = strstr(message, "No such file or directory") != NULL &&
                    env_read_file(e->env, path, 64, &content, &ignored) == ST_OK &&
                    buf_cstr(&content) &&
                    sscanf(buf_cstr(&content), DOUBT_TEXT "%" SCNu64, &above) == 1;
    for (const char *at = message; explains && next_named(&at, &number); named++)
        explains = number > above;
    buf_deinit(&content);
    return explains && named > 0;
}
