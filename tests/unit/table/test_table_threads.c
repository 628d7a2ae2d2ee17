#include "base/env/thread.h"
#include "storage/table/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A writer beside readers. Every value says its key and version, so a reader can judge whatever it
 * meets. */
enum { KEYS = 2000, ROUNDS = 60, READERS = 2 };

struct shared {
    struct table *t;
    _Atomic bool done;
    _Atomic uint64_t bad, seen;
};

struct payload {
    uint64_t key, version;
};

static struct bytes key_bytes(uint64_t k, uint8_t out[16])
{
    uint64_t mixed = __builtin_bswap64(k * 0x9e3779b97f4a7c15u);
    memcpy(out, "colluser", 8);
    memcpy(out + 8, &mixed, 8);
    return BYTES(out, 16);
}

static bool entry_right(const struct table_entry *e)
{
    struct record rec;
    struct payload p;
    uint8_t key[16];
    table_entry_record(e, &rec);
    if (rec.value.len != sizeof(p))
        return false;
    memcpy(&p, rec.value.data, sizeof(p));
    return p.version == rec.version.hlc && bytes_eq(table_entry_key(e), key_bytes(p.key, key));
}

static bool walk_right(const struct table *t, uint64_t keys_at_least)
{
    struct table_iter it;
    struct bytes last = BYTES_EMPTY;
    uint64_t n = 0;
    table_iter_init(&it, t);
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it), n++) {
        if (n && bytes_cmp(last, table_iter_key(&it)) >= 0)
            return false;
        last = table_iter_key(&it);
        const struct table_entry *e = table_iter_find(&it, VERSION_MAX);
        if (!e || !entry_right(e))
            return false;
    }
    return n >= keys_at_least;
}

/* Whatever stands in the order must be found by key at its version. */
static bool order_right(const struct table *t, uint64_t *s)
{
    uint64_t count = table_count(t);
    for (int i = 0; i < 50 && count; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        const struct table_entry *e = table_entry_nth(t, (*s >> 33) % count);
        struct record rec;
        if (!e || !entry_right(e))
            return false;
        table_entry_record(e, &rec);
        if (table_find(t, table_entry_key(e), rec.version) != e)
            return false;
        uint64_t after = table_entry_after(t, rec.version);
        const struct table_entry *next = table_entry_nth(t, after);
        if (next) {
            struct record later;
            table_entry_record(next, &later);
            /* Equal, when the rest of its batch came in between; never below. */
            if (version_cmp(later.version, rec.version) < 0)
                return false;
        }
    }
    return table_count(t) >= count;
}

static void reader(void *arg)
{
    struct shared *sh = arg;
    uint64_t s = (uint64_t)(uintptr_t)&s;
    for (bool last = false; !last;) {
        last = atomic_load(&sh->done);
        uint64_t keys = table_keys(sh->t);
        if (!walk_right(sh->t, keys) || !order_right(sh->t, &s))
            atomic_fetch_add(&sh->bad, 1);
        atomic_fetch_add(&sh->seen, 1);
    }
}

static void write_round(struct table *t, uint64_t round)
{
    struct table_item items[10];
    struct payload values[10];
    uint8_t keys[10][16];
    for (uint64_t k = 0; k < KEYS; k += 10) {
        for (uint64_t i = 0; i < 10; i++) {
            uint64_t version = round * KEYS + k + 1; /* a batch shares it */
            values[i] = (struct payload){k + i, version};
            items[i].key = key_bytes(k + i, keys[i]);
            items[i].rec = (struct record){.version = {version, 0},
                                           .kind = RECORD_PUT,
                                           .value = BYTES(&values[i], sizeof(values[i]))};
        }
        if (round % 2)
            assert_int_equal(table_put_many(t, items, 10, NULL), ST_OK);
        else
            for (size_t i = 0; i < 10; i++)
                assert_int_equal(table_put(t, items[i].key, &items[i].rec, NULL), ST_OK);
    }
}

static void test_table_readers_beside_a_writer(void **state)
{
    (void)state;
    struct shared sh = {.t = table_new()};
    struct env_thread threads[READERS];
    assert_non_null(sh.t);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(env_thread_start(&threads[i], "reader", reader, &sh, NULL), ST_OK);
    for (uint64_t round = 0; round < ROUNDS; round++)
        write_round(sh.t, round);
    atomic_store(&sh.done, true);
    for (size_t i = 0; i < READERS; i++)
        env_thread_join(&threads[i]);
    assert_true(atomic_load(&sh.bad) == 0);
    assert_true(atomic_load(&sh.seen) >= READERS);
    assert_true(table_count(sh.t) == KEYS * ROUNDS && table_keys(sh.t) == KEYS);
    table_unref(sh.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table_readers_beside_a_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
