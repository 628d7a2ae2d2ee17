/* rocks_filters.c - the filters, indexes and properties of the sorted files, against their checksums.
 *
 * A walk over all rows never reads a filter, and a get that finds one broken goes on without it. The index
 * of an open file it may find in memory, whatever became of the file since; and its properties, without
 * which it cannot be opened again. So verify reads them itself.
 * What it knows of a file (BlockBasedTable, format version 5):
 *     end of file: checksum type (1) | handle of the meta index, handle of the index, zeros (40) |
 *                  version (4) | magic (8)
 *     a handle:    offset, size (varints); behind the block: type of compression (1), checksum (4)
 *     meta index:  (shared, own, value length: varints | rest of the name | handle) ...
 *                  | restarts (4 each) | their count (4)
 *     filter:      "fullfilter." names it whole, "partitionedfilter." an index of its parts:
 *                  (0, length of key: varints | key | handle) ... | restarts, their count as above
 *     properties:  entries like those of the meta index, with values. Linking a file in writes its number
 *                  into that of GLOBAL_SEQNO, where zeros were, and leaves the checksum as it was; only an
 *                  open holds that number against the manifest */
#include "base/alloc.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>
#include <stdio.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define MAGIC UINT64_C(0x88e241b785f4cff7)
enum {
    FOOTER = 53,
    HANDLES_AT = 1,
    HANDLES_END = 41,
    FORMAT_VERSION = 5, /* as rocks_options.c sets it */
    TRAILER = 5,
    CHECKSUM_XXH3 = 4,
    BLOCK_MAX = 256 << 20,
    NAME_MAX_BYTES = 128,
};
#define LAST_BYTE_PRIME 0x6b9083d9u
#define GLOBAL_SEQNO    "global_seqno" /* what the name ends in */

struct handle {
    uint64_t offset, size;
};

struct filter_check {
    struct engine_verify *q;
    struct env_file *file;
    char path[ROCKS_DIR_MAX + 300];
    uint64_t size;
    bool linked; /* the block that is read may be one of properties */
};

static bool take_varint(struct bytes *in, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && in->len > 0; shift += 7) {
        uint8_t b = *in->data;
        *in = BYTES(in->data + 1, in->len - 1);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool take_handle(struct bytes *in, struct handle *ret)
{
    return take_varint(in, &ret->offset) && take_varint(in, &ret->size);
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool sum_holds(const uint8_t *block, size_t size)
{
    const uint8_t *type = block + size;
    return ((uint32_t)XXH3_64bits(block, size) ^ *type * LAST_BYTE_PRIME) == le32(type + 1);
}

static bool sum_held_before_linking(uint8_t *block, size_t size)
{
    size_t name = sizeof(GLOBAL_SEQNO) - 1;
    uint8_t *at = memmem(block, size, GLOBAL_SEQNO, name);
    if (!at || size - (size_t)(at - block) < name + 8)
        return false;
    memset(at + name, 0, 8);
    return sum_holds(block, size);
}

/* Reads a block; what does not fit its checksum is reported, and then *ret is empty. */
static enum status read_block(struct filter_check *c, struct handle h, const char *what,
                              struct buf *ret, struct err *err)
{
    size_t got = 0;
    buf_clear(ret);
    if (h.size > BLOCK_MAX || h.offset > c->size || h.size + TRAILER > c->size - h.offset) {
        engine_verify_finding(c->q, c->path, h.offset, "%s: its place lies outside the file", what);
        return ST_OK;
    }
    size_t want = (size_t)h.size + TRAILER;
    enum status st = buf_reserve(ret, want);
    if (st != ST_OK)
        return err_set(err, st, "no memory for a block of %zu bytes", want);
    st = env_pread(c->file, h.offset, ret->data, want, &got, err);
    if (st != ST_OK)
        return st;
    if (got == want && (sum_holds(ret->data, (size_t)h.size) ||
                        (c->linked && sum_held_before_linking(ret->data, (size_t)h.size))))
        ret->len = (size_t)h.size;
    else
        engine_verify_finding(c->q, c->path, h.offset, "%s: the checksum does not hold", what);
    return ST_OK;
}

/* The next entry of the meta index; false: its end. Names that share a beginning are spelled out. */
static bool next_entry(struct bytes *in, char name[NAME_MAX_BYTES], size_t *name_len,
                       struct handle *ret)
{
    uint64_t shared, own, value;
    if (in->len == 0 || !take_varint(in, &shared) || !take_varint(in, &own) ||
        !take_varint(in, &value) || shared > *name_len || own >= NAME_MAX_BYTES - shared ||
        own > in->len || value > in->len - own)
        return false;
    memcpy(name + shared, in->data, (size_t)own);
    *name_len = (size_t)(shared + own);
    name[*name_len] = '\0';
    struct bytes handle = BYTES(in->data + own, (size_t)value);
    *in = BYTES(in->data + own + value, in->len - (size_t)(own + value));
    return take_handle(&handle, ret);
}

/* A block without its restarts. */
static struct bytes entries(const struct buf *block)
{
    uint64_t restarts = block->len >= 4 ? le32(block->data + block->len - 4) : UINT64_MAX;
    if (restarts >= block->len / 4)
        return BYTES_EMPTY;
    return BYTES(block->data, block->len - 4 - (size_t)restarts * 4);
}

static bool next_part(struct bytes *in, struct handle *ret)
{
    uint64_t shared, own;
    if (!take_varint(in, &shared) || !take_varint(in, &own) || shared != 0 || own > in->len)
        return false;
    *in = BYTES(in->data + own, in->len - (size_t)own);
    return take_handle(in, ret);
}

static enum status check_parts(struct filter_check *c, struct handle h, struct err *err)
{
    struct buf index = BUF_INIT, block = BUF_INIT;
    struct handle part;
    enum status st = read_block(c, h, "index of a filter", &index, err);
    struct bytes in = entries(&index);
    bool sound = index.len == 0 || in.len > 0; /* of an empty one read_block has told */
    while (st == ST_OK && sound && in.len > 0) {
        sound = next_part(&in, &part);
        if (sound)
            st = read_block(c, part, "part of a filter", &block, err);
    }
    if (st == ST_OK && !sound)
        engine_verify_finding(c->q, c->path, h.offset, "index of a filter: it cannot be decoded");
    buf_deinit(&index);
    buf_deinit(&block);
    return st;
}

static enum status check_filters(struct filter_check *c, struct buf *index, struct err *err)
{
    char name[NAME_MAX_BYTES] = "";
    size_t name_len = 0;
    struct handle h;
    struct buf block = BUF_INIT;
    enum status st = ST_OK;
    struct bytes in = entries(index);
    while (st == ST_OK && next_entry(&in, name, &name_len, &h)) {
        if (strncmp(name, "fullfilter.", 11) == 0)
            st = read_block(c, h, "filter", &block, err);
        else if (strncmp(name, "partitionedfilter.", 18) == 0)
            st = check_parts(c, h, err);
        else if (strcmp(name, "rocksdb.properties") == 0) {
            c->linked = true;
            st = read_block(c, h, "properties", &block, err);
            c->linked = false;
        }
    }
    buf_deinit(&block);
    return st;
}

static enum status check_file(struct filter_check *c, struct err *err)
{
    uint8_t footer[FOOTER];
    size_t got = 0;
    struct handle meta, rows;
    struct buf index = BUF_INIT;
    enum status st = env_size(c->file, &c->size, err);
    if (st == ST_OK && c->size >= FOOTER)
        st = env_pread(c->file, c->size - FOOTER, footer, FOOTER, &got, err);
    if (st != ST_OK)
        return st;
    struct bytes handles = BYTES(footer + HANDLES_AT, HANDLES_END - HANDLES_AT);
    uint64_t magic =
        got == FOOTER ? (uint64_t)le32(footer + 45) | (uint64_t)le32(footer + 49) << 32 : 0;
    bool sound = magic == MAGIC && footer[0] == CHECKSUM_XXH3 &&
                 le32(footer + HANDLES_END) == FORMAT_VERSION && take_handle(&handles, &meta) &&
                 take_handle(&handles, &rows);
    for (size_t i = 0; sound && i < handles.len; i++)
        sound = handles.data[i] == 0;
    if (!sound) {
        engine_verify_finding(c->q, c->path, c->size, "the end of the file is not one of a table");
        return ST_OK;
    }
    st = read_block(c, meta, "meta index", &index, err);
    if (st == ST_OK && index.len)
        st = check_filters(c, &index, err);
    if (st == ST_OK)
        st = read_block(c, rows, "index", &index, err);
    buf_deinit(&index);
    return st;
}

enum status rocks__verify_filters(struct rocks *e, const rocksdb_livefiles_t *files,
                                  struct engine_verify *q, struct err *err)
{
    struct filter_check *c = mem_zalloc(sizeof(*c));
    if (!c)
        return err_set(err, ST_NO_MEMORY, "verify");
    c->q = q;
    enum status st = ST_OK;
    for (int i = 0; st == ST_OK && i < rocksdb_livefiles_count(files); i++) {
        snprintf(c->path, sizeof(c->path), "%s/rocks%.290s", e->dir,
                 rocksdb_livefiles_name(files, i));
        st = env_open(e->env, c->path, ENV_READ, &c->file, err);
        if (st == ST_NOT_FOUND) { /* merged away since; were it missing, its rows would be */
            st = ST_OK;
            continue;
        }
        if (st == ST_OK)
            st = check_file(c, err);
        env_close(c->file);
        c->file = NULL;
    }
    mem_free(c);
    return st;
}
