/* rocks_logs.c - RocksDB's own log files, which nothing of ours goes into.
 *
 * RocksDB 7.8 makes one at each open and forgets those before only once a memtable was flushed,
 * which never happens here. So after each open the empty ones are removed, all but the newest: that
 * is the one RocksDB has just made and holds open. An empty log has no record, and RocksDB does not
 * ask for logs that are missing (track_and_verify_wals_in_manifest is off), so no later open can
 * tell. One that holds a byte stays: it is not ours to judge. */
#include "base/alloc.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* "000123.log"; false: something else. */
static bool log_number(const char *name, uint64_t *ret)
{
    char *end;
    if (*name < '0' || *name > '9')
        return false;
    *ret = strtoull(name, &end, 10);
    return strcmp(end, ".log") == 0;
}

static bool is_empty(struct rocks *e, const char *path)
{
    struct env_file *f = NULL;
    struct err ignored;
    uint64_t size = 1;
    if (env_open(e->env, path, ENV_READ, &f, &ignored) != ST_OK)
        return false;
    bool known = env_size(f, &size, &ignored) == ST_OK;
    env_close(f);
    return known && size == 0;
}

void rocks__logs_clear(struct rocks *e)
{
    char path[ROCKS_DIR_MAX + 300];
    struct buf names = BUF_INIT;
    struct err ignored; /* what stays is removed by a later open */
    uint64_t newest = 0, number;
    snprintf(path, sizeof(path), "%s/rocks", e->dir);
    if (env_list(e->env, path, &names, &ignored) != ST_OK)
        buf_clear(&names);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t at = 0; at < names.len;) {
            const char *name = (const char *)names.data + at;
            at += strlen(name) + 1;
            if (!log_number(name, &number))
                continue;
            if (pass == 0) {
                newest = number > newest ? number : newest;
                continue;
            }
            snprintf(path, sizeof(path), "%s/rocks/%s", e->dir, name);
            if (number >= newest || !is_empty(e, path))
                continue;
            enum status st = env_unlink(e->env, path, &ignored);
            (void)st;
        }
    }
    buf_deinit(&names);
}
