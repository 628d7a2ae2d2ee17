#include "bench/bench_floor.h"

#include "base/alloc.h"
#include "bench/bench_util.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 64, WRITE = 16384, WRITES = 4096 /* then from the front */, APART_NS = 1000000 };

struct bench_spin {
    _Atomic bool stop;
    long n;
    pthread_t thread[THREADS];
};

static void *spin(void *arg)
{
    struct bench_spin *s = arg;
    const struct sched_param none = {0};
    if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) != 0)
        bench_die("no thread of SCHED_IDLE");
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed))
        continue;
    return NULL;
}

struct bench_spin *bench_spin_begin(void)
{
    struct bench_spin *s = mem_zalloc(sizeof *s);
    if (!s)
        bench_die("no memory");
    s->n = sysconf(_SC_NPROCESSORS_ONLN);
    if (s->n < 1 || s->n > THREADS)
        bench_die("%ld processors, and room for 1 to %d", s->n, THREADS);
    for (long i = 0; i < s->n; i++)
        if (pthread_create(&s->thread[i], NULL, spin, s) != 0)
            bench_die("no thread");
    return s;
}

void bench_spin_end(struct bench_spin *s)
{
    s->stop = true;
    for (long i = 0; i < s->n; i++)
        pthread_join(s->thread[i], NULL);
    mem_free(s);
}

static void write_at(int fd, uint64_t i)
{
    static uint8_t bytes[WRITE];
    memset(bytes, (int)i, sizeof bytes);
    if (pwrite(fd, bytes, sizeof bytes, (off_t)(i % WRITES * WRITE)) != WRITE)
        bench_die("the disk took no %d bytes", WRITE);
}

struct bench_syncs bench_lone_syncs(double seconds, uint64_t limit_ns)
{
    struct bench_syncs ret = {0};
    uint64_t over_ns = 0;
    char *dir = bench_scratch("syncs"), path[4096];
    (void)snprintf(path, sizeof path, "%s/file", dir);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        bench_die("%s cannot be made", path);
    for (uint64_t i = 0; i < WRITES; i++) /* the file has its length before any is timed */
        write_at(fd, i);
    if (fdatasync(fd) != 0)
        bench_die("the disk does not sync");
    const uint64_t begun = bench_ns(), end = begun + (uint64_t)(seconds * 1e9);
    uint64_t now = begun;
    while (now < end) {
        const uint64_t before = now;
        struct timespec rest = {0};
        write_at(fd, ret.n++);
        if (fdatasync(fd) != 0)
            bench_die("the disk does not sync");
        now = bench_ns();
        if (now - before > ret.longest_ns)
            ret.longest_ns = now - before;
        if (now - before > limit_ns)
            over_ns += now - before - limit_ns;
        if (now - before < APART_NS) {
            rest.tv_nsec = (long)(APART_NS - (now - before));
            nanosleep(&rest, NULL);
            now = bench_ns();
        }
    }
    ret.late = (double)over_ns / (double)(now - begun);
    (void)close(fd);
    bench_scratch_remove(dir);
    return ret;
}
