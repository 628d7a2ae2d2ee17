/* check_internal.h - private to sim/check: findings, stories, and the small tools that the checkers
 * share. */
#ifndef VARVE_SIM_CHECK_CHECK_INTERNAL_H
#define VARVE_SIM_CHECK_CHECK_INTERNAL_H

#include "base/arena.h"
#include "sim/check/check.h"

/* --- findings (check_report.c) --- */

/* Counts a violation. true when its story should be told: then build it and hand it to check__told.
 */
bool check__found(struct check_report *r, const char *checker, const char *anomaly);
/* Takes the story's bytes (not the buf); `st` is how building it went, and is passed on. */
enum status check__told(struct check_report *r, const char *checker, const char *anomaly,
                        struct buf *story, enum status st) WARN_UNUSED;
void check__gave_up(struct check_report *r);

/* --- stories (check_story.c) --- */

/* `"text"`, shortened past 40 bytes. */
enum status check__tell_bytes(struct buf *out, struct bytes b) WARN_UNUSED;
/* One line: who did what when, and what came of it. */
enum status check__tell_op(struct buf *out, const struct history_op *op) WARN_UNUSED;
/* Some operations, each once, in order of invocation. Sorts `ids`. */
enum status check__tell_ops(struct buf *out, const struct history *h, uint32_t *ids,
                            size_t n) WARN_UNUSED;
/* A finding whose story is one sentence and some operations. */
enum status check__tell(struct check_report *r, const struct history *h, const char *checker,
                        const char *anomaly, uint32_t *ids, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 7, 8))) WARN_UNUSED;
/* `"text"` of a key in a static-sized place, for fmt above. */
struct check_text {
    char s[72];
};
struct check_text check__text(struct bytes b);

/* --- tools (check_map.c) --- */

/* Three numbers to one; a key is put once. */
struct check_map_slot {
    uint64_t a, b, c;
    uint32_t value;
    bool used;
};
struct check_map {
    struct check_map_slot *slots;
    size_t n, size; /* size: power of two */
};
void check__map_deinit(struct check_map *m);
/* The place of the key's value, made with `otherwise` when it was not there; NULL: no memory.
 * Valid until the next one is made. */
uint32_t *check__map_put(struct check_map *m, uint64_t a, uint64_t b, uint64_t c,
                         uint32_t otherwise);
uint32_t *check__map_get(const struct check_map *m, uint64_t a, uint64_t b, uint64_t c);
uint64_t check__mix(uint64_t x); /* splitmix64's finalizer */

/* --- one register's operations (check_register.c) --- */

enum check_kind {
    CHECK_READ,    /* saw `value` */
    CHECK_WRITE,   /* put `value` there, if `require` held */
    CHECK_HELD,    /* `require` held; nothing written */
    CHECK_REFUSED, /* `require` did not hold */
};
enum { CHECK_ABSENT = UINT32_MAX, CHECK_ANY_VALUE = UINT32_MAX - 1 };

struct check_entry {
    uint32_t op;
    enum check_kind kind;
    enum history_require require;
    bool certain; /* it happened; else it may have */
    uint32_t value;
    uint64_t want, version; /* version 0: not told */
    uint64_t call, ret;     /* ret: UINT64_MAX when it may take effect at any time after call */
};

struct check_register {
    uint32_t key;
    struct check_entry *e; /* by call */
    size_t n;
    bool open; /* some uncertain write was kept: it may have been seen by someone */
};

/* All registers of a history, from one pass over it. Versions of writes whose answer was lost are
 * filled in where a read tells them. */
struct check_registers {
    struct check_register *of;
    size_t n;
    struct check_entry *entries;
    struct check_map failed; /* (key, value) of writes that surely failed -> operation */
};
enum status check__registers(const struct history *h, struct check_registers *ret) WARN_UNUSED;
void check__registers_deinit(struct check_registers *r);

/* The writes that are certain, by version; `out` has room for g->n. Those without come first. */
enum status check__writes_by_version(const struct check_register *g, uint32_t *out,
                                     uint32_t *ret_n) WARN_UNUSED;

enum check_verdict { CHECK_RIGHT, CHECK_WRONG, CHECK_OPEN };

/* Why a register is wrong: a name, and the operations that show it. */
struct check_reason {
    const char *anomaly;
    char words[200];
    uint32_t held; /* what the key held then: a value's number, CHECK_ABSENT, CHECK_ANY_VALUE */
    uint32_t ops[8];
    size_t n;
};
/* By the order of versions: linear after a sort; CHECK_OPEN where versions alone do not decide
 * (check_versions.c). */
enum status check__by_versions(const struct check_registers *all, const struct check_register *g,
                               enum check_verdict *ret, struct check_reason *why) WARN_UNUSED;
/* By search, knowing versions only as part of the state (check_search.c). CHECK_OPEN: past
 * `steps`. */
enum status check__by_search(const struct check_register *g, uint64_t steps,
                             enum check_verdict *ret, struct check_reason *why) WARN_UNUSED;

/* --- the recorded past (check_past.c) --- */

struct check_row {
    uint32_t key, value; /* value: CHECK_ABSENT for a delete */
    uint64_t version;
    uint32_t op; /* that is known to have written it; UINT32_MAX: a final row */
};
/* The final rows if they are complete, else what writes were told; by key, then version. */
enum status check__rows(const struct history *h, struct check_row **ret,
                        size_t *ret_n) WARN_UNUSED; /* mem_free */
/* How many of the rows lie before (key, version). */
size_t check__rows_before(const struct check_row *rows, size_t n, uint32_t key, uint64_t version);

/* --- dependencies (check_graph.c, check_cycle.c) --- */

enum check_edge_kind { CHECK_WW, CHECK_WR, CHECK_RW, CHECK_TIME, CHECK_EDGE_KINDS };
struct check_edge {
    uint32_t from, to;
    enum check_edge_kind kind;
    uint32_t key;
};
/* Nodes 0 .. ops-1 are the history's operations, those above only stand between others. */
struct check_graph {
    uint32_t ops, nodes;
    struct check_edge *edges;
    size_t n, cap;
    uint32_t *first; /* CSR, made by check__graph_close */
};
void check__graph_init(struct check_graph *g, uint32_t ops);
void check__graph_deinit(struct check_graph *g);
enum status check__graph_edge(struct check_graph *g, uint32_t from, uint32_t to,
                              enum check_edge_kind kind, uint32_t key) WARN_UNUSED;
uint32_t check__graph_node(struct check_graph *g);
/* What was over before something else began, in a chain: 3 edges an operation. `in` says which
 * operations take part. */
enum status check__graph_time(struct check_graph *g, const struct history *h,
                              const bool *in) WARN_UNUSED;
enum status check__graph_close(struct check_graph *g) WARN_UNUSED;
/* The number of each node's strongly connected component over the edges of the kinds in `mask`. */
enum status check__components(const struct check_graph *g, unsigned mask,
                              uint32_t *ret_of) WARN_UNUSED;
/* Finds cycles, names them and tells one of each component. `several_keys`: those over one key are
 * left to another checker. */
enum status check__cycles(const struct check_graph *g, const struct history *h, const char *checker,
                          bool several_keys, struct check_report *r) WARN_UNUSED;

#endif
