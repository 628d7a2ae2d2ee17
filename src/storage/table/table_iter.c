/* table_iter.c - what readers do: find a key, find a version, walk. No locks; see table_internal.h
 * for the invariants. */
#include "base/assert.h"
#include "storage/table/table_internal.h"

/* Two links ahead are fetched while one key is compared: the one to go on to on this level and the
 * one below. */
static inline void prefetch(const struct table_key *n)
{
    __builtin_prefetch(n);
}

/* The last node before the probe (the head: none). *ret_at is the node found right after it. With
 * `exact`, stops at whatever level meets the key. */
static const struct table_key *seek(const struct table *t, const struct table_probe *p, bool exact,
                                    const struct table_key **ret_at)
{
    const struct table_key *x = t->head, *after = NULL, *n = NULL;
    for (unsigned level = atomic_load_explicit(&t->height, memory_order_relaxed); level-- > 0;) {
        while ((n = table__next(x, level)) && n != after) {
            if (level > 0)
                prefetch(table__next(x, level - 1));
            int c = table__cmp(n, p);
            if (c == 0 && exact) {
                *ret_at = n;
                return x;
            }
            if (c >= 0)
                break;
            x = n;
        }
        after = n;
    }
    *ret_at = n;
    return x;
}

const struct table_key *table__find_key(const struct table *t, struct bytes key)
{
    bool sure;
    const struct table_key *n = table__index_find(&t->index, table__hash(key), key, &sure);
    if (n || sure)
        return n;
    struct table_probe p = table__probe(key);
    const struct table_key *at = NULL;
    seek(t, &p, true, &at);
    return at && table__cmp(at, &p) == 0 ? at : NULL;
}

/* Jumps while the far one is still too new, else steps: O(log depth) by the shape of the jumps. */
static const struct table_entry *find_version(const struct table_key *n, struct version at)
{
    const struct table_entry *e = atomic_load_explicit(&n->newest, memory_order_acquire);
    while (e && version_cmp(table__version(e), at) > 0) {
        if (e->jump != e && version_cmp(table__version(e->jump), at) > 0)
            e = e->jump;
        else
            e = e->older;
    }
    return e;
}

const struct table_entry *table_find(const struct table *t, struct bytes key, struct version at)
{
    const struct table_key *n = table__find_key(t, key);
    return n ? find_version(n, at) : NULL;
}

bool table_get(const struct table *t, struct bytes key, struct version at, struct record *ret)
{
    const struct table_entry *e = table_find(t, key, at);
    if (!e)
        return false;
    table_entry_record(e, ret);
    return true;
}

const struct table_entry *table_entry_older(const struct table_entry *e)
{
    return e->older;
}

void table_entry_record(const struct table_entry *e, struct record *ret)
{
    const uint8_t *value = e->data + e->writer_len;
    if (e->by_ref)
        memcpy(&value, e->data + e->writer_len, sizeof(value));
    *ret = (struct record){
        .version = table__version(e),
        .parent = e->older ? table__version(e->older) : VERSION_NONE,
        .kind = e->kind,
        .type = e->type,
        .expires_ms = e->expires_ms,
        .writer = BYTES(e->data, e->writer_len),
        .value = BYTES(value, e->value_len),
    };
}

static struct bytes key_of(const struct table_key *n)
{
    return BYTES(table__key_data(n), n->len);
}

struct bytes table_entry_key(const struct table_entry *e)
{
    return key_of(e->key);
}

void table_iter_init(struct table_iter *it, const struct table *t)
{
    *it = (struct table_iter){.t = t};
}

bool table_iter_seek(struct table_iter *it, struct bytes key)
{
    struct table_probe p = table__probe(key);
    seek(it->t, &p, false, &it->node);
    return it->node != NULL;
}

bool table_iter_seek_before(struct table_iter *it, struct bytes key)
{
    struct table_probe p = table__probe(key);
    const struct table_key *at;
    const struct table_key *before = seek(it->t, &p, false, &at);
    it->node = before == it->t->head ? NULL : before;
    return it->node != NULL;
}

bool table_iter_first(struct table_iter *it)
{
    it->node = table__next(it->t->head, 0);
    return it->node != NULL;
}

bool table_iter_last(struct table_iter *it)
{
    const struct table_key *x = it->t->head;
    for (unsigned level = atomic_load_explicit(&it->t->height, memory_order_relaxed); level-- > 0;)
        for (const struct table_key *n; (n = table__next(x, level));)
            x = n;
    it->node = x == it->t->head ? NULL : x;
    return it->node != NULL;
}

bool table_iter_next(struct table_iter *it)
{
    if (it->node)
        it->node = table__next(it->node, 0);
    if (it->node)
        prefetch(table__next(it->node, 0));
    return it->node != NULL;
}

bool table_iter_prev(struct table_iter *it)
{
    return it->node && table_iter_seek_before(it, key_of(it->node));
}

bool table_iter_valid(const struct table_iter *it)
{
    return it->node != NULL;
}

struct bytes table_iter_key(const struct table_iter *it)
{
    ASSERT(it->node);
    return key_of(it->node);
}

const struct table_entry *table_iter_find(const struct table_iter *it, struct version at)
{
    ASSERT(it->node);
    return find_version(it->node, at);
}
