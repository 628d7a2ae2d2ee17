#include "serve/security/scram.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

bool secret_sha256(struct bytes b, uint8_t out[SCRAM_HASH])
{
    unsigned n = 0;
    return EVP_Digest(b.data, b.len, out, &n, EVP_sha256(), NULL) == 1 && n == SCRAM_HASH;
}

bool secret_hmac(struct bytes key, struct bytes b, uint8_t out[SCRAM_HASH])
{
    unsigned n = 0;
    return key.len <= INT_MAX &&
           HMAC(EVP_sha256(), key.data, (int)key.len, b.data, b.len, out, &n) && n == SCRAM_HASH;
}

bool secret_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void secret_wipe(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}

enum status scram_derive(struct bytes password, struct scram_keys *k)
{
    uint8_t salted[SCRAM_HASH], client[SCRAM_HASH];
    enum status st = ST_INTERNAL;
    struct bytes key = BYTES(salted, sizeof salted);
    if (password.len <= INT_MAX && k->iterations <= INT_MAX &&
        PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.len, k->salt, (int)k->salt_len,
                          (int)k->iterations, EVP_sha256(), SCRAM_HASH, salted) == 1 &&
        secret_hmac(key, BYTES_LIT("Client Key"), client) &&
        secret_sha256(BYTES(client, sizeof client), k->stored_key) &&
        secret_hmac(key, BYTES_LIT("Server Key"), k->server_key))
        st = ST_OK;
    secret_wipe(salted, sizeof salted);
    secret_wipe(client, sizeof client);
    return st;
}

bool scram_matches(const struct scram_keys *k, struct bytes password)
{
    struct scram_keys derived = *k;
    memset(derived.stored_key, 0, sizeof derived.stored_key);
    bool same = scram_derive(password, &derived) == ST_OK &&
                secret_equal(derived.stored_key, k->stored_key, SCRAM_HASH);
    secret_wipe(&derived, sizeof derived);
    return same;
}

bool scram_proof_matches(const struct scram_keys *k, struct bytes auth_message,
                         const uint8_t proof[SCRAM_HASH])
{
    uint8_t client[SCRAM_HASH], hash[SCRAM_HASH];
    if (!secret_hmac(BYTES(k->stored_key, SCRAM_HASH), auth_message, client))
        return false;
    for (size_t i = 0; i < SCRAM_HASH; i++) /* ClientKey = ClientProof xor ClientSignature */
        client[i] ^= proof[i];
    bool same = secret_sha256(BYTES(client, sizeof client), hash) &&
                secret_equal(hash, k->stored_key, SCRAM_HASH);
    secret_wipe(client, sizeof client);
    return same;
}

bool scram_signature(const struct scram_keys *k, struct bytes auth_message, uint8_t out[SCRAM_HASH])
{
    return secret_hmac(BYTES(k->server_key, SCRAM_HASH), auth_message, out);
}
