#include "storage/engine/engine_rows.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

static struct bytes random_key(struct test_rng *r, uint8_t *out)
{
    size_t n = test_rng_below(r, 7);
    static const uint8_t alphabet[] = {0x00, 0x01, 0xff, 'a'};
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[test_rng_below(r, sizeof(alphabet))];
    return BYTES(out, n);
}

/* Past rows sort by key, then newest first, and come apart into what they were made of. */
static void past_order(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        uint8_t ka[8], kb[8];
        struct buf a = BUF_INIT, b = BUF_INIT, key = BUF_INIT;
        test_rng_init(&r, seed);
        struct bytes keys[2] = {random_key(&r, ka), random_key(&r, kb)};
        struct version v[2];
        for (int i = 0; i < 2; i++)
            v[i] = (struct version){test_rng_any_width(&r), (uint32_t)test_rng_any_width(&r)};
        assert_int_equal(engine_past_key(&a, keys[0], v[0]), ST_OK);
        assert_int_equal(engine_past_key(&b, keys[1], v[1]), ST_OK);
        int want = bytes_cmp(keys[0], keys[1]);
        if (want == 0)
            want = version_cmp(v[1], v[0]);
        int got = bytes_cmp(buf_bytes(&a), buf_bytes(&b));
        assert_int_equal((want > 0) - (want < 0), (got > 0) - (got < 0));
        struct bytes prefix;
        struct version back;
        assert_true(engine_past_split(buf_bytes(&a), &prefix, &back));
        assert_int_equal(version_cmp(back, v[0]), 0);
        assert_int_equal(engine_past_unprefix(prefix, &key), ST_OK);
        assert_true(bytes_eq(buf_bytes(&key), keys[0]));
        buf_deinit(&a);
        buf_deinit(&b);
        buf_deinit(&key);
    }
}

static void when_rows(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        struct buf k = BUF_INIT, v = BUF_INIT;
        uint8_t raw[8], kind, got_kind;
        test_rng_init(&r, seed);
        struct bytes key = random_key(&r, raw), got_key;
        struct version version = {test_rng_any_width(&r) | 1, (uint32_t)test_rng_any_width(&r)},
                       parent = VERSION_NONE;
        uint64_t range = test_rng_any_width(&r), got_range;
        if (test_rng_chance(&r, 1, 2))
            parent =
                (struct version){test_rng_below(&r, version.hlc), (uint32_t)test_rng_any_width(&r)};
        kind = test_rng_chance(&r, 1, 2) ? RECORD_PUT : RECORD_DELETE;
        assert_int_equal(engine_when_key(&k, range, version, key), ST_OK);
        assert_int_equal(engine_when_value(&v, kind, version, parent), ST_OK);
        struct version got, got_parent;
        assert_true(engine_when_split(buf_bytes(&k), &got_range, &got, &got_key));
        assert_true(engine_when_decode(buf_bytes(&v), got, &got_kind, &got_parent));
        assert_int_equal(got_range, range);
        assert_int_equal(version_cmp(got, version), 0);
        assert_int_equal(version_cmp(got_parent, parent), 0);
        assert_int_equal(got_kind, kind);
        assert_true(bytes_eq(got_key, key));
        /* Cut anywhere, it is refused. */
        for (size_t n = 0; n < v.len; n++)
            assert_false(
                engine_when_decode((struct bytes){v.data, n}, version, &got_kind, &got_parent));
        buf_deinit(&k);
        buf_deinit(&v);
    }
}

static void marks(void **state)
{
    (void)state;
    struct engine_mark m = {.index = 77, .term = 3, .version = {UINT64_C(0x123456789abc0001), 9}};
    struct engine_mark_row row;
    uint8_t key[ENGINE_MARK_KEY_BYTES];
    struct buf v = BUF_INIT;
    engine_mark_key(5, key);
    assert_true(engine_key_reserved(BYTES(key, sizeof(key))));
    struct engine_counts counts = {true, {1, UINT64_MAX, 3}}, unknown = {0};
    assert_int_equal(engine_mark_value(&v, &m, ENGINE_MARK_DELETES, &counts), ST_OK);
    assert_true(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
    assert_true(row.counts.known);
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        assert_true(row.counts.rows[f] == counts.rows[f]);
    for (size_t n = 0; n < v.len; n++)
        assert_false(engine_mark_decode(BYTES(key, sizeof(key)), (struct bytes){v.data, n}, &row));
    v.data[0] = 1;
    assert_false(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
    /* What was written before there were counts. */
    assert_int_equal(engine_mark_value(&v, &m, ENGINE_MARK_DELETES, &unknown), ST_OK);
    assert_int_equal(v.len, 30);
    assert_int_equal(v.data[0], 1);
    assert_true(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
    assert_false(row.counts.known);
    assert_int_equal(row.range, 5);
    assert_int_equal(row.flags, ENGINE_MARK_DELETES);
    assert_int_equal(row.mark.index, 77);
    assert_int_equal(row.mark.term, 3);
    assert_int_equal(version_cmp(row.mark.version, m.version), 0);
    assert_false(
        engine_mark_decode(BYTES(key, sizeof(key)), (struct bytes){v.data, v.len - 1}, &row));
    v.data[0] = 2;
    assert_false(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
    /* With a note, counts known or not. */
    for (int known = 0; known < 2; known++) {
        m.note_len = ENGINE_NOTE_MAX;
        memset(m.note, 'n', sizeof m.note);
        assert_int_equal(engine_mark_value(&v, &m, 0, known ? &counts : &unknown), ST_OK);
        assert_true(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
        assert_int_equal(row.counts.known, known);
        assert_int_equal(row.counts.rows[2], known ? 3 : 0);
        assert_int_equal(row.mark.index, 77);
        assert_int_equal(row.mark.note_len, ENGINE_NOTE_MAX);
        assert_memory_equal(row.mark.note, m.note, ENGINE_NOTE_MAX);
        assert_true(
            engine_mark_decode(BYTES(key, sizeof(key)), (struct bytes){v.data, v.len - 1}, &row));
        assert_int_equal(row.mark.note_len, ENGINE_NOTE_MAX - 1);
        assert_int_equal(buf_append_u8(&v, 'n'), ST_OK);
        assert_false(engine_mark_decode(BYTES(key, sizeof(key)), buf_bytes(&v), &row));
        v.data[54] = 2;
        assert_false(
            engine_mark_decode(BYTES(key, sizeof(key)), (struct bytes){v.data, v.len - 1}, &row));
    }
    buf_deinit(&v);
}

static void floors(void **state)
{
    (void)state;
    uint8_t content[ENGINE_VERSION_BYTES];
    struct buf v = BUF_INIT;
    struct version at = {UINT64_C(0x0102030405060708), 0x0a0b0c0d};
    engine_floor_value(at, content);
    struct record r = {.kind = RECORD_FLOOR,
                       .writer = BYTES_EMPTY,
                       .value = BYTES(content, sizeof(content))},
                  got;
    assert_int_equal(record_encode(&v, &r, 0), ST_OK);
    assert_true(engine_past_decode(buf_bytes(&v), VERSION_NONE, &got));
    assert_int_equal(got.kind, RECORD_FLOOR);
    assert_int_equal(version_cmp(got.version, at), 0);
    assert_int_equal(got.value.len, 0);
    assert_false(engine_past_decode(buf_bytes(&v), at, &got));
    buf_deinit(&v);
    assert_int_equal(
        version_cmp(engine_version_next((struct version){4, UINT32_MAX}), (struct version){5, 0}),
        0);
    assert_int_equal(version_cmp(engine_version_next(VERSION_MAX), VERSION_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(past_order), cmocka_unit_test(when_rows),
                                       cmocka_unit_test(marks), cmocka_unit_test(floors)};
    return cmocka_run_group_tests_name("engine_rows", tests, NULL, NULL);
}
