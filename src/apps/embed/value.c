/* value.c - what a read returned, and documents as text. */
#include "apps/embed/embed_internal.h"

varve_value *varve_value_new(void)
{
    struct varve_value *v = mem_zalloc(sizeof(*v));
    if (v)
        v->rec.value = v->rec.writer = BYTES_EMPTY;
    return v;
}

void varve_value_free(varve_value *v)
{
    if (!v)
        return;
    buf_deinit(&v->bufs[0]);
    buf_deinit(&v->bufs[1]);
    buf_deinit(&v->json);
    mem_free(v);
}

varve_bytes varve_value_bytes(const varve_value *v)
{
    return v ? embed__bytes(v->rec.value) : (varve_bytes){"", 0};
}

varve_type varve_value_type(const varve_value *v)
{
    return v ? (varve_type)v->rec.type : VARVE_RAW;
}

varve_version varve_value_version(const varve_value *v)
{
    return v ? embed__public(v->rec.version) : (varve_version){0, 0};
}

varve_bytes varve_value_writer(const varve_value *v)
{
    return v ? embed__bytes(v->rec.writer) : (varve_bytes){"", 0};
}

uint64_t varve_value_expires_ms(const varve_value *v)
{
    return v ? v->rec.expires_ms : 0;
}

static enum status print_json(varve_value *v, bool canonical, const char **ret, struct err *err)
{
    if (!v || !ret)
        return embed__null(v ? "ret" : "v", err);
    if (version_is_none(v->rec.version))
        return err_set(err, ST_INVALID_ARGUMENT, "v: nothing was read into it yet");
    if (v->rec.type != RECORD_DOC)
        return err_set(err, ST_INVALID_ARGUMENT, "v: the value is raw bytes, not a document");
    buf_clear(&v->json);
    enum status st = doc_to_json(v->rec.value, canonical ? DOC_JSON_CANONICAL : DOC_JSON_RELAXED,
                                 false, &v->json, err);
    if (st != ST_OK)
        return st;
    const char *text = buf_cstr(&v->json);
    if (!text)
        return err_set(err, ST_NO_MEMORY, "no memory for %zu bytes of JSON", v->json.len);
    *ret = text;
    return ST_OK;
}

varve_status varve_value_json(varve_value *v, bool canonical, const char **ret)
{
    return embed__done(print_json(v, canonical, ret, embed__err()));
}

static enum status bson_to_json(const void *bson, size_t len, bool canonical, bool pretty,
                                char **ret, struct err *err)
{
    if (!bson || !ret)
        return embed__null(bson ? "ret" : "bson", err);
    struct buf out = BUF_INIT;
    enum status st = doc_check(BYTES(bson, len), err);
    if (st == ST_OK)
        st = doc_to_json(BYTES(bson, len), canonical ? DOC_JSON_CANONICAL : DOC_JSON_RELAXED,
                         pretty, &out, err);
    if (st == ST_OK && !buf_cstr(&out))
        st = err_set(err, ST_NO_MEMORY, "no memory for %zu bytes of JSON", out.len);
    if (st == ST_OK)
        *ret = (char *)buf_steal(&out, &len);
    buf_deinit(&out);
    return st;
}

varve_status varve_bson_to_json(const void *bson, size_t len, bool canonical, bool pretty,
                                char **ret)
{
    return embed__done(bson_to_json(bson, len, canonical, pretty, ret, embed__err()));
}

static enum status json_to_bson(const char *json, size_t len, void **ret, size_t *ret_len,
                                struct err *err)
{
    if (!json || !ret || !ret_len)
        return embed__null(json ? "ret" : "json", err);
    struct buf out = BUF_INIT;
    enum status st = doc_from_json(BYTES(json, len), &out, err);
    if (st == ST_OK)
        *ret = buf_steal(&out, ret_len);
    buf_deinit(&out);
    return st;
}

varve_status varve_json_to_bson(const char *json, size_t len, void **ret, size_t *ret_len)
{
    return embed__done(json_to_bson(json, len, ret, ret_len, embed__err()));
}
