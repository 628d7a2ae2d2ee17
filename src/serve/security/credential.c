#include "serve/security/credential.h"

#include "base/base64url.h"
#include "base/json.h"

enum { FORMAT = 1, FLAG_PASSWORD = 1, FLAG_CERTIFICATE = 2 };

static bool has_control(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < 0x20 || b.data[i] == 0x7f)
            return true;
    return false;
}

enum status user_name_check(struct bytes name, struct err *err)
{
    if (name.len > USER_NAME_MAX)
        return err_set(err, ST_TOO_LARGE, "user: the name has %zu bytes, over the limit of %d",
                       name.len, USER_NAME_MAX);
    if (name.len == 0 || has_control(name) || !utf8_valid(name) || memchr(name.data, ':', name.len))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "user: a name is 1 to %d bytes of UTF-8 without ':' and control characters",
                       USER_NAME_MAX);
    return ST_OK;
}

enum status user_password_check(struct bytes password, struct err *err)
{
    if (password.len > USER_PASSWORD_MAX)
        return err_set(err, ST_TOO_LARGE, "password: it has %zu bytes, over the limit of %d",
                       password.len, USER_PASSWORD_MAX);
    if (password.len < USER_PASSWORD_MIN)
        return err_set(err, ST_INVALID_ARGUMENT, "password: it has fewer than %d bytes",
                       USER_PASSWORD_MIN);
    return ST_OK;
}

enum status user_set_password(struct env *env, struct user_record *u, struct bytes password,
                              struct err *err)
{
    struct scram_keys k = {.iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT};
    enum status st = user_password_check(password, err);
    if (st != ST_OK)
        return st;
    env_random(env, k.salt, SCRAM_SALT);
    if (scram_derive(password, &k) != ST_OK)
        return err_set(err, ST_INTERNAL, "password: libcrypto could not derive its keys");
    u->keys = k;
    u->has_password = true;
    return ST_OK;
}

static enum status encode_keys(struct buf *out, const struct scram_keys *k)
{
    enum status st = buf_append_varint(out, k->iterations);
    if (st == ST_OK)
        st = buf_append_u8(out, (uint8_t)k->salt_len);
    if (st == ST_OK)
        st = buf_append(out, k->salt, k->salt_len);
    if (st == ST_OK)
        st = buf_append(out, k->stored_key, SCRAM_HASH);
    return st == ST_OK ? buf_append(out, k->server_key, SCRAM_HASH) : st;
}

enum status user_encode(struct buf *out, const struct user_record *u)
{
    unsigned flags =
        (u->has_password ? FLAG_PASSWORD : 0U) | (u->by_certificate ? FLAG_CERTIFICATE : 0U);
    enum status st = buf_append_u8(out, FORMAT);
    if (st == ST_OK)
        st = buf_append_u8(out, (uint8_t)flags);
    if (st == ST_OK && u->has_password)
        st = encode_keys(out, &u->keys);
    if (st == ST_OK)
        st = buf_append_varint(out, u->made_ms);
    return st == ST_OK ? grants_encode(out, &u->grants) : st;
}

static bool read_fixed(struct reader *r, uint8_t *out, size_t len)
{
    struct bytes b;
    if (!read_bytes(r, len, &b))
        return false;
    memcpy(out, b.data, len);
    return true;
}

static bool decode_keys(struct reader *r, struct scram_keys *k)
{
    uint64_t iterations;
    uint8_t len;
    if (!read_varint(r, &iterations) || iterations < SCRAM_ITERATIONS_MIN ||
        iterations > SCRAM_ITERATIONS_MAX || !read_u8(r, &len) || len == 0 || len > SCRAM_SALT_MAX)
        return false;
    k->iterations = (uint32_t)iterations;
    k->salt_len = len;
    return read_fixed(r, k->salt, len) && read_fixed(r, k->stored_key, SCRAM_HASH) &&
           read_fixed(r, k->server_key, SCRAM_HASH);
}

bool user_decode(struct bytes in, struct user_record *ret)
{
    struct reader r = reader_of(in);
    struct user_record u = {0};
    uint8_t format, flags;
    if (!read_u8(&r, &format) || format != FORMAT || !read_u8(&r, &flags) ||
        flags > (FLAG_PASSWORD | FLAG_CERTIFICATE))
        return false;
    u.has_password = flags & FLAG_PASSWORD;
    u.by_certificate = flags & FLAG_CERTIFICATE;
    if ((u.has_password && !decode_keys(&r, &u.keys)) || !read_varint(&r, &u.made_ms) ||
        !grants_decode(&r, &u.grants) || reader_left(&r) > 0)
        return false;
    *ret = u;
    return true;
}

/* ---- tokens ---- */

enum status token_label_check(struct bytes label, struct err *err)
{
    if (label.len > TOKEN_LABEL_MAX)
        return err_set(err, ST_TOO_LARGE, "token: its name has %zu bytes, over the limit of %d",
                       label.len, TOKEN_LABEL_MAX);
    if (label.len == 0 || has_control(label) || !utf8_valid(label))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "token: a name is 1 to %d bytes of UTF-8 without control characters",
                       TOKEN_LABEL_MAX);
    return ST_OK;
}

static const char prefix[] = "varve_";
enum { PREFIX = sizeof prefix - 1 };

enum status token_make(struct env *env, struct token_record *t, char ret_text[TOKEN_TEXT + 1],
                       struct err *err)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t random[TOKEN_ID / 2 + TOKEN_SECRET_BYTES];
    char text[TOKEN_TEXT + 1];
    enum status st = ST_OK;
    env_random(env, random, sizeof random);
    memcpy(text, prefix, PREFIX);
    for (size_t i = 0; i < TOKEN_ID / 2; i++) {
        text[PREFIX + 2 * i] = hex[random[i] >> 4];
        text[PREFIX + 2 * i + 1] = hex[random[i] & 15];
    }
    text[PREFIX + TOKEN_ID] = '_';
    base64url_put(random + TOKEN_ID / 2, TOKEN_SECRET_BYTES,
                  (uint8_t *)text + PREFIX + TOKEN_ID + 1);
    text[TOKEN_TEXT] = '\0';
    if (secret_sha256(BYTES(text, TOKEN_TEXT), t->hash))
        memcpy(ret_text, text, sizeof text);
    else
        st = err_set(err, ST_INTERNAL, "token: libcrypto could not hash it");
    secret_wipe(random, sizeof random);
    secret_wipe(text, sizeof text);
    return st;
}

bool token_parse(struct bytes text, struct bytes *ret_id)
{
    if (text.len != TOKEN_TEXT || memcmp(text.data, prefix, PREFIX) != 0 ||
        text.data[PREFIX + TOKEN_ID] != '_')
        return false;
    for (size_t i = 0; i < TOKEN_ID; i++) {
        uint8_t c = text.data[PREFIX + i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    *ret_id = BYTES(text.data + PREFIX, TOKEN_ID);
    return true;
}

enum status token_record_encode(struct buf *out, const struct token_record *t)
{
    enum status st = buf_append_u8(out, FORMAT);
    if (st == ST_OK)
        st = buf_append(out, t->hash, SCRAM_HASH);
    if (st == ST_OK)
        st = buf_append_varint(out, t->label.len);
    if (st == ST_OK)
        st = buf_append(out, t->label.data, t->label.len);
    if (st == ST_OK)
        st = buf_append_varint(out, t->made_ms);
    return st == ST_OK ? grants_encode(out, &t->grants) : st;
}

bool token_record_decode(struct bytes in, struct token_record *ret)
{
    struct reader r = reader_of(in);
    struct token_record t = {0};
    uint8_t format;
    uint64_t len;
    if (!read_u8(&r, &format) || format != FORMAT || !read_fixed(&r, t.hash, SCRAM_HASH) ||
        !read_varint(&r, &len) || len > TOKEN_LABEL_MAX || !read_bytes(&r, (size_t)len, &t.label) ||
        token_label_check(t.label, NULL) != ST_OK || !read_varint(&r, &t.made_ms) ||
        !grants_decode(&r, &t.grants) || reader_left(&r) > 0)
        return false;
    *ret = t;
    return true;
}
