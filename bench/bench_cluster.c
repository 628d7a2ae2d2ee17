/* bench_cluster.c - three nodes of Varve beside three of etcd, on the same cores, one after the other,
 * under the same load from the same client: bench_cluster [seconds a row] [thousand keys] [deaths]
 *
 * Every replica of both syncs before it acknowledges. All connections go to the leader. Reads are
 * linearizable on both. At last the leader is killed under a client that writes to another node, and
 * the time to the next acknowledged write is taken, `deaths` times, each in a new cluster. */
#include "base/alloc.h"
#include "base/env/env.h"
#include "bench/bench_server_peers.h"
#include "bench/bench_server_start.h"
#include "bench/bench_util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { NODES = 3, VALUE = 256, ROWS = 5, FIRST_GET = 3, DEATHS_MAX = 101 };

static double row_seconds;
static uint64_t keys, sum;
static struct load_result *result;

struct row {
    const char *what, *mix;
    unsigned connections, in_flight;
    bool fill;
    uint64_t count;
    enum load_choice choice; /* the usual one of the mix */
};
static const struct row rows[ROWS] = {{"PUT, 1 client", "put", 1, 1, false, 0, 0},
                                      {"PUT, 64 x 1", "put", 64, 1, false, 0, 0},
                                      {"PUT, 16 x 64", "put", 16, 64, false, 0, 0},
                                      {"linearizable GET, 64 x 1", "get", 64, 1, false, 0, 0},
                                      {"linearizable GET, 16 x 64", "get", 16, 64, false, 0, 0}};
struct figures {
    double rate, p50, p99, cpu_us; /* a second; us; us of all nodes a request */
};

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* ---- a cluster ---- */

static uint64_t cpu_of(const struct server *s)
{
    uint64_t all = 0;
    for (int i = 0; i < NODES; i++)
        all += s[i].pid ? server_cpu_us(&s[i]) : 0;
    return all;
}

struct cpu {
    const struct server *s;
    uint64_t before, after;
};
static void mark(void *arg, bool begins)
{
    struct cpu *c = arg;
    *(begins ? &c->before : &c->after) = cpu_of(c->s);
}

/* Whether it says of itself that it leads; over HTTP, by curl. */
static bool leads(const struct server *s)
{
    char command[256], answer[4096];
    bool etcd = s->kind == SERVER_ETCD;
    (void)snprintf(command, sizeof command, "curl -s -m 2 %s http://%s%s", etcd ? "-d '{}'" : "",
                   s->text, etcd ? "/v3/maintenance/status" : "/v1/admin/topology");
    FILE *f = popen(command, "r");
    size_t n = f ? fread(answer, 1, sizeof answer - 1, f) : 0;
    if (f)
        (void)pclose(f);
    answer[n] = '\0';
    unsigned long long leader = 0, self = s->node;
    const char *at = strstr(answer, etcd ? "\"leader\":\"" : "\"leader\":");
    const char *me = etcd ? strstr(answer, "\"member_id\":\"") : NULL;
    if (me)
        (void)sscanf(me, "\"member_id\":\"%llu", &self);
    return at && sscanf(at, etcd ? "\"leader\":\"%llu" : "\"leader\":%llu", &leader) == 1 &&
           leader == self && leader != 0;
}

static unsigned leader_of(const struct server *s)
{
    for (int ms = 0; ms < 30000; ms += 50) {
        for (unsigned i = 0; i < NODES; i++)
            if (s[i].pid && leads(&s[i]))
                return i;
        pause_ms(50);
    }
    bench_die("%s: no leader in 30 s", server_name(s->kind));
}

/* ---- load ---- */

static enum status load(const struct server *all, const struct server *to, const struct row *row,
                        uint64_t timeout_ms, struct cpu *cpu, struct err *err)
{
    static const struct load_varve varve = {.collection = BYTES_LIT("bench"),
                                            .sync = LOAD_SYNC_ALWAYS};
    static const struct bench_etcd etcd = {.serializable = false};
    bool is_varve = to->kind == SERVER_VARVE;
    const struct load_grpc grpc = {.authority = BYTES_STR(to->text),
                                   .codec = is_varve ? &load_varve_codec : &bench_etcd_codec,
                                   .codec_arg = is_varve ? (const void *)&varve : &etcd};
    struct load_settings o = {.env = env_linux(),
                              .to = to->addr,
                              .protocol = &load_grpc_protocol,
                              .protocol_arg = &grpc,
                              .connections = row->connections,
                              .in_flight = row->in_flight,
                              .mix = load_mix_find(row->mix),
                              .choice = row->choice,
                              .theta = 0.99,
                              .keys = keys,
                              .count = row->count,
                              .fill = row->fill,
                              .value_bytes = VALUE,
                              .batch = is_varve ? 1000 : BENCH_ETCD_TXN_MAX,
                              .warmup_ms = row->fill || row->count ? 0 : 500,
                              .duration_ms = (uint64_t)(1000 * row_seconds),
                              .timeout_ms = timeout_ms,
                              .seed = 1,
                              .mark = mark,
                              .arg = cpu};
    *cpu = (struct cpu){.s = all};
    return load_run(&o, result, err);
}

static struct figures measure(const struct server *s, const struct row *row)
{
    struct cpu cpu;
    struct err err;
    err_init(&err);
    const struct server *to = &s[leader_of(s)];
    if (load(s, to, row, 0, &cpu, &err) != ST_OK)
        bench_die("%s, %s: %s", server_name(s->kind), row->what, err.detail);
    if (result->failed)
        bench_die("%s, %s: %llu requests failed, the first: %s: %s", server_name(s->kind),
                  row->what, (unsigned long long)result->failed, result->errors[0].kind,
                  result->errors[0].detail);
    sum += result->checksum;
    struct figures f = {.rate = (double)result->done / ((double)result->elapsed_ns / 1e9),
                        .p50 = (double)load_hist_quantile(&result->all, 0.5) / 1e3,
                        .p99 = (double)load_hist_quantile(&result->all, 0.99) / 1e3,
                        .cpu_us = (double)(cpu.after - cpu.before) / (double)result->done};
    if (!row->fill)
        printf("  %-6s %-28s %10.0f/s  p50 %9.1f  p99 %9.1f us  all nodes %8.2f us of processor "
               "each\n",
               server_name(s->kind), row->what, f.rate, f.p50, f.p99, f.cpu_us);
    fflush(stdout);
    return f;
}

static void fill(struct server *s)
{
    const struct row row = {"filling", "batch", 2, 2, true, 0, 0};
    (void)measure(s, &row);
    for (int ms = 0; ms < 30000; ms += 500) {
        uint64_t before = cpu_of(s);
        pause_ms(500);
        if (cpu_of(s) - before < 30000)
            break;
    }
    /* As in bench_server: etcd's reads copy a buffer as large as the largest burst of writes was. */
    for (int i = 0; s->kind == SERVER_ETCD && i < NODES; i++)
        server_restart(&s[i]);
    (void)leader_of(s);
    pause_ms(1000);
}

/* Reads every key once, so that all of them are in memory, as they are in etcd's. */
static void warm(const struct server *s)
{
    const struct row row = {
        .what = "linearizable GET, each once",
        .mix = "get",
        .connections = 16,
        .in_flight = 64,
        .count = keys,
        .choice = LOAD_SEQUENCE,
    };
    (void)measure(s, &row);
}

static void stop(struct server *s)
{
    for (int i = 0; i < NODES; i++)
        if (s[i].pid)
            server_stop(&s[i]);
}

/* ---- the death of a leader ---- */

static double one_death(enum server_kind kind)
{
    static const struct row one = {"a put", "insert", 1, 1, false, 1, 0};
    struct server s[NODES];
    struct cpu cpu;
    struct err err;
    err_init(&err);
    servers_start(s, NODES, kind);
    unsigned leader = leader_of(s), other = (leader + 1) % NODES;
    do /* until the follower takes writes */
        pause_ms(100);
    while (load(s, &s[other], &one, 2000, &cpu, &err) != ST_OK || result->failed);
    uint64_t begun = bench_ns();
    (void)kill(s[leader].pid, SIGKILL);
    (void)waitpid(s[leader].pid, NULL, 0);
    s[leader].pid = 0;
    while (load(s, &s[other], &one, 300, &cpu, &err) != ST_OK || result->failed)
        if (bench_ns() - begun > UINT64_C(60000000000))
            bench_die("%s: no write within 60 s of the leader's death", server_name(kind));
    double ms = (double)(bench_ns() - begun) / 1e6;
    bench_scratch_remove(s[leader].dir);
    stop(s);
    return ms;
}

static double deaths(enum server_kind kind, unsigned n)
{
    double ms[DEATHS_MAX], worst = 0;
    for (unsigned i = 0; i < n; i++) {
        ms[i] = one_death(kind);
        worst = ms[i] > worst ? ms[i] : worst;
    }
    double median = bench_median(ms, n);
    printf("  %-6s leader killed %u times: to the next acknowledged write %.0f ms in the median, "
           "%.0f at most\n",
           server_name(kind), n, median, worst);
    fflush(stdout);
    return median;
}

static void at_most(const char *what, double value, double goal, const char *unit)
{
    printf("%-52s %10.2f%s (goal %.2f: %s)\n", what, value, unit, goal,
           value <= goal ? "met" : "NOT met");
}

int main(int argc, char **argv)
{
    static const enum server_kind kinds[2] = {SERVER_VARVE, SERVER_ETCD};
    struct figures f[2][ROWS] = {0};
    double died[2] = {0};
    bool there[2];
    row_seconds = (double)bench_arg(argc, argv, 1, 4);
    keys = bench_arg(argc, argv, 2, 1000) * 1000;
    unsigned n_deaths = (unsigned)bench_arg(argc, argv, 3, 5);
    if (row_seconds < 1 || keys == 0 || n_deaths > DEATHS_MAX ||
        !(result = mem_zalloc(sizeof *result)))
        bench_die("usage: bench_cluster [seconds a row] [thousand keys] [deaths, at most %d]",
                  DEATHS_MAX);
    bench_machine("bench_cluster");
    printf("# %d nodes on these cores, %llu keys of %d B + %d B, uniform; %.0f s a row; one client "
           "thread\n",
           NODES, (unsigned long long)keys, LOAD_KEY, VALUE, row_seconds);
    for (int k = 0; k < 2; k++) {
        struct server s[NODES];
        if (!(there[k] = server_is_there(kinds[k]))) {
            printf("  %s is not installed: its rows are left out\n", server_name(kinds[k]));
            continue;
        }
        servers_start(s, NODES, kinds[k]);
        fill(s);
        for (int i = 0; i < ROWS; i++) {
            if (i == FIRST_GET && kinds[k] == SERVER_VARVE)
                warm(s);
            f[k][i] = measure(s, &rows[i]);
        }
        stop(s);
        if (n_deaths)
            died[k] = deaths(kinds[k], n_deaths);
    }
    if (there[0] && there[1]) {
        at_most("PUT, 1 client: p50 over etcd's", f[0][0].p50 / f[1][0].p50, 0.6, "x");
        bench_ratio("PUT, 64 x 1, over etcd", f[0][1].rate / f[1][1].rate, 2.5);
        bench_ratio("PUT, 16 x 64, over etcd", f[0][2].rate / f[1][2].rate, 4);
        bench_ratio("linearizable GET, 64 x 1, over etcd", f[0][3].rate / f[1][3].rate, 6);
        bench_ratio("linearizable GET, 16 x 64, over etcd", f[0][4].rate / f[1][4].rate, 12);
        at_most("processor of all nodes a PUT (16 x 64), over etcd's",
                f[0][2].cpu_us / f[1][2].cpu_us, 0.4, "x");
    }
    if (there[0] && n_deaths)
        at_most("leader's death to the next write", died[0], 1500, " ms");
    if (there[0] && there[1] && n_deaths)
        at_most("the same, over etcd's", died[0] / died[1], 1, "x");
    bench_checksum(sum);
    mem_free(result);
    return 0;
}
