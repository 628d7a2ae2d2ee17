/* A million versions of one key (a hundredth by default): the history is whole and chained, every
 * moment reads right wherever its version lies, the present is as it was, and retention by count
 * leaves what it says. */
#include "limits_util.h"

#include <stdio.h>

enum { SAMPLE = 997, KEEP = 10 };

static void doc_of(uint64_t i, char *out, size_t size)
{
    snprintf(out, size, "{\"n\":%llu,\"odd\":%s}", (unsigned long long)i, i % 2 ? "true" : "false");
}

static void expect_doc(struct world *w, uint64_t i)
{
    char want[64];
    const char *got;
    doc_of(i, want, sizeof(want));
    assert_ok(varve_value_json(w->v, false, &got));
    /* spaces are the printer's affair */
    char packed[64];
    size_t n = 0;
    for (; *got && n < sizeof(packed) - 1; got++)
        if (*got != ' ')
            packed[n++] = *got;
    packed[n] = 0;
    assert_string_equal(packed, want);
}

static void write_versions(struct world *w, varve_version *versions, uint64_t from, uint64_t to)
{
    char json[64];
    for (uint64_t i = from; i < to; i++) {
        doc_of(i, json, sizeof(json));
        versions[i] = put_json(w, "c", "one", json);
        if (i)
            assert_true(varve_version_compare(versions[i], versions[i - 1]) > 0);
    }
}

static void read_moments(struct world *w, const varve_version *versions, uint64_t from, uint64_t n)
{
    for (uint64_t i = from; i < n; i += SAMPLE) {
        varve_at at = at_version(versions[i]);
        assert_ok(varve_get(w->db, "c", "one", 3, &at, w->v));
        assert_true(same_version(varve_value_version(w->v), versions[i]));
        expect_doc(w, i);
    }
    /* At the end of a millisecond: its newest version. */
    for (uint64_t i = from; i < n; i += SAMPLE * 7) {
        uint64_t ms = varve_version_time_ms(versions[i]), last = i;
        while (last + 1 < n && varve_version_time_ms(versions[last + 1]) == ms)
            last++;
        varve_at at = at_time(ms);
        assert_ok(varve_get(w->db, "c", "one", 3, &at, w->v));
        assert_true(same_version(varve_value_version(w->v), versions[last]));
    }
}

static void read_history(struct world *w, const varve_version *versions, uint64_t oldest,
                         uint64_t n)
{
    varve_iter *it;
    assert_ok(varve_history(w->db, "c", "one", 3, 0, &it));
    for (uint64_t i = n; i-- > oldest;) {
        assert_int_equal(varve_iter_next(it), 1);
        if (!same_version(varve_iter_version(it), versions[i]))
            fail_msg("row %llu of the history is another version", (unsigned long long)(n - 1 - i));
        varve_version parent = varve_iter_parent(it);
        /* The oldest that retention left may still name the one before it, which is gone. */
        bool cut = i == oldest && varve_version_compare(parent, (varve_version){0}) == 0;
        if (!cut && !same_version(parent, i ? versions[i - 1] : (varve_version){0}))
            fail_msg("version %llu has the wrong parent", (unsigned long long)i);
        assert_false(varve_iter_is_delete(it));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
}

static void read_present(struct world *w, uint64_t n)
{
    assert_ok(varve_get(w->db, "c", "one", 3, NULL, w->v));
    expect_doc(w, n - 1);
    expect(w, "c", "aaa", NULL, "before");
    expect(w, "c", "zzz", NULL, "after");
    for (int reverse = 0; reverse < 2; reverse++) {
        static const char *const keys[] = {"aaa", "one", "zzz"};
        varve_scan_options o = {.size = sizeof(o), .reverse = reverse};
        varve_iter *it;
        assert_ok(varve_scan(w->db, "c", &o, &it));
        for (int i = 0; i < 3; i++) {
            assert_int_equal(varve_iter_next(it), 1);
            assert_true(bytes_are(varve_iter_key(it), keys[reverse ? 2 - i : i]));
        }
        assert_int_equal(varve_iter_next(it), 0);
        varve_iter_close(it);
    }
}

static void read_diff(struct world *w, const varve_version *versions, uint64_t n)
{
    char part[64], *text;
    snprintf(part, sizeof(part), "%llu", (unsigned long long)(n - 1));
    assert_ok(
        varve_diff(w->db, "c", "one", 3, versions[0], versions[n - 1], VARVE_DIFF_PATHS, &text));
    assert_non_null(strstr(text, part));
    assert_non_null(strstr(text, "odd")); /* n is even, so the last is odd */
    assert_non_null(strstr(text, "\"unset\":[]"));
    varve_free(text);
    assert_ok(varve_diff(w->db, "c", "one", 3, versions[n - 1], versions[0], VARVE_DIFF_JSON_PATCH,
                         &text));
    assert_non_null(strstr(text, "\"/n\""));
    varve_free(text);
}

/* Every `step`th below `end`, and the last three. */
static uint64_t next_sample(uint64_t i, uint64_t step, uint64_t end)
{
    if (i + step < end - 3)
        return i + step;
    return i < end - 3 ? end - 3 : i + 1;
}

static void cut_to_ten(struct world *w, const varve_version *versions, uint64_t n)
{
    varve_retention r = {.max_count = KEEP};
    varve_vacuum_result res;
    assert_ok(varve_retention_set(w->db, "c", &r));
    assert_ok(varve_vacuum(w->db, "c", NULL, NULL, &res));
    assert_int_equal(res.versions_removed, n - KEEP);
    fact(w, "vacuumed");
    /* Before the compaction a read of what is gone walks over all that was removed above the floor
     * (0.3 s under a million), so it is asked less often. */
    for (int pass = 0; pass < 2; pass++) {
        uint64_t step = pass == 0 ? 50 * SAMPLE : SAMPLE;
        read_history(w, versions, n - KEEP, n);
        read_present(w, n);
        for (uint64_t i = n - KEEP; i < n; i++) {
            varve_at at = at_version(versions[i]);
            assert_ok(varve_get(w->db, "c", "one", 3, &at, w->v));
            expect_doc(w, i);
        }
        for (uint64_t i = 0; i < n - KEEP; i = next_sample(i, step, n - KEEP)) {
            varve_at at = at_version(versions[i]);
            assert_fails(varve_get(w->db, "c", "one", 3, &at, w->v), VARVE_BELOW_HORIZON, "");
        }
        char *text;
        assert_fails(
            varve_diff(w->db, "c", "one", 3, versions[0], versions[n - 1], VARVE_DIFF_PATHS, &text),
            VARVE_BELOW_HORIZON, "");
        db_verify(w);
        assert_ok(varve_compact(w->db));
        db_reopen(w);
    }
    fact(w, "cut, compacted, reopened");
}

static void many_versions(void **state)
{
    struct world *w = *state;
    uint64_t n = limits_full ? 1000000 : 10000;
    varve_version *versions = calloc(n, sizeof(*versions));
    assert_non_null(versions);
    w->o.segment_bytes = 0;
    w->o.checkpoint_interval_ms = UINT32_MAX;
    db_open(w);
    put(w, "c", "aaa", "before");
    put(w, "c", "zzz", "after");
    write_versions(w, versions, 0, n / 2);
    assert_ok(varve_checkpoint(w->db));
    write_versions(w, versions, n / 2, n); /* half in the engine, half in memory */
    fact(w, "versions written");
    for (int pass = 0; pass < 3; pass++) {
        read_moments(w, versions, 0, n);
        read_history(w, versions, 0, n);
        read_present(w, n);
        read_diff(w, versions, n);
        fact(w, pass == 0 ? "read" : pass == 1 ? "read after the checkpoint" : "read, reopened");
        if (pass == 0)
            assert_ok(varve_checkpoint(w->db));
        else if (pass == 1)
            db_reopen(w);
    }
    db_verify(w);
    fact(w, "verified");
    cut_to_ten(w, versions, n);
    db_end(w);
    free(versions);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(many_versions)};
    limits_begin(argc, argv);
    return RUN_ON(tests, "rocks");
}
