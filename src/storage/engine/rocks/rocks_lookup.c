/* rocks_lookup.c - many live rows, for a drain.
 *
 * Two ways: walking along with the keys when they lie dense among the rows, else batched gets, which
 * the bloom filters keep cheap for new keys. Where the rows do not fit into memory each get waits for
 * the disk, and unpacks a block for one or two rows; so a few threads get ahead of the caller: they
 * take the keys a slot at a time, in order, and copy what they find. A caller who finds its slot
 * not begun, or has nothing else to do, gets along with them. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

enum {
    DENSE = 8,
    DENSE_PARTS =
        2, /* of several tables, which are for where memory is short: gets wait side by side */
    WALK_STEPS = 12,
    LOOKUP_BYTES = 4 << 20, /* of rows that were got ahead, about */
    SLOT_KEEPS = 256 << 10, /* bytes that a slot keeps for its next keys */
    SHARE = 32,             /* RocksDB takes that many keys at a time */
    SLOTS = 8,              /* that many times ENGINE_LOOKUP_MAX keys ahead */
    HELPERS = 3,            /* threads beside the caller's */
    HELPED_MIN = 4096,      /* keys in all, for which threads are worth starting */
};

/* Some of the keys, and what came of them. Whoever began it has it until it is done. */
struct slot {
    const struct bytes *keys;
    size_t n;
    bool done;
    struct bytes rows[ENGINE_LOOKUP_MAX];
    struct buf bytes;
    enum status st;
    struct err err;
};

struct lookup {
    struct engine_lookup base;
    struct engine_snapshot *s;
    const struct bytes *keys;
    size_t n, next; /* keys[next] is the first that is not being looked up */
    size_t batch;   /* keys of a slot */
    bool empty;

    struct engine_cursor *walk; /* NULL: batched gets */
    bool started;
    struct buf bytes;

    struct env_mutex lock; /* of what follows, and `next`, once there are helpers */
    struct env_cond work, done;
    bool stop;
    size_t begun, answered; /* slots; a slot is free again when the one after it is asked for */
    size_t held;            /* bytes in slots that are done */
    unsigned n_helpers, want_helpers;
    struct env_thread helpers[HELPERS];
    struct slot slots[SLOTS];
};

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

static enum status walk_rows(struct lookup *l, struct bytes *ret, size_t *ret_n, struct err *err)
{
    const struct bytes *keys = l->keys + l->next;
    size_t at[ENGINE_LOOKUP_MAX], i, n = l->n - l->next;
    buf_clear(&l->bytes);
    for (i = 0; i < n && i < ENGINE_LOOKUP_MAX && l->bytes.len < LOOKUP_BYTES; i++) {
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
    l->next += i;
    *ret_n = i;
    return ST_OK;
}

/* Copies rows[at...] of the slot; their `data` is set once all have come, for the buffer may move. The
 * first of them tell how much room the rest will take. */
static enum status take_rows(struct slot *s, size_t at, size_t n, rocksdb_pinnableslice_t **found,
                             struct err *err)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        s->rows[at + i] = (struct bytes){0};
        if (!found[i])
            continue;
        const char *data = rocksdb_pinnableslice_value(found[i], &s->rows[at + i].len);
        s->rows[at + i].data = (const uint8_t *)data;
        sum += s->rows[at + i].len;
    }
    enum status st = buf_reserve(&s->bytes, at == 0 ? sum / n * s->n + sum % n : sum);
    for (size_t i = 0; i < n; i++) {
        if (st == ST_OK && found[i])
            st = buf_append(&s->bytes, s->rows[at + i].data, s->rows[at + i].len);
        if (found[i])
            rocksdb_pinnableslice_destroy(found[i]);
    }
    return st == ST_OK ? ST_OK : err_set(err, st, "live rows");
}

static enum status get_rows(const struct lookup *l, struct slot *s, size_t at, size_t n,
                            struct err *err)
{
    const char *ptrs[SHARE];
    size_t sizes[SHARE];
    char *errs[SHARE];
    rocksdb_pinnableslice_t *found[SHARE];
    enum status st = ST_OK;
    for (size_t i = 0; i < n; i++) {
        ptrs[i] = (const char *)s->keys[at + i].data;
        sizes[i] = s->keys[at + i].len;
    }
    rocksdb_batched_multi_get_cf(l->s->e->db, l->s->read[ROCKS_READ_MANY], l->s->e->cf[ENGINE_LIVE],
                                 n, ptrs, sizes, found, errs, true);
    for (size_t i = 0; i < n; i++) {
        if (errs[i] && st == ST_OK)
            st = rocks__error(errs[i], "get of many", err);
        else if (errs[i])
            rocksdb_free(errs[i]);
    }
    enum status copied = take_rows(s, at, n, found, err);
    return st != ST_OK ? st : copied;
}

static void get_slot(const struct lookup *l, struct slot *s)
{
    s->st = ST_OK;
    err_init(&s->err);
    buf_clear(&s->bytes);
    for (size_t at = 0; s->st == ST_OK && at < s->n; at += SHARE)
        s->st = get_rows(l, s, at, s->n - at < SHARE ? s->n - at : SHARE, &s->err);
    size_t off = 0;
    for (size_t i = 0; s->st == ST_OK && i < s->n; i++) {
        if (!s->rows[i].data)
            continue;
        s->rows[i].data = s->bytes.data + off;
        off += s->rows[i].len;
    }
}

/* Begins the next slot and sees it done, if there is one to begin; with the lock held, but meanwhile. */
static bool get_next(struct lookup *l)
{
    bool ahead = l->begun > l->answered;
    if (l->next == l->n || l->begun - l->answered >= SLOTS - 1 ||
        (ahead && (l->held > LOOKUP_BYTES || l->batch < ENGINE_LOOKUP_MAX)))
        return false;
    struct slot *s = &l->slots[l->begun++ % SLOTS];
    s->keys = l->keys + l->next;
    s->n = l->n - l->next < l->batch ? l->n - l->next : l->batch;
    s->done = false;
    l->next += s->n;
    env_mutex_unlock(&l->lock);
    get_slot(l, s);
    env_mutex_lock(&l->lock);
    s->done = true;
    l->held += s->bytes.len;
    env_cond_signal(&l->done);
    return true;
}

static void help(void *arg)
{
    struct lookup *l = arg;
    env_mutex_lock(&l->lock);
    while (!l->stop) {
        if (!get_next(l))
            env_cond_wait(&l->work, &l->lock);
    }
    env_mutex_unlock(&l->lock);
}

/* With fewer of them, or none, it takes longer. */
static void start_helpers(struct lookup *l)
{
    struct err ignored;
    err_init(&ignored);
    for (; l->want_helpers > 0; l->want_helpers--) {
        if (env_thread_start(&l->helpers[l->n_helpers], "varve-lookup", help, l, &ignored) != ST_OK)
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
        env_thread_join(&l->helpers[i]);
}

/* The slot that was answered last may be begun anew once the next one is asked for. */
static void give_back(struct lookup *l)
{
    struct slot *s = &l->slots[(l->answered + SLOTS - 1) % SLOTS];
    l->held -= s->bytes.len;
    if (s->bytes.cap > SLOT_KEEPS)
        buf_deinit(&s->bytes);
    buf_clear(&s->bytes);
}

static enum status batch_rows(struct lookup *l, struct bytes *ret, size_t *ret_n, struct err *err)
{
    start_helpers(l);
    env_mutex_lock(&l->lock);
    give_back(l);
    if (l->n_helpers)
        env_cond_broadcast(&l->work);
    ASSERT(l->next < l->n || l->answered < l->begun);
    struct slot *s = &l->slots[l->answered % SLOTS];
    while (l->begun == l->answered || !s->done) {
        if (!get_next(l))
            env_cond_wait(&l->done, &l->lock);
    }
    l->answered++;
    env_mutex_unlock(&l->lock);
    memcpy(ret, s->rows, s->n * sizeof(*ret));
    *ret_n = s->n;
    return s->st == ST_OK ? ST_OK : err_set(err, s->st, "%s", s->err.detail);
}

static enum status lookup_rows(struct engine_lookup *base, struct bytes *ret, size_t *ret_n,
                               struct err *err)
{
    struct lookup *l = (struct lookup *)base;
    if (!l->empty && !l->walk)
        return batch_rows(l, ret, ret_n, err);
    ASSERT(l->next < l->n);
    if (l->walk)
        return walk_rows(l, ret, ret_n, err);
    *ret_n = l->n - l->next < ENGINE_LOOKUP_MAX ? l->n - l->next : ENGINE_LOOKUP_MAX;
    memset(ret, 0, *ret_n * sizeof(*ret));
    l->next += *ret_n;
    return ST_OK;
}

static void lookup_close(struct engine_lookup *base)
{
    struct lookup *l = (struct lookup *)base;
    stop_helpers(l);
    env_cond_deinit(&l->done);
    env_cond_deinit(&l->work);
    env_mutex_deinit(&l->lock);
    engine_cursor_close(l->walk);
    buf_deinit(&l->bytes);
    for (size_t i = 0; i < SLOTS; i++)
        buf_deinit(&l->slots[i].bytes);
    rocks__let_go(l->s->e);
    mem_free(l);
}

static const struct engine_lookup_ops lookup_ops = {lookup_rows, lookup_close};

enum status rocks__lookup(struct engine_view *v, const struct bytes *keys, size_t n, uint64_t all,
                          struct engine_lookup **ret, struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    struct lookup *l = mem_zalloc(sizeof(*l));
    if (!l)
        return err_set(err, ST_NO_MEMORY, "live rows");
    l->base.ops = &lookup_ops;
    l->s = s;
    l->keys = keys;
    l->n = n;
    uint64_t rows = v->rows[ENGINE_LIVE];
    uint64_t bytes = rocks__property(s->e, ENGINE_LIVE, "rocksdb.live-sst-files-size");
    uint64_t fit = LOOKUP_BYTES / (bytes / (rows + 1) + 1);
    l->batch = fit == 0 ? 1 : fit < ENGINE_LOOKUP_MAX ? (size_t)fit : ENGINE_LOOKUP_MAX;
    l->empty = v->n_marks == 0 && bytes == 0;
    enum status st = ST_OK;
    if (!l->empty && rows / (all > n ? DENSE_PARTS : DENSE) <= all)
        st = v->ops->cursor(v, ENGINE_LIVE, ENGINE_BULK, NULL, &l->walk, err);
    if (st != ST_OK) {
        mem_free(l);
        return st;
    }
    env_mutex_init(&l->lock);
    env_cond_init(&l->work);
    env_cond_init(&l->done);
    if (!l->walk && n >= HELPED_MIN && l->batch == ENGINE_LOOKUP_MAX)
        l->want_helpers = HELPERS;
    rocks__hold(s->e);
    *ret = &l->base;
    return ST_OK;
}
