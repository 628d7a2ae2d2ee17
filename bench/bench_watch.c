/* Watching: the delay from a put's answer to a watcher in another thread that has it, the processor
 * time of 1,000 idle watchers, and of puts beside 1,000 watchers of another collection, or of none.
 * Usage: bench_watch [puts] [watchers] */
#include "bench/bench_peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void must(varve_status st, const char *what)
{
    if (st != VARVE_OK)
        bench_die("%s: %s: %s", what, varve_status_name(st), varve_last_error());
}

struct follow {
    varve_watch *w;
    uint64_t n, *seen_ns;
    pthread_t thread;
    _Atomic uint64_t got;
};

static void *follow(void *arg)
{
    struct follow *f = arg;
    const varve_iter *row;
    while (f->got < f->n && varve_watch_next(f->w, -1, &row) == 1) {
        if (f->seen_ns)
            f->seen_ns[f->got] = bench_ns();
        f->got++;
    }
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Each in a thread of its own; collection NULL: all of them. */
static void watch_all(varve *db, const char *collection, struct follow *many, uint64_t n)
{
    varve_changes_options o = {.size = sizeof(o), .collection = collection};
    for (uint64_t i = 0; i < n; i++) {
        many[i] = (struct follow){.n = 1};
        must(varve_watch_open(db, "now", &o, &many[i].w), "watch");
        pthread_attr_t a;
        pthread_attr_init(&a);
        pthread_attr_setstacksize(&a, 64 * 1024);
        if (pthread_create(&many[i].thread, &a, follow, &many[i]) != 0)
            bench_die("no thread %lu", (unsigned long)i);
        pthread_attr_destroy(&a);
    }
}

/* After a put that all of them watch for. */
static uint64_t hear_all(struct follow *many, uint64_t n)
{
    uint64_t woken = 0;
    for (uint64_t i = 0; i < n; i++) {
        pthread_join(many[i].thread, NULL);
        woken += many[i].got;
        varve_watch_close(many[i].w);
    }
    if (woken != n)
        bench_die("%lu of %lu watchers saw the last put", (unsigned long)woken, (unsigned long)n);
    return woken;
}

/* Processor time of one put, not synced, in us. */
static double put_cost(varve *db, uint64_t puts)
{
    varve_write_options o = {.size = sizeof(o), .sync = VARVE_SYNC_OFF};
    double before = cpu_seconds();
    for (uint64_t i = 0; i < puts; i++)
        must(varve_put(db, "w", &i, sizeof(i), VARVE_RAW, &i, sizeof(i), &o, NULL), "put");
    return (cpu_seconds() - before) / (double)puts * 1e6;
}

static void beside(varve *db, struct follow *many, uint64_t n, uint64_t puts)
{
    must(varve_put(db, "other", "first", 5, VARVE_RAW, "", 0, NULL, NULL), "put");
    (void)put_cost(db, puts);
    double alone = put_cost(db, puts);
    watch_all(db, "other", many, n);
    pause_ms(2000);
    double watched = put_cost(db, puts);
    must(varve_put(db, "other", "last", 4, VARVE_RAW, "", 0, NULL, NULL), "put");
    (void)hear_all(many, n);
    printf("a put: %.2f us of processor; beside %lu watchers of another collection %.2f us\n",
           alone, (unsigned long)n, watched);
}

int main(int argc, char **argv)
{
    uint64_t puts = bench_arg(argc, argv, 1, 2000), idle = bench_arg(argc, argv, 2, 1000);
    bench_machine("bench_watch: delay after apply, and idle watchers");
    char *dir = bench_scratch("watch");
    varve *db;
    must(varve_open(dir, NULL, &db), "open");
    struct follow f = {.n = puts, .seen_ns = calloc(puts, sizeof(uint64_t))};
    uint64_t *delay = calloc(puts, sizeof(uint64_t)), *put_ns = calloc(puts, sizeof(uint64_t));
    must(varve_put(db, "w", "first", 5, VARVE_RAW, "", 0, NULL, NULL), "put");
    must(varve_watch_open(db, "now", NULL, &f.w), "watch");
    if (pthread_create(&f.thread, NULL, follow, &f) != 0)
        bench_die("no thread");
    for (uint64_t i = 0; i < puts; i++) {
        must(varve_put(db, "w", &i, sizeof(i), VARVE_RAW, &i, sizeof(i), NULL, NULL), "put");
        put_ns[i] = bench_ns();
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    pthread_join(f.thread, NULL);
    for (uint64_t i = 0; i < puts; i++)
        delay[i] = f.seen_ns[i] > put_ns[i] ? f.seen_ns[i] - put_ns[i] : 0;
    bench_quantiles("delay after the put's answer (goal: at most 5 ms)", delay, puts);
    varve_watch_close(f.w);

    struct follow *many = calloc(idle, sizeof(*many));
    watch_all(db, NULL, many, idle);
    pause_ms(2000);
    double before = cpu_seconds();
    pause_ms(5000);
    printf("%lu idle watchers: %.4f s of processor in 5 s\n", (unsigned long)idle,
           cpu_seconds() - before);
    must(varve_put(db, "w", "last", 4, VARVE_RAW, "", 0, NULL, NULL), "put");
    uint64_t woken = hear_all(many, idle);
    beside(db, many, idle, 10 * puts);
    bench_checksum(woken + f.got);
    must(varve_close(db), "close");
    free(many);
    free(delay);
    free(put_ns);
    free(f.seen_ns);
    bench_scratch_remove(dir);
    return 0;
}
