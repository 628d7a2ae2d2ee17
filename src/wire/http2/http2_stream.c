/* http2_stream.c - streams: their making, their headers, and how they go. */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { ARENA_CHUNK = 2048 };

struct h2_stream *h2__stream_new(struct h2_conn *c, uint32_t id)
{
    if (c->known_misses > H2_KNOWN_MISSES && list_empty(&c->streams))
        h2__known_free(c); /* the peer's habits have changed */
    struct h2_stream *s = h2__spare_take(c);
    if (!s)
        return NULL;
    /* The inline rooms at the end need no zeroes. */
    memset(s, 0, offsetof(struct h2_stream, inline_headers));
    s->conn = c;
    s->id = id;
    s->headers = (struct h2_block){s->inline_headers, 0, H2_INLINE_HEADERS};
    arena_init(&s->arena, ARENA_CHUNK);
    list_init(&s->ready);
    list_push_back(&c->streams, &s->link);
    return s;
}

struct h2_stream *h2__stream_find(struct h2_conn *c, int32_t id)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(c->session, id);
    if (s)
        c->recent = s;
    return s;
}

void h2__stream_free(struct h2_stream *s)
{
    struct h2_conn *c = s->conn;
    if (c->recent == s)
        c->recent = NULL;
    h2__queue_clear(s);
    h2__repeat_release(s);
    arena_deinit(&s->arena);
    list_remove(&s->link);
    list_remove(&s->ready);
    h2__spare_give(c, s);
}

void *h2__stream_alloc(struct h2_stream *s, size_t size, size_t align)
{
    size_t at = (s->text_used + align - 1) & ~(align - 1);
    if (at <= H2_INLINE_TEXT && size <= H2_INLINE_TEXT - at) {
        s->text_used = at + size;
        return s->inline_text + at;
    }
    return arena_alloc_align(&s->arena, size, align);
}

/* What the peer sent and nobody will read any more: the connection's window gets it back. */
static void give_back(struct h2_stream *s)
{
    struct h2_conn *c = s->conn;
    uint64_t n = s->unconsumed;
    s->unconsumed = 0;
    c->unconsumed -= n;
    if (n && !c->freed && c->status == ST_OK &&
        nghttp2_session_consume_connection(c->session, (size_t)n) != 0)
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for a WINDOW_UPDATE");
}

void h2__stream_closed(struct h2_stream *s, uint32_t code)
{
    struct h2_conn *c = s->conn;
    ASSERT(!s->closed);
    s->closed = true;
    s->code = code;
    s->wants_writable = false;
    list_remove(&s->ready);
    h2__queue_clear(s);
    if (s->announced && !s->released) {
        s->telling = true;
        c->events->closed(c->arg, s, code);
        s->telling = false;
    }
    give_back(s); /* only now: the owner may have consumed in `closed` */
    if (s->released || !s->announced)
        h2__stream_free(s);
}

static struct bytes copy(struct h2_stream *s, nghttp2_rcbuf *from)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(from);
    if (nghttp2_rcbuf_is_static(from))
        return BYTES(v.base, v.len);
    uint8_t *to = h2__stream_alloc(s, v.len, 1);
    if (to && v.len)
        memcpy(to, v.base, v.len);
    return (struct bytes){to, v.len};
}

static bool more_room(struct h2_stream *s, struct h2_block *b)
{
    size_t cap = b->cap ? 2 * b->cap : H2_INLINE_HEADERS;
    struct wire_header *v = arena_alloc(&s->arena, cap * sizeof *v);
    if (!v)
        return false;
    if (b->n)
        memcpy(v, b->v, b->n * sizeof *v);
    b->v = v;
    b->cap = cap;
    return true;
}

/* The rules have seen to it that there is one of each at most. */
static struct bytes *pseudo_at(struct h2_stream *s, size_t offset)
{
    return (struct bytes *)(void *)((char *)s + offset);
}

static enum status append(struct h2_stream *s, const struct wire_header *h)
{
    struct h2_block *b = s->in_trailers ? &s->trailers : &s->headers;
    if (b->n == b->cap && !more_room(s, b))
        return ST_NO_MEMORY;
    b->v[b->n++] = *h;
    return ST_OK;
}

enum status h2__store_known(struct h2_stream *s, const struct h2_known *k)
{
    if (k->rule.field)
        *pseudo_at(s, k->rule.field) = k->h.value;
    else if (!k->rule.status) /* which the rule has set */
        return append(s, &k->h);
    return ST_OK;
}

enum status h2__store_header(struct h2_stream *s, const struct h2_rule *r, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value)
{
    if (r->status) /* which the rule has set */
        return ST_OK;
    struct wire_header h = {.value = copy(s, value)};
    if (!h.value.data)
        return ST_NO_MEMORY;
    if (r->field) {
        *pseudo_at(s, r->field) = h.value;
        return ST_OK;
    }
    h.name = copy(s, name);
    return h.name.data ? append(s, &h) : ST_NO_MEMORY;
}

/* Before the final response's headers, those of a 1xx are dropped. */
void h2__forget_headers(struct h2_stream *s)
{
    s->headers.n = 0;
    s->list_bytes = 0;
    s->status = 0;
}

void h2_release(struct h2_stream *s)
{
    if (!s)
        return;
    struct h2_conn *c = s->conn;
    ASSERT(s->announced && !s->released);
    s->released = true;
    c->held--;
    if (s->closed) {
        if (s->telling) /* h2__stream_closed frees it */
            return;
        h2__stream_free(s);
        h2__conn_release(c);
        return;
    }
    list_remove(&s->ready);
    give_back(s);
    /* A client that lets go does not want the rest; a server lets its response go out (on_sent). */
    if (!s->send_ended || (!c->server && !s->ended))
        h2_reset(s, H2_CANCEL);
}

uint32_t h2_id(const struct h2_stream *s)
{
    return s->id;
}

struct h2_conn *h2_conn_of(const struct h2_stream *s)
{
    return s->conn->freed ? NULL : s->conn;
}

void h2_set_user(struct h2_stream *s, void *user)
{
    s->user = user;
}

void *h2_user(const struct h2_stream *s)
{
    return s->user;
}

bool h2_closed(const struct h2_stream *s)
{
    return s->closed;
}

bool h2_ended(const struct h2_stream *s)
{
    return s->ended;
}

const struct wire_header *h2_headers(const struct h2_stream *s, size_t *ret_n)
{
    *ret_n = s->headers.n;
    return s->headers.v;
}

const struct wire_header *h2_trailer_fields(const struct h2_stream *s, size_t *ret_n)
{
    *ret_n = s->trailers.n;
    return s->trailers.v;
}

static bool find(const struct h2_block *b, struct bytes name, struct bytes *ret)
{
    for (size_t i = 0; i < b->n; i++)
        if (bytes_eq(b->v[i].name, name)) {
            *ret = b->v[i].value;
            return true;
        }
    return false;
}

bool h2_header(const struct h2_stream *s, struct bytes name, struct bytes *ret)
{
    return find(&s->headers, name, ret);
}

bool h2_trailer(const struct h2_stream *s, struct bytes name, struct bytes *ret)
{
    return find(&s->trailers, name, ret);
}

struct bytes h2_method(const struct h2_stream *s)
{
    return s->method;
}

struct bytes h2_path(const struct h2_stream *s)
{
    return s->path;
}

struct bytes h2_scheme(const struct h2_stream *s)
{
    return s->scheme;
}

struct bytes h2_authority(const struct h2_stream *s)
{
    return s->authority;
}

unsigned h2_status(const struct h2_stream *s)
{
    return s->status;
}
