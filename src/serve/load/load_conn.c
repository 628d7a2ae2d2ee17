/* load_conn.c - a connection: bytes between the loop, the filter and the protocol. */
#include "serve/load/load_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "serve/reactor/conn.h"

static const struct load_protocol *protocol_of(const struct load_conn *c)
{
    return c->run->s->protocol;
}

static uint64_t now_ms(const struct load_conn *c)
{
    return loop_now_ns(c->run->loop) / 1000000;
}

static void mark_dirty(struct load_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->run->dirty;
    c->run->dirty = c;
}

/* It ends with the round; a protocol that is at work is not pulled away under its own call. */
static void lose(struct load_conn *c, enum status st, const struct err *why)
{
    if (c->lost || !c->lc)
        return;
    c->lost = true;
    c->why = *why;
    c->why.status = st;
    loop_conn_close(c->lc);
}

void load__free_slot(struct load_slot *slot)
{
    struct load_run *r = slot->conn->run;
    slot->next = NULL;
    if (r->free_tail)
        r->free_tail->next = slot;
    else
        r->free_head = slot;
    r->free_tail = slot;
}

/* --- answers --- */

const char load_wrong_value[] = "WRONG_VALUE";

static void count_error(struct load_result *res, const char *kind, struct bytes detail)
{
    size_t i = 0;
    while (i < res->errors_n && strcmp(res->errors[i].kind, kind) != 0)
        i++;
    if (i >= LOAD_ERRORS_MAX - 1) { /* the last place takes all other kinds */
        i = LOAD_ERRORS_MAX - 1;
        kind = "OTHER";
    }
    struct load_error *e = &res->errors[i];
    if (i >= res->errors_n) {
        size_t n = detail.len < sizeof e->detail - 1 ? detail.len : sizeof e->detail - 1;
        res->errors_n = i + 1;
        e->kind = kind;
        memcpy(e->detail, detail.data, n);
    }
    e->count++;
}

static void record(struct load_run *r, const struct load_op *op, const char *error,
                   struct bytes detail, uint64_t rows, uint64_t sum)
{
    struct load_result *res = r->result;
    if (!op->measured)
        return;
    r->last_done_ns = r->round_ns;
    res->done++;
    if (error) {
        res->failed++;
        count_error(res, error, detail);
        return;
    }
    res->rows += rows;
    res->checksum += load_mix64(load_mix64(op->key, (uint64_t)op->kind), sum);
    load_hist_add(&res->kind[op->kind], r->round_ns - op->start_ns);
}

void load_answered(struct load_slot *slot, const char *error, struct bytes detail, uint64_t rows,
                   uint64_t sum)
{
    struct load_run *r = slot->conn->run;
    ASSERT(slot->busy);
    slot->busy = false;
    r->last_answer_ns = r->round_ns;
    if (slot->op.kind == LOAD_RMW && !slot->op.write && !error) {
        slot->op.write = true; /* the other half goes out first among the round's sends */
        slot->next = r->free_head;
        r->free_head = slot;
        r->free_tail = r->free_tail ? r->free_tail : slot;
        return;
    }
    r->in_flight--;
    if (slot->op.kind == LOAD_INSERT)
        load__insert_answered(r, slot->op.key);
    record(r, &slot->op, error, detail, rows, sum);
    slot->op.write = false;
    load__free_slot(slot);
}

/* --- sending --- */

static void try_send(struct load_slot *slot)
{
    struct load_conn *c = slot->conn;
    struct err err;
    err_init(&err);
    enum status st = protocol_of(c)->send(c->state, slot, &err);
    if (st == ST_OVERLOADED) {
        slot->next = c->refused;
        c->refused = slot;
        return;
    }
    if (st != ST_OK)
        lose(c, st, &err);
    mark_dirty(c);
}

void load__send(struct load_slot *slot)
{
    slot->busy = true;
    slot->next = NULL;
    slot->conn->run->in_flight += !slot->op.write;
    try_send(slot);
}

static void send_refused(struct load_conn *c)
{
    struct load_slot *list = c->refused;
    c->refused = NULL;
    while (list && !c->lost) {
        struct load_slot *slot = list;
        list = slot->next;
        slot->next = NULL;
        try_send(slot);
    }
}

static enum status out(struct load_conn *c, struct bytes b, struct err *err)
{
    struct load_run *r = c->run;
    r->result->bytes_out += b.len;
    if (!c->filter)
        return loop_conn_send(c->lc, b);
    buf_clear(&r->sealed);
    enum status st = r->s->filter->ops->seal(c->filter, b, &r->sealed, err);
    return st == ST_OK ? loop_conn_send(c->lc, buf_bytes(&r->sealed)) : st;
}

static void flush(struct load_conn *c)
{
    const struct load_protocol *p = protocol_of(c);
    struct bytes b;
    struct err err;
    err_init(&err);
    while (c->lc && c->ready && !c->lost && loop_conn_writable(c->lc)) {
        enum status st = p->output(c->state, &b, &err);
        if (st == ST_OK && b.len == 0)
            return;
        if (st == ST_OK)
            st = out(c, b, &err);
        if (st != ST_OK) {
            lose(c, st, &err);
            return;
        }
        p->output_done(c->state, b.len);
    }
}

void load__flush(struct load_run *r)
{
    while (r->dirty) {
        struct load_conn *c = r->dirty;
        r->dirty = c->next_dirty;
        c->dirty = false;
        flush(c);
    }
}

/* --- what the loop tells --- */

static void opened(struct load_conn *c)
{
    struct load_run *r = c->run;
    struct err err;
    err_init(&err);
    enum status st = protocol_of(c)->open(c->state, &r->context, now_ms(c), &err);
    if (st != ST_OK) {
        lose(c, st, &err);
        return;
    }
    c->ready = true;
    r->ready_conns++;
    for (uint32_t i = 0; i < r->s->in_flight; i++)
        load__free_slot(&c->slots[i]);
    mark_dirty(c);
}

static enum status send_sealed(struct load_conn *c)
{
    struct buf *b = &c->run->sealed;
    enum status st = b->len ? loop_conn_send(c->lc, buf_bytes(b)) : ST_OK;
    buf_clear(b);
    return st;
}

static void on_connect(void *ctx)
{
    struct load_conn *c = ctx;
    const struct conn_filter_maker *m = c->run->s->filter;
    struct err err;
    err_init(&err);
    if (!m) {
        opened(c);
        return;
    }
    buf_clear(&c->run->sealed);
    enum status st = m->make(m->arg, &c->run->sealed, &c->filter, &err);
    if (st == ST_OK)
        st = send_sealed(c);
    if (st != ST_OK)
        lose(c, st, &err);
}

static enum status deliver(struct load_conn *c, struct bytes in, struct err *err)
{
    enum status st = protocol_of(c)->recv(c->state, in, now_ms(c), err);
    if (st == ST_OK && c->refused)
        send_refused(c);
    mark_dirty(c);
    return st;
}

static enum status unseal(struct load_conn *c, struct bytes in, struct err *err)
{
    struct load_run *r = c->run;
    const struct conn_filter_ops *ops = r->s->filter->ops;
    bool eof = false;
    size_t n = 1;
    buf_clear(&r->sealed);
    enum status st = ops->feed(c->filter, in, &r->sealed, err);
    if (st != ST_OK)
        (void)!send_sealed(c); /* the alert; why it failed is what is told */
    if (st == ST_OK)
        st = send_sealed(c);
    if (st == ST_OK && !c->ready && ops->ready(c->filter))
        opened(c);
    while (st == ST_OK && !eof && n && !c->lost) {
        st = ops->read(c->filter, r->clear.data, r->clear.cap, &n, &eof, &r->sealed, err);
        if (st == ST_OK && n)
            st = deliver(c, BYTES(r->clear.data, n), err);
    }
    return st;
}

static size_t on_recv(void *ctx, struct bytes in)
{
    struct load_conn *c = ctx;
    struct err err;
    err_init(&err);
    if (c->lost)
        return in.len;
    c->run->round_ns = loop_clock_ns(c->run->loop);
    c->run->result->bytes_in += in.len;
    enum status st = c->filter ? unseal(c, in, &err) : deliver(c, in, &err);
    if (st != ST_OK)
        lose(c, st, &err);
    return in.len;
}

static void on_eof(void *ctx)
{
    struct load_conn *c = ctx;
    struct err err;
    lose(c, err_set(&err, ST_IO_ERROR, "the server has closed the connection"), &err);
}

static void on_drained(void *ctx)
{
    mark_dirty(ctx);
}

/* Requests without an answer are errors; the slots wait until the connection is there again. */
static void on_close(void *ctx, enum status why, int errno_value)
{
    struct load_conn *c = ctx;
    struct load_run *r = c->run;
    if (!c->lost) {
        c->why.status = why;
        (void)(errno_value ? err_errno(&c->why, errno_value, "the connection failed")
                           : err_set(&c->why, why, "the connection ended"));
    }
    c->lc = NULL;
    r->ready_conns -= c->ready;
    c->ready = c->lost = false;
    c->refused = NULL;
    if (!r->began && r->failed.status == ST_OK)
        r->failed = c->why;
    for (uint32_t i = 0; c->slots && i < r->s->in_flight; i++) {
        struct load_slot *slot = &c->slots[i];
        if (!slot->busy && !slot->op.write)
            continue;
        if (slot->busy && protocol_of(c)->drop)
            protocol_of(c)->drop(slot);
        r->in_flight--;
        slot->busy = slot->op.write = false;
        if (slot->op.kind == LOAD_INSERT)
            load__insert_answered(r, slot->op.key);
        record(r, &slot->op, "CONNECTION_LOST", BYTES_STR(c->why.detail), 0, 0);
    }
    protocol_of(c)->close(c->state);
    memset(c->state, 0, protocol_of(c)->conn_bytes);
    if (c->filter)
        r->s->filter->ops->free(c->filter);
    c->filter = NULL;
    /* Its free slots leave the queue. */
    struct load_slot *list = r->free_head;
    r->free_head = r->free_tail = NULL;
    while (list) {
        struct load_slot *next = list->next;
        if (list->conn != c)
            load__free_slot(list);
        list = next;
    }
}

static const struct loop_conn_ops conn_ops = {.on_connect = on_connect,
                                              .on_recv = on_recv,
                                              .on_eof = on_eof,
                                              .on_drained = on_drained,
                                              .on_close = on_close};

enum status load__connect(struct load_conn *c, struct err *err)
{
    err_init(&c->why);
    return loop_connect(c->run->loop, &c->run->s->to, &conn_ops, c, NULL, &c->lc, err);
}

void load__conn_deinit(struct load_conn *c)
{
    ASSERT(!c->lc);
    if (c->slots)
        mem_free(c->slots[0].state);
    mem_free(c->slots);
    mem_free(c->state);
}
