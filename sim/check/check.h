/* check.h - was what happened right? Each checker reads a history and tells every violation as a
 * short story.
 *
 * Owns:     a report owns its stories.
 * Promises: a correct history has no finding; the order of findings and their words depend on the
 *           history alone. Linear or nearly so in the number of operations, but for the search in
 *           check_linear, which is bounded and says when it gave up.
 * Never:    needs more than base/ and the history; changes the history.
 * Threads:  one owner of a report; a history that nobody changes may be checked by several.
 *
 * What each one finds, how, and from which papers, is told in README.md.
 */
#ifndef VARVE_SIM_CHECK_CHECK_H
#define VARVE_SIM_CHECK_CHECK_H

#include "sim/check/history.h"

struct check_finding {
    const char *checker; /* "linear", "list", ... */
    const char *anomaly; /* "stale read", "G-single", ... */
    const char *story;   /* lines, each ended; the operations in order of time */
};

struct check_report;
struct check_report *check_report_new(void); /* NULL: no memory */
void check_report_free(struct check_report *r);
/* Findings so far, borrowed until the next check. Of each pair of checker and anomaly at most
 * CHECK_STORIES_MAX are told; all are counted. */
enum { CHECK_STORIES_MAX = 4 };
const struct check_finding *check_findings(const struct check_report *r, size_t *ret_n);
uint64_t check_violations(const struct check_report *r); /* counted, told or not */
/* What could not be decided within the bounds: not a violation, and not a proof either. */
uint64_t check_undecided(const struct check_report *r);
/* All stories, and what was counted but not told. NO_MEMORY, TOO_LARGE (out->max). */
enum status check_report_text(const struct check_report *r, struct buf *out) WARN_UNUSED;

struct check_options {
    uint64_t search_steps; /* of check_linear for each key; 0 = CHECK_SEARCH_STEPS */
    bool search_always;    /* search also where versions alone decide, and hold both verdicts
                              against each other; a difference is a finding of its own */
    int64_t bank_total;    /* what the accounts have together */
    bool bank_overdraft;   /* balances below 0 are allowed */
};
enum { CHECK_SEARCH_STEPS = 1000 * 1000 };

/* All of them answer NO_MEMORY, and then say nothing of the history. Violations are no error. */

/* REGISTER: every key by itself is linearizable (Herlihy and Wing 1990). Weak reads and reads of
 * the past are left out. */
enum status check_linear(const struct history *h, const struct check_options *o,
                         struct check_report *r) WARN_UNUSED;
/* REGISTER: operations over several keys happen one after the other, in an order that agrees with
 * the versions and with real time (strict serializability). */
enum status check_serial(const struct history *h, struct check_report *r) WARN_UNUSED;
/* REGISTER: what one client sees of a key through strong reads and its own writes never goes back. */
enum status check_session(const struct history *h, struct check_report *r) WARN_UNUSED;
/* REGISTER: a read as of t is what the key's history holds at t, whenever it was asked; a weak read
 * shows what the key held at some time. */
enum status check_past(const struct history *h, struct check_report *r) WARN_UNUSED;
/* REGISTER: the final rows hold every acknowledged write once, and nothing that nobody wrote. */
enum status check_final(const struct history *h, struct check_report *r) WARN_UNUSED;
/* Watches: versions rise, no gap and no repeat against the final rows, over reconnects too. */
enum status check_watch(const struct history *h, struct check_report *r) WARN_UNUSED;
/* LIST: no cycle of dependencies, no lost, aborted, intermediate or doubled append. */
enum status check_list(const struct history *h, struct check_report *r) WARN_UNUSED;
/* BANK: every read of all accounts has the same sum. */
enum status check_bank(const struct history *h, const struct check_options *o,
                       struct check_report *r) WARN_UNUSED;
/* SET: what was added is in every later read, once; nothing else is. */
enum status check_set(const struct history *h, struct check_report *r) WARN_UNUSED;
/* COUNTER: every read lies between what must and what may have been added by then. */
enum status check_counter(const struct history *h, struct check_report *r) WARN_UNUSED;
/* Notes: replicas are equal at equal index; one leader a term; nothing was voted or acknowledged
 * that was not durable. */
enum status check_replicas(const struct history *h, struct check_report *r) WARN_UNUSED;

/* All of the above. */
enum status check_all(const struct history *h, const struct check_options *o,
                      struct check_report *r) WARN_UNUSED;

#endif
