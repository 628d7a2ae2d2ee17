/* Contexts: certificates and keys from files, and how OpenSSL is to behave. */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "serve/tls/tls_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const char ciphers_1_2[] = "ECDHE+AESGCM:ECDHE+CHACHA20"; /* what RFC 9113, 9.2.2 leaves */

enum status tls__error(struct err *err, enum status st, const char *what)
{
    char text[200] = "no reason given";
    unsigned long e = ERR_peek_error();
    if (e)
        ERR_error_string_n(e, text, sizeof text);
    ERR_clear_error();
    return err_set(err, st, "%s: %s", what, text);
}

/* --- files --- */

/* A PEM file as a BIO over `content`. */
static enum status open_pem(struct env *env, const char *path, struct buf *content, BIO **ret,
                            struct err *err)
{
    enum status st = env_read_file(env, path, TLS_FILE_MAX, content, err);
    if (st)
        return st;
    BIO *bio = BIO_new_mem_buf(buf_bytes(content).data, (int)content->len);
    if (!bio)
        return err_set(err, ST_NO_MEMORY, "%s: no memory", path);
    *ret = bio;
    return ST_OK;
}

static void close_pem(BIO *bio, struct buf *content)
{
    BIO_free(bio);
    if (content->data)
        OPENSSL_cleanse(content->data, content->cap);
    buf_deinit(content);
}

/* Never asks at the terminal. */
static int no_passphrase(char *to, int size, int writing, void *arg)
{
    (void)to;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static X509 *next_certificate(BIO *bio)
{
    X509 *x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    if (!x && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        ERR_clear_error(); /* the end of the file */
    return x;
}

static void warn_if_expired(const X509 *x, const char *path)
{
    if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
        log_at(LOG_WARN, "tls", "the certificate has expired", LOG_FSTR("file", path));
}

static enum status use_chain(SSL_CTX *ctx, struct env *env, const char *path, struct err *err)
{
    struct buf content = BUF_INIT;
    BIO *bio = NULL;
    enum status st = open_pem(env, path, &content, &bio, err);
    if (st)
        goto out;
    X509 *x = next_certificate(bio);
    if (!x) {
        st = ERR_peek_error() ? tls__error(err, ST_INVALID_ARGUMENT, path)
                              : err_set(err, ST_INVALID_ARGUMENT, "%s: no certificate in it", path);
        goto out;
    }
    warn_if_expired(x, path);
    if (SSL_CTX_use_certificate(ctx, x) != 1)
        st = tls__error(err, ST_INVALID_ARGUMENT, path);
    X509_free(x);
    while (!st && (x = next_certificate(bio)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
            X509_free(x);
            st = tls__error(err, ST_INVALID_ARGUMENT, path);
        }
    }
    if (!st && ERR_peek_error())
        st = tls__error(err, ST_INVALID_ARGUMENT, path);
out:
    close_pem(bio, &content);
    return st;
}

static enum status use_key(SSL_CTX *ctx, struct env *env, const char *path, struct err *err)
{
    struct buf content = BUF_INIT;
    BIO *bio = NULL;
    enum status st = open_pem(env, path, &content, &bio, err);
    if (!st) {
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
            st = tls__error(err, ST_INVALID_ARGUMENT, path);
        EVP_PKEY_free(key);
    }
    close_pem(bio, &content);
    return st;
}

static enum status use_roots(SSL_CTX *ctx, const struct tls_context *t, struct err *err)
{
    if (!t->ca_file) {
        if (t->client && SSL_CTX_set_default_verify_paths(ctx) != 1)
            return tls__error(err, ST_INVALID_ARGUMENT, "the system's certificates");
        return ST_OK;
    }
    struct buf content = BUF_INIT;
    BIO *bio = NULL;
    enum status st = open_pem(t->env, t->ca_file, &content, &bio, err);
    unsigned n = 0;
    X509 *x;
    while (!st && (x = next_certificate(bio)) != NULL) {
        n++;
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) != 1 ||
            (!t->client && SSL_CTX_add_client_CA(ctx, x) != 1))
            st = tls__error(err, ST_INVALID_ARGUMENT, t->ca_file);
        X509_free(x);
    }
    if (!st && (n == 0 || ERR_peek_error()))
        st = n ? tls__error(err, ST_INVALID_ARGUMENT, t->ca_file)
               : err_set(err, ST_INVALID_ARGUMENT, "%s: no certificate in it", t->ca_file);
    close_pem(bio, &content);
    return st;
}

/* --- behaviour --- */

static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *offered, unsigned offered_len, void *config)
{
    (void)ssl;
    const struct tls_config *c = config;
    unsigned char *found;
    if (SSL_select_next_proto(&found, ret_len, c->alpn, c->alpn_len, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
    *ret = found;
    return SSL_TLSEXT_ERR_OK;
}

static int verify_mode(const struct tls_context *t)
{
    if (t->client)
        return SSL_VERIFY_PEER;
    switch (t->client_certificate) {
    case TLS_CLIENT_NONE:
        return SSL_VERIFY_NONE;
    case TLS_CLIENT_ASKED:
        return SSL_VERIFY_PEER;
    case TLS_CLIENT_REQUIRED:
        return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

static enum status behave(struct tls_config *c, const struct tls_context *t, struct err *err)
{
    SSL_CTX *ctx = c->ctx;
    static const unsigned char id[] = "varve"; /* resumption with client certificates wants one */
    bool ok = SSL_CTX_set_min_proto_version(ctx, t->only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
              SSL_CTX_set_cipher_list(ctx, ciphers_1_2) &&
              SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets are kept by the clients */
    SSL_CTX_set_verify(ctx, verify_mode(t), NULL);
    if (t->client)
        ok = ok && SSL_CTX_set_alpn_protos(ctx, t->alpn, t->alpn_len) == 0;
    else
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, c);
    return ok ? ST_OK : tls__error(err, ST_INTERNAL, "TLS settings");
}

static enum status config_new(struct tls_context *t, struct tls_config **ret, struct err *err)
{
    ERR_clear_error();
    struct tls_config *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(err, ST_NO_MEMORY, "TLS: no memory");
    atomic_init(&c->refs, 1);
    memcpy(c->alpn, t->alpn, t->alpn_len);
    c->alpn_len = t->alpn_len;
    c->ctx = SSL_CTX_new(t->client ? TLS_client_method() : TLS_server_method());
    c->bio = tls__bio_method();
    enum status st = c->ctx && c->bio ? ST_OK : tls__error(err, ST_NO_MEMORY, "TLS");
    if (!st)
        st = behave(c, t, err);
    if (!st && t->cert_file)
        st = use_chain(c->ctx, t->env, t->cert_file, err);
    if (!st && t->cert_file)
        st = use_key(c->ctx, t->env, t->key_file, err);
    if (!st)
        st = use_roots(c->ctx, t, err);
    if (st) {
        tls__config_unref(c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

void tls__config_unref(struct tls_config *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(c->ctx);
    BIO_meth_free(c->bio);
    mem_free(c);
}

struct tls_config *tls__config_ref(struct tls_context *t)
{
    env_mutex_lock(&t->mutex);
    struct tls_config *c = t->config;
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    env_mutex_unlock(&t->mutex);
    return c;
}

/* --- contexts --- */

static enum status set_alpn(struct tls_context *t, const char *const *names, struct err *err)
{
    static const char *const usual[] = {"h2", "http/1.1", NULL};
    names = names ? names : usual;
    for (unsigned i = 0; names[i]; i++) {
        size_t len = strlen(names[i]);
        if (i >= ALPN_MAX || len == 0 || len > 31)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "ALPN: \"%s\": want at most %d names of 1 to 31 bytes", names[i],
                           (int)ALPN_MAX);
        t->alpn[t->alpn_len++] = (uint8_t)len;
        memcpy(t->alpn + t->alpn_len, names[i], len);
        t->alpn_len += (unsigned)len;
    }
    return ST_OK;
}

static bool copy(char **to, const char *from)
{
    *to = from ? mem_strdup(from) : NULL;
    return *to || !from;
}

static bool is_ip(const char *name)
{
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);
    ASN1_OCTET_STRING_free(ip);
    ERR_clear_error();
    return ip != NULL;
}

static enum status context_new(struct env *env, const struct tls_options *o, bool client,
                               const char *server_name, struct tls_context **ret, struct err *err)
{
    if ((o->cert_file == NULL) != (o->key_file == NULL) || (!client && !o->cert_file))
        return err_set(err, ST_INVALID_ARGUMENT, "TLS: a certificate and its key are both needed");
    if (!client && o->client_certificate != TLS_CLIENT_NONE && !o->ca_file)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "TLS: client certificates need ca_file, by which they are judged");
    struct tls_context *t = mem_zalloc(sizeof *t);
    if (!t)
        return err_set(err, ST_NO_MEMORY, "TLS: no memory");
    env_mutex_init(&t->mutex);
    t->env = env;
    t->client = client;
    t->client_certificate = o->client_certificate;
    t->only_1_3 = o->only_1_3;
    t->maker =
        (struct conn_filter_maker){.make = tls__session_make, .ops = &tls__filter_ops, .arg = t};
    enum status st = ST_OK;
    if (!copy(&t->cert_file, o->cert_file) || !copy(&t->key_file, o->key_file) ||
        !copy(&t->ca_file, o->ca_file) || !copy(&t->server_name, server_name))
        st = err_set(err, ST_NO_MEMORY, "TLS: no memory");
    t->name_is_ip = server_name && is_ip(server_name);
    if (!st)
        st = set_alpn(t, o->alpn, err);
    if (!st)
        st = config_new(t, &t->config, err);
    if (st) {
        tls_free(t);
        return st;
    }
    *ret = t;
    return ST_OK;
}

enum status tls_server_new(struct env *env, const struct tls_options *options,
                           struct tls_context **ret, struct err *err)
{
    return context_new(env, options, false, NULL, ret, err);
}

enum status tls_client_new(struct env *env, const struct tls_options *options,
                           const char *server_name, struct tls_context **ret, struct err *err)
{
    return context_new(env, options, true, server_name, ret, err);
}

enum status tls_check(struct tls_context *t, struct err *err)
{
    struct tls_config *fresh = NULL;
    enum status st = config_new(t, &fresh, err);
    tls__config_unref(fresh);
    return st;
}

enum status tls_reload(struct tls_context *t, struct err *err)
{
    struct tls_config *fresh = NULL;
    enum status st = config_new(t, &fresh, err);
    if (st)
        return st;
    env_mutex_lock(&t->mutex);
    struct tls_config *old = t->config;
    t->config = fresh;
    env_mutex_unlock(&t->mutex);
    tls__config_unref(old);
    return ST_OK;
}

void tls_free(struct tls_context *t)
{
    if (!t)
        return;
    tls__config_unref(t->config);
    env_mutex_deinit(&t->mutex);
    mem_free(t->cert_file);
    mem_free(t->key_file);
    mem_free(t->ca_file);
    mem_free(t->server_name);
    mem_free(t);
}

const struct conn_filter_maker *tls_filter(struct tls_context *t)
{
    return &t->maker;
}
