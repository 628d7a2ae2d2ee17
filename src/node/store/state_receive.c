#include "node/store/state_receive.h"
#include "base/alloc.h"
#include "base/hash.h"
#include <inttypes.h>

/* The bytes go to DIR/incoming as they come; nothing there is synced or believed. Building reads them
 * once, front to back: each block is checked before its rows are handed to the engine, and what is
 * wrong with the whole comes out before the engine is told its mark, without which it counts for
 * nothing. */

static enum status path_of(const struct store *s, struct buf *ret, struct err *err)
{
    buf_clear(ret);
    if (buf_printf(ret, "%s/%s", s->dir, STORE_INCOMING) != ST_OK || !buf_cstr(ret))
        return err_set(err, ST_NO_MEMORY, "no memory for a path");
    return ST_OK;
}

static void remove_file(struct store_incoming *in)
{
    struct buf path = BUF_INIT;
    env_close(in->file);
    in->file = NULL;
    if (path_of(in->s, &path, NULL) == ST_OK)
        (void)!env_unlink(in->s->env, buf_cstr(&path), NULL); /* or the next opening does */
    buf_deinit(&path);
}

static enum status claim(struct store *s, struct err *err)
{
    if (s->o.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", s->dir);
    store__tidy(s, true);
    env_mutex_lock(&s->state_lock);
    bool busy = s->receiving || atomic_load(&s->old_homes) > 0;
    s->receiving = s->receiving || !busy;
    env_mutex_unlock(&s->state_lock);
    return busy ? err_set(err, ST_OVERLOADED,
                          "%s: another state is coming in, or readers still use the last one",
                          s->dir)
                : ST_OK;
}

enum status store_incoming_begin(struct store *s, struct store_incoming **ret, struct err *err)
{
    struct buf path = BUF_INIT;
    enum status st = claim(s, err);
    if (st != ST_OK)
        return st;
    struct store_incoming *in = mem_zalloc(sizeof(*in));
    if (!in) {
        state__unclaim(s);
        return err_set(err, ST_NO_MEMORY, "no memory to receive a state");
    }
    in->s = s;
    st = path_of(s, &path, err);
    if (st == ST_OK)
        st = env_open(s->env, buf_cstr(&path), ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNC,
                      &in->file, err);
    buf_deinit(&path);
    if (st != ST_OK) {
        store_incoming_end(in);
        return st;
    }
    *ret = in;
    return ST_OK;
}

enum status store_incoming_append(struct store_incoming *in, uint64_t offset, struct bytes data,
                                  struct err *err)
{
    uint64_t free;
    if (!in->file || offset != in->bytes)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "a state's bytes from %" PRIu64 " on, %" PRIu64 " are there", offset,
                       in->bytes);
    enum status st = env_free_space(in->s->env, in->s->dir, &free, err);
    if (st == ST_OK && free < data.len + STATE_FREE_BYTES)
        st = err_set(err, ST_DISK_FULL,
                     "%s: a state is coming in, and %" PRIu64 " bytes are free; %d are left alone",
                     in->s->dir, free, STATE_FREE_BYTES);
    if (st == ST_OK && data.len)
        st = env_pwrite(in->file, offset, data.data, data.len, err);
    if (st == ST_OK)
        in->bytes += data.len;
    return st;
}

/* ---- reading it back ---- */

struct feed {
    struct store_incoming *in;
    struct buf block; /* with its header */
    size_t at;        /* into the rows */
    uint32_t left;    /* rows of it */
    uint64_t offset;  /* behind the block */
    uint64_t rows;
    uint32_t crc;
    struct engine_mark mark;
};

static enum status wrong(uint64_t offset, const char *what, struct err *err)
{
    return err_set(err, ST_CORRUPT, "state, offset %" PRIu64 ": %s", offset, what);
}

static enum status read_at(struct feed *f, size_t len, struct err *err)
{
    size_t got;
    if (buf_reserve(&f->block, len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a block of a state");
    enum status st = env_pread(f->in->file, f->offset + f->block.len, f->block.data + f->block.len,
                               len, &got, err);
    if (st != ST_OK)
        return st;
    f->block.len += got;
    return got == len ? ST_OK : wrong(f->offset, "it ends in the middle", err);
}

static void taken(struct feed *f)
{
    f->crc = crc32c(f->crc, f->block.data, f->block.len);
    f->offset += f->block.len;
}

static enum status read_header(struct feed *f, struct err *err)
{
    buf_clear(&f->block);
    enum status st = read_at(f, STATE_HEADER, err);
    if (st == ST_OK)
        st = state__header_decode(f->block.data, &f->mark, err);
    if (st == ST_OK)
        taken(f);
    return st;
}

static enum status check_end(struct feed *f, const struct state_block *b, struct err *err)
{
    uint64_t rows, bytes;
    uint32_t crc;
    if (!state__end_decode(BYTES(f->block.data + STATE_BLOCK_HEADER, b->length), &rows, &bytes,
                           &crc))
        return wrong(f->offset, "its end does not decode", err);
    if (rows != f->rows || bytes != f->offset || crc != f->crc)
        return wrong(f->offset, "it is not what its end says", err);
    if (f->offset + f->block.len != f->in->bytes)
        return wrong(f->offset + f->block.len, "bytes behind the end", err);
    return ST_OK;
}

/* The next block with rows; *ret_end: there is none, and all was well. */
static enum status read_block(struct feed *f, bool *ret_end, struct err *err)
{
    struct state_block b;
    buf_clear(&f->block);
    f->at = 0;
    enum status st = read_at(f, STATE_BLOCK_HEADER, err);
    if (st == ST_OK && !state__block_decode(f->block.data, &b))
        st = wrong(f->offset, "no block begins here", err);
    if (st == ST_OK)
        st = read_at(f, b.length, err);
    if (st == ST_OK && !state__block_sound(f->block.data, &b))
        st = wrong(f->offset, "the block's checksum does not hold", err);
    if (st != ST_OK)
        return st;
    *ret_end = b.kind == STATE_END;
    if (*ret_end)
        return check_end(f, &b, err);
    f->left = b.rows;
    f->rows += b.rows;
    taken(f);
    return ST_OK;
}

static enum status next_row(void *arg, uint8_t *family, struct bytes *key, struct bytes *value,
                            bool *end, struct err *err)
{
    struct feed *f = arg;
    *end = false;
    enum status st = f->left ? ST_OK : read_block(f, end, err);
    if (st != ST_OK || *end)
        return st;
    struct bytes rows = {f->block.data + STATE_BLOCK_HEADER, f->block.len - STATE_BLOCK_HEADER};
    if (!state__row_next(rows, &f->at, family, key, value) || (--f->left == 0 && f->at != rows.len))
        return wrong(f->offset - f->block.len, "the block's rows do not decode", err);
    return ST_OK;
}

static enum status ingest(struct feed *f, struct err *err)
{
    const struct engine_interval all = {BYTES_EMPTY, BYTES_EMPTY};
    struct store *s = f->in->s;
    struct engine_mark got;
    unsigned folder = 1 - s->home->folder;
    /* It may be the one that VARVE names by now (state_install.c, write_place). */
    if (atomic_load(&s->poisoned))
        return err_set(err, ST_POISONED, "%s: only the next opening can tell where its engine is",
                       s->dir);
    enum status st = store__folder_clear(s, folder, err);
    if (st == ST_OK)
        st = home_open(s, folder, &f->in->home, err);
    if (st != ST_OK)
        return st;
    struct engine *e = f->in->home->engine;
    st = e->ops->ingest(e, RANGE_FIRST, &all, next_row, f, &f->mark, err);
    if (st == ST_OK)
        st = e->ops->persisted(e, RANGE_FIRST, &got, err);
    if (st == ST_OK &&
        (got.index != f->mark.index || got.term != f->mark.term ||
         version_cmp(got.version, f->mark.version) != 0 || got.note_len != f->mark.note_len ||
         memcmp(got.note, f->mark.note, got.note_len) != 0))
        st = err_set(err, ST_INTERNAL, "%s: the engine that was built has another mark", s->dir);
    /* The folder's own name, before a file can speak of it. */
    return st == ST_OK ? env_sync_dir(s->env, s->dir, err) : st;
}

void store_incoming_note(struct store_incoming *in, struct bytes note)
{
    ASSERT(!in->built && note.len <= ENGINE_NOTE_MAX);
    in->mark.note_len = (uint16_t)note.len;
    if (note.len)
        memcpy(in->mark.note, note.data, note.len);
}

enum status store_incoming_build(struct store_incoming *in, struct engine_mark *ret,
                                 struct err *err)
{
    struct feed f = {.in = in};
    struct err mine;
    err = err ? err : &mine;
    if (!in->file)
        return err_set(err, ST_INVALID_ARGUMENT, "the state was built already, or failed to be");
    enum status st = read_header(&f, err);
    f.mark.note_len = in->mark.note_len;
    memcpy(f.mark.note, in->mark.note, sizeof f.mark.note);
    if (st == ST_OK)
        st = ingest(&f, err);
    buf_deinit(&f.block);
    remove_file(in);
    if (st != ST_OK)
        return st;
    in->mark = *ret = f.mark;
    in->built = true;
    return ST_OK;
}

void state__unclaim(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    s->receiving = false;
    env_mutex_unlock(&s->state_lock);
}

void store_incoming_end(struct store_incoming *in)
{
    if (!in)
        return;
    struct store *s = in->s;
    if (in->file)
        remove_file(in);
    if (in->home) { /* it was not installed */
        /* Unless it may be the one that VARVE names by now (state_install.c, write_place), its files
         * go. */
        in->home->replaced = !atomic_load(&s->poisoned);
        if (in->home->replaced)
            atomic_fetch_add(&s->old_homes, 1);
        home_unref(in->home);
        store__tidy(s, true);
    }
    state__unclaim(s);
    mem_free(in);
}
