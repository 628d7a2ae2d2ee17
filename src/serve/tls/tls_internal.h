/* tls_internal.h - what tls_context.c and tls_session.c share.
 *
 * A config is what one reading of the files gave; the context has the current one, each session a
 * reference to the one it began with.
 *
 * Threads:  a config is immutable but for its count.
 */
#ifndef VARVE_SERVE_TLS_INTERNAL_H
#define VARVE_SERVE_TLS_INTERNAL_H

#include "base/env/thread.h"
#include "serve/tls/tls.h"

#include <openssl/ssl.h>

enum { ALPN_MAX = 8, ALPN_WIRE_MAX = 256 };

struct tls_config {
    _Atomic unsigned refs;
    SSL_CTX *ctx;
    BIO_METHOD *bio;             /* of the sessions' ends; lives as long as they */
    uint8_t alpn[ALPN_WIRE_MAX]; /* as ALPN carries it: length, name, length, name */
    unsigned alpn_len;
};

struct tls_context {
    struct env *env;
    struct env_mutex mutex; /* over `config` */
    struct tls_config *config;
    struct conn_filter_maker maker;
    bool client;
    char *cert_file, *key_file, *ca_file, *server_name;
    bool name_is_ip;
    enum tls_client_certificate client_certificate;
    bool only_1_3;
    uint8_t alpn[ALPN_WIRE_MAX];
    unsigned alpn_len;
};

struct tls_config *tls__config_ref(struct tls_context *t); /* the current one */
void tls__config_unref(struct tls_config *c);
BIO_METHOD *tls__bio_method(void); /* NULL: no memory */
/* Empties OpenSSL's queue of errors into a detail. */
enum status tls__error(struct err *err, enum status st, const char *what);

extern const struct conn_filter_ops tls__filter_ops;
enum status tls__session_make(void *context, struct buf *out, void **ret, struct err *err);

#endif
