/* table.c - lifetime, and the writer. */
#include "storage/table/table.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "storage/table/table_internal.h"

enum { GROUP = 16 }; /* searches in flight */

static size_t round8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

size_t table__node_bytes(unsigned height, size_t key_len)
{
    size_t key = key_len < KEY_INLINE ? KEY_INLINE : round8(key_len);
    return height * sizeof(struct table_key *) + sizeof(struct table_key) + key;
}

struct table_key *table__make_node(uint8_t *mem, unsigned height, struct bytes key, uint32_t hash)
{
    struct table_key *n = (struct table_key *)(void *)(mem + height * sizeof(struct table_key *));
    for (unsigned i = 0; i < height; i++)
        atomic_init(table__link(n, i), NULL);
    atomic_init(&n->newest, NULL);
    n->hash = hash;
    n->len = key.len & 0xffffff;
    n->height = height & 0xff;
    uint8_t *dst = (uint8_t *)(n + 1);
    if (key.len < KEY_INLINE)
        memset(dst, 0, KEY_INLINE);
    if (key.len)
        memcpy(dst, key.data, key.len);
    return n;
}

struct table *table_new(void)
{
    return table_new_on(NULL);
}

struct table *table_new_on(struct table_pages *pages)
{
    struct table *t = mem_zalloc(sizeof(*t));
    if (!t)
        return NULL;
    size_t head = table__node_bytes(TABLE_MAX_HEIGHT, 0);
    table__mem_init(&t->mem, pages);
    if (!table__mem_reserve(&t->mem, head) || !table__index_init(&t->index, pages, 0)) {
        table__mem_deinit(&t->mem);
        mem_free(t);
        return NULL;
    }
    t->pages = table_pages_ref(pages);
    t->head = table__make_node(table__mem_take(&t->mem, head), TABLE_MAX_HEIGHT, BYTES_EMPTY, 0);
    for (unsigned i = 0; i < TABLE_MAX_HEIGHT; i++)
        t->finger.prev[i] = t->head;
    t->rng = 0x9e3779b97f4a7c15u;
    atomic_init(&t->refs, 1);
    atomic_init(&t->height, 1);
    atomic_init(&t->bytes,
                sizeof(*t) + table__mem_bytes(&t->mem) + table__mem_bytes(&t->index.mem));
    return t;
}

struct table *table_ref(struct table *t)
{
    uint32_t old = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    ASSERT(old > 0 && old < UINT32_MAX);
    return t;
}

void table_unref(struct table *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct table_blob *b = t->blobs; b; b = b->next)
        blob_unref(b->blob);
    struct table *below = t->below;
    table__mem_deinit(&t->mem);
    table__mem_deinit(&t->index.mem);
    table__spill_free(t->spill);
    table_pages_unref(t->pages);
    mem_free(t);
    table_unref(below);
}

void table_put_on(struct table *t, struct table *below)
{
    ASSERT(!t->below);
    t->below = below ? table_ref(below) : NULL;
}

struct table *table_below(const struct table *t)
{
    return t->below;
}

size_t table_bytes(const struct table *t)
{
    return atomic_load_explicit(&t->bytes, memory_order_relaxed);
}

uint64_t table_keys(const struct table *t)
{
    return atomic_load_explicit(&t->keys, memory_order_acquire);
}

/* xorshift64*; one chance in four for each level more. The seed is fixed: the same puts build the
 * same list. */
static unsigned random_height(struct table *t)
{
    t->rng ^= t->rng >> 12;
    t->rng ^= t->rng << 25;
    t->rng ^= t->rng >> 27;
    uint64_t r = (t->rng * 0x2545f4914f6cdd1du) >> 32;
    unsigned h = 1 + (unsigned)__builtin_ctzll(r | 1ull << 32) / 2;
    return h < TABLE_MAX_HEIGHT ? h : TABLE_MAX_HEIGHT;
}

/* From which level down to search for a key above the finger's: the lowest whose next node is not
 * before the key. The levels above are right already (invariant 4). Climbing pays for a sorted
 * batch; a single put looks at one level. */
static unsigned climb(const struct table *t, const struct table_probe *p, unsigned limit)
{
    for (unsigned level = 0; level < limit; level++) {
        const struct table_key *n = table__next(t->finger.prev[level], level);
        if (!n || table__cmp(n, p) >= 0)
            return level + 1;
    }
    return 0;
}

/* Moves the finger to the key. Returns its node, or NULL when there is none yet. */
static struct table_key *move_finger(struct table *t, const struct table_probe *p, bool batch)
{
    struct table_finger *f = &t->finger;
    unsigned height = atomic_load_explicit(&t->height, memory_order_relaxed), from = 0;
    if (f->last && (batch || f->last == f->prev[0])) {
        int c = table__cmp(f->last, p);
        if (c == 0)
            return f->last;
        if (c < 0)
            from = climb(t, p, batch ? height : 1);
    }
    struct table_key *x = from ? f->prev[from - 1] : t->head, *n, *after = NULL;
    for (unsigned level = from ? from : height; level-- > 0;) {
        while ((n = table__next(x, level)) && n != after) {
            if (level > 0)
                __builtin_prefetch(table__next(x, level - 1));
            int c = table__cmp(n, p);
            if (c == 0) { /* x is before the key on every level below, too */
                for (unsigned l = 0; l <= level; l++)
                    f->prev[l] = x;
                return f->last = n;
            }
            if (c > 0)
                break;
            x = n;
        }
        f->prev[level] = x;
        after = n;
    }
    f->last = NULL;
    return NULL;
}

static void link_node(struct table *t, struct table_key *n)
{
    struct table_finger *f = &t->finger;
    if (n->height > atomic_load_explicit(&t->height, memory_order_relaxed))
        atomic_store_explicit(&t->height, n->height, memory_order_relaxed);
    for (unsigned l = 0; l < n->height; l++) {
        atomic_store_explicit(table__link(n, l), table__next(f->prev[l], l), memory_order_relaxed);
        atomic_store_explicit(table__link(f->prev[l], l), n, memory_order_release);
        f->prev[l] = n;
    }
    f->last = n;
    atomic_fetch_add_explicit(&t->keys, 1, memory_order_release);
}

static bool keep_by_ref(const struct record *rec, const struct blob *owner)
{
    return owner && rec->value.len > RECORD_BY_REF;
}

size_t table__entry_bytes(const struct record *rec, const struct blob *owner)
{
    size_t value = keep_by_ref(rec, owner) ? sizeof(const uint8_t *) : rec->value.len;
    return round8(sizeof(struct table_entry) + rec->writer.len + value);
}

struct table_entry *table__make_entry(uint8_t *mem, const struct record *rec,
                                      const struct blob *owner)
{
    struct table_entry *e = (struct table_entry *)(void *)mem;
    *e = (struct table_entry){
        .hlc = rec->version.hlc,
        .origin = rec->version.origin,
        .expires_ms = rec->expires_ms,
        .value_len = (uint32_t)rec->value.len,
        .kind = rec->kind,
        .type = rec->type,
        .writer_len = (uint8_t)rec->writer.len,
        .by_ref = keep_by_ref(rec, owner),
    };
    if (rec->writer.len)
        memcpy(e->data, rec->writer.data, rec->writer.len);
    if (e->by_ref)
        memcpy(e->data + e->writer_len, &rec->value.data, sizeof(rec->value.data));
    else if (rec->value.len)
        memcpy(e->data + e->writer_len, rec->value.data, rec->value.len);
    return e;
}

/* Myers' skew-binary jumps: one jump spans what two equal ones before it did. */
static void stack_on(struct table_entry *e, struct table_entry *older)
{
    e->older = older;
    if (!older) {
        e->depth = 1;
        e->jump = e;
        return;
    }
    const struct table_entry *j = older->jump;
    e->depth = older->depth + 1;
    e->jump = older->depth - j->depth == j->depth - j->jump->depth ? j->jump : older;
}

/* Memory has been reserved: this cannot fail. A new key's first version lies behind its node, where
 * a reader that found the node has fetched it already. `known`: the key's node;
 * NULL: it has none that the index knows, but one before it in its group may have made it. */
static void put_one(struct table *t, const struct table_item *item, uint32_t hash,
                    struct table_key *known, const struct blob *owner, bool batch)
{
    const struct record *rec = &item->rec;
    struct table_probe p = table__probe(item->key);
    struct table_key *n = known ? known : move_finger(t, &p, batch);
    bool fresh = !n;
    unsigned height = fresh ? random_height(t) : 0;
    size_t node = fresh ? table__node_bytes(height, item->key.len) : 0;
    uint8_t *mem = table__mem_take(&t->mem, node + table__entry_bytes(rec, owner));
    if (fresh)
        n = table__make_node(mem, height, item->key, hash);
    struct table_entry *e = table__make_entry(mem + node, rec, owner);
    struct table_entry *older = atomic_load_explicit(&n->newest, memory_order_relaxed);
    ASSERT(!older || version_cmp(rec->version, table__version(older)) > 0);
    e->key = n;
    stack_on(e, older);
    atomic_store_explicit(&n->newest, e, memory_order_release);
    if (fresh) {
        link_node(t, n);
        table__index_add(&t->index, n);
    }
    table__order_append(&t->order, &t->mem, e);
}

static void check_item(const struct table *t, struct bytes key, const struct record *rec,
                       const struct blob *owner)
{
    ASSERT(key.len <= RECORD_KEY_MAX && rec->value.len <= RECORD_VALUE_MAX &&
           rec->writer.len <= RECORD_WRITER_MAX);
    ASSERT(version_cmp(rec->version, table_newest(t)) >= 0); /* versions rise in put order */
    ASSERT(!keep_by_ref(rec, owner) ||
           (rec->value.data >= owner->data &&
            rec->value.data + rec->value.len <= owner->data + owner->len));
}

/* Takes a reference to the owner. The same owner several times in a row is kept, and counted, once.
 */
static void keep_owner(struct table *t, struct blob *owner)
{
    if (t->blobs && t->blobs->blob == owner)
        return;
    struct table_blob *b = table__mem_take(&t->mem, sizeof(*b));
    *b = (struct table_blob){.next = t->blobs, .blob = blob_ref(owner)};
    t->blobs = b;
    t->blob_bytes += sizeof(*owner) + owner->len;
}

/* The nodes of those keys that the index knows; NULL for the others. First all buckets are asked for,
 * then all nodes, so that none is waited for alone. Returns how many it does not know. */
static size_t find_known(const struct table *t, const struct table_item *items,
                         const uint32_t *hashes, size_t n, struct table_key **ret)
{
    bool sure; /* whatever is not found is searched for */
    size_t unknown = 0;
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(table__index_place(&t->index, hashes[i]));
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(table__index_peek(&t->index, hashes[i]));
    for (size_t i = 0; i < n; i++) {
        ret[i] = table__index_find(&t->index, hashes[i], items[i].key, &sure);
        if (ret[i])
            __builtin_prefetch(atomic_load_explicit(&ret[i]->newest, memory_order_relaxed));
        else
            unknown++;
    }
    return unknown;
}

/* Walks the searches of up to GROUP keys side by side, so that they wait for memory together: the puts
 * that follow find their way in the cache. Pays where scattered keys go into a large table. Those whose
 * node is known have no way to find. */
static void warm(const struct table *t, const struct table_item *items, size_t n,
                 struct table_key *const *known)
{
    struct {
        struct table_probe p;
        const struct table_key *x, *next;
        unsigned level;
    } s[GROUP];
    unsigned top = atomic_load_explicit(&t->height, memory_order_relaxed) - 1;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (known[i])
            continue;
        s[m].p = table__probe(items[i].key);
        s[m].x = t->head;
        s[m].level = top;
        s[m++].next = table__next(t->head, top);
    }
    bool done[GROUP] = {false};
    for (size_t left = m; left;) {
        for (size_t i = 0; i < m; i++) {
            if (done[i])
                continue;
            if (s[i].next && table__cmp(s[i].next, &s[i].p) < 0) {
                s[i].x = s[i].next;
            } else if (s[i].level == 0) {
                done[i] = true;
                left--;
                continue;
            } else {
                s[i].level--;
            }
            s[i].next = table__next(s[i].x, s[i].level);
            __builtin_prefetch(s[i].next);
        }
    }
}

/* Up to GROUP of them; memory has been reserved. */
static void put_group(struct table *t, const struct table_item *items, size_t n,
                      const struct blob *owner, bool batch)
{
    uint32_t hashes[GROUP];
    struct table_key *known[GROUP];
    for (size_t i = 0; i < n; i++)
        hashes[i] = table__hash(items[i].key);
    if (find_known(t, items, hashes, n, known) > 0 && n > 1)
        warm(t, items, n, known);
    for (size_t i = 0; i < n; i++) {
        check_item(t, items[i].key, &items[i].rec, owner);
        put_one(t, &items[i], hashes[i], known[i], owner, batch);
    }
}

enum status table_put_many(struct table *t, const struct table_item *items, size_t n,
                           struct blob *owner)
{
    size_t need = sizeof(struct table_blob) + table__order_need(&t->order, n);
    bool refs = false;
    for (size_t i = 0; i < n; i++) {
        need += table__entry_bytes(&items[i].rec, owner) +
                table__node_bytes(TABLE_MAX_HEIGHT, items[i].key.len);
        refs = refs || keep_by_ref(&items[i].rec, owner);
    }
    if (n == 0)
        return ST_OK;
    if (!table__mem_reserve(&t->mem, need) || !table__index_reserve(&t->index, n))
        return ST_NO_MEMORY;
    if (refs)
        keep_owner(t, owner);
    for (size_t i = 0, group; i < n; i += group) {
        group = n - i < GROUP ? n - i : GROUP;
        put_group(t, items + i, group, owner, n > 1);
    }
    atomic_store_explicit(&t->bytes,
                          sizeof(*t) + table__mem_bytes(&t->mem) + table__mem_bytes(&t->index.mem) +
                              t->blob_bytes,
                          memory_order_relaxed);
    return ST_OK;
}

enum status table_reserve(struct table *t, size_t n, size_t bytes)
{
    /* Bounds: each version rounded to 8 bytes with a pointer and a blob's note, each key a node of
     * full height. */
    size_t each = sizeof(struct table_entry) + sizeof(const uint8_t *) + sizeof(struct table_blob) +
                  16 + table__node_bytes(TABLE_MAX_HEIGHT, 0) + KEY_INLINE;
    size_t need = n * each + bytes + table__order_need(&t->order, n);
    return table__mem_reserve(&t->mem, need) && table__index_reserve(&t->index, n) ? ST_OK
                                                                                   : ST_NO_MEMORY;
}

enum status table_put(struct table *t, struct bytes key, const struct record *rec,
                      struct blob *owner)
{
    struct table_item item = {key, *rec};
    return table_put_many(t, &item, 1, owner);
}
