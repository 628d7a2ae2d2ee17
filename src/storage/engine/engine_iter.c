/* engine_iter.c - the walks along one key's versions (history) and along one range's time
 * (changes). */
#include "base/alloc.h"
#include "storage/engine/engine_view.h"

struct history {
    struct engine_iter base;
    struct engine_view *view;
    struct buf key, seek;
    struct version from;
    enum { HISTORY_LIVE, HISTORY_SEEK, HISTORY_PAST, HISTORY_END } phase;
    bool has_live;
    struct version live_version;
    struct engine_pin live_pin;
    struct engine_cursor *past;
};

static void history_close(struct engine_iter *it)
{
    struct history *h = (struct history *)it;
    engine_pin_release(&h->live_pin);
    engine_cursor_close(h->past);
    buf_deinit(&h->key);
    buf_deinit(&h->seek);
    mem_free(h);
}

/* 1: *ret is the live row; 0: go on with past rows. */
static int history_live(struct history *h, struct engine_row *ret, struct err *err)
{
    struct bytes value;
    struct record rec;
    h->phase = HISTORY_SEEK;
    enum status st =
        h->view->ops->row(h->view, ENGINE_LIVE, buf_bytes(&h->key), 0, &value, &h->live_pin, err);
    if (st == ST_NOT_FOUND) {
        if (!h->view->deletes)
            h->phase = HISTORY_END;
        return 0;
    }
    if (st != ST_OK)
        return -(int)st;
    if (!engine_live_decode(value, &rec))
        return -(int)err_set(err, ST_CORRUPT, "live: a record of %zu bytes cannot be decoded",
                             value.len);
    h->has_live = true;
    h->live_version = rec.version;
    if (version_cmp(rec.version, h->from) > 0)
        return 0;
    *ret = (struct engine_row){buf_bytes(&h->key), rec};
    return 1;
}

static enum status history_seek(struct history *h, struct err *err)
{
    /* Rows at or above the live version are leftovers; those of lower versions come after. */
    struct version from = h->from;
    if (h->has_live && version_cmp(h->live_version, from) < 0)
        from = h->live_version;
    enum status st = engine_past_key(&h->seek, buf_bytes(&h->key), from);
    if (st != ST_OK)
        return err_set(err, st, "past key");
    st = h->view->ops->cursor(h->view, ENGINE_PAST, ENGINE_ONE_KEY, NULL, &h->past, err);
    if (st == ST_OK)
        st = h->past->ops->seek(h->past, buf_bytes(&h->seek), err);
    h->phase = HISTORY_PAST;
    return st;
}

/* The row under the cursor: 1 with *ret, 0 when it is a leftover to step over, 2 when the key's
 * rows are at their end. */
static int history_past(struct history *h, struct engine_row *ret, struct err *err)
{
    struct bytes prefix;
    struct version version;
    bool leftover = false;
    if (!h->past->valid)
        return 2;
    if (!engine_past_split(h->past->key, &prefix, &version))
        return -(int)err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded",
                             h->past->key.len);
    if (!bytes_eq(prefix, (struct bytes){h->seek.data, h->seek.len - ENGINE_VERSION_BYTES}))
        return 2;
    if (h->has_live)
        leftover = version_cmp(version, h->live_version) >= 0;
    else {
        enum status st = engine_view_leftover(h->view, buf_bytes(&h->key), version, &leftover, err);
        if (st != ST_OK)
            return -(int)st;
    }
    if (leftover)
        return 0;
    struct record rec;
    if (!engine_past_decode(h->past->value, version, &rec))
        return -(int)err_set(err, ST_CORRUPT, "past: a record of %zu bytes cannot be decoded",
                             h->past->value.len);
    *ret = (struct engine_row){buf_bytes(&h->key), rec};
    return 1;
}

static int history_next(struct engine_iter *it, struct engine_row *ret, struct err *err)
{
    struct history *h = (struct history *)it;
    if (h->phase == HISTORY_LIVE) {
        int n = history_live(h, ret, err);
        if (n != 0)
            return n;
    }
    while (h->phase != HISTORY_END) {
        enum status st;
        if (h->phase == HISTORY_SEEK)
            st = history_seek(h, err);
        else
            st = h->past->ops->next(h->past, err);
        if (st != ST_OK)
            return -(int)st;
        int n = history_past(h, ret, err);
        if (n == 1 || n < 0)
            return n;
        if (n == 2)
            h->phase = HISTORY_END;
    }
    return 0;
}

static const struct engine_iter_ops history_ops = {history_next, history_close};

enum status engine_view_history(struct engine_view *v, struct bytes key, struct version from,
                                struct engine_iter **ret, struct err *err)
{
    struct history *h = mem_zalloc(sizeof(*h));
    if (!h)
        return err_set(err, ST_NO_MEMORY, "history");
    h->base.ops = &history_ops;
    h->view = v;
    h->from = from;
    h->phase = engine_key_reserved(key) ? HISTORY_END : HISTORY_LIVE;
    enum status st = buf_append(&h->key, key.data, key.len);
    if (st != ST_OK) {
        history_close(&h->base);
        return err_set(err, st, "history");
    }
    *ret = &h->base;
    return ST_OK;
}

struct changes {
    struct engine_iter base;
    struct engine_cursor *when; /* NULL: nothing to walk */
    struct buf lower, upper;
    bool started;
};

static void changes_close(struct engine_iter *it)
{
    struct changes *c = (struct changes *)it;
    engine_cursor_close(c->when);
    buf_deinit(&c->lower);
    buf_deinit(&c->upper);
    mem_free(c);
}

static int changes_next(struct engine_iter *it, struct engine_row *ret, struct err *err)
{
    struct changes *c = (struct changes *)it;
    struct bytes lower = buf_bytes(&c->lower);
    enum status st = ST_OK;
    if (!c->when || (c->started && !c->when->valid))
        return 0;
    if (c->started)
        st = c->when->ops->next(c->when, err);
    else
        st = c->when->ops->seek(c->when, lower, err);
    if (st == ST_OK && !c->started && c->when->valid && bytes_eq(c->when->key, lower))
        st = c->when->ops->next(c->when, err); /* strictly after */
    c->started = true;
    if (st != ST_OK)
        return -(int)st;
    if (!c->when->valid)
        return 0;
    struct engine_row row = {.rec.writer = BYTES_EMPTY, .rec.value = BYTES_EMPTY};
    uint64_t range;
    if (!engine_when_split(c->when->key, &range, &row.rec.version, &row.key) ||
        !engine_when_decode(c->when->value, row.rec.version, &row.rec.kind, &row.rec.parent))
        return -(int)err_set(err, ST_CORRUPT, "when: a row cannot be decoded");
    *ret = row;
    return 1;
}

static const struct engine_iter_ops changes_ops = {changes_next, changes_close};

enum status engine_view_changes(struct engine_view *v, uint64_t range, struct version after,
                                struct bytes after_key, struct engine_iter **ret, struct err *err)
{
    const struct engine_mark_row *m = engine_view_mark(v, range);
    enum status st = ST_OK;
    struct changes *c = mem_zalloc(sizeof(*c));
    if (!c)
        return err_set(err, ST_NO_MEMORY, "changes");
    c->base.ops = &changes_ops;
    if (m && version_cmp(after, m->mark.version) <= 0) {
        st = engine_when_key(&c->lower, range, after, after_key);
        if (st == ST_OK)
            st = engine_when_key(&c->upper, range, engine_version_next(m->mark.version),
                                 BYTES_EMPTY);
        if (st != ST_OK)
            err_set(err, st, "changes");
        struct engine_interval in = {buf_bytes(&c->lower), buf_bytes(&c->upper)};
        if (st == ST_OK)
            st = v->ops->cursor(v, ENGINE_WHEN, 0, &in, &c->when, err);
    }
    if (st != ST_OK) {
        changes_close(&c->base);
        return st;
    }
    *ret = &c->base;
    return ST_OK;
}
