/* embed_model_feed.c - changes and watches, held against the model. */
#include "embed_model_bench.h"

static bool passes(const struct bench *b, const struct model_row *r, int name, bool prefixed)
{
    return (name < 0 || b->m.homes[r->home].name == name) &&
           (!prefixed || r->key == 2 || r->key == 3 || r->key == 4);
}

/* May one who has heard of everything up to an event be refused? If a vacuum that lets go of changes
 * came after: what it removed is not known exactly. */
static bool may_refuse_feed(const struct bench *b, int name, int event)
{
    for (int i = 0; i < b->m.n_homes; i++)
        if ((name < 0 || b->m.homes[i].name == name) && b->m.homes[i].feed > event)
            return true;
    return false;
}

static void expect_change(struct bench *b, const varve_iter *it, int row)
{
    char buf[MODEL_KEY_MAX];
    const struct model_row *r = &b->m.rows[row];
    varve_bytes k = model_key(r->key, buf), got = varve_iter_key(it);
    if (!same_version(varve_iter_version(it), r->version) || got.len != k.len ||
        memcmp(got.data, k.data, k.len) != 0)
        fail_msg("step %d: a change of another key or version than row %d of %d", b->step, row,
                 b->m.n_rows);
    assert_string_equal(varve_iter_collection(it), model_names[b->m.homes[r->home].name]);
    assert_int_equal(varve_iter_is_delete(it), r->del);
    if (!r->del)
        expect_row(b, row, varve_iter_value(it), varve_iter_type(it), varve_iter_version(it),
                   varve_iter_writer(it));
}

static varve_changes_options filter(int name, bool prefixed)
{
    varve_changes_options o = {.size = sizeof(o), .values = true};
    if (name >= 0)
        o.collection = model_names[name];
    if (prefixed)
        o.prefix = (varve_bytes){"a", 1};
    return o;
}

/* From the beginning; then once more from a token on the way. */
void check_changes(struct bench *b)
{
    int name = (int)below(b, MODEL_NAMES + 1) - 1, stop = -1;
    bool prefixed = name >= 0 && below(b, 2);
    varve_changes_options o = filter(name, prefixed);
    char token[TOKEN_MAX] = "";
    for (int pass = 0; pass < 2; pass++) {
        int from = stop + 1, i = from;
        varve_iter *it;
        varve_status st = varve_changes(b->w->db, token, &o, &it);
        if (st == VARVE_BELOW_HORIZON &&
            may_refuse_feed(b, name, from ? b->m.rows[from - 1].event : 0))
            return;
        assert_ok(st);
        int rest = b->m.n_rows - from;
        int turn = pass == 0 && rest > 0 ? from + (int)below(b, (uint64_t)rest) : b->m.n_rows;
        for (; i < b->m.n_rows; i++) {
            if (!passes(b, &b->m.rows[i], name, prefixed))
                continue;
            if (varve_iter_next(it) != 1)
                fail_msg("step %d: changes end at row %d of %d: %s", b->step, i, b->m.n_rows,
                         varve_last_error());
            expect_change(b, it, i);
            if (i >= turn)
                break;
        }
        if (i == b->m.n_rows) {
            assert_int_equal(varve_iter_next(it), 0);
            i--;
        }
        stop = i;
        assert_true(strlen(varve_iter_token(it)) < sizeof(token));
        strcpy(token, varve_iter_token(it));
        varve_iter_close(it);
    }
}

void watch_from(struct bench *b, struct watcher *w, const char *token)
{
    varve_changes_options o = filter(w->name, w->prefixed);
    varve_status st = varve_watch_open(b->w->db, token, &o, &w->w);
    if (st == VARVE_BELOW_HORIZON && may_refuse_feed(b, w->name, w->event)) {
        w->seen = b->m.n_rows;
        w->event = b->m.n_events;
        st = varve_watch_open(b->w->db, "now", &o, &w->w);
    }
    assert_ok(st);
}

void watch_anew(struct bench *b, struct watcher *w)
{
    bool now = below(b, 2);
    w->name = (int)below(b, MODEL_NAMES + 1) - 1;
    w->prefixed = w->name >= 0 && below(b, 2);
    w->seen = now ? b->m.n_rows : 0;
    w->event = now ? b->m.n_events : 0;
    watch_from(b, w, now ? "now" : NULL);
}

void watch_on(struct bench *b, struct watcher *w)
{
    const varve_iter *row;
    int most = (int)below(b, 40);
    while (most-- > 0) {
        int next = w->seen;
        while (next < b->m.n_rows && !passes(b, &b->m.rows[next], w->name, w->prefixed))
            next++;
        int rc = varve_watch_next(w->w, 0, &row);
        if (rc == -VARVE_BELOW_HORIZON && may_refuse_feed(b, w->name, w->event)) {
            varve_watch_close(w->w);
            watch_anew(b, w);
            return;
        }
        if (rc != (next < b->m.n_rows))
            fail_msg("step %d: a watch of %d%s answers %d (%s) at row %d of %d", b->step, w->name,
                     w->prefixed ? "*" : "", rc, varve_last_error(), next, b->m.n_rows);
        w->seen = rc ? next + 1 : next;
        w->event = rc ? b->m.rows[next].event : b->m.n_events;
        if (rc == 0)
            return;
        expect_change(b, row, next);
    }
}
