/* Opening: an empty database (time and memory), and one that was killed with a log that the engine
 * has not seen, beside the time to read that log plus applying as much at batch speed. Usage:
 *     bench_open [MiB of log] */
#include "bench/bench_peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 1000, VALUE = 100 };

static void must(varve_status st, const char *what)
{
    if (st != VARVE_OK)
        bench_die("%s: %s: %s", what, varve_status_name(st), varve_last_error());
}

static double rss_mib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long size, resident;
    if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
        bench_die("cannot read /proc/self/statm");
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

static uint64_t write_batches(const char *dir, uint64_t bytes, bool kill_it, uint64_t *ret_rows)
{
    varve_options o = {.size = sizeof(o),
                       .sync = VARVE_SYNC_OFF,
                       .checkpoint_interval_ms = UINT32_MAX,
                       .log_bytes = UINT64_C(8) << 30,
                       .table_bytes = kill_it ? (size_t)8 << 30 : 0};
    varve *db;
    must(varve_open(dir, &o, &db), "open");
    varve_batch *b = varve_batch_new();
    uint8_t key[BENCH_KEY], value[VALUE];
    uint64_t t0 = bench_ns(), rows = 0;
    for (uint64_t done = 0; done < bytes; done += varve_batch_bytes(b)) {
        varve_batch_clear(b);
        for (int i = 0; i < BATCH; i++) {
            bench_key(rows++, key);
            bench_value(rows, value, sizeof(value));
            must(varve_batch_put(b, "bench", key, sizeof(key), VARVE_RAW, value, sizeof(value), 0),
                 "batch");
        }
        must(varve_commit(db, b, NULL, NULL, NULL), "commit");
    }
    uint64_t ns = bench_ns() - t0;
    if (kill_it) {
        must(varve_sync_now(db), "sync");
        printf("%lu rows in the log\n", (unsigned long)rows);
        fflush(stdout);
        _exit(0); /* no close: what is in memory goes */
    }
    varve_batch_free(b);
    must(varve_close(db), "close");
    *ret_rows = rows;
    return ns;
}

/* Reads the log's files as they lie there. */
static uint64_t read_log(const char *dir)
{
    char *cmd;
    uint64_t t0 = bench_ns();
    if (asprintf(&cmd, "cat '%s'/log/* > /dev/null", dir) < 0 || system(cmd) != 0)
        bench_die("cannot read the log");
    free(cmd);
    return bench_ns() - t0;
}

int main(int argc, char **argv)
{
    uint64_t rows;
    if (argc == 4 && strcmp(argv[1], "--write") == 0) {
        (void)write_batches(argv[2], bench_arg(argc, argv, 3, 0) << 20, true, &rows);
        return 1; /* not reached */
    }
    uint64_t mib = bench_arg(argc, argv, 1, 1024);
    bench_machine("bench_open: an empty database, and one with a log to replay");
    char *dir = bench_scratch("empty");
    double before = rss_mib();
    uint64_t t0 = bench_ns();
    varve *db;
    must(varve_open(dir, NULL, &db), "open");
    double made_ms = (double)(bench_ns() - t0) / 1e6, rss = rss_mib();
    must(varve_close(db), "close");
    t0 = bench_ns();
    must(varve_open(dir, NULL, &db), "open");
    double again_ms = (double)(bench_ns() - t0) / 1e6;
    must(varve_close(db), "close");
    printf("empty: made in %.1f ms, opened again in %.1f ms (goal 30 ms); %.1f MiB resident, %.1f "
           "before it (goal 24 MiB)\n",
           made_ms, again_ms, rss, before);
    bench_scratch_remove(dir);

    dir = bench_scratch("killed");
    char *other = bench_scratch("batch");
    fflush(stdout);
    /* A program of its own: the engine's threads do not outlive a fork. */
    pid_t child = fork();
    int status;
    if (child == 0) {
        char text[32];
        snprintf(text, sizeof(text), "%lu", (unsigned long)mib);
        execl("/proc/self/exe", argv[0], "--write", dir, text, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        bench_die("the writer failed");
    uint64_t batch_ns = write_batches(other, mib << 20, false, &rows);
    uint64_t read_ns = read_log(dir);
    t0 = bench_ns();
    must(varve_open(dir, NULL, &db), "reopen");
    uint64_t open_ns = bench_ns() - t0;
    bench_rate("batch speed", rows, batch_ns);
    bench_rate("replay", rows, open_ns);
    printf("reopen %.2f s; reading the log %.2f s + applying at batch speed %.2f s\n",
           (double)open_ns / 1e9, (double)read_ns / 1e9, (double)batch_ns / 1e9);
    bench_ratio("reopen / (read + apply), goal at most 1.5",
                (double)open_ns / (double)(read_ns + batch_ns), 0);
    varve_value *v = varve_value_new();
    uint8_t key[BENCH_KEY];
    bench_key(rows - 1, key);
    must(varve_get(db, "bench", key, sizeof(key), NULL, v), "the last row");
    bench_checksum(varve_value_bytes(v).len + rows);
    varve_value_free(v);
    must(varve_close(db), "close");
    bench_scratch_remove(dir);
    bench_scratch_remove(other);
    return 0;
}
