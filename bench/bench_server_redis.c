/* RESP, Redis' protocol: commands as arrays of bulk strings, answers in the order of the commands. */
#include "bench/bench_server_peers.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>

struct conn {
    const struct load_context *context;
    struct load_slot **waiting; /* a ring of in_flight places */
    uint32_t first, count;
    struct buf out, in;
};

/* --- commands --- */

static enum status begin(struct buf *out, unsigned words)
{
    return buf_printf(out, "*%u\r\n", words);
}

static enum status word(struct buf *out, struct bytes first, struct bytes second)
{
    char head[32];
    int n = snprintf(head, sizeof head, "$%zu\r\n", first.len + second.len);
    enum status st = buf_append(out, head, (size_t)n);
    if (st == ST_OK)
        st = buf_append(out, first.data, first.len);
    if (st == ST_OK && second.len)
        st = buf_append(out, second.data, second.len);
    return st == ST_OK ? buf_append(out, "\r\n", 2) : st;
}

static enum status key_word(struct buf *out, uint64_t number)
{
    uint8_t key[LOAD_KEY];
    load_key_text(number, key);
    return word(out, BYTES(key, LOAD_KEY), BYTES_EMPTY);
}

static enum status pair(struct buf *out, const struct load_values *values, uint64_t number,
                        uint64_t turn)
{
    struct load_value v;
    load_value_make(values, number, turn, &v);
    enum status st = key_word(out, number);
    return st == ST_OK ? word(out, BYTES(v.head, LOAD_VALUE_MIN), v.body) : st;
}

static enum status command(struct conn *c, const struct load_op *op)
{
    struct buf *out = &c->out;
    const struct load_values *values = c->context->values;
    enum status st;
    if (load_op_reads(op)) {
        st = begin(out, 2);
        st = st ? st : word(out, BYTES_LIT("GET"), BYTES_EMPTY);
        return st ? st : key_word(out, op->key);
    }
    if (op->kind == LOAD_BATCH) {
        st = begin(out, 1 + 2 * op->rows);
        st = st ? st : word(out, BYTES_LIT("MSET"), BYTES_EMPTY);
        for (uint32_t i = 0; !st && i < op->rows; i++)
            st = pair(out, values, op->key + i, op->turn);
        return st;
    }
    st = begin(out, 3);
    st = st ? st : word(out, BYTES_LIT("SET"), BYTES_EMPTY);
    return st ? st : pair(out, values, op->key, op->turn);
}

/* --- answers --- */

/* One whole answer at the front of `in`: its first byte, its payload, its length in bytes; 0: more
 * must come. Integers and arrays are not asked for. */
static size_t parse(struct bytes in, char *ret_type, struct bytes *ret)
{
    const uint8_t *end = in.len ? memchr(in.data, '\n', in.len) : NULL;
    if (!end)
        return 0;
    size_t line = (size_t)(end - in.data) + 1;
    *ret_type = (char)in.data[0];
    *ret = BYTES(in.data + 1, line > 3 ? line - 3 : 0);
    if (*ret_type != '$')
        return line;
    if (ret->len && ret->data[0] == '-') {
        *ret_type = '0'; /* nil */
        return line;
    }
    size_t n = 0;
    for (size_t i = 0; i < ret->len; i++)
        n = n * 10 + (size_t)(ret->data[i] - '0');
    if (in.len < line + n + 2)
        return 0;
    *ret = BYTES(in.data + line, n);
    return line + n + 2;
}

static void answered(struct load_slot *slot, char type, struct bytes value)
{
    const struct load_op *op = &slot->op;
    if (type == '-') {
        load_answered(slot, "REDIS_ERROR", value, 0, 0);
    } else if (load_op_reads(op)) {
        bool right = type == '$' && load_value_is_of(value, op->key);
        load_answered(slot,
                      type == '0' ? "NOT_FOUND"
                      : right     ? NULL
                                  : load_wrong_value,
                      BYTES_EMPTY, 1, right ? load_value_sum(op->key, value) : 0);
    } else {
        load_answered(slot, type == '+' ? NULL : "BAD_ANSWER", value, op->rows, 0);
    }
}

/* Takes whole answers out of `in`; returns how many bytes they were. */
static size_t take(struct conn *c, struct bytes in)
{
    size_t at = 0, n;
    char type;
    struct bytes value;
    while (c->count && (n = parse(BYTES(in.data + at, in.len - at), &type, &value)) != 0) {
        struct load_slot *slot = c->waiting[c->first];
        c->first = c->first + 1 == c->context->in_flight ? 0 : c->first + 1;
        c->count--;
        answered(slot, type, value);
        at += n;
    }
    return at;
}

/* --- the protocol --- */

static enum status conn_open(void *state, const struct load_context *context, uint64_t now_ms,
                             struct err *err)
{
    struct conn *c = state;
    (void)now_ms;
    c->context = context;
    c->waiting = mem_alloc(context->in_flight * sizeof(struct load_slot *));
    return c->waiting ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for a connection");
}

static void conn_close(void *state)
{
    struct conn *c = state;
    mem_free(c->waiting);
    buf_deinit(&c->out);
    buf_deinit(&c->in);
}

static enum status conn_send(void *state, struct load_slot *slot, struct err *err)
{
    struct conn *c = state;
    ASSERT(c->count < c->context->in_flight);
    enum status st = command(c, &slot->op);
    if (st != ST_OK)
        return err_set(err, st, "no memory for a command");
    uint32_t at = c->first + c->count;
    c->waiting[at < c->context->in_flight ? at : at - c->context->in_flight] = slot;
    c->count++;
    return ST_OK;
}

static enum status conn_recv(void *state, struct bytes in, uint64_t now_ms, struct err *err)
{
    struct conn *c = state;
    (void)now_ms;
    if (c->in.len == 0) { /* mostly all of it is whole */
        size_t n = take(c, in);
        in = BYTES(in.data + n, in.len - n);
        return in.len && buf_append(&c->in, in.data, in.len) != ST_OK
                   ? err_set(err, ST_NO_MEMORY, "no memory for an answer")
                   : ST_OK;
    }
    if (buf_append(&c->in, in.data, in.len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for an answer");
    size_t n = take(c, buf_bytes(&c->in));
    memmove(c->in.data, c->in.data + n, c->in.len - n);
    c->in.len -= n;
    return ST_OK;
}

static enum status conn_output(void *state, struct bytes *ret, struct err *err)
{
    (void)err;
    *ret = buf_bytes(&((struct conn *)state)->out);
    return ST_OK;
}

static void conn_output_done(void *state, size_t n)
{
    struct conn *c = state;
    ASSERT(n == c->out.len); /* the runner takes all of it */
    buf_clear(&c->out);
}

const struct load_protocol bench_redis_protocol = {.name = "redis",
                                                   .conn_bytes = sizeof(struct conn),
                                                   .slot_bytes = 1,
                                                   .kinds = 1u << LOAD_GET | 1u << LOAD_PUT |
                                                            1u << LOAD_INSERT | 1u << LOAD_RMW |
                                                            1u << LOAD_BATCH,
                                                   .open = conn_open,
                                                   .close = conn_close,
                                                   .send = conn_send,
                                                   .recv = conn_recv,
                                                   .output = conn_output,
                                                   .output_done = conn_output_done};
