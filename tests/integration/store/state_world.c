#include "state_world.h"

#include "node/store/store_internal.h"
#include "support/cmocka.h"

void check(struct world *w)
{
    model_check(&w->m, w->s, w->env, &w->rng);
}

void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

void write_n(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        if (!world_write(w, STORE_SYNC_ALWAYS))
            world_checkpoint(w);
    world_durable_so_far(w);
}

void live(struct world *w, int writes)
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

struct engine_mark take_state(struct world *w, struct buf *ret)
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

enum status try_receive_faulty(struct world *w, struct bytes state, bool keep_log,
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

enum status try_receive(struct world *w, struct bytes state, bool keep_log, struct err *err)
{
    return try_receive_faulty(w, state, keep_log, NULL, err);
}

void receive(struct world *w, const struct buf *state)
{
    struct err err;
    err_init(&err);
    must(try_receive(w, buf_bytes(state), false, &err), &err);
}

void same_model(struct world *to, const struct world *from)
{
    memcpy(to->m.writes, from->m.writes, from->m.n * sizeof(*from->m.writes));
    to->m.n = from->m.n;
    to->m.collection = from->m.collection;
    sim_set_wall_ms(to->env, env_now_ms(from->env) + 1);
}

void again(struct world *w)
{
    world_crash(w, test_rng_chance(&w->rng, 1, 2) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
}

void check_catalog(struct world *w)
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
