/* Changes by pages: every write once, in order, whatever the pages' bounds, refused rows, failures of
 * the one who takes them, and reopenings between. */
#include "command_world.h"
#include "node/feed/token.h"
#include "node/range/range.h"

struct seen {
    struct world *w;
    size_t next; /* of w->events: the next that is to come */
    size_t in_page;
    const struct command_changes_options *o;
    bool row_tokens, refuses, failed;
    struct buf token; /* of the last row taken */
};

static bool passes(const struct command_changes_options *o, const struct event *e)
{
    return e->kind != EVENT_DROP &&
           (!o->collection.len || bytes_eq(o->collection, world_name(e->collection))) &&
           bytes_has_prefix(world_key(e->key), o->prefix);
}

/* Of one version, rows come in the order of keys. */
static size_t nth_of_version(const struct world *w, size_t from)
{
    size_t best = from;
    for (size_t i = from;
         i < w->n && version_cmp(w->events[i].version, w->events[from].version) == 0; i++)
        if (bytes_cmp(world_key(w->events[i].key), world_key(w->events[best].key)) < 0)
            best = i;
    return best;
}

static void order_events(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        size_t j = nth_of_version(w, i);
        struct event e = w->events[i];
        if (w->events[j].kind == EVENT_DROP || e.kind == EVENT_DROP)
            continue;
        w->events[i] = w->events[j];
        w->events[j] = e;
    }
}

static int take(void *arg, const struct command_row *row, struct err *err)
{
    struct seen *s = arg;
    struct buf value = BUF_INIT;
    assert_int_equal(row->token.len > 0, s->row_tokens);
    if (s->refuses && test_rng_chance(&s->w->rng, 1, 4)) {
        s->failed = test_rng_chance(&s->w->rng, 1, 2);
        return s->failed ? -(int)err_set(err, ST_CLOSED, "the taker gave up") : 0;
    }
    while (s->next < s->w->n && !passes(s->o, &s->w->events[s->next]))
        s->next++;
    assert_true(s->next < s->w->n);
    const struct event *e = &s->w->events[s->next++];
    assert_int_equal(version_cmp(row->rec.version, e->version), 0);
    assert_true(bytes_eq(row->key, world_key(e->key)));
    assert_true(bytes_eq(row->collection, world_name(e->collection)));
    assert_int_equal(row->rec.kind == RECORD_DELETE, e->kind == EVENT_DELETE);
    if (s->o->values && e->kind == EVENT_PUT) {
        world_value(e, &value);
        assert_true(bytes_eq(row->rec.value, buf_bytes(&value)));
        assert_true(bytes_eq(row->rec.writer, BYTES_LIT("tester")));
    }
    if (s->row_tokens) {
        buf_clear(&s->token);
        assert_int_equal(buf_append(&s->token, row->token.data, row->token.len), ST_OK);
    }
    s->in_page++;
    buf_deinit(&value);
    return 1;
}

static struct command_page random_page(struct seen *s)
{
    struct test_rng *r = &s->w->rng;
    struct command_page p = {0};
    if (test_rng_chance(r, 2, 3))
        p.max_rows = (uint32_t)test_rng_between(r, 1, 12);
    if (test_rng_chance(r, 1, 3))
        p.max_bytes = (size_t)test_rng_between(r, 1, 300);
    s->in_page = 0;
    s->failed = false;
    return p;
}

static struct command_changes_options random_filter(struct world *w)
{
    struct command_changes_options o = {.values = test_rng_chance(&w->rng, 1, 2)};
    if (test_rng_chance(&w->rng, 1, 2))
        o.collection = world_name((int)test_rng_below(&w->rng, WORLD_COLLECTIONS));
    if (o.collection.len && test_rng_chance(&w->rng, 1, 2))
        o.prefix = world_key((int)test_rng_below(&w->rng, 4));
    return o;
}

/* Nothing that passes is left. */
static void all_seen(struct seen *s)
{
    while (s->next < s->w->n && !passes(s->o, &s->w->events[s->next]))
        s->next++;
    assert_int_equal(s->next, s->w->n);
}

static void a_watch_sees_every_write_once(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 200)
    {
        struct world w;
        struct command_watch *watch;
        struct command_page_end end = {0};
        world_init(&w, seed);
        struct command_changes_options o = random_filter(&w);
        struct seen s = {.w = &w, .o = &o, .refuses = test_rng_chance(&w.rng, 1, 2)};
        struct command_changes c = {.options = o};
        assert_ok(&w, command_watch_open(&w.db, &c, &watch, &w.err));
        for (int i = 0; i < 60; i++) {
            for (size_t n = test_rng_below(&w.rng, 6); n-- > 0;)
                world_write(&w);
            if (test_rng_chance(&w.rng, 1, 10))
                assert_ok(&w, store_checkpoint(w.db.store, &w.err));
            order_events(&w);
            s.row_tokens = test_rng_chance(&w.rng, 1, 2);
            struct command_page p = random_page(&s);
            enum status st = command_watch_page(watch, &p, s.row_tokens, take, &s, &end, &w.err);
            assert_int_equal(st, s.failed ? ST_CLOSED : ST_OK);
            if (st != ST_OK)
                continue;
            assert_int_equal(end.rows, s.in_page);
            if (!end.more)
                all_seen(&s);
            if (s.row_tokens && s.in_page && end.more)
                assert_string_equal(command_watch_token(watch), buf_cstr(&s.token));
        }
        s.refuses = false;
        do {
            struct command_page p = random_page(&s);
            s.row_tokens = false;
            assert_ok(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err));
        } while (end.more);
        all_seen(&s);
        assert_false(command_watch_wait(watch, 0, NULL));
        assert_false(command_watch_done(watch));
        command_watch_close(watch);
        buf_deinit(&s.token);
        world_deinit(&w);
    }
}

static void tokens_go_on_after_anything(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 200)
    {
        struct world w;
        struct buf token = BUF_INIT;
        struct command_page_end end = {0};
        world_init(&w, seed);
        struct command_changes_options o = random_filter(&w);
        struct seen s = {.w = &w, .o = &o, .refuses = test_rng_chance(&w.rng, 1, 2)};
        struct command_changes c = {.options = o};
        for (int i = 0; i < 60; i++) {
            world_meanwhile(&w, false);
            order_events(&w);
            size_t before = s.next;
            struct command_page p = random_page(&s);
            p.token = buf_bytes(&token);
            enum status st =
                command_changes_page(&w.db, &c, &p, false, take, &s, &end, &token, &w.err);
            assert_int_equal(st, s.failed ? ST_CLOSED : ST_OK);
            if (st != ST_OK) { /* all of the page is to come again */
                s.next = before;
                continue;
            }
            assert_int_equal(strlen((const char *)token.data), token.len);
            if (!end.more)
                all_seen(&s);
        }
        buf_deinit(&token);
        buf_deinit(&s.token);
        world_deinit(&w);
    }
}

/* A listener that is cut off anywhere and comes back with the last token that it was told: a row's, or
 * that of a heartbeat, which lies behind all that its filter held back. */
struct listener {
    struct seen s;
    struct command_watch *watch;
    struct buf token; /* the last that it was told, and what is due behind it */
    size_t due;
};

static void told(struct listener *l, struct bytes token)
{
    buf_clear(&l->token);
    assert_int_equal(buf_append(&l->token, token.data, token.len), ST_OK);
    l->due = l->s.next;
}

static void come_back(struct listener *l, const struct command_changes_options *o)
{
    struct world *w = l->s.w;
    struct command_changes c = {.options = *o, .token = buf_bytes(&l->token)};
    command_watch_close(l->watch);
    l->watch = NULL;
    world_meanwhile(w, false);
    order_events(w);
    assert_ok(w, command_watch_open(&w->db, &c, &l->watch, &w->err));
    l->s.next = l->due;
}

static void listen_for_a_page(struct listener *l)
{
    struct world *w = l->s.w;
    struct command_page_end end;
    struct command_page p = random_page(&l->s);
    enum status st = command_watch_page(l->watch, &p, true, take, &l->s, &end, &w->err);
    assert_int_equal(st, l->s.failed ? ST_CLOSED : ST_OK);
    if (l->s.in_page)
        told(l, buf_bytes(&l->s.token));
    if (st == ST_OK && !end.more)
        all_seen(&l->s);
    if (test_rng_chance(&w->rng, 1, 2)) /* a heartbeat */
        told(l, BYTES_STR(command_watch_token(l->watch)));
}

static void a_listener_comes_back_anywhere(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 300)
    {
        struct world w;
        world_init(&w, seed);
        struct command_changes_options o = random_filter(&w);
        struct listener l = {
            .s = {.w = &w, .o = &o, .row_tokens = true, .refuses = test_rng_chance(&w.rng, 1, 2)}};
        come_back(&l, &o);
        for (int i = 0; i < 60; i++) {
            for (size_t n = test_rng_below(&w.rng, 6); n-- > 0;)
                world_write(&w);
            order_events(&w);
            listen_for_a_page(&l);
            if (test_rng_chance(&w.rng, 1, 3))
                come_back(&l, &o);
        }
        command_watch_close(l.watch);
        buf_deinit(&l.token);
        buf_deinit(&l.s.token);
        world_deinit(&w);
    }
}

/* A row was told and then lost, with a log that was not synced: the write that comes instead must not
 * get the place that the token has passed. */
static void what_replaces_a_lost_write_comes(void **state)
{
    struct world w;
    struct command_watch *watch;
    struct command_page_end end;
    struct command_changes_options all = {0};
    struct seen s = {.w = &w, .o = &all};
    struct command_changes c = {.options = all};
    struct command_page p = {0};
    struct buf text = BUF_INIT;
    (void)state;
    world_init(&w, 11);
    while (w.n < 20)
        world_write(&w);
    struct token t = {.range = RANGE_FIRST,
                      .version = {store_visible(w.db.store).hlc + 1, 0},
                      .key = BYTES_LIT("\xff\xff\xff\xff\xff")};
    assert_int_equal(token_encode(&t, &text), ST_OK);
    c.token = buf_bytes(&text);
    s.next = w.n;
    assert_ok(&w, command_watch_open(&w.db, &c, &watch, &w.err));
    for (size_t n = w.n; w.n < n + 5;)
        world_write(&w);
    order_events(&w);
    assert_ok(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err));
    all_seen(&s);
    command_watch_close(watch);
    buf_deinit(&text);
    world_deinit(&w);
}

static void limits_and_refusals(void **state)
{
    struct world w;
    struct command_watch *watch;
    struct command_page_end end;
    struct command_changes_options all = {0};
    struct seen s = {.w = &w, .o = &all};
    struct command_changes c = {.options.limit = 5};
    struct command_page p = {.max_rows = 3};
    (void)state;
    world_init(&w, 7);
    while (w.n < 20)
        world_write(&w);
    order_events(&w);
    assert_ok(&w, command_watch_open(&w.db, &c, &watch, &w.err));
    assert_ok(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err));
    assert_true(end.rows == 3 && end.more && !command_watch_done(watch));
    assert_ok(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err));
    assert_true(end.rows == 2 && !end.more && command_watch_done(watch));
    p.max_rows = COMMAND_PAGE_ROWS_MAX + 1;
    assert_fails(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err), ST_TOO_LARGE,
                 "page.max_rows");
    command_watch_close(watch);
    c = (struct command_changes){.token = BYTES_LIT("nonsense")};
    assert_fails(&w, command_watch_open(&w.db, &c, &watch, &w.err), ST_INVALID_ARGUMENT, "token");
    c = (struct command_changes){.options.prefix = BYTES_LIT("a")};
    assert_fails(&w, command_watch_open(&w.db, &c, &watch, &w.err), ST_INVALID_ARGUMENT,
                 "options.prefix");
    c = (struct command_changes){.token = BYTES_LIT("now")};
    assert_ok(&w, command_watch_open(&w.db, &c, &watch, &w.err));
    p = (struct command_page){0};
    assert_ok(&w, command_watch_page(watch, &p, false, take, &s, &end, &w.err));
    assert_int_equal(end.rows, 0);
    command_watch_close(watch);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_sees_every_write_once),
        cmocka_unit_test(tokens_go_on_after_anything),
        cmocka_unit_test(a_listener_comes_back_anywhere),
        cmocka_unit_test(what_replaces_a_lost_write_comes),
        cmocka_unit_test(limits_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
