/* Many seeds, each in a process of its own: what one breaks, another does not see. */
#include "sim/varve_sim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, SEED_CPU_S = 120 };

/* The real clock, past the wrapping that keeps simulated processes from it. */
int __real_clock_gettime(clockid_t id, struct timespec *ts);

#ifdef VARVE_COVERAGE /* lines are counted (tools/sim-coverage): _exit does not write that down */
void __gcov_dump(void);
#else
static void __gcov_dump(void)
{
}
#endif

static double now_s(void)
{
    struct timespec ts;
    (void)__real_clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct job {
    pid_t pid;
    int from;
    uint64_t seed;
};

/* --- one seed --- */

static void child(const struct ask *a, uint64_t seed, int to)
{
    struct rlimit cpu = {SEED_CPU_S, SEED_CPU_S + 5};
    struct plan plan;
    struct run_result result, again;
    (void)setrlimit(RLIMIT_CPU, &cpu);
    ask_plan(a, seed, &plan);
    run_whole(&plan, NULL, &result, NULL);
    if (a->twice && !result.failure[0]) {
        run_whole(&plan, NULL, &again, NULL);
        if (again.digest != result.digest)
            (void)snprintf(result.failure, sizeof result.failure,
                           "two runs of one seed differ: digests %016llx and %016llx",
                           (unsigned long long)result.digest, (unsigned long long)again.digest);
    }
    const char *p = (const char *)&result;
    for (size_t at = 0; at < sizeof result;) {
        ssize_t n = write(to, p + at, sizeof result - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(3);
        at += (size_t)n;
    }
    __gcov_dump();
    _exit(0);
}

static bool start(const struct ask *a, uint64_t seed, struct job *j)
{
    int ends[2];
    (void)fflush(stdout);
    if (pipe(ends) != 0)
        return false;
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        close(ends[0]);
        child(a, seed, ends[1]);
    }
    close(ends[1]);
    *j = (struct job){pid, ends[0], seed};
    return true;
}

/* Reads the result and waits for the process. */
static bool collect(struct job *j, struct trial *ret)
{
    struct rusage usage = {0};
    int status = 0;
    size_t at = 0;
    *ret = (struct trial){0};
    while (at < sizeof ret->result) {
        ssize_t n = read(j->from, (char *)&ret->result + at, sizeof ret->result - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    close(j->from);
    while (wait4(j->pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    ret->cpu_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
                 (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    if (at < sizeof ret->result || status != 0) {
        ret->result.failure[0] = 0;
        if (WIFSIGNALED(status))
            (void)snprintf(ret->result.failure, sizeof ret->result.failure,
                           "the process died: %s%s", strsignal(WTERMSIG(status)),
                           WTERMSIG(status) == SIGXCPU ? " (it has no end)" : "");
        else
            (void)snprintf(ret->result.failure, sizeof ret->result.failure,
                           "the process ended with status %d", WEXITSTATUS(status));
    }
    return !ret->result.failure[0];
}

bool hunt_try(const struct ask *a, uint64_t seed, struct trial *ret)
{
    struct job j;
    if (!start(a, seed, &j)) {
        perror("varve-sim");
        exit(EXIT_USAGE);
    }
    return collect(&j, ret);
}

/* --- many --- */

struct tally {
    uint64_t ran, counted, failed, operations, undecided;
    uint64_t faults[FAULT_KINDS], points[POINTS_MAX];
    double cpu_s, virtual_s, began_s;
    uint64_t alone, operations_alone; /* seeds without nodes: of Raft alone */
    uint64_t operations5;             /* of clusters of five, and their time */
    double cpu5_s;
};

static void add(struct tally *t, const struct ask *a, uint64_t seed, const struct trial *r)
{
    struct plan plan;
    ask_plan(a, seed, &plan);
    t->ran++;
    t->counted += r->result.counts;
    t->undecided += r->result.undecided;
    if (plan.alone) {
        t->alone++;
        t->operations_alone += r->result.operations;
    } else {
        t->operations += r->result.operations;
        t->cpu_s += r->cpu_s;
    }
    t->virtual_s += (double)r->result.virtual_ns / 1e9;
    if (plan.nodes == 5 && !plan.alone) {
        t->operations5 += r->result.operations;
        t->cpu5_s += r->cpu_s;
    }
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        t->faults[f] += r->result.faults[f];
    for (size_t i = 0; i < points_count(); i++)
        t->points[i] += r->result.points[i];
    if (!r->result.failure[0])
        return;
    t->failed++;
    printf("FAILED: seed %llu: %s\n  again: ", (unsigned long long)seed, r->result.failure);
    ask_print(a, seed);
}

static void report_points(const struct tally *t)
{
    size_t reached = 0;
    for (size_t i = 0; i < points_count(); i++)
        reached += t->points[i] > 0;
    printf("%zu of %zu rare paths were reached", reached, points_count());
    const char *before = "; never: ";
    for (size_t i = 0; i < points_count(); i++)
        if (t->points[i] == 0) {
            printf("%s%s", before, points_name(i));
            before = ", ";
        }
    printf("\n");
}

static void report(const struct tally *t)
{
    double wall = now_s() - t->began_s;
    printf(
        "%llu seeds ran, %llu count, %llu failed; %llu operations checked (%llu keys undecided)\n",
        (unsigned long long)t->ran, (unsigned long long)t->counted, (unsigned long long)t->failed,
        (unsigned long long)t->operations, (unsigned long long)t->undecided);
    printf("%.0f operations a CPU second (%.0f with five nodes); %.2f virtual hours a minute, %.1f "
           "s\n",
           (double)t->operations / (t->cpu_s > 0 ? t->cpu_s : 1),
           (double)t->operations5 / (t->cpu5_s > 0 ? t->cpu5_s : 1),
           t->virtual_s / 3600 / (wall / 60), wall);
    if (t->alone)
        printf("%llu of the seeds were of Raft alone: %llu operations more\n",
               (unsigned long long)t->alone, (unsigned long long)t->operations_alone);
    printf("faults:");
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        printf(" %s %llu", plan_fault_name((enum plan_fault)f), (unsigned long long)t->faults[f]);
    printf("\n");
    report_points(t);
}

/* Which job has a result, or has died: a long seed must not keep the others from a next one. */
static unsigned ready(const struct job *jobs, unsigned n)
{
    struct pollfd ends[JOBS_MAX];
    for (unsigned i = 0; i < n; i++)
        ends[i] = (struct pollfd){.fd = jobs[i].from, .events = POLLIN};
    while (poll(ends, n, -1) < 0 && errno == EINTR)
        ;
    for (unsigned i = 0; i < n; i++)
        if (ends[i].revents)
            return i;
    return 0; /* poll failed: waiting for the oldest is slower, not wrong */
}

int hunt(const struct ask *a)
{
    struct job jobs[JOBS_MAX];
    struct tally t = {.began_s = now_s()};
    unsigned n = 0;
    uint64_t seed = a->from, last = a->seeds ? a->from + a->seeds : UINT64_MAX;
    double until = a->minutes ? t.began_s + (double)a->minutes * 60 : 1e18;
    for (;;) {
        while (n < a->jobs && n < JOBS_MAX && seed < last && now_s() < until) {
            if (!start(a, seed++, &jobs[n])) {
                perror("varve-sim");
                return EXIT_USAGE;
            }
            n++;
        }
        if (n == 0)
            break;
        struct trial r;
        unsigned i = ready(jobs, n);
        struct job done = jobs[i];
        jobs[i] = jobs[--n];
        (void)collect(&done, &r);
        add(&t, a, done.seed, &r);
        if (t.ran % 1000 == 0)
            report(&t);
    }
    report(&t);
    return t.failed ? EXIT_FOUND : EXIT_FINE;
}

/* --- less that still fails --- */

static bool fails(const struct ask *a, struct trial *r)
{
    return !hunt_try(a, a->seed, r);
}

int hunt_shrink(const struct ask *given)
{
    struct ask best = *given;
    struct trial r;
    if (!fails(&best, &r)) {
        printf("seed %llu does not fail\n", (unsigned long long)best.seed);
        return EXIT_FINE;
    }
    struct plan plan;
    ask_plan(&best, best.seed, &plan);
    for (unsigned f = 0; f < FAULT_KINDS; f++) {
        struct ask less = best;
        less.without |= 1u << f;
        if (plan.every_ms[f] && fails(&less, &r))
            best = less;
    }
    struct ask fewer = best;
    fewer.watchers = 0;
    if (plan.watchers && fails(&fewer, &r))
        best = fewer;
    for (unsigned clients = plan.clients / 2; clients > 0; clients /= 2) {
        struct ask less = best;
        less.clients = clients;
        if (!fails(&less, &r))
            break;
        best = less;
    }
    for (uint64_t ms = plan.busy_ms / 2; ms > 200; ms = ms * 3 / 4) {
        struct ask less = best;
        less.ticks_ms = ms;
        if (!fails(&less, &r))
            break;
        best = less;
    }
    (void)fails(&best, &r);
    printf("%s\n", r.result.failure);
    ask_print(&best, best.seed);
    return EXIT_FOUND;
}

/* --- a corpus --- */

/* Lines as varve-sim's own arguments, behind the bug's name and a colon; '#' begins a comment. */
int hunt_file(const struct ask *given)
{
    FILE *f = fopen(given->file, "r");
    char line[1000];
    int failed = 0, ran = 0;
    if (!f) {
        perror(given->file);
        return EXIT_USAGE;
    }
    while (fgets(line, sizeof line, f)) {
        char *args[64] = {NULL}, *colon = strchr(line, ':');
        int n = 1;
        line[strcspn(line, "#\n")] = 0;
        if (!colon || !*line)
            continue;
        *colon = 0;
        for (char *word = strtok(colon + 1, " "); word && n < 63; word = strtok(NULL, " "))
            args[n++] = word;
        struct ask a;
        struct trial r;
        if (!ask_parse(n, args, &a) || !a.one) {
            (void)fprintf(stderr, "%s: %s: wrong arguments\n", given->file, line);
            (void)fclose(f);
            return EXIT_USAGE;
        }
        ran++;
        if (hunt_try(&a, a.seed, &r))
            continue;
        failed++;
        printf("FAILED: %s: %s\n  again: ", line, r.result.failure);
        ask_print(&a, a.seed);
    }
    (void)fclose(f);
    printf("%d seeds of %s ran, %d failed\n", ran, given->file, failed);
    return failed ? EXIT_FOUND : EXIT_FINE;
}
