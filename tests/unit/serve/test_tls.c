/* TLS between reactors and OpenSSL's own client: versions, ALPN, certificates of both sides,
 * reloading, back-pressure, garbage. */
#include "base/env/env.h"
#include "serve/tls/tls.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/serve/tls_certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEASURE_MEMORY = 0 };
#else
enum { MEASURE_MEMORY = 1 };
#endif

struct files {
    char dir[TEMP_DIR_MAX];
    char cert[TEMP_DIR_MAX + 16], key[TEMP_DIR_MAX + 16], ca[TEMP_DIR_MAX + 16];
    char client_cert[TEMP_DIR_MAX + 16], client_key[TEMP_DIR_MAX + 16];
    struct test_certificate root;
};

static struct files files;

static void write_server(const char *name)
{
    struct test_certificate c = test_certificate_new(name, &files.root);
    test_certificate_write(&c, files.cert, files.key);
    test_certificate_free(&c);
}

static int make_files(void **state)
{
    (void)state;
    assert_true(temp_dir_make(files.dir, "tls"));
    snprintf(files.cert, sizeof files.cert, "%s/cert.pem", files.dir);
    snprintf(files.key, sizeof files.key, "%s/key.pem", files.dir);
    snprintf(files.ca, sizeof files.ca, "%s/ca.pem", files.dir);
    snprintf(files.client_cert, sizeof files.client_cert, "%s/c_cert.pem", files.dir);
    snprintf(files.client_key, sizeof files.client_key, "%s/c_key.pem", files.dir);
    files.root = test_certificate_new("test root", NULL);
    test_certificate_write(&files.root, files.ca, NULL);
    struct test_certificate c = test_certificate_new("some client", &files.root);
    test_certificate_write(&c, files.client_cert, files.client_key);
    test_certificate_free(&c);
    write_server("localhost");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_certificate_free(&files.root);
    return !temp_dir_remove(files.dir);
}

/* --- the server: echoes; "?" alone is answered with what it knows of the connection --- */

struct server {
    struct reactors *g;
    struct net_addr addr;
    struct tls_context *tls;
    size_t take_max; /* and pauses after each */
    _Atomic unsigned opened, closed;
};

static void resume_later(void *arg)
{
    struct conn *c = arg;
    reactor_yield(conn_reactor(c));
    conn_resume(c);
    conn_unref(c);
}

static enum status on_open(struct conn *c, void *arg)
{
    conn_set_state(c, arg);
    assert_true(conn_is_secure(c));
    conn_settled(c);
    atomic_fetch_add(&((struct server *)arg)->opened, 1);
    return ST_OK;
}

static size_t on_data(struct conn *c, struct bytes data)
{
    struct server *sv = conn_state(c);
    if (data.len == 1 && data.data[0] == '?') {
        char text[300];
        int n = snprintf(text, sizeof text, "[%s|%s|%s]", conn_alpn(c), conn_peer_name(c),
                         tls_describe(c));
        assert_int_equal(conn_send(c, BYTES(text, (size_t)n)), ST_OK);
        return 1;
    }
    size_t n = sv->take_max && sv->take_max < data.len ? sv->take_max : data.len;
    assert_int_equal(conn_send(c, BYTES(data.data, n)), ST_OK);
    if (n < data.len) {
        conn_ref(c);
        assert_int_equal(reactor_spawn(conn_reactor(c), resume_later, c, NULL), ST_OK);
    }
    return n;
}

static void on_closed(struct conn *c, enum status why)
{
    (void)why;
    struct server *sv = conn_state(c);
    atomic_fetch_add(&sv->closed, 1);
}

static const struct conn_proto echo = {
    .name = "echo", .on_open = on_open, .on_data = on_data, .on_closed = on_closed};

static void up(struct server *sv, const struct tls_options *o, enum loop_kind kind)
{
    *sv = (struct server){0};
    struct err err;
    err_init(&err);
    if (tls_server_new(env_linux(), o, &sv->tls, &err))
        fail_msg("tls_server_new: %s", err.detail);
    struct reactor_options ro = {.loop = kind, .linger_ms = 100};
    if (reactors_start(env_linux(), 1, &ro, &sv->g, &err))
        fail_msg("reactors_start: %s", err.detail);
    struct net_addr any;
    assert_int_equal(net_addr_parse("127.0.0.1:0", &any, NULL), ST_OK);
    assert_int_equal(reactors_listen(sv->g, &any, REACTORS_REUSEPORT, &echo, sv,
                                     tls_filter(sv->tls), &sv->addr, NULL),
                     ST_OK);
}

static void up_plain(struct server *sv, enum loop_kind kind)
{
    up(sv, &(struct tls_options){.cert_file = files.cert, .key_file = files.key}, kind);
}

static void down(struct server *sv)
{
    reactors_free(sv->g);
    assert_int_equal(sv->opened, sv->closed);
    tls_free(sv->tls);
}

/* --- OpenSSL's client on a blocking socket --- */

struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

struct client_options {
    int max_version;
    const char *alpn; /* on the wire */
    bool certificate;
};

static int dial(const struct server *sv)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(sv->addr.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&in, sizeof in), 0);
    return fd;
}

/* Whether the handshake went well; in TLS 1.3 the server may still refuse afterwards. */
static bool client_try(struct client *c, const struct server *sv, struct client_options o)
{
    ERR_clear_error();
    c->ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(c->ctx);
    SSL_CTX_set_security_level(c->ctx, 0);
    SSL_CTX_set_min_proto_version(c->ctx, TLS1_VERSION);
    if (o.max_version)
        SSL_CTX_set_max_proto_version(c->ctx, o.max_version);
    assert_int_equal(SSL_CTX_load_verify_locations(c->ctx, files.ca, NULL), 1);
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    if (o.alpn)
        SSL_CTX_set_alpn_protos(c->ctx, (const unsigned char *)o.alpn, (unsigned)strlen(o.alpn));
    if (o.certificate) {
        assert_int_equal(SSL_CTX_use_certificate_file(c->ctx, files.client_cert, SSL_FILETYPE_PEM),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(c->ctx, files.client_key, SSL_FILETYPE_PEM),
                         1);
    }
    c->ssl = SSL_new(c->ctx);
    c->fd = dial(sv);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set1_host(c->ssl, "localhost");
    return SSL_connect(c->ssl) == 1;
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
}

static void exchange(struct client *c, const void *data, size_t len)
{
    size_t sent = 0, got = 0, n;
    char *in = malloc(len);
    assert_non_null(in);
    while (got < len) {
        size_t piece = len - sent < 10000 ? len - sent : 10000;
        if (piece) {
            assert_int_equal(SSL_write_ex(c->ssl, (const char *)data + sent, piece, &n), 1);
            sent += n;
        }
        assert_int_equal(SSL_read_ex(c->ssl, in + got, len - got, &n), 1);
        got += n;
    }
    assert_memory_equal(in, data, len);
    free(in);
}

static void expect(struct client *c, const char *says, const char *answer)
{
    char got[400] = "";
    size_t n;
    assert_int_equal(SSL_write_ex(c->ssl, says, strlen(says), &n), 1);
    assert_int_equal(SSL_read_ex(c->ssl, got, sizeof got - 1, &n), 1);
    if (!strstr(got, answer))
        fail_msg("\"%s\" lacks \"%s\"", got, answer);
}

/* --- tests --- */

static void versions(enum loop_kind kind)
{
    struct server sv;
    up_plain(&sv, kind);
    struct client c;
    assert_true(client_try(&c, &sv, (struct client_options){.alpn = "\x08http/1.1\x02h2"}));
    assert_string_equal(SSL_get_version(c.ssl), "TLSv1.3");
    expect(&c, "?", "[h2||TLSv1.3 TLS_");
    exchange(&c, "hello", 5);
    assert_int_equal(SSL_shutdown(c.ssl), 0); /* ours is out */
    assert_int_equal(SSL_shutdown(c.ssl), 1); /* and the server's came */
    client_close(&c);
    assert_true(client_try(&c, &sv, (struct client_options){.max_version = TLS1_2_VERSION}));
    assert_string_equal(SSL_get_version(c.ssl), "TLSv1.2");
    expect(&c, "?", "[||TLSv1.2 ECDHE-");
    client_close(&c);
    assert_false(client_try(&c, &sv, (struct client_options){.max_version = TLS1_1_VERSION}));
    client_close(&c);
    assert_false(client_try(&c, &sv, (struct client_options){.alpn = "\x04spdy"}));
    client_close(&c);
    down(&sv);
    up(&sv, &(struct tls_options){.cert_file = files.cert, .key_file = files.key, .only_1_3 = true},
       kind);
    assert_false(client_try(&c, &sv, (struct client_options){.max_version = TLS1_2_VERSION}));
    client_close(&c);
    assert_true(client_try(&c, &sv, (struct client_options){0}));
    client_close(&c);
    down(&sv);
}

static void test_serve_tls_versions(void **state)
{
    (void)state;
    versions(LOOP_EPOLL);
    versions(LOOP_AUTO);
}

static void transfer(enum loop_kind kind, size_t take_max)
{
    static uint8_t data[700000];
    test_rng_bytes(&(struct test_rng){{take_max + 1, 2, 3, 4}}, data, sizeof data);
    struct server sv;
    up_plain(&sv, kind);
    sv.take_max = take_max;
    struct client c;
    assert_true(client_try(&c, &sv, (struct client_options){0}));
    exchange(&c, data, sizeof data);
    exchange(&c, "x", 1);
    client_close(&c);
    down(&sv);
}

static void test_serve_tls_transfer(void **state)
{
    (void)state;
    transfer(LOOP_EPOLL, 0);
    transfer(LOOP_EPOLL, 1777);
    transfer(LOOP_AUTO, 0);
    transfer(LOOP_AUTO, 1777);
}

static void test_serve_tls_mutual(void **state)
{
    (void)state;
    struct server sv;
    struct tls_options o = {.cert_file = files.cert,
                            .key_file = files.key,
                            .ca_file = files.ca,
                            .client_certificate = TLS_CLIENT_REQUIRED};
    up(&sv, &o, LOOP_EPOLL);
    struct client c;
    assert_true(client_try(&c, &sv, (struct client_options){.certificate = true}));
    expect(&c, "?", "|CN=some client|");
    client_close(&c);
    char byte;
    size_t n;
    bool connected = client_try(&c, &sv, (struct client_options){0});
    assert_false(connected && SSL_read_ex(c.ssl, &byte, 1, &n) == 1);
    client_close(&c);
    assert_int_equal(atomic_load(&sv.opened), 1);
    down(&sv);
    o.client_certificate = TLS_CLIENT_ASKED;
    up(&sv, &o, LOOP_EPOLL);
    assert_true(client_try(&c, &sv, (struct client_options){0}));
    expect(&c, "?", "[||TLS");
    client_close(&c);
    down(&sv);
}

static void subject_is(const struct client *c, const char *name)
{
    X509 *x = SSL_get0_peer_certificate(c->ssl);
    char got[100];
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, got, sizeof got);
    assert_string_equal(got, name);
}

static void test_serve_tls_reload(void **state)
{
    (void)state;
    write_server("first");
    struct server sv;
    up_plain(&sv, LOOP_EPOLL);
    struct client a, b;
    assert_true(client_try(&a, &sv, (struct client_options){0}));
    subject_is(&a, "first");
    write_server("second");
    assert_int_equal(tls_reload(sv.tls, NULL), ST_OK);
    assert_true(client_try(&b, &sv, (struct client_options){0}));
    subject_is(&b, "second");
    exchange(&a, "still here", 10);
    client_close(&b);
    /* What cannot be used leaves the old in place and says what it is. */
    struct err err;
    err_init(&err);
    struct test_certificate other = test_certificate_new("third", &files.root);
    test_certificate_write(&other, files.cert, NULL); /* without its key */
    assert_int_equal(tls_reload(sv.tls, &err), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.detail, "key.pem"));
    test_certificate_free(&other);
    assert_int_equal(env_write_file(env_linux(), files.cert, BYTES_LIT("nonsense\n"), NULL), ST_OK);
    assert_int_equal(tls_reload(sv.tls, &err), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.detail, "cert.pem"));
    assert_int_equal(unlink(files.cert), 0);
    assert_int_equal(tls_reload(sv.tls, &err), ST_NOT_FOUND);
    assert_true(client_try(&b, &sv, (struct client_options){0}));
    subject_is(&b, "second");
    exchange(&a, "still here", 10);
    client_close(&a);
    client_close(&b);
    write_server("localhost");
    down(&sv);
}

static void test_serve_tls_options(void **state)
{
    (void)state;
    struct tls_context *t = NULL;
    struct err err;
    err_init(&err);
    struct tls_options o = {.cert_file = files.cert};
    assert_int_equal(tls_server_new(env_linux(), &o, &t, &err), ST_INVALID_ARGUMENT);
    o = (struct tls_options){0};
    assert_int_equal(tls_server_new(env_linux(), &o, &t, &err), ST_INVALID_ARGUMENT);
    o = (struct tls_options){
        .cert_file = files.cert, .key_file = files.key, .client_certificate = TLS_CLIENT_REQUIRED};
    assert_int_equal(tls_server_new(env_linux(), &o, &t, &err), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.detail, "ca_file"));
    o = (struct tls_options){.cert_file = files.cert, .key_file = files.cert};
    assert_int_equal(tls_server_new(env_linux(), &o, &t, &err), ST_INVALID_ARGUMENT);
    assert_null(t);
    tls_free(NULL);
}

/* --- what no handshake should come of --- */

static void test_serve_tls_garbage(void **state)
{
    (void)state;
    struct server sv;
    up_plain(&sv, LOOP_EPOLL);
    struct test_rng r;
    test_rng_init(&r, 7);
    for (unsigned i = 0; i < 60; i++) {
        uint8_t junk[600];
        test_rng_bytes(&r, junk, sizeof junk);
        if (i % 2)
            memcpy(junk, "\x16\x03\x01\x02\x00\x01", 6); /* as if a hello */
        int fd = dial(&sv);
        (void)send(fd, junk, test_rng_between(&r, 1, sizeof junk), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        char in[200];
        ssize_t n;
        while ((n = recv(fd, in, sizeof in, 0)) > 0)
            ;
        assert_true(n == 0 || errno == ECONNRESET);
        close(fd);
    }
    assert_int_equal(atomic_load(&sv.opened), 0);
    struct client c;
    assert_true(client_try(&c, &sv, (struct client_options){0}));
    exchange(&c, "fine", 4);
    client_close(&c);
    down(&sv);
}

/* --- our own client --- */

struct call {
    struct server *sv;
    struct tls_context *tls;
    char got[16];
    size_t len;
    _Atomic int done, why;
};

static enum status call_open(struct conn *c, void *arg)
{
    conn_set_state(c, arg);
    conn_settled(c);
    assert_string_equal(conn_alpn(c), "h2");
    assert_non_null(strstr(conn_peer_name(c), "CN="));
    return conn_send(c, BYTES_LIT("hello"));
}

static size_t call_data(struct conn *c, struct bytes data)
{
    struct call *k = conn_state(c);
    assert_true(k->len + data.len < sizeof k->got);
    memcpy(k->got + k->len, data.data, data.len);
    k->len += data.len;
    if (k->len == 5)
        conn_finish(c);
    return data.len;
}

static void call_closed(struct conn *c, enum status why)
{
    struct call *k = conn_state(c);
    atomic_store(&k->why, (int)why);
    atomic_store(&k->done, 1);
}

static const struct conn_proto caller = {
    .name = "caller", .on_open = call_open, .on_data = call_data, .on_closed = call_closed};

static void call_now(void *arg)
{
    struct call *k = arg;
    struct conn *c = NULL;
    enum status st = reactor_connect(reactors_at(k->sv->g, 0), &k->sv->addr, &caller, k,
                                     tls_filter(k->tls), &c, NULL);
    assert_int_equal(st, ST_OK);
    conn_set_state(c, k);
}

static int call_as(struct server *sv, const char *name, bool with_ca, size_t *ret_len)
{
    struct call k = {.sv = sv};
    struct tls_options o = {.ca_file = with_ca ? files.ca : NULL};
    assert_int_equal(tls_client_new(env_linux(), &o, name, &k.tls, NULL), ST_OK);
    assert_int_equal(reactor_post(reactors_at(sv->g, 0), call_now, &k), ST_OK);
    for (unsigned ms = 0; !atomic_load(&k.done); ms++) {
        assert_true(ms < 20000);
        env_sleep_ms(env_linux(), 1);
    }
    tls_free(k.tls);
    *ret_len = k.len;
    return atomic_load(&k.why);
}

static void test_serve_tls_client(void **state)
{
    (void)state;
    struct server sv;
    up_plain(&sv, LOOP_EPOLL);
    size_t len;
    assert_int_equal(call_as(&sv, "localhost", true, &len), ST_OK);
    assert_int_equal(len, 5);
    assert_int_equal(call_as(&sv, "127.0.0.1", true, &len), ST_OK);
    assert_int_equal(call_as(&sv, "elsewhere", true, &len), ST_IO_ERROR);
    assert_int_equal(len, 0);
    assert_int_equal(call_as(&sv, "10.0.0.1", true, &len), ST_IO_ERROR);
    assert_int_equal(call_as(&sv, "localhost", false, &len), ST_IO_ERROR); /* an unknown root */
    down(&sv);
}

/* --- memory --- */

/* Both ends are in this process, so half of what a connection adds is the server's. */
static void test_serve_tls_idle_memory(void **state)
{
    (void)state;
    enum { N = 100 };
    static uint8_t data[50000];
    struct server sv;
    up_plain(&sv, LOOP_EPOLL);
    static struct client c[N];
    assert_true(client_try(&c[0], &sv, (struct client_options){0}));
    SSL_CTX_set_mode(c[0].ctx, SSL_MODE_RELEASE_BUFFERS);
    size_t before = 0;
    for (unsigned i = 1; i < N; i++) {
        c[i] = (struct client){c[0].ctx, SSL_new(c[0].ctx), dial(&sv)};
        assert_int_equal(SSL_CTX_up_ref(c[i].ctx), 1);
        SSL_set_fd(c[i].ssl, c[i].fd);
        assert_int_equal(SSL_connect(c[i].ssl), 1);
        exchange(&c[i], data, sizeof data);
        if (i == 9)
            before = mallinfo2().uordblks;
    }
    size_t each = (mallinfo2().uordblks - before) / (N - 10) / 2;
    print_message("an idle connection: %zu bytes on the heap\n", each);
    if (MEASURE_MEMORY)
        assert_true(each < 64 * 1024);
    for (unsigned i = 0; i < N; i++)
        client_close(&c[i]);
    down(&sv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serve_tls_versions), cmocka_unit_test(test_serve_tls_transfer),
        cmocka_unit_test(test_serve_tls_mutual),   cmocka_unit_test(test_serve_tls_reload),
        cmocka_unit_test(test_serve_tls_options),  cmocka_unit_test(test_serve_tls_garbage),
        cmocka_unit_test(test_serve_tls_client),   cmocka_unit_test(test_serve_tls_idle_memory),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
