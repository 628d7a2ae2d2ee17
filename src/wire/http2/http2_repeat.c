/* http2_repeat.c - requests whose header block came before, byte for byte.
 *
 * A client asks for the same method of the same server again and again, and once its headers are in
 * HPACK's table it sends the same few bytes each time. To decode and to judge them anew is a fifth of
 * what a small request costs. But a block that is only references into the tables, and literals that
 * go into none, changes no table, and means the same until one changes (RFC 7541, 6). So what such a
 * block was decoded to is kept; when it comes again nghttp2 gets a HEADERS frame with an empty block
 * in its place, and the stream gets what is kept.
 *
 * All that is kept is forgotten with a block that changes the table, or that was not looked at: one
 * in several frames, padded, with a priority, or cut by the end of the input. (The peer's SETTINGS are
 * of our own table, and ours never speak of the size of this one.)
 *
 * A block is kept when it comes a second time, so one that never does (its path has a key in it)
 * costs a hash. One with a header that no table may have (a secret: RFC 7541, 7.1.3) is not kept.
 */
#include "wire/http2/http2_internal.h"

#include "base/hash.h"

/* What a block was decoded to. Streams borrow all of it. */
struct h2_repeat {
    uint32_t streams; /* that do */
    bool dropped;     /* the last of them frees it */
    uint16_t message; /* the fields of struct h2_stream */
    uint64_t length, list_bytes;
    struct bytes method, path, scheme, authority, block;
    size_t n;
    struct wire_header headers[]; /* behind them the texts */
};

enum {
    BLOCK_MOST = 256,
    KEPT_MOST = 2048, /* of a block and all that it was decoded to */
    INTEGER_MORE = 2, /* bytes after the first */
};

/* --- blocks --- */

enum kind { CHANGES, KEEPS, SECRET };

/* RFC 7541, 5.1: an integer whose first byte has `bits` of it. False: longer than those looked at. */
static bool integer(struct bytes *b, unsigned bits, size_t *ret)
{
    const size_t most = (1u << bits) - 1;
    size_t n, shift = 0;
    if (b->len == 0)
        return false;
    n = b->data[0] & most;
    *b = BYTES(b->data + 1, b->len - 1);
    if (n == most) {
        uint8_t more;
        do {
            if (b->len == 0 || shift == 7 * INTEGER_MORE)
                return false;
            more = b->data[0];
            n += (size_t)(more & 0x7f) << shift;
            shift += 7;
            *b = BYTES(b->data + 1, b->len - 1);
        } while (more & 0x80);
    }
    *ret = n;
    return true;
}

static bool pass_string(struct bytes *b)
{
    size_t n;
    if (!integer(b, 7, &n) || n > b->len)
        return false;
    *b = BYTES(b->data + n, b->len - n);
    return true;
}

static enum kind kind_of(struct bytes b)
{
    enum kind ret = KEEPS;
    size_t index;
    while (b.len) {
        const uint8_t first = b.data[0];
        if (first & 0x80) { /* both from a table */
            if (!integer(&b, 7, &index))
                return CHANGES;
            continue;
        }
        if (first & 0x60) /* goes into the table, or says its size */
            return CHANGES;
        if (first & 0x10)
            ret = SECRET;
        if (!integer(&b, 4, &index) || (index == 0 && !pass_string(&b)) || !pass_string(&b))
            return CHANGES; /* not looked at further */
    }
    return ret;
}

/* --- what is kept --- */

static void repeat_free(struct h2_conn *c, struct h2_repeat *r)
{
    if (r->streams)
        r->dropped = true;
    else
        h2__free(c, r);
}

void h2__repeat_forget(struct h2_conn *c)
{
    for (size_t i = 0; i < c->repeats.n; i++)
        repeat_free(c, c->repeats.kept[i]);
    c->repeats.n = 0;
}

void h2__repeat_release(struct h2_stream *s)
{
    struct h2_repeat *r = s->repeat;
    s->repeat = NULL;
    if (r && --r->streams == 0 && r->dropped)
        h2__free(s->conn, r);
}

static struct h2_repeat *find(const struct h2_repeats *known, struct bytes block)
{
    for (size_t i = 0; i < known->n; i++)
        if (bytes_eq(known->kept[i]->block, block))
            return known->kept[i];
    return NULL;
}

/* Whether it is among the last few; then it is. */
static bool came_before(struct h2_repeats *known, struct bytes block)
{
    const uint64_t hash = hash_xxh64(block.data, block.len, 0);
    for (size_t i = 0; i < H2_REPEATS; i++)
        if (known->seen[i] == hash)
            return true;
    known->seen[known->next++ % H2_REPEATS] = hash;
    return false;
}

static struct bytes put(uint8_t **to, struct bytes b)
{
    if (b.len == 0)
        return b.data ? BYTES_EMPTY : b;
    memcpy(*to, b.data, b.len);
    *to += b.len;
    return BYTES(*to - b.len, b.len);
}

void h2__repeat_learn(struct h2_conn *c, const struct h2_stream *s)
{
    struct h2_repeats *known = &c->repeats;
    const struct h2_block *h = &s->headers;
    const size_t places = sizeof(struct h2_repeat) + h->n * sizeof(struct wire_header);
    size_t text =
        known->learns.len + s->method.len + s->path.len + s->scheme.len + s->authority.len;
    for (size_t i = 0; i < h->n; i++)
        text += h->v[i].name.len + h->v[i].value.len;
    struct h2_repeat *r = places + text <= KEPT_MOST ? h2__alloc(c, places + text) : NULL;
    if (!r)
        return; /* it goes without */
    uint8_t *to = (uint8_t *)r + places;
    *r = (struct h2_repeat){
        .message = s->message, .length = s->length, .list_bytes = s->list_bytes, .n = h->n};
    r->block = put(&to, known->learns);
    r->method = put(&to, s->method);
    r->path = put(&to, s->path);
    r->scheme = put(&to, s->scheme);
    r->authority = put(&to, s->authority);
    for (size_t i = 0; i < h->n; i++) {
        r->headers[i] = h->v[i];
        r->headers[i].name = put(&to, h->v[i].name);
        r->headers[i].value = put(&to, h->v[i].value);
    }
    if (known->n < H2_REPEATS) {
        known->kept[known->n++] = r;
        return;
    }
    struct h2_repeat **old = &known->kept[known->next % H2_REPEATS];
    repeat_free(c, *old);
    *old = r;
}

void h2__repeat_apply(struct h2_conn *c, struct h2_stream *s)
{
    struct h2_repeat *r = c->repeats.applies;
    s->repeat = r;
    r->streams++;
    s->headers = (struct h2_block){r->headers, r->n, r->n};
    s->method = r->method;
    s->path = r->path;
    s->scheme = r->scheme;
    s->authority = r->authority;
    s->message = r->message;
    s->length = r->length;
    s->list_bytes = r->list_bytes;
    c->stats.heads_repeated++;
}

/* --- the input --- */

static uint32_t id_of(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]) & INT32_MAX;
}

static bool has_block(const uint8_t *head)
{
    const uint8_t type = head[H2_FRAME_TYPE];
    return type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION;
}

/* What is fed to nghttp2, frame by frame. */
struct input {
    struct h2_conn *c;
    struct bytes in;
    size_t given; /* nghttp2 has these */
    int error;    /* of nghttp2 */
};

static void feed(struct input *f, struct bytes b)
{
    if (b.len == 0 || f->error)
        return;
    ssize_t n = nghttp2_session_mem_recv(f->c->session, b.data, b.len);
    if (n < 0)
        f->error = (int)n;
    else if (f->c->status != ST_OK)
        f->error = NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void feed_to(struct input *f, size_t end)
{
    feed(f, BYTES(f->in.data + f->given, end - f->given));
    f->given = end;
}

/* The HEADERS frame at `at`, which is all there. */
static void take_headers(struct input *f, size_t at, size_t len)
{
    struct h2_repeats *known = &f->c->repeats;
    const uint8_t *head = f->in.data + at;
    const struct bytes block = BYTES(head + H2_FRAME_HEAD, len);
    const size_t end = at + H2_FRAME_HEAD + len;
    const bool plain =
        (head[H2_FRAME_FLAGS] & ~NGHTTP2_FLAG_END_STREAM) == NGHTTP2_FLAG_END_HEADERS &&
        len <= BLOCK_MOST;
    struct h2_repeat *r = plain ? find(known, block) : NULL;
    if (r) {
        uint8_t empty[H2_FRAME_HEAD];
        feed_to(f, at);
        if (f->error || id_of(head + H2_FRAME_STREAM) <= known->last)
            return; /* trailers, or a mistake: nghttp2 gets the frame as it is */
        memcpy(empty, head, sizeof empty);
        memset(empty, 0, H2_FRAME_TYPE);
        known->applies = r;
        feed(f, BYTES(empty, sizeof empty));
        known->applies = NULL;
        f->given = end;
        return;
    }
    const enum kind kind = plain ? kind_of(block) : CHANGES;
    if (kind == CHANGES) {
        h2__repeat_forget(f->c);
    } else if (kind == KEEPS && came_before(known, block)) {
        feed_to(f, at);
        known->learns = block;
        feed_to(f, end);
        known->learns = BYTES_EMPTY;
    }
}

/* Where the first frame begins whose head is in this input alone. */
static size_t first_frame(struct h2_conn *c, struct bytes in)
{
    const struct h2__frames *f = &c->frames;
    const size_t rest = sizeof f->head - f->have;
    uint8_t head[H2_FRAME_HEAD];
    if (f->left || f->have == 0)
        return f->left;
    if (in.len < rest)
        return in.len;
    memcpy(head, f->head, f->have);
    memcpy(head + f->have, in.data, rest);
    if (has_block(head))
        h2__repeat_forget(c);
    return rest + h2__length_of(head);
}

int h2__repeat_recv(struct h2_conn *c, struct bytes in)
{
    struct input f = {.c = c, .in = in};
    size_t at = first_frame(c, in);
    while (!f.error && at < in.len && in.len - at >= H2_FRAME_HEAD) {
        const uint8_t *head = in.data + at;
        const size_t len = h2__length_of(head);
        if (head[H2_FRAME_TYPE] == NGHTTP2_HEADERS && len <= in.len - at - H2_FRAME_HEAD)
            take_headers(&f, at, len);
        else if (has_block(head))
            h2__repeat_forget(c);
        at += H2_FRAME_HEAD + len;
    }
    feed_to(&f, in.len);
    return f.error;
}
