/* moment.h - moments and durations as people type them.
 *
 * A moment: now | @SNAPSHOT | 16 hex digits, perhaps "-N" (a version) | -5m, -1h30m (before now) |
 * an RFC 3339 time, whose seconds, fraction and offset may be left out (no offset: UTC), with 'T'
 * or a space | a date alone (its first instant, UTC). A duration: numbers with units ms, s, m, h,
 * d, w: 30s, 1h30m. "0" alone is none.
 *
 * Owns:     nothing; a snapshot's name is borrowed from the text.
 * Promises: what is accepted is exactly one moment, of the years 1970 to 9999; fractions are cut to
 *           milliseconds.
 * Never:    reads a clock: now is passed in. Threads: pure functions.
 */
#ifndef VARVE_BASE_MOMENT_H
#define VARVE_BASE_MOMENT_H

#include "base/hlc.h"
#include "base/status.h"

enum moment_kind { MOMENT_NOW, MOMENT_VERSION, MOMENT_TIME, MOMENT_SNAPSHOT };
struct moment {
    enum moment_kind kind;
    bool relative; /* to now: said again it is another moment */
    struct version version;
    uint64_t time_ms;
    const char *snapshot;
};
/* INVALID_ARGUMENT, with what is wrong and the forms there are. */
enum status moment_parse(const char *text, uint64_t now_ms, struct moment *ret,
                         struct err *err) WARN_UNUSED;
enum status duration_parse(const char *text, uint64_t *ret_ms, struct err *err) WARN_UNUSED;

#endif
