/* Collections of the database itself: reached with db.system, and through no verb without. */
#include "command_world.h"

#define HIDDEN BYTES_LIT("_varve.something")

struct names {
    bool hidden;
    size_t n;
};
static int collect(void *arg, const struct command_row *row, struct err *err)
{
    (void)err;
    struct names *names = arg;
    struct bytes name = row->collection.len ? row->collection : row->key;
    names->n++;
    if (command_is_system(name))
        names->hidden = true;
    return 1;
}

static int setup(void **state)
{
    static struct world w;
    world_init(&w, 1);
    w.db.system = true;
    struct command_put put = {
        .collection = HIDDEN, .key = BYTES_LIT("k"), .value = {COMMAND_RAW, BYTES_LIT("secret")}};
    assert_ok(&w, command_put(&w.db, &put, NULL, &w.err));
    put.collection = BYTES_LIT("open");
    assert_ok(&w, command_put(&w.db, &put, NULL, &w.err));
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    world_deinit(*state);
    return 0;
}

static void reads_of_a_door_are_refused(void **state)
{
    struct world *w = *state;
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_page_end end;
    struct command_at at = {.kind = COMMAND_AT_VERSION, .version = store_visible(w->db.store)};
    struct command_get get = {.collection = HIDDEN, .key = BYTES_LIT("k")};
    struct command_key key = {HIDDEN, BYTES_LIT("k")};
    struct command_got got = {0};
    struct command_get_many many = {.keys = &key, .n = 1};
    struct command_scan scan = {.collection = HIDDEN};
    struct command_history history = {.collection = HIDDEN, .key = BYTES_LIT("k")};
    struct command_changes changes = {.options = {.collection = HIDDEN, .values = true}};
    struct command_diff diff = {.collection = HIDDEN, .key = BYTES_LIT("k"), .a = at.version};
    struct command_page page = {0};
    struct store_iter *it = NULL;
    struct command_watch *watch = NULL;
    struct collection_settings settings;
    const enum status no = ST_PERMISSION_DENIED;
    assert_ok(w, command_get(&w->db, &get, &buf, &rec, &w->err));
    assert_true(bytes_eq(rec.value, BYTES_LIT("secret")));
    w->db.system = false;
    assert_fails(w, command_get(&w->db, &get, &buf, &rec, &w->err), no, "database's own");
    assert_fails(w, command_get_cached(&w->db, &get, &buf, &rec, &w->err), no, "database's own");
    get.at = &at;
    assert_fails(w, command_get(&w->db, &get, &buf, &rec, &w->err), no, "database's own");
    assert_fails(w, command_get_cached(&w->db, &get, &buf, &rec, &w->err), no, "database's own");
    assert_fails(w, command_get_many(&w->db, &many, &got, &w->err), no, "keys[0]");
    assert_fails(w, command_diff(&w->db, &diff, &buf, &w->err), no, "database's own");
    assert_fails(w, command_scan(&w->db, &scan, &it, &w->err), no, "database's own");
    assert_fails(w, command_history(&w->db, &history, &it, &w->err), no, "database's own");
    struct names names = {0};
    assert_fails(w, command_scan_page(&w->db, &scan, &page, collect, &names, &end, &buf, &w->err),
                 no, "database's own");
    assert_fails(
        w, command_history_page(&w->db, &history, &page, collect, &names, &end, &buf, &w->err), no,
        "database's own");
    assert_fails(w, command_watch_open(&w->db, &changes, &watch, &w->err), no, "database's own");
    assert_fails(w, command_retention_get(&w->db, HIDDEN, &settings, &w->err), no,
                 "database's own");
    buf_deinit(&buf);
}

static void writes_of_a_door_are_refused(void **state)
{
    struct world *w = *state;
    struct version v;
    const enum status no = ST_PERMISSION_DENIED;
    struct command_put put = {
        .collection = HIDDEN, .key = BYTES_LIT("k"), .value = {COMMAND_RAW, BYTES_LIT("forged")}};
    struct command_delete delete = {.collection = HIDDEN, .key = BYTES_LIT("k")};
    struct command_restore restore = {
        .collection = HIDDEN,
        .key = BYTES_LIT("k"),
        .at = {.kind = COMMAND_AT_VERSION, .version = store_visible(w->db.store)}};
    struct collection_settings settings = {.max_count = 1};
    struct command_batch *b = command_batch_new();
    assert_non_null(b);
    w->db.system = false;
    struct version before = store_visible(w->db.store);
    assert_fails(w, command_put(&w->db, &put, &v, &w->err), no, "database's own");
    put.collection = BYTES_LIT("_varve.not there yet");
    assert_fails(w, command_put(&w->db, &put, &v, &w->err), no, "database's own");
    assert_fails(w, command_delete(&w->db, &delete, &v, &w->err), no, "database's own");
    assert_fails(w, command_restore(&w->db, &restore, &v, &w->err), no, "database's own");
    assert_fails(w, command_collection_drop(&w->db, HIDDEN, NULL, &w->err), no, "database's own");
    assert_fails(w, command_retention_set(&w->db, HIDDEN, &settings, &w->err), no,
                 "database's own");
    assert_fails(w, command_vacuum(&w->db, HIDDEN, NULL, NULL, NULL, &w->err), no,
                 "database's own");
    assert_ok(w, command_batch_put(b, BYTES_LIT("open"), BYTES_LIT("x"),
                                   (struct command_value){COMMAND_RAW, BYTES_LIT("")}, 0, &w->err));
    assert_ok(w, command_batch_require(b, HIDDEN, BYTES_LIT("k"),
                                       (struct command_require){.what = STORE_REQUIRE_PRESENT},
                                       &w->err));
    assert_fails(w, command_commit(&w->db, b, NULL, &v, NULL, &w->err), no, "database's own");
    assert_int_equal(version_cmp(store_visible(w->db.store), before), 0);
    command_batch_free(b);
}

/* An import writes its place with its rows, also through a door; but nobody is shown it unasked. */
static void the_places_of_imports_are_reached_by_name(void **state)
{
    struct world *w = *state;
    struct buf buf = BUF_INIT;
    struct record rec;
    struct version v;
    struct names names = {0};
    struct command_page_end end;
    struct command_page page = {0};
    struct bytes name = BYTES_LIT(COMMAND_IMPORTS);
    struct command_put put = {
        .collection = name, .key = BYTES_LIT("t/1"), .value = {COMMAND_RAW, BYTES_LIT("place")}};
    struct command_get get = {.collection = name, .key = BYTES_LIT("t/1")};
    w->db.system = false;
    assert_false(command_is_system(name));
    assert_true(command_is_system(BYTES_LIT(COMMAND_IMPORTS "x")));
    assert_true(command_is_system(BYTES_LIT("_varve.import")));
    assert_ok(w, command_put(&w->db, &put, &v, &w->err));
    assert_ok(w, command_get(&w->db, &get, &buf, &rec, &w->err));
    assert_true(bytes_eq(rec.value, BYTES_LIT("place")));
    assert_ok(w, command_collections_page(&w->db, &page, collect, &names, &end, &buf, &w->err));
    assert_int_equal(names.n, 1); /* "open" */
    struct command_changes changes = {.options.collection = name};
    struct command_watch *watch = NULL;
    assert_int_equal(
        command_changes_page(&w->db, &changes, &page, true, collect, &names, &end, &buf, &w->err),
        ST_PERMISSION_DENIED);
    assert_int_equal(command_watch_open(&w->db, &changes, &watch, &w->err), ST_PERMISSION_DENIED);
    w->db.system = true; /* with the folder in hand */
    assert_ok(w, command_changes_page(&w->db, &changes, &page, true, collect, &names, &end, &buf,
                                      &w->err));
    buf_deinit(&buf);
}

static void lists_and_feeds_leave_them_out(void **state)
{
    struct world *w = *state;
    struct buf token = BUF_INIT;
    struct command_page_end end;
    struct command_page page = {0};
    struct command_changes changes = {.options.values = true};
    for (int system = 0; system < 2; system++) {
        w->db.system = system;
        struct names names = {0};
        assert_ok(w,
                  command_collections_page(&w->db, &page, collect, &names, &end, &token, &w->err));
        assert_int_equal(names.n, 1 + system);
        assert_int_equal(names.hidden, system);
        names = (struct names){0};
        assert_ok(w, command_changes_page(&w->db, &changes, &page, true, collect, &names, &end,
                                          &token, &w->err));
        assert_int_equal(names.n, 1 + system);
        assert_int_equal(names.hidden, system);
    }
    buf_deinit(&token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_of_a_door_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_of_a_door_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_places_of_imports_are_reached_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_and_feeds_leave_them_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
