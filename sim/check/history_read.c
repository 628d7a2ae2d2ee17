/* history_read.c - the lines of history_write.c, back into a history. What is unknown, or misses
 * what it needs, is refused with its line. */
#include "base/assert.h"
#include "sim/check/history_internal.h"
#include "sim/check/history_json.h"

struct line {
    struct json_in j;
    struct history *h;
    struct buf steps; /* of struct history_step */
    uint64_t last;    /* the highest place so far */
};

/* --- single fields --- */

static bool is(struct bytes name, const char *s)
{
    return bytes_eq(name, BYTES_STR(s));
}

static bool u32(struct json_in *j, uint32_t *ret)
{
    uint64_t v;
    if (!json_in_u64(j, &v))
        return false;
    if (v > UINT32_MAX)
        return json_in_fail(j, "a number over 32 bits");
    *ret = (uint32_t)v;
    return true;
}

static bool word(struct json_in *j, const char *(*name)(int), int n, int *ret)
{
    struct bytes text;
    if (!json_in_bytes(j, &text))
        return false;
    for (int i = 0; i < n; i++)
        if (is(text, name(i))) {
            *ret = i;
            return true;
        }
    return json_in_fail(j, "a word that is none of those that can stand here");
}

static const char *verb_name(int i)
{
    return history_verb_name((enum history_verb)i);
}
static const char *family_name(int i)
{
    return history_family_name((enum history_family)i);
}
static const char *outcome_name(int i)
{
    return history_outcome_name((enum history_outcome)i);
}
static const char *require_name(int i)
{
    return history_require_name((enum history_require)i);
}
static const char *watch_name(int i)
{
    return history_watch_name((enum history_watch_kind)i);
}
static const char *fact_name(int i)
{
    return history_fact_name((enum history_fact)i);
}

static bool verb(struct json_in *j, enum history_verb *ret)
{
    int i;
    if (!word(j, verb_name, HISTORY_VERBS, &i))
        return false;
    *ret = (enum history_verb)i;
    return true;
}

/* --- operations --- */

static bool elements(struct json_in *j, struct bytes *ret)
{
    struct buf b = BUF_INIT;
    bool first = true, good = json_in_char(j, '[');
    int64_t x;
    enum status st = ST_OK;
    while (good && st == ST_OK && json_in_element(j, &first)) {
        good = json_in_i64(j, &x);
        if (good)
            st = buf_append_le64(&b, (uint64_t)x);
    }
    void *copy = st == ST_OK ? arena_alloc(j->arena, b.len + 1) : NULL;
    if (copy && b.len)
        memcpy(copy, b.data, b.len);
    if (copy)
        *ret = BYTES(copy, b.len);
    buf_deinit(&b);
    j->no_memory |= !copy;
    return !j->wrong && (copy || json_in_fail(j, "no memory"));
}

static bool step_field(struct json_in *j, struct bytes name, struct history_step *s)
{
    int i;
    if (is(name, "verb"))
        return verb(j, &s->verb);
    if (is(name, "key"))
        return json_in_bytes(j, &s->key);
    if (is(name, "value"))
        return json_in_bytes(j, &s->value);
    if (is(name, "elements"))
        return elements(j, &s->value);
    if (is(name, "number"))
        return json_in_i64(j, &s->number);
    if (is(name, "want"))
        return json_in_u64(j, &s->want);
    if (is(name, "version"))
        return json_in_u64(j, &s->version);
    if (is(name, "found"))
        return json_in_bool(j, &s->found);
    if (is(name, "unmet"))
        return json_in_bool(j, &s->unmet);
    if (!is(name, "require"))
        return json_in_fail(j, "an unknown field of a step");
    if (!word(j, require_name, HISTORY_REQUIRES, &i))
        return false;
    s->require = (enum history_require)i;
    return true;
}

static bool steps(struct line *l)
{
    bool first_step = true;
    buf_clear(&l->steps);
    if (!json_in_char(&l->j, '['))
        return false;
    while (json_in_element(&l->j, &first_step)) {
        struct history_step s = {.verb = HISTORY_VERBS, .key = BYTES_EMPTY, .value = BYTES_EMPTY};
        struct bytes name;
        bool first = true;
        if (!json_in_char(&l->j, '{'))
            return false;
        while (json_in_field(&l->j, &first, &name) && step_field(&l->j, name, &s))
            ;
        if (s.verb == HISTORY_VERBS)
            return json_in_fail(&l->j, "a step without a verb");
        if (!l->j.wrong && buf_append(&l->steps, &s, sizeof s) != ST_OK) {
            l->j.no_memory = true;
            return json_in_fail(&l->j, "no memory");
        }
    }
    return !l->j.wrong;
}

static bool op_field(struct line *l, struct bytes name, struct history_op *op)
{
    struct json_in *j = &l->j;
    int i;
    if (is(name, "client"))
        return u32(j, &op->client);
    if (is(name, "node"))
        return u32(j, &op->node);
    if (is(name, "at"))
        return json_in_u64(j, &op->at);
    if (is(name, "weak"))
        return json_in_bool(j, &op->weak);
    if (is(name, "call"))
        return json_in_u64(j, &op->invoked);
    if (is(name, "return"))
        return json_in_u64(j, &op->completed);
    if (is(name, "call_ns"))
        return json_in_u64(j, &op->invoked_ns);
    if (is(name, "return_ns"))
        return json_in_u64(j, &op->completed_ns);
    if (is(name, "steps"))
        return steps(l);
    if (is(name, "family")) {
        bool good = word(j, family_name, HISTORY_FAMILIES, &i);
        op->family = good ? (enum history_family)i : op->family;
        return good;
    }
    if (!is(name, "outcome"))
        return json_in_fail(j, "an unknown field of an operation");
    bool good = word(j, outcome_name, HISTORY_OUTCOMES, &i);
    op->outcome = good ? (enum history_outcome)i : op->outcome;
    return good;
}

static bool places_fit(struct line *l, const struct history_op *op)
{
    const struct history *h = l->h;
    if (op->invoked == 0 || (h->ops_n && h->ops[h->ops_n - 1].invoked >= op->invoked))
        return json_in_fail(&l->j, "operations are not in the order of their calls");
    if ((op->completed == UINT64_MAX) != (op->outcome == HISTORY_UNKNOWN))
        return json_in_fail(&l->j, "an outcome without a return, or a return without one");
    return op->completed > op->invoked || json_in_fail(&l->j, "a return before its call");
}

static enum status op_line(struct line *l, bool *first)
{
    struct history_op op = {.completed = UINT64_MAX};
    struct bytes name;
    uint32_t id;
    buf_clear(&l->steps);
    while (json_in_field(&l->j, first, &name) && op_field(l, name, &op))
        ;
    if (l->j.wrong || !places_fit(l, &op))
        return ST_INVALID_ARGUMENT;
    struct history_call call = {.client = op.client,
                                .node = op.node,
                                .family = op.family,
                                .at = op.at,
                                .weak = op.weak,
                                .steps = (const void *)l->steps.data,
                                .n = l->steps.len / sizeof(struct history_step)};
    enum status st = history_invoke(l->h, op.invoked_ns, &call, &id);
    if (st != ST_OK)
        return st;
    struct history_op *kept = &l->h->ops[id];
    kept->outcome = op.outcome;
    kept->invoked = op.invoked;
    kept->completed = op.completed;
    kept->completed_ns = op.completed_ns;
    uint64_t last = op.completed == UINT64_MAX ? op.invoked : op.completed;
    l->last = last > l->last ? last : l->last;
    return ST_OK;
}

/* --- the others --- */

static bool watch_field(struct json_in *j, struct bytes name, struct history_watch *w)
{
    int i;
    if (is(name, "watcher"))
        return u32(j, &w->watcher);
    if (is(name, "node"))
        return u32(j, &w->node);
    if (is(name, "verb"))
        return verb(j, &w->verb);
    if (is(name, "version"))
        return json_in_u64(j, &w->version);
    if (is(name, "key"))
        return json_in_bytes(j, &w->key);
    if (is(name, "prefix"))
        return json_in_bytes(j, &w->prefix);
    if (is(name, "value"))
        return json_in_bytes(j, &w->value);
    if (is(name, "no_value"))
        return json_in_bool(j, &w->no_value);
    if (is(name, "place"))
        return json_in_u64(j, &w->place);
    if (is(name, "ns"))
        return json_in_u64(j, &w->now_ns);
    if (!is(name, "kind"))
        return json_in_fail(j, "an unknown field of a watch");
    if (!word(j, watch_name, HISTORY_WATCH_KINDS, &i))
        return false;
    w->kind = (enum history_watch_kind)i;
    return true;
}

static enum status watch_line(struct line *l, bool *first)
{
    struct history_watch w = {.kind = HISTORY_WATCH_KINDS,
                              .key = BYTES_EMPTY,
                              .prefix = BYTES_EMPTY,
                              .value = BYTES_EMPTY};
    struct bytes name;
    while (json_in_field(&l->j, first, &name) && watch_field(&l->j, name, &w))
        ;
    if (!l->j.wrong && (w.kind == HISTORY_WATCH_KINDS || w.place == 0))
        json_in_fail(&l->j, "a watch without its kind or place");
    if (l->j.wrong)
        return ST_INVALID_ARGUMENT;
    enum status st = history_watch(l->h, w.now_ns, &w);
    if (st == ST_OK)
        l->h->watches[l->h->watches_n - 1].place = w.place;
    l->last = w.place > l->last ? w.place : l->last;
    return st;
}

static bool note_field(struct json_in *j, struct bytes name, struct history_note *n)
{
    int i;
    if (is(name, "node"))
        return u32(j, &n->node);
    if (is(name, "group"))
        return json_in_u64(j, &n->group);
    if (is(name, "term"))
        return json_in_u64(j, &n->term);
    if (is(name, "vote"))
        return json_in_u64(j, &n->vote);
    if (is(name, "index"))
        return json_in_u64(j, &n->index);
    if (is(name, "digest"))
        return json_in_u64(j, &n->digest);
    if (is(name, "place"))
        return json_in_u64(j, &n->place);
    if (is(name, "ns"))
        return json_in_u64(j, &n->now_ns);
    if (!is(name, "fact"))
        return json_in_fail(j, "an unknown field of a note");
    if (!word(j, fact_name, HISTORY_FACTS, &i))
        return false;
    n->fact = (enum history_fact)i;
    return true;
}

static enum status note_line(struct line *l, bool *first)
{
    struct history_note n = {.fact = HISTORY_FACTS};
    struct bytes name;
    while (json_in_field(&l->j, first, &name) && note_field(&l->j, name, &n))
        ;
    if (!l->j.wrong && (n.fact == HISTORY_FACTS || n.place == 0))
        json_in_fail(&l->j, "a note without its fact or place");
    if (l->j.wrong)
        return ST_INVALID_ARGUMENT;
    enum status st = history_note(l->h, n.now_ns, &n);
    if (st == ST_OK)
        l->h->notes[l->h->notes_n - 1].place = n.place;
    l->last = n.place > l->last ? n.place : l->last;
    return st;
}

static bool row_field(struct json_in *j, struct bytes name, struct history_row *row)
{
    if (is(name, "verb"))
        return verb(j, &row->verb);
    if (is(name, "version"))
        return json_in_u64(j, &row->version);
    if (is(name, "key"))
        return json_in_bytes(j, &row->key);
    if (is(name, "value"))
        return json_in_bytes(j, &row->value);
    return json_in_fail(j, "an unknown field of a row");
}

static enum status row_line(struct line *l, bool *first)
{
    struct history_row row = {.verb = HISTORY_VERBS, .key = BYTES_EMPTY, .value = BYTES_EMPTY};
    struct bytes name;
    while (json_in_field(&l->j, first, &name) && row_field(&l->j, name, &row))
        ;
    if (!l->j.wrong && row.verb != HISTORY_PUT && row.verb != HISTORY_DELETE)
        json_in_fail(&l->j, "a row that is neither a put nor a delete");
    return l->j.wrong ? ST_INVALID_ARGUMENT : history_final(l->h, &row);
}

static enum status done_line(struct line *l, bool *first)
{
    struct bytes name;
    uint64_t horizon = 0;
    while (json_in_field(&l->j, first, &name))
        if (is(name, "horizon"))
            json_in_u64(&l->j, &horizon);
        else
            json_in_fail(&l->j, "an unknown field of rows_done");
    if (l->j.wrong)
        return ST_INVALID_ARGUMENT;
    history_final_done(l->h, horizon);
    return ST_OK;
}

/* --- lines --- */

static enum status read_line(struct line *l)
{
    static const struct {
        const char *type;
        enum status (*read)(struct line *, bool *);
    } types[] = {{"op", op_line},
                 {"watch", watch_line},
                 {"note", note_line},
                 {"row", row_line},
                 {"rows_done", done_line}};
    bool first = true;
    struct bytes name, type;
    if (!json_in_char(&l->j, '{'))
        return ST_INVALID_ARGUMENT;
    if (!json_in_field(&l->j, &first, &name) || !is(name, "type") || !json_in_bytes(&l->j, &type)) {
        json_in_fail(&l->j, "the first field is not the type");
        return ST_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!is(type, types[i].type))
            continue;
        enum status st = types[i].read(l, &first);
        return st == ST_OK && !json_in_end(&l->j) ? ST_INVALID_ARGUMENT : st;
    }
    json_in_fail(&l->j, "an unknown type");
    return ST_INVALID_ARGUMENT;
}

enum status history_read_ndjson(struct history *h, struct bytes text, struct err *err)
{
    struct line l = {.h = h};
    struct arena strings;
    enum status st = ST_OK;
    size_t number = 0;
    ASSERT(h->ops_n == 0 && h->watches_n == 0 && h->notes_n == 0 && h->rows_n == 0);
    arena_init(&strings, 0);
    for (const uint8_t *p = text.data, *end = p + text.len; p < end && st == ST_OK;) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        const uint8_t *stop = nl ? nl : end;
        arena_reset(&strings);
        l.j = (struct json_in){.p = p, .end = stop, .arena = &strings};
        number++;
        if (p < stop)
            st = read_line(&l);
        p = nl ? nl + 1 : end;
    }
    if (st == ST_INVALID_ARGUMENT && l.j.no_memory)
        st = ST_NO_MEMORY;
    if (st != ST_OK)
        err_set(err, st, "line %zu of the history: %s", number,
                l.j.wrong ? l.j.wrong : status_text(st));
    if (l.last > h->place)
        h->place = l.last;
    buf_deinit(&l.steps);
    arena_deinit(&strings);
    return st;
}
