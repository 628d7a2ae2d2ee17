/* Where a feed stands: tokens from elsewhere, and failing memory at every point, without a gap or a
 * repeat. */
#include "base/alloc.h"
#include "node/feed/feed.h"
#include "node/feed/token.h"
#include "node/range/range.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 40, BATCHES = 100, IN_BATCH = 10000 };

struct world {
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct store *s;
    struct err err;
};

static void write_one(struct world *w, const char *name, int n)
{
    struct collection *c;
    uint8_t key[STORE_ROUTE_BYTES + 1];
    assert_int_equal(store_collection_open(w->s, BYTES_STR(name), BYTES_EMPTY, &c, &w->err), ST_OK);
    uint32_t id = collection_id(c);
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(id >> (24 - 8 * i));
    key[4] = (uint8_t)n;
    struct entry_op op = {
        .key = BYTES(key, sizeof(key)), .kind = RECORD_PUT, .value = BYTES(key, sizeof(key))};
    struct store_write sw = {.collections = &c, .n_collections = 1};
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, &w->err), ST_OK);
    assert_int_equal(store_propose(w->s, &sw, &w->err), ST_OK);
    blob_unref(sw.entry);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_true(temp_dir_make(w->dir, "feed"));
    snprintf(w->folder, sizeof(w->folder), "%s/db", w->dir);
    struct store_options o = {
        .engine_name = "mem", .engine_open = engine_mem_open, .sync = STORE_SYNC_OFF};
    assert_int_equal(store_open(env_linux(), w->folder, &o, &w->s, &w->err), ST_OK);
    for (int i = 0; i < ROWS; i++) {
        write_one(w, i % 2 ? "a" : "b", i);
        if (i == ROWS / 2)
            assert_int_equal(store_checkpoint(w->s, &w->err), ST_OK);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(store_close(w->s, &w->err), ST_OK);
    bool gone = temp_dir_remove(w->dir);
    free(w);
    return gone ? 0 : -1;
}

static enum status open_at(struct world *w, struct token t, struct feed **ret)
{
    struct buf text = BUF_INIT;
    struct feed_options o = {0};
    assert_int_equal(token_encode(&t, &text), ST_OK);
    enum status st = feed_open(w->s, buf_bytes(&text), &o, ret, &w->err);
    buf_deinit(&text);
    return st;
}

static void refuses_what_this_folder_has_not_seen(void **state)
{
    struct world *w = *state;
    struct feed *f;
    struct version newest = store_visible(w->s);
    struct token t = {.range = RANGE_FIRST, .version = newest, .key = BYTES_LIT("\0\0\0\x10z")};
    assert_int_equal(open_at(w, t, &f), ST_OK);
    feed_close(f);
    t.range = 9;
    assert_int_equal(open_at(w, t, &f), ST_INVALID_ARGUMENT);
    t.range = RANGE_FIRST;
    t.version = version_at_ms(version_ms(newest) + 3600 * 1000);
    assert_int_equal(open_at(w, t, &f), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(w->err.detail, "not seen"));
    /* A little ahead of the newest write, but not of the clock: what comes gets above it. */
    env_sleep_ms(env_linux(), 3);
    t.version = version_at_ms(version_ms(newest) + 1);
    assert_int_equal(open_at(w, t, &f), ST_OK);
    struct feed_row row;
    assert_int_equal(feed_next(f, &row, &w->err), 0);
    write_one(w, "a", 200);
    assert_true(feed_wait(f, 1000, NULL));
    assert_int_equal(feed_next(f, &row, &w->err), 1);
    assert_int_equal(row.key.data[0], 200);
    assert_int_equal(feed_next(f, &row, &w->err), 0);
    assert_false(feed_wait(f, 0, NULL));
    feed_close(f);
}

/* After any failure the feed goes on behind the last row it told. */
static void goes_on_after_failing_memory(void **state)
{
    struct world *w = *state;
    struct feed_options o = {.collection = BYTES_LIT("a"), .values = true};
    for (uint64_t nth = 1;; nth++) {
        struct feed *f = NULL;
        struct feed_row row;
        int told = 1; /* odd numbers are in a */
        mem_fail_hits();
        mem_fail_at(nth, 0);
        if (feed_open(w->s, BYTES_EMPTY, &o, &f, &w->err) != ST_OK) {
            assert_null(f);
            mem_fail_at(0, 0);
            continue;
        }
        for (int fails = 0;;) {
            int rc = feed_next(f, &row, &w->err);
            if (rc == 0)
                break;
            if (rc < 0) {
                assert_int_equal(rc, -(int)ST_NO_MEMORY);
                assert_true(++fails < 3);
                continue;
            }
            assert_int_equal(row.key.data[0], told);
            assert_int_equal(row.rec.value.data[STORE_ROUTE_BYTES], told);
            told += 2;
        }
        mem_fail_at(0, 0);
        feed_close(f);
        assert_int_equal(told, ROWS + 1);
        if (mem_fail_hits() == 0)
            break; /* it was further than all of it */
    }
}

/* A row that was taken back comes again, and counts once. */
static void takes_a_row_back(void **state)
{
    struct world *w = *state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 20)
    {
        struct test_rng r;
        struct feed *f;
        struct feed_row row;
        struct buf before = BUF_INIT;
        test_rng_init(&r, seed);
        struct feed_options o = {.values = test_rng_chance(&r, 1, 2), .limit = ROWS - 3};
        assert_int_equal(feed_open(w->s, BYTES_EMPTY, &o, &f, &w->err), ST_OK);
        for (int told = 0; told < ROWS - 3;) {
            buf_clear(&before);
            assert_int_equal(buf_append(&before, feed_token(f), strlen(feed_token(f)) + 1), ST_OK);
            assert_int_equal(feed_next(f, &row, &w->err), 1);
            assert_int_equal(row.key.data[0], told);
            assert_string_not_equal(feed_token(f), (const char *)before.data);
            if (test_rng_chance(&r, 1, 2)) {
                feed_unread(f);
                assert_string_equal(feed_token(f), (const char *)before.data);
            } else {
                told++;
            }
        }
        assert_true(feed_limit_reached(f));
        assert_int_equal(feed_next(f, &row, &w->err), 0);
        buf_deinit(&before);
        feed_close(f);
    }
}

/* IN_BATCH rows of one version. */
static void write_batch(struct world *w, const char *name)
{
    struct collection *c;
    struct entry_op *ops = calloc(IN_BATCH, sizeof(*ops));
    uint8_t(*keys)[STORE_ROUTE_BYTES + 4] = calloc(IN_BATCH, sizeof(*keys));
    assert_true(ops && keys);
    assert_int_equal(store_collection_open(w->s, BYTES_STR(name), BYTES_EMPTY, &c, &w->err), ST_OK);
    uint32_t id = collection_id(c);
    for (uint32_t k = 0; k < IN_BATCH; k++) {
        for (int i = 0; i < 4; i++) {
            keys[k][i] = (uint8_t)(id >> (24 - 8 * i));
            keys[k][4 + i] = (uint8_t)(k >> (24 - 8 * i));
        }
        ops[k] = (struct entry_op){
            .key = BYTES(keys[k], sizeof(keys[k])), .kind = RECORD_PUT, .value = BYTES_LIT("")};
    }
    struct store_write sw = {.collections = &c, .n_collections = 1};
    assert_int_equal(entry_encode(ops, IN_BATCH, BYTES_EMPTY, &sw.entry, &w->err), ST_OK);
    assert_int_equal(store_propose(w->s, &sw, &w->err), ST_OK);
    blob_unref(sw.entry);
    free(ops);
    free(keys);
}

/* Follows a from `token` to the end of what is visible, where the token is replaced. Returns the rows
 * delivered; *ret_read: those read. */
static unsigned follow_a(struct world *w, struct buf *token, uint64_t *ret_read)
{
    struct store_stats before, after;
    struct feed_options o = {.collection = BYTES_LIT("a")};
    struct feed_row row;
    struct feed *f;
    unsigned n = 0;
    int rc;
    store_stats(w->s, &before);
    assert_int_equal(feed_open(w->s, buf_bytes(token), &o, &f, &w->err), ST_OK);
    while ((rc = feed_next(f, &row, &w->err)) > 0)
        n++;
    assert_int_equal(rc, 0);
    buf_clear(token);
    assert_int_equal(buf_append(token, feed_token(f), strlen(feed_token(f))), ST_OK);
    feed_close(f);
    store_stats(w->s, &after);
    *ret_read = after.changes_read - before.changes_read;
    return n;
}

/* A million rows of another collection, in the engine and in memory: they are read once, not by each who
 * comes back. */
static void rows_held_back_are_not_read_again(void **state)
{
    struct world *w = *state;
    struct buf token = BUF_INIT;
    uint64_t read;
    for (int i = 0; i < BATCHES; i++) {
        write_batch(w, "b");
        if (i == BATCHES / 2)
            assert_int_equal(store_checkpoint(w->s, &w->err), ST_OK);
    }
    assert_int_equal(follow_a(w, &token, &read), ROWS / 2);
    assert_int_equal(read, ROWS + BATCHES * IN_BATCH);
    assert_int_equal(follow_a(w, &token, &read), 0);
    assert_int_equal(read, 0);
    write_one(w, "b", 1);
    write_one(w, "a", 2);
    write_one(w, "b", 3);
    assert_int_equal(follow_a(w, &token, &read), 1);
    assert_int_equal(read, 3);
    assert_int_equal(follow_a(w, &token, &read), 0);
    assert_int_equal(read, 0);
    buf_deinit(&token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refuses_what_this_folder_has_not_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_after_failing_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_a_row_back, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_held_back_are_not_read_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
