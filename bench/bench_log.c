/* bench_log.c - the log alone, beside the raw floor of the same disk in the same minute.
 *
 *     bench_log [folder] [seconds per row] [--fio]
 *
 * Each row appends records for a while: payload 100 B or 1 KiB, groups of 1 to 10,000 records, a
 * sync after every group (always), once a second by a thread of its own, or none; by one thread or
 * four (a mutex around the append, syncs shared). Then the floor: bare pwrite + fdatasync of the
 * same bytes per group into a file that was written before. What was written is read back and its
 * checksum compared.
 */
#include "base/env/thread.h"
#include "base/hash.h"
#include "bench/bench_util.h"
#include "storage/wal/wal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH_MAX = 10000, PAYLOAD_MAX = 1024, THREADS_MAX = 4 };
enum mode { ALWAYS, INTERVAL, OFF };
static const char *const mode_name[] = {"always", "1s", "off"};
#define ROW_BYTES_MAX ((uint64_t)1 << 30) /* a row ends there even if there is time left */

struct row {
    size_t payload, batch;
    enum mode mode;
    unsigned threads;
};

struct run {
    struct row row;
    struct wal *w;
    struct env_mutex append;
    uint64_t until_ns, next;
    uint64_t sum; /* of record checksums, order does not matter */
    atomic_bool done;
};

static const char *folder;
static uint8_t pool[PAYLOAD_MAX + 256];

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        bench_die("%s: %s", status_name(st), err->detail);
}

static struct wal_record record(uint64_t index, size_t payload)
{
    return (struct wal_record){.range = 1 + index % 16,
                               .term = 1,
                               .index = index,
                               .kind = WAL_ENTRY,
                               .payload = BYTES(pool + index % 256, payload)};
}

static uint64_t digest(const struct wal_record *r)
{
    return (uint64_t)crc32c((uint32_t)r->index, r->payload.data, r->payload.len) +
           r->index * r->range;
}

static void append_groups(void *arg, unsigned thread)
{
    struct run *run = arg;
    struct wal_record *recs = calloc(run->row.batch, sizeof *recs);
    struct err err;
    err_init(&err);
    if (!recs)
        bench_die("no memory");
    (void)thread;
    while (bench_ns() < run->until_ns) {
        env_mutex_lock(&run->append);
        bool full = run->next * (run->row.payload + 40) > ROW_BYTES_MAX;
        for (size_t i = 0; i < run->row.batch && !full; i++) {
            recs[i] = record(++run->next, run->row.payload);
            run->sum += digest(&recs[i]);
        }
        if (!full)
            must(wal_append(run->w, recs, run->row.batch, NULL, &err), &err);
        env_mutex_unlock(&run->append);
        if (full)
            break;
        if (run->row.mode == ALWAYS)
            must(wal_sync(run->w, &err), &err);
    }
    free(recs);
}

static void sync_now_and_then(void *arg)
{
    struct run *run = arg;
    struct err err;
    err_init(&err);
    for (unsigned ms = 0; !atomic_load(&run->done); ms += 10) {
        env_sleep_ms(env_linux(), 10);
        if (ms % 1000 == 990 && run->row.mode == INTERVAL)
            must(wal_sync(run->w, &err), &err);
        must(wal_maintain(run->w, &err), &err);
    }
}

static enum status add_up(void *arg, const struct wal_record *r, struct wal_pos pos,
                          struct err *err)
{
    uint64_t *sum = arg;
    (void)pos;
    (void)err;
    if (r->kind == WAL_ENTRY)
        *sum += digest(r);
    return ST_OK;
}

static void remove_log(const char *dir)
{
    struct buf names = BUF_INIT;
    char path[512];
    if (env_list(env_linux(), dir, &names, NULL) == ST_OK) {
        for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1) {
            (void)snprintf(path, sizeof path, "%s/%s", dir, (char *)names.data + at);
            (void)unlink(path);
        }
    }
    (void)rmdir(dir);
    buf_deinit(&names);
}

/* Groups into a file written before, each followed by fdatasync when `sync`: what the disk itself
 * can do. */
static double floor_rate(size_t group_bytes, bool sync, double seconds)
{
    enum { FILE_BYTES = 64 * 1024 * 1024 };
    char path[512];
    (void)snprintf(path, sizeof path, "%s/floor", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *data = calloc(1, FILE_BYTES);
    if (fd < 0 || !data || pwrite(fd, data, FILE_BYTES, 0) != FILE_BYTES || fsync(fd) != 0)
        bench_die("cannot write %s", path);
    bench_value(1, data, FILE_BYTES);
    uint64_t t0 = bench_ns(), n = 0, limit = (uint64_t)(seconds * 1e9), off = 0;
    while (bench_ns() - t0 < limit && n * group_bytes < ROW_BYTES_MAX) {
        if (off + group_bytes > FILE_BYTES)
            off = 0;
        if (pwrite(fd, data + off, group_bytes, (off_t)off) != (ssize_t)group_bytes ||
            (sync && fdatasync(fd) != 0))
            bench_die("cannot write %s", path);
        off += group_bytes;
        n++;
    }
    double rate = (double)n / ((double)(bench_ns() - t0) / 1e9);
    close(fd);
    (void)unlink(path);
    free(data);
    return rate;
}

static void run_row(struct row row, double seconds)
{
    char dir[512], what[96];
    struct err err;
    struct run run = {.row = row};
    struct env_thread side;
    (void)snprintf(dir, sizeof dir, "%s/log", folder);
    remove_log(dir);
    err_init(&err);
    env_mutex_init(&run.append);
    must(wal_open(env_linux(), dir, &(struct wal_options){.first_segment_bytes = 64 << 20}, NULL,
                  NULL, &run.w, &err),
         &err);
    must(wal_maintain(run.w, &err), &err);
    must(env_thread_start(&side, "bench-side", sync_now_and_then, &run, &err), &err);
    uint64_t t0 = bench_ns();
    run.until_ns = t0 + (uint64_t)(seconds * 1e9);
    bench_threads(row.threads, append_groups, &run);
    double took = (double)(bench_ns() - t0) / 1e9;
    atomic_store(&run.done, true);
    env_thread_join(&side);
    struct wal_stats s;
    wal_stats(run.w, &s);
    must(wal_close(run.w, &err), &err);
    uint64_t back = 0;
    must(wal_open(env_linux(), dir, &(struct wal_options){.read_only = true}, add_up, &back, &run.w,
                  &err),
         &err);
    must(wal_close(run.w, &err), &err);
    if (back != run.sum)
        bench_die("what was read back is not what was written");
    remove_log(dir);
    env_mutex_deinit(&run.append);
    size_t group_bytes = (64 + row.batch * (40 + row.payload) + 7) / 8 * 8;
    double floor = floor_rate(group_bytes, row.mode == ALWAYS, seconds / 2) * (double)row.batch;
    double rate = (double)run.next / took;
    (void)snprintf(what, sizeof what, "%zu B, groups of %zu, sync %s, %u thread%s", row.payload,
                   row.batch, mode_name[row.mode], row.threads, row.threads > 1 ? "s" : "");
    printf("%-46s %10.0f rec/s %8.1f MB/s  %6.0f syncs/s  sync %6.1f us | floor %10.0f rec/s, "
           "%.2fx  sum %08" PRIx32 "\n",
           what, rate, rate * (double)row.payload / 1e6, (double)s.syncs / took,
           s.syncs ? (double)s.sync_ns / (double)s.syncs / 1e3 : 0.0, floor, rate / floor,
           (uint32_t)back);
    fflush(stdout);
}

static void fio(void)
{
    char line[1024];
    (void)snprintf(line, sizeof line,
                   "fio --name=log-floor --directory=%s --size=64m --bs=4k --rw=write "
                   "--ioengine=psync --fdatasync=1 "
                   "--overwrite=1 --runtime=5 --time_based --minimal --output-format=normal",
                   folder);
    printf("# %s\n", line);
    fflush(stdout);
    if (system(line) != 0)
        printf("# fio did not run\n");
    (void)snprintf(line, sizeof line, "%s/log-floor.0.0", folder);
    (void)unlink(line);
}

int main(int argc, char **argv)
{
    static const size_t payloads[] = {100, 1024}, batches[] = {1, 100, 1000, BATCH_MAX};
    bool with_fio = argc > 1 && strcmp(argv[argc - 1], "--fio") == 0;
    argc -= with_fio;
    char made[] = "/tmp/bench_log.XXXXXX";
    folder = argc > 1 ? argv[1] : mkdtemp(made);
    double seconds = (double)bench_arg(argc, argv, 2, 2);
    if (!folder)
        bench_die("cannot make a folder under /tmp");
    bench_machine("bench_log");
    bench_value(7, pool, sizeof pool);
    printf("# folder on the disk measured: %s; floor: pwrite%s of the same bytes per group into a "
           "pre-written file\n",
           folder, " (+ fdatasync where sync is always)");
    for (size_t p = 0; p < 2; p++)
        for (size_t b = 0; b < 4; b++)
            for (int m = ALWAYS; m <= OFF; m++)
                for (unsigned t = 1; t <= THREADS_MAX; t += 3)
                    run_row((struct row){payloads[p], batches[b], (enum mode)m, t}, seconds);
    if (with_fio)
        fio();
    else
        printf("# the same floor by fio (or give --fio): fio --name=log-floor --directory=%s "
               "--size=64m --bs=4k "
               "--rw=write --ioengine=psync --fdatasync=1 --overwrite=1\n",
               folder);
    if (argc <= 1)
        (void)rmdir(folder);
    return 0;
}
