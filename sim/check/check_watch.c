/* check_watch.c - a watcher's stream against the final history.
 *
 * A stream stands at a place (version, key), "after which" all is still to come. Each event must be
 * the next row of the final history after it, among the keys that are watched. A token sets the
 * place anew. Below the horizon rows may be gone by the end, so there only the order is judged.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "watch";
enum { NONE = UINT32_MAX };

struct watcher {
    bool open;
    uint64_t version; /* its place */
    struct bytes key; /* empty: all of the version */
    struct bytes prefix;
    const struct history_watch *last; /* that moved it here */
};

struct watches {
    const struct history *h;
    struct check_report *r;
    struct history_row *rows; /* by version, then key */
    size_t n;
    bool complete;
    uint64_t horizon;
    struct check_map numbers; /* watcher -> its place in `of` */
    struct watcher *of;
};

static int by_version_key(const void *a, const void *b)
{
    const struct history_row *x = a, *y = b;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return bytes_cmp(x->key, y->key);
}

/* Whether (version, key) lies after the watcher's place. */
static bool after(const struct watcher *w, uint64_t version, struct bytes key)
{
    if (version != w->version)
        return version > w->version;
    return w->key.len && bytes_cmp(key, w->key) > 0;
}

/* The next row that is due; NULL: none is left. */
static const struct history_row *next_due(const struct watches *s, const struct watcher *w)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (after(w, s->rows[mid].version, s->rows[mid].key))
            hi = mid;
        else
            lo = mid + 1;
    }
    while (lo < s->n && !bytes_has_prefix(s->rows[lo].key, w->prefix))
        lo++;
    return lo < s->n ? &s->rows[lo] : NULL;
}

/* --- stories: here events are told, not operations --- */

static enum status tell_place(struct buf *out, const char *what, uint64_t version, struct bytes key)
{
    enum status st = buf_printf(out, "%s @%" PRIu64, what, version);
    return st == ST_OK && key.len ? buf_printf(out, " %s", check__text(key).s) : st;
}

static enum status tell_record(struct buf *out, const struct history_watch *w)
{
    enum status st = buf_printf(out, "  %5" PRIu64 ".%06" PRIu64 "  watcher %u",
                                w->now_ns / 1000000000, w->now_ns % 1000000000 / 1000, w->watcher);
    if (st == ST_OK && w->node)
        st = buf_printf(out, " at node %u", w->node);
    if (st == ST_OK)
        st = buf_printf(out, ": %s", history_watch_name(w->kind));
    if (st == ST_OK)
        st = tell_place(out, "", w->version, w->key);
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

static enum status tell(struct watches *s, const char *anomaly, const struct watcher *w,
                        const struct history_watch *now, const struct history_row *due,
                        const char *words)
{
    if (!check__found(s->r, NAME, anomaly))
        return ST_OK;
    struct buf story = BUF_INIT;
    enum status st = buf_printf(&story, "  %s\n", words);
    if (st == ST_OK && w->last)
        st = tell_record(&story, w->last);
    if (st == ST_OK)
        st = tell_record(&story, now);
    if (st == ST_OK && due) {
        st = tell_place(&story, "  the final history goes on with", due->version, due->key);
        if (st == ST_OK)
            st = buf_append_u8(&story, '\n');
    }
    st = check__told(s->r, NAME, anomaly, &story, st);
    buf_deinit(&story);
    return st;
}

/* --- events --- */

static bool in_history(const struct watches *s, const struct history_watch *e)
{
    struct history_row wanted = {.version = e->version, .key = e->key};
    return s->n && bsearch(&wanted, s->rows, s->n, sizeof *s->rows, by_version_key);
}

static enum status check_order(struct watches *s, const struct watcher *w,
                               const struct history_watch *e)
{
    if (after(w, e->version, e->key))
        return ST_OK;
    bool same = e->version == w->version && bytes_eq(e->key, w->key);
    return tell(s, same ? "repeat" : "order", w, e, NULL,
                same ? "The same change was delivered again."
                     : "A change was delivered that lies before what had been delivered.");
}

static enum status check_due(struct watches *s, const struct watcher *w,
                             const struct history_watch *e)
{
    if (!s->complete || e->version < s->horizon || w->version < s->horizon)
        return ST_OK;
    const struct history_row *due = next_due(s, w);
    if (!due || due->version != e->version || !bytes_eq(due->key, e->key))
        return in_history(s, e)
                   ? tell(s, "gap", w, e, due, "A change was left out before this one.")
                   : tell(s, "phantom", w, e, due,
                          "A change was delivered that the final history does not have.");
    bool value = e->no_value || e->verb == HISTORY_DELETE || due->value_id == e->value_id;
    if (due->verb != e->verb || !value)
        return tell(s, "wrong value", w, e, due,
                    "A change was delivered with something else than the final history has.");
    return ST_OK;
}

static enum status see_event(struct watches *s, struct watcher *w, const struct history_watch *e)
{
    enum status st = ST_OK;
    if (!bytes_has_prefix(e->key, w->prefix))
        return tell(s, "not asked for", w, e, NULL,
                    "A change was delivered of a key that is not watched.");
    if (w->open) {
        st = check_order(s, w, e);
        if (st == ST_OK && after(w, e->version, e->key))
            st = check_due(s, w, e);
        else
            return st; /* the place stays */
    }
    w->version = e->version;
    w->key = e->key;
    w->last = e;
    return st;
}

static enum status see_progress(struct watches *s, struct watcher *w, const struct history_watch *e)
{
    const struct history_row *due = s->complete && w->version >= s->horizon ? next_due(s, w) : NULL;
    enum status st = ST_OK;
    if (due && due->version <= e->version)
        st = tell(s, "gap", w, e, due,
                  "Everything up to a version was said to be delivered, and was not.");
    if (e->version >= w->version) {
        w->version = e->version;
        w->key = BYTES_EMPTY;
        w->last = e;
    }
    return st;
}

static enum status see(struct watches *s, const struct history_watch *e)
{
    const uint32_t *i = check__map_get(&s->numbers, e->watcher, 0, 0);
    struct watcher *w = &s->of[*i];
    switch (e->kind) {
    case HISTORY_WATCH_OPEN:
        *w = (struct watcher){true, e->version, e->key, e->prefix, e};
        return ST_OK;
    case HISTORY_WATCH_EVENT:
        return see_event(s, w, e);
    case HISTORY_WATCH_PROGRESS:
        return see_progress(s, w, e);
    case HISTORY_WATCH_KINDS:
        break;
    }
    return ST_OK;
}

enum status check_watch(const struct history *h, struct check_report *r)
{
    struct watches s = {.h = h, .r = r};
    size_t n;
    const struct history_watch *events = history_watches(h, &n);
    const struct history_row *rows = history_rows(h, &s.n, &s.complete, &s.horizon);
    s.rows = mem_alloc((s.n + 1) * sizeof *rows);
    s.of = mem_zalloc((n + 1) * sizeof *s.of);
    enum status st = s.rows && s.of ? ST_OK : ST_NO_MEMORY;
    if (st == ST_OK && s.n) {
        memcpy(s.rows, rows, s.n * sizeof *rows);
        qsort(s.rows, s.n, sizeof *rows, by_version_key);
    }
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (!check__map_put(&s.numbers, events[i].watcher, 0, 0, (uint32_t)s.numbers.n))
            st = ST_NO_MEMORY;
        else
            st = see(&s, &events[i]);
    }
    mem_free(s.rows);
    mem_free(s.of);
    check__map_deinit(&s.numbers);
    return st;
}
