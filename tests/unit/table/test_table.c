#include "base/alloc.h"
#include "storage/table/table_internal.h"
#include "support/tempdir.h"
#include "unit/table/check_table.h"
#include "unit/table/model_table.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t rnd(uint64_t *s)
{
    *s += 0x9e3779b97f4a7c15u;
    uint64_t z = *s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Keys that share long prefixes, hold zero bytes, and end on either side of the 16 bytes that nodes
 * compare as words. */
static struct bytes random_key(uint64_t *s, uint8_t out[48])
{
    static const uint8_t alphabet[] = {0, 0, 1, 'a', 0xff};
    size_t shared = (rnd(s) % 4) * 8, len = shared + rnd(s) % 6;
    for (size_t i = 0; i < len; i++)
        out[i] = i < shared ? (uint8_t)0 : alphabet[rnd(s) % sizeof(alphabet)];
    if (rnd(s) % 2 && len > 4)
        out[3] = (uint8_t)(rnd(s) % 3);
    return BYTES(out, len);
}

static struct record random_record(uint64_t *s, struct version v, uint8_t value[32],
                                   uint8_t writer[8])
{
    size_t value_len = rnd(s) % 33, writer_len = rnd(s) % 9;
    for (size_t i = 0; i < 32; i++)
        value[i] = (uint8_t)rnd(s);
    for (size_t i = 0; i < 8; i++)
        writer[i] = (uint8_t)rnd(s);
    return (struct record){
        .version = v,
        .parent = {77, 7}, /* must be ignored */
        .kind = rnd(s) % 4 ? RECORD_PUT : RECORD_DELETE,
        .type = rnd(s) % 2 ? RECORD_DOC : RECORD_RAW,
        .expires_ms = rnd(s) % 3 ? 0 : rnd(s),
        .writer = BYTES(writer, writer_len),
        .value = BYTES(value, value_len),
    };
}

static void check_chain(const struct model *m, size_t i, const struct table_entry *e, long j)
{
    for (; j >= 0; j--, e = table_entry_older(e)) {
        struct record got;
        assert_non_null(e);
        table_entry_record(e, &got);
        check_record(&got, &m->keys[i].puts[j]->rec);
        assert_true(bytes_eq(table_entry_key(e), model_key_bytes(m, i)));
    }
    assert_null(e);
}

static void check_point(const struct table *t, const struct model *m, struct bytes key,
                        struct version at)
{
    size_t i = model_lower(m, key);
    bool present = i < m->n_keys && bytes_eq(model_key_bytes(m, i), key);
    long j = present ? model_find(m, i, at) : -1;
    struct record got = {.kind = 99};
    assert_int_equal(table_get(t, key, at, &got), j >= 0);
    if (j >= 0)
        check_record(&got, &m->keys[i].puts[j]->rec);
    else
        assert_int_equal(got.kind, 99); /* untouched */
    check_chain(m, i, table_find(t, key, at), j);

    struct table_iter it;
    table_iter_init(&it, t);
    assert_false(table_iter_valid(&it));
    assert_int_equal(table_iter_seek(&it, key), i < m->n_keys);
    assert_int_equal(table_iter_valid(&it), i < m->n_keys);
    if (i < m->n_keys) {
        assert_true(bytes_eq(table_iter_key(&it), model_key_bytes(m, i)));
        check_chain(m, i, table_iter_find(&it, at), model_find(m, i, at));
    }
    assert_int_equal(table_iter_seek_before(&it, key), i > 0);
    if (i > 0)
        assert_true(bytes_eq(table_iter_key(&it), model_key_bytes(m, i - 1)));
}

static void check_walks(const struct table *t, const struct model *m)
{
    struct table_iter it;
    table_iter_init(&it, t);
    assert_false(table_iter_next(&it)); /* it stands nowhere */
    assert_false(table_iter_prev(&it));
    size_t i = 0;
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it), i++)
        assert_true(bytes_eq(table_iter_key(&it), model_key_bytes(m, i)));
    assert_int_equal(i, m->n_keys);
    for (bool on = table_iter_last(&it); on; on = table_iter_prev(&it))
        assert_true(bytes_eq(table_iter_key(&it), model_key_bytes(m, --i)));
    assert_int_equal(i, 0);
}

static void check_order(const struct table *t, const struct model *m)
{
    assert_true(table_count(t) == m->n_puts && table_keys(t) == m->n_keys);
    check_version(table_newest(t), m->n_puts ? m->puts[m->n_puts - 1]->rec.version : VERSION_NONE);
    for (size_t i = 0; i < m->n_puts; i++) {
        const struct table_entry *e = table_entry_nth(t, i);
        struct record got;
        assert_non_null(e);
        table_entry_record(e, &got);
        check_record(&got, &m->puts[i]->rec);
        size_t after = i;
        while (after < m->n_puts && version_cmp(m->puts[after]->rec.version, got.version) <= 0)
            after++;
        assert_true(table_entry_after(t, got.version) == after);
    }
    assert_null(table_entry_nth(t, m->n_puts));
    assert_true(table_entry_after(t, VERSION_NONE) == 0);
    assert_true(table_entry_after(t, VERSION_MAX) == m->n_puts);
}

/* The next version: now and then the same one for another key, or only another origin. */
static struct version next_version(uint64_t *s, struct version v)
{
    if (rnd(s) % 4 == 0)
        return (struct version){v.hlc, v.origin + 1};
    return (struct version){v.hlc + 1 + rnd(s) % 3, (uint32_t)(rnd(s) % 3)};
}

struct batch {
    struct table_item items[64];
    uint8_t keys[64][48], values[64][32], writers[64][8];
    size_t n;
};

/* One batch names a key once; all of it shares the version. Sorted half of the time. */
static void random_batch(uint64_t *s, struct version v, struct batch *b)
{
    size_t want = 1 + rnd(s) % 64;
    b->n = 0;
    for (size_t i = 0; i < want; i++) {
        struct bytes key = random_key(s, b->keys[b->n]);
        bool taken = false;
        for (size_t j = 0; j < b->n; j++)
            taken = taken || bytes_eq(b->items[j].key, key);
        if (taken)
            continue;
        b->items[b->n] =
            (struct table_item){key, random_record(s, v, b->values[b->n], b->writers[b->n])};
        b->n++;
    }
    if (rnd(s) % 2)
        return;
    for (size_t i = 1; i < b->n; i++)
        for (size_t j = i; j > 0 && bytes_cmp(b->items[j].key, b->items[j - 1].key) < 0; j--) {
            struct table_item tmp = b->items[j];
            b->items[j] = b->items[j - 1];
            b->items[j - 1] = tmp;
        }
}

/* All versions, by version and key, in the order and in the briefs. */
static void check_briefs(const struct table *t, const struct model *m)
{
    struct table_briefs briefs;
    struct table_brief b, last = {0};
    uint8_t kept[64];
    size_t n = 0;
    bool more;
    struct err err;
    err_init(&err);
    assert_true(table_count(t) == m->n_puts && table_keys(t) == m->n_keys);
    table_briefs_init(&briefs, t);
    assert_int_equal(table_briefs_next(&briefs, &more, &b, &err), ST_OK);
    for (; more; n++) {
        const struct table_entry *e = table_entry_nth(t, n);
        struct record rec;
        assert_non_null(e);
        table_entry_record(e, &rec);
        int c = version_cmp(last.version, b.version);
        assert_true(n == 0 || c < 0 || (c == 0 && bytes_cmp(last.key, b.key) < 0));
        check_version(rec.version, b.version);
        assert_int_equal(rec.kind, b.kind);
        assert_true(bytes_eq(table_entry_key(e), b.key));
        assert_int_equal(table_entry_rank(e), n);
        assert_true(b.key.len <= sizeof(kept));
        memcpy(kept, b.key.data, b.key.len);
        last = b;
        last.key.data = kept;
        uint64_t after = table_entry_after(t, b.version);
        assert_true(after > n && (after == m->n_puts || n + 1 < m->n_puts));
        assert_int_equal(table_briefs_next(&briefs, &more, &b, &err), ST_OK);
    }
    table_briefs_deinit(&briefs);
    assert_int_equal(n, m->n_puts);
    assert_null(table_entry_nth(t, n));
    assert_true(table_entry_after(t, VERSION_NONE) == 0);
    assert_true(table_entry_after(t, VERSION_MAX) == n);
}

/* Nothing can be told from the table itself, down to the last pointer. */
static void check_spilled(const struct table *t, const struct model *m, const char *path,
                          uint64_t *s)
{
    struct table *spilled = NULL;
    struct err err;
    err_init(&err);
    if (table_spill(t, env_linux(), path, &spilled, &err) != ST_OK)
        fail_msg("spill: %s", err.detail);
    if (path)
        check_walk(spilled);
    for (size_t i = 0; i < m->n_keys; i++)
        check_point(spilled, m, model_key_bytes(m, i), VERSION_MAX);
    for (int i = 0; i < 200; i++) {
        uint8_t key[48];
        struct version at = {1000 + rnd(s) % 200, (uint32_t)(rnd(s) % 4)};
        check_point(spilled, m, random_key(s, key), at);
    }
    check_walks(spilled, m);
    check_briefs(spilled, m);
    table_unref(spilled);
}

static void run_model(uint64_t seed)
{
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 16];
    assert_true(temp_dir_make(dir, "table"));
    snprintf(path, sizeof(path), "%s/spilled", dir);
    uint64_t s = seed;
    struct table *t = table_new();
    struct model m = {0};
    struct version v = {1000, 0};
    struct batch *b = calloc(1, sizeof(*b));
    assert_non_null(t);
    assert_non_null(b);
    for (int step = 0; step < 60; step++) {
        if (seed % 4 == 0 &&
            step == 10) /* the index is given up: what it does not know is searched for */
            atomic_store(&t->index.complete, false);
        v = next_version(&s, v);
        random_batch(&s, v, b);
        if (rnd(&s) % 2)
            b->n = 1;
        if (b->n == 1)
            assert_int_equal(table_put(t, b->items[0].key, &b->items[0].rec, NULL), ST_OK);
        else
            assert_int_equal(table_put_many(t, b->items, b->n, NULL), ST_OK);
        for (size_t i = 0; i < b->n; i++)
            model_put(&m, b->items[i].key, &b->items[i].rec);
        for (int i = 0; i < 20; i++) {
            uint8_t key[48];
            struct version at = {1000 + rnd(&s) % (v.hlc - 998), (uint32_t)(rnd(&s) % 4)};
            check_point(t, &m, random_key(&s, key), at);
        }
    }
    for (size_t i = 0; i < m.n_keys; i++)
        check_point(t, &m, model_key_bytes(&m, i), VERSION_MAX);
    check_walks(t, &m);
    check_order(t, &m);
    check_spilled(t, &m, path, &s);
    check_spilled(t, &m, NULL, &s);
    assert_true(temp_dir_remove(dir));
    model_deinit(&m);
    free(b);
    table_unref(t);
}

static void test_table_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        print_message("seed %llu\r", (unsigned long long)seed);
        run_model(seed);
    }
}

static void test_table_empty(void **state)
{
    (void)state;
    struct table *t = table_new();
    struct model m = {0};
    struct table_iter it;
    assert_non_null(t);
    table_iter_init(&it, t);
    assert_false(table_iter_first(&it) || table_iter_last(&it) ||
                 table_iter_seek(&it, BYTES_EMPTY));
    check_order(t, &m);
    check_walks(t, &m);
    check_point(t, &m, BYTES_LIT("k"), VERSION_MAX);
    uint64_t seed = 1;
    check_spilled(t, &m, NULL, &seed);
    assert_int_equal(table_put_many(t, NULL, 0, NULL), ST_OK);
    assert_true(table_ref(t) == t);
    table_unref(t);
    assert_true(table_bytes(t) > 0 && table_bytes(t) < 64 * 1024);
    table_unref(t);
    table_unref(NULL);
}

/* Versions of one key: every jump must land where walking would. */
static void test_table_many_versions(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct table *t = table_new();
    assert_non_null(t);
    for (uint64_t i = 1; i <= N; i++) {
        struct record rec = {
            .version = {i * 10, 0}, .kind = RECORD_PUT, .value = BYTES(&i, sizeof(i))};
        assert_int_equal(table_put(t, BYTES_LIT("one key"), &rec, NULL), ST_OK);
    }
    assert_true(table_keys(t) == 1 && table_count(t) == N);
    struct record rec;
    assert_false(table_get(t, BYTES_LIT("one key"), (struct version){9, UINT32_MAX}, &rec));
    for (uint64_t at = 10; at <= N * 10 + 15; at += 7) {
        uint64_t want = at / 10 < N ? at / 10 : N, got;
        assert_true(table_get(t, BYTES_LIT("one key"), (struct version){at, 0}, &rec));
        assert_true(rec.version.hlc == want * 10 && rec.parent.hlc == (want - 1) * 10);
        memcpy(&got, rec.value.data, sizeof(got));
        assert_true(got == want);
    }
    table_unref(t);
}

static void test_table_long_keys(void **state)
{
    (void)state;
    struct table *t = table_new();
    uint8_t *key = malloc(RECORD_KEY_MAX);
    assert_non_null(t);
    assert_non_null(key);
    memset(key, 'k', RECORD_KEY_MAX);
    for (size_t i = 0; i < 20; i++) {
        struct record rec = {.version = {i + 1, 0}, .kind = RECORD_PUT, .value = BYTES_EMPTY};
        assert_int_equal(table_put(t, BYTES(key, RECORD_KEY_MAX - i), &rec, NULL), ST_OK);
    }
    struct table_iter it;
    size_t len = RECORD_KEY_MAX - 20;
    table_iter_init(&it, t);
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it))
        assert_int_equal(table_iter_key(&it).len, ++len);
    assert_int_equal(len, RECORD_KEY_MAX);
    free(key);
    table_unref(t);
}

static void test_table_blobs_by_reference(void **state)
{
    (void)state;
    enum { BIG = RECORD_BY_REF + 1 };
    struct table *t = table_new();
    struct blob *b = blob_new(3 * BIG);
    assert_non_null(t);
    assert_non_null(b);
    for (size_t i = 0; i < b->len; i++)
        b->data[i] = (uint8_t)(i * 7);
    struct table_item items[3];
    for (size_t i = 0; i < 3; i++) {
        /* The last one is small enough to be copied, though it lies in the blob. */
        struct bytes value = BYTES(b->data + i * BIG, i == 2 ? RECORD_BY_REF : BIG);
        items[i] = (struct table_item){
            BYTES("abc" + i, 1),
            {.version = {5, 0}, .kind = RECORD_PUT, .writer = BYTES_LIT("w"), .value = value}};
    }
    size_t before = table_bytes(t);
    assert_int_equal(table_put_many(t, items, 3, b), ST_OK);
    assert_true(table_bytes(t) >= before + b->len);
    assert_int_equal(atomic_load(&b->refs), 2);
    items[0].rec.version.hlc = 6;
    assert_int_equal(table_put(t, items[0].key, &items[0].rec, b), ST_OK);
    assert_int_equal(atomic_load(&b->refs), 2); /* the same owner again is kept once */
    struct record rec;
    assert_true(table_get(t, BYTES_LIT("b"), VERSION_MAX, &rec));
    assert_ptr_equal(rec.value.data, b->data + BIG);
    assert_true(bytes_eq(rec.writer, BYTES_LIT("w")));
    assert_true(table_get(t, BYTES_LIT("c"), VERSION_MAX, &rec));
    assert_true(rec.value.data < b->data || rec.value.data >= b->data + b->len);
    assert_memory_equal(rec.value.data, b->data + 2 * BIG, RECORD_BY_REF);
    /* Without an owner a large value is copied. */
    items[1].rec.version.hlc = 7;
    assert_int_equal(table_put(t, items[1].key, &items[1].rec, NULL), ST_OK);
    assert_true(table_get(t, BYTES_LIT("b"), VERSION_MAX, &rec));
    assert_memory_equal(rec.value.data, b->data + BIG, BIG);
    assert_true(rec.value.data != b->data + BIG);
    table_unref(t);
    assert_int_equal(atomic_load(&b->refs), 1);
    blob_unref(b);
}

/* Fails every allocation in turn; a failed batch must leave what is readable as it was. */
static void test_table_no_memory(void **state)
{
    (void)state;
    mem_fail_at(1, 0);
    assert_null(table_new());
    mem_fail_at(2, 0);
    assert_null(table_new());
    mem_fail_at(0, 0);
    (void)mem_fail_hits();

    uint64_t s = 4711, failures = 0;
    struct table *t = table_new();
    struct model m = {0};
    struct batch *b = calloc(1, sizeof(*b));
    assert_non_null(t);
    assert_non_null(b);
    for (uint64_t step = 1; step <= 400; step++) {
        random_batch(&s, (struct version){step, 0}, b);
        for (uint64_t nth = 1;; nth++) {
            mem_fail_at(nth, 1);
            enum status st = table_put_many(t, b->items, b->n, NULL);
            mem_fail_at(0, 0);
            if (mem_fail_hits() == 0) {
                assert_int_equal(st, ST_OK);
                break;
            }
            assert_int_equal(st, ST_NO_MEMORY);
            failures++;
            check_order(t, &m);
        }
        for (size_t i = 0; i < b->n; i++)
            model_put(&m, b->items[i].key, &b->items[i].rec);
    }
    assert_true(failures > 5);
    check_order(t, &m);
    check_walks(t, &m);
    model_deinit(&m);
    free(b);
    table_unref(t);
}

/* After a reserve, puts of as much cannot fail, in whatever calls they come. */
static void test_table_reserve(void **state)
{
    (void)state;
    struct table *t = table_new();
    struct batch *b = calloc(1, sizeof(*b));
    uint64_t s = 12;
    assert_non_null(t);
    assert_non_null(b);
    for (uint64_t round = 1; round <= 300; round++) {
        size_t bytes = 0;
        random_batch(&s, (struct version){round, 0}, b);
        for (size_t i = 0; i < b->n; i++)
            bytes += b->items[i].key.len + b->items[i].rec.writer.len + b->items[i].rec.value.len;
        mem_fail_at(1, 1);
        uint64_t before = table_count(t);
        enum status refused = table_reserve(t, b->n, bytes);
        mem_fail_at(0, 0);
        assert_int_equal(refused, mem_fail_hits() ? ST_NO_MEMORY : ST_OK);
        assert_true(table_count(t) == before);
        assert_int_equal(table_reserve(t, b->n, bytes), ST_OK);
        mem_fail_at(1, 1);
        enum status st = ST_OK;
        for (size_t i = 0; i < b->n && round % 2; i++)
            st = st == ST_OK ? table_put(t, b->items[i].key, &b->items[i].rec, NULL) : st;
        if (round % 2 == 0)
            st = table_put_many(t, b->items, b->n, NULL);
        mem_fail_at(0, 0);
        assert_int_equal(st, ST_OK);
        assert_true(mem_fail_hits() == 0 && table_count(t) == before + b->n);
    }
    free(b);
    table_unref(t);
}

/* Rising, falling and interleaved batches take the finger's different ways. */
static void test_table_finger(void **state)
{
    (void)state;
    enum { BATCH = 100, ROUNDS = 60 };
    struct table *t = table_new();
    struct table_item items[BATCH];
    uint8_t keys[BATCH][12];
    assert_non_null(t);
    for (uint32_t r = 0; r < ROUNDS; r++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            uint32_t n = r % 3 == 0   ? r * BATCH + i          /* appended */
                         : r % 3 == 1 ? i * ROUNDS + r         /* between all others */
                                      : 90000 - r * BATCH - i; /* falling */
            snprintf((char *)keys[i], sizeof(keys[i]), "%08u", n);
            struct record rec = {
                .version = {r + 1, 0}, .kind = RECORD_PUT, .value = BYTES(keys[i], 8)};
            items[i] = (struct table_item){BYTES(keys[i], 8), rec};
        }
        assert_int_equal(table_put_many(t, items, BATCH, NULL), ST_OK);
    }
    struct table_iter it;
    uint8_t last[8] = {0};
    uint64_t n = 0;
    table_iter_init(&it, t);
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it), n++) {
        assert_true(memcmp(table_iter_key(&it).data, last, 8) > 0);
        memcpy(last, table_iter_key(&it).data, 8);
        assert_non_null(table_find(t, table_iter_key(&it), VERSION_MAX));
    }
    assert_true(n == table_keys(t));
    for (uint64_t i = 0; i < table_count(t); i++) {
        const struct table_entry *e = table_entry_nth(t, i);
        struct record rec, found;
        table_entry_record(e, &rec);
        assert_true(table_get(t, rec.value, rec.version, &found));
        check_version(found.version, rec.version);
    }
    table_unref(t);
}

/* A group of writers may write one key several times, each under a version of its own: of a key that is
 * new the later ones find what the first has made, also where all of them are looked up together. */
static void test_table_key_again_in_group(void **state)
{
    (void)state;
    enum { N = 16, KEYS = 5 };
    struct table *t = table_new();
    struct table_item items[N];
    uint8_t keys[N][8];
    assert_non_null(t);
    for (uint64_t round = 0; round < 3; round++) { /* of the last one all are known */
        for (uint32_t i = 0; i < N; i++) {
            uint32_t key = (i * 3 % KEYS + (round ? 2 : 0));
            snprintf((char *)keys[i], sizeof keys[i], "key%u", key);
            struct record rec = {
                .version = {round * N + i + 1, 0}, .kind = RECORD_PUT, .value = BYTES(keys[i], 4)};
            items[i] = (struct table_item){BYTES(keys[i], 4), rec};
        }
        assert_int_equal(table_put_many(t, items, N, NULL), ST_OK);
        assert_int_equal(table_keys(t), round ? KEYS + 2 : KEYS);
        for (uint32_t i = 0; i < N; i++) {
            struct record found;
            assert_true(table_get(t, items[i].key, items[i].rec.version, &found));
            check_version(found.version, items[i].rec.version);
            assert_true(bytes_eq(found.value, items[i].key));
        }
    }
    assert_int_equal(table_count(t), 3 * N);
    table_unref(t);
}

/* What one table gave back the next one takes, up to the bound; trimmed, nothing is kept. */
static void test_table_pages(void **state)
{
    (void)state;
    enum { MIB = 1 << 20 };
    struct table_pages *pages = table_pages_new(6 * MIB);
    assert_non_null(pages);
    struct table *t = check_filled(pages, 0);
    assert_int_equal(table_pages_bytes(pages), 0);
    table_unref(t);
    assert_int_equal(table_pages_bytes(pages), 6 * MIB);
    t = check_filled(pages, 1);
    assert_int_equal(table_pages_bytes(pages), 0);
    table_unref(t);
    assert_int_equal(table_pages_bytes(pages), 6 * MIB);
    table_pages_trim(pages);
    assert_int_equal(table_pages_bytes(pages), 0);
    t = check_filled(pages, 2); /* which outlives them */
    table_pages_unref(pages);
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_empty),
        cmocka_unit_test(test_table_model),
        cmocka_unit_test(test_table_many_versions),
        cmocka_unit_test(test_table_long_keys),
        cmocka_unit_test(test_table_blobs_by_reference),
        cmocka_unit_test(test_table_no_memory),
        cmocka_unit_test(test_table_reserve),
        cmocka_unit_test(test_table_finger),
        cmocka_unit_test(test_table_key_again_in_group),
        cmocka_unit_test(test_table_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
