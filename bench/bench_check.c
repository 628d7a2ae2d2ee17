/* Judging histories: generated ones of so many operations, as a seed of the simulator makes them,
 * through all checkers, and through the search where versions would have decided. Usage: bench_check
 * [operations] [histories] [clients] [keys] */
#include "bench/bench_util.h"
#include "sim/check/check.h"
#include "unit/sim_check/gen.h"

#include <stdio.h>

static uint64_t judge(const struct history *h, const struct check_options *o,
                      enum status (*check)(const struct history *, const struct check_options *,
                                           struct check_report *))
{
    struct check_report *r = check_report_new();
    if (!r || check(h, o, r) != ST_OK || check_violations(r) || check_undecided(r))
        bench_die("a right history was not found right");
    check_report_free(r);
    return 1;
}

int main(int argc, char **argv)
{
    uint64_t ops = bench_arg(argc, argv, 1, 10000), n = bench_arg(argc, argv, 2, 20);
    uint64_t clients = bench_arg(argc, argv, 3, 16), keys = bench_arg(argc, argv, 4, 100);
    bench_machine("bench_check: histories through the checkers");
    printf("%llu histories of %llu operations, %llu clients, %llu registers\n",
           (unsigned long long)n, (unsigned long long)ops, (unsigned long long)clients,
           (unsigned long long)keys);
    struct check_options all = {.bank_total = GEN_ACCOUNTS * GEN_BALANCE}, search = all;
    search.search_always = true;
    uint64_t t_all = 0, t_linear = 0, t_search = 0, sum = 0, judged = 0, bytes = 0, t_write = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct gen_options g = {.seed = i + 1,
                                .ops = (uint32_t)ops,
                                .clients = (uint32_t)clients,
                                .keys = (uint32_t)keys,
                                .lost_percent = 1};
        struct history *h = history_new();
        struct buf text = BUF_INIT;
        if (!h)
            bench_die("no memory");
        (void)gen_history(&g, h);
        size_t got;
        (void)history_ops(h, &got);
        judged += got;
        uint64_t t0 = bench_ns();
        sum += judge(h, &all, check_all);
        uint64_t t1 = bench_ns();
        sum += judge(h, &all, check_linear);
        uint64_t t2 = bench_ns();
        sum += judge(h, &search, check_linear);
        uint64_t t3 = bench_ns();
        if (history_write_ndjson(h, &text) != ST_OK)
            bench_die("no memory");
        t_write += bench_ns() - t3;
        t_all += t1 - t0;
        t_linear += t2 - t1;
        t_search += t3 - t2;
        bytes += text.len;
        buf_deinit(&text);
        history_free(h);
    }
    bench_rate("operations through all checkers", judged, t_all);
    bench_rate("operations, linearizability by versions", judged, t_linear);
    bench_rate("operations, and by the search as well", judged, t_search);
    bench_rate("operations written as NDJSON", judged, t_write);
    bench_checksum(sum + bytes);
    return 0;
}
