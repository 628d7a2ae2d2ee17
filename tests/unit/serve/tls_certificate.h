/* tls_certificate.h - certificates for a test, made on the spot and written as PEM files.
 *
 * Owns:     nothing; the files are the caller's.
 * Promises: P-256 keys, valid for a day; names localhost and 127.0.0.1.
 * Never:    kept: nothing of this is committed.
 * Threads:  any.
 */
#ifndef VARVE_TESTS_TLS_CERTIFICATE_H
#define VARVE_TESTS_TLS_CERTIFICATE_H

#include <openssl/x509.h>

struct test_certificate {
    EVP_PKEY *key;
    X509 *x509;
};

/* Signed by `by`, or by itself (a root) when NULL. */
struct test_certificate test_certificate_new(const char *common_name,
                                             const struct test_certificate *by);
void test_certificate_free(struct test_certificate *c);
void test_certificate_write(const struct test_certificate *c, const char *cert_path,
                            const char *key_path); /* either may be NULL */

#endif
