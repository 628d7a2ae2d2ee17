/* rocks_manifest.c - how far RocksDB's manifest is sure, and what is done about the rest of it.
 *
 * The manifest is a log of changes: these files come, those go. DIR/manifest.end says up to where it
 * is surely on the disk, written anew around each linking of files and at each opening:
 *     manifest MANIFEST-000060 9136 5d3f0a11      the last is the CRC32C of the text before it
 * Every commit that was reported as done lies below that place. A record there that does not hold is
 * rot, and the DB is not opened: RocksDB itself would take some of it for a torn end. Beyond it may
 * be changes of which no one was told:
 * - A power cut leaves the last, un-synced one in parts, a later part before an earlier one, which
 *   RocksDB takes for rot.
 * - When a change cannot be written or synced, RocksDB 7.8 removes its files. But the change may have
 *   reached the disk all the same, and then the manifest names files that are gone.
 * So if RocksDB refuses to open for such a reason, changes are taken off the end one by one, down to
 * that place at most. What is lost so the log repeats, or it was a merge, whose sources are there as
 * long as it was not complete. If it does not help, the manifest is put back as it was.
 *
 * A manifest that grew large is replaced by a new one, which the note may not know yet. That begins
 * with the whole state, two records a family, and was synced before CURRENT named it: so those must
 * hold, and no commit was reported as done since.
 *
 * Format: blocks of 32 KiB; a fragment there: masked CRC32C of type and data (4), length (2), type
 * (1: whole, 2: first, 3: middle, 4: last), data; less than 7 bytes at a block's end are zeros. */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BLOCK = 32768,
    HEADER = 7,
    WHOLE = 1,
    FIRST = 2,
    MIDDLE = 3,
    LAST = 4,
    STATE_RECORDS = 2 * ENGINE_FAMILIES,
    TAIL_MAX = 256 << 20,
    NOTE_TRIES = 20,
};

static const char *const note_format = "manifest %s %" PRIu64;

/* Its whole records. */
struct extent {
    uint64_t size; /* of the file */
    uint64_t end, records;
};

struct note {
    char name[ROCKS_MANIFEST_NAME];
    uint64_t end;
};

static bool fragment_holds(const uint8_t *p, size_t left, size_t *ret_len)
{
    if (left < HEADER)
        return false;
    size_t len = (size_t)p[4] | (size_t)p[5] << 8;
    uint32_t stored =
        (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (p[6] < WHOLE || p[6] > LAST || len > left - HEADER)
        return false;
    uint32_t sum = crc32c(0, p + 6, len + 1);
    *ret_len = len;
    return stored == ((sum >> 15 | sum << 17) + 0xa282ead8u);
}

/* The records of one block; false: the last of them that count is found. */
static bool measure_block(struct bytes block, uint64_t at, uint64_t limit, uint64_t most,
                          bool *within, struct extent *x)
{
    size_t i = 0, len;
    while (block.len - i >= HEADER && x->records < most) {
        if (!fragment_holds(block.data + i, block.len - i, &len))
            return false;
        uint8_t type = block.data[i + 6];
        i += HEADER + len;
        if ((type == MIDDLE || type == LAST) != *within || at + i > limit)
            return false;
        *within = type == FIRST || type == MIDDLE;
        if (*within)
            continue;
        x->end = at + i;
        x->records++;
    }
    return block.len == BLOCK && x->records < most;
}

/* Up to the first record that does not hold or ends beyond `limit`, and `most` records. */
static enum status measure(struct rocks *e, const char *path, uint64_t limit, uint64_t most,
                           struct extent *ret, struct err *err)
{
    struct env_file *f = NULL;
    struct extent x = {0};
    bool within = false, more = true;
    uint8_t *block = mem_alloc(BLOCK);
    enum status st = block ? ST_OK : err_set(err, ST_NO_MEMORY, "%s", path);
    if (st == ST_OK)
        st = env_open(e->env, path, ENV_READ, &f, err);
    if (st == ST_OK)
        st = env_size(f, &x.size, err);
    for (uint64_t at = 0; st == ST_OK && more; at += BLOCK) {
        size_t got = 0;
        st = env_pread(f, at, block, BLOCK, &got, err);
        more = st == ST_OK && measure_block(BYTES(block, got), at, limit, most, &within, &x);
    }
    env_close(f);
    mem_free(block);
    if (st == ST_OK)
        *ret = x;
    return st;
}

/* The manifest in use: its name, and its place. */
static enum status find(const struct rocks *e, const char *db, char name[ROCKS_MANIFEST_NAME],
                        char path[ROCKS_PATH_MAX], struct err *err)
{
    char current[ROCKS_PATH_MAX];
    struct buf content = BUF_INIT;
    snprintf(current, sizeof(current), "%s/rocks/CURRENT", db);
    enum status st = env_read_file(e->env, current, ROCKS_MANIFEST_NAME - 1, &content, err);
    const char *text = st == ST_OK ? buf_cstr(&content) : NULL;
    if (st == ST_OK && !text)
        st = err_set(err, ST_NO_MEMORY, "%s", current);
    if (st == ST_OK && sscanf(text, "%31[A-Z0-9-]", name) != 1)
        st = err_set(err, ST_CORRUPT, "%s: it names no manifest", current);
    if (st == ST_OK)
        snprintf(path, ROCKS_PATH_MAX, "%s/rocks/%s", db, name);
    buf_deinit(&content);
    return st;
}

static uint64_t number_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash ? strtoull(dash + 1, NULL, 10) : 0;
}

/* ---- the note ---- */

static enum status sync_file(struct rocks *e, const char *path, struct err *err)
{
    struct env_file *f = NULL;
    enum status st = env_open(e->env, path, ENV_READ, &f, err);
    if (st != ST_OK)
        return st;
    st = env_sync(f, err);
    env_close(f);
    return st;
}

/* Where the manifest in use ends, surely on the disk. A merge may be writing to it right now, or
 * have it replaced. What stays there of a failed write is not counted either. */
static enum status sure_end(struct rocks *e, const char *dir, struct note *ret, struct err *err)
{
    char path[ROCKS_PATH_MAX];
    struct extent x = {0};
    enum status st = ST_OK;
    for (int i = 0; i < NOTE_TRIES; i++) {
        st = find(e, dir, ret->name, path, err);
        if (st == ST_OK)
            st = measure(e, path, UINT64_MAX, UINT64_MAX, &x, err);
        if (st != ST_NOT_FOUND && (st != ST_OK || x.end == x.size))
            break;
        env_sleep_ms(e->env, 1);
    }
    if (st == ST_OK)
        st = sync_file(e, path, err);
    /* RocksDB may not have met the failed sync, yet a change may be lost. */
    if (st == ST_IO_ERROR && dir == e->dir)
        e->stopped = true;
    ret->end = x.end;
    return st;
}

enum status rocks__manifest_note(struct rocks *e, const char *dir, struct err *err)
{
    char path[ROCKS_PATH_MAX];
    struct note n;
    struct buf text = BUF_INIT;
    enum status st = sure_end(e, dir, &n, err);
    if (st == ST_NOT_FOUND) /* it was replaced in between, and what that was synced with CURRENT */
        st = sure_end(e, dir, &n, err);
    if (st != ST_OK)
        return st;
    snprintf(path, sizeof(path), "%s/manifest.end", dir);
    st = buf_printf(&text, note_format, n.name, n.end);
    if (st == ST_OK)
        st = buf_printf(&text, " %08" PRIx32 "\n", crc32c(0, text.data, text.len));
    st = st == ST_OK ? env_write_file(e->env, path, buf_bytes(&text), err)
                     : err_set(err, ST_NO_MEMORY, "%s", path);
    buf_deinit(&text);
    return st;
}

/* NOT_FOUND: there is none, or it tells nothing. */
static enum status read_note(struct rocks *e, struct note *ret, struct err *err)
{
    char path[ROCKS_PATH_MAX], again[ROCKS_MANIFEST_NAME + 40];
    struct buf content = BUF_INIT;
    uint32_t sum = 0;
    snprintf(path, sizeof(path), "%s/manifest.end", e->dir);
    enum status st = env_read_file(e->env, path, 256, &content, err);
    const char *text = st == ST_OK ? buf_cstr(&content) : NULL;
    if (st == ST_OK && !text)
        st = err_set(err, ST_NO_MEMORY, "%s", path);
    if (st == ST_OK &&
        sscanf(text, "manifest %31s %" SCNu64 " %" SCNx32, ret->name, &ret->end, &sum) == 3) {
        int n = snprintf(again, sizeof(again), note_format, ret->name, ret->end);
        if (crc32c(0, again, (size_t)n) == sum)
            goto out;
    }
    if (st == ST_OK || st == ST_TOO_LARGE) {
        st = ST_NOT_FOUND;
        log_at(LOG_WARN, "engine", "this file is damaged; it only helps to tell rot from torn ends",
               LOG_FSTR("file", path));
    }
out:
    buf_deinit(&content);
    return st;
}

enum status rocks__manifest_check(struct rocks *e, struct err *err)
{
    char name[ROCKS_MANIFEST_NAME], path[ROCKS_PATH_MAX];
    struct note n;
    struct extent x;
    struct err ignored;
    enum status st = read_note(e, &n, err);
    if (st == ST_OK && find(e, e->dir, name, path, &ignored) != ST_OK)
        return ST_OK; /* RocksDB will say what it misses */
    bool same = st == ST_OK && strcmp(n.name, name) == 0;
    if (st == ST_OK && !same && number_of(n.name) > number_of(name))
        return ST_OK; /* the note is of a manifest that CURRENT never came to name for good */
    if (st == ST_OK)
        st = measure(e, path, UINT64_MAX, UINT64_MAX, &x, err);
    if (st == ST_NOT_FOUND)
        return ST_OK;
    if (st == ST_OK && (same ? x.end < n.end : x.records < STATE_RECORDS))
        st = err_set(err, ST_CORRUPT, "%s: offset %" PRIu64 ": a record that was synced is damaged",
                     path, x.end);
    return st;
}

/* ---- taking changes off the end ---- */

/* Nothing was ever linked into this DB: its very first opening was cut. */
static bool never_filled(struct rocks *e)
{
    char path[ROCKS_PATH_MAX];
    struct buf names = BUF_INIT;
    struct err ignored;
    snprintf(path, sizeof(path), "%s/rocks", e->dir);
    bool filled = env_list(e->env, path, &names, &ignored) != ST_OK;
    for (size_t at = 0; at < names.len && !filled;) {
        const char *name = (const char *)names.data + at;
        size_t len = strlen(name);
        filled = len > 4 && strcmp(name + len - 4, ".sst") == 0;
        at += len + 1;
    }
    buf_deinit(&names);
    return !filled;
}

/* How far changes may be taken off; false: not at all. */
static bool find_bound(struct rocks *e, const char *name, const char *path, uint64_t *ret)
{
    struct note n;
    struct extent x;
    struct err ignored;
    enum status st = read_note(e, &n, &ignored);
    *ret = 0;
    if (st == ST_NOT_FOUND)
        return never_filled(e);
    if (st != ST_OK)
        return false;
    *ret = n.end;
    if (strcmp(n.name, name) == 0)
        return true;
    if (number_of(n.name) > number_of(name) ||
        measure(e, path, UINT64_MAX, STATE_RECORDS, &x, &ignored) != ST_OK)
        return false;
    *ret = x.end;
    return x.records == STATE_RECORDS;
}

static enum status read_tail(struct rocks *e, struct rocks_cut *c, uint64_t size)
{
    struct env_file *f = NULL;
    struct err ignored;
    size_t got = 0;
    if (size < c->bound || size - c->bound > TAIL_MAX)
        return ST_TOO_LARGE;
    size_t want = (size_t)(size - c->bound);
    enum status st = buf_reserve(&c->tail, want ? want : 1);
    if (st == ST_OK)
        st = env_open(e->env, c->path, ENV_READ, &f, &ignored);
    if (st == ST_OK)
        st = env_pread(f, c->bound, c->tail.data, want, &got, &ignored);
    env_close(f);
    c->tail.len = got;
    return st == ST_OK && got != want ? ST_CORRUPT : st;
}

/* `tail` (may be empty) is all that follows `at` from now on. */
static enum status end_with(struct rocks *e, const char *path, uint64_t at, struct bytes tail,
                            struct err *err)
{
    struct env_file *f = NULL;
    enum status st = env_open(e->env, path, ENV_READ | ENV_WRITE, &f, err);
    if (st == ST_OK)
        st = env_truncate(f, at, err);
    if (st == ST_OK && tail.len)
        st = env_pwritev(f, at, &tail, 1, err);
    if (st == ST_OK)
        st = env_sync(f, err);
    env_close(f);
    return st;
}

bool rocks__manifest_cut(struct rocks *e, struct rocks_cut *c, const char *message)
{
    char name[ROCKS_MANIFEST_NAME];
    struct extent x;
    struct err err;
    bool torn = strncmp(message, "Corruption", 10) == 0 && strstr(message, "MANIFEST-");
    if (!torn && !strstr(message, "No such file or directory"))
        return false;
    if (!c->begun) {
        if (find(e, e->dir, name, c->path, &err) != ST_OK ||
            !find_bound(e, name, c->path, &c->bound))
            return false;
        if (measure(e, c->path, UINT64_MAX, UINT64_MAX, &x, &err) != ST_OK ||
            read_tail(e, c, x.size) != ST_OK)
            return false;
        c->end = x.size;
        c->begun = true;
        log_at(LOG_WARN, "engine", "the manifest's last changes did not come to an end",
               LOG_FSTR("dir", e->dir), LOG_FSTR("why", message));
    }
    if (c->end <= c->bound || measure(e, c->path, c->end - 1, UINT64_MAX, &x, &err) != ST_OK ||
        x.end < c->bound)
        return false;
    c->end = x.end;
    return end_with(e, c->path, c->end, BYTES_EMPTY, &err) == ST_OK;
}

void rocks__manifest_settle(struct rocks *e, struct rocks_cut *c, bool opened)
{
    struct err err;
    err_init(&err);
    if (c->begun && opened)
        log_at(LOG_WARN, "engine", "opened without them", LOG_FSTR("manifest", c->path));
    else if (c->begun && end_with(e, c->path, c->bound, buf_bytes(&c->tail), &err) != ST_OK)
        log_at(LOG_ERROR, "engine", "the manifest could not be put back as it was",
               LOG_FSTR("why", err.detail));
    buf_deinit(&c->tail);
}
