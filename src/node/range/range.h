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

/* What was gathered and is in no table yet. Zeroed, and freed with range_scratch_deinit. */
struct range_scratch {
    struct table_item *items;
    size_t n, cap;
    uint64_t applied; /* the last one gathered; 0: none is */
    struct version newest;
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

/* Entries are applied in two steps, so that those of one group look for their places in the table
 * side by side. Gathers entry `index`, whose payload stays where it is until range_put. Errors: CORRUPT
 * (it does not decode, or is not the next), NO_MEMORY (not behind range_prepare while less than
 * RANGE_GATHERED_MAX ops wait): then it is not gathered, and those before it still are. */
enum { RANGE_GATHERED_MAX = 1024 };
enum status range_gather(const struct range *r, uint64_t index, struct bytes payload,
                         struct range_scratch *scratch, struct err *err) WARN_UNUSED;
/* Applies what was gathered; nothing is gathered then. `owner` is the blob all of it lies in; NULL:
 * values are copied. NO_MEMORY: nothing of it is in the table. */
enum status range_put(struct range *r, struct blob *owner, struct table *table,
                      struct range_scratch *scratch, range_applied_fn applied, void *arg,
                      struct err *err) WARN_UNUSED;
/* An entry that says nothing (a new leader's first, a configuration) is applied; nothing is gathered.
 * CORRUPT: the index is not the next. */
enum status range_skip(struct range *r, uint64_t index, struct err *err) WARN_UNUSED;

#endif
