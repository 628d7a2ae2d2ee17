/* bench_floor.h - what a machine makes late whoever serves: its scheduler and its disk.
 *
 * Owns: what it begins. Promises: asks no server. Threads: one.
 */
#ifndef VARVE_BENCH_FLOOR_H
#define VARVE_BENCH_FLOOR_H

#include <stdint.h>

/* A thread for each processor that spins, of the class that runs when nobody else wants to (SCHED_IDLE). */
struct bench_spin;
struct bench_spin *bench_spin_begin(void);
void bench_spin_end(struct bench_spin *s);

struct bench_syncs {
    uint64_t n, longest_ns;
    double late; /* of the time: in syncs over the limit, by what they were over it */
};
/* A write of 16 KiB and its fdatasync to a file in $BENCH_DIR, and the next a millisecond later or when that
 * has ended, for so long. */
struct bench_syncs bench_lone_syncs(double seconds, uint64_t limit_ns);

#endif
