/* Many threads at the gate while a user's record changes: nobody is let in by what no longer is. */
#include "base/base64.h"
#include "base/env/thread.h"
#include "serve/security/credential.h"
#include "serve/security/security.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdatomic.h>
#include <stdio.h>

enum { THREADS = 4, CHANGES = 60 };

struct shared {
    struct command_db db;
    struct security *gate;
    _Atomic unsigned now;  /* the password's number, before it is written */
    _Atomic unsigned past; /* after */
    _Atomic bool done;
    _Atomic unsigned in, refused, wrong;
    _Atomic uint64_t audited;
};

static void hear(void *arg, const char *line, size_t len)
{
    struct shared *s = arg;
    (void)line;
    atomic_fetch_add(&s->audited, len > 0);
}

static void set(struct shared *s, unsigned number)
{
    struct user_record u = {.has_password = true};
    struct buf b = BUF_INIT;
    struct command_db db = s->db;
    struct grant g;
    char password[32];
    db.system = true;
    u.keys.iterations = SCRAM_ITERATIONS_MIN;
    u.keys.salt_len = SCRAM_SALT;
    snprintf(password, sizeof password, "password %u", number);
    assert_int_equal(scram_derive(BYTES_STR(password), &u.keys), ST_OK);
    assert_int_equal(grant_parse(BYTES_LIT("read:*"), &g, NULL), ST_OK);
    assert_int_equal(grants_add(&u.grants, g, NULL), ST_OK);
    assert_int_equal(user_encode(&b, &u), ST_OK);
    struct command_put c = {.collection = BYTES_LIT(SECURITY_COLLECTION),
                            .key = BYTES_LIT(CREDENTIAL_USER "user"),
                            .value = {COMMAND_RAW, buf_bytes(&b)}};
    assert_int_equal(command_put(&db, &c, NULL, NULL), ST_OK);
    buf_deinit(&b);
}

/* Comes with the password of now or of before. */
static void come(void *arg)
{
    struct shared *s = arg;
    struct buf b = BUF_INIT;
    for (unsigned i = 0; !atomic_load(&s->done); i++) {
        struct security_principal *p = NULL;
        struct security_peer peer = {.address = BYTES_LIT("192.0.2.1")};
        char text[48];
        unsigned past = atomic_load(&s->past), number = i % 4 ? past : past - 1;
        snprintf(text, sizeof text, "user:password %u", number);
        buf_clear(&b);
        if (buf_append(&b, "Basic ", 6) != ST_OK || base64_encode(&b, BYTES_STR(text)) != ST_OK)
            break;
        enum status st = security_gate_open_cached(s->gate, &peer, buf_bytes(&b), &p, NULL);
        if (st == ST_TIMED_OUT)
            st = security_gate_open(s->gate, &peer, buf_bytes(&b), &p, NULL);
        if (st == ST_OK) {
            atomic_fetch_add(&s->in, 1);
            /* In by a password that had been written over before the call began. */
            if (number < past)
                atomic_fetch_add(&s->wrong, 1);
            if (security_gate_check(s->gate, p, &peer, COMMAND_PUT, BYTES_LIT("x"), NULL) == ST_OK)
                atomic_fetch_add(&s->wrong, 1);
        } else {
            atomic_fetch_add(&s->refused, 1);
            /* Refused although it was the only one during all of the call. */
            if (number == past && atomic_load(&s->now) == past)
                atomic_fetch_add(&s->wrong, 1);
        }
        security_gate_close(p);
    }
    buf_deinit(&b);
}

static void changes_under_the_gate(void **state)
{
    (void)state;
    struct shared s = {.db = {.env = env_linux(), .writer = BYTES_EMPTY}};
    struct env_thread threads[THREADS];
    struct err err;
    char dir[TEMP_DIR_MAX];
    struct store_options so = {.engine_name = "mem",
                               .engine_open = engine_mem_open,
                               .sync = STORE_SYNC_OFF,
                               .cache_bytes = 1 << 20,
                               .wal = {.segment_bytes = 1 << 20}};
    /* So many may fail that the limit does not come into it. */
    struct security_options o = {.required = true,
                                 .login_failures_address = 1000000,
                                 .login_failures_user = 1000000,
                                 .remembered = 8,
                                 .audit = hear,
                                 .audit_arg = &s};
    assert_true(temp_dir_make(dir, "gate"));
    assert_int_equal(store_open(s.db.env, dir, &so, &s.db.store, &err), ST_OK);
    assert_int_equal(security_new(&s.db, &o, &s.gate, &err), ST_OK);
    atomic_store(&s.now, 1);
    set(&s, 1);
    atomic_store(&s.past, 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(env_thread_start(&threads[i], "comer", come, &s, &err), ST_OK);
    for (unsigned n = 2; n < CHANGES; n++) {
        unsigned in = atomic_load(&s.in);
        atomic_store(&s.now, n);
        set(&s, n);
        atomic_store(&s.past, n);
        while (atomic_load(&s.in) < in + 2) /* each password is used */
            env_sleep_ms(s.db.env, 1);
    }
    atomic_store(&s.done, true);
    for (int i = 0; i < THREADS; i++)
        env_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&s.wrong), 0);
    assert_true(atomic_load(&s.refused) > 0);
    assert_true(atomic_load(&s.audited) >= atomic_load(&s.refused));
    security_free(s.gate);
    assert_int_equal(store_close(s.db.store, &err), ST_OK);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changes_under_the_gate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
