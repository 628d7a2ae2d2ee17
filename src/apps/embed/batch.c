/* batch.c - gathering. What commit does is in commit.c. */
#include "apps/embed/batch.h"

#include "base/hash.h"

enum {
    ENTRY_HEAD_MAX =
        21 + RECORD_WRITER_MAX, /* what an entry has besides its ops, see node/range/entry.h */
    OP_HEAD_MAX = 1 + 3 + STORE_ROUTE_BYTES, /* kind, length of the key, routing prefix */
    EXPIRY_MAX = 7,                          /* 48 bits as a varint */
    VALUE_HEAD_MAX = 4,
    REQUIRES_MAX = 1 << 20,
};

enum status batch__grow(void **array, size_t *cap, size_t n, size_t element)
{
    if (n < *cap)
        return ST_OK;
    size_t grown = *cap ? *cap * 2 : 64;
    while (grown <= n)
        grown *= 2;
    void *p = mem_realloc(*array, grown * element);
    if (!p)
        return ST_NO_MEMORY;
    *array = p;
    *cap = grown;
    return ST_OK;
}

varve_batch *varve_batch_new(void)
{
    struct varve_batch *b = mem_zalloc(sizeof(*b));
    if (b) {
        arena_init(&b->arena, 0);
        b->bytes = ENTRY_HEAD_MAX;
    }
    return b;
}

void varve_batch_free(varve_batch *b)
{
    if (!b)
        return;
    arena_deinit(&b->arena);
    buf_deinit(&b->scratch);
    mem_free(b->names);
    mem_free(b->slots);
    mem_free(b->ops);
    mem_free(b->requires);
    mem_free(b->entry_ops);
    mem_free(b->store_requires);
    mem_free(b->collections);
    mem_free(b);
}

void varve_batch_clear(varve_batch *b)
{
    if (!b)
        return;
    arena_reset(&b->arena);
    if (b->slots)
        memset(b->slots, 0, b->cap_slots * sizeof(*b->slots));
    b->n_names = b->n_ops = b->n_requires = 0;
    b->last_name = 0;
    b->bytes = ENTRY_HEAD_MAX;
}

size_t varve_batch_count(const varve_batch *b)
{
    return b ? b->n_ops : 0;
}

size_t varve_batch_bytes(const varve_batch *b)
{
    return b ? b->bytes - ENTRY_HEAD_MAX : 0;
}

/* ---- names ---- */

static uint32_t *slot_of(struct varve_batch *b, const char *text, size_t len, uint64_t hash)
{
    for (size_t i = hash & (b->cap_slots - 1);; i = (i + 1) & (b->cap_slots - 1)) {
        uint32_t *slot = &b->slots[i];
        if (*slot == 0)
            return slot;
        const struct batch_name *n = &b->names[*slot - 1];
        if (n->hash == hash && n->len == len && memcmp(n->text, text, len) == 0)
            return slot;
    }
}

static enum status grow_slots(struct varve_batch *b)
{
    if (b->n_names * 2 < b->cap_slots)
        return ST_OK;
    size_t cap = b->cap_slots ? b->cap_slots * 2 : 16;
    uint32_t *slots = mem_zalloc(cap * sizeof(*slots));
    if (!slots)
        return ST_NO_MEMORY;
    mem_free(b->slots);
    b->slots = slots;
    b->cap_slots = cap;
    for (size_t i = 0; i < b->n_names; i++)
        *slot_of(b, b->names[i].text, b->names[i].len, b->names[i].hash) = (uint32_t)i + 1;
    return ST_OK;
}

static enum status intern(struct varve_batch *b, const char *name, uint32_t *ret, struct err *err)
{
    if (b->n_names > 0 && name && strcmp(b->names[b->last_name].text, name) == 0) {
        *ret = b->last_name;
        return ST_OK;
    }
    enum status st = embed__check_name(name, "collection", err);
    if (st != ST_OK)
        return st;
    size_t len = strlen(name);
    uint64_t hash = hash_xxh64(name, len, 0);
    if (batch__grow((void **)&b->names, &b->cap_names, b->n_names, sizeof(*b->names)) != ST_OK ||
        grow_slots(b) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    uint32_t *slot = slot_of(b, name, len, hash);
    if (*slot == 0) {
        char *copy = arena_strdup(&b->arena, name);
        if (!copy)
            return err_set(err, ST_NO_MEMORY, "no memory for a batch");
        b->names[b->n_names++] = (struct batch_name){.text = copy, .len = len, .hash = hash};
        *slot = (uint32_t)b->n_names;
    }
    *ret = b->last_name = *slot - 1;
    return ST_OK;
}

/* ---- ops and requirements ---- */

/* The key behind room for its prefix, and the value behind it. */
static uint8_t *keep(struct varve_batch *b, const void *key, size_t key_len, struct bytes value)
{
    uint8_t *p = arena_alloc_align(&b->arena, STORE_ROUTE_BYTES + key_len + value.len, 1);
    if (!p)
        return NULL;
    memcpy(p + STORE_ROUTE_BYTES, key, key_len);
    if (value.len)
        memcpy(p + STORE_ROUTE_BYTES + key_len, value.data, value.len);
    return p;
}

static enum status add(struct varve_batch *b, const char *collection, const void *key,
                       size_t key_len, uint8_t kind, uint8_t type, struct bytes value,
                       uint64_t ttl_ms, struct err *err)
{
    uint32_t name;
    size_t more = OP_HEAD_MAX + key_len + (ttl_ms ? EXPIRY_MAX : 0) +
                  (kind == RECORD_PUT ? VALUE_HEAD_MAX + value.len : 0);
    if (b->bytes + more > ENTRY_MAX)
        return err_set(
            err, ST_TOO_LARGE,
            "batch: with this write of %zu bytes it has %zu, over the limit of %d (32 MiB)", more,
            b->bytes + more, ENTRY_MAX);
    enum status st = intern(b, collection, &name, err);
    if (st != ST_OK)
        return st;
    uint8_t *p = NULL;
    if (batch__grow((void **)&b->ops, &b->cap_ops, b->n_ops, sizeof(*b->ops)) != ST_OK ||
        !(p = keep(b, key, key_len, value)))
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    b->ops[b->n_ops++] = (struct batch_op){
        .op = {.key = BYTES(p, STORE_ROUTE_BYTES + key_len),
               .kind = kind,
               .type = type,
               .expires_ms = ttl_ms,
               .value = BYTES(p + STORE_ROUTE_BYTES + key_len, value.len)},
        .name = name,
    };
    b->names[name].written = true;
    b->bytes += more;
    return ST_OK;
}

varve_status varve_batch_put(varve_batch *b, const char *collection, const void *key,
                             size_t key_len, varve_type type, const void *data, size_t len,
                             uint64_t ttl_ms)
{
    struct err *err = embed__err();
    struct bytes value;
    uint8_t kept_type;
    uint64_t expires;
    if (!b)
        return embed__done(embed__null("b", err));
    enum status st = embed__check_key(key, key_len, err);
    if (st == ST_OK)
        st = embed__check_value(type, data, len, &b->scratch, &kept_type, &value, err);
    if (st == ST_OK && ttl_ms)
        st = embed__expiry(NULL, ttl_ms, &expires, err);
    if (st == ST_OK)
        st = add(b, collection, key, key_len, RECORD_PUT, kept_type, value, ttl_ms, err);
    return embed__done(st);
}

varve_status varve_batch_delete(varve_batch *b, const char *collection, const void *key,
                                size_t key_len)
{
    struct err *err = embed__err();
    if (!b)
        return embed__done(embed__null("b", err));
    enum status st = embed__check_key(key, key_len, err);
    if (st == ST_OK)
        st = add(b, collection, key, key_len, RECORD_DELETE, RECORD_RAW, BYTES_EMPTY, 0, err);
    return embed__done(st);
}

static enum status require(struct varve_batch *b, const char *collection, const void *key,
                           size_t key_len, varve_require what, varve_version version,
                           struct err *err)
{
    uint32_t name;
    if (!b)
        return embed__null("b", err);
    enum status st = embed__check_key(key, key_len, err);
    if (st != ST_OK)
        return st;
    if (what != VARVE_REQUIRE_ABSENT && what != VARVE_REQUIRE_PRESENT &&
        what != VARVE_REQUIRE_VERSION)
        return err_set(err, ST_INVALID_ARGUMENT, "what: %d is no requirement", (int)what);
    if (what == VARVE_REQUIRE_VERSION && version_is_none(embed__version(version)))
        return err_set(err, ST_INVALID_ARGUMENT, "version: it is none; to require absence, say so");
    if (b->n_requires >= REQUIRES_MAX)
        return err_set(err, ST_TOO_LARGE, "batch: it has %d requirements, which is the limit",
                       REQUIRES_MAX);
    if ((st = intern(b, collection, &name, err)) != ST_OK)
        return st;
    uint8_t *p = NULL;
    if (batch__grow((void **)&b->requires, &b->cap_requires, b->n_requires, sizeof(*b->requires)) !=
            ST_OK ||
        !(p = keep(b, key, key_len, BYTES_EMPTY)))
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    b->requires[b->n_requires++] = (struct batch_require){
        .require = {.key = BYTES(p, STORE_ROUTE_BYTES + key_len),
                    .what = (enum store_require_what)what,
                    .version = embed__version(version)},
        .name = name,
    };
    return ST_OK;
}
_Static_assert((int)STORE_REQUIRE_ABSENT == (int)VARVE_REQUIRE_ABSENT &&
                   (int)STORE_REQUIRE_PRESENT == (int)VARVE_REQUIRE_PRESENT &&
                   (int)STORE_REQUIRE_VERSION == (int)VARVE_REQUIRE_VERSION,
               "requirements have one number");

varve_status varve_batch_require(varve_batch *b, const char *collection, const void *key,
                                 size_t key_len, varve_require what, varve_version version)
{
    return embed__done(require(b, collection, key, key_len, what, version, embed__err()));
}
