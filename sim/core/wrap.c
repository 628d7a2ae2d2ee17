/* What the linker puts in place of calls that a simulated process must not make, or makes to the
 * simulator instead (the list is in CMakeLists.txt).
 *
 * The heap is the process's own (heap.h). Clock, randomness, threads and identity come from the env
 * alone: a call that passes it by would make one seed give two runs, so it aborts. A wait that would
 * block the one thread there is aborts too, for nobody would end it. */
#include "sim/core/heap.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void *__wrap_mem_alloc(size_t size);
void *__wrap_mem_zalloc(size_t size);
void *__wrap_mem_aligned(size_t align, size_t size);
void *__wrap_mem_realloc(void *ptr, size_t size);
char *__wrap_mem_strdup(const char *s);
void *__wrap_mem_memdup(const void *p, size_t len);
void __wrap_mem_free(void *ptr);
void *__wrap_mem_pages(size_t align, size_t size);
void __wrap_mem_pages_free(void *ptr, size_t size);
size_t __wrap_malloc_usable_size(void *ptr);

void *__wrap_mem_alloc(size_t size)
{
    return sim_heap_alloc(0, size);
}

void *__wrap_mem_zalloc(size_t size)
{
    void *p = sim_heap_alloc(0, size);
    return p ? memset(p, 0, size) : NULL;
}

void *__wrap_mem_aligned(size_t align, size_t size)
{
    return sim_heap_alloc(align, size);
}

void *__wrap_mem_realloc(void *ptr, size_t size)
{
    return sim_heap_realloc(ptr, size);
}

void *__wrap_mem_memdup(const void *p, size_t len)
{
    void *copy = sim_heap_alloc(0, len);
    if (copy && len)
        memcpy(copy, p, len);
    return copy;
}

char *__wrap_mem_strdup(const char *s)
{
    return __wrap_mem_memdup(s, strlen(s) + 1);
}

void __wrap_mem_free(void *ptr)
{
    sim_heap_free(ptr);
}

/* Pages come zeroed. */
void *__wrap_mem_pages(size_t align, size_t size)
{
    void *p = sim_heap_alloc(align, size);
    return p ? memset(p, 0, size) : NULL;
}

void __wrap_mem_pages_free(void *ptr, size_t size)
{
    (void)size;
    sim_heap_free(ptr);
}

size_t __wrap_malloc_usable_size(void *ptr)
{
    return sim_heap_size(ptr);
}

/* --- what would end determinism --- */

static __attribute__((noreturn)) void forbidden(const char *call)
{
    (void)fprintf(stderr, "sim: a simulated process called %s, which is the env's to do\n", call);
    abort();
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
time_t __wrap_time(time_t *t);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
pid_t __wrap_getpid(void);
int __wrap_gethostname(char *name, size_t len);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_sched_yield(void);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);
int __wrap_clock_nanosleep(clockid_t id, int flags, const struct timespec *t,
                           struct timespec *left);
long __wrap_syscall(long number, ...);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    (void)id;
    (void)ts;
    forbidden("clock_gettime");
}

time_t __wrap_time(time_t *t)
{
    (void)t;
    forbidden("time");
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    (void)buf;
    (void)len;
    (void)flags;
    forbidden("getrandom");
}

pid_t __wrap_getpid(void)
{
    forbidden("getpid");
}

int __wrap_gethostname(char *name, size_t len)
{
    (void)name;
    (void)len;
    forbidden("gethostname");
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    (void)t;
    (void)a;
    (void)fn;
    (void)arg;
    forbidden("pthread_create");
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    (void)c;
    (void)m;
    forbidden("pthread_cond_wait");
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t)
{
    (void)c;
    (void)m;
    (void)t;
    forbidden("pthread_cond_timedwait");
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    int rc = pthread_mutex_trylock(m);
    if (rc != 0)
        forbidden("pthread_mutex_lock, of a mutex that a parked fiber holds");
    return rc;
}

int __wrap_sched_yield(void)
{
    forbidden("sched_yield, waiting for another thread");
}

int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
    (void)t;
    (void)left;
    forbidden("nanosleep");
}

int __wrap_clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *left)
{
    (void)id;
    (void)flags;
    (void)t;
    (void)left;
    forbidden("clock_nanosleep");
}

/* Our own code calls it for futexes only (base/env/thread.c). Waking is no work where nobody can be
 * blocked; waiting would be for ever. */
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    uint32_t *word = va_arg(args, uint32_t *);
    (void)word;
    int op = va_arg(args, int);
    va_end(args);
    if (number != SYS_futex)
        forbidden("syscall");
    if ((op & FUTEX_CMD_MASK) != FUTEX_WAKE)
        forbidden("futex: an event is waited for outside a fiber");
    return 0;
}
