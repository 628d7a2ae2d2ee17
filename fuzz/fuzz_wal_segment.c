/* fuzz_wal_segment.c - recovery takes any bytes for a log, never crashes, and what it accepts it
 * keeps.
 *
 * The input is cut into files: each begins with a 16-bit length. Every file is a header page's
 * first 96 bytes, then groups (the zeros between are put in). A log that opens is written to,
 * closed and opened again: what was replayed comes again, followed by the new record. Verification
 * agrees with opening. Told to keep what is rotten, it opens whatever opens strictly, and the last
 * entries that were replayed can be read.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "sim/env/sim_env.h"
#include "storage/wal/wal_format.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t n;
    uint32_t crc, last;
    uint64_t range, index; /* of the last entry */
};

static enum status add(void *arg, const struct wal_record *r, struct wal_pos pos, struct err *err)
{
    struct sum *s = arg;
    (void)pos;
    (void)err;
    uint64_t what[3] = {r->range, r->term, r->index};
    s->last = crc32c(crc32c(r->kind, what, sizeof what), r->payload.data, r->payload.len);
    s->crc = crc32c(s->crc, &s->last, sizeof s->last);
    s->n++;
    if (r->kind == WAL_ENTRY) {
        s->range = r->range;
        s->index = r->index;
    }
    return ST_OK;
}

static void write_file(struct env *env, unsigned slot, const uint8_t *data, size_t size)
{
    char path[32];
    struct env_file *f;
    uint8_t head[WAL_SEG_HEADER] = {0};
    size_t n = size < sizeof head ? size : sizeof head;
    memcpy(head, data, n);
    /* Checksums of headers are made right, else hardly a mutation would get past them. */
    uint32_t crc = crc32c(0, head + 12, sizeof head - 12);
    for (int i = 0; i < 4 && size % 2 == 0; i++)
        head[8 + i] = (uint8_t)(crc >> (8 * i));
    (void)snprintf(path, sizeof path, "/log/%08u.seg", slot);
    ASSERT(env_open(env, path, ENV_READ | ENV_WRITE | ENV_CREATE, &f, NULL) == ST_OK);
    ASSERT(env_pwrite(f, 0, head, sizeof head, NULL) == ST_OK);
    if (size > n)
        ASSERT(env_pwrite(f, WAL_SEG_PAGE, data + n, size - n, NULL) == ST_OK);
    ASSERT(env_sync(f, NULL) == ST_OK);
    env_close(f);
}

static void write_files(struct env *env, const uint8_t *data, size_t size)
{
    ASSERT(env_mkdirs(env, "/log", NULL) == ST_OK);
    for (unsigned slot = 0; slot < 8 && size >= 2; slot++) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        write_file(env, slot, data, len);
        data += len;
        size -= len;
    }
    ASSERT(env_sync_dir(env, "/log", NULL) == ST_OK);
}

/* Entries come one behind the other, or not at all. */
static void read_back(struct wal *w, const struct sum *s)
{
    struct wal_entries e = {0};
    uint64_t from = s->index > 3 ? s->index - 3 : 0;
    for (; s->n > 0 && from <= s->index && from < UINT64_MAX; from++) {
        struct err err;
        err_init(&err);
        enum status st = wal_read_entries(w, s->range, from, UINT64_MAX, 1000, &e, &err);
        ASSERT(st == ST_OK || st == ST_NOT_FOUND || st == ST_CORRUPT);
        ASSERT(st != ST_OK || e.n > 0);
        for (size_t i = 0; i < e.n; i++)
            ASSERT(e.v[i].range == s->range && e.v[i].index == from + i &&
                   e.v[i].kind == WAL_ENTRY);
    }
    wal_entries_deinit(&e);
}

static enum status keep(struct env *env, struct err *err)
{
    static const struct wal_options o = {.read_only = true, .keep_rotten = true};
    struct sum s = {0};
    struct wal *w = NULL;
    enum status st = wal_open(env, "/log", &o, add, &s, &w, err);
    ASSERT(st == ST_OK || st == ST_CORRUPT || st == ST_FORMAT_NEWER);
    if (st == ST_OK) {
        read_back(w, &s);
        ASSERT(wal_close(w, err) == ST_OK);
    }
    return st;
}

static bool sane_sizes(const uint8_t *data, size_t size)
{
    /* A header may claim 32 GiB: that is right, but slow to search. */
    for (size_t at = 0; at + 2 <= size;) {
        size_t len = (size_t)data[at] | (size_t)data[at + 1] << 8;
        at += 2;
        for (size_t i = 35; i < 40 && i < len && at + i < size; i++) {
            if (data[at + i] != 0)
                return false;
        }
        if (len >= 35 && at + 34 < size && data[at + 34] > 4)
            return false;
        at += len;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wal_options small = {.segment_bytes = 65536, .first_segment_bytes = 65536};
    if (!sane_sizes(data, size))
        return 0;
    /* Not the seeds' own randomness: two uses of a segment never share a stamp. */
    struct env *env = sim_env_new(&(struct sim_options){.seed = 20261120});
    struct sum before = {0}, after = {0};
    struct wal *w = NULL;
    struct err err;
    err_init(&err);
    write_files(env, data, size);
    enum status verified = wal_verify(env, "/log", NULL, NULL, NULL, &err);
    enum status kept = keep(env, &err);
    enum status st = wal_open(env, "/log", &small, add, &before, &w, &err);
    ASSERT(st != ST_OK || kept == ST_OK);
    ASSERT(st == ST_OK || st == ST_CORRUPT || st == ST_FORMAT_NEWER);
    ASSERT(st == ST_OK || verified != ST_OK);
    if (st == ST_OK) {
        read_back(w, &before);
        struct wal_record r = {.range = 1,
                               .term = 2,
                               .index = 3,
                               .kind = WAL_ENTRY,
                               .payload = BYTES_LIT("after all")};
        ASSERT(wal_append(w, &r, 1, NULL, &err) == ST_OK);
        (void)add(&before, &r, (struct wal_pos){0, 0}, NULL);
        ASSERT(wal_close(w, &err) == ST_OK);
        st = wal_open(env, "/log", &small, add, &after, &w, &err);
        if (st != ST_OK)
            (void)fprintf(stderr, "%s\n", err.detail);
        ASSERT(st == ST_OK);
        ASSERT(after.n == before.n && after.crc == before.crc && after.last == before.last);
        ASSERT(wal_close(w, &err) == ST_OK);
    }
    sim_env_free(env);
    return 0;
}
