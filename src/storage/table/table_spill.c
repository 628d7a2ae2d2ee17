/* table_spill.c - a table that takes no more puts, packed into a file that is read as memory.
 *
 *   order     pointers to the versions in the order of (version, key)
 *   keys      ascending; each a node (links first) and its versions, the newest first, each with its
 *             place in the order (u64) behind it
 *   briefs    in that order: u64 hlc, u32 origin, u32 length of key << 8 | kind, the key padded to 8
 *
 * It is the same structure at other addresses, so readers do not know the difference. The file is
 * mapped first, which says where each piece will lie, and written from its end: then all that a node
 * points to has its place already. It is written by calls instead of through the mapping, so that a
 * full disk is an error and no signal; synced, so that what cannot be written is known while the table
 * still lies in memory; and each piece has a checksum, for what is drained from it is kept for good. */
#include "storage/table/table_spill.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

enum { PIECE_BYTES = 256 << 10, PAGES = 64 << 10, BRIEF_HEAD = TABLE_BRIEF_HEAD };

/* A version of the table, and its number in the order of keys, each key's newest first. */
struct version_at {
    uint64_t hlc;
    uint32_t origin, number;
    const struct table_entry *from;
};

struct spilling {
    const struct table *from;
    struct table *to;
    struct table_spill *s;
    size_t at; /* what lies from here to the end has been given out */
    uint8_t *piece;
    size_t piece_cap, piece_len; /* at the end of its buffer */
    const struct table_key **nodes;
    struct version_at *order;
    uint32_t *ranks;             /* by number */
    struct table_entry **places; /* by rank */
    size_t left;                 /* versions whose numbers are still to come, from the last */
    size_t *offsets;             /* of one key's versions */
    size_t cap_offsets;
    struct table_key *next[TABLE_MAX_HEIGHT];
};

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "no memory for a spilled table");
}

void table__spill_free(struct table_spill *s)
{
    if (!s)
        return;
    if (s->file && s->base)
        env_unmap(s->file, s->base, s->bytes);
    else if (s->base)
        mem_pages_free(s->base, s->bytes);
    env_close(s->file);
    mem_free(s->pieces);
    mem_free(s);
}

static enum status flush(struct spilling *w, struct err *err)
{
    struct table_spill *s = w->s;
    if (w->piece_len == 0)
        return ST_OK;
    if (s->n_pieces == s->cap_pieces) {
        size_t cap = s->cap_pieces ? s->cap_pieces * 2 : 16;
        struct table_piece *pieces = mem_realloc(s->pieces, cap * sizeof(*pieces));
        if (!pieces)
            return no_memory(err);
        s->pieces = pieces;
        s->cap_pieces = cap;
    }
    const uint8_t *from = w->piece + w->piece_cap - w->piece_len;
    s->pieces[s->n_pieces++] =
        (struct table_piece){w->at, w->piece_len, crc32c(0, from, w->piece_len)};
    enum status st = env_pwrite(s->file, w->at, from, w->piece_len, err);
    if (st == ST_OK)
        env_write_behind(s->file, w->at, w->piece_len);
    w->piece_len = 0;
    return st;
}

/* The next n bytes towards the start: written at *ret, to be read at the address that is answered. What
 * is given out at once lies in one piece. */
static enum status room(struct spilling *w, size_t n, uint8_t **ret, uint8_t **ret_at,
                        struct err *err)
{
    ASSERT(n <= w->at && n % 8 == 0);
    if (w->s->file && w->piece_len + n > w->piece_cap) {
        enum status st = flush(w, err);
        if (st != ST_OK)
            return st;
        size_t cap = n > PIECE_BYTES ? n : PIECE_BYTES;
        if (w->piece_cap < cap) {
            mem_free(w->piece);
            w->piece_cap = 0;
            w->piece = mem_alloc(cap);
            if (!w->piece)
                return no_memory(err);
            w->piece_cap = cap;
        }
    }
    w->at -= n;
    w->piece_len += n;
    *ret_at = w->s->base + w->at;
    *ret = w->s->file ? w->piece + w->piece_cap - w->piece_len : *ret_at;
    return ST_OK;
}

static size_t copied_bytes(const struct table_entry *e)
{
    struct record rec;
    table_entry_record(e, &rec);
    return table__entry_bytes(&rec, NULL) + TABLE_RANK_BYTES;
}

static size_t brief_bytes(const struct table_key *k)
{
    return BRIEF_HEAD + (k->len + (size_t)7) / 8 * 8;
}

static const struct table_entry *newest(const struct table_key *n)
{
    return atomic_load_explicit(&n->newest, memory_order_acquire);
}

/* Where the key's versions lie, counted from its links; *ret: where they end. */
static enum status place_versions(struct spilling *w, const struct table_key *n, size_t *ret,
                                  struct err *err)
{
    const struct table_entry *e = newest(n);
    size_t total = table__node_bytes(n->height, n->len), i = 0;
    if (w->cap_offsets < e->depth) {
        mem_free(w->offsets);
        w->cap_offsets = 0;
        w->offsets = mem_alloc(e->depth * sizeof(*w->offsets));
        if (!w->offsets)
            return no_memory(err);
        w->cap_offsets = e->depth;
    }
    for (; e; e = e->older) {
        w->offsets[i++] = total;
        total += copied_bytes(e);
    }
    *ret = total;
    return ST_OK;
}

static void copy_version(struct spilling *w, const struct table_entry *e, size_t i, size_t n,
                         uint8_t *out, uint8_t *at, struct table_key *key)
{
    struct record rec;
    table_entry_record(e, &rec);
    uint64_t rank = w->ranks[w->left + i];
    struct table_entry *copy = table__make_entry(out + w->offsets[i], &rec, NULL);
    memcpy((uint8_t *)copy + table__entry_bytes(&rec, NULL), &rank, sizeof(rank));
    copy->key = key;
    copy->depth = e->depth;
    copy->older = e->older ? (struct table_entry *)(void *)(at + w->offsets[i + 1]) : NULL;
    copy->jump = (struct table_entry *)(void *)(at + w->offsets[n - e->jump->depth]);
    w->places[rank] = (struct table_entry *)(void *)(at + w->offsets[i]);
}

static enum status copy_key(struct spilling *w, const struct table_key *n, struct err *err)
{
    uint8_t *out, *at;
    size_t total, i = 0, depth = newest(n)->depth;
    enum status st = place_versions(w, n, &total, err);
    if (st == ST_OK)
        st = room(w, total, &out, &at, err);
    if (st != ST_OK)
        return st;
    if (w->s->file)
        memset(out, 0, total); /* what lies between goes to the disk as well */
    struct table_key *copy =
        table__make_node(out, n->height, BYTES(table__key_data(n), n->len), n->hash);
    struct table_key *there = (struct table_key *)(void *)(at + ((uint8_t *)copy - out));
    for (unsigned l = 0; l < n->height; l++) {
        atomic_init(table__link(copy, l), w->next[l]);
        w->next[l] = there;
    }
    atomic_init(&copy->newest, (struct table_entry *)(void *)(at + w->offsets[0]));
    ASSERT(depth <= w->left);
    w->left -= depth;
    for (const struct table_entry *e = newest(n); e; e = e->older)
        copy_version(w, e, i++, depth, out, at, there);
    /* The node is complete where it is written, not where it will be read. */
    table__index_add_at(&w->to->index, n->hash, there);
    return ST_OK;
}

static int by_version(const void *pa, const void *pb)
{
    const struct version_at *a = pa, *b = pb;
    if (a->hlc != b->hlc)
        return a->hlc < b->hlc ? -1 : 1;
    if (a->origin != b->origin)
        return a->origin < b->origin ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

static void sort_versions(struct spilling *w)
{
    size_t n = 0;
    for (const struct table_key *k = table__next(w->from->head, 0); k; k = table__next(k, 0)) {
        for (const struct table_entry *e = newest(k); e; e = e->older, n++)
            w->order[n] = (struct version_at){e->hlc, e->origin, (uint32_t)n, e};
    }
    qsort(w->order, n, sizeof(*w->order), by_version);
    for (size_t i = 0; i < n; i++)
        w->ranks[w->order[i].number] = (uint32_t)i;
    w->left = n;
}

static enum status write_briefs(struct spilling *w, struct err *err)
{
    enum status st = ST_OK;
    w->s->briefs_bytes = w->at; /* where they end */
    for (size_t i = w->left; st == ST_OK && i-- > 0;) {
        const struct version_at *v = &w->order[i];
        const struct table_key *k = v->from->key;
        size_t n = brief_bytes(k);
        uint32_t last = (uint32_t)k->len << 8 | v->from->kind;
        uint8_t *out, *at;
        st = room(w, n, &out, &at, err);
        if (st != ST_OK)
            break;
        memset(out + n - 8, 0, 8); /* the padding */
        memcpy(out, &v->hlc, 8);
        memcpy(out + 8, &v->origin, 4);
        memcpy(out + 12, &last, 4);
        memcpy(out + BRIEF_HEAD, table__key_data(k), k->len);
    }
    if (st == ST_OK && w->s->file)
        st = flush(w, err);
    w->s->n_brief_pieces = w->s->n_pieces;
    w->s->briefs_bytes -= w->at;
    w->s->briefs_at = w->at;
    return st;
}

static enum status write_order(struct spilling *w, struct table_entry ***dir, uint64_t count,
                               struct err *err)
{
    for (uint64_t chunk = (count + ORDER_CHUNK - 1) / ORDER_CHUNK; chunk-- > 0;) {
        uint8_t *out, *at;
        uint64_t first = chunk * ORDER_CHUNK;
        size_t n = count - first < ORDER_CHUNK ? (size_t)(count - first) : ORDER_CHUNK;
        enum status st = room(w, n * sizeof(struct table_entry *), &out, &at, err);
        if (st != ST_OK)
            return st;
        memcpy(out, &w->places[first], n * sizeof(struct table_entry *));
        dir[chunk] = (struct table_entry **)(void *)at;
    }
    return ST_OK;
}

/* Lists the nodes, and counts the bytes that the copy takes. */
static size_t measure(struct spilling *w)
{
    size_t total = (size_t)table_count(w->from) * sizeof(struct table_entry *), n = 0;
    for (const struct table_key *k = table__next(w->from->head, 0); k; k = table__next(k, 0)) {
        w->nodes[n++] = k;
        total += table__node_bytes(k->height, k->len);
        for (const struct table_entry *e = newest(k); e; e = e->older)
            total += copied_bytes(e) + brief_bytes(k);
    }
    ASSERT(n == table_keys(w->from));
    return total;
}

static enum status make_file(struct table_spill *s, struct env *env, const char *path, size_t bytes,
                             struct err *err)
{
    const void *base = NULL;
    enum status st =
        env_open(env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNC, &s->file, err);
    if (st != ST_OK)
        return st;
    st = env_unlink(env, path, err);
    if (st == ST_OK)
        st = env_truncate(s->file, bytes, err);
    if (st == ST_OK)
        st = env_map(s->file, bytes, &base, err);
    if (st != ST_OK) {
        env_close(s->file);
        s->file = NULL;
        return st;
    }
    s->base = (uint8_t *)(uintptr_t)base;
    s->bytes = bytes;
    return ST_OK;
}

static enum status make_place(struct spilling *w, struct env *env, const char *path, size_t bytes,
                              struct err *err)
{
    struct table_spill *s = w->s;
    enum status st =
        path && bytes && env->ops->map ? make_file(s, env, path, bytes, err) : ST_UNIMPLEMENTED;
    w->at = bytes;
    if (st != ST_UNIMPLEMENTED)
        return st;
    s->bytes = bytes / PAGES * PAGES + PAGES;
    s->base = mem_pages(PAGES, s->bytes);
    return s->base ? ST_OK : no_memory(err);
}

static enum status prepare(struct spilling *w, struct env *env, const char *path, struct err *err)
{
    struct table *t = w->to;
    size_t keys = (size_t)table_keys(w->from), count = (size_t)table_count(w->from);
    size_t head = table__node_bytes(TABLE_MAX_HEIGHT, 0);
    size_t dir = (count / ORDER_CHUNK + 1) * sizeof(struct table_entry **);
    atomic_init(&t->refs, 1);
    table__mem_init(&t->mem, NULL);
    table__mem_init(&t->index.mem, NULL);
    t->spill = w->s;
    w->nodes = mem_alloc((keys + 1) * sizeof(*w->nodes));
    ASSERT(count < UINT32_MAX);
    w->order = mem_alloc((count + 1) * sizeof(*w->order));
    w->ranks = mem_alloc((count + 1) * sizeof(*w->ranks));
    w->places = mem_alloc((count + 1) * sizeof(struct table_entry *));
    if (!w->nodes || !w->order || !w->ranks || !w->places ||
        !table__mem_reserve(&t->mem, head + dir) || !table__index_init(&t->index, NULL, keys))
        return no_memory(err);
    t->head = table__make_node(table__mem_take(&t->mem, head), TABLE_MAX_HEIGHT, BYTES_EMPTY, 0);
    return make_place(w, env, path, measure(w), err);
}

static enum status copy_all(struct spilling *w, struct err *err)
{
    struct table *t = w->to;
    uint64_t count = table_count(w->from);
    enum status st = ST_OK;
    struct table_entry ***dir =
        table__mem_take(&t->mem, (count / ORDER_CHUNK + 1) * sizeof(struct table_entry **));
    sort_versions(w);
    st = write_briefs(w, err);
    for (size_t i = (size_t)table_keys(w->from); st == ST_OK && i-- > 0;)
        st = copy_key(w, w->nodes[i], err);
    if (st == ST_OK)
        st = write_order(w, dir, count, err);
    if (st == ST_OK && w->s->file)
        st = flush(w, err);
    if (st == ST_OK && w->s->file)
        st = env_sync(w->s->file, err);
    if (st != ST_OK)
        return st;
    ASSERT(w->at == 0);
    for (unsigned l = 0; l < TABLE_MAX_HEIGHT; l++)
        atomic_init(table__link(t->head, l), w->next[l]);
    atomic_init(&t->height, atomic_load_explicit(&w->from->height, memory_order_relaxed));
    atomic_init(&t->keys, table_keys(w->from));
    atomic_init(&t->order.dir, dir);
    atomic_init(&t->order.count, count);
    t->order.dir_cap = count / ORDER_CHUNK + 1;
    atomic_init(&t->bytes, sizeof(*t) + table__mem_bytes(&t->mem) +
                               table__mem_bytes(&t->index.mem) + (w->s->file ? 0 : w->s->bytes));
    return ST_OK;
}

enum status table_spill(const struct table *t, struct env *env, const char *path,
                        struct table **ret, struct err *err)
{
    struct spilling w = {.from = t, .to = mem_zalloc(sizeof(*w.to)), .s = mem_zalloc(sizeof(*w.s))};
    if (!w.to || !w.s) {
        mem_free(w.to);
        mem_free(w.s);
        return no_memory(err);
    }
    enum status st = prepare(&w, env, path, err);
    if (st == ST_OK)
        st = copy_all(&w, err);
    mem_free(w.nodes);
    mem_free(w.order);
    mem_free(w.ranks);
    mem_free(w.places);
    mem_free(w.offsets);
    mem_free(w.piece);
    if (st == ST_OK)
        *ret = w.to;
    else
        table_unref(w.to);
    return st;
}

bool table_spilled(const struct table *t)
{
    return t->spill != NULL;
}

uint32_t table_entry_rank(const struct table_entry *e)
{
    struct record rec;
    uint64_t rank;
    table_entry_record(e, &rec);
    memcpy(&rank, (const uint8_t *)e + table__entry_bytes(&rec, NULL), sizeof(rank));
    return (uint32_t)rank;
}
