/* http2_queue.c - body bytes that wait for the peer's window: a list of pieces.
 *
 * Small writes are copied behind one another into the stream's own room, then into pieces from the
 * heap; blobs are referenced.
 */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

static struct h2_piece *piece_new(struct h2_conn *c, size_t room)
{
    struct h2_piece *p = h2__alloc(c, sizeof *p + room);
    if (p)
        *p = (struct h2_piece){
            .data = (uint8_t *)(p + 1), .start = (uint8_t *)(p + 1), .room = room};
    return p;
}

static void piece_free(struct h2_stream *s, struct h2_piece *p)
{
    if (p->blob)
        blob_unref(p->blob);
    if (p != &s->inline_piece)
        h2__free(s->conn, p);
}

static void queue_push(struct h2_stream *s, struct h2_piece *p)
{
    if (s->tail)
        s->tail->next = p;
    else
        s->head = p;
    s->tail = p;
}

void h2__queue_clear(struct h2_stream *s)
{
    while (s->head) {
        struct h2_piece *p = s->head;
        s->head = p->next;
        piece_free(s, p);
    }
    s->tail = NULL;
    s->conn->queued -= s->queued;
    s->queued = 0;
}

static void queue_add(struct h2_stream *s, size_t n)
{
    s->queued += n;
    s->conn->queued += n;
}

/* A piece with room for at least one byte at its end; NULL: no memory. */
static struct h2_piece *tail_with_room(struct h2_stream *s, size_t wanted)
{
    struct h2_piece *p = s->tail;
    if (p && p->room && p->data + p->len < p->start + p->room)
        return p;
    if (!s->head) {
        p = &s->inline_piece;
        *p = (struct h2_piece){
            .data = s->inline_body, .start = s->inline_body, .room = H2_INLINE_BODY};
    } else {
        p = piece_new(s->conn, wanted > H2_PIECE_BYTES ? wanted : H2_PIECE_BYTES);
    }
    if (p)
        queue_push(s, p);
    return p;
}

static enum status queue_copy(struct h2_stream *s, struct bytes data)
{
    while (data.len) {
        struct h2_piece *p = tail_with_room(s, data.len);
        if (!p)
            return ST_NO_MEMORY; /* h2__queue_parts takes back what is there */
        size_t room = (size_t)(p->start + p->room - (p->data + p->len));
        size_t n = room < data.len ? room : data.len;
        memcpy(p->data + p->len, data.data, n);
        p->len += n;
        queue_add(s, n);
        data = BYTES(data.data + n, data.len - n);
    }
    return ST_OK;
}

static enum status queue_blob(struct h2_stream *s, const struct h2_part *part)
{
    if (part->bytes.len == 0)
        return ST_OK;
    struct h2_piece *p = piece_new(s->conn, 0);
    if (!p)
        return ST_NO_MEMORY;
    p->blob = blob_ref(part->blob);
    p->data = (uint8_t *)(uintptr_t)part->bytes.data; /* only read */
    p->len = part->bytes.len;
    queue_push(s, p);
    queue_add(s, p->len);
    return ST_OK;
}

/* Back to how it was when `tail` was the last piece and had `len` bytes. */
static void queue_cut(struct h2_stream *s, struct h2_piece *tail, size_t len, size_t queued)
{
    struct h2_piece *p = tail ? tail->next : s->head;
    while (p) {
        struct h2_piece *next = p->next;
        piece_free(s, p);
        p = next;
    }
    s->tail = tail;
    if (tail) {
        tail->next = NULL;
        tail->len = len;
    } else {
        s->head = NULL;
    }
    s->conn->queued -= s->queued - queued;
    s->queued = queued;
}

enum status h2__queue_parts(struct h2_stream *s, const struct h2_part *parts, size_t n)
{
    struct h2_piece *const tail = s->tail;
    const size_t len = tail ? tail->len : 0, queued = s->queued;
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = parts[i].blob ? queue_blob(s, &parts[i]) : queue_copy(s, parts[i].bytes);
    if (st != ST_OK)
        queue_cut(s, tail, len, queued);
    return st;
}

/* Moves the first n queued bytes to `to`. */
void h2__queue_take(struct h2_stream *s, uint8_t *to, size_t n)
{
    ASSERT(n <= s->queued);
    s->queued -= n;
    s->conn->queued -= n;
    while (n) {
        struct h2_piece *p = s->head;
        size_t part = p->len < n ? p->len : n;
        memcpy(to, p->data, part);
        to += part;
        n -= part;
        p->data += part;
        p->len -= part;
        if (p->len)
            break;
        s->head = p->next;
        if (!s->head)
            s->tail = NULL;
        piece_free(s, p);
    }
}
