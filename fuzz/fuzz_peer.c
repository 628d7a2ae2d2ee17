/* Messages between nodes: nothing malformed is taken, and a bundle comes back as it went. */
#include "base/assert.h"
#include "serve/peer/peer_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct peers *somebody(void)
{
    static struct peers *p;
    if (p)
        return p;
    p = calloc(1, sizeof *p);
    ASSERT(p);
    p->nodes[0].id = 1;
    p->nodes[1].id = 2;
    p->o.n_nodes = 2;
    p->o.node = 1;
    memcpy(p->cluster, "c", 2);
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = BYTES(data, size), got;
    struct err err;
    struct hello_heard heard;
    for (int answer = 0; answer < 2; answer++)
        if (message__judge(somebody(), in, answer, 0, &heard, &err) == ST_OK)
            ASSERT(heard.from == 2);
    if (message__read_bundle(in, &got, &err) == ST_OK)
        ASSERT(got.len > 0 && got.data >= data && got.data + got.len <= data + size);
    if (size == 0)
        return 0;
    struct blob *b = message__bundle(in);
    if (b) {
        ASSERT(message__read_bundle(BYTES(b->data, b->len), &got, &err) == ST_OK);
        ASSERT(bytes_eq(got, in));
    }
    blob_unref(b);
    return 0;
}
