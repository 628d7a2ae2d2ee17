#include "node/store/request.h"

#include "base/buggify.h"

enum { FORMAT = 1 };

struct bytes request_key(struct bytes id, uint8_t out[STORE_ROUTE_BYTES + STORE_REQUEST_ID_MAX])
{
    ASSERT(id.len <= STORE_REQUEST_ID_MAX);
    route_put(out, STORE_REQUEST_COLLECTION);
    memcpy(out + STORE_ROUTE_BYTES, id.data, id.len);
    return BYTES(out, STORE_ROUTE_BYTES + id.len);
}

void store_request_op(struct bytes id, const uint8_t digest[STORE_DIGEST_BYTES], uint64_t now_ms,
                      struct store_request *ret)
{
    ret->value[0] = FORMAT;
    memcpy(ret->value + 1, digest, STORE_DIGEST_BYTES);
    ret->op = (struct entry_op){.key = request_key(id, ret->key),
                                .kind = RECORD_PUT,
                                .expires_ms = now_ms + STORE_REQUEST_KEPT_MS,
                                .value = BYTES(ret->value, sizeof ret->value)};
}

static enum status other_write(struct err *err)
{
    return err_set(err, ST_INVALID_ARGUMENT,
                   "request_id: it was used for another write within the last 24 hours");
}

enum status store_request_find(struct store *s, const struct store_request *r, enum store_sync sync,
                               struct version *ret, struct err *err)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    enum status st = store_get(s, r->op.key, VERSION_NONE, &buf, &rec, err);
    if (st == ST_OK && !bytes_eq(rec.value, r->op.value))
        st = other_write(err);
    if (st == ST_OK && !s->cluster &&
        (sync != STORE_SYNC_DEFAULT ? sync : s->o.sync) == STORE_SYNC_ALWAYS)
        st = store_sync_now(s, err);
    if (st == ST_OK)
        *ret = rec.version;
    buf_deinit(&buf);
    return st;
}

/* The op of an entry that says which request it is. */
static bool own_op(const struct proposal *p, struct bytes key, struct entry_op *ret)
{
    struct bytes payload = BYTES(p->w->entry->data, p->w->entry->len);
    return entry_find(payload, key, ret) && ret->kind == RECORD_PUT &&
           ret->value.len == 1 + STORE_DIGEST_BYTES;
}

enum request_seen store__request_seen(struct view *v, struct proposal *list, struct proposal *p,
                                      uint64_t now_ms)
{
    uint8_t space[STORE_ROUTE_BYTES + STORE_REQUEST_ID_MAX];
    struct bytes id = p->w->request_id;
    if (id.len == 0)
        return REQUEST_NEW;
    if (id.len > STORE_REQUEST_ID_MAX) {
        p->st = err_set(&p->err, ST_TOO_LARGE, "request_id: it has %zu bytes, over the limit of %d",
                        id.len, STORE_REQUEST_ID_MAX);
        return REQUEST_FAILED;
    }
    struct bytes key = request_key(id, space);
    struct entry_op mine;
    if (!own_op(p, key, &mine)) {
        p->st = err_set(&p->err, ST_INVALID_ARGUMENT, "request_id: the entry does not carry it");
        return REQUEST_FAILED;
    }
    struct record rec = {0};
    struct engine_pin pin = {0};
    enum status st = ST_OK;
    bool by_group = list && store__in_group(list, p, key, &rec);
    if (!by_group)
        st = store__find(v, key, VERSION_MAX, &rec, &pin, &p->err);
    enum request_seen seen = REQUEST_NEW;
    if (st == ST_OK && record_alive(&rec, now_ms))
        seen = bytes_eq(rec.value, mine.value) ? REQUEST_DONE : REQUEST_OTHER;
    else if (st != ST_OK && st != ST_NOT_FOUND)
        seen = REQUEST_FAILED;
    engine_pin_release(&pin);
    if (seen == REQUEST_DONE) {
        PROBE("store: a request is known already");
        p->w->version = rec.version;
        p->w->duplicate = true;
    } else if (seen == REQUEST_OTHER) {
        p->by_group = by_group;
        p->st = other_write(&p->err);
    } else if (seen == REQUEST_FAILED) {
        p->st = st;
    }
    return seen;
}
