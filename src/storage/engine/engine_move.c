/* engine_move.c - rows of an interval, as engine_export.c gives them out, into another engine. */
#include "base/assert.h"
#include "storage/engine/engine_write.h"

static enum status not_empty(struct err *err)
{
    return err_set(err, ST_PRECONDITION_FAILED, "ingest: the interval holds rows already");
}

static enum status refuse_live(struct engine_view *v, const struct engine_interval *in,
                               struct err *err)
{
    struct engine_interval rows = {in->lower.data ? in->lower : BYTES_EMPTY,
                                   in->upper.len ? in->upper : BYTES_LIT("\xff\xff\xff\xff")};
    struct engine_cursor *c = NULL;
    enum status st = v->ops->cursor(v, ENGINE_LIVE, 0, &rows, &c, err);
    if (st == ST_OK)
        st = c->ops->seek(c, rows.lower, err);
    if (st == ST_OK && c->valid)
        st = not_empty(err);
    engine_cursor_close(c);
    return st;
}

/* Removes leftovers of an earlier ingest, refuses anything else. Past goes first: without its when
 * row a leftover could not be told from a kept row. */
static enum status clear_past(struct engine_view *v, const struct engine_interval *in,
                              struct engine_sink *sink, struct err *err)
{
    struct buf lower = BUF_INIT, upper = BUF_INIT;
    struct engine_past_walk w = {0};
    struct engine_cursor *c = NULL;
    enum status st = engine_past_bounds(in, &lower, &upper);
    if (st != ST_OK)
        err_set(err, st, "ingest");
    struct engine_interval rows = {buf_bytes(&lower), buf_bytes(&upper)};
    if (st == ST_OK)
        st = v->ops->cursor(v, ENGINE_PAST, 0, &rows, &c, err);
    if (st == ST_OK)
        st = c->ops->seek(c, rows.lower, err);
    while (st == ST_OK && c->valid) {
        bool counts = true;
        st = engine_past_counts(v, &w, c, &counts, err);
        if (st == ST_OK && counts)
            st = not_empty(err);
        if (st == ST_OK)
            st = sink->ops->del(sink, ENGINE_PAST, c->key, err);
        if (st == ST_OK)
            st = c->ops->next(c, err);
    }
    engine_cursor_close(c);
    engine_past_walk_deinit(&w);
    buf_deinit(&lower);
    buf_deinit(&upper);
    return st == ST_OK ? sink->ops->commit(sink, err) : st;
}

static enum status clear_when(struct engine_view *v, uint64_t range, struct engine_sink *sink,
                              struct err *err)
{
    struct buf lower = BUF_INIT;
    struct engine_cursor *c = NULL;
    enum status st = engine_when_key(&lower, range, VERSION_NONE, BYTES_EMPTY);
    if (st != ST_OK)
        err_set(err, st, "ingest");
    if (st == ST_OK)
        st = v->ops->cursor(v, ENGINE_WHEN, 0, NULL, &c, err);
    if (st == ST_OK)
        st = c->ops->seek(c, buf_bytes(&lower), err);
    while (st == ST_OK && c->valid && bytes_has_prefix(c->key, (struct bytes){lower.data, 8})) {
        st = sink->ops->del(sink, ENGINE_WHEN, c->key, err);
        if (st == ST_OK)
            st = c->ops->next(c, err);
    }
    engine_cursor_close(c);
    buf_deinit(&lower);
    return st == ST_OK ? sink->ops->commit(sink, err) : st;
}

static bool is_half(const struct engine_view *v, uint64_t range)
{
    for (size_t i = 0; i < v->n_halves; i++) {
        if (v->halves[i].range == range)
            return true;
    }
    return false;
}

static enum status prepare(struct engine_view *v, uint64_t range, const struct engine_interval *in,
                           const struct engine_mark *mark, struct engine_sink *sink,
                           struct err *err)
{
    const struct engine_mark_row *before = engine_view_mark(v, range);
    if (before &&
        (version_cmp(mark->version, before->mark.version) < 0 || mark->index < before->mark.index))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "ingest: the mark lies below the range's persisted one");
    if (before && is_half(v, range))
        return err_set(err, ST_PRECONDITION_FAILED,
                       "ingest: a drain of the range was cut short; repeat it first");
    enum status st = refuse_live(v, in, err);
    if (st == ST_OK)
        st = clear_past(v, in, sink, err);
    if (st == ST_OK && !before)
        st = clear_when(v, range, sink, err);
    return st;
}

struct ingest {
    uint64_t range;
    const struct engine_interval *in;
    struct version newest;
    struct engine_sink *sink;
    struct buf last[ENGINE_FAMILIES], key, row;
    bool any[ENGINE_FAMILIES];
    bool deletes;
    uint64_t versions, whens;
    struct engine_counts counts;
};

static enum status bad_row(uint8_t family, const char *why, struct err *err)
{
    return err_set(err, ST_CORRUPT, "ingest: %s row %s",
                   family < ENGINE_FAMILIES ? engine_family_name((enum engine_family)family)
                                            : "unknown family's",
                   why);
}

/* Sets the routing key and version of a row as exported; false: it could not have been. */
static bool ingest_decode(struct ingest *g, uint8_t family, struct bytes key, struct bytes value,
                          struct bytes *ret_key, struct version *ret)
{
    struct record rec;
    struct bytes prefix;
    struct version parent;
    uint64_t range;
    uint8_t kind;
    if (family == ENGINE_LIVE) {
        if (!engine_live_decode(value, &rec))
            return false;
        *ret = rec.version;
        *ret_key = key;
        g->versions++;
        return true;
    }
    if (family == ENGINE_PAST) {
        if (!engine_past_split(key, &prefix, ret) || !engine_past_decode(value, *ret, &rec))
            return false;
        g->deletes |= rec.kind == RECORD_DELETE;
        g->versions += rec.kind != RECORD_FLOOR;
        *ret_key = buf_bytes(&g->key);
        return true;
    }
    g->whens++;
    return engine_when_split(buf_bytes(&g->row), &range, ret, ret_key) &&
           engine_when_decode(value, *ret, &kind, &parent);
}

static enum status ingest_row(struct ingest *g, uint8_t family, struct bytes key,
                              struct bytes value, struct err *err)
{
    struct bytes routing, prefix;
    struct version version;
    enum status st = ST_OK;
    if (family >= ENGINE_FAMILIES)
        return bad_row(family, "", err);
    if (family == ENGINE_WHEN) {
        buf_clear(&g->row);
        if (buf_append_be64(&g->row, g->range) != ST_OK ||
            buf_append(&g->row, key.data, key.len) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "ingest");
        key = buf_bytes(&g->row);
    } else if (family == ENGINE_PAST && engine_past_split(key, &prefix, &version)) {
        st = engine_past_unprefix(prefix, &g->key);
        if (st != ST_OK)
            return err_set(err, st, "ingest: past key");
    }
    if (!ingest_decode(g, family, key, value, &routing, &version))
        return bad_row(family, "cannot be decoded", err);
    if (engine_key_reserved(routing) || !engine_interval_has(g->in, routing))
        return bad_row(family, "lies outside the interval", err);
    if (version_cmp(version, g->newest) > 0)
        return bad_row(family, "is newer than the mark", err);
    if (g->any[family] && bytes_cmp(key, buf_bytes(&g->last[family])) <= 0)
        return bad_row(family, "is out of order", err);
    buf_clear(&g->last[family]);
    g->any[family] = true;
    if (buf_append(&g->last[family], key.data, key.len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "ingest");
    g->counts.rows[family]++;
    return g->sink->ops->put(g->sink, (enum engine_family)family, key, value, err);
}

enum status engine_ingest_rows(struct engine_view *v, uint64_t range,
                               const struct engine_interval *in, engine_ingest_fn next, void *arg,
                               const struct engine_mark *mark, struct engine_sink *sink,
                               struct err *err)
{
    const struct engine_mark_row *before = engine_view_mark(v, range);
    struct ingest g = {.range = range,
                       .in = in,
                       .newest = mark->version,
                       .sink = sink,
                       .counts = engine_counts_before(before)};
    enum status st = prepare(v, range, in, mark, sink, err);
    while (st == ST_OK) {
        uint8_t family = 0;
        struct bytes key = BYTES_EMPTY, value = BYTES_EMPTY;
        bool end = false;
        st = next(arg, &family, &key, &value, &end, err);
        if (st != ST_OK || end)
            break;
        st = ingest_row(&g, family, key, value, err);
    }
    if (st == ST_OK) {
        uint8_t flags = before ? before->flags : 0;
        if (g.deletes)
            flags |= ENGINE_MARK_DELETES;
        if (g.versions != g.whens) /* a vacuum was cut where they come from */
            flags |= ENGINE_MARK_CUT;
        st = engine_sink_mark(sink, range, mark, flags, &g.counts, err);
    }
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        buf_deinit(&g.last[f]);
    buf_deinit(&g.key);
    buf_deinit(&g.row);
    return st == ST_OK ? sink->ops->commit(sink, err) : st;
}
