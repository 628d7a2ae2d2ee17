/* fuzz_raft_codec.c - packets of messages and beats take any bytes.
 *
 * Whatever decodes encodes to bytes that decode to the same, and may be given to a replica, which
 * answers a status and keeps its own invariants.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "consensus/raft/raft_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct raft *follower(struct raft_store **ret_store)
{
    struct raft_options o = {.store = 2, .incarnation = 1, .seed = 1, .cache_bytes = 1 << 20};
    struct raft_init i = {.group = 7, .replica = 2};
    struct raft *r;
    i.conf.n = 3;
    for (uint8_t k = 0; k < 3; k++)
        i.conf.member[k] = (struct raft_member){k + 1U, k + 1U, RAFT_VOTER};
    ASSERT(raft_store_new(&o, ret_store, NULL) == ST_OK);
    ASSERT(raft_new(*ret_store, &i, &r, NULL) == ST_OK);
    ASSERT(raft_start(r, NULL) == ST_OK);
    return r;
}

static void take_updates(struct raft_store *s)
{
    struct raft *r;
    struct raft_update u;
    while ((r = raft_store_ready(s)))
        if (raft_update(r, &u)) {
            uint64_t ticket = u.ticket;
            uint64_t applied = u.n_committed ? u.committed[u.n_committed - 1].index : 0;
            raft_done(r);
            if (ticket)
                raft_appended(r, ticket);
            if (applied)
                raft_applied(r, applied);
        }
}

static void again(const struct raft_decoded *d)
{
    struct buf b = BUF_INIT;
    struct raft_decoded back = {0};
    ASSERT((d->kind == RAFT_ITEM_MSG ? raft_encode(&b, &d->msg) : raft_encode_beat(&b, &d->beat)) ==
           ST_OK);
    struct reader r = reader_of(buf_bytes(&b));
    ASSERT(raft_decode(&r, 1, 2, &back, NULL) == ST_OK && reader_left(&r) == 0);
    ASSERT(back.kind == d->kind);
    if (d->kind == RAFT_ITEM_MSG) {
        const struct raft_msg *x = &d->msg, *y = &back.msg;
        ASSERT(x->type == y->type && x->flags == y->flags && x->group == y->group &&
               x->from == y->from && x->to == y->to && x->term == y->term && x->index == y->index &&
               x->log_term == y->log_term && x->commit == y->commit && x->hint == y->hint &&
               x->round == y->round && x->offset == y->offset && x->n_entries == y->n_entries &&
               !x->snapshot == !y->snapshot && bytes_eq(x->data, y->data));
        for (size_t i = 0; i < x->n_entries; i++)
            ASSERT(x->entries[i].term == y->entries[i].term &&
                   x->entries[i].index == y->entries[i].index &&
                   x->entries[i].kind == y->entries[i].kind &&
                   bytes_eq(x->entries[i].payload, y->entries[i].payload));
    }
    raft_decoded_deinit(&back);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader in = reader_of(BYTES(data, size));
    struct raft_decoded d = {0};
    struct raft_store *s;
    struct raft *r = follower(&s);
    struct raft_checker *c;
    ASSERT(raft_checker_new(&c) == ST_OK);
    while (reader_left(&in) && raft_decode(&in, 1, 2, &d, NULL) == ST_OK) {
        again(&d);
        enum status st =
            d.kind == RAFT_ITEM_MSG ? raft_step(r, &d.msg) : raft_store_beat(s, &d.beat);
        ASSERT(st != ST_INTERNAL);
        take_updates(s);
        ASSERT(raft_check(c, &r, 1, NULL) == ST_OK);
    }
    raft_checker_free(c);
    raft_free(r);
    raft_store_free(s);
    raft_decoded_deinit(&d);
    return 0;
}
