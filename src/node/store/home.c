#include "node/store/store_internal.h"

#include "base/alloc.h"
#include "base/log.h"

/* Where engines live. A store has one, in DIR/engine; when another node's whole state is installed a
 * second one is built beside it in DIR/engine.2, and the file VARVE says from then on that this is the
 * one. The next time it is the other way round. Nobody waits for readers: the engine that was replaced
 * is closed, and its files go, when the last of its snapshots has been given back. */

const char *store__folder_name(unsigned folder)
{
    static const char *const names[STORE_FOLDERS] = {"engine", "engine.2"};
    ASSERT(folder < STORE_FOLDERS);
    return names[folder];
}

static enum status path_of(struct store *s, const char *name, struct buf *ret, struct err *err)
{
    buf_clear(ret);
    if (buf_printf(ret, "%s/%s", s->dir, name) != ST_OK || !buf_cstr(ret))
        return err_set(err, ST_NO_MEMORY, "no memory for a path");
    return ST_OK;
}

enum status home_open(struct store *s, unsigned folder, struct home **ret, struct err *err)
{
    struct buf path = BUF_INIT;
    struct home *h = mem_zalloc(sizeof(*h));
    enum status st = h ? path_of(s, store__folder_name(folder), &path, err)
                       : err_set(err, ST_NO_MEMORY, "no memory for an engine");
    if (st == ST_OK)
        st = s->o.engine_open(s->env, buf_cstr(&path), &s->o.engine, &h->engine, err);
    buf_deinit(&path);
    if (st != ST_OK) {
        mem_free(h);
        return st;
    }
    h->refs = 1;
    h->s = s;
    h->folder = folder;
    *ret = h;
    return ST_OK;
}

struct home *home_ref(struct home *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

void home_unref(struct home *h)
{
    if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* Closing takes long, and this may be a reader. */
    struct store *s = h->s;
    env_mutex_lock(&s->state_lock);
    h->next = s->homeless;
    s->homeless = h;
    s->drain_poked = true;
    env_cond_broadcast(&s->state_cond);
    env_mutex_unlock(&s->state_lock);
}

struct home *store__home(struct store *s)
{
    struct view *v = store__view(s);
    struct home *h = home_ref(v->snap->home);
    view_unref(v);
    return h;
}

void store__tidy(struct store *s, bool files)
{
    env_mutex_lock(&s->state_lock);
    struct home *h = s->homeless;
    s->homeless = NULL;
    env_mutex_unlock(&s->state_lock);
    while (h) {
        struct home *next = h->next;
        struct err err;
        err_init(&err);
        h->engine->ops->close(h->engine);
        /* What stays is removed by the next opening, or before the folder is used again. */
        if (h->replaced && files && store__folder_clear(s, h->folder, &err) != ST_OK)
            log_at(LOG_WARN, "store", "the files of an engine that was replaced stay for now",
                   LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
        if (h->replaced)
            atomic_fetch_sub(&s->old_homes, 1);
        mem_free(h);
        h = next;
    }
}

enum { DEPTH_MAX = 4 };

static enum status clear(struct env *env, const char *path, int depth, struct err *err)
{
    struct buf names = BUF_INIT, child = BUF_INIT;
    enum status st = env_list(env, path, &names, err);
    for (size_t at = 0; st == ST_OK && at < names.len;) {
        const char *name = (const char *)names.data + at;
        buf_clear(&child);
        if (buf_printf(&child, "%s/%s", path, name) != ST_OK || !buf_cstr(&child)) {
            st = err_set(err, ST_NO_MEMORY, "no memory for a path");
            break;
        }
        st = env_unlink(env, buf_cstr(&child), err);
        if (st == ST_INVALID_ARGUMENT && depth < DEPTH_MAX) { /* a folder */
            st = clear(env, buf_cstr(&child), depth + 1, err);
            if (st == ST_OK)
                st = env_rmdir(env, buf_cstr(&child), err);
        }
        at += strlen(name) + 1;
    }
    if (st == ST_OK && names.len)
        st = env_sync_dir(env, path, err);
    buf_deinit(&names);
    buf_deinit(&child);
    return st;
}

enum status store__folder_clear(struct store *s, unsigned folder, struct err *err)
{
    struct buf path = BUF_INIT;
    enum status st = path_of(s, store__folder_name(folder), &path, err);
    if (st == ST_OK)
        st = clear(s->env, buf_cstr(&path), 0, err);
    if (st == ST_OK)
        st = env_rmdir(s->env, buf_cstr(&path), err);
    buf_deinit(&path);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

static void leftover(struct store *s, enum status st, const struct err *err)
{
    if (st != ST_OK && st != ST_NOT_FOUND)
        log_at(LOG_WARN, "store", "what a cut installation left behind stays for now",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err->detail));
}

/* What no VARVE speaks of. */
static void remove_files(struct store *s)
{
    static const char *const names[] = {
        STORE_INCOMING, STORE_SPILLED /* it has its name for a moment only (table_spill) */};
    struct buf path = BUF_INIT;
    for (int i = 0; i < 2; i++) {
        struct err err;
        err_init(&err);
        enum status st = path_of(s, names[i], &path, &err);
        if (st == ST_OK)
            st = env_unlink(s->env, buf_cstr(&path), &err);
        leftover(s, st, &err);
    }
    buf_deinit(&path);
}

/* Not env_exists: a folder that cannot be looked at is no absent one. */
static enum status is_there(struct store *s, const char *name, bool *ret, struct err *err)
{
    struct buf path = BUF_INIT, names = BUF_INIT;
    enum status st = path_of(s, name, &path, err);
    if (st == ST_OK) {
        st = env_list(s->env, buf_cstr(&path), &names, err);
        *ret = st == ST_OK;
    }
    buf_deinit(&names);
    buf_deinit(&path);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* What VARVE says can be read, and need not be durable: the sync of whoever wrote it may have failed,
 * or never been called, and be why it ended; and a sync now does not help a name that an earlier one
 * failed for. So it is written again, before what only another VARVE names is removed, and before
 * there is anything that would be lost with it. It was written again before if there is a log and no
 * second engine: the one is made, and the other removed, behind this only. */
enum status store__folder_settle(struct store *s, bool fresh, struct err *err)
{
    bool other = false, log = false;
    remove_files(s);
    enum status st = is_there(s, store__folder_name(1 - s->folder), &other, err);
    if (st == ST_OK)
        st = is_there(s, "log", &log, err);
    if (st == ST_OK && !fresh && (other || !log))
        st = store__format_write(s, err);
    if (st == ST_OK && other) {
        struct err own;
        err_init(&own);
        leftover(s, store__folder_clear(s, 1 - s->folder, &own), &own);
    }
    return st;
}
