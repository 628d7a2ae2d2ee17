/* limits_util.h - what the tests at the limits share: how large they are to be, and what they cost.
 *
 * Each program runs small by default and at its full size with the argument "full" (label long).
 */
#ifndef VARVE_TESTS_LIMITS_UTIL_H
#define VARVE_TESTS_LIMITS_UTIL_H

#include "../embed/embed_util.h"

extern bool limits_full;
/* Reads the arguments; the numbers that a full run prints are its facts. */
void limits_begin(int argc, char **argv);
double seconds_since_start(void);
uint64_t peak_rss_mib(void);
uint64_t folder_mib(const char *dir);
/* One line: what was reached, the seconds since the start, peak memory and the folder's size. */
void fact(struct world *w, const char *what);

#endif
