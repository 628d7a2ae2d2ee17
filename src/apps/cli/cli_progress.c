#include "apps/cli/cli_progress.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FIRST_MS = 1000, REDRAW_MS = 100, LINE_MS = 5000, BAR_WIDTH = 20 };

void cli_progress_begin(struct cli_progress *p, FILE *out, bool tty, bool asked, bool quiet,
                        const char *label, const char *unit, uint64_t start_done, uint64_t now_ms)
{
    *p = (struct cli_progress){.out = out,
                               .label = label,
                               .unit = unit,
                               .tty = tty,
                               .off = quiet || !(tty || asked),
                               .start_ms = now_ms,
                               .start_done = start_done};
}

/* Adds to a bounded line; what does not fit is left out. */
static void add(char *out, const char *text)
{
    size_t len = strlen(out), n = strlen(text);
    if (len + n < CLI_PROGRESS_TEXT_MAX)
        memcpy(out + len, text, n + 1);
}

static void add_bar(char *out, uint64_t done, uint64_t total)
{
    char bar[BAR_WIDTH + 3] = {'['}, percent[8];
    double part = done >= total ? 1.0 : (double)done / (double)total;
    int filled = (int)(part * BAR_WIDTH);
    memset(bar + 1, '#', (size_t)filled);
    memset(bar + 1 + filled, '.', (size_t)(BAR_WIDTH - filled));
    bar[BAR_WIDTH + 1] = ']';
    snprintf(percent, sizeof percent, " %3d%%", (int)(part * 100) % 1000);
    add(out, bar);
    add(out, percent);
    add(out, "  ");
}

void cli_progress_format(const struct cli_progress *p, uint64_t done, uint64_t total,
                         uint64_t count, uint64_t elapsed_ms, unsigned width,
                         char out[CLI_PROGRESS_TEXT_MAX])
{
    char number[CLI_NUMBER_TEXT_MAX], time[CLI_TIME_TEXT_MAX];
    out[0] = '\0';
    add(out, p->label);
    add(out, " ");
    if (total)
        add_bar(out, done, total);
    cli_count_format(count, number);
    add(out, number);
    add(out, " ");
    add(out, p->unit);
    if (elapsed_ms) {
        cli_count_format((uint64_t)((double)count * 1000 / (double)elapsed_ms), number);
        add(out, "  ");
        add(out, number);
        add(out, " ");
        add(out, p->unit);
        add(out, "/s");
    }
    if (total > done && done > p->start_done) {
        double here = (double)(done - p->start_done), left = (double)(total - done);
        double eta = left * (double)elapsed_ms / here;
        cli_duration_format(eta > 1e15 ? UINT64_C(1000000000000000) : (uint64_t)eta, time);
        add(out, "  ETA ");
        add(out, time);
    }
    if (strlen(out) > width)
        out[width] = '\0';
}

static unsigned terminal_width(FILE *f)
{
    struct winsize w;
    if (ioctl(fileno(f), TIOCGWINSZ, &w) != 0 || w.ws_col < 20)
        return 79;
    return w.ws_col - 1U;
}

void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total, uint64_t count,
                         uint64_t now_ms)
{
    char line[CLI_PROGRESS_TEXT_MAX];
    uint64_t elapsed = now_ms - p->start_ms;
    if (p->off || elapsed < FIRST_MS)
        return;
    if (p->shown && now_ms - p->drawn_ms < (p->tty ? REDRAW_MS : LINE_MS))
        return;
    unsigned width = p->tty ? terminal_width(p->out) : CLI_PROGRESS_TEXT_MAX - 1;
    cli_progress_format(p, done, total, count, elapsed, width, line);
    fprintf(p->out, p->tty ? "\r%s\033[K" : "%s\n", line);
    fflush(p->out);
    p->shown = true;
    p->drawn_ms = now_ms;
}

void cli_progress_hide(struct cli_progress *p)
{
    if (p->shown && p->tty) {
        fputs("\r\033[K", p->out);
        fflush(p->out);
    }
    if (p->tty)
        p->shown = false;
}

void cli_progress_end(struct cli_progress *p)
{
    cli_progress_hide(p);
    p->off = true;
}
