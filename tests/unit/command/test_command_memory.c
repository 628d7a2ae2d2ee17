/* Every allocation of every verb failing in turn: no crash, no leak (asan), NO_MEMORY or the right
 * answer, outputs untouched, and no write half done. */
#include "base/alloc.h"
#include "command_world.h"

struct tally {
    int rows;
    bool short_of_memory; /* at least one call was */
};

static bool fine(struct world *w, struct tally *t, enum status st)
{
    if (st == ST_NO_MEMORY || st == ST_POISONED)
        t->short_of_memory = true;
    else if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), w->err.detail);
    return st == ST_OK;
}

static int take(void *arg, const struct command_row *row, struct err *err)
{
    struct tally *t = arg;
    (void)err;
    assert_true(row->key.len > 0);
    t->rows++;
    return 1;
}

/* Pages to the end; a page that fails is asked for again from the token before it, once memory is
 * back, and the whole comes out right. */
static void read_pages(struct world *w, struct tally *t)
{
    struct command_scan c = {.collection = BYTES_LIT("a")};
    struct buf token = BUF_INIT;
    struct command_page_end end = {.more = true};
    int rows = 0;
    while (end.more) {
        struct command_page p = {.max_rows = 3, .token = buf_bytes(&token)};
        struct tally page = {0};
        bool had = end.more;
        size_t had_len = token.len;
        enum status st = command_scan_page(&w->db, &c, &p, take, &page, &end, &token, &w->err);
        if (fine(w, t, st)) {
            rows += page.rows;
            continue;
        }
        assert_true(end.more == had && token.len == had_len);
        mem_fail_at(0, 0);
    }
    assert_int_equal(rows, 10);
    buf_deinit(&token);
}

static void read_all(struct world *w, struct tally *t)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_page_end end = {0};
    struct command_page p = {.max_rows = 3};
    struct command_get g = {.collection = BYTES_LIT("a"), .key = world_key(1)};
    struct command_history h = {.collection = g.collection, .key = g.key};
    struct command_changes ch = {.options.values = true};
    struct command_watch *watch = NULL;
    struct command_key keys[2] = {{g.collection, g.key}, {g.collection, world_key(2)}};
    struct command_got got[2] = {0};
    struct command_get_many m = {.keys = keys, .n = 2};
    fine(w, t, command_get(&w->db, &g, &buf, &rec, &w->err));
    fine(w, t, command_get_cached(&w->db, &g, &buf, &rec, &w->err));
    fine(w, t, command_get_many(&w->db, &m, got, &w->err));
    fine(w, t, command_history_page(&w->db, &h, &p, take, t, &end, &buf, &w->err));
    fine(w, t, command_changes_page(&w->db, &ch, &p, true, take, t, &end, &buf, &w->err));
    fine(w, t, command_collections_page(&w->db, &p, take, t, &end, &buf, &w->err));
    fine(w, t, command_snapshots_page(&w->db, &p, take, t, &end, &buf, &w->err));
    if (fine(w, t, command_watch_open(&w->db, &ch, &watch, &w->err))) {
        for (int rows = 0; rows < 14;) {
            struct tally page = {0};
            bool well = fine(w, t, command_watch_page(watch, &p, true, take, &page, &end, &w->err));
            rows += page.rows; /* it stands behind what was taken, well or not */
            assert_true(!well || end.more || rows == 14);
        }
        command_watch_close(watch);
    }
    struct command_diff d = {.collection = g.collection, .key = BYTES_LIT("doc"), .a = {1, 0}};
    buf_clear(&buf);
    enum status st = command_diff(&w->db, &d, &buf, &w->err);
    assert_true(st == ST_NOT_FOUND || st == ST_NO_MEMORY);
    buf_clear(&buf);
    fine(w, t, command_metrics(&w->db, &buf, &w->err));
    for (int i = 0; i < 2; i++)
        buf_deinit(&got[i].buf);
    buf_deinit(&buf);
}

static void write_all(struct world *w, struct tally *t)
{
    struct version v = {77, 7};
    struct command_put p = {.collection = BYTES_LIT("new"),
                            .key = BYTES_LIT("doc"),
                            .value = {COMMAND_JSON, BYTES_LIT("{\"a\":1}")}};
    struct command_batch *b = command_batch_new();
    struct command_value cv = {COMMAND_RAW, BYTES_LIT("v")};
    if (!fine(w, t, command_put(&w->db, &p, &v, &w->err)))
        assert_int_equal(v.hlc, 77);
    if (b && fine(w, t, command_batch_put(b, BYTES_LIT("x"), BYTES_LIT("1"), cv, 0, &w->err)) &&
        fine(w, t, command_batch_put(b, BYTES_LIT("y"), BYTES_LIT("2"), cv, 0, &w->err)))
        fine(w, t, command_commit(&w->db, b, NULL, &v, NULL, &w->err));
    t->short_of_memory |= !b;
    command_batch_free(b);
}

static void check_writes(struct world *w)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_get x = {.collection = BYTES_LIT("x"), .key = BYTES_LIT("1")},
                       y = {.collection = BYTES_LIT("y"), .key = BYTES_LIT("2")};
    assert_int_equal(command_get(&w->db, &x, &buf, &rec, &w->err),
                     command_get(&w->db, &y, &buf, &rec, &w->err));
    buf_deinit(&buf);
}

static void each_allocation_fails_in_turn(void **state)
{
    (void)state;
    for (int part = 0; part < 3; part++)
        for (uint64_t nth = 1;; nth++) {
            struct world w;
            struct version v;
            struct tally t = {0};
            world_init(&w, 3);
            for (int i = 0; i < 14; i++) {
                struct command_put p = {.collection = BYTES_LIT("a"),
                                        .key = world_key(i % 10),
                                        .value = {COMMAND_RAW, BYTES_LIT("v")}};
                assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
            }
            assert_ok(&w, command_snapshot_create(&w.db, BYTES_LIT("s"), NULL, &v, &w.err));
            mem_fail_hits();
            mem_fail_at(nth, 0);
            if (part == 0)
                read_pages(&w, &t);
            else if (part == 1)
                read_all(&w, &t);
            else
                write_all(&w, &t);
            mem_fail_at(0, 0);
            bool reached = mem_fail_hits() > 0;
            if (!reached)
                assert_false(t.short_of_memory);
            check_writes(&w);
            world_deinit(&w);
            if (!reached)
                break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_fails_in_turn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
