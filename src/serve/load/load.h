/* load.h - puts a server under load and measures how it answers: one thread, many connections, many
 * requests in flight on each.
 *
 * Closed loop (rate 0): a request follows the answer of the one before it, so that a slow server is
 * asked less; what that hides is put back by load_hist_correct. Open loop (rate > 0): requests fall
 * due at fixed times whatever the server does, and a latency counts from when a request was due, not
 * from when it could be sent.
 *
 * What is said on the wire is a protocol's (load_protocol.h): load_grpc.h and load_http.h are
 * Varve's; the benches add those of its peers, so that the client costs the same for all.
 *
 * Owns:     the loop, the connections and the figures while it runs.
 * Promises: every answer is looked at: a value under the wrong key is an error. Errors are counted by
 *           kind, with the first one's words. Memory is bounded by connections x in_flight.
 * Never:    repeats a request; waits for ever: TIMED_OUT after timeout_ms without any answer.
 * Threads:  load_run belongs to one thread and runs everything, its callbacks too, on it.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_H
#define VARVE_SERVE_LOAD_LOAD_H

#include "base/env/net/loop.h"
#include "serve/load/load_hist.h"
#include "serve/load/load_keys.h"

struct load_protocol;
struct conn_filter_maker;

/* X(id, name) */
#define LOAD_KINDS_TABLE(X)                                                                        \
    X(GET, "get")                                                                                  \
    X(PUT, "put")       /* of a key that is there */                                               \
    X(INSERT, "insert") /* of a new key */                                                         \
    X(RMW, "read-modify-write")                                                                    \
    X(SCAN, "scan")                                                                                \
    X(BATCH, "batch") /* several keys written as one */
enum load_kind {
#define X(id, name) LOAD_##id,
    LOAD_KINDS_TABLE(X)
#undef X
        LOAD_KINDS
};
const char *load_kind_name(enum load_kind kind);

/* What is asked, in percent; they add up to 100. */
struct load_mix {
    const char *name;
    enum load_choice choice; /* the usual one with it */
    uint8_t percent[LOAD_KINDS];
    const char *help;
};
/* A to F of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC '10), and one
 * for each kind alone. */
extern const struct load_mix load_mixes[];
extern const size_t load_mix_count;
const struct load_mix *load_mix_find(const char *name); /* "A" or "a"; NULL: there is none */

enum {
    LOAD_CONNECTIONS_MAX = 10000,
    LOAD_IN_FLIGHT_MAX = 1000000, /* of all connections */
    LOAD_BATCH_MAX = 10000,
    LOAD_ROWS_MAX = 100000,
};
struct load_settings {
    struct env *env;
    const struct load_protocol *protocol;
    const void *protocol_arg; /* lives as long as the run */
    struct net_addr to;
    const struct conn_filter_maker *filter; /* TLS; NULL: none */
    enum loop_kind loop;
    uint32_t connections, in_flight; /* of each */
    const struct load_mix *mix;
    enum load_choice choice;
    double theta;         /* of Zipf's law, in (0, 1) */
    uint64_t keys;        /* there are, numbered from 0 */
    uint64_t first_new;   /* number of the first inserted key; 0: keys, and of
                             LOAD_LATEST no other */
    bool fill;            /* with a mix of batches: writes every key once, then ends */
    size_t value_bytes;   /* LOAD_VALUE_MIN .. LOAD_VALUE_MAX */
    uint32_t batch;       /* keys of a batch */
    uint32_t scan_rows;   /* of each scan; 0: 1 to 100, uniform */
    double rate;          /* requests a second; 0: closed loop */
    uint64_t warmup_ms;   /* not measured */
    uint64_t duration_ms; /* measured; counts when count is 0 */
    uint64_t count;       /* measured requests */
    uint64_t timeout_ms;  /* without any answer; 0: 30 s */
    uint64_t seed;
    /* About every 100 ms; false: end the run now. `part` of it is done. May be NULL. */
    bool (*goes_on)(void *arg, uint64_t done, double part);
    /* The measured part begins, and ends. May be NULL. */
    void (*mark)(void *arg, bool begins);
    void *arg;
};

struct load_error {
    const char *kind; /* "NOT_FOUND"; lives for ever */
    uint64_t count;
    char detail[120]; /* the first one's */
};
enum { LOAD_ERRORS_MAX = 32 };

/* Large (1 MB): not for a stack. */
struct load_result {
    uint64_t elapsed_ns;          /* of the measured part */
    uint64_t done, rows, failed;  /* requests that ended in it, rows they read or wrote */
    uint64_t unsent;              /* open loop: due, and never sent */
    uint64_t late_ns;             /* open loop: how late the latest was sent */
    uint64_t bytes_in, bytes_out; /* on the wire, of the whole run */
    /* Of what was asked and answered, in whatever order: the same seed gives the same sum over the
     * same keys (not of LOAD_LATEST, where it hangs on which inserts were answered first). */
    uint64_t checksum;
    bool cut;                        /* goes_on said no, or no answer came any more */
    struct load_hist all, corrected; /* ns; corrected: closed loop only, else equal to all */
    struct load_hist kind[LOAD_KINDS];
    struct load_error errors[LOAD_ERRORS_MAX];
    size_t errors_n;
};

/* Runs the load and fills *ret, also with what went wrong in single requests. Errors:
 * INVALID_ARGUMENT (a setting; a mix or a number in flight that the protocol cannot carry), IO_ERROR
 * (no connection could be made), TIMED_OUT (*ret tells what was measured until then, cut), NO_MEMORY;
 * of all others *ret is left as it was. */
enum status load_run(const struct load_settings *settings, struct load_result *ret,
                     struct err *err) WARN_UNUSED;

#endif
