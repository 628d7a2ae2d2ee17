/* crash_hold.c - histories against the model; see crash_hold.h. */
#include "crash/library/crash_hold_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t hold__hash(const void *data, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return h;
}

bool hold__fail(const struct seen *s, const struct step_op *op, const char *fmt, ...)
{
    char name[MODEL_NAME_MAX] = "", text[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (op)
        step_collection(s->stream, op, name);
    fprintf(stderr, "stream %u %s key %" PRIu32 ": %s (last error: %s)\n", s->stream, name,
            op ? op->key : 0, text, varve_last_error());
    return false;
}

bool hold__value_is(const struct step_op *op, varve_type type, varve_bytes got)
{
    unsigned char *want = malloc(MODEL_VALUE_MAX);
    void *bson = NULL;
    bool same = false;
    if (!want)
        return false;
    size_t len = step_value(op, want);
    if (!op->is_json)
        same = type == VARVE_RAW && got.len == len && (!len || !memcmp(got.data, want, len));
    else if (varve_json_to_bson((const char *)want, len, &bson, &len) == VARVE_OK)
        same = type == VARVE_DOC && got.len == len && !memcmp(got.data, bson, len);
    varve_free(bson);
    free(want);
    return same;
}

/* ---- reading histories ---- */

static bool take_row(struct seen *s, size_t cell, const varve_iter *it)
{
    varve_bytes value = varve_iter_value(it), writer = varve_iter_writer(it);
    struct seen_row r = {.version = varve_iter_version(it),
                         .parent = varve_iter_parent(it),
                         .is_delete = varve_iter_is_delete(it),
                         .expires_ms = varve_iter_expires_ms(it),
                         .hash = hold__hash(value.data, value.len),
                         .type = varve_iter_type(it),
                         .len = value.len,
                         .cell = cell};
    const struct model_cell *c = &s->all.cells[cell];
    char text[MODEL_NAME_MAX] = "";
    unsigned stream = 0;
    if (writer.len < sizeof(text))
        memcpy(text, writer.data, writer.len);
    r.by_ttl = !strcmp(text, "ttl");
    if (r.by_ttl && (c->at.place != PLACE_TTL || !r.is_delete))
        return hold__fail(s, &c->at, "a row by \"ttl\" where nothing expires");
    if (!r.by_ttl && (sscanf(text, "s%u.%" SCNu64, &stream, &r.step) != 2 || stream != s->stream))
        return hold__fail(s, &c->at, "a row by the writer \"%s\"", text);
    if (!r.by_ttl && !r.is_delete) {
        const struct step_op *op = NULL;
        for (size_t i = 0; i < c->count; i++)
            if (c->entries[i].step == r.step)
                op = &c->entries[i].op;
        if (!op)
            return hold__fail(s, &c->at, "a row of step %" PRIu64 ", which did not write it",
                              r.step);
        if (!hold__value_is(op, r.type, value))
            return hold__fail(s, &c->at, "step %" PRIu64 " wrote another value", r.step);
        if ((op->ttl_ms != 0) != (r.expires_ms != 0))
            return hold__fail(s, &c->at, "step %" PRIu64 ": the expiry is wrong", r.step);
    }
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 1024;
        s->rows = realloc(s->rows, s->room * sizeof(*s->rows));
        if (!s->rows)
            abort();
    }
    s->rows[s->count++] = r;
    return true;
}

static bool read_history(struct seen *s, size_t cell)
{
    const struct step_op *op = &s->all.cells[cell].at;
    char name[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    varve_iter *it;
    int rc;
    bool ok = true;
    step_collection(s->stream, op, name);
    s->first[cell] = s->count;
    if (varve_history(s->h->db, name, key, step_key(op, key), 0, &it) != VARVE_OK)
        return hold__fail(s, op, "no history");
    while (ok && (rc = varve_iter_next(it)) > 0)
        ok = take_row(s, cell, it);
    varve_iter_close(it);
    if (ok && rc < 0)
        return hold__fail(s, op, "history stops with %s", varve_status_name((varve_status)-rc));
    for (size_t i = s->first[cell] + 1; ok && i < s->count; i++) {
        if (varve_version_compare(s->rows[i - 1].version, s->rows[i].version) <= 0)
            ok = hold__fail(s, op, "history is not newest first");
        else if (varve_version_compare(s->rows[i - 1].parent, s->rows[i].version) != 0)
            ok = hold__fail(s, op, "the row of step %" PRIu64 " has another parent",
                            s->rows[i - 1].step);
    }
    return ok;
}

static bool read_all(struct seen *s)
{
    s->first = calloc(s->all.cell_count + 1, sizeof(*s->first));
    if (!s->first)
        abort();
    bool ok = true;
    for (size_t c = 0; ok && c < s->all.cell_count; c++)
        ok = read_history(s, c);
    s->first[s->all.cell_count] = s->count;
    return ok;
}

/* ---- how many steps are there ---- */

static bool snapshot_exists(varve *db, const char *name, bool *ret)
{
    varve_iter *it;
    int rc;
    *ret = false;
    if (varve_snapshots(db, &it) != VARVE_OK)
        return false;
    while ((rc = varve_iter_next(it)) > 0) {
        varve_bytes key = varve_iter_key(it);
        if (key.len == strlen(name) && !memcmp(key.data, name, key.len))
            *ret = true;
    }
    varve_iter_close(it);
    return rc == 0;
}

/* The steps that must be there, and then those that are: what a row, or a snapshot made or gone,
 * tells of. */
static bool find_there(struct seen *s, uint64_t *ret)
{
    const struct journal_stream *js = &s->h->j->streams[s->stream];
    uint64_t there = s->h->killed ? js->acked : js->durable;
    char name[MODEL_NAME_MAX];
    bool is;
    if (js->known > there)
        there = js->known;
    for (size_t i = 0; i < s->count; i++)
        if (!s->rows[i].by_ttl && s->rows[i].step + 1 > there)
            there = s->rows[i].step + 1;
    for (size_t i = 0; i < s->all.snapshot_count; i++) {
        const struct model_snapshot *p = &s->all.snapshots[i];
        step_snapshot(s->stream, p->step, name);
        if (!snapshot_exists(s->h->db, name, &is))
            return hold__fail(s, NULL, "snapshots cannot be read");
        if (is && p->step + 1 > there)
            there = p->step + 1;
    }
    /* One that is not there, and was there before a step that is, was taken back. */
    for (size_t i = 0; i < s->all.snapshot_count; i++) {
        const struct model_snapshot *p = &s->all.snapshots[i];
        step_snapshot(s->stream, p->step, name);
        if (!snapshot_exists(s->h->db, name, &is))
            return hold__fail(s, NULL, "snapshots cannot be read");
        if (p->step < there && !is) {
            if (!p->gone)
                return hold__fail(s, NULL, "snapshot %s is gone", name);
            if (p->gone_step + 1 > there)
                there = p->gone_step + 1;
        }
        if (p->gone && p->gone_step < there && is)
            return hold__fail(s, NULL, "snapshot %s is there again", name);
    }
    *ret = there;
    return true;
}

static void make_model(struct model *m, const struct hold *h, unsigned stream, uint64_t seed,
                       uint64_t steps)
{
    const struct journal_stream *js = &h->j->streams[stream];
    model_init(m, seed, stream);
    for (uint64_t i = 0; i < steps; i++) {
        struct step s;
        if (js->steps[i].dead)
            continue;
        step_make(seed, stream, i, &s);
        model_apply(m, &s, i);
    }
}

/* ---- rows against the model of what is there ---- */

static bool check_cell(struct seen *s, const struct model_cell *want, size_t cell)
{
    const struct journal_stream *js = &s->h->j->streams[s->stream];
    const struct step_op *op = &s->all.cells[cell].at;
    size_t i = s->first[cell], end = s->first[cell + 1], n = want->count;
    bool all = op->place != PLACE_COUNT && op->place != PLACE_AGE;
    for (; i < end; i++) {
        const struct seen_row *r = &s->rows[i];
        if (r->by_ttl) {
            if (i + 1 == end || s->rows[i + 1].is_delete || !s->rows[i + 1].expires_ms)
                return hold__fail(s, op, "a delete by \"ttl\" of what does not expire");
            continue;
        }
        if (n == 0)
            return hold__fail(s, op, "step %" PRIu64 " is there twice, or should not be", r->step);
        const struct model_entry *e = &want->entries[--n];
        if (r->step != e->step)
            return hold__fail(s, op, "step %" PRIu64 " is missing; found %" PRIu64, e->step,
                              r->step);
        if (r->is_delete != e->op.is_delete)
            return hold__fail(s, op, "step %" PRIu64 " is of the other kind", e->step);
        if (js->steps[r->step].acknowledged && js->steps[r->step].hlc != r->version.hlc)
            return hold__fail(s, op, "step %" PRIu64 " has another version than was told", r->step);
    }
    size_t found = want->count - n;
    if (n && all)
        return hold__fail(s, op, "step %" PRIu64 " is missing, and all before",
                          want->entries[n - 1].step);
    size_t least = op->place == PLACE_COUNT ? MODEL_COUNT_KEPT : 1;
    if (n && found < least && !want->entries[n - 1].op.is_delete)
        return hold__fail(s, op, "step %" PRIu64 " is missing, and retention would keep it",
                          want->entries[n - 1].step);
    if (all && end > s->first[cell] && s->rows[end - 1].parent.hlc)
        return hold__fail(s, op, "the first version has a parent");
    return true;
}

static bool check_batches(struct seen *s)
{
    /* Rows of one step have one version. */
    uint64_t room = s->h->j->streams[s->stream].begun + 1;
    uint64_t *of = calloc(room, sizeof(*of));
    bool ok = true;
    if (!of)
        abort();
    for (size_t i = 0; ok && i < s->count; i++) {
        const struct seen_row *r = &s->rows[i];
        if (r->by_ttl)
            continue;
        if (of[r->step] && of[r->step] != r->version.hlc)
            ok = hold__fail(s, &s->all.cells[r->cell].at, "step %" PRIu64 " has two versions",
                            r->step);
        of[r->step] = r->version.hlc;
    }
    /* Later steps have higher versions. */
    uint64_t last = 0;
    for (uint64_t i = 0; ok && i < room; i++) {
        if (of[i] && of[i] <= last)
            ok =
                hold__fail(s, NULL, "the version of step %" PRIu64 " is not above those before", i);
        last = of[i] ? of[i] : last;
    }
    free(of);
    return ok;
}

static bool check_retention(struct seen *s, const struct model *there)
{
    static const varve_retention want[2] = {{.max_count = MODEL_COUNT_KEPT},
                                            {.max_age_ms = MODEL_AGE_KEPT_MS}};
    for (int i = 0; there->settled && i < 2; i++) {
        struct step_op op = {.place = i ? PLACE_AGE : PLACE_COUNT};
        char name[MODEL_NAME_MAX];
        varve_retention r;
        step_collection(s->stream, &op, name);
        if (varve_retention_get(s->h->db, name, &r) != VARVE_OK ||
            r.max_age_ms != want[i].max_age_ms || r.max_count != want[i].max_count)
            return hold__fail(s, &op, "retention is not as it was set");
    }
    return true;
}

static bool hold_stream(struct hold *h, unsigned stream, uint64_t seed)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct seen s = {.h = h,
                     .stream = stream,
                     .now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000};
    make_model(&s.all, h, stream, seed, h->j->streams[stream].begun);
    bool ok = read_all(&s) && find_there(&s, &h->there[stream]);
    if (ok)
        make_model(&h->models[stream], h, stream, seed, h->there[stream]);
    for (size_t c = 0; ok && c < s.all.cell_count; c++) {
        struct step_op at = s.all.cells[c].at;
        struct model_cell *want = model_cell(&h->models[stream], &at);
        ok = check_cell(&s, want, c);
    }
    ok = ok && check_batches(&s) && check_retention(&s, &h->models[stream]) && hold__reads(&s);
    model_deinit(&s.all);
    free(s.rows);
    free(s.first);
    return ok;
}

bool hold_all(struct hold *h, uint64_t seed)
{
    for (unsigned i = 0; i < h->j->stream_count; i++)
        if (!hold_stream(h, i, seed))
            return false;
    return true;
}

void hold_deinit(struct hold *h)
{
    for (unsigned i = 0; i < MODEL_STREAMS_MAX; i++)
        model_deinit(&h->models[i]);
}

static void print_finding(void *arg, const varve_finding *f)
{
    (void)arg;
    fprintf(stderr, "verify: %s offset %" PRIu64 " range %" PRIu64 ": %s\n", f->file, f->offset,
            f->range, f->text);
}

bool hold_verify(varve *db)
{
    varve_status st = varve_verify(db, print_finding, NULL, NULL);
    if (st != VARVE_OK)
        fprintf(stderr, "verify: %s: %s\n", varve_status_name(st), varve_last_error());
    return st == VARVE_OK;
}
