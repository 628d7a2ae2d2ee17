/* check_replicas.c - what nodes showed of themselves: equal states, one leader, nothing promised
 * that was not durable. */
#include <inttypes.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "replicas";
enum { NONE = UINT32_MAX };

struct replicas {
    struct check_report *r;
    const struct history_note *notes;
    struct check_map applied; /* (group, index) -> first note */
    struct check_map leaders; /* (group, term) -> first note */
    struct check_map votes;   /* (group, term, node) -> first note */
    struct check_map durable; /* (group, node) -> latest note, NONE after a wipe */
};

static enum status tell_note(struct buf *out, const struct history_note *n)
{
    enum status st =
        buf_printf(out, "  %5" PRIu64 ".%06" PRIu64 "  node %u: %s", n->now_ns / 1000000000,
                   n->now_ns % 1000000000 / 1000, n->node, history_fact_name(n->fact));
    if (st == ST_OK && n->group)
        st = buf_printf(out, ", group %" PRIu64, n->group);
    if (st == ST_OK && n->term)
        st = buf_printf(out, ", term %" PRIu64, n->term);
    if (st == ST_OK && n->vote)
        st = buf_printf(out, ", vote %" PRIu64, n->vote);
    if (st == ST_OK && n->index)
        st = buf_printf(out, ", index %" PRIu64, n->index);
    if (st == ST_OK && n->fact == HISTORY_APPLIED)
        st = buf_printf(out, ", digest %016" PRIx64, n->digest);
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

static enum status tell(struct replicas *s, const char *anomaly, const struct history_note *before,
                        const struct history_note *now, const char *words)
{
    if (!check__found(s->r, NAME, anomaly))
        return ST_OK;
    struct buf story = BUF_INIT;
    enum status st = buf_printf(&story, "  %s\n", words);
    if (st == ST_OK && before)
        st = tell_note(&story, before);
    if (st == ST_OK)
        st = tell_note(&story, now);
    st = check__told(s->r, NAME, anomaly, &story, st);
    buf_deinit(&story);
    return st;
}

/* The first note with these numbers; `now` itself when there was none. NULL: no memory. */
static const struct history_note *first_of(struct replicas *s, struct check_map *m, uint64_t a,
                                           uint64_t b, uint64_t c, const struct history_note *now)
{
    const uint32_t *i = check__map_put(m, a, b, c, (uint32_t)(now - s->notes));
    return i ? &s->notes[*i] : NULL;
}

static enum status see_applied(struct replicas *s, const struct history_note *n)
{
    const struct history_note *first = first_of(s, &s->applied, n->group, n->index, 0, n);
    if (!first)
        return ST_NO_MEMORY;
    if (first->digest == n->digest)
        return ST_OK;
    return tell(s, "replicas differ", first, n,
                "Two states differ after the same entries were applied.");
}

static enum status see_leader(struct replicas *s, const struct history_note *n)
{
    const struct history_note *first = first_of(s, &s->leaders, n->group, n->term, 0, n);
    if (!first)
        return ST_NO_MEMORY;
    return first->node == n->node ? ST_OK
                                  : tell(s, "two leaders", first, n, "One term has two leaders.");
}

/* NULL: nothing was ever said to be durable, or it was taken away. */
static const struct history_note *durable_of(const struct replicas *s, const struct history_note *n)
{
    const uint32_t *i = check__map_get(&s->durable, n->group, n->node, 0);
    return i && *i != NONE ? &s->notes[*i] : NULL;
}

static enum status see_voted(struct replicas *s, const struct history_note *n)
{
    const struct history_note *first = first_of(s, &s->votes, n->group, n->term, n->node, n);
    const struct history_note *d = durable_of(s, n);
    if (!first)
        return ST_NO_MEMORY;
    if (first->vote != n->vote)
        return tell(s, "voted twice", first, n, "One node voted for two in one term.");
    if (!d || d->term < n->term || (d->term == n->term && d->vote != n->vote))
        return tell(s, "vote not durable", d, n,
                    "A vote left the node before it was durable (what was durable is shown).");
    return ST_OK;
}

static enum status see_acked(struct replicas *s, const struct history_note *n)
{
    const struct history_note *d = durable_of(s, n);
    if (!d || d->term < n->term || d->index < n->index)
        return tell(s, "acknowledgement not durable", d, n,
                    "Entries were acknowledged before they were durable (what was durable is "
                    "shown).");
    return ST_OK;
}

static enum status see_durable(struct replicas *s, const struct history_note *n)
{
    uint32_t *i = check__map_put(&s->durable, n->group, n->node, 0, NONE);
    if (!i)
        return ST_NO_MEMORY;
    const struct history_note *before = *i == NONE ? NULL : &s->notes[*i];
    *i = (uint32_t)(n - s->notes);
    if (before && n->term < before->term)
        return tell(s, "term went back", before, n, "A durable term became lower.");
    if (before && n->term == before->term && before->vote && n->vote != before->vote)
        return tell(s, "vote changed", before, n, "A durable vote changed within its term.");
    return ST_OK;
}

static void see_wiped(struct replicas *s, const struct history_note *n)
{
    for (size_t i = 0; i < s->durable.size; i++)
        if (s->durable.slots[i].used && s->durable.slots[i].b == n->node)
            s->durable.slots[i].value = NONE;
}

static enum status see(struct replicas *s, const struct history_note *n)
{
    switch (n->fact) {
    case HISTORY_APPLIED:
        return see_applied(s, n);
    case HISTORY_LEADER:
        return see_leader(s, n);
    case HISTORY_DURABLE:
        return see_durable(s, n);
    case HISTORY_VOTED:
        return see_voted(s, n);
    case HISTORY_ACKED:
        return see_acked(s, n);
    case HISTORY_WIPED:
        see_wiped(s, n);
        break;
    case HISTORY_FACTS:
        break;
    }
    return ST_OK;
}

enum status check_replicas(const struct history *h, struct check_report *r)
{
    size_t n;
    struct replicas s = {.r = r, .notes = history_notes(h, &n)};
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = see(&s, &s.notes[i]);
    check__map_deinit(&s.applied);
    check__map_deinit(&s.leaders);
    check__map_deinit(&s.votes);
    check__map_deinit(&s.durable);
    return st;
}
