/* check_past.c - reads as of a moment, and weak reads, against the recorded history of their keys. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

enum { NONE = UINT32_MAX };

static int by_key_version(const void *a, const void *b)
{
    const struct check_row *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->version > y->version) - (x->version < y->version);
}

static size_t rows_told(const struct history *h, struct check_row *out)
{
    size_t n, ops_n;
    bool complete;
    uint64_t horizon;
    const struct history_row *rows = history_rows(h, &n, &complete, &horizon);
    if (complete) {
        for (size_t i = 0; i < n; i++)
            out[i] = (struct check_row){
                rows[i].key_id, rows[i].verb == HISTORY_PUT ? rows[i].value_id : CHECK_ABSENT,
                rows[i].version, NONE};
        return n;
    }
    const struct history_op *ops = history_ops(h, &ops_n);
    n = 0;
    for (size_t i = 0; i < ops_n; i++)
        for (uint32_t j = 0; j < ops[i].n; j++) {
            const struct history_step *s = &ops[i].steps[j];
            bool write = s->verb == HISTORY_PUT || s->verb == HISTORY_DELETE;
            if (ops[i].family == HISTORY_REGISTER && ops[i].outcome == HISTORY_OK && write &&
                s->version)
                out[n++] = (struct check_row){s->key_id,
                                              s->verb == HISTORY_PUT ? s->value_id : CHECK_ABSENT,
                                              s->version, ops[i].id};
        }
    return n;
}

enum status check__rows(const struct history *h, struct check_row **ret, size_t *ret_n)
{
    size_t most, ops_n;
    bool complete;
    uint64_t horizon;
    history_rows(h, &most, &complete, &horizon);
    const struct history_op *ops = history_ops(h, &ops_n);
    for (size_t i = 0; i < ops_n && !complete; i++)
        most += ops[i].n;
    struct check_row *rows = mem_alloc((most + 1) * sizeof *rows);
    if (!rows)
        return ST_NO_MEMORY;
    *ret_n = rows_told(h, rows);
    qsort(rows, *ret_n, sizeof *rows, by_key_version);
    *ret = rows;
    return ST_OK;
}

size_t check__rows_before(const struct check_row *rows, size_t n, uint32_t key, uint64_t version)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (rows[mid].key < key || (rows[mid].key == key && rows[mid].version < version))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct past {
    const struct history *h;
    struct check_report *r;
    struct check_row *rows;
    size_t n;
    bool complete;
    uint64_t horizon;
};

static enum status tell(struct past *p, const char *anomaly, const struct history_op *op,
                        const struct history_step *s, const struct check_row *due)
{
    uint32_t ids[2] = {op->id, due && due->op != NONE ? due->op : op->id};
    char was[120] = "nothing";
    if (due && due->value != CHECK_ABSENT)
        snprintf(was, sizeof was, "%s @%" PRIu64, check__text(history_value(p->h, due->value)).s,
                 due->version);
    else if (due)
        snprintf(was, sizeof was, "nothing, deleted @%" PRIu64, due->version);
    return check__tell(p->r, p->h, "past", anomaly, ids, 2,
                       "As of %" PRIu64 " the history of %s holds %s; the read says otherwise.",
                       op->at, check__text(s->key).s, was);
}

static bool same(const struct history_step *s, const struct check_row *due)
{
    if (!due || due->value == CHECK_ABSENT)
        return !s->found && (s->version == 0 || (due && s->version == due->version));
    return s->found && s->value_id == due->value && (s->version == 0 || s->version == due->version);
}

static enum status check_read(struct past *p, const struct history_op *op,
                              const struct history_step *s)
{
    size_t i = check__rows_before(p->rows, p->n, s->key_id, op->at + 1);
    const struct check_row *due = i && p->rows[i - 1].key == s->key_id ? &p->rows[i - 1] : NULL;
    if (s->version > op->at)
        return tell(p, "from its future", op, s, due);
    if (same(s, due))
        return ST_OK;
    if (p->complete)
        return op->at < p->horizon ? ST_OK : tell(p, "another past", op, s, due);
    /* Only what was told is known: a write without an answer may lie between. But what is older
     * than the newest that is known is wrong for certain. */
    return due && s->version && s->version <= due->version ? tell(p, "another past", op, s, due)
                                                           : ST_OK;
}

/* A weak read may show something old, but nothing that the key never held. */
static enum status check_weak(struct past *p, const struct history_op *op,
                              const struct history_step *s)
{
    size_t i = check__rows_before(p->rows, p->n, s->key_id, s->version);
    bool there = i < p->n && p->rows[i].key == s->key_id && p->rows[i].version == s->version;
    if (!s->found || s->version == 0 || (there && p->rows[i].value == s->value_id))
        return ST_OK;
    /* Of a version that nobody was told the final rows alone know, and none below their horizon. */
    if (!there && (!p->complete || s->version < p->horizon))
        return ST_OK;
    uint32_t ids[2] = {op->id, there && p->rows[i].op != NONE ? p->rows[i].op : op->id};
    return check__tell(p->r, p->h, "past", there ? "wrong value" : "phantom", ids, 2,
                       "A weak read showed %s @%" PRIu64 " with something that it never held.",
                       check__text(s->key).s, s->version);
}

enum status check_past(const struct history *h, struct check_report *r)
{
    struct past p = {.h = h, .r = r};
    size_t n, unused;
    const struct history_op *ops = history_ops(h, &n);
    history_rows(h, &unused, &p.complete, &p.horizon);
    enum status st = check__rows(h, &p.rows, &p.n);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (ops[i].family != HISTORY_REGISTER || ops[i].outcome != HISTORY_OK ||
            (ops[i].at == 0 && !ops[i].weak))
            continue;
        for (uint32_t j = 0; j < ops[i].n && st == ST_OK; j++)
            if (ops[i].steps[j].verb == HISTORY_GET)
                st = ops[i].at ? check_read(&p, &ops[i], &ops[i].steps[j])
                               : check_weak(&p, &ops[i], &ops[i].steps[j]);
    }
    mem_free(p.rows);
    return st;
}
