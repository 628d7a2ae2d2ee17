#include "base/env/thread.h"
#include "storage/cache/cache.h"
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* One writer raises versions; readers get and fill from a store beside the cache. A value says its
 * key and version throughout, so a torn or mixed read shows; and a reader knows the version that
 * was applied before it asked, so an old value that a slow fill brought back shows, too. */
enum {
    KEYS = 300,
    HOT = 4,
    READERS = 3,
    WRITES = 40000,
    HITS = 40000,
    LIMIT = 200000,
    WORDS = 260
};

struct shared {
    struct cache *c;
    _Atomic uint64_t written[KEYS]; /* what the store holds */
    _Atomic uint64_t applied[KEYS]; /* after the cache was told, too: visible to readers */
    _Atomic bool done;
    _Atomic uint64_t bad, hits;
};

struct cache_reader {
    struct shared *sh;
    unsigned id;
};

static struct bytes key_of(uint64_t k, uint8_t out[16])
{
    memset(out, 'k', 16);
    memcpy(out + 8, &k, 8);
    return BYTES(out, 16);
}

static bool deleted(uint64_t version)
{
    return version % 8 == 0;
}

/* Half of the keys keep their length, so that they are updated in place. */
static size_t value_len(uint64_t k, uint64_t version)
{
    return k % 2 ? 8 * (WORDS - 2) : 16 + 8 * ((k * 7 + version * 13) % (WORDS - 2));
}

static struct record make(uint64_t k, uint64_t version, uint64_t *words)
{
    size_t len = value_len(k, version);
    for (size_t i = 0; i < len / 8; i++)
        words[i] = k << 32 | version;
    return (struct record){.version = {version, 0},
                           .parent = {version - 1, 0},
                           .kind = deleted(version) ? RECORD_DELETE : RECORD_PUT,
                           .writer = BYTES_LIT("w"),
                           .value = BYTES(words, len)};
}

static bool right(uint64_t k, uint64_t applied_before, const struct record *rec)
{
    uint64_t version = rec->version.hlc;
    if (version < applied_before || deleted(version) || rec->parent.hlc != version - 1)
        return false;
    if (rec->value.len != value_len(k, version) || !bytes_eq(rec->writer, BYTES_LIT("w")))
        return false;
    for (size_t i = 0; i < rec->value.len; i += 8) {
        uint64_t w;
        memcpy(&w, rec->value.data + i, sizeof(w));
        if (w != (k << 32 | version))
            return false;
    }
    return true;
}

static void reader(void *arg)
{
    struct cache_reader *r = arg;
    struct shared *sh = r->sh;
    struct buf out = BUF_INIT;
    uint64_t s = r->id, words[WORDS];
    for (uint64_t n = 0; !atomic_load(&sh->done); n++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        uint64_t k = (s >> 33) % ((s >> 20) % 4 ? HOT : KEYS);
        uint8_t keybuf[16];
        struct bytes key = key_of(k, keybuf);
        uint64_t h = cache_hash(key), before = atomic_load(&sh->applied[k]);
        struct record rec;
        if (cache_get(sh->c, h, key, &out, &rec)) {
            if (!right(k, before, &rec))
                atomic_fetch_add(&sh->bad, 1);
            atomic_fetch_add(&sh->hits, 1);
            continue;
        }
        uint64_t ticket = cache_begin_fill(sh->c, h), version = atomic_load(&sh->written[k]);
        if (deleted(version))
            continue;
        if (n % 4 == 0) /* a slow reader */
            sched_yield();
        rec = make(k, version, words);
        cache_fill(sh->c, h, ticket, key, &rec);
    }
    buf_deinit(&out);
}

static void write_one(struct shared *sh, uint64_t k, uint64_t *words)
{
    uint8_t keybuf[16];
    struct bytes key = key_of(k, keybuf);
    uint64_t version = atomic_load(&sh->written[k]) + 1;
    struct record rec = make(k, version, words);
    atomic_store(&sh->written[k],
                 version); /* the table first, then the cache, then it is visible */
    cache_update(sh->c, cache_hash(key), key, &rec);
    atomic_store(&sh->applied[k], version);
}

static void test_cache_stress(void **state)
{
    (void)state;
    struct shared *sh = calloc(1, sizeof(*sh));
    struct env_thread threads[READERS];
    struct cache_reader readers[READERS];
    uint64_t words[WORDS], s = 99;
    assert_non_null(sh);
    sh->c = cache_new(LIMIT);
    assert_non_null(sh->c);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct cache_reader){sh, i + 1};
        assert_int_equal(env_thread_start(&threads[i], "reader", reader, &readers[i], NULL), ST_OK);
    }
    for (uint64_t i = 0; i < WRITES || (atomic_load(&sh->hits) < HITS && i < 1000 * WRITES); i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        write_one(sh, (s >> 33) % ((s >> 20) % 4 ? HOT : KEYS), words);
        if (i % 32 == 0)
            sched_yield(); /* on a busy machine the readers want their turn, too */
        if (i % 10000 == 9999)
            cache_clear(sh->c);
    }
    atomic_store(&sh->done, true);
    for (unsigned i = 0; i < READERS; i++)
        env_thread_join(&threads[i]);
    struct cache_stats st;
    cache_stats(sh->c, &st);
    print_message("bad %llu hits %llu\n", (unsigned long long)atomic_load(&sh->bad),
                  (unsigned long long)atomic_load(&sh->hits));
    assert_true(atomic_load(&sh->bad) == 0);
    assert_true(st.hits == atomic_load(&sh->hits) && st.hits >= HITS);
    assert_true(st.bytes <= LIMIT && st.fills > 0);
    cache_free(sh->c);
    free(sh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cache_stress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
