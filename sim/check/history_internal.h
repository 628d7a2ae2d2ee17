/* history_internal.h - private to sim/check: how a history is kept. */
#ifndef VARVE_SIM_CHECK_HISTORY_INTERNAL_H
#define VARVE_SIM_CHECK_HISTORY_INTERNAL_H

#include "base/arena.h"
#include "sim/check/history.h"

/* Equal bytes get one number: open addressing over the numbers, at most half full. */
struct interned {
    struct bytes *of; /* by number */
    uint64_t *hashes;
    uint32_t n, cap;
    uint32_t *slots; /* number + 1, 0 = free */
    size_t slots_n;  /* power of two */
};

struct history {
    struct arena arena;
    struct interned keys, values;
    uint64_t place; /* of the last event */
    struct history_op *ops;
    struct history_watch *watches;
    struct history_row *rows;
    struct history_note *notes;
    size_t ops_n, ops_cap, watches_n, watches_cap, rows_n, rows_cap, notes_n, notes_cap;
    bool complete;
    uint64_t horizon;
};

/* Makes room for one more of `size` bytes; *p and *cap change only on success. */
enum status history__grow(void **p, size_t *cap, size_t n, size_t size) WARN_UNUSED;

#endif
