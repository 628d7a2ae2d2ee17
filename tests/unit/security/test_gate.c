/* The gate over a store: passwords, tokens, certificates, what is remembered and what is not, the
 * limit of failures, the audit. */
#include "base/alloc.h"
#include "base/base64.h"
#include "serve/security/credential.h"
#include "serve/security/security.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"

#include <stdio.h>

struct fixture {
    struct env *env;
    struct command_db db;
    struct security *gate;
    struct err err;
    struct security_peer peer;
    char audit[8192]; /* its lines */
    unsigned lines;
};

static void hear(void *arg, const char *line, size_t len)
{
    struct fixture *f = arg;
    size_t n = strlen(f->audit);
    if (n + len + 2 < sizeof f->audit)
        snprintf(f->audit + n, sizeof f->audit - n, "%.*s\n", (int)len, line);
    f->lines++;
}

#define assert_ok(f, call)                                                                         \
    do {                                                                                           \
        enum status st_ = (call);                                                                  \
        if (st_ != ST_OK)                                                                          \
            fail_msg("%s: %s: %s", #call, status_name(st_), (f)->err.detail);                      \
    } while (0)
#define assert_fails(f, call, want, part)                                                          \
    do {                                                                                           \
        err_init(&(f)->err);                                                                       \
        enum status st_ = (call);                                                                  \
        if (st_ != (want) || !strstr((f)->err.detail, (part)))                                     \
            fail_msg("%s: %s: %s (wanted %s and \"%s\")", #call, status_name(st_),                 \
                     (f)->err.detail, status_name(want), (part));                                  \
    } while (0)

/* Asks the gate, and holds security_gate_passes against it: what passes is allowed, and is never what
 * would have been written down. */
static enum status checked(struct security *s, const struct security_principal *who,
                           const struct security_peer *peer, enum command_verb verb,
                           struct bytes collection, struct err *err)
{
    bool passes = security_gate_passes(who, verb, collection);
    enum status st = security_gate_check(s, who, peer, verb, collection, err);
    assert_int_equal(passes, st == ST_OK && command_verb_access(verb) != COMMAND_ADMIN);
    return st;
}

static void store_record(struct fixture *f, const char *key, struct bytes value, uint64_t ttl_ms)
{
    struct command_db db = f->db;
    db.system = true;
    struct command_put c = {.collection = BYTES_LIT(SECURITY_COLLECTION),
                            .key = BYTES_STR(key),
                            .value = {COMMAND_RAW, value},
                            .options.ttl_ms = ttl_ms};
    assert_ok(f, command_put(&db, &c, NULL, &f->err));
}

/* Few iterations: the test derives often. */
static void add_user(struct fixture *f, const char *name, const char *password, bool certificate,
                     const char *grant)
{
    struct user_record u = {.by_certificate = certificate, .has_password = password != NULL};
    struct buf b = BUF_INIT;
    struct grant g;
    char key[64];
    u.keys.iterations = SCRAM_ITERATIONS_MIN;
    u.keys.salt_len = SCRAM_SALT;
    if (password)
        assert_ok(f, scram_derive(BYTES_STR(password), &u.keys));
    assert_ok(f, grant_parse(BYTES_STR(grant), &g, &f->err));
    assert_ok(f, grants_add(&u.grants, g, &f->err));
    assert_ok(f, user_encode(&b, &u));
    snprintf(key, sizeof key, CREDENTIAL_USER "%s", name);
    store_record(f, key, buf_bytes(&b), 0);
    buf_deinit(&b);
}

static void remove_record(struct fixture *f, const char *key)
{
    struct command_db db = f->db;
    db.system = true;
    struct command_delete c = {.collection = BYTES_LIT(SECURITY_COLLECTION), .key = BYTES_STR(key)};
    assert_ok(f, command_delete(&db, &c, NULL, &f->err));
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.env = sim_env_new(&(struct sim_options){.seed = 3})};
    assert_non_null(f.env);
    struct store_options so = {.engine_name = "mem",
                               .engine_open = engine_mem_open,
                               .wal = {.segment_bytes = 128 * 1024},
                               .checkpoint_interval_ms = UINT32_MAX,
                               .no_thread = true};
    f.db = (struct command_db){.env = f.env, .writer = BYTES_EMPTY};
    assert_ok(&f, store_open(f.env, "/db", &so, &f.db.store, &f.err));
    struct security_options o = {.required = true, .audit = hear, .audit_arg = &f};
    assert_ok(&f, security_new(&f.db, &o, &f.gate, &f.err));
    f.peer =
        (struct security_peer){.address = BYTES_LIT("192.0.2.1"), .request_id = BYTES_LIT("r1")};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    security_free(f->gate);
    assert_ok(f, store_close(f->db.store, &f->err));
    sim_env_free(f->env);
    return 0;
}

static struct bytes basic(const char *user_and_password)
{
    static struct buf b;
    buf_clear(&b);
    assert_int_equal(buf_append(&b, "Basic ", 6), ST_OK);
    assert_int_equal(base64_encode(&b, BYTES_STR(user_and_password)), ST_OK);
    return buf_bytes(&b);
}

static enum status try(struct fixture *f, struct bytes authorization)
{
    struct security_principal *p = NULL;
    enum status st = security_gate_open(f->gate, &f->peer, authorization, &p, &f->err);
    security_gate_close(p);
    return st;
}

static void passwords(void **state)
{
    struct fixture *f = *state;
    struct security_principal *p = NULL;
    struct security_stats stats;
    add_user(f, "alice", "open sesame", false, "write:a*");
    assert_fails(
        f, security_gate_open_cached(f->gate, &f->peer, basic("alice:open sesame"), &p, &f->err),
        ST_TIMED_OUT, "not in memory");
    assert_ok(f, security_gate_open(f->gate, &f->peer, basic("alice:open sesame"), &p, &f->err));
    assert_true(bytes_eq(security_principal_name(p), BYTES_LIT("alice")));
    assert_ok(f, checked(f->gate, p, &f->peer, COMMAND_PUT, BYTES_LIT("abc"), &f->err));
    assert_int_equal(f->lines, 0);
    assert_fails(f, checked(f->gate, p, &f->peer, COMMAND_PUT, BYTES_LIT("b"), &f->err),
                 ST_PERMISSION_DENIED, "put needs the role write on b");
    assert_fails(f, checked(f->gate, p, &f->peer, COMMAND_CHECKPOINT, BYTES_EMPTY, &f->err),
                 ST_PERMISSION_DENIED, "all collections");
    assert_int_equal(f->lines, 2);
    assert_non_null(strstr(f->audit, "\"audit\":\"denied\",\"user\":\"alice\",\"verb\":\"put\","
                                     "\"collection\":\"b\",\"peer\":\"192.0.2.1\","
                                     "\"request_id\":\"r1\"}"));
    security_gate_close(p);
    assert_ok(
        f, security_gate_open_cached(f->gate, &f->peer, basic("alice:open sesame"), &p, &f->err));
    security_gate_close(p);
    security_stats(f->gate, &stats);
    assert_int_equal(stats.logins, 1);
    assert_int_equal(stats.remembered_hits, 1);
    assert_fails(f, try(f, basic("alice:open sesam")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, basic("bob:open sesame")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, basic("no colon")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, BYTES_LIT("Basic ?")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, BYTES_LIT("Digest x")), ST_UNAUTHENTICATED, "only Basic");
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "no credentials");
    assert_null(strstr(f->audit, "sesam")); /* no secret gets into it */
}

static void changes_count_at_once(void **state)
{
    struct fixture *f = *state;
    struct security_principal *p = NULL;
    add_user(f, "carl", "first password", false, "read:*");
    assert_ok(f, try(f, basic("carl:first password")));
    add_user(f, "carl", "second password", false, "admin:*");
    assert_fails(
        f, security_gate_open_cached(f->gate, &f->peer, basic("carl:first password"), &p, &f->err),
        ST_TIMED_OUT, "");
    assert_fails(f, try(f, basic("carl:first password")), ST_UNAUTHENTICATED, "not valid");
    assert_ok(f, security_gate_open(f->gate, &f->peer, basic("carl:second password"), &p, &f->err));
    f->lines = 0;
    assert_ok(f, checked(f->gate, p, &f->peer, COMMAND_VACUUM, BYTES_EMPTY, &f->err));
    assert_int_equal(f->lines, 1);
    assert_non_null(
        strstr(f->audit, "\"audit\":\"allowed\",\"user\":\"carl\",\"verb\":\"vacuum\""));
    assert_ok(f, checked(f->gate, p, &f->peer, COMMAND_STATS, BYTES_EMPTY, &f->err));
    assert_int_equal(f->lines, 1); /* figures are not told */
    assert_fails(
        f, checked(f->gate, p, &f->peer, COMMAND_GET, BYTES_LIT(SECURITY_COLLECTION), &f->err),
        ST_PERMISSION_DENIED, "database's own");
    security_gate_close(p);
    remove_record(f, CREDENTIAL_USER "carl");
    assert_fails(f, try(f, basic("carl:second password")), ST_UNAUTHENTICATED, "not valid");
}

static void tokens(void **state)
{
    struct fixture *f = *state;
    struct token_record t = {.label = BYTES_LIT("ci")};
    struct security_principal *p = NULL;
    struct grant g;
    struct bytes id;
    struct buf b = BUF_INIT;
    char text[TOKEN_TEXT + 1], key[64], header[TOKEN_TEXT + 16];
    assert_ok(f, token_make(f->env, &t, text, &f->err));
    assert_ok(f, grant_parse(BYTES_LIT("read:*"), &g, &f->err));
    assert_ok(f, grants_add(&t.grants, g, &f->err));
    assert_ok(f, token_record_encode(&b, &t));
    assert_true(token_parse(BYTES_STR(text), &id));
    snprintf(key, sizeof key, CREDENTIAL_TOKEN "%.*s", (int)id.len, (const char *)id.data);
    store_record(f, key, buf_bytes(&b), 60000);
    snprintf(header, sizeof header, "bearer %s", text);
    assert_ok(f, security_gate_open(f->gate, &f->peer, BYTES_STR(header), &p, &f->err));
    assert_true(bytes_eq(security_principal_name(p), BYTES_LIT("token:ci")));
    assert_ok(f, checked(f->gate, p, &f->peer, COMMAND_SCAN, BYTES_LIT("x"), &f->err));
    assert_fails(f, checked(f->gate, p, &f->peer, COMMAND_DELETE, BYTES_LIT("x"), &f->err),
                 ST_PERMISSION_DENIED, "role write");
    security_gate_close(p);
    header[strlen(header) - 2] ^= 1;
    assert_fails(f, try(f, BYTES_STR(header)), ST_UNAUTHENTICATED, "not valid");
    header[strlen(header) - 2] ^= 1;
    assert_ok(f, try(f, BYTES_STR(header)));
    sim_advance_ms(f->env, 60001); /* its time to live is over, remembered or not */
    assert_fails(f, try(f, BYTES_STR(header)), ST_UNAUTHENTICATED, "not valid");
    buf_deinit(&b);
}

static void certificates(void **state)
{
    struct fixture *f = *state;
    struct security_principal *p = NULL;
    add_user(f, "svc", NULL, true, "read:*");
    add_user(f, "dora", "dora's password", false, "admin:*");
    f->peer.certificate = BYTES_LIT("CN=svc,O=Acme");
    assert_ok(f, security_gate_open(f->gate, &f->peer, BYTES_EMPTY, &p, &f->err));
    assert_true(bytes_eq(security_principal_name(p), BYTES_LIT("svc")));
    security_gate_close(p);
    assert_ok(f, security_gate_open_cached(f->gate, &f->peer, BYTES_EMPTY, &p, &f->err));
    security_gate_close(p);
    /* What is sent beside it counts, and a user with a password does not come by certificate. */
    assert_fails(f, try(f, basic("dora:wrong password")), ST_UNAUTHENTICATED, "not valid");
    assert_ok(f, try(f, basic("dora:dora's password")));
    f->peer.certificate = BYTES_LIT("O=Acme,CN=dora");
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "not valid");
    f->peer.certificate = BYTES_LIT("O=CN=svc");
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "not valid");
    f->peer.certificate = BYTES_LIT("O=x\\,CN=svc"); /* one attribute with a comma in it */
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "not valid");
    f->peer.certificate = BYTES_LIT("O=x\\,CN=svc,CN=dora"); /* whoever has this is dora */
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "not valid");
    f->peer.certificate = BYTES_LIT("O=x\\\\,CN=svc"); /* the backslash is escaped, not the comma */
    assert_ok(f, try(f, BYTES_EMPTY));
    f->peer.certificate = BYTES_LIT("CN=sv\\63,O=Acme");
    assert_fails(f, try(f, BYTES_EMPTY), ST_UNAUTHENTICATED, "not valid");
    add_user(f, "O=Acme", NULL, true, "write:*");
    f->peer.certificate = BYTES_LIT("O=Acme");
    assert_ok(f, try(f, BYTES_EMPTY));
    /* A user without a password has none that fits. */
    f->peer.certificate = BYTES_EMPTY;
    assert_fails(f, try(f, basic("svc:")), ST_UNAUTHENTICATED, "not valid");
}

static void failures_have_to_wait(void **state)
{
    struct fixture *f = *state;
    struct security_stats stats;
    add_user(f, "emil", "emil's password", false, "read:*");
    for (int i = 0; i < 20; i++)
        assert_fails(f, try(f, basic("emil:guess")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, basic("emil:emil's password")), ST_OVERLOADED, "wait 3000 ms");
    f->peer.address = BYTES_LIT("192.0.2.2"); /* the user has 40 left from elsewhere */
    assert_ok(f, try(f, basic("emil:emil's password")));
    f->peer.address = BYTES_LIT("192.0.2.1"); /* who is remembered is not held up */
    assert_ok(f, try(f, basic("emil:emil's password")));
    sim_advance_ms(f->env, 3000);
    assert_fails(f, try(f, basic("emil:guess")), ST_UNAUTHENTICATED, "not valid");
    assert_fails(f, try(f, basic("emil:guess")), ST_OVERLOADED, "too many");
    security_stats(f->gate, &stats);
    assert_int_equal(stats.refused_logins, 21);
    assert_int_equal(stats.limited_logins, 2);
    assert_non_null(strstr(f->audit, "login_limited"));
}

static void a_network_of_many_addresses_counts_as_one(void **state)
{
    struct fixture *f = *state;
    char address[32];
    f->peer.network = BYTES_LIT("2001:db8");
    for (int i = 0; i < 20; i++) {
        snprintf(address, sizeof address, "[2001:db8::%d]", i);
        f->peer.address = BYTES_STR(address);
        assert_fails(f, try(f, basic("nobody:guess")), ST_UNAUTHENTICATED, "not valid");
    }
    f->peer.address = BYTES_LIT("[2001:db8::20]");
    assert_fails(f, try(f, basic("somebody:guess")), ST_OVERLOADED, "too many");
    f->peer.network = BYTES_LIT("fc00::");
    assert_fails(f, try(f, basic("somebody:guess")), ST_UNAUTHENTICATED, "not valid");
    assert_non_null(strstr(f->audit, "[2001:db8::7]"));
}

static void a_clock_put_back_keeps_nobody_out(void **state)
{
    struct fixture *f = *state;
    add_user(f, "emil", "emil's password", false, "read:*");
    assert_fails(f, try(f, basic("emil:guess")), ST_UNAUTHENTICATED, "not valid");
    sim_set_wall_ms(f->env, env_now_ms(f->env) - 3600000);
    assert_ok(f, try(f, basic("emil:emil's password")));
}

static void without_authentication_all_may(void **state)
{
    struct fixture *f = *state;
    struct security_principal *p = NULL;
    struct security *open = NULL;
    struct command_batch *b = command_batch_new();
    struct command_value v = {COMMAND_RAW, BYTES_LIT("v")};
    assert_non_null(b);
    assert_ok(f, security_new(&f->db, &(struct security_options){.audit = hear, .audit_arg = f},
                              &open, &f->err));
    assert_ok(f, security_gate_open_cached(open, &f->peer, BYTES_LIT("Basic junk"), &p, &f->err));
    assert_int_equal(security_principal_name(p).len, 0);
    assert_ok(f, checked(open, p, &f->peer, COMMAND_COLLECTION_DROP, BYTES_LIT("x"), &f->err));
    assert_int_equal(f->lines, 1);
    assert_ok(f, command_batch_put(b, BYTES_LIT("x"), BYTES_LIT("k"), v, 0, &f->err));
    assert_ok(f, security_gate_check_batch(open, p, &f->peer, b, &f->err));
    assert_ok(f, command_batch_put(b, BYTES_LIT("_varve.x"), BYTES_LIT("k"), v, 0, &f->err));
    assert_fails(f, security_gate_check_batch(open, p, &f->peer, b, &f->err), ST_PERMISSION_DENIED,
                 "database's own");
    security_gate_close(p);
    security_free(open);
    command_batch_free(b);
}

/* Each allocation on the way in fails once: NO_MEMORY or in, never a wrong answer, never a crash. */
static void memory_fails_on_the_way(void **state)
{
    struct fixture *f = *state;
    struct security *gate = NULL;
    struct security_principal *p = NULL;
    struct security_options o = {.required = true, .audit = hear, .audit_arg = f};
    uint64_t hits = 1;
    add_user(f, "fred", "fred's password", false, "read:a*");
    struct bytes credentials = basic("fred:fred's password");
    for (uint64_t n = 1; hits > 0; n++) {
        mem_fail_at(n, 0);
        enum status st = security_new(&f->db, &o, &gate, &f->err);
        if (st == ST_OK)
            st = security_gate_open(gate, &f->peer, credentials, &p, &f->err);
        if (st == ST_OK)
            st = security_gate_check(gate, p, &f->peer, COMMAND_GET, BYTES_LIT("abc"), &f->err);
        bool in = st == ST_OK;
        if (in) /* a refusal is one without memory too */
            assert_int_equal(
                security_gate_check(gate, p, &f->peer, COMMAND_PUT, BYTES_LIT("abc"), &f->err),
                ST_PERMISSION_DENIED);
        hits = mem_fail_hits();
        mem_fail_at(0, 0);
        if (!in && st != ST_NO_MEMORY)
            fail_msg("allocation %u: %s: %s", (unsigned)n, status_name(st), f->err.detail);
        security_gate_close(p);
        security_free(gate);
        gate = NULL;
        p = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(passwords, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_count_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_have_to_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_network_of_many_addresses_counts_as_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_put_back_keeps_nobody_out, setup, teardown),
        cmocka_unit_test_setup_teardown(without_authentication_all_may, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_fails_on_the_way, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
