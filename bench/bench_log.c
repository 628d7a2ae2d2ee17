/* bench_log.c - the log alone, beside the raw floor of the same disk in the same minute.
 *
 *     bench_log [folder] [seconds per row] [payload] [batch] [--fio]
 *
 * Each row appends records for a while: payload 100 B or 1 KiB, groups of 1 to 10,000 records, a
 * sync after every group (always), once a second by a thread of its own, or none; by one thread or
 * four (a mutex around the append, syncs shared). Then the floor: pwrite (and fdatasync, where sync
 * is always; every 64 MiB elsewhere, or it would be memory's speed and not the disk's) of the same
 * bytes per group into a file that was written before, by this program or by fio. What was written is read back and its checksum compared.
 */
#include "base/env/thread.h"
#include "base/hash.h"
#include "bench/bench_util.h"
#include "storage/wal/wal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH_MAX = 10000,
    PAYLOAD_MAX = 1024,
    THREADS_MAX = 4,
    RANGES = 16,
    KEEP_BYTES = 128 << 20
};
enum mode { ALWAYS, INTERVAL, OFF };
static const char *const mode_name[] = {"always", "1s", "off"};

struct row {
    size_t payload, batch;
    enum mode mode;
    unsigned threads;
};

struct run {
    struct row row;
    struct wal *w;
    struct env_mutex append;
    uint64_t until_ns, next, released;
    atomic_bool done;
};

static const char *folder;
static bool with_fio;
static uint8_t pool[PAYLOAD_MAX + 256];

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        bench_die("%s: %s", status_name(st), err->detail);
}

/* In its place: returned by value it would cost as much as the log takes to encode it. */
static void fill(struct wal_record *r, uint64_t index, size_t payload)
{
    r->range = 1 + index % RANGES;
    r->term = 1;
    r->index = index;
    r->kind = WAL_ENTRY;
    r->rotten = false;
    r->payload = BYTES(pool + index % 256, payload);
}

/* As the store does at a checkpoint: what is older than the last 128 MiB is in the engine, and its
 * segments are written again. */
static void release_old(struct run *run)
{
    uint64_t keep = KEEP_BYTES / (run->row.payload + 40);
    if (run->next < run->released + 2 * keep)
        return;
    run->released = run->next - keep;
    for (uint64_t range = 1; range <= RANGES; range++)
        wal_release(run->w, range, run->released);
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
        for (size_t i = 0; i < run->row.batch; i++)
            fill(&recs[i], ++run->next, run->row.payload);
        must(wal_append(run->w, recs, run->row.batch, NULL, &err), &err);
        release_old(run);
        env_mutex_unlock(&run->append);
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

/* Until segments are written a second time, as they are for all of a log's life but its first
 * minutes. */
static void warm_up(struct run *run)
{
    struct run warming = *run;
    warming.row.mode = OFF;
    warming.row.batch = 1000;
    env_mutex_init(&warming.append);
    for (int i = 0; i < 3; i++) {
        uint64_t before = warming.released;
        while (warming.released == before) {
            warming.until_ns = bench_ns() + 20000000;
            append_groups(&warming, 0);
        }
    }
    env_mutex_deinit(&warming.append);
    run->next = warming.next;
    run->released = warming.released;
}

struct reading {
    size_t payload;
    uint64_t first, last, count, sum;
};

/* Every record is the one that was written with its index, and none is missing behind the first. */
static enum status check_record(void *arg, const struct wal_record *r, struct wal_pos pos,
                                struct err *err)
{
    struct reading *in = arg;
    (void)pos;
    (void)err;
    if (r->kind != WAL_ENTRY)
        return ST_OK;
    struct wal_record want;
    fill(&want, r->index, in->payload);
    if (r->range != want.range || !bytes_eq(r->payload, want.payload) ||
        (in->last && r->index != in->last + 1))
        bench_die("record %" PRIu64 " is not what was written", r->index);
    if (!in->first)
        in->first = r->index;
    in->last = r->index;
    in->count++;
    in->sum += crc32c((uint32_t)r->index, r->payload.data, r->payload.len);
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

/* Groups into a file written before, with fdatasync after every `per_sync`: what the disk itself can
 * do. */
static double floor_rate(size_t group_bytes, uint64_t per_sync, double seconds)
{
    enum { FILE_BYTES = 64 << 20 };
    char path[512];
    (void)snprintf(path, sizeof path, "%s/floor", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *data = calloc(1, FILE_BYTES);
    if (fd < 0 || !data || pwrite(fd, data, FILE_BYTES, 0) != FILE_BYTES || fsync(fd) != 0)
        bench_die("cannot write %s", path);
    bench_value(1, data, FILE_BYTES);
    uint64_t t0 = bench_ns(), n = 0, limit = (uint64_t)(seconds * 1e9), off = 0;
    while (bench_ns() - t0 < limit) {
        if (off + group_bytes > FILE_BYTES)
            off = 0;
        if (pwrite(fd, data + off, group_bytes, (off_t)off) != (ssize_t)group_bytes ||
            ((n + 1) % per_sync == 0 && fdatasync(fd) != 0))
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

/* The same by fio. */
static double fio_rate(size_t group_bytes, uint64_t per_sync, double seconds)
{
    enum { WRITE_IOPS = 49 }; /* of the fields of the terse output, version 3 */
    char line[1024], out[4096];
    (void)snprintf(line, sizeof line,
                   "fio --name=floor --filename=%s/fio-floor --size=64m --bs=%zu --rw=write "
                   "--ioengine=psync --fdatasync=%" PRIu64
                   " --overwrite=1 --allow_file_create=1 --runtime=%.0fms "
                   "--time_based --minimal",
                   folder, group_bytes, per_sync, seconds * 1000);
    FILE *f = popen(line, "r");
    if (!f || !fgets(out, sizeof out, f) || pclose(f) != 0)
        bench_die("fio did not run: %s", line);
    char *field = out;
    for (int i = 1; i < WRITE_IOPS && field; i++)
        field = strchr(field, ';') ? strchr(field, ';') + 1 : NULL;
    double rate = field ? strtod(field, NULL) : 0;
    if (rate <= 0)
        bench_die("fio's answer has no rate: %s", out);
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
    warm_up(&run);
    must(wal_sync(run.w, &err), &err);
    struct wal_stats s0, s;
    wal_stats(run.w, &s0);
    uint64_t first = run.next, t0 = bench_ns();
    run.until_ns = t0 + (uint64_t)(seconds * 1e9);
    bench_threads(row.threads, append_groups, &run);
    double took = (double)(bench_ns() - t0) / 1e9;
    atomic_store(&run.done, true);
    env_thread_join(&side);
    wal_stats(run.w, &s);
    uint64_t syncs = s.syncs - s0.syncs, sync_ns = s.sync_ns - s0.sync_ns;
    must(wal_close(run.w, &err), &err);
    struct reading back = {.payload = row.payload};
    must(wal_open(env_linux(), dir, &(struct wal_options){.read_only = true}, check_record, &back,
                  &run.w, &err),
         &err);
    must(wal_close(run.w, &err), &err);
    if (back.last != run.next || back.first > run.released + 1)
        bench_die("the log has records %" PRIu64 " to %" PRIu64 ", not %" PRIu64 " to %" PRIu64,
                  back.first, back.last, run.released + 1, run.next);
    remove_log(dir);
    env_mutex_deinit(&run.append);
    size_t group_bytes = (64 + row.batch * (40 + row.payload) + 7) / 8 * 8;
    uint64_t per_sync = row.mode == ALWAYS ? 1 : 1 + (64u << 20) / group_bytes;
    double floor =
        (with_fio ? fio_rate : floor_rate)(group_bytes, per_sync, seconds / 2) * (double)row.batch;
    double rate = (double)(run.next - first) / took;
    (void)snprintf(what, sizeof what, "%zu B, groups of %zu, sync %s, %u thread%s", row.payload,
                   row.batch, mode_name[row.mode], row.threads, row.threads > 1 ? "s" : "");
    printf("%-46s %10.0f rec/s %8.1f MB/s  %6.0f syncs/s  sync %6.1f us | floor %10.0f rec/s, "
           "%.2fx  sum %08" PRIx32 "\n",
           what, rate, rate * (double)row.payload / 1e6, (double)syncs / took,
           syncs ? (double)sync_ns / (double)syncs / 1e3 : 0.0, floor, rate / floor,
           (uint32_t)back.sum);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const size_t payloads[] = {100, 1024}, batches[] = {1, 100, 1000, BATCH_MAX};
    with_fio = argc > 1 && strcmp(argv[argc - 1], "--fio") == 0;
    argc -= with_fio;
    char made[] = "/tmp/bench_log.XXXXXX";
    folder = argc > 1 ? argv[1] : mkdtemp(made);
    double seconds = (double)bench_arg(argc, argv, 2, 2);
    uint64_t only[] = {bench_arg(argc, argv, 3, 0), bench_arg(argc, argv, 4, 0)};
    if (!folder)
        bench_die("cannot make a folder under /tmp");
    bench_machine("bench_log");
    bench_value(7, pool, sizeof pool);
    printf("# folder on the disk measured: %s; floor: %s, the same bytes per group into a "
           "pre-written file, with fdatasync after each where sync is always, else every 64 MiB\n",
           folder, with_fio ? "fio" : "bare pwrite");
    for (size_t p = 0; p < 2; p++)
        for (size_t b = 0; b < 4; b++)
            for (int m = ALWAYS; m <= OFF && (!only[0] || only[0] == payloads[p]) &&
                                 (!only[1] || only[1] == batches[b]);
                 m++)
                for (unsigned t = 1; t <= THREADS_MAX; t += 3)
                    run_row((struct row){payloads[p], batches[b], (enum mode)m, t}, seconds);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/fio-floor", folder);
    (void)unlink(path);
    if (argc <= 1)
        (void)rmdir(folder);
    return 0;
}
