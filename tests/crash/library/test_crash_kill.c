/* A real process, killed with SIGKILL again and again. It writes with several threads; what it
 * acknowledged is known here, through a pipe. After each kill the folder is opened (no lock may be
 * left), held against that, written to, and opened again.
 *
 *     test_crash_kill [KILLS]
 *
 * VARVE_SEED=S begins with that seed; VARVE_KEEP=1 leaves the folder of a failure. */
#include "crash/library/crash_journal.h"
#include "crash/library/crash_process.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 3, KILLS_A_FOLDER = 9, SECONDS = 120, LONGEST_MS = 3000 };

/* When to kill: while it opens, after so many lines, at the begin of a checkpoint, vacuum or
 * compaction, when it closes. */
enum moment { AT_OPEN, AT_LINE, AT_CARE, AT_CLOSE, MOMENTS };

struct victim {
    uint64_t seed;
    enum moment moment;
    uint64_t lines;    /* to wait for at AT_LINE */
    uint64_t delay_us; /* then */
    int pipe;
    FILE *journal;
    char part[256]; /* of a line */
    size_t part_len;
    bool due;
    uint64_t seen, acknowledged;
};

static unsigned long kills = 25;
static uint64_t counts[MOMENTS];

static void take_line(struct victim *v, const char *line)
{
    unsigned stream;
    uint64_t number;
    v->seen++;
    v->acknowledged += line[0] == 'a';
    fprintf(v->journal, "%s\n", line);
    if (v->moment == AT_LINE && v->seen >= v->lines)
        v->due = true;
    if (v->moment == AT_CLOSE && line[0] == 'c')
        v->due = true;
    if (v->moment == AT_CARE && sscanf(line, "b %u %" SCNu64, &stream, &number) == 2) {
        struct step s;
        step_make(v->seed, stream, number, &s);
        v->due =
            v->due || s.kind == STEP_CHECKPOINT || s.kind == STEP_VACUUM || s.kind == STEP_COMPACT;
    }
}

/* What is in the pipe; false: its end. */
static bool take(struct victim *v)
{
    char bytes[4096];
    ssize_t n = read(v->pipe, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < n; i++) {
        assert_true(v->part_len < sizeof(v->part) - 1);
        if (bytes[i] != '\n') {
            v->part[v->part_len++] = bytes[i];
            continue;
        }
        v->part[v->part_len] = '\0';
        v->part_len = 0;
        take_line(v, v->part);
    }
    return n > 0;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void run_and_kill(struct victim *v, const char *dir, const char *journal)
{
    char seed[24], streams[8];
    int status;
    snprintf(seed, sizeof(seed), "%" PRIu64, v->seed);
    snprintf(streams, sizeof(streams), "%d", STREAMS);
    char *argv[] = {(char[]){CRASH_WORKLOAD},
                    (char *)(uintptr_t)dir,
                    seed,
                    streams,
                    (char[]){"0"},
                    (char *)(uintptr_t)journal,
                    NULL};
    pid_t pid = process_start(argv, NULL, NULL, &v->pipe);
    assert_true(pid > 0);
    v->journal = fopen(journal, "a");
    assert_non_null(v->journal);
    uint64_t until = now_ms() + LONGEST_MS;
    v->due = v->moment == AT_OPEN;
    while (!v->due && now_ms() < until) {
        struct pollfd p = {.fd = v->pipe, .events = POLLIN};
        if (poll(&p, 1, 50) > 0 && !take(v))
            break;
    }
    usleep((useconds_t)v->delay_us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (take(v))
        ;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* It must not have ended by itself: that would be an error of the workload. */
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("seed %" PRIu64 ": the workload ended by itself with %x", v->seed,
                 (unsigned)status);
    assert_int_equal(fclose(v->journal), 0);
    close(v->pipe);
}

static void choose(struct victim *v, struct test_rng *r, uint64_t seed)
{
    *v = (struct victim){.seed = seed, .moment = (enum moment)test_rng_below(r, MOMENTS)};
    v->lines = test_rng_between(r, 1, 500);
    v->delay_us = test_rng_below(r, v->moment == AT_OPEN ? 40000 : 4000);
    counts[v->moment]++;
}

static bool check(const char *dir, const char *journal, uint64_t seed)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, seed);
    char *argv[] = {(char[]){CRASH_CHECK},
                    (char *)(uintptr_t)dir,
                    (char *)(uintptr_t)journal,
                    text,
                    (char[]){"kill"},
                    (char[]){"4"},
                    NULL};
    int rc = process_run(argv, NULL, NULL, SECONDS);
    if (rc)
        fprintf(stderr, "FAILED (%d): VARVE_SEED=%" PRIu64 "\n", rc, seed);
    return rc == 0;
}

/* Several kills of one folder; answers how many. */
static unsigned long run_folder(uint64_t seed, unsigned long at_most, bool *ret_ok)
{
    char folder[TEMP_DIR_MAX], dir[PATH_MAX], journal[PATH_MAX];
    struct test_rng r;
    unsigned long n = 0;
    uint64_t acknowledged = 0;
    test_rng_init(&r, seed);
    /* Every other folder on a disk, where syncs take their time. */
    assert_true(seed % 2 ? process_folder(folder, "kill") : temp_dir_make(folder, "kill"));
    snprintf(dir, sizeof(dir), "%s/db", folder);
    snprintf(journal, sizeof(journal), "%s/journal", folder);
    FILE *f = fopen(journal, "w");
    assert_non_null(f);
    fclose(f);
    *ret_ok = true;
    for (; *ret_ok && n < at_most && n < KILLS_A_FOLDER; n++) {
        struct victim v;
        choose(&v, &r, seed);
        run_and_kill(&v, dir, journal);
        acknowledged += v.acknowledged;
        *ret_ok = check(dir, journal, seed);
    }
    printf("seed %" PRIu64 ": %lu kills, %" PRIu64 " steps acknowledged\n", seed, n, acknowledged);
    if (*ret_ok || !getenv("VARVE_KEEP"))
        assert_true(temp_dir_remove(folder));
    return n;
}

static void test_nothing_acknowledged_is_lost_by_kills(void **state)
{
    (void)state;
    const char *first = getenv("VARVE_SEED");
    uint64_t seed = first ? strtoull(first, NULL, 0) : 1;
    unsigned long failed = 0;
    for (unsigned long done = 0; done < kills; seed++) {
        bool ok;
        done += run_folder(seed, kills - done, &ok);
        failed += ok ? 0 : 1;
    }
    printf("killed at opens %" PRIu64 ", at lines %" PRIu64 ", at checkpoints and such %" PRIu64
           ", at closes %" PRIu64 "\n",
           counts[AT_OPEN], counts[AT_LINE], counts[AT_CARE], counts[AT_CLOSE]);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_acknowledged_is_lost_by_kills),
    };
    if (argc > 1)
        kills = strtoul(argv[1], NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
