/* Every allocation of the library's calls failing in turn: no crash, no leak (asan), a named
 * answer, no lost write. */
#include "base/alloc.h"
#include "embed_util.h"

#include <stdio.h>

struct kept { /* what was acknowledged */
    bool put, doc, batch, cas, restored, snapshot, deleted, poisoned;
};

static bool fine(varve_status st)
{
    if (st != VARVE_OK && st != VARVE_NO_MEMORY && st != VARVE_POISONED)
        fail_msg("%s: %s", varve_status_name(st), varve_last_error());
    return st == VARVE_OK;
}

static void drain(varve_status opened, varve_iter *it)
{
    int rc;
    if (!fine(opened))
        return;
    while ((rc = varve_iter_next(it)) > 0)
        ;
    fine((varve_status)-rc);
    varve_iter_close(it);
}

static void write_all(struct world *w, struct kept *k)
{
    varve_version v = {0, 0};
    varve_batch *b = varve_batch_new();
    char big[700];
    memset(big, 'b', sizeof(big));
    k->put = fine(varve_put(w->db, "c", big, sizeof(big), VARVE_RAW, big, sizeof(big), NULL, &v));
    k->doc =
        fine(varve_put(w->db, "c", "doc", 3, VARVE_JSON, "{\"a\":[1,{\"b\":2}]}", 17, NULL, &v));
    if (b && fine(varve_batch_put(b, "d", "x", 1, VARVE_JSON, "{\"x\":1}", 7, 0)) &&
        fine(varve_batch_put(b, "e", "y", 1, VARVE_RAW, big, sizeof(big), 0)) &&
        fine(varve_batch_require(b, "none", "k", 1, VARVE_REQUIRE_ABSENT, (varve_version){0, 0})))
        k->batch = fine(varve_commit(w->db, b, NULL, NULL, NULL));
    varve_batch_free(b);
    k->cas = fine(varve_compare_and_set(w->db, "f", "k", 1, (varve_version){0, 0}, VARVE_RAW, "1",
                                        1, NULL, NULL));
    varve_at at = at_version(v);
    if (k->doc)
        k->restored = fine(varve_restore(w->db, "c", "doc", 3, &at, NULL, NULL));
    k->snapshot = fine(varve_snapshot_create(w->db, "s", NULL, NULL));
    if (k->cas) {
        varve_status st = varve_delete(w->db, "f", "k", 1, NULL, NULL);
        k->deleted = fine(st);
        k->poisoned = st == VARVE_POISONED;
    }
}

static void read_all(struct world *w, const struct kept *k)
{
    varve_iter *it = NULL;
    varve_watch *watch;
    const varve_iter *row;
    char *text;
    const char *json;
    varve_changes_options values = {.size = sizeof(values), .values = true};
    if (k->doc && fine(varve_get(w->db, "c", "doc", 3, NULL, w->v)))
        fine(varve_value_json(w->v, true, &json));
    varve_status st = varve_scan(w->db, "c", NULL, &it);
    drain(st, it);
    st = varve_history(w->db, "c", "doc", 3, 0, &it);
    drain(st, it);
    st = varve_changes(w->db, NULL, &values, &it);
    drain(st, it);
    st = varve_collections(w->db, &it);
    drain(st, it);
    st = varve_snapshots(w->db, &it);
    drain(st, it);
    if (fine(varve_watch_open(w->db, "", NULL, &watch))) {
        int rc = varve_watch_next(watch, 0, &row);
        fine(rc < 0 ? (varve_status)-rc : VARVE_OK);
        varve_watch_close(watch);
    }
    if (k->restored && fine(varve_get(w->db, "c", "doc", 3, NULL, w->v))) {
        varve_version v = varve_value_version(w->v);
        if (fine(varve_diff(w->db, "c", "doc", 3, v, (varve_version){0, 0}, VARVE_DIFF_JSON_PATCH,
                            &text)))
            varve_free(text);
    }
    if (fine(varve_metrics(w->db, &text)))
        varve_free(text);
    fine(varve_verify(w->db, NULL, NULL, NULL));
    fine(varve_checkpoint(w->db));
}

static void check_kept(struct world *w, const struct kept *k)
{
    char big[700];
    memset(big, 'b', sizeof(big));
    if (k->put)
        assert_ok(varve_get(w->db, "c", big, sizeof(big), NULL, w->v));
    if (k->doc)
        assert_ok(varve_get(w->db, "c", "doc", 3, NULL, w->v));
    varve_status x = varve_get(w->db, "d", "x", 1, NULL, w->v),
                 y = varve_get(w->db, "e", "y", 1, NULL, w->v);
    assert_int_equal(x, y); /* all or nothing, acknowledged or not */
    assert_true(!k->batch || x == VARVE_OK);
    if (k->cas && !k->deleted && !k->poisoned) /* else it may be in the log all the same */
        expect(w, "f", "k", NULL, "1");
    if (k->deleted)
        expect(w, "f", "k", NULL, NULL);
    varve_at at = at_snapshot("s");
    if (k->snapshot && k->doc)
        assert_ok(varve_get(w->db, "c", "doc", 3, &at, w->v));
}

static void each_allocation_fails_in_turn(void **state)
{
    struct world *w = *state;
    char folder[sizeof(w->folder)];
    memcpy(folder, w->folder, sizeof(folder));
    /* The housekeeping thread allocates too, so that what fails is not the same every time; all of
     * it is to be survived. */
    for (uint64_t nth = 1; nth < 100000; nth += nth < 60 ? 1 : 3) {
        struct kept k = {0};
        snprintf(w->folder, sizeof(w->folder), "%.400s/%llu", w->dir, (unsigned long long)nth);
        w->db = NULL;
        mem_fail_hits();
        mem_fail_at(nth, 0);
        if (fine(varve_open(w->folder, &w->o, &w->db))) {
            write_all(w, &k);
            read_all(w, &k);
            fine(varve_close(w->db));
        }
        mem_fail_at(0, 0);
        bool reached = mem_fail_hits() > 0;
        db_open(w);
        check_kept(w, &k);
        db_end(w);
        assert_true(temp_dir_remove(w->folder));
        if (!reached)
            break;
    }
    memcpy(w->folder, folder, sizeof(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(each_allocation_fails_in_turn)};
    return RUN_ON(tests, "mem");
}
