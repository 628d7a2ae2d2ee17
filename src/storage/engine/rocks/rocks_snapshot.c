#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

void rocks__hold(struct rocks *e)
{
    env_mutex_lock(&e->lock);
    e->handles++;
    env_mutex_unlock(&e->lock);
}

void rocks__let_go(struct rocks *e)
{
    env_mutex_lock(&e->lock);
    ASSERT(e->handles > 0);
    e->handles--;
    env_mutex_unlock(&e->lock);
}

static void snapshot_free(struct engine_snapshot *s)
{
    for (int i = 0; i < ROCKS_READS; i++) {
        if (s->read[i])
            rocksdb_readoptions_destroy(s->read[i]);
    }
    if (s->at)
        rocksdb_release_snapshot(s->e->db, s->at);
    mem_free(s->marks);
    mem_free(s->halves);
    mem_free(s);
}

static enum status snapshot_make(struct rocks *e, struct engine_snapshot **ret, struct err *err)
{
    struct engine_snapshot *s = mem_zalloc(sizeof(*s));
    if (!s)
        return err_set(err, ST_NO_MEMORY, "snapshot");
    s->e = e;
    s->refs = 1;
    s->view.ops = &rocks__view_ops;
    if (!e->options.read_only)
        s->at = rocksdb_create_snapshot(e->db);
    for (int i = 0; i < ROCKS_READS; i++)
        s->read[i] = rocks__read_options(s, (enum rocks_read)i);
    enum status st =
        engine_view_load(&s->view, &s->marks, &s->view.n_marks, &s->halves, &s->view.n_halves, err);
    if (st != ST_OK) {
        snapshot_free(s);
        return st;
    }
    s->view.marks = s->marks;
    s->view.halves = s->halves;
    for (size_t i = 0; i < s->view.n_marks; i++)
        s->view.deletes |= (s->marks[i].flags & ENGINE_MARK_DELETES) != 0;
    struct engine_counts counts = engine_view_counts(&s->view);
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        s->view.rows[f] =
            counts.known ? counts.rows[f]
                         : rocks__property(e, (enum engine_family)f, "rocksdb.estimate-num-keys");
    *ret = s;
    return ST_OK;
}

enum status rocks__publish(struct rocks *e, struct err *err)
{
    struct engine_snapshot *s;
    enum status st = snapshot_make(e, &s, err);
    if (st != ST_OK)
        return st;
    env_mutex_lock(&e->lock);
    struct engine_snapshot *old = e->current;
    e->current = s;
    e->unseen = false;
    bool last = old && --old->refs == 0;
    env_mutex_unlock(&e->lock);
    if (last)
        snapshot_free(old);
    return ST_OK;
}

bool rocks__unpublish(struct rocks *e)
{
    env_mutex_lock(&e->lock);
    bool alone = e->handles == 0;
    struct engine_snapshot *s = alone ? e->current : NULL;
    if (alone)
        e->current = NULL;
    env_mutex_unlock(&e->lock);
    if (s) {
        ASSERT(s->refs == 1);
        snapshot_free(s);
    }
    return alone;
}

enum status rocks__snapshot(struct engine *engine, struct engine_snapshot **ret, struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    enum status st = ST_OK;
    env_mutex_lock(&e->lock);
    if (e->current) {
        *ret = e->current;
        e->current->refs++;
        e->handles++;
    } else {
        st = err_set(err, ST_IO_ERROR,
                     "%s: the engine could not be opened again after a disk error", e->dir);
    }
    env_mutex_unlock(&e->lock);
    return st;
}

void rocks__snapshot_release(struct engine *engine, struct engine_snapshot *s)
{
    struct rocks *e = (struct rocks *)engine;
    if (!s)
        return;
    env_mutex_lock(&e->lock);
    bool last = --s->refs == 0;
    if (!last)
        e->handles--;
    env_mutex_unlock(&e->lock);
    if (last) {
        snapshot_free(s);
        rocks__let_go(e); /* only now nothing of it holds on to the DB */
    }
}
