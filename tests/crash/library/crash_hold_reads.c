/* crash_hold_reads.c - all other ways of reading must tell what the histories told. */
#include "crash/library/crash_hold_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct seen_row *hold__at(const struct seen *s, size_t cell, uint64_t hlc)
{
    for (size_t i = s->first[cell]; i < s->first[cell + 1]; i++)
        if (s->rows[i].version.hlc <= hlc)
            return &s->rows[i];
    return NULL;
}

bool hold__alive(const struct seen_row *r, uint64_t at_ms)
{
    return r && !r->is_delete && (!r->expires_ms || r->expires_ms > at_ms);
}

/* Long times to live do not end while we look. */
static bool alive_now(const struct seen *s, const struct seen_row *r, bool *ret_unsure)
{
    *ret_unsure =
        r && r->expires_ms && r->expires_ms + 1000 > s->now_ms && r->expires_ms < s->now_ms + 60000;
    return hold__alive(r, s->now_ms);
}

static bool same_row(const struct seen_row *r, varve_version version, varve_type type,
                     varve_bytes value)
{
    return !varve_version_compare(r->version, version) && r->type == type && r->len == value.len &&
           r->hash == hold__hash(value.data, value.len);
}

/* ---- gets ---- */

static bool check_get(struct seen *s, size_t cell, const varve_at *at, const struct seen_row *want,
                      bool present, bool may_be_below, varve_value *v)
{
    const struct step_op *op = &s->all.cells[cell].at;
    char name[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    step_collection(s->stream, op, name);
    varve_status st = varve_get(s->h->db, name, key, step_key(op, key), at, v);
    if (st == VARVE_BELOW_HORIZON && may_be_below)
        return true;
    if (!present)
        return st == VARVE_NOT_FOUND ||
               hold__fail(s, op, "a get of what is absent answers %s", varve_status_name(st));
    if (st != VARVE_OK)
        return hold__fail(s, op, "a get of step %" PRIu64 " answers %s", want->step,
                          varve_status_name(st));
    return same_row(want, varve_value_version(v), varve_value_type(v), varve_value_bytes(v)) ||
           hold__fail(s, op, "a get answers another record than step %" PRIu64, want->step);
}

/* Also tells its part of how many get_many must find. */
static bool check_cell_gets(struct seen *s, size_t cell, varve_value *v)
{
    const struct step_op *op = &s->all.cells[cell].at;
    bool pruned = op->place == PLACE_COUNT || op->place == PLACE_AGE, unsure;
    size_t first = s->first[cell], end = s->first[cell + 1];
    const struct seen_row *newest = first < end ? &s->rows[first] : NULL;
    bool present = alive_now(s, newest, &unsure), ok = true;
    for (int twice = 0; ok && twice < 2 && !unsure; twice++) /* then from the cache */
        ok = check_get(s, cell, NULL, newest, present, false, v);
    size_t stride = (end - first) / 8 + 1;
    for (size_t i = first; ok && i < end; i += stride) {
        const struct seen_row *r = &s->rows[i], *older = i + 1 < end ? r + 1 : NULL;
        varve_at at = {.kind = VARVE_AT_VERSION, .version = r->version};
        ok = check_get(s, cell, &at, r, hold__alive(r, varve_version_time_ms(r->version)), pruned,
                       v);
        if (!ok || pruned)
            continue;
        at.version.hlc--; /* right before it */
        ok = check_get(s, cell, &at, older, hold__alive(older, varve_version_time_ms(at.version)),
                       false, v);
    }
    return ok;
}

/* ---- scans ---- */

static int key_order(const void *a, const void *b)
{
    unsigned char x[MODEL_KEY_MAX], y[MODEL_KEY_MAX];
    struct step_op p = {.key = *(const uint32_t *)a}, q = {.key = *(const uint32_t *)b};
    size_t xl = step_key(&p, x), yl = step_key(&q, y), n = xl < yl ? xl : yl;
    int c = memcmp(x, y, n);
    return c ? c : (xl > yl) - (xl < yl);
}

static const struct seen_row *row_of(struct seen *s, const struct step_op *coll, uint32_t key,
                                     const varve_version *at)
{
    for (size_t c = 0; c < s->all.cell_count; c++) {
        const struct step_op *op = &s->all.cells[c].at;
        if (op->place == coll->place && op->key == key &&
            (op->place != PLACE_NEW || op->block == coll->block))
            return hold__at(s, c, at ? at->hlc : UINT64_MAX);
    }
    return NULL;
}

static bool check_scan(struct seen *s, const struct step_op *coll, const varve_version *at,
                       bool reverse)
{
    uint32_t order[MODEL_KEYS];
    char name[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    varve_scan_options o = {.size = sizeof(o), .reverse = reverse};
    varve_iter *it;
    bool ok = true;
    for (uint32_t i = 0; i < MODEL_KEYS; i++)
        order[i] = i;
    qsort(order, MODEL_KEYS, sizeof(*order), key_order);
    if (at)
        o.at = (varve_at){.kind = VARVE_AT_VERSION, .version = *at};
    step_collection(s->stream, coll, name);
    if (varve_scan(s->h->db, name, &o, &it) != VARVE_OK)
        return hold__fail(s, coll, "no scan");
    int rc = varve_iter_next(it);
    for (size_t i = 0; ok && i < MODEL_KEYS; i++) {
        struct step_op op = *coll;
        op.key = order[reverse ? MODEL_KEYS - 1 - i : i];
        bool unsure = false;
        const struct seen_row *want = row_of(s, coll, op.key, at);
        bool present =
            at ? hold__alive(want, varve_version_time_ms(*at)) : alive_now(s, want, &unsure);
        varve_bytes got = rc > 0 ? varve_iter_key(it) : (varve_bytes){NULL, 0};
        size_t len = step_key(&op, key);
        bool is_it = rc > 0 && got.len == len && !memcmp(got.data, key, len);
        if (!is_it && present && !unsure)
            ok = hold__fail(s, &op, "a scan leaves out step %" PRIu64 " (%d)", want->step, rc);
        else if (is_it && !present && !unsure)
            ok = hold__fail(s, &op, "a scan shows what is absent");
        else if (is_it &&
                 !same_row(want, varve_iter_version(it), varve_iter_type(it), varve_iter_value(it)))
            ok = hold__fail(s, &op, "a scan shows another record than step %" PRIu64, want->step);
        if (ok && is_it)
            rc = varve_iter_next(it);
    }
    if (ok && rc != 0)
        ok = hold__fail(s, coll, "a scan has a row too many, or fails (%d)", rc);
    varve_iter_close(it);
    return ok;
}

static bool check_scans(struct seen *s)
{
    for (size_t c = 0; c < s->all.cell_count; c++) {
        const struct step_op *coll = &s->all.cells[c].at;
        bool seen_before = false;
        for (size_t i = 0; i < c; i++)
            seen_before = seen_before ||
                          (s->all.cells[i].at.place == coll->place &&
                           (coll->place != PLACE_NEW || s->all.cells[i].at.block == coll->block));
        if (seen_before)
            continue;
        if (!check_scan(s, coll, NULL, false) || !check_scan(s, coll, NULL, true))
            return false;
        if (coll->place == PLACE_COUNT || coll->place == PLACE_AGE || !s->count)
            continue;
        const varve_version *at = &s->rows[(c * 7919 + 13) % s->count].version;
        if (!check_scan(s, coll, at, false) || !check_scan(s, coll, at, true))
            return false;
    }
    return true;
}

/* ---- changes ---- */

static const struct seen *sorting; /* qsort has no argument */

static int change_order(const void *a, const void *b)
{
    const struct seen_row *x = &sorting->rows[*(const size_t *)a];
    const struct seen_row *y = &sorting->rows[*(const size_t *)b];
    int c = varve_version_compare(x->version, y->version);
    return c ? c
             : key_order(&sorting->all.cells[x->cell].at.key, &sorting->all.cells[y->cell].at.key);
}

static bool same_change(struct seen *s, const varve_iter *it, const struct seen_row *want)
{
    const struct step_op *op = &s->all.cells[want->cell].at;
    unsigned char key[MODEL_KEY_MAX];
    size_t len = step_key(op, key);
    varve_bytes got = varve_iter_key(it), value = varve_iter_value(it);
    bool same = got.len == len && !memcmp(got.data, key, len) &&
                !varve_version_compare(varve_iter_version(it), want->version) &&
                !varve_version_compare(varve_iter_parent(it), want->parent) &&
                varve_iter_is_delete(it) == want->is_delete;
    if (same && !want->is_delete)
        same = same_row(want, varve_iter_version(it), varve_iter_type(it), value);
    return same ||
           hold__fail(s, op, "the change feed tells something else of step %" PRIu64, want->step);
}

/* The feed of one collection whose versions all stay, from its beginning and from some token. */
static bool check_feed(struct seen *s, enum model_place place)
{
    struct step_op coll = {.place = place};
    char name[MODEL_NAME_MAX], token[1024] = "";
    size_t *order = calloc(s->count + 1, sizeof(*order)), n = 0, middle = 0;
    bool ok = true;
    if (!order)
        abort();
    for (size_t i = 0; i < s->count; i++)
        if (s->all.cells[s->rows[i].cell].at.place == place)
            order[n++] = i;
    sorting = s;
    qsort(order, n, sizeof(*order), change_order);
    step_collection(s->stream, &coll, name);
    for (int pass = 0; ok && pass < 2; pass++) {
        varve_changes_options o = {.size = sizeof(o), .collection = name, .values = true};
        varve_iter *it;
        int rc;
        size_t i = pass ? middle : 0;
        varve_status st = varve_changes(s->h->db, pass ? token : NULL, &o, &it);
        if (st == VARVE_BELOW_HORIZON && s->all.seed % 2 == 0)
            break; /* see do_vacuum */
        if (st != VARVE_OK) {
            ok = hold__fail(s, &coll, "no changes");
            break;
        }
        while (ok && (rc = varve_iter_next(it)) > 0) {
            ok = i < n ? same_change(s, it, &s->rows[order[i]])
                       : hold__fail(s, &coll, "a change too many");
            i++;
            if (!pass && i == n / 2 + 1) {
                middle = i;
                snprintf(token, sizeof(token), "%s", varve_iter_token(it));
            }
        }
        if (ok && (rc < 0 || i != n))
            ok = hold__fail(s, &coll, "the feed ends after %zu of %zu changes (%d)", i, n, rc);
        varve_iter_close(it);
    }
    free(order);
    return ok;
}

/* The feed of everything, if retention has left it whole: strictly rising, every row of ours in. */
static bool check_whole_feed(struct seen *s)
{
    varve_iter *it;
    varve_version last = {0, 0};
    int rc;
    bool ok = true;
    varve_status st = varve_changes(s->h->db, NULL, NULL, &it);
    if (st == VARVE_BELOW_HORIZON)
        return true;
    if (st != VARVE_OK)
        return hold__fail(s, NULL, "no changes");
    while (ok && (rc = varve_iter_next(it)) > 0) {
        ok = varve_version_compare(last, varve_iter_version(it)) <= 0;
        last = varve_iter_version(it);
    }
    varve_iter_close(it);
    return (ok && rc == 0) || hold__fail(s, NULL, "the feed of everything is out of order");
}

/* ---- named snapshots, collections ---- */

static bool snapshot_moment(struct seen *s, const char *name, varve_version *ret)
{
    varve_iter *it;
    bool found = false;
    if (varve_snapshots(s->h->db, &it) != VARVE_OK)
        return false;
    while (varve_iter_next(it) > 0) {
        varve_bytes key = varve_iter_key(it);
        if (key.len == strlen(name) && !memcmp(key.data, name, key.len)) {
            found = true;
            *ret = varve_iter_version(it);
        }
    }
    varve_iter_close(it);
    return found;
}

static bool check_snapshots(struct seen *s, varve_value *v)
{
    for (size_t i = 0; i < s->h->models[s->stream].snapshot_count; i++) {
        const struct model_snapshot *p = &s->h->models[s->stream].snapshots[i];
        char name[MODEL_NAME_MAX];
        varve_version moment;
        step_snapshot(s->stream, p->step, name);
        if (p->gone)
            continue;
        if (!snapshot_moment(s, name, &moment))
            return hold__fail(s, NULL, "snapshot %s is missing", name);
        for (size_t c = 0; c < s->all.cell_count; c++) {
            varve_at at = {.kind = VARVE_AT_SNAPSHOT, .snapshot = name};
            const struct seen_row *r = hold__at(s, c, moment.hlc);
            if (!check_get(s, c, &at, r, hold__alive(r, varve_version_time_ms(moment)), false, v))
                return hold__fail(s, &s->all.cells[c].at, "as of snapshot %s", name);
        }
    }
    return true;
}

/* get_many in one call, against the same rows. */
static bool check_get_many(struct seen *s)
{
    size_t n = s->all.cell_count;
    unsigned char(*keys)[MODEL_KEY_MAX] = calloc(n + 1, sizeof(*keys));
    char(*names)[MODEL_NAME_MAX] = calloc(n + 1, sizeof(*names));
    varve_key *want = calloc(n + 1, sizeof(*want));
    varve_value **values = calloc(n + 1, sizeof(*values));
    varve_status *status = calloc(n + 1, sizeof(*status));
    if (!keys || !names || !want || !values || !status)
        abort();
    bool ok = true;
    for (size_t c = 0; c < n; c++) {
        step_collection(s->stream, &s->all.cells[c].at, names[c]);
        want[c] = (varve_key){names[c], keys[c], step_key(&s->all.cells[c].at, keys[c])};
        values[c] = varve_value_new();
        ok = ok && values[c];
    }
    if (ok && varve_get_many(s->h->db, want, n, NULL, values, status) != VARVE_OK)
        ok = hold__fail(s, NULL, "get_many fails");
    for (size_t c = 0; ok && c < n; c++) {
        const struct seen_row *r = hold__at(s, c, UINT64_MAX);
        bool unsure, present = alive_now(s, r, &unsure);
        if (!unsure && (status[c] == VARVE_OK) != present)
            ok = hold__fail(s, &s->all.cells[c].at, "get_many answers %s",
                            varve_status_name(status[c]));
        else if (status[c] == VARVE_OK &&
                 !same_row(r, varve_value_version(values[c]), varve_value_type(values[c]),
                           varve_value_bytes(values[c])))
            ok = hold__fail(s, &s->all.cells[c].at, "get_many answers another record");
    }
    for (size_t c = 0; c < n; c++)
        varve_value_free(values[c]);
    free(keys);
    free(names);
    free(want);
    free(values);
    free(status);
    return ok;
}

bool hold__reads(struct seen *s)
{
    varve_value *v = varve_value_new();
    bool ok = v != NULL;
    for (size_t c = 0; ok && c < s->all.cell_count; c++)
        ok = check_cell_gets(s, c, v);
    ok = ok && check_get_many(s) && check_scans(s) && check_feed(s, PLACE_FULL) &&
         check_feed(s, PLACE_TTL) && check_whole_feed(s) && check_snapshots(s, v);
    varve_value_free(v);
    return ok;
}
