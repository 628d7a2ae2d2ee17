/* The pieces of the gate by themselves: SCRAM against the vectors of RFC 7677, patterns against a
 * naive matcher, records and tokens there and back, the limit of failures. */
#include "serve/security/credential.h"
#include "serve/security/limit.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include "base/base64.h"
#include "base/json.h"

#include <stdio.h>

static struct buf bin(const char *base64)
{
    struct buf b = BUF_INIT;
    assert_int_equal(base64_decode(BYTES_STR(base64), &b), ST_OK);
    return b;
}

/* RFC 7677, section 3: user "user", password "pencil". */
static const char salt64[] = "W22ZaJ0SNY7soEsUEjb6gQ==";
static const char proof64[] = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
static const char signature64[] = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
static const char auth_message[] =
    "n=user,r=rOprNGfwEbeRWgbNEkqO,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

static void scram_of_rfc_7677(void **state)
{
    (void)state;
    struct scram_keys k = {.iterations = 4096};
    uint8_t signature[SCRAM_HASH];
    struct buf salt = bin(salt64), proof = bin(proof64), want = bin(signature64);
    k.salt_len = salt.len;
    memcpy(k.salt, salt.data, salt.len);
    assert_int_equal(scram_derive(BYTES_LIT("pencil"), &k), ST_OK);
    assert_true(scram_proof_matches(&k, BYTES_LIT(auth_message), proof.data));
    assert_true(scram_signature(&k, BYTES_LIT(auth_message), signature));
    assert_memory_equal(signature, want.data, SCRAM_HASH);
    assert_true(scram_matches(&k, BYTES_LIT("pencil")));
    assert_false(scram_matches(&k, BYTES_LIT("Pencil")));
    assert_false(scram_matches(&k, BYTES_EMPTY));
    for (size_t i = 0; i < SCRAM_HASH; i++) {
        proof.data[i] ^= 1;
        assert_false(scram_proof_matches(&k, BYTES_LIT(auth_message), proof.data));
        proof.data[i] ^= 1;
    }
    assert_false(scram_proof_matches(&k, BYTES_LIT("n=user"), proof.data));
    buf_deinit(&salt);
    buf_deinit(&proof);
    buf_deinit(&want);
}

/* By definition, with all the time in the world. */
static bool naive_glob(struct bytes p, struct bytes n)
{
    if (p.len == 0)
        return n.len == 0;
    struct bytes p1 = BYTES(p.data + 1, p.len - 1);
    if (p.data[0] == '*') {
        for (size_t i = 0; i <= n.len; i++)
            if (naive_glob(p1, BYTES(n.data + i, n.len - i)))
                return true;
        return false;
    }
    if (n.len == 0)
        return false;
    struct bytes n1 = BYTES(n.data + 1, n.len - 1);
    if (p.data[0] == '\\' && p.len > 1)
        return p.data[1] == n.data[0] && naive_glob(BYTES(p.data + 2, p.len - 2), n1);
    return (p.data[0] == '?' || p.data[0] == n.data[0]) && naive_glob(p1, n1);
}

static void globs_as_by_definition(void **state)
{
    (void)state;
    static const char letters[] = "ab*?\\";
    uint64_t seed;
    FOR_EACH_SEED(seed, 4)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        for (int i = 0; i < 20000; i++) {
            char p[8], n[8];
            size_t pl = test_rng_below(&r, 8), nl = test_rng_below(&r, 8);
            for (size_t j = 0; j < pl; j++)
                p[j] = letters[test_rng_below(&r, 5)];
            for (size_t j = 0; j < nl; j++)
                n[j] = letters[test_rng_below(&r, 5)];
            if (grant_glob(BYTES(p, pl), BYTES(n, nl)) != naive_glob(BYTES(p, pl), BYTES(n, nl)))
                fail_msg("%.*s on %.*s", (int)pl, p, (int)nl, n);
        }
    }
    char many[GRANT_PATTERN_MAX], name[STORE_NAME_MAX]; /* no explosion */
    memset(name, 'a', sizeof name);
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 2 ? 'a' : '*';
    many[sizeof many - 1] = 'b';
    assert_false(grant_glob(BYTES(many, sizeof many), BYTES(name, sizeof name)));
}

static struct grant grant_of(const char *text)
{
    struct grant g;
    struct err err;
    err_init(&err);
    if (grant_parse(BYTES_STR(text), &g, &err) != ST_OK)
        fail_msg("%s: %s", text, err.detail);
    return g;
}

static void grants_say_who_may(void **state)
{
    (void)state;
    struct grants g = {0};
    struct grant one;
    assert_int_equal(grants_add(&g, grant_of("read:app-*"), NULL), ST_OK);
    assert_int_equal(grants_add(&g, grant_of("write:app-log?"), NULL), ST_OK);
    assert_true(grants_allow(&g, COMMAND_READ, BYTES_LIT("app-users")));
    assert_false(grants_allow(&g, COMMAND_WRITE, BYTES_LIT("app-users")));
    assert_true(grants_allow(&g, COMMAND_WRITE, BYTES_LIT("app-log1")));
    assert_true(grants_allow(&g, COMMAND_READ, BYTES_LIT("app-log1")));
    assert_false(grants_allow(&g, COMMAND_ADMIN, BYTES_LIT("app-log1")));
    assert_false(grants_allow(&g, COMMAND_READ, BYTES_LIT("other")));
    assert_false(grants_allow(&g, COMMAND_READ, BYTES_EMPTY));
    assert_int_equal(grants_add(&g, grant_of("write:*"), NULL), ST_OK);
    assert_true(grants_allow(&g, COMMAND_WRITE, BYTES_EMPTY));
    assert_false(grants_allow(&g, COMMAND_ADMIN, BYTES_EMPTY));
    assert_int_equal(grants_add(&g, grant_of("read:*"), NULL), ST_OK); /* in its place */
    assert_int_equal(g.n, 3);
    assert_false(grants_allow(&g, COMMAND_WRITE, BYTES_EMPTY));
    assert_true(grants_remove(&g, BYTES_LIT("app-*")));
    assert_false(grants_remove(&g, BYTES_LIT("app-*")));
    assert_int_equal(g.n, 2);
    static const char *const bad[] = {"",  "read",     "read:",     "owner:*",
                                      ":", "read:a/b", "read:\x01", "READ:*"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(grant_parse(BYTES_STR(bad[i]), &one, NULL), ST_INVALID_ARGUMENT);
}

static void records_there_and_back(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 7});
    struct buf b = BUF_INIT;
    struct user_record u = {.by_certificate = true, .made_ms = 123456}, v;
    assert_non_null(env);
    assert_int_equal(grants_add(&u.grants, grant_of("admin:*"), NULL), ST_OK);
    assert_int_equal(grants_add(&u.grants, grant_of("read:x"), NULL), ST_OK);
    for (int with = 0; with < 2; with++) {
        if (with)
            assert_int_equal(user_set_password(env, &u, BYTES_LIT("long enough"), NULL), ST_OK);
        buf_clear(&b);
        assert_int_equal(user_encode(&b, &u), ST_OK);
        assert_true(user_decode(buf_bytes(&b), &v));
        assert_int_equal(v.has_password, with);
        assert_true(v.by_certificate);
        assert_int_equal(v.made_ms, 123456);
        assert_int_equal(v.grants.n, 2);
        assert_int_equal(v.grants.at[0].role, COMMAND_ADMIN);
        assert_true(bytes_eq(v.grants.at[1].pattern, BYTES_LIT("x")));
        for (size_t n = 0; n < b.len; n++)
            assert_false(user_decode(BYTES(b.data, n), &v));
        assert_int_equal(buf_append_u8(&b, 0), ST_OK);
        assert_false(user_decode(buf_bytes(&b), &v));
    }
    assert_true(scram_matches(&u.keys, BYTES_LIT("long enough")));
    assert_int_equal(user_set_password(env, &u, BYTES_LIT("short"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(user_name_check(BYTES_LIT("a:b"), NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(user_name_check(BYTES_EMPTY, NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(user_name_check(BYTES_LIT("\xff"), NULL), ST_INVALID_ARGUMENT);

    char text[TOKEN_TEXT + 1], other[TOKEN_TEXT + 1];
    uint8_t hash[SCRAM_HASH];
    struct bytes id;
    struct token_record t = {.label = BYTES_LIT("ci"), .made_ms = 9}, back;
    assert_int_equal(token_make(env, &t, other, NULL), ST_OK);
    assert_int_equal(token_make(env, &t, text, NULL), ST_OK);
    assert_string_not_equal(text, other);
    assert_true(token_parse(BYTES_STR(text), &id));
    assert_int_equal(id.len, TOKEN_ID);
    assert_true(secret_sha256(BYTES_STR(text), hash));
    assert_memory_equal(hash, t.hash, SCRAM_HASH);
    assert_int_equal(grants_add(&t.grants, grant_of("write:*"), NULL), ST_OK);
    buf_clear(&b);
    assert_int_equal(token_record_encode(&b, &t), ST_OK);
    assert_true(token_record_decode(buf_bytes(&b), &back));
    assert_true(bytes_eq(back.label, t.label));
    assert_memory_equal(back.hash, t.hash, SCRAM_HASH);
    for (size_t n = 0; n < b.len; n++)
        assert_false(token_record_decode(BYTES(b.data, n), &back));
    text[7] = 'G'; /* no hex digit */
    assert_false(token_parse(BYTES_STR(text), &id));
    buf_deinit(&b);
    sim_env_free(env);
}

static void failures_are_forgiven_evenly(void **state)
{
    (void)state;
    struct limit *l = limit_new(10, 1000, 42);
    struct bytes who = BYTES_LIT("10.0.0.1"), other = BYTES_LIT("10.0.0.2");
    uint64_t now = 1000000;
    assert_non_null(l);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(limit_wait_ms(l, who, now), 0);
        limit_failed(l, who, now);
    }
    assert_int_equal(limit_wait_ms(l, who, now), 100);
    assert_int_equal(limit_wait_ms(l, other, now), 0);
    assert_int_equal(limit_wait_ms(l, who, now + 99), 1);
    assert_int_equal(limit_wait_ms(l, who, now + 100), 0);
    limit_failed(l, who, now + 100);
    assert_int_equal(limit_wait_ms(l, who, now + 100), 100);
    for (int i = 0; i < 1000; i++) /* many at once do not shut out for longer */
        limit_failed(l, who, now + 100);
    assert_in_range(limit_wait_ms(l, who, now + 100), 100, 200);
    assert_int_equal(limit_wait_ms(l, who, now + 2000), 0);
    /* A flood of names costs no memory, and the one with the most failures stays. */
    for (int i = 0; i < 10; i++)
        limit_failed(l, other, now + 2000);
    for (int i = 0; i < 100000; i++) {
        char name[24];
        snprintf(name, sizeof name, "flood %d", i);
        limit_failed(l, BYTES_STR(name), now + 2000);
    }
    assert_true(limit_wait_ms(l, other, now + 2000) > 0);
    limit_free(l);
}

static void base64_and_json(void **state)
{
    (void)state;
    struct buf text = BUF_INIT, back = BUF_INIT;
    uint64_t seed;
    FOR_EACH_SEED(seed, 4)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        for (int i = 0; i < 500; i++) {
            uint8_t raw[40];
            size_t n = test_rng_below(&r, sizeof raw);
            for (size_t j = 0; j < n; j++)
                raw[j] = (uint8_t)test_rng_below(&r, 256);
            buf_clear(&text);
            buf_clear(&back);
            assert_int_equal(base64_encode(&text, BYTES(raw, n)), ST_OK);
            assert_int_equal(text.len, (n + 2) / 3 * 4);
            assert_int_equal(base64_decode(buf_bytes(&text), &back), ST_OK);
            assert_true(bytes_eq(buf_bytes(&back), BYTES(raw, n)));
            buf_clear(&text);
            assert_int_equal(json_text(&text, BYTES(raw, n)), ST_OK);
            assert_true(utf8_valid(buf_bytes(&text)));
        }
    }
    static const char *const bad[] = {"A",    "AB",   "ABC",  "A===", "====", "AB=C",
                                      "AAB=", "AA B", "AAA-", "QQ=A", "QR==", "QUJ="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_clear(&back);
        if (base64_decode(BYTES_STR(bad[i]), &back) != ST_INVALID_ARGUMENT)
            fail_msg("%s was taken", bad[i]);
    }
    buf_clear(&text);
    assert_int_equal(json_bytes(&text, BYTES_LIT("a\"\\\n\x01\x7f\xc3\xa9")), ST_OK);
    assert_true(bytes_eq(buf_bytes(&text), BYTES_LIT("\"a\\\"\\\\\\n\\u0001\\u007f\xc3\xa9\"")));
    buf_clear(&text);
    assert_int_equal(json_bytes(&text, BYTES_LIT("\xff")), ST_OK);
    assert_true(bytes_eq(buf_bytes(&text),
                         BYTES_LIT("{\"$binary\":{\"base64\":\"/w==\",\"subType\":\"00\"}}")));
    buf_clear(&text);
    assert_int_equal(json_text(&text, BYTES_LIT("\xff")), ST_OK);
    assert_true(bytes_eq(buf_bytes(&text), BYTES_LIT("\"\xef\xbf\xbd\"")));
    buf_deinit(&text);
    buf_deinit(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scram_of_rfc_7677),
        cmocka_unit_test(globs_as_by_definition),
        cmocka_unit_test(grants_say_who_may),
        cmocka_unit_test(records_there_and_back),
        cmocka_unit_test(failures_are_forgiven_evenly),
        cmocka_unit_test(base64_and_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
