#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

bool rocks__disk_error(enum status st)
{
    return st == ST_DISK_FULL || st == ST_IO_ERROR || st == ST_TOO_MANY_FILES;
}

/* The C API hands errors out as text: "KIND: detail", so the text is what there is to go by. */
enum status rocks__error(char *message, const char *doing, struct err *err)
{
    static const struct {
        const char *text;
        bool start; /* at the start only */
        enum status st;
    } table[] = {
        {"Corruption", true, ST_CORRUPT},
        {"No space left", false, ST_DISK_FULL},
        {"Disk quota exceeded", false, ST_DISK_FULL},
        {"Out of space", false, ST_DISK_FULL},
        {"NoSpace", false, ST_DISK_FULL},
        {"Result incomplete", true, ST_TIMED_OUT},
        {"Too many open files", false, ST_TOO_MANY_FILES},
        {"While lock file", false, ST_LOCKED},
        {"lock hold by current process", false, ST_LOCKED},
        {"Cannot allocate memory", false, ST_NO_MEMORY},
        {"Permission denied", false, ST_PERMISSION_DENIED},
        {"Shutdown in progress", true, ST_CLOSED},
        {"IO error", true, ST_IO_ERROR},
    };
    enum status st = ST_INTERNAL;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *at = strstr(message, table[i].text);
        if (at && (!table[i].start || at == message)) {
            st = table[i].st;
            break;
        }
    }
    err_set(err, st, "rocks: %s: %s", doing, message);
    rocksdb_free(message);
    return st;
}

enum status rocks__stopped(const struct rocks *e, const char *why, struct err *err)
{
    return err_set(
        err, ST_IO_ERROR,
        "a disk error has stopped the engine; nothing is lost, but no checkpoint can end "
        "until %s is closed and opened anew (%s)",
        e->dir, why);
}
