/* check_session.c - what one client sees of one key never goes back. */
#include <inttypes.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

enum { NONE = UINT32_MAX };

struct sessions {
    const struct history *h;
    struct check_report *r;
    const struct history_op *ops;
    struct check_map last; /* (client, key) -> operation whose version was the highest */
    struct check_map at;   /* (client, key) -> its step */
    bool *deleted;         /* by key: somebody may have deleted it */
};

static enum status see(struct sessions *s, const struct history_op *op, uint32_t j)
{
    const struct history_step *p = &op->steps[j];
    bool gone = op->outcome == HISTORY_OK && p->verb == HISTORY_GET && !p->found && !p->version;
    if (p->version == 0 && !(gone && !s->deleted[p->key_id]))
        return ST_OK; /* nothing to compare with */
    uint32_t *last = check__map_put(&s->last, op->client, p->key_id, 0, NONE);
    uint32_t *at = check__map_put(&s->at, op->client, p->key_id, 0, j);
    if (!last || !at)
        return ST_NO_MEMORY;
    uint64_t before = *last == NONE ? 0 : s->ops[*last].steps[*at].version;
    if (p->version >= before) {
        *last = op->id;
        *at = j;
        return ST_OK;
    }
    if (s->ops[*last].completed > op->invoked)
        return ST_OK; /* not one after the other, whatever the client says */
    return check__tell(s->r, s->h, "session", gone ? "value went away" : "went back",
                       (uint32_t[]){*last, op->id}, 2,
                       "Client %u had met version %" PRIu64 " of %s, and then %" PRIu64 ".",
                       op->client, before, check__text(p->key).s, p->version);
}

static void note_deletes(struct sessions *s, const struct history_op *op)
{
    for (uint32_t j = 0; j < op->n; j++)
        if (op->steps[j].verb == HISTORY_DELETE)
            s->deleted[op->steps[j].key_id] = true;
}

enum status check_session(const struct history *h, struct check_report *r)
{
    size_t n;
    struct sessions s = {.h = h, .r = r, .ops = history_ops(h, &n)};
    s.deleted = mem_zalloc(history_key_count(h) + 1);
    enum status st = s.deleted ? ST_OK : ST_NO_MEMORY;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        note_deletes(&s, &s.ops[i]);
    for (size_t i = 0; i < n; i++) {
        const struct history_op *op = &s.ops[i];
        bool told = op->outcome == HISTORY_OK || op->outcome == HISTORY_UNMET;
        if (op->family != HISTORY_REGISTER || op->weak || op->at || !told)
            continue;
        for (uint32_t j = 0; j < op->n && st == ST_OK; j++)
            st = see(&s, op, j);
    }
    mem_free(s.deleted);
    check__map_deinit(&s.last);
    check__map_deinit(&s.at);
    return st;
}
