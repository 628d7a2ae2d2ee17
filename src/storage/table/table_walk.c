/* table_walk.c - reading all of a table in order, to drain it.
 *
 * A spilled table is read by calls, piece by piece from the file's start to its end, and not through
 * the mapping: where memory is short a mapped page is dropped between its checksum and its use, and each
 * miss is a wait of its own for 4 KiB. What was summed is what is used, and what cannot be read is an
 * error and no signal. A key lies in one piece with its versions, so it is copied as it is; its
 * pointers then move by as much as it did. */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"
#include "storage/table/table_spill.h"

/* Pieces that are asked for at once: some more than a part of a drain reads of each table. */
enum { AHEAD = 2 };

static const struct table_spill *on_disk(const struct table *t)
{
    return t->spill && t->spill->file ? t->spill : NULL;
}

static enum status rotten(struct err *err)
{
    return err_set(err, ST_CORRUPT,
                   "a table that was spilled to the disk came back changed; the log "
                   "has its versions, so opening the folder anew mends it");
}

/* The nth piece, into memory of the reading's own. */
static enum status read_piece(struct table_reading *r, const struct table_spill *s, size_t n,
                              struct err *err)
{
    const struct table_piece *p = &s->pieces[n];
    size_t got;
    if (r->cap < p->len) {
        mem_free(r->mem);
        r->cap = 0;
        r->mem = mem_alloc(p->len);
        if (!r->mem)
            return err_set(err, ST_NO_MEMORY, "%zu bytes of a spilled table", p->len);
        r->cap = p->len;
    }
    enum status st = env_pread(s->file, p->at, r->mem, p->len, &got, err);
    if (st != ST_OK)
        return st;
    if (got != p->len || crc32c(0, r->mem, p->len) != p->sum)
        return rotten(err);
    r->at = p->at;
    r->len = p->len;
    return ST_OK;
}

/* Where the walk finds what readers see at `p`. */
static const void *found_at(const struct table_walk *w, const void *p)
{
    const struct table_spill *s = on_disk(w->t);
    if (!s)
        return p;
    return w->read.mem + ((size_t)((const uint8_t *)p - s->base) - w->read.at);
}

/* Reads on until w->node is in memory. */
static enum status bring_node(struct table_walk *w, struct err *err)
{
    const struct table_spill *s = on_disk(w->t);
    if (!s || !w->node)
        return ST_OK;
    size_t at = (size_t)((const uint8_t *)w->node - s->base);
    enum status st = ST_OK;
    while (st == ST_OK && at >= w->read.at + w->read.len) {
        ASSERT(w->pieces > s->n_brief_pieces);
        st = read_piece(&w->read, s, --w->pieces, err);
    }
    return st;
}

enum status table_walk_first(struct table_walk *w, const struct table *t, struct err *err)
{
    *w = (struct table_walk){.t = t, .node = table__next(t->head, 0)};
    w->pieces = on_disk(t) ? t->spill->n_pieces : 0;
    return bring_node(w, err);
}

void table_walk_deinit(struct table_walk *w)
{
    mem_free(w->read.mem);
    w->read = (struct table_reading){0};
}

void table_walk_ahead(const struct table_walk *w)
{
    const struct table_spill *s = on_disk(w->t);
    for (size_t i = 1; s && i <= AHEAD && w->pieces >= s->n_brief_pieces + i; i++) {
        const struct table_piece *p = &s->pieces[w->pieces - i];
        env_map_ahead(s->file, s->base + p->at, p->len);
    }
}

struct bytes table_walk_key(const struct table_walk *w)
{
    ASSERT(w->node);
    const struct table_key *n = found_at(w, w->node);
    return BYTES(table__key_data(n), n->len);
}

static size_t version_bytes(const struct table_entry *e)
{
    struct record rec;
    table_entry_record(e, &rec);
    return table__entry_bytes(&rec, NULL) + TABLE_RANK_BYTES;
}

static void *moved(const void *p, ptrdiff_t by)
{
    return (uint8_t *)(uintptr_t)p + by;
}

/* The node that lies at `n` and is seen at w->node, with its versions: as a copy. */
static const struct table_entry *copy_node(const struct table_walk *w, const struct table_key *n,
                                           struct arena *arena)
{
    const struct table_entry *newest = atomic_load_explicit(&n->newest, memory_order_relaxed);
    const uint8_t *from = (const uint8_t *)table__link(n, n->height - 1U), *end;
    for (const struct table_entry *e = newest; e; e = e->older) {
        const struct table_entry *at = found_at(w, e);
        end = (const uint8_t *)at + version_bytes(at);
        e = at;
    }
    uint8_t *copy = arena_memdup(arena, from, (size_t)(end - from));
    if (!copy)
        return NULL;
    struct table_key *key = (struct table_key *)(void *)(copy + ((const uint8_t *)n - from));
    ptrdiff_t by = (uint8_t *)key - (const uint8_t *)w->node;
    atomic_init(&key->newest, moved(newest, by));
    for (struct table_entry *e = moved(newest, by); e; e = e->older) {
        e->key = key;
        e->older = e->older ? moved(e->older, by) : NULL;
        e->jump = moved(e->jump, by);
    }
    return moved(newest, by);
}

enum status table_walk_take(struct table_walk *w, struct arena *arena,
                            const struct table_entry **ret, struct err *err)
{
    ASSERT(w->node);
    const struct table_key *n = found_at(w, w->node);
    *ret = on_disk(w->t) ? copy_node(w, n, arena)
                         : atomic_load_explicit(&n->newest, memory_order_acquire);
    if (!*ret)
        return err_set(err, ST_NO_MEMORY, "a key of a spilled table");
    w->node = table__next(n, 0);
    if (!on_disk(w->t) && w->node)
        __builtin_prefetch(table__next(w->node, 0));
    return bring_node(w, err);
}

void table_briefs_init(struct table_briefs *b, const struct table *t)
{
    const struct table_spill *s = t->spill;
    ASSERT(s);
    *b = (struct table_briefs){.t = t, .at = s->briefs_at, .pieces = s->n_brief_pieces};
}

void table_briefs_deinit(struct table_briefs *b)
{
    mem_free(b->read.mem);
    b->read = (struct table_reading){0};
}

enum status table_briefs_next(struct table_briefs *b, bool *ret_any, struct table_brief *ret,
                              struct err *err)
{
    const struct table_spill *s = b->t->spill;
    *ret_any = b->at < s->briefs_at + s->briefs_bytes;
    if (!*ret_any)
        return ST_OK;
    if (s->file && b->at >= b->read.at + b->read.len) {
        enum status st = read_piece(&b->read, s, --b->pieces, err);
        if (st == ST_OK && b->pieces > 0)
            env_map_ahead(s->file, s->base + s->pieces[b->pieces - 1].at,
                          s->pieces[b->pieces - 1].len);
        if (st != ST_OK)
            return st;
    }
    const uint8_t *p = s->file ? b->read.mem + (b->at - b->read.at) : s->base + b->at;
    uint64_t hlc;
    uint32_t origin, last;
    memcpy(&hlc, p, 8);
    memcpy(&origin, p + 8, 4);
    memcpy(&last, p + 12, 4);
    *ret =
        (struct table_brief){{hlc, origin}, BYTES(p + TABLE_BRIEF_HEAD, last >> 8), (uint8_t)last};
    b->at += TABLE_BRIEF_HEAD + ((last >> 8) + (size_t)7) / 8 * 8;
    return ST_OK;
}
