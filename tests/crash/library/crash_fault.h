/* crash_fault.h - makes calls on files fail, in a process that runs with crash_fault.so preloaded.
 *
 *     crash_fault("sync", "/log/", 0, 1, EIO)    the next sync of a file with /log/ in its path
 * fails
 *
 * Threads: any; one fault is set at a time.
 */
#ifndef VARVE_TESTS_CRASH_FAULT_H
#define VARVE_TESTS_CRASH_FAULT_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct fault {
    const char *call;    /* "sync", "write", "open", "name" (rename, link, unlink); NULL: none */
    const char *pattern; /* in the path */
    uint64_t skip;       /* so many matching calls go well */
    uint64_t count;      /* then so many fail */
    int error;           /* an errno */
};

/* Sets the fault (NULL: none any more); false: the injector is not there. *ret_hits (may be NULL):
 * how often the one before was met. */
static inline bool crash_fault(const struct fault *f, uint64_t *ret_hits)
{
    void *found = dlsym(RTLD_DEFAULT, "crash_fault_set");
    uint64_t (*set)(const struct fault *) = NULL;
    if (!found)
        return false;
    memcpy(&set, &found, sizeof(set));
    uint64_t hits = set(f);
    if (ret_hits)
        *ret_hits = hits;
    return true;
}

#endif
