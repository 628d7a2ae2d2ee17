/* behind.c - work that gives way to others.
 *
 * Linux runs threads of SCHED_IDLE when a processor has nothing else, takes it from them as soon as it
 * has, and places those that wake as if it were free: so they cost the others nearly nothing. But where
 * the processors are never free they hardly get on. So they are raised for good as soon as somebody is in
 * a hurry for what they do. Without the privilege of raising a thread (CAP_SYS_NICE, or RLIMIT_NICE) that
 * is impossible, and they are merely nice from the beginning. */
#include "base/env/thread.h"

#include "base/env/thread_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ASK_NS = 100 * 1000 * 1000, /* whether there is a hurry */
    SLICE_NS = 100 * 1000,
    NICE = 10,       /* a tenth, beside one other */
    NICE_RANGE = 20, /* RLIMIT_NICE that allows nice 0 */
};

/* As sched_setattr(2) has it; the C library does not. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static bool may_raise(void)
{
    struct rlimit limit;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= NICE_RANGE)
        return true;
    return syscall(SYS_capget, &head, data) == 0 &&
           data[CAP_TO_INDEX(CAP_SYS_NICE)].effective & CAP_TO_MASK(CAP_SYS_NICE);
}

/* Short slices, or it would keep for some milliseconds the processor that another wakes up on (Linux
 * before 6.12 does not know them and takes the rest). Refused, the work is done as any other. */
static void be_nice(void)
{
    struct attributes a = {
        .size = sizeof a, .policy = SCHED_BATCH, .nice = NICE, .runtime = SLICE_NS};
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

/* ---- the family of a piece of work: its thread and those that it starts ---- */

enum { MEMBERS_MAX = 8 };

struct thread_family {
    _Atomic unsigned n;
    _Atomic pid_t tids[MEMBERS_MAX];
};

static _Thread_local struct thread_family *t_family;
static _Thread_local unsigned t_member;

struct thread_family *thread__family(void)
{
    return t_family;
}

/* Those beyond MEMBERS_MAX are never raised: work behind starts no more than a few. */
void thread__join_family(struct thread_family *f)
{
    unsigned i = f ? atomic_fetch_add(&f->n, 1) : MEMBERS_MAX;
    t_family = f;
    t_member = i;
    if (i < MEMBERS_MAX)
        atomic_store(&f->tids[i], (pid_t)syscall(SYS_gettid));
}

/* Its number may be another thread's soon, of whatever process. */
void thread__leave_family(void)
{
    if (t_family && t_member < MEMBERS_MAX)
        atomic_store(&t_family->tids[t_member], 0);
    t_family = NULL;
}

static void raise_all(struct thread_family *f)
{
    const struct sched_param usual = {0};
    for (unsigned i = 0; i < MEMBERS_MAX; i++) {
        pid_t tid = atomic_load(&f->tids[i]);
        if (tid)
            (void)sched_setscheduler(tid, SCHED_OTHER, &usual);
    }
}

/* ---- running it ---- */

struct aside {
    void (*fn)(void *arg);
    void *arg;
    bool behind;
    const _Atomic bool *hurry;
    struct thread_family family;
    struct env_event done;
};

static bool hurries(const _Atomic bool *hurry)
{
    return hurry && atomic_load_explicit(hurry, memory_order_relaxed);
}

static void come_after_others(void)
{
    const struct sched_param none = {0};
    if (!may_raise() || sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        be_nice();
}

static void aside_main(void *arg)
{
    struct aside *a = arg;
    if (a->behind) {
        thread__join_family(&a->family);
        if (!hurries(a->hurry))
            come_after_others();
    }
    a->fn(a->arg);
    env_event_set(&a->done);
}

/* A hurry lasts to the end of the work, and what it raised is raised again and again: a thread may have
 * looked before the hurry came and step behind the others only now, or begin as the child of one that
 * had not been raised yet. */
static void wait_for(struct aside *a)
{
    bool may_come = a->behind && a->hurry, came = false;
    while (!env_wait(&a->done, may_come ? ASK_NS : UINT64_MAX)) {
        came = came || hurries(a->hurry);
        if (came)
            raise_all(&a->family);
    }
}

static void run(struct aside *a, const char *name)
{
    struct env_thread t;
    env_event_init(&a->done);
    if (env_thread_start(&t, name, aside_main, a, NULL) != ST_OK) {
        a->fn(a->arg);
        return;
    }
    wait_for(a);
    env_thread_join(&t);
}

void env_run_aside(const char *name, void (*fn)(void *arg), void *arg)
{
    struct aside a = {.fn = fn, .arg = arg};
    run(&a, name);
}

void env_run_behind(const char *name, const _Atomic bool *hurry, void (*fn)(void *arg), void *arg)
{
    struct aside a = {.fn = fn, .arg = arg, .behind = true, .hurry = hurry};
    run(&a, name);
}

/* ---- a library's own threads ---- */

static void set_policy(const char *id, const char *prefix, int policy)
{
    const struct sched_param usual = {0};
    char path[300], name[32];
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, name, sizeof name - 1) : -1;
    if (fd >= 0)
        close(fd);
    name[len > 0 ? len : 0] = '\0';
    if (strncmp(name, prefix, strlen(prefix)) == 0)
        (void)sched_setscheduler((pid_t)strtol(id, NULL, 10), policy, &usual);
}

void env_raise_named(const char *prefix, bool raise)
{
    DIR *d = may_raise() ? opendir("/proc/self/task") : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            set_policy(e->d_name, prefix, raise ? SCHED_OTHER : SCHED_IDLE);
    if (d)
        closedir(d);
}
