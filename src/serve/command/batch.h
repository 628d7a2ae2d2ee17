/* batch.h - several writes gathered until command_commit.
 *
 * Keys and values are copied into an arena, each key with room before it for its routing prefix:
 * the collection's id is known only at commit, and may be another at the next. Names of collections
 * are kept once.
 *
 * Owns: its memory. Promises: what was added passed its checks. Never: touches a store. Threads:
 * one owner.
 */
#ifndef VARVE_SERVE_COMMAND_BATCH_H
#define VARVE_SERVE_COMMAND_BATCH_H

#include "serve/command/command_internal.h"

struct batch_name {
    struct bytes text;
    uint64_t hash;
    bool written; /* by an op, not only named by a requirement */
    /* at commit: */
    struct collection *collection; /* NULL: there is none */
    struct bytes guard;            /* routing key that must be absent while the collection is */
};
struct batch_op {
    struct entry_op op; /* expires_ms holds the ttl */
    uint32_t name;
};
struct batch_require {
    struct store_require require;
    uint32_t name;
};

struct command_batch {
    struct arena arena;
    struct batch_name *names;
    size_t n_names, cap_names;
    uint32_t *slots; /* open addressing over names: number + 1; 0 = free */
    size_t cap_slots;
    uint32_t last_name; /* the one used last */
    struct batch_op *ops;
    size_t n_ops, cap_ops;
    struct batch_require *requires;
    size_t n_requires, cap_requires;
    size_t bytes; /* what its entry will have at most */
    struct buf scratch;
    /* of commit, kept for the next one */
    struct entry_op *entry_ops;
    struct store_require *store_requires;
    struct collection **collections;
    size_t cap_entry_ops, cap_store_requires, cap_collections;
};

/* Room for one more than n elements. */
enum status batch__grow(void **array, size_t *cap, size_t n, size_t element) WARN_UNUSED;

#endif
