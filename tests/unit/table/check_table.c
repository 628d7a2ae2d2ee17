#include "unit/table/check_table.h"

void check_version(struct version a, struct version b)
{
    assert_int_equal(version_cmp(a, b), 0);
}

void check_record(const struct record *got, const struct record *want)
{
    check_version(got->version, want->version);
    check_version(got->parent, want->parent);
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->type, want->type);
    assert_true(got->expires_ms == want->expires_ms);
    assert_true(bytes_eq(got->writer, want->writer));
    assert_true(bytes_eq(got->value, want->value));
}

static void check_taken(const struct table_entry *e, const struct table_entry *own)
{
    for (; own; e = table_entry_older(e), own = table_entry_older(own)) {
        struct record a, b;
        assert_non_null(e);
        assert_ptr_not_equal(e, own);
        table_entry_record(e, &a);
        table_entry_record(own, &b);
        assert_true(bytes_eq(table_entry_key(e), table_entry_key(own)));
        check_record(&a, &b);
        assert_int_equal(table_entry_rank(e), table_entry_rank(own));
    }
    assert_null(e);
}

void check_walk(const struct table *t)
{
    struct table_walk w;
    struct table_iter it;
    struct arena arena;
    struct err err;
    err_init(&err);
    arena_init(&arena, 0);
    table_iter_init(&it, t);
    assert_int_equal(table_walk_first(&w, t, &err), ST_OK);
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it)) {
        const struct table_entry *own = table_iter_find(&it, VERSION_MAX), *e;
        assert_true(table_walk_valid(&w));
        assert_true(bytes_eq(table_walk_key(&w), table_iter_key(&it)));
        table_walk_ahead(&w);
        assert_int_equal(table_walk_take(&w, &arena, &e, &err), ST_OK);
        check_taken(e, own);
    }
    assert_false(table_walk_valid(&w));
    table_walk_deinit(&w);
    arena_deinit(&arena);
}

struct table *check_filled(struct table_pages *pages, uint64_t round)
{
    enum { ROWS = 14000, VALUE = 2000 };
    uint8_t value[VALUE];
    struct table *t = table_new_on(pages);
    assert_non_null(t);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct record rec = {
            .version = {i + 1, 0}, .kind = RECORD_PUT, .value = BYTES(value, VALUE)};
        uint64_t key = i * 7919 % ROWS;
        memset(value, (int)(key + round) & 0xff, VALUE);
        assert_int_equal(table_put(t, BYTES((uint8_t *)&key, sizeof(key)), &rec, NULL), ST_OK);
    }
    for (uint64_t key = 0; key < ROWS; key += 13) {
        struct record rec;
        assert_true(table_get(t, BYTES((uint8_t *)&key, sizeof(key)), VERSION_MAX, &rec));
        assert_int_equal(rec.value.len, VALUE);
        assert_int_equal(rec.value.data[0], (key + round) & 0xff);
        assert_int_equal(rec.value.data[VALUE - 1], (key + round) & 0xff);
    }
    return t;
}
