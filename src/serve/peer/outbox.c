/* outbox.c - bundles that wait for one node. */
#include "serve/peer/peer_internal.h"

#include "base/alloc.h"
#include "base/buggify.h"

enum status outbox__init(struct outbox *o, size_t max_bytes)
{
    *o = (struct outbox){.max_bytes = max_bytes};
    o->ring = mem_alloc(OUTBOX_SLOTS * sizeof(struct blob *));
    return o->ring ? ST_OK : ST_NO_MEMORY;
}

void outbox__deinit(struct outbox *o)
{
    (void)outbox__clear(o);
    mem_free(o->ring);
    o->ring = NULL;
}

bool outbox__push(struct outbox *o, struct blob *b)
{
    size_t room = b->len > SMALL_BUNDLE ? o->max_bytes - o->max_bytes / 8 : o->max_bytes;
    size_t slots = b->len > SMALL_BUNDLE ? OUTBOX_SLOTS - OUTBOX_SLOTS / 8 : OUTBOX_SLOTS;
    if (o->n && (o->n >= slots || o->bytes >= room || b->len > room - o->bytes ||
                 BUGGIFY("peer: an outbox is full")))
        return false;
    o->ring[(o->at + o->n++) % OUTBOX_SLOTS] = b;
    o->bytes += b->len;
    return true;
}

struct blob *outbox__pop(struct outbox *o)
{
    if (o->n == 0)
        return NULL;
    struct blob *b = o->ring[o->at];
    o->at = (o->at + 1) % OUTBOX_SLOTS;
    o->n--;
    o->bytes -= b->len;
    return b;
}

size_t outbox__clear(struct outbox *o)
{
    size_t n = o->n;
    for (struct blob *b; (b = outbox__pop(o)) != NULL;)
        blob_unref(b);
    return n;
}
