/* Three and five stores as one, from seeds: clients write, compare and read anywhere while machines
 * lose power, the network loses, doubles, reorders and parts. Held against what clients were told. By
 * name it looks for: an acknowledged write that is gone or there twice; a vote or an answer before its
 * sync; a deposed leader's proposal taken for done; versions that fall with a new leader; a forwarded
 * write that its node does not read; replicas that differ. */
#include "base/log.h"
#include "cluster_world.h"
#include "node/feed/feed.h"
#include "support/cmocka.h"
#include "support/seeds.h"

#include <stdio.h>

static struct cluster_world w; /* too large for a stack */

static void disturb(unsigned what)
{
    uint64_t id = 1 + test_rng_below(&w.rng, w.n);
    switch (what) {
    case 0:
        cw_crash(&w, id, SIM_CRASH_POWER, test_rng_below(&w.rng, 2000));
        break;
    case 1:
        cw_crash(&w, id, SIM_CRASH_PROCESS_ONLY, test_rng_below(&w.rng, 300));
        break;
    case 2: /* all at once */
        for (uint64_t k = 1; k <= w.n; k++)
            cw_crash(&w, k, SIM_CRASH_POWER, test_rng_below(&w.rng, 500));
        break;
    case 3: /* the leader */
        if (cw_leader(&w))
            cw_crash(&w, cw_leader(&w), SIM_CRASH_POWER, test_rng_below(&w.rng, 2000));
        break;
    case 4: /* one is cut off */
        for (uint64_t k = 1; k <= w.n; k++)
            w.cut[id][k] = w.cut[k][id] = true;
        break;
    case 5: /* in one direction */
        w.cut[id][1 + test_rng_below(&w.rng, w.n)] = true;
        break;
    case 6:
    case 7:
        memset(w.cut, 0, sizeof w.cut);
        break;
    case 8:
        w.loss = (unsigned)test_rng_below(&w.rng, 200);
        w.dup = (unsigned)test_rng_below(&w.rng, 200);
        break;
    default:
        w.loss = w.dup = 0;
        w.delay_ms = 1 + (unsigned)test_rng_below(&w.rng, 60);
        break;
    }
}

static void test_random_clusters(void **state)
{
    (void)state;
    uint64_t seed, done = 0, unknown = 0, reads = 0, crashes = 0, leaders = 0, again = 0;
    FOR_EACH_SEED(seed, 60)
    {
        cw_init(&w, seed, seed % 4 == 3 ? 5 : 3);
        cw_collection(&w);
        size_t clients = 1 + test_rng_below(&w.rng, 12);
        for (size_t i = 0; i < clients; i++)
            cw_client_start(&w);
        size_t rounds = 5 + test_rng_below(&w.rng, 25);
        for (size_t i = 0; i < rounds; i++) {
            cw_run(&w, 50 + test_rng_below(&w.rng, 500));
            disturb((unsigned)test_rng_below(&w.rng, 10));
        }
        cw_judge(&w);
        done += w.done;
        unknown += w.unknown;
        reads += w.reads;
        crashes += w.crashes;
        leaders += w.leaders;
        again += w.duplicates;
        cw_deinit(&w);
    }
    print_message("%llu writes sent again were done once; %llu writes done, %llu unknown, %llu "
                  "reads, %llu crashes, %llu leaders\n",
                  (unsigned long long)again, (unsigned long long)done, (unsigned long long)unknown,
                  (unsigned long long)reads, (unsigned long long)crashes,
                  (unsigned long long)leaders);
    assert_true(done > 0 && again > 0 && reads > 0 && crashes > 0 && leaders > 0);
}

static void test_a_quiet_cluster_agrees(void **state)
{
    (void)state;
    cw_init(&w, 1, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    for (int i = 0; i < 4; i++)
        cw_client_start(&w);
    cw_run(&w, 3000);
    assert_true(w.done > 100);
    assert_int_equal(w.unknown, 0);
    assert_int_equal(w.leaders, 1);
    cw_judge(&w);
    cw_deinit(&w);
}

/* ---- one call, as a fiber ---- */

struct ask {
    struct cw_node *n;
    const char *key;
    struct version at; /* of a moment; the version of a write */
    uint64_t patience_ms;
    enum status st;
    struct err err;
};

static void put(void *arg)
{
    struct ask *a = arg;
    a->st = cw_put(&w, a->n, a->key, &a->at, &a->err);
}

static void fix(void *arg)
{
    struct ask *a = arg;
    a->st = store_fix_moment(a->n->s, a->at, &a->err);
}

static void bar(void *arg)
{
    struct ask *a = arg;
    a->st = store_barrier(a->n->s, 700, &a->err);
}

static struct ask ask(void (*fn)(void *arg), uint64_t node, const char *key, struct version at)
{
    struct ask a = {.n = &w.node[node], .key = key, .at = at};
    err_init(&a.err);
    cw_call(&w, fn, &a);
    return a;
}

struct making {
    struct cw_node *n;
    char name[16];
    enum status st;
    uint64_t took_ms;
};
static unsigned made;

static void make_one(void *arg)
{
    struct making *m = arg;
    struct collection *c;
    struct err err;
    err_init(&err);
    uint64_t begun = w.now_ms;
    m->st = store_collection_open(m->n->s, BYTES_STR(m->name), BYTES_EMPTY, &c, &err);
    m->took_ms = w.now_ms - begun;
    made++;
}

/* Changes of the catalog go one at a time, and yet nobody waits for the patience of all before. */
static void test_those_who_change_the_catalog_wait_together(void **state)
{
    (void)state;
    struct making m[6];
    struct err err;
    cw_init(&w, 8, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    uint64_t leader = cw_leader(&w);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != leader)
            cw_crash(&w, id, SIM_CRASH_POWER, 1000000);
    cw_run(&w, 1000); /* it leads no more */
    made = 0;
    for (size_t i = 0; i < 6; i++) {
        m[i] = (struct making){.n = &w.node[leader]};
        (void)snprintf(m[i].name, sizeof m[i].name, "c%zu", i);
        assert_int_equal(fiber_spawn(w.fibers, make_one, &m[i], &err), ST_OK);
    }
    for (int i = 0; i < 2000 && made < 6; i++)
        cw_run(&w, 10);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(m[i].st, ST_UNAVAILABLE);
        assert_true(m[i].took_ms < 2 * w.node[leader].cluster.propose_timeout_ms);
    }
    cw_deinit(&w);
}

/* Its log is empty, so it may not campaign; and the leader sleeps, and does not miss it. */
static void test_a_node_that_begins_late_is_told(void **state)
{
    (void)state;
    cw_init_on(&w, 9, 3, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    struct raft_status r;
    for (int i = 0; i < 300; i++)
        cw_run(&w, 10);
    raft_status(store_raft(w.node[cw_leader(&w)].s), &r);
    assert_true(r.asleep);
    cw_open(&w, 3);
    cw_until(&w, cw_converged, 5000, "all nodes have the same");
    cw_deinit(&w);
}

static void test_a_minority_says_so(void **state)
{
    (void)state;
    cw_init(&w, 7, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w);
    assert_int_equal(ask(put, leader, "before", VERSION_NONE).st, ST_OK);
    struct version seen = store_visible(w.node[leader].s);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != leader)
            cw_crash(&w, id, SIM_CRASH_POWER, 1000000);
    /* The leader does not know yet: it took the write, and nobody can say what becomes of it. */
    struct ask a = ask(put, leader, "lost?", VERSION_NONE);
    assert_int_equal(a.st, ST_UNKNOWN_OUTCOME);
    assert_non_null(strstr(a.err.detail, "may or may not"));
    /* Now it leads no more: nothing is even tried. */
    a = ask(put, leader, "refused", VERSION_NONE);
    assert_int_equal(a.st, ST_UNAVAILABLE);
    assert_non_null(strstr(a.err.detail, "no leader"));
    a = ask(bar, leader, NULL, VERSION_NONE);
    assert_int_equal(a.st, ST_UNAVAILABLE);
    /* What is fixed is read all the same. */
    assert_int_equal(ask(fix, leader, NULL, seen).st, ST_OK);
    struct store_role r;
    store_role(w.node[leader].s, &r);
    assert_false(r.is_leader);
    cw_heal(&w);
    cw_until(&w, cw_has_leader, 10000, "a leader again");
    assert_int_equal(ask(put, leader, "after", VERSION_NONE).st, ST_OK);
    assert_int_equal(ask(bar, leader, NULL, VERSION_NONE).st, ST_OK);
    cw_deinit(&w);
}

/* Fixing a moment writes nothing of anybody's: when the leader is lost meanwhile the reader may ask
 * again, and is not told of a write that may have been done. */
static void test_a_moment_is_no_write(void **state)
{
    (void)state;
    cw_init(&w, 8, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w);
    assert_int_equal(ask(put, leader, "before", VERSION_NONE).st, ST_OK);
    struct version later = store_visible(w.node[leader].s);
    later.hlc++;
    cw_run(&w, 100);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != leader)
            cw_crash(&w, id, SIM_CRASH_POWER, 1000000);
    struct ask a = ask(fix, leader, NULL, later);
    assert_int_equal(a.st, ST_UNAVAILABLE);
    assert_non_null(strstr(a.err.detail, "moment"));
    cw_heal(&w);
    cw_until(&w, cw_has_leader, 10000, "a leader again");
    assert_int_equal(ask(fix, leader, NULL, later).st, ST_OK);
    cw_deinit(&w);
}

static void keep_one(void *arg)
{
    struct ask *a = arg;
    static const struct collection_settings one = {.max_count = 1};
    a->st = store_settings_set(a->n->s, BYTES_STR(a->key), &one, &a->err);
}

static void vacuum(void *arg)
{
    struct ask *a = arg;
    a->st = store_vacuum(a->n->s, BYTES_STR(a->key), NULL, NULL, NULL, &a->err);
}

static void name_it(void *arg)
{
    struct ask *a = arg;
    a->st = store_snapshot_create(a->n->s, BYTES_STR(a->key), a->at, &a->err);
}

static void drop(void *arg)
{
    struct ask *a = arg;
    a->st = store_collection_drop(a->n->s, BYTES_STR(a->key), BYTES_EMPTY, &a->err);
}

/* A node that has not seen yet what another one did to the catalog: no name for a moment that a vacuum
 * took there, and no collection that comes back by its settings. */
static void test_the_catalog_is_changed_as_seen(void **state)
{
    (void)state;
    cw_init(&w, 6, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w), late = leader % 3 + 1;
    const char *name = store_collection_name(w.node[leader].s, w.collection);
    struct ask first = ask(put, leader, "k", VERSION_NONE);
    assert_int_equal(ask(put, leader, "k", VERSION_NONE).st, ST_OK);
    assert_int_equal(ask(keep_one, late, name, VERSION_NONE).st, ST_OK);
    cw_until(&w, cw_converged, 2000, "all to have that");
    w.cut[leader][late] = true;
    assert_int_equal(ask(vacuum, leader, name, VERSION_NONE).st, ST_OK);
    w.cut[leader][late] = false;
    assert_int_equal(ask(name_it, late, "first", first.at).st, ST_BELOW_HORIZON);
    cw_until(&w, cw_converged, 2000, "all to have that");
    w.cut[leader][late] = true;
    assert_int_equal(ask(drop, leader, name, VERSION_NONE).st, ST_OK);
    w.cut[leader][late] = false;
    assert_int_equal(ask(keep_one, late, name, VERSION_NONE).st, ST_NOT_FOUND);
    assert_int_equal(ask(drop, leader, name, VERSION_NONE).st, ST_NOT_FOUND);
    cw_deinit(&w);
}

static void keep_a_moment(void *arg)
{
    struct ask *a = arg;
    static const struct collection_settings short_time = {.max_age_ms = 100};
    a->st = store_settings_set(a->n->s, BYTES_STR(a->key), &short_time, &a->err);
}

static enum status get_at(uint64_t node, char key, struct version at)
{
    const uint8_t route[] = {(uint8_t)(w.collection >> 24), (uint8_t)(w.collection >> 16),
                             (uint8_t)(w.collection >> 8), (uint8_t)w.collection, (uint8_t)key};
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    err_init(&err);
    enum status st = store_get(w.node[node].s, BYTES(route, sizeof route), at, &buf, &rec, &err);
    buf_deinit(&buf);
    return st;
}

/* Where a vacuum was, reads below its horizon are refused from the opening on, though the node does
 * not know yet what of its log is committed. */
static void test_a_horizon_is_known_before_there_is_a_leader(void **state)
{
    (void)state;
    cw_init(&w, 7, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w);
    const char *name = store_collection_name(w.node[leader].s, w.collection);
    assert_int_equal(ask(keep_a_moment, leader, name, VERSION_NONE).st, ST_OK);
    struct ask first = ask(put, leader, "k", VERSION_NONE);
    assert_int_equal(ask(put, leader, "k", VERSION_NONE).st, ST_OK);
    cw_run(&w, 500);
    assert_int_equal(get_at(leader, 'k', first.at), ST_OK);
    assert_int_equal(ask(vacuum, leader, name, VERSION_NONE).st, ST_OK);
    assert_int_equal(get_at(leader, 'k', first.at), ST_BELOW_HORIZON);
    for (uint64_t i = 1; i <= 3; i++)
        w.cut[leader][i] = w.cut[i][leader] = i != leader;
    cw_crash(&w, leader, SIM_CRASH_POWER, 10);
    cw_run(&w, 200);
    assert_non_null(w.node[leader].s);
    assert_int_equal(get_at(leader, 'k', first.at), ST_BELOW_HORIZON);
    cw_deinit(&w);
}

/* ---- an engine that is ahead of its log ---- */

enum { LOG_FILES_MAX = 8 };
struct log_files {
    char path[LOG_FILES_MAX][80];
    struct buf bytes[LOG_FILES_MAX];
    size_t n;
};

static void log_paths(struct env *env, struct log_files *ret)
{
    struct buf names = BUF_INIT;
    assert_int_equal(env_list(env, "/db/log", &names, NULL), ST_OK);
    *ret = (struct log_files){0};
    for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1) {
        assert_true(ret->n < LOG_FILES_MAX);
        (void)snprintf(ret->path[ret->n++], sizeof ret->path[0], "/db/log/%s",
                       (const char *)names.data + at);
    }
    buf_deinit(&names);
}

static void log_keep(struct env *env, struct log_files *ret)
{
    log_paths(env, ret);
    for (size_t i = 0; i < ret->n; i++) {
        struct env_file *f;
        uint64_t size;
        size_t got;
        assert_int_equal(env_open(env, ret->path[i], ENV_READ, &f, NULL), ST_OK);
        assert_int_equal(env_size(f, &size, NULL), ST_OK);
        assert_int_equal(buf_reserve(&ret->bytes[i], (size_t)size), ST_OK);
        assert_int_equal(env_pread(f, 0, ret->bytes[i].data, (size_t)size, &got, NULL), ST_OK);
        assert_int_equal(got, size);
        ret->bytes[i].len = got;
        env_close(f);
    }
}

/* In place of what is there. */
static void log_put_back(struct env *env, struct log_files *l)
{
    struct log_files there;
    log_paths(env, &there);
    for (size_t i = 0; i < there.n; i++)
        assert_int_equal(env_unlink(env, there.path[i], NULL), ST_OK);
    for (size_t i = 0; i < l->n; i++) {
        struct env_file *f;
        assert_int_equal(env_open(env, l->path[i], ENV_READ | ENV_WRITE | ENV_CREATE, &f, NULL),
                         ST_OK);
        assert_int_equal(env_pwrite(f, 0, l->bytes[i].data, l->bytes[i].len, NULL), ST_OK);
        assert_int_equal(env_sync(f, NULL), ST_OK);
        env_close(f);
        buf_deinit(&l->bytes[i]);
    }
    assert_int_equal(env_sync_dir(env, "/db/log", NULL), ST_OK);
}

static void checkpoint(void *arg)
{
    struct ask *a = arg;
    a->st = store_checkpoint(a->n->s, &a->err);
}

/* A killed process had taken in entries of a new term and not synced them. The next one replays and
 * drains them, and loses power before the log is synced: the engine has a term that the log does not
 * know of. Here the log of before stands for the one that lost its end. */
static void test_an_engine_may_know_a_newer_term_than_its_log(void **state)
{
    (void)state;
    struct log_files before;
    cw_init(&w, 9, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w), node = leader % 3 + 1;
    assert_int_equal(ask(put, leader, "k", VERSION_NONE).st, ST_OK);
    cw_until(&w, cw_converged, 2000, "all to have that");
    log_keep(w.node[node].env, &before);
    cw_crash(&w, leader, SIM_CRASH_POWER, 3000);
    cw_until(&w, cw_has_leader, 3000, "another leader");
    assert_int_not_equal(cw_leader(&w), leader);
    assert_int_equal(ask(put, cw_leader(&w), "l", VERSION_NONE).st, ST_OK);
    cw_run(&w, 4000);
    cw_until(&w, cw_converged, 5000, "all to have that");
    assert_int_equal(ask(checkpoint, node, NULL, VERSION_NONE).st, ST_OK);
    cw_crash(&w, node, SIM_CRASH_POWER, 50);
    log_put_back(w.node[node].env, &before);
    cw_run(&w, 500);
    assert_non_null(w.node[node].s);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    assert_int_equal(ask(put, cw_leader(&w), "m", VERSION_NONE).st, ST_OK);
    cw_until(&w, cw_converged, 5000, "all to have that");
    cw_deinit(&w);
}

/* A moment that was fixed at one node lies below whatever any later leader hands out. */
static void test_moments_are_fixed_for_all(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 10)
    {
        cw_init(&w, seed, 3);
        cw_until(&w, cw_has_leader, 5000, "a leader");
        cw_collection(&w);
        uint64_t leader = cw_leader(&w), node = 1 + test_rng_below(&w.rng, 3);
        /* The leader's clock is ahead of the others'. */
        sim_set_wall_ms(w.node[leader].env, env_now_ms(w.node[leader].env) + 50000);
        struct version at = version_at_ms(env_now_ms(w.node[leader].env) - 1);
        struct ask f = ask(fix, node, NULL, at);
        if (f.st != ST_OK)
            fail_msg("%s", f.err.detail);
        assert_true(store_visible(w.node[node].s).hlc >= at.hlc);
        at.hlc += UINT64_C(86400000) << HLC_LOGICAL_BITS;
        assert_int_equal(ask(fix, node, NULL, at).st, ST_FUTURE_TIME);
        at.hlc -= UINT64_C(86400000) << HLC_LOGICAL_BITS;
        cw_crash(&w, leader, SIM_CRASH_POWER, 100000);
        cw_until(&w, cw_has_leader, 10000, "another leader");
        for (uint64_t id = 1; id <= 3; id++) {
            if (id == leader)
                continue;
            struct ask a = ask(put, id, "k", VERSION_NONE);
            assert_int_equal(a.st, ST_OK);
            assert_true(version_cmp(a.at, at) > 0);
        }
        cw_deinit(&w);
    }
}

/* ---- following from one node to another ---- */

enum { FOLLOWED_MAX = 16 };
struct follow { /* one visit of those who follow the keys with "q" */
    struct cw_node *n;
    char token[128];
    char keys[FOLLOWED_MAX];
    size_t n_keys;
    bool behind; /* the node was, when it was asked */
    struct version upto;
    enum status st;
    struct err err;
};

static void follow_q(void *arg)
{
    struct follow *f = arg;
    struct feed *feed;
    struct feed_row row;
    struct feed_options o = {.collection = BYTES_LIT("things"), .prefix = BYTES_LIT("q")};
    int rc;
    f->behind = version_cmp(store_visible(f->n->s), f->upto) < 0;
    f->st = feed_open(f->n->s, BYTES_STR(f->token), &o, &feed, &f->err);
    if (f->st != ST_OK)
        return;
    while ((rc = feed_next(feed, &row, &f->err)) > 0) {
        assert_true(row.key.len == 2 && f->n_keys < FOLLOWED_MAX);
        f->keys[f->n_keys++] = (char)row.key.data[1];
    }
    assert_int_equal(rc, 0);
    (void)snprintf(f->token, sizeof f->token, "%s", feed_token(feed));
    feed_close(feed);
}

static void follow_at(struct follow *f, uint64_t node)
{
    f->n = &w.node[node];
    err_init(&f->err);
    cw_call(&w, follow_q, f);
    if (f->st != ST_OK)
        fail_msg("seed %llu: node %llu: %s", (unsigned long long)w.seed, (unsigned long long)node,
                 f->err.detail);
}

static void cut_off(uint64_t node, bool cut)
{
    for (uint64_t i = 1; i <= 3; i++)
        w.cut[node][i] = w.cut[i][node] = cut && i != node;
}

/* A place that a node told, behind rows that the filter held back, is taken at one that has not seen
 * those yet, also when the clock of who leads meanwhile has not come so far; and what is written there
 * then comes. */
static void test_a_place_is_good_at_a_node_that_is_behind(void **state)
{
    (void)state;
    uint64_t seed;
    unsigned behind = 0;
    FOR_EACH_SEED(seed, 20)
    {
        struct follow f = {.token = ""};
        cw_init(&w, seed, 3);
        cw_until(&w, cw_has_leader, 5000, "a leader");
        cw_collection(&w);
        uint64_t leader = cw_leader(&w), late = leader % 3 + 1, other = late % 3 + 1;
        assert_int_equal(ask(put, leader, "q1", VERSION_NONE).st, ST_OK);
        cw_until(&w, cw_converged, 5000, "all nodes have the same");
        sim_set_wall_ms(w.node[leader].env, env_now_ms(w.node[leader].env) + 50000);
        cut_off(late, true);
        for (int i = 0; i < 5; i++)
            assert_int_equal(ask(put, leader, "noise", VERSION_NONE).st, ST_OK);
        f.upto = store_visible(w.node[leader].s);
        follow_at(&f, leader);
        assert_true(f.n_keys == 1 && !f.behind);
        cut_off(late, false);
        if (seed % 2) { /* the other leads, and its clock is behind */
            cw_crash(&w, leader, SIM_CRASH_POWER, 100000);
            cw_until(&w, cw_has_leader, 10000, "another leader");
        }
        follow_at(&f, late);
        behind += f.behind;
        assert_int_equal(f.n_keys, 1);
        assert_int_equal(ask(put, other, "q2", VERSION_NONE).st, ST_OK);
        assert_int_equal(ask(put, late, "q3", VERSION_NONE).st, ST_OK);
        assert_int_equal(ask(bar, late, NULL, VERSION_NONE).st, ST_OK);
        follow_at(&f, late);
        assert_memory_equal(f.keys, "123", 3);
        assert_int_equal(f.n_keys, 3);
        follow_at(&f, other);
        assert_int_equal(f.n_keys, 3);
        cw_deinit(&w);
    }
    assert_true(behind >= 5);
}

/* ---- the folder ---- */

static enum status try_open(uint64_t id, struct err *err)
{
    struct store *s;
    struct cw_node *n = &w.node[id];
    enum status st = store_open(n->env, "/db", &n->o, &s, err);
    if (st == ST_OK)
        assert_int_equal(store_close(s, err), ST_OK);
    return st;
}

static void expect(uint64_t id, enum status want, const char *word)
{
    struct err err;
    err_init(&err);
    enum status st = try_open(id, &err);
    if (st != want || !strstr(err.detail, word))
        fail_msg("%s: %s", status_name(st), err.detail);
}

static void test_a_folder_is_one_node_of_one_cluster(void **state)
{
    (void)state;
    struct err err;
    err_init(&err);
    cw_init(&w, 3, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(store_close(w.node[id].s, &err), ST_OK);
        w.node[id].s = NULL;
    }
    struct cw_node *n = &w.node[2];
    n->cluster.node = 3;
    expect(2, ST_INVALID_ARGUMENT, "folder of node 2");
    n->cluster.node = 9;
    expect(2, ST_INVALID_ARGUMENT, "not one of");
    n->cluster.node = 2;
    n->cluster.n = 2;
    expect(2, ST_INVALID_ARGUMENT, "other nodes");
    n->cluster.n = 3;
    n->cluster.nodes[2] = 2;
    expect(2, ST_INVALID_ARGUMENT, "twice");
    n->cluster.nodes[2] = 3;
    n->o.sync = STORE_SYNC_INTERVAL;
    expect(2, ST_INVALID_ARGUMENT, "sync");
    n->o.sync = STORE_SYNC_DEFAULT;
    n->o.read_only = true;
    expect(2, ST_INVALID_ARGUMENT, "read-only");
    n->o.read_only = false;
    n->o.cluster = NULL;
    expect(2, ST_INVALID_ARGUMENT, "cluster's node");
    n->o.cluster = &n->cluster;
    expect(2, ST_OK, "");
    for (uint64_t at = 0; at < 40; at += 3) {
        assert_true(sim_flip_bit(n->env, "/db/CLUSTER", at, 0));
        expect(2, ST_CORRUPT, "CLUSTER");
        assert_true(sim_flip_bit(n->env, "/db/CLUSTER", at, 0));
    }
    cw_deinit(&w);
}

/* Only the first node may have been alone before; the others get what it has. */
static void test_data_is_brought_along_by_the_first(void **state)
{
    (void)state;
    struct err err;
    struct store *s;
    struct collection *c;
    err_init(&err);
    for (uint64_t first = 1; first <= 2; first++) {
        memset(&w, 0, sizeof w);
        cw_init_on(&w, 5, 3, first);
        struct cw_node *n = &w.node[first];
        n->o.cluster = NULL;
        assert_int_equal(store_open(n->env, "/db", &n->o, &s, &err), ST_OK);
        assert_int_equal(store_collection_open(s, BYTES_LIT("old"), BYTES_EMPTY, &c, &err), ST_OK);
        w.collection = collection_id(c);
        w.node[first].s = s;
        for (int i = 0; i < 20; i++) {
            struct ask a = {.n = n, .key = "k"};
            put(&a);
            assert_int_equal(a.st, ST_OK);
        }
        assert_int_equal(store_close(s, &err), ST_OK);
        n->s = NULL;
        if (first != 1) {
            n->o.cluster = &n->cluster;
            expect(first, ST_INVALID_ARGUMENT, "only the first node");
            cw_deinit(&w);
            continue;
        }
        cw_open(&w, first);
        cw_until(&w, cw_converged, 20000, "all have it");
        for (uint64_t id = 1; id <= 3; id++) {
            assert_int_equal(store_collection_find(w.node[id].s, BYTES_LIT("old"), &c, &err),
                             ST_OK);
            struct ask a = ask(put, id, "new", VERSION_NONE);
            if (a.st != ST_OK)
                fail_msg("%s", a.err.detail);
        }
        cw_deinit(&w);
    }
}

/* The id of its cluster, once a node has heard it, is kept in its folder. */
static void test_a_folder_is_of_one_cluster(void **state)
{
    (void)state;
    struct err err;
    err_init(&err);
    cw_init(&w, 9, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    assert_int_equal(store_cluster_id(w.node[2].s), 0);
    assert_int_equal(store_cluster_meet(w.node[2].s, 0, &err), ST_OK);
    assert_int_equal(store_cluster_meet(w.node[2].s, 0xfeed, &err), ST_OK);
    cw_crash(&w, 2, SIM_CRASH_POWER, 10);
    cw_run(&w, 500);
    assert_int_equal(store_cluster_id(w.node[2].s), 0xfeed);
    assert_int_equal(store_cluster_meet(w.node[2].s, 0xfeed, &err), ST_OK);
    assert_int_equal(store_cluster_meet(w.node[2].s, 0, &err), ST_OK);
    assert_int_equal(store_cluster_meet(w.node[2].s, 0xfeeb, &err), ST_PRECONDITION_FAILED);
    assert_int_equal(store_cluster_id(w.node[2].s), 0xfeed);
    cw_deinit(&w);
}

/* A clock that was once past the year 2106 does not make a node one of the past when it is right again. */
static void test_a_clock_of_another_century(void **state)
{
    (void)state;
    cw_init(&w, 8, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t wrong = cw_leader(&w) % 3 + 1, right = env_now_ms(w.node[wrong].env);
    sim_set_wall_ms(w.node[wrong].env, (UINT64_C(5) << 32) * 1000 + 5000);
    cw_crash(&w, wrong, SIM_CRASH_PROCESS_ONLY, 10);
    cw_run(&w, 500);
    assert_int_equal(ask(put, wrong, "k", VERSION_NONE).st, ST_OK);
    sim_set_wall_ms(w.node[wrong].env, right + 1000);
    cw_crash(&w, wrong, SIM_CRASH_PROCESS_ONLY, 10);
    cw_run(&w, 500);
    assert_int_equal(ask(put, wrong, "k", VERSION_NONE).st, ST_OK);
    cw_deinit(&w);
}

/* Its log was never drained, and it dies before it has told the log anything of the cluster. */
static void test_data_is_brought_along_by_one_that_dies_at_once(void **state)
{
    (void)state;
    struct err err;
    struct collection *c;
    err_init(&err);
    cw_init_on(&w, 5, 3, 1);
    struct cw_node *n = &w.node[1];
    n->o.cluster = NULL;
    assert_int_equal(store_open(n->env, "/db", &n->o, &n->s, &err), ST_OK);
    assert_int_equal(store_collection_open(n->s, BYTES_LIT("old"), BYTES_EMPTY, &c, &err), ST_OK);
    w.collection = collection_id(c);
    struct ask a = {.n = n, .key = "k"};
    put(&a);
    assert_int_equal(a.st, ST_OK);
    cut_off(1, true);
    for (int i = 0; i < 3; i++) {
        cw_crash(&w, 1, i ? SIM_CRASH_PROCESS_ONLY : SIM_CRASH_POWER, 10);
        cw_run(&w, 500);
        assert_non_null(n->s);
    }
    cut_off(1, false);
    cw_until(&w, cw_converged, 20000, "all have it");
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(get_at(id, 'k', VERSION_NONE), ST_OK);
    cw_deinit(&w);
}

static void make_new(void *arg)
{
    struct ask *a = arg;
    struct collection *c;
    a->st = store_collection_open(a->n->s, BYTES_STR(a->key), BYTES_EMPTY, &c, &a->err);
}

/* As the verbs do: with the collection that it is for. */
static void put_into(void *arg)
{
    struct ask *a = arg;
    struct collection *c;
    struct store_write sw = {.collections = &c, .n_collections = 1};
    uint8_t key[] = {0, 0, 0, 0, 'k'};
    struct entry_op op = {
        .key = BYTES(key, sizeof key), .kind = RECORD_PUT, .value = BYTES_LIT("value")};
    assert_int_equal(store_collection_find(a->n->s, BYTES_STR(a->key), &c, &a->err), ST_OK);
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(collection_id(c) >> (24 - 8 * i));
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, &a->err), ST_OK);
    a->st = store_propose(a->n->s, &sw, &a->err);
    blob_unref(sw.entry);
}

static struct store_role role_at(uint64_t node)
{
    struct store_role r;
    store_role(w.node[node].s, &r);
    return r;
}

/* Who leads next has the collection in its log and not applied yet: it is not one that was dropped. */
static void test_a_new_leader_knows_the_collections_of_before(void **state)
{
    (void)state;
    uint64_t seed;
    unsigned behind = 0;
    FOR_EACH_SEED(seed, 40)
    {
        cw_init(&w, seed, 3);
        w.delay_ms = 1;
        cw_until(&w, cw_has_leader, 5000, "a leader");
        cw_collection(&w);
        cw_run(&w, 200);
        uint64_t leader = cw_leader(&w), at = leader % 3 + 1, other = at % 3 + 1;
        assert_int_equal(ask(make_new, at, "new", VERSION_NONE).st, ST_OK);
        bool late = role_at(other).applied < role_at(at).applied;
        cw_crash(&w, leader, SIM_CRASH_POWER, 100000);
        while (role_at(at).leader == leader)
            cw_step(&w, 1);
        struct ask a = ask(put_into, at, "new", VERSION_NONE);
        if (a.st != ST_OK)
            fail_msg("seed %llu: %s: %s", (unsigned long long)seed, status_name(a.st),
                     a.err.detail);
        behind += late && cw_leader(&w) == other;
        cw_deinit(&w);
    }
    assert_true(behind > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_quiet_cluster_agrees),
        cmocka_unit_test(test_a_node_that_begins_late_is_told),
        cmocka_unit_test(test_those_who_change_the_catalog_wait_together),
        cmocka_unit_test(test_a_minority_says_so),
        cmocka_unit_test(test_a_moment_is_no_write),
        cmocka_unit_test(test_an_engine_may_know_a_newer_term_than_its_log),
        cmocka_unit_test(test_the_catalog_is_changed_as_seen),
        cmocka_unit_test(test_a_horizon_is_known_before_there_is_a_leader),
        cmocka_unit_test(test_moments_are_fixed_for_all),
        cmocka_unit_test(test_a_place_is_good_at_a_node_that_is_behind),
        cmocka_unit_test(test_a_folder_is_one_node_of_one_cluster),
        cmocka_unit_test(test_data_is_brought_along_by_the_first),
        cmocka_unit_test(test_data_is_brought_along_by_one_that_dies_at_once),
        cmocka_unit_test(test_a_new_leader_knows_the_collections_of_before),
        cmocka_unit_test(test_a_folder_is_of_one_cluster),
        cmocka_unit_test(test_a_clock_of_another_century),
        cmocka_unit_test(test_random_clusters),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
