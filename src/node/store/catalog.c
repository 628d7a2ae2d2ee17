#include "node/store/catalog.h"

#include "base/alloc.h"
#include "base/hash.h"

/* Maps are replaced as a whole when they grow; readers may still walk an old one, so those stay
 * until close. They double, so all old ones together are smaller than the newest. */

static struct collection_map *map_new(size_t cap)
{
    struct collection_map *m = mem_zalloc(sizeof(*m) + cap * sizeof(m->slots[0]));
    if (m)
        m->cap = cap;
    return m;
}

static struct collection_map *map_of(_Atomic(struct collection_map *) *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

enum status catalog_init(struct catalog *c)
{
    struct collection_map *names = map_new(64), *ids = map_new(64);
    if (!names || !ids) {
        mem_free(names);
        mem_free(ids);
        return ST_NO_MEMORY;
    }
    atomic_store(&c->by_name, names);
    atomic_store(&c->by_id, ids);
    c->last_id = STORE_FIRST_ID - 1;
    env_lock_init(&c->lock);
    return ST_OK;
}

void catalog_deinit(struct catalog *c)
{
    struct collection_map *ids = map_of(&c->by_id);
    if (!ids)
        return;
    for (size_t i = 0; i < ids->cap; i++)
        mem_free(atomic_load(&ids->slots[i]));
    for (size_t i = 0; i < c->n_retired; i++)
        mem_free(c->retired[i]);
    while (c->spare) {
        struct collection *next = c->spare->next_spare;
        mem_free(c->spare);
        c->spare = next;
    }
    while (c->parted) {
        struct collection *next = c->parted->next_spare;
        mem_free(c->parted);
        c->parted = next;
    }
    mem_free(c->retired);
    mem_free(ids);
    mem_free(map_of(&c->by_name));
    env_lock_deinit(&c->lock);
}

static size_t name_hash(struct bytes name)
{
    return (size_t)hash_xxh64(name.data, name.len, 0);
}

/* The slot of a name, or the empty one where it belongs. */
static _Atomic(struct collection *) *name_slot(struct collection_map *m, struct bytes name)
{
    for (size_t i = name_hash(name) & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct collection *c = atomic_load_explicit(&m->slots[i], memory_order_acquire);
        if (!c || bytes_eq(BYTES(c->name, c->name_len), name))
            return &m->slots[i];
    }
}

struct collection *catalog_find(struct catalog *c, struct bytes name)
{
    struct collection *found =
        atomic_load_explicit(name_slot(map_of(&c->by_name), name), memory_order_acquire);
    return found && !atomic_load_explicit(&found->dropped, memory_order_acquire) ? found : NULL;
}

struct collection *store__collection_by_id(struct store *s, uint32_t id)
{
    if (id < STORE_FIRST_ID)
        return NULL;
    struct collection_map *m = map_of(&s->catalog.by_id);
    size_t slot = id - STORE_FIRST_ID;
    return slot < m->cap ? atomic_load_explicit(&m->slots[slot], memory_order_acquire) : NULL;
}

/* ---- making sure of memory before the log has the entry ---- */

static enum status retire(struct catalog *c, struct collection_map *old)
{
    if (c->n_retired == c->cap_retired) {
        size_t cap = c->cap_retired ? c->cap_retired * 2 : 16;
        struct collection_map **grown = mem_realloc(c->retired, cap * sizeof(*grown));
        if (!grown)
            return ST_NO_MEMORY;
        c->retired = grown;
        c->cap_retired = cap;
    }
    c->retired[c->n_retired++] = old;
    return ST_OK;
}

static enum status grow(struct catalog *c, _Atomic(struct collection_map *) *at, size_t cap,
                        bool by_name)
{
    struct collection_map *old = map_of(at), *m = map_new(cap);
    if (!m)
        return ST_NO_MEMORY;
    if (retire(c, old) != ST_OK) {
        mem_free(m);
        return ST_NO_MEMORY;
    }
    for (size_t i = 0; i < old->cap; i++) {
        struct collection *col = atomic_load(&old->slots[i]);
        if (col)
            atomic_store(by_name ? name_slot(m, BYTES(col->name, col->name_len)) : &m->slots[i],
                         col);
    }
    atomic_store_explicit(at, m, memory_order_release);
    return ST_OK;
}

enum status catalog_reserve_ops(struct catalog *c, size_t n, uint32_t last_id)
{
    c->promised += n;
    while (c->n_spare < c->promised) {
        struct collection *col = mem_zalloc(sizeof(*col));
        if (!col)
            goto fail;
        col->next_spare = c->spare;
        c->spare = col;
        c->n_spare++;
    }
    size_t cap = map_of(&c->by_name)->cap;
    while (cap < 2 * (c->n_names + c->promised))
        cap *= 2;
    if (cap > map_of(&c->by_name)->cap && grow(c, &c->by_name, cap, true) != ST_OK)
        goto fail;
    cap = map_of(&c->by_id)->cap;
    if (last_id < c->last_id)
        last_id = c->last_id;
    while (cap < last_id - STORE_FIRST_ID + 1 + c->promised)
        cap *= 2;
    if (cap > map_of(&c->by_id)->cap && grow(c, &c->by_id, cap, false) != ST_OK)
        goto fail;
    return ST_OK;
fail:
    c->promised -= n;
    return ST_NO_MEMORY;
}

void catalog_unreserve(struct catalog *c, size_t n)
{
    c->promised -= n < c->promised ? n : c->promised;
}

enum status catalog_reserve(struct catalog *c, struct bytes payload)
{
    struct entry_reader e;
    struct entry_op op;
    size_t n = 0;
    if (!entry_open(payload, &e))
        return ST_OK; /* apply says what is wrong with it */
    /* Keys rise and the catalog's collection comes first: most entries end this at once. */
    while (entry_next(&e, &op) > 0 && route_is_catalog(op.key))
        n++;
    return n ? catalog_reserve_ops(c, n, 0) : ST_OK;
}

/* ---- applying ---- */

static struct collection *get_or_make(struct store *s, uint32_t id, struct bytes name)
{
    struct catalog *c = &s->catalog;
    struct collection *col = store__collection_by_id(s, id);
    if (!col) {
        ASSERT(c->spare);
        col = c->spare;
        c->spare = col->next_spare;
        c->n_spare--;
        *col = (struct collection){.id = id};
        list_init(&col->watching);
    }
    if (name.len && !col->name_len) {
        memcpy(col->name, name.data, name.len);
        col->name_len = name.len;
    }
    struct collection_map *ids = map_of(&c->by_id);
    ASSERT(id - STORE_FIRST_ID < ids->cap);
    atomic_store_explicit(&ids->slots[id - STORE_FIRST_ID], col, memory_order_release);
    if (id > c->last_id)
        c->last_id = id;
    return col;
}

static void applied_descriptor(struct store *s, struct bytes name, const struct entry_op *op,
                               struct version v)
{
    struct catalog *c = &s->catalog;
    _Atomic(struct collection *) *slot = name_slot(map_of(&c->by_name), name);
    struct collection *old = atomic_load(slot);
    if (op->kind == RECORD_DELETE) {
        if (old && !atomic_exchange(&old->dropped, true))
            atomic_fetch_sub(&c->live, 1);
        return;
    }
    struct descriptor d;
    if (!descriptor_decode(op->value, &d))
        return; /* reads of it answer CORRUPT */
    struct collection *col = get_or_make(s, d.id, name);
    col->seen = c->states;
    atomic_store(&col->max_age_ms, d.settings.max_age_ms);
    atomic_store(&col->max_count, d.settings.max_count);
    if (old == col)
        return;
    if (!old)
        c->n_names++;
    col->created = v;
    atomic_fetch_add(&c->live, 1);
    atomic_store_explicit(slot, col, memory_order_release);
}

void store__catalog_applied(struct store *s, const struct entry_op *op, struct version v)
{
    struct catalog *c = &s->catalog;
    struct bytes key = {op->key.data + STORE_ROUTE_BYTES, op->key.len - STORE_ROUTE_BYTES};
    if (c->promised > 0)
        c->promised--;
    if (bytes_has_prefix(key, BYTES_LIT(CATALOG_COLLECTION))) {
        applied_descriptor(s, BYTES(key.data + 2, key.len - 2), op, v);
        return;
    }
    struct reader r = reader_of(BYTES(key.data + 2, key.len >= 2 ? key.len - 2 : 0));
    uint32_t id;
    if (op->kind != RECORD_PUT || key.len < 2 || !read_be32(&r, &id) || id < STORE_FIRST_ID)
        return;
    if (bytes_has_prefix(key, BYTES_LIT(CATALOG_NAME)) && op->value.len <= STORE_NAME_MAX) {
        get_or_make(s, id, op->value);
    } else if (bytes_has_prefix(key, BYTES_LIT(CATALOG_HORIZON))) {
        struct horizons h;
        if (!horizons_decode(op->value, &h))
            return;
        struct collection *col = get_or_make(s, id, BYTES_EMPTY);
        atomic_store_explicit(&col->horizon_hlc, h.read_hlc, memory_order_release);
        atomic_store_explicit(&col->feed_horizon_hlc, h.feed_hlc, memory_order_release);
    }
}

void store__catalog_replace_begin(struct store *s)
{
    s->catalog.states++;
}

static void drop(struct catalog *c, struct collection *col)
{
    if (!atomic_exchange(&col->dropped, true))
        atomic_fetch_sub(&c->live, 1);
}

void store__catalog_part(struct store *s, uint32_t id, struct bytes name, bool live)
{
    struct catalog *c = &s->catalog;
    struct collection *named = live ? atomic_load(name_slot(map_of(&c->by_name), name)) : NULL;
    struct collection *col = store__collection_by_id(s, id);
    if (named && named->id != id)
        drop(c, named);
    if (!col)
        return;
    bool same = !col->name_len || bytes_eq(BYTES(col->name, col->name_len), name);
    if (same && !(live && atomic_load(&col->dropped)))
        return;
    /* Whoever holds it goes on holding it: a dropped one. */
    if (atomic_load(name_slot(map_of(&c->by_name), BYTES(col->name, col->name_len))) == col)
        drop(c, col);
    atomic_store(&map_of(&c->by_id)->slots[id - STORE_FIRST_ID], NULL);
    col->next_spare = c->parted;
    c->parted = col;
}

void store__catalog_replace_end(struct store *s, uint32_t last_id)
{
    struct catalog *c = &s->catalog;
    struct collection_map *m = map_of(&c->by_name);
    for (size_t i = 0; i < m->cap; i++) {
        struct collection *col = atomic_load(&m->slots[i]);
        if (col && col->seen != c->states)
            drop(c, col);
    }
    if (last_id > c->last_id)
        c->last_id = last_id;
}

/* The highest id first: rows then come in the order of names, and the map by id has to hold them
 * all. */
static enum status load_last_id(struct store *s, struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    struct record rec;
    enum status st = catalog_key(&key, CATALOG_LAST_ID, BYTES_EMPTY);
    if (st == ST_OK)
        st = store_get(s, buf_bytes(&key), VERSION_NONE, &value, &rec, err);
    struct reader r = reader_of(st == ST_OK ? rec.value : BYTES_EMPTY);
    uint32_t id;
    if (st == ST_NOT_FOUND)
        st = ST_OK;
    else if (st == ST_OK && (!read_be32(&r, &id) || id < STORE_FIRST_ID))
        st = err_set(err, ST_CORRUPT, "%s: the catalog's highest id does not decode", s->dir);
    else if (st == ST_OK)
        s->catalog.last_id = id;
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

/* A dropped collection has left its name and its horizons, but no descriptor. */
static void load_dropped(struct catalog *c)
{
    struct collection_map *ids = map_of(&c->by_id), *names = map_of(&c->by_name);
    for (size_t i = 0; i < ids->cap; i++) {
        struct collection *col = atomic_load(&ids->slots[i]);
        if (col && atomic_load(name_slot(names, BYTES(col->name, col->name_len))) != col)
            atomic_store(&col->dropped, true);
    }
}

enum status store__catalog_load(struct store *s, struct err *err)
{
    enum status first = load_last_id(s, err);
    if (first != ST_OK)
        return first;
    struct store_iter *it;
    struct store_row row;
    uint8_t lower[STORE_ROUTE_BYTES], upper[STORE_ROUTE_BYTES];
    route_put(lower, STORE_CATALOG_ID);
    route_put(upper, STORE_CATALOG_ID + 1);
    struct store_scan q = {.in = {BYTES(lower, sizeof(lower)), BYTES(upper, sizeof(upper))}};
    enum status st = store_scan(s, &q, &it, err);
    if (st != ST_OK)
        return st;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0) {
        struct entry_op op = {
            .key = row.key, .kind = RECORD_PUT, .type = row.rec.type, .value = row.rec.value};
        struct bytes name = {row.key.data + STORE_ROUTE_BYTES, row.key.len - STORE_ROUTE_BYTES};
        struct descriptor d;
        struct horizons h;
        bool bad =
            (bytes_has_prefix(name, BYTES_LIT(CATALOG_COLLECTION)) &&
             !descriptor_decode(op.value, &d)) ||
            (bytes_has_prefix(name, BYTES_LIT(CATALOG_HORIZON)) && !horizons_decode(op.value, &h));
        if (bad)
            st = err_set(err, ST_CORRUPT, "%s: the catalog's record %.*s does not decode", s->dir,
                         (int)name.len, (const char *)name.data);
        else if (catalog_reserve_ops(&s->catalog, 1, 0) != ST_OK)
            st = err_set(err, ST_NO_MEMORY, "no memory for the catalog");
        if (st != ST_OK)
            break;
        store__catalog_applied(s, &op, row.rec.version);
    }
    store_iter_close(it);
    load_dropped(&s->catalog);
    return rc < 0 && st == ST_OK ? (enum status) - rc : st;
}
