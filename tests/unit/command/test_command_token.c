/* Tokens of pages: there and back, tampered with in every bit, and used beside another request. */
#include "base/base64url.h"
#include "base/hash.h"
#include "command_world.h"
#include "serve/command/page_token.h"

#include <string.h>

static bool same(const struct page_token *a, const struct page_token *b)
{
    return a->kind == b->kind && a->query == b->query && version_cmp(a->at, b->at) == 0 &&
           a->at_ms == b->at_ms && a->left == b->left && version_cmp(a->below, b->below) == 0 &&
           bytes_eq(a->key, b->key);
}

static struct page_token random_token(struct test_rng *r, uint8_t *key)
{
    struct page_token t = {.kind = (enum page_kind)test_rng_between(r, PAGE_SCAN, PAGE_SNAPSHOTS),
                           .key = BYTES_EMPTY};
    bool list = t.kind == PAGE_COLLECTIONS || t.kind == PAGE_SNAPSHOTS;
    size_t max = list ? STORE_NAME_MAX : test_rng_chance(r, 1, 30) ? STORE_KEY_MAX : 200;
    t.query = test_rng_any_width(r);
    if (!list) {
        t.at = (struct version){test_rng_any_width(r), (uint32_t)test_rng_u64(r)};
        t.left = test_rng_any_width(r);
    }
    if (t.kind == PAGE_SCAN)
        t.at_ms = test_rng_any_width(r) & ((UINT64_C(1) << COMMAND_TIME_BITS) - 1);
    if (t.kind == PAGE_HISTORY) {
        t.below.hlc = test_rng_below(r, t.at.hlc + (t.at.hlc < UINT64_MAX));
        t.below.origin = t.below.hlc < t.at.hlc ? (uint32_t)test_rng_u64(r) : 0;
    } else {
        t.key = BYTES(key, (size_t)test_rng_below(r, max + 1));
        test_rng_bytes(r, key, t.key.len);
    }
    return t;
}

static void there_and_back(void **state)
{
    static uint8_t key[STORE_KEY_MAX];
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        struct buf text = BUF_INIT, scratch = BUF_INIT;
        struct page_token back;
        test_rng_init(&r, seed);
        struct page_token t = random_token(&r, key);
        assert_int_equal(page_token_encode(&t, &text), ST_OK);
        assert_true(text.len <= COMMAND_TOKEN_MAX);
        assert_int_equal(strlen((const char *)text.data), text.len);
        assert_int_equal(page_token_decode(buf_bytes(&text), &scratch, &back, NULL), ST_OK);
        assert_true(same(&t, &back));
        buf_deinit(&text);
        buf_deinit(&scratch);
    }
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
    struct test_rng r;
    uint8_t key[STORE_KEY_MAX], raw[600], again[800];
    struct buf text = BUF_INIT, scratch = BUF_INIT;
    struct page_token back;
    struct err err;
    (void)state;
    test_rng_init(&r, 5);
    for (int n = 0; n < 16; n++) {
        struct page_token t = random_token(&r, key);
        if (t.key.len > 100)
            continue;
        assert_int_equal(page_token_encode(&t, &text), ST_OK);
        size_t len = text.len * 3 / 4;
        assert_true(base64url_get(buf_bytes(&text), raw));
        for (size_t bit = 0; bit < len * 8; bit++) {
            raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
            size_t chars = base64url_put(raw, len, again);
            err_init(&err);
            assert_int_equal(page_token_decode(BYTES(again, chars), &scratch, &back, &err),
                             ST_INVALID_ARGUMENT);
            assert_true(bytes_eq(command_field(&err), BYTES_LIT("page.token")));
            raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t cut = 0; cut < text.len; cut++)
            assert_int_equal(page_token_decode(BYTES(text.data, cut), &scratch, &back, &err),
                             ST_INVALID_ARGUMENT);
        assert_int_equal(buf_append(&text, "AAAA", 4), ST_OK);
        assert_int_equal(page_token_decode(buf_bytes(&text), &scratch, &back, &err),
                         ST_INVALID_ARGUMENT);
    }
    buf_deinit(&text);
    buf_deinit(&scratch);
}

static void what_contradicts_itself_is_refused(void **state)
{
    static const struct page_token bad[] = {
        {.kind = PAGE_SCAN, .below = {5, 0}, .key = {(const uint8_t *)"k", 1}},
        {.kind = PAGE_SCAN, .at_ms = UINT64_C(1) << 48, .key = {(const uint8_t *)"k", 1}},
        {.kind = PAGE_HISTORY, .at = {5, 0}, .below = {6, 0}},
        {.kind = PAGE_HISTORY, .at = {5, 0}, .below = {4, 0}, .key = {(const uint8_t *)"k", 1}},
        {.kind = PAGE_HISTORY, .at = {5, 0}, .at_ms = 1},
        {.kind = PAGE_COLLECTIONS, .at = {5, 0}, .key = {(const uint8_t *)"k", 1}},
        {.kind = PAGE_SNAPSHOTS, .left = 1, .key = {(const uint8_t *)"k", 1}},
    };
    struct buf text = BUF_INIT, scratch = BUF_INIT;
    struct page_token back;
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(page_token_encode(&bad[i], &text), ST_OK);
        assert_int_equal(page_token_decode(buf_bytes(&text), &scratch, &back, &err),
                         ST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.detail, "contradicts"));
    }
    buf_deinit(&text);
    buf_deinit(&scratch);
}

/* ---- beside a request ---- */

static int count(void *arg, const struct command_row *row, struct err *err)
{
    (void)row;
    (void)err;
    ++*(int *)arg;
    return 1;
}

static enum status next(struct world *w, const struct command_scan *c, const struct buf *token,
                        int *rows)
{
    struct buf out = BUF_INIT;
    struct command_page_end end;
    struct command_page p = {.max_rows = 2, .token = buf_bytes(token)};
    err_init(&w->err);
    enum status st = command_scan_page(&w->db, c, &p, count, rows, &end, &out, &w->err);
    buf_deinit(&out);
    return st;
}

static void fill(struct world *w)
{
    struct version v;
    for (int i = 0; i < 20; i++) {
        struct command_put c = {.collection = world_name(0),
                                .key = world_key(i),
                                .value = {COMMAND_RAW, BYTES_LIT("v")}};
        assert_ok(w, command_put(&w->db, &c, &v, &w->err));
        c.collection = world_name(1);
        assert_ok(w, command_put(&w->db, &c, &v, &w->err));
    }
}

static void a_token_belongs_to_its_request(void **state)
{
    struct world w;
    struct buf token = BUF_INIT;
    struct command_page_end end;
    struct command_page p = {.max_rows = 2};
    struct command_scan c = {.collection = world_name(0), .options.from = BYTES_LIT("a")}, other;
    int rows = 0;
    (void)state;
    world_init(&w, 1);
    fill(&w);
    assert_ok(&w, command_scan_page(&w.db, &c, &p, count, &rows, &end, &token, &w.err));
    assert_true(end.more);
    assert_int_equal(rows, 2);
    assert_ok(&w, next(&w, &c, &token, &rows));
    assert_int_equal(rows, 4);
    other = c;
    other.options.keys_only = true;
    assert_ok(&w, next(&w, &other, &token, &rows));

    struct command_at at = {.kind = COMMAND_AT_VERSION, .version = end.at};
#define OTHER(field, value)                                                                        \
    other = c;                                                                                     \
    other.field = (value);                                                                         \
    assert_fails(&w, next(&w, &other, &token, &rows), ST_INVALID_ARGUMENT,                         \
                 "page.token: it is of another request")
    OTHER(collection, world_name(1));
    OTHER(at, &at);
    OTHER(options.prefix, BYTES_LIT("a"));
    OTHER(options.from, BYTES_LIT(""));
    OTHER(options.to, BYTES_LIT("a"));
    OTHER(options.reverse, true);
    OTHER(options.limit, 9);
#undef OTHER
    struct command_history h = {.collection = world_name(0), .key = world_key(1)};
    p.token = buf_bytes(&token);
    struct buf untouched = BUF_INIT;
    assert_fails(&w, command_history_page(&w.db, &h, &p, count, &rows, &end, &untouched, &w.err),
                 ST_INVALID_ARGUMENT, "another request");
    assert_fails(&w, command_collections_page(&w.db, &p, count, &rows, &end, &untouched, &w.err),
                 ST_INVALID_ARGUMENT, "another request");
    assert_null(untouched.data);
    buf_deinit(&token);
    world_deinit(&w);
}

/* Whoever can compute a checksum can name any place and moment: it gets what the request beside it
 * could have asked for, and no more. */
static void a_forged_token_gives_nothing_more(void **state)
{
    struct world w;
    struct buf token = BUF_INIT, scratch = BUF_INIT;
    struct command_page_end end;
    struct command_page p = {.max_rows = 2};
    struct command_scan c = {.collection = world_name(0), .options.prefix = BYTES_LIT("a")};
    struct page_token t;
    int rows = 0;
    (void)state;
    world_init(&w, 1);
    fill(&w);
    assert_ok(&w, command_scan_page(&w.db, &c, &p, count, &rows, &end, &token, &w.err));
    assert_ok(&w, page_token_decode(buf_bytes(&token), &scratch, &t, &w.err));
    struct page_token forged = t;
    /* a place before the prefix: the bounds are those of the request */
    forged.key = BYTES_LIT("\0");
    rows = 0;
    assert_int_equal(page_token_encode(&forged, &token), ST_OK);
    assert_ok(&w, next(&w, &c, &token, &rows));
    assert_int_equal(rows, 2);
    /* behind it */
    forged.key = BYTES_LIT("b");
    rows = 0;
    assert_int_equal(page_token_encode(&forged, &token), ST_OK);
    assert_ok(&w, next(&w, &c, &token, &rows));
    assert_int_equal(rows, 0);
    /* a moment to come */
    forged = t;
    forged.at.hlc = version_at_ms(env_now_ms(w.env) + 3600 * 1000).hlc;
    assert_int_equal(page_token_encode(&forged, &token), ST_OK);
    assert_fails(&w, next(&w, &c, &token, &rows), ST_INVALID_ARGUMENT, "has not seen");
    /* one before all */
    forged.at.hlc = 1;
    rows = 0;
    assert_int_equal(page_token_encode(&forged, &token), ST_OK);
    assert_ok(&w, next(&w, &c, &token, &rows));
    assert_int_equal(rows, 0);
    buf_deinit(&token);
    buf_deinit(&scratch);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(a_token_belongs_to_its_request),
        cmocka_unit_test(a_forged_token_gives_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
