/* test_blob.c - a blob lives exactly until its last reference, also across threads. */
#include "base/alloc.h"
#include "base/blob.h"
#include "support/cmocka.h"

#include <pthread.h>
#include <string.h>

static void a_blob_holds_its_bytes(void **state)
{
    (void)state;
    struct blob *b = blob_new(10);
    assert_non_null(b);
    assert_int_equal(b->len, 10);
    assert_int_equal((uintptr_t)b->data % 8, 0);
    memset(b->data, 7, 10);
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    assert_int_equal(b->data[9], 7);
    blob_unref(b);
    blob_unref(NULL);
    b = blob_new(0);
    assert_int_equal(b->len, 0);
    blob_unref(b);
}

static void no_memory_is_null(void **state)
{
    (void)state;
    mem_fail_at(1, 0);
    assert_null(blob_new(10));
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 1);
    assert_null(blob_new(SIZE_MAX));
    assert_null(blob_new(SIZE_MAX - 16));
}

static void *share(void *arg)
{
    struct blob *b = arg;
    for (int i = 0; i < 20000; i++) {
        struct blob *mine = blob_ref(b);
        if (mine->data[0] != 42)
            return arg;
        blob_unref(mine);
    }
    blob_unref(b);
    return NULL;
}

static void threads_share_a_blob(void **state)
{
    (void)state;
    struct blob *b = blob_new(1);
    pthread_t thread[4];
    b->data[0] = 42;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, share, blob_ref(b)), 0);
    blob_unref(b); /* the last thread frees it; the sanitizers see if one came late */
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_holds_its_bytes),
        cmocka_unit_test(no_memory_is_null),
        cmocka_unit_test(threads_share_a_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
