/* Forwards, their answers, hard states and bundles from other nodes: what decodes encodes to the same. */
#include "base/assert.h"
#include "node/range/replica_codec.h"
#include "node/store/forward_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct buf *out, struct bytes in)
{
    ASSERT(out->len <= in.len); /* varints may come longer than they need be */
}

static void forward(struct bytes in)
{
    struct forward f, head;
    struct forward_collection c;
    struct store_require r;
    struct bytes entry;
    struct buf out = BUF_INIT;
    if (!forward_open(in, &f))
        return;
    head = f;
    ASSERT(forward_encode(&out, &head) == ST_OK);
    for (uint64_t i = 0; i < head.n_collections; i++) {
        if (!forward_collection_next(&f, &c))
            goto out;
        ASSERT(forward_encode_collection(&out, &c) == ST_OK);
    }
    for (uint64_t i = 0; i < head.n_requires; i++) {
        if (!forward_require_next(&f, &r))
            goto out;
        ASSERT(r.key.len > STORE_ROUTE_BYTES);
        ASSERT(forward_encode_require(&out, &r) == ST_OK);
    }
    if (!forward_entry(&f, &entry))
        goto out;
    ASSERT(forward_encode_entry(&out, entry) == ST_OK);
    same(&out, in);
    struct forward again;
    struct bytes once_more;
    ASSERT(forward_open(buf_bytes(&out), &again) && again.number == head.number &&
           again.n_requires == head.n_requires && again.n_older == head.n_older &&
           bytes_eq(again.request_id, head.request_id));
    for (uint64_t i = 0; i < head.n_collections; i++)
        ASSERT(forward_collection_next(&again, &c));
    for (uint64_t i = 0; i < head.n_requires; i++)
        ASSERT(forward_require_next(&again, &r));
    ASSERT(forward_entry(&again, &once_more) && bytes_eq(entry, once_more));
    (void)!entry_sound(entry);
out:
    buf_deinit(&out);
}

static void answer(struct bytes in)
{
    struct forward_answer a, b;
    struct buf out = BUF_INIT;
    if (!forward_decode_answer(in, &a))
        return;
    ASSERT(a.message.len < ERR_DETAIL_MAX);
    ASSERT(forward_encode_answer(&out, &a) == ST_OK);
    same(&out, in);
    ASSERT(forward_decode_answer(buf_bytes(&out), &b) && b.number == a.number &&
           b.status == a.status && b.index == a.index && b.duplicate == a.duplicate &&
           version_cmp(a.version, b.version) == 0 && bytes_eq(a.message, b.message));
    buf_deinit(&out);
}

static void bundle(struct bytes in)
{
    struct reader r = reader_of(in);
    struct buf out = BUF_INIT;
    struct bytes body;
    uint64_t incarnation;
    uint8_t kind;
    if (!replica_bundle_open(&r, &incarnation))
        return;
    ASSERT(replica_bundle_begin(&out, incarnation) == ST_OK);
    while (replica_item_next(&r, &kind, &body)) {
        ASSERT(kind >= REPLICA_ITEM_OWN);
        ASSERT(replica_item_encode(&out, kind, body) == ST_OK);
    }
    same(&out, in);
    buf_deinit(&out);
}

static void hard(struct bytes in)
{
    struct raft_hard_state h;
    uint8_t out[REPLICA_HARD_BYTES];
    if (!replica_hard_decode(in, &h))
        return;
    replica_hard_encode(&h, out);
    ASSERT(bytes_eq(BYTES(out, sizeof out), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = {data + 1, size - 1};
    switch (data[0] & 3) {
    case 0:
        forward(in);
        break;
    case 1:
        answer(in);
        break;
    case 2:
        bundle(in);
        break;
    default:
        hard(in);
        break;
    }
    return 0;
}
