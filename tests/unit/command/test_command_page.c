/* Pages of scans and histories, with writes, checkpoints, drops and vacuums going on between them:
 * all pages together are one read at the moment of the first. */
#include "command_world.h"

#include <stdlib.h>

struct taken {
    struct world *w;
    struct buf rows; /* struct row, one after the other */
    size_t in_page, bytes, max_rows, max_bytes;
    bool refuses, refused, more_seen;
    int collection;
};
struct row {
    int key;
    bool deleted;
    struct version version;
    uint64_t value_hash;
};

static int number_of(struct bytes key)
{
    for (int i = 0; i < WORLD_KEYS; i++)
        if (bytes_eq(key, world_key(i)))
            return i;
    fail_msg("a key of %zu bytes that nobody wrote", key.len);
    return -1;
}

static uint64_t sum(struct bytes b)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < b.len; i++)
        h = (h ^ b.data[i]) * 1099511628211u;
    return h;
}

static int take(void *arg, const struct command_row *row, struct err *err)
{
    struct taken *t = arg;
    (void)err;
    assert_true(bytes_eq(row->collection, world_name(t->collection)));
    assert_true(t->in_page < t->max_rows);
    size_t n = row->key.len + row->rec.value.len + row->rec.writer.len;
    assert_true(t->in_page == 0 || t->bytes + n <= t->max_bytes);
    assert_false(t->refused);
    if (t->refuses && test_rng_chance(&t->w->rng, 1, 5)) {
        t->refused = true;
        return 0;
    }
    struct row r = {number_of(row->key), row->rec.kind == RECORD_DELETE, row->rec.version,
                    sum(row->rec.value)};
    assert_int_equal(buf_append(&t->rows, &r, sizeof(r)), ST_OK);
    t->in_page++;
    t->bytes += n;
    return 1;
}

static struct command_page random_page(struct taken *t, const struct buf *token)
{
    struct test_rng *r = &t->w->rng;
    struct command_page p = {.token = buf_bytes(token)};
    if (test_rng_chance(r, 2, 3))
        p.max_rows = (uint32_t)test_rng_between(r, 1, 9);
    if (test_rng_chance(r, 1, 3))
        p.max_bytes = (size_t)test_rng_between(r, 1, 200);
    t->max_rows = p.max_rows ? p.max_rows : COMMAND_PAGE_ROWS;
    t->max_bytes = p.max_bytes ? p.max_bytes : COMMAND_PAGE_BYTES;
    t->in_page = t->bytes = 0;
    t->refused = false;
    return p;
}

static void check_end(const struct taken *t, const struct command_page_end *end,
                      const struct buf *token)
{
    assert_int_equal(end->rows, t->in_page);
    assert_int_equal(end->bytes, t->bytes);
    assert_int_equal(end->more, token->len > 0);
    assert_true(!t->refused || end->more);
    if (end->more)
        assert_int_equal(strlen((const char *)token->data), token->len);
}

static size_t n_rows(const struct taken *t)
{
    return t->rows.len / sizeof(struct row);
}

static void same_row(const struct taken *t, size_t i, const struct event *e, bool keys_only)
{
    struct row r;
    struct buf value = BUF_INIT;
    assert_true(i < n_rows(t));
    memcpy(&r, t->rows.data + i * sizeof(r), sizeof(r));
    if (e->kind == EVENT_PUT && !keys_only)
        world_value(e, &value);
    assert_int_equal(r.key, e->key);
    assert_int_equal(r.deleted, e->kind == EVENT_DELETE);
    assert_int_equal(version_cmp(r.version, e->version), 0);
    assert_true(r.value_hash == sum(buf_bytes(&value)));
    buf_deinit(&value);
}

/* ---- scans ---- */

static struct bytes random_bound(struct world *w, uint32_t in)
{
    return test_rng_chance(&w->rng, 1, in) ? world_key((int)test_rng_below(&w->rng, WORLD_KEYS))
                                           : BYTES_EMPTY;
}

static struct command_scan random_scan(struct world *w, struct command_at *at)
{
    struct command_scan c = {
        .collection = world_name((int)test_rng_below(&w->rng, WORLD_COLLECTIONS)),
        .options = {.prefix = random_bound(w, 4),
                    .from = random_bound(w, 4),
                    .to = random_bound(w, 4),
                    .reverse = test_rng_chance(&w->rng, 1, 2),
                    .keys_only = test_rng_chance(&w->rng, 1, 4),
                    .limit =
                        test_rng_chance(&w->rng, 1, 4) ? test_rng_between(&w->rng, 1, 20) : 0}};
    *at = (struct command_at){0};
    if (w->n > 0 && test_rng_chance(&w->rng, 1, 3)) {
        const struct event *e = &w->events[test_rng_below(&w->rng, w->n)];
        at->version = e->version;
        at->time_ms = version_ms(e->version);
        /* Versions may run ahead of the clock by a little, but reads at a time may not. */
        bool past = at->time_ms <= env_now_ms(w->env) && test_rng_chance(&w->rng, 1, 2);
        at->kind = past ? COMMAND_AT_TIME : COMMAND_AT_VERSION;
        c.at = at;
    }
    return c;
}

static int by_key(const void *a, const void *b)
{
    return bytes_cmp(world_key(*(const int *)a), world_key(*(const int *)b));
}

static void check_scan(const struct taken *t, const struct command_scan *c, struct version at,
                       uint64_t at_ms)
{
    int keys[WORLD_KEYS];
    size_t n = 0;
    for (int i = 0; i < WORLD_KEYS; i++)
        keys[i] = i;
    qsort(keys, WORLD_KEYS, sizeof(keys[0]), by_key);
    for (int i = 0; i < WORLD_KEYS; i++) {
        int k = keys[c->options.reverse ? WORLD_KEYS - 1 - i : i];
        struct bytes key = world_key(k);
        const struct event *e = world_find(t->w, t->collection, k, at, at_ms);
        if (!e || !bytes_has_prefix(key, c->options.prefix) ||
            bytes_cmp(key, c->options.from) < 0 ||
            (c->options.to.len && bytes_cmp(key, c->options.to) >= 0) ||
            (c->options.limit && n == c->options.limit))
            continue;
        same_row(t, n++, e, c->options.keys_only);
    }
    assert_int_equal(n_rows(t), n);
}

static void one_scan(struct world *w, bool vacuum)
{
    struct command_at at;
    struct command_scan c = random_scan(w, &at);
    struct taken t = {.w = w, .refuses = test_rng_chance(&w->rng, 1, 3)};
    struct buf token = BUF_INIT;
    struct command_page_end end = {.more = true};
    struct version moment = VERSION_NONE;
    uint64_t at_ms = 0;
    enum status st = ST_OK;
    t.collection = bytes_eq(c.collection, world_name(0)) ? 0 : 1;
    unsigned vacuums = c.at ? 0 : w->vacuums; /* what went before matters to the past alone */
    for (int pages = 0; end.more; pages++) {
        struct command_page p = random_page(&t, &token);
        uint64_t before_ms = env_now_ms(w->env);
        st = command_scan_page(&w->db, &c, &p, take, &t, &end, &token, &w->err);
        if (st != ST_OK)
            break;
        check_end(&t, &end, &token);
        if (pages == 0) {
            moment = (struct version){end.at.hlc, UINT32_MAX};
            at_ms = c.at ? version_ms(moment) : before_ms;
        }
        assert_int_equal(end.at.hlc, moment.hlc);
        world_meanwhile(w, vacuum);
    }
    if (st == ST_OK)
        check_scan(&t, &c, moment, at_ms);
    else if (st != ST_BELOW_HORIZON || w->vacuums == vacuums)
        fail_msg("page: %s: %s", status_name(st), w->err.detail);
    buf_deinit(&token);
    buf_deinit(&t.rows);
}

/* ---- histories ---- */

static void check_history(const struct taken *t, int key, uint64_t limit, struct version at)
{
    size_t n = 0;
    for (size_t i = t->w->n; i-- > 0;) {
        const struct event *e = &t->w->events[i];
        if (e->collection != t->collection || version_cmp(e->version, at) > 0)
            continue;
        if (e->kind == EVENT_DROP || (limit && n == limit))
            break;
        if (e->key != key)
            continue;
        same_row(t, n++, e, false);
    }
    assert_int_equal(n_rows(t), n);
}

static void one_history(struct world *w)
{
    struct taken t = {.w = w, .refuses = test_rng_chance(&w->rng, 1, 3)};
    struct buf token = BUF_INIT;
    struct command_page_end end = {.more = true};
    struct version moment = VERSION_NONE;
    int key = (int)test_rng_below(&w->rng, WORLD_KEYS);
    if (w->n > 0 && test_rng_chance(&w->rng, 3, 4))
        key = w->events[test_rng_below(&w->rng, w->n)].key;
    t.collection = (int)test_rng_below(&w->rng, WORLD_COLLECTIONS);
    struct command_history c = {.collection = world_name(t.collection),
                                .key = world_key(key),
                                .limit = test_rng_chance(&w->rng, 1, 4) ? 3 : 0};
    for (int pages = 0; end.more; pages++) {
        struct command_page p = random_page(&t, &token);
        assert_ok(w, command_history_page(&w->db, &c, &p, take, &t, &end, &token, &w->err));
        check_end(&t, &end, &token);
        if (pages == 0)
            moment = (struct version){end.at.hlc, UINT32_MAX};
        assert_int_equal(end.at.hlc, moment.hlc);
        world_meanwhile(w, false);
    }
    check_history(&t, key, c.limit, moment);
    buf_deinit(&token);
    buf_deinit(&t.rows);
}

static void pages_are_one_read(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 300)
    {
        struct world w;
        world_init(&w, seed);
        for (int i = 0; i < 60; i++)
            world_write(&w);
        for (int i = 0; i < 4; i++) {
            one_scan(&w, false);
            one_history(&w);
        }
        world_deinit(&w);
    }
}

static void or_say_that_retention_overtook_them(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 200)
    {
        struct world w;
        world_init(&w, seed);
        for (int i = 0; i < 60; i++)
            world_write(&w);
        for (int i = 0; i < 6; i++)
            one_scan(&w, true);
        world_deinit(&w);
    }
}

/* ---- lists ---- */

struct names {
    struct buf text;
    size_t n;
};

static int take_name(void *arg, const struct command_row *row, struct err *err)
{
    struct names *names = arg;
    (void)err;
    assert_false(version_is_none(row->rec.version));
    assert_int_equal(buf_append(&names->text, row->key.data, row->key.len), ST_OK);
    assert_int_equal(buf_append_u8(&names->text, ' '), ST_OK);
    names->n++;
    return 1;
}

typedef enum status (*list_fn)(const struct command_db *, const struct command_page *,
                               command_row_fn, void *, struct command_page_end *, struct buf *,
                               struct err *);

static void check_list(struct world *w, list_fn list, uint32_t rows, const char *want)
{
    struct names names = {0};
    struct buf token = BUF_INIT;
    struct command_page_end end = {.more = true};
    while (end.more) {
        struct command_page p = {.max_rows = rows, .token = buf_bytes(&token)};
        size_t before = names.n;
        assert_ok(w, list(&w->db, &p, take_name, &names, &end, &token, &w->err));
        assert_int_equal(names.n - before, end.rows);
        assert_true(end.rows <= rows);
    }
    assert_string_equal(buf_cstr(&names.text), want);
    buf_deinit(&names.text);
    buf_deinit(&token);
}

static void lists_come_by_pages(void **state)
{
    static const char *const names[] = {"b", "a", "ab", "c", "a~", "z"};
    struct world w;
    struct version v;
    (void)state;
    world_init(&w, 1);
    check_list(&w, command_collections_page, 3, "");
    for (size_t i = 0; i < 6; i++) {
        struct command_put c = {.collection = BYTES_STR(names[i]),
                                .key = BYTES_LIT("k"),
                                .value = {COMMAND_RAW, BYTES_EMPTY}};
        assert_ok(&w, command_put(&w.db, &c, &v, &w.err));
        assert_ok(&w, command_snapshot_create(&w.db, BYTES_STR(names[i]), NULL, &v, &w.err));
    }
    assert_ok(&w, command_collection_drop(&w.db, BYTES_LIT("c"), NULL, &w.err));
    for (uint32_t rows = 1; rows < 8; rows++) {
        check_list(&w, command_collections_page, rows, "a ab a~ b z ");
        check_list(&w, command_snapshots_page, rows, "a ab a~ b c z ");
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_one_read),
        cmocka_unit_test(or_say_that_retention_overtook_them),
        cmocka_unit_test(lists_come_by_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
