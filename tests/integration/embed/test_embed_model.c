/* Everything at once against a naive model: writes of every kind, drops, snapshots, retention and
 * vacuum, reads of the present and of the past, iterators and watches that live through all of it.
 *
 * A refusal (BELOW_HORIZON) is right only where the model says that something may be gone; any other
 * answer must be the model's. */
#include "embed_model.h"
#include "embed_util.h"

#include <limits.h>
#include <stdio.h>

enum { HELD = 5, WATCHES = 4, HELD_ROWS = 64, TOKEN_MAX = 1200, STEPS = 260 };

struct held_row {
    char key[MODEL_KEY_MAX];
    size_t key_len, value_len;
    varve_version version;
    bool del;
    uint64_t sum; /* of the value's bytes */
};
struct held { /* an iterator, and what it must deliver whatever happens */
    varve_iter *it;
    struct held_row *rows;
    size_t n, next;
};

struct watcher {
    varve_watch *w;
    int name; /* -1: all */
    bool prefixed;
    int seen;  /* rows of the model looked at */
    int event; /* until when */
};

struct bench {
    struct world *w;
    struct model m;
    struct test_rng rng;
    struct held held[HELD];
    struct watcher watchers[WATCHES];
    int step;
};

static uint64_t below(struct bench *b, uint64_t n)
{
    return test_rng_below(&b->rng, n);
}

/* ---- single records ---- */

static void expect_row(struct bench *b, int row, varve_bytes value, varve_type type,
                       varve_version version, varve_bytes writer)
{
    char text[MODEL_VALUE_MAX], who[8];
    const struct model_row *r = &b->m.rows[row];
    size_t len = model_value(r->number, r->json, text);
    void *bson = NULL;
    assert_true(same_version(version, r->version));
    assert_true(bytes_are(writer, model_writer(r->number, who)));
    assert_int_equal(type, r->json ? VARVE_DOC : VARVE_RAW);
    if (r->json)
        assert_ok(varve_json_to_bson(text, len, &bson, &len));
    assert_int_equal(value.len, len);
    assert_memory_equal(value.data, bson ? bson : text, len);
    varve_free(bson);
}

/* May a read of a key at a moment be refused? By age as one collection, by count as one key. */
static bool may_refuse(const struct bench *b, int home, int key, int event)
{
    if (home < 0 || !b->m.homes[home].vacuumed)
        return false;
    if (event <= b->m.homes[home].horizon)
        return true;
    for (int i = 0; i < b->m.n_rows; i++) {
        const struct model_row *r = &b->m.rows[i];
        if (r->home == home && (key < 0 || r->key == key) && r->may_go && r->event <= event &&
            (r->child < 0 || b->m.rows[r->child].event > event))
            return true;
    }
    return false;
}

struct moment {
    varve_at at;
    int event;
    bool named;
    char name[8];
};

static const varve_at *some_moment(struct bench *b, struct moment *t)
{
    const struct model *m = &b->m;
    *t = (struct moment){.event = m->n_events};
    uint64_t kind = below(b, 5);
    int s = (int)below(b, MODEL_SNAPSHOTS);
    if (kind == 0 && m->snapshots[s].there) {
        snprintf(t->name, sizeof(t->name), "s%d", s);
        t->at = at_snapshot(t->name);
        t->event = m->snapshots[s].event;
        t->named = true;
    } else if (kind == 1 && m->n_rows > 0) { /* old enough to be past for every clock */
        uint64_t ms = varve_version_time_ms(m->rows[below(b, (uint64_t)m->n_rows)].version);
        ms -= below(b, 3);
        if (ms + 50 > clock_ms())
            return NULL;
        int event = model_event_at(m, ms);
        for (int i = 0; i < m->n_homes;
             i++) /* a collection is made a little before its first row */
            if (m->homes[i].made == event + 1)
                return NULL;
        t->at = at_time(ms);
        t->event = event;
    } else if (kind <= 3 && m->n_rows > 0) {
        const struct model_row *r = &m->rows[below(b, (uint64_t)m->n_rows)];
        t->at = at_version(r->version);
        t->event = r->event;
    } else {
        return NULL;
    }
    return &t->at;
}

static void check_get(struct bench *b)
{
    char buf[MODEL_KEY_MAX];
    struct moment t;
    const varve_at *at = some_moment(b, &t);
    int name = (int)below(b, MODEL_NAMES), key = (int)below(b, MODEL_KEYS);
    varve_bytes k = model_key(key, buf);
    varve_status st = varve_get(b->w->db, model_names[name], k.data, k.len, at, b->w->v);
    int home = model_home_at(&b->m, name, t.event), row = model_get(&b->m, name, key, t.event);
    if (st == VARVE_BELOW_HORIZON && at && !t.named && may_refuse(b, home, key, t.event))
        return;
    if (st != (row >= 0 ? VARVE_OK : VARVE_NOT_FOUND))
        fail_msg("step %d: key %d of %s at event %d of %d: %s: %s", b->step, key, model_names[name],
                 t.event, b->m.n_events, varve_status_name(st), varve_last_error());
    if (row >= 0)
        expect_row(b, row, varve_value_bytes(b->w->v), varve_value_type(b->w->v),
                   varve_value_version(b->w->v), varve_value_writer(b->w->v));
}

static void check_get_many(struct bench *b)
{
    enum { N = 6 };
    static char bufs[N][MODEL_KEY_MAX];
    varve_key keys[N];
    varve_value *values[N];
    varve_status sts[N];
    int names[N], numbers[N];
    struct moment t;
    const varve_at *at = some_moment(b, &t);
    bool may = false;
    for (int i = 0; i < N; i++) {
        names[i] = (int)below(b, MODEL_NAMES);
        numbers[i] = (int)below(b, MODEL_KEYS);
        varve_bytes k = model_key(numbers[i], bufs[i]);
        keys[i] = (varve_key){model_names[names[i]], k.data, k.len};
        values[i] = varve_value_new();
        may = may || may_refuse(b, model_home_at(&b->m, names[i], t.event), numbers[i], t.event);
    }
    varve_status st = varve_get_many(b->w->db, keys, N, at, values, sts);
    if (!(st == VARVE_BELOW_HORIZON && at && !t.named && may))
        assert_ok(st);
    for (int i = 0; i < N; i++) {
        int row = model_get(&b->m, names[i], numbers[i], t.event);
        if (st == VARVE_OK)
            assert_int_equal(sts[i], row >= 0 ? VARVE_OK : VARVE_NOT_FOUND);
        if (st == VARVE_OK && row >= 0)
            expect_row(b, row, varve_value_bytes(values[i]), varve_value_type(values[i]),
                       varve_value_version(values[i]), varve_value_writer(values[i]));
        varve_value_free(values[i]);
    }
}

/* ---- rows ---- */

static void check_scan(struct bench *b)
{
    struct moment t;
    const varve_at *at = some_moment(b, &t);
    int name = (int)below(b, MODEL_NAMES);
    varve_scan_options o = {.size = sizeof(o), .reverse = below(b, 2)};
    varve_iter *it;
    if (at)
        o.at = *at;
    int home = model_home_at(&b->m, name, t.event), rc = 0;
    bool may = at && !t.named && may_refuse(b, home, -1, t.event);
    varve_status st = varve_scan(b->w->db, model_names[name], &o, &it);
    if (st == VARVE_BELOW_HORIZON && may)
        return;
    assert_ok(st);
    for (int i = 0; i < MODEL_KEYS; i++) {
        char buf[MODEL_KEY_MAX];
        int key = o.reverse ? MODEL_KEYS - 1 - i : i;
        varve_bytes k = model_key(key, buf);
        int row = model_get(&b->m, name, key, t.event);
        if (row < 0)
            continue;
        rc = varve_iter_next(it);
        if (rc == -VARVE_BELOW_HORIZON && may)
            break;
        if (rc != 1)
            fail_msg("step %d: a scan of %s at event %d of %d: %d (%s) before key %d", b->step,
                     model_names[name], t.event, b->m.n_events, rc, varve_last_error(), key);
        assert_int_equal(varve_iter_key(it).len, k.len);
        assert_memory_equal(varve_iter_key(it).data, k.data, k.len);
        expect_row(b, row, varve_iter_value(it), varve_iter_type(it), varve_iter_version(it),
                   varve_iter_writer(it));
    }
    if (rc >= 0) {
        rc = varve_iter_next(it);
        assert_true(rc == 0 || (rc == -VARVE_BELOW_HORIZON && may));
    }
    varve_iter_close(it);
}

static void check_history_of(struct bench *b, int name, int key)
{
    char buf[MODEL_KEY_MAX];
    varve_bytes k = model_key(key, buf);
    int home = model_home_at(&b->m, name, INT_MAX);
    int row = home < 0 ? -1 : model_find(&b->m, home, key, INT_MAX);
    varve_iter *it;
    uint64_t limit = below(b, 3) ? 0 : below(b, 4), n = 0;
    assert_ok(varve_history(b->w->db, model_names[name], k.data, k.len, limit, &it));
    for (; row >= 0 && !(limit && n == limit); row = b->m.rows[row].parent, n++) {
        const struct model_row *r = &b->m.rows[row];
        int rc = varve_iter_next(it);
        if (rc == 0 && r->may_go)
            break;
        if (rc != 1)
            fail_msg("step %d: the history of key %d of %s: %d (%s) at version %d", b->step, key,
                     model_names[name], rc, varve_last_error(), (int)n);
        assert_int_equal(varve_iter_is_delete(it), r->del);
        varve_version parent = varve_iter_parent(it);
        if (r->parent < 0)
            assert_true(same_version(parent, (varve_version){0, 0}));
        else
            assert_true(same_version(parent, b->m.rows[r->parent].version) ||
                        (b->m.rows[r->parent].may_go && parent.hlc == 0));
        if (!r->del)
            expect_row(b, row, varve_iter_value(it), varve_iter_type(it), varve_iter_version(it),
                       varve_iter_writer(it));
        else
            assert_true(same_version(varve_iter_version(it), r->version));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
}

static void check_lists(struct bench *b)
{
    varve_iter *it;
    assert_ok(varve_collections(b->w->db, &it));
    for (int name = 0; name < MODEL_NAMES; name++) { /* names are in order */
        if (model_home_at(&b->m, name, INT_MAX) < 0)
            continue;
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_key(it), model_names[name]));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_ok(varve_snapshots(b->w->db, &it));
    for (int i = 0; i < MODEL_SNAPSHOTS; i++) {
        char name[8];
        if (!b->m.snapshots[i].there)
            continue;
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_key(it), name));
        assert_true(same_version(varve_iter_version(it), b->m.snapshots[i].version));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
}

/* ---- the feed ---- */

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
static void check_changes(struct bench *b)
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

static void watch_from(struct bench *b, struct watcher *w, const char *token)
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

static void watch_anew(struct bench *b, struct watcher *w)
{
    bool now = below(b, 2);
    w->name = (int)below(b, MODEL_NAMES + 1) - 1;
    w->prefixed = w->name >= 0 && below(b, 2);
    w->seen = now ? b->m.n_rows : 0;
    w->event = now ? b->m.n_events : 0;
    watch_from(b, w, now ? "now" : NULL);
}

static void watch_on(struct bench *b, struct watcher *w)
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

/* ---- iterators that stay ---- */

static uint64_t sum_of(varve_bytes v)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < v.len; i++)
        sum = sum * 31 + ((const uint8_t *)v.data)[i];
    return sum;
}

static void take(const varve_iter *it, struct held_row *r)
{
    varve_bytes k = varve_iter_key(it), v = varve_iter_value(it);
    *r = (struct held_row){.key_len = k.len,
                           .value_len = v.len,
                           .version = varve_iter_version(it),
                           .del = varve_iter_is_delete(it),
                           .sum = sum_of(v)};
    memcpy(r->key, k.data, k.len);
}

static void hold(struct bench *b, struct held *h)
{
    struct moment t;
    char buf[MODEL_KEY_MAX];
    varve_iter *its[2];
    const varve_at *at = some_moment(b, &t);
    varve_scan_options o = {.size = sizeof(o)};
    int kind = (int)below(b, 5), rc;
    const char *name = model_names[below(b, MODEL_NAMES)];
    varve_bytes k = model_key((int)below(b, MODEL_KEYS), buf);
    if (at)
        o.at = *at;
    for (int i = 0; i < 2; i++) {
        varve_status st = kind < 2 ? varve_scan(b->w->db, name, &o, &its[i])
                          : kind == 2
                              ? varve_history(b->w->db, name, k.data, k.len, HELD_ROWS, &its[i])
                          : kind == 3 ? varve_collections(b->w->db, &its[i])
                                      : varve_snapshots(b->w->db, &its[i]);
        if (st == VARVE_BELOW_HORIZON && i == 0)
            return;
        assert_ok(st);
    }
    h->rows = calloc(HELD_ROWS, sizeof(*h->rows));
    h->n = h->next = 0;
    h->it = its[1];
    while ((rc = varve_iter_next(its[0])) == 1)
        take(its[0], &h->rows[h->n++]);
    varve_iter_close(its[0]);
    if (rc == -VARVE_BELOW_HORIZON) { /* of one key: judged elsewhere */
        varve_iter_close(h->it);
        free(h->rows);
        h->it = NULL;
        return;
    }
    assert_int_equal(rc, 0);
}

static void held_on(struct bench *b, struct held *h, size_t most)
{
    for (; most > 0 && h->it; most--) {
        struct held_row *got = calloc(1, sizeof(*got));
        int rc = varve_iter_next(h->it);
        if (rc != (h->next < h->n))
            fail_msg("step %d: a held iterator answers %d (%s) at row %zu of %zu", b->step, rc,
                     varve_last_error(), h->next, h->n);
        if (rc == 1) {
            take(h->it, got);
            assert_memory_equal(got, &h->rows[h->next], sizeof(*got));
            h->next++;
        } else {
            varve_iter_close(h->it);
            free(h->rows);
            h->it = NULL;
        }
        free(got);
    }
}

/* ---- writes ---- */

static varve_write_options as_writer(uint32_t number, char who[8])
{
    return (varve_write_options){.size = sizeof(varve_write_options),
                                 .writer = model_writer(number, who)};
}

static void note_write(struct bench *b, int name, int key, bool del, bool json, uint32_t number,
                       varve_version v)
{
    struct model *m = &b->m;
    if (m->n_rows)
        assert_true(varve_version_compare(m->rows[m->n_rows - 1].version, v) < 0);
    int event = model_event(m, varve_version_time_ms(v));
    model_add(m, model_make(m, name, event), key, del, json, number, event, v);
}

static void do_put(struct bench *b, bool cas)
{
    char buf[MODEL_KEY_MAX], text[MODEL_VALUE_MAX], who[8];
    int name = (int)below(b, MODEL_NAMES), key = (int)below(b, MODEL_KEYS);
    uint32_t number = ++b->m.numbers;
    bool json = below(b, 3) == 0, wrong = cas && below(b, 2);
    varve_bytes k = model_key(key, buf);
    size_t len = model_value(number, json, text);
    varve_write_options o = as_writer(number, who);
    varve_version v = {0, 0}, present = {0, 0};
    int row = model_get(&b->m, name, key, INT_MAX);
    if (row >= 0)
        present = b->m.rows[row].version;
    varve_type type = json ? VARVE_JSON : VARVE_RAW;
    if (!cas) {
        assert_ok(varve_put(b->w->db, model_names[name], k.data, k.len, type, text, len, &o, &v));
    } else {
        varve_version expected = present;
        if (wrong)
            expected = row >= 0 && below(b, 2) ? (varve_version){0, 0}
                                               : (varve_version){present.hlc + 1, 0};
        varve_status st = varve_compare_and_set(b->w->db, model_names[name], k.data, k.len,
                                                expected, type, text, len, &o, &v);
        if (wrong) {
            assert_int_equal(st, VARVE_PRECONDITION_FAILED);
            assert_true(same_version(v, present));
            return;
        }
        assert_ok(st);
    }
    note_write(b, name, key, false, json, number, v);
}

static void do_delete(struct bench *b)
{
    char buf[MODEL_KEY_MAX];
    int name = (int)below(b, MODEL_NAMES), key = (int)below(b, MODEL_KEYS);
    varve_bytes k = model_key(key, buf);
    varve_version v;
    varve_status st = varve_delete(b->w->db, model_names[name], k.data, k.len, NULL, &v);
    if (model_get(&b->m, name, key, INT_MAX) < 0) {
        assert_int_equal(st, VARVE_NOT_FOUND);
        return;
    }
    assert_ok(st);
    note_write(b, name, key, true, false, 0, v);
}

static void do_restore(struct bench *b)
{
    char buf[MODEL_KEY_MAX], who[8];
    struct moment t;
    const varve_at *at = some_moment(b, &t);
    int name = (int)below(b, MODEL_NAMES), key = (int)below(b, MODEL_KEYS);
    varve_bytes k = model_key(key, buf);
    if (!at)
        return;
    int old = model_get(&b->m, name, key, t.event), now = model_get(&b->m, name, key, INT_MAX);
    uint32_t number = old >= 0 ? b->m.rows[old].number : 0;
    bool may = !t.named && may_refuse(b, model_home_at(&b->m, name, t.event), key, t.event);
    varve_write_options o = as_writer(number, who);
    varve_version v;
    varve_status st = varve_restore(b->w->db, model_names[name], k.data, k.len, at, &o, &v);
    if (st == VARVE_BELOW_HORIZON && may)
        return;
    if (old < 0 && now < 0) {
        assert_int_equal(st, VARVE_NOT_FOUND);
        return;
    }
    assert_ok(st);
    note_write(b, name, key, old < 0, old >= 0 && b->m.rows[old].json, number, v);
}

/* A batch with requirements; the first that does not hold is told, and nothing is written then. */
static void do_batch(struct bench *b)
{
    char buf[MODEL_KEY_MAX], text[MODEL_VALUE_MAX], who[8];
    bool used[MODEL_NAMES][MODEL_KEYS] = {0}, dels[MODEL_NAMES][MODEL_KEYS] = {0};
    uint32_t number = ++b->m.numbers;
    int order[MODEL_NAMES], n_order = 0, fails = -1, n_requires = 0;
    bool named[MODEL_NAMES] = {0};
    varve_batch *batch = varve_batch_new();
    for (uint64_t n = 1 + below(b, 6); n > 0; n--) {
        int name = (int)below(b, MODEL_NAMES), key = (int)below(b, MODEL_KEYS);
        varve_bytes k = model_key(key, buf);
        if (!named[name])
            order[n_order++] = name;
        named[name] = true;
        if (below(b, 4) == 0) {
            int row = model_get(&b->m, name, key, INT_MAX);
            bool right = below(b, 6) > 0;
            varve_require what = (row >= 0) == right ? VARVE_REQUIRE_PRESENT : VARVE_REQUIRE_ABSENT;
            varve_version v = {0, 0};
            if (row >= 0 && below(b, 2)) {
                what = VARVE_REQUIRE_VERSION;
                v = b->m.rows[row].version;
                v.hlc += right ? 0 : 1;
            }
            assert_ok(varve_batch_require(batch, model_names[name], k.data, k.len, what, v));
            if (!right && fails < 0)
                fails = n_requires;
            n_requires++;
            continue;
        }
        if (used[name][key])
            continue;
        used[name][key] = true;
        dels[name][key] = below(b, 4) == 0;
        if (dels[name][key])
            assert_ok(varve_batch_delete(batch, model_names[name], k.data, k.len));
        else
            assert_ok(varve_batch_put(batch, model_names[name], k.data, k.len, VARVE_RAW, text,
                                      model_value(number, false, text), 0));
    }
    varve_write_options o = as_writer(number, who);
    varve_version v;
    size_t failed = 99, count = varve_batch_count(batch);
    varve_status st = varve_commit(b->w->db, batch, &o, &v, &failed);
    varve_batch_free(batch);
    if (count == 0) {
        assert_int_equal(st, VARVE_INVALID_ARGUMENT);
        return;
    }
    if (fails >= 0) {
        assert_int_equal(st, VARVE_PRECONDITION_FAILED);
        assert_int_equal(failed, fails);
        return;
    }
    assert_ok(st);
    int event = model_event(&b->m, varve_version_time_ms(v));
    for (int i = 0; i < n_order; i++) /* those that are missing are made in this order */
        for (int key = 0; key < MODEL_KEYS; key++)
            if (used[order[i]][key])
                model_make(&b->m, order[i], event);
    for (int home = 0; home < b->m.n_homes; home++) {
        int name = b->m.homes[home].name;
        if (model_home_at(&b->m, name, INT_MAX) != home)
            continue;
        for (int key = 0; key < MODEL_KEYS; key++)
            if (used[name][key])
                model_add(&b->m, home, key, dels[name][key], false, number, event, v);
    }
}

/* ---- care ---- */

static void do_drop(struct bench *b)
{
    int name = (int)below(b, MODEL_NAMES), home = model_home_at(&b->m, name, INT_MAX);
    nap_ms(4); /* a time is of before it or of after it */
    varve_status st = varve_collection_drop(b->w->db, model_names[name], NULL);
    assert_int_equal(st, home >= 0 ? VARVE_OK : VARVE_NOT_FOUND);
    if (home >= 0)
        b->m.homes[home].dropped = model_event(&b->m, clock_ms());
    nap_ms(4);
}

static void do_snapshot(struct bench *b)
{
    int i = (int)below(b, MODEL_SNAPSHOTS);
    struct model_snapshot *s = &b->m.snapshots[i];
    struct moment t;
    char name[8];
    snprintf(name, sizeof(name), "s%d", i);
    if (s->there && below(b, 2)) {
        assert_ok(varve_snapshot_delete(b->w->db, name));
        s->there = false;
        return;
    }
    const varve_at *at = some_moment(b, &t);
    if (t.named)
        at = NULL;
    varve_version v;
    varve_status st = varve_snapshot_create(b->w->db, name, at, &v);
    if (s->there) {
        assert_true(st == VARVE_ALREADY_EXISTS || (st == VARVE_BELOW_HORIZON && at));
        return;
    }
    if (st == VARVE_BELOW_HORIZON && at) {
        bool may = false;
        for (int h = 0; h < b->m.n_homes; h++)
            may = may || (!b->m.homes[h].dropped && b->m.homes[h].feed > t.event);
        assert_true(may);
        return;
    }
    assert_ok(st);
    *s = (struct model_snapshot){.there = true, .event = t.event, .version = v};
    if (!at)
        s->event = model_event(&b->m, varve_version_time_ms(v));
    else if (at->kind == VARVE_AT_VERSION)
        assert_true(same_version(v, at->version));
}

static void do_retention(struct bench *b)
{
    int name = (int)below(b, MODEL_NAMES), home = model_home_at(&b->m, name, INT_MAX);
    varve_retention r = {.max_age_ms = below(b, 2) ? 1 + below(b, 200) : 0,
                         .max_count = below(b, 2) ? 1 + below(b, 4) : 0},
                    got;
    if (below(b, 8) == 0)
        r.max_age_ms = UINT64_MAX;
    varve_status st = varve_retention_set(b->w->db, model_names[name], &r);
    assert_int_equal(st, home >= 0 ? VARVE_OK : VARVE_NOT_FOUND);
    if (home < 0)
        return;
    b->m.homes[home].keep = r;
    assert_ok(varve_retention_get(b->w->db, model_names[name], &got));
    assert_true(got.max_age_ms == r.max_age_ms && got.max_count == r.max_count);
}

static void do_vacuum(struct bench *b)
{
    int name = (int)below(b, MODEL_NAMES + 1) - 1;
    varve_vacuum_result r;
    varve_status st = varve_vacuum(b->w->db, name < 0 ? NULL : model_names[name], NULL, NULL, &r);
    if (name >= 0 && model_home_at(&b->m, name, INT_MAX) < 0) {
        assert_int_equal(st, VARVE_NOT_FOUND);
        return;
    }
    assert_ok(st);
    uint64_t ms = clock_ms();
    int event = model_event(&b->m, ms);
    for (int h = 0; h < b->m.n_homes; h++)
        if (name < 0 || b->m.homes[h].name == name)
            model_vacuum(&b->m, h, event, ms);
}

/* ---- the course ---- */

static void close_all(struct bench *b, char tokens[WATCHES][TOKEN_MAX])
{
    for (int i = 0; i < HELD; i++)
        held_on(b, &b->held[i], HELD_ROWS + 1);
    for (int i = 0; i < WATCHES; i++) {
        assert_true(strlen(varve_watch_token(b->watchers[i].w)) < TOKEN_MAX);
        strcpy(tokens[i], varve_watch_token(b->watchers[i].w));
        varve_watch_close(b->watchers[i].w);
    }
}

static void do_reopen(struct bench *b)
{
    static char tokens[WATCHES][TOKEN_MAX];
    close_all(b, tokens);
    if (below(b, 3) == 0)
        db_verify(b->w);
    db_reopen(b->w);
    for (int i = 0; i < WATCHES; i++)
        watch_from(b, &b->watchers[i], tokens[i]);
}

static void do_something(struct bench *b)
{
    switch (below(b, 34)) {
    case 0:
        do_drop(b);
        break;
    case 1:
    case 2:
        do_snapshot(b);
        break;
    case 3:
        do_retention(b);
        break;
    case 4:
        do_vacuum(b);
        break;
    case 5:
        assert_ok(varve_checkpoint(b->w->db));
        break;
    case 6:
        do_reopen(b);
        break;
    case 7:
    case 8:
        do_restore(b);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        do_delete(b);
        break;
    case 13:
    case 14:
    case 15:
    case 16:
        do_batch(b);
        break;
    case 17:
    case 18:
    case 19:
    case 20:
        do_put(b, true);
        break;
    case 21:
        nap_ms((unsigned)below(b, 12));
        break;
    case 22:
        assert_ok(varve_compact(b->w->db));
        break;
    default:
        do_put(b, false);
    }
}

static void look_around(struct bench *b)
{
    for (int i = 0; i < 8; i++)
        check_get(b);
    check_get_many(b);
    check_scan(b);
    check_history_of(b, (int)below(b, MODEL_NAMES), (int)below(b, MODEL_KEYS));
    if (below(b, 6) == 0)
        check_changes(b);
    if (below(b, 10) == 0)
        check_lists(b);
    watch_on(b, &b->watchers[below(b, WATCHES)]);
    struct held *h = &b->held[below(b, HELD)];
    if (h->it)
        held_on(b, h, 1 + below(b, 4));
    else
        hold(b, h);
}

static void check_all(struct bench *b)
{
    check_lists(b);
    for (int name = 0; name < MODEL_NAMES; name++)
        for (int key = 0; key < MODEL_KEYS; key++)
            check_history_of(b, name, key);
    for (int i = 0; i < 300; i++)
        check_get(b);
    for (int i = 0; i < 60; i++)
        check_scan(b);
    for (int i = 0; i < 8; i++)
        check_changes(b);
}

static void does_as_the_model(void **state)
{
    struct world *w = *state;
    char folder[sizeof(w->folder)];
    memcpy(folder, w->folder, sizeof(folder));
    uint64_t seed;
    FOR_EACH_SEED(seed, 6)
    {
        static char tokens[WATCHES][TOKEN_MAX];
        struct bench *b = calloc(1, sizeof(*b));
        assert_non_null(b);
        b->w = w;
        test_rng_init(&b->rng, seed);
        snprintf(w->folder, sizeof(w->folder), "%.400s/%llu", w->dir, (unsigned long long)seed);
        db_open(w);
        for (int i = 0; i < WATCHES; i++)
            watch_anew(b, &b->watchers[i]);
        for (b->step = 0; b->step < STEPS; b->step++) {
            do_something(b);
            look_around(b);
        }
        check_all(b);
        close_all(b, tokens);
        db_reopen(w);
        check_all(b);
        db_end(w);
        free(b);
    }
    memcpy(w->folder, folder, sizeof(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(does_as_the_model)};
    return RUN_ON(tests, "mem", "rocks");
}
