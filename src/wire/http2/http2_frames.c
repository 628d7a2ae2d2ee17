/* http2_frames.c - where in a frame the input stands, so that it is known whether a header block is open.
 * Of one that nghttp2 ignores, since its stream has ended (trailers that crossed our RST_STREAM), it tells only
 * that it begins. Source: RFC 9113, sections 3.4, 4.1, 4.3. */
#include "wire/http2/http2_internal.h"

enum { PREFACE = 24, END_HEADERS = 4 };

void h2__frames_begin(struct h2_conn *c)
{
    c->frames = (struct h2__frames){.left = c->server ? PREFACE : 0};
}

static void payload_ends(struct h2_conn *c)
{
    if (c->frames.ends_block)
        c->block_since_ms = 0;
    c->frames.ends_block = false;
}

static void head_ends(struct h2_conn *c)
{
    struct h2__frames *f = &c->frames;
    const uint8_t *p = f->head;
    bool opens = p[H2_FRAME_TYPE] == NGHTTP2_HEADERS || p[H2_FRAME_TYPE] == NGHTTP2_PUSH_PROMISE;
    f->have = 0;
    f->left = h2__length_of(p);
    if (opens)
        c->block_since_ms = c->now_ms ? c->now_ms : 1;
    if (opens || p[H2_FRAME_TYPE] == NGHTTP2_CONTINUATION)
        f->ends_block = p[H2_FRAME_FLAGS] & END_HEADERS;
    if (f->left == 0)
        payload_ends(c);
}

void h2__frames_pass(struct h2_conn *c, struct bytes in)
{
    struct h2__frames *f = &c->frames;
    size_t at = 0;
    while (at < in.len) {
        size_t rest = in.len - at;
        if (f->left) {
            size_t n = rest < f->left ? rest : f->left;
            at += n;
            f->left -= (uint32_t)n;
            if (f->left == 0)
                payload_ends(c);
        } else {
            size_t want = sizeof f->head - f->have, n = rest < want ? rest : want;
            memcpy(f->head + f->have, in.data + at, n);
            at += n;
            f->have += (uint8_t)n;
            if (f->have == sizeof f->head)
                head_ends(c);
        }
    }
}
