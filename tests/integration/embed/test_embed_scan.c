/* Scans with every option against a naive model: sorted arrays of what each moment held. */
#include "embed_util.h"

#include <stdio.h>

enum { KEYS_MAX = 160, KEY_MAX = 4, MOMENTS = 6 };

struct model_row {
    uint8_t key[KEY_MAX];
    size_t len;
    uint32_t value; /* 0: absent */
};
struct model {
    struct model_row rows[KEYS_MAX]; /* sorted */
    size_t n;
};

static int cmp(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
    int c = memcmp(a, b, n);
    return c ? c : (a_len > b_len) - (a_len < b_len);
}

static void model_put(struct model *m, const uint8_t *key, size_t len, uint32_t value)
{
    size_t i = 0;
    while (i < m->n && cmp(m->rows[i].key, m->rows[i].len, key, len) < 0)
        i++;
    if (i == m->n || cmp(m->rows[i].key, m->rows[i].len, key, len) != 0) {
        if (m->n == KEYS_MAX)
            return;
        memmove(&m->rows[i + 1], &m->rows[i], (m->n - i) * sizeof(m->rows[0]));
        memcpy(m->rows[i].key, key, len);
        m->rows[i].len = len;
        m->n++;
    }
    m->rows[i].value = value;
}

/* Few distinct bytes, 0 and 0xff among them: prefixes and bounds then hit. */
static size_t some_key(struct test_rng *r, uint8_t *out)
{
    static const uint8_t bytes[] = {0, 1, 'a', 0xfe, 0xff, 0xff};
    size_t len = test_rng_between(r, 1, KEY_MAX);
    for (size_t i = 0; i < len; i++)
        out[i] = bytes[test_rng_below(r, sizeof(bytes))];
    return len;
}

struct query {
    uint8_t prefix[KEY_MAX], from[KEY_MAX], to[KEY_MAX];
    varve_scan_options o;
};

static void some_query(struct test_rng *r, struct query *q)
{
    q->o = (varve_scan_options){.size = sizeof(q->o)};
    if (test_rng_chance(r, 1, 2)) {
        q->o.prefix = (varve_bytes){q->prefix, 0};
        q->o.prefix.len = test_rng_below(r, some_key(r, q->prefix) + 1);
    }
    if (test_rng_chance(r, 1, 3))
        q->o.from = (varve_bytes){q->from, some_key(r, q->from)};
    if (test_rng_chance(r, 1, 3))
        q->o.to = (varve_bytes){q->to, some_key(r, q->to)};
    q->o.reverse = test_rng_chance(r, 1, 2);
    q->o.keys_only = test_rng_chance(r, 1, 4);
    q->o.limit = test_rng_chance(r, 1, 3) ? test_rng_between(r, 1, 12) : 0;
}

static bool wanted(const struct query *q, const struct model_row *row)
{
    const varve_scan_options *o = &q->o;
    return row->value && row->len >= o->prefix.len &&
           memcmp(row->key, q->prefix, o->prefix.len) == 0 &&
           (!o->from.len || cmp(row->key, row->len, q->from, o->from.len) >= 0) &&
           (!o->to.len || cmp(row->key, row->len, q->to, o->to.len) < 0);
}

static void check(struct world *w, const struct model *m, const struct query *q)
{
    varve_iter *it;
    uint64_t n = 0;
    assert_ok(varve_scan(w->db, "c", &q->o, &it));
    for (size_t i = 0; i < m->n; i++) {
        const struct model_row *row = &m->rows[q->o.reverse ? m->n - 1 - i : i];
        if (!wanted(q, row) || (q->o.limit && n == q->o.limit))
            continue;
        n++;
        assert_int_equal(varve_iter_next(it), 1);
        varve_bytes key = varve_iter_key(it), value = varve_iter_value(it);
        assert_int_equal(cmp(key.data, key.len, row->key, row->len), 0);
        assert_string_equal(varve_iter_collection(it), "c");
        assert_int_equal(value.len, q->o.keys_only ? 0 : sizeof(uint32_t));
        if (!q->o.keys_only)
            assert_memory_equal(value.data, &row->value, sizeof(uint32_t));
    }
    assert_int_equal(varve_iter_next(it), 0);
    assert_int_equal(varve_iter_next(it), 0);
    assert_int_equal(varve_iter_key(it).len, 0);
    varve_iter_close(it);
}

static void scans_like_the_model(void **state)
{
    struct world *w = *state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 12)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        struct model *moments = calloc(MOMENTS, sizeof(*moments));
        varve_version versions[MOMENTS];
        char folder[sizeof(w->folder)];
        memcpy(folder, w->folder, sizeof(folder));
        snprintf(w->folder, sizeof(w->folder), "%s/%llu", w->dir, (unsigned long long)seed);
        db_open(w);
        put(w, "b", "\xff\xff", "neighbour before");
        for (int m = 0; m < MOMENTS; m++) {
            if (m > 0)
                moments[m] = moments[m - 1];
            for (uint64_t i = test_rng_between(&r, 5, 40); i > 0; i--) {
                uint8_t key[KEY_MAX];
                size_t len = some_key(&r, key);
                uint32_t value = (uint32_t)test_rng_u64(&r) | 1;
                if (test_rng_chance(&r, 1, 4)) {
                    varve_status st = varve_delete(w->db, "c", key, len, NULL, NULL);
                    assert_true(st == VARVE_OK || st == VARVE_NOT_FOUND);
                    model_put(&moments[m], key, len, 0);
                } else {
                    assert_ok(varve_put(w->db, "c", key, len, VARVE_RAW, &value, sizeof(value),
                                        NULL, NULL));
                    model_put(&moments[m], key, len, value);
                }
            }
            versions[m] = put(w, "d", "\x01", "neighbour after");
            if (test_rng_chance(&r, 1, 2))
                assert_ok(varve_checkpoint(w->db));
            if (test_rng_chance(&r, 1, 5))
                db_reopen(w);
            for (int i = 0; i < 40; i++) {
                struct query q;
                some_query(&r, &q);
                int at = (int)test_rng_below(&r, (uint64_t)m + 2);
                if (at <= m)
                    q.o.at = at_version(versions[at]);
                check(w, &moments[at <= m ? at : m], &q);
            }
        }
        db_end(w);
        free(moments);
        memcpy(w->folder, folder, sizeof(folder));
    }
}

static void keeps_its_moment(void **state)
{
    struct world *w = *state;
    db_open(w);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%03d", i);
        put(w, "c", key, "old");
    }
    varve_iter *it;
    assert_ok(varve_scan(w->db, "c", NULL, &it));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_value(it), "old"));
        char key[16];
        snprintf(key, sizeof(key), "%03d", 99 - i);
        put(w, "c", key, "new");
        put(w, "c", "zzz", "new");
        if (i % 30 == 7)
            assert_ok(varve_checkpoint(w->db));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    db_end(w);
}

static void edges(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    char *key = malloc(65538);
    memset(key, 'k', 65538);
    db_open(w);
    assert_ok(
        varve_scan(w->db, "none", NULL, &it)); /* a collection that is not there has no rows */
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_fails(varve_scan(w->db, "a/b", NULL, &it), VARVE_INVALID_ARGUMENT, "collection");
    put(w, "c", "x", "1");
    assert_ok(varve_put(w->db, "c", key, 65536, VARVE_RAW, "", 0, NULL, NULL));
    varve_scan_options o = {.size = sizeof(o), .from = {key, 65537}}; /* behind the longest key */
    assert_ok(varve_scan(w->db, "c", &o, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "x"));
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    o.from.len = 65538;
    assert_fails(varve_scan(w->db, "c", &o, &it), VARVE_TOO_LARGE, "options.from");
    o = (varve_scan_options){.size = sizeof(o), .prefix = {NULL, 3}};
    assert_fails(varve_scan(w->db, "c", &o, &it), VARVE_INVALID_ARGUMENT, "options.prefix");
    o = (varve_scan_options){.size = sizeof(o), .at = at_time(clock_ms() + 60000)};
    assert_fails(varve_scan(w->db, "c", &o, &it), VARVE_FUTURE_TIME, "");
    free(key);
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(scans_like_the_model),
        WORLD_TEST(keeps_its_moment),
        WORLD_TEST(edges),
    };
    return RUN_ON(tests, "mem", "rocks");
}
