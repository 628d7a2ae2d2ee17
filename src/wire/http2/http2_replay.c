/* http2_replay.c - header blocks that go out with nearly every response: what begins it (":status:
 * 200" and a content-type) and what ends it ("grpc-status: 0").
 *
 * Trailers are a frame of their own for nghttp2: submitted, queued, compressed, sent, some 1,200
 * instructions; to compress a response's head are 600. But a block of nothing but references into
 * HPACK's tables changes neither table, and means the same until one changes. So when nghttp2 made
 * such a block of one fixed header it is kept for later responses with the same one. A trailer goes
 * right behind the last DATA frame, which nghttp2 takes for the end of the stream: it is but for 10
 * bytes. A head is submitted empty, and gets its block when nghttp2 has made the frame.
 *
 * What is kept is forgotten with the first block that is anything but references (it may have put a
 * header into the table, or said the table's size), and with the peer's SETTINGS (they may change that
 * size, which the next block must say: RFC 7541, 4.2). A head that was submitted before that goes out
 * as literals that mean the same with any table.
 */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

enum {
    INDEXED = 0x80,
    LONGER = 0xff,     /* RFC 7541, 6.1: has more bytes behind it */
    STATUS_200 = 0x88, /* RFC 7541, Appendix A: 8 of the static table */
    NEW_NAME = 0,      /* RFC 7541, 6.2.2: a literal that goes into no table */
    SHORT = 126,       /* a string's length of one byte */
};

static bool only_references(const uint8_t *block, size_t len)
{
    if (len == 0 || len > H2_REPLAY_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (block[i] <= INDEXED || block[i] == LONGER)
            return false;
    return true;
}

/* Fixed headers are told apart by where they lie. */
static bool stands_for(const struct h2_replay_block *b, const nghttp2_nv *nv)
{
    return b->len && nv->name == b->of.name && nv->value == b->of.value &&
           nv->namelen == b->of.namelen && nv->valuelen == b->of.valuelen;
}

void h2__replay_forget(struct h2_conn *c)
{
    c->replay.head.len = c->replay.trailer.len = 0;
}

void h2__replay_sent(struct h2_conn *c, const struct h2_stream *s, bool end)
{
    struct h2_replay *r = &c->replay;
    if (s && end && s->fixed_trailer) {
        r->sent = &r->trailer;
        r->of = s->out_trailers[0]; /* the stream may be freed before its bytes are seen */
    } else if (s && !end && s->out_head.name) {
        r->sent = &r->head;
        r->of = s->out_head;
        r->empty = s->head_replays;
    }
}

size_t h2__replay_room(const struct h2_conn *c)
{
    const struct h2_replay *r = &c->replay;
    return r->empty ? 4 + r->of.namelen + r->of.valuelen : 0;
}

static uint8_t *put_string(uint8_t *to, const uint8_t *data, size_t len)
{
    ASSERT(len <= SHORT);
    *to++ = (uint8_t)len;
    memcpy(to, data, len);
    return to + len;
}

/* The head's block at `to`; its length. */
static size_t put_head(const struct h2_replay *r, uint8_t *to)
{
    uint8_t *end = to;
    if (stands_for(&r->head, &r->of)) {
        memcpy(to, r->head.bytes, r->head.len);
        return r->head.len;
    }
    *end++ = STATUS_200;
    *end++ = NEW_NAME;
    end = put_string(end, r->of.name, r->of.namelen);
    end = put_string(end, r->of.value, r->of.valuelen);
    return (size_t)(end - to);
}

static void learn(struct h2_conn *c, const uint8_t *block, size_t len)
{
    struct h2_replay_block *kept = c->replay.sent;
    if (!only_references(block, len)) {
        h2__replay_forget(c);
    } else if (kept) {
        kept->of = c->replay.of;
        kept->len = len;
        memcpy(kept->bytes, block, len);
    }
}

size_t h2__replay_made(struct h2_conn *c, uint8_t *frame, size_t len)
{
    struct h2_replay *r = &c->replay;
    size_t more = 0, block = len - H2_FRAME_HEAD;
    ASSERT(len >= H2_FRAME_HEAD);
    if (!r->empty) {
        learn(c, frame + H2_FRAME_HEAD, block);
    } else {
        if (block) /* says the table's size, which is said once */
            h2__replay_forget(c);
        more = put_head(r, frame + len);
        ASSERT(block + more <= UINT16_MAX);
        frame[1] = (uint8_t)((block + more) >> 8);
        frame[2] = (uint8_t)(block + more);
    }
    r->sent = NULL;
    r->empty = false;
    return more;
}

bool h2__replay_head(const struct h2_conn *c, const struct h2_stream *s)
{
    const nghttp2_nv *nv = &s->out_head;
    return nv->name && nv->namelen <= SHORT && nv->valuelen <= SHORT &&
           stands_for(&c->replay.head, nv);
}

bool h2__replay_fits(const struct h2_conn *c, const struct h2_stream *s)
{
    return s->fixed_trailer && stands_for(&c->replay.trailer, s->out_trailers);
}

void h2__replay_put(const struct h2_conn *c, uint32_t id, uint8_t *to)
{
    const struct h2_replay_block *b = &c->replay.trailer;
    const uint8_t head[H2_FRAME_HEAD] = {
        0,
        0,
        (uint8_t)b->len,
        NGHTTP2_HEADERS,
        NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS,
        (uint8_t)(id >> 24),
        (uint8_t)(id >> 16),
        (uint8_t)(id >> 8),
        (uint8_t)id,
    };
    ASSERT(b->len);
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, b->bytes, b->len);
}
