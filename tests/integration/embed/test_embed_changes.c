/* The change feed: no gap, no repeat, from any token, across checkpoints and reopening; filters;
 * watching. */
#include "embed_util.h"

#include <stdio.h>

enum { CHANGES_MAX = 2000 };

struct change {
    char collection[8], key[16];
    varve_version v, parent;
    bool del;
    char value[16], token[128];
};
struct record_of {
    struct change rows[CHANGES_MAX];
    size_t n;
};

static void note(struct record_of *m, const char *collection, const char *key, const char *value,
                 varve_version v)
{
    assert_true(m->n < CHANGES_MAX);
    struct change *c = &m->rows[m->n++];
    *c = (struct change){.v = v, .del = value == NULL};
    snprintf(c->collection, sizeof(c->collection), "%s", collection);
    snprintf(c->key, sizeof(c->key), "%s", key);
    snprintf(c->value, sizeof(c->value), "%s", value ? value : "");
    for (size_t i = m->n - 1; i-- > 0;) {
        const struct change *older = &m->rows[i];
        if (strcmp(older->collection, collection) == 0 && strcmp(older->key, key) == 0) {
            c->parent = older->v;
            break;
        }
    }
}

static void write_some(struct world *w, struct record_of *m, struct test_rng *r, int n)
{
    static const char *const names[] = {"a",
                                        "b"}; /* made in this order, so that ids rise with names */
    for (int i = 0; i < n; i++) {
        char key[16], value[16];
        const char *c = names[test_rng_below(r, 2)];
        snprintf(key, sizeof(key), "%c%d", (int)('x' + test_rng_below(r, 2)),
                 (int)test_rng_below(r, 6));
        snprintf(value, sizeof(value), "%d", (int)m->n);
        switch (test_rng_below(r, 5)) {
        case 0: {
            varve_version v;
            if (varve_delete(w->db, c, key, strlen(key), NULL, &v) == VARVE_OK)
                note(m, c, key, NULL, v);
            break;
        }
        case 1: { /* a batch: its rows come in the order of keys */
            varve_batch *b = varve_batch_new();
            varve_version v;
            for (int k = 0; k < 4; k++) {
                snprintf(key, sizeof(key), "y%d", 3 - k);
                assert_ok(varve_batch_put(b, names[k & 1], key, strlen(key), VARVE_RAW, value,
                                          strlen(value), 0));
            }
            assert_ok(varve_commit(w->db, b, NULL, &v, NULL));
            varve_batch_free(b);
            note(m, "a", "y1", value, v);
            note(m, "a", "y3", value, v);
            note(m, "b", "y0", value, v);
            note(m, "b", "y2", value, v);
            break;
        }
        default:
            note(m, c, key, value, put(w, c, key, value));
        }
    }
}

static bool passes(const struct change *c, const varve_changes_options *o)
{
    return (!o->collection || strcmp(o->collection, c->collection) == 0) &&
           (o->prefix.len == 0 || strncmp(c->key, o->prefix.data, o->prefix.len) == 0);
}

/* Everything behind row `from` (0: from the beginning) as the model has it. Notes tokens when there
 * is no filter. */
static void check(struct world *w, struct record_of *m, size_t from, const varve_changes_options *o)
{
    varve_iter *it;
    uint64_t n = 0;
    assert_ok(varve_changes(w->db, from ? m->rows[from - 1].token : NULL, o, &it));
    if (from) /* before the first row: where it began */
        assert_string_equal(varve_iter_token(it), m->rows[from - 1].token);
    for (size_t i = from; i < m->n; i++) {
        struct change *c = &m->rows[i];
        if (!passes(c, o) || (o->limit && n == o->limit))
            continue;
        n++;
        int rc = varve_iter_next(it);
        if (rc != 1)
            fail_msg("change %zu of %zu: %d %s", i, m->n, rc, varve_last_error());
        if (!bytes_are(varve_iter_key(it), c->key) || !same_version(varve_iter_version(it), c->v))
            fail_msg("change %zu of %zu (from %zu) is of %.*s, not %s", i, m->n, from,
                     (int)varve_iter_key(it).len, (const char *)varve_iter_key(it).data, c->key);
        assert_string_equal(varve_iter_collection(it), c->collection);
        assert_int_equal(varve_iter_is_delete(it), c->del);
        assert_true(same_version(varve_iter_parent(it), c->parent));
        assert_true(bytes_are(varve_iter_value(it), o->values ? c->value : ""));
        const char *token = varve_iter_token(it);
        assert_true(strlen(token) < sizeof(c->token));
        if (c->token[0])
            assert_string_equal(token, c->token);
        memcpy(c->token, token, strlen(token) + 1);
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
}

static void tells_all_from_any_token(void **state)
{
    struct world *w = *state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 8)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        struct record_of *m = calloc(1, sizeof(*m));
        char folder[sizeof(w->folder)];
        memcpy(folder, w->folder, sizeof(folder));
        snprintf(w->folder, sizeof(w->folder), "%s/%llu", w->dir, (unsigned long long)seed);
        db_open(w);
        note(m, "a", "x0", "first", put(w, "a", "x0", "first"));
        note(m, "b", "x0", "first", put(w, "b", "x0", "first"));
        for (int round = 0; round < 10; round++) {
            write_some(w, m, &r, (int)test_rng_between(&r, 1, 12));
            if (test_rng_chance(&r, 1, 3))
                assert_ok(varve_checkpoint(w->db));
            if (test_rng_chance(&r, 1, 4))
                db_reopen(w);
            varve_changes_options all = {.size = sizeof(all)};
            check(w, m, 0, &all);
            for (int i = 0; i < 12; i++) {
                varve_changes_options o = {.size = sizeof(o), .values = test_rng_chance(&r, 1, 2)};
                if (test_rng_chance(&r, 1, 2)) {
                    o.collection = test_rng_chance(&r, 1, 2) ? "a" : "b";
                    if (test_rng_chance(&r, 1, 2))
                        o.prefix = (varve_bytes){test_rng_chance(&r, 1, 2) ? "x" : "y1",
                                                 test_rng_between(&r, 1, 2)};
                    if (o.prefix.len == 2 && ((const char *)o.prefix.data)[0] == 'x')
                        o.prefix.len = 1;
                }
                o.limit = test_rng_chance(&r, 1, 3) ? test_rng_between(&r, 1, 9) : 0;
                check(w, m, test_rng_below(&r, m->n + 1), &o);
            }
        }
        db_end(w);
        free(m);
        memcpy(w->folder, folder, sizeof(folder));
    }
}

static void knows_its_tokens(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    char token[128];
    db_open(w);
    put(w, "c", "k", "1");
    assert_ok(varve_changes(w->db, "", NULL, &it));
    assert_int_equal(varve_iter_next(it), 1);
    snprintf(token, sizeof(token), "%s", varve_iter_token(it));
    varve_iter_close(it);
    /* Any character changed, added or left out, and it is none. */
    for (size_t i = 0; i < strlen(token); i++) {
        char bad[sizeof(token)];
        memcpy(bad, token, sizeof(bad));
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_fails(varve_changes(w->db, bad, NULL, &it), VARVE_INVALID_ARGUMENT, "token");
        bad[i] = '=';
        assert_fails(varve_changes(w->db, bad, NULL, &it), VARVE_INVALID_ARGUMENT, "token");
        memcpy(bad, token, sizeof(bad));
        memmove(bad + i, bad + i + 1, strlen(token) - i);
        if (bad[0])
            assert_fails(varve_changes(w->db, bad, NULL, &it), VARVE_INVALID_ARGUMENT, "token");
    }
    assert_fails(varve_changes(w->db, "018f3a2b4c5d0001", NULL, &it), VARVE_INVALID_ARGUMENT,
                 "token");
    varve_changes_options o = {.size = sizeof(o), .prefix = {"x", 1}};
    assert_fails(varve_changes(w->db, "", &o, &it), VARVE_INVALID_ARGUMENT, "options.collection");
    o = (varve_changes_options){.size = sizeof(o), .collection = ""};
    assert_fails(varve_changes(w->db, "", &o, &it), VARVE_INVALID_ARGUMENT, "options.collection");
    /* "now" hides what was, and its token shows what comes. */
    assert_ok(varve_changes(w->db, "now", NULL, &it));
    assert_int_equal(varve_iter_next(it), 0);
    snprintf(token, sizeof(token), "%s", varve_iter_token(it));
    varve_iter_close(it);
    put(w, "c", "k", "2");
    db_reopen(w);
    assert_ok(varve_changes(w->db, token, NULL, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "k"));
    /* An iterator ends where it ended, whatever comes after. */
    assert_int_equal(varve_iter_next(it), 0);
    put(w, "c", "k", "3");
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    /* A long key makes a long token. */
    char *key = malloc(65536);
    memset(key, 0xee, 65536);
    assert_ok(varve_put(w->db, "c", key, 65536, VARVE_RAW, "", 0, NULL, NULL));
    assert_ok(varve_changes(w->db, token, NULL, &it));
    for (int i = 0; i < 3; i++)
        assert_int_equal(varve_iter_next(it), 1);
    char *longest = strdup(varve_iter_token(it));
    varve_iter_close(it);
    assert_true(strlen(longest) > 65536);
    put(w, "c", "last", "4");
    assert_ok(varve_changes(w->db, longest, NULL, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "last"));
    varve_iter_close(it);
    free(longest);
    free(key);
    db_end(w);
}

static void follows_names_through_drops(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    varve_changes_options o = {.size = sizeof(o), .collection = "c", .values = true};
    db_open(w);
    put(w, "c", "k", "1");
    put(w, "d", "k", "other");
    assert_ok(varve_collection_drop(w->db, "c", NULL));
    put(w, "c", "k", "2");
    for (int pass = 0; pass < 2; pass++) {
        assert_ok(varve_changes(w->db, NULL, &o, &it));
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_value(it), "1"));
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_value(it), "2"));
        assert_int_equal(varve_iter_next(it), 0);
        varve_iter_close(it);
        db_reopen(w);
    }
    db_end(w);
}

static void shows_values_of_expired_records(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    varve_changes_options o = {.size = sizeof(o), .values = true};
    varve_write_options ttl = {.size = sizeof(ttl), .ttl_ms = 1, .writer = "w"};
    db_open(w);
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "short", 5, &ttl, NULL));
    nap_ms(5);
    assert_ok(varve_changes(w->db, NULL, &o, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_value(it), "short") && bytes_are(varve_iter_writer(it), "w"));
    assert_true(varve_iter_expires_ms(it) > 0);
    varve_iter_close(it);
    db_end(w);
}

static void watches_without_waiting(void **state)
{
    struct world *w = *state;
    varve_watch *all, *some;
    const varve_iter *row;
    varve_changes_options o = {
        .size = sizeof(o), .collection = "later", .values = true, .limit = 2};
    db_open(w);
    put(w, "c", "k", "1");
    assert_ok(varve_watch_open(w->db, NULL, NULL, &all));
    assert_ok(
        varve_watch_open(w->db, "now", &o, &some)); /* of a collection that is yet to be made */
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.watchers, 2);
    assert_int_equal(varve_watch_next(all, 0, &row), 1);
    assert_true(bytes_are(varve_iter_key(row), "k"));
    assert_string_equal(varve_watch_token(all), varve_iter_token(row));
    assert_int_equal(varve_watch_next(all, 0, &row), 0);
    assert_int_equal(varve_watch_next(all, 20, &row), 0);
    assert_int_equal(varve_watch_next(some, 20, &row), 0);
    char before[128], behind[128];
    snprintf(before, sizeof(before), "%s", varve_watch_token(some));
    for (int i = 0; i < 50; i++)
        put(w, "c", "k", "noise");
    assert_string_equal(varve_watch_token(some), before); /* it has not looked yet */
    assert_int_equal(varve_watch_next(some, 20, &row), 0);
    snprintf(behind, sizeof(behind), "%s", varve_watch_token(some));
    assert_string_not_equal(behind, before); /* over what its filter held back */
    put(w, "later", "x", "v1");
    assert_ok(varve_checkpoint(w->db));
    put(w, "later", "y", "v2");
    put(w, "later", "z", "v3");
    assert_int_equal(varve_watch_next(some, -1, &row), 1);
    assert_true(bytes_are(varve_iter_key(row), "x") && bytes_are(varve_iter_value(row), "v1"));
    assert_int_equal(varve_watch_next(some, -1, &row), 1);
    assert_true(bytes_are(varve_iter_key(row), "y") && bytes_are(varve_iter_value(row), "v2"));
    assert_int_equal(varve_watch_next(some, -1, &row), 0); /* the limit */
    varve_iter *it;
    assert_ok(varve_changes(w->db, behind, NULL, &it)); /* the noise lies before that place */
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "x"));
    varve_iter_close(it);
    for (int i = 0; i < 53; i++)
        assert_int_equal(varve_watch_next(all, 0, &row), 1);
    assert_int_equal(varve_watch_next(all, 0, &row), 0);
    varve_watch_cancel(all);
    assert_int_equal(varve_watch_next(all, -1, &row), 0);
    varve_watch_close(all);
    varve_watch_close(some);
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.watchers, 0);
    db_end(w);
}

/* 0 says that nothing is there now: also of one that had rows at hand when something came. */
static void tells_what_came_while_it_had_rows(void **state)
{
    struct world *w = *state;
    varve_watch *watch;
    const varve_iter *row;
    db_open(w);
    put(w, "c", "a", "1");
    put(w, "c", "b", "1");
    assert_ok(varve_watch_open(w->db, NULL, NULL, &watch));
    assert_int_equal(varve_watch_next(watch, 0, &row), 1);
    put(w, "c", "c", "1");
    assert_int_equal(varve_watch_next(watch, 0, &row), 1);
    assert_int_equal(varve_watch_next(watch, 0, &row), 1);
    assert_true(bytes_are(varve_iter_key(row), "c"));
    assert_int_equal(varve_watch_next(watch, 0, &row), 0);
    varve_watch_close(watch);
    db_end(w);
}

/* A watch that has nothing to tell goes on behind what retention removes. */
static void an_idle_watch_survives_vacuum(void **state)
{
    struct world *w = *state;
    varve_watch *watch;
    const varve_iter *row;
    varve_changes_options o = {.size = sizeof(o), .collection = "quiet"};
    db_open(w);
    put(w, "c", "k", "0");
    assert_ok(varve_watch_open(w->db, "now", &o, &watch));
    varve_retention keep = {.max_count = 1};
    assert_ok(varve_retention_set(w->db, "c", &keep));
    for (int i = 0; i < 20; i++) {
        put(w, "c", "k", "x");
        assert_int_equal(varve_watch_next(watch, 0, &row), 0);
    }
    assert_ok(varve_vacuum(w->db, NULL, NULL, NULL, NULL));
    assert_int_equal(varve_watch_next(watch, 0, &row), 0);
    put(w, "quiet", "k", "1");
    assert_int_equal(varve_watch_next(watch, -1, &row), 1);
    varve_watch_close(watch);
    db_end(w);
}

/* By age retention may keep nothing from before a moment that is younger than all that was written: who
 * had seen all of that has missed nothing. */
static void a_watch_of_what_is_quiet_survives_vacuum(void **state)
{
    struct world *w = *state;
    varve_watch *watch;
    varve_iter *it;
    const varve_iter *row;
    char early[128], end[128];
    varve_changes_options o = {.size = sizeof(o), .collection = "quiet"};
    varve_retention keep = {.max_age_ms = 20};
    db_open(w);
    put(w, "loud", "k", "0");
    put(w, "quiet", "k", "0");
    assert_ok(varve_retention_set(w->db, "quiet", &keep));
    assert_ok(varve_watch_open(w->db, "", &o, &watch));
    snprintf(early, sizeof(early), "%s", varve_watch_token(watch));
    assert_int_equal(varve_watch_next(watch, 0, &row), 1);
    assert_int_equal(varve_watch_next(watch, 0, &row), 0);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            put(w, "loud", "k", "1");
        nap_ms(50);
        varve_at at = at_time(clock_ms() - keep.max_age_ms - 5);
        assert_ok(varve_vacuum(w->db, "quiet", NULL, NULL, NULL));
        assert_int_equal(varve_watch_next(watch, 0, &row), 0);
        assert_fails(varve_changes(w->db, early, &o, &it), VARVE_BELOW_HORIZON, "quiet");
        assert_fails(varve_get(w->db, "quiet", "k", 1, &at, w->v), VARVE_BELOW_HORIZON, "quiet");
        assert_fails(varve_snapshot_create(w->db, "s", &at, NULL), VARVE_BELOW_HORIZON, "quiet");
    }
    put(w, "quiet", "k", "1");
    assert_int_equal(varve_watch_next(watch, -1, &row), 1);
    assert_int_equal(varve_watch_next(watch, 0, &row), 0);
    snprintf(end, sizeof(end), "%s", varve_watch_token(watch));
    varve_watch_close(watch);
    db_reopen(w);
    nap_ms(50);
    assert_ok(varve_vacuum(w->db, "quiet", NULL, NULL, NULL));
    assert_ok(varve_changes(w->db, end, &o, &it));
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    put(w, "quiet", "k", "2");
    nap_ms(50);
    assert_ok(varve_vacuum(w->db, "quiet", NULL, NULL, NULL));
    assert_fails(varve_changes(w->db, end, &o, &it), VARVE_BELOW_HORIZON, "quiet");
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(tells_all_from_any_token),
        WORLD_TEST(knows_its_tokens),
        WORLD_TEST(follows_names_through_drops),
        WORLD_TEST(shows_values_of_expired_records),
        WORLD_TEST(watches_without_waiting),
        WORLD_TEST(tells_what_came_while_it_had_rows),
        WORLD_TEST(an_idle_watch_survives_vacuum),
        WORLD_TEST(a_watch_of_what_is_quiet_survives_vacuum),
    };
    return RUN_ON(tests, "mem", "rocks");
}
