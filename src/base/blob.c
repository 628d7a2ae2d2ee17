/* blob.c - see blob.h. */
#include "base/blob.h"

#include "base/alloc.h"
#include "base/assert.h"

_Static_assert(offsetof(struct blob, data) % 8 == 0, "the bytes of a blob are 8-byte aligned");

struct blob *blob_new(size_t len)
{
    if (len > SIZE_MAX - sizeof(struct blob))
        return NULL;
    struct blob *b = mem_alloc(sizeof *b + len);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->len = len;
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    uint32_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < UINT32_MAX);
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b)
        return;
    /* Release, so that our reads are done before the bytes go; acquire, so that the last one sees
     * everyone's. */
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1)
        mem_free(b);
}
