/* check_list.c - lists that are only appended to show their own history (Elle: Kingsbury and
 * Alvaro, 2020).
 *
 * The longest list read of a key is its version order; every other read must be a beginning of it.
 * From that follow, for transactions: who wrote after whom (ww), who read whose append (wr), and
 * who read a list to which somebody appended later (rw). An acknowledged append that no read
 * contains comes after all that were read. A cycle, with real time, is a violation.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "list";
enum { NONE = UINT32_MAX, OTHERS_MAX = 64 };

struct list {
    uint32_t reader; /* operation of the longest read; NONE: none yet */
    struct bytes elements;
    uint32_t tail;   /* node before the appends that nobody read; NONE: there are none */
    uint32_t unread; /* the first of them, by number in `unread`; NONE */
};

/* An acknowledged append that is in no list. */
struct unread {
    uint32_t op, next; /* next: of the same key */
};

struct lists {
    const struct history *h;
    struct check_report *r;
    const struct history_op *ops;
    size_t ops_n;
    struct list *of;         /* by key */
    struct check_map writer; /* (key, element) -> operation */
    struct check_map read;   /* (key, element) -> place in the longest list */
    struct check_graph graph;
    struct unread *unread;
    uint32_t unread_n;
    bool *in; /* operations that happened */
    bool *timed;
};

static size_t length(struct bytes elements)
{
    return elements.len / 8;
}

static int64_t element(struct bytes elements, size_t i)
{
    struct reader rd = reader_of(BYTES(elements.data + 8 * i, 8));
    uint64_t v = 0;
    bool whole = read_le64(&rd, &v);
    ASSERT(whole);
    return (int64_t)v;
}

static enum status tell(struct lists *l, const char *anomaly, uint32_t key, int64_t x, uint32_t a,
                        uint32_t b, const char *words)
{
    uint32_t ids[2] = {a, b};
    return check__tell(l->r, l->h, NAME, anomaly, ids, b == NONE ? 1 : 2,
                       "List %s, element %" PRId64 ": %s", check__text(history_key(l->h, key)).s, x,
                       words);
}

static bool is_list(const struct history_op *op)
{
    return op->family == HISTORY_LIST;
}

/* --- what was written and read --- */

static enum status note_writer(struct lists *l, const struct history_op *op,
                               const struct history_step *s)
{
    uint32_t *w = check__map_put(&l->writer, s->key_id, (uint64_t)s->number, 0, op->id);
    if (!w)
        return ST_NO_MEMORY;
    if (*w == op->id)
        return ST_OK;
    /* A try that surely failed may be made again. */
    enum history_outcome before = l->ops[*w].outcome;
    if (before == HISTORY_FAILED || before == HISTORY_UNMET) {
        *w = op->id;
        return ST_OK;
    }
    if (op->outcome == HISTORY_FAILED || op->outcome == HISTORY_UNMET)
        return ST_OK;
    return tell(l, "not unique", s->key_id, s->number, *w, op->id,
                "two operations append it, so nobody can tell them apart.");
}

static enum status note_read(struct lists *l, const struct history_op *op,
                             const struct history_step *s)
{
    struct list *k = &l->of[s->key_id];
    if (s->value.len % 8)
        return check__tell(l->r, l->h, NAME, "not a list", (uint32_t[]){op->id}, 1,
                           "List %s was read with a broken element.", check__text(s->key).s);
    if (k->reader == NONE || length(s->value) > length(k->elements)) {
        k->reader = op->id;
        k->elements = s->value;
    }
    return ST_OK;
}

static enum status note_all(struct lists *l)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < l->ops_n && st == ST_OK; i++) {
        const struct history_op *op = &l->ops[i];
        if (!is_list(op))
            continue;
        l->in[i] = op->outcome == HISTORY_OK;
        for (uint32_t j = 0; j < op->n && st == ST_OK; j++) {
            const struct history_step *s = &op->steps[j];
            if (s->verb == HISTORY_ADD)
                st = note_writer(l, op, s);
            else if (s->verb == HISTORY_GET && l->in[i])
                st = note_read(l, op, s);
        }
    }
    return st;
}

/* Each element by itself: who appended it, and did that happen? */
static enum status check_elements(struct lists *l, uint32_t key, struct bytes list, uint32_t reader,
                                  bool longest)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < length(list) && st == ST_OK; i++) {
        int64_t x = element(list, i);
        const uint32_t *w = check__map_get(&l->writer, key, (uint64_t)x, 0);
        if (!w) {
            st = tell(l, "phantom", key, x, reader, NONE, "it was read, and nobody appended it.");
        } else if (l->ops[*w].outcome == HISTORY_FAILED || l->ops[*w].outcome == HISTORY_UNMET) {
            st = tell(l, "G1a", key, x, *w, reader,
                      "it was read although its append had failed for certain.");
        } else {
            l->in[*w] = true; /* it was seen, so it happened */
            if (l->ops[*w].invoked > l->ops[reader].completed)
                st = tell(l, "read ahead of its write", key, x, *w, reader,
                          "it was read before its append began.");
        }
        if (!longest || st != ST_OK)
            continue;
        uint32_t *at = check__map_put(&l->read, key, (uint64_t)x, 0, (uint32_t)i);
        if (!at)
            return ST_NO_MEMORY;
        if (*at != i)
            st = tell(l, "applied twice", key, x, w ? *w : reader, reader,
                      "it is in the list twice.");
    }
    return st;
}

static bool begins(struct bytes list, struct bytes longest)
{
    return bytes_has_prefix(longest, list);
}

/* --- inside one transaction --- */

/* What it appended itself must stand at the end of what it reads later. */
static bool own_is_there(const struct history_op *op, uint32_t j)
{
    const struct history_step *s = &op->steps[j];
    struct bytes now = s->value;
    size_t left = length(now);
    for (uint32_t i = j; i-- > 0;) {
        const struct history_step *p = &op->steps[i];
        if (p->key_id != s->key_id)
            continue;
        if (p->verb == HISTORY_GET)
            return left == length(p->value) && begins(p->value, now);
        if (p->verb == HISTORY_ADD && (left == 0 || element(now, --left) != p->number))
            return false;
    }
    return true;
}

static bool own_before(const struct history_op *op, uint32_t j)
{
    for (uint32_t i = 0; i < j; i++)
        if (op->steps[i].key_id == op->steps[j].key_id && op->steps[i].verb != HISTORY_CHECK)
            return true;
    return false;
}

/* Whether `op` appended to the key after this element: then others must not see it as the last. */
static bool intermediate(const struct history_op *op, uint32_t key, int64_t x)
{
    bool met = false;
    for (uint32_t i = 0; i < op->n; i++) {
        const struct history_step *s = &op->steps[i];
        if (s->verb != HISTORY_ADD || s->key_id != key)
            continue;
        if (met)
            return true;
        met = s->number == x;
    }
    return false;
}

/* --- dependencies --- */

/* The operation at this place of the longest list; NONE: a phantom. */
static uint32_t writer_at(const struct lists *l, uint32_t key, size_t i)
{
    const uint32_t *w =
        check__map_get(&l->writer, key, (uint64_t)element(l->of[key].elements, i), 0);
    return w ? *w : NONE;
}

static enum status edge(struct lists *l, uint32_t from, uint32_t to, enum check_edge_kind kind,
                        uint32_t key)
{
    return from == NONE || to == NONE ? ST_OK : check__graph_edge(&l->graph, from, to, kind, key);
}

/* `op` comes before the appends that nobody read: but not before its own. */
static enum status before_tail(struct lists *l, uint32_t op, enum check_edge_kind kind,
                               uint32_t key)
{
    const struct list *k = &l->of[key];
    bool own = false;
    for (uint32_t i = k->unread; i != NONE && !own; i = l->unread[i].next)
        own = l->unread[i].op == op;
    if (!own)
        return edge(l, op, k->tail, kind, key);
    enum status st = ST_OK;
    uint32_t i = k->unread;
    for (int n = 0; n < OTHERS_MAX && i != NONE && st == ST_OK; n++, i = l->unread[i].next)
        st = edge(l, op, l->unread[i].op, kind, key); /* none to itself */
    return st;
}

static enum status add_read(struct lists *l, const struct history_op *op,
                            const struct history_step *s)
{
    const struct list *k = &l->of[s->key_id];
    size_t n = length(s->value);
    enum status st = ST_OK;
    if (n) {
        uint32_t w = writer_at(l, s->key_id, n - 1);
        int64_t x = element(s->value, n - 1);
        if (w != NONE && w != op->id && intermediate(&l->ops[w], s->key_id, x))
            st = tell(l, "G1b", s->key_id, x, w, op->id,
                      "a list that ends in the middle of a transaction was read.");
        if (st == ST_OK)
            st = edge(l, w, op->id, CHECK_WR, s->key_id);
    }
    if (st != ST_OK)
        return st;
    if (n < length(k->elements))
        return edge(l, op->id, writer_at(l, s->key_id, n), CHECK_RW, s->key_id);
    return before_tail(l, op->id, CHECK_RW, s->key_id);
}

static enum status add_steps(struct lists *l, const struct history_op *op)
{
    enum status st = ST_OK;
    for (uint32_t j = 0; j < op->n && st == ST_OK; j++) {
        const struct history_step *s = &op->steps[j];
        if (s->verb != HISTORY_GET || s->value.len % 8)
            continue;
        if (!begins(s->value, l->of[s->key_id].elements)) {
            st = tell(l, "incompatible order", s->key_id,
                      length(s->value) ? element(s->value, length(s->value) - 1) : 0, op->id,
                      l->of[s->key_id].reader,
                      "two reads of the list do not agree on the order of its elements.");
            if (st == ST_OK)
                st = check_elements(l, s->key_id, s->value, op->id, false);
        } else if (!own_is_there(op, j)) {
            st = tell(l, "internal", s->key_id, 0, op->id, NONE,
                      "a transaction does not see what it read or appended itself.");
        } else if (!own_before(op, j)) {
            st = add_read(l, op, s);
        }
    }
    return st;
}

/* Acknowledged appends that are in no list hang behind the end of the longest. */
static enum status add_unread(struct lists *l, const struct history_op *op,
                              const struct history_step *s)
{
    struct list *k = &l->of[s->key_id];
    if (check__map_get(&l->read, s->key_id, (uint64_t)s->number, 0))
        return ST_OK;
    if (k->tail == NONE)
        k->tail = check__graph_node(&l->graph);
    l->unread[l->unread_n] = (struct unread){op->id, k->unread};
    k->unread = l->unread_n++;
    return edge(l, k->tail, op->id, CHECK_WW, s->key_id);
}

static enum status add_order(struct lists *l, uint32_t key)
{
    enum status st = ST_OK;
    for (size_t i = 1; i < length(l->of[key].elements) && st == ST_OK; i++)
        st = edge(l, writer_at(l, key, i - 1), writer_at(l, key, i), CHECK_WW, key);
    size_t n = length(l->of[key].elements);
    uint32_t last = n ? writer_at(l, key, n - 1) : NONE;
    return st == ST_OK && last != NONE ? before_tail(l, last, CHECK_WW, key) : st;
}

static enum status build(struct lists *l)
{
    enum status st = ST_OK;
    uint32_t keys = history_key_count(l->h);
    for (uint32_t k = 0; k < keys && st == ST_OK; k++)
        if (l->of[k].reader != NONE)
            st = check_elements(l, k, l->of[k].elements, l->of[k].reader, true);
    for (size_t i = 0; i < l->ops_n && st == ST_OK; i++)
        for (uint32_t j = 0; l->in[i] && j < l->ops[i].n && st == ST_OK; j++)
            if (l->ops[i].steps[j].verb == HISTORY_ADD)
                st = add_unread(l, &l->ops[i], &l->ops[i].steps[j]);
    for (uint32_t k = 0; k < keys && st == ST_OK; k++)
        st = add_order(l, k);
    for (size_t i = 0; i < l->ops_n && st == ST_OK; i++) {
        if (is_list(&l->ops[i]) && l->ops[i].outcome == HISTORY_OK)
            st = add_steps(l, &l->ops[i]);
        l->timed[i] = l->in[i] && !l->ops[i].weak && l->ops[i].at == 0;
    }
    if (st == ST_OK)
        st = check__graph_time(&l->graph, l->h, l->timed);
    return st == ST_OK ? check__graph_close(&l->graph) : st;
}

enum status check_list(const struct history *h, struct check_report *r)
{
    struct lists l = {.h = h, .r = r};
    uint32_t keys = history_key_count(h);
    l.ops = history_ops(h, &l.ops_n);
    check__graph_init(&l.graph, (uint32_t)l.ops_n);
    l.of = mem_zalloc((keys + 1) * sizeof *l.of);
    l.in = mem_zalloc(l.ops_n + 1);
    l.timed = mem_zalloc(l.ops_n + 1);
    size_t adds = 0;
    for (size_t i = 0; i < l.ops_n; i++)
        adds += is_list(&l.ops[i]) ? l.ops[i].n : 0;
    l.unread = mem_alloc((adds + 1) * sizeof *l.unread);
    enum status st = l.of && l.in && l.timed && l.unread ? ST_OK : ST_NO_MEMORY;
    for (uint32_t k = 0; k < keys && st == ST_OK; k++)
        l.of[k] = (struct list){NONE, BYTES_EMPTY, NONE, NONE};
    if (st == ST_OK)
        st = note_all(&l);
    if (st == ST_OK)
        st = build(&l);
    if (st == ST_OK)
        st = check__cycles(&l.graph, h, NAME, false, r);
    check__graph_deinit(&l.graph);
    check__map_deinit(&l.writer);
    check__map_deinit(&l.read);
    mem_free(l.of);
    mem_free(l.in);
    mem_free(l.timed);
    mem_free(l.unread);
    return st;
}
