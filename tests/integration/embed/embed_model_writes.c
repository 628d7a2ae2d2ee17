/* embed_model_writes.c - writes and care, done to the database and noted in the model. */
#include "embed_model_bench.h"

#include <limits.h>
#include <stdio.h>

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

void do_put(struct bench *b, bool cas)
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

void do_delete(struct bench *b)
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

void do_restore(struct bench *b)
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
void do_batch(struct bench *b)
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

void do_drop(struct bench *b)
{
    int name = (int)below(b, MODEL_NAMES), home = model_home_at(&b->m, name, INT_MAX);
    nap_ms(4); /* a time is of before it or of after it */
    varve_status st = varve_collection_drop(b->w->db, model_names[name], NULL);
    assert_int_equal(st, home >= 0 ? VARVE_OK : VARVE_NOT_FOUND);
    if (home >= 0)
        b->m.homes[home].dropped = model_event(&b->m, clock_ms());
    nap_ms(4);
}

void do_snapshot(struct bench *b)
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
            may = may || (b->m.homes[h].made <= t.event && b->m.homes[h].feed > t.event);
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

void do_retention(struct bench *b)
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

void do_vacuum(struct bench *b)
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
