#include "store_model.h"

#include "support/cmocka.h"
#include <stdlib.h>

void model_init(struct model *m)
{
    *m = (struct model){.writes = calloc(MODEL_WRITES_MAX, sizeof(*m->writes))};
    assert_non_null(m->writes);
}

void model_deinit(struct model *m)
{
    free(m->writes);
}

struct bytes model_key(const struct model *m, uint8_t key, uint8_t out[256])
{
    out[0] = (uint8_t)(m->collection >> 24);
    out[1] = (uint8_t)(m->collection >> 16);
    out[2] = (uint8_t)(m->collection >> 8);
    out[3] = (uint8_t)m->collection;
    /* Every third is a prefix of the next one; zero bytes and 0xff stand where an encoding could
     * trip. */
    size_t len = 1 + (size_t)(key % 3) * 2 + (key == 11 ? 190u : 0);
    memset(out + 4, key % 2 ? 0xff : 0x00, len);
    out[4] = (uint8_t)(key / 3 * 29);
    return BYTES(out, 4 + len);
}

void model_value(uint32_t seed, uint32_t len, uint8_t *out)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    test_rng_bytes(&r, out, len);
}

const struct model_op *model_find(const struct model *m, uint8_t key, struct version at,
                                  struct version *ret_version)
{
    for (size_t i = m->n; i-- > 0;) {
        const struct model_write *w = &m->writes[i];
        if (version_cmp(w->version, at) > 0)
            continue;
        for (size_t j = 0; j < w->n; j++)
            if (w->ops[j].key == key) {
                if (ret_version)
                    *ret_version = w->version;
                return &w->ops[j];
            }
    }
    return NULL;
}

static void same_value(const struct model_op *op, struct bytes got)
{
    static uint8_t want[1 << 17];
    assert_int_equal(got.len, op->value_len);
    model_value(op->value_seed, op->value_len, want);
    if (op->value_len)
        assert_memory_equal(got.data, want, op->value_len);
}

static bool op_alive(const struct model_op *op, uint64_t at_ms)
{
    return op && op->kind == RECORD_PUT && (op->expires_ms == 0 || op->expires_ms > at_ms);
}

static void check_get(const struct model *m, struct store *s, uint8_t key, struct version at,
                      uint64_t now_ms)
{
    uint8_t space[256];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    struct version version = VERSION_NONE;
    err_init(&err);
    bool present = version_is_none(at);
    const struct model_op *op = model_find(m, key, present ? VERSION_MAX : at, &version);
    enum status st = store_get(s, model_key(m, key, space), at, &buf, &rec, &err);
    if (op_alive(op, present ? now_ms : version_ms(at))) {
        assert_int_equal(st, ST_OK);
        assert_int_equal(version_cmp(rec.version, version), 0);
        same_value(op, rec.value);
    } else {
        assert_int_equal(st, ST_NOT_FOUND);
    }
    buf_deinit(&buf);
}

static int key_order(const void *a, const void *b, void *arg)
{
    uint8_t x[256], y[256];
    return bytes_cmp(model_key(arg, *(const uint8_t *)a, x),
                     model_key(arg, *(const uint8_t *)b, y));
}

static void check_scan(const struct model *m, struct store *s, struct version at, bool reverse,
                       uint64_t now_ms)
{
    uint8_t order[MODEL_KEYS], lower[256], upper[4], space[256];
    for (uint8_t i = 0; i < MODEL_KEYS; i++)
        order[i] = i;
    qsort_r(order, MODEL_KEYS, 1, key_order, (void *)(uintptr_t)m);
    struct bytes lo = model_key(m, 0, lower);
    lo.len = 4;
    memcpy(upper, lower, 4);
    upper[3]++;
    struct store_scan q = {.in = {lo, BYTES(upper, 4)}, .at = at, .reverse = reverse};
    struct store_iter *it;
    struct store_row row;
    struct err err;
    err_init(&err);
    assert_int_equal(store_scan(s, &q, &it, &err), ST_OK);
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        uint8_t key = order[reverse ? MODEL_KEYS - 1 - i : i];
        struct version version;
        const struct model_op *op =
            model_find(m, key, version_is_none(at) ? VERSION_MAX : at, &version);
        if (!op_alive(op, version_is_none(at) ? now_ms : version_ms(at)))
            continue;
        assert_int_equal(store_iter_next(it, &row, &err), 1);
        assert_true(bytes_eq(row.key, model_key(m, key, space)));
        assert_int_equal(version_cmp(row.rec.version, version), 0);
        same_value(op, row.rec.value);
    }
    assert_int_equal(store_iter_next(it, &row, &err), 0);
    store_iter_close(it);
}

static void check_history(const struct model *m, struct store *s, uint8_t key)
{
    uint8_t space[256];
    struct store_iter *it;
    struct store_row row;
    struct err err;
    struct version at = VERSION_MAX, version, parent_promised = VERSION_NONE;
    bool first = true;
    err_init(&err);
    assert_int_equal(store_history(s, model_key(m, key, space), 0, &it, &err), ST_OK);
    for (const struct model_op *op; (op = model_find(m, key, at, &version)) != NULL;
         first = false) {
        assert_int_equal(store_iter_next(it, &row, &err), 1);
        assert_int_equal(version_cmp(row.rec.version, version), 0);
        assert_int_equal(row.rec.kind, op->kind);
        assert_int_equal(row.rec.expires_ms, op->expires_ms);
        if (op->kind == RECORD_PUT)
            same_value(op, row.rec.value);
        if (!first)
            assert_int_equal(version_cmp(parent_promised, version), 0);
        parent_promised = row.rec.parent;
        at = (struct version){version.hlc - 1, UINT32_MAX};
    }
    assert_true(version_is_none(parent_promised));
    assert_int_equal(store_iter_next(it, &row, &err), 0);
    store_iter_close(it);
}

static void check_changes(const struct model *m, struct store *s, size_t from_write, size_t from_op)
{
    uint8_t space[256];
    struct store_iter *it;
    struct store_row row;
    struct err err;
    struct version after = VERSION_NONE, parent;
    struct bytes after_key = BYTES_EMPTY;
    err_init(&err);
    if (from_write < m->n) {
        after = m->writes[from_write].version;
        after_key = model_key(m, m->writes[from_write].ops[from_op].key, space);
    }
    assert_int_equal(store_changes(s, BYTES_EMPTY, after, after_key, &it, &err), ST_OK);
    size_t i = from_write < m->n ? from_write : 0, j = from_write < m->n ? from_op + 1 : 0;
    for (; i < m->n; i++, j = 0)
        for (; j < m->writes[i].n; j++) {
            const struct model_op *op = &m->writes[i].ops[j];
            uint8_t key[256];
            assert_int_equal(store_iter_next(it, &row, &err), 1);
            assert_int_equal(version_cmp(row.rec.version, m->writes[i].version), 0);
            assert_true(bytes_eq(row.key, model_key(m, op->key, key)));
            assert_int_equal(row.rec.kind, op->kind);
            parent = VERSION_NONE;
            model_find(m, op->key, (struct version){m->writes[i].version.hlc - 1, UINT32_MAX},
                       &parent);
            assert_int_equal(version_cmp(row.rec.parent, parent), 0);
        }
    assert_int_equal(store_iter_next(it, &row, &err), 0);
    store_iter_close(it);
}

void model_check(const struct model *m, struct store *s, struct env *env, struct test_rng *rng)
{
    uint64_t now_ms = env_now_ms(env);
    struct version some =
        m->n ? m->writes[test_rng_below(rng, m->n)].version : (struct version){1, 0};
    for (uint8_t key = 0; key < MODEL_KEYS; key++) {
        check_get(m, s, key, VERSION_NONE, now_ms);
        check_get(m, s, key, VERSION_NONE, now_ms); /* from the cache, if there is one */
        check_get(m, s, key, some, now_ms);
        check_history(m, s, key);
    }
    check_scan(m, s, VERSION_NONE, false, now_ms);
    check_scan(m, s, VERSION_NONE, true, now_ms);
    check_scan(m, s, some, false, now_ms);
    check_scan(m, s, some, true, now_ms);
    check_changes(m, s, m->n, 0);
    if (m->n) {
        size_t w = test_rng_below(rng, m->n);
        check_changes(m, s, w, test_rng_below(rng, m->writes[w].n));
    }
}

void model_check_present(const struct model *m, struct store *s, struct env *env)
{
    uint64_t now_ms = env_now_ms(env);
    for (uint8_t key = 0; key < MODEL_KEYS; key++)
        check_get(m, s, key, VERSION_NONE, now_ms);
}

size_t model_surviving(const struct model *m, struct store *s)
{
    struct version newest = store_visible(s);
    size_t n = 0;
    while (n < m->n && version_cmp(m->writes[n].version, newest) <= 0)
        n++;
    return n;
}
