/* A whole store's state moved into another store, on two simulated machines: the same answers to
 * every question, the same bytes when it is moved on, the old or the new state after any crash. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/store/state.h"
#include "node/store/store_internal.h"
#include "store_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdlib.h>

static void check(struct world *w)
{
    model_check(&w->m, w->s, w->env, &w->rng);
}

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

static void write_n(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        if (!world_write(w, STORE_SYNC_ALWAYS))
            world_checkpoint(w);
    world_durable_so_far(w);
}

/* A store that has seen some life: drains, other collections, a dropped one, snapshots' names. */
static void live(struct world *w, int writes)
{
    struct collection *c;
    struct err err;
    err_init(&err);
    write_n(w, writes);
    must(store_collection_open(w->s, BYTES_LIT("dropped"), BYTES_EMPTY, &c, &err), &err);
    must(store_collection_drop(w->s, BYTES_LIT("dropped"), BYTES_EMPTY, &err), &err);
    must(store_collection_open(w->s, BYTES_LIT("empty"), BYTES_EMPTY, &c, &err), &err);
    (void)!store_snapshot_delete(w->s, BYTES_LIT("then"), &err);
    must(store_snapshot_create(w->s, BYTES_LIT("then"), store_visible(w->s), &err), &err);
    if (test_rng_chance(&w->rng, 1, 2))
        world_checkpoint(w);
    write_n(w, writes);
    world_checkpoint(w);
}

/* ---- moving ---- */

static void read_all(struct world *w, struct store_state *st, struct buf *ret)
{
    struct buf chunk = BUF_INIT, again = BUF_INIT;
    struct err err;
    bool last = false;
    err_init(&err);
    buf_clear(ret);
    while (!last) {
        size_t max = 1 + test_rng_below(&w->rng, test_rng_chance(&w->rng, 1, 8) ? 100 : 50000);
        must(store_state_read(st, ret->len, max, &chunk, &last, &err), &err);
        assert_true(chunk.len > 0 && chunk.len <= max && (last || chunk.len == max));
        assert_int_equal(buf_append(ret, chunk.data, chunk.len), ST_OK);
        /* From anywhere before, the same bytes come again. */
        if (test_rng_chance(&w->rng, 1, 6)) {
            size_t from = test_rng_below(&w->rng, ret->len);
            bool end;
            must(store_state_read(st, from, 3000, &again, &end, &err), &err);
            size_t n = again.len < ret->len - from ? again.len : ret->len - from;
            assert_memory_equal(again.data, ret->data + from, n);
        }
    }
    assert_int_equal(store_state_read(st, ret->len, 10, &chunk, &last, &err), ST_INVALID_ARGUMENT);
    assert_int_equal(store_state_read(st, ret->len + 7, 10, &chunk, &last, &err),
                     ST_INVALID_ARGUMENT);
    buf_deinit(&chunk);
    buf_deinit(&again);
}

static struct engine_mark take_state(struct world *w, struct buf *ret)
{
    struct store_state *st;
    struct err err;
    err_init(&err);
    must(store_state_pin(w->s, &st, &err), &err);
    read_all(w, st, ret);
    struct engine_mark m = store_state_mark(st);
    store_state_release(st);
    return m;
}

static enum status install_as_leader(struct world *w, struct store_incoming *in, bool keep_log,
                                     struct err *err)
{
    enum status st = store__lead_begin(w->s, err);
    if (st != ST_OK)
        return st;
    st = store_incoming_install(in, keep_log, err);
    store__lead_end(w->s);
    return st;
}

/* With faults only while it is installed, where `late` is not NULL. */
static enum status try_receive_faulty(struct world *w, struct bytes state, bool keep_log,
                                      const struct sim_faults *late, struct err *err)
{
    struct store_incoming *in;
    struct engine_mark mark;
    enum status st = store_incoming_begin(w->s, &in, err);
    if (st != ST_OK)
        return st;
    for (size_t at = 0; st == ST_OK && at < state.len;) {
        size_t n = 1 + (size_t)w->m.n * 997 % 60000;
        n = n < state.len - at ? n : state.len - at;
        st = store_incoming_append(in, at, BYTES(state.data + at, n), err);
        at += n;
    }
    if (st == ST_OK)
        st = store_incoming_build(in, &mark, err);
    if (late)
        sim_set_faults(w->env, late);
    if (st == ST_OK)
        st = install_as_leader(w, in, keep_log, err);
    if (late)
        sim_set_faults(w->env, &(struct sim_faults){0});
    store_incoming_end(in);
    return st;
}

static enum status try_receive(struct world *w, struct bytes state, bool keep_log, struct err *err)
{
    return try_receive_faulty(w, state, keep_log, NULL, err);
}

static void receive(struct world *w, const struct buf *state)
{
    struct err err;
    err_init(&err);
    must(try_receive(w, buf_bytes(state), false, &err), &err);
}

/* `to` has from now on what `from` has. */
static void same_model(struct world *to, const struct world *from)
{
    memcpy(to->m.writes, from->m.writes, from->m.n * sizeof(*from->m.writes));
    to->m.n = from->m.n;
    to->m.collection = from->m.collection;
    sim_set_wall_ms(to->env, env_now_ms(from->env) + 1);
}

/* A store alone goes on from another state only once it was opened anew. */
static void again(struct world *w)
{
    world_crash(w, test_rng_chance(&w->rng, 1, 2) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
}

static void check_catalog(struct world *w)
{
    struct collection *c;
    struct version at;
    struct err err;
    err_init(&err);
    assert_int_equal(store_collection_find(w->s, BYTES_LIT("things"), &c, &err), ST_OK);
    assert_int_equal(collection_id(c), w->m.collection);
    assert_int_equal(store_collection_find(w->s, BYTES_LIT("empty"), &c, &err), ST_OK);
    assert_int_equal(store_collection_find(w->s, BYTES_LIT("dropped"), &c, &err), ST_NOT_FOUND);
    assert_int_equal(store_collection_count(w->s), 2);
    assert_int_equal(store_snapshot_find(w->s, BYTES_LIT("then"), &at, &err), ST_OK);
    assert_true(version_cmp(at, store_visible(w->s)) < 0);
    assert_string_equal(store_collection_name(w->s, w->m.collection), "things");
}

static void a_state_moves_whole(void **state)
{
    (void)state;
    uint64_t seed, bytes = 0;
    FOR_EACH_SEED(seed, 40)
    {
        struct world a, b;
        struct buf one = BUF_INIT, two = BUF_INIT;
        world_init(&a, seed);
        world_init(&b, seed + 1000);
        live(&a, 40);
        struct engine_mark mark = take_state(&a, &one);
        struct collection *before;
        struct err err;
        err_init(&err);
        must(store_collection_find(b.s, BYTES_LIT("things"), &before, &err), &err);
        same_model(&b, &a);
        receive(&b, &one);
        assert_int_equal(b.s->range.applied, mark.index);
        assert_int_equal(version_cmp(store_visible(b.s), mark.version), 0);
        check_catalog(&b);
        check(&b);
        /* Moved on, it is the same to the byte. */
        take_state(&b, &two);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        /* The handle from before is the same collection still. */
        struct collection *after;
        must(store_collection_find(b.s, BYTES_LIT("things"), &after, &err), &err);
        assert_ptr_equal(before, after);
        again(&b);
        check(&b);
        write_n(&b, 10);
        world_crash(&b, SIM_CRASH_POWER);
        check(&b);
        check_catalog(&b);
        /* What follows moves too, into a store that is not empty, and back over there. */
        sim_set_wall_ms(a.env, env_now_ms(b.env) + 1000);
        live(&a, 20);
        assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_PRECONDITION_FAILED);
        check(&b);
        take_state(&a, &one);
        bytes += one.len;
        same_model(&b, &a);
        receive(&b, &one);
        check(&b);
        check_catalog(&b);
        assert_int_equal(b.s->folder, 0); /* the other way round */
        world_crash(&b, seed % 2 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
        check(&b);
        write_n(&b, 10);
        world_checkpoint(&b);
        assert_int_equal(store_verify(b.s, NULL, NULL, NULL, &err), ST_OK);
        buf_deinit(&one);
        buf_deinit(&two);
        world_deinit(&a);
        world_deinit(&b);
    }
    print_message("%llu bytes moved\n", (unsigned long long)bytes);
}

/* The receiver had a life of its own, with the same ids for other names: none of it is left, and who
 * held a collection of it holds a dropped one. */
static void another_life_is_replaced(void **state)
{
    (void)state;
    struct world a, b;
    struct buf one = BUF_INIT;
    struct collection *others[3], *c;
    struct err err;
    err_init(&err);
    world_init(&b, 2);
    must(store_collection_open(b.s, BYTES_LIT("mine"), BYTES_EMPTY, &others[0], &err), &err);
    must(store_collection_open(b.s, BYTES_LIT("dropped"), BYTES_EMPTY, &others[1], &err), &err);
    must(store_collection_open(b.s, BYTES_LIT("mine too"), BYTES_EMPTY, &others[2], &err), &err);
    write_n(&b, 15);
    world_init(&a, 1);
    live(&a, 60);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    check(&b);
    check_catalog(&b);
    for (int i = 0; i < 3; i++)
        assert_true(atomic_load(&others[i]->dropped));
    assert_int_equal(store_collection_find(b.s, BYTES_LIT("mine"), &c, &err), ST_NOT_FOUND);
    again(&b);
    must(store_collection_open(b.s, BYTES_LIT("mine"), BYTES_EMPTY, &c, &err), &err);
    world_crash(&b, SIM_CRASH_POWER);
    check(&b);
    buf_deinit(&one);
    world_deinit(&a);
    world_deinit(&b);
}

/* Iterators that were begun go on with what they began with; the old engine's files go when the last
 * of them is closed. */
static void old_readers_finish(void **state)
{
    (void)state;
    struct world a, b;
    struct buf one = BUF_INIT;
    struct store_iter *it, *history;
    struct store_row row;
    struct bytes file;
    struct err err;
    uint8_t space[256], upper[4];
    err_init(&err);
    world_init(&a, 3);
    live(&a, 30);
    world_init(&b, 4);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    struct bytes lower = model_key(&b.m, 0, space);
    memcpy(upper, lower.data, 4);
    upper[3]++;
    struct store_scan q = {.in = {BYTES(lower.data, 4), BYTES(upper, 4)}};
    must(store_scan(b.s, &q, &it, &err), &err);
    must(store_history(b.s, lower, 0, &history, &err), &err);
    size_t live_keys = 0, seen = 0;
    uint64_t now = env_now_ms(b.env);
    for (uint8_t k = 0; k < MODEL_KEYS; k++) {
        const struct model_op *op = model_find(&b.m, k, VERSION_MAX, NULL);
        live_keys += op && op->kind == RECORD_PUT && (!op->expires_ms || op->expires_ms > now);
    }
    live(&a, 30);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    assert_true(sim_file(b.env, "/db/engine.2/mem.dump", &file)); /* somebody reads it */
    assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_OVERLOADED);
    check(&b);
    int rc;
    while ((rc = store_iter_next(it, &row, &err)) > 0)
        seen++;
    assert_int_equal(rc, 0);
    assert_int_equal(seen, live_keys);
    while ((rc = store_iter_next(history, &row, &err)) > 0)
        continue;
    assert_int_equal(rc, 0);
    store_iter_close(it);
    store_iter_close(history);
    (void)store_tick(b.s);
    assert_false(sim_file(b.env, "/db/engine.2/mem.dump", &file));
    assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_PRECONDITION_FAILED);
    check(&b);
    buf_deinit(&one);
    world_deinit(&a);
    world_deinit(&b);
}

/* What the log has behind the mark: void, or kept. */
static void the_log_behind_is_void_or_kept(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct world a, b;
        struct buf one = BUF_INIT;
        struct wal_entries more = {0};
        struct err err;
        err_init(&err);
        world_init(&a, 5);
        live(&a, 30);
        struct engine_mark mark = take_state(&a, &one);
        world_init(&b, 6);
        same_model(&b, &a);
        write_n(&a, 8); /* behind the state, in the log */
        must(wal_read_entries(a.s->wal, RANGE_FIRST, mark.index + 1, UINT64_MAX, 1 << 20, &more,
                              &err),
             &err);
        assert_int_equal(more.n, 8);
        must(wal_append(b.s->wal, more.v, more.n, NULL, &err), &err);
        must(wal_sync(b.s->wal, &err), &err);
        must(try_receive(&b, buf_bytes(&one), keep, &err), &err);
        check(&b);
        if (keep) {
            same_model(&b, &a); /* the next opening applies them */
            world_crash(&b, SIM_CRASH_POWER);
            assert_int_equal(b.s->range.applied, mark.index + 8);
        } else {
            world_crash(&b, SIM_CRASH_POWER);
            assert_int_equal(b.s->range.applied, mark.index);
            check(&b);
            write_n(&b, 5); /* at the same indexes */
            world_crash(&b, SIM_CRASH_PROCESS_ONLY);
            assert_int_equal(b.s->range.applied, mark.index + 5);
        }
        check(&b);
        wal_entries_deinit(&more);
        buf_deinit(&one);
        world_deinit(&a);
        world_deinit(&b);
    }
}

/* ---- what goes wrong ---- */

/* A receiver that has the first of two states, and the second one as bytes. */
struct pair {
    struct world a, b;
    struct buf state;
    struct model_write *old;
    size_t n_old;
};

static void pair_init(struct pair *p, uint64_t seed)
{
    *p = (struct pair){0};
    world_init(&p->a, seed);
    live(&p->a, 12);
    take_state(&p->a, &p->state);
    world_init(&p->b, seed + 1);
    same_model(&p->b, &p->a);
    receive(&p->b, &p->state);
    live(&p->a, 12);
    take_state(&p->a, &p->state);
    p->n_old = p->b.m.n;
}

static void pair_deinit(struct pair *p)
{
    buf_deinit(&p->state);
    world_deinit(&p->a);
    world_deinit(&p->b);
}

/* The one or the other; *ret_new says which. */
static void check_either(struct pair *p, bool *ret_new)
{
    *ret_new = version_cmp(store_visible(p->b.s), p->a.m.writes[p->n_old].version) >= 0;
    if (*ret_new)
        same_model(&p->b, &p->a);
    check(&p->b);
    if (*ret_new)
        check_catalog(&p->b);
}

static void dying_at_every_disk_operation(void **state)
{
    (void)state;
    unsigned was_new = 0, was_old = 0;
    for (uint64_t at = 1; was_new < 12; at++) {
        struct pair p;
        struct err err;
        bool is_new;
        err_init(&err);
        pair_init(&p, 20);
        sim_set_faults(p.b.env,
                       &(struct sim_faults){.fail_after_ops = at, .partial_on_error = true});
        enum status st = try_receive(&p.b, buf_bytes(&p.state), false, &err);
        (void)store_close(p.b.s, &err);
        sim_set_faults(p.b.env, &(struct sim_faults){0});
        sim_crash(p.b.env, at % 3 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY, at % 2 ? 512 : 4096);
        must(store_open(p.b.env, "/db", &p.b.o, &p.b.s, &err), &err);
        check_either(&p, &is_new);
        assert_true(st != ST_OK || is_new);
        was_new += is_new;
        was_old += !is_new;
        if (!is_new) { /* it can be had at once */
            same_model(&p.b, &p.a);
            receive(&p.b, &p.state);
            check(&p.b);
            again(&p.b);
        }
        write_n(&p.b, 3);
        world_crash(&p.b, SIM_CRASH_POWER);
        check(&p.b);
        pair_deinit(&p);
    }
    print_message("%u crashes left the old state, %u the new one\n", was_old, was_new);
    assert_true(was_old > 10);
}

/* One operation fails and the process goes on: refused, and as it was; or done. */
static void failing_writes_and_syncs(void **state)
{
    (void)state;
    uint64_t seed;
    unsigned refused = 0, poisoned = 0;
    FOR_EACH_SEED(seed, 120)
    {
        struct pair p;
        struct err err;
        bool is_new;
        err_init(&err);
        pair_init(&p, 30 + seed);
        bool late = seed % 2;
        uint32_t often = late ? 300000 : 10000;
        const struct sim_faults f = {.write_eio_ppm = seed % 3 == 0 ? often : 0,
                                     .sync_eio_ppm = seed % 3 == 1 ? often : 0,
                                     .write_enospc_ppm = seed % 3 == 2 ? often : 0,
                                     .partial_on_error = true};
        if (!late)
            sim_set_faults(p.b.env, &f);
        enum status st =
            try_receive_faulty(&p.b, buf_bytes(&p.state), false, late ? &f : NULL, &err);
        sim_set_faults(p.b.env, &(struct sim_faults){0});
        refused += st != ST_OK;
        poisoned += st == ST_POISONED;
        if (st != ST_OK) {
            assert_true(st == ST_IO_ERROR || st == ST_DISK_FULL || st == ST_POISONED);
            check(&p.b);
        }
        if (st == ST_POISONED) {
            assert_int_equal(world_try_write(&p.b, STORE_SYNC_ALWAYS, &err), ST_POISONED);
            world_abandon(&p.b);
            sim_crash(p.b.env, SIM_CRASH_POWER, 512);
            must(store_open(p.b.env, "/db", &p.b.o, &p.b.s, &err), &err);
        }
        check_either(&p, &is_new);
        if (st != ST_OK && st != ST_POISONED) {
            assert_false(is_new);
            world_crash(&p.b, SIM_CRASH_POWER);
            check(&p.b);
            same_model(&p.b, &p.a);
            receive(&p.b, &p.state);
        }
        if (st != ST_POISONED || is_new)
            same_model(&p.b, &p.a);
        check(&p.b);
        pair_deinit(&p);
    }
    print_message("%u refused, %u of them poisoned\n", refused, poisoned);
    assert_true(refused > 0 && poisoned > 0);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t hits = 1, points = 0;
    struct err err;
    err_init(&err);
    /* The sender. */
    struct world a;
    struct buf whole = BUF_INIT;
    world_init(&a, 40);
    live(&a, 12);
    take_state(&a, &whole);
    for (uint64_t at = 1; hits > 0; at++) {
        struct store_state *st = NULL;
        struct buf chunk = BUF_INIT, got = BUF_INIT;
        bool last = false;
        (void)mem_fail_hits();
        mem_fail_at(at, 0);
        enum status rc = store_state_pin(a.s, &st, &err);
        while (rc != ST_OK) {
            assert_int_equal(rc, ST_NO_MEMORY);
            rc = store_state_pin(a.s, &st, &err);
        }
        while (!last) {
            rc = store_state_read(st, got.len, 5000, &chunk, &last, &err);
            assert_true(rc == ST_OK || rc == ST_NO_MEMORY);
            if (rc == ST_OK)
                while (buf_append(&got, chunk.data, chunk.len) != ST_OK)
                    continue;
        }
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
        points += hits;
        assert_int_equal(got.len, whole.len);
        assert_memory_equal(got.data, whole.data, whole.len);
        store_state_release(st);
        buf_deinit(&chunk);
        buf_deinit(&got);
    }
    buf_deinit(&whole);
    world_deinit(&a);
    /* The receiver. */
    hits = 1;
    for (uint64_t at = 1; hits > 0; at += 1 + at / 300) {
        struct pair p;
        pair_init(&p, 40);
        (void)mem_fail_hits();
        mem_fail_at(at, 0);
        enum status st = try_receive(&p.b, buf_bytes(&p.state), false, &err);
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
        points += hits;
        if (st == ST_OK) {
            same_model(&p.b, &p.a);
        } else {
            if (st != ST_NO_MEMORY)
                fail_msg("at %llu: %s: %s", (unsigned long long)at, status_name(st), err.detail);
            check(&p.b); /* the same handle goes on with what it had */
            same_model(&p.b, &p.a);
            receive(&p.b, &p.state);
        }
        check(&p.b);
        check_catalog(&p.b);
        pair_deinit(&p);
    }
    print_message("%llu points\n", (unsigned long long)points);
}

static void damaged_streams_are_refused(void **state)
{
    (void)state;
    struct pair p;
    struct err err;
    struct test_rng r;
    err_init(&err);
    test_rng_init(&r, 50);
    pair_init(&p, 50);
    for (int i = 0; i < 300; i++) {
        struct buf bad = BUF_INIT;
        assert_int_equal(buf_append(&bad, p.state.data, p.state.len), ST_OK);
        switch (i % 4) {
        case 0: /* cut */
            bad.len = test_rng_below(&r, bad.len);
            break;
        case 1: /* longer */
            assert_int_equal(buf_append(&bad, "x", 1), ST_OK);
            break;
        default:
            bad.data[i < 130 ? test_rng_below(&r, STATE_HEADER) : test_rng_below(&r, bad.len)] ^=
                (uint8_t)(1u << test_rng_below(&r, 8));
        }
        enum status st = try_receive(&p.b, buf_bytes(&bad), false, &err);
        assert_int_equal(st, ST_CORRUPT);
        assert_non_null(strstr(err.detail, "state, offset"));
        buf_deinit(&bad);
    }
    check(&p.b);
    struct store_incoming *in, *other;
    struct engine_mark mark;
    must(store_incoming_begin(p.b.s, &in, &err), &err);
    assert_int_equal(store_incoming_begin(p.b.s, &other, &err), ST_OVERLOADED);
    assert_int_equal(store_incoming_append(in, 1, BYTES_LIT("x"), &err), ST_INVALID_ARGUMENT);
    assert_int_equal(store_incoming_build(in, &mark, &err), ST_CORRUPT);
    assert_int_equal(store_incoming_build(in, &mark, &err), ST_INVALID_ARGUMENT);
    assert_int_equal(store_incoming_install(in, false, &err), ST_INVALID_ARGUMENT);
    store_incoming_end(in);
    store_incoming_end(NULL);
    check(&p.b);
    pair_deinit(&p);
}

static void a_full_disk_refuses_and_keeps_what_is_there(void **state)
{
    (void)state;
    struct pair p;
    struct err err;
    struct bytes file;
    err_init(&err);
    pair_init(&p, 60);
    sim_set_disk_bytes(p.b.env, STATE_FREE_BYTES); /* some of it is in use */
    assert_int_equal(try_receive(&p.b, buf_bytes(&p.state), false, &err), ST_DISK_FULL);
    assert_non_null(strstr(err.detail, "free"));
    assert_false(sim_file(p.b.env, "/db/incoming", &file));
    sim_set_disk_bytes(p.b.env, 0);
    again(&p.b);
    write_n(&p.b, 3);
    check(&p.b);
    pair_deinit(&p);
}

static void nothing_to_send_and_nobody_to_receive(void **state)
{
    (void)state;
    struct world w;
    struct store_state *st;
    struct store_incoming *in;
    struct err err;
    err_init(&err);
    world_init(&w, 70);
    assert_int_equal(store_state_pin(w.s, &st, &err), ST_PRECONDITION_FAILED);
    assert_int_equal(store_close(w.s, &err), ST_OK);
    w.o.read_only = true;
    must(store_open(w.env, "/db", &w.o, &w.s, &err), &err);
    assert_int_equal(store_incoming_begin(w.s, &in, &err), ST_READ_ONLY);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_moves_whole),
        cmocka_unit_test(another_life_is_replaced),
        cmocka_unit_test(old_readers_finish),
        cmocka_unit_test(the_log_behind_is_void_or_kept),
        cmocka_unit_test(dying_at_every_disk_operation),
        cmocka_unit_test(failing_writes_and_syncs),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(damaged_streams_are_refused),
        cmocka_unit_test(a_full_disk_refuses_and_keeps_what_is_there),
        cmocka_unit_test(nothing_to_send_and_nobody_to_receive),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
