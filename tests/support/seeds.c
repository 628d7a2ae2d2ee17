/* seeds.c - see seeds.h. */
#include "support/seeds.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sanitizers end the process without atexit; their runtime, where linked, calls this instead. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static struct {
    const char *name; /* NULL: no loop is running */
    uint64_t seed;
} running;

static void report(void)
{
    char text[256];
    if (!running.name)
        return;
    int n =
        snprintf(text, sizeof text, "%s failed at seed %llu; run it alone: VARVE_SEED=%llu\n",
                 running.name, (unsigned long long)running.seed, (unsigned long long)running.seed);
    running.name = NULL;
    if (n > 0 && write(STDERR_FILENO, text, strnlen(text, sizeof text)) < 0)
        return; /* nothing left to tell it to */
}

static void on_abort(int signal_number)
{
    report();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void install(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    if (atexit(report) != 0 || signal(SIGABRT, on_abort) == SIG_ERR)
        fprintf(stderr, "seeds: cannot report seeds at exit: %s\n", strerror(errno));
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(report);
}

static bool env_u64(const char *name, uint64_t *ret)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || *end) {
        fprintf(stderr, "%s=%s is not a number\n", name, text);
        exit(2);
    }
    *ret = v;
    return true;
}

uint64_t seeds_scaled(uint64_t count)
{
    const char *text = getenv("VARVE_SEEDS");
    char *end;
    if (!text || !*text)
        return count;
    double factor = strtod(text, &end);
    if (*end || !(factor > 0) || !(factor <= 1e9)) {
        fprintf(stderr, "VARVE_SEEDS=%s is not a factor\n", text);
        exit(2);
    }
    double scaled = (double)count * factor;
    return scaled < 1 ? 1 : (uint64_t)scaled;
}

struct seed_loop seed_loop_begin(const char *name, uint64_t count)
{
    struct seed_loop l = {.name = name};
    install();
    report(); /* a loop that an assertion jumped out of */
    if (env_u64("VARVE_SEED", &l.next))
        l.end = l.next + 1;
    else
        l.end = seeds_scaled(count);
    return l;
}

bool seed_loop_next(struct seed_loop *l, uint64_t *ret_seed)
{
    if (l->next == l->end) {
        running.name = NULL;
        return false;
    }
    running.name = l->name;
    running.seed = *ret_seed = l->next++;
    return true;
}
