/* points.h - which rare paths of production code are made likely in this run, and which were reached.
 *
 * Owns:     the counts, of one run at a time. Promises: by the seed and a point's name alone, a third
 *           of the points is active in a run, and an active one fires once in 2 to 50 times.
 * Threads:  one.
 */
#ifndef VARVE_SIM_CORE_POINTS_H
#define VARVE_SIM_CORE_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { POINTS_MAX = 256 };

/* A run begins. `on` false: no point fires, all are counted. */
void points_begin(uint64_t seed, bool on);
/* From now on nothing is made likely: some points lose messages, which health does not. */
void points_rest(void);
size_t points_count(void); /* of this program, at most POINTS_MAX */
const char *points_name(size_t i);
bool points_is_probe(size_t i);
uint64_t points_passed(size_t i); /* how often it was come by; of a probe: reached */
uint64_t points_fired(size_t i);

#endif
