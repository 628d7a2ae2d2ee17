/* tls.h - TLS 1.2 and 1.3 as a filter of connections (serve/reactor/conn.h), by OpenSSL.
 *
 * Owns:     certificates and keys (struct tls_context), each connection's session.
 * Promises: nothing older than TLS 1.2, no renegotiation, no compression; ALPN "h2" before
 *           "http/1.1". Certificates are replaced without touching connections that exist. An idle
 *           connection keeps no record buffers.
 * Never:    does I/O beyond reading its files through the env; logs secrets.
 * Threads:  a context is for any thread; a filter belongs to its connection's reactor.
 */
#ifndef VARVE_SERVE_TLS_TLS_H
#define VARVE_SERVE_TLS_TLS_H

#include "serve/reactor/conn.h"

struct tls_context;

enum tls_client_certificate {
    TLS_CLIENT_NONE,    /* not asked for */
    TLS_CLIENT_ASKED,   /* verified when given */
    TLS_CLIENT_REQUIRED /* mTLS */
};

/* Files are PEM; a size beyond TLS_FILE_MAX is refused. */
enum { TLS_FILE_MAX = 1024 * 1024 };
struct tls_options {
    const char *cert_file; /* the certificate, then its chain; a server must have it */
    const char *key_file;
    const char *ca_file; /* whom to believe: of clients; of the server (NULL: the system's roots) */
    enum tls_client_certificate client_certificate;
    /* Whether TLS 1.3 alone is spoken. */
    bool only_1_3;
    /* ALPN in order of preference, NULL-terminated, at most 8; NULL: "h2", "http/1.1". */
    const char *const *alpn;
};

/* INVALID_ARGUMENT names the file and what is wrong with it (no certificate, key does not match,
 * expired ones are taken but logged); env_read_file's errors; NO_MEMORY. */
enum status tls_server_new(struct env *env, const struct tls_options *options,
                           struct tls_context **ret, struct err *err) WARN_UNUSED;
/* `server_name`: whom the server must prove to be (a host name or an address), also sent as SNI.
 * NULL: any that ca_file vouches for. */
enum status tls_client_new(struct env *env, const struct tls_options *options,
                           const char *server_name, struct tls_context **ret,
                           struct err *err) WARN_UNUSED;
/* Reads the same files again and says whether tls_reload would take them; nothing changes. */
enum status tls_check(struct tls_context *t, struct err *err) WARN_UNUSED;
/* Reads the same files again: new connections get what they hold now. On an error the old ones stay
 * in use. */
enum status tls_reload(struct tls_context *t, struct err *err) WARN_UNUSED;
void tls_free(struct tls_context *t); /* filters made before live on; takes NULL */

/* For reactors_listen and reactor_connect; lives as long as the context. */
const struct conn_filter_maker *tls_filter(struct tls_context *t);
/* "TLSv1.3 TLS_AES_128_GCM_SHA256"; "" when the connection has no TLS. Lives as long as c. */
const char *tls_describe(const struct conn *c);

#endif
