/* check_register.c - one history, parted by key: linearizability is local (Herlihy and Wing 1990),
 * so each key is judged by itself.
 *
 * Two simplifications, neither of which changes a verdict:
 *  - A write whose answer was lost, and whose value somebody read, happened; the read tells its
 *    version. So it becomes certain, with no end to the time in which it may have taken effect.
 *  - A write whose answer was lost, and that nobody can have noticed, is left out: taking it out
 *    of any order leaves every other operation with what it saw.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

static bool takes_part(const struct history_op *op)
{
    return op->family == HISTORY_REGISTER && op->at == 0 && !op->weak;
}

/* What a step means to its key; false: nothing. */
static bool entry_of(const struct history_op *op, const struct history_step *s,
                     struct check_entry *ret)
{
    struct check_entry e = {.op = op->id,
                            .require = s->require,
                            .want = s->want,
                            .version = s->version,
                            .certain = op->outcome != HISTORY_UNKNOWN,
                            .call = op->invoked,
                            .ret = op->completed,
                            .value = CHECK_ANY_VALUE};
    if (e.require == HISTORY_AT_VERSION && e.want == 0)
        e.require = HISTORY_ABSENT;
    bool write = s->verb == HISTORY_PUT || s->verb == HISTORY_DELETE;
    switch (op->outcome) {
    case HISTORY_OK:
        e.kind = write ? CHECK_WRITE : s->verb == HISTORY_GET ? CHECK_READ : CHECK_HELD;
        e.value = s->verb == HISTORY_DELETE || (!write && !s->found) ? CHECK_ABSENT : s->value_id;
        break;
    case HISTORY_UNMET:
        e.kind = CHECK_REFUSED;
        if (!s->unmet && op->n != 1)
            return false;
        break;
    case HISTORY_UNKNOWN:
        e.kind = CHECK_WRITE;
        e.value = s->verb == HISTORY_DELETE ? CHECK_ABSENT : s->value_id;
        e.version = 0;
        if (!write)
            return false;
        break;
    case HISTORY_FAILED:
    case HISTORY_OUTCOMES:
        return false;
    }
    if (e.kind == CHECK_HELD)
        e.value = CHECK_ANY_VALUE;
    *ret = e;
    return true;
}

static enum status note_failed(struct check_registers *r, const struct history_op *op)
{
    if (op->family != HISTORY_REGISTER || op->outcome != HISTORY_FAILED)
        return ST_OK;
    for (uint32_t i = 0; i < op->n; i++) {
        const struct history_step *s = &op->steps[i];
        if (s->verb == HISTORY_PUT &&
            !check__map_put(&r->failed, s->key_id, s->value_id, 0, op->id))
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

/* Gives each key its run of entries: counted first, then filled, so in order of invocation. */
static enum status part(const struct history *h, struct check_registers *r)
{
    size_t ops_n, keys = history_key_count(h), total = 0;
    const struct history_op *ops = history_ops(h, &ops_n);
    r->of = mem_zalloc((keys + 1) * sizeof *r->of);
    if (!r->of)
        return ST_NO_MEMORY;
    r->n = keys;
    struct check_entry e;
    for (size_t i = 0; i < ops_n; i++) {
        if (note_failed(r, &ops[i]) != ST_OK)
            return ST_NO_MEMORY;
        for (uint32_t j = 0; takes_part(&ops[i]) && j < ops[i].n; j++)
            if (entry_of(&ops[i], &ops[i].steps[j], &e)) {
                r->of[ops[i].steps[j].key_id].n++;
                total++;
            }
    }
    r->entries = mem_alloc((total + 1) * sizeof *r->entries);
    if (!r->entries)
        return ST_NO_MEMORY;
    struct check_entry *at = r->entries;
    for (size_t k = 0; k < keys; k++) {
        r->of[k].key = (uint32_t)k;
        r->of[k].e = at;
        at += r->of[k].n;
        r->of[k].n = 0;
    }
    for (size_t i = 0; i < ops_n; i++)
        for (uint32_t j = 0; takes_part(&ops[i]) && j < ops[i].n; j++)
            if (entry_of(&ops[i], &ops[i].steps[j], &e)) {
                struct check_register *g = &r->of[ops[i].steps[j].key_id];
                g->e[g->n++] = e;
            }
    return ST_OK;
}

/* --- versions of writes that were not told --- */

enum { NOBODY = UINT32_MAX, SEVERAL = UINT32_MAX - 1 };

struct known {
    struct check_map writers; /* value -> the entry that wrote it, or SEVERAL */
    struct check_map told;    /* version -> the entry that was told it */
    struct check_map seen;    /* values that were read */
    bool absent;              /* somebody saw, or required, that there is nothing */
    bool other; /* somebody was refused, or required, for a reason that may be an uncertain write */
};

static void known_deinit(struct known *k)
{
    check__map_deinit(&k->writers);
    check__map_deinit(&k->told);
    check__map_deinit(&k->seen);
}

static enum status map_writers(const struct check_register *g, struct known *k)
{
    for (uint32_t i = 0; i < g->n; i++) {
        if (g->e[i].kind != CHECK_WRITE)
            continue;
        uint32_t *w = check__map_put(&k->writers, g->e[i].value, 0, 0, NOBODY);
        if (!w)
            return ST_NO_MEMORY;
        *w = *w == NOBODY ? i : SEVERAL;
        if (g->e[i].version && !check__map_put(&k->told, g->e[i].version, 0, 0, i))
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

static enum status learn_versions(struct check_register *g, struct known *k)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct check_entry *e = &g->e[i];
        if (e->kind != CHECK_READ || e->value >= CHECK_ANY_VALUE)
            continue;
        const uint32_t *w = check__map_get(&k->writers, e->value, 0, 0);
        if (!w || *w == SEVERAL)
            continue;
        struct check_entry *writer = &g->e[*w];
        writer->certain = true; /* its value was seen */
        /* A version that another write was told cannot be this one's. */
        if (writer->version || !e->version || check__map_get(&k->told, e->version, 0, 0))
            continue;
        writer->version = e->version;
        if (!check__map_put(&k->told, e->version, 0, 0, *w))
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

/* --- writes that nobody noticed --- */

/* Whether the state that this entry met may have been brought by a write that no version is known
 * of. */
static bool may_have_met_another(const struct check_entry *e, const struct known *k)
{
    uint64_t met = e->kind == CHECK_REFUSED           ? e->version
                   : e->require == HISTORY_AT_VERSION ? e->want
                                                      : 0;
    return met == 0 || !check__map_get(&k->told, met, 0, 0);
}

static enum status what_was_noticed(const struct check_register *g, struct known *k)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct check_entry *e = &g->e[i];
        if (e->kind == CHECK_READ) {
            if (e->value == CHECK_ABSENT)
                k->absent = true;
            else if (!check__map_put(&k->seen, e->value, 0, 0, 0))
                return ST_NO_MEMORY;
        } else if (e->kind == CHECK_REFUSED) {
            if (may_have_met_another(e, k))
                k->other = k->absent = true;
        } else if (e->require == HISTORY_ABSENT) {
            k->absent = true;
        } else if (e->require != HISTORY_ANY && may_have_met_another(e, k)) {
            k->other = true;
        }
    }
    return ST_OK;
}

static void drop_unnoticed(struct check_register *g, const struct known *k)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct check_entry *e = &g->e[i];
        bool noticed =
            e->certain || k->other ||
            (e->value == CHECK_ABSENT ? k->absent
                                      : check__map_get(&k->seen, e->value, 0, 0) != NULL);
        if (!noticed)
            continue;
        g->open |= !e->certain;
        g->e[kept++] = *e;
    }
    g->n = kept;
}

static enum status simplify(struct check_register *g)
{
    struct known k = {0};
    enum status st = map_writers(g, &k);
    if (st == ST_OK)
        st = learn_versions(g, &k);
    if (st == ST_OK)
        st = what_was_noticed(g, &k);
    if (st == ST_OK)
        drop_unnoticed(g, &k);
    known_deinit(&k);
    return st;
}

enum status check__registers(const struct history *h, struct check_registers *ret)
{
    struct check_registers r = {0};
    enum status st = part(h, &r);
    for (size_t k = 0; k < r.n && st == ST_OK; k++) {
        if (r.of[k].n)
            st = simplify(&r.of[k]);
    }
    if (st != ST_OK) {
        check__registers_deinit(&r);
        return st;
    }
    *ret = r;
    return ST_OK;
}

void check__registers_deinit(struct check_registers *r)
{
    mem_free(r->of);
    mem_free(r->entries);
    check__map_deinit(&r->failed);
    *r = (struct check_registers){0};
}

struct by_version {
    uint64_t version;
    uint32_t entry;
};

static int compare_versions(const void *a, const void *b)
{
    const struct by_version *x = a, *y = b;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

enum status check__writes_by_version(const struct check_register *g, uint32_t *out, uint32_t *ret_n)
{
    struct by_version *sorted = mem_alloc((g->n + 1) * sizeof *sorted);
    if (!sorted)
        return ST_NO_MEMORY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->e[i].kind == CHECK_WRITE && g->e[i].certain)
            sorted[n++] = (struct by_version){g->e[i].version, i};
    qsort(sorted, n, sizeof *sorted, compare_versions);
    for (uint32_t i = 0; i < n; i++)
        out[i] = sorted[i].entry;
    mem_free(sorted);
    *ret_n = n;
    return ST_OK;
}
