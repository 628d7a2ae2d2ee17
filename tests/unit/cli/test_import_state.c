/* test_import_state.c - the place of an import as a document, and that another file, key or format
 * is refused. */
#include "apps/cli/cli_import.h"
#include "model/doc/doc.h"
#include "support/cmocka.h"

#include <string.h>

static const struct cli_file_id ID = {true, 12345, UINT64_C(1769904000123456789),
                                      UINT64_C(0xfedcba9876543210)};
static const struct cli_import_state STATE = {.offset = UINT64_C(5000000000),
                                              .line = 77,
                                              .rows = 70,
                                              .unchanged = 3,
                                              .skipped = 2,
                                              .done = false};

static void encode(struct buf *doc)
{
    assert_int_equal(cli_import_encode(&STATE, &ID, "data.ndjson", BYTES_LIT("id"), false, doc),
                     ST_OK);
    struct err e;
    assert_int_equal(doc_check(buf_bytes(doc), &e), ST_OK);
}

static void comes_back(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT;
    struct cli_import_state got;
    struct err e;
    encode(&doc);
    assert_int_equal(cli_import_decode(buf_bytes(&doc), &ID, BYTES_LIT("id"), false, &got, &e),
                     ST_OK);
    assert_true(got.offset == STATE.offset && got.line == 77 && got.rows == 70 &&
                got.unchanged == 3 && got.skipped == 2 && !got.done);
    buf_deinit(&doc);
}

static void others_are_refused(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT, empty = BUF_INIT;
    struct cli_import_state got = {.line = 42};
    struct err e;
    encode(&doc);
    struct cli_file_id other[3] = {ID, ID, ID};
    other[0].size++;
    other[1].mtime_ns++;
    other[2].head_hash++;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            cli_import_decode(buf_bytes(&doc), &other[i], BYTES_LIT("id"), false, &got, &e),
            ST_INVALID_ARGUMENT);
        assert_non_null(strstr(e.detail, "another file"));
    }
    assert_int_equal(cli_import_decode(buf_bytes(&doc), &ID, BYTES_LIT("x"), false, &got, &e),
                     ST_INVALID_ARGUMENT);
    assert_non_null(strstr(e.detail, "--key"));
    assert_int_equal(cli_import_decode(buf_bytes(&doc), &ID, BYTES_LIT("id"), true, &got, &e),
                     ST_INVALID_ARGUMENT);
    assert_non_null(strstr(e.detail, "--format"));
    assert_int_equal(doc_from_json(BYTES_LIT("{\"offset\":-1}"), &empty, &e), ST_OK);
    assert_int_equal(cli_import_decode(buf_bytes(&empty), &ID, BYTES_LIT("id"), false, &got, &e),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(got.line, 42);
    buf_deinit(&doc);
    buf_deinit(&empty);
}

static void keys_tell_files_apart(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT;
    struct cli_file_id other = ID;
    other.mtime_ns++;
    assert_int_equal(cli_import_key("users", &ID, &a), ST_OK);
    assert_int_equal(cli_import_key("users", &other, &b), ST_OK);
    assert_int_equal(a.len, 6 + 16);
    assert_memory_equal(a.data, "users/", 6);
    assert_false(bytes_eq(buf_bytes(&a), buf_bytes(&b)));
    buf_deinit(&a);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(keys_tell_files_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
