/* varve_sim.h - the simulator's command, in three files: what was asked, one seed, many seeds. */
#ifndef VARVE_SIM_VARVE_SIM_H
#define VARVE_SIM_VARVE_SIM_H

#include "sim/cluster/cluster.h"

#include <stdio.h>

enum { EXIT_FINE = 0, EXIT_FOUND = 1, EXIT_USAGE = 2 };

struct ask {
    uint64_t seed, from, seeds; /* --seed; --from; --seeds (0: not so many, but --minutes) */
    bool one;                   /* --seed was given */
    uint64_t minutes;
    unsigned jobs;
    bool trace, trace_ops, shrink, twice, no_drains, streams, doors;
    const char *scenario, *history, *file;
    /* What is laid over the plan; 0 or NONE_GIVEN: as drawn. */
    uint64_t ticks_ms, ops;
    unsigned nodes, clients, watchers;
    uint32_t without; /* bits of enum plan_fault */
};
enum { NONE_GIVEN = 1 << 30 };

/* false: wrong use, and was told so on standard error. */
bool ask_parse(int argc, char **argv, struct ask *ret);
void ask_usage(FILE *to);
void ask_plan(const struct ask *a, uint64_t seed, struct plan *ret);
/* Prints the command that repeats it. */
void ask_print(const struct ask *a, uint64_t seed);

/* Runs a seed in a process of its own. false: it failed, and ret->failure says how. */
struct trial {
    struct run_result result;
    double cpu_s;
};
bool hunt_try(const struct ask *a, uint64_t seed, struct trial *ret);
int hunt(const struct ask *a);
int hunt_shrink(const struct ask *a);
int hunt_file(const struct ask *a); /* a corpus: a line a seed */

#endif
