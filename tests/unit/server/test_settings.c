/* Settings: from file, environment and flags in their order, refusals that say where, and what is
 * printed reads back as the same. */
#include "apps/server/settings.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdio.h>

static struct settings fresh(void)
{
    struct settings s;
    struct err err;
    assert_int_equal(settings_init(&s, &err), ST_OK);
    return s;
}

static void test_defaults_are_fine(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct err err;
    assert_int_equal(settings_check(&s, &err), ST_OK);
    assert_string_equal(s.listen, "127.0.0.1:7878");
    assert_int_equal(s.cache, 64 << 20);
    assert_int_equal(s.checkpoint, 300000);
    assert_int_equal(s.insecure, 0);
    assert_int_equal(s.log_level, 1);
    settings_deinit(&s);
}

static void yaml_fails(const char *text, const char *want)
{
    struct settings s = fresh();
    struct err err;
    err_init(&err);
    enum status st = settings_yaml(&s, BYTES_STR(text), "file.yaml", &err);
    if (st != ST_INVALID_ARGUMENT || !strstr(err.detail, want))
        fail_msg("\"%s\": %s, \"%s\" lacks \"%s\"", text, status_name(st), err.detail, want);
    settings_deinit(&s);
}

static void test_yaml(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct err err;
    const char *text = "# a comment\n"
                       "data: /srv/varve\n"
                       "listen: [\"127.0.0.1:1\", '[::1]:2']\n"
                       "store:\n  sync: off\n  cache: 1GiB\n  sync_interval: 250ms\n"
                       "log: {level: debug, access: true}\n";
    assert_int_equal(settings_yaml(&s, BYTES_STR(text), "x", &err), ST_OK);
    assert_string_equal(s.data, "/srv/varve");
    assert_string_equal(s.listen, "127.0.0.1:1,[::1]:2");
    assert_int_equal(s.sync, 2);
    assert_int_equal(s.cache, 1 << 30);
    assert_int_equal(s.sync_interval, 250);
    assert_int_equal(s.log_access, 1);
    assert_int_equal(s.from[SETTING_data], SETTING_FILE);
    assert_int_equal(s.from[SETTING_auth], SETTING_DEFAULT);
    settings_deinit(&s);
    s = fresh();
    assert_int_equal(settings_yaml(&s, BYTES_EMPTY, "x", &err), ST_OK);
    assert_int_equal(settings_yaml(&s, BYTES_LIT("# nothing\n"), "x", &err), ST_OK);
    settings_deinit(&s);

    yaml_fails("data: a\nlisen: b\n", "file.yaml:2:1: there is no setting lisen; is listen meant?");
    yaml_fails("log:\n  level: loud\n", "file.yaml:2:3: log.level: 'loud' is none of debug,info");
    yaml_fails("data: a\ndata: b\n", "file.yaml:2:1: it is set twice");
    yaml_fails("data: *x\n", "");
    yaml_fails("data: &x a\n", "anchors");
    yaml_fails("data: !!str a\n", "tags");
    yaml_fails("data:\n  a:\n    b: c\n", "a value is expected");
    yaml_fails("- a\n", "names of settings");
    yaml_fails("data: [a, [b]]\n", "a list may only have plain items");
    yaml_fails("data: a\n---\ndata: b\n", "one document");
    yaml_fails("data: \"a\n", "file.yaml:");
    yaml_fails("store: {cache: 5 bananas}\n", "is not a size");
    yaml_fails("drain: soon\n", "is not a duration");
    yaml_fails("auth: yes\n", "neither true nor false");
    yaml_fails("run: {workers: 0}\n", "is not a number above 0");
    yaml_fails("run: {workers: 99999999999999999999}\n", "is not a number above 0");
    yaml_fails("run: {look: 50us}\n", "run.look: '50us' is not a number");
    yaml_fails("store: {cache: 9999999999GiB}\n", "is not a size");
    yaml_fails("a_name_far_too_long_to_be_the_name_of_a_setting_of_ours: 1\n",
               "a name of a setting");
}

static enum status load(struct settings *s, const char *const *variables, int argc,
                        const char *const *argv, bool *help, struct err *err)
{
    err_init(err);
    return settings_load(s, env_linux(), (char *const *)(uintptr_t)variables, argc,
                         (char *const *)(uintptr_t)argv, help, err);
}

static void test_the_later_wins(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], file[TEMP_DIR_MAX + 16];
    struct err err;
    bool help;
    assert_true(temp_dir_make(dir, "settings"));
    (void)snprintf(file, sizeof file, "%s/v.yaml", dir);
    const char *text = "listen: 127.0.0.1:1\ndata: from-file\ndrain: 1s\n";
    assert_int_equal(env_write_file(env_linux(), file, BYTES_STR(text), &err), ST_OK);
    const char *variables[] = {"HOME=/",         "VARVE_DATA=from-environment",
                               "VARVE_DRAIN=2s", "VARVE_TLS_ONLY_1_3=true",
                               "VARVE_AUTH=",    NULL};
    const char *argv[] = {"--config", file, "--drain=3s", "--insecure", "--log-slow", "20ms"};
    struct settings s = fresh();
    assert_int_equal(load(&s, variables, 6, argv, &help, &err), ST_OK);
    assert_false(help);
    assert_string_equal(s.listen, "127.0.0.1:1");
    assert_string_equal(s.data, "from-environment");
    assert_int_equal(s.drain, 3000);
    assert_int_equal(s.insecure, 1);
    assert_int_equal(s.auth, 0);
    assert_int_equal(s.tls_only_1_3, 1);
    assert_int_equal(s.log_slow, 20);
    assert_int_equal(s.from[SETTING_listen], SETTING_FILE);
    assert_int_equal(s.from[SETTING_data], SETTING_ENVIRONMENT);
    assert_int_equal(s.from[SETTING_drain], SETTING_FLAG);
    assert_string_equal(s.file, file);

    struct buf first = BUF_INIT, second = BUF_INIT, names = BUF_INIT;
    struct settings again = fresh();
    assert_int_equal(settings_print(&s, &first), ST_OK);
    if (settings_yaml(&again, buf_bytes(&first), "print", &err) != ST_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(settings_frozen(&s, &again, &names), ST_OK);
    assert_int_equal(names.len, 0);
    memset(again.from, 0, sizeof again.from);
    memset(s.from, 0, sizeof s.from);
    buf_clear(&first);
    assert_int_equal(settings_print(&s, &first), ST_OK);
    assert_int_equal(settings_print(&again, &second), ST_OK);
    assert_true(bytes_eq(buf_bytes(&first), buf_bytes(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
    buf_deinit(&names);
    settings_deinit(&again);
    settings_deinit(&s);
    assert_true(temp_dir_remove(dir));
}

static void test_flags_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *words[3];
        int n;
        const char *want;
    } bad[] = {
        {{"--liten", "x"}, 2, "--liten: there is no setting liten; is listen meant?"},
        {{"--drain"}, 1, "--drain: a value is missing"},
        {{"word"}, 1, "'word' is no flag"},
        {{"--insecure=maybe"}, 1, "neither true nor false"},
        {{"--config", "/nowhere/at/all.yaml"}, 2, "/nowhere/at/all.yaml"},
        {{"--"}, 1, "is no flag"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct settings s = fresh();
        struct err err;
        bool help;
        const char *none[] = {NULL};
        enum status st = load(&s, none, bad[i].n, bad[i].words, &help, &err);
        if (st == ST_OK || !strstr(err.detail, bad[i].want))
            fail_msg("%s: \"%s\" lacks \"%s\"", bad[i].words[0], err.detail, bad[i].want);
        settings_deinit(&s);
    }
    struct settings s = fresh();
    struct err err;
    bool help;
    const char *ask[] = {"--listen", "x", "-h"}, *none[] = {NULL};
    assert_int_equal(load(&s, none, 3, ask, &help, &err), ST_OK);
    assert_true(help);
    settings_deinit(&s);
    s = fresh();
    const char *variables[] = {"VARVE_LOG_LEVEL=shout", NULL};
    assert_int_equal(load(&s, variables, 0, NULL, &help, &err), ST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.detail, "$VARVE_LOG_LEVEL: log.level"));
    settings_deinit(&s);
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *set[3][2];
        enum status st;
        const char *want;
    } bad[] = {
        {{{"listen", "0.0.0.0:1"}}, ST_PERMISSION_DENIED, "--insecure"},
        {{{"listen", "127.0.0.1:1,:7878"}}, ST_PERMISSION_DENIED, ":7878"},
        {{{"listen", "0.0.0.0:1"}, {"auth", "true"}}, ST_PERMISSION_DENIED, "TLS"},
        {{{"listen", "0.0.0.0:1"}, {"tls.cert", "c"}, {"tls.key", "k"}},
         ST_PERMISSION_DENIED,
         "authentication"},
        {{{"listen", ""}}, ST_INVALID_ARGUMENT, "no address"},
        {{{"listen", "nonsense"}}, ST_INVALID_ARGUMENT, "nonsense"},
        {{{"tls.cert", "c"}}, ST_INVALID_ARGUMENT, "cert and key"},
        {{{"tls.client", "required"}}, ST_INVALID_ARGUMENT, "tls.cert"},
        {{{"data", ""}}, ST_INVALID_ARGUMENT, "data"},
        {{{"run.reactors", "65"}}, ST_INVALID_ARGUMENT, "64 reactors"},
        {{{"run.look", "1001"}}, ST_INVALID_ARGUMENT, "run.look: at most 1000 microseconds"},
        {{{"store.checkpoint_interval", "1200h"}},
         ST_INVALID_ARGUMENT,
         "store.checkpoint_interval"},
        {{{"timeout.idle", "50d"}}, ST_INVALID_ARGUMENT, "timeout.idle: it is over 49 days"},
        {{{"timeout.idle", "0"}}, ST_INVALID_ARGUMENT, "timeout.idle: it is 0"},
        {{{"timeout.http", "0s"}}, ST_INVALID_ARGUMENT, "timeout.http: it is 0"},
        {{{"store.table", "0B"}}, ST_INVALID_ARGUMENT, "store.table: it is 0"},
        {{{"store.table", "65535B"}}, ST_INVALID_ARGUMENT, "store.table: it is below"},
        {{{"limit.output_bytes", "1KiB"}}, ST_INVALID_ARGUMENT, "limit.output_bytes: it is below"},
        {{{"limit.connection_bytes", "2047KiB"}},
         ST_INVALID_ARGUMENT,
         "limit.connection_bytes: it is below"},
        {{{"limit.request_bytes", "1MiB"}},
         ST_INVALID_ARGUMENT,
         "limit.request_bytes: it is below"},
        {{{"limit.body", "0"}}, ST_INVALID_ARGUMENT, "limit.body: it is 0"},
    };
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct settings s = fresh();
        for (size_t j = 0; j < 3 && bad[i].set[j][0]; j++)
            assert_int_equal(
                settings_set(&s, bad[i].set[j][0], bad[i].set[j][1], SETTING_FLAG, &err), ST_OK);
        err_init(&err);
        enum status st = settings_check(&s, &err);
        if (st != bad[i].st || !strstr(err.detail, bad[i].want))
            fail_msg("%zu: %s, \"%s\"", i, status_name(st), err.detail);
        settings_deinit(&s);
    }
    struct settings s = fresh();
    static const char *const zeros[] = {
        "drain", "log.slow", "store.cache", "store.block_cache", "timeout.keepalive", "run.look"};
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++) /* their help says what 0 is */
        assert_int_equal(settings_set(&s, zeros[i], "0", SETTING_FLAG, &err), ST_OK);
    assert_int_equal(settings_check(&s, &err), ST_OK);
    assert_int_equal(settings_set(&s, "listen", "0.0.0.0:1", SETTING_FLAG, &err), ST_OK);
    assert_int_equal(settings_set(&s, "auth", "true", SETTING_FLAG, &err), ST_OK);
    assert_int_equal(settings_set(&s, "tls.cert", "c", SETTING_FLAG, &err), ST_OK);
    assert_int_equal(settings_set(&s, "tls.key", "k", SETTING_FLAG, &err), ST_OK);
    assert_int_equal(settings_check(&s, &err), ST_OK);
    settings_deinit(&s);
}

static void test_clusters(void **state)
{
    (void)state;
#define TWO "1@127.0.0.1:1,2@127.0.0.1:2"
    static const struct {
        const char *set[4][2];
        enum status st; /* OK: `want` is not looked for */
        const char *want;
    } all[] = {
        {{{"cluster.nodes", TWO}, {"cluster.node_id", "2"}}, ST_OK, ""},
        {{{"cluster.nodes", "7@[::1]:1"}, {"cluster.node_id", "7"}}, ST_OK, ""},
        {{{"cluster.nodes", TWO}, {"cluster.node_id", "3"}}, ST_INVALID_ARGUMENT, "node_id: 3"},
        {{{"cluster.nodes", "1@127.0.0.1:1,1@127.0.0.1:2"}}, ST_INVALID_ARGUMENT, "there twice"},
        {{{"cluster.nodes", "1@127.0.0.1:1,2@127.0.0.1:1"}}, ST_INVALID_ARGUMENT, "one address"},
        {{{"cluster.nodes", "127.0.0.1:1"}}, ST_INVALID_ARGUMENT, "'127.0.0.1:1'"},
        {{{"cluster.nodes", "0@127.0.0.1:1"}}, ST_INVALID_ARGUMENT, "id"},
        {{{"cluster.nodes", "1@127.0.0.1:0"}}, ST_INVALID_ARGUMENT, "no port"},
        {{{"cluster.nodes", "1@other:1"}}, ST_INVALID_ARGUMENT, "names of hosts"},
        {{{"cluster.nodes", "1@127.0.0.1:1,2@10.0.0.1:1"}}, ST_PERMISSION_DENIED, "10.0.0.1:1"},
        {{{"cluster.nodes", "1@127.0.0.1:1,2@10.0.0.1:1"}, {"insecure", "true"}}, ST_OK, ""},
        {{{"cluster.nodes", TWO}, {"cluster.peer_listen", "0.0.0.0:1"}},
         ST_PERMISSION_DENIED,
         "0.0.0.0:1"},
        {{{"cluster.nodes", TWO}, {"cluster.peer_listen", "x"}},
         ST_INVALID_ARGUMENT,
         "peer_listen"},
        {{{"cluster.nodes", TWO}, {"cluster.peer_tls_cert", "c"}}, ST_INVALID_ARGUMENT, "together"},
        {{{"cluster.nodes", "1@127.0.0.1:1,2@10.0.0.1:1"},
          {"cluster.peer_tls_cert", "c"},
          {"cluster.peer_tls_key", "k"},
          {"cluster.peer_tls_ca", "a"}},
         ST_OK,
         ""},
        {{{"cluster.nodes", TWO}, {"store.sync", "off"}}, ST_INVALID_ARGUMENT, "store.sync"},
        {{{"cluster.nodes", TWO}, {"cluster.election", "150ms"}},
         ST_INVALID_ARGUMENT,
         "cluster.election"},
        {{{"cluster.nodes", TWO}, {"cluster.timeout", "0"}}, ST_INVALID_ARGUMENT, "timeout"},
        /* Times are looked at where there is no cluster too. */
        {{{"cluster.timeout", "0"}}, ST_INVALID_ARGUMENT, "cluster.timeout"},
        {{{"cluster.heartbeat", "0"}}, ST_INVALID_ARGUMENT, "cluster.heartbeat"},
        {{{"cluster.election", "2h"}}, ST_INVALID_ARGUMENT, "cluster.election"},
    };
    struct err err;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct settings s = fresh();
        for (size_t j = 0; j < 4 && all[i].set[j][0]; j++)
            assert_int_equal(
                settings_set(&s, all[i].set[j][0], all[i].set[j][1], SETTING_FLAG, &err), ST_OK);
        err_init(&err);
        enum status st = settings_check(&s, &err);
        if (st != all[i].st || (st && !strstr(err.detail, all[i].want)))
            fail_msg("%zu: %s, \"%s\"", i, status_name(st), err.detail);
        settings_deinit(&s);
    }
    struct settings s = fresh();
    struct settings_node nodes[SETTINGS_NODES_MAX];
    struct net_addr listen;
    size_t n;
    bool help;
    char *words[] = {(char *)"--node-id", (char *)"2", (char *)"--cluster-nodes=" TWO};
    assert_int_equal(settings_load(&s, env_linux(), NULL, 3, words, &help, &err), ST_OK);
    assert_int_equal(settings_nodes(&s, nodes, &n, &err), ST_OK);
    assert_int_equal(n, 2);
    assert_int_equal(nodes[1].id, 2);
    assert_int_equal(settings_peer_listen(&s, &listen, &err), ST_OK);
    assert_int_equal(listen.port, 2);
    settings_deinit(&s);
}

static void test_reload(void **state)
{
    (void)state;
    struct settings runs = fresh(), wanted = fresh();
    struct err err;
    struct buf names = BUF_INIT;
    assert_int_equal(settings_set(&wanted, "log.level", "debug", SETTING_FILE, &err), ST_OK);
    assert_int_equal(settings_set(&wanted, "listen", "127.0.0.1:9", SETTING_FILE, &err), ST_OK);
    assert_int_equal(settings_set(&wanted, "run.workers", "9", SETTING_FILE, &err), ST_OK);
    assert_int_equal(settings_frozen(&runs, &wanted, &names), ST_OK);
    assert_string_equal(buf_cstr(&names), "listen, run.workers");
    assert_int_equal(settings_reload(&runs, &wanted, &err), ST_OK);
    assert_int_equal(runs.log_level, 0);
    assert_int_equal(runs.workers, 4);
    buf_deinit(&names);
    settings_deinit(&runs);
    settings_deinit(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_fine),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_the_later_wins),
        cmocka_unit_test(test_flags_that_are_none),
        cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
