/* engine_scan.c - rows in key order, at the snapshot's present or at an older time.
 *
 * The present walks `live` alone, whatever lies in the past. An older time merges two walks by key:
 * `live`, and the distinct keys of `past`. Where both stand on one key, its live row wins when it
 * is old enough; else the newest past row at or below the time. Every key costs at most two seeks
 * in `past`, however many versions it has. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_view.h"

enum { STEPS_BEFORE_SEEK = 4 };

struct scan {
    struct engine_iter base;
    struct engine_view *view;
    struct version at;
    bool reverse, keys_only, started, merge, empty;
    struct buf lower, upper;           /* of live */
    struct buf past_lower, past_upper; /* of past */
    struct engine_cursor *live, *past;
    struct buf past_key;    /* routing key that the past walk stands on */
    struct buf past_prefix; /* the same encoded */
    struct buf seek;
    bool move_live, move_past; /* what the next call steps first */
    bool past_valid;
};

static void scan_close(struct engine_iter *it)
{
    struct scan *s = (struct scan *)it;
    engine_cursor_close(s->live);
    engine_cursor_close(s->past);
    buf_deinit(&s->lower);
    buf_deinit(&s->upper);
    buf_deinit(&s->past_lower);
    buf_deinit(&s->past_upper);
    buf_deinit(&s->past_key);
    buf_deinit(&s->past_prefix);
    buf_deinit(&s->seek);
    mem_free(s);
}

static enum status first(struct scan *s, struct engine_cursor *c, const struct buf *lower,
                         const struct buf *upper, struct err *err)
{
    if (s->reverse)
        return c->ops->seek_before(c, buf_bytes(upper), err);
    return c->ops->seek(c, buf_bytes(lower), err);
}

static enum status step(struct scan *s, struct engine_cursor *c, struct err *err)
{
    return s->reverse ? c->ops->prev(c, err) : c->ops->next(c, err);
}

static enum status past_prefix_at(struct scan *s, struct bytes *ret, struct err *err)
{
    struct version version;
    if (!engine_past_split(s->past->key, ret, &version))
        return err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded",
                       s->past->key.len);
    return ST_OK;
}

/* Notes which key the past walk stands on. */
static enum status past_note(struct scan *s, struct err *err)
{
    struct bytes prefix;
    s->past_valid = s->past->valid;
    if (!s->past_valid)
        return ST_OK;
    enum status st = past_prefix_at(s, &prefix, err);
    if (st != ST_OK)
        return st;
    buf_clear(&s->past_prefix);
    st = buf_append(&s->past_prefix, prefix.data, prefix.len);
    if (st == ST_OK)
        st = engine_past_unprefix(prefix, &s->past_key);
    return st == ST_OK ? ST_OK : err_set(err, st, "past: key of %zu bytes", prefix.len);
}

/* Leaves the rows of the noted key: a few steps, then a seek. */
static enum status past_leave(struct scan *s, struct err *err)
{
    static const uint8_t past_all[ENGINE_VERSION_BYTES + 1] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct bytes left = buf_bytes(&s->past_prefix), prefix;
    for (int i = 0; i < STEPS_BEFORE_SEEK && s->past->valid; i++) {
        enum status st = past_prefix_at(s, &prefix, err);
        if (st != ST_OK)
            return st;
        /* A get may have run over the end of the key in the direction of older versions. */
        int c = bytes_cmp(prefix, left);
        if (s->reverse ? c < 0 : c > 0)
            return past_note(s, err);
        if (c != 0)
            break;
        st = step(s, s->past, err);
        if (st != ST_OK)
            return st;
    }
    buf_clear(&s->seek);
    enum status st = buf_append(&s->seek, left.data, left.len);
    if (st == ST_OK && !s->reverse)
        st = buf_append(&s->seek, past_all, sizeof(past_all));
    if (st != ST_OK)
        return err_set(err, st, "scan");
    if (s->reverse)
        st = s->past->ops->seek_before(s->past, buf_bytes(&s->seek), err);
    else
        st = s->past->ops->seek(s->past, buf_bytes(&s->seek), err);
    return st == ST_OK ? past_note(s, err) : st;
}

/* The noted key at the scan's time: 1 a put in *ret, 0 nothing there. */
static int past_find(struct scan *s, bool has_live, struct record *ret, struct err *err)
{
    enum status st = engine_past_key(&s->seek, buf_bytes(&s->past_key), s->at);
    if (st != ST_OK)
        return -(int)err_set(err, st, "scan");
    st = s->past->ops->seek(s->past, buf_bytes(&s->seek), err);
    while (st == ST_OK && s->past->valid) {
        struct bytes prefix;
        struct version version;
        bool leftover = false;
        if (!engine_past_split(s->past->key, &prefix, &version))
            return -(int)err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded",
                                 s->past->key.len);
        if (!bytes_eq(prefix, buf_bytes(&s->past_prefix)))
            return 0;
        if (!has_live)
            st = engine_view_leftover(s->view, buf_bytes(&s->past_key), version, &leftover, err);
        if (st != ST_OK)
            break;
        if (leftover) {
            st = s->past->ops->next(s->past, err);
            continue;
        }
        if (!engine_past_decode(s->past->value, version, ret))
            return -(int)err_set(err, ST_CORRUPT, "past: a record of %zu bytes cannot be decoded",
                                 s->past->value.len);
        if (ret->kind == RECORD_FLOOR)
            return -(int)err_set(err, ST_BELOW_HORIZON,
                                 "older versions of a key were vacuumed by count");
        return ret->kind == RECORD_PUT;
    }
    return st == ST_OK ? 0 : -(int)st;
}

static enum status advance(struct scan *s, struct err *err)
{
    enum status st = ST_OK;
    if (!s->started) {
        st = first(s, s->live, &s->lower, &s->upper, err);
        if (st == ST_OK && s->merge)
            st = first(s, s->past, &s->past_lower, &s->past_upper, err);
        if (st == ST_OK && s->merge)
            st = past_note(s, err);
        s->started = true;
        return st;
    }
    if (s->move_live)
        st = step(s, s->live, err);
    if (st == ST_OK && s->move_past)
        st = past_leave(s, err);
    return st;
}

static int scan_next(struct engine_iter *it, struct engine_row *ret, struct err *err)
{
    struct scan *s = (struct scan *)it;
    if (s->empty)
        return 0;
    for (;;) {
        enum status st = advance(s, err);
        if (st != ST_OK)
            return -(int)st;
        bool live = s->live->valid, past = s->merge && s->past_valid;
        s->move_live = s->move_past = false;
        if (!live && !past)
            return 0;
        int c = !past ? -1 : !live ? 1 : bytes_cmp(s->live->key, buf_bytes(&s->past_key));
        if (s->reverse && live && past)
            c = -c;
        s->move_live = c <= 0;
        s->move_past = c >= 0;
        struct record rec;
        int found = 0;
        struct bytes key = c <= 0 ? s->live->key : buf_bytes(&s->past_key);
        if (c <= 0) {
            if (!engine_live_decode(s->live->value, &rec))
                return -(int)err_set(err, ST_CORRUPT,
                                     "live: a record of %zu bytes cannot be decoded",
                                     s->live->value.len);
            found = version_cmp(rec.version, s->at) <= 0;
        }
        if (!found && c >= 0)
            found = past_find(s, c == 0, &rec, err);
        if (found < 0)
            return found;
        if (found) {
            if (s->keys_only)
                rec.value = BYTES_EMPTY;
            *ret = (struct engine_row){key, rec};
            return 1;
        }
    }
}

static const struct engine_iter_ops scan_ops = {scan_next, scan_close};

static bool present(const struct engine_view *v, struct version at)
{
    for (size_t i = 0; i < v->n_marks; i++) {
        if (version_cmp(at, v->marks[i].mark.version) < 0)
            return false;
    }
    return true;
}

static enum status scan_bounds(struct scan *s, const struct engine_interval *in)
{
    /* The marks lie above every routing key, so an open end stops there. */
    struct bytes upper = in->upper.len && !engine_key_reserved(in->upper)
                             ? in->upper
                             : BYTES_LIT("\xff\xff\xff\xff");
    enum status st = buf_append(&s->lower, in->lower.data, in->lower.len);
    if (st == ST_OK)
        st = buf_append(&s->upper, upper.data, upper.len);
    if (st == ST_OK && s->merge)
        st = engine_past_prefix(&s->past_lower, in->lower.data ? in->lower : BYTES_EMPTY);
    if (st == ST_OK && s->merge)
        st = engine_past_prefix(&s->past_upper, upper);
    return st;
}

enum status engine_view_scan(struct engine_view *v, const struct engine_scan *q,
                             struct engine_iter **ret, struct err *err)
{
    struct scan *s = mem_zalloc(sizeof(*s));
    if (!s)
        return err_set(err, ST_NO_MEMORY, "scan");
    s->base.ops = &scan_ops;
    s->view = v;
    s->at = q->at;
    s->reverse = q->reverse;
    s->keys_only = q->keys_only;
    s->merge = !present(v, q->at);
    enum status st = scan_bounds(s, &q->in);
    if (st != ST_OK)
        err_set(err, st, "scan");
    s->empty = st == ST_OK && bytes_cmp(buf_bytes(&s->lower), buf_bytes(&s->upper)) >= 0;
    if (st == ST_OK && !s->empty) {
        struct engine_interval in = {buf_bytes(&s->lower), buf_bytes(&s->upper)};
        st = v->ops->cursor(v, ENGINE_LIVE, 0, &in, &s->live, err);
    }
    if (st == ST_OK && s->merge && !s->empty) {
        struct engine_interval in = {buf_bytes(&s->past_lower), buf_bytes(&s->past_upper)};
        st = v->ops->cursor(v, ENGINE_PAST, 0, &in, &s->past, err);
    }
    if (st != ST_OK) {
        scan_close(&s->base);
        return st;
    }
    *ret = &s->base;
    return ST_OK;
}
