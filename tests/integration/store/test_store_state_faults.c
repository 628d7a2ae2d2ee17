/* A state that is moved while the disk, the memory, the machine or the bytes fail: the old or the new
 * state after any crash, and what is refused leaves what was there. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/store/store_internal.h"
#include "state_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"

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

static void die_at(uint64_t seed, uint64_t at, bool *ret_new)
{
    struct pair p;
    struct err err;
    err_init(&err);
    pair_init(&p, seed);
    sim_set_faults(p.b.env, &(struct sim_faults){.fail_after_ops = at, .partial_on_error = true});
    enum status st = try_receive(&p.b, buf_bytes(&p.state), false, &err);
    (void)store_close(p.b.s, &err);
    sim_set_faults(p.b.env, &(struct sim_faults){0});
    sim_crash(p.b.env, (at + seed) % 3 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY,
              at % 2 ? 512 : 4096);
    must(store_open(p.b.env, "/db", &p.b.o, &p.b.s, &err), &err);
    check_either(&p, ret_new);
    assert_true(st != ST_OK || *ret_new);
    if (!*ret_new) { /* it can be had at once */
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

/* With several seeds, so that each place meets both kinds of death. */
static void dying_at_every_disk_operation(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 4)
    {
        unsigned was_new = 0, was_old = 0;
        for (uint64_t at = 1; was_new < 12; at++) {
            bool is_new;
            die_at(20 + seed, at, &is_new);
            was_new += is_new;
            was_old += !is_new;
        }
        print_message("%u crashes left the old state, %u the new one\n", was_old, was_new);
        assert_true(was_old > 10);
    }
}

/* The disk is gone in the middle of the change; the process ends, and only it: what the next one finds
 * can be read, and is not on the disk. While it opens the disk may be gone again, and then the power
 * is. What it was opened with once is what counts from then on. */
static void dying_again_while_it_opens(void **state)
{
    (void)state;
    uint64_t seed;
    unsigned was_new = 0, opened = 0, unsure = 0;
    FOR_EACH_SEED(seed, 240)
    {
        struct pair p;
        struct err err;
        bool is_new, before = false;
        err_init(&err);
        pair_init(&p, 300 + seed);
        const struct sim_faults late = {.fail_after_ops = 1 + test_rng_below(&p.b.rng, 16),
                                        .partial_on_error = true};
        enum status st = try_receive_faulty(&p.b, buf_bytes(&p.state), false, &late, &err);
        world_abandon(&p.b);
        sim_crash(p.b.env, SIM_CRASH_PROCESS_ONLY, 512);
        p.b.o.must_exist = test_rng_chance(&p.b.rng, 1, 2);
        if (test_rng_chance(&p.b.rng, 2, 3))
            sim_set_faults(p.b.env,
                           &(struct sim_faults){.fail_after_ops = 1 + test_rng_below(&p.b.rng, 40),
                                                .partial_on_error = true});
        bool alive = store_open(p.b.env, "/db", &p.b.o, &p.b.s, &err) == ST_OK;
        sim_set_faults(p.b.env, &(struct sim_faults){0});
        if (alive) {
            check_either(&p, &before);
            world_abandon(&p.b);
        }
        sim_crash(p.b.env, SIM_CRASH_POWER, 512);
        must(store_open(p.b.env, "/db", &p.b.o, &p.b.s, &err), &err);
        check_either(&p, &is_new);
        assert_true(is_new || (st != ST_OK && !before));
        was_new += is_new;
        opened += alive;
        unsure += st == ST_POISONED;
        write_n(&p.b, 3);
        world_crash(&p.b, SIM_CRASH_POWER);
        check(&p.b);
        pair_deinit(&p);
    }
    print_message("%u left unsure, %u opened at once, %u with the new state\n", unsure, opened,
                  was_new);
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
        cmocka_unit_test(dying_at_every_disk_operation),
        cmocka_unit_test(dying_again_while_it_opens),
        cmocka_unit_test(failing_writes_and_syncs),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(damaged_streams_are_refused),
        cmocka_unit_test(a_full_disk_refuses_and_keeps_what_is_there),
        cmocka_unit_test(nothing_to_send_and_nobody_to_receive),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
