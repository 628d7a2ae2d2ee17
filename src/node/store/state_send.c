#include "node/store/state.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "node/store/state_internal.h"

/* The stream is made block by block from a walk over the snapshot's rows. Every RESTART_BYTES the
 * walk's position is noted, with what the sums were there, so that a receiver that is further back
 * (another one, or one whose chunk was lost) does not cost the whole walk. */
enum { RESTART_BYTES = 8 * 1024 * 1024 };

struct restart {
    uint64_t offset, rows;
    uint32_t crc;
    uint8_t family;
    struct buf key;
};

struct store_state {
    struct snap *snap;
    struct engine_export *x;
    struct engine_mark mark;
    /* The block at hand; `rows` and `crc` are of all before it. */
    struct buf block;
    uint64_t offset, rows;
    uint32_t crc, block_rows;
    bool have, last;
    struct restart *restarts;
    size_t n_restarts, cap_restarts;
};

enum status store_state_pin(struct store *s, struct store_state **ret, struct err *err)
{
    const struct engine_interval all = {BYTES_EMPTY, BYTES_EMPTY};
    struct store_state *st = mem_zalloc(sizeof(*st));
    if (!st)
        return err_set(err, ST_NO_MEMORY, "no memory to send a state");
    struct view *v = store__view(s);
    st->snap = snap_ref(v->snap);
    view_unref(v);
    struct engine *e = st->snap->engine;
    enum status rc = e->ops->export_open(e, st->snap->snapshot, RANGE_FIRST, &all, &st->x, err);
    if (rc == ST_OK) {
        st->mark = engine_export_mark(st->x);
        if (st->mark.index == 0)
            rc = err_set(err, ST_PRECONDITION_FAILED, "%s: nothing was drained yet", s->dir);
    }
    if (rc != ST_OK) {
        store_state_release(st);
        return rc;
    }
    *ret = st;
    return ST_OK;
}

struct engine_mark store_state_mark(const struct store_state *st)
{
    return st->mark;
}

void store_state_release(struct store_state *st)
{
    if (!st)
        return;
    engine_export_close(st->x);
    snap_unref(st->snap);
    for (size_t i = 0; i < st->n_restarts; i++)
        buf_deinit(&st->restarts[i].key);
    mem_free(st->restarts);
    buf_deinit(&st->block);
    mem_free(st);
}

/* ---- blocks ---- */

static enum status make_header(struct store_state *st)
{
    uint8_t head[STATE_HEADER];
    state__header_encode(&st->mark, head);
    buf_clear(&st->block);
    return buf_append(&st->block, head, sizeof(head));
}

static enum status note_restart(struct store_state *st, const struct engine_export_row *row)
{
    uint64_t before = st->n_restarts ? st->restarts[st->n_restarts - 1].offset : 0;
    if (st->offset < before + RESTART_BYTES)
        return ST_OK;
    if (st->n_restarts == st->cap_restarts) {
        size_t cap = st->cap_restarts ? st->cap_restarts * 2 : 8;
        struct restart *v = mem_realloc(st->restarts, cap * sizeof(*v));
        if (!v)
            return ST_NO_MEMORY;
        st->restarts = v;
        st->cap_restarts = cap;
    }
    struct restart *r = &st->restarts[st->n_restarts];
    *r = (struct restart){
        .offset = st->offset, .rows = st->rows, .crc = st->crc, .family = row->family};
    enum status rc = buf_append(&r->key, row->key.data, row->key.len);
    st->n_restarts += rc == ST_OK;
    return rc;
}

static enum status add_row(struct buf *b, const struct engine_export_row *row)
{
    enum status rc = buf_reserve(b, STATE_ROW_HEADER + row->key.len + row->value.len);
    if (rc == ST_OK)
        rc = buf_append_u8(b, row->family);
    if (rc == ST_OK)
        rc = buf_append_le32(b, (uint32_t)row->key.len);
    if (rc == ST_OK)
        rc = buf_append_le32(b, (uint32_t)row->value.len);
    if (rc == ST_OK)
        rc = buf_append(b, row->key.data, row->key.len);
    return rc == ST_OK ? buf_append(b, row->value.data, row->value.len) : rc;
}

static enum status make_end(struct store_state *st)
{
    enum status rc = buf_append_le64(&st->block, st->rows);
    if (rc == ST_OK)
        rc = buf_append_le64(&st->block, st->offset);
    return rc == ST_OK ? buf_append_le32(&st->block, st->crc) : rc;
}

/* Rows from the walk, or the end; `offset`, `rows` and `crc` are those of the new block already. */
static enum status fill_block(struct store_state *st, struct err *err)
{
    static const uint8_t blank[STATE_BLOCK_HEADER];
    struct engine_export_row row;
    int more = 1;
    buf_clear(&st->block);
    st->block_rows = 0;
    enum status rc = buf_append(&st->block, blank, sizeof(blank));
    while (rc == ST_OK && st->block.len < STATE_BLOCK_BYTES &&
           (more = engine_export_next(st->x, &row, err)) > 0) {
        if (st->block_rows == 0)
            rc = note_restart(st, &row);
        if (rc == ST_OK)
            rc = add_row(&st->block, &row);
        st->block_rows++;
    }
    if (more < 0)
        return (enum status) - more;
    st->last = rc == ST_OK && st->block_rows == 0;
    if (st->last)
        rc = make_end(st);
    if (rc != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a block of the state");
    state__block_seal(st->block.data, st->block.len, st->block_rows,
                      st->last ? STATE_END : STATE_ROWS);
    return ST_OK;
}

static enum status next_block(struct store_state *st, struct err *err)
{
    st->crc = crc32c(st->crc, st->block.data, st->block.len);
    st->offset += st->block.len;
    st->rows += st->block_rows;
    /* Until the block is whole the walk is somewhere in it. */
    st->have = false;
    enum status rc = fill_block(st, err);
    st->have = rc == ST_OK;
    return rc;
}

/* To the last known place at or before `offset`. */
static enum status go_back(struct store_state *st, uint64_t offset, struct err *err)
{
    const struct restart *at = NULL;
    for (size_t i = 0; i < st->n_restarts && st->restarts[i].offset <= offset; i++)
        at = &st->restarts[i];
    st->have = st->last = false;
    st->block_rows = 0;
    st->offset = at ? at->offset : 0;
    st->rows = at ? at->rows : 0;
    st->crc = at ? at->crc : 0;
    enum status rc;
    if (at) {
        rc = engine_export_seek(st->x, at->family, buf_bytes(&at->key), err);
        if (rc == ST_OK)
            rc = fill_block(st, err);
    } else {
        engine_export_rewind(st->x);
        rc = make_header(st);
        if (rc != ST_OK)
            err_set(err, rc, "no memory for a block of the state");
    }
    st->have = rc == ST_OK;
    return rc;
}

enum status store_state_read(struct store_state *st, uint64_t offset, size_t max_bytes,
                             struct buf *ret, bool *ret_last, struct err *err)
{
    enum status rc = ST_OK;
    if (max_bytes == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "max_bytes is 0");
    buf_clear(ret);
    if (!st->have || offset < st->offset)
        rc = go_back(st, offset, err);
    while (rc == ST_OK && ret->len < max_bytes) {
        uint64_t at = offset + ret->len, end = st->offset + st->block.len;
        if (at >= end && st->last)
            break;
        if (at >= end) {
            rc = next_block(st, err);
            continue;
        }
        size_t n = (size_t)(end - at);
        n = n < max_bytes - ret->len ? n : max_bytes - ret->len;
        if (buf_append(ret, st->block.data + (at - st->offset), n) != ST_OK)
            rc = err_set(err, ST_NO_MEMORY, "no memory for %zu bytes of the state", max_bytes);
    }
    if (rc != ST_OK)
        return rc;
    if (offset + ret->len > st->offset + st->block.len || (ret->len == 0 && st->last))
        return err_set(err, ST_INVALID_ARGUMENT, "offset %llu lies behind the end of the state",
                       (unsigned long long)offset);
    *ret_last = st->last && offset + ret->len == st->offset + st->block.len;
    return ST_OK;
}
