/* crash_hold_internal.h - the rows of a key as its history told them. */
#ifndef VARVE_TESTS_CRASH_HOLD_INTERNAL_H
#define VARVE_TESTS_CRASH_HOLD_INTERNAL_H

#include "crash/library/crash_hold.h"

struct seen_row {
    varve_version version, parent;
    bool is_delete, by_ttl;
    uint64_t step; /* unless by_ttl */
    uint64_t expires_ms, hash;
    varve_type type;
    size_t len;
    size_t cell;
};

/* All rows of all keys of a stream: cell by cell, each newest first. */
struct seen {
    struct hold *h;
    unsigned stream;
    struct model all; /* every step that may be there */
    uint64_t now_ms;  /* before the reads began */
    struct seen_row *rows;
    size_t count, room;
    size_t *first; /* of each cell; one more at the end */
};

uint64_t hold__hash(const void *data, size_t len);
bool hold__fail(const struct seen *s, const struct step_op *op, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool hold__value_is(const struct step_op *op, varve_type type, varve_bytes got);
/* The newest row of a cell at or below a version; NULL: none. */
const struct seen_row *hold__at(const struct seen *s, size_t cell, uint64_t hlc);
bool hold__alive(const struct seen_row *r, uint64_t at_ms);

/* Gets, scans, change feeds and named snapshots against the rows. */
bool hold__reads(struct seen *s);

#endif
