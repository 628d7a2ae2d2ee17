/* http2_replay.c - the trailers that end nearly every response ("grpc-status: 0").
 *
 * For nghttp2 they are a frame of their own: submitted, queued, compressed, sent, some 1,200
 * instructions. But a block of nothing but references into HPACK's tables changes neither table, and
 * means the same until one changes. So when nghttp2 made such a block of one fixed trailer it is kept,
 * and later responses that end with the same trailer get it right behind their last DATA frame.
 * nghttp2 takes that frame for the end of the stream, which it is but for 10 bytes.
 *
 * What is kept is forgotten with the first block that is anything but references (it may have put a
 * header into the table, or said the table's size), and with the peer's SETTINGS (they may change that
 * size, which the next block must say: RFC 7541, 4.2).
 */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

enum { INDEXED = 0x80, LONGER = 0xff }; /* RFC 7541, 6.1: LONGER has more bytes behind it */

static bool only_references(const uint8_t *block, size_t len)
{
    if (len == 0 || len > H2_REPLAY_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (block[i] <= INDEXED || block[i] == LONGER)
            return false;
    return true;
}

void h2__replay_forget(struct h2_conn *c)
{
    c->replay.len = 0;
}

void h2__replay_sent(struct h2_conn *c, const struct h2_stream *s)
{
    if (s && s->fixed_trailer)
        c->replay.sent = s->out_trailers[0]; /* the stream may be freed before its bytes are seen */
}

void h2__replay_learn(struct h2_conn *c, const uint8_t *frame, size_t len)
{
    const uint8_t *block = frame + H2_FRAME_HEAD;
    ASSERT(len >= H2_FRAME_HEAD);
    len -= H2_FRAME_HEAD;
    if (!only_references(block, len)) {
        h2__replay_forget(c);
    } else if (c->replay.sent.name) {
        c->replay.of = c->replay.sent;
        c->replay.len = len;
        memcpy(c->replay.block, block, len);
    }
    c->replay.sent.name = NULL;
}

bool h2__replay_fits(const struct h2_conn *c, const struct h2_stream *s)
{
    const nghttp2_nv *of = &c->replay.of, *nv = s->out_trailers;
    return c->replay.len && s->fixed_trailer && nv->name == of->name && nv->value == of->value &&
           nv->namelen == of->namelen && nv->valuelen == of->valuelen;
}

void h2__replay_put(const struct h2_conn *c, uint32_t id, uint8_t *to)
{
    const uint8_t head[H2_FRAME_HEAD] = {
        0,
        0,
        (uint8_t)c->replay.len,
        NGHTTP2_HEADERS,
        NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS,
        (uint8_t)(id >> 24),
        (uint8_t)(id >> 16),
        (uint8_t)(id >> 8),
        (uint8_t)id,
    };
    ASSERT(c->replay.len);
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, c->replay.block, c->replay.len);
}
