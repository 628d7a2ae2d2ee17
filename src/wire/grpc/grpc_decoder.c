/* grpc_decoder.c - a stream of bytes cut into messages.
 *
 * Flow control: a byte that has come is `owed` to the peer's window until it is told that it may be
 * consumed: at once for a message being put together while none waits to be taken, else when its
 * message is taken. So a message larger than the window gets through, and messages that nobody
 * takes stop the peer.
 */
#include "wire/grpc/grpc_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { FIRST_ROOM = 16 * 1024, COMPRESSED = 1 };

struct grpc_message {
    struct list link;
    size_t len, have, cap;
    size_t owed;
    bool compressed, lent;
    uint8_t data[];
};

void grpc_decoder_init(struct grpc_decoder *d, size_t message_max, struct wire_budget *budget)
{
    *d = (struct grpc_decoder){.message_max = message_max ? message_max : GRPC_MESSAGE_MAX,
                               .budget = budget};
    list_init(&d->ready);
}

static void pay_back(struct grpc_decoder *d, size_t n)
{
    if (d->budget)
        wire_budget_give(d->budget, n);
}

static enum status pay(struct grpc_decoder *d, size_t n, struct err *err)
{
    if (!d->budget || wire_budget_take(d->budget, n))
        return ST_OK;
    return err_set(err, ST_OVERLOADED,
                   "no room for a message: the budget of %zu bytes in flight is used up",
                   d->budget->limit);
}

static void message_free(struct grpc_decoder *d, struct grpc_message *m)
{
    if (!m)
        return;
    pay_back(d, m->cap);
    if (m->lent)
        d->own = m;
    else
        mem_free(m);
}

/* A small message never grows, so the lent room is not reallocated. */
static struct grpc_message *message_new(struct grpc_decoder *d, size_t len)
{
    struct grpc_message *m = d->own;
    if (m && len <= d->own_len) {
        d->own = NULL;
        *m = (struct grpc_message){.len = len, .lent = true};
        return m;
    }
    m = mem_alloc(sizeof *m + (len < FIRST_ROOM ? len : 0));
    if (m)
        *m = (struct grpc_message){.len = len};
    return m;
}

void grpc_decoder_lend(struct grpc_decoder *d, void *room, size_t size)
{
    ASSERT(size >= sizeof(struct grpc_message));
    d->own = room;
    d->own_len = size - sizeof(struct grpc_message);
    ASSERT(d->own_len < FIRST_ROOM);
}

static void drop_taken(struct grpc_decoder *d)
{
    message_free(d, d->taken);
    d->taken = NULL;
    if (d->inflated.data) {
        pay_back(d, d->inflated_paid);
        d->inflated_paid = 0;
        buf_deinit(&d->inflated);
    }
}

void grpc_decoder_deinit(struct grpc_decoder *d)
{
    if (!d->ready.next)
        return;
    drop_taken(d);
    message_free(d, d->partial);
    while (!list_empty(&d->ready)) {
        struct grpc_message *m = container_of(d->ready.next, struct grpc_message, link);
        list_remove(&m->link);
        message_free(d, m);
    }
    *d = (struct grpc_decoder){0};
}

/* Room for as many bytes as have come and some more, never more than the message has. */
static enum status grow(struct grpc_decoder *d, size_t wanted, struct err *err)
{
    struct grpc_message *m = d->partial;
    if (wanted <= m->cap)
        return ST_OK;
    size_t cap = m->cap * 2 > FIRST_ROOM ? m->cap * 2 : FIRST_ROOM;
    if (cap < wanted)
        cap = wanted;
    if (cap > m->len)
        cap = m->len;
    enum status st = pay(d, cap - m->cap, err);
    if (st != ST_OK)
        return st;
    m = mem_realloc(d->partial, sizeof *m + cap);
    if (!m) {
        pay_back(d, cap - d->partial->cap);
        return err_set(err, ST_NO_MEMORY, "no memory for a message");
    }
    m->cap = cap;
    d->partial = m;
    return ST_OK;
}

static enum status begin(struct grpc_decoder *d, struct err *err)
{
    const uint8_t *p = d->prefix;
    size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (p[0] > COMPRESSED)
        return err_set(err, ST_INTERNAL, "a message's first byte is %u", p[0]);
    if (p[0] == COMPRESSED && d->encoding == GRPC_IDENTITY)
        return err_set(err, ST_INTERNAL,
                       "a message is compressed, but grpc-encoding names nothing");
    if (len > d->message_max)
        return err_set(err, ST_TOO_LARGE, "a message of %zu bytes is over the limit of %zu", len,
                       d->message_max);
    struct grpc_message *m = message_new(d, len);
    if (!m)
        return err_set(err, ST_NO_MEMORY, "no memory for a message");
    m->compressed = p[0] == COMPRESSED;
    if (len < FIRST_ROOM) {
        enum status st = pay(d, len, err);
        if (st != ST_OK) {
            message_free(d, m); /* nothing was paid: its cap is 0 */
            return st;
        }
        m->cap = len;
    }
    list_init(&m->link);
    m->owed = d->prefix_owed;
    d->prefix_owed = 0;
    d->prefix_len = 0;
    d->partial = m;
    return ST_OK;
}

static enum status feed_prefix(struct grpc_decoder *d, struct bytes *in, struct err *err)
{
    size_t n = GRPC_PREFIX - (size_t)d->prefix_len;
    if (n > in->len)
        n = in->len;
    memcpy(d->prefix + d->prefix_len, in->data, n);
    d->prefix_len = (uint8_t)(d->prefix_len + n);
    d->prefix_owed += n;
    *in = BYTES(in->data + n, in->len - n);
    return d->prefix_len == GRPC_PREFIX ? begin(d, err) : ST_OK;
}

static enum status feed_body(struct grpc_decoder *d, struct bytes *in, struct err *err)
{
    size_t n = d->partial->len - d->partial->have;
    if (n > in->len)
        n = in->len;
    enum status st = grow(d, d->partial->have + n, err);
    if (st != ST_OK)
        return st;
    struct grpc_message *m = d->partial;
    if (n)
        memcpy(m->data + m->have, in->data, n);
    m->have += n;
    m->owed += n;
    *in = BYTES(in->data + n, in->len - n);
    return ST_OK;
}

enum status grpc_decoder_feed(struct grpc_decoder *d, struct bytes in, struct err *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && in.len) {
        if (!d->partial)
            st = feed_prefix(d, &in, err);
        else
            st = feed_body(d, &in, err);
        if (st == ST_OK && d->partial && d->partial->have == d->partial->len) {
            list_push_back(&d->ready, &d->partial->link);
            d->partial = NULL;
        }
    }
    return st;
}

static enum status inflate_taken(struct grpc_decoder *d, struct bytes *ret, struct err *err)
{
    struct bytes in = BYTES(d->taken->data, d->taken->len);
    size_t most = d->message_max;
    size_t left = d->budget ? d->budget->limit - d->budget->used : SIZE_MAX;
    enum status st = grpc_gunzip(in, most < left ? most : left, &d->inflated, err);
    if (st == ST_TOO_LARGE && left < most)
        st = err_set(err, ST_OVERLOADED,
                     "no room to inflate a message: the budget of bytes in flight is used up");
    if (st == ST_OK)
        st = pay(d, d->inflated.len, err);
    if (st != ST_OK) {
        buf_deinit(&d->inflated);
        return st;
    }
    d->inflated_paid = d->inflated.len;
    *ret = buf_bytes(&d->inflated);
    return ST_OK;
}

enum status grpc_decoder_next(struct grpc_decoder *d, bool *ret_any, struct bytes *ret,
                              size_t *ret_owed, struct err *err)
{
    drop_taken(d);
    if (list_empty(&d->ready)) {
        *ret_any = false;
        *ret_owed = 0;
        return ST_OK;
    }
    d->taken = container_of(d->ready.next, struct grpc_message, link);
    list_remove(&d->taken->link);
    struct bytes message = BYTES(d->taken->data, d->taken->len);
    enum status st = d->taken->compressed ? inflate_taken(d, &message, err) : ST_OK;
    if (st != ST_OK)
        return st;
    *ret_any = true;
    *ret = message;
    *ret_owed = d->taken->owed;
    return ST_OK;
}

size_t grpc_decoder_owed(struct grpc_decoder *d)
{
    if (!list_empty(&d->ready))
        return 0;
    size_t n = d->prefix_owed;
    d->prefix_owed = 0;
    if (d->partial) {
        n += d->partial->owed;
        d->partial->owed = 0;
    }
    return n;
}

bool grpc_decoder_between(const struct grpc_decoder *d)
{
    return !d->partial && d->prefix_len == 0;
}

void grpc_prefix(uint8_t out[GRPC_PREFIX], bool compressed, uint32_t len)
{
    out[0] = compressed ? COMPRESSED : 0;
    for (size_t i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}
