#include "node/store/store_internal.h"

#include "base/buggify.h"
#include "base/log.h"

/* A drain looks up the live row of each key that it brings. Of overwriting that is most of what it
 * costs: as long as the keys of a table lie thin among the live ones each has a block of its own to be
 * read. So then frozen tables are spilled to the disk, in key order, until together they are so dense
 * that keys share blocks. The log is kept until all of them are drained, so a crash loses nothing, and
 * nobody ever reads a spilled table of an earlier process. */

/* So few are looked up in no time. */
enum { KEYS_MIN = 4096 };

static size_t chain_length(const struct table *t)
{
    size_t n = 0;
    for (; t; t = table_below(t))
        n++;
    return n;
}

/* Whether this drain would read a block for most keys, and one of some more tables would not. What the
 * last drain found tells what this one will. */
static bool pays(struct store *s, const struct table *frozen)
{
    struct engine_drained last = s->engine->drained;
    struct engine_stats e;
    uint64_t keys = table_keys(frozen), all = 0;
    if (!s->env->ops->map || keys < KEYS_MIN || last.found * 2 <= last.keys)
        return false;
    for (const struct table *t = frozen; t; t = table_below(t))
        all += table_keys(t);
    s->engine->ops->stats(s->engine, &e);
    return all * ENGINE_DENSE < e.live_rows &&
           keys * STORE_SPILLS_MAX * ENGINE_DENSE >= e.live_rows;
}

struct spilling {
    struct store *s;
    const struct table *frozen;
    const char *path;
    struct table *ret;
    enum status st;
    struct err err;
};

static void spill_job(void *arg)
{
    struct spilling *w = arg;
    w->st = table_spill(w->frozen, w->s->env, w->path, &w->ret, &w->err);
}

static enum status install(struct store *s, struct table *spilled, struct err *err)
{
    env_mutex_lock(&s->view_change);
    struct view *now = store__view(s);
    struct view *next = view_new(now->active, spilled, now->snap);
    if (next) {
        next->base_hlc = now->base_hlc;
        next->resting = true;
        store__install_view(s, next);
    }
    view_unref(now);
    env_mutex_unlock(&s->view_change);
    return next ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for a view");
}

bool store__spill(struct store *s, struct table *frozen)
{
    bool full = chain_length(frozen) > STORE_SPILLS_MAX;
    /* Spilled already: its drain has failed, and is to be tried again. */
    if (full || table_spilled(frozen) ||
        !(s->o.spill_always || BUGGIFY("store: a frozen table is spilled") || pays(s, frozen)))
        return false;
    struct buf path = BUF_INIT;
    struct spilling w = {.s = s, .frozen = frozen};
    err_init(&w.err);
    w.st = store__path(s, STORE_SPILLED, &path, &w.err);
    w.path = buf_cstr(&path);
    if (w.st == ST_OK && s->o.engine.behind)
        env_run_behind("varve-spill", &s->hurry, spill_job, &w);
    else if (w.st == ST_OK)
        spill_job(&w);
    if (w.st == ST_OK) {
        table_put_on(w.ret, table_below(frozen));
        w.st = install(s, w.ret, &w.err);
    }
    table_unref(w.ret);
    buf_deinit(&path);
    if (w.st != ST_OK) /* it is drained as it is */
        log_at(LOG_WARN, "store", "a table cannot be spilled", LOG_FSTR("dir", s->dir),
               LOG_FSTR("status", status_name(w.st)), LOG_FSTR("detail", w.err.detail));
    return w.st == ST_OK;
}
