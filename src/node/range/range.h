/* range.h - one interval of the routing keyspace with its place in the log, and the one way entries
 * get into a table.
 *
 * A range with a single voter already goes the way every write will go: propose -> log -> sync ->
 * commit -> apply. Here commit is the sync of the only voter; a Raft group takes its place without
 * the layers around it noticing.
 *
 * Owns:     its counters. Promises: entries are applied in index order, each once; applying the
 * same log to an empty table gives the same table. Never:    does I/O; mints versions. Threads: one
 * owner (whoever leads the store's write path, or recovery).
 */
#ifndef VARVE_NODE_RANGE_RANGE_H
#define VARVE_NODE_RANGE_RANGE_H

#include "node/range/entry.h"
#include "storage/table/table.h"

enum { RANGE_FIRST = 1 };

struct range {
    uint64_t id;           /* incarnation: never reused */
    uint64_t term;         /* of the last entry applied; 0: none */
    uint64_t applied;      /* index of the last entry in a table or the engine */
    struct version newest; /* of the last applied entry */
};

/* Called for each op after the table has it, before the caller publishes the version. */
typedef void (*range_applied_fn)(void *arg, const struct entry_op *op, const struct record *rec);

/* Scratch for batches: reused between calls, freed with range_scratch_deinit. */
struct range_scratch {
    struct table_item *items;
    size_t cap;
};
void range_scratch_deinit(struct range_scratch *s);

/* What a run of entries needs in memory before it is logged, so that applying it afterwards cannot
 * fail for lack of it. Zeroed at the start of the run; each entry adds itself. On NO_MEMORY the
 * entry was not added. */
struct range_need {
    size_t ops, bytes;
};
enum status range_prepare(struct range_need *need, struct bytes payload, struct table *table,
                          struct range_scratch *scratch) WARN_UNUSED;

/* Applies entry `index` to the table. `owner` (may be NULL) is the blob the payload lies in.
 * Errors: CORRUPT (the entry does not decode, or the index is not the next), NO_MEMORY: then
 * nothing of it is in the table. */
enum status range_apply(struct range *r, uint64_t index, struct bytes payload, struct blob *owner,
                        struct table *table, struct range_scratch *scratch,
                        range_applied_fn applied, void *arg, struct err *err) WARN_UNUSED;
/* The same for an entry that says nothing (a new leader's first, a configuration). CORRUPT: the index
 * is not the next. */
enum status range_skip(struct range *r, uint64_t index, struct err *err) WARN_UNUSED;

#endif
