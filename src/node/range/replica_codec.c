#include "node/range/replica_codec.h"

#include "base/le.h"

enum { HARD_FORMAT = 1, BUNDLE_FORMAT = 1 };

void replica_hard_encode(const struct raft_hard_state *h, uint8_t out[REPLICA_HARD_BYTES])
{
    out[0] = HARD_FORMAT;
    put_le64(out + 1, h->term);
    put_le64(out + 9, h->vote);
    put_le64(out + 17, h->commit);
}

bool replica_hard_decode(struct bytes in, struct raft_hard_state *ret)
{
    struct reader r = reader_of(in);
    struct raft_hard_state h;
    uint8_t format;
    if (!read_u8(&r, &format) || format != HARD_FORMAT || !read_le64(&r, &h.term) ||
        !read_le64(&r, &h.vote) || !read_le64(&r, &h.commit) || reader_left(&r) != 0)
        return false;
    *ret = h;
    return true;
}

bool replica_entry_of(const struct wal_record *rec, struct raft_entry *ret)
{
    struct raft_entry e = {.term = rec->term, .index = rec->index, .payload = rec->payload};
    if (rec->kind != WAL_ENTRY || rec->index == 0 || rec->term == 0)
        return false;
    e.kind = RAFT_ENTRY_DATA;
    if (rec->payload.len == 0) {
        e.kind = RAFT_ENTRY_EMPTY;
    } else if (rec->payload.data[0] == REPLICA_CONF_MARK) {
        e.kind = RAFT_ENTRY_CONF;
        e.payload = BYTES(rec->payload.data + 1, rec->payload.len - 1);
    } else if (rec->payload.data[0] > REPLICA_CONF_MARK) {
        return false;
    }
    *ret = e;
    return true;
}

void replica_record_of(const struct raft_entry *e, uint64_t range,
                       uint8_t room[REPLICA_CONF_BYTES_MAX], struct wal_record *ret)
{
    *ret = (struct wal_record){.range = range,
                               .term = e->term,
                               .index = e->index,
                               .kind = WAL_ENTRY,
                               .payload = e->payload};
    if (e->kind == RAFT_ENTRY_CONF) {
        room[0] = REPLICA_CONF_MARK;
        memcpy(room + 1, e->payload.data, e->payload.len);
        ret->payload = BYTES(room, 1 + e->payload.len);
    }
}

enum status replica_bundle_begin(struct buf *out, uint64_t incarnation)
{
    enum status st = buf_reserve(out, REPLICA_BUNDLE_HEAD);
    if (st == ST_OK)
        st = buf_append_u8(out, BUNDLE_FORMAT);
    return st == ST_OK ? buf_append_le64(out, incarnation) : st;
}

enum status replica_item_encode(struct buf *out, uint8_t kind, struct bytes body)
{
    enum status st = buf_reserve(out, 1 + 10 + body.len);
    if (st == ST_OK)
        st = buf_append_u8(out, kind);
    if (st == ST_OK)
        st = buf_append_varint(out, body.len);
    return st == ST_OK && body.len ? buf_append(out, body.data, body.len) : st;
}

bool replica_bundle_open(struct reader *in, uint64_t *ret_incarnation)
{
    struct reader r = *in;
    uint8_t format;
    uint64_t incarnation;
    if (!read_u8(&r, &format) || format != BUNDLE_FORMAT || !read_le64(&r, &incarnation) ||
        incarnation == 0)
        return false;
    *in = r;
    *ret_incarnation = incarnation;
    return true;
}

uint8_t replica_item_kind(const struct reader *in)
{
    return reader_left(in) ? in->p[0] : 0;
}

bool replica_item_next(struct reader *in, uint8_t *ret_kind, struct bytes *ret_body)
{
    struct reader r = *in;
    uint8_t kind;
    uint64_t len;
    struct bytes body;
    if (!read_u8(&r, &kind) || kind < REPLICA_ITEM_OWN || !read_varint(&r, &len) ||
        len > reader_left(&r) || !read_bytes(&r, (size_t)len, &body))
        return false;
    *in = r;
    *ret_kind = kind;
    *ret_body = body;
    return true;
}
