/* batch_in.c - bodies that are JSON of ours, by way of the one JSON reader there is (model/doc): it
 * makes BSON of them, which is walked here with libbson. A document inside is then the bytes of its
 * sub-document, with every type that Extended JSON can say.
 *
 *   {"writes":[{"collection":C,"key":K,"value":V,"ttl":"10m"},
 *              {"collection":C,"key":K,"delete":true}],
 *    "require":[{"collection":C,"key":K,"version":"..."} | {...,"absent":true} | {...,"present":true}],
 *    "sync":"always","writer":"who"}
 *   A write may say its own key's condition: "if_version":"...", "if_absent":true, "if_present":true.
 *   K: a string, or {"$binary":...}. V: an object is a document; a string or {"$binary":...} is bytes.
 *
 *   {"keys":[{"collection":C,"key":K}],"at":"...","canonical":false} */
#include "serve/http/http_internal.h"

#include <bson/bson.h>

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "no memory for the request");
}

/* Where in the body: for messages. */
struct place {
    const char *list; /* "writes"; NULL: the outermost object */
    uint32_t index;
    struct err *err;
};

static enum status bad(const struct place *p, const char *field, const char *text)
{
    if (p->list)
        return err_set(p->err, ST_INVALID_ARGUMENT, "%s[%u].%s: %s", p->list, (unsigned)p->index,
                       field, text);
    return err_set(p->err, ST_INVALID_ARGUMENT, "%s: %s", field, text);
}

static enum status text_of(const struct place *p, const char *field, const bson_iter_t *it,
                           struct bytes *ret)
{
    uint32_t len;
    if (!BSON_ITER_HOLDS_UTF8(it))
        return bad(p, field, "it is not a string");
    const char *s = bson_iter_utf8(it, &len);
    *ret = BYTES(s, len);
    return ST_OK;
}

/* A string or {"$binary":...}. false: neither. */
static bool bytes_of(const bson_iter_t *it, struct bytes *ret)
{
    uint32_t len;
    if (BSON_ITER_HOLDS_UTF8(it)) {
        const char *s = bson_iter_utf8(it, &len);
        *ret = BYTES(s, len);
        return true;
    }
    if (BSON_ITER_HOLDS_BINARY(it)) {
        const uint8_t *data = NULL;
        bson_subtype_t subtype;
        bson_iter_binary(it, &subtype, &len, &data);
        *ret = len ? BYTES(data, len) : BYTES_EMPTY;
        return true;
    }
    return false;
}

static enum status flag_of(const struct place *p, const char *field, const bson_iter_t *it,
                           bool *ret)
{
    if (!BSON_ITER_HOLDS_BOOL(it))
        return bad(p, field, "it is neither true nor false");
    *ret = bson_iter_bool(it);
    return ST_OK;
}

static enum status duration_of(const struct place *p, const char *field, const bson_iter_t *it,
                               uint64_t *ret_ms)
{
    struct bytes text;
    enum status st = text_of(p, field, it, &text);
    if (st == ST_OK && (memchr(text.data, 0, text.len) || text.len > 64))
        return bad(p, field, "it is no duration");
    if (st == ST_OK && (st = duration_parse((const char *)text.data, ret_ms, p->err)) != ST_OK) {
        if (p->list)
            err_prefix(p->err, "%s[%u].%s", p->list, (unsigned)p->index, field);
        else
            err_prefix(p->err, "%s", field);
    }
    return st;
}

static enum status open_body(struct bytes json, struct buf *bson, bson_t *doc, struct err *err)
{
    enum status st = doc_from_json(json, bson, err);
    if (st != ST_OK) {
        err_prefix(err, "body");
        return st;
    }
    if (!bson_init_static(doc, bson->data, bson->len))
        return err_set(err, ST_INTERNAL, "what was read as JSON is no BSON");
    return ST_OK;
}

/* ---- writes ---- */

struct one_write {
    struct bytes collection, key;
    bool has_collection, has_key, has_value, is_delete, if_absent, if_present;
    struct command_value value;
    uint64_t ttl_ms;
    struct version if_version;
};

static enum status value_of(const struct place *p, const bson_iter_t *it, struct command_value *ret)
{
    if (BSON_ITER_HOLDS_DOCUMENT(it)) {
        uint32_t len;
        const uint8_t *data = NULL;
        bson_iter_document(it, &len, &data);
        *ret = (struct command_value){COMMAND_DOC, BYTES(data, len)};
        return ST_OK;
    }
    ret->type = COMMAND_RAW;
    return bytes_of(it, &ret->data)
               ? ST_OK
               : bad(p, "value", "it is neither an object (a document) nor a string or $binary");
}

static enum status version_of(const struct place *p, const char *field, const bson_iter_t *it,
                              struct version *ret)
{
    struct bytes text;
    enum status st = text_of(p, field, it, &text);
    if (st == ST_OK && (!version_parse(text, ret) || version_is_none(*ret)))
        st = bad(p, field, "it is no version");
    return st;
}

static enum status write_field(const struct place *p, const char *name, const bson_iter_t *it,
                               struct one_write *w)
{
    if (strcmp(name, "collection") == 0) {
        w->has_collection = true;
        return text_of(p, name, it, &w->collection);
    }
    if (strcmp(name, "key") == 0) {
        w->has_key = true;
        return bytes_of(it, &w->key) ? ST_OK : bad(p, name, "it is neither a string nor $binary");
    }
    if (strcmp(name, "value") == 0) {
        w->has_value = true;
        return value_of(p, it, &w->value);
    }
    if (strcmp(name, "delete") == 0)
        return flag_of(p, name, it, &w->is_delete);
    if (strcmp(name, "ttl") == 0) {
        enum status st = duration_of(p, name, it, &w->ttl_ms);
        return st == ST_OK && w->ttl_ms == 0 ? bad(p, name, "it is 0; without it the record stays")
                                             : st;
    }
    if (strcmp(name, "if_version") == 0 || strcmp(name, "version") == 0)
        return version_of(p, name, it, &w->if_version);
    if (strcmp(name, "if_absent") == 0 || strcmp(name, "absent") == 0)
        return flag_of(p, name, it, &w->if_absent);
    if (strcmp(name, "if_present") == 0 || strcmp(name, "present") == 0)
        return flag_of(p, name, it, &w->if_present);
    return bad(p, name, "there is no such field");
}

/* "version" is of requirements, "if_version" of writes. */
static bool field_fits(const char *name, bool requirement)
{
    static const char *const writes[] = {"collection", "key",        "value",     "delete",
                                         "ttl",        "if_version", "if_absent", "if_present"};
    static const char *const requires[] = {"collection", "key", "version", "absent", "present"};
    const char *const *list = requirement ? requires : writes;
    size_t n =
        requirement ? sizeof requires / sizeof requires[0] : sizeof writes / sizeof writes[0];
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

static enum status read_one(const struct place *p, const bson_iter_t *it, bool requirement,
                            struct one_write *w)
{
    bson_iter_t in;
    enum status st = ST_OK;
    *w = (struct one_write){0};
    if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &in))
        return err_set(p->err, ST_INVALID_ARGUMENT, "%s[%u]: it is no object", p->list,
                       (unsigned)p->index);
    while (st == ST_OK && bson_iter_next(&in)) {
        const char *name = bson_iter_key(&in);
        st = field_fits(name, requirement) ? write_field(p, name, &in, w)
                                           : bad(p, name, "there is no such field");
    }
    if (st == ST_OK && !w->has_collection)
        st = bad(p, "collection", "it is missing");
    if (st == ST_OK && !w->has_key)
        st = bad(p, "key", "it is missing");
    int conditions = !version_is_none(w->if_version) + w->if_absent + w->if_present;
    if (st == ST_OK && conditions > 1)
        st = bad(p, requirement ? "version" : "if_version", "there is more than one condition");
    if (st == ST_OK && requirement && conditions == 0)
        st = bad(p, "version", "there is no condition: version, absent or present");
    return st;
}

static enum status add_require(const struct place *p, const struct one_write *w,
                               struct arena *arena, struct command_batch *b, struct batch_in *in)
{
    struct command_require r = {0};
    void *key, *collection;
    if (w->if_absent)
        r.what = STORE_REQUIRE_ABSENT;
    else if (w->if_present)
        r.what = STORE_REQUIRE_PRESENT;
    else if (!version_is_none(w->if_version))
        r = (struct command_require){STORE_REQUIRE_VERSION, w->if_version};
    else
        return ST_OK;
    enum status st = command_batch_require(b, w->collection, w->key, r, p->err);
    if (st != ST_OK) {
        err_prefix(p->err, "%s[%u]", p->list, (unsigned)p->index);
        return st;
    }
    key = arena_memdup(arena, w->key.data, w->key.len);
    collection = arena_memdup(arena, w->collection.data, w->collection.len);
    if (!key || !collection)
        return no_memory(p->err);
    in->require_keys[in->n_requires] = BYTES(key, w->key.len);
    in->require_collections[in->n_requires++] = BYTES(collection, w->collection.len);
    return ST_OK;
}

static enum status add_write(const struct place *p, const struct one_write *w, struct arena *arena,
                             struct command_batch *b, struct batch_in *in)
{
    enum status st = ST_OK;
    if (w->is_delete == w->has_value)
        return w->is_delete ? bad(p, "value", "it stands beside delete")
                            : bad(p, "value", "it is missing, and there is no delete");
    if (w->is_delete && w->ttl_ms)
        return bad(p, "ttl", "a delete does not expire");
    st = w->is_delete ? command_batch_delete(b, w->collection, w->key, p->err)
                      : command_batch_put(b, w->collection, w->key, w->value, w->ttl_ms, p->err);
    if (st != ST_OK) {
        err_prefix(p->err, "%s[%u]", p->list, (unsigned)p->index);
        return st;
    }
    return add_require(p, w, arena, b, in);
}

struct batch_reader {
    uint32_t max;
    struct arena *arena;
    struct command_batch *b;
    struct batch_in in;
    struct err *err;
};

static enum status over(const char *list, uint32_t max, struct err *err)
{
    return err_set(err, ST_TOO_LARGE, "%s: there are more than the limit of %u", list,
                   (unsigned)max);
}

static enum status read_list(struct batch_reader *r, const bson_iter_t *it, bool requirement)
{
    bson_iter_t in;
    struct place p = {.list = requirement ? "require" : "writes", .err = r->err};
    enum status st = ST_OK;
    if (!BSON_ITER_HOLDS_ARRAY(it) || !bson_iter_recurse(it, &in))
        return err_set(r->err, ST_INVALID_ARGUMENT, "%s: it is no array", p.list);
    for (; st == ST_OK && bson_iter_next(&in); p.index++) {
        struct one_write w;
        if (p.index == r->max)
            return over(p.list, r->max, r->err);
        st = read_one(&p, &in, requirement, &w);
        if (st == ST_OK)
            st = requirement ? add_require(&p, &w, r->arena, r->b, &r->in)
                             : add_write(&p, &w, r->arena, r->b, &r->in);
    }
    return st;
}

static enum status copy_text(struct arena *arena, struct bytes *b, struct err *err)
{
    void *copy = arena_memdup(arena, b->data, b->len);
    if (!copy && b->len)
        return no_memory(err);
    *b = b->len ? BYTES(copy, b->len) : BYTES_EMPTY;
    return ST_OK;
}

static enum status batch_field(struct batch_reader *r, const char *name, const bson_iter_t *it)
{
    struct place p = {.err = r->err};
    struct bytes text;
    enum status st;
    if (strcmp(name, "writes") == 0 || strcmp(name, "require") == 0)
        return read_list(r, it, name[0] == 'r');
    if (strcmp(name, "sync") == 0) {
        st = text_of(&p, name, it, &text);
        return st == ST_OK ? sync_parse(text, &r->in.options.sync, r->err) : st;
    }
    if (strcmp(name, "writer") == 0) {
        if (!bytes_of(it, &r->in.options.writer))
            return bad(&p, name, "it is neither a string nor $binary");
        return copy_text(r->arena, &r->in.options.writer, r->err);
    }
    return bad(&p, name, "there is no such field");
}

enum status batch_in_decode(struct bytes json, uint32_t max, struct arena *arena,
                            struct command_batch *b, struct batch_in *ret, struct err *err)
{
    struct batch_reader r = {.max = max, .arena = arena, .b = b, .err = err};
    struct buf bson = BUF_INIT;
    bson_t doc;
    bson_iter_t it;
    /* A write may require something, and so does each of "require". None is shorter than this. */
    static const char shortest[] = "{\"collection\":\"\",\"key\":\"\"}";
    size_t n = json.len / (sizeof shortest - 1) + 1;
    if (n > 2 * (size_t)max)
        n = 2 * (size_t)max;
    r.in.require_keys = arena_alloc(arena, n * sizeof r.in.require_keys[0]);
    r.in.require_collections = arena_alloc(arena, n * sizeof r.in.require_collections[0]);
    if (!r.in.require_keys || !r.in.require_collections)
        return no_memory(err);
    enum status st = open_body(json, &bson, &doc, err);
    if (st == ST_OK && !bson_iter_init(&it, &doc))
        st = err_set(err, ST_INTERNAL, "what was read as JSON is no BSON");
    while (st == ST_OK && bson_iter_next(&it))
        st = batch_field(&r, bson_iter_key(&it), &it);
    if (st == ST_OK && command_batch_count(b) == 0)
        st = err_set(err, ST_INVALID_ARGUMENT, "writes: there are none");
    buf_deinit(&bson);
    if (st == ST_OK)
        *ret = r.in;
    return st;
}

/* ---- keys ---- */

static enum status one_key(const struct place *p, const bson_iter_t *it, struct arena *arena,
                           struct command_key *ret)
{
    bson_iter_t in;
    struct command_key k = {.collection = {NULL, 0}, .key = {NULL, 0}};
    enum status st = ST_OK;
    if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &in))
        return err_set(p->err, ST_INVALID_ARGUMENT, "keys[%u]: it is no object",
                       (unsigned)p->index);
    while (st == ST_OK && bson_iter_next(&in)) {
        const char *name = bson_iter_key(&in);
        if (strcmp(name, "collection") == 0)
            st = text_of(p, name, &in, &k.collection);
        else if (strcmp(name, "key") == 0)
            st = bytes_of(&in, &k.key) ? ST_OK : bad(p, name, "it is neither a string nor $binary");
        else
            st = bad(p, name, "there is no such field");
    }
    if (st == ST_OK && !k.collection.data)
        st = bad(p, "collection", "it is missing");
    if (st == ST_OK && !k.key.data)
        st = bad(p, "key", "it is missing");
    if (st == ST_OK)
        st = copy_text(arena, &k.collection, p->err);
    if (st == ST_OK)
        st = copy_text(arena, &k.key, p->err);
    if (st == ST_OK)
        *ret = k;
    return st;
}

static enum status key_list(const bson_iter_t *it, uint32_t max, struct arena *arena,
                            struct keys_in *k, struct err *err)
{
    bson_iter_t in;
    struct place p = {.list = "keys", .err = err};
    enum status st = ST_OK;
    size_t n = 0;
    if (!BSON_ITER_HOLDS_ARRAY(it) || !bson_iter_recurse(it, &in))
        return err_set(err, ST_INVALID_ARGUMENT, "keys: it is no array");
    while (bson_iter_next(&in))
        n++;
    if (n > max)
        return over("keys", max, err);
    k->keys = n ? arena_alloc(arena, n * sizeof k->keys[0]) : NULL;
    if (n && !k->keys)
        return no_memory(err);
    if (!bson_iter_recurse(it, &in))
        return err_set(err, ST_INTERNAL, "what was read as JSON is no BSON");
    for (; st == ST_OK && bson_iter_next(&in); p.index++)
        st = one_key(&p, &in, arena, &k->keys[p.index]);
    k->n = n;
    return st;
}

static enum status key_field(const char *name, const bson_iter_t *it, uint32_t max,
                             struct arena *arena, struct keys_in *k, struct err *err)
{
    struct place p = {.err = err};
    if (strcmp(name, "keys") == 0)
        return key_list(it, max, arena, k, err);
    if (strcmp(name, "canonical") == 0)
        return flag_of(&p, name, it, &k->canonical);
    if (strcmp(name, "at") == 0) {
        struct bytes text;
        enum status st = text_of(&p, name, it, &text);
        if (st == ST_OK && memchr(text.data, 0, text.len))
            return bad(&p, name, "there is a zero byte in it");
        if (st == ST_OK && !(k->at = arena_strdup(arena, (const char *)text.data)))
            return no_memory(err);
        return st;
    }
    return bad(&p, name, "there is no such field");
}

enum status keys_in_decode(struct bytes json, uint32_t max, struct arena *arena,
                           struct keys_in *ret, struct err *err)
{
    struct keys_in k = {0};
    struct buf bson = BUF_INIT;
    bson_t doc;
    bson_iter_t it;
    enum status st = open_body(json, &bson, &doc, err);
    if (st == ST_OK && !bson_iter_init(&it, &doc))
        st = err_set(err, ST_INTERNAL, "what was read as JSON is no BSON");
    while (st == ST_OK && bson_iter_next(&it))
        st = key_field(bson_iter_key(&it), &it, max, arena, &k, err);
    if (st == ST_OK && k.n == 0)
        st = err_set(err, ST_INVALID_ARGUMENT, "keys: there are none");
    buf_deinit(&bson);
    if (st == ST_OK)
        *ret = k;
    return st;
}

/* ---- retention ---- */

enum status retention_in_decode(struct bytes json, struct arena *arena,
                                struct collection_settings *ret, struct err *err)
{
    struct collection_settings v = {0};
    struct place p = {.err = err};
    struct buf bson = BUF_INIT;
    bson_t doc;
    bson_iter_t it;
    (void)arena;
    enum status st = open_body(json, &bson, &doc, err);
    if (st == ST_OK && !bson_iter_init(&it, &doc))
        st = err_set(err, ST_INTERNAL, "what was read as JSON is no BSON");
    while (st == ST_OK && bson_iter_next(&it)) {
        const char *name = bson_iter_key(&it);
        if (strcmp(name, "max_age") == 0 && BSON_ITER_HOLDS_NULL(&it)) {
            v.max_age_ms = 0;
        } else if (strcmp(name, "max_age") == 0) {
            st = duration_of(&p, name, &it, &v.max_age_ms);
        } else if (strcmp(name, "max_count") == 0) {
            if (!BSON_ITER_HOLDS_INT(&it) || bson_iter_as_int64(&it) < 0)
                st = bad(&p, name, "it is no whole number from 0 on");
            else
                v.max_count = (uint64_t)bson_iter_as_int64(&it);
        } else {
            st = bad(&p, name, "there is no such field");
        }
    }
    buf_deinit(&bson);
    if (st == ST_OK)
        *ret = v;
    return st;
}
