/* settings_load.c - where settings come from, in their order, and whether they fit together. */
#include "apps/server/settings_internal.h"

#include "base/env/net/net.h"

#include <stdio.h>

/* As in varve_options: an empty table has some bytes too, and a bound below them would have it drained
 * again and again. */
enum { TABLE_LEAST = 64 * 1024 };
/* Answers leave in pieces of up to some 85 KiB with TLS; a piece that never has room is tried for ever. */
enum { OUTPUT_LEAST = 256 * 1024, HELD_LEAST = 2 * 1024 * 1024 };

/* --- flags --- */

struct flags {
    int argc, at;
    char *const *argv;
    const char *name; /* as written, "--listen" */
    const char *value;
};

static bool flag_is(const char *word, size_t len, const char *flag)
{
    return strlen(flag) == len && memcmp(word, flag, len) == 0;
}

/* The setting of a flag; SETTING_COUNT: none. */
static size_t flag_find(const char *word, size_t len)
{
    char flag[SETTING_NAME_MAX];
    if (flag_is(word, len, "node-id"))
        return SETTING_node_id;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        settings__flag(settings__table[i].name, flag);
        if (flag_is(word, len, flag))
            return i;
    }
    return SETTING_COUNT;
}

static enum status flag_unknown(const char *word, size_t len, struct err *err)
{
    char name[SETTING_NAME_MAX];
    (void)snprintf(name, sizeof name, "%.*s", (int)len, word);
    for (char *p = strchr(name, '-'); p; p = NULL)
        *p = '.'; /* as the nearest setting would be written */
    enum status st = settings__unknown(name, err);
    err_prefix(err, "--%.*s", (int)(len < 60 ? len : 60), word);
    return st;
}

/* One word, and its value; *ret: the setting, or SETTING_COUNT for --config and --help. */
static enum status take_flag(struct flags *f, size_t *ret, bool *ret_help, bool *ret_config,
                             struct err *err)
{
    const char *word = f->argv[f->at++];
    *ret_help = *ret_config = false;
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        *ret_help = true;
        return ST_OK;
    }
    if (strcmp(word, "-d") == 0)
        word = "--data";
    if (strncmp(word, "--", 2) != 0 || !word[2])
        return err_set(err, ST_INVALID_ARGUMENT, "'%.60s' is no flag", word);
    word += 2;
    size_t len = strcspn(word, "=");
    f->value = word[len] ? word + len + 1 : NULL;
    *ret_config = flag_is(word, len, "config");
    *ret = *ret_config ? SETTING_COUNT : flag_find(word, len);
    if (!*ret_config && *ret == SETTING_COUNT)
        return flag_unknown(word, len, err);
    if (!f->value && !*ret_config && settings__table[*ret].kind == SETTING_BOOL)
        f->value = "true";
    if (!f->value && f->at == f->argc)
        return err_set(err, ST_INVALID_ARGUMENT, "--%.*s: a value is missing", (int)len, word);
    if (!f->value)
        f->value = f->argv[f->at++];
    return ST_OK;
}

static enum status take_flags(struct settings *s, int argc, char *const *argv, bool apply,
                              const char **ret_file, bool *ret_help, struct err *err)
{
    struct flags f = {.argc = argc, .argv = argv};
    while (f.at < argc) {
        size_t i = SETTING_COUNT;
        bool help, config;
        enum status st = take_flag(&f, &i, &help, &config, err);
        if (st)
            return st;
        if (help)
            *ret_help = true;
        else if (config)
            *ret_file = f.value;
        else if (apply && (st = settings_set(s, settings__table[i].name, f.value, SETTING_FLAG,
                                             err)) != ST_OK)
            return st;
    }
    return ST_OK;
}

/* --- environment --- */

static void variable_of(const char *name, char out[SETTING_NAME_MAX])
{
    size_t n = 0;
    for (const char *p = "VARVE_"; *p; p++)
        out[n++] = *p;
    for (; *name && n + 1 < SETTING_NAME_MAX; name++)
        out[n++] = *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A')
                   : *name == '.'               ? '_'
                                                : *name;
    out[n] = '\0';
}

static const char *variable(char *const *variables, const char *name)
{
    size_t len = strlen(name);
    for (; variables && *variables; variables++)
        if (strncmp(*variables, name, len) == 0 && (*variables)[len] == '=')
            return (*variables)[len + 1] ? *variables + len + 1 : NULL; /* empty: as if not there */
    return NULL;
}

static enum status take_environment(struct settings *s, char *const *variables, struct err *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[SETTING_NAME_MAX];
        variable_of(settings__table[i].name, name);
        const char *value = variable(variables, name);
        enum status st =
            value ? settings_set(s, settings__table[i].name, value, SETTING_ENVIRONMENT, err)
                  : ST_OK;
        if (st) {
            err_prefix(err, "$%s", name);
            return st;
        }
    }
    return ST_OK;
}

static enum status take_file(struct settings *s, struct env *env, const char *file, struct err *err)
{
    struct buf text;
    buf_init(&text, 0);
    enum status st = env_read_file(env, file, SETTINGS_FILE_MAX, &text, err);
    if (!st)
        st = settings_yaml(s, buf_bytes(&text), file, err);
    buf_deinit(&text);
    if (!st && !(s->file = arena_strdup(&s->arena, file)))
        st = err_set(err, ST_NO_MEMORY, "no memory for settings");
    return st;
}

enum status settings_load(struct settings *s, struct env *env, char *const *variables, int argc,
                          char *const *argv, bool *ret_help, struct err *err)
{
    const char *file = variable(variables, "VARVE_CONFIG");
    *ret_help = false;
    enum status st = take_flags(s, argc, argv, false, &file, ret_help, err);
    if (st || *ret_help)
        return st;
    if (file)
        st = take_file(s, env, file, err);
    if (!st)
        st = take_environment(s, variables, err);
    return st ? st : take_flags(s, argc, argv, true, &file, ret_help, err);
}

/* --- whether it fits together --- */

static enum status check_listen(const struct settings *s, struct err *err)
{
    char one[NET_ADDR_TEXT];
    unsigned n = 0;
    bool safe = s->insecure || (s->auth && *s->tls_cert);
    for (const char *p = s->listen; *p;) {
        size_t len = strcspn(p, ",");
        struct net_addr a;
        if (len >= sizeof one || ++n > SETTINGS_LISTEN_MAX)
            return err_set(err, ST_INVALID_ARGUMENT, "listen: too long, or over %d addresses",
                           SETTINGS_LISTEN_MAX);
        memcpy(one, p, len);
        one[len] = '\0';
        enum status st = net_addr_parse(one, &a, err);
        if (st) {
            err_prefix(err, "listen");
            return st;
        }
        if (!safe && !net_addr_is_loopback(&a))
            return err_set(err, ST_PERMISSION_DENIED,
                           "listen: %s can be reached from outside: turn on TLS (--tls-cert, "
                           "--tls-key) and authentication (--auth), or say --insecure",
                           one);
        p += len + (p[len] == ',');
    }
    return n ? ST_OK : err_set(err, ST_INVALID_ARGUMENT, "listen: there is no address");
}

/* For what lies below, 0 is the default there and milliseconds are 32 bits: nobody who wrote either
 * meant that. Where 0 means something the help says so, and it is not here. */
static enum status check_numbers(const struct settings *s, struct err *err)
{
    static const enum setting_id positive[] = {
        SETTING_sync_interval, SETTING_checkpoint,   SETTING_table,        SETTING_log_bytes,
        SETTING_header,        SETTING_body,         SETTING_message,      SETTING_conn_bytes,
        SETTING_request_bytes, SETTING_output_bytes, SETTING_http_timeout, SETTING_head_timeout,
        SETTING_body_timeout,  SETTING_idle_timeout, SETTING_send_timeout,
    };
    static const enum setting_id narrow[] = {SETTING_sync_interval, SETTING_checkpoint,
                                             SETTING_head_timeout,  SETTING_body_timeout,
                                             SETTING_idle_timeout,  SETTING_keepalive};
    for (size_t i = 0; i < sizeof positive / sizeof positive[0]; i++) {
        const struct setting *d = &settings__table[positive[i]];
        if (*settings__number(s, d) == 0)
            return err_set(err, ST_INVALID_ARGUMENT, "%s: it is 0, and must be more", d->name);
    }
    if (s->table < TABLE_LEAST)
        return err_set(err, ST_INVALID_ARGUMENT, "store.table: it is below the least, 64KiB");
    if (s->output_bytes < OUTPUT_LEAST)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "limit.output_bytes: it is below the least, 256KiB");
    /* A page of rows takes 1 MiB, and would be refused for now, and for ever. */
    if (s->conn_bytes < HELD_LEAST || s->request_bytes < HELD_LEAST)
        return err_set(err, ST_INVALID_ARGUMENT, "limit.%s: it is below the least, 2MiB",
                       s->conn_bytes < HELD_LEAST ? "connection_bytes" : "request_bytes");
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
        const struct setting *d = &settings__table[narrow[i]];
        if (*settings__number(s, d) > SETTINGS_INTERVAL_MAX)
            return err_set(err, ST_INVALID_ARGUMENT, "%s: it is over 49 days", d->name);
    }
    return ST_OK;
}

enum status settings_check(const struct settings *s, struct err *err)
{
    if (!*s->data)
        return err_set(err, ST_INVALID_ARGUMENT, "data: the name of the folder is empty");
    if (!*s->tls_cert != !*s->tls_key)
        return err_set(err, ST_INVALID_ARGUMENT, "tls: cert and key go together");
    if (!*s->tls_cert && (*s->tls_client_ca || s->tls_client))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "tls: client certificates need tls.cert and tls.key");
    if (s->tls_client && !*s->tls_client_ca)
        return err_set(err, ST_INVALID_ARGUMENT, "tls.client: needs tls.client_ca");
    if (s->reactors > 64 || s->workers > 256 || s->care > 64)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "run: at most 64 reactors, 256 workers and 64 care threads");
    if (s->look_us > 1000)
        return err_set(err, ST_INVALID_ARGUMENT, "run.look: at most 1000 microseconds");
    if (s->message > UINT32_MAX || s->header > UINT32_MAX / 8)
        return err_set(err, ST_INVALID_ARGUMENT, "limit: message and header are below 4 GiB");
    enum status st = check_numbers(s, err);
    if (!st)
        st = settings__check_cluster(s, err);
    return st ? st : check_listen(s, err);
}
