/* cache.c - lifetime, reading without a lock, filling and updating. See cache_internal.h for the
 * protocol. */
#include "storage/cache/cache.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"
#include "storage/cache/cache_internal.h"

enum { READ_TRIES = 8, USES_MAX = 3, TICKET_EPOCH = 48, AHEAD = 1, AHEAD_BYTES = 384 };

/* What a ticket keeps of a sequence: parity and 47 more bits. */
#define TICKET_SEQ ((1ull << TICKET_EPOCH) - 1)

uint64_t cache_hash(struct bytes key)
{
    return hash_xxh64(key.data, key.len, 0x7661727665u);
}

struct cache *cache_new(size_t max_bytes)
{
    struct cache *c = mem_aligned(64, sizeof(*c));
    if (!c)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->max_bytes = max_bytes;
    c->n_shards = 1;
    while (c->n_shards < CACHE_SHARDS_MAX && max_bytes / c->n_shards / 2 >= CACHE_SHARD_MIN)
        c->n_shards *= 2;
    if (max_bytes < 8 * CACHE_SLAB)
        return c; /* too small for anything */
    c->shards = mem_aligned(64, c->n_shards * sizeof(*c->shards));
    if (c->shards)
        memset(c->shards, 0, c->n_shards * sizeof(*c->shards));
    if (!c->shards || !cache__take_index(c)) {
        cache_free(c);
        return NULL;
    }
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    cache__drop_index(c);
    mem_free(c);
}

static struct cache_shard *shard_of(const struct cache *c, uint64_t hash)
{
    return &c->shards[hash & (c->n_shards - 1)];
}

/* Threads count on lines of their own, as far as the stripes go. */
static struct cache_stripe *stripe_of(struct cache *c)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned mine;
    if (mine == 0)
        mine = 1 + atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % CACHE_STRIPES;
    return &c->stripes[mine - 1];
}

static void count(_Atomic uint64_t *n)
{
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* Word i of bytes padded with zeros. */
static inline uint64_t padded_word(struct bytes b, size_t i)
{
    uint64_t w = 0;
    size_t left = b.len - 8 * i;
    memcpy(&w, b.data + 8 * i, left < 8 ? left : 8);
    return w;
}

static bool words_equal(const cache_word *w, struct bytes b)
{
    size_t whole = b.len / 8;
    for (size_t i = 0; i < whole; i++) {
        uint64_t v;
        memcpy(&v, b.data + 8 * i, sizeof(v));
        if (cache__get(&w[i]) != v)
            return false;
    }
    return b.len % 8 == 0 || cache__get(&w[whole]) == padded_word(b, whole);
}

static void store_words(cache_word *w, struct bytes b)
{
    for (size_t i = 0; i < cache__words(b.len); i++)
        cache__set(&w[i], padded_word(b, i));
}

static void load_words(const cache_word *w, size_t len, uint8_t *out)
{
    size_t whole = len / 8;
    for (size_t i = 0; i < whole; i++) {
        uint64_t v = cache__get(&w[i]);
        memcpy(out + 8 * i, &v, sizeof(v));
    }
    if (len % 8) {
        uint64_t v = cache__get(&w[whole]);
        memcpy(out + 8 * whole, &v, len % 8);
    }
}

/* The record as it seems to be; whoever reads beside a writer must not trust it before the sequence
 * says so. Lengths are held against the slab's end, so that it can be read in any case. */
static bool record_is(const cache_word *r, uint64_t hash, struct bytes key, struct cache_meta *ret)
{
    if (cache__get(&r[W_HASH]) != hash)
        return false;
    *ret = cache__meta(cache__get(&r[W_META]));
    size_t offset = (uintptr_t)r & (CACHE_SLAB - 1);
    return ret->key_len == key.len &&
           offset + cache__record_bytes(ret->key_len, ret->writer_len, ret->value_len) <=
               CACHE_SLAB &&
           words_equal(&r[W_BODY], key);
}

/* The slot of the key; -1: none. */
static int find(const struct cache_bucket *b, uint64_t hash, struct bytes key,
                struct cache_meta *ret)
{
    uint64_t tag = cache__tag(hash);
    for (int i = 0; i < CACHE_SLOTS; i++) {
        uint64_t w = atomic_load_explicit(&b->slot[i], memory_order_acquire);
        if (w == 0 || (w ^ tag) >> 48)
            continue;
        const cache_word *r = cache__ptr(w);
        __builtin_prefetch((const char *)(uintptr_t)r + 64);
        __builtin_prefetch((const char *)(uintptr_t)r + 128);
        if (record_is(r, hash, key, ret))
            return i;
    }
    return -1;
}

static void load_head(const cache_word *r, struct cache_meta m, struct record *ret)
{
    uint64_t origins = cache__get(&r[W_ORIGINS]);
    *ret = (struct record){
        .version = {cache__get(&r[W_HLC]), (uint32_t)origins},
        .parent = {cache__get(&r[W_PARENT]), (uint32_t)(origins >> 32)},
        .kind = m.kind,
        .type = m.type,
        .expires_ms = cache__get(&r[W_EXPIRES]),
    };
}

static bool copy_record(const cache_word *r, struct cache_meta m, struct buf *out,
                        struct record *ret)
{
    if (buf_reserve(out, m.writer_len + m.value_len) != ST_OK)
        return false;
    load_head(r, m, ret);
    const cache_word *w = &r[W_BODY] + cache__words(m.key_len);
    uint8_t *dst = out->data;
    if (m.writer_len)
        load_words(w, m.writer_len, dst);
    if (m.value_len)
        load_words(w + cache__words(m.writer_len), m.value_len, dst + m.writer_len);
    ret->writer = m.writer_len ? BYTES(dst, m.writer_len) : BYTES_EMPTY;
    ret->value = m.value_len ? BYTES(dst + m.writer_len, m.value_len) : BYTES_EMPTY;
    return true;
}

static bool read_record(const struct cache_shard *s, uint64_t hash, struct bytes key,
                        struct buf *out, struct record *ret)
{
    struct cache_bucket *b = cache__bucket(s, hash);
    __builtin_prefetch(&b->slot[6]);
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t seq = atomic_load_explicit(&b->seq, memory_order_acquire);
        if (seq & 1)
            continue;
        struct cache_meta m;
        struct record rec;
        int slot = find(b, hash, key, &m);
        if (slot < 0)
            return false; /* also when it is just being moved: a miss is always safe */
        const cache_word *r =
            cache__ptr(atomic_load_explicit(&b->slot[slot], memory_order_acquire));
        if (!r || !copy_record(r, m, out, &rec))
            return false;
        if (atomic_load_explicit(&b->seq, memory_order_relaxed) != seq)
            continue;
        unsigned uses = cache__uses(b, slot);
        if (uses < USES_MAX)
            cache__set_uses(b, slot, uses + 1);
        out->len = m.writer_len + m.value_len;
        *ret = rec;
        return true;
    }
    return false;
}

bool cache_get(struct cache *c, uint64_t hash, struct bytes key, struct buf *out,
               struct record *ret)
{
    buf_clear(out);
    bool hit = c->shards && read_record(shard_of(c, hash), hash, key, out, ret);
    struct cache_stripe *stripe = stripe_of(c);
    count(hit ? &stripe->hits : &stripe->misses);
    return hit;
}

static void prefetch_record(const struct cache *c, uint64_t hash)
{
    const struct cache_bucket *b = cache__bucket(shard_of(c, hash), hash);
    const uint64_t tag = cache__tag(hash);
    for (int i = 0; i < CACHE_SLOTS; i++) {
        uint64_t w = atomic_load_explicit(&b->slot[i], memory_order_relaxed);
        if (w == 0 || (w ^ tag) >> 48)
            continue;
        for (size_t at = 0; at < AHEAD_BYTES; at += 64)
            __builtin_prefetch((const char *)(uintptr_t)cache__ptr(w) + at);
        return;
    }
}

void cache_ahead(const struct cache *c, uint64_t hash)
{
    /* Those whose bucket is on its way; its record can be asked for when it has come. */
    static _Thread_local uint64_t waiting[AHEAD];
    static _Thread_local unsigned at;
    if (!c->shards)
        return;
    const struct cache_bucket *b = cache__bucket(shard_of(c, hash), hash);
    __builtin_prefetch(b);
    __builtin_prefetch(&b->slot[6]);
    prefetch_record(c, waiting[at]);
    waiting[at] = hash;
    at = (at + 1) % AHEAD;
}

uint64_t cache_begin_fill(struct cache *c, uint64_t hash)
{
    if (!c->shards)
        return 0;
    const struct cache_shard *s = shard_of(c, hash);
    uint64_t epoch = atomic_load_explicit(&s->epoch, memory_order_acquire);
    uint64_t seq = atomic_load_explicit(&cache__bucket(s, hash)->seq, memory_order_acquire);
    return epoch << TICKET_EPOCH | (seq & TICKET_SEQ);
}

static bool cacheable(struct bytes key, const struct record *rec)
{
    return rec->kind == RECORD_PUT && rec->value.len <= RECORD_BY_REF &&
           cache__record_bytes(key.len, rec->writer.len, rec->value.len) <= CACHE_RECORD_MAX;
}

static void store_head(cache_word *r, const struct record *rec, size_t key_len,
                       enum cache_where where)
{
    cache__set(&r[W_META], (uint64_t)rec->value.len | (uint64_t)key_len << 16 |
                               (uint64_t)rec->writer.len << 32 | (uint64_t)rec->kind << 40 |
                               (uint64_t)rec->type << 44 | (uint64_t)where << 48);
    cache__set(&r[W_HLC], rec->version.hlc);
    cache__set(&r[W_PARENT], rec->parent.hlc);
    cache__set(&r[W_ORIGINS], rec->version.origin | (uint64_t)rec->parent.origin << 32);
    cache__set(&r[W_EXPIRES], rec->expires_ms);
}

static void store_body(cache_word *r, size_t key_len, const struct record *rec)
{
    cache_word *w = &r[W_BODY] + cache__words(key_len);
    store_words(w, rec->writer);
    store_words(w + cache__words(rec->writer.len), rec->value);
}

static void store_record(cache_word *r, uint64_t hash, struct bytes key, const struct record *rec)
{
    cache__set(&r[W_HASH], hash);
    store_head(r, rec, key.len, WHERE_FREE);
    store_words(&r[W_BODY], key);
    store_body(r, key.len, rec);
}

/* An empty slot, or the least used one, which loses its record: then *ret_moves says by how much
 * the sequence moved. */
static int make_slot(struct cache_shard *s, struct cache_bucket *b, uint64_t *ret_moves)
{
    int worst = 0;
    for (int i = 0; i < CACHE_SLOTS; i++) {
        if (atomic_load_explicit(&b->slot[i], memory_order_relaxed) == 0)
            return i;
        if (cache__uses(b, i) < cache__uses(b, worst))
            worst = i;
    }
    cache__remove(s, b, worst);
    count(&s->evictions);
    *ret_moves += 2;
    return worst;
}

static void fill_locked(struct cache_shard *s, uint64_t hash, uint64_t ticket, struct bytes key,
                        const struct record *rec)
{
    struct cache_bucket *b = cache__bucket(s, hash);
    uint64_t seq = atomic_load_explicit(&b->seq, memory_order_acquire), moves;
    struct cache_meta m;
    uint64_t epoch = (uint64_t)atomic_load_explicit(&s->epoch, memory_order_relaxed);
    if ((epoch << TICKET_EPOCH | (seq & TICKET_SEQ)) != ticket || (seq & 1) ||
        find(b, hash, key, &m) >= 0)
        return;
    cache_word *r =
        cache__piece(s, cache__record_bytes(key.len, rec->writer.len, rec->value.len), b, &moves);
    if (!r)
        return;
    int slot = make_slot(s, b, &moves);
    store_record(r, hash, key, rec);
    /* Our own evictions moved the sequence by a known number; anything else is a write that voids
     * this fill. */
    uint64_t expected = seq + moves;
    if (!atomic_compare_exchange_strong_explicit(&b->seq, &expected, expected + 1,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        cache__free_piece(s, r);
        return;
    }
    atomic_store_explicit(&b->slot[slot], cache__tag(hash) | (uint64_t)(uintptr_t)r,
                          memory_order_release);
    cache__set_uses(b, slot, 0);
    cache__enqueue(s, r);
    cache__change(b);
    count(&s->fills);
}

void cache_fill(struct cache *c, uint64_t hash, uint64_t ticket, struct bytes key,
                const struct record *rec)
{
    if (!c->shards || !cacheable(key, rec))
        return;
    struct cache_shard *s = shard_of(c, hash);
    env_spin_lock(&s->lock);
    if (!atomic_load_explicit(&c->paused, memory_order_acquire))
        fill_locked(s, hash, ticket, key, rec);
    env_spin_unlock(&s->lock);
}

/* The bucket's sequence has moved on, so no open fill can bring an old value after this. */
static void update_locked(struct cache_shard *s, uint64_t hash, struct bytes key,
                          const struct record *rec)
{
    struct cache_bucket *b = cache__bucket(s, hash);
    struct cache_meta m;
    int slot = find(b, hash, key, &m);
    if (slot < 0)
        return;
    cache_word *r = cache__ptr(atomic_load_explicit(&b->slot[slot], memory_order_relaxed));
    struct record old;
    load_head(r, m, &old);
    if (version_cmp(old.version, rec->version) > 0)
        return; /* a newer write came first */
    size_t bytes = cache__record_bytes(key.len, rec->writer.len, rec->value.len);
    if (cacheable(key, rec) && cache__fits(r, bytes)) {
        cache__change(b);
        store_head(r, rec, key.len, m.where);
        store_body(r, key.len, rec);
        cache__change(b);
        return;
    }
    unsigned uses = cache__uses(b, slot);
    cache__remove(s, b, slot);
    uint64_t moves;
    cache_word *bigger = cacheable(key, rec) ? cache__piece(s, bytes, b, &moves) : NULL;
    if (!bigger)
        return;
    slot = make_slot(s, b, &moves);
    store_record(bigger, hash, key, rec);
    cache__change(b);
    atomic_store_explicit(&b->slot[slot], cache__tag(hash) | (uint64_t)(uintptr_t)bigger,
                          memory_order_release);
    cache__set_uses(b, slot, uses);
    cache__enqueue(s, bigger);
    cache__change(b);
}

static bool may_hold(const struct cache_bucket *b, uint64_t hash)
{
    uint64_t tag = cache__tag(hash);
    for (int i = 0; i < CACHE_SLOTS; i++) {
        uint64_t w = atomic_load_explicit(&b->slot[i], memory_order_acquire);
        if (w != 0 && (w ^ tag) >> 48 == 0)
            return true;
    }
    return false;
}

void cache_update(struct cache *c, uint64_t hash, struct bytes key, const struct record *rec)
{
    if (!c->shards)
        return;
    struct cache_shard *s = shard_of(c, hash);
    struct cache_bucket *b = cache__bucket(s, hash);
    __builtin_prefetch(&b->slot[6]);
    count(&stripe_of(c)->updates);
    /* First void the open fills, then look: a fill that got in before is seen here, a later one
     * sees the new sequence. An odd sequence is a fill or an update at work, whose outcome only the
     * lock tells. */
    uint64_t seq = atomic_fetch_add_explicit(&b->seq, 2, memory_order_acq_rel);
    if (!(seq & 1) && !may_hold(b, hash))
        return;
    env_spin_lock(&s->lock);
    update_locked(s, hash, key, rec);
    env_spin_unlock(&s->lock);
}

void cache_clear(struct cache *c)
{
    for (uint32_t i = 0; c->shards && i < c->n_shards; i++) {
        struct cache_shard *s = &c->shards[i];
        env_spin_lock(&s->lock);
        uint32_t epoch = atomic_load_explicit(&s->epoch, memory_order_relaxed);
        atomic_store_explicit(&s->epoch, (epoch + 1) & 0xffff, memory_order_release);
        cache__remove_all(s);
        env_spin_unlock(&s->lock);
    }
}

void cache_pause(struct cache *c, bool pause)
{
    if (pause)
        atomic_store_explicit(&c->paused, true, memory_order_release);
    /* Whoever fills holds a shard's lock, and so is done before this, or sees the pause behind it. */
    cache_clear(c);
    if (!pause)
        atomic_store_explicit(&c->paused, false, memory_order_release);
}

void cache_stats(const struct cache *c, struct cache_stats *ret)
{
    struct cache_stats st = {.max_bytes = c->max_bytes, .bytes = c->shards ? c->fixed_bytes : 0};
    st.bytes += atomic_load_explicit(&c->region_total, memory_order_relaxed);
    for (size_t i = 0; i < CACHE_STRIPES; i++) {
        st.hits += atomic_load_explicit(&c->stripes[i].hits, memory_order_relaxed);
        st.misses += atomic_load_explicit(&c->stripes[i].misses, memory_order_relaxed);
        st.updates += atomic_load_explicit(&c->stripes[i].updates, memory_order_relaxed);
    }
    for (uint32_t i = 0; c->shards && i < c->n_shards; i++) {
        const struct cache_shard *s = &c->shards[i];
        st.fills += atomic_load_explicit(&s->fills, memory_order_relaxed);
        st.evictions += atomic_load_explicit(&s->evictions, memory_order_relaxed);
        st.entries += atomic_load_explicit(&s->entries, memory_order_relaxed);
    }
    *ret = st;
}
