/* test_status.c - the table holds what other parts rely on; details are cut, never overrun. */
#include "base/status.h"
#include "support/cmocka.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const enum status all[] = {
#define X(name, num, text, grpc, http, retry) ST_##name,
    STATUS_TABLE(X)
#undef X
};
enum { STATUS_COUNT = sizeof all / sizeof all[0] };

static void numbers_are_dense_and_names_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        assert_int_equal((int)all[i], (int)i);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(status_name(all[i]), status_name(all[j]));
            assert_string_not_equal(status_text(all[i]), status_text(all[j]));
        }
    }
}

static void rows_are_well_formed(void **state)
{
    (void)state;
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        for (const char *p = status_name(all[i]); *p; p++)
            assert_true(isupper((unsigned char)*p) || *p == '_');
        assert_true(strlen(status_text(all[i])) > 0);
        assert_in_range(status_grpc(all[i]), 0, 16);
        assert_in_range(status_http(all[i]), 200, 599);
        assert_int_equal(status_grpc(all[i]) == 0, all[i] == ST_OK);
        assert_int_equal(status_http(all[i]) < 300, all[i] == ST_OK);
    }
    assert_false(status_retryable(ST_OK));
    assert_true(status_retryable(ST_OVERLOADED));
    assert_false(status_retryable(ST_POISONED));
    assert_string_equal(status_name(ST_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(status_text(ST_NOT_FOUND), "not found");
    assert_int_equal(status_http(ST_NOT_FOUND), 404);
    assert_int_equal(status_grpc(ST_NOT_FOUND), 5);
}

static void no_memory_says_so(void **state)
{
    (void)state;
    struct err err;
    char wide[ERR_DETAIL_MAX + 10];
    assert_int_equal(err_set(&err, ST_NO_MEMORY, "cursor"), ST_NO_MEMORY);
    assert_string_equal(err.detail, "cursor: out of memory");
    assert_int_equal(err_set(&err, ST_NO_MEMORY, "%s", ""), ST_NO_MEMORY);
    assert_string_equal(err.detail, "out of memory");
    assert_int_equal(err_set(&err, ST_NO_MEMORY, "no memory for %d", 1), ST_NO_MEMORY);
    assert_string_equal(err.detail, "no memory for 1");
    assert_int_equal(err_set(&err, ST_NOT_FOUND, "cursor"), ST_NOT_FOUND);
    assert_string_equal(err.detail, "cursor");
    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = 0;
    assert_int_equal(err_set(&err, ST_NO_MEMORY, "%s", wide), ST_NO_MEMORY);
    assert_int_equal(strlen(err.detail), ERR_DETAIL_MAX - 1);
    assert_string_equal(err.detail + ERR_DETAIL_MAX - 4, "...");
}

static void numbers_outside_the_table_have_a_row(void **state)
{
    (void)state;
    const int outside[] = {STATUS_COUNT, 1000000, -1};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        enum status st = (enum status)outside[i];
        assert_string_equal(status_name(st), "UNKNOWN");
        assert_string_equal(status_text(st), "unknown status");
        assert_int_equal(status_grpc(st), 2);
        assert_int_equal(status_http(st), 500);
        assert_false(status_retryable(st));
    }
}

static void errno_maps_to_status(void **state)
{
    (void)state;
    assert_int_equal(status_from_errno(ENOSPC), ST_DISK_FULL);
    assert_int_equal(status_from_errno(EDQUOT), ST_DISK_FULL);
    assert_int_equal(status_from_errno(EMFILE), ST_TOO_MANY_FILES);
    assert_int_equal(status_from_errno(ENFILE), ST_TOO_MANY_FILES);
    assert_int_equal(status_from_errno(ENOMEM), ST_NO_MEMORY);
    assert_int_equal(status_from_errno(EACCES), ST_PERMISSION_DENIED);
    assert_int_equal(status_from_errno(EPERM), ST_PERMISSION_DENIED);
    assert_int_equal(status_from_errno(EROFS), ST_READ_ONLY);
    assert_int_equal(status_from_errno(EIO), ST_IO_ERROR);
    assert_int_equal(status_from_errno(ENOENT), ST_IO_ERROR);
    assert_int_equal(status_from_errno(0), ST_IO_ERROR);
}

static void details_grow_from_layer_to_layer(void **state)
{
    (void)state;
    struct err err;
    err_init(&err);
    assert_int_equal(err.status, ST_OK);
    assert_string_equal(err.detail, "");
    assert_int_equal(err_set(&err, ST_TOO_LARGE, "key of %d bytes, limit %d", 70000, 65536),
                     ST_TOO_LARGE);
    err_prefix(&err, "put into '%s'", "books");
    assert_string_equal(err.detail, "put into 'books': key of 70000 bytes, limit 65536");
    assert_int_equal(err.status, ST_TOO_LARGE);
    assert_int_equal(err_errno(&err, ENOSPC, "write %s", "seg-1"), ST_DISK_FULL);
    assert_string_equal(err.detail, "write seg-1: No space left on device");
}

static void err_may_be_null(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ST_CORRUPT, "x"), ST_CORRUPT);
    assert_int_equal(err_errno(NULL, ENOSPC, "x"), ST_DISK_FULL);
    err_prefix(NULL, "x");
}

static void long_details_are_cut_with_dots(void **state)
{
    (void)state;
    char big[2 * ERR_DETAIL_MAX];
    for (size_t len = ERR_DETAIL_MAX - 8; len < ERR_DETAIL_MAX + 8; len++) {
        struct err err;
        memset(big, 'x', len);
        big[len] = '\0';
        err_set(&err, ST_INTERNAL, "%s", big);
        if (len < ERR_DETAIL_MAX) {
            assert_string_equal(err.detail, big);
        } else {
            assert_int_equal(strlen(err.detail), ERR_DETAIL_MAX - 1);
            assert_string_equal(err.detail + ERR_DETAIL_MAX - 4, "...");
        }
    }
    struct err err;
    err_set(&err, ST_INTERNAL, "%s", "tail");
    err_prefix(&err, "%s", big);
    assert_int_equal(strlen(err.detail), ERR_DETAIL_MAX - 1);
    assert_string_equal(err.detail + ERR_DETAIL_MAX - 4, "...");
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    /* "é" is two bytes; with one and with no byte before it, the cut falls on both of its halves.
     */
    for (size_t shift = 0; shift < 2; shift++) {
        char big[2 * ERR_DETAIL_MAX] = "x";
        struct err err;
        size_t len = shift;
        while (len < ERR_DETAIL_MAX + 10) {
            memcpy(big + len, "\xc3\xa9", 3);
            len += 2;
        }
        err_set(&err, ST_INTERNAL, "%s", big);
        size_t cut = strlen(err.detail);
        assert_string_equal(err.detail + cut - 3, "...");
        assert_int_equal((unsigned char)err.detail[cut - 4], 0xa9);
    }
}

static void an_argument_may_be_the_detail_itself(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ST_INTERNAL, "inner");
    err_set(&err, ST_IO_ERROR, "outer (%s)", err.detail);
    assert_string_equal(err.detail, "outer (inner)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_dense_and_names_unique),
        cmocka_unit_test(rows_are_well_formed),
        cmocka_unit_test(no_memory_says_so),
        cmocka_unit_test(numbers_outside_the_table_have_a_row),
        cmocka_unit_test(errno_maps_to_status),
        cmocka_unit_test(details_grow_from_layer_to_layer),
        cmocka_unit_test(err_may_be_null),
        cmocka_unit_test(long_details_are_cut_with_dots),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(an_argument_may_be_the_detail_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
