/* scram.h - passwords as SCRAM-SHA-256 keeps them: RFC 5802 and 7677.
 *
 * Kept is StoredKey = H(HMAC(SaltedPassword, "Client Key")) and ServerKey = HMAC(SaltedPassword,
 * "Server Key"), where SaltedPassword is PBKDF2-HMAC-SHA-256 of the password. Neither is enough to
 * log in with. Passwords are taken as the bytes they are (no SASLprep: two ways to type one
 * character of another script are two passwords).
 *
 * Owns:     nothing. Promises: compares in constant time; wipes what it derived.
 * Never:    keeps, prints or logs a password. Threads: pure functions.
 */
#ifndef VARVE_SERVE_SECURITY_SCRAM_H
#define VARVE_SERVE_SECURITY_SCRAM_H

#include "base/bytes.h"
#include "base/status.h"

enum {
    SCRAM_HASH = 32,
    SCRAM_SALT = 16,
    SCRAM_SALT_MAX = 64,
    SCRAM_ITERATIONS = 100000, /* of new passwords; RFC 7677 asks for 4,096 at least */
    SCRAM_ITERATIONS_MIN = 4096,
    SCRAM_ITERATIONS_MAX = 10000000,
};
struct scram_keys {
    uint32_t iterations;
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    uint8_t stored_key[SCRAM_HASH], server_key[SCRAM_HASH];
};

/* Fills in the keys for iterations and salt as they stand in `k`. INTERNAL: libcrypto failed. */
enum status scram_derive(struct bytes password, struct scram_keys *k) WARN_UNUSED;
/* Whether it is the password: derives, so it takes its time. */
bool scram_matches(const struct scram_keys *k, struct bytes password);
/* The server's side of an exchange: whether `proof` is the client's for `auth_message`
 * (client-first-bare "," server-first "," client-final-without-proof). */
bool scram_proof_matches(const struct scram_keys *k, struct bytes auth_message,
                         const uint8_t proof[SCRAM_HASH]);
/* What the server answers to prove itself. */
bool scram_signature(const struct scram_keys *k, struct bytes auth_message,
                     uint8_t out[SCRAM_HASH]);

/* Here because all of libcrypto's use is. */
bool secret_sha256(struct bytes b, uint8_t out[SCRAM_HASH]);
bool secret_hmac(struct bytes key, struct bytes b, uint8_t out[SCRAM_HASH]);
bool secret_equal(const void *a, const void *b, size_t len); /* in constant time */
void secret_wipe(void *p, size_t len);

#endif
