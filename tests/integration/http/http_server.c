/* The HTTP door over a real store and port, for tests from outside: prints its port, serves until its
 * standard input ends.
 *
 *     http_server DIR [auth] [cors] [narrow] [hasty]
 *
 * "fail N" on its standard input makes the Nth allocation from then on fail once and answers "hits K":
 * how many failed since the last time.
 *
 * hasty: a reader of a stream has a second for each piece of it.
 * narrow: there is one thread for what blocks, and room for one job that waits.
 * auth: users admin (admin:*), writer (write:app-*) and reader (read:*), each with the password
 * "password of NAME", and a token with read:app-* that is printed behind the port. */
#include "base/alloc.h"
#include "base/env/net/net.h"
#include "base/log.h"
#include "serve/http/http_door.h"
#include "serve/port/port.h"
#include "serve/security/credential.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(enum status st, const struct err *err, const char *what)
{
    if (st == ST_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, status_name(st), err->detail);
    exit(1);
}

static void keep(const struct command_db *db, const char *key, struct bytes value)
{
    struct err err;
    struct command_db system = *db;
    struct command_put c = {.collection = BYTES_LIT(SECURITY_COLLECTION),
                            .key = BYTES_STR(key),
                            .value = {COMMAND_RAW, value}};
    err_init(&err);
    system.system = true;
    must(command_put(&system, &c, NULL, &err), &err, key);
}

static void add_user(const struct command_db *db, const char *name, const char *grant)
{
    struct user_record u = {.has_password = true};
    struct buf b = BUF_INIT;
    struct err err;
    struct grant g;
    char key[64], password[64];
    snprintf(key, sizeof key, CREDENTIAL_USER "%s", name);
    snprintf(password, sizeof password, "password of %s", name);
    u.keys.iterations = SCRAM_ITERATIONS_MIN;
    u.keys.salt_len = SCRAM_SALT;
    must(scram_derive(BYTES_STR(password), &u.keys), &err, "derive");
    must(grant_parse(BYTES_STR(grant), &g, &err), &err, grant);
    must(grants_add(&u.grants, g, &err), &err, grant);
    must(user_encode(&b, &u), &err, "encode");
    keep(db, key, buf_bytes(&b));
    buf_deinit(&b);
}

static void add_token(const struct command_db *db, char text[TOKEN_TEXT + 1])
{
    struct token_record t = {.label = BYTES_LIT("test")};
    struct buf b = BUF_INIT;
    struct err err;
    struct grant g;
    struct bytes id;
    char key[64];
    must(token_make(db->env, &t, text, &err), &err, "token");
    must(grant_parse(BYTES_LIT("read:app-*"), &g, &err), &err, "grant");
    must(grants_add(&t.grants, g, &err), &err, "grant");
    must(token_record_encode(&b, &t), &err, "encode");
    if (!token_parse(BYTES_STR(text), &id))
        exit(1);
    snprintf(key, sizeof key, CREDENTIAL_TOKEN "%.*s", (int)id.len, (const char *)id.data);
    keep(db, key, buf_bytes(&b));
    buf_deinit(&b);
}

static bool said(int argc, char **argv, const char *word)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    static const char *const origins[] = {"https://app.example", NULL};
    struct err err;
    struct command_db db = {.env = env_linux(), .writer = BYTES_LIT("server")};
    struct store_options so = {.engine_name = "mem",
                               .engine_open = engine_mem_open,
                               .sync = STORE_SYNC_OFF,
                               .cache_bytes = 1 << 20,
                               .wal = {.segment_bytes = 4 << 20}};
    struct work *work = NULL;
    struct security *security = NULL;
    struct http_door *door = NULL;
    struct reactors *reactors = NULL;
    struct port *port = NULL;
    struct net_addr addr;
    char token[TOKEN_TEXT + 1] = "";
    bool auth = said(argc, argv, "auth");
    err_init(&err);
    log_configure(LOG_OFF, LOG_JSON);
    if (argc < 2)
        return 2;
    must(store_open(db.env, argv[1], &so, &db.store, &err), &err, "store");
    if (auth) {
        add_user(&db, "admin", "admin:*");
        add_user(&db, "writer", "write:app-*");
        add_user(&db, "reader", "read:*");
        add_token(&db, token);
    }
    struct work_options wo = {0};
    if (said(argc, argv, "narrow"))
        wo = (struct work_options){.threads = 1, .queue_max = 1};
    must(work_new(&wo, &work, &err), &err, "work");
    must(security_new(&db, &(struct security_options){.required = auth}, &security, &err), &err,
         "security");
    struct http_door_options o = {.db = &db,
                                  .gate = security,
                                  .work = work,
                                  .heartbeat_ms = 200,
                                  .wait_ms = said(argc, argv, "hasty") ? 1000 : 0,
                                  .max_streams = 4,
                                  .max_body_bytes = 17 << 20,
                                  .cors_origins = said(argc, argv, "cors") ? origins : NULL};
    must(http_door_new(&o, &door, &err), &err, "door");
    must(reactors_start(db.env, 2, &(struct reactor_options){0}, &reactors, &err), &err,
         "reactors");
    struct port_handlers handlers = {.http = http_door_handle, .arg = door};
    must(port_new(reactors, &(struct port_options){0}, &handlers, &port, &err), &err, "port");
    must(net_addr_parse("127.0.0.1:0", &addr, &err), &err, "address");
    must(port_listen(port, &addr, REACTORS_REUSEPORT, NULL, &addr, &err), &err, "listen");
    printf("%u %s\n", addr.port, token);
    fflush(stdout);
    char line[64];
    unsigned n;
    while (fgets(line, sizeof line, stdin))
        if (sscanf(line, "fail %u", &n) == 1) {
            mem_fail_at(0, 0);
            unsigned hits = (unsigned)mem_fail_hits();
            mem_fail_at(n, 0); /* before the answer, which the next request follows */
            printf("hits %u\n", hits);
            fflush(stdout);
        }
    http_door_stop(door);
    reactors_stop(reactors, 3000);
    reactors_free(reactors);
    port_free(port);
    http_door_free(door);
    security_free(security);
    work_free(work);
    must(store_close(db.store, &err), &err, "close");
    return 0;
}
