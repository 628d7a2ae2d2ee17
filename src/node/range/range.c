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
        return ST_OK; /* range_apply says what is wrong with it */
    struct range_need sum = {need->ops + e.left, need->bytes + payload.len + e.left * e.writer.len};
    if (scratch_reserve(scratch, e.left) != ST_OK ||
        table_reserve(table, sum.ops, sum.bytes) != ST_OK)
        return ST_NO_MEMORY;
    *need = sum;
    return ST_OK;
}

static enum status out_of_turn(const struct range *r, uint64_t index, struct err *err)
{
    return err_set(err, ST_CORRUPT, "range %" PRIu64 ": entry %" PRIu64 " follows entry %" PRIu64,
                   r->id, index, r->applied);
}

enum status range_skip(struct range *r, uint64_t index, struct err *err)
{
    if (index != r->applied + 1)
        return out_of_turn(r, index, err);
    r->applied = index;
    return ST_OK;
}

enum status range_apply(struct range *r, uint64_t index, struct bytes payload, struct blob *owner,
                        struct table *table, struct range_scratch *scratch,
                        range_applied_fn applied, void *arg, struct err *err)
{
    struct entry_reader e;
    struct entry_op op;
    if (index != r->applied + 1)
        return out_of_turn(r, index, err);
    /* An op takes 3 bytes at least, which bounds what a forged count can ask for. */
    if (!entry_open(payload, &e) || e.left > payload.len / 3)
        return err_set(err, ST_CORRUPT, "range %" PRIu64 ": entry %" PRIu64 " does not decode",
                       r->id, index);
    if (version_cmp(e.version, r->newest) <= 0)
        return err_set(err, ST_CORRUPT,
                       "range %" PRIu64 ": the version of entry %" PRIu64 " does not rise", r->id,
                       index);
    if (scratch_reserve(scratch, e.left) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to apply %u writes", e.left);

    size_t n = 0;
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
        return err_set(err, ST_CORRUPT, "range %" PRIu64 ": entry %" PRIu64 " does not decode",
                       r->id, index);
    if (n > 0 && table_put_many(table, scratch->items, n, owner) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to apply %zu writes", n);
    r->applied = index;
    r->newest = e.version;
    for (size_t i = 0; applied && i < n; i++) {
        op.key = scratch->items[i].key;
        op.kind = scratch->items[i].rec.kind;
        op.type = scratch->items[i].rec.type;
        op.expires_ms = scratch->items[i].rec.expires_ms;
        op.value = scratch->items[i].rec.value;
        applied(arg, &op, &scratch->items[i].rec);
    }
    return ST_OK;
}
