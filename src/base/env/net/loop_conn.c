/* Connections: their output queue, what they keep of their input, and their end.
 *
 * The output queue is a list of chunks. Copies fill the last chunk; borrowed bytes are a chunk of
 * their own. A chunk that is on its way through io_uring may still be appended to, since the kernel
 * was given what lies before. Chunks leave from the front as the kernel takes their bytes.
 */
#include "base/env/net/loop_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>

/* --- life --- */

static size_t or_else(size_t given, size_t otherwise)
{
    return given ? given : otherwise;
}

static enum status conn_new(struct loop *l, int fd, const struct loop_conn_ops *ops, void *ctx,
                            const struct loop_conn_limits *limits, bool connecting,
                            struct loop_conn **ret, struct err *err)
{
    ASSERT(ops->on_recv && ops->on_eof && ops->on_close);
    struct loop_conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(err, ST_NO_MEMORY, "connection: no memory");
    static const struct loop_conn_limits none;
    limits = limits ? limits : &none;
    c->loop = l;
    c->ops = ops;
    c->ctx = ctx;
    c->fd = fd;
    c->connecting = connecting;
    c->want_read = c->can_write = true;
    c->send_max = or_else(limits->send_max_bytes, (size_t)32 << 20);
    c->send_high = or_else(limits->send_high_bytes, (size_t)256 << 10);
    c->send_low = or_else(limits->send_low_bytes, c->send_high / 4);
    list_init(&c->all);
    list_init(&c->dirty);
    list_init(&c->attention);
    enum status st = l->backend->conn_add(c, err);
    if (st) {
        mem_free(c);
        return st;
    }
    list_push_back(&l->conns, &c->all);
    l->n_conns++;
    *ret = c;
    return ST_OK;
}

static enum status check_room(const struct loop *l, struct err *err)
{
    if (l->n_conns < l->options.max_conns)
        return ST_OK;
    return err_set(err, ST_OVERLOADED, "connection: all %zu are in use (max_conns)",
                   l->options.max_conns);
}

enum status loop_adopt(struct loop *l, int sock, const struct loop_conn_ops *ops, void *ctx,
                       const struct loop_conn_limits *limits, struct loop_conn **ret,
                       struct err *err)
{
    enum status st = check_room(l, err);
    return st ? st : conn_new(l, sock, ops, ctx, limits, false, ret, err);
}

enum status loop_connect(struct loop *l, const struct net_addr *to, const struct loop_conn_ops *ops,
                         void *ctx, const struct loop_conn_limits *limits, struct loop_conn **ret,
                         struct err *err)
{
    int fd;
    enum status st = check_room(l, err);
    if (!st)
        st = l->backend->sockets->connect(l, to, &fd, err);
    if (st)
        return st;
    st = conn_new(l, fd, ops, ctx, limits, true, ret, err);
    if (st)
        loop_socket_close(l, fd);
    return st;
}

void loop__attend(struct loop_conn *c)
{
    list_remove(&c->attention);
    list_push_back(&c->loop->attention, &c->attention);
}

void loop__mark_dirty(struct loop_conn *c)
{
    if (list_empty(&c->dirty))
        list_push_back(&c->loop->dirty, &c->dirty);
}

void loop__close(struct loop_conn *c, enum status why, int error)
{
    if (c->closing)
        return;
    c->closing = true;
    c->close_why = why;
    c->close_errno = error;
    list_remove(&c->dirty);
    loop__attend(c);
}

void loop_conn_close(struct loop_conn *c)
{
    loop__close(c, ST_OK, 0);
}

void loop_conn_reset(struct loop_conn *c)
{
    if (!c->dropped)
        c->reset = true;
    loop__close(c, ST_OK, 0);
}

void loop__failed(struct loop_conn *c, int error)
{
    loop__close(c, error == ENOMEM || error == ENOBUFS ? ST_NO_MEMORY : ST_IO_ERROR, error);
}

void loop__conn_gone(struct loop_conn *c)
{
    struct loop *l = c->loop;
    ASSERT(c->closing && c->pending == 0);
    loop__drop_output(c);
    if (c->reset)
        l->backend->sockets->reset_on_close(l, c->fd);
    loop_socket_close(l, c->fd);
    l->kept -= c->kept_end - c->kept_at;
    mem_free(c->kept);
    list_remove(&c->all);
    list_remove(&c->dirty);
    list_remove(&c->attention);
    l->n_conns--;
    l->callbacks++;
    c->ops->on_close(c->ctx, c->close_why, c->close_errno);
    mem_free(c);
}

void loop_conn_peer(const struct loop_conn *c, struct net_addr *ret)
{
    c->loop->backend->sockets->peer(c->loop, c->fd, ret);
}

void loop_conn_local(const struct loop_conn *c, struct net_addr *ret)
{
    c->loop->backend->sockets->local(c->loop, c->fd, ret);
}

void loop__connected(struct loop_conn *c, int error)
{
    if (c->closing || !c->connecting)
        return;
    if (error) {
        loop__failed(c, error);
        return;
    }
    c->connecting = false;
    if (loop__has_output(c))
        loop__mark_dirty(c);
    loop__attend(c); /* reading begins */
    if (c->ops->on_connect) {
        c->loop->callbacks++;
        c->ops->on_connect(c->ctx);
    }
}

/* --- input --- */

bool loop__wants_bytes(const struct loop_conn *c)
{
    return c->want_read && !c->closing && !c->connecting && !c->eof_seen &&
           c->kept_at == c->kept_end;
}

static void keep(struct loop_conn *c, const uint8_t *data, size_t len)
{
    struct loop *l = c->loop;
    if (len > l->options.kept_max_bytes - l->kept) {
        loop__close(c, ST_OVERLOADED, 0);
        return;
    }
    size_t have = c->kept_end - c->kept_at;
    if (c->kept_cap - c->kept_end < len) {
        uint8_t *grown = mem_alloc(have + len);
        if (!grown) {
            loop__close(c, ST_NO_MEMORY, ENOMEM);
            return;
        }
        if (have > 0)
            memcpy(grown, c->kept + c->kept_at, have);
        mem_free(c->kept);
        c->kept = grown;
        c->kept_at = 0;
        c->kept_end = have;
        c->kept_cap = have + len;
    }
    memcpy(c->kept + c->kept_end, data, len);
    c->kept_end += len;
    l->kept += len;
}

static size_t deliver(struct loop_conn *c, const uint8_t *data, size_t len)
{
    c->loop->callbacks++;
    size_t took = c->ops->on_recv(c->ctx, BYTES(data, len));
    ASSERT(took <= len);
    if (took < len)
        c->want_read = false;
    return took;
}

/* len 0: delivers again what is kept. */
void loop__received(struct loop_conn *c, const uint8_t *data, size_t len)
{
    if (c->closing)
        return;
    if (c->kept_end == c->kept_at && c->want_read) {
        size_t took = deliver(c, data, len);
        if (took < len && !c->closing)
            keep(c, data + took, len - took);
        return;
    }
    if (len > 0)
        keep(c, data, len);
    if (!c->want_read || c->closing)
        return;
    size_t took = deliver(c, c->kept + c->kept_at, c->kept_end - c->kept_at);
    c->kept_at += took;
    c->loop->kept -= took;
    if (c->kept_at == c->kept_end) {
        mem_free(c->kept);
        c->kept = NULL;
        c->kept_at = c->kept_end = c->kept_cap = 0;
    }
}

void loop__eof(struct loop_conn *c)
{
    c->eof_seen = true;
    if (c->closing || c->eof_told || !c->want_read || c->kept_end > c->kept_at)
        return;
    c->eof_told = true;
    c->loop->callbacks++;
    c->ops->on_eof(c->ctx);
    if (c->fin_sent)
        loop__close(c, ST_OK, 0);
}

void loop_conn_read(struct loop_conn *c, bool wanted)
{
    if (c->want_read == wanted || c->closing)
        return;
    c->want_read = wanted;
    if (wanted)
        loop__attend(c);
}

/* --- output --- */

static struct out_chunk *chunk_new(struct loop *l, size_t total)
{
    struct out_chunk *k = NULL;
    if (total == CHUNK_SMALL && l->spare) {
        k = l->spare;
        l->spare = k->next;
        l->n_spare--;
    } else {
        k = mem_alloc(total);
    }
    if (!k)
        return NULL;
    *k = (struct out_chunk){.data = k->own, .cap = total - sizeof *k};
    return k;
}

static void chunk_free(struct loop *l, struct out_chunk *k)
{
    if (k->release) {
        k->release(k->arg);
    } else if (k->cap + sizeof *k == CHUNK_SMALL && l->n_spare < CHUNKS_SPARE) {
        k->next = l->spare;
        l->spare = k;
        l->n_spare++;
        return;
    }
    mem_free(k);
}

void loop__free_spares(struct loop *l)
{
    for (struct out_chunk *k = l->spare, *next; k; k = next) {
        next = k->next;
        mem_free(k);
    }
    l->spare = NULL;
    l->n_spare = 0;
}

static void chunk_push(struct loop_conn *c, struct out_chunk *k)
{
    if (c->out_last)
        c->out_last->next = k;
    else
        c->out_first = k;
    c->out_last = k;
}

static void chunk_pop(struct loop_conn *c)
{
    struct out_chunk *k = c->out_first;
    c->out_first = k->next;
    if (!c->out_first)
        c->out_last = NULL;
    chunk_free(c->loop, k);
}

/* A chunk with room for at least `len` bytes: small for the first of a queue, larger for more. */
static struct out_chunk *chunk_for(struct loop_conn *c, size_t len)
{
    size_t total = sizeof(struct out_chunk) + len;
    size_t class = c->out_first ? CHUNK_LARGE : CHUNK_SMALL;
    if (total > CHUNK_SMALL && total <= CHUNK_LARGE)
        class = CHUNK_LARGE;
    return chunk_new(c->loop, total < class ? class : total);
}

static enum status check_send(const struct loop_conn *c, size_t len)
{
    if (c->closing || c->fin_wanted)
        return ST_CLOSED;
    if (c->queued > c->send_max || len > c->send_max - c->queued)
        return ST_OVERLOADED;
    if (c->loop->queued > c->loop->options.send_total_bytes ||
        len > c->loop->options.send_total_bytes - c->loop->queued)
        return ST_OVERLOADED;
    return ST_OK;
}

static void queued(struct loop_conn *c, size_t len)
{
    c->queued += len;
    c->loop->queued += len;
    if (c->queued > c->send_high)
        c->above_high = true;
    if (!c->connecting && c->can_write && !c->send_armed)
        loop__mark_dirty(c);
}

static size_t tail_room(const struct loop_conn *c)
{
    const struct out_chunk *k = c->out_last;
    return k && !k->release ? k->cap - k->end : 0;
}

enum status loop_conn_send(struct loop_conn *c, struct bytes data)
{
    enum status st = check_send(c, data.len);
    if (st || data.len == 0)
        return st;
    size_t room = tail_room(c);
    size_t first = data.len < room ? data.len : room;
    struct out_chunk *more = NULL;
    if (first < data.len) {
        more = chunk_for(c, data.len - first);
        if (!more)
            return ST_NO_MEMORY;
    }
    if (first > 0) {
        memcpy(c->out_last->data + c->out_last->end, data.data, first);
        c->out_last->end += first;
    }
    if (more) {
        memcpy(more->data, data.data + first, data.len - first);
        more->end = data.len - first;
        chunk_push(c, more);
    }
    queued(c, data.len);
    return ST_OK;
}

enum status loop_conn_send_ref(struct loop_conn *c, struct bytes data, void (*release)(void *arg),
                               void *arg)
{
    enum status st = check_send(c, data.len);
    struct out_chunk *k = st || data.len == 0 ? NULL : mem_alloc(sizeof *k);
    if (!k) {
        release(arg);
        return st || data.len == 0 ? st : ST_NO_MEMORY;
    }
    union {
        const uint8_t *in;
        uint8_t *out;
    } base = {.in = data.data}; /* never written through: chunks with a release are not filled */
    *k = (struct out_chunk){
        .data = base.out, .end = data.len, .cap = data.len, .release = release, .arg = arg};
    chunk_push(c, k);
    queued(c, data.len);
    return ST_OK;
}

enum status loop_conn_reserve(struct loop_conn *c, size_t min, uint8_t **ret, size_t *ret_room)
{
    enum status st = check_send(c, min);
    if (st)
        return st;
    if (tail_room(c) < min || tail_room(c) == 0) {
        struct out_chunk *k = chunk_for(c, min);
        if (!k)
            return ST_NO_MEMORY;
        chunk_push(c, k);
    }
    *ret = c->out_last->data + c->out_last->end;
    *ret_room = tail_room(c);
    return ST_OK;
}

void loop_conn_commit(struct loop_conn *c, size_t used)
{
    if (c->closing || used == 0)
        return;
    ASSERT(used <= tail_room(c));
    c->out_last->end += used;
    queued(c, used);
}

size_t loop_conn_queued(const struct loop_conn *c)
{
    return c->queued;
}

bool loop_conn_writable(const struct loop_conn *c)
{
    return !c->closing && !c->fin_wanted && c->queued <= c->send_high;
}

uint64_t loop_conn_sent(const struct loop_conn *c)
{
    return c->sent;
}

bool loop__has_output(const struct loop_conn *c)
{
    return c->queued > 0 || (c->fin_wanted && !c->fin_sent);
}

int loop__gather(const struct loop_conn *c, struct iovec *iov, int max, size_t *ret_bytes)
{
    int n = 0;
    size_t bytes = 0;
    for (const struct out_chunk *k = c->out_first; k && n < max; k = k->next) {
        if (k->at == k->end)
            continue; /* reserved, not committed */
        iov[n++] = (struct iovec){k->data + k->at, k->end - k->at};
        bytes += k->end - k->at;
    }
    *ret_bytes = bytes;
    return n;
}

void loop__sent(struct loop_conn *c, size_t len)
{
    ASSERT(len <= c->queued);
    c->queued -= len;
    c->loop->queued -= len;
    c->sent += len;
    while (c->out_first) {
        struct out_chunk *k = c->out_first;
        size_t part = k->end - k->at < len ? k->end - k->at : len;
        k->at += part;
        len -= part;
        if (k->at < k->end)
            break;
        chunk_pop(c);
    }
    ASSERT(len == 0);
    if (c->above_high && c->queued <= c->send_low && !c->closing) {
        c->above_high = false;
        c->drained_due = true;
        loop__attend(c);
    }
}

void loop__send_end(struct loop_conn *c)
{
    if (!c->fin_wanted || c->fin_sent || c->queued > 0)
        return;
    c->fin_sent = true;
    c->loop->backend->sockets->finish(c->loop, c->fd);
    if (c->eof_told)
        loop__close(c, ST_OK, 0);
}

void loop_conn_finish(struct loop_conn *c)
{
    if (c->closing || c->fin_wanted)
        return;
    c->fin_wanted = true;
    if (!c->connecting && !c->send_armed)
        loop__mark_dirty(c);
}

void loop__drop_output(struct loop_conn *c)
{
    while (c->out_first)
        chunk_pop(c);
    c->loop->queued -= c->queued;
    c->queued = 0;
}
