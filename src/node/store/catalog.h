/* catalog.h - the catalog's records, kept in collection 1 like any others: versioned, logged,
 * readable as of any time.
 *
 *   "c/" name        descriptor of a collection; deleted when it is dropped
 *   "g"              empty: written anew with each horizon that is raised and each snapshot made
 *   "h/" id (u32 BE) horizons of a collection; never deleted
 *   "i"              u32 BE: the highest id given out
 *   "n/" id (u32 BE) the name of an id; never deleted, so that the past of dropped collections
 * keeps its name "s/" name        a named snapshot: u64 BE hlc, u32 BE origin
 *
 * Owns, Promises, Threads: as store_internal.h says. Never: shown to users as a collection.
 */
#ifndef VARVE_NODE_STORE_CATALOG_H
#define VARVE_NODE_STORE_CATALOG_H

#include "node/store/store_internal.h"

#define CATALOG_COLLECTION "c/"
#define CATALOG_GUARD      "g"
#define CATALOG_HORIZON    "h/"
#define CATALOG_LAST_ID    "i"
#define CATALOG_NAME       "n/"
#define CATALOG_SNAPSHOT   "s/"

enum { PARTITION_RANGE = 0, PARTITION_HASH = 1 /* to come */ };

/* Encoding: u8 format (1), varint id, partitioning, replication factor, sync mode, max_age_ms,
 * max_count. */
struct descriptor {
    uint32_t id;
    uint64_t partitioning, replicas, sync;
    struct collection_settings settings;
};
enum status descriptor_encode(struct buf *out, const struct descriptor *d) WARN_UNUSED;
bool descriptor_decode(struct bytes in, struct descriptor *ret) WARN_UNUSED;

/* Encoding: u8 format (1), varint read horizon, varint feed horizon (hlc). */
struct horizons {
    uint64_t read_hlc, feed_hlc;
};
enum status horizons_encode(struct buf *out, const struct horizons *h) WARN_UNUSED;
bool horizons_decode(struct bytes in, struct horizons *ret) WARN_UNUSED;

enum status catalog_init(struct catalog *c) WARN_UNUSED;
void catalog_deinit(struct catalog *c);
struct collection *catalog_find(struct catalog *c,
                                struct bytes name); /* present ones; NULL: none */

/* One change of the catalog at a time: env_lock_give ends it. UNAVAILABLE: those before waited so long,
 * each in vain, that this one's time is over; the lock is not held then. */
enum status store__catalog_enter(struct store *s, struct err *err) WARN_UNUSED;
/* A routing key of the catalog. */
enum status catalog_key(struct buf *out, const char *prefix, struct bytes rest) WARN_UNUSED;
/* Proposes ops on the catalog; the caller holds catalog.lock. */
enum status store__catalog_write(struct store *s, struct entry_op *ops, size_t n,
                                 struct bytes writer, const struct store_require *req, size_t n_req,
                                 struct err *err) WARN_UNUSED;
/* What lets one node raise a horizon while another makes a snapshot: whoever does either takes it
 * first, looks then at what it depends on, and writes it with what follows from that. So of two that
 * did not see each other the later one gets PRECONDITION_FAILED. `key` is the guard's own, to be freed
 * by buf_deinit. The caller holds catalog.lock. */
struct guard {
    struct buf key;
    struct store_require as_seen;
};
enum status store__guard_take(struct store *s, struct guard *ret, struct err *err) WARN_UNUSED;
/* Raises (never lowers) a collection's horizons; the caller holds catalog.lock. PRECONDITION_FAILED:
 * a snapshot was made, or another horizon raised, since the guard was taken; what did that is seen
 * here after a barrier. */
enum status store__raise_horizons(struct store *s, struct collection *c, const struct horizons *h,
                                  const struct guard *g, struct err *err) WARN_UNUSED;

#endif
