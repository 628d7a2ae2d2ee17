/* cli_time.h - moments and durations as people type them.
 *
 * A moment: now | @SNAPSHOT | 16 hex digits, perhaps "-N" (a VERSION) | -5m, -1h30m (before now) |
 * an RFC 3339 time, whose seconds, fraction and offset may be left out (no offset: UTC), with 'T'
 * or a space | a date alone (its first instant, UTC). A duration: numbers with units ms, s, m, h,
 * d, w: 30s, 1h30m. "0" alone is none.
 *
 * Owns:     nothing; a snapshot's name is borrowed from the text.
 * Promises: what is accepted is exactly one moment, of the years 1970 to 9999; fractions are cut to
 * milliseconds. Never:    reads a clock: now is passed in. Threads: pure functions.
 */
#ifndef VARVE_APPS_CLI_CLI_TIME_H
#define VARVE_APPS_CLI_CLI_TIME_H

#include "base/status.h"
#include <varve/varve.h>

enum { CLI_TIME_TEXT_MAX = 32 };

/* The last version that a millisecond can have. */
varve_version cli_version_at(uint64_t unix_ms);
/* INVALID_ARGUMENT, with what is wrong and the forms there are. */
enum status cli_time_parse(const char *text, uint64_t now_ms, varve_at *ret,
                           struct err *err) WARN_UNUSED;
enum status cli_duration_parse(const char *text, uint64_t *ret_ms, struct err *err) WARN_UNUSED;
/* "2026-02-01T12:34:56.789Z"; a time after the year 9999 is shown as its milliseconds. */
void cli_time_format(uint64_t unix_ms, char out[CLI_TIME_TEXT_MAX]);
/* "1.5 s", "2 min 03 s", "1 h 20 min": for people. */
void cli_duration_format(uint64_t ms, char out[CLI_TIME_TEXT_MAX]);

/* As cli_duration_parse reads it back: "30d", "1h30m"; "0". */
void cli_duration_exact(uint64_t ms, char out[CLI_TIME_TEXT_MAX]);

#endif
