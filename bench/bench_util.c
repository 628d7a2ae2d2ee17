#include "bench/bench_util.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void bench_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

uint64_t bench_arg(int argc, char **argv, int i, uint64_t otherwise)
{
    if (i >= argc)
        return otherwise;
    char *end;
    uint64_t v = strtoull(argv[i], &end, 10);
    if (end == argv[i] || *end)
        bench_die("not a number: %s", argv[i]);
    return v;
}

uint64_t bench_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct bench_ticks bench_ticks(void)
{
    enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, COLUMNS }; /* proc(5) */
    struct bench_ticks t = {0};
    FILE *f = fopen("/proc/stat", "re");
    if (!f || fscanf(f, "cpu") < 0)
        bench_die("/proc/stat cannot be read");
    for (int i = 0; i < COLUMNS; i++) {
        uint64_t n;
        if (fscanf(f, "%" SCNu64, &n) != 1)
            bench_die("/proc/stat: the first line has less than %d numbers", COLUMNS);
        t.all += n;
        t.busy += i == IDLE || i == IOWAIT ? 0 : n;
    }
    fclose(f);
    return t;
}

static void processor(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            line[strcspn(line, "\n")] = 0;
            snprintf(out, size, "%s", strchr(line, ':') + 2);
            break;
        }
    if (f)
        fclose(f);
}

void bench_machine(const char *program)
{
    char cpu[128];
    processor(cpu, sizeof(cpu));
    double gib =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1024.0 * 1024 * 1024);
#ifdef VARVE_DEBUG
    const char *build = "DEBUG BUILD, figures mean nothing";
#else
    const char *build = "optimised";
#endif
    printf("# %s: %s, %ld cores, %.1f GiB, compiler %s, %s\n", program, cpu,
           sysconf(_SC_NPROCESSORS_ONLN), gib, __VERSION__, build);
}

static void store_be64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

static void collection(uint8_t out[BENCH_KEY])
{
    static const uint8_t id[4] = {0, 0, 0, 1};
    memcpy(out, id, sizeof(id));
}

void bench_key(uint64_t n, uint8_t out[BENCH_KEY])
{
    uint64_t s = n;
    collection(out);
    store_be64(out + 4, bench_rnd(&s));
    for (int i = 0; i < 4; i++)
        out[12 + i] = (uint8_t)(n >> (8 * i));
}

void bench_key_rising(uint64_t n, uint8_t out[BENCH_KEY])
{
    collection(out);
    memset(out + 4, 0, 4);
    store_be64(out + 8, n);
}

void bench_value(uint64_t seed, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = i % 16 ? 0x2065726120656874u : bench_rnd(&seed);
        memcpy(out + i, &v, len - i < 8 ? len - i : 8);
    }
}

struct run {
    void (*fn)(void *arg, unsigned i);
    void *arg;
    unsigned i;
    pthread_barrier_t *start;
};

static void *run_thread(void *arg)
{
    struct run *r = arg;
    pthread_barrier_wait(r->start);
    r->fn(r->arg, r->i);
    return NULL;
}

uint64_t bench_threads(unsigned n, void (*fn)(void *arg, unsigned i), void *arg)
{
    struct run *runs = calloc(n, sizeof(*runs));
    pthread_t *threads = calloc(n, sizeof(*threads));
    pthread_barrier_t start;
    if (n == 0 || !runs || !threads || pthread_barrier_init(&start, NULL, n + 1) != 0)
        bench_die("no memory for %u threads", n);
    for (unsigned i = 0; i < n; i++) {
        runs[i] = (struct run){fn, arg, i, &start};
        if (pthread_create(&threads[i], NULL, run_thread, &runs[i]) != 0)
            bench_die("cannot start thread %u of %u", i + 1, n);
    }
    uint64_t t0 = bench_ns();
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    uint64_t ns = bench_ns() - t0;
    pthread_barrier_destroy(&start);
    free(threads);
    free(runs);
    return ns;
}

void bench_rate(const char *what, uint64_t ops, uint64_t ns)
{
    double s = (double)ns / 1e9, rate = s > 0 ? (double)ops / s : 0;
    printf("%-52s %10.3f M/s %9.0f ns each  (%" PRIu64 " in %.3f s)\n", what, rate / 1e6,
           ops ? (double)ns / (double)ops : 0, ops, s);
    fflush(stdout);
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), by_double);
    return v[n / 2];
}

void bench_ratio(const char *what, double ratio, double goal)
{
    printf("%-52s %10.2fx", what, ratio);
    if (goal > 0)
        printf("  (goal %.2fx: %s)", goal, ratio >= goal ? "met" : "NOT met");
    putchar('\n');
}

void bench_checksum(uint64_t sum)
{
    printf("%-52s %016" PRIx64 "\n", "checksum of what was read", sum);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

void bench_quantiles(const char *what, uint64_t *samples_ns, size_t n)
{
    if (n == 0)
        return;
    qsort(samples_ns, n, sizeof(*samples_ns), by_value);
    printf("%-52s p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n", what,
           (double)samples_ns[n / 2] / 1e3, (double)samples_ns[n - 1 - (n - 1) / 100] / 1e3,
           (double)samples_ns[n - 1 - (n - 1) / 1000] / 1e3, (double)samples_ns[n - 1] / 1e3);
}

char *bench_scratch(const char *tag)
{
    const char *base = getenv("BENCH_DIR");
    char *dir;
    if (asprintf(&dir, "%s/bench-%s-XXXXXX", base ? base : ".", tag) < 0 || !mkdtemp(dir))
        bench_die("cannot make a folder: %s", strerror(errno));
    return dir;
}

void bench_scratch_remove(char *dir)
{
    char *cmd;
    if (asprintf(&cmd, "rm -rf '%s'", dir) < 0 || system(cmd) != 0)
        bench_die("cannot remove %s", dir);
    free(cmd);
    free(dir);
}
