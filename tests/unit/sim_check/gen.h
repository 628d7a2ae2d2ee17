/* gen.h - histories of an imagined store that is linearizable, or errs once in a chosen way.
 *
 * Clients call, the store applies each operation at one moment between call and answer, answers get
 * lost, and some of those that were lost are applied later. All five families, watches, reads of
 * the past, final rows and notes.
 *
 * Owns:     nothing. Promises: with GEN_RIGHT no checker has anything to find; else one violation
 * that some checker must find. The same options give the same history. Threads: pure function.
 */
#ifndef VARVE_TESTS_SIM_CHECK_GEN_H
#define VARVE_TESTS_SIM_CHECK_GEN_H

#include "sim/check/history.h"

/* X(name, the checker that finds it) */
#define GEN_PLANTS(X)                                                                              \
    X(STALE_READ, "linear")                                                                        \
    X(VANISHED, "linear")                                                                          \
    X(LOST_WRITE, "final")                                                                         \
    X(WRITE_TWICE, "final")                                                                        \
    X(DIRTY_WRITE, "final")                                                                        \
    X(LOST_UPDATE, "linear")                                                                       \
    X(REORDERED, "linear")                                                                         \
    X(HALF_BATCH, "serial")                                                                        \
    X(OTHER_PAST, "past")                                                                          \
    X(LIST_LOST, "list")                                                                           \
    X(LIST_TWICE, "list")                                                                          \
    X(LIST_DIRTY, "list")                                                                          \
    X(LIST_SKEW, "list")                                                                           \
    X(BANK_HALF, "bank")                                                                           \
    X(SET_LOST, "set")                                                                             \
    X(SET_TWICE, "set")                                                                            \
    X(COUNTER_LOST, "counter")                                                                     \
    X(COUNTER_TWICE, "counter")                                                                    \
    X(WATCH_GAP, "watch")                                                                          \
    X(WATCH_REPEAT, "watch")                                                                       \
    X(WATCH_ORDER, "watch")                                                                        \
    X(WATCH_PHANTOM, "watch")                                                                      \
    X(WATCH_VALUE, "watch")                                                                        \
    X(WATCH_PROGRESS, "watch")                                                                     \
    X(DIGEST, "replicas")                                                                          \
    X(TWO_LEADERS, "replicas")                                                                     \
    X(VOTED_TWICE, "replicas")                                                                     \
    X(EARLY_VOTE, "replicas")                                                                      \
    X(EARLY_ACK, "replicas")

enum gen_plant {
    GEN_RIGHT,
#define X(name, checker) GEN_##name,
    GEN_PLANTS(X)
#undef X
        GEN_PLANTED
};

enum { GEN_ACCOUNTS = 5, GEN_BALANCE = 100 }; /* the bank's total is their product */

struct gen_options {
    uint64_t seed;
    uint32_t ops, clients, keys;
    enum gen_plant plant;
    uint32_t lost_percent; /* answers that get lost */
    bool common_values;    /* writes share a few values, so that no value tells its writer */
    bool quiet_end;        /* nobody reads the lists at the end: the last appends are in no read */
    bool registers_only;   /* single keys, as Porcupine judges them */
};

/* false: no moment came at which the violation could be planted (then nothing is wrong). */
bool gen_history(const struct gen_options *o, struct history *h);

#endif
