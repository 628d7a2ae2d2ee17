/* history.h - what the clients of a run asked and were told, what watchers were shown, and what the
 * nodes said of themselves, in the order in which it happened.
 *
 * Owns:     copies of everything that it is given; history_free frees them. It only grows.
 * Promises: every event gets a place (1, 2, ...) in the one order of the run; "before" between
 *           operations means that one's completion has a lower place than the other's invocation.
 *           Equal keys have equal key ids, equal values equal value ids.
 * Never:    judges (check.h does); knows a network, a store or a clock.
 * Threads:  one owner.
 *
 * The file format (one JSON object a line) is told in README.md.
 */
#ifndef VARVE_SIM_CHECK_HISTORY_H
#define VARVE_SIM_CHECK_HISTORY_H

#include "base/buf.h"

/* Which workload an operation belongs to, and so who judges it. Families share no keys.
 *   REGISTER  keys with values and versions: get, put, delete, compare-and-set, batches, snapshots
 *   LIST      keys that hold lists; transactions that append to some and read some
 *   BANK      accounts whose balances keep their sum
 *   SET       one set a key; elements are added once each
 *   COUNTER   one number a key; amounts are added to it */
enum history_family {
    HISTORY_REGISTER,
    HISTORY_LIST,
    HISTORY_BANK,
    HISTORY_SET,
    HISTORY_COUNTER,
    HISTORY_FAMILIES
};

/*            REGISTER                 LIST               BANK             SET              COUNTER
 *   GET      value, version, found    elements (value)   balance          elements (value) sum
 *   PUT      value; version           -                  -                -                -
 *   DELETE   version                  -                  -                -                -
 *   CHECK    only its requirement     -                  -                -                -
 *   ADD      -                        appends `number`   adds `number`    adds `number`    adds it
 * Balances and sums are `number`; elements are `value`, 8 bytes each, little endian. */
enum history_verb {
    HISTORY_GET,
    HISTORY_PUT,
    HISTORY_DELETE,
    HISTORY_CHECK,
    HISTORY_ADD,
    HISTORY_VERBS
};

/* What must be true of a key before the write; it belongs to the REGISTER family only. */
enum history_require {
    HISTORY_ANY,
    HISTORY_ABSENT,
    HISTORY_PRESENT,
    HISTORY_AT_VERSION, /* `want` */
    HISTORY_REQUIRES
};

enum history_outcome {
    HISTORY_UNKNOWN, /* may happen at any time after its invocation, or never */
    HISTORY_OK,
    HISTORY_FAILED, /* surely had no effect, and told nothing */
    HISTORY_UNMET,  /* a requirement did not hold: no effect; the steps say which and what was there
                     */
    HISTORY_OUTCOMES
};

/* One thing done to one key. What is marked (result) counts only with outcome OK or UNMET. */
struct history_step {
    enum history_verb verb;
    enum history_require require;
    uint64_t want; /* of HISTORY_AT_VERSION */
    struct bytes key;
    struct bytes value;        /* PUT: what is written; GET: (result) what was read, when found */
    int64_t number;            /* ADD: the element or amount; GET: (result) the balance or sum */
    uint64_t version;          /* (result) of what was written; GET, or unmet: of what was there (a
                           tombstone's too, when it is known); 0 = not told */
    bool found;                /* (result) GET: the key had a value */
    bool unmet;                /* (result) this requirement is one that did not hold */
    uint32_t key_id, value_id; /* set by the history; equal exactly when the bytes are */
};

struct history_call {
    uint32_t client; /* does one operation after the other */
    uint32_t node;   /* that it was sent to; 0 = not told */
    enum history_family family;
    uint64_t at; /* reads of the past: as of this version; 0 = the present */
    bool weak;   /* reads without a promise to see the newest: judged by less (check.h) */
    const struct history_step *steps; /* all of one operation are atomic */
    size_t n;
};

struct history_op {
    uint32_t id; /* its number in the history, from 0 */
    uint32_t client, node;
    enum history_family family;
    enum history_outcome outcome;
    uint64_t at;
    bool weak;
    uint64_t invoked, completed;       /* places; completed is UINT64_MAX while it is UNKNOWN */
    uint64_t invoked_ns, completed_ns; /* times, for people; completed_ns 0: no answer ever came */
    struct history_step *steps;
    uint32_t n;
};

struct history;
struct history *history_new(void); /* NULL: no memory */
void history_free(struct history *h);

/* All that record answer NO_MEMORY, and leave the history as it was then; or TOO_LARGE past
 * HISTORY_EVENTS_MAX events of a kind, or an operation past HISTORY_STEPS_MAX steps. */
enum { HISTORY_EVENTS_MAX = 1 << 30, HISTORY_STEPS_MAX = 1 << 20 };

/* An operation leaves its client. It is UNKNOWN until history_complete. */
enum status history_invoke(struct history *h, uint64_t now_ns, const struct history_call *call,
                           uint32_t *ret_op) WARN_UNUSED;
/* Its answer came, or its client gave up (UNKNOWN). `steps` with their results replace the invoked
 * ones, so that a scan may add what it found; n = 0 keeps them. Once for each operation. */
enum status history_complete(struct history *h, uint64_t now_ns, uint32_t op,
                             enum history_outcome outcome, const struct history_step *steps,
                             size_t n) WARN_UNUSED;

/* A watcher's stream: changes in order of (version, key). */
enum history_watch_kind {
    HISTORY_WATCH_OPEN,     /* (again) from a token: what follows lies after (version, key) */
    HISTORY_WATCH_EVENT,    /* a change was delivered */
    HISTORY_WATCH_PROGRESS, /* the store says that everything up to `version` was delivered */
    HISTORY_WATCH_KINDS
};
struct history_watch {
    enum history_watch_kind kind;
    uint32_t watcher; /* keeps its number over reconnects */
    uint32_t node;
    enum history_verb verb; /* EVENT: PUT or DELETE */
    uint64_t version;
    struct bytes key;       /* OPEN: of the place; empty = all of `version` was delivered before */
    struct bytes prefix;    /* OPEN: only keys that begin so are watched */
    struct bytes value;     /* EVENT of a PUT; empty with no_value */
    bool no_value;          /* values were not asked for */
    uint64_t place, now_ns; /* set by the history */
    uint32_t key_id, value_id;
};
enum status history_watch(struct history *h, uint64_t now_ns,
                          const struct history_watch *w) WARN_UNUSED;

/* The whole history that the healed store tells at the end, as rows in any order: the truth against
 * which watches, reads of the past and acknowledged writes are held. Only keys of the REGISTER
 * family. */
struct history_row {
    enum history_verb verb; /* PUT or DELETE */
    uint64_t version;
    struct bytes key, value;
    uint32_t key_id, value_id; /* set by the history */
};
enum status history_final(struct history *h, const struct history_row *row) WARN_UNUSED;
/* All rows were given. Without this no checker takes the rows for complete. `horizon`: the store
 * keeps nothing below this version (0: it keeps everything). */
void history_final_done(struct history *h, uint64_t horizon);

/* What nodes showed of themselves. */
enum history_fact {
    HISTORY_APPLIED, /* applied up to `index`; the state then has `digest` */
    HISTORY_LEADER,  /* leads in `term` */
    HISTORY_DURABLE, /* were it to lose power now, it would find term, vote, and a log up to `index`
                      */
    HISTORY_VOTED,   /* a vote for `vote` in `term` left the node */
    HISTORY_ACKED,   /* an answer left the node that says: my log matches up to `index`, in `term`
                      */
    HISTORY_WIPED,   /* its disk was taken away: it promises nothing any more */
    HISTORY_FACTS
};
struct history_note {
    enum history_fact fact;
    uint32_t node;
    uint64_t group, term, vote, index, digest;
    uint64_t place, now_ns; /* set by the history */
};
enum status history_note(struct history *h, uint64_t now_ns,
                         const struct history_note *note) WARN_UNUSED;

/* What was recorded, borrowed until the next event. Operations in order of invocation, the others
 * in the order in which they came. */
const struct history_op *history_ops(const struct history *h, size_t *ret_n);
const struct history_watch *history_watches(const struct history *h, size_t *ret_n);
const struct history_row *history_rows(const struct history *h, size_t *ret_n, bool *ret_complete,
                                       uint64_t *ret_horizon);
const struct history_note *history_notes(const struct history *h, size_t *ret_n);
/* Key and value ids run from 0 to these minus one; value id 0 is the empty value. */
uint32_t history_key_count(const struct history *h);
uint32_t history_value_count(const struct history *h);
struct bytes history_key(const struct history *h, uint32_t key_id); /* lives as long as h */
struct bytes history_value(const struct history *h, uint32_t value_id);

/* One line each: operations, watches, notes, rows. NO_MEMORY, TOO_LARGE (out->max). */
enum status history_write_ndjson(const struct history *h, struct buf *out) WARN_UNUSED;
/* Adds to an empty history. INVALID_ARGUMENT names the line and what is wrong with it. */
enum status history_read_ndjson(struct history *h, struct bytes text, struct err *err) WARN_UNUSED;

/* Names as in the file: "get", "register", "ok", ... */
const char *history_verb_name(enum history_verb v);
const char *history_family_name(enum history_family f);
const char *history_outcome_name(enum history_outcome o);
const char *history_require_name(enum history_require r);
const char *history_watch_name(enum history_watch_kind k);
const char *history_fact_name(enum history_fact f);

#endif
