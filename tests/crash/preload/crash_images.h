/* crash_images.h - from a trace, the folders that a power cut could have left.
 *
 * Owns:     what it read of the trace. The trace must begin with an empty folder.
 * Promises: what was synced is in every image; what was not may be, in any mix that the model
 * allows; the same trace, position and cut give the same folder, byte for byte. Never:    guesses:
 * a trace that does not fit itself is an error. Threads:  one.
 *
 * The model
 * - Bytes: fsync and fdatasync make what was written to the file before the call, and its size,
 * durable. Of what came later each unit (a sector of 512 bytes, or a page of 4,096) holds what it
 * held after some number of the later writes, each unit on its own; so writes are lost, kept, torn
 * and reordered. The size is that after some number of them; what lies inside the size and never
 * reached the disk reads as zeros.
 * - Names, CRASH_POSIX: making, linking, moving and removing a name is durable once its folder was
 * synced after it. Of the rest any subset may be there. A move is one step, durable once either of
 * its folders was synced. A folder whose own name is lost takes all in it along. Syncing a file
 * says nothing about its name.
 * - Names, CRASH_EXT4: changes of names reach the disk in the order in which they were made, so a
 * cut keeps a beginning of them; syncing a file makes the changes of its own names durable, and
 * with them all earlier ones (one journal). A size that grew shows only with its bytes
 * (data=ordered). Not relied on: auto_da_alloc (bytes written out at a move that replaces a file),
 * and syncs of other files that would commit the same journal.
 * - A killed process loses nothing: CRASH_KEEP_ALL.
 */
#ifndef VARVE_TESTS_CRASH_IMAGES_H
#define VARVE_TESTS_CRASH_IMAGES_H

#include "crash_trace.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum crash_model { CRASH_POSIX, CRASH_EXT4 };

enum crash_loss {
    CRASH_KEEP_ALL,  /* as after kill -9 */
    CRASH_LOSE_ALL,  /* only what was synced */
    CRASH_ORDERED,   /* per file a beginning of its writes, the next one torn; names likewise */
    CRASH_SCATTERED, /* each unit of each file, and each name, on its own */
    CRASH_MIXED,     /* each file by one of the above */
};

struct crash_cut {
    uint64_t seed;
    unsigned unit; /* 512 or 4096 */
    enum crash_loss loss;
};

enum { CRASH_ERROR_MAX = 512 };

struct crash_images;

/* Reads a trace and stands before its first record. false: what is wrong is in err. */
bool crash_images_open(const char *trace, enum crash_model model, struct crash_images **ret,
                       char err[CRASH_ERROR_MAX]);
void crash_images_close(struct crash_images *c);

size_t crash_images_count(const struct crash_images *c); /* records in the trace */
size_t crash_images_position(const struct crash_images *c);
/* The header of record i; what follows it: the paths and data, one after the other. */
struct crash_record crash_images_record(const struct crash_images *c, size_t i,
                                        const char **ret_body);
/* Goes forward to where the first `upto` records have happened. false: the trace does not fit
 * itself. */
bool crash_images_advance(struct crash_images *c, size_t upto, char err[CRASH_ERROR_MAX]);

/* The marks that were passed on the way here, oldest first. Borrowed until close; not
 * NUL-terminated. */
size_t crash_images_marks(const struct crash_images *c);
const char *crash_images_mark(const struct crash_images *c, size_t i, size_t *ret_len);

/* Makes the folder `dir`, which must not be there yet, hold what a power cut here could have left.
 */
bool crash_images_write(const struct crash_images *c, const struct crash_cut *cut, const char *dir,
                        char err[CRASH_ERROR_MAX]);

#endif
