/* raft_codec.c - the bytes.
 *
 *   item     = kind (1 byte) | length (varint) | body
 *   message  = type (1) | flags (1) | group | from | to | term | index | log_term | commit | hint |
 *              round | offset | parts (1: 1 entries, 2 snapshot, 4 data) | the parts in this order
 *   entries  = count | each: term - term of the one before | kind (1) | length | payload
 *              (the index of the first is index + 1 of an append, index of a repair; then one by one)
 *   snapshot = id | index | term | bytes | length | configuration (raft_conf_encode)
 *   data     = length | bytes
 *   beat     = incarnation | generation
 */
#include "consensus/raft/raft_codec.h"

#include "base/alloc.h"
#include "base/planted.h"

enum { PART_ENTRIES = 1, PART_SNAPSHOT = 2, PART_DATA = 4, NUMBERS = 10, ENTRY_BYTES_MIN = 3 };

static size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

static size_t varint_len(uint64_t v)
{
    uint8_t room[10];
    return put_varint(room, v);
}

static size_t head_of(const struct raft_msg *m, uint8_t *out)
{
    const uint64_t numbers[NUMBERS] = {m->group,    m->from,   m->to,   m->term,  m->index,
                                       m->log_term, m->commit, m->hint, m->round, m->offset};
    size_t n = 0;
    out[n++] = m->type;
    out[n++] = m->flags;
    for (unsigned i = 0; i < NUMBERS; i++)
        n += put_varint(out + n, numbers[i]);
    out[n++] = (uint8_t)((m->n_entries ? PART_ENTRIES : 0) | (m->snapshot ? PART_SNAPSHOT : 0) |
                         (m->data.len ? PART_DATA : 0));
    return n;
}

/* Where the terms of entries count from. */
static uint64_t first_term(const struct raft_msg *m)
{
    return m->type == RAFT_MSG_APPEND ? m->log_term : 0;
}

static size_t entries_len(const struct raft_msg *m)
{
    if (!m->n_entries)
        return 0;
    size_t n = varint_len(m->n_entries);
    uint64_t term = first_term(m);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        n += varint_len(e->term - term) + 1 + varint_len(e->payload.len) + e->payload.len;
        term = e->term;
    }
    return n;
}

static size_t snapshot_of(const struct raft_snapshot *s, uint8_t *out)
{
    uint8_t conf[RAFT_CONF_BYTES_MAX];
    size_t len = raft_conf_encode(&s->conf, conf), n = 0;
    n += put_varint(out + n, s->id);
    n += put_varint(out + n, s->index);
    n += put_varint(out + n, s->term);
    n += put_varint(out + n, s->bytes);
    n += put_varint(out + n, len);
    memcpy(out + n, conf, len);
    return n + len;
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
    p += put_varint(p, b.len);
    if (b.len)
        memcpy(p, b.data, b.len);
    return p + b.len;
}

static uint8_t *put_entries(uint8_t *p, const struct raft_msg *m)
{
    if (!m->n_entries)
        return p;
    p += put_varint(p, m->n_entries);
    uint64_t term = first_term(m);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        p += put_varint(p, e->term - term);
        *p++ = e->kind;
        p = put_bytes(p, e->payload);
        term = e->term;
    }
    return p;
}

enum status raft_encode(struct buf *out, const struct raft_msg *m)
{
    uint8_t head[3 + NUMBERS * 10], snap[RAFT_CONF_BYTES_MAX + 50];
    size_t head_len = head_of(m, head);
    size_t snap_len = m->snapshot ? snapshot_of(m->snapshot, snap) : 0;
    size_t data_len = m->data.len ? varint_len(m->data.len) + m->data.len : 0;
    size_t body = head_len + entries_len(m) + snap_len + data_len;
    size_t total = 1 + varint_len(body) + body;
    enum status st = buf_reserve(out, total);
    if (st != ST_OK)
        return st;
    uint8_t *p = out->data + out->len;
    *p++ = RAFT_ITEM_MSG;
    p += put_varint(p, body);
    memcpy(p, head, head_len);
    p = put_entries(p + head_len, m);
    memcpy(p, snap, snap_len);
    p += snap_len;
    if (m->data.len)
        put_bytes(p, m->data);
    out->len += total;
    return ST_OK;
}

enum status raft_encode_beat(struct buf *out, const struct raft_beat *b)
{
    uint8_t item[2 + 20];
    size_t n = 2;
    n += put_varint(item + n, b->incarnation);
    n += put_varint(item + n, b->generation);
    item[0] = RAFT_ITEM_BEAT;
    item[1] = (uint8_t)(n - 2);
    return buf_append(out, item, n);
}

static enum status malformed(struct err *err, const char *what)
{
    return err_set(err, ST_INVALID_ARGUMENT, "raft packet: %s is malformed", what);
}

static bool read_len_bytes(struct reader *in, struct bytes *ret)
{
    uint64_t len;
    return read_varint(in, &len) && len <= reader_left(in) && read_bytes(in, (size_t)len, ret);
}

static enum status reserve_entries(struct raft_decoded *d, size_t n, struct err *err)
{
    if (n <= d->cap)
        return ST_OK;
    size_t cap = d->cap ? d->cap : 16;
    while (cap < n)
        cap *= 2;
    struct raft_entry *v = mem_realloc(d->entries, cap * sizeof *v);
    if (!v)
        return err_set(err, ST_NO_MEMORY, "raft packet: entries");
    d->entries = v;
    d->cap = cap;
    return ST_OK;
}

static enum status read_entries(struct reader *in, struct raft_decoded *d, struct err *err)
{
    struct raft_msg *m = &d->msg;
    uint64_t n, term = first_term(m);
    uint64_t index = m->type == RAFT_MSG_APPEND ? m->index + 1 : m->index;
    if (!read_varint(in, &n) || n == 0 || n > reader_left(in) / ENTRY_BYTES_MIN)
        return malformed(err, "the number of entries");
    enum status st = reserve_entries(d, (size_t)n, err);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        struct raft_entry *e = &d->entries[i];
        uint64_t more;
        *e = (struct raft_entry){.index = index + i};
        if (!read_varint(in, &more) || more > UINT64_MAX - term || !read_u8(in, &e->kind) ||
            !read_len_bytes(in, &e->payload))
            return malformed(err, "an entry");
        e->term = term += more;
    }
    if (st == ST_OK) {
        m->entries = d->entries;
        m->n_entries = (size_t)n;
    }
    return st;
}

static enum status read_snapshot(struct reader *in, struct raft_decoded *d, struct err *err)
{
    struct raft_snapshot *s = &d->snapshot;
    struct bytes conf;
    if (!read_varint(in, &s->id) || !read_varint(in, &s->index) || !read_varint(in, &s->term) ||
        !read_varint(in, &s->bytes) || !read_len_bytes(in, &conf))
        return malformed(err, "a snapshot");
    enum status st = raft_conf_decode(conf, &s->conf, err);
    if (st == ST_OK)
        d->msg.snapshot = s;
    return st;
}

static enum status read_message(struct reader *in, struct raft_decoded *d, struct err *err)
{
    struct raft_msg *m = &d->msg;
    uint64_t *const numbers[NUMBERS] = {&m->group,    &m->from,   &m->to,   &m->term,  &m->index,
                                        &m->log_term, &m->commit, &m->hint, &m->round, &m->offset};
    uint8_t parts;
    bool ok = read_u8(in, &m->type) && read_u8(in, &m->flags);
    if (PLANTED(CODEC_LOSES_REJECT) && ok && m->type == RAFT_MSG_APPEND_RESP)
        m->flags &= (uint8_t)~RAFT_MSG_REJECT;
    for (unsigned i = 0; ok && i < NUMBERS; i++)
        ok = read_varint(in, numbers[i]);
    ok = ok && read_u8(in, &parts);
    if (!ok || m->type == 0 || m->type >= RAFT_MSG_TYPES || m->index > UINT64_MAX / 2 ||
        parts > (PART_ENTRIES | PART_SNAPSHOT | PART_DATA))
        return malformed(err, "a message");
    enum status st = ST_OK;
    if (parts & PART_ENTRIES)
        st = read_entries(in, d, err);
    if (st == ST_OK && (parts & PART_SNAPSHOT))
        st = read_snapshot(in, d, err);
    if (st == ST_OK && (parts & PART_DATA) && (!read_len_bytes(in, &m->data) || !m->data.len))
        st = malformed(err, "a chunk");
    return st;
}

enum status raft_decode(struct reader *in, uint64_t from_store, uint64_t to_store,
                        struct raft_decoded *ret, struct err *err)
{
    struct reader at = *in;
    uint8_t kind;
    struct bytes body;
    if (!read_u8(&at, &kind) || !read_len_bytes(&at, &body))
        return malformed(err, "an item");
    struct reader b = reader_of(body);
    enum status st = ST_OK;
    if (kind == RAFT_ITEM_MSG) {
        ret->kind = RAFT_ITEM_MSG;
        ret->msg =
            (struct raft_msg){.from_store = from_store, .to_store = to_store, .data = BYTES_EMPTY};
        st = read_message(&b, ret, err);
    } else if (kind == RAFT_ITEM_BEAT) {
        ret->kind = RAFT_ITEM_BEAT;
        ret->beat = (struct raft_beat){.from_store = from_store, .to_store = to_store};
        if (!read_varint(&b, &ret->beat.incarnation) || !read_varint(&b, &ret->beat.generation))
            st = malformed(err, "a beat");
    } else {
        st = malformed(err, "the kind of an item");
    }
    if (st == ST_OK && reader_left(&b) > 0)
        st = malformed(err, "the end of an item");
    if (st == ST_OK)
        *in = at;
    return st;
}

void raft_decoded_deinit(struct raft_decoded *d)
{
    mem_free(d->entries);
    d->entries = NULL;
    d->cap = 0;
}
