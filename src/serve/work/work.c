#include "serve/work/work.h"

#include "base/alloc.h"
#include "base/env/pool.h"

enum { CARE_THREADS = 2 };

struct work {
    struct pool *pools[2]; /* by work_kind */
    struct counter *jobs[2], *refused[2];
};

static enum status count(struct work *w, struct metrics *m)
{
    static const char *const kinds[] = {"kind=\"read\"", "kind=\"care\""};
    for (size_t i = 0; i < 2; i++) {
        w->jobs[i] = metrics_counter(m, "varve_work_jobs_total", kinds[i],
                                     "Jobs done on the threads for work that blocks.");
        w->refused[i] = metrics_counter(m, "varve_work_refused_total", kinds[i],
                                        "Jobs refused because the queue was full.");
        if (!w->jobs[i] || !w->refused[i])
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

enum status work_new(const struct work_options *options, struct work **ret, struct err *err)
{
    struct work_options o = options ? *options : (struct work_options){0};
    struct work *w = mem_zalloc(sizeof *w);
    if (!w)
        return err_set(err, ST_NO_MEMORY, "work: no memory");
    struct pool_options read = {.name = "read", .threads = o.threads, .queue_max = o.queue_max};
    struct pool_options care = {.name = "care",
                                .threads = o.care_threads ? o.care_threads : CARE_THREADS,
                                .queue_max = o.queue_max};
    w->pools[WORK_READ] = pool_new(&read, err);
    w->pools[WORK_CARE] = w->pools[WORK_READ] ? pool_new(&care, err) : NULL;
    enum status st = w->pools[WORK_CARE] ? ST_OK : ST_NO_MEMORY;
    if (!st && o.metrics && count(w, o.metrics) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "work: metrics cannot be registered");
    if (st)
        work_free(w);
    else
        *ret = w;
    return st;
}

void work_free(struct work *w)
{
    if (!w)
        return;
    pool_free(w->pools[WORK_READ]);
    pool_free(w->pools[WORK_CARE]);
    mem_free(w);
}

enum status work_run(struct work *w, enum work_kind kind, void (*fn)(void *arg), void *arg,
                     struct err *err)
{
    enum status st = pool_run(w->pools[kind], fn, arg, err);
    struct counter *c = st ? w->refused[kind] : w->jobs[kind];
    if (c)
        counter_add(c, 1);
    return st;
}
