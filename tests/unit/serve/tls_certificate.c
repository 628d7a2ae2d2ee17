#include "unit/serve/tls_certificate.h"

#include "support/cmocka.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

struct test_certificate test_certificate_new(const char *common_name,
                                             const struct test_certificate *by)
{
    static long serial = 1;
    struct test_certificate c = {EVP_EC_gen("P-256"), X509_new()};
    assert_non_null(c.key);
    assert_non_null(c.x509);
    X509_set_version(c.x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), 86400);
    X509_set_pubkey(c.x509, c.key);
    X509_NAME *name = X509_get_subject_name(c.x509);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)common_name, -1, -1, 0),
                     1);
    X509_set_issuer_name(c.x509, by ? X509_get_subject_name(by->x509) : name);
    extend(c.x509, NID_basic_constraints, by ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (by)
        extend(c.x509, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    assert_true(X509_sign(c.x509, by ? by->key : c.key, EVP_sha256()) > 0);
    return c;
}

void test_certificate_free(struct test_certificate *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
}

void test_certificate_write(const struct test_certificate *c, const char *cert_path,
                            const char *key_path)
{
    if (cert_path) {
        FILE *f = fopen(cert_path, "w");
        assert_non_null(f);
        assert_int_equal(PEM_write_X509(f, c->x509), 1);
        fclose(f);
    }
    if (key_path) {
        FILE *f = fopen(key_path, "w");
        assert_non_null(f);
        assert_int_equal(PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL), 1);
        fclose(f);
    }
}
