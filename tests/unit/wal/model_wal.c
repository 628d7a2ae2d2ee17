#include "model_wal.h"

#include "support/cmocka.h"
#include <stdio.h>
#include <stdlib.h>

enum { POOL_SHIFT = 8192 };
static uint8_t pool[MODEL_PAYLOAD_MAX + POOL_SHIFT];

static void pool_fill(void)
{
    struct test_rng r;
    if (pool[0] || pool[1])
        return;
    test_rng_init(&r, 99);
    test_rng_bytes(&r, pool, sizeof pool);
    pool[0] = 1;
}

void model_init(struct model *m)
{
    *m = (struct model){.serial = 1};
    for (int i = 0; i <= MODEL_RANGES; i++)
        m->next_index[i] = 1;
    pool_fill();
}

void model_deinit(struct model *m)
{
    free(m->recs);
    free(m->seen);
}

struct bytes model_payload(uint64_t serial, size_t len)
{
    pool_fill();
    assert_true(len <= MODEL_PAYLOAD_MAX);
    return BYTES(pool + serial * 13 % POOL_SHIFT, len);
}

bool model_payload_is(uint64_t serial, struct bytes payload)
{
    return bytes_eq(payload, model_payload(serial, payload.len));
}

static void push(struct model_rec **v, size_t *n, size_t *cap, struct model_rec r)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        *v = realloc(*v, *cap * sizeof **v);
        assert_non_null(*v);
    }
    (*v)[(*n)++] = r;
}

static size_t some_len(struct test_rng *r, size_t max)
{
    switch (test_rng_below(r, 8)) {
    case 0:
        return 0;
    case 1:
        return test_rng_below(r, max + 1);
    case 2:
        return test_rng_below(r, max / 8 + 1);
    default:
        return test_rng_below(r, max < 300 ? max + 1 : 300);
    }
}

size_t model_make_group(struct model *m, struct test_rng *r, size_t payload_max,
                        struct wal_record out[MODEL_GROUP_MAX])
{
    size_t n = test_rng_chance(r, 1, 2) ? 1 : test_rng_between(r, 1, MODEL_GROUP_MAX);
    uint64_t next[MODEL_RANGES + 1];
    memcpy(next, m->next_index, sizeof next);
    for (size_t i = 0; i < n; i++) {
        uint64_t range = test_rng_between(r, 1, MODEL_RANGES);
        uint64_t serial = m->serial++;
        out[i] = (struct wal_record){.range = range, .term = serial, .kind = WAL_ENTRY};
        unsigned what = (unsigned)test_rng_below(r, 16);
        if (what == 0 && next[range] > m->released[range] + 1) {
            out[i].kind = WAL_TRUNCATE;
            out[i].index = test_rng_between(r, m->released[range] + 1, next[range] - 1);
            out[i].payload = BYTES_EMPTY;
            next[range] = out[i].index;
        } else if (what <= 3) {
            out[i].kind = WAL_HARD_STATE;
            out[i].index = serial * 3;
            out[i].payload = model_payload(serial, test_rng_below(r, 40));
        } else {
            out[i].index = next[range]++;
            out[i].payload = model_payload(serial, some_len(r, payload_max));
        }
    }
    return n;
}

static struct model_rec of(const struct wal_record *r, bool last)
{
    return (struct model_rec){.serial = r->term,
                              .range = r->range,
                              .index = r->index,
                              .len = r->payload.len,
                              .kind = r->kind,
                              .last = last};
}

static void count_index(struct model *m, const struct model_rec *r)
{
    if (r->kind == WAL_ENTRY)
        m->next_index[r->range] = r->index + 1;
    if (r->kind == WAL_TRUNCATE && m->next_index[r->range] > r->index)
        m->next_index[r->range] = r->index;
}

void model_appended(struct model *m, const struct wal_record *r, size_t n)
{
    m->n_maybe = 0; /* the log erases a failed group before it appends another */
    for (size_t i = 0; i < n; i++) {
        push(&m->recs, &m->n, &m->cap, of(&r[i], i + 1 == n));
        count_index(m, &m->recs[m->n - 1]);
    }
}

void model_may_return(struct model *m, const struct wal_record *r, size_t n)
{
    for (size_t i = 0; i < n && m->n_maybe < sizeof m->maybe / sizeof *m->maybe; i++)
        m->maybe[m->n_maybe++] = of(&r[i], i + 1 == n);
}

void model_synced(struct model *m)
{
    m->durable = m->n;
}

uint64_t model_release(struct model *m, struct test_rng *r, uint64_t *ret_index)
{
    uint64_t range = test_rng_between(r, 1, MODEL_RANGES), top = 0;
    /* Only what can no more be truncated: committed and in the engine, that is, durable. */
    for (size_t i = 0; i < m->n; i++) {
        const struct model_rec *rec = &m->recs[i];
        if (rec->range != range)
            continue;
        if (rec->kind == WAL_ENTRY && i < m->durable)
            top = rec->index;
        if (rec->kind == WAL_TRUNCATE && top >= rec->index)
            top = rec->index - 1;
    }
    if (top <= m->released[range])
        return 0;
    m->released[range] =
        test_rng_chance(r, 2, 3) ? top : test_rng_between(r, m->released[range] + 1, top);
    *ret_index = m->released[range];
    return range;
}

void model_replay_begin(struct model *m)
{
    m->n_seen = 0;
}

enum status model_replay(void *arg, const struct wal_record *rec, struct wal_pos pos,
                         struct err *err)
{
    struct model *m = arg;
    (void)err;
    assert_true(pos.epoch > 0 && pos.offset > 0);
    if (rec->kind != WAL_RELEASE)
        assert_true(model_payload_is(rec->term, rec->payload));
    push(&m->seen, &m->n_seen, &m->cap_seen, of(rec, false));
    return ST_OK;
}

static const struct model_rec *find(const struct model_rec *v, size_t n, uint64_t serial)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].serial == serial)
            return &v[i];
    }
    return NULL;
}

static bool same(const struct model_rec *a, const struct model_rec *b)
{
    return a->serial == b->serial && a->range == b->range && a->index == b->index &&
           a->len == b->len && a->kind == b->kind;
}

/* The chain is sorted by serial. */
static const struct model_rec *in_chain(const struct model *m, uint64_t serial)
{
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (m->recs[mid].serial < serial)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < m->n && m->recs[lo].serial == serial ? &m->recs[lo] : NULL;
}

static uint64_t newest_hard_state(const struct model_rec *v, size_t n, uint64_t range)
{
    for (size_t i = n; i-- > 0;) {
        if (v[i].range == range && v[i].kind == WAL_HARD_STATE)
            return v[i].serial;
    }
    return 0;
}

/* A failed group came back after all: it must be whole, one of those, and behind everything else.
 */
static void take_maybe(struct model *m, size_t at)
{
    const struct model_rec *f = find(m->maybe, m->n_maybe, m->seen[at].serial);
    assert_non_null(f);
    assert_true(f == m->maybe || f[-1].last);
    for (;; f++, at++) {
        assert_true(at < m->n_seen && f < m->maybe + m->n_maybe && same(&m->seen[at], f));
        push(&m->recs, &m->n, &m->cap, *f);
        if (f->last)
            break;
    }
    assert_int_equal(at + 1, m->n_seen);
}

static void check_dropped(const struct model *m, size_t start)
{
    uint64_t cut[MODEL_RANGES + 1];
    memset(cut, 0xff, sizeof cut);
    for (size_t i = m->n; i-- > 0;) {
        const struct model_rec *r = &m->recs[i];
        if (i < start && r->kind == WAL_ENTRY)
            assert_true(r->index <= m->released[r->range] || r->index >= cut[r->range]);
        if (r->kind == WAL_TRUNCATE && r->index < cut[r->range])
            cut[r->range] = r->index;
    }
}

/* Walks the replay along the chain. Returns how much of the chain survived; *ret_start is where it
 * began. */
static size_t walk(struct model *m, size_t *ret_start)
{
    size_t next = 0, start = 0, i = 0;
    bool anchored = false, begun = false;
    for (; i < m->n_seen; i++) {
        const struct model_rec *r = &m->seen[i];
        if (r->kind == WAL_RELEASE) {
            assert_true(r->index <= m->released[r->range]);
            continue;
        }
        const struct model_rec *c = in_chain(m, r->serial);
        if (!c) {
            assert_true(next == m->n || !begun);
            take_maybe(m, i);
            next = m->n;
            break;
        }
        assert_true(same(r, c));
        size_t at = (size_t)(c - m->recs);
        if (begun && at == next) {
            next++;
        } else if (r->kind == WAL_HARD_STATE && begun && at < next) {
            assert_int_equal(newest_hard_state(m->recs, next, r->range),
                             r->serial); /* carried over */
        } else {
            assert_false(anchored);
            start = at;
            next = at + 1;
            begun = true;
        }
        anchored = anchored || r->kind != WAL_HARD_STATE;
    }
    if (!begun && next == 0)
        start = next = m->durable;
    *ret_start = start;
    return next;
}

void model_check(struct model *m)
{
    size_t start, n = walk(m, &start);
    if (n < m->durable) {
        /* Only carried hard states were left of what was released: the rest of the chain is not
         * needed. */
        check_dropped(m, m->durable);
        for (size_t i = 0; i < m->n_seen; i++)
            assert_true(m->seen[i].kind == WAL_RELEASE || m->seen[i].kind == WAL_HARD_STATE);
        start = n = m->durable;
    }
    assert_true(n == 0 || m->recs[n - 1].last);
    m->n = n;
    check_dropped(m, start);
    for (uint64_t range = 1; range <= MODEL_RANGES; range++)
        assert_int_equal(newest_hard_state(m->seen, m->n_seen, range),
                         newest_hard_state(m->recs, n, range));
    m->durable = n;
    m->n_maybe = 0;
    for (int i = 1; i <= MODEL_RANGES; i++)
        m->next_index[i] = m->released[i] + 1;
    for (size_t i = 0; i < m->n; i++)
        count_index(m, &m->recs[i]);
}
