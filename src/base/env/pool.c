/* The pool: one queue, one mutex, threads that are started when a job finds none idle. */
#include "base/env/pool.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>

enum { NAME_BYTES = 16 };

struct pool {
    struct env_mutex mutex;
    struct env_cond work;
    struct list queue;
    size_t waiting, queue_max;
    unsigned threads_max, started, idle;
    bool ending;
    char name[NAME_BYTES];
    struct env_thread threads[];
};

struct pool *pool_new(const struct pool_options *options, struct err *err)
{
    unsigned threads = options->threads ? options->threads : 4;
    struct pool *p = mem_zalloc(sizeof *p + threads * sizeof p->threads[0]);
    if (!p) {
        err_set(err, ST_NO_MEMORY, "pool: no memory");
        return NULL;
    }
    env_mutex_init(&p->mutex);
    env_cond_init(&p->work);
    list_init(&p->queue);
    p->threads_max = threads;
    p->queue_max = options->queue_max ? options->queue_max : 1024;
    snprintf(p->name, sizeof p->name, "%.12s", options->name ? options->name : "pool");
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    env_mutex_lock(&p->mutex);
    p->ending = true;
    env_cond_broadcast(&p->work);
    env_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < p->started; i++)
        env_thread_join(&p->threads[i]);
    ASSERT(p->waiting == 0);
    env_cond_deinit(&p->work);
    env_mutex_deinit(&p->mutex);
    mem_free(p);
}

static void worker(void *arg)
{
    struct pool *p = arg;
    env_mutex_lock(&p->mutex);
    for (;;) {
        while (list_empty(&p->queue) && !p->ending) {
            p->idle++;
            env_cond_wait(&p->work, &p->mutex);
            p->idle--;
        }
        if (list_empty(&p->queue))
            break;
        struct pool_job *job = container_of(p->queue.next, struct pool_job, node);
        list_remove(&job->node);
        p->waiting--;
        env_mutex_unlock(&p->mutex);
        job->fn(job->arg);
        env_event_set(&job->done); /* the last touch: the job may be on a stack that goes on */
        env_mutex_lock(&p->mutex);
    }
    env_mutex_unlock(&p->mutex);
}

/* Makes sure that somebody will take a job added now. Without the thread wanted it is left to those
 * there are; with none it is an error. */
static enum status staff(struct pool *p, struct err *err)
{
    if (p->idle > p->waiting || p->started == p->threads_max)
        return ST_OK;
    char name[NAME_BYTES + 12];
    snprintf(name, sizeof name, "%s %u", p->name, p->started);
    enum status st =
        env_thread_start(&p->threads[p->started], name, worker, p, p->started ? NULL : err);
    if (!st)
        p->started++;
    return p->started ? ST_OK : st;
}

enum status pool_start(struct pool *p, struct pool_job *job, void (*fn)(void *arg), void *arg,
                       struct err *err)
{
    job->fn = fn;
    job->arg = arg;
    env_event_init(&job->done);
    env_mutex_lock(&p->mutex);
    ASSERT(!p->ending);
    enum status st = ST_OK;
    if (p->waiting >= p->queue_max)
        st = err_set(err, ST_OVERLOADED, "%s: %zu jobs wait already (queue_max)", p->name,
                     p->waiting);
    if (!st)
        st = staff(p, err);
    if (!st) {
        list_push_back(&p->queue, &job->node);
        p->waiting++;
        env_cond_signal(&p->work);
    }
    env_mutex_unlock(&p->mutex);
    return st;
}

enum status pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err)
{
    struct pool_job job;
    enum status st = pool_start(p, &job, fn, arg, err);
    if (!st)
        env_wait(&job.done, UINT64_MAX);
    return st;
}

size_t pool_waiting(struct pool *p)
{
    env_mutex_lock(&p->mutex);
    size_t n = p->waiting;
    env_mutex_unlock(&p->mutex);
    return n;
}
