#include "base/alloc.h"
#include "base/log.h"
#include "node/store/state_receive.h"
#include <inttypes.h>

/* Changing over. All memory is taken first; then the file VARVE is written, which is the moment: a
 * crash before it leaves the old state, one behind it the new. What follows in memory cannot fail.
 *
 * Its order: the catalog (a collection's horizon rises before a view is there that lacks what was
 * vacuumed), then the view with the new engine and an empty table, then the version, then those who
 * wait are woken. Reads of the present that find the new view are of its moment at least, so nobody
 * sees a mix. The cache is emptied before the view and after it, and takes nothing in between: a
 * reader of the old view may want to fill it until the end. */

struct change {
    struct store *s;
    struct store_incoming *in;
    struct table *table;
    struct snap *snap;
    struct view *view;
    struct state_catalog catalog;
};

static enum status may_install(const struct store *s, const struct store_incoming *in,
                               struct err *err)
{
    if (!in->built || !in->home)
        return err_set(err, ST_INVALID_ARGUMENT, "no state was built");
    if (atomic_load(&s->poisoned))
        return err_set(err, ST_POISONED, "%s refuses to change since a sync failed", s->dir);
    if (in->mark.index <= s->range.applied || version_cmp(in->mark.version, s->range.newest) < 0)
        return err_set(err, ST_PRECONDITION_FAILED,
                       "%s has applied entry %" PRIu64 ", the state reaches %" PRIu64, s->dir,
                       s->range.applied, in->mark.index);
    return ST_OK;
}

static enum status prepare(struct change *c, struct err *err)
{
    struct home *h = c->in->home;
    enum status st = snap_new(h, &c->snap, err);
    if (st == ST_OK &&
        (!(c->table = table_new_on(c->s->pages)) || !(c->view = view_new(c->table, NULL, c->snap))))
        st = err_set(err, ST_NO_MEMORY, "no memory for a view");
    if (st == ST_OK)
        st = state__catalog_read(c->s, h->engine, c->snap->snapshot, &c->catalog, err);
    if (c->view)
        c->view->base_hlc = c->in->mark.version.hlc;
    return st;
}

static void cleanup(struct change *c)
{
    view_unref(c->view);
    snap_unref(c->snap);
    table_unref(c->table);
    state__catalog_deinit(c->s, &c->catalog);
}

struct place {
    unsigned folder;
    struct wal_pos void_before;
};

static struct place get_place(const struct store *s)
{
    return (struct place){s->folder, s->void_before};
}

static void set_place(struct store *s, struct place p)
{
    s->folder = p.folder;
    s->void_before = p.void_before;
}

/* Is that what the file says now? */
static bool file_says(struct store *s, struct place p)
{
    bool fresh = false;
    struct err ignored;
    set_place(s, (struct place){0});
    enum status st = store__format_check(s, &fresh, &ignored);
    return st == ST_OK && !fresh && s->folder == p.folder &&
           wal_pos_cmp(s->void_before, p.void_before) == 0;
}

/* The moment. When the new content got there but may not stay, the old one is written once more; and
 * if that cannot be done either, only the next opening can tell. */
static enum status write_place(struct store *s, struct place p, struct err *err)
{
    struct place old = get_place(s);
    struct err later;
    set_place(s, p);
    enum status st = store__format_write(s, err);
    if (st == ST_OK)
        return ST_OK;
    bool untouched = file_says(s, old);
    set_place(s, old);
    if (untouched || store__format_write(s, &later) == ST_OK)
        return st;
    store__poison(s, ST_POISONED);
    if (err)
        err->status = ST_POISONED;
    return ST_POISONED;
}

/* What is in the log becomes void, unless it is to be kept. What is said of it must be about a log that
 * does not get shorter, so it is synced first. */
static enum status commit(struct change *c, bool keep_log, struct err *err)
{
    struct store *s = c->s;
    struct place p = get_place(s); /* what was void stays so */
    p.folder = c->in->home->folder;
    if (!keep_log) {
        struct wal_stats w;
        enum status st = store_sync_now(s, err);
        if (st != ST_OK)
            return st;
        wal_stats(s->wal, &w);
        p.void_before = w.end;
    }
    return write_place(s, p, err);
}

static void change_engine(struct change *c)
{
    struct store *s = c->s;
    struct home *old = s->home;
    env_mutex_lock(&s->view_change);
    absent__forget(s);
    if (s->cache)
        cache_pause(s->cache, true);
    store__install_view(s, c->view);
    c->view = NULL;
    if (s->cache)
        cache_pause(s->cache, false);
    env_mutex_unlock(&s->view_change);
    s->home = c->in->home;
    s->engine = s->home->engine;
    c->in->home = NULL;
    old->replaced = true;
    atomic_fetch_add(&s->old_homes, 1);
    home_unref(old);
}

static void change_counters(struct store *s, const struct engine_mark *m)
{
    s->range.applied = m->index;
    s->range.term = m->term;
    s->range.newest = m->version;
    s->persisted = *m;
    atomic_store(&s->applied_index, m->index);
    atomic_store(&s->persisted_index, m->index);
    atomic_store(&s->log_drained, store__log_end(s));
    atomic_store(&s->keep_log, false);
    env_spin_lock(&s->clock_lock);
    hlc_observe(&s->clock, m->version.hlc);
    if (version_cmp(s->assigned, m->version) < 0)
        s->assigned = m->version;
    env_spin_unlock(&s->clock_lock);
}

/* Only a hint to the log, which would else keep segments for entries that are void: what VARVE says
 * holds without it. */
static void tell_log(struct store *s, uint64_t index, bool keep_log)
{
    struct wal_record r = {
        .range = RANGE_FIRST, .index = index + 1, .kind = WAL_TRUNCATE, .payload = BYTES_EMPTY};
    struct err err;
    err_init(&err);
    wal_release(s->wal, RANGE_FIRST, index);
    if (!keep_log && wal_append(s->wal, &r, 1, NULL, &err) != ST_OK)
        log_at(LOG_WARN, "store", "the log keeps entries that are void for a while",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
}

enum status store_incoming_install(struct store_incoming *in, bool keep_log, struct err *err)
{
    struct store *s = in->s;
    struct change c = {.s = s, .in = in};
    env_mutex_lock(&s->checkpoint_lock);
    enum status st = may_install(s, in, err);
    if (st == ST_OK)
        st = prepare(&c, err);
    if (st == ST_OK)
        st = commit(&c, keep_log, err);
    if (st == ST_OK) {
        state__catalog_apply(s, &c.catalog);
        change_engine(&c);
        change_counters(s, &in->mark);
        tell_log(s, in->mark.index, keep_log);
        store__wrote_anything(s);
        store__publish(s, in->mark.version);
        log_at(LOG_INFO, "store", "another node's state was installed", LOG_FSTR("dir", s->dir),
               LOG_FU64("index", in->mark.index));
    }
    cleanup(&c);
    env_mutex_unlock(&s->checkpoint_lock);
    return st;
}
