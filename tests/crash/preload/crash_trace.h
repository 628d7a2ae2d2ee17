/* crash_trace.h - the trace file that crash_recorder.so writes and crash_images reads.
 *
 * The file is a sequence of records in the byte order of the machine, each a struct crash_record
 * followed by path_len + path2_len + data_len bytes, unpadded. Paths are relative to the recorded
 * folder; "" is the folder itself. Only calls that succeeded are there, in the order in which they
 * took effect, except that CRASH_SYNC_BEGIN stands where a sync was called: what came before it is
 * durable once CRASH_SYNC_END has come, what came in between need not be.
 */
#ifndef VARVE_TESTS_CRASH_TRACE_H
#define VARVE_TESTS_CRASH_TRACE_H

#include <stdint.h>

#define CRASH_TRACE_MAGIC 0x31454352u /* in every record: "RCE1" */

enum crash_kind {
    CRASH_PROCESS = 1, /* a process begins: no handle of before is open any more */
    CRASH_CREATE,      /* path: an empty file was made */
    CRASH_MKDIR,       /* path */
    CRASH_OPEN,        /* path is open as `handle` from here on */
    CRASH_CLOSE,       /* handle */
    CRASH_WRITE,       /* handle, offset, data */
    CRASH_ZERO,        /* handle, offset, size: these bytes are zeros now; the file does not grow */
    CRASH_TRUNCATE,    /* handle, size */
    CRASH_GROW,        /* handle, size: the file is at least that long */
    CRASH_SYNC_BEGIN,  /* handle */
    CRASH_SYNC_END,    /* handle; offset: number of its BEGIN in this trace, from 0 */
    CRASH_RENAME,      /* path to path2, which is replaced */
    CRASH_LINK,        /* path to path2 */
    CRASH_UNLINK,      /* path */
    CRASH_RMDIR,       /* path */
    CRASH_MARK,        /* data: what the workload wants known here */
    CRASH_KINDS,
};

struct crash_record {
    uint32_t magic;
    uint32_t kind;
    uint32_t handle;
    uint32_t path_len, path2_len;
    uint32_t reserved;
    uint64_t offset, size, data_len;
};

#endif
