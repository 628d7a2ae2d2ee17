/* check_story.c - operations in words, one a line, in the order in which they were invoked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "sim/check/check_internal.h"

enum { SHOWN_BYTES = 40, SHOWN_STEPS = 6, SHOWN_ELEMENTS = 12 };

struct check_text check__text(struct bytes b)
{
    struct check_text t;
    size_t at = 0, shown = b.len < SHOWN_BYTES ? b.len : SHOWN_BYTES;
    t.s[at++] = '"';
    for (size_t i = 0; i < shown && at < sizeof t.s - 10; i++) {
        uint8_t c = b.data[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        at += (size_t)snprintf(t.s + at, sizeof t.s - at, plain ? "%c" : "\\x%02x", c);
    }
    snprintf(t.s + at, sizeof t.s - at, "\"%s", shown < b.len ? "..." : "");
    return t;
}

enum status check__tell_bytes(struct buf *out, struct bytes b)
{
    return buf_printf(out, "%s", check__text(b).s);
}

static enum status tell_elements(struct buf *out, struct bytes v)
{
    size_t n = v.len / 8;
    struct reader rd = reader_of(v);
    enum status st = buf_append_u8(out, '[');
    /* The end is where lists differ. */
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        uint64_t x = 0;
        if (!read_le64(&rd, &x))
            break;
        if (n - i <= SHOWN_ELEMENTS)
            st = buf_printf(out, "%s%" PRId64, n - i == n || n - i == SHOWN_ELEMENTS ? "" : " ",
                            (int64_t)x);
        else if (i == 0)
            st = buf_printf(out, "(%zu before) ", n - SHOWN_ELEMENTS);
    }
    return st == ST_OK ? buf_append_u8(out, ']') : st;
}

static enum status tell_version(struct buf *out, const char *before, uint64_t version)
{
    return version ? buf_printf(out, "%s%" PRIu64, before, version) : ST_OK;
}

static enum status tell_seen(struct buf *out, const struct history_op *op,
                             const struct history_step *s)
{
    if (op->family == HISTORY_BANK || op->family == HISTORY_COUNTER)
        return buf_printf(out, " -> %" PRId64, s->number);
    enum status st = buf_printf(out, s->found ? " -> " : " -> nothing");
    if (st == ST_OK && s->found)
        st = op->family == HISTORY_REGISTER ? check__tell_bytes(out, s->value)
                                            : tell_elements(out, s->value);
    return st == ST_OK ? tell_version(out, " @", s->version) : st;
}

static enum status tell_require(struct buf *out, const struct history_step *s)
{
    enum status st = ST_OK;
    switch (s->require) {
    case HISTORY_ABSENT:
        st = buf_printf(out, " if absent");
        break;
    case HISTORY_PRESENT:
        st = buf_printf(out, " if present");
        break;
    case HISTORY_AT_VERSION:
        st = buf_printf(out, " if @%" PRIu64, s->want);
        break;
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    if (st == ST_OK && s->unmet) {
        st = buf_printf(out, " (not so");
        if (st == ST_OK)
            st = tell_version(out, ": @", s->version);
        if (st == ST_OK)
            st = buf_append_u8(out, ')');
    }
    return st;
}

static enum status tell_step(struct buf *out, const struct history_op *op,
                             const struct history_step *s)
{
    enum status st = buf_printf(out, " %s %s", history_verb_name(s->verb), check__text(s->key).s);
    if (st == ST_OK && s->verb == HISTORY_PUT) {
        st = buf_printf(out, " = ");
        if (st == ST_OK)
            st = check__tell_bytes(out, s->value);
    }
    if (st == ST_OK && s->verb == HISTORY_ADD)
        st = buf_printf(out, " %" PRId64, s->number);
    if (st == ST_OK)
        st = tell_require(out, s);
    if (st != ST_OK || op->outcome != HISTORY_OK)
        return st;
    if (s->verb == HISTORY_GET)
        return tell_seen(out, op, s);
    return tell_version(out, " @", s->version);
}

/* Seconds, to the microsecond. */
static enum status tell_time(struct buf *out, const char *before, int width, uint64_t ns)
{
    return buf_printf(out, "%s%*" PRIu64 ".%06" PRIu64, before, width, ns / 1000000000,
                      ns % 1000000000 / 1000);
}

static enum status tell_when(struct buf *out, const struct history_op *op)
{
    enum status st = tell_time(out, "  ", 5, op->invoked_ns);
    if (st == ST_OK && op->outcome != HISTORY_UNKNOWN)
        st = tell_time(out, " to ", 0, op->completed_ns);
    else if (st == ST_OK)
        st = buf_printf(out, " to ?");
    if (st == ST_OK)
        st = buf_printf(out, "  client %u", op->client);
    if (st == ST_OK && op->node)
        st = buf_printf(out, " at node %u", op->node);
    return st;
}

enum status check__tell_op(struct buf *out, const struct history_op *op)
{
    enum status st = tell_when(out, op);
    if (st == ST_OK && op->at)
        st = buf_printf(out, " as of %" PRIu64, op->at);
    if (st == ST_OK)
        st = buf_printf(out, ":");
    for (uint32_t i = 0; i < op->n && i < SHOWN_STEPS && st == ST_OK; i++)
        st = tell_step(out, op, &op->steps[i]);
    if (st == ST_OK && op->n > SHOWN_STEPS)
        st = buf_printf(out, " and %u more", op->n - SHOWN_STEPS);
    if (st == ST_OK && op->outcome != HISTORY_OK)
        st = buf_printf(out, " -> %s", history_outcome_name(op->outcome));
    return st == ST_OK ? buf_printf(out, "  (operation %u)\n", op->id) : st;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

enum status check__tell_ops(struct buf *out, const struct history *h, uint32_t *ids, size_t n)
{
    size_t total;
    const struct history_op *ops = history_ops(h, &total);
    qsort(ids, n, sizeof *ids, by_number); /* numbers are in order of invocation */
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        if (i == 0 || ids[i] != ids[i - 1])
            st = check__tell_op(out, &ops[ids[i]]);
    return st;
}

enum status check__tell(struct check_report *r, const struct history *h, const char *checker,
                        const char *anomaly, uint32_t *ids, size_t n, const char *fmt, ...)
{
    if (!check__found(r, checker, anomaly))
        return ST_OK;
    char words[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    struct buf story = BUF_INIT;
    enum status st = buf_printf(&story, "  %s\n", words);
    if (st == ST_OK)
        st = check__tell_ops(&story, h, ids, n);
    st = check__told(r, checker, anomaly, &story, st);
    buf_deinit(&story);
    return st;
}
