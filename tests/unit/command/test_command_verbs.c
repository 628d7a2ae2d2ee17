/* What the doors need beyond what the library's own tests hold: requirements on puts and deletes,
 * bounds on answers, the table of verbs, and the fields that refusals name. */
#include "command_world.h"

#include "base/list.h"

static struct command_put put_of(const char *collection, const char *key, const char *value)
{
    return (struct command_put){.collection = BYTES_STR(collection),
                                .key = BYTES_STR(key),
                                .value = {COMMAND_RAW, BYTES_STR(value)}};
}

static void requirements_of_one_write(void **state)
{
    struct world w;
    struct version v = VERSION_NONE, first, seen = {77, 7};
    (void)state;
    world_init(&w, 1);
    struct command_put p = put_of("a", "k", "1");
    struct command_delete d = {.collection = BYTES_LIT("a"), .key = BYTES_LIT("k")};

    /* Nothing there: what needs the key fails, and makes no collection. */
    p.require.what = STORE_REQUIRE_PRESENT;
    assert_fails(&w, command_put(&w.db, &p, &seen, &w.err), ST_PRECONDITION_FAILED, "absent");
    assert_true(version_is_none(seen));
    p.require = (struct command_require){STORE_REQUIRE_VERSION, {5, 0}};
    assert_fails(&w, command_put(&w.db, &p, &seen, &w.err), ST_PRECONDITION_FAILED, "absent");
    d.require.what = STORE_REQUIRE_PRESENT;
    assert_fails(&w, command_delete(&w.db, &d, &v, &w.err), ST_PRECONDITION_FAILED, "absent");
    assert_int_equal(store_collection_count(w.db.store), 0);

    p.require = command_expect(VERSION_NONE);
    assert_ok(&w, command_put(&w.db, &p, &first, &w.err));
    assert_fails(&w, command_put(&w.db, &p, &seen, &w.err), ST_PRECONDITION_FAILED, "");
    assert_int_equal(version_cmp(seen, first), 0);
    p.require.what = STORE_REQUIRE_PRESENT;
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));

    /* Delete: only the version that is meant. */
    d.require = command_expect(first);
    assert_fails(&w, command_delete(&w.db, &d, &seen, &w.err), ST_PRECONDITION_FAILED, "");
    assert_int_equal(version_cmp(seen, v), 0);
    d.require = command_expect(v);
    assert_ok(&w, command_delete(&w.db, &d, &v, &w.err));
    assert_fails(&w, command_delete(&w.db, &d, &seen, &w.err), ST_PRECONDITION_FAILED, "");
    assert_true(version_is_none(seen));
    d.require = (struct command_require){0};
    seen = (struct version){77, 7};
    assert_fails(&w, command_delete(&w.db, &d, &seen, &w.err), ST_NOT_FOUND, "no such key");
    assert_int_equal(seen.hlc, 77); /* untouched */

    d.require.what = STORE_REQUIRE_ABSENT;
    assert_fails(&w, command_delete(&w.db, &d, &v, &w.err), ST_INVALID_ARGUMENT, "require.what: ");
    p.require.what = STORE_REQUIRE_EXACT;
    assert_fails(&w, command_put(&w.db, &p, &v, &w.err), ST_INVALID_ARGUMENT, "require: what: ");
    p.require = (struct command_require){STORE_REQUIRE_VERSION, VERSION_NONE};
    assert_fails(&w, command_put(&w.db, &p, &v, &w.err), ST_INVALID_ARGUMENT, "require: version: ");
    world_deinit(&w);
}

static void drops_with_a_request_id_are_refused(void **state)
{
    struct world w;
    struct command_options o = {.request_id = BYTES_LIT("r-1")};
    (void)state;
    world_init(&w, 1);
    assert_fails(&w, command_collection_drop(&w.db, BYTES_LIT("a"), &o, &w.err), ST_UNIMPLEMENTED,
                 "request_id");
    world_deinit(&w);
}

static void requests_are_done_once(void **state)
{
    struct world w;
    struct version first, v, again;
    char long_id[STORE_REQUEST_ID_MAX + 1] = {0};
    struct command_put p = put_of("a", "k", "1");
    struct command_delete d = {.collection = BYTES_LIT("a"), .key = BYTES_LIT("k")};
    struct command_restore r = {.collection = BYTES_LIT("a"), .key = BYTES_LIT("k")};
    struct command_batch *b = command_batch_new();
    (void)state;
    world_init(&w, 1);
    p.options.request_id = BYTES_LIT("put");
    p.options.ttl_ms = 3600000;
    assert_ok(&w, command_put(&w.db, &p, &first, &w.err));
    p.options.sync = STORE_SYNC_ALWAYS; /* how it is synced is not what is asked for */
    assert_ok(&w, command_put(&w.db, &p, &again, &w.err));
    assert_int_equal(version_cmp(first, again), 0);
    p.value.data = BYTES_LIT("2");
    assert_fails(&w, command_put(&w.db, &p, &v, &w.err), ST_INVALID_ARGUMENT, "request_id");
    p.options.ttl_ms = 0;
    p.value.data = BYTES_LIT("1");
    assert_fails(&w, command_put(&w.db, &p, &v, &w.err), ST_INVALID_ARGUMENT, "request_id");

    /* What it requires held when it was done. */
    p.options.request_id = BYTES_LIT("cas");
    p.require = (struct command_require){STORE_REQUIRE_VERSION, first};
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
    assert_ok(&w, command_put(&w.db, &p, &again, &w.err));
    assert_int_equal(version_cmp(v, again), 0);
    /* A refusal is not kept: the same request may hold later. */
    p.options.request_id = BYTES_LIT("cas 2");
    assert_fails(&w, command_put(&w.db, &p, &again, &w.err), ST_PRECONDITION_FAILED, "");
    p.require.version = v;
    assert_ok(&w, command_put(&w.db, &p, &again, &w.err));

    r.at = (struct command_at){.kind = COMMAND_AT_VERSION, .version = first};
    r.options.request_id = BYTES_LIT("restore");
    assert_ok(&w, command_restore(&w.db, &r, &v, &w.err));
    assert_ok(&w, command_restore(&w.db, &r, &again, &w.err));
    assert_int_equal(version_cmp(v, again), 0);
    d.options.request_id = BYTES_LIT("delete");
    assert_ok(&w, command_delete(&w.db, &d, &v, &w.err));
    assert_ok(&w, command_delete(&w.db, &d, &again, &w.err));
    assert_int_equal(version_cmp(v, again), 0);

    struct command_options o = {.request_id = BYTES_LIT("batch")};
    assert_ok(&w, command_batch_put(b, BYTES_LIT("new"), BYTES_LIT("z"), p.value, 0, &w.err));
    assert_ok(&w, command_batch_put(b, BYTES_LIT("a"), BYTES_LIT("b"), p.value, 1000, &w.err));
    assert_ok(&w, command_batch_require(b, BYTES_LIT("new"), BYTES_LIT("z"),
                                        (struct command_require){.what = STORE_REQUIRE_ABSENT},
                                        &w.err));
    assert_ok(&w, command_commit(&w.db, b, &o, &v, NULL, &w.err));
    assert_ok(&w, command_commit(&w.db, b, &o, &again, NULL, &w.err));
    assert_int_equal(version_cmp(v, again), 0);
    assert_ok(&w, command_batch_put(b, BYTES_LIT("a"), BYTES_LIT("c"), p.value, 0, &w.err));
    assert_fails(&w, command_commit(&w.db, b, &o, &v, NULL, &w.err), ST_INVALID_ARGUMENT,
                 "request_id");

    memset(long_id, 'x', sizeof long_id);
    p.options.request_id = BYTES(long_id, sizeof long_id);
    assert_fails(&w, command_put(&w.db, &p, &v, &w.err), ST_TOO_LARGE, "options.request_id: ");
    p.options.request_id.len--;
    p.require.what = 0;
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
    command_batch_free(b);
    world_deinit(&w);
}

static void drop(struct world *w, const char *name)
{
    assert_ok(w, command_collection_drop(&w->db, BYTES_STR(name), NULL, &w->err));
}

/* A copy that comes when the collection is gone answers as the first did, and brings nothing back. */
static void requests_outlive_their_collection(void **state)
{
    struct world w;
    struct version put, cas, gone, batch, again;
    struct command_put p = put_of("a", "k", "1"), c = put_of("a", "k", "2");
    struct command_delete d = {.collection = BYTES_LIT("a"), .key = BYTES_LIT("k")};
    struct command_batch *b = command_batch_new();
    struct command_options o = {.request_id = BYTES_LIT("batch")};
    (void)state;
    world_init(&w, 1);
    p.options.request_id = BYTES_LIT("put");
    assert_ok(&w, command_put(&w.db, &p, &put, &w.err));
    c.options.request_id = BYTES_LIT("cas");
    c.require = (struct command_require){STORE_REQUIRE_VERSION, put};
    assert_ok(&w, command_put(&w.db, &c, &cas, &w.err));
    assert_ok(&w,
              command_batch_require(b, BYTES_LIT("a"), BYTES_LIT("k"),
                                    (struct command_require){STORE_REQUIRE_VERSION, cas}, &w.err));
    assert_ok(&w, command_batch_put(b, BYTES_LIT("a"), BYTES_LIT("l"), p.value, 0, &w.err));
    assert_ok(&w, command_commit(&w.db, b, &o, &batch, NULL, &w.err));
    d.options.request_id = BYTES_LIT("delete");
    assert_ok(&w, command_delete(&w.db, &d, &gone, &w.err));
    drop(&w, "a");

    assert_ok(&w, command_put(&w.db, &c, &again, &w.err));
    assert_int_equal(version_cmp(cas, again), 0);
    assert_ok(&w, command_commit(&w.db, b, &o, &again, NULL, &w.err));
    assert_int_equal(version_cmp(batch, again), 0);
    assert_ok(&w, command_delete(&w.db, &d, &again, &w.err));
    assert_int_equal(version_cmp(gone, again), 0);
    assert_ok(&w, command_put(&w.db, &p, &again, &w.err));
    assert_int_equal(version_cmp(put, again), 0);
    p.value.data = BYTES_LIT("other");
    assert_fails(&w, command_put(&w.db, &p, &again, &w.err), ST_INVALID_ARGUMENT, "request_id");
    assert_int_equal(store_collection_count(w.db.store), 0);
    command_batch_free(b);
    world_deinit(&w);
}

/* Looking at the clock, which a record that expires makes get_many do, drops "b" and makes it anew. */
struct meddling {
    struct env env;
    struct env_ops ops;
    struct world *w;
    bool done;
};

static uint64_t now_and_meddle(struct env *e)
{
    struct meddling *m = container_of(e, struct meddling, env);
    struct command_put p = put_of("b", "k", "later");
    struct version v;
    if (!m->done) {
        m->done = true;
        m->w->db.env = m->w->env;
        drop(m->w, "b");
        assert_ok(m->w, command_put(&m->w->db, &p, &v, &m->w->err));
        m->w->db.env = &m->env;
    }
    return env_now_ms(m->w->env);
}

static void many_keys_are_of_one_moment(void **state)
{
    struct world w;
    struct version v;
    struct command_key keys[] = {{BYTES_LIT("a"), BYTES_LIT("k")},
                                 {BYTES_LIT("b"), BYTES_LIT("k")}};
    struct command_got got[2] = {0};
    struct command_get_many c = {.keys = keys, .n = 2};
    struct command_put p = put_of("a", "k", "1"), q = put_of("b", "k", "2");
    (void)state;
    world_init(&w, 1);
    p.options.ttl_ms = 3600000;
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
    assert_ok(&w, command_put(&w.db, &q, &v, &w.err));
    struct meddling m = {.env.ops = &m.ops, .ops.now_ms = now_and_meddle, .w = &w};
    w.db.env = &m.env;
    assert_ok(&w, command_get_many(&w.db, &c, got, &w.err));
    w.db.env = w.env;
    assert_true(m.done);
    assert_int_equal(got[0].st, ST_OK);
    assert_int_equal(got[1].st, ST_OK); /* at the moment of the first it was there */
    assert_true(bytes_eq(got[1].rec.value, BYTES_LIT("2")));
    for (int i = 0; i < 2; i++)
        buf_deinit(&got[i].buf);
    world_deinit(&w);
}

static void answers_of_many_keys_are_bounded(void **state)
{
    struct world w;
    struct version v;
    struct command_key keys[] = {{BYTES_LIT("a"), BYTES_LIT("k")},
                                 {BYTES_LIT("none"), BYTES_LIT("k")},
                                 {BYTES_LIT("a"), BYTES_LIT("l")}};
    struct command_got got[3] = {0};
    struct command_get_many c = {.keys = keys, .n = 3};
    struct command_put p = put_of("a", "k", "12345"), q = put_of("a", "l", "67");
    (void)state;
    world_init(&w, 1);
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
    struct command_at then = {.kind = COMMAND_AT_VERSION, .version = v};
    assert_ok(&w, command_put(&w.db, &q, &v, &w.err));
    assert_ok(&w, command_get_many(&w.db, &c, got, &w.err));
    assert_true(got[0].st == ST_OK && got[1].st == ST_NOT_FOUND && got[2].st == ST_OK);
    assert_true(bytes_eq(got[2].rec.value, BYTES_LIT("67")));
    size_t all = got[0].rec.value.len + got[2].rec.value.len + 2 * strlen("tester");
    c.max_bytes = all;
    assert_ok(&w, command_get_many(&w.db, &c, got, &w.err));
    c.max_bytes = all - 1;
    assert_fails(&w, command_get_many(&w.db, &c, got, &w.err), ST_TOO_LARGE, "keys: ");
    c = (struct command_get_many){.keys = keys, .n = 3, .at = &then};
    assert_ok(&w, command_get_many(&w.db, &c, got, &w.err));
    assert_true(got[0].st == ST_OK && got[2].st == ST_NOT_FOUND);
    keys[1].key = BYTES_EMPTY;
    assert_fails(&w, command_get_many(&w.db, &c, got, &w.err), ST_INVALID_ARGUMENT,
                 "keys[1]: key: ");
    for (int i = 0; i < 3; i++)
        buf_deinit(&got[i].buf);
    world_deinit(&w);
}

/* A snapshot of now shows what a read of now does, however long ago the last write was. */
static void a_snapshot_of_now_knows_what_has_expired(void **state)
{
    struct world w;
    struct version v;
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_put p = put_of("a", "k", "1"), q = put_of("a", "l", "2");
    struct command_at at = {.kind = COMMAND_AT_SNAPSHOT, .snapshot = BYTES_LIT("s")};
    struct command_get g = {.collection = BYTES_LIT("a"), .at = &at};
    (void)state;
    world_init(&w, 1);
    p.options.ttl_ms = 1000;
    q.options.ttl_ms = 9000;
    assert_ok(&w, command_put(&w.db, &p, &v, &w.err));
    assert_ok(&w, command_put(&w.db, &q, &v, &w.err));
    sim_advance_ms(w.env, 5000);
    assert_ok(&w, command_snapshot_create(&w.db, at.snapshot, NULL, &v, &w.err));
    sim_advance_ms(w.env, 10000);
    g.key = BYTES_LIT("k");
    assert_int_equal(command_get(&w.db, &g, &buf, &rec, &w.err), ST_NOT_FOUND);
    g.key = BYTES_LIT("l");
    assert_ok(&w, command_get(&w.db, &g, &buf, &rec, &w.err));
    buf_deinit(&buf);
    world_deinit(&w);
}

static void a_batch_names_its_collections(void **state)
{
    struct world w;
    struct command_batch *b = command_batch_new();
    struct bytes name;
    bool written;
    struct command_value v = {COMMAND_RAW, BYTES_LIT("v")};
    (void)state;
    world_init(&w, 1);
    assert_false(command_batch_name(b, 0, &name, &written));
    assert_ok(&w, command_batch_require(b, BYTES_LIT("read"), BYTES_LIT("k"),
                                        command_expect(VERSION_NONE), &w.err));
    assert_ok(&w, command_batch_put(b, BYTES_LIT("ab"), BYTES_LIT("k"), v, 0, &w.err));
    assert_ok(&w, command_batch_put(b, BYTES_LIT("a"), BYTES_LIT("k"), v, 0, &w.err));
    assert_ok(&w, command_batch_delete(b, BYTES_LIT("ab"), BYTES_LIT("l"), &w.err));
    assert_true(command_batch_name(b, 0, &name, &written));
    assert_true(bytes_eq(name, BYTES_LIT("read")) && !written);
    assert_true(command_batch_name(b, 1, &name, &written));
    assert_true(bytes_eq(name, BYTES_LIT("ab")) && written);
    assert_true(command_batch_name(b, 2, &name, &written));
    assert_true(bytes_eq(name, BYTES_LIT("a")) && written);
    assert_false(command_batch_name(b, 3, &name, &written));
    command_batch_free(b);
    world_deinit(&w);
}

static void a_refused_batch_leaves_no_collection(void **state)
{
    struct world w;
    struct command_batch *b = command_batch_new();
    struct command_value v = {COMMAND_RAW, BYTES_LIT("v")};
    struct collection *made;
    (void)state;
    world_init(&w, 1);
    assert_ok(&w, command_batch_put(b, BYTES_LIT("new"), BYTES_LIT("k"), v, 0, &w.err));
    assert_ok(&w, command_batch_delete(b, BYTES_LIT("new"), BYTES_LIT("k"), &w.err));
    assert_fails(&w, command_commit(&w.db, b, NULL, NULL, NULL, &w.err), ST_INVALID_ARGUMENT,
                 "twice");
    assert_int_equal(store_collection_find(w.db.store, BYTES_LIT("new"), &made, NULL),
                     ST_NOT_FOUND);
    command_batch_clear(b);
    /* The same key of two that are missing is two keys. */
    assert_ok(&w, command_batch_put(b, BYTES_LIT("new"), BYTES_LIT("k"), v, 0, &w.err));
    assert_ok(&w, command_batch_put(b, BYTES_LIT("newer"), BYTES_LIT("k"), v, 0, &w.err));
    assert_ok(&w, command_commit(&w.db, b, NULL, NULL, NULL, &w.err));
    command_batch_free(b);
    world_deinit(&w);
}

static void the_table_and_the_fields(void **state)
{
    struct err err;
    (void)state;
    for (int v = 0; v < COMMAND_VERBS; v++) {
        enum command_access access = command_verb_access((enum command_verb)v);
        assert_true(access == COMMAND_READ || access == COMMAND_WRITE || access == COMMAND_ADMIN);
        assert_true(strlen(command_verb_name((enum command_verb)v)) > 2);
    }
    assert_string_equal(command_verb_name(COMMAND_COMPARE_AND_SET), "compare_and_set");
    assert_string_equal(command_verb_name(COMMAND_VERBS), "?");
    assert_int_equal(command_verb_access(COMMAND_GET), COMMAND_READ);
    assert_int_equal(command_verb_access(COMMAND_RESTORE), COMMAND_WRITE);
    assert_int_equal(command_verb_access(COMMAND_VACUUM), COMMAND_ADMIN);

    err_set(&err, ST_INVALID_ARGUMENT, "options.ttl_ms: a delete does not expire");
    assert_true(bytes_eq(command_field(&err), BYTES_LIT("options.ttl_ms")));
    err_set(&err, ST_TOO_LARGE, "keys[12]: key: it has 70000 bytes");
    assert_true(bytes_eq(command_field(&err), BYTES_LIT("keys[12]")));
    err_set(&err, ST_INVALID_ARGUMENT, "version a 0001: the value is raw bytes");
    assert_int_equal(command_field(&err).len, 0);
    err_set(&err, ST_NOT_FOUND, "key: none");
    assert_int_equal(command_field(&err).len, 0);
    err_set(&err, ST_INVALID_ARGUMENT, ": ");
    assert_int_equal(command_field(&err).len, 0);
    err_init(&err);
    assert_int_equal(command_field(&err).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requirements_of_one_write),
        cmocka_unit_test(drops_with_a_request_id_are_refused),
        cmocka_unit_test(requests_are_done_once),
        cmocka_unit_test(requests_outlive_their_collection),
        cmocka_unit_test(many_keys_are_of_one_moment),
        cmocka_unit_test(answers_of_many_keys_are_bounded),
        cmocka_unit_test(a_snapshot_of_now_knows_what_has_expired),
        cmocka_unit_test(a_batch_names_its_collections),
        cmocka_unit_test(a_refused_batch_leaves_no_collection),
        cmocka_unit_test(the_table_and_the_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
