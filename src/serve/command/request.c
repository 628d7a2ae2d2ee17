/* request.c - what a request asks for, in a few bytes: so that an id which is used for another write
 * is refused instead of being taken for a copy. */
#include "base/hash.h"
#include "serve/command/command_internal.h"

/* Two hashes of the same bytes under different seeds. What is hashed is fixed by its lengths. */
static void add(struct request_digest *d, const void *data, size_t len)
{
    uint64_t n = len;
    d->h[0] = hash_xxh64(data, len, hash_xxh64(&n, sizeof n, d->h[0]));
    d->h[1] = hash_xxh64(data, len, hash_xxh64(&n, sizeof n, d->h[1]));
}

void request_begin(struct request_digest *d)
{
    d->h[0] = 1;
    d->h[1] = 2;
}

void request_add_op(struct request_digest *d, struct bytes collection, struct bytes key,
                    const struct entry_op *op, uint64_t ttl_ms)
{
    const uint64_t what[3] = {op->kind, op->type, ttl_ms};
    add(d, what, sizeof what);
    add(d, collection.data, collection.len);
    add(d, key.data, key.len);
    add(d, op->value.data, op->value.len);
}

void request_add_require(struct request_digest *d, struct bytes collection, struct bytes key,
                         const struct store_require *r)
{
    const uint64_t what[3] = {(uint64_t)r->what, r->version.hlc, r->version.origin};
    add(d, what, sizeof what);
    add(d, collection.data, collection.len);
    add(d, key.data, key.len);
}

void request_end(const struct command_db *db, const struct request_digest *d, struct bytes id,
                 struct store_request *ret)
{
    uint8_t digest[STORE_DIGEST_BYTES];
    _Static_assert(sizeof d->h == sizeof digest, "two hashes make a digest");
    memcpy(digest, d->h, sizeof digest);
    store_request_op(id, digest, env_now_ms(db->env), ret);
}
