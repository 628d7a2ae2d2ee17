/* history_write.c - a history as lines of JSON; the format is told in README.md. */
#include <inttypes.h>

#include "base/json.h"
#include "sim/check/history_internal.h"

static enum status put_u64(struct buf *out, const char *name, uint64_t v)
{
    return v ? buf_printf(out, ",\"%s\":%" PRIu64, name, v) : ST_OK;
}

static enum status put_bytes(struct buf *out, const char *name, struct bytes b)
{
    enum status st = buf_printf(out, ",\"%s\":", name);
    return st == ST_OK ? json_bytes(out, b) : st;
}

static enum status put_flag(struct buf *out, const char *name, bool v)
{
    return v ? buf_printf(out, ",\"%s\":true", name) : ST_OK;
}

static enum status put_elements(struct buf *out, struct bytes v)
{
    struct reader rd = reader_of(v);
    uint64_t x;
    enum status st = buf_printf(out, ",\"elements\":[");
    for (bool first = true; st == ST_OK && read_le64(&rd, &x); first = false)
        st = buf_printf(out, "%s%" PRId64, first ? "" : ",", (int64_t)x);
    return st == ST_OK ? buf_append_u8(out, ']') : st;
}

static enum status put_value(struct buf *out, const struct history_op *op,
                             const struct history_step *s)
{
    bool elements = op->family == HISTORY_LIST || op->family == HISTORY_SET;
    bool said = s->verb == HISTORY_PUT ||
                (s->found && op->family != HISTORY_BANK && op->family != HISTORY_COUNTER);
    if (s->value.len == 0 && !said)
        return ST_OK;
    if (elements && s->value.len % 8 == 0)
        return put_elements(out, s->value);
    return put_bytes(out, "value", s->value);
}

static enum status put_step(struct buf *out, const struct history_op *op,
                            const struct history_step *s)
{
    enum status st = buf_printf(out, "{\"verb\":\"%s\"", history_verb_name(s->verb));
    if (st == ST_OK)
        st = put_bytes(out, "key", s->key);
    if (st == ST_OK)
        st = put_value(out, op, s);
    if (st == ST_OK && s->number)
        st = buf_printf(out, ",\"number\":%" PRId64, s->number);
    if (st == ST_OK && s->require != HISTORY_ANY)
        st = buf_printf(out, ",\"require\":\"%s\"", history_require_name(s->require));
    if (st == ST_OK)
        st = put_u64(out, "want", s->want);
    if (st == ST_OK)
        st = put_u64(out, "version", s->version);
    if (st == ST_OK)
        st = put_flag(out, "found", s->found);
    if (st == ST_OK)
        st = put_flag(out, "unmet", s->unmet);
    return st == ST_OK ? buf_append_u8(out, '}') : st;
}

static enum status put_op(struct buf *out, const struct history_op *op)
{
    enum status st = buf_printf(out, "{\"type\":\"op\",\"client\":%u", op->client);
    if (st == ST_OK)
        st = put_u64(out, "node", op->node);
    if (st == ST_OK)
        st = buf_printf(out, ",\"family\":\"%s\",\"outcome\":\"%s\"",
                        history_family_name(op->family), history_outcome_name(op->outcome));
    if (st == ST_OK)
        st = put_u64(out, "at", op->at);
    if (st == ST_OK)
        st = put_flag(out, "weak", op->weak);
    if (st == ST_OK)
        st = buf_printf(out, ",\"call\":%" PRIu64, op->invoked);
    if (st == ST_OK && op->completed != UINT64_MAX)
        st = put_u64(out, "return", op->completed);
    if (st == ST_OK)
        st = put_u64(out, "call_ns", op->invoked_ns);
    if (st == ST_OK)
        st = put_u64(out, "return_ns", op->completed_ns);
    if (st == ST_OK)
        st = buf_printf(out, ",\"steps\":[");
    for (uint32_t i = 0; i < op->n && st == ST_OK; i++) {
        st = i ? buf_append_u8(out, ',') : ST_OK;
        if (st == ST_OK)
            st = put_step(out, op, &op->steps[i]);
    }
    return st == ST_OK ? buf_printf(out, "]}\n") : st;
}

static enum status put_watch(struct buf *out, const struct history_watch *w)
{
    bool event = w->kind == HISTORY_WATCH_EVENT;
    enum status st = buf_printf(out, "{\"type\":\"watch\",\"kind\":\"%s\",\"watcher\":%u",
                                history_watch_name(w->kind), w->watcher);
    if (st == ST_OK)
        st = put_u64(out, "node", w->node);
    if (st == ST_OK && event)
        st = buf_printf(out, ",\"verb\":\"%s\"", history_verb_name(w->verb));
    if (st == ST_OK)
        st = put_u64(out, "version", w->version);
    if (st == ST_OK && w->key.len)
        st = put_bytes(out, "key", w->key);
    if (st == ST_OK && w->prefix.len)
        st = put_bytes(out, "prefix", w->prefix);
    if (st == ST_OK && w->value.len)
        st = put_bytes(out, "value", w->value);
    if (st == ST_OK)
        st = put_flag(out, "no_value", w->no_value);
    if (st == ST_OK)
        st = buf_printf(out, ",\"place\":%" PRIu64, w->place);
    if (st == ST_OK)
        st = put_u64(out, "ns", w->now_ns);
    return st == ST_OK ? buf_printf(out, "}\n") : st;
}

static enum status put_row(struct buf *out, const struct history_row *row)
{
    enum status st =
        buf_printf(out, "{\"type\":\"row\",\"verb\":\"%s\"", history_verb_name(row->verb));
    if (st == ST_OK)
        st = put_u64(out, "version", row->version);
    if (st == ST_OK)
        st = put_bytes(out, "key", row->key);
    if (st == ST_OK && row->verb == HISTORY_PUT)
        st = put_bytes(out, "value", row->value);
    return st == ST_OK ? buf_printf(out, "}\n") : st;
}

static enum status put_note(struct buf *out, const struct history_note *n)
{
    enum status st = buf_printf(out, "{\"type\":\"note\",\"fact\":\"%s\",\"node\":%u",
                                history_fact_name(n->fact), n->node);
    if (st == ST_OK)
        st = put_u64(out, "group", n->group);
    if (st == ST_OK)
        st = put_u64(out, "term", n->term);
    if (st == ST_OK)
        st = put_u64(out, "vote", n->vote);
    if (st == ST_OK)
        st = put_u64(out, "index", n->index);
    if (st == ST_OK)
        st = put_u64(out, "digest", n->digest);
    if (st == ST_OK)
        st = buf_printf(out, ",\"place\":%" PRIu64, n->place);
    if (st == ST_OK)
        st = put_u64(out, "ns", n->now_ns);
    return st == ST_OK ? buf_printf(out, "}\n") : st;
}

enum status history_write_ndjson(const struct history *h, struct buf *out)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < h->ops_n && st == ST_OK; i++)
        st = put_op(out, &h->ops[i]);
    for (size_t i = 0; i < h->watches_n && st == ST_OK; i++)
        st = put_watch(out, &h->watches[i]);
    for (size_t i = 0; i < h->notes_n && st == ST_OK; i++)
        st = put_note(out, &h->notes[i]);
    for (size_t i = 0; i < h->rows_n && st == ST_OK; i++)
        st = put_row(out, &h->rows[i]);
    if (st == ST_OK && h->complete)
        st = buf_printf(out, "{\"type\":\"rows_done\",\"horizon\":%" PRIu64 "}\n", h->horizon);
    return st;
}
