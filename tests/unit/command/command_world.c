#include "command_world.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>

static void open_store(struct world *w)
{
    enum status st = store_open(w->env, "/db", &w->o, &w->db.store, &w->err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), w->err.detail);
}

void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.events = calloc(WORLD_EVENTS, sizeof(struct event))};
    assert_non_null(w->events);
    test_rng_init(&w->rng, seed);
    err_init(&w->err);
    w->env = sim_env_new(&(struct sim_options){.seed = seed});
    assert_non_null(w->env);
    w->o = (struct store_options){
        .engine_name = "mem",
        .engine_open = engine_mem_open,
        .cache_bytes = test_rng_chance(&w->rng, 1, 2) ? 1 << 20 : 0,
        .wal = {.segment_bytes = 128 * 1024},
        .checkpoint_interval_ms = UINT32_MAX,
        .no_thread = true,
    };
    w->db = (struct command_db){.env = w->env, .writer = BYTES_LIT("tester")};
    open_store(w);
}

void world_deinit(struct world *w)
{
    assert_ok(w, store_close(w->db.store, &w->err));
    sim_env_free(w->env);
    free(w->events);
}

void world_reopen(struct world *w)
{
    assert_ok(w, store_close(w->db.store, &w->err));
    open_store(w);
}

struct bytes world_name(int collection)
{
    return collection == 0 ? BYTES_LIT("a") : BYTES_LIT("ab");
}

struct bytes world_key(int key)
{
    static const char letters[] = {0, 'a', 'b', (char)0xff};
    static char keys[WORLD_KEYS][3];
    int len = key < 4 ? 1 : key < 20 ? 2 : 3;
    int n = key - (len == 1 ? 0 : len == 2 ? 4 : 20);
    for (int i = 0; i < len; i++, n /= 4)
        keys[key][i] = letters[n % 4];
    return BYTES(keys[key], (size_t)len);
}

void world_value(const struct event *e, struct buf *out)
{
    static const char pad[64];
    buf_clear(out);
    assert_int_equal(buf_printf(out, "%u", (unsigned)e->value), ST_OK);
    assert_int_equal(buf_append(out, pad, e->pad), ST_OK);
}

/* ---- the model ---- */

bool world_dropped(const struct world *w, size_t event, struct version at)
{
    for (size_t i = event + 1; i < w->n; i++)
        if (w->events[i].kind == EVENT_DROP &&
            w->events[i].collection == w->events[event].collection &&
            version_cmp(w->events[i].version, at) <= 0)
            return true;
    return false;
}

const struct event *world_find(const struct world *w, int collection, int key, struct version at,
                               uint64_t at_ms)
{
    for (size_t i = w->n; i-- > 0;) {
        const struct event *e = &w->events[i];
        if (e->collection != collection || version_cmp(e->version, at) > 0)
            continue;
        if (e->kind == EVENT_DROP)
            return NULL;
        if (e->key != key)
            continue;
        return e->kind == EVENT_PUT && (e->expires_ms == 0 || e->expires_ms > at_ms) ? e : NULL;
    }
    return NULL;
}

/* ---- writing ---- */

static void happened(struct world *w, struct event e)
{
    assert_true(w->n < WORLD_EVENTS);
    if (w->n)
        assert_true(version_cmp(e.version, w->events[w->n - 1].version) >= 0);
    w->events[w->n++] = e;
}

static struct event random_event(struct world *w)
{
    uint64_t ttl = test_rng_chance(&w->rng, 1, 6) ? test_rng_between(&w->rng, 20, 300) : 0;
    struct event e = {.kind = EVENT_PUT,
                      .collection = (int)test_rng_below(&w->rng, WORLD_COLLECTIONS),
                      .key = (int)test_rng_below(&w->rng, WORLD_KEYS),
                      .value = (uint32_t)w->n,
                      .pad = (uint32_t)test_rng_below(&w->rng, 60)};
    e.expires_ms = ttl; /* so far */
    return e;
}

static void put(struct world *w)
{
    struct buf value = BUF_INIT;
    struct event e = random_event(w);
    world_value(&e, &value);
    struct command_put c = {.collection = world_name(e.collection),
                            .key = world_key(e.key),
                            .value = {COMMAND_RAW, buf_bytes(&value)},
                            .options.ttl_ms = e.expires_ms};
    assert_ok(w, command_put(&w->db, &c, &e.version, &w->err));
    struct command_get g = {.collection = c.collection, .key = c.key};
    struct record rec;
    assert_ok(w, command_get(&w->db, &g, &value, &rec, &w->err));
    assert_int_equal(rec.expires_ms > 0, e.expires_ms > 0);
    e.expires_ms = rec.expires_ms;
    happened(w, e);
    buf_deinit(&value);
}

static void delete_one(struct world *w)
{
    struct event e = random_event(w);
    e.kind = EVENT_DELETE;
    struct command_delete c = {.collection = world_name(e.collection), .key = world_key(e.key)};
    const struct event *was = world_find(w, e.collection, e.key, VERSION_MAX, env_now_ms(w->env));
    enum status st = command_delete(&w->db, &c, &e.version, &w->err);
    if (st == ST_NOT_FOUND && (!was || was->expires_ms))
        return;
    assert_ok(w, st);
    assert_non_null(was);
    happened(w, e);
}

static void commit(struct world *w)
{
    struct command_batch *b = command_batch_new();
    struct event events[5];
    struct version v;
    size_t n = 1 + test_rng_below(&w->rng, 5);
    struct buf value = BUF_INIT;
    assert_non_null(b);
    for (size_t i = 0; i < n; i++) {
        struct event *e = &events[i];
        *e = random_event(w);
        e->expires_ms = 0;
        /* Of one collection, and rising, as changes tell them; so that no key comes twice. */
        e->collection = events[0].collection;
        e->key = (int)i * (WORLD_KEYS / 5) + e->key % (WORLD_KEYS / 5);
        e->value += (uint32_t)i;
        e->kind = test_rng_chance(&w->rng, 1, 4) ? EVENT_DELETE : EVENT_PUT;
        world_value(e, &value);
        struct command_value cv = {COMMAND_RAW, buf_bytes(&value)};
        assert_ok(w, e->kind == EVENT_PUT ? command_batch_put(b, world_name(e->collection),
                                                              world_key(e->key), cv, 0, &w->err)
                                          : command_batch_delete(b, world_name(e->collection),
                                                                 world_key(e->key), &w->err));
    }
    assert_ok(w, command_commit(&w->db, b, NULL, &v, NULL, &w->err));
    for (size_t i = 0; i < n; i++) {
        events[i].version = v;
        happened(w, events[i]);
    }
    command_batch_free(b);
    buf_deinit(&value);
}

static void drop(struct world *w)
{
    struct event e = {.kind = EVENT_DROP,
                      .collection = (int)test_rng_below(&w->rng, WORLD_COLLECTIONS)};
    enum status st = command_collection_drop(&w->db, world_name(e.collection), NULL, &w->err);
    if (st == ST_NOT_FOUND)
        return;
    assert_ok(w, st);
    e.version = store_visible(w->db.store);
    happened(w, e);
}

void world_write(struct world *w)
{
    uint64_t dice = test_rng_below(&w->rng, 60);
    if (dice == 0)
        drop(w);
    else if (dice < 15)
        delete_one(w);
    else if (dice < 25)
        commit(w);
    else
        put(w);
}

static void vacuum(struct world *w)
{
    struct bytes name = world_name((int)test_rng_below(&w->rng, WORLD_COLLECTIONS));
    struct collection_settings s = {0};
    if (test_rng_chance(&w->rng, 1, 2))
        s.max_count = 1 + test_rng_below(&w->rng, 3);
    else
        s.max_age_ms = 1 + test_rng_below(&w->rng, 200);
    if (command_retention_set(&w->db, name, &s, &w->err) != ST_OK)
        return;
    assert_ok(w, command_vacuum(&w->db, name, NULL, NULL, NULL, &w->err));
    w->vacuums++;
}

void world_meanwhile(struct world *w, bool with_vacuum)
{
    for (size_t n = test_rng_below(&w->rng, 6); n-- > 0;)
        world_write(w);
    if (test_rng_chance(&w->rng, 1, 8))
        assert_ok(w, store_checkpoint(w->db.store, &w->err));
    if (test_rng_chance(&w->rng, 1, 6))
        sim_advance_ms(w->env, test_rng_below(&w->rng, 200));
    if (test_rng_chance(&w->rng, 1, 40))
        world_reopen(w);
    if (with_vacuum && test_rng_chance(&w->rng, 1, 8))
        vacuum(w);
}
