#include "storage/engine/engine_view.h"

#include "base/alloc.h"
#include "base/assert.h"

const struct engine_mark_row *engine_view_mark(const struct engine_view *v, uint64_t range)
{
    size_t lo = 0, hi = v->n_marks;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (v->marks[mid].range < range)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < v->n_marks && v->marks[lo].range == range ? &v->marks[lo] : NULL;
}

struct engine_counts engine_view_counts(const struct engine_view *v)
{
    struct engine_counts all = {.known = true};
    for (size_t i = 0; i < v->n_marks; i++) {
        all.known &= v->marks[i].counts.known;
        for (int f = 0; f < ENGINE_FAMILIES; f++)
            all.rows[f] += v->marks[i].counts.rows[f];
    }
    return all;
}

struct mark_list {
    struct engine_mark_row *rows;
    size_t n, cap;
};

static enum status list_add(struct mark_list *l, struct engine_mark_row row)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct engine_mark_row *rows = mem_realloc(l->rows, cap * sizeof(*rows));
        if (!rows)
            return ST_NO_MEMORY;
        l->rows = rows;
        l->cap = cap;
    }
    l->rows[l->n++] = row;
    return ST_OK;
}

static enum status load_marks(struct engine_view *v, struct mark_list *marks, struct err *err)
{
    struct engine_interval in = {BYTES_LIT("\xff\xff\xff\xff"), {0}};
    struct engine_cursor *c = NULL;
    enum status st = v->ops->cursor(v, ENGINE_LIVE, 0, &in, &c, err);
    if (st == ST_OK)
        st = c->ops->seek(c, in.lower, err);
    while (st == ST_OK && c->valid) {
        struct engine_mark_row row;
        if (!engine_mark_decode(c->key, c->value, &row))
            st = err_set(err, ST_CORRUPT, "live: a range's mark cannot be decoded");
        else if (list_add(marks, row) != ST_OK)
            st = err_set(err, ST_NO_MEMORY, "marks of ranges");
        else
            st = c->ops->next(c, err);
    }
    engine_cursor_close(c);
    return st;
}

/* Skips from range to range of `when`, looking past each range's mark. */
static enum status load_halves(struct engine_view *v, struct mark_list *halves, struct err *err)
{
    struct engine_cursor *c = NULL;
    struct buf seek = BUF_INIT;
    enum status st = v->ops->cursor(v, ENGINE_WHEN, 0, NULL, &c, err);
    if (st == ST_OK)
        st = c->ops->seek(c, BYTES_EMPTY, err);
    while (st == ST_OK && c->valid) {
        uint64_t range, at_range;
        struct version version;
        struct bytes key;
        if (!engine_when_split(c->key, &range, &version, &key)) {
            st = c->ops->next(c, err); /* verify names it */
            continue;
        }
        const struct engine_mark_row *m = engine_view_mark(v, range);
        struct engine_mark_row row = m ? *m : (struct engine_mark_row){.range = range};
        st = engine_when_key(&seek, range, engine_version_next(row.mark.version), BYTES_EMPTY);
        if (st == ST_OK)
            st = c->ops->seek(c, buf_bytes(&seek), err);
        if (st == ST_OK && c->valid && engine_when_split(c->key, &at_range, &version, &key) &&
            at_range == range)
            st = list_add(halves, row);
        if (range == UINT64_MAX)
            break;
        if (st == ST_OK)
            st = engine_when_key(&seek, range + 1, VERSION_NONE, BYTES_EMPTY);
        if (st == ST_OK)
            st = c->ops->seek(c, buf_bytes(&seek), err);
    }
    if (st == ST_NO_MEMORY)
        err_set(err, st, "marks of ranges");
    engine_cursor_close(c);
    buf_deinit(&seek);
    return st;
}

enum status engine_view_load(struct engine_view *v, struct engine_mark_row **ret_marks,
                             size_t *ret_n, struct engine_mark_row **ret_halves,
                             size_t *ret_n_halves, struct err *err)
{
    struct mark_list marks = {0}, halves = {0};
    enum status st = load_marks(v, &marks, err);
    if (st == ST_OK) {
        struct engine_view with = *v;
        v->marks = marks.rows;
        v->n_marks = marks.n;
        st = load_halves(v, &halves, err);
        v->marks = with.marks;
        v->n_marks = with.n_marks;
    }
    if (st != ST_OK) {
        mem_free(marks.rows);
        mem_free(halves.rows);
        return st;
    }
    *ret_marks = marks.rows;
    *ret_n = marks.n;
    *ret_halves = halves.rows;
    *ret_n_halves = halves.n;
    return ST_OK;
}

static enum status floor_leftover(struct engine_view *v, struct bytes key, bool *ret,
                                  struct err *err)
{
    struct engine_cursor *c = NULL;
    struct buf row_key = BUF_INIT;
    struct version newest = VERSION_NONE;
    enum status st = v->ops->cursor(v, ENGINE_PAST, ENGINE_ONE_KEY, NULL, &c, err);
    if (st == ST_OK)
        st = engine_view_newest_past(v, c, key, &row_key, &newest, err);
    *ret = version_is_none(newest);
    engine_cursor_close(c);
    buf_deinit(&row_key);
    return st;
}

enum status engine_view_leftover(struct engine_view *v, struct bytes key, struct version version,
                                 bool *ret, struct err *err)
{
    *ret = false;
    if (v->n_halves == 0)
        return ST_OK;
    if (version_is_none(version))
        return floor_leftover(v, key, ret, err);
    struct buf row_key = BUF_INIT;
    enum status st = ST_OK;
    for (size_t i = 0; i < v->n_halves && st == ST_OK && !*ret; i++) {
        if (version_cmp(version, v->halves[i].mark.version) <= 0)
            continue;
        struct bytes value;
        struct engine_pin pin = {0};
        st = engine_when_key(&row_key, v->halves[i].range, version, key);
        if (st != ST_OK) {
            err_set(err, st, "when key");
            break;
        }
        st = v->ops->row(v, ENGINE_WHEN, buf_bytes(&row_key), 0, &value, &pin, err);
        engine_pin_release(&pin);
        *ret = st == ST_OK;
        st = st == ST_NOT_FOUND ? ST_OK : st;
    }
    buf_deinit(&row_key);
    return st;
}

enum status engine_view_live_version(struct engine_view *v, struct bytes key, struct version *ret,
                                     struct err *err)
{
    struct bytes value;
    struct engine_pin pin = {0};
    struct record rec;
    enum status st = v->ops->row(v, ENGINE_LIVE, key, 0, &value, &pin, err);
    if (st == ST_NOT_FOUND) {
        *ret = VERSION_NONE;
        return ST_OK;
    }
    if (st == ST_OK && !engine_live_decode(value, &rec))
        st = err_set(err, ST_CORRUPT, "live: a record of %zu bytes cannot be decoded", value.len);
    if (st == ST_OK)
        *ret = rec.version;
    engine_pin_release(&pin);
    return st;
}

enum status engine_view_newest_past(struct engine_view *v, struct engine_cursor *past,
                                    struct bytes key, struct buf *scratch, struct version *ret,
                                    struct err *err)
{
    enum status st = engine_past_key(scratch, key, VERSION_MAX);
    if (st != ST_OK)
        return err_set(err, st, "past key");
    struct bytes prefix = {scratch->data, scratch->len - ENGINE_VERSION_BYTES};
    st = past->ops->seek(past, buf_bytes(scratch), err);
    while (st == ST_OK && past->valid) {
        struct bytes at_prefix;
        struct version version;
        bool leftover = false;
        if (!engine_past_split(past->key, &at_prefix, &version))
            return err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded",
                           past->key.len);
        if (!bytes_eq(at_prefix, prefix))
            break;
        if (version_is_none(version))
            break; /* only the floor is left */
        st = engine_view_leftover(v, key, version, &leftover, err);
        if (st != ST_OK)
            return st;
        if (!leftover) {
            *ret = version;
            return ST_OK;
        }
        st = past->ops->next(past, err);
    }
    if (st == ST_OK)
        *ret = VERSION_NONE;
    return st;
}

static void release_cursor(void *handle)
{
    engine_cursor_close(handle);
}

/* The newest past version at or below `at`. */
static enum status get_past(struct engine_view *v, struct bytes key, struct version at,
                            bool has_live, unsigned flags, struct record *ret,
                            struct engine_pin *ret_pin, struct err *err)
{
    struct buf row_key = BUF_INIT;
    struct engine_cursor *c = NULL;
    struct record rec;
    enum status st = engine_past_key(&row_key, key, at);
    if (st != ST_OK)
        return err_set(err, st, "past key");
    struct bytes prefix = {row_key.data, row_key.len - ENGINE_VERSION_BYTES};
    st = v->ops->cursor(v, ENGINE_PAST, flags | ENGINE_ONE_KEY, NULL, &c, err);
    if (st != ST_OK)
        goto out;
    st = c->ops->seek(c, buf_bytes(&row_key), err);
    while (st == ST_OK) {
        struct bytes at_prefix;
        struct version version;
        bool leftover = false;
        if (!c->valid) {
            st = ST_NOT_FOUND;
            break;
        }
        if (!engine_past_split(c->key, &at_prefix, &version)) {
            st = err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded", c->key.len);
            break;
        }
        if (!bytes_eq(at_prefix, prefix)) {
            st = ST_NOT_FOUND;
            break;
        }
        if (!has_live)
            st = engine_view_leftover(v, key, version, &leftover, err);
        if (st != ST_OK)
            break;
        if (leftover) {
            st = c->ops->next(c, err);
            continue;
        }
        if (!engine_past_decode(c->value, version, &rec))
            st = err_set(err, ST_CORRUPT, "past: a record of %zu bytes cannot be decoded",
                         c->value.len);
        else if (rec.kind == RECORD_FLOOR)
            st = err_set(err, ST_BELOW_HORIZON, "older versions of the key were vacuumed by count");
        break;
    }
out:
    if (st == ST_OK) {
        *ret = rec;
        *ret_pin = (struct engine_pin){release_cursor, c};
    } else {
        engine_cursor_close(c);
    }
    buf_deinit(&row_key);
    return st;
}

enum status engine_view_get(struct engine_view *v, struct bytes key, struct version at,
                            bool cache_only, struct record *ret, struct engine_pin *ret_pin,
                            struct err *err)
{
    unsigned flags = cache_only ? ENGINE_CACHE_ONLY : 0;
    struct bytes value;
    struct engine_pin pin = {0};
    struct record rec;
    if (engine_key_reserved(key))
        return ST_NOT_FOUND;
    enum status st = v->ops->row(v, ENGINE_LIVE, key, flags, &value, &pin, err);
    if (st == ST_NOT_FOUND)
        return v->deletes ? get_past(v, key, at, false, flags, ret, ret_pin, err) : ST_NOT_FOUND;
    if (st != ST_OK)
        return st;
    if (!engine_live_decode(value, &rec)) {
        engine_pin_release(&pin);
        return err_set(err, ST_CORRUPT, "live: a record of %zu bytes cannot be decoded", value.len);
    }
    if (version_cmp(rec.version, at) <= 0) {
        *ret = rec;
        *ret_pin = pin;
        return ST_OK;
    }
    engine_pin_release(&pin);
    return get_past(v, key, at, true, flags, ret, ret_pin, err);
}
