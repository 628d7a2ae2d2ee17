/* bench_server.c - `varve serve` beside etcd (one node) and Redis, under the same load from the same
 * client: bench_server [part] [seconds a row] [thousand keys]
 *
 * Parts: put, get, batch, scan (beside peers), cpu, idle, tail (Varve alone), all. Each part starts
 * the servers that it needs one after the other, on loopback, with their data on the same disk
 * ($BENCH_DIR), fills them with the same keys of 256 B values, waits until they are at rest, and
 * measures row by row. For gets all are up at once, and take five turns at each row. A peer whose program is not there is left out by name (deps/apt-all.txt has
 * them). $BENCH_VARVE adds settings to `varve serve`. */
#include "base/alloc.h"
#include "bench/bench_floor.h"
#include "bench/bench_server_peers.h"
#include "bench/bench_server_start.h"
#include "bench/bench_still.h"
#include "bench/bench_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { VALUE = 256, BATCH = 1000, PAGE = 10000, CALM_MS = 30000 };

static double row_seconds;
static uint64_t keys, sum;

/* --- one row --- */

struct shape {
    unsigned connections, in_flight;
};

struct figures {
    bool there;
    double rate, rows, cpu_us; /* a second, a second, a request */
    double p50, p99, p999;     /* us */
};

struct row {
    const char *what, *mix;
    struct shape shape;
    enum load_sync sync;
    bool fill;
    double rate; /* open loop */
    double seconds;
    uint32_t rows, batch;
    uint64_t first_new, count;
    enum load_choice choice;
};

struct cpu {
    const struct server *s;
    uint64_t before, after;
};

static void mark(void *arg, bool begins)
{
    struct cpu *c = arg;
    *(begins ? &c->before : &c->after) = server_cpu_us(c->s);
}

static struct load_result *result(void)
{
    static struct load_result *r;
    if (!r && !(r = mem_zalloc(sizeof *r)))
        bench_die("no memory");
    return r;
}

static struct load_settings settings_of(const struct server *s, const struct row *row)
{
    return (struct load_settings){
        .env = env_linux(),
        .to = s->addr,
        .connections = row->shape.connections,
        .in_flight = row->shape.in_flight,
        .mix = load_mix_find(row->mix),
        .theta = ZIPF_THETA,
        .keys = keys,
        .choice = row->choice,
        .count = row->count,
        .first_new = row->first_new,
        .fill = row->fill,
        .value_bytes = VALUE,
        .batch = row->batch ? row->batch : BATCH,
        .scan_rows = row->rows,
        .rate = row->rate,
        .warmup_ms = row->fill || row->count ? 0 : 500,
        .duration_ms = (uint64_t)(1000 * (row->seconds > 0 ? row->seconds : row_seconds)),
        .seed = 1};
}

static struct figures figures_of(const struct load_result *r, const struct cpu *cpu)
{
    double s = (double)r->elapsed_ns / 1e9;
    return (struct figures){.there = true,
                            .rate = (double)r->done / s,
                            .rows = (double)r->rows / s,
                            .cpu_us = (double)(cpu->after - cpu->before) / (double)r->done,
                            .p50 = (double)load_hist_quantile(&r->all, 0.5) / 1e3,
                            .p99 = (double)load_hist_quantile(&r->all, 0.99) / 1e3,
                            .p999 = (double)load_hist_quantile(&r->all, 0.999) / 1e3};
}

static void print(const struct server *s, const struct row *row, const struct figures *f)
{
    printf("  %-18s %-28s %10.0f/s  p50 %8.1f  p99 %8.1f  p99.9 %9.1f us  server %7.2f us each\n",
           server_name(s->kind), row->what, row->rows || row->batch ? f->rows : f->rate, f->p50,
           f->p99, f->p999, f->cpu_us);
    fflush(stdout);
}

static struct figures measure(const struct server *s, const struct row *row)
{
    const struct load_varve varve = {.collection = BYTES_LIT("bench"), .sync = row->sync};
    const struct bench_etcd etcd = {.serializable = true};
    bool is_varve = s->kind == SERVER_VARVE;
    const struct load_grpc grpc = {.authority = BYTES_STR(s->text),
                                   .codec = is_varve ? &load_varve_codec : &bench_etcd_codec,
                                   .codec_arg = is_varve ? (const void *)&varve : &etcd};
    struct cpu cpu = {.s = s};
    struct load_settings o = settings_of(s, row);
    struct err err;
    err_init(&err);
    o.protocol = is_varve || s->kind == SERVER_ETCD ? &load_grpc_protocol : &bench_redis_protocol;
    o.protocol_arg = &grpc;
    o.mark = mark;
    o.arg = &cpu;
    if (load_run(&o, result(), &err) != ST_OK)
        bench_die("%s, %s: %s", server_name(s->kind), row->what, err.detail);
    if (result()->failed)
        bench_die("%s, %s: %llu requests failed, the first: %s: %s", server_name(s->kind),
                  row->what, (unsigned long long)result()->failed, result()->errors[0].kind,
                  result()->errors[0].detail);
    sum += result()->checksum;
    struct figures f = figures_of(result(), &cpu);
    if (row->what)
        print(s, row, &f);
    return f;
}

/* --- before the rows --- */

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Until what it does behind the loading is done, in processes of its own too: less than 5 % of the
 * machine over half a second. */
static void calm_down(const struct server *s)
{
    for (int ms = 0; ms < CALM_MS; ms += 500) {
        struct bench_ticks before = bench_ticks(), after;
        pause_ms(500);
        after = bench_ticks();
        if ((after.busy - before.busy) * 20 < after.all - before.all)
            return;
    }
    printf("  %s is not at rest after %d s\n", server_name(s->kind), CALM_MS / 1000);
}

/* Until it has a leader and answers. */
static void await_etcd(const struct server *s)
{
    const struct row row = {
        .what = "the first get", .mix = "get", .shape = {1, 1}, .seconds = 1, .count = 1};
    (void)measure(s, &row);
}

static void fill(struct server *s)
{
    const struct row row = {.what = NULL,
                            .mix = "batch",
                            .shape = {2, 2},
                            .fill = true,
                            .sync = LOAD_SYNC_INTERVAL,
                            .batch = s->kind == SERVER_ETCD ? BENCH_ETCD_TXN_MAX : BATCH};
    (void)measure(s, &row);
    calm_down(s);
    /* etcd 3.4 copies for each read a buffer as large as the largest burst of writes ever was, and would
     * answer gets ten times slower than it can. */
    if (s->kind == SERVER_ETCD) {
        server_restart(s);
        await_etcd(s);
    }
    printf("  %-18s filled with %llu keys, %.0f MiB resident\n", server_name(s->kind),
           (unsigned long long)keys, server_rss_mib(s));
    fflush(stdout);
}

/* Reads every key once, so that all of them are in memory, as they are in Redis'. */
static void warm(const struct server *s)
{
    const struct row row = {.what = "GET, each key once, cold",
                            .mix = "get",
                            .shape = {16, 64},
                            .choice = LOAD_SEQUENCE,
                            .count = keys};
    (void)measure(s, &row);
}

/* Starts it and fills it; false: it is not there. */
static bool ready(struct server *s, enum server_kind kind)
{
    if (!server_is_there(kind)) {
        printf("  %s is not installed: its rows are left out\n", server_name(kind));
        return false;
    }
    server_start(s, kind);
    fill(s);
    return true;
}

static void ratio(const char *what, const struct figures *ours, const struct figures *theirs,
                  double goal)
{
    if (theirs->there)
        bench_ratio(what, ours->rate / theirs->rate, goal);
}

/* A figure that must stay below. */
static void at_most(const char *what, double value, double goal, const char *unit)
{
    printf("%-52s %10.2f %s (goal %.2f: %s)\n", what, value, unit, goal,
           value <= goal ? "met" : "NOT met");
}

/* --- the parts --- */

enum { PEERS = 3, TURNS = 5 };

static void part_put(void)
{
    static const enum server_kind kinds[PEERS] = {SERVER_VARVE, SERVER_ETCD, SERVER_REDIS_ALWAYS};
    static const struct row rows[3] = {
        {.what = "PUT durable, 1 client", .mix = "put", .shape = {1, 1}, .sync = LOAD_SYNC_ALWAYS},
        {.what = "PUT durable, 64 x 1", .mix = "put", .shape = {64, 1}, .sync = LOAD_SYNC_ALWAYS},
        {.what = "PUT durable, 16 x 64",
         .mix = "put",
         .shape = {16, 64},
         .sync = LOAD_SYNC_ALWAYS}};
    struct figures f[PEERS][3] = {0};
    for (int p = 0; p < PEERS; p++) {
        struct server s;
        if (!ready(&s, kinds[p]))
            continue;
        for (int i = 0; i < 3; i++)
            f[p][i] = measure(&s, &rows[i]);
        server_stop(&s);
    }
    if (f[1][0].there)
        at_most("PUT durable, 1 client: p50 over etcd's", f[0][0].p50 / f[1][0].p50, 0.6, "x");
    ratio("PUT durable, 64 x 1, over etcd", &f[0][1], &f[1][1], 3);
    ratio("PUT durable, 64 x 1, over Redis", &f[0][1], &f[2][1], 0.7);
    ratio("PUT durable, 16 x 64, over etcd", &f[0][2], &f[1][2], 4);
}

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct figures *)a)->rate, y = ((const struct figures *)b)->rate;
    return (x > y) - (x < y);
}

/* The middle one of the turns that a server had at a row, by its rate; sorts them. */
static struct figures middle(struct figures *turns)
{
    qsort(turns, TURNS, sizeof *turns, by_rate);
    return turns[TURNS / 2];
}

/* All servers are up and at rest, and take turns: a machine's speed may change by half within a minute. */
static void part_get(void)
{
    static const enum server_kind kinds[PEERS] = {SERVER_VARVE, SERVER_ETCD, SERVER_REDIS_ALWAYS};
    static const struct row rows[2] = {{.what = "GET, 64 x 1", .mix = "get", .shape = {64, 1}},
                                       {.what = "GET, 16 x 64", .mix = "get", .shape = {16, 64}}};
    struct server s[PEERS];
    bool there[PEERS];
    struct figures f[PEERS][2] = {0}, turns[PEERS][TURNS];
    for (int p = 0; p < PEERS; p++) {
        there[p] = ready(&s[p], kinds[p]);
        if (there[p] && kinds[p] == SERVER_VARVE)
            warm(&s[p]);
    }
    for (int i = 0; i < 2; i++) {
        for (int turn = 0; turn < TURNS; turn++)
            for (int p = 0; p < PEERS; p++)
                if (there[p])
                    turns[p][turn] = measure(&s[p], &rows[i]);
        for (int p = 0; p < PEERS; p++)
            if (there[p])
                f[p][i] = middle(turns[p]);
    }
    for (int p = 0; p < PEERS; p++)
        if (there[p])
            server_stop(&s[p]);
    ratio("GET, 64 x 1, over etcd (serializable)", &f[0][0], &f[1][0], 7);
    ratio("GET, 16 x 64, over etcd (serializable)", &f[0][1], &f[1][1], 15);
    ratio("GET, 64 x 1, over Redis", &f[0][0], &f[2][0], 0.9);
}

static void part_batch(void)
{
    static const struct row ours = {.what = "BatchWrite of 1,000, rows",
                                    .mix = "batch",
                                    .shape = {4, 1},
                                    .sync = LOAD_SYNC_INTERVAL,
                                    .batch = BATCH};
    static const struct row theirs = {
        .what = "SET, 4 x 1,000 pipelined", .mix = "insert", .shape = {4, BATCH}};
    struct figures f[2] = {0};
    struct server s;
    if (ready(&s, SERVER_VARVE)) {
        f[0] = measure(&s, &ours);
        server_stop(&s);
    }
    if (ready(&s, SERVER_REDIS_EVERYSEC)) {
        f[1] = measure(&s, &theirs);
        server_stop(&s);
    }
    if (f[0].there && f[1].there)
        bench_ratio("BatchWrite of 1,000, rows over Redis' SETs", f[0].rows / f[1].rate, 0.5);
}

static void part_scan(void)
{
    static const struct row row = {
        .what = "pages of 10,000 keys, rows", .mix = "scan", .shape = {1, 1}, .rows = PAGE};
    struct figures f[2] = {0};
    for (int p = 0; p < 2; p++) {
        struct server s;
        if (!ready(&s, p ? SERVER_ETCD : SERVER_VARVE))
            continue;
        f[p] = measure(&s, &row);
        server_stop(&s);
    }
    if (f[0].there && f[1].there)
        bench_ratio("a page of 10,000 keys, over etcd", f[0].rows / f[1].rows, 4);
}

static void part_cpu(void)
{
    static const struct row rows[] = {{.what = "GET, 16 x 64", .mix = "get", .shape = {16, 64}},
                                      {.what = "PUT durable, new, 16 x 64",
                                       .mix = "insert",
                                       .shape = {16, 64},
                                       .sync = LOAD_SYNC_ALWAYS},
                                      {.what = "PUT durable, over, 16 x 64",
                                       .mix = "put",
                                       .shape = {16, 64},
                                       .sync = LOAD_SYNC_ALWAYS}};
    static const double goals[] = {4, 8, 16};
    struct figures f[3];
    struct server s;
    if (!ready(&s, SERVER_VARVE))
        return;
    warm(&s);
    for (int i = 0; i < 3; i++)
        f[i] = measure(&s, &rows[i]);
    server_stop(&s);
    for (int i = 0; i < 3; i++)
        at_most(rows[i].what, f[i].cpu_us, goals[i], "us of the server a request");
}

static void part_idle(void)
{
    struct server s;
    if (!server_is_there(SERVER_VARVE))
        bench_die("varve is not built");
    server_start(&s, SERVER_VARVE);
    pause_ms(1000);
    uint64_t before = server_cpu_us(&s), seconds = row_seconds < 5 ? 5 : (uint64_t)row_seconds;
    pause_ms((long)seconds * 1000);
    double part = (double)(server_cpu_us(&s) - before) / (double)seconds / 1e6;
    at_most("idle server, of a core", part * 100, 0.1, "%");
    at_most("idle server, resident", server_rss_mib(&s), 40, "MiB");
    server_stop(&s);
}

/* --- the tail, while the store cares for itself --- */

struct care {
    const struct server *s;
    _Atomic bool stop;
    _Atomic unsigned ended; /* calls */
};

static const char *care_call(const struct server *s, const struct bytes *path,
                             struct load_result *r)
{
    const struct load_grpc grpc = {.authority = BYTES_STR(s->text), .codec = &bench_call_codec};
    const struct row row = {.mix = "get", .shape = {1, 1}, .seconds = 1};
    struct load_settings o = settings_of(s, &row);
    static _Thread_local struct err err;
    err_init(&err);
    o.protocol = &load_grpc_protocol;
    o.protocol_arg = &grpc;
    o.warmup_ms = 0;
    o.count = 1;
    bench_call(path);
    if (load_run(&o, r, &err) != ST_OK)
        return err.detail;
    return r->failed ? r->errors[0].detail : NULL;
}

static void *care_thread(void *arg)
{
    static const struct bytes calls[] = {BYTES_LIT("/varve.v1.Admin/Checkpoint"),
                                         BYTES_LIT("/varve.v1.Admin/Vacuum"),
                                         BYTES_LIT("/varve.v1.Admin/Compact")};
    struct care *c = arg;
    struct load_result *r = mem_zalloc(sizeof *r);
    if (!r)
        bench_die("no memory");
    for (unsigned i = 0; !c->stop; i++) {
        const char *failed = care_call(c->s, &calls[i % 3], r);
        if (failed)
            bench_die("%s: %s", (const char *)calls[i % 3].data, failed);
        c->ended += !c->stop;
    }
    mem_free(r);
    return NULL;
}

static struct figures with_care(const struct server *s, const struct row *row)
{
    struct care c = {.s = s};
    pthread_t t;
    calm_down(s);
    if (pthread_create(&t, NULL, care_thread, &c) != 0)
        bench_die("no thread");
    struct bench_still *still = bench_still_begin();
    struct figures f = measure(s, row);
    bench_still_end(still);
    c.stop = true;
    pthread_join(t, NULL);
    printf("  ... beside %u calls of checkpoint, vacuum and compaction in turn, and one that went "
           "on\n",
           c.ended);
    return f;
}

/* What is late without any care, and beside threads that only spin, the machine makes late. */
static void print_floor(const struct server *s, const struct row *of)
{
    struct row row = *of;
    char what[64];
    (void)snprintf(what, sizeof what, "%s, nothing else", of->mix);
    row.what = what;
    calm_down(s);
    struct bench_still *still = bench_still_begin();
    (void)measure(s, &row);
    bench_still_end(still);
    (void)snprintf(what, sizeof what, "%s, idle threads spin", of->mix);
    calm_down(s);
    struct bench_spin *spin = bench_spin_begin();
    (void)measure(s, &row);
    bench_spin_end(spin);
}

/* A write that comes while a sync takes longer than the goal is late, whoever syncs. */
static void print_disk(double seconds, double goal_ms)
{
    const struct bench_syncs d = bench_lone_syncs(seconds, (uint64_t)(goal_ms * 1e6));
    printf(
        "  ... the disk alone: %llu syncs of 16 KiB, a millisecond apart, the longest %.1f ms; of "
        "all moments %.3f %% come so that %.0f ms are not kept\n",
        (unsigned long long)d.n, (double)d.longest_ns / 1e6, d.late * 100, goal_ms);
}

static void part_tail(void)
{
    static const double get_ms = 5, put_ms = 10;
    struct server s;
    if (!ready(&s, SERVER_VARVE))
        return;
    warm(&s);
    struct row get = {.what = "GET, 16 x 64, peak", .mix = "get", .shape = {16, 64}};
    struct row put = {.what = "PUT durable, 16 x 64, peak",
                      .mix = "put",
                      .shape = {16, 64},
                      .sync = LOAD_SYNC_ALWAYS};
    get.rate = measure(&s, &get).rate / 2;
    get.seconds = row_seconds * 3;
    get.what = "GET at half of the peak";
    struct figures f_get = with_care(&s, &get);
    print_floor(&s, &get);
    put.rate = measure(&s, &put).rate / 2;
    put.seconds = row_seconds * 3;
    put.what = "PUT durable at half of it";
    struct figures f_put = with_care(&s, &put);
    print_floor(&s, &put);
    calm_down(&s);
    print_disk(put.seconds, put_ms);
    server_stop(&s);
    at_most("p99.9 of GET during care", f_get.p999 / 1000, get_ms, "ms");
    at_most("p99.9 of durable PUT during care", f_put.p999 / 1000, put_ms, "ms");
}

static const struct {
    const char *name, *about;
    void (*fn)(void);
} parts[] = {
    {"put", "durable puts over keys that are there, beside etcd and Redis (appendfsync always)",
     part_put},
    {"get", "gets, beside etcd (serializable) and Redis (no pipelining at 64 x 1)", part_get},
    {"batch", "batches synced every second, beside Redis' pipelined SETs (everysec)", part_batch},
    {"scan", "pages by Scan, beside etcd's ranges", part_scan},
    {"cpu", "processor time of the server at 1,024 in flight", part_cpu},
    {"idle", "a server without clients", part_idle},
    {"tail", "an open loop at half of the peak, while the store cares for itself", part_tail},
};

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "all";
    bool known = strcmp(only, "all") == 0;
    row_seconds = (double)bench_arg(argc, argv, 2, 3);
    keys = bench_arg(argc, argv, 3, 1000) * 1000;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        known = known || strcmp(only, parts[i].name) == 0;
    if (!known || row_seconds < 1 || keys == 0)
        bench_die("usage: bench_server [put|get|batch|scan|cpu|idle|tail|all] [seconds a row] "
                  "[thousand keys]");
    bench_machine("bench_server");
    printf("# %llu keys of %d B + %d B, uniform; %.0f s a row; one client thread\n",
           (unsigned long long)keys, LOAD_KEY, VALUE, row_seconds);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(only, "all") != 0 && strcmp(only, parts[i].name) != 0)
            continue;
        printf("%s: %s\n", parts[i].name, parts[i].about);
        parts[i].fn();
    }
    bench_checksum(sum);
    return 0;
}
