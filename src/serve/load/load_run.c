/* load_run.c - the run: connecting, rounds of sending and hearing, the schedule of an open loop, and
 * the sum of it. */
#include "serve/load/load_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/http2/http2.h"

/* --- settings --- */

static enum status check_numbers(const struct load_settings *s, struct err *err)
{
    if (s->connections < 1 || s->connections > LOAD_CONNECTIONS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "connections: %u is not between 1 and %d",
                       s->connections, LOAD_CONNECTIONS_MAX);
    if (s->in_flight < 1 || (uint64_t)s->in_flight * s->connections > LOAD_IN_FLIGHT_MAX)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "in-flight: %u on each of %u connections is not between 1 and %d in all",
                       s->in_flight, s->connections, LOAD_IN_FLIGHT_MAX);
    if (s->keys < 1 || s->keys > UINT64_MAX / 4)
        return err_set(err, ST_INVALID_ARGUMENT, "keys: at least 1, at most 2^62");
    if (s->value_bytes < LOAD_VALUE_MIN || s->value_bytes > LOAD_VALUE_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "value: %zu bytes are not between %d and %d",
                       s->value_bytes, LOAD_VALUE_MIN, LOAD_VALUE_MAX);
    if (s->batch < 1 || s->batch > LOAD_BATCH_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "batch: %u is not between 1 and %d", s->batch,
                       LOAD_BATCH_MAX);
    if (s->scan_rows > LOAD_ROWS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "rows: %u are over the limit of %d", s->scan_rows,
                       LOAD_ROWS_MAX);
    if (!(s->theta > 0 && s->theta < 1))
        return err_set(err, ST_INVALID_ARGUMENT, "theta: must lie between 0 and 1");
    if (!(s->rate >= 0 && s->rate <= 1e9))
        return err_set(err, ST_INVALID_ARGUMENT, "rate: must lie between 0 and 1e9 a second");
    if (!s->fill && s->count == 0 && s->duration_ms == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "neither a duration nor a count is given");
    return ST_OK;
}

static enum status check(const struct load_settings *s, struct err *err)
{
    const struct load_protocol *p = s->protocol;
    enum status st = check_numbers(s, err);
    if (st != ST_OK)
        return st;
    if (p->in_flight_max && s->in_flight > p->in_flight_max)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "in-flight: a connection of %s carries %u at once; take more connections",
                       p->name, p->in_flight_max);
    for (int k = 0; k < LOAD_KINDS; k++)
        if (s->mix->percent[k] && !(p->kinds & 1u << k))
            return err_set(err, ST_INVALID_ARGUMENT, "mix %s: %s has no %s", s->mix->name, p->name,
                           load_kind_name((enum load_kind)k));
    if (s->choice == LOAD_LATEST && s->first_new && s->first_new != s->keys)
        return err_set(
            err, ST_INVALID_ARGUMENT,
            "first-new: the latest keys are asked for, so new ones follow the %llu there are",
            (unsigned long long)s->keys);
    if (s->fill && s->mix->percent[LOAD_BATCH] != 100)
        return err_set(err, ST_INVALID_ARGUMENT, "mix %s: filling is done by batches",
                       s->mix->name);
    return ST_OK;
}

/* --- making and unmaking --- */

static enum status make_conn(struct load_run *r, struct load_conn *c, struct err *err)
{
    const struct load_settings *s = r->s;
    size_t n = s->in_flight, each = (s->protocol->slot_bytes + 15) & ~(size_t)15;
    c->run = r;
    c->state = mem_zalloc(s->protocol->conn_bytes);
    c->slots = mem_zalloc(n * sizeof *c->slots);
    uint8_t *states = c->slots ? mem_zalloc(n * each + 1) : NULL;
    for (size_t i = 0; states && i < n; i++)
        c->slots[i] = (struct load_slot){.conn = c, .state = states + i * each};
    if (!c->state || !states)
        return err_set(err, ST_NO_MEMORY, "no memory for a connection with %zu requests", n);
    return ST_OK;
}

static enum status make(struct load_run *r, struct err *err)
{
    const struct load_settings *s = r->s;
    size_t pool = 2 * s->value_bytes > POOL_BYTES ? 2 * s->value_bytes : POOL_BYTES;
    struct loop_options o = {.kind = s->loop, .max_conns = s->connections};
    r->values.pool = mem_alloc(pool);
    r->answered = mem_zalloc(UNKNOWN_MAX);
    r->conns = mem_zalloc(s->connections * sizeof *r->conns);
    r->h2_pool = h2_pool_new();
    if (!r->values.pool || !r->answered || !r->conns || !r->h2_pool ||
        buf_reserve(&r->clear, 65536) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for %u connections", s->connections);
    load_values_init(&r->values, r->values.pool, pool, s->value_bytes);
    load_keys_init(&r->keys, s->choice, s->keys, s->theta, s->seed);
    r->next_new = s->fill ? 0 : s->first_new ? s->first_new : s->keys;
    r->new_end = s->fill ? s->keys : UINT64_MAX;
    r->known = r->next_new;
    r->context = (struct load_context){.arg = s->protocol_arg,
                                       .values = &r->values,
                                       .in_flight = s->in_flight,
                                       .secure = s->filter != NULL,
                                       .h2_pool = r->h2_pool,
                                       .run = r};
    enum status st = loop_new(s->env, &o, &r->loop, err);
    for (uint32_t i = 0; st == ST_OK && i < s->connections; i++)
        st = make_conn(r, &r->conns[i], err);
    return st;
}

static void unmake(struct load_run *r)
{
    bool alive = r->loop != NULL;
    for (uint32_t i = 0; r->conns && i < r->s->connections; i++)
        if (r->conns[i].lc)
            loop_conn_close(r->conns[i].lc);
    while (alive && loop_conns(r->loop) > 0)
        (void)loop_poll(r->loop, 0);
    for (uint32_t i = 0; r->conns && i < r->s->connections; i++)
        load__conn_deinit(&r->conns[i]);
    h2_pool_free(r->h2_pool);
    loop_free(r->loop);
    mem_free(r->conns);
    mem_free(r->answered);
    mem_free(r->values.pool);
    buf_deinit(&r->sealed);
    buf_deinit(&r->clear);
}

static enum status connect_all(struct load_run *r, struct err *err)
{
    char text[NET_ADDR_TEXT];
    uint64_t until = loop_clock_ns(r->loop) + (uint64_t)CONNECT_MS * 1000000;
    for (uint32_t i = 0; i < r->s->connections; i++) {
        enum status st = load__connect(&r->conns[i], err);
        if (st != ST_OK)
            return st;
    }
    while (r->ready_conns < r->s->connections && r->failed.status == ST_OK) {
        if (loop_clock_ns(r->loop) >= until)
            return err_set(err, ST_IO_ERROR, "%s: %u of %u connections were there after %d s",
                           net_addr_text(&r->s->to, text), r->ready_conns, r->s->connections,
                           CONNECT_MS / 1000);
        (void)loop_poll(r->loop, until);
        load__flush(r);
        loop_flush(r->loop);
    }
    if (r->failed.status != ST_OK)
        return err_set(err, ST_IO_ERROR, "%s: %s", net_addr_text(&r->s->to, text),
                       r->failed.detail);
    return ST_OK;
}

/* --- rounds --- */

static double interval_ns(const struct load_run *r)
{
    return 1e9 / r->s->rate;
}

/* When request number r->drawn of the schedule is due; a closed loop's always is. */
static uint64_t next_due(const struct load_run *r)
{
    if (r->s->rate == 0)
        return r->round_ns;
    return r->start_ns + (uint64_t)((double)r->drawn * interval_ns(r));
}

static bool over(const struct load_run *r, uint64_t due)
{
    if (r->s->fill)
        return r->next_new >= r->new_end;
    if (r->s->count)
        return r->measured_drawn >= r->s->count;
    return due >= r->end_ns || r->round_ns >= r->end_ns;
}

static struct load_slot *take_slot(struct load_run *r)
{
    struct load_slot *slot = r->free_head;
    if (slot) {
        r->free_head = slot->next;
        r->free_tail = r->free_head ? r->free_tail : NULL;
        slot->next = NULL;
    }
    return slot;
}

/* Sends all that is due and has a free slot (second halves lie in front); false: nothing more will
 * be due. */
static bool send_due(struct load_run *r)
{
    while (r->free_head) {
        uint64_t due = next_due(r);
        bool half = r->free_head->op.write;
        if (!half && (r->ended || over(r, due))) {
            r->ended = true;
            break;
        }
        if (!half && (due > r->round_ns || !load__may_draw(r)))
            break;
        struct load_slot *slot = take_slot(r);
        if (!half) {
            load__draw(r, &slot->op, due);
            uint64_t late = r->round_ns - due;
            if (slot->op.measured && late > r->result->late_ns)
                r->result->late_ns = late;
        }
        load__send(slot);
    }
    return !r->ended;
}

static void reconnect(struct load_run *r)
{
    struct err err;
    for (uint32_t i = 0; i < r->s->connections; i++)
        if (!r->conns[i].lc && load__connect(&r->conns[i], &err) != ST_OK)
            r->conns[i].why = err; /* tried again with the next tick */
}

static double part_done(const struct load_run *r)
{
    const struct load_settings *s = r->s;
    double d = s->fill    ? (double)r->next_new / (double)r->new_end
               : s->count ? (double)r->measured_drawn / (double)s->count
                          : (double)(r->round_ns - r->start_ns) / (double)(r->end_ns - r->start_ns);
    return d < 1 ? d : 1;
}

/* Every TICK_MS: the owner may end it, silence ends it, lost connections are made again. */
static enum status tick(struct load_run *r, struct err *err)
{
    const struct load_settings *s = r->s;
    uint64_t patience = (s->timeout_ms ? s->timeout_ms : TIMEOUT_MS) * 1000000;
    if (s->goes_on && !s->goes_on(s->arg, r->result->done, part_done(r))) {
        r->ended = r->result->cut = true;
        return ST_CANCELLED;
    }
    reconnect(r);
    if (r->in_flight + (r->ready_conns < s->connections) > 0 &&
        r->round_ns > r->last_answer_ns + patience) {
        r->ended = r->result->cut = true;
        return err_set(err, ST_TIMED_OUT, "no answer for %llu ms, %llu requests are in flight",
                       (unsigned long long)(patience / 1000000), (unsigned long long)r->in_flight);
    }
    return ST_OK;
}

static void begin(struct load_run *r)
{
    const struct load_settings *s = r->s;
    r->round_ns = loop_clock_ns(r->loop);
    r->start_ns = r->last_answer_ns = r->round_ns;
    r->begin_ns = r->start_ns + s->warmup_ms * 1000000;
    r->end_ns = s->count || s->fill ? UINT64_MAX : r->begin_ns + s->duration_ms * 1000000;
    r->last_done_ns = r->begin_ns;
    r->began = true;
}

static uint64_t wait_until(const struct load_run *r, uint64_t next_tick)
{
    uint64_t until = next_tick;
    if (r->s->rate > 0 && !r->ended && r->free_head && next_due(r) < until)
        until = next_due(r);
    return until;
}

static enum status rounds(struct load_run *r, struct err *err)
{
    uint64_t next_tick = r->round_ns + (uint64_t)TICK_MS * 1000000;
    bool measuring = false, more = true;
    while (more || r->in_flight > 0) {
        r->round_ns = loop_clock_ns(r->loop);
        if (!measuring && r->round_ns >= r->begin_ns) {
            measuring = true;
            if (r->s->mark)
                r->s->mark(r->s->arg, true);
        }
        if (r->round_ns >= next_tick) {
            next_tick = r->round_ns + (uint64_t)TICK_MS * 1000000;
            enum status st = tick(r, err);
            if (st != ST_OK)
                return st == ST_CANCELLED ? ST_OK : st;
        }
        more = send_due(r);
        load__flush(r);
        (void)loop_poll(r->loop, wait_until(r, next_tick));
    }
    return ST_OK;
}

/* --- the sum --- */

/* Requests that fell due and were never sent waited until the end at least. */
static void add_unsent(struct load_run *r)
{
    struct load_result *res = r->result;
    if (r->s->rate == 0 || r->s->count || res->cut)
        return;
    uint64_t now = r->round_ns > r->end_ns ? r->round_ns : r->end_ns;
    for (;; r->drawn++) {
        uint64_t due = next_due(r);
        if (due >= r->end_ns)
            return;
        if (due < r->begin_ns)
            continue;
        res->unsent++;
        load_hist_add(&res->all, now - due);
    }
}

static void sum_up(struct load_run *r)
{
    struct load_result *res = r->result;
    for (int k = 0; k < LOAD_KINDS; k++)
        load_hist_merge(&res->all, &res->kind[k]);
    add_unsent(r);
    uint64_t end = r->last_done_ns;
    if (r->s->rate > 0 && r->end_ns != UINT64_MAX && r->end_ns > end)
        end = r->end_ns; /* what was due in it is the rate, not how soon the last came back */
    res->elapsed_ns = end > r->begin_ns ? end - r->begin_ns : 0;
    uint64_t mean = res->all.count ? res->all.sum / res->all.count : 0;
    load_hist_correct(&res->corrected, &res->all, r->s->rate > 0 ? 0 : mean);
}

enum status load_run(const struct load_settings *settings, struct load_result *ret, struct err *err)
{
    struct load_run r = {.s = settings};
    struct load_result *res = mem_zalloc(sizeof *res);
    err_init(&r.failed);
    if (!res)
        return err_set(err, ST_NO_MEMORY, "no memory for the figures");
    r.result = res;
    enum status st = check(settings, err);
    if (st == ST_OK)
        st = make(&r, err);
    if (st == ST_OK)
        st = connect_all(&r, err);
    if (st == ST_OK) {
        begin(&r);
        st = rounds(&r, err);
        if (settings->mark)
            settings->mark(settings->arg, false);
    }
    if (st == ST_OK || res->cut) {
        sum_up(&r);
        *ret = *res;
    }
    unmake(&r);
    mem_free(res);
    return st;
}
