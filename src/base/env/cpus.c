/* cpus.c - how many processors this process may use at once: those that it may run on, and of their time no
 * more than its control groups and those around them allow (Linux: cgroups(7); cpu.max of version 2,
 * cpu.cfs_quota_us of version 1). A container sees all processors of its machine. */
#include "base/env/thread.h"

#include "base/env/thread_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 4096, NUMBER = 64 };

/* The file's beginning, as text; false: there is none. */
static bool text_of(const char *path, char *to, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    to[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool read_in(const char *dir, const char *group, const char *file, char to[NUMBER])
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s", dir, group, file);
    return n > 0 && (size_t)n < sizeof path && text_of(path, to, NUMBER);
}

/* Both in microseconds; 0 or less: no limit. Rounded up to whole processors. */
static void take_limit(long quota, long period, unsigned *ret)
{
    if (quota <= 0 || period <= 0)
        return;
    const long cpus = quota / period + (quota % period != 0);
    if (cpus < (long)*ret)
        *ret = (unsigned)cpus;
}

static void look_at(const char *dir, const char *group, bool v2, unsigned *ret)
{
    char quota[NUMBER], period[NUMBER], *end;
    if (v2) { /* "max 100000", or "150000 100000" */
        if (read_in(dir, group, "cpu.max", quota)) {
            const long q = strtol(quota, &end, 10);
            take_limit(end == quota ? 0 : q, strtol(end, NULL, 10), ret);
        }
    } else if (read_in(dir, group, "cpu.cfs_quota_us", quota) &&
               read_in(dir, group, "cpu.cfs_period_us", period)) {
        take_limit(strtol(quota, NULL, 10), strtol(period, NULL, 10), ret);
    }
}

/* The group and all around it, up to the root that is seen from here. */
static void look_up(const char *dir, char *group, bool v2, unsigned *ret)
{
    for (;;) {
        look_at(dir, group, v2, ret);
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static bool has_cpu(const char *controllers)
{
    for (const char *p = controllers; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, "cpu", 3) == 0 && (p[3] == ',' || p[3] == '\0'))
            return true;
    }
    return false;
}

/* A line of /proc/PID/cgroup: "0::/group" of version 2, "4:cpu,cpuacct:/group" of version 1. */
static void look_at_line(char *line, const char *mount, unsigned *ret)
{
    char dir[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return;
    *controllers++ = '\0';
    *group++ = '\0';
    if (*controllers == '\0') {
        look_up(mount, group, true, ret);
    } else if (has_cpu(controllers)) {
        int n = snprintf(dir, sizeof dir, "%s/cpu",
                         mount); /* a link, where it is mounted with cpuacct */
        if (n > 0 && (size_t)n < sizeof dir)
            look_up(dir, group, false, ret);
    }
}

unsigned thread__cpu_limit(const char *groups, const char *mount)
{
    char text[TEXT], *rest = text, *line;
    unsigned ret = UINT_MAX;
    if (!text_of(groups, text, sizeof text))
        return ret;
    while ((line = strsep(&rest, "\n")) != NULL)
        look_at_line(line, mount, &ret);
    return ret;
}

unsigned env_cpu_count(void)
{
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    if (n <= 0)
        n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds */
    const unsigned limit = thread__cpu_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    const unsigned cpus = n > 0 ? (unsigned)n : 1;
    return limit < cpus ? limit : cpus;
}
