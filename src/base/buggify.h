/* buggify.h - rare paths made likely, and paths that are worth reaching, in the simulator only.
 *
 *     if (seg->end + need > seg->bytes || BUGGIFY("wal: a segment ends early"))
 *     PROBE("raft: a snapshot was installed");
 *
 * A program that defines buggify_hook is asked at each point (sim/core/points.c); in every other the
 * symbol is absent and its address 0, so that a point costs a comparison and does nothing
 * (docs/decisions/0017). What a point makes likely must be right whenever it happens.
 * Source: the buggification of FoundationDB's simulator (Zhou et al., SIGMOD '21, section 4).
 *
 * Owns:     nothing: points are constants in a section of their own, where the simulator finds those
 *           that were never reached. Promises: no effect outside the simulator. Never: in a header.
 * Threads:  any.
 */
#ifndef VARVE_BASE_BUGGIFY_H
#define VARVE_BASE_BUGGIFY_H

#include <stdbool.h>

struct buggify_point {
    const char *name; /* "module: what happens" */
    const char *file;
    long line;
    long probe; /* 1: only counted */
};
/* Whether the point shall happen now. */
extern bool buggify_hook(const struct buggify_point *p) __attribute__((weak, visibility("hidden")));

#define BUGGIFY_POINT(what, is_probe)                                                              \
    ({                                                                                             \
        static const struct buggify_point point_here                                               \
            __attribute__((section("varve_points"), used)) = {(what), __FILE__, __LINE__,          \
                                                              (is_probe)};                         \
        buggify_hook &&buggify_hook(&point_here);                                                  \
    })
#define BUGGIFY(what) __builtin_expect(BUGGIFY_POINT(what, 0), 0)
#define PROBE(what)   ((void)BUGGIFY_POINT(what, 1))

#endif
