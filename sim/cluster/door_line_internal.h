/* door_line_internal.h - a line, as door_line.c and door_ask.c share it.
 *
 * Owns: see door_line.h. Promises: see there. Threads: one.
 */
#ifndef VARVE_SIM_CLUSTER_DOOR_LINE_INTERNAL_H
#define VARVE_SIM_CLUSTER_DOOR_LINE_INTERNAL_H

#include "sim/cluster/door_line.h"

struct line {
    struct line_options o;
    struct conn *c; /* NULL: gone */
    struct h2_conn *h2;
    struct h1_conn *h1;
    struct ask *at;         /* HTTP/1: the one under way */
    struct env_event *wake; /* of who waits for the line itself */
    struct buf out, heard;  /* LINE_RAW */
    uint64_t tick_ms;
    bool up, over, left; /* left: its fiber has let go */
};

/* No use any more; on_closed follows. */
void line__give_up(struct line *l);

#endif
