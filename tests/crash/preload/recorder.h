/* recorder.h - inside crash_recorder.so: where the trace goes, which descriptors and paths are
 * recorded.
 *
 * Owns:     the trace's descriptor and the table of recorded descriptors.
 * Promises: records come in the order in which the calls took effect (recorder_lock is held over
 * both). Never:    lets by what it cannot record: it says what that was and aborts. Threads:  any.
 * A forked child records nothing.
 */
#ifndef VARVE_TESTS_CRASH_RECORDER_H
#define VARVE_TESTS_CRASH_RECORDER_H

#include "crash_trace.h"
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RECORDER_API __attribute__((visibility("default")))

struct recorder_fd {
    uint32_t handle; /* 0: not recorded */
    bool sync_each;  /* O_SYNC or O_DSYNC */
    bool stdio;      /* written behind our back: its bytes are not known */
};

void recorder_lock(void);
void recorder_unlock(void);
_Noreturn void recorder_die(const char *what, const char *detail);

/* NULL when the descriptor is not recorded. The entry is to be used under the lock. */
struct recorder_fd *recorder_fd(int fd);
void recorder_fd_open(int fd, const char *rel, int flags,
                      bool stdio); /* makes the entry, records CRASH_OPEN */
void recorder_fd_copy(int from, int to);
void recorder_fd_forget(int fd); /* records CRASH_CLOSE if it was recorded and no copy is left */

/* Whether the path lies in the recorded folder; if so its place below it, "" for the folder itself.
 */
bool recorder_path(int dirfd, const char *path, char rel[PATH_MAX]);

/* Appends a record; returns its number. Keeps errno. Under the lock. */
uint64_t recorder_put(enum crash_kind kind, uint32_t handle, uint64_t offset, uint64_t size,
                      const char *path, const char *path2, const void *data, size_t len);

#endif
