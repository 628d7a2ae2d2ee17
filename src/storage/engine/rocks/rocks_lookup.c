/* rocks_lookup.c - many live rows, for a drain.
 *
 * Two ways: walking along with the keys when they lie dense among the rows, else batched gets, which
 * the bloom filters keep cheap for new keys. Where the rows do not fit into memory each get waits for
 * the disk, and unpacks a block for one or two rows; so the gets of one call are shared out among a
 * few threads. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

enum {
    DENSE = 8,
    WALK_STEPS = 12,
    LOOKUP_BYTES = 4 << 20,
    SHARE = 32,        /* RocksDB takes that many keys at a time */
    HELPERS = 3,       /* threads beside the caller's */
    HELPED_MIN = 4096, /* keys in all, for which threads are worth starting */
};

/* Some of the keys of one call, and what came of them. */
struct share {
    const struct bytes *keys;
    size_t n;
    rocksdb_pinnableslice_t **slices;
    enum status st;
    struct err err;
};

struct lookup;
struct helper {
    struct lookup *l;
    struct env_thread thread;
    struct share share; /* n > 0: to be done. Under the lookup's lock but while it is done */
};

struct lookup {
    struct engine_lookup base;
    struct engine_snapshot *s;
    struct engine_cursor *walk; /* NULL: batched gets */
    bool started, empty;
    size_t batch;
    struct buf bytes;
    rocksdb_pinnableslice_t *slices[ENGINE_LOOKUP_MAX];
    size_t n_slices;

    struct env_mutex lock;
    struct env_cond work, done;
    bool stop;
    unsigned n_helpers, want_helpers, busy;
    struct helper helpers[HELPERS];
};

static void drop_slices(struct lookup *l)
{
    for (size_t i = 0; i < l->n_slices; i++) {
        if (l->slices[i])
            rocksdb_pinnableslice_destroy(l->slices[i]);
    }
    l->n_slices = 0;
}

static enum status walk_to(struct lookup *l, struct bytes key, struct err *err)
{
    struct engine_cursor *c = l->walk;
    int steps = l->started ? WALK_STEPS : 0;
    while (l->started && steps > 0 && c->valid && bytes_cmp(c->key, key) < 0) {
        enum status st = c->ops->next(c, err);
        if (st != ST_OK)
            return st;
        steps--;
    }
    if (l->started && (!c->valid || bytes_cmp(c->key, key) >= 0))
        return ST_OK;
    l->started = true;
    return c->ops->seek(c, key, err);
}

static enum status walk_rows(struct lookup *l, const struct bytes *keys, size_t n,
                             struct bytes *ret, size_t *ret_n, struct err *err)
{
    size_t at[ENGINE_LOOKUP_MAX], i;
    buf_clear(&l->bytes);
    for (i = 0; i < n && l->bytes.len < LOOKUP_BYTES; i++) {
        enum status st = walk_to(l, keys[i], err);
        if (st != ST_OK)
            return st;
        ret[i] = (struct bytes){0};
        at[i] = SIZE_MAX;
        if (!l->walk->valid || !bytes_eq(l->walk->key, keys[i]))
            continue;
        at[i] = l->bytes.len;
        ret[i].len = l->walk->value.len;
        st = buf_append(&l->bytes, l->walk->value.data, l->walk->value.len);
        if (st != ST_OK)
            return err_set(err, st, "live rows");
    }
    for (size_t j = 0; j < i; j++) {
        if (at[j] != SIZE_MAX)
            ret[j].data = l->bytes.data + at[j];
    }
    *ret_n = i;
    return ST_OK;
}

static void get_share(const struct lookup *l, struct share *h)
{
    const char *ptrs[SHARE];
    size_t sizes[SHARE];
    char *errs[SHARE];
    h->st = ST_OK;
    for (size_t at = 0; at < h->n; at += SHARE) {
        size_t n = h->n - at < SHARE ? h->n - at : SHARE;
        for (size_t i = 0; i < n; i++) {
            ptrs[i] = (const char *)h->keys[at + i].data;
            sizes[i] = h->keys[at + i].len;
        }
        rocksdb_batched_multi_get_cf(l->s->e->db, l->s->read[ROCKS_READ_MANY],
                                     l->s->e->cf[ENGINE_LIVE], n, ptrs, sizes, h->slices + at, errs,
                                     true);
        for (size_t i = 0; i < n; i++) {
            if (errs[i] && h->st == ST_OK)
                h->st = rocks__error(errs[i], "get of many", &h->err);
            else if (errs[i])
                rocksdb_free(errs[i]);
        }
    }
}

static void help(void *arg)
{
    struct helper *h = arg;
    struct lookup *l = h->l;
    env_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && h->share.n == 0)
            env_cond_wait(&l->work, &l->lock);
        if (h->share.n == 0)
            break;
        env_mutex_unlock(&l->lock);
        get_share(l, &h->share);
        env_mutex_lock(&l->lock);
        h->share.n = 0;
        if (--l->busy == 0)
            env_cond_signal(&l->done);
    }
    env_mutex_unlock(&l->lock);
}

/* With fewer of them, or none, it takes longer. */
static void start_helpers(struct lookup *l)
{
    struct err ignored;
    err_init(&ignored);
    for (; l->want_helpers > 0; l->want_helpers--) {
        struct helper *h = &l->helpers[l->n_helpers];
        h->l = l;
        if (env_thread_start(&h->thread, "varve-lookup", help, h, &ignored) != ST_OK)
            break;
        l->n_helpers++;
    }
    l->want_helpers = 0;
}

static void stop_helpers(struct lookup *l)
{
    env_mutex_lock(&l->lock);
    l->stop = true;
    env_cond_broadcast(&l->work);
    env_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->n_helpers; i++)
        env_thread_join(&l->helpers[i].thread);
}

/* The first share stays with the caller; SHARE keys at least each. */
static enum status get_shared(struct lookup *l, const struct bytes *keys, size_t n, struct err *err)
{
    size_t each = (n + l->n_helpers) / (l->n_helpers + 1), at;
    each = (each + SHARE - 1) / SHARE * SHARE;
    struct share own = {.keys = keys, .n = n < each ? n : each, .slices = l->slices};
    unsigned given = 0;
    env_mutex_lock(&l->lock);
    for (at = own.n; at < n; at += each) {
        struct share *h = &l->helpers[given++].share;
        *h = (struct share){
            .keys = keys + at, .n = n - at < each ? n - at : each, .slices = l->slices + at};
    }
    l->busy = given;
    if (given)
        env_cond_broadcast(&l->work);
    env_mutex_unlock(&l->lock);
    get_share(l, &own);
    env_mutex_lock(&l->lock);
    while (l->busy)
        env_cond_wait(&l->done, &l->lock);
    env_mutex_unlock(&l->lock);
    l->n_slices = n;
    const struct share *bad = own.st != ST_OK ? &own : NULL;
    for (unsigned i = 0; !bad && i < given; i++) {
        if (l->helpers[i].share.st != ST_OK)
            bad = &l->helpers[i].share;
    }
    return bad ? err_set(err, bad->st, "%s", bad->err.detail) : ST_OK;
}

static enum status batch_rows(struct lookup *l, const struct bytes *keys, size_t n,
                              struct bytes *ret, size_t *ret_n, struct err *err)
{
    drop_slices(l);
    n = n < l->batch ? n : l->batch;
    if (n > SHARE && l->want_helpers)
        start_helpers(l);
    enum status st = get_shared(l, keys, n, err);
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct bytes){0};
        if (!l->slices[i])
            continue;
        const char *data = rocksdb_pinnableslice_value(l->slices[i], &ret[i].len);
        ret[i].data = (const uint8_t *)data;
    }
    *ret_n = n;
    return st;
}

static enum status lookup_rows(struct engine_lookup *base, const struct bytes *keys, size_t n,
                               struct bytes *ret, size_t *ret_n, struct err *err)
{
    struct lookup *l = (struct lookup *)base;
    ASSERT(n > 0 && n <= ENGINE_LOOKUP_MAX);
    if (l->empty) {
        memset(ret, 0, n * sizeof(*ret));
        *ret_n = n;
        return ST_OK;
    }
    return l->walk ? walk_rows(l, keys, n, ret, ret_n, err)
                   : batch_rows(l, keys, n, ret, ret_n, err);
}

static void lookup_close(struct engine_lookup *base)
{
    struct lookup *l = (struct lookup *)base;
    stop_helpers(l);
    env_cond_deinit(&l->done);
    env_cond_deinit(&l->work);
    env_mutex_deinit(&l->lock);
    drop_slices(l);
    engine_cursor_close(l->walk);
    buf_deinit(&l->bytes);
    rocks__let_go(l->s->e);
    mem_free(l);
}

static const struct engine_lookup_ops lookup_ops = {lookup_rows, lookup_close};

enum status rocks__lookup(struct engine_view *v, uint64_t expected, struct engine_lookup **ret,
                          struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    struct lookup *l = mem_zalloc(sizeof(*l));
    if (!l)
        return err_set(err, ST_NO_MEMORY, "live rows");
    l->base.ops = &lookup_ops;
    l->s = s;
    uint64_t rows = v->rows[ENGINE_LIVE];
    uint64_t bytes = rocks__property(s->e, ENGINE_LIVE, "rocksdb.live-sst-files-size");
    uint64_t fit = LOOKUP_BYTES / (bytes / (rows + 1) + 1);
    l->batch = fit == 0 ? 1 : fit < ENGINE_LOOKUP_MAX ? (size_t)fit : ENGINE_LOOKUP_MAX;
    l->empty = v->n_marks == 0 && bytes == 0;
    enum status st = ST_OK;
    if (!l->empty && rows / DENSE <= expected)
        st = v->ops->cursor(v, ENGINE_LIVE, ENGINE_BULK, NULL, &l->walk, err);
    if (st != ST_OK) {
        mem_free(l);
        return st;
    }
    env_mutex_init(&l->lock);
    env_cond_init(&l->work);
    env_cond_init(&l->done);
    l->want_helpers = !l->walk && expected >= HELPED_MIN ? HELPERS : 0;
    rocks__hold(s->e);
    *ret = &l->base;
    return ST_OK;
}
