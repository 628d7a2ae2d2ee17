/* engine_drain.c - which rows a frozen table becomes.
 *
 * For each key in order, with what is live now (or, when nothing is, the tombstone in past):
 *   past  every superseded version of the table, the superseded live row, and a tombstone when the
 * newest is a delete live  the newest version, or the row's removal when  every version of the
 * table, sorted by (version, key) at the end A version's parent is the next older one of its key;
 * the oldest one's in the table is what the engine had. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_write.h"

/* One when row in waiting: 48 bytes a version. */
struct pending {
    struct version version, parent;
    const struct table_entry *entry;
    uint8_t kind;
};

struct drain {
    struct engine_view *view;
    struct engine_sink *sink;
    uint64_t range;
    struct version done;        /* versions at or below were drained before */
    struct engine_cursor *past; /* opened when first needed */
    struct bytes *keys;         /* all that have an entry, in order */
    const struct table_entry **newest;
    size_t n_keys;
    struct engine_lookup *lookup;
    struct pending *pending;
    size_t n_pending, cap_pending;
    bool deletes; /* this table had one */
    struct engine_counts counts;
    struct buf key, value, prefix, scratch;
};

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "drain");
}

/* The newest version of the key as the engine has it, and the live value when there is one. */
static enum status current_version(struct drain *d, struct bytes key, struct bytes live,
                                   struct record *ret, struct err *err)
{
    if (live.data) {
        if (!engine_live_decode(live, ret))
            return err_set(err, ST_CORRUPT, "live: a record of %zu bytes cannot be decoded",
                           live.len);
        return ST_OK;
    }
    *ret = (struct record){0};
    if (!d->view->deletes)
        return ST_OK;
    if (!d->past) {
        enum status st =
            d->view->ops->cursor(d->view, ENGINE_PAST, ENGINE_ONE_KEY, NULL, &d->past, err);
        if (st != ST_OK)
            return st;
    }
    return engine_view_newest_past(d->view, d->past, key, &d->scratch, &ret->version, err);
}

/* d->prefix holds the key encoded, and does again afterwards. */
static enum status put_past(struct drain *d, const struct record *rec, struct err *err)
{
    buf_clear(&d->value);
    size_t prefix = d->prefix.len;
    if (engine_past_append(&d->prefix, rec->version) != ST_OK ||
        record_encode(&d->value, rec, 0) != ST_OK)
        return no_memory(err);
    enum status st =
        d->sink->ops->put(d->sink, ENGINE_PAST, buf_bytes(&d->prefix), buf_bytes(&d->value), err);
    d->prefix.len = prefix;
    d->counts.rows[ENGINE_PAST]++;
    return st;
}

static enum status put_live(struct drain *d, struct bytes key, const struct record *rec,
                            struct err *err)
{
    buf_clear(&d->value);
    if (record_encode(&d->value, rec, RECORD_WITH_VERSION) != ST_OK)
        return no_memory(err);
    return d->sink->ops->put(d->sink, ENGINE_LIVE, key, buf_bytes(&d->value), err);
}

static bool is_new(const struct drain *d, const struct table_entry *e, struct record *ret)
{
    if (!e)
        return false;
    table_entry_record(e, ret);
    return version_cmp(ret->version, d->done) > 0;
}

static enum status drain_key(struct drain *d, struct bytes key, const struct table_entry *newest,
                             struct bytes live, struct err *err)
{
    struct record rec, older = {0}, current;
    if (!is_new(d, newest, &rec))
        return ST_OK; /* all of it was drained before */
    enum status st = current_version(d, key, live, &current, err);
    if (st != ST_OK)
        return st;
    bool first = true, prefix = false;
    for (const struct table_entry *e = newest, *next; e; e = next, first = false, rec = older) {
        next = table_entry_older(e);
        if (!is_new(d, next, &older))
            next = NULL;
        rec.parent = next ? older.version : current.version;
        if (version_cmp(rec.parent, rec.version) >= 0)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "a version in the table is not above its key's newest here");
        ASSERT(d->n_pending < d->cap_pending);
        d->pending[d->n_pending++] = (struct pending){rec.version, rec.parent, e, rec.kind};
        d->deletes |= rec.kind == RECORD_DELETE;
        if (first && rec.kind == RECORD_PUT) {
            st = put_live(d, key, &rec, err);
            d->counts.rows[ENGINE_LIVE] += !live.data;
        } else {
            if (first && live.data) {
                st = d->sink->ops->del(d->sink, ENGINE_LIVE, key, err);
                d->counts.rows[ENGINE_LIVE] -= d->counts.rows[ENGINE_LIVE] > 0;
            }
            if (st == ST_OK && !prefix && engine_past_prefix(&d->prefix, key) != ST_OK)
                st = no_memory(err);
            prefix = true;
            if (st == ST_OK)
                st = put_past(d, &rec, err);
        }
        if (st != ST_OK)
            return st;
    }
    if (!live.data)
        return ST_OK;
    if (!prefix && engine_past_prefix(&d->prefix, key) != ST_OK)
        return no_memory(err);
    return put_past(d, &current, err);
}

/* All keys first: while rows of the first are written, those of the next are being looked up. */
static enum status list_keys(struct drain *d, const struct table *t, struct err *err)
{
    uint64_t cap = table_keys(t);
    struct table_iter it;
    d->keys = mem_alloc(cap * sizeof(*d->keys));
    d->newest = mem_alloc(cap * sizeof(const struct table_entry *));
    if (!d->keys || !d->newest)
        return no_memory(err);
    table_iter_init(&it, t);
    for (bool more = table_iter_first(&it); more; more = table_iter_next(&it)) {
        struct bytes key = table_iter_key(&it);
        const struct table_entry *newest = table_iter_find(&it, VERSION_MAX);
        if (engine_key_reserved(key))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "key starts with ff ff ff ff, which is reserved");
        if (!newest)
            continue;
        ASSERT(d->n_keys < cap);
        d->keys[d->n_keys] = key;
        d->newest[d->n_keys++] = newest;
    }
    return ST_OK;
}

static enum status drain_keys(struct drain *d, struct err *err)
{
    struct bytes live[ENGINE_LOOKUP_MAX];
    enum status st = ST_OK;
    for (size_t done = 0, got = 0; st == ST_OK && done < d->n_keys; done += got) {
        st = d->lookup->ops->rows(d->lookup, live, &got, err);
        for (size_t i = 0; st == ST_OK && i < got; i++)
            st = drain_key(d, d->keys[done + i], d->newest[done + i], live[i], err);
    }
    return st;
}

/* A when row's place among the others. */
struct place {
    uint64_t hlc;
    uint32_t origin, index; /* into pending */
};
enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, AHEAD = 8 };

static uint64_t place_value(const struct place *p, bool by_hlc)
{
    return by_hlc ? p->hlc : p->origin;
}

/* Stable, by one half of the version; only the digits in which places differ cost a pass. Either
 * array may hold the result, which is the one returned. */
static struct place *sort_places(struct place *from, struct place *to, size_t n, bool by_hlc)
{
    uint64_t min = UINT64_MAX, max = 0;
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = place_value(&from[i], by_hlc);
        sorted &= v >= max;
        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    for (unsigned shift = 0; !sorted && shift < 64 && (max - min) >> shift; shift += DIGIT_BITS) {
        size_t at[DIGITS] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++)
            at[((place_value(&from[i], by_hlc) - min) >> shift) % DIGITS]++;
        for (size_t d = 0; d < DIGITS; d++) {
            size_t count = at[d];
            at[d] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++)
            to[at[((place_value(&from[i], by_hlc) - min) >> shift) % DIGITS]++] = from[i];
        struct place *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static enum status put_when(struct drain *d, const struct pending *p, struct err *err)
{
    if (engine_when_key(&d->key, d->range, p->version, table_entry_key(p->entry)) != ST_OK ||
        engine_when_value(&d->value, p->kind, p->version, p->parent) != ST_OK)
        return no_memory(err);
    return d->sink->ops->put(d->sink, ENGINE_WHEN, buf_bytes(&d->key), buf_bytes(&d->value), err);
}

/* Pending rows are in key order, so sorting them stably by version is sorting by (version, key). */
static enum status drain_when(struct drain *d, struct err *err)
{
    size_t n = d->n_pending;
    ASSERT(n <= UINT32_MAX);
    d->counts.rows[ENGINE_WHEN] += n;
    if (n == 0)
        return ST_OK;
    struct place *places = mem_alloc(2 * n * sizeof(*places));
    if (!places)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        places[i] =
            (struct place){d->pending[i].version.hlc, d->pending[i].version.origin, (uint32_t)i};
    struct place *order = sort_places(places, places + n, n, false);
    order = sort_places(order, order == places ? places + n : places, n, true);
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        if (i + 2 * AHEAD < n)
            __builtin_prefetch(&d->pending[order[i + 2 * AHEAD].index]);
        if (i + AHEAD < n)
            __builtin_prefetch(d->pending[order[i + AHEAD].index].entry);
        st = put_when(d, &d->pending[order[i].index], err);
    }
    mem_free(places);
    return st;
}

struct engine_counts engine_counts_before(const struct engine_mark_row *before)
{
    return before ? before->counts : (struct engine_counts){.known = true};
}

enum status engine_sink_raw(struct engine_sink *sink, enum engine_family f, struct bytes key,
                            const struct bytes *value, struct err *err)
{
    enum status st =
        value ? sink->ops->put(sink, f, key, *value, err) : sink->ops->del(sink, f, key, err);
    return st == ST_OK ? sink->ops->commit(sink, err) : st;
}

enum status engine_sink_mark(struct engine_sink *sink, uint64_t range,
                             const struct engine_mark *mark, uint8_t flags,
                             const struct engine_counts *counts, struct err *err)
{
    uint8_t key[ENGINE_MARK_KEY_BYTES];
    struct buf value = BUF_INIT;
    engine_mark_key(range, key);
    enum status st = engine_mark_value(&value, mark, flags, counts);
    if (st == ST_OK)
        st = sink->ops->put(sink, ENGINE_LIVE, BYTES(key, sizeof(key)), buf_bytes(&value), err);
    else
        err_set(err, st, "mark of a range");
    buf_deinit(&value);
    return st;
}

enum status engine_drain_rows(struct engine_view *v, uint64_t range, const struct table *t,
                              const struct engine_mark *mark, struct engine_sink *sink,
                              struct err *err)
{
    const struct engine_mark_row *before = engine_view_mark(v, range);
    if (before && before->mark.index >= mark->index)
        return ST_OK;
    if (version_cmp(table_newest(t), mark->version) > 0)
        return err_set(err, ST_INVALID_ARGUMENT, "mark lies below the table's newest version");
    if (before && version_cmp(mark->version, before->mark.version) < 0)
        return err_set(err, ST_INVALID_ARGUMENT, "mark's version lies below the persisted one");
    struct drain d = {
        .view = v, .sink = sink, .range = range, .counts = engine_counts_before(before)};
    if (before)
        d.done = before->mark.version;
    enum status st = ST_OK;
    d.cap_pending = table_count(t);
    d.pending = mem_alloc(d.cap_pending * sizeof(*d.pending));
    if (!d.pending)
        st = no_memory(err);
    if (st == ST_OK)
        st = list_keys(&d, t, err);
    if (st == ST_OK)
        st = v->ops->lookup(v, d.keys, d.n_keys, &d.lookup, err);
    if (st == ST_OK)
        st = drain_keys(&d, err);
    if (st == ST_OK)
        st = drain_when(&d, err);
    if (st == ST_OK) {
        uint8_t flags = before ? before->flags : 0;
        if (d.deletes)
            flags |= ENGINE_MARK_DELETES;
        st = engine_sink_mark(sink, range, mark, flags, &d.counts, err);
    }
    if (d.lookup)
        d.lookup->ops->close(d.lookup);
    engine_cursor_close(d.past);
    mem_free(d.keys);
    mem_free(d.newest);
    mem_free(d.pending);
    buf_deinit(&d.key);
    buf_deinit(&d.value);
    buf_deinit(&d.prefix);
    buf_deinit(&d.scratch);
    return st == ST_OK ? sink->ops->commit(sink, err) : st;
}
