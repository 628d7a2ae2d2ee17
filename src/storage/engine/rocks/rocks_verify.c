/* rocks_verify.c - every block of every file against its checksum, and the rows against each other.
 *
 * A pass over all rows that finds nothing odd has read all blocks, too; otherwise blocks come first,
 * then rows. The walk over a family reads each block of each of its files, because files that overlap are all
 * part of it. What is in memory is forgotten first: read from there, a block that went bad on the disk since
 * would look sound. A bad block ends the walk in that place: it is named, and the walk goes on at the
 * first key of the next file above. */
#include "base/alloc.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>
#include <stdlib.h>

enum { PROGRESS_ROWS = 4096 };

/* "... in FILE offset N size M" is how RocksDB names the place of a bad block. */
static void report_block(struct engine_verify *q, const char *detail)
{
    char file[256] = "";
    unsigned long long offset = 0;
    const char *at = strstr(detail, " in ");
    const char *off = at ? strstr(at, " offset ") : NULL;
    if (off && (size_t)(off - at - 4) < sizeof(file)) {
        memcpy(file, at + 4, (size_t)(off - at - 4));
        offset = strtoull(off + 8, NULL, 10);
    }
    engine_verify_finding(q, file, offset, "%s", detail);
}

/* The lowest first key of a file of the family above `after`; false: there is none. */
static bool next_file(const rocksdb_livefiles_t *files, const char *family, struct bytes after,
                      struct buf *ret)
{
    struct bytes best = {0};
    for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
        if (strcmp(rocksdb_livefiles_column_family_name(files, i), family) != 0)
            continue;
        struct bytes key;
        key.data = (const uint8_t *)rocksdb_livefiles_smallestkey(files, i, &key.len);
        if (bytes_cmp(key, after) > 0 && (!best.data || bytes_cmp(key, best) < 0))
            best = key;
    }
    buf_clear(ret);
    return best.data && buf_append(ret, best.data, best.len) == ST_OK;
}

static enum status read_family(struct engine_snapshot *s, enum engine_family f,
                               const rocksdb_livefiles_t *files, struct engine_verify *q,
                               struct err *err)
{
    struct engine_cursor *c = NULL;
    struct buf last = BUF_INIT, next = BUF_INIT;
    char seen[ERR_DETAIL_MAX] = "";
    const char *name = f == ENGINE_LIVE ? "default" : engine_family_name(f);
    enum status st = s->view.ops->cursor(&s->view, f, ENGINE_BULK, NULL, &c, err);
    if (st != ST_OK)
        return st;
    st = c->ops->seek(c, BYTES_EMPTY, err);
    for (;;) {
        if (st == ST_CORRUPT) {
            /* The first key of a bad file leads to the same block again. */
            if (strcmp(seen, err->detail) != 0)
                report_block(q, err->detail);
            memcpy(seen, err->detail, sizeof(seen));
            if (!next_file(files, name, buf_bytes(&last), &next)) {
                st = ST_OK;
                break;
            }
            buf_clear(&last);
            st = buf_append(&last, next.data, next.len);
            if (st == ST_OK)
                st = c->ops->seek(c, buf_bytes(&next), err);
            continue;
        }
        if (st != ST_OK || !c->valid)
            break;
        buf_clear(&last);
        st = buf_append(&last, c->key.data, c->key.len);
        if (++q->done % PROGRESS_ROWS == 0 && q->progress &&
            !q->progress(q->arg, q->done, q->total))
            st = err_set(err, ST_CANCELLED, "verify was stopped");
        if (st == ST_OK)
            st = c->ops->next(c, err);
    }
    engine_cursor_close(c);
    buf_deinit(&last);
    buf_deinit(&next);
    return st;
}

/* What is being used stays. Blocks that others read from now on come from the disk as ours do. */
static void forget_blocks(struct rocks *e)
{
    rocksdb_cache_set_capacity(e->cache, 0);
    rocksdb_cache_set_capacity(e->cache, e->options.cache_bytes);
}

enum status rocks__verify(struct engine *engine, uint64_t range,
                          void (*report)(void *arg, const struct engine_finding *f),
                          bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                          struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    struct engine_snapshot *s;
    struct err own;
    err = err ? err : &own;
    enum status st = rocks__snapshot(engine, &s, err);
    if (st != ST_OK)
        return st;
    struct engine_verify q = {.range = range, .report = report, .progress = progress, .arg = arg};
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        q.total += s->view.rows[f];
    bool sound = false;
    forget_blocks(e);
    st = engine_view_sound(&s->view, &q, &sound, err);
    const rocksdb_livefiles_t *files = rocksdb_livefiles(e->db);
    if (!sound)
        q.total = q.done + 2 * q.total;
    for (int f = 0; st == ST_OK && !sound && f < ENGINE_FAMILIES; f++)
        st = read_family(s, (enum engine_family)f, files, &q, err);
    if (st == ST_OK)
        st = rocks__verify_filters(e, files, &q, err);
    rocksdb_livefiles_destroy(files);
    /* Rows that cannot be read would be reported again, once for each row that needs them. */
    if (st == ST_OK && !sound && q.findings == 0)
        st = engine_view_verify(&s->view, &q, err);
    rocks__snapshot_release(engine, s);
    if (st == ST_OK && q.findings)
        st = err_set(err, ST_CORRUPT, "verify: %llu findings", (unsigned long long)q.findings);
    return st;
}
