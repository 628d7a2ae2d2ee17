/* cli_progress.h - a bar with rate and remaining time, for work that takes over a second.
 *
 * Owns:     its line on the terminal, from the first draw until cli_progress_end wipes it.
 * Promises: nothing is shown in the first second; on a terminal one line is redrawn ten times a
 * second at most; elsewhere nothing, unless asked for: then a plain line every five seconds. Never:
 * writes to standard output. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_PROGRESS_H
#define VARVE_APPS_CLI_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_PROGRESS_TEXT_MAX = 256 };
struct cli_progress {
    FILE *out;
    const char *label; /* "import" */
    const char *unit;  /* of the count: "rows" */
    bool tty, shown, off;
    uint64_t start_ms, drawn_ms;
    uint64_t start_done; /* where a resumed run began, so that the rate is this run's */
};

/* `asked` is --progress; `quiet` switches all off. */
void cli_progress_begin(struct cli_progress *p, FILE *out, bool tty, bool asked, bool quiet,
                        const char *label, const char *unit, uint64_t start_done, uint64_t now_ms);
/* done and total measure how far it is (total 0: unknown), count is what is shown as done and as
 * rate. */
void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total, uint64_t count,
                         uint64_t now_ms);
void cli_progress_hide(
    struct cli_progress *p); /* before something else is written; it comes back */
void cli_progress_end(struct cli_progress *p);

/* One line without its end: "import [#####.....]  50%  1,000 rows  500 rows/s  ETA 2.0 s". Pure;
 * cut to `width`. */
void cli_progress_format(const struct cli_progress *p, uint64_t done, uint64_t total,
                         uint64_t count, uint64_t elapsed_ms, unsigned width,
                         char out[CLI_PROGRESS_TEXT_MAX]);

#endif
