/* varve-sim: whole clusters from one seed. See docs/simulator.md. */
#include "sim/varve_sim.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_line(void *arg, const char *line, size_t len)
{
    (void)fwrite(line, 1, len, arg);
}

static void print_result(const struct run_result *r)
{
    printf("operations %llu (%llu failed, %llu unknown), faults of %u kinds:",
           (unsigned long long)r->operations, (unsigned long long)r->failed,
           (unsigned long long)r->unknown, r->fault_kinds);
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        if (r->faults[f])
            printf(" %s %llu", plan_fault_name((enum plan_fault)f),
                   (unsigned long long)r->faults[f]);
    printf("\nleader changed %llu times, processes started %llu times, %llu events in %.1f virtual "
           "seconds, digest %016llx%s\n",
           (unsigned long long)r->leader_changes, (unsigned long long)r->starts,
           (unsigned long long)r->events, (double)r->virtual_ns / 1e9,
           (unsigned long long)r->digest,
           r->counts ? "" : " (too little happened: does not count)");
}

static bool write_history(const struct history *h, const char *path)
{
    struct buf out = BUF_INIT;
    bool ok = history_write_ndjson(h, &out) == ST_OK;
    FILE *f = ok ? fopen(path, "w") : NULL;
    ok = f && fwrite(out.data, 1, out.len, f) == out.len;
    ok = f && fclose(f) == 0 && ok;
    if (!ok)
        perror(path);
    buf_deinit(&out);
    return ok;
}

static int one_seed(const struct ask *a)
{
    struct plan plan;
    struct run_options o = {.arg = stdout, .wants_ops = a->trace_ops};
    struct run_result result;
    struct history *history;
    struct buf text = BUF_INIT;
    ask_plan(a, a->seed, &plan);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (plan_text(&plan, &text) == ST_OK && buf_cstr(&text))
        printf("%s\n", buf_cstr(&text));
    buf_deinit(&text);
    (void)fflush(stdout);
    if (a->trace)
        o.story = print_line;
    run_whole(&plan, &o, &result, &history);
    if (a->history && !write_history(history, a->history))
        return EXIT_USAGE;
    history_free(history);
    print_result(&result);
    if (!result.failure[0])
        return EXIT_FINE;
    printf("FAILED: %s\n", result.failure);
    return EXIT_FOUND;
}

int main(int argc, char **argv)
{
    struct ask a;
    /* A run takes memory and gives it back all the time: it is to stay here, for the kernel's part of
     * that was an eighth of all time. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)mallopt(M_TOP_PAD, 16 << 20);
    if (!ask_parse(argc, argv, &a)) {
        ask_usage(stderr);
        return EXIT_USAGE;
    }
    if (a.shrink)
        return hunt_shrink(&a);
    if (a.file)
        return hunt_file(&a);
    if (a.one)
        return one_seed(&a);
    return hunt(&a);
}
