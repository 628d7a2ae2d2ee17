/* engine_vacuum.c - which rows a vacuum removes, in bounded batches that may be cut anywhere.
 *
 * Versions of a key go from the oldest up, so a cut never leaves a gap in a chain; their when rows
 * go before them, so no when row ever points at nothing; a floor is written with the rows it stands
 * for (one family is all or nothing). What was cut is found again by the next vacuum, because that
 * looks at past alone. Meanwhile past has versions without when rows, which verify must not take for
 * lost ones: the mark carries the flag CUT from before the first removal until after the last. Once
 * left there by a cut it stays until a vacuum finds that all rows fit each other again. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_write.h"

#include <stdlib.h>

enum { BATCH_OPS = 16384, BATCH_BYTES = 4 << 20, KEY_VERSIONS = 4096, PROGRESS_ROWS = 1024 };

struct op {
    size_t off, len; /* of the row key in the batch's bytes */
    bool floor;      /* put with the value that follows the key, instead of a removal */
};
struct ops {
    struct op *list;
    size_t n, cap;
    struct buf bytes;
};

struct gone {
    struct version version;
    uint64_t bytes;
};

/* What one key's rows say, gathered from the newest to the oldest. */
struct key_plan {
    struct version live;
    uint64_t index;            /* versions seen, the live one included */
    bool aged;                 /* the newest at or below the horizon was seen */
    bool held;                 /* likewise of the hold: what is older is nobody's */
    struct version first_gone; /* newest version to go; none: nothing goes */
    struct version count_gone; /* newest version to go by count */
    bool clean;                /* the newest to go is a tombstone by age: no floor is needed */
    bool has_floor;
    struct version floor;
    size_t n_gone; /* may exceed what was gathered */
};

struct vacuum {
    struct engine_view *view;
    const struct engine_vacuum *q;
    struct engine_sink *sink;
    uint64_t range;
    struct engine_mark_row before; /* the range's mark, its counts as they come to be */
    struct engine_vacuum_result res;
    struct ops past, when;
    struct gone gone[KEY_VERSIONS];
    struct buf prefix, key, row, value;
    uint64_t removed, bytes; /* waiting in the batch */
    struct engine_counts committed;
    bool floored; /* the key under the cursor has a floor row */
};

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "vacuum");
}

static enum status ops_add(struct ops *o, struct bytes key, struct bytes value)
{
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 256;
        struct op *list = mem_realloc(o->list, cap * sizeof(*list));
        if (!list)
            return ST_NO_MEMORY;
        o->list = list;
        o->cap = cap;
    }
    size_t off = o->bytes.len;
    if (buf_append(&o->bytes, key.data, key.len) != ST_OK ||
        buf_append(&o->bytes, value.data, value.len) != ST_OK)
        return ST_NO_MEMORY;
    o->list[o->n++] = (struct op){off, key.len, value.len != 0};
    return ST_OK;
}

static int when_cmp(const void *pa, const void *pb, void *arg)
{
    const struct op *a = pa, *b = pb;
    const uint8_t *bytes = ((struct ops *)arg)->bytes.data;
    return bytes_cmp((struct bytes){bytes + a->off, a->len},
                     (struct bytes){bytes + b->off, b->len});
}

static enum status send(struct vacuum *v, enum engine_family f, struct ops *o, struct err *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < o->n; i++) {
        const struct op *op = &o->list[i];
        struct bytes key = {o->bytes.data + op->off, op->len};
        size_t end = i + 1 < o->n ? o->list[i + 1].off : o->bytes.len;
        if (op->floor)
            st = v->sink->ops->put(
                v->sink, f, key, (struct bytes){key.data + key.len, end - op->off - op->len}, err);
        else
            st = v->sink->ops->del(v->sink, f, key, err);
    }
    o->n = 0;
    return st;
}

/* Commits the mark alone when the flag changes. Marks that count nothing stay as they are, and are
 * believed nothing. */
static enum status set_cut(struct vacuum *v, bool cut, struct err *err)
{
    uint8_t flags = v->before.flags & (uint8_t)~ENGINE_MARK_CUT;
    if (cut)
        flags |= ENGINE_MARK_CUT;
    if (!v->before.counts.known || flags == v->before.flags)
        return ST_OK;
    v->before.flags = flags;
    enum status st =
        engine_sink_mark(v->sink, v->range, &v->before.mark, flags, &v->committed, err);
    return st == ST_OK ? v->sink->ops->commit(v->sink, err) : st;
}

static enum status batch_commit(struct vacuum *v, struct err *err)
{
    if (v->past.n == 0)
        return ST_OK;
    enum status st = set_cut(v, true, err);
    if (st != ST_OK)
        return st;
    qsort_r(v->when.list, v->when.n, sizeof(*v->when.list), when_cmp, &v->when);
    st = send(v, ENGINE_WHEN, &v->when, err);
    if (st == ST_OK)
        st = send(v, ENGINE_PAST, &v->past, err);
    if (st == ST_OK && v->before.counts.known)
        st = engine_sink_mark(v->sink, v->range, &v->before.mark, v->before.flags,
                              &v->before.counts, err);
    if (st == ST_OK)
        st = v->sink->ops->commit(v->sink, err);
    buf_clear(&v->past.bytes);
    buf_clear(&v->when.bytes);
    if (st != ST_OK)
        return st;
    v->committed = v->before.counts;
    v->res.versions_removed += v->removed;
    v->res.bytes_removed += v->bytes;
    v->removed = v->bytes = 0;
    return ST_OK;
}

static void count_down(struct vacuum *v, enum engine_family f)
{
    uint64_t *n = &v->before.counts.rows[f];
    *n -= *n > 0;
}

/* Adds one version's rows; v->prefix and v->key hold the key. */
static enum status remove_version(struct vacuum *v, const struct gone *g)
{
    enum status st = buf_append(&v->row, v->prefix.data, v->prefix.len);
    if (st == ST_OK)
        st = engine_past_append(&v->row, g->version);
    if (st == ST_OK)
        st = ops_add(&v->past, buf_bytes(&v->row), BYTES_EMPTY);
    if (st == ST_OK)
        st = engine_when_key(&v->row, v->range, g->version, buf_bytes(&v->key));
    if (st == ST_OK)
        st = ops_add(&v->when, buf_bytes(&v->row), BYTES_EMPTY);
    buf_clear(&v->row);
    count_down(v, ENGINE_PAST);
    count_down(v, ENGINE_WHEN);
    v->removed++;
    v->bytes += g->bytes;
    return st;
}

/* The floor row: written at `floor`, or removed when that is none. */
static enum status set_floor(struct vacuum *v, struct version floor)
{
    uint8_t content[ENGINE_VERSION_BYTES];
    struct record rec = {
        .kind = RECORD_FLOOR, .writer = BYTES_EMPTY, .value = BYTES(content, sizeof(content))};
    buf_clear(&v->value);
    buf_clear(&v->row);
    enum status st = buf_append(&v->row, v->prefix.data, v->prefix.len);
    if (st == ST_OK)
        st = engine_past_append(&v->row, VERSION_NONE);
    engine_floor_value(floor, content);
    if (st == ST_OK && !version_is_none(floor))
        st = record_encode(&v->value, &rec, 0);
    if (st == ST_OK)
        st = ops_add(&v->past, buf_bytes(&v->row), buf_bytes(&v->value));
    buf_clear(&v->row);
    if (version_is_none(floor))
        count_down(v, ENGINE_PAST);
    else if (!v->floored)
        v->before.counts.rows[ENGINE_PAST]++;
    v->floored = !version_is_none(floor);
    return st;
}

/* n versions, newest first, that go together; `last` when no newer one of the key goes after them.
 */
static enum status remove_run(struct vacuum *v, const struct key_plan *plan, const struct gone *run,
                              size_t n, bool last, struct err *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = remove_version(v, &run[i]);
    struct version floor = run[0].version;
    if (version_cmp(plan->count_gone, floor) < 0)
        floor = plan->count_gone;
    if (version_cmp(floor, plan->floor) < 0)
        floor = plan->floor;
    if (st == ST_OK && plan->clean && last && plan->has_floor)
        st = set_floor(v, VERSION_NONE);
    else if (st == ST_OK && !plan->clean && !version_is_none(plan->count_gone))
        st = set_floor(v, floor);
    if (st != ST_OK)
        return no_memory(err);
    if (v->past.n >= BATCH_OPS || v->past.bytes.len + v->when.bytes.len >= BATCH_BYTES)
        return batch_commit(v, err);
    return ST_OK;
}

static size_t run_max(const struct vacuum *v)
{
    size_t by_bytes = BATCH_BYTES / (2 * v->prefix.len + 2 * ENGINE_WHEN_HEAD);
    return by_bytes == 0 ? 1 : by_bytes < KEY_VERSIONS ? by_bytes : KEY_VERSIONS;
}

/* One row of a key, newest first: counts it, and gathers it when it goes. */
static enum status plan_row(struct vacuum *v, struct key_plan *plan, const struct engine_cursor *c,
                            struct version version, struct err *err)
{
    struct record rec;
    if (!engine_past_decode(c->value, version, &rec))
        return err_set(err, ST_CORRUPT, "past: a record of %zu bytes cannot be decoded",
                       c->value.len);
    if (rec.kind == RECORD_FLOOR) {
        plan->has_floor = v->floored = true;
        plan->floor = rec.version;
        return ST_OK;
    }
    /* Leftovers of half drains are not there yet. */
    if (version_cmp(version, v->before.mark.version) > 0 ||
        (!version_is_none(plan->live) && version_cmp(version, plan->live) >= 0))
        return ST_OK;
    bool old = !version_is_none(v->q->horizon) && version_cmp(version, v->q->horizon) <= 0;
    bool tombstone = old && !plan->aged && rec.kind == RECORD_DELETE;
    bool by_age = plan->aged || tombstone;
    bool by_count = v->q->keep_count && plan->index >= v->q->keep_count && plan->held;
    plan->aged |= old;
    plan->held |= version_cmp(version, v->q->hold) <= 0;
    plan->index++;
    if (!by_age && !by_count)
        return ST_OK;
    if (version_is_none(plan->first_gone)) {
        plan->first_gone = version;
        plan->clean = tombstone;
    }
    if (by_count && version_is_none(plan->count_gone))
        plan->count_gone = version;
    if (plan->n_gone < run_max(v))
        v->gone[plan->n_gone] =
            (struct gone){version, c->key.len + c->value.len + ENGINE_WHEN_HEAD + v->key.len + 1};
    plan->n_gone++;
    return ST_OK;
}

/* More versions than fit a batch: from the oldest up, in runs. */
static enum status remove_long(struct vacuum *v, const struct key_plan *plan, struct err *err)
{
    struct engine_cursor *c = NULL;
    size_t max = run_max(v), n = 0;
    uint64_t left = plan->n_gone;
    struct buf end = BUF_INIT;
    enum status st = buf_append(&end, v->prefix.data, v->prefix.len);
    if (st == ST_OK)
        st = engine_past_append(&end, VERSION_NONE);
    if (st == ST_OK)
        st = buf_append_u8(&end, 0); /* one above the last possible row */
    if (st != ST_OK)
        st = no_memory(err);
    if (st == ST_OK)
        st = v->view->ops->cursor(v->view, ENGINE_PAST, ENGINE_BULK, NULL, &c, err);
    if (st == ST_OK)
        st = c->ops->seek_before(c, buf_bytes(&end), err);
    while (st == ST_OK && left > 0) {
        struct bytes prefix;
        struct version version;
        if (!c->valid || !engine_past_split(c->key, &prefix, &version) ||
            !bytes_eq(prefix, buf_bytes(&v->prefix))) {
            st = err_set(err, ST_CORRUPT,
                         "past: rows of a key differ between two walks of one snapshot");
            break;
        }
        if (!version_is_none(version)) {
            /* Filled from the back, so that the run is newest first. */
            v->gone[max - 1 - n++] = (struct gone){version, c->key.len + c->value.len +
                                                                ENGINE_WHEN_HEAD + v->key.len + 1};
            left--;
            if (n == max || left == 0) {
                st = remove_run(v, plan, &v->gone[max - n], n, left == 0, err);
                if (st == ST_OK)
                    st = batch_commit(v, err);
                n = 0;
            }
        }
        if (st == ST_OK && left)
            st = c->ops->prev(c, err);
    }
    engine_cursor_close(c);
    buf_deinit(&end);
    return st;
}

/* All rows of the key under the cursor; leaves the cursor on the next key. */
static enum status vacuum_key(struct vacuum *v, struct engine_cursor *c, struct bytes prefix,
                              struct err *err)
{
    struct key_plan plan = {.held = version_is_none(v->q->hold)};
    v->floored = false;
    buf_clear(&v->prefix);
    if (buf_append(&v->prefix, prefix.data, prefix.len) != ST_OK)
        return no_memory(err);
    enum status st = engine_past_unprefix(buf_bytes(&v->prefix), &v->key);
    if (st != ST_OK)
        return err_set(err, st, "past: a key of %zu bytes", v->prefix.len);
    st = engine_view_live_version(v->view, buf_bytes(&v->key), &plan.live, err);
    if (st != ST_OK)
        return st;
    if (!version_is_none(plan.live)) {
        plan.index = 1;
        plan.aged = version_cmp(plan.live, v->q->horizon) <= 0;
        plan.held |= version_cmp(plan.live, v->q->hold) <= 0;
    }
    while (c->valid) {
        struct version version;
        if (!engine_past_split(c->key, &prefix, &version))
            return err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded",
                           c->key.len);
        if (!bytes_eq(prefix, buf_bytes(&v->prefix)))
            break;
        st = plan_row(v, &plan, c, version, err);
        if (st != ST_OK)
            return st;
        v->res.rows_seen++;
        if (v->q->progress && v->res.rows_seen % PROGRESS_ROWS == 0 &&
            !v->q->progress(v->q->arg, v->res.rows_seen, v->view->rows[ENGINE_PAST]))
            return err_set(err, ST_CANCELLED, "vacuum was stopped");
        st = c->ops->next(c, err);
        if (st != ST_OK)
            return st;
    }
    if (plan.n_gone == 0)
        return ST_OK;
    if (plan.n_gone > run_max(v))
        return remove_long(v, &plan, err);
    return remove_run(v, &plan, v->gone, plan.n_gone, true, err);
}

static bool still_wanted(void *arg, uint64_t done, uint64_t total)
{
    const struct vacuum *v = arg;
    (void)done, (void)total;
    return !v->q->progress || v->q->progress(v->q->arg, 0, v->view->rows[ENGINE_PAST]);
}

/* Whether an earlier vacuum was cut, and what it left is still there: yes, when that is not known. */
static enum status find_cut(struct vacuum *v, bool *ret, struct err *err)
{
    struct engine_verify pass = {.range = v->range, .progress = still_wanted, .arg = v};
    bool sound = !(v->before.flags & ENGINE_MARK_CUT);
    enum status st = ST_OK;
    if (!sound)
        st = engine_view_sound(v->view, &pass, &sound, err);
    *ret = !sound;
    return st;
}

static enum status vacuum_interval(struct vacuum *v, struct err *err)
{
    bool cut = false;
    struct buf lower = BUF_INIT, upper = BUF_INIT;
    struct engine_cursor *c = NULL;
    struct bytes reserved = BYTES_LIT("\xff\xff\xff\xff");
    struct bytes to = v->q->in.upper.len ? v->q->in.upper : reserved;
    enum status st = engine_past_prefix(&lower, v->q->in.lower.data ? v->q->in.lower : BYTES_EMPTY);
    if (st == ST_OK)
        st = engine_past_prefix(&upper, to);
    if (st != ST_OK)
        st = no_memory(err);
    if (st == ST_OK)
        st = find_cut(v, &cut, err);
    struct engine_interval in = {buf_bytes(&lower), buf_bytes(&upper)};
    if (st == ST_OK && bytes_cmp(in.lower, in.upper) < 0) {
        st = v->view->ops->cursor(v->view, ENGINE_PAST, ENGINE_BULK, &in, &c, err);
        if (st == ST_OK)
            st = c->ops->seek(c, in.lower, err);
    }
    while (st == ST_OK && c && c->valid) {
        struct bytes prefix;
        struct version version;
        if (!engine_past_split(c->key, &prefix, &version))
            st = err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded", c->key.len);
        else
            st = vacuum_key(v, c, prefix, err);
    }
    if (st == ST_OK || st == ST_CANCELLED) {
        struct err late;
        err_init(&late);
        enum status end = batch_commit(v, &late);
        if (end == ST_OK && !cut)
            end = set_cut(v, false, &late);
        if (end != ST_OK)
            st = err_set(err, end, "%s", late.detail);
    }
    engine_cursor_close(c);
    buf_deinit(&lower);
    buf_deinit(&upper);
    return st;
}

enum status engine_vacuum_rows(struct engine_view *view, uint64_t range,
                               const struct engine_vacuum *q, struct engine_sink *sink,
                               struct engine_vacuum_result *ret, struct err *err)
{
    const struct engine_mark_row *m = engine_view_mark(view, range);
    if (!m || (version_is_none(q->horizon) && q->keep_count == 0)) {
        *ret = (struct engine_vacuum_result){0};
        return ST_OK;
    }
    struct vacuum *v = mem_zalloc(sizeof(*v));
    if (!v)
        return no_memory(err);
    v->view = view;
    v->q = q;
    v->sink = sink;
    v->range = range;
    v->before = *m;
    v->committed = m->counts;
    enum status st = vacuum_interval(v, err);
    if (st == ST_OK || st == ST_CANCELLED)
        *ret = v->res;
    mem_free(v->past.list);
    mem_free(v->when.list);
    buf_deinit(&v->past.bytes);
    buf_deinit(&v->when.bytes);
    buf_deinit(&v->prefix);
    buf_deinit(&v->key);
    buf_deinit(&v->row);
    buf_deinit(&v->value);
    mem_free(v);
    return st;
}
