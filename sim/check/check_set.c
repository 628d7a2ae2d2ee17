/* check_set.c - what was added to a set stays in it, once, and nothing else is in it. */
#include <inttypes.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "set";
enum { NONE = UINT32_MAX };

struct member {
    uint32_t key, adder, reader; /* operations; reader: of the first read that shows it, or NONE */
    int64_t element;
    uint64_t since;   /* every read that begins after this place must show it; UINT64_MAX: none */
    uint32_t seen_by; /* the read that was last looked at and shows it, plus 1 */
    bool failed;
    uint32_t next; /* of the same set */
};

struct sets {
    const struct history *h;
    struct check_report *r;
    const struct history_op *ops;
    size_t ops_n;
    struct member *members;
    uint32_t members_n;
    uint32_t *first;     /* by key: its members */
    struct check_map of; /* (key, element) -> member */
};

static enum status tell(struct sets *s, const char *anomaly, const struct member *m, uint32_t read,
                        const char *words)
{
    uint32_t ids[3] = {read, m->adder, m->reader == NONE ? m->adder : m->reader};
    return check__tell(s->r, s->h, NAME, anomaly, ids, 3, "Set %s, element %" PRId64 ": %s",
                       check__text(history_key(s->h, m->key)).s, m->element, words);
}

static enum status add_member(struct sets *s, const struct history_op *op,
                              const struct history_step *step)
{
    bool failed = op->outcome == HISTORY_FAILED || op->outcome == HISTORY_UNMET;
    uint32_t *at = check__map_put(&s->of, step->key_id, (uint64_t)step->number, 0, s->members_n);
    if (!at)
        return ST_NO_MEMORY;
    struct member *m = &s->members[*at];
    if (*at == s->members_n) {
        *m = (struct member){step->key_id, op->id, NONE,   step->number,
                             UINT64_MAX,   0,      failed, s->first[step->key_id]};
        s->first[step->key_id] = s->members_n++;
    } else if (m->failed && !failed) { /* tried again */
        m->adder = op->id;
        m->failed = false;
    }
    if (op->outcome == HISTORY_OK && op->completed < m->since)
        m->since = op->completed;
    return ST_OK;
}

static enum status look_at_element(struct sets *s, const struct history_op *op,
                                   const struct history_step *step, int64_t x)
{
    const uint32_t *at = check__map_get(&s->of, step->key_id, (uint64_t)x, 0);
    if (!at)
        return check__tell(s->r, s->h, NAME, "phantom", &(uint32_t){op->id}, 1,
                           "Set %s, element %" PRId64 ": it was read, and nobody added it.",
                           check__text(step->key).s, x);
    struct member *m = &s->members[*at];
    if (m->failed)
        return tell(s, "dirty read", m, op->id, "it was read although its add failed for certain.");
    if (m->seen_by == op->id + 1)
        return tell(s, "doubled", m, op->id, "one read shows it twice.");
    m->seen_by = op->id + 1;
    if (s->ops[m->adder].invoked > op->completed)
        return tell(s, "read ahead of its write", m, op->id, "it was read before its add began.");
    return ST_OK;
}

/* Whoever saw it makes it due for all that begin later. */
static void note_seen(struct sets *s, const struct history_op *op, const struct history_step *step)
{
    for (uint32_t i = s->first[step->key_id]; i != NONE; i = s->members[i].next) {
        struct member *m = &s->members[i];
        if (m->seen_by == op->id + 1 && op->completed < m->since) {
            m->since = op->completed;
            m->reader = op->id;
        }
    }
}

static enum status look_for_lost(struct sets *s, const struct history_op *op,
                                 const struct history_step *step)
{
    enum status st = ST_OK;
    for (uint32_t i = s->first[step->key_id]; i != NONE && st == ST_OK; i = s->members[i].next) {
        const struct member *m = &s->members[i];
        if (m->since < op->invoked && m->seen_by != op->id + 1)
            st = tell(s, "lost", m, op->id,
                      "it had been acknowledged or seen, and a later read does not show it.");
    }
    return st;
}

/* Reads in order of invocation; one that began earlier and ended later than another cannot make an
 * element due for that one. */
static enum status look_at_read(struct sets *s, const struct history_op *op,
                                const struct history_step *step)
{
    struct reader rd = reader_of(step->value);
    uint64_t x;
    enum status st = ST_OK;
    while (st == ST_OK && reader_left(&rd) >= 8 && read_le64(&rd, &x))
        st = look_at_element(s, op, step, (int64_t)x);
    if (st == ST_OK && reader_left(&rd))
        st = check__tell(s->r, s->h, NAME, "not a set", &(uint32_t){op->id}, 1,
                         "Set %s was read with a broken element.", check__text(step->key).s);
    if (st == ST_OK && !op->weak && op->at == 0) {
        st = look_for_lost(s, op, step);
        note_seen(s, op, step);
    }
    return st;
}

static enum status each_step(struct sets *s, enum history_verb verb,
                             enum status (*fn)(struct sets *, const struct history_op *,
                                               const struct history_step *))
{
    enum status st = ST_OK;
    for (size_t i = 0; i < s->ops_n; i++) {
        const struct history_op *op = &s->ops[i];
        if (op->family != HISTORY_SET || (verb == HISTORY_GET && op->outcome != HISTORY_OK))
            continue;
        for (uint32_t j = 0; j < op->n && st == ST_OK; j++)
            if (op->steps[j].verb == verb)
                st = fn(s, op, &op->steps[j]);
    }
    return st;
}

enum status check_set(const struct history *h, struct check_report *r)
{
    struct sets s = {.h = h, .r = r};
    s.ops = history_ops(h, &s.ops_n);
    size_t adds = 0, keys = history_key_count(h);
    for (size_t i = 0; i < s.ops_n; i++)
        adds += s.ops[i].family == HISTORY_SET ? s.ops[i].n : 0;
    s.members = mem_alloc((adds + 1) * sizeof *s.members);
    s.first = mem_alloc((keys + 1) * sizeof *s.first);
    enum status st = s.members && s.first ? ST_OK : ST_NO_MEMORY;
    for (size_t k = 0; k < keys && st == ST_OK; k++)
        s.first[k] = NONE;
    if (st == ST_OK)
        st = each_step(&s, HISTORY_ADD, add_member);
    if (st == ST_OK)
        st = each_step(&s, HISTORY_GET, look_at_read);
    mem_free(s.members);
    mem_free(s.first);
    check__map_deinit(&s.of);
    return st;
}
