/* credential.h - users and API tokens as records of the collection SECURITY_COLLECTION (raw bytes).
 *
 *   "user/" name   u8 format (1), u8 flags (1: has a password, 2: may come by certificate alone),
 *                  with a password: varint iterations, u8 length, salt, 32 StoredKey, 32 ServerKey;
 *                  varint made (Unix ms), grants (grant.h)
 *   "token/" id    u8 format (1), 32 SHA-256 of the whole token, varint length, label,
 *                  varint made (Unix ms), grants
 *
 * A token as text: "varve_" id (16 hex digits) "_" secret (32 random bytes as 43 of base64url). The
 * id finds the record and is no secret. A token that expires is a record with a time to live.
 *
 * Owns:     nothing; what is decoded borrows from its input.
 * Promises: decoding accepts nothing that encoding could not have made.
 * Never:    keeps a password or a token. Threads: pure functions.
 */
#ifndef VARVE_SERVE_SECURITY_CREDENTIAL_H
#define VARVE_SERVE_SECURITY_CREDENTIAL_H

#include "base/env/env.h"
#include "serve/security/grant.h"
#include "serve/security/scram.h"

#define CREDENTIAL_USER  "user/"
#define CREDENTIAL_TOKEN "token/"

enum {
    USER_NAME_MAX = 128,
    USER_PASSWORD_MIN = 8, /* asked of new ones */
    USER_PASSWORD_MAX = 1024,
    TOKEN_ID = 16, /* hex digits */
    TOKEN_SECRET_BYTES = 32,
    TOKEN_TEXT = 6 + TOKEN_ID + 1 + 43,
    TOKEN_LABEL_MAX = 64,
};

struct user_record {
    bool has_password, by_certificate;
    struct scram_keys keys;
    uint64_t made_ms;
    struct grants grants;
};
/* 1 to USER_NAME_MAX bytes of UTF-8 without ':' and control characters. INVALID_ARGUMENT,
 * TOO_LARGE. */
enum status user_name_check(struct bytes name, struct err *err) WARN_UNUSED;
enum status user_password_check(struct bytes password, struct err *err) WARN_UNUSED;
/* New salt and keys for the password. Takes tens of milliseconds. INVALID_ARGUMENT, TOO_LARGE. */
enum status user_set_password(struct env *env, struct user_record *u, struct bytes password,
                              struct err *err) WARN_UNUSED;
enum status user_encode(struct buf *out, const struct user_record *u) WARN_UNUSED;
bool user_decode(struct bytes in, struct user_record *ret);

struct token_record {
    uint8_t hash[SCRAM_HASH];
    struct bytes label;
    uint64_t made_ms;
    struct grants grants;
};
enum status token_label_check(struct bytes label, struct err *err) WARN_UNUSED;
/* A new token: its text, with a NUL, and the hash into `t`. INTERNAL: libcrypto failed. */
enum status token_make(struct env *env, struct token_record *t, char ret_text[TOKEN_TEXT + 1],
                       struct err *err) WARN_UNUSED;
/* Whether it has the form of one; the id is borrowed from the text. */
bool token_parse(struct bytes text, struct bytes *ret_id);
enum status token_record_encode(struct buf *out, const struct token_record *t) WARN_UNUSED;
bool token_record_decode(struct bytes in, struct token_record *ret);

#endif
