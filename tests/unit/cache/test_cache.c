#include "base/alloc.h"
#include "storage/cache/cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t rnd(uint64_t *s)
{
    *s += 0x9e3779b97f4a7c15u;
    uint64_t z = *s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The model: the newest record of each key, made from (key, version), so that nothing needs keeping
 * but the version. */
enum { KEYS = 3000, PAYLOAD = 12000 };

struct model {
    struct record now[KEYS];
    uint64_t version;
    uint8_t payload[PAYLOAD];
};

static struct bytes key_of(unsigned k, uint8_t out[300])
{
    size_t len = k == 0 ? 0 : 4 + k % 40 + (k % 97 == 0 ? 250 : 0);
    memset(out, 'k', 300);
    if (len)
        memcpy(out, &k, 4);
    return BYTES(out, len);
}

static struct record make(struct model *m, uint64_t *s, uint8_t kind)
{
    static const size_t sizes[] = {0, 1, 7, 8, 60, 100, 400, 1500, 4096, 4097, 9000};
    size_t len = sizes[rnd(s) % (sizeof(sizes) / sizeof(sizes[0]))],
           from = rnd(s) % (PAYLOAD - 9000);
    size_t writer = rnd(s) % 3 ? rnd(s) % 20 : 255;
    m->version += 1 + rnd(s) % 3;
    return (struct record){
        .version = {m->version, (uint32_t)rnd(s) % 3},
        .parent = {rnd(s) % 2 ? 0 : rnd(s), (uint32_t)rnd(s) % 5},
        .kind = kind,
        .type = (uint8_t)(rnd(s) % 2),
        .expires_ms = rnd(s) % 2 ? 0 : rnd(s),
        .writer = BYTES(m->payload + from / 2, rnd(s) % 2 ? 0 : writer),
        .value = BYTES(m->payload + from, len),
    };
}

static void assert_record(const struct record *got, const struct record *want)
{
    assert_int_equal(version_cmp(got->version, want->version), 0);
    assert_int_equal(version_cmp(got->parent, want->parent), 0);
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->type, want->type);
    assert_true(got->expires_ms == want->expires_ms);
    assert_true(bytes_eq(got->writer, want->writer));
    assert_true(bytes_eq(got->value, want->value));
}

static bool get_checked(struct cache *c, const struct model *m, unsigned k, struct buf *out)
{
    uint8_t keybuf[300];
    struct bytes key = key_of(k, keybuf);
    struct record got = {.kind = 99};
    if (!cache_get(c, cache_hash(key), key, out, &got)) {
        assert_int_equal(got.kind, 99);
        return false;
    }
    assert_int_equal(m->now[k].kind, RECORD_PUT);
    assert_record(&got, &m->now[k]);
    assert_true(got.value.len == 0 ||
                (got.value.data >= out->data && got.value.data < out->data + out->len));
    return true;
}

static void fill(struct cache *c, unsigned k, uint64_t ticket, const struct record *rec)
{
    uint8_t keybuf[300];
    struct bytes key = key_of(k, keybuf);
    cache_fill(c, cache_hash(key), ticket, key, rec);
}

static uint64_t begin(struct cache *c, unsigned k)
{
    uint8_t keybuf[300];
    return cache_begin_fill(c, cache_hash(key_of(k, keybuf)));
}

static void update(struct cache *c, struct model *m, unsigned k, uint64_t *s)
{
    uint8_t keybuf[300];
    struct bytes key = key_of(k, keybuf);
    m->now[k] = make(m, s, rnd(s) % 5 ? RECORD_PUT : RECORD_DELETE);
    cache_update(c, cache_hash(key), key, &m->now[k]);
}

static void check_bounds(const struct cache *c, size_t max)
{
    struct cache_stats st;
    cache_stats(c, &st);
    assert_true(st.bytes <= max && st.max_bytes == max);
    assert_true(st.entries <= st.fills + st.updates);
}

/* A hit must be the newest record. Fills begin, other things happen, and then they come, too late
 * or in time. */
static void run_model(uint64_t seed, size_t max)
{
    enum { OPEN = 8 };
    struct open_fill {
        unsigned key;
        uint64_t ticket;
        struct record rec;
        bool on;
    } open[OPEN] = {0};
    uint64_t s = seed, hits = 0;
    struct model *m = calloc(1, sizeof(*m));
    struct cache *c = cache_new(max);
    struct buf out = BUF_INIT;
    assert_non_null(m);
    assert_non_null(c);
    for (size_t i = 0; i < PAYLOAD; i++)
        m->payload[i] = (uint8_t)rnd(&s);
    for (int step = 0; step < 60000; step++) {
        unsigned k = (unsigned)(rnd(&s) % (rnd(&s) % 3 ? 60 : KEYS));
        struct open_fill *f = &open[rnd(&s) % OPEN];
        switch (rnd(&s) % 8) {
        case 0:
            update(c, m, k, &s);
            break;
        case 1: /* finish a fill that may be stale: what it brings was the newest when it began */
            if (f->on)
                fill(c, f->key, f->ticket, &f->rec);
            f->on = false;
            break;
        case 2:
            if (m->now[k].kind == RECORD_PUT && !f->on)
                *f = (struct open_fill){k, begin(c, k), m->now[k], true};
            break;
        case 3:
            if (rnd(&s) % 500 == 0)
                cache_clear(c);
            break;
        default:
            if (get_checked(c, m, k, &out))
                hits++;
            else if (m->now[k].kind == RECORD_PUT)
                fill(c, k, begin(c, k), &m->now[k]);
        }
        if (step % 1000 == 0)
            check_bounds(c, max);
    }
    assert_true(hits > 500);
    cache_free(c);
    buf_deinit(&out);
    free(m);
}

static void test_cache_model(void **state)
{
    (void)state;
    static const size_t sizes[] = {128 << 10, 200000, 1 << 20, 16 << 20};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_model(seed, sizes[seed % 4]);
    }
}

static struct record plain(uint64_t version, struct bytes value)
{
    return (struct record){
        .version = {version, 0}, .kind = RECORD_PUT, .writer = BYTES_EMPTY, .value = value};
}

static bool has(struct cache *c, struct bytes key, uint64_t version)
{
    struct buf out = BUF_INIT;
    struct record rec;
    bool hit = cache_get(c, cache_hash(key), key, &out, &rec) && rec.version.hlc == version;
    buf_deinit(&out);
    return hit;
}

static void test_cache_fill_after_update_is_refused(void **state)
{
    (void)state;
    struct cache *c = cache_new(1 << 20);
    struct bytes key = BYTES_LIT("key");
    uint64_t h = cache_hash(key), ticket;
    struct record old = plain(1, BYTES_LIT("old")), new = plain(2, BYTES_LIT("new")),
                  del = plain(3, BYTES_EMPTY);
    del.kind = RECORD_DELETE;
    assert_non_null(c);

    ticket = cache_begin_fill(c, h);
    cache_update(c, h, key, &new); /* absent: not inserted, but the fill is void */
    assert_false(has(c, key, 2));
    cache_fill(c, h, ticket, key, &old);
    assert_false(has(c, key, 1));

    ticket = cache_begin_fill(c, h);
    cache_fill(c, h, ticket, key, &new);
    assert_true(has(c, key, 2));
    cache_fill(c, h, ticket, key, &old); /* the same ticket again: the bucket has changed */
    assert_true(has(c, key, 2));
    cache_update(c, h, key, &old); /* a write that comes after a newer one is not the newest */
    assert_true(has(c, key, 2));

    ticket = cache_begin_fill(c, h);
    cache_update(c, h, key, &del);
    assert_false(has(c, key, 2) || has(c, key, 3));
    cache_fill(c, h, ticket, key, &new);
    assert_false(has(c, key, 2));
    cache_fill(c, h, cache_begin_fill(c, h), key, &del); /* absence is not kept */
    assert_false(has(c, key, 3));

    ticket = cache_begin_fill(c, h);
    cache_clear(c);
    cache_fill(c, h, ticket, key, &new);
    assert_false(has(c, key, 2));
    struct cache_stats st;
    cache_stats(c, &st);
    assert_true(st.entries == 0 && st.fills == 1 && st.updates == 3);
    cache_free(c);
}

static void test_cache_size_changes(void **state)
{
    (void)state;
    static uint8_t bytes[RECORD_BY_REF + 1];
    static const size_t sizes[] = {10, 4000, 0, 200, RECORD_BY_REF, 64, 2000};
    struct cache *c = cache_new(1 << 20);
    struct bytes key = BYTES_LIT("grows and shrinks");
    uint64_t h = cache_hash(key);
    struct record rec = plain(1, BYTES(bytes, 100));
    assert_non_null(c);
    cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        rec = plain(i + 2, BYTES(bytes, sizes[i]));
        cache_update(c, h, key, &rec);
        assert_true(has(c, key, i + 2));
    }
    rec = plain(100,
                BYTES(bytes, RECORD_BY_REF + 1)); /* too large to keep: the smaller one must go */
    cache_update(c, h, key, &rec);
    assert_false(has(c, key, 8) || has(c, key, 100));
    cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    assert_false(has(c, key, 100));
    cache_free(c);
}

/* It is only advice: whatever is asked for, there or not, nothing changes. */
static void test_cache_ahead(void **state)
{
    (void)state;
    struct cache *c = cache_new(4 << 20), *none = cache_new(0);
    struct cache_stats before, after;
    assert_non_null(c);
    assert_non_null(none);
    for (uint64_t i = 0; i < 3000; i++) {
        struct bytes key = BYTES(&i, sizeof i);
        uint64_t h = cache_hash(key);
        struct record rec = plain(1, BYTES_LIT("value"));
        if (i % 3)
            cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    }
    cache_stats(c, &before);
    for (uint64_t i = 0; i < 6000; i++) {
        cache_ahead(c, cache_hash(BYTES(&i, sizeof i)));
        cache_ahead(none, cache_hash(BYTES(&i, sizeof i)));
    }
    cache_stats(c, &after);
    assert_memory_equal(&before, &after, sizeof before);
    cache_free(c);
    cache_free(none);
}

static void test_cache_holds_nothing(void **state)
{
    (void)state;
    struct bytes key = BYTES_LIT("key");
    uint64_t h = cache_hash(key);
    struct record rec = plain(1, BYTES_LIT("value"));
    for (size_t max = 0; max < 128 << 10; max += 40000) {
        struct cache *c = cache_new(max);
        assert_non_null(c);
        cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
        cache_update(c, h, key, &rec);
        cache_clear(c);
        assert_false(has(c, key, 1));
        check_bounds(c, max);
        cache_free(c);
    }
    cache_free(NULL);
}

/* Every allocation refused in turn: construction answers NULL, a get without memory misses, a fill
 * is dropped. */
static void test_cache_no_memory(void **state)
{
    (void)state;
    uint64_t nth = 1;
    struct cache *c;
    (void)mem_fail_hits();
    for (;; nth++) {
        mem_fail_at(nth, 0);
        c = cache_new(1 << 20);
        mem_fail_at(0, 0);
        if (mem_fail_hits() == 0)
            break;
        assert_null(c);
    }
    assert_true(nth > 3);
    assert_non_null(c);
    struct bytes key = BYTES_LIT("key");
    uint64_t h = cache_hash(key);
    struct record rec = plain(1, BYTES_LIT("value"));
    mem_fail_at(1, 1);
    cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    mem_fail_at(0, 0);
    assert_true(mem_fail_hits() > 0);
    assert_false(has(c, key, 1));
    cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    assert_true(has(c, key, 1));
    mem_fail_at(1, 1);
    assert_false(has(c, key, 1)); /* `out` cannot grow */
    mem_fail_at(0, 0);
    assert_true(has(c, key, 1));
    struct buf tight = BUF_INIT;
    buf_init(&tight, 2);
    assert_false(cache_get(c, h, key, &tight, &rec));
    assert_int_equal(tight.len, 0);
    buf_deinit(&tight);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_fill_after_update_is_refused),
        cmocka_unit_test(test_cache_size_changes),
        cmocka_unit_test(test_cache_holds_nothing),
        cmocka_unit_test(test_cache_ahead),
        cmocka_unit_test(test_cache_no_memory),
        cmocka_unit_test(test_cache_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
