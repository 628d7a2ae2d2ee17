#include "limits_util.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

bool limits_full;
static struct timespec started;
static uint64_t folder_bytes;

void limits_begin(int argc, char **argv)
{
    limits_full = argc > 1 && strcmp(argv[1], "full") == 0;
    clock_gettime(CLOCK_MONOTONIC, &started);
}

double seconds_since_start(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - started.tv_sec) + (double)(t.tv_nsec - started.tv_nsec) / 1e9;
}

uint64_t peak_rss_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_maxrss / 1024;
}

static int add_file(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)path;
    (void)where;
    if (kind == FTW_F)
        folder_bytes += (uint64_t)info->st_blocks * 512;
    return 0;
}

uint64_t folder_mib(const char *dir)
{
    folder_bytes = 0;
    (void)nftw(dir, add_file, 16, FTW_PHYS); /* a file may go while it is counted */
    return folder_bytes >> 20;
}

void fact(struct world *w, const char *what)
{
    print_message("  %-44s %7.1f s  peak %4llu MiB  folder %5llu MiB\n", what,
                  seconds_since_start(), (unsigned long long)peak_rss_mib(),
                  (unsigned long long)folder_mib(w->folder));
    fflush(stdout);
}
