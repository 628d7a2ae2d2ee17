/* Memory: every allocation refused in turn, a budget that holds, and none at all once things go round
 * and round. Also the codec's round trip, of all that a cluster says.
 */
#include "base/alloc.h"
#include "consensus/raft/raft_codec.h"
#include "sim/raft/group.h"
#include "support/cmocka.h"

#include <stdlib.h>

/* A little life of one replica; answers the first status that is not OK. */
static enum status little_life(void)
{
    struct raft_options o = {.store = 1, .incarnation = 1, .seed = 3};
    struct raft_store *s = NULL;
    struct raft *r = NULL;
    struct raft_update u;
    struct raft_init i = {.group = 1, .replica = 1, .hard = {.term = 1}};
    i.conf.n = 1;
    i.conf.member[0] = (struct raft_member){1, 1, RAFT_VOTER};
    uint64_t index = 0, term;
    enum status st = raft_store_new(&o, &s, NULL);
    if (st == ST_OK)
        st = raft_new(s, &i, &r, NULL);
    struct raft_entry e = {
        .term = 1, .index = 1, .kind = RAFT_ENTRY_DATA, .payload = BYTES_LIT("1")};
    if (st == ST_OK)
        st = raft_load(r, &e, NULL);
    if (st == ST_OK)
        st = raft_start(r, NULL);
    uint64_t now = 1;
    bool asked = false, read = false, changed = false;
    for (unsigned k = 0; st == ST_OK && k < 200; k++) {
        raft_store_tick(s, now += 100); /* what could not be done is tried again */
        if (raft_store_ready(s) && raft_update(r, &u)) {
            uint64_t ticket = u.ticket;
            uint64_t to = u.n_committed ? u.committed[u.n_committed - 1].index : 0;
            for (size_t n = 0; n < u.n_reads; n++) {
                read = read || u.reads[n].ok;
                asked = asked && u.reads[n].ok;
            }
            raft_done(r);
            if (ticket)
                raft_appended(r, ticket);
            if (to)
                raft_applied(r, to);
        }
        struct raft_status a;
        raft_status(r, &a);
        if (a.role != RAFT_LEADER || a.commit < a.last)
            continue;
        if (!index)
            st = raft_propose(r, BYTES_LIT("hello"), &index, &term);
        else if (!asked)
            asked = (st = raft_read(r, 5)) == ST_OK;
        else if (read && !changed) {
            struct raft_conf c = i.conf;
            c.n = 2;
            c.member[1] = (struct raft_member){2, 2, RAFT_LEARNER};
            uint64_t at;
            changed = (st = raft_change(r, &c, true, &at, NULL)) == ST_OK;
        } else if (changed && read)
            break;
    }
    if (st == ST_OK && !(read && changed))
        st = ST_TIMED_OUT;
    raft_free(r);
    raft_store_free(s);
    return st;
}

static void every_refused_allocation_is_survived(void **state)
{
    (void)state;
    assert_int_equal(little_life(), ST_OK);
    unsigned failed = 0, n;
    for (n = 1; n < 200; n++) {
        mem_fail_at(n, 0);
        enum status st = little_life();
        uint64_t hits = mem_fail_hits();
        mem_fail_at(0, 0);
        if (!hits)
            break;
        failed += st != ST_OK;
        if (st != ST_OK && st != ST_NO_MEMORY)
            fail_msg("allocation %u refused: %s", n, status_name(st));
    }
    assert_in_range(n, 10, 199);
    assert_true(failed > 3);
    print_message("%u places, %u of them reported\n", n - 1, failed);
}

static struct group *begin(const struct raft_options *o)
{
    struct group *c = calloc(1, sizeof *c);
    assert_non_null(c);
    group_init(c, 11, 3, 3, o);
    return c;
}

static void end(struct group *c)
{
    group_deinit(c);
    free(c);
}

/* One refused allocation after another while a cluster works: safe, and it recovers. */
static void a_cluster_lives_through_refusals(void **state)
{
    (void)state;
    for (uint64_t every = 1; every < 40; every++) {
        struct group *c = begin(NULL);
        (void)group_elect(c);
        for (unsigned i = 0; i < 60; i++) {
            struct node *l = group_leader(c);
            mem_fail_at(1 + dice_below(&c->dice, every), 0);
            if (l)
                (void)node_propose(l, NULL);
            for (unsigned s = 1; s <= 3; s++) {
                while (node_update(&c->nodes[s]))
                    ;
                node_sync(&c->nodes[s], SIZE_MAX);
                node_tick(&c->nodes[s], 5);
            }
            mem_fail_at(0, 0);
            group_run(c, 5);
        }
        uint64_t i = 0;
        assert_true(node_propose(group_elect(c), &i));
        group_run(c, 300);
        for (unsigned s = 1; s <= 3; s++)
            assert_true(c->nodes[s].applied >= i);
        end(c);
    }
}

static void nothing_is_allocated_in_steady_state(void **state)
{
    (void)state;
    struct raft_options o = {.cache_bytes = 64 * 1024, .no_quiesce = true};
    struct group *c = begin(&o);
    struct node *l = group_elect(c);
    for (unsigned i = 0; i < 4500; i++) {
        if (i == 3000) {
            (void)mem_fail_hits();
            mem_fail_at(1, 1); /* from here on all are refused */
        }
        assert_true(node_propose(l, NULL));
        assert_true(node_read(l));
        for (unsigned k = 0; k < 6; k++)
            for (unsigned s = 1; s <= 3; s++) {
                while (node_update(&c->nodes[s]))
                    ;
                node_sync(&c->nodes[s], SIZE_MAX);
                node_apply(&c->nodes[s]);
                while (c->n_net)
                    net_deliver(c, 0);
            }
        for (unsigned s = 1; s <= 3; s++)
            node_tick(&c->nodes[s], 5);
    }
    uint64_t hits = mem_fail_hits();
    mem_fail_at(0, 0);
    assert_int_equal(hits, 0);
    assert_true(c->reads_ok >= 4490);
    struct raft_store_stats st;
    raft_store_stats(l->rs, &st);
    assert_true(st.cache_bytes <= 64 * 1024 && st.evicted_entries > 0);
    end(c);
}

static void what_is_said_survives_the_codec(void **state)
{
    (void)state;
    static const uint8_t chunk[300];
    struct raft_snapshot s = {.id = 1, .index = 200, .term = 3, .bytes = 77};
    s.conf.n = 1;
    s.conf.member[0] = (struct raft_member){9, 4, RAFT_VOTER};
    struct raft_entry e[3] = {
        {.term = 2, .index = 8, .kind = RAFT_ENTRY_DATA, .payload = BYTES_LIT("a")},
        {.term = 2, .index = 9, .kind = RAFT_ENTRY_EMPTY, .payload = BYTES_EMPTY},
        {.term = 300, .index = 10, .kind = RAFT_ENTRY_DATA, .payload = BYTES(chunk, 300)}};
    struct raft_msg m[] = {
        {.type = RAFT_MSG_APPEND,
         .group = 1,
         .from = 2,
         .to = 3,
         .term = 300,
         .index = 7,
         .log_term = 1,
         .commit = UINT64_MAX,
         .entries = e,
         .n_entries = 3},
        {.type = RAFT_MSG_SNAPSHOT,
         .flags = RAFT_MSG_LAST,
         .snapshot = &s,
         .offset = 128,
         .data = BYTES(chunk, 5)},
        {.type = RAFT_MSG_HEARTBEAT_RESP, .hint = 1 << 20, .round = (uint64_t)1 << 40},
        {.type = RAFT_MSG_REPAIR_RESP, .index = 8, .log_term = 2, .entries = e, .n_entries = 1},
    };
    struct raft_beat beat = {.incarnation = 5, .generation = 1 << 14};
    struct buf b = BUF_INIT;
    struct raft_decoded d = {0};
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        assert_int_equal(raft_encode(&b, &m[i]), ST_OK);
    assert_int_equal(raft_encode_beat(&b, &beat), ST_OK);
    struct reader r = reader_of(buf_bytes(&b));
    for (size_t i = 0; i < sizeof m / sizeof *m; i++) {
        assert_int_equal(raft_decode(&r, 4, 5, &d, NULL), ST_OK);
        assert_int_equal(d.kind, RAFT_ITEM_MSG);
        assert_int_equal(d.msg.type, m[i].type);
        assert_int_equal(d.msg.flags, m[i].flags);
        assert_int_equal(d.msg.commit, m[i].commit);
        assert_int_equal(d.msg.hint, m[i].hint);
        assert_int_equal(d.msg.round, m[i].round);
        assert_int_equal(d.msg.offset, m[i].offset);
        assert_int_equal(d.msg.from_store, 4);
        assert_int_equal(d.msg.n_entries, m[i].n_entries);
        for (size_t k = 0; k < m[i].n_entries; k++) {
            assert_int_equal(d.msg.entries[k].term, e[k].term);
            assert_int_equal(d.msg.entries[k].index, e[k].index);
            assert_true(bytes_eq(d.msg.entries[k].payload, e[k].payload));
        }
        if (m[i].snapshot)
            assert_memory_equal(d.msg.snapshot->conf.member, s.conf.member, sizeof *s.conf.member);
    }
    assert_int_equal(raft_decode(&r, 4, 5, &d, NULL), ST_OK);
    assert_int_equal(d.kind, RAFT_ITEM_BEAT);
    assert_int_equal(d.beat.generation, 1 << 14);
    assert_int_equal(reader_left(&r), 0);
    /* Cut anywhere, it is refused. */
    for (size_t len = 0; len < b.len; len++) {
        struct reader cut = reader_of(BYTES(b.data, len));
        enum status st;
        while ((st = raft_decode(&cut, 4, 5, &d, NULL)) == ST_OK)
            ;
        assert_int_equal(st, ST_INVALID_ARGUMENT);
    }
    raft_decoded_deinit(&d);
    buf_deinit(&b);
}

static void a_damaged_start_is_refused(void **state)
{
    (void)state;
    struct raft_options o = {.store = 1, .incarnation = 1};
    struct raft_store *s;
    struct raft *r;
    struct err err;
    assert_int_equal(raft_store_new(&(struct raft_options){.incarnation = 1}, &s, &err),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(raft_store_new(&o, &s, &err), ST_OK);
    struct raft_init i = {
        .group = 1, .replica = 1, .hard = {.term = 2, .commit = 2}, .compacted = 5};
    assert_int_equal(raft_new(s, &i, &r, &err), ST_INVALID_ARGUMENT);
    i.compacted = 0;
    assert_int_equal(raft_new(s, &i, &r, &err), ST_OK);
    struct raft_entry e = {.term = 1, .index = 2, .kind = RAFT_ENTRY_DATA, .payload = BYTES_EMPTY};
    assert_int_equal(raft_load(r, &e, &err), ST_CORRUPT); /* a gap */
    e.index = 1;
    assert_int_equal(raft_load(r, &e, &err), ST_OK);
    assert_int_equal(raft_start(r, &err), ST_CORRUPT); /* 2 was committed */
    assert_non_null(strstr(err.detail, "ends at 1"));
    e.index = 2;
    e.kind = RAFT_ENTRY_CONF;
    e.payload = BYTES_LIT("nonsense");
    assert_int_equal(raft_load(r, &e, &err), ST_CORRUPT);
    raft_free(r);
    raft_store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refused_allocation_is_survived),
        cmocka_unit_test(a_cluster_lives_through_refusals),
        cmocka_unit_test(nothing_is_allocated_in_steady_state),
        cmocka_unit_test(what_is_said_survives_the_codec),
        cmocka_unit_test(a_damaged_start_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
