/* read.c - records of the present and of the past. */
#include "apps/embed/embed_internal.h"

varve_status varve_get(varve *db, const char *collection, const void *key, size_t key_len,
                       const varve_at *at, varve_value *ret)
{
    struct err *err = embed__err();
    struct record rec;
    if (!db || !ret)
        return embed__done(embed__null(db ? "ret" : "db", err));
    struct command_at when = embed__at(at);
    struct command_get c = {embed__name(collection), BYTES(key, key_len), at ? &when : NULL};
    enum status st = command_get(&db->on, &c, &ret->bufs[ret->shown ^ 1], &rec, err);
    if (__builtin_expect(st != ST_OK, 0))
        return embed__failed(st);
    ret->shown ^= 1;
    ret->rec = rec;
    return VARVE_OK;
}

/* ---- many records at one moment ---- */

struct many { /* the arguments, in the words of the verb */
    struct command_key *keys;
    struct command_got *got;
    size_t lent; /* values whose buffer is in `got` */
};

static enum status many_init(struct many *m, const varve_key *keys, size_t n,
                             varve_value *const *ret, struct err *err)
{
    *m = (struct many){.keys = n ? mem_zalloc(n * sizeof(*m->keys)) : NULL,
                       .got = n ? mem_zalloc(n * sizeof(*m->got)) : NULL};
    if (n && (!m->keys || !m->got))
        return err_set(err, ST_NO_MEMORY, "no memory to read %zu keys", n);
    for (size_t i = 0; i < n; i++) {
        struct varve_value *v = ret[i];
        if (v->lent)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "keys[%zu]: ret: an earlier key has this value", i);
        m->keys[i] = (struct command_key){embed__name(keys[i].collection),
                                          BYTES(keys[i].key, keys[i].key_len)};
        m->got[i].buf = v->bufs[v->shown ^ 1];
        v->bufs[v->shown ^ 1] = BUF_INIT;
        v->lent = true;
        m->lent++;
    }
    return ST_OK;
}

static void many_deinit(struct many *m, bool shown, varve_value *const *ret)
{
    for (size_t i = 0; i < m->lent; i++) {
        struct varve_value *v = ret[i];
        v->lent = false;
        v->bufs[v->shown ^ 1] = m->got[i].buf;
        if (shown && m->got[i].st == ST_OK) {
            v->shown ^= 1;
            v->rec = m->got[i].rec;
        }
    }
    mem_free(m->keys);
    mem_free(m->got);
}

static enum status get_many(struct varve *db, const varve_key *keys, size_t n, const varve_at *at,
                            varve_value *const *ret, varve_status *ret_status, struct err *err)
{
    struct many m;
    if (!db)
        return embed__null("db", err);
    if (n > 0 && (!keys || !ret || !ret_status))
        return embed__null(!keys ? "keys" : !ret ? "ret" : "ret_status", err);
    for (size_t i = 0; i < n; i++)
        if (!ret[i])
            return err_set(err, ST_INVALID_ARGUMENT, "keys[%zu]: ret: it is NULL", i);
    enum status st = many_init(&m, keys, n, ret, err);
    struct command_at when = embed__at(at);
    struct command_get_many c = {.keys = m.keys, .n = n, .at = &when};
    if (st == ST_OK)
        st = command_get_many(&db->on, &c, m.got, err);
    for (size_t i = 0; st == ST_OK && i < n; i++)
        ret_status[i] = (varve_status)m.got[i].st;
    many_deinit(&m, st == ST_OK, ret);
    return st;
}

varve_status varve_get_many(varve *db, const varve_key *keys, size_t n, const varve_at *at,
                            varve_value *const *ret, varve_status *ret_status)
{
    return embed__done(get_many(db, keys, n, at, ret, ret_status, embed__err()));
}

/* ---- the difference of two versions ---- */

static enum status diff(struct varve *db, const char *collection, const void *key, size_t key_len,
                        varve_version a, varve_version b, varve_diff_format format, char **ret,
                        struct err *err)
{
    struct buf out = BUF_INIT;
    size_t len;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    struct command_diff c = {.collection = embed__name(collection),
                             .key = BYTES(key, key_len),
                             .a = embed__version(a),
                             .b = embed__version(b),
                             .format = (enum doc_diff)format};
    enum status st = command_diff(&db->on, &c, &out, err);
    if (st == ST_OK && !buf_cstr(&out))
        st = err_set(err, ST_NO_MEMORY, "no memory for a difference of %zu bytes", out.len);
    if (st == ST_OK)
        *ret = (char *)buf_steal(&out, &len);
    buf_deinit(&out);
    return st;
}

varve_status varve_diff(varve *db, const char *collection, const void *key, size_t key_len,
                        varve_version a, varve_version b, varve_diff_format format, char **ret)
{
    return embed__done(diff(db, collection, key, key_len, a, b, format, ret, embed__err()));
}
