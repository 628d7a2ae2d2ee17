#include "node/store/cluster.h"

#include "base/alloc.h"

uint32_t collection_id(const struct collection *c)
{
    return c->id;
}

enum status store_collection_key(struct bytes name, struct buf *ret_key)
{
    return catalog_key(ret_key, CATALOG_COLLECTION, name);
}

uint64_t store_collection_count(struct store *s)
{
    return atomic_load(&s->catalog.live);
}

const char *store_collection_name(struct store *s, uint32_t id)
{
    struct collection *c = store__collection_by_id(s, id);
    return c && c->name_len ? c->name : NULL;
}

static enum status check_name(struct bytes name, const char *what, struct err *err)
{
    if (name.len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "%s: the name is empty", what);
    if (name.len > STORE_NAME_MAX)
        return err_set(err, ST_TOO_LARGE, "%s: the name has %zu bytes, over the limit of %d", what,
                       name.len, STORE_NAME_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < 0x20 || name.data[i] == '/' || name.data[i] == 0x7f)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "%s: the name has a control character or '/' at byte %zu", what, i);
    return ST_OK;
}

enum status store__catalog_enter(struct store *s, struct err *err)
{
    uint64_t begun_ns = env_mono_ns(s->env);
    env_lock_take(&s->catalog.lock);
    uint64_t waited_ms = (env_mono_ns(s->env) - begun_ns) / 1000000;
    if (!s->cluster || waited_ms < s->cluster->o.propose_timeout_ms)
        return ST_OK;
    env_lock_give(&s->catalog.lock);
    return err_set(err, ST_UNAVAILABLE,
                   "no leader of the cluster could be reached from node %llu in %llu ms",
                   (unsigned long long)s->cluster->o.node, (unsigned long long)waited_ms);
}

static enum status no_collection(struct bytes name, struct err *err)
{
    return err_set(err, ST_NOT_FOUND, "no collection %.*s", (int)(name.len < 200 ? name.len : 200),
                   (const char *)name.data);
}

enum status store__catalog_write(struct store *s, struct entry_op *ops, size_t n,
                                 struct bytes writer, const struct store_require *req, size_t n_req,
                                 struct err *err)
{
    struct store_write w = {.requires = req, .n_requires = n_req};
    enum status st = entry_encode(ops, n, writer, &w.entry, err);
    if (st == ST_OK)
        st = store_propose(s, &w, err);
    blob_unref(w.entry);
    return st;
}

enum status store_collection_find(struct store *s, struct bytes name, struct collection **ret,
                                  struct err *err)
{
    struct collection *c = catalog_find(&s->catalog, name);
    if (!c)
        return no_collection(name, err);
    *ret = c;
    return ST_OK;
}

/* That a record is still as it is here, with its value; absent: an empty one. */
static enum status require_as_seen(struct store *s, struct bytes key, struct store_require *ret,
                                   struct buf *value, struct bytes *ret_value, struct err *err)
{
    struct record rec;
    *ret = (struct store_require){.key = key, .what = STORE_REQUIRE_ABSENT};
    *ret_value = BYTES_EMPTY;
    enum status st = store_get(s, key, VERSION_NONE, value, &rec, err);
    if (st == ST_OK) {
        *ret = (struct store_require){key, STORE_REQUIRE_VERSION, rec.version};
        *ret_value = rec.value;
    }
    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* What holds of the record of the highest id as it is here: another node may give out the same one
 * meanwhile. */
static enum status require_last_id(struct store *s, struct bytes key, struct store_require *ret,
                                   uint32_t *ret_id, struct err *err)
{
    struct buf buf = BUF_INIT;
    struct bytes value;
    uint32_t id = STORE_FIRST_ID - 1;
    enum status st = require_as_seen(s, key, ret, &buf, &value, err);
    struct reader r = reader_of(value);
    if (st == ST_OK && ret->what != STORE_REQUIRE_ABSENT && !read_be32(&r, &id))
        st = err_set(err, ST_CORRUPT, "%s: the catalog's highest id does not decode", s->dir);
    buf_deinit(&buf);
    if (st == ST_OK)
        *ret_id = id;
    return st;
}

enum status store__guard_take(struct store *s, struct guard *ret, struct err *err)
{
    struct buf buf = BUF_INIT;
    struct bytes value;
    *ret = (struct guard){.key = BUF_INIT};
    enum status st = catalog_key(&ret->key, CATALOG_GUARD, BYTES_EMPTY);
    if (st != ST_OK)
        err_set(err, st, "no memory for the catalog's guard");
    else
        st = require_as_seen(s, buf_bytes(&ret->key), &ret->as_seen, &buf, &value, err);
    buf_deinit(&buf);
    return st;
}

static struct entry_op guard_op(const struct guard *g)
{
    return (struct entry_op){.key = buf_bytes(&g->key), .kind = RECORD_PUT, .value = BYTES_EMPTY};
}

static enum status create(struct store *s, struct bytes name, struct bytes writer, struct err *err)
{
    struct descriptor d = {.partitioning = PARTITION_RANGE, .replicas = 1};
    struct buf key = BUF_INIT, id_key = BUF_INIT, name_key = BUF_INIT, value = BUF_INIT;
    struct store_require req[2];
    uint8_t id[4];
    enum status st = catalog_key(&id_key, CATALOG_LAST_ID, BYTES_EMPTY);
    if (st != ST_OK)
        err_set(err, st, "no memory to make a collection");
    else
        st = require_last_id(s, buf_bytes(&id_key), &req[1], &d.id, err);
    if (st != ST_OK)
        goto out;
    route_put(id, ++d.id);
    if (catalog_key(&key, CATALOG_COLLECTION, name) != ST_OK ||
        catalog_key(&name_key, CATALOG_NAME, BYTES(id, sizeof(id))) != ST_OK ||
        descriptor_encode(&value, &d) != ST_OK) {
        st = err_set(err, ST_NO_MEMORY, "no memory to make collection %.*s", (int)name.len,
                     (const char *)name.data);
        goto out;
    }
    struct entry_op ops[] = {
        {.key = buf_bytes(&key), .kind = RECORD_PUT, .value = buf_bytes(&value)},
        {.key = buf_bytes(&id_key), .kind = RECORD_PUT, .value = BYTES(id, sizeof(id))},
        {.key = buf_bytes(&name_key), .kind = RECORD_PUT, .value = name},
    };
    req[0] = (struct store_require){.key = buf_bytes(&key), .what = STORE_REQUIRE_ABSENT};
    st = store__catalog_write(s, ops, 3, writer, req, 2, err);
out:
    buf_deinit(&key);
    buf_deinit(&id_key);
    buf_deinit(&name_key);
    buf_deinit(&value);
    return st;
}

/* Until it is there, by us or by another node that was faster. */
static enum status create_once(struct store *s, struct bytes name, struct bytes writer,
                               struct err *err)
{
    for (;;) {
        enum status st = create(s, name, writer, err);
        if (st != ST_PRECONDITION_FAILED)
            return st;
        /* Each time round another node has made a collection. What it made is seen here after: */
        st = store_barrier(s, STORE_PROPOSE_TIMEOUT_MS, err);
        if (st != ST_OK || catalog_find(&s->catalog, name))
            return st;
    }
}

enum status store_collection_open(struct store *s, struct bytes name, struct bytes writer,
                                  struct collection **ret, struct err *err)
{
    struct collection *c = catalog_find(&s->catalog, name);
    enum status st = ST_OK;
    if (!c) {
        if ((st = check_name(name, "collection", err)) != ST_OK)
            return st;
        if ((st = store__catalog_enter(s, err)) != ST_OK)
            return st;
        if (!catalog_find(&s->catalog, name))
            st = create_once(s, name, writer, err);
        env_lock_give(&s->catalog.lock);
        c = catalog_find(&s->catalog, name);
    }
    if (st == ST_OK && !c)
        st = no_collection(name, err); /* dropped between: the caller may try again */
    if (st == ST_OK)
        *ret = c;
    return st;
}

static enum status decode_descriptor(struct store *s, struct bytes name, struct bytes value,
                                     struct descriptor *ret, struct err *err)
{
    if (descriptor_decode(value, ret))
        return ST_OK;
    return err_set(err, ST_CORRUPT, "%s: the descriptor of collection %.*s does not decode", s->dir,
                   (int)name.len, (const char *)name.data);
}

/* The descriptor of a name at a time (none = the present). */
static enum status read_descriptor(struct store *s, struct bytes name, struct version at,
                                   struct descriptor *ret, struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    struct record rec;
    enum status st = catalog_key(&key, CATALOG_COLLECTION, name);
    if (st != ST_OK)
        st = err_set(err, st, "no memory to look up a collection");
    else if ((st = store_get(s, buf_bytes(&key), at, &value, &rec, err)) == ST_NOT_FOUND)
        st = no_collection(name, err);
    if (st == ST_OK)
        st = decode_descriptor(s, name, rec.value, ret, err);
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

enum status store_collection_at(struct store *s, struct bytes name, struct version at,
                                uint32_t *ret_id, struct err *err)
{
    struct descriptor d;
    enum status st = read_descriptor(s, name, at, &d, err);
    if (st == ST_NOT_FOUND && !version_is_none(at))
        err_set(err, st, "no collection %.*s at that time", (int)(name.len < 200 ? name.len : 200),
                (const char *)name.data);
    if (st == ST_OK)
        *ret_id = d.id;
    return st;
}

bool store_collection_known_at(struct store *s, struct bytes name, struct version at,
                               uint32_t *ret_id)
{
    /* What is there now was there from its making on. (After a reopening `created` may be late, of
     * its settings: then it tells less, never wrong.) */
    struct collection *c = catalog_find(&s->catalog, name);
    if (!c || version_cmp(at, c->created) < 0)
        return false;
    *ret_id = c->id;
    return true;
}

enum status store_collection_drop(struct store *s, struct bytes name, struct bytes writer,
                                  struct err *err)
{
    struct buf key = BUF_INIT;
    enum status st = catalog_key(&key, CATALOG_COLLECTION, name);
    if (st != ST_OK)
        return err_set(err, st, "no memory to drop a collection");
    struct entry_op op = {.key = buf_bytes(&key), .kind = RECORD_DELETE, .value = BYTES_EMPTY};
    struct store_require present = {.key = buf_bytes(&key), .what = STORE_REQUIRE_PRESENT};
    st = store__catalog_enter(s, err);
    if (st == ST_OK) {
        st = store__catalog_write(s, &op, 1, writer, &present, 1, err);
        env_lock_give(&s->catalog.lock);
    }
    buf_deinit(&key);
    return st == ST_PRECONDITION_FAILED ? no_collection(name, err) : st;
}

enum status store_settings_get(struct store *s, struct bytes name, struct collection_settings *ret,
                               struct err *err)
{
    struct descriptor d;
    enum status st = read_descriptor(s, name, VERSION_NONE, &d, err);
    if (st == ST_OK)
        *ret = d.settings;
    return st;
}

/* Only while the descriptor is what it was: another node may have dropped the collection, which must
 * not come back by this, or have made one of the name anew, with another id. */
static enum status try_settings(struct store *s, struct bytes name,
                                const struct collection_settings *v, struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT, buf = BUF_INIT;
    struct store_require same;
    struct bytes now;
    struct descriptor d;
    enum status st = catalog_key(&key, CATALOG_COLLECTION, name);
    if (st != ST_OK)
        err_set(err, st, "no memory to change a collection");
    else
        st = require_as_seen(s, buf_bytes(&key), &same, &buf, &now, err);
    if (st == ST_OK && same.what == STORE_REQUIRE_ABSENT)
        st = no_collection(name, err);
    else if (st == ST_OK)
        st = decode_descriptor(s, name, now, &d, err);
    if (st == ST_OK) {
        d.settings = *v;
        if (descriptor_encode(&value, &d) != ST_OK)
            st = err_set(err, ST_NO_MEMORY, "no memory to change a collection");
    }
    struct entry_op op = {.key = buf_bytes(&key), .kind = RECORD_PUT, .value = buf_bytes(&value)};
    if (st == ST_OK)
        st = store__catalog_write(s, &op, 1, BYTES_EMPTY, &same, 1, err);
    buf_deinit(&key);
    buf_deinit(&value);
    buf_deinit(&buf);
    return st;
}

enum status store_settings_set(struct store *s, struct bytes name,
                               const struct collection_settings *v, struct err *err)
{
    enum status st = store__catalog_enter(s, err);
    if (st != ST_OK)
        return st;
    while ((st = try_settings(s, name, v, err)) == ST_PRECONDITION_FAILED) {
        /* Another node was faster. What it did is seen here after: */
        st = store_barrier(s, STORE_PROPOSE_TIMEOUT_MS, err);
        if (st != ST_OK)
            break;
    }
    env_lock_give(&s->catalog.lock);
    return st;
}

enum status store__raise_horizons(struct store *s, struct collection *c, const struct horizons *h,
                                  const struct guard *g, struct err *err)
{
    uint8_t id[4];
    struct buf key = BUF_INIT, value = BUF_INIT;
    route_put(id, c->id);
    struct horizons to = {atomic_load(&c->horizon_hlc), atomic_load(&c->feed_horizon_hlc)};
    bool higher = h->read_hlc > to.read_hlc || h->feed_hlc > to.feed_hlc;
    if (h->read_hlc > to.read_hlc)
        to.read_hlc = h->read_hlc;
    if (h->feed_hlc > to.feed_hlc)
        to.feed_hlc = h->feed_hlc;
    enum status st = ST_OK;
    if (catalog_key(&key, CATALOG_HORIZON, BYTES(id, sizeof(id))) != ST_OK ||
        horizons_encode(&value, &to) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory to raise a horizon");
    struct entry_op ops[] = {
        {.key = buf_bytes(&key), .kind = RECORD_PUT, .value = buf_bytes(&value)}, guard_op(g)};
    if (st == ST_OK && higher)
        st = store__catalog_write(s, ops, 2, BYTES_EMPTY, &g->as_seen, 1, err);
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

/* When a collection was made, dropped ones too. Its descriptor is written anew with its settings; the
 * record of its id's name is not. `key` and `value` are scratch. */
static enum status when_made(struct store *s, uint32_t collection, struct buf *key,
                             struct buf *value, struct version *ret, struct err *err)
{
    struct record rec;
    uint8_t id[4];
    route_put(id, collection);
    buf_clear(key);
    if (catalog_key(key, CATALOG_NAME, BYTES(id, sizeof(id))) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to look up collection %u", collection);
    enum status st = store_get(s, buf_bytes(key), VERSION_NONE, value, &rec, err);
    if (st == ST_OK)
        *ret = rec.version;
    return st == ST_NOT_FOUND
               ? err_set(err, ST_CORRUPT, "the catalog does not know collection %u", collection)
               : st;
}

/* ---- named snapshots ---- */

static enum status snapshot_key(struct bytes name, struct buf *key, struct err *err)
{
    enum status st = check_name(name, "snapshot", err);
    if (st == ST_OK && catalog_key(key, CATALOG_SNAPSHOT, name) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a snapshot");
    return st;
}

/* A name must not promise what retention has removed already: by age what is below the horizon of
 * reads, by count perhaps anything up to the feed's. A moment sees the collections that were there,
 * also those that were dropped since. The caller holds catalog.lock, as does whoever raises a
 * horizon. */
static enum status check_kept(struct store *s, struct version at, struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    enum status st = ST_OK;
    for (uint32_t id = STORE_FIRST_ID; st == ST_OK && id <= atomic_load(&s->catalog.last_id);
         id++) {
        struct collection *c = store__collection_by_id(s, id);
        uint64_t horizon = c ? atomic_load(&c->feed_horizon_hlc) : 0;
        if (c && atomic_load(&c->horizon_hlc) > horizon)
            horizon = atomic_load(&c->horizon_hlc);
        if (at.hlc >= horizon)
            continue;
        struct version made;
        st = when_made(s, id, &key, &value, &made, err);
        if (st != ST_OK || version_cmp(at, made) < 0)
            continue;
        char text[VERSION_TEXT_MAX], time[TIME_TEXT_MAX];
        version_format((struct version){horizon, 0}, text);
        time_format(horizon >> HLC_LOGICAL_BITS, time);
        st = err_set(err, ST_BELOW_HORIZON,
                     "collection %s may have lost versions before %s (%s) to its retention",
                     c->name, text, time);
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

static enum status create_snapshot(struct store *s, struct bytes name, struct version at,
                                   const struct entry_op *op, struct err *err)
{
    for (;;) {
        struct guard g;
        struct version is;
        enum status st = store__guard_take(s, &g, err);
        if (st == ST_OK)
            st = check_kept(s, at, err);
        struct entry_op ops[] = {*op, guard_op(&g)};
        struct store_require reqs[] = {{.key = op->key, .what = STORE_REQUIRE_ABSENT}, g.as_seen};
        if (st == ST_OK)
            st = store__catalog_write(s, ops, 2, BYTES_EMPTY, reqs, 2, err);
        buf_deinit(&g.key);
        if (st != ST_PRECONDITION_FAILED)
            return st;
        /* It is there, or another node has done something that this one had not seen. */
        st = store_barrier(s, STORE_PROPOSE_TIMEOUT_MS, err);
        if (st == ST_OK)
            st = store_snapshot_find(s, name, &is, err);
        if (st == ST_OK)
            return err_set(err, ST_ALREADY_EXISTS, "a snapshot %.*s exists already", (int)name.len,
                           (const char *)name.data);
        if (st != ST_NOT_FOUND)
            return st;
    }
}

enum status store_snapshot_create(struct store *s, struct bytes name, struct version at,
                                  struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    enum status st = snapshot_key(name, &key, err);
    if (st == ST_OK &&
        (buf_append_be64(&value, at.hlc) != ST_OK || buf_append_be32(&value, at.origin) != ST_OK))
        st = err_set(err, ST_NO_MEMORY, "no memory for a snapshot");
    struct entry_op op = {.key = buf_bytes(&key), .kind = RECORD_PUT, .value = buf_bytes(&value)};
    if (st == ST_OK)
        st = store__catalog_enter(s, err);
    if (st == ST_OK) {
        st = create_snapshot(s, name, at, &op, err);
        env_lock_give(&s->catalog.lock);
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

enum status store_snapshot_delete(struct store *s, struct bytes name, struct err *err)
{
    struct buf key = BUF_INIT;
    enum status st = snapshot_key(name, &key, err);
    struct entry_op op = {.key = buf_bytes(&key), .kind = RECORD_DELETE, .value = BYTES_EMPTY};
    struct store_require present = {.key = buf_bytes(&key), .what = STORE_REQUIRE_PRESENT};
    if (st == ST_OK)
        st = store__catalog_enter(s, err);
    if (st == ST_OK) {
        st = store__catalog_write(s, &op, 1, BYTES_EMPTY, &present, 1, err);
        env_lock_give(&s->catalog.lock);
    }
    if (st == ST_PRECONDITION_FAILED)
        st = err_set(err, ST_NOT_FOUND, "no snapshot %.*s", (int)name.len, (const char *)name.data);
    buf_deinit(&key);
    return st;
}

static bool snapshot_decode(struct bytes value, struct version *ret)
{
    struct reader r = reader_of(value);
    struct version v;
    if (!read_be64(&r, &v.hlc) || !read_be32(&r, &v.origin) || reader_left(&r) != 0)
        return false;
    *ret = v;
    return true;
}

enum status store_snapshot_find(struct store *s, struct bytes name, struct version *ret,
                                struct err *err)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    struct record rec;
    enum status st = snapshot_key(name, &key, err);
    if (st == ST_OK &&
        (st = store_get(s, buf_bytes(&key), VERSION_NONE, &value, &rec, err)) == ST_NOT_FOUND)
        st = err_set(err, ST_NOT_FOUND, "no snapshot %.*s", (int)name.len, (const char *)name.data);
    if (st == ST_OK && !snapshot_decode(rec.value, ret))
        st = err_set(err, ST_CORRUPT, "%s: snapshot %.*s does not decode", s->dir, (int)name.len,
                     (const char *)name.data);
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

/* ---- lists ---- */

struct list_iter {
    struct store_iter base;
    struct store *s;
    struct store_iter *inner;
    struct buf key, value; /* scratch */
    bool snapshots;
};

static enum status made_at(struct list_iter *it, struct store_row *row, struct err *err)
{
    struct descriptor d;
    if (!descriptor_decode(row->rec.value, &d))
        return err_set(err, ST_CORRUPT, "the descriptor of collection %.*s does not decode",
                       (int)row->key.len, (const char *)row->key.data);
    return when_made(it->s, d.id, &it->key, &it->value, &row->rec.version, err);
}

static int list_next(struct store_iter *base, struct store_row *ret, struct err *err)
{
    struct list_iter *it = (struct list_iter *)base;
    struct store_row row;
    int rc = store_iter_next(it->inner, &row, err);
    if (rc <= 0)
        return rc;
    row.key = BYTES(row.key.data + STORE_ROUTE_BYTES + 2, row.key.len - STORE_ROUTE_BYTES - 2);
    if (it->snapshots && !snapshot_decode(row.rec.value, &row.rec.version))
        return -(int)err_set(err, ST_CORRUPT, "snapshot %.*s does not decode", (int)row.key.len,
                             (const char *)row.key.data);
    enum status st = it->snapshots ? ST_OK : made_at(it, &row, err);
    if (st != ST_OK)
        return -(int)st;
    *ret = row;
    return 1;
}

static void list_close(struct store_iter *base)
{
    struct list_iter *it = (struct list_iter *)base;
    store_iter_close(it->inner);
    buf_deinit(&it->key);
    buf_deinit(&it->value);
    mem_free(it);
}

static enum status list_open(struct store *s, const char *prefix, bool snapshots,
                             struct bytes behind, struct store_iter **ret, struct err *err)
{
    static const struct store_iter_ops ops = {list_next, list_close};
    struct buf lower = BUF_INIT, upper = BUF_INIT;
    const char after[2] = {prefix[0], '0'}; /* '0' follows '/' */
    struct list_iter *it = mem_zalloc(sizeof(*it));
    enum status st = ST_OK;
    /* Right behind a name is the name with a zero byte after it. */
    if (!it || catalog_key(&lower, prefix, behind) != ST_OK ||
        (behind.len && buf_append_u8(&lower, 0) != ST_OK) ||
        catalog_key(&upper, "", BYTES(after, 2)) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a list");
    struct store_scan q = {.in = {buf_bytes(&lower), buf_bytes(&upper)}};
    if (st == ST_OK)
        st = store_scan(s, &q, &it->inner, err);
    buf_deinit(&lower);
    buf_deinit(&upper);
    if (st != ST_OK) {
        mem_free(it);
        return st;
    }
    it->base.ops = &ops;
    it->s = s;
    it->snapshots = snapshots;
    *ret = &it->base;
    return ST_OK;
}

enum status store_collections(struct store *s, struct store_iter **ret, struct err *err)
{
    return list_open(s, CATALOG_COLLECTION, false, BYTES_EMPTY, ret, err);
}

enum status store_collections_after(struct store *s, struct bytes name, struct store_iter **ret,
                                    struct err *err)
{
    return list_open(s, CATALOG_COLLECTION, false, name, ret, err);
}

enum status store_snapshots(struct store *s, struct store_iter **ret, struct err *err)
{
    return list_open(s, CATALOG_SNAPSHOT, true, BYTES_EMPTY, ret, err);
}

enum status store_snapshots_after(struct store *s, struct bytes name, struct store_iter **ret,
                                  struct err *err)
{
    return list_open(s, CATALOG_SNAPSHOT, true, name, ret, err);
}
