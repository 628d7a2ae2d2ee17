/* engine_drain.c - which rows a frozen table, and those below it, become.
 *
 * For each key in order, with what is live now (or, when nothing is, the tombstone in past):
 *   past  every superseded version of the tables, the superseded live row, and a tombstone when the
 *         newest is a delete
 *   live  the newest version, or the row's removal
 *   when  every version of the tables, sorted by (version, key) at the end
 * A version's parent is the next older one of its key; the oldest one's in the tables is what the
 * engine had. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_write.h"

enum {
    /* Keys of several tables are listed, and looked up, so many at a time; those of a single one, all
     * of it in memory, at once. */
    PART_KEYS = 16 << 10,
    PART_BYTES = 4 << 20, /* of copies of spilled keys and versions, about */
};

/* One when row in waiting; its kind and key are the entry's. */
struct pending {
    uint64_t hlc, parent_hlc;
    uint32_t origin, parent_origin;
    const struct table_entry *entry;
};

/* Of a version of a spilled table, which tells the rest itself. */
struct parent {
    uint64_t hlc;
    uint32_t origin;
} __attribute__((packed));
static const struct parent NOT_NEW = {UINT64_MAX, UINT32_MAX};

/* A table of those that are drained together. Their versions lie apart, so its when rows do too. */
struct layer {
    const struct table *table;
    struct table_walk walk;
    struct pending *pending;
    size_t n_pending;
    struct parent *parents; /* instead, of a spilled table: by rank */
};

/* The newest version of a key in one table. */
struct head {
    const struct table_entry *entry;
    uint32_t layer;
    bool last; /* no older table has the key */
};

struct drain {
    struct engine_view *view;
    struct engine_sink *sink;
    uint64_t range;
    struct version done;        /* versions at or below were drained before */
    struct engine_cursor *past; /* opened when first needed */
    struct layer *layers;       /* the newest first */
    size_t n_layers;
    struct bytes *keys;        /* of this part, in order */
    struct head *heads;        /* their newest versions, key by key, each key's newest first */
    const struct head **first; /* of each key */
    struct arena copies;       /* of keys and versions of this part */
    size_t n_keys, n_heads, cap_keys, cap_heads;
    uint64_t found, listed; /* keys that were live, and all */
    bool deletes;           /* these tables had one */
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

/* A version that is not in the engine yet; false: it and all older ones of its key are. */
static bool is_new(const struct drain *d, const struct table_entry *e, struct record *ret)
{
    if (!e)
        return false;
    table_entry_record(e, ret);
    return version_cmp(ret->version, d->done) > 0;
}

/* The next older version of the key, in this table or an older one. */
static const struct table_entry *step_down(const struct table_entry *e, const struct head **at)
{
    const struct table_entry *older = table_entry_older(e);
    if (!older && !(*at)->last)
        older = (++*at)->entry;
    return older;
}

static void note_when(struct drain *d, struct layer *l, const struct table_entry *e,
                      const struct record *rec)
{
    d->deletes |= rec->kind == RECORD_DELETE;
    if (l->parents) {
        l->parents[table_entry_rank(e)] = (struct parent){rec->parent.hlc, rec->parent.origin};
        return;
    }
    ASSERT(l->n_pending < table_count(l->table));
    l->pending[l->n_pending++] = (struct pending){.hlc = rec->version.hlc,
                                                  .origin = rec->version.origin,
                                                  .parent_hlc = rec->parent.hlc,
                                                  .parent_origin = rec->parent.origin,
                                                  .entry = e};
}

static enum status drain_key(struct drain *d, struct bytes key, const struct head *at,
                             struct bytes live, struct err *err)
{
    struct record rec, older = {0}, current;
    if (!is_new(d, at->entry, &rec))
        return ST_OK; /* all of it was drained before */
    enum status st = current_version(d, key, live, &current, err);
    if (st != ST_OK)
        return st;
    bool first = true, prefix = false;
    for (const struct table_entry *e = at->entry, *next; e; e = next, first = false, rec = older) {
        struct layer *layer = &d->layers[at->layer];
        next = step_down(e, &at);
        if (!is_new(d, next, &older))
            next = NULL;
        rec.parent = next ? older.version : current.version;
        if (version_cmp(rec.parent, rec.version) >= 0)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "a version in the table is not above its key's newest here");
        note_when(d, layer, e, &rec);
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
    d->found++;
    if (!prefix && engine_past_prefix(&d->prefix, key) != ST_OK)
        return no_memory(err);
    return put_past(d, &current, err);
}

/* The layer with the least key, the newest of those; d->n_layers: there is none. */
static size_t least(const struct drain *d)
{
    struct bytes key = BYTES_EMPTY;
    size_t best = d->n_layers;
    for (size_t i = 0; i < d->n_layers; i++) {
        const struct table_walk *w = &d->layers[i].walk;
        if (table_walk_valid(w) && (best == d->n_layers || bytes_cmp(table_walk_key(w), key) < 0)) {
            best = i;
            key = table_walk_key(w);
        }
    }
    return best;
}

/* The next key of all layers; *ret_any false: there is none. Adds its heads and moves on. */
static enum status next_key(struct drain *d, bool *ret_any, struct err *err)
{
    size_t first = d->n_heads, best = least(d);
    struct bytes key = BYTES_EMPTY;
    *ret_any = best < d->n_layers;
    if (!*ret_any)
        return ST_OK;
    for (size_t i = best; i < d->n_layers; i++) {
        struct table_walk *w = &d->layers[i].walk;
        const struct table_entry *newest;
        if (!table_walk_valid(w) || (i != best && !bytes_eq(table_walk_key(w), key)))
            continue;
        enum status st = table_walk_take(w, &d->copies, &newest, err);
        if (st != ST_OK)
            return st;
        if (i == best)
            key = table_entry_key(newest);
        ASSERT(d->n_heads < d->cap_heads);
        d->heads[d->n_heads++] = (struct head){newest, (uint32_t)i, false};
    }
    if (engine_key_reserved(key))
        return err_set(err, ST_INVALID_ARGUMENT, "key starts with ff ff ff ff, which is reserved");
    d->heads[d->n_heads - 1].last = true;
    d->keys[d->n_keys] = key;
    d->first[d->n_keys++] = &d->heads[first];
    return ST_OK;
}

/* Keys first: while rows of the first are written, those of the next are being looked up. */
static enum status list_keys(struct drain *d, struct err *err)
{
    bool any = true;
    enum status st = ST_OK;
    d->n_keys = d->n_heads = 0;
    arena_reset(&d->copies);
    for (size_t i = 0; i < d->n_layers; i++)
        table_walk_ahead(&d->layers[i].walk);
    while (st == ST_OK && any && d->n_keys < d->cap_keys &&
           d->cap_heads - d->n_heads >= d->n_layers && d->copies.total_bytes < PART_BYTES)
        st = next_key(d, &any, err);
    d->listed += d->n_keys;
    return st;
}

static enum status drain_part(struct drain *d, uint64_t all, struct err *err)
{
    struct bytes live[ENGINE_LOOKUP_MAX];
    struct engine_lookup *lookup = NULL;
    enum status st = d->view->ops->lookup(d->view, d->keys, d->n_keys, all, &lookup, err);
    for (size_t done = 0, got = 0; st == ST_OK && done < d->n_keys; done += got) {
        st = lookup->ops->rows(lookup, live, &got, err);
        for (size_t i = 0; st == ST_OK && i < got; i++)
            st = drain_key(d, d->keys[done + i], d->first[done + i], live[i], err);
    }
    if (lookup)
        lookup->ops->close(lookup);
    return st;
}

static enum status drain_keys(struct drain *d, struct err *err)
{
    uint64_t all = 0;
    enum status st = ST_OK;
    for (size_t i = 0; i < d->n_layers; i++)
        all += table_keys(d->layers[i].table);
    d->cap_keys = d->n_layers == 1 || all < PART_KEYS ? all : PART_KEYS;
    d->cap_heads = d->cap_keys + d->n_layers;
    d->keys = mem_alloc((d->cap_keys + 1) * sizeof(*d->keys));
    d->first = mem_alloc((d->cap_keys + 1) * sizeof(const struct head *));
    d->heads = mem_alloc(d->cap_heads * sizeof(*d->heads));
    if (!d->keys || !d->first || !d->heads)
        return no_memory(err);
    arena_init(&d->copies, 0);
    for (size_t i = 0; st == ST_OK && i < d->n_layers; i++)
        st = table_walk_first(&d->layers[i].walk, d->layers[i].table, err);
    while (st == ST_OK) {
        st = list_keys(d, err);
        if (d->n_keys == 0)
            break;
        if (st == ST_OK)
            st = drain_part(d, all, err);
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

static enum status put_when(struct drain *d, struct version version, struct bytes key, uint8_t kind,
                            struct version parent, struct err *err)
{
    d->counts.rows[ENGINE_WHEN]++;
    if (engine_when_key(&d->key, d->range, version, key) != ST_OK ||
        engine_when_value(&d->value, kind, version, parent) != ST_OK)
        return no_memory(err);
    return d->sink->ops->put(d->sink, ENGINE_WHEN, buf_bytes(&d->key), buf_bytes(&d->value), err);
}

/* Pending rows are in key order, so sorting them stably by version is sorting by (version, key). */
static enum status layer_when(struct drain *d, const struct layer *l, struct err *err)
{
    size_t n = l->n_pending;
    ASSERT(n <= UINT32_MAX);
    if (n == 0)
        return ST_OK;
    struct place *places = mem_alloc(2 * n * sizeof(*places));
    if (!places)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){l->pending[i].hlc, l->pending[i].origin, (uint32_t)i};
    struct place *order = sort_places(places, places + n, n, false);
    order = sort_places(order, order == places ? places + n : places, n, true);
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        if (i + 2 * AHEAD < n)
            __builtin_prefetch(&l->pending[order[i + 2 * AHEAD].index]);
        if (i + AHEAD < n)
            __builtin_prefetch(l->pending[order[i + AHEAD].index].entry);
        const struct pending *p = &l->pending[order[i].index];
        struct record rec;
        table_entry_record(p->entry, &rec);
        st = put_when(d, rec.version, table_entry_key(p->entry), rec.kind,
                      (struct version){p->parent_hlc, p->parent_origin}, err);
    }
    mem_free(places);
    return st;
}

static enum status spilled_when(struct drain *d, const struct layer *l, struct err *err)
{
    struct table_briefs briefs;
    struct table_brief b;
    bool any;
    table_briefs_init(&briefs, l->table);
    enum status st = table_briefs_next(&briefs, &any, &b, err);
    for (size_t i = 0; st == ST_OK && any; i++) {
        const struct parent p = l->parents[i];
        if (p.hlc != NOT_NEW.hlc || p.origin != NOT_NEW.origin)
            st = put_when(d, b.version, b.key, b.kind, (struct version){p.hlc, p.origin}, err);
        if (st == ST_OK)
            st = table_briefs_next(&briefs, &any, &b, err);
    }
    table_briefs_deinit(&briefs);
    return st;
}

static enum status drain_when(struct drain *d, struct err *err)
{
    enum status st = ST_OK;
    for (size_t i = d->n_layers; st == ST_OK && i-- > 0;)
        st = d->layers[i].parents ? spilled_when(d, &d->layers[i], err)
                                  : layer_when(d, &d->layers[i], err);
    return st;
}

static enum status make_layers(struct drain *d, const struct table *t, struct err *err)
{
    for (const struct table *at = t; at; at = table_below(at))
        d->n_layers++;
    d->layers = mem_zalloc(d->n_layers * sizeof(*d->layers));
    if (!d->layers)
        return no_memory(err);
    for (size_t i = 0; i < d->n_layers; i++, t = table_below(t)) {
        struct layer *l = &d->layers[i];
        size_t n = (size_t)table_count(t) + 1;
        l->table = t;
        if (table_spilled(t))
            l->parents = mem_alloc(n * sizeof(*l->parents));
        else
            l->pending = mem_alloc(n * sizeof(*l->pending));
        if (!l->parents && !l->pending)
            return no_memory(err);
        for (size_t j = 0; l->parents && j < n; j++)
            l->parents[j] = NOT_NEW;
    }
    return ST_OK;
}

static void drain_deinit(struct drain *d)
{
    engine_cursor_close(d->past);
    for (size_t i = 0; d->layers && i < d->n_layers; i++) {
        mem_free(d->layers[i].pending);
        mem_free(d->layers[i].parents);
        table_walk_deinit(&d->layers[i].walk);
    }
    arena_deinit(&d->copies);
    mem_free(d->layers);
    mem_free(d->keys);
    mem_free(d->first);
    mem_free(d->heads);
    buf_deinit(&d->key);
    buf_deinit(&d->value);
    buf_deinit(&d->prefix);
    buf_deinit(&d->scratch);
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
                              struct engine_drained *ret, struct err *err)
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
    enum status st = make_layers(&d, t, err);
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
    drain_deinit(&d);
    if (st == ST_OK)
        st = sink->ops->commit(sink, err);
    if (st == ST_OK && ret)
        *ret = (struct engine_drained){d.listed, d.found};
    return st;
}
