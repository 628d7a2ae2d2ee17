#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include "base/planted.h"

enum { READ_AHEAD = 1024 * 1024 };
static const uint8_t group_magic[4] = {'V', 'g', 'r', 'p'};

static enum status window_room(struct wal__window *win, size_t len, struct err *err)
{
    if (len <= win->cap)
        return ST_OK;
    uint8_t *buf = mem_alloc(len);
    if (!buf)
        return err_set(err, ST_NO_MEMORY, "log: %zu bytes to read a segment", len);
    mem_free(win->buf);
    win->buf = buf;
    win->cap = len;
    win->len = 0;
    return ST_OK;
}

enum status wal__window_get(struct wal__window *win, struct env_file *file, uint64_t off,
                            size_t len, uint64_t limit, const uint8_t **ret, struct err *err)
{
    if (wal__window_has(win, file, off, len)) {
        *ret = win->buf + (off - win->start);
        return ST_OK;
    }
    size_t want = len;
    if (want < READ_AHEAD && limit > off + want)
        want = limit - off < READ_AHEAD ? (size_t)(limit - off) : READ_AHEAD;
    enum status st = window_room(win, want, err);
    if (st != ST_OK)
        return st;
    size_t got;
    win->len = 0;
    st = env_pread(file, off, win->buf, want, &got, err);
    if (st != ST_OK)
        return st;
    memset(win->buf + got, 0, want - got);
    win->file = file;
    win->start = off;
    win->len = want;
    *ret = win->buf;
    return ST_OK;
}

void wal__window_deinit(struct wal__window *win)
{
    mem_free(win->buf);
    *win = (struct wal__window){0};
}

enum status wal__find_group(struct wal__window *win, struct env_file *file,
                            const struct wal_seg_header *seg, uint64_t above, uint64_t from,
                            uint64_t limit, uint64_t *ret_off, struct wal_group_header *ret,
                            struct err *err)
{
    uint64_t off = wal__align(from);
    while (off + WAL_GROUP_HEADER <= limit) {
        size_t len = limit - off < READ_AHEAD ? (size_t)(limit - off) : READ_AHEAD;
        const uint8_t *p;
        enum status st = wal__window_get(win, file, off, len, limit, &p, err);
        if (st != ST_OK)
            return st;
        size_t i = 0;
        for (; i + WAL_GROUP_HEADER <= len; i += WAL_ALIGN) {
            struct wal_group_header g;
            if (memcmp(p + i, group_magic, sizeof group_magic) != 0 ||
                !wal__group_decode(p + i, &g))
                continue;
            bool good = seg ? wal__group_is_live(&g, seg, off + i)
                            : g.mark.epoch > above && g.offset == off + i;
            if (good) {
                *ret_off = off + i;
                *ret = g;
                return ST_OK;
            }
        }
        off += i;
    }
    *ret_off = limit;
    return ST_OK;
}

static uint64_t limit_of(const struct wal__scan *s, size_t i)
{
    uint64_t limit = s->segs[i]->h.bytes;
    if (i + 1 < s->n && s->segs[i + 1]->h.prev_end < limit)
        limit = s->segs[i + 1]->h.prev_end;
    if (s->segs[i]->h.epoch == s->until.epoch && s->until.offset < limit)
        limit = s->until.offset;
    return limit;
}

static void saw(struct wal__scan *s, const struct wal_group_header *g)
{
    if (wal_pos_cmp(s->mark, g->mark) < 0)
        s->mark = g->mark;
    if (s->top_incarnation < g->incarnation)
        s->top_incarnation = g->incarnation;
}

/* Reads on to the very end for marks: only they tell whether the flaw at segs[i], `off` is rot or a
 * torn tail. */
static enum status look_ahead(struct wal__scan *s, size_t i, uint64_t off, struct err *err)
{
    s->dropped = 0;
    for (uint64_t base = off; i < s->n; i++, base = off = WAL_SEG_PAGE) {
        uint64_t limit = limit_of(s, i), end = base;
        while (off < limit) {
            struct wal_group_header g;
            enum status st = wal__find_group(&s->win, s->segs[i]->file, &s->segs[i]->h, 0, off,
                                             limit, &off, &g, err);
            if (st != ST_OK)
                return st;
            if (off >= limit)
                break;
            saw(s, &g);
            if (g.incarnation >= s->incarnation && off + wal__group_bytes(&g) > end)
                end = off + wal__group_bytes(&g);
            off += WAL_ALIGN;
        }
        s->dropped += end - base;
    }
    s->looked_ahead = true;
    return ST_OK;
}

enum found { FOUND_GROUP, FOUND_TORN, FOUND_NOTHING };

/* What lies at segs[i], `off`? FOUND_TORN: a header that belongs there with a body that does not.
 */
static enum status group_at(struct wal__scan *s, size_t i, uint64_t off, uint64_t limit,
                            enum found *ret, struct wal_group_header *g, const uint8_t **ret_body,
                            struct wal_flaw *flaw, struct err *err)
{
    struct wal__seg *seg = s->segs[i];
    const uint8_t *p;
    *flaw = (struct wal_flaw){.offset = off, .text = "no group begins here"};
    *ret = FOUND_NOTHING;
    if (off + WAL_GROUP_HEADER > limit)
        return ST_OK;
    enum status st = wal__window_get(&s->win, seg->file, off, WAL_GROUP_HEADER, limit, &p, err);
    if (st != ST_OK)
        return st;
    if (!wal__group_decode(p, g) || !wal__group_is_live(g, &seg->h, off) ||
        g->incarnation < s->incarnation)
        return ST_OK;
    *ret = FOUND_TORN;
    uint64_t bytes = wal__group_bytes(g);
    flaw->text = "the group reaches past the end of the segment";
    if (off + bytes > limit)
        return ST_OK;
    st = wal__window_get(&s->win, seg->file, off, (size_t)bytes, limit, &p, err);
    if (st != ST_OK)
        return st;
    *ret_body = p + WAL_GROUP_HEADER;
    if (wal__group_check(g, *ret_body, flaw) || (PLANTED(ROT_ACCEPTED) && flaw->payload))
        *ret = FOUND_GROUP;
    return ST_OK;
}

/* Behind a flaw below the mark: the next group of the chain. */
static enum status resync(struct wal__scan *s, size_t i, enum found found,
                          const struct wal_group_header *g, uint64_t *off, uint64_t limit,
                          struct err *err)
{
    if (found == FOUND_TORN && *off + wal__group_bytes(g) <= limit) {
        *off += wal__group_bytes(g);
        return ST_OK;
    }
    struct wal_group_header next;
    do {
        enum status st = wal__find_group(&s->win, s->segs[i]->file, &s->segs[i]->h, 0,
                                         *off + WAL_ALIGN, limit, off, &next, err);
        if (st != ST_OK)
            return st;
    } while (*off < limit && next.incarnation < s->incarnation);
    return ST_OK;
}

static void joined(struct wal__scan *s, const struct wal_group_header *g)
{
    saw(s, g);
    s->incarnation = g->incarnation;
    s->low = g->low > s->low ? g->low : s->low;
}

/* The group at *off once more: looking ahead went over what was read of it. */
static enum status rotten_payload(struct wal__scan *s, size_t i, uint64_t *off, uint64_t limit,
                                  struct err *err)
{
    struct wal_group_header g;
    const uint8_t *body;
    struct wal_flaw flaw;
    enum found found;
    enum status st = group_at(s, i, *off, limit, &found, &g, &body, &flaw, err);
    if (st != ST_OK)
        return st;
    if (found != FOUND_GROUP && !flaw.payload)
        return s->on_rot(s->arg, s->segs[i], &flaw, err); /* the disk says something else now */
    joined(s, &g);
    st = s->on_rotten_payload(s->arg, s->segs[i], &g, body, &flaw, err);
    *off += wal__group_bytes(&g);
    return st;
}

static enum status scan_segment(struct wal__scan *s, size_t i, bool *ret_ended, struct err *err)
{
    struct wal__seg *seg = s->segs[i];
    uint64_t off = WAL_SEG_PAGE, limit = limit_of(s, i);
    enum status st = ST_OK;
    bool open_end = i + 1 == s->n && seg->h.epoch != s->until.epoch;
    while (off < limit || open_end) {
        struct wal_group_header g;
        const uint8_t *body;
        struct wal_flaw flaw;
        enum found found;
        st = group_at(s, i, off, limit, &found, &g, &body, &flaw, err);
        if (st != ST_OK)
            return st;
        if (found == FOUND_GROUP) {
            joined(s, &g);
            st = s->on_group(s->arg, seg, &g, body, err);
            if (st != ST_OK)
                return st;
            off += wal__group_bytes(&g);
            continue;
        }
        if (!s->looked_ahead)
            st = look_ahead(s, i, off, err);
        if (st != ST_OK)
            return st;
        if ((wal_pos_cmp(s->mark, (struct wal_pos){seg->h.epoch, off}) <= 0 && !flaw.newer) ||
            PLANTED(ROT_TAKEN_FOR_TAIL)) {
            *ret_ended = true;
            break;
        }
        if (flaw.payload && s->on_rotten_payload) {
            st = rotten_payload(s, i, &off, limit, err);
            if (st != ST_OK)
                return st;
            continue;
        }
        st = s->on_rot(s->arg, seg, &flaw, err);
        if (st == ST_OK && open_end && off >= limit) { /* a mark behind all that there is */
            *ret_ended = true;
            break;
        }
        if (st == ST_OK)
            st = resync(s, i, found, &g, &off, limit, err);
        if (st != ST_OK)
            return st;
    }
    s->end_seg = i;
    s->end = off;
    return ST_OK;
}

enum status wal__scan_run(struct wal__scan *s, struct err *err)
{
    bool ended = false;
    for (size_t i = 0; i < s->n; i++) {
        if (wal_pos_cmp(s->mark, s->segs[i]->h.mark) < 0)
            s->mark = s->segs[i]->h.mark;
        if (s->low < s->segs[i]->h.low)
            s->low = s->segs[i]->h.low;
    }
    for (size_t i = 0; i < s->n && !ended; i++) {
        enum status st = scan_segment(s, i, &ended, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}
