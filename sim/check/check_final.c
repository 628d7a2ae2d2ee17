/* check_final.c - the history that the healed store tells, against what its clients were told. */
#include <inttypes.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "final";
enum { NONE = UINT32_MAX };

struct final {
    const struct history *h;
    struct check_report *r;
    struct check_row *rows;
    size_t n;
    uint64_t horizon;
    struct check_map told;   /* (key, version) -> operation that was told it */
    struct check_map open;   /* (key, value) -> writes of it that were told no version */
    struct check_map failed; /* (key, value) -> operation that surely failed */
    struct check_map writer; /* (key, value) -> an operation that wrote it, for stories */
};

static uint32_t value_of(const struct history_step *s)
{
    return s->verb == HISTORY_DELETE ? CHECK_ABSENT : s->value_id;
}

static enum status note_write(struct final *f, const struct history_op *op,
                              const struct history_step *s)
{
    uint32_t value = value_of(s), *at;
    if (op->outcome == HISTORY_FAILED || op->outcome == HISTORY_UNMET)
        return check__map_put(&f->failed, s->key_id, value, 0, op->id) ? ST_OK : ST_NO_MEMORY;
    if (!check__map_put(&f->writer, s->key_id, value, 0, op->id))
        return ST_NO_MEMORY;
    if (op->outcome == HISTORY_OK && s->version) {
        at = check__map_put(&f->told, s->key_id, s->version, 0, op->id);
    } else {
        at = check__map_put(&f->open, s->key_id, value, 0, 0);
        if (at)
            ++*at;
    }
    return at ? ST_OK : ST_NO_MEMORY;
}

static enum status check_write(struct final *f, const struct history_op *op,
                               const struct history_step *s)
{
    if (op->outcome != HISTORY_OK || s->version == 0 || s->version < f->horizon)
        return ST_OK;
    size_t i = check__rows_before(f->rows, f->n, s->key_id, s->version);
    bool there = i < f->n && f->rows[i].key == s->key_id && f->rows[i].version == s->version;
    if (there && f->rows[i].value == value_of(s))
        return ST_OK;
    return check__tell(
        f->r, f->h, NAME, there ? "wrong value" : "lost write", &(uint32_t){op->id}, 1,
        "An acknowledged write of %s at %" PRIu64 " is %s.", check__text(s->key).s, s->version,
        there ? "in the final history with another value" : "not in the final history");
}

static enum status each_write(struct final *f,
                              enum status (*fn)(struct final *, const struct history_op *,
                                                const struct history_step *))
{
    size_t n;
    const struct history_op *ops = history_ops(f->h, &n);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        for (uint32_t j = 0; ops[i].family == HISTORY_REGISTER && j < ops[i].n && st == ST_OK;
             j++) {
            enum history_verb verb = ops[i].steps[j].verb;
            if (verb == HISTORY_PUT || verb == HISTORY_DELETE)
                st = fn(f, &ops[i], &ops[i].steps[j]);
        }
    return st;
}

/* A row that nobody was told of: then a write without an answer must have made it, once. */
static enum status check_untold(struct final *f, const struct check_row *row)
{
    uint32_t *open = check__map_get(&f->open, row->key, row->value, 0);
    if (open && *open) {
        --*open;
        return ST_OK;
    }
    const uint32_t *writer = check__map_get(&f->writer, row->key, row->value, 0);
    const uint32_t *failed = check__map_get(&f->failed, row->key, row->value, 0);
    bool deletes = row->value == CHECK_ABSENT;
    const char *anomaly = writer && !deletes ? "write applied twice"
                          : failed           ? "dirty write"
                                             : "phantom";
    uint32_t id = writer && !deletes ? *writer : failed ? *failed : 0;
    return check__tell(
        f->r, f->h, NAME, anomaly, &id, (writer && !deletes) || failed,
        "The final history of %s has %s at %" PRIu64 ", which no operation can have written there.",
        check__text(history_key(f->h, row->key)).s,
        deletes ? "a delete" : check__text(history_value(f->h, row->value)).s, row->version);
}

static enum status check_rows(struct final *f)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < f->n && st == ST_OK; i++) {
        const struct check_row *row = &f->rows[i];
        if (i && row[-1].key == row->key && row[-1].version == row->version)
            st = check__tell(f->r, f->h, NAME, "one version twice", NULL, 0,
                             "The final history of %s has version %" PRIu64 " twice.",
                             check__text(history_key(f->h, row->key)).s, row->version);
        else if (!check__map_get(&f->told, row->key, row->version, 0))
            st = check_untold(f, row);
    }
    return st;
}

enum status check_final(const struct history *h, struct check_report *r)
{
    size_t n;
    bool complete;
    struct final f = {.h = h, .r = r};
    history_rows(h, &n, &complete, &f.horizon);
    if (!complete)
        return ST_OK;
    enum status st = check__rows(h, &f.rows, &f.n);
    if (st == ST_OK)
        st = each_write(&f, note_write);
    if (st == ST_OK)
        st = each_write(&f, check_write);
    if (st == ST_OK)
        st = check_rows(&f);
    mem_free(f.rows);
    check__map_deinit(&f.told);
    check__map_deinit(&f.open);
    check__map_deinit(&f.failed);
    check__map_deinit(&f.writer);
    return st;
}
