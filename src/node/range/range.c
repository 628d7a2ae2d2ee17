#include "node/range/range.h"

#include "base/alloc.h"
#include "base/assert.h"
#include <inttypes.h>

void range_scratch_deinit(struct range_scratch *s)
{
    mem_free(s->items);
    *s = (struct range_scratch){0};
}

static enum status scratch_reserve(struct range_scratch *s, size_t n)
{
    if (n <= s->cap)
        return ST_OK;
    size_t cap = s->cap ? s->cap : 16;
    while (cap < n)
        cap *= 2;
    struct table_item *items = mem_realloc(s->items, cap * sizeof(*items));
    if (!items)
        return ST_NO_MEMORY;
    s->items = items;
    s->cap = cap;
    return ST_OK;
}

enum status range_prepare(struct range_need *need, struct bytes payload, struct table *table,
                          struct range_scratch *scratch)
{
    struct entry_reader e;
    if (!entry_open(payload, &e) || e.left > payload.len / 3)
        return ST_OK; /* range_gather says what is wrong with it */
    struct range_need sum = {need->ops + e.left, need->bytes + payload.len + e.left * e.writer.len};
    if (scratch_reserve(scratch, RANGE_GATHERED_MAX + e.left) != ST_OK ||
        table_reserve(table, sum.ops, sum.bytes) != ST_OK)
        return ST_NO_MEMORY;
    *need = sum;
    return ST_OK;
}

static enum status out_of_turn(const struct range *r, uint64_t index, uint64_t applied,
                               struct err *err)
{
    return err_set(err, ST_CORRUPT, "range %" PRIu64 ": entry %" PRIu64 " follows entry %" PRIu64,
                   r->id, index, applied);
}

static enum status malformed(const struct range *r, uint64_t index, struct err *err)
{
    return err_set(err, ST_CORRUPT, "range %" PRIu64 ": entry %" PRIu64 " does not decode", r->id,
                   index);
}

enum status range_skip(struct range *r, uint64_t index, struct err *err)
{
    if (index != r->applied + 1)
        return out_of_turn(r, index, r->applied, err);
    r->applied = index;
    return ST_OK;
}

enum status range_gather(const struct range *r, uint64_t index, struct bytes payload,
                         struct range_scratch *scratch, struct err *err)
{
    struct entry_reader e;
    struct entry_op op;
    uint64_t applied = scratch->applied ? scratch->applied : r->applied;
    struct version newest = scratch->applied ? scratch->newest : r->newest;
    if (index != applied + 1)
        return out_of_turn(r, index, applied, err);
    /* An op takes 3 bytes at least, which bounds what a forged count can ask for. */
    if (!entry_open(payload, &e) || e.left > payload.len / 3)
        return malformed(r, index, err);
    if (version_cmp(e.version, newest) <= 0)
        return err_set(err, ST_CORRUPT,
                       "range %" PRIu64 ": the version of entry %" PRIu64 " does not rise", r->id,
                       index);
    if (scratch_reserve(scratch, scratch->n + e.left) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to apply %u writes", e.left);

    size_t n = scratch->n;
    int rc;
    while ((rc = entry_next(&e, &op)) > 0)
        scratch->items[n++] = (struct table_item){.key = op.key,
                                                  .rec = {.version = e.version,
                                                          .kind = op.kind,
                                                          .type = op.type,
                                                          .expires_ms = op.expires_ms,
                                                          .writer = e.writer,
                                                          .value = op.value}};
    if (rc < 0)
        return malformed(r, index, err);
    scratch->n = n;
    scratch->applied = index;
    scratch->newest = e.version;
    return ST_OK;
}

enum status range_put(struct range *r, struct blob *owner, struct table *table,
                      struct range_scratch *scratch, range_applied_fn applied, void *arg,
                      struct err *err)
{
    size_t n = scratch->n;
    uint64_t index = scratch->applied;
    scratch->n = 0;
    scratch->applied = 0;
    if (index == 0)
        return ST_OK;
    if (n > 0 && table_put_many(table, scratch->items, n, owner) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to apply %zu writes", n);
    r->applied = index;
    r->newest = scratch->newest;
    for (size_t i = 0; applied && i < n; i++) {
        const struct record *rec = &scratch->items[i].rec;
        struct entry_op op = {.key = scratch->items[i].key,
                              .kind = rec->kind,
                              .type = rec->type,
                              .expires_ms = rec->expires_ms,
                              .value = rec->value};
        applied(arg, &op, rec);
    }
    return ST_OK;
}
