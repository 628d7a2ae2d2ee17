#include "base/alloc.h"
#include "node/store/catalog.h"
#include "node/store/state_internal.h"

static enum status add_row(struct state_catalog *c, const struct engine_row *row)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 32;
        struct state_catalog_row *v = mem_realloc(c->rows, cap * sizeof(*v));
        if (!v)
            return ST_NO_MEMORY;
        c->rows = v;
        c->cap = cap;
    }
    struct state_catalog_row *to = &c->rows[c->n++];
    *to = (struct state_catalog_row){.version = row->rec.version};
    enum status st = buf_append(&to->key, row->key.data, row->key.len);
    return st == ST_OK ? buf_append(&to->value, row->rec.value.data, row->rec.value.len) : st;
}

static struct bytes name_of(const struct state_catalog_row *r)
{
    return BYTES(r->key.data + STORE_ROUTE_BYTES, r->key.len - STORE_ROUTE_BYTES);
}

/* The id that a row is about; 0: about none. */
static uint32_t id_of(const struct state_catalog_row *r)
{
    struct bytes name = name_of(r);
    struct descriptor d;
    uint32_t id;
    if (bytes_has_prefix(name, BYTES_LIT(CATALOG_COLLECTION)))
        return descriptor_decode(buf_bytes(&r->value), &d) ? d.id : 0;
    if (!bytes_has_prefix(name, BYTES_LIT(CATALOG_NAME)) &&
        !bytes_has_prefix(name, BYTES_LIT(CATALOG_HORIZON)))
        return 0;
    struct reader rd = reader_of(BYTES(name.data + 2, name.len - 2));
    return read_be32(&rd, &id) ? id : 0;
}

static enum status check_row(const struct store *s, const struct state_catalog_row *r,
                             struct err *err)
{
    struct bytes name = name_of(r), value = buf_bytes(&r->value);
    struct descriptor d;
    struct horizons h;
    struct reader rd = reader_of(value);
    uint32_t id;
    bool bad =
        (bytes_has_prefix(name, BYTES_LIT(CATALOG_COLLECTION)) &&
         (!descriptor_decode(value, &d) || d.id < STORE_FIRST_ID || name.len == 2 ||
          name.len > 2 + STORE_NAME_MAX)) ||
        (bytes_has_prefix(name, BYTES_LIT(CATALOG_HORIZON)) && !horizons_decode(value, &h)) ||
        (bytes_eq(name, BYTES_LIT(CATALOG_LAST_ID)) && !read_be32(&rd, &id));
    return bad ? err_set(err, ST_CORRUPT,
                         "%s: the state's catalog has a record that does not decode", s->dir)
               : ST_OK;
}

static enum status read_rows(struct store *s, struct engine *e, struct engine_snapshot *snapshot,
                             struct state_catalog *c, struct err *err)
{
    uint8_t lower[STORE_ROUTE_BYTES], upper[STORE_ROUTE_BYTES];
    struct engine_iter *it = NULL;
    struct engine_row row;
    route_put(lower, STORE_CATALOG_ID);
    route_put(upper, STORE_CATALOG_ID + 1);
    const struct engine_scan q = {.in = {BYTES(lower, sizeof(lower)), BYTES(upper, sizeof(upper))},
                                  .at = VERSION_MAX};
    enum status st = e->ops->scan(e, snapshot, &q, &it, err);
    int rc = 1;
    while (st == ST_OK && (rc = engine_iter_next(it, &row, err)) > 0) {
        if (add_row(c, &row) != ST_OK)
            st = err_set(err, ST_NO_MEMORY, "no memory for the state's catalog");
        else
            st = check_row(s, &c->rows[c->n - 1], err);
    }
    engine_iter_close(it);
    return st == ST_OK && rc < 0 ? (enum status) - rc : st;
}

enum status state__catalog_read(struct store *s, struct engine *e, struct engine_snapshot *snapshot,
                                struct state_catalog *ret, struct err *err)
{
    enum status st = read_rows(s, e, snapshot, ret, err);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < ret->n; i++) {
        struct reader r = reader_of(buf_bytes(&ret->rows[i].value));
        if (bytes_eq(name_of(&ret->rows[i]), BYTES_LIT(CATALOG_LAST_ID)))
            (void)!read_be32(&r, &ret->last_id); /* check_row saw that it can be read */
    }
    /* Opening makes room for ids up to this one, and for no others. */
    for (size_t i = 0; i < ret->n; i++) {
        if (id_of(&ret->rows[i]) > ret->last_id)
            return err_set(err, ST_CORRUPT, "%s: the state's catalog has the id %u, the last is %u",
                           s->dir, id_of(&ret->rows[i]), ret->last_id);
    }
    if (ret->last_id > STATE_ID_MAX)
        return err_set(err, ST_TOO_LARGE, "%s: the state's catalog has the id %u, the limit is %d",
                       s->dir, ret->last_id, STATE_ID_MAX);
    st = catalog_reserve_ops(&s->catalog, ret->n, ret->last_id);
    if (st != ST_OK)
        return err_set(err, st, "no memory for the state's catalog");
    ret->reserved = true;
    return ST_OK;
}

void state__catalog_apply(struct store *s, struct state_catalog *c)
{
    ASSERT(c->reserved);
    c->reserved = false; /* each row takes its share */
    store__catalog_replace_begin(s);
    for (size_t i = 0; i < c->n; i++) {
        const struct state_catalog_row *r = &c->rows[i];
        struct entry_op op = {
            .key = buf_bytes(&r->key), .kind = RECORD_PUT, .value = buf_bytes(&r->value)};
        struct bytes name = name_of(r);
        uint32_t id = id_of(r);
        if (id && bytes_has_prefix(name, BYTES_LIT(CATALOG_COLLECTION)))
            store__catalog_part(s, id, BYTES(name.data + 2, name.len - 2), true);
        else if (id && bytes_has_prefix(name, BYTES_LIT(CATALOG_NAME)))
            store__catalog_part(s, id, op.value, false);
        store__catalog_applied(s, &op, r->version);
    }
    store__catalog_replace_end(s, c->last_id);
}

void state__catalog_deinit(struct store *s, struct state_catalog *c)
{
    if (c->reserved)
        catalog_unreserve(&s->catalog, c->n);
    for (size_t i = 0; i < c->n; i++) {
        buf_deinit(&c->rows[i].key);
        buf_deinit(&c->rows[i].value);
    }
    mem_free(c->rows);
    *c = (struct state_catalog){0};
}
