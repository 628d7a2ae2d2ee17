/* embed_model_reads.c - records, rows and iterators that stay, held against the model. */
#include "embed_model_bench.h"

#include <limits.h>
#include <stdio.h>

/* ---- single records ---- */

void expect_row(struct bench *b, int row, varve_bytes value, varve_type type, varve_version version,
                varve_bytes writer)
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

bool may_refuse(const struct bench *b, int home, int key, int event)
{
    if (home < 0 || !b->m.homes[home].vacuumed)
        return false;
    if (event <= b->m.homes[home].horizon)
        return true;
    /* Before a version that has gone there may have been others: also before the first one. */
    for (int i = 0; i < b->m.n_rows; i++) {
        const struct model_row *r = &b->m.rows[i];
        if (r->home == home && (key < 0 || r->key == key) && r->may_go &&
            (r->child < 0 || b->m.rows[r->child].event > event))
            return true;
    }
    return false;
}

const varve_at *some_moment(struct bench *b, struct moment *t)
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

void check_get(struct bench *b)
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

void check_get_many(struct bench *b)
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

void check_scan(struct bench *b)
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

void check_history_of(struct bench *b, int name, int key)
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

void check_lists(struct bench *b)
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
        char name[16];
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

void hold(struct bench *b, struct held *h)
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

void held_on(struct bench *b, struct held *h, size_t most)
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
