#include "embed_util.h"

#include <stdio.h>
#include <time.h>

const char *test_engine = "mem";

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->engine = test_engine;
    assert_true(temp_dir_make(w->dir, "embed"));
    snprintf(w->folder, sizeof(w->folder), "%s/db", w->dir);
    /* What a crash may lose is tested elsewhere; here the disk need not be waited for. */
    w->o = (varve_options){.size = sizeof(w->o),
                           .sync = VARVE_SYNC_OFF,
                           .segment_bytes = 1 << 20,
                           .engine = test_engine};
    w->v = varve_value_new();
    assert_non_null(w->v);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    varve_value_free(w->v);
    bool gone = temp_dir_remove(w->dir);
    free(w);
    return gone ? 0 : -1;
}

int run_on(const struct CMUnitTest *tests, size_t n, const char *const *engines)
{
    int failed = 0;
    for (; *engines; engines++) {
        test_engine = *engines;
        failed += _cmocka_run_group_tests(test_engine, tests, n, NULL, NULL);
    }
    return failed;
}

void db_open(struct world *w)
{
    assert_ok(varve_open(w->folder, &w->o, &w->db));
}

void db_close(struct world *w)
{
    varve *db = w->db;
    w->db = NULL;
    assert_ok(varve_close(db));
}

void db_reopen(struct world *w)
{
    db_close(w);
    db_open(w);
}

static void on_finding(void *arg, const varve_finding *f)
{
    (void)arg;
    print_message("finding: %s offset %llu range %llu: %s\n", f->file,
                  (unsigned long long)f->offset, (unsigned long long)f->range, f->text);
}

void db_verify(struct world *w)
{
    assert_ok(varve_verify(w->db, on_finding, NULL, NULL));
}

void db_end(struct world *w)
{
    db_verify(w);
    assert_ok(varve_checkpoint(w->db));
    db_verify(w);
    db_close(w);
}

varve_version put(struct world *w, const char *collection, const char *key, const char *value)
{
    varve_version v;
    assert_ok(
        varve_put(w->db, collection, key, strlen(key), VARVE_RAW, value, strlen(value), NULL, &v));
    return v;
}

varve_version put_json(struct world *w, const char *collection, const char *key, const char *json)
{
    varve_version v;
    assert_ok(
        varve_put(w->db, collection, key, strlen(key), VARVE_JSON, json, strlen(json), NULL, &v));
    return v;
}

varve_version del(struct world *w, const char *collection, const char *key)
{
    varve_version v;
    assert_ok(varve_delete(w->db, collection, key, strlen(key), NULL, &v));
    return v;
}

void expect(struct world *w, const char *collection, const char *key, const varve_at *at,
            const char *value)
{
    varve_status st = varve_get(w->db, collection, key, strlen(key), at, w->v);
    if (!value) {
        if (st != VARVE_NOT_FOUND)
            fail_msg("%s/%s: %s, wanted NOT_FOUND", collection, key, varve_status_name(st));
        return;
    }
    if (st != VARVE_OK)
        fail_msg("%s/%s: %s: %s", collection, key, varve_status_name(st), varve_last_error());
    if (!bytes_are(varve_value_bytes(w->v), value))
        fail_msg("%s/%s: \"%.*s\", wanted \"%s\"", collection, key,
                 (int)varve_value_bytes(w->v).len, (const char *)varve_value_bytes(w->v).data,
                 value);
}

varve_at at_version(varve_version v)
{
    return (varve_at){.kind = VARVE_AT_VERSION, .version = v};
}

varve_at at_time(uint64_t ms)
{
    return (varve_at){.kind = VARVE_AT_TIME, .time_ms = ms};
}

varve_at at_snapshot(const char *name)
{
    return (varve_at){.kind = VARVE_AT_SNAPSHOT, .snapshot = name};
}

bool same_version(varve_version a, varve_version b)
{
    return varve_version_compare(a, b) == 0;
}

bool bytes_are(varve_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void nap_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}
