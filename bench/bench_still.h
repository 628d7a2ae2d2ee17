/* bench_still.h - how long the machine itself stood still while something was measured.
 *
 * A virtual machine's processors are taken from it for milliseconds at a time, often at the end of each tenth of
 * a second when it has used up what its host allows; whatever is asked meanwhile is late, whoever serves it.
 *
 * Owns:     a thread for each processor, of the highest class there is, that wakes every 0.5 ms. Promises: one
 *           printed line. Never: judges; takes more than a thousandth of a processor.
 * Threads:  begin and end from one thread.
 */
#ifndef VARVE_BENCH_STILL_H
#define VARVE_BENCH_STILL_H

struct bench_still;
struct bench_still *bench_still_begin(void);
void bench_still_end(struct bench_still *s); /* prints and frees */

#endif
