/* Three stores as one with all their threads, joined by mailboxes: writers, readers behind barriers and
 * a node that goes and comes back. What was acknowledged is there, once, on every node. */
#include "base/alloc.h"
#include "base/env/thread.h"
#include "base/log.h"
#include "node/store/store.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 3, WRITERS = 6, READERS = 2, MAIL_MAX = 4096 };
/* A node that is about to close gets no mail any more, and closes when its clients have left it: they wait for
 * answers until they give up, three times in a row. */
enum { GIVE_UP_MS = 1000 };

struct mail {
    struct mail *next;
    uint64_t from;
    size_t len;
    uint8_t data[];
};

struct cluster;
struct node {
    struct cluster *all;
    uint64_t id;
    char dir[TEMP_DIR_MAX];
    struct store_cluster options;
    struct store *_Atomic s;
    _Atomic unsigned users;
    struct env_mutex lock;
    struct env_cond more;
    struct mail *first, **last;
    size_t n;
    bool stop;
    struct env_thread postman;
};
struct cluster {
    struct node node[NODES + 1];
    uint32_t collection;
    bool in_time; /* checkpoints come by time, not by size */
    _Atomic bool stop;
    _Atomic uint64_t done, unknown, refused, reads, counter;
    _Atomic uint64_t newest; /* acknowledged of the counter's key */
};

/* ---- mail ---- */

static bool post(void *arg, uint64_t to, struct bytes bundle)
{
    struct node *from = arg, *n = &from->all->node[to];
    struct mail *m = malloc(sizeof *m + bundle.len);
    if (!m)
        return false;
    m->next = NULL;
    m->from = from->id;
    m->len = bundle.len;
    memcpy(m->data, bundle.data, bundle.len);
    env_mutex_lock(&n->lock);
    bool full = n->n >= MAIL_MAX || n->stop;
    if (!full) {
        *n->last = m;
        n->last = &m->next;
        n->n++;
        env_cond_signal(&n->more);
    }
    env_mutex_unlock(&n->lock);
    if (full)
        free(m);
    return !full;
}

static struct store *enter(struct node *n)
{
    atomic_fetch_add(&n->users, 1);
    return atomic_load(&n->s);
}

static void leave(struct node *n)
{
    atomic_fetch_sub(&n->users, 1);
}

static void deliver(void *arg)
{
    struct node *n = arg;
    env_mutex_lock(&n->lock);
    for (;;) {
        while (!n->first && !n->stop)
            env_cond_wait(&n->more, &n->lock);
        if (!n->first)
            break;
        struct mail *m = n->first;
        n->first = m->next;
        if (!n->first)
            n->last = &n->first;
        n->n--;
        env_mutex_unlock(&n->lock);
        struct err err;
        struct store *s = enter(n);
        if (s)
            (void)!store_receive(s, m->from, BYTES(m->data, m->len), &err);
        leave(n);
        free(m);
        env_mutex_lock(&n->lock);
    }
    env_mutex_unlock(&n->lock);
}

/* ---- nodes ---- */

static void open_node(struct node *n)
{
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine_mem_open,
                              .cache_bytes = 1 << 20,
                              .wal = {.segment_bytes = 256 * 1024},
                              .cluster = &n->options};
    if (n->all->in_time) {
        o.checkpoint_interval_ms = 100;
    } else {
        o.table_bytes = 256 * 1024;
        o.log_bytes = 2 << 20;
    }
    struct store *s;
    struct err err;
    err_init(&err);
    if (store_open(env_linux(), n->dir, &o, &s, &err) != ST_OK)
        fail_msg("node %llu: %s", (unsigned long long)n->id, err.detail);
    atomic_store(&n->s, s);
}

static void close_node(struct node *n)
{
    struct err err;
    err_init(&err);
    struct store *s = atomic_exchange(&n->s, NULL);
    while (atomic_load(&n->users) > 0)
        env_sleep_ms(env_linux(), 1);
    if (store_close(s, &err) != ST_OK)
        fail_msg("closing node %llu: %s", (unsigned long long)n->id, err.detail);
}

static void start(struct cluster *c, bool in_time)
{
    struct err err;
    memset(c, 0, sizeof *c);
    c->in_time = in_time;
    for (uint64_t id = 1; id <= NODES; id++) { /* all before the first one speaks */
        struct node *n = &c->node[id];
        n->all = c;
        n->id = id;
        n->last = &n->first;
        env_mutex_init(&n->lock);
        env_cond_init(&n->more);
    }
    for (uint64_t id = 1; id <= NODES; id++) {
        struct node *n = &c->node[id];
        assert_true(temp_dir_make(n->dir, "cluster"));
        n->options = (struct store_cluster){.node = id,
                                            .nodes = {1, 2, 3},
                                            .n = NODES,
                                            .propose_timeout_ms = GIVE_UP_MS,
                                            .transport = {post, n},
                                            .heartbeat_ms = 50,
                                            .election_ms = 500};
        open_node(n);
        assert_int_equal(env_thread_start(&n->postman, "postman", deliver, n, &err), ST_OK);
    }
    struct collection *col;
    enum status st = ST_UNAVAILABLE;
    for (int i = 0; i < 20 && st != ST_OK; i++)
        st = store_collection_open(c->node[2].s, BYTES_LIT("t"), BYTES_EMPTY, &col, &err);
    if (st != ST_OK)
        fail_msg("no collection: %s", err.detail);
    c->collection = collection_id(col);
}

static void stop(struct cluster *c)
{
    for (uint64_t id = 1; id <= NODES; id++)
        close_node(&c->node[id]);
    for (uint64_t id = 1; id <= NODES; id++) {
        struct node *n = &c->node[id];
        env_mutex_lock(&n->lock);
        n->stop = true;
        env_cond_broadcast(&n->more);
        env_mutex_unlock(&n->lock);
        env_thread_join(&n->postman);
        env_cond_deinit(&n->more);
        env_mutex_deinit(&n->lock);
        assert_true(temp_dir_remove(n->dir));
    }
}

/* ---- clients ---- */

static size_t key_of(const struct cluster *c, const char *name, uint8_t out[64])
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(c->collection >> (24 - 8 * i));
    return 4 + (size_t)snprintf((char *)out + 4, 60, "%s", name);
}

static enum status write_at(struct cluster *c, struct store *s, const char *name, uint64_t value,
                            const struct store_require *req, struct version *ret)
{
    struct err err;
    uint8_t key[64];
    struct entry_op op = {.kind = RECORD_PUT, .value = BYTES(&value, sizeof value)};
    struct store_write w = {.requires = req, .n_requires = req ? 1 : 0};
    op.key = BYTES(key, key_of(c, name, key));
    enum status st = entry_encode(&op, 1, BYTES_EMPTY, &w.entry, &err);
    if (st == ST_OK)
        st = store_propose(s, &w, &err);
    blob_unref(w.entry);
    if (st == ST_OK)
        *ret = w.version;
    return st;
}

static uint64_t read_at(struct cluster *c, struct store *s, const char *name, struct version *ret)
{
    struct buf b = BUF_INIT;
    struct record rec;
    struct err err;
    uint8_t key[64];
    uint64_t v = 0;
    enum status st = store_get(s, BYTES(key, key_of(c, name, key)), VERSION_NONE, &b, &rec, &err);
    *ret = VERSION_NONE;
    if (st == ST_OK) {
        memcpy(&v, rec.value.data, sizeof v);
        *ret = rec.version;
    } else {
        assert_int_equal(st, ST_NOT_FOUND);
    }
    buf_deinit(&b);
    return v;
}

struct client {
    struct cluster *c;
    uint64_t node;
    unsigned number;
    uint64_t last; /* of its own key, acknowledged */
};

/* Adds one to a counter that all share, and writes a key of its own. */
static void write_on(void *arg)
{
    struct client *me = arg;
    struct cluster *c = me->c;
    char own[16];
    snprintf(own, sizeof own, "own %u", me->number);
    for (uint64_t i = 1; !atomic_load(&c->stop); i++) {
        struct node *n = &c->node[1 + (me->node + i) % NODES];
        struct store *s = enter(n);
        if (s) {
            struct version v, seen;
            uint8_t key[64];
            uint64_t was = read_at(c, s, "counter", &seen);
            struct store_require req = {.key = BYTES(key, key_of(c, "counter", key)),
                                        .what = version_is_none(seen) ? STORE_REQUIRE_ABSENT
                                                                      : STORE_REQUIRE_VERSION,
                                        .version = seen};
            enum status st = write_at(c, s, "counter", was + 1, &req, &v);
            if (st == ST_OK)
                atomic_fetch_add(&c->counter, 1);
            else if (st == ST_UNKNOWN_OUTCOME)
                atomic_fetch_add(&c->unknown, 1);
            else
                atomic_fetch_add(&c->refused, 1);
            st = write_at(c, s, own, i, NULL, &v);
            if (st == ST_OK) {
                me->last = i;
                atomic_fetch_add(&c->done, 1);
                if (read_at(c, s, own, &seen) < i)
                    fail_msg("a node does not read its own write");
            }
        }
        leave(n);
    }
}

/* What was acknowledged before a barrier is seen behind it. */
static void read_on(void *arg)
{
    struct client *me = arg;
    struct cluster *c = me->c;
    struct err err;
    for (uint64_t i = 0; !atomic_load(&c->stop); i++) {
        struct node *n = &c->node[1 + (me->node + i) % NODES];
        struct store *s = enter(n);
        uint64_t before = atomic_load(&c->counter);
        struct version v;
        if (s && store_barrier(s, GIVE_UP_MS, &err) == ST_OK) {
            uint64_t now = read_at(c, s, "counter", &v);
            if (now < before)
                fail_msg("%llu was read, %llu had been acknowledged", (unsigned long long)now,
                         (unsigned long long)before);
            atomic_fetch_add(&c->reads, 1);
        }
        leave(n);
    }
}

static void check(struct cluster *c, const struct client *clients)
{
    struct err err;
    for (uint64_t id = 1; id <= NODES; id++) {
        struct store *s = c->node[id].s;
        struct version v;
        enum status st = ST_UNAVAILABLE;
        for (int i = 0; i < 20 && st != ST_OK; i++)
            st = store_barrier(s, 1000, &err);
        assert_int_equal(st, ST_OK);
        uint64_t n = read_at(c, s, "counter", &v);
        assert_true(n >= atomic_load(&c->counter));
        assert_true(n <= atomic_load(&c->counter) + atomic_load(&c->unknown));
        for (unsigned i = 0; i < WRITERS; i++) {
            char own[16];
            snprintf(own, sizeof own, "own %u", i);
            assert_true(read_at(c, s, own, &v) >= clients[i].last);
        }
    }
}

static void test_threads_write_and_read_anywhere(void **state)
{
    static struct cluster c;
    struct client clients[WRITERS + READERS];
    struct env_thread t[WRITERS + READERS];
    struct err err;
    (void)state;
    start(&c, false);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        clients[i] = (struct client){.c = &c, .node = i, .number = i};
        assert_int_equal(
            env_thread_start(&t[i], "client", i < WRITERS ? write_on : read_on, &clients[i], &err),
            ST_OK);
    }
    for (uint64_t id = 1; id <= NODES; id++) { /* each in turn, the leader among them */
        env_sleep_ms(env_linux(), 400);
        close_node(&c.node[id]);
        env_sleep_ms(env_linux(), 300);
        open_node(&c.node[id]);
    }
    env_sleep_ms(env_linux(), 800);
    atomic_store(&c.stop, true);
    for (unsigned i = 0; i < WRITERS + READERS; i++)
        env_thread_join(&t[i]);
    check(&c, clients);
    print_message(
        "%llu writes, %llu steps of the counter, %llu unknown, %llu refused, %llu reads\n",
        (unsigned long long)atomic_load(&c.done), (unsigned long long)atomic_load(&c.counter),
        (unsigned long long)atomic_load(&c.unknown), (unsigned long long)atomic_load(&c.refused),
        (unsigned long long)atomic_load(&c.reads));
    assert_true(atomic_load(&c.done) > 0 && atomic_load(&c.reads) > 0);
    stop(&c);
}

static void write_now_and_then(void *arg)
{
    struct cluster *c = arg;
    struct version v;
    while (!atomic_load(&c->stop)) {
        if (write_at(c, c->node[1].s, "key", 1, NULL, &v) == ST_OK)
            atomic_fetch_add(&c->done, 1);
        env_sleep_ms(env_linux(), 2);
    }
}

/* Whoever waits for consensus wakes its own thread alone: those who keep the log and the engine are not
 * kept from what is due by time. */
static void test_checkpoints_come_in_time_beside_writes(void **state)
{
    static struct cluster c;
    struct env_thread t;
    struct err err;
    uint64_t waited_ms = 0;
    (void)state;
    start(&c, true);
    assert_int_equal(env_thread_start(&t, "client", write_now_and_then, &c, &err), ST_OK);
    for (uint64_t id = 1; id <= NODES; id++)
        for (struct store_stats st = {0}; st.checkpoints < 2; waited_ms += 10) {
            if (waited_ms > 60000)
                fail_msg("node %llu has %llu checkpoints after a minute", (unsigned long long)id,
                         (unsigned long long)st.checkpoints);
            env_sleep_ms(env_linux(), 10);
            store_stats(c.node[id].s, &st);
        }
    atomic_store(&c.stop, true);
    env_thread_join(&t);
    assert_true(atomic_load(&c.done) > 0);
    stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_write_and_read_anywhere),
        cmocka_unit_test(test_checkpoints_come_in_time_beside_writes),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
