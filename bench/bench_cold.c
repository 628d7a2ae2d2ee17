/* Cold gets: 16 B + 100 B, drawn evenly, by a process that may use a quarter of the data's size in
 * memory, page cache included (a memory cgroup of its own; needs root). Both databases are loaded
 * and settled without a limit; then reading processes take turns, each opening one of them after
 * the system forgot its files, reading for a while to reach its steady state, and then for the
 * measurement. Usage: bench_cold [million keys] [rounds] [seconds] */
#include "bench/bench_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE = 100, BATCH = 1000, ROUNDS_MAX = 50, CACHE = 8 << 20, TABLE = 8 << 20 };

static struct peer *peer_of(const char *kind, const char *dir)
{
    struct peer_config c = {.sync = PEER_OFF, .cache_bytes = CACHE, .table_bytes = TABLE};
    return strcmp(kind, "varve") == 0 ? peer_varve(dir, &c) : peer_rocks(dir, &c);
}

static void load(const char *kind, const char *dir, uint64_t keys)
{
    struct peer *p = peer_of(kind, dir);
    struct session *s = peer_session(p);
    static uint8_t batch[BATCH][BENCH_KEY];
    uint8_t value[VALUE];
    for (uint64_t n = 0; n < keys; n += BATCH) {
        for (uint64_t j = 0; j < BATCH; j++)
            bench_key(n + j, batch[j]);
        bench_value(n, value, sizeof(value));
        session_batch(s, (const uint8_t(*)[BENCH_KEY])batch, BATCH, BYTES(value, sizeof(value)));
    }
    session_close(s);
    peer_settle(p);
    peer_close(p);
}

static double gets_a_second(struct session *s, uint64_t keys, double seconds, uint64_t *state,
                            uint64_t *sum)
{
    uint8_t key[BENCH_KEY];
    uint64_t t0 = bench_ns(), until = t0 + (uint64_t)(seconds * 1e9), n = 0;
    for (; bench_ns() < until; n++) {
        bench_key(bench_rnd(state) % keys, key);
        uint64_t v = session_get(s, BYTES(key, sizeof(key)));
        if (v == 0)
            bench_die("a key is not there");
        *sum = bench_mix(*sum, v);
    }
    return (double)n * 1e9 / (double)(bench_ns() - t0);
}

/* The reading process: its rate goes to standard output. */
static int read_alone(char **argv)
{
    uint64_t keys = strtoull(argv[4], NULL, 10), state = strtoull(argv[5], NULL, 10), sum = 0;
    double seconds = strtod(argv[6], NULL);
    struct peer *p = peer_of(argv[2], argv[3]);
    struct session *s = peer_session(p);
    (void)gets_a_second(s, keys, seconds, &state, &sum);
    double rate = gets_a_second(s, keys, seconds, &state, &sum);
    session_close(s);
    peer_close(p);
    printf("%.3f %lu\n", rate, (unsigned long)sum);
    return 0;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        bench_die("%s: %s (memory cgroups need root)", path, strerror(errno));
    close(fd);
}

static void forget_pages(const char *dir)
{
    char *cmd;
    if (asprintf(&cmd,
                 "sync; find '%s' -type f -exec dd of={} oflag=nocache conv=notrunc,fdatasync "
                 "count=0 status=none ';'",
                 dir) < 0 ||
        system(cmd) != 0)
        bench_die("cannot drop the page cache of %s", dir);
    free(cmd);
}

/* Runs the reading process under the limit. */
static double read_limited(const char *kind, const char *dir, uint64_t keys, uint64_t round,
                           double seconds, uint64_t limit, uint64_t *sum)
{
    bool v1 = access("/sys/fs/cgroup/memory", F_OK) == 0;
    char group[128], path[192], text[3][32];
    snprintf(group, sizeof(group), "/sys/fs/cgroup%s/varve-bench-%d", v1 ? "/memory" : "",
             (int)getpid());
    if (mkdir(group, 0700) != 0 && errno != EEXIST)
        bench_die("%s: %s (memory cgroups need root)", group, strerror(errno));
    snprintf(path, sizeof(path), "%s/%s", group, v1 ? "memory.limit_in_bytes" : "memory.max");
    snprintf(text[0], sizeof(text[0]), "%lu", (unsigned long)limit);
    write_text(path, text[0]);
    forget_pages(dir);
    int fds[2];
    if (pipe(fds) != 0)
        bench_die("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        snprintf(path, sizeof(path), "%s/cgroup.procs", group);
        write_text(path, "0");
        dup2(fds[1], STDOUT_FILENO);
        snprintf(text[0], sizeof(text[0]), "%lu", (unsigned long)keys);
        snprintf(text[1], sizeof(text[1]), "%lu", (unsigned long)round + 1);
        snprintf(text[2], sizeof(text[2]), "%.3f", seconds);
        execl("/proc/self/exe", "bench_cold", "--read", kind, dir, text[0], text[1], text[2],
              (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *out = fdopen(fds[0], "r");
    double rate = 0;
    unsigned long got = 0;
    int status, n = out ? fscanf(out, "%lf %lu", &rate, &got) : 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0 || n != 2)
        bench_die("the reading process of %s failed (status %x): is %lu MiB too little?", kind,
                  (unsigned)status, (unsigned long)(limit >> 20));
    fclose(out);
    rmdir(group);
    *sum = bench_mix(*sum, got);
    return rate;
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "--read") == 0)
        return read_alone(argv);
    uint64_t keys = bench_arg(argc, argv, 1, 4) * 1000000, rounds = bench_arg(argc, argv, 2, 5),
             seconds = bench_arg(argc, argv, 3, 4), limit = keys * 116 / 4, sum = 0;
    static const char *const kinds[] = {"varve", "rocksdb"};
    double rates[2][ROUNDS_MAX], mid[2];
    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_die("1 to %d rounds", ROUNDS_MAX);
    bench_machine("bench_cold: gets of 16 B + 100 B, drawn evenly");
    printf("%lu keys (%lu MiB), processes of at most %lu MiB, page cache included\n",
           (unsigned long)keys, (unsigned long)(keys * 116 >> 20), (unsigned long)(limit >> 20));
    fflush(stdout);
    char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks")};
    for (int i = 0; i < 2; i++)
        load(kinds[i], dirs[i], keys);
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 2; i++)
            rates[i][r] = read_limited(kinds[i], dirs[i], keys, r, (double)seconds, limit, &sum);
    for (int i = 0; i < 2; i++) {
        mid[i] = bench_median(rates[i], rounds);
        printf("%-8s median of %lu rounds in turn: %.0f gets/s, %.0f us each\n", kinds[i],
               (unsigned long)rounds, mid[i], 1e6 / mid[i]);
    }
    bench_ratio("varve / RocksDB", mid[0] / mid[1], 0.9);
    bench_checksum(sum);
    for (int i = 0; i < 2; i++)
        bench_scratch_remove(dirs[i]);
    return 0;
}
