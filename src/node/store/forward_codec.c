#include "node/store/forward_codec.h"

enum { COLLECTION_BYTES_MIN = 2, REQUIRE_BYTES_MIN = 5, COUNT_MAX = 1 << 24 };

static enum status put_bytes(struct buf *out, struct bytes b)
{
    enum status st = buf_append_varint(out, b.len);
    return st == ST_OK && b.len ? buf_append(out, b.data, b.len) : st;
}

static enum status put_all(struct buf *out, const uint64_t *v, size_t n)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = buf_append_varint(out, v[i]);
    return st;
}

static bool take_bytes(struct reader *in, size_t max, struct bytes *ret)
{
    uint64_t len;
    return read_varint(in, &len) && len <= max && len <= reader_left(in) &&
           read_bytes(in, (size_t)len, ret);
}

static bool take_all(struct reader *in, uint64_t *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!read_varint(in, v[i]))
            return false;
    return true;
}

/* ---- a forward: the counts stand before what they count, so that parts follow one another ---- */

enum status forward_encode(struct buf *out, const struct forward *f)
{
    const uint64_t head[] = {f->number, f->incarnation, f->term, f->at_least};
    const uint64_t counts[] = {f->n_collections, f->n_requires};
    enum status st = put_all(out, head, 4);
    if (st == ST_OK)
        st = buf_append_varint(out, f->n_older);
    if (st == ST_OK)
        st = put_all(out, f->older, (size_t)f->n_older);
    if (st == ST_OK)
        st = put_bytes(out, f->request_id);
    return st == ST_OK ? put_all(out, counts, 2) : st;
}

enum status forward_encode_collection(struct buf *out, const struct forward_collection *c)
{
    enum status st = buf_append_varint(out, c->id);
    return st == ST_OK ? put_bytes(out, c->name) : st;
}

enum status forward_encode_require(struct buf *out, const struct store_require *r)
{
    const uint64_t version[] = {r->version.hlc, r->version.origin};
    enum status st = buf_append_u8(out, (uint8_t)r->what);
    if (st == ST_OK)
        st = put_all(out, version, 2);
    return st == ST_OK ? put_bytes(out, r->key) : st;
}

enum status forward_encode_entry(struct buf *out, struct bytes entry)
{
    return put_bytes(out, entry);
}

bool forward_open(struct bytes in, struct forward *ret)
{
    struct forward f = {.in = reader_of(in)};
    uint64_t *const head[] = {&f.number, &f.incarnation, &f.term, &f.at_least};
    uint64_t *const counts[] = {&f.n_collections, &f.n_requires};
    if (!take_all(&f.in, head, 4) || !read_varint(&f.in, &f.n_older) ||
        f.n_older > FORWARD_OLDER_MAX)
        return false;
    for (uint64_t i = 0; i < f.n_older; i++)
        if (!read_varint(&f.in, &f.older[i]))
            return false;
    if (!take_bytes(&f.in, STORE_REQUEST_ID_MAX, &f.request_id) || !take_all(&f.in, counts, 2))
        return false;
    if (f.n_collections > reader_left(&f.in) / COLLECTION_BYTES_MIN ||
        f.n_requires > reader_left(&f.in) / REQUIRE_BYTES_MIN || f.n_requires > COUNT_MAX)
        return false;
    *ret = f;
    return true;
}

bool forward_collection_next(struct forward *f, struct forward_collection *ret)
{
    uint64_t id;
    struct bytes name;
    if (f->n_collections == 0 || !read_varint(&f->in, &id) || id > UINT32_MAX ||
        !take_bytes(&f->in, STORE_NAME_MAX, &name))
        return false;
    f->n_collections--;
    *ret = (struct forward_collection){(uint32_t)id, name};
    return true;
}

bool forward_require_next(struct forward *f, struct store_require *ret)
{
    struct store_require r = {0};
    uint8_t what;
    uint64_t origin;
    if (f->n_collections != 0 || f->n_requires == 0 || !read_u8(&f->in, &what) ||
        what < STORE_REQUIRE_ABSENT || what > STORE_REQUIRE_EXACT ||
        !read_varint(&f->in, &r.version.hlc) || !read_varint(&f->in, &origin) ||
        origin > UINT32_MAX || !take_bytes(&f->in, RECORD_KEY_MAX, &r.key) ||
        r.key.len <= STORE_ROUTE_BYTES)
        return false;
    r.what = (enum store_require_what)what;
    r.version.origin = (uint32_t)origin;
    f->n_requires--;
    *ret = r;
    return true;
}

bool forward_entry(struct forward *f, struct bytes *ret)
{
    return f->n_collections == 0 && f->n_requires == 0 && take_bytes(&f->in, ENTRY_MAX, ret) &&
           ret->len > 0 && reader_left(&f->in) == 0;
}

/* ---- an answer ---- */

enum status forward_encode_answer(struct buf *out, const struct forward_answer *a)
{
    const uint64_t head[] = {a->number, a->incarnation, (uint64_t)a->status,
                             a->index,  a->version.hlc, a->version.origin,
                             a->failed};
    enum status st = put_all(out, head, 7);
    if (st == ST_OK)
        st = buf_append_u8(out, a->duplicate);
    return st == ST_OK ? put_bytes(out, a->message) : st;
}

bool forward_decode_answer(struct bytes in, struct forward_answer *ret)
{
    struct forward_answer a = {0};
    struct reader r = reader_of(in);
    uint64_t status, origin;
    uint8_t duplicate;
    uint64_t *const head[] = {&a.number,      &a.incarnation, &status,  &a.index,
                              &a.version.hlc, &origin,        &a.failed};
    if (!take_all(&r, head, 7) || status > INT32_MAX || origin > UINT32_MAX ||
        !read_u8(&r, &duplicate) || duplicate > 1 ||
        !take_bytes(&r, ERR_DETAIL_MAX - 1, &a.message) || reader_left(&r) != 0)
        return false;
    a.status = (enum status)status;
    a.version.origin = (uint32_t)origin;
    a.duplicate = duplicate;
    *ret = a;
    return true;
}
