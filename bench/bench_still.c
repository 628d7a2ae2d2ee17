#include "bench/bench_still.h"

#include "base/alloc.h"
#include "bench/bench_util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { WAKE_NS = 500 * 1000, LATE_NS = 2 * 1000 * 1000, CPUS = 64 };

struct looker {
    struct bench_still *still;
    pthread_t thread;
    unsigned cpu;
    uint64_t times, sum_ns, most_ns;
    bool first; /* before all others: SCHED_FIFO is allowed */
};

struct bench_still {
    _Atomic bool stop;
    uint64_t since_ns;
    unsigned n;
    struct looker of[CPUS];
};

static void *look(void *arg)
{
    struct looker *l = arg;
    const struct sched_param one = {.sched_priority = 1};
    const struct timespec nap = {0, WAKE_NS};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(l->cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
        bench_die("processor %u cannot be looked at", l->cpu);
    l->first = pthread_setschedparam(pthread_self(), SCHED_FIFO, &one) == 0;
    while (!l->still->stop) {
        uint64_t due = bench_ns() + WAKE_NS;
        nanosleep(&nap, NULL);
        uint64_t now = bench_ns(), late = now > due ? now - due : 0;
        if (late < LATE_NS)
            continue;
        l->times++;
        l->sum_ns += late;
        l->most_ns = late > l->most_ns ? late : l->most_ns;
    }
    return NULL;
}

struct bench_still *bench_still_begin(void)
{
    struct bench_still *s = mem_zalloc(sizeof *s);
    cpu_set_t set;
    if (!s || sched_getaffinity(0, sizeof set, &set) != 0)
        bench_die("the machine cannot be looked at");
    s->since_ns = bench_ns();
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && s->n < CPUS; cpu++) {
        struct looker *l = &s->of[s->n];
        if (!CPU_ISSET(cpu, &set))
            continue;
        *l = (struct looker){.still = s, .cpu = cpu};
        if (pthread_create(&l->thread, NULL, look, l) != 0)
            bench_die("no thread");
        s->n++;
    }
    return s;
}

void bench_still_end(struct bench_still *s)
{
    const struct looker *worst = &s->of[0];
    s->stop = true;
    for (unsigned i = 0; i < s->n; i++) {
        pthread_join(s->of[i].thread, NULL);
        if (s->of[i].sum_ns > worst->sum_ns)
            worst = &s->of[i];
    }
    printf(
        "  ... one of %u processors stood still %llu times for 2 ms or more, %.1f ms of %.1f s in "
        "all, the longest %.1f ms%s\n",
        s->n, (unsigned long long)worst->times, (double)worst->sum_ns / 1e6,
        (double)(bench_ns() - s->since_ns) / 1e9, (double)worst->most_ns / 1e6,
        worst->first ? "" : " (others' turns among them: this user has no SCHED_FIFO)");
    mem_free(s);
}
