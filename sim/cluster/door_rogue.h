/* door_rogue.h - what a client sends that keeps to no rule, or to one that few know: scripts of bytes,
 * and what a node may say to them. door_rogue.c sends them; door_frames.c makes those of HTTP/2.
 *
 * Owns: nothing. Promises: the same dice, the same bytes. Threads: one.
 */
#ifndef VARVE_SIM_CLUSTER_DOOR_ROGUE_H
#define VARVE_SIM_CLUSTER_DOOR_ROGUE_H

#include "base/buf.h"
#include "sim/core/dice.h"

enum { FRAMES_GOAWAYS = 4 };

/* A connection of HTTP/2, from its preface on. */
struct frames {
    const char *name;
    unsigned goaways[FRAMES_GOAWAYS]; /* the codes that may come of it, beside none and NO_ERROR */
};
/* Appends one, drawn; it stays what it is until it is over. */
const struct frames *frames_draw(struct dice *d, struct buf *out);
/* The code of the GOAWAY among the frames of `heard`; false: there is none. *ret_sound: all that was
 * heard is frames, the first of them SETTINGS. */
bool frames_goaway(struct bytes heard, unsigned *ret_code, bool *ret_sound);

#endif
