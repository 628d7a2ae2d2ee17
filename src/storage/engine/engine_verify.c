/* engine_verify.c - the rows held against each other.
 *
 * One walk over live and past by key: every version has its when row (a past one need not after a
 * vacuum that was cut), past lies below live, a key without a live row ends in a delete, each
 * version's parent is the next older one. One walk
 * over the range's when rows: each finds its version, with the same kind and parent. Rows above the
 * mark are leftovers of a half drain and none of its business.
 *
 * That costs a point read for every row of when, so first comes a pass without any, which says no
 * more than that all is well (engine_view_sound): the same walks, in which what would be looked up is
 * summed instead. Over live and past, and over when, of each version (key, version, kind, parent)
 * is hashed to 128 bits and added up. When both sums are equal, so are (but for a chance of 2^-128)
 * the sets: every version has its when row, and every when row its version, with the same kind and
 * parent. Anything else, and also what is legitimate yet rare (past rows whose when rows a vacuum
 * that was cut has removed), leaves the judgement to the walks that look everything up. */
#include "base/assert.h"
#include "base/hash.h"
#include "storage/engine/engine_view.h"

#include <stdio.h>

enum { PROGRESS_ROWS = 1024 };

/* Of a set of versions, in any order. */
struct sum {
    uint64_t low, high;
};

struct verify {
    struct engine_view *view;
    struct engine_verify *q;
    struct engine_cursor *live, *past, *when;
    struct buf key, prefix, row;
    uint64_t live_rows;
    bool vacuum_cut; /* or a drain, or nobody knows */
    bool summing;    /* nothing is looked up or reported */
    bool odd;        /* something would have been */
    struct sum versions, whens;
};

void engine_verify_finding(struct engine_verify *q, const char *file, uint64_t offset,
                           const char *fmt, ...)
{
    char text[ERR_DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    q->findings++;
    struct engine_finding f = {file, offset, text};
    if (q->report)
        q->report(q->arg, &f);
}

/* A key for people: as much of it as fits, other bytes than printable ones in hex. */
static const char *show(struct bytes key, char out[96])
{
    size_t n = 0;
    for (size_t i = 0; i < key.len && n < 80; i++) {
        uint8_t c = key.data[i];
        n += (size_t)snprintf(out + n, 96 - n, c > 0x20 && c < 0x7f && c != '\\' ? "%c" : "\\x%02x",
                              c);
    }
    snprintf(out + n, 96 - n, n >= 80 ? "..." : "");
    return out;
}

static void found(struct verify *w, enum engine_family f, struct bytes key, struct version version,
                  const char *what)
{
    char text[96], vt[VERSION_TEXT_MAX];
    w->odd = true;
    if (w->summing)
        return;
    version_format(version, vt);
    engine_verify_finding(w->q, "", 0, "%s: key %s version %s: %s", engine_family_name(f),
                          show(key, text), vt, what);
}

static void sum_add(struct sum *sum, struct bytes key, struct version version, uint8_t kind,
                    struct version parent)
{
    uint64_t rest[4] = {version.hlc, parent.hlc, (uint64_t)version.origin << 32 | parent.origin,
                        kind};
    uint64_t key_hash = hash_xxh64(key.data, key.len, 0);
    sum->low += hash_xxh64(rest, sizeof(rest), key_hash);
    /* A second hash of the key too: where two keys have the same first, this tells them apart. */
    rest[3] |= hash_xxh64(key.data, key.len, 1) << 8;
    sum->high += hash_xxh64(rest, sizeof(rest), ~key_hash);
}

static enum status count_row(struct verify *w, struct err *err)
{
    struct engine_verify *q = w->q;
    if (++q->done % PROGRESS_ROWS == 0 && q->progress && !q->progress(q->arg, q->done, q->total))
        return err_set(err, ST_CANCELLED, "verify was stopped");
    return ST_OK;
}

/* A read that found corruption is a finding, and the walk it was for has ended. */
static enum status as_finding(struct verify *w, enum status st, struct err *err, bool *ret_broken)
{
    *ret_broken = st == ST_CORRUPT;
    if (st != ST_CORRUPT)
        return st;
    engine_verify_finding(w->q, "", 0, "%s", err ? err->detail : "a row cannot be read");
    return ST_OK;
}

static enum status when_row(struct verify *w, uint64_t range, struct version version,
                            struct bytes key, bool *ret, struct err *err)
{
    struct bytes value;
    struct engine_pin pin = {0};
    enum status st = engine_when_key(&w->row, range, version, key);
    if (st != ST_OK)
        return err_set(err, st, "verify");
    st = w->view->ops->row(w->view, ENGINE_WHEN, buf_bytes(&w->row), 0, &value, &pin, err);
    engine_pin_release(&pin);
    *ret = st == ST_OK;
    return st == ST_NOT_FOUND ? ST_OK : st;
}

static enum status check_has_when(struct verify *w, enum engine_family f, struct bytes key,
                                  struct version version, struct err *err)
{
    bool has = false, above = false;
    enum status st = ST_OK;
    if (w->summing)
        return ST_OK;
    const struct engine_mark_row *own = engine_view_mark(w->view, w->q->range);
    if (own)
        st = when_row(w, own->range, version, key, &has, err);
    above = has && version_cmp(version, own->mark.version) > 0;
    /* The key may belong to another range of this engine. */
    for (size_t i = 0; st == ST_OK && !has && i < w->view->n_marks; i++) {
        const struct engine_mark_row *m = &w->view->marks[i];
        if (m == own)
            continue;
        st = when_row(w, m->range, version, key, &has, err);
        above = has && version_cmp(version, m->mark.version) > 0;
    }
    if (st != ST_OK)
        return st;
    if (!has)
        found(w, f, key, version, "has no when row");
    else if (above)
        found(w, f, key, version, "lies above its range's mark");
    return ST_OK;
}

/* Walking the versions of one key from the newest. */
struct chain {
    bool has_live, any;
    struct record live;
    bool linked; /* `parent` is known */
    struct version newer, parent;
};

static void chain_link(struct verify *w, struct chain *ch, enum engine_family f, struct bytes key,
                       const struct record *rec)
{
    if (!version_is_none(rec->parent) && version_cmp(rec->parent, rec->version) >= 0)
        found(w, f, key, rec->version, "its parent is not older");
    if (ch->linked && version_cmp(ch->parent, rec->version) != 0)
        found(w, f, key, ch->newer, "its parent is not the next older version");
    ch->linked = true;
    ch->newer = rec->version;
    ch->parent = rec->parent;
    if (w->summing)
        sum_add(&w->versions, key, rec->version, rec->kind, rec->parent);
}

static enum status check_past_row(struct verify *w, struct chain *ch, struct version version,
                                  struct err *err)
{
    struct bytes key = buf_bytes(&w->key);
    struct record rec;
    bool leftover = false;
    enum status st = ST_OK;
    bool not_below = ch->has_live && version_cmp(version, ch->live.version) >= 0;
    if (!engine_past_decode(w->past->value, version, &rec)) {
        found(w, ENGINE_PAST, key, version, "its value cannot be decoded");
        ch->linked = false;
        ch->any = true;
        return ST_OK;
    }
    if (rec.kind == RECORD_FLOOR) {
        if (ch->linked && version_cmp(rec.version, ch->newer) >= 0)
            found(w, ENGINE_PAST, key, rec.version, "a floor lies above a version that is kept");
        if (!ch->has_live && !ch->any && w->view->n_halves == 0)
            found(w, ENGINE_PAST, key, rec.version, "a floor without any version");
        return ST_OK;
    }
    if (w->view->n_halves && (not_below || !ch->has_live))
        st = engine_view_leftover(w->view, key, version, &leftover, err);
    if (st != ST_OK || leftover)
        return st;
    if (not_below) {
        /* A drain that was cut, then repeated in smaller pieces, leaves a row equal to the live
         * one. */
        if (version_cmp(version, ch->live.version) > 0)
            found(w, ENGINE_PAST, key, version, "is newer than the live row");
        else if (rec.kind != RECORD_PUT)
            found(w, ENGINE_PAST, key, version, "is a delete, yet its version is live");
        return ST_OK;
    }
    if (!ch->has_live && !ch->any && rec.kind != RECORD_DELETE)
        found(w, ENGINE_PAST, key, version,
              "is the newest of a key without a live row, yet no delete");
    ch->any = true;
    chain_link(w, ch, ENGINE_PAST, key, &rec);
    return w->vacuum_cut ? ST_OK : check_has_when(w, ENGINE_PAST, key, version, err);
}

/* The row of `live` under the cursor; w->key is its key. */
static enum status check_live_row(struct verify *w, struct chain *ch, struct err *err)
{
    struct bytes key = buf_bytes(&w->key);
    enum status st = ST_OK;
    ch->has_live = true;
    w->live_rows++;
    if (!engine_live_decode(w->live->value, &ch->live)) {
        found(w, ENGINE_LIVE, key, VERSION_NONE, "its value cannot be decoded");
        ch->live = (struct record){.version = VERSION_MAX};
    } else {
        chain_link(w, ch, ENGINE_LIVE, key, &ch->live);
        st = check_has_when(w, ENGINE_LIVE, key, ch->live.version, err);
    }
    if (st == ST_OK)
        st = count_row(w, err);
    return st == ST_OK ? w->live->ops->next(w->live, err) : st;
}

/* Steps over past rows whose keys make no sense. */
static enum status past_sane(struct verify *w, struct bytes *ret_prefix, struct version *ret,
                             struct err *err)
{
    while (w->past->valid) {
        enum status st = ST_CORRUPT;
        if (engine_past_split(w->past->key, ret_prefix, ret))
            st = engine_past_unprefix(*ret_prefix, &w->row);
        if (st == ST_OK && !engine_key_reserved(buf_bytes(&w->row)))
            return ST_OK;
        if (st == ST_NO_MEMORY)
            return err_set(err, st, "verify");
        found(w, ENGINE_PAST, w->past->key, VERSION_NONE, "the row's key cannot be decoded");
        st = w->past->ops->next(w->past, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status check_key(struct verify *w, bool has_live, bool has_past, struct err *err)
{
    struct chain ch = {0};
    enum status st = ST_OK;
    buf_clear(&w->key);
    struct bytes key = has_live ? w->live->key : buf_bytes(&w->row);
    if (buf_append(&w->key, key.data, key.len) != ST_OK ||
        engine_past_prefix(&w->prefix, buf_bytes(&w->key)) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "verify");
    if (has_live)
        st = check_live_row(w, &ch, err);
    while (st == ST_OK && has_past && w->past->valid) {
        struct bytes prefix;
        struct version version;
        if (!engine_past_split(w->past->key, &prefix, &version) ||
            !bytes_eq(prefix, buf_bytes(&w->prefix)))
            break;
        st = check_past_row(w, &ch, version, err);
        if (st == ST_OK)
            st = count_row(w, err);
        if (st == ST_OK)
            st = w->past->ops->next(w->past, err);
    }
    return st;
}

/* Live rows and the mark that counts them change together, whatever was cut; past and when may
 * legitimately be fewer than counted. */
static void check_count(struct verify *w)
{
    struct engine_counts counts = engine_view_counts(w->view);
    if (!counts.known || counts.rows[ENGINE_LIVE] == w->live_rows)
        return;
    w->odd = true;
    if (!w->summing)
        engine_verify_finding(w->q, "", 0, "live: %llu rows, yet the marks count %llu",
                              (unsigned long long)w->live_rows,
                              (unsigned long long)counts.rows[ENGINE_LIVE]);
}

static enum status check_keys(struct verify *w, struct err *err)
{
    enum status st = w->live->ops->seek(w->live, BYTES_EMPTY, err);
    if (st == ST_OK)
        st = w->past->ops->seek(w->past, BYTES_EMPTY, err);
    while (st == ST_OK) {
        struct bytes prefix;
        struct version version;
        st = past_sane(w, &prefix, &version, err);
        bool live = w->live->valid && !engine_key_reserved(w->live->key), past = w->past->valid;
        if (st != ST_OK || (!live && !past))
            break;
        int c = !past ? -1 : !live ? 1 : bytes_cmp(w->live->key, buf_bytes(&w->row));
        st = check_key(w, c <= 0, c >= 0, err);
    }
    while (st == ST_OK && w->live->valid) {
        struct engine_mark_row row;
        if (!engine_mark_decode(w->live->key, w->live->value, &row))
            found(w, ENGINE_LIVE, w->live->key, VERSION_NONE, "a range's mark cannot be decoded");
        st = w->live->ops->next(w->live, err);
    }
    if (st == ST_OK)
        check_count(w);
    return st;
}

/* The version that a when row speaks of. */
static enum status resolve(struct verify *w, struct bytes key, struct version version,
                           struct record *ret, struct err *err)
{
    struct bytes value;
    struct engine_pin pin = {0};
    struct record rec = {0};
    enum status st = w->view->ops->row(w->view, ENGINE_LIVE, key, 0, &value, &pin, err);
    bool is =
        st == ST_OK && engine_live_decode(value, &rec) && version_cmp(rec.version, version) == 0;
    engine_pin_release(&pin);
    if (!is && (st == ST_OK || st == ST_NOT_FOUND)) {
        if (engine_past_key(&w->row, key, version) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "verify");
        st = w->view->ops->row(w->view, ENGINE_PAST, buf_bytes(&w->row), 0, &value, &pin, err);
        /* A value that cannot be decoded was named by the walk over keys. */
        if (st == ST_OK && !engine_past_decode(value, version, &rec))
            rec.kind = 0;
        engine_pin_release(&pin);
    }
    if (st == ST_OK)
        *ret = rec;
    return st;
}

static enum status check_when_row(struct verify *w, const struct engine_mark_row *m,
                                  struct err *err)
{
    uint64_t range;
    struct version version, parent;
    struct bytes key;
    uint8_t kind;
    struct record rec;
    if (!engine_when_split(w->when->key, &range, &version, &key)) {
        found(w, ENGINE_WHEN, w->when->key, VERSION_NONE, "the row's key cannot be decoded");
        return ST_OK;
    }
    if (!m || version_cmp(version, m->mark.version) > 0)
        return ST_OK;
    if (!engine_when_decode(w->when->value, version, &kind, &parent)) {
        found(w, ENGINE_WHEN, key, version, "its value cannot be decoded");
        return ST_OK;
    }
    if (version_is_none(version) || engine_key_reserved(key)) {
        found(w, ENGINE_WHEN, key, version, "names no version of a record");
        return ST_OK;
    }
    if (w->summing) {
        sum_add(&w->whens, key, version, kind, parent);
        return ST_OK;
    }
    enum status st = resolve(w, key, version, &rec, err);
    if (st == ST_NOT_FOUND) {
        found(w, ENGINE_WHEN, key, version, "resolves to no live or past version");
        return ST_OK;
    }
    if (st != ST_OK || rec.kind == 0)
        return st;
    if (rec.kind != kind)
        found(w, ENGINE_WHEN, key, version, "its kind is not the version's");
    if (version_cmp(rec.parent, parent) != 0)
        found(w, ENGINE_WHEN, key, version, "its parent is not the version's");
    return ST_OK;
}

static enum status check_when(struct verify *w, struct err *err)
{
    const struct engine_mark_row *m = engine_view_mark(w->view, w->q->range);
    struct buf lower = BUF_INIT;
    enum status st = buf_append_be64(&lower, w->q->range);
    if (st != ST_OK)
        err_set(err, st, "verify");
    if (st == ST_OK)
        st = w->when->ops->seek(w->when, buf_bytes(&lower), err);
    while (st == ST_OK && w->when->valid && bytes_has_prefix(w->when->key, buf_bytes(&lower))) {
        st = check_when_row(w, m, err);
        if (st == ST_OK)
            st = count_row(w, err);
        if (st == ST_OK)
            st = w->when->ops->next(w->when, err);
    }
    buf_deinit(&lower);
    return st;
}

/* The when rows of all ranges, as live and past are of all. */
static enum status sum_when(struct verify *w, struct err *err)
{
    const struct engine_mark_row *m = NULL;
    uint64_t range, at = 0;
    struct version version;
    struct bytes key;
    enum status st = w->when->ops->seek(w->when, BYTES_EMPTY, err);
    while (st == ST_OK && w->when->valid) {
        if (engine_when_split(w->when->key, &range, &version, &key) && (!m || range != at)) {
            m = engine_view_mark(w->view, range);
            at = range;
        }
        st = check_when_row(w, m, err);
        if (st == ST_OK)
            st = count_row(w, err);
        if (st == ST_OK)
            st = w->when->ops->next(w->when, err);
    }
    return st;
}

static enum status verify_begin(struct verify *w, struct err *err)
{
    struct engine_view *v = w->view;
    w->vacuum_cut = v->n_halves > 0;
    for (size_t i = 0; i < v->n_marks; i++)
        w->vacuum_cut |= !v->marks[i].counts.known || (v->marks[i].flags & ENGINE_MARK_CUT);
    enum status st = v->ops->cursor(v, ENGINE_LIVE, ENGINE_BULK, NULL, &w->live, err);
    if (st == ST_OK)
        st = v->ops->cursor(v, ENGINE_PAST, ENGINE_BULK, NULL, &w->past, err);
    if (st == ST_OK)
        st = v->ops->cursor(v, ENGINE_WHEN, ENGINE_BULK, NULL, &w->when, err);
    return st;
}

static void verify_end(struct verify *w)
{
    engine_cursor_close(w->live);
    engine_cursor_close(w->past);
    engine_cursor_close(w->when);
    buf_deinit(&w->key);
    buf_deinit(&w->prefix);
    buf_deinit(&w->row);
}

enum status engine_view_sound(struct engine_view *v, struct engine_verify *q, bool *ret,
                              struct err *err)
{
    struct verify w = {.view = v, .q = q, .summing = true};
    struct err own;
    err = err ? err : &own;
    enum status st = verify_begin(&w, err);
    if (st == ST_OK)
        st = check_keys(&w, err);
    if (st == ST_OK && !w.odd)
        st = sum_when(&w, err);
    if (st == ST_CORRUPT) {
        w.odd = true;
        st = ST_OK;
    }
    verify_end(&w);
    if (st == ST_OK)
        *ret = !w.odd && w.versions.low == w.whens.low && w.versions.high == w.whens.high;
    return st;
}

enum status engine_view_verify(struct engine_view *v, struct engine_verify *q, struct err *err)
{
    struct verify w = {.view = v, .q = q};
    struct err own;
    bool broken = false;
    err = err ? err : &own;
    enum status st = verify_begin(&w, err);
    if (st == ST_OK)
        st = check_keys(&w, err);
    st = as_finding(&w, st, err, &broken);
    if (st == ST_OK && !broken)
        st = check_when(&w, err);
    st = as_finding(&w, st, err, &broken);
    verify_end(&w);
    return st;
}
