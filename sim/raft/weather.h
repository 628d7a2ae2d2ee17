/* weather.h - one Raft group alone under everything at once, from a seed: what a whole node cannot show,
 * such as answers that are heard while its own disk is still at work.
 *
 * Owns:     nothing between calls, unless a run fails: then what the group had taken stays taken.
 * Promises: the same seed gives the same run. Threads: one.
 */
#ifndef VARVE_SIM_RAFT_WEATHER_H
#define VARVE_SIM_RAFT_WEATHER_H

#include <stdbool.h>
#include <stdint.h>

struct weather_result {
    uint64_t commits, elections, reads_ok, reads_failed, snapshots, changes, repaired, slept;
    uint64_t crashes, cuts, rots;
    uint64_t digest;   /* of what happened: the same in each run of a seed */
    char failure[700]; /* empty: nothing is wrong */
};

/* Adds to *ret. false: ret->failure says what is wrong. */
bool weather_run(uint64_t seed, struct weather_result *ret);

#endif
