/* One connection's TLS: a filter without I/O around OpenSSL's state machine. */
#include "serve/tls/tls_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

struct session {
    struct tls_config *config;
    SSL *ssl;
    struct bytes in; /* borrowed, not yet read */
    uint8_t *kept;   /* own, read before `in` */
    size_t kept_at, kept_end;
    struct buf *out; /* where records go during a call */
    bool ready, no_memory, eof;
    char *peer;
    char alpn[32];
    char text[96];
};

/* --- the BIO: OpenSSL's view of the socket --- */

static int bio_read(BIO *bio, char *to, size_t len, size_t *ret_len)
{
    struct session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (s->kept) {
        size_t n = s->kept_end - s->kept_at < len ? s->kept_end - s->kept_at : len;
        memcpy(to, s->kept + s->kept_at, n);
        s->kept_at += n;
        if (s->kept_at == s->kept_end) {
            mem_free(s->kept);
            s->kept = NULL;
        }
        *ret_len = n;
        return 1;
    }
    if (s->in.len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t n = s->in.len < len ? s->in.len : len;
    memcpy(to, s->in.data, n);
    s->in = BYTES(s->in.data + n, s->in.len - n);
    *ret_len = n;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
    struct session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!s->out || buf_append(s->out, data, len)) {
        s->no_memory = true;
        return 0;
    }
    *ret_len = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    (void)bio;
    (void)number;
    (void)arg;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls__bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "varve");
    if (!m)
        return NULL;
    if (BIO_meth_set_read_ex(m, bio_read) && BIO_meth_set_write_ex(m, bio_write) &&
        BIO_meth_set_ctrl(m, bio_ctrl) && BIO_meth_set_create(m, bio_create))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* --- life --- */

static void session_free(void *f)
{
    struct session *s = f;
    if (!s)
        return;
    SSL_free(s->ssl);
    tls__config_unref(s->config);
    mem_free(s->kept);
    mem_free(s->peer);
    mem_free(s);
}

static bool name_server(SSL *ssl, const struct tls_context *t)
{
    if (!t->server_name)
        return true;
    if (t->name_is_ip)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), t->server_name) == 1;
    return SSL_set_tlsext_host_name(ssl, t->server_name) == 1 &&
           SSL_set1_host(ssl, t->server_name) == 1;
}

/* Who and what it is, once it is known. */
static enum status settle(struct session *s, struct err *err)
{
    const unsigned char *alpn;
    unsigned len;
    SSL_get0_alpn_selected(s->ssl, &alpn, &len);
    snprintf(s->alpn, sizeof s->alpn, "%.*s", (int)len, len ? (const char *)alpn : "");
    snprintf(s->text, sizeof s->text, "%s %s", SSL_get_version(s->ssl),
             SSL_get_cipher_name(s->ssl));
    s->ready = true;
    X509 *cert = SSL_get0_peer_certificate(s->ssl);
    if (!cert || SSL_get_verify_result(s->ssl) != X509_V_OK)
        return ST_OK;
    BIO *name = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (name && X509_NAME_print_ex(name, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
        char *data;
        long n = BIO_get_mem_data(name, &data);
        text = mem_alloc((size_t)n + 1);
        if (text) {
            memcpy(text, data, (size_t)n);
            text[n] = '\0';
        }
    }
    BIO_free(name);
    if (!text)
        return err_set(err, ST_NO_MEMORY, "TLS: no memory for the peer's name");
    s->peer = text;
    return ST_OK;
}

static enum status failed(struct session *s, struct err *err, const char *what)
{
    if (s->no_memory) {
        ERR_clear_error();
        return err_set(err, ST_NO_MEMORY, "TLS: no memory for output");
    }
    long verify = SSL_get_verify_result(s->ssl);
    enum status st = tls__error(err, ST_IO_ERROR, what);
    if (verify != X509_V_OK)
        err_prefix(err, "certificate: %s", X509_verify_cert_error_string(verify));
    return st;
}

static enum status handshake(struct session *s, struct err *err)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl);
    if (rc == 1)
        return settle(s, err);
    if (SSL_get_error(s->ssl, rc) == SSL_ERROR_WANT_READ)
        return ST_OK;
    return failed(s, err, "TLS handshake");
}

enum status tls__session_make(void *context, struct buf *out, void **ret, struct err *err)
{
    struct tls_context *t = context;
    struct session *s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "TLS: no memory");
    s->config = tls__config_ref(t);
    s->ssl = SSL_new(s->config->ctx);
    BIO *bio = s->ssl ? BIO_new(s->config->bio) : NULL;
    if (!bio || (t->client && !name_server(s->ssl, t))) {
        BIO_free(bio);
        session_free(s);
        return tls__error(err, ST_NO_MEMORY, "TLS: a session");
    }
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio);
    enum status st = ST_OK;
    if (t->client) {
        SSL_set_connect_state(s->ssl);
        s->out = out;
        st = handshake(s, err); /* the hello */
        s->out = NULL;
    } else {
        SSL_set_accept_state(s->ssl);
    }
    if (st) {
        session_free(s);
        return st;
    }
    *ret = s;
    return ST_OK;
}

/* --- the filter --- */

static enum status session_feed(void *f, struct bytes in, struct buf *out, struct err *err)
{
    struct session *s = f;
    ASSERT(s->in.len == 0);
    s->in = in;
    if (s->ready)
        return ST_OK;
    s->out = out;
    enum status st = handshake(s, err);
    s->out = NULL;
    return st;
}

static enum status session_read(void *f, uint8_t *to, size_t cap, size_t *ret_len, bool *ret_eof,
                                struct buf *out, struct err *err)
{
    struct session *s = f;
    size_t n = 0;
    *ret_len = 0;
    *ret_eof = s->eof;
    if (s->eof) { /* nothing after close_notify counts */
        s->in = BYTES_EMPTY;
        return ST_OK;
    }
    s->out = out;
    ERR_clear_error();
    int rc = SSL_read_ex(s->ssl, to, cap, &n);
    s->out = NULL;
    if (rc == 1) {
        *ret_len = n;
        return ST_OK;
    }
    int why = SSL_get_error(s->ssl, rc);
    if (why == SSL_ERROR_WANT_READ && !s->no_memory)
        return ST_OK;
    if (why == SSL_ERROR_ZERO_RETURN) {
        s->eof = *ret_eof = true;
        s->in = BYTES_EMPTY;
        return ST_OK;
    }
    return failed(s, err, "TLS");
}

static enum status session_keep(void *f, size_t *ret_len)
{
    struct session *s = f;
    size_t have = s->kept ? s->kept_end - s->kept_at : 0, len = have + s->in.len;
    if (s->in.len > 0) {
        uint8_t *all = mem_alloc(len);
        if (!all)
            return ST_NO_MEMORY;
        if (have > 0)
            memcpy(all, s->kept + s->kept_at, have);
        memcpy(all + have, s->in.data, s->in.len);
        mem_free(s->kept);
        s->kept = all;
        s->kept_at = 0;
        s->kept_end = len;
        s->in = BYTES_EMPTY;
    }
    *ret_len = len;
    return ST_OK;
}

static bool session_ready(const void *f)
{
    const struct session *s = f;
    return s->ready;
}

static enum status session_seal(void *f, struct bytes clear, struct buf *out, struct err *err)
{
    struct session *s = f;
    ASSERT(s->ready);
    size_t written = 0;
    s->out = out;
    ERR_clear_error();
    int rc = clear.len ? SSL_write_ex(s->ssl, clear.data, clear.len, &written) : 1;
    s->out = NULL;
    if (rc != 1)
        return failed(s, err, "TLS: sealing");
    ASSERT(written == clear.len); /* partial writes are not enabled, and the end takes all */
    return ST_OK;
}

static enum status session_finish(void *f, struct buf *out)
{
    struct session *s = f;
    s->out = out;
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl); /* 0: the peer's goodbye has not come yet, nor is it waited for */
    s->out = NULL;
    ERR_clear_error();
    return s->no_memory ? ST_NO_MEMORY : ST_OK;
}

static const char *session_alpn(const void *f)
{
    const struct session *s = f;
    return s->alpn;
}

static const char *session_peer(const void *f)
{
    const struct session *s = f;
    return s->peer ? s->peer : "";
}

const struct conn_filter_ops tls__filter_ops = {
    .feed = session_feed,
    .read = session_read,
    .keep = session_keep,
    .ready = session_ready,
    .seal = session_seal,
    .finish = session_finish,
    .alpn = session_alpn,
    .peer_name = session_peer,
    .free = session_free,
};

const char *tls_describe(const struct conn *c)
{
    const struct session *s = conn_filter(c, &tls__filter_ops);
    return s ? s->text : "";
}
