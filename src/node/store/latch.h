/* latch.h - keys that entries in the log write which are not applied yet.
 *
 * Counters by hash: a key that shares one with another waits now and then for nothing, never the
 * other way round. What is latched says which entries of one term of leading are under way.
 *
 * Owns:     its counters. Promises: no memory and no failure once made. Threads: one.
 */
#ifndef VARVE_NODE_STORE_LATCH_H
#define VARVE_NODE_STORE_LATCH_H

#include "base/bytes.h"
#include <stdint.h>

struct latches;
struct latches *latches_new(void);    /* NULL: no memory */
void latches_free(struct latches *l); /* takes NULL */
/* Nothing is latched, and what will be is of this term. */
void latches_reset(struct latches *l, uint64_t term);
uint64_t latches_term(const struct latches *l);
/* All keys of an entry, as encoded by entry_encode. */
void latches_take(struct latches *l, struct bytes payload);
void latches_give(struct latches *l, struct bytes payload);
bool latches_has(const struct latches *l, struct bytes key);

#endif
