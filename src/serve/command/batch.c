/* batch.c - gathering. What commit does is in commit.c. */
#include "serve/command/batch.h"

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

struct command_batch *command_batch_new(void)
{
    struct command_batch *b = mem_zalloc(sizeof(*b));
    if (b) {
        arena_init(&b->arena, 0);
        b->bytes = ENTRY_HEAD_MAX;
    }
    return b;
}

void command_batch_free(struct command_batch *b)
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

void command_batch_clear(struct command_batch *b)
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

size_t command_batch_count(const struct command_batch *b)
{
    return b ? b->n_ops : 0;
}

size_t command_batch_bytes(const struct command_batch *b)
{
    return b ? b->bytes - ENTRY_HEAD_MAX : 0;
}

/* ---- names ---- */

static uint32_t *slot_of(struct command_batch *b, struct bytes text, uint64_t hash)
{
    for (size_t i = hash & (b->cap_slots - 1);; i = (i + 1) & (b->cap_slots - 1)) {
        uint32_t *slot = &b->slots[i];
        if (*slot == 0)
            return slot;
        const struct batch_name *n = &b->names[*slot - 1];
        if (n->hash == hash && bytes_eq(n->text, text))
            return slot;
    }
}

static enum status grow_slots(struct command_batch *b)
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
        *slot_of(b, b->names[i].text, b->names[i].hash) = (uint32_t)i + 1;
    return ST_OK;
}

static enum status intern(struct command_batch *b, struct bytes name, uint32_t *ret,
                          struct err *err)
{
    if (b->n_names > 0 && name.len > 0 && bytes_eq(b->names[b->last_name].text, name)) {
        *ret = b->last_name;
        return ST_OK;
    }
    enum status st = command__check_name(name, "collection", err);
    if (st != ST_OK)
        return st;
    uint64_t hash = hash_xxh64(name.data, name.len, 0);
    if (batch__grow((void **)&b->names, &b->cap_names, b->n_names, sizeof(*b->names)) != ST_OK ||
        grow_slots(b) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    uint32_t *slot = slot_of(b, name, hash);
    if (*slot == 0) {
        void *copy = arena_memdup(&b->arena, name.data, name.len);
        if (!copy)
            return err_set(err, ST_NO_MEMORY, "no memory for a batch");
        b->names[b->n_names++] = (struct batch_name){.text = BYTES(copy, name.len), .hash = hash};
        *slot = (uint32_t)b->n_names;
    }
    *ret = b->last_name = *slot - 1;
    return ST_OK;
}

bool command_batch_name(const struct command_batch *b, size_t i, struct bytes *ret_name,
                        bool *ret_written)
{
    if (i >= b->n_names)
        return false;
    *ret_name = b->names[i].text;
    *ret_written = b->names[i].written;
    return true;
}

/* ---- ops and requirements ---- */

/* The key behind room for its prefix, and the value behind it. */
static uint8_t *keep(struct command_batch *b, struct bytes key, struct bytes value)
{
    uint8_t *p = arena_alloc_align(&b->arena, STORE_ROUTE_BYTES + key.len + value.len, 1);
    if (!p)
        return NULL;
    memcpy(p + STORE_ROUTE_BYTES, key.data, key.len);
    if (value.len)
        memcpy(p + STORE_ROUTE_BYTES + key.len, value.data, value.len);
    return p;
}

static enum status add(struct command_batch *b, struct bytes collection, struct bytes key,
                       uint8_t kind, uint8_t type, struct bytes value, uint64_t ttl_ms,
                       struct err *err)
{
    uint32_t name;
    size_t more = OP_HEAD_MAX + key.len + (ttl_ms ? EXPIRY_MAX : 0) +
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
        !(p = keep(b, key, value)))
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    b->ops[b->n_ops++] = (struct batch_op){
        .op = {.key = BYTES(p, STORE_ROUTE_BYTES + key.len),
               .kind = kind,
               .type = type,
               .expires_ms = ttl_ms,
               .value = BYTES(p + STORE_ROUTE_BYTES + key.len, value.len)},
        .name = name,
    };
    b->names[name].written = true;
    b->bytes += more;
    return ST_OK;
}

enum status command_batch_put(struct command_batch *b, struct bytes collection, struct bytes key,
                              struct command_value value, uint64_t ttl_ms, struct err *err)
{
    struct bytes kept;
    uint8_t type;
    uint64_t expires;
    enum status st = command__check_key(key, err);
    if (st == ST_OK)
        st = command__check_value(value, &b->scratch, &type, &kept, err);
    if (st == ST_OK && ttl_ms)
        st = command__expiry(0, ttl_ms, &expires, err);
    if (st == ST_OK)
        st = add(b, collection, key, RECORD_PUT, type, kept, ttl_ms, err);
    return st;
}

enum status command_batch_delete(struct command_batch *b, struct bytes collection, struct bytes key,
                                 struct err *err)
{
    enum status st = command__check_key(key, err);
    if (st == ST_OK)
        st = add(b, collection, key, RECORD_DELETE, RECORD_RAW, BYTES_EMPTY, 0, err);
    return st;
}

enum status command_batch_require(struct command_batch *b, struct bytes collection,
                                  struct bytes key, struct command_require require, struct err *err)
{
    uint32_t name;
    enum status st = command__check_key(key, err);
    if (st == ST_OK)
        st = command__check_require(&require, err);
    if (st != ST_OK)
        return st;
    if (b->n_requires >= REQUIRES_MAX)
        return err_set(err, ST_TOO_LARGE, "batch: it has %d requirements, which is the limit",
                       REQUIRES_MAX);
    if ((st = intern(b, collection, &name, err)) != ST_OK)
        return st;
    uint8_t *p = NULL;
    if (batch__grow((void **)&b->requires, &b->cap_requires, b->n_requires, sizeof(*b->requires)) !=
            ST_OK ||
        !(p = keep(b, key, BYTES_EMPTY)))
        return err_set(err, ST_NO_MEMORY, "no memory for a batch");
    b->requires[b->n_requires++] = (struct batch_require){
        .require = {.key = BYTES(p, STORE_ROUTE_BYTES + key.len),
                    .what = require.what,
                    .version = require.version},
        .name = name,
    };
    return ST_OK;
}
