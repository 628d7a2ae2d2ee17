/* Where a verb runs, and as whom. */
#include "apps/cli/cli_connect.h"
#include "apps/cli/cli_remote.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include "base/env/env.h"
#include "serve/security/credential.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PROFILE_MAX = 1024 * 1024, SECRET_MAX = 8192, DEADLINE_MS = 30000 };

static const char *env_text(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

static int no_memory(struct cli *c)
{
    return cli_error(c, CLI_FAILED, "out of memory");
}

/* ---- folder or server ---- */

static const char *folder_of(const struct cli_args *a)
{
    if (cli_has(a, OPT_DATA))
        return a->value[OPT_DATA];
    const char *env = env_text("VARVE_DATA");
    return env ? env : "./varve-data";
}

int cli_place(struct cli *c, const struct cli_args *a)
{
    bool asks = cli_has(a, OPT_SERVER) || cli_has(a, OPT_PROFILE);
    c->data = folder_of(a);
    c->server = c->profile = NULL;
    if (a->verb->mode == CLI_RAW || a->verb->mode == CLI_PURE)
        return CLI_OK;
    if (a->verb->mode == CLI_FOLDER)
        return asks ? cli_usage(c, a,
                                "%s works on a folder, which no server may have open meanwhile; "
                                "there is no --server for it",
                                a->verb->name)
                    : CLI_OK;
    if (asks && cli_has(a, OPT_DATA))
        return cli_usage(c, a, "--data and --server exclude each other");
    if (cli_has(a, OPT_DATA))
        return CLI_OK;
    c->profile = cli_has(a, OPT_PROFILE) ? a->value[OPT_PROFILE]
                 : asks                  ? NULL
                                         : env_text("VARVE_PROFILE");
    c->server = cli_has(a, OPT_SERVER) ? a->value[OPT_SERVER]
                : c->profile           ? NULL
                                       : env_text("VARVE_SERVER");
    c->remote = c->server || c->profile;
    return CLI_OK;
}

const char *cli_where(const struct cli *c)
{
    return c->server ? c->server : c->profile ? c->profile : c->data;
}

/* ---- files ---- */

/* A file with a secret is for its owner alone. */
static int check_mode(struct cli *c, const char *path)
{
    struct stat at;
    if (stat(path, &at) != 0)
        return cli_error(c, CLI_FAILED, "%s: %s", path, strerror(errno));
    if (S_ISREG(at.st_mode) && (at.st_mode & 077))
        return cli_error(c, CLI_FAILED,
                         "%s holds a secret, but others may read or change it: chmod 600 %s", path,
                         path);
    return CLI_OK;
}

static int read_profile(struct cli *c, const char *name, struct cli_login *l)
{
    struct buf path = BUF_INIT, text = BUF_INIT;
    struct err e;
    err_init(&e);
    const char *config = env_text("XDG_CONFIG_HOME"), *home = env_text("HOME");
    int code = CLI_OK;
    enum status st = config ? buf_printf(&path, "%s/varve/profile.yaml", config)
                            : buf_printf(&path, "%s/.config/varve/profile.yaml", home ? home : "");
    const char *where = st == ST_OK ? buf_cstr(&path) : NULL;
    if (!where)
        code = no_memory(c);
    else if (env_read_file(env_linux(), where, PROFILE_MAX, &text, &e) != ST_OK ||
             cli_profile_read(buf_bytes(&text), where, name, l, &e) != ST_OK)
        code = cli_error(c, CLI_USAGE, "%s", e.detail);
    else if (l->password || l->token)
        code = check_mode(c, where);
    if (text.data)
        secret_wipe(text.data, text.cap);
    buf_deinit(&text);
    buf_deinit(&path);
    return code;
}

/* The first line of a file. */
static int read_secret(struct cli *c, const char *path, char **ret)
{
    struct buf text = BUF_INIT;
    struct err e;
    err_init(&e);
    int code = check_mode(c, path);
    if (code != CLI_OK)
        return code;
    if (env_read_file(env_linux(), path, SECRET_MAX, &text, &e) != ST_OK)
        code = cli_error(c, CLI_FAILED, "%s", e.detail);
    else if (!buf_cstr(&text))
        code = no_memory(c);
    else {
        char *line = (char *)text.data;
        line[strcspn(line, "\r\n")] = '\0';
        mem_free(*ret);
        *ret = mem_strdup(line);
        code = !*ret   ? no_memory(c)
               : **ret ? CLI_OK
                       : cli_error(c, CLI_FAILED, "%s: its first line is empty", path);
    }
    if (text.data)
        secret_wipe(text.data, text.cap);
    buf_deinit(&text);
    return code;
}

/* ---- options over environment over profile ---- */

static bool take(char **to, const char *text)
{
    if (!text)
        return true;
    mem_free(*to);
    *to = mem_strdup(text);
    return *to != NULL;
}

static const char *given(const struct cli_args *a, enum cli_opt opt)
{
    return cli_has(a, opt) ? a->value[opt] : NULL;
}

static int gather(struct cli *c, const struct cli_args *a, struct cli_login *l)
{
    int code = c->profile ? read_profile(c, c->profile, l) : CLI_OK;
    if (code != CLI_OK)
        return code;
    const char *token = env_text("VARVE_TOKEN");
    bool user = cli_has(a, OPT_USER), by_token = cli_has(a, OPT_TOKEN_FILE);
    /* What is said nearer takes the place of the other way to log in, too. */
    if (user || by_token || token) {
        mem_free(l->token);
        mem_free(l->token_file);
        l->token = l->token_file = NULL;
    }
    if (by_token || (token && !user)) {
        mem_free(l->user);
        l->user = NULL;
    }
    if (!take(&l->server, c->server) || !take(&l->user, given(a, OPT_USER)) ||
        !take(&l->password_file, given(a, OPT_PASSWORD_FILE)) ||
        !take(&l->token_file, given(a, OPT_TOKEN_FILE)) ||
        !take(&l->token, user || by_token ? NULL : token) || !take(&l->ca, given(a, OPT_CA)) ||
        !take(&l->cert, given(a, OPT_CERT)) || !take(&l->key, given(a, OPT_CERT_KEY)) ||
        !take(&l->deadline, given(a, OPT_DEADLINE)) ||
        !take(&l->tls, cli_has(a, OPT_TLS) ? "true" : NULL))
        return no_memory(c);
    if (!l->server)
        return cli_error(c, CLI_USAGE, "the profile '%s' names no server", c->profile);
    return CLI_OK;
}

static int secrets(struct cli *c, const struct cli_args *a, struct cli_login *l)
{
    if (l->token_file)
        return read_secret(c, l->token_file, &l->token);
    if (l->token || !l->user)
        return CLI_OK;
    if (l->password_file)
        return read_secret(c, l->password_file, &l->password);
    if (l->password)
        return CLI_OK;
    if (!c->in_tty)
        return cli_usage(c, a,
                         "the password of %s: give --password-file FILE, or type it at a terminal",
                         l->user);
    struct buf typed = BUF_INIT;
    int code = cli_ask_secret(c, "Password: ", &typed);
    if (code == CLI_OK && !take(&l->password, buf_cstr(&typed)))
        code = no_memory(c);
    if (typed.data)
        secret_wipe(typed.data, typed.cap);
    buf_deinit(&typed);
    return code;
}

static bool stopped(void *arg)
{
    (void)arg;
    return cli_signalled();
}

static int connect_as(struct cli *c, const struct cli_args *a, const struct cli_login *l)
{
    struct client_options o = {.servers = l->server,
                               .ca_file = l->ca,
                               .cert_file = l->cert,
                               .key_file = l->key,
                               .token = l->token,
                               .user = l->token ? NULL : l->user,
                               .password = l->password,
                               .deadline_ms = DEADLINE_MS,
                               .stopped = stopped};
    struct client *client = NULL;
    struct err e;
    err_init(&e);
    if (l->tls && strcmp(l->tls, "true") != 0 && strcmp(l->tls, "false") != 0)
        return cli_usage(c, a, "tls: '%s' is not true or false", l->tls);
    o.tls = l->tls && strcmp(l->tls, "true") == 0;
    if (l->deadline && cli_duration_parse(l->deadline, &o.deadline_ms, &e) != ST_OK)
        return cli_usage(c, a, "deadline: %s", e.detail);
    if (client_open(env_linux(), &o, &client, &e) != ST_OK) {
        int code = cli_fail_local(c, e.status, &e);
        return code == CLI_ABSENT ? CLI_FAILED : code; /* a file that is missing is no record */
    }
    c->db = db_remote_new(client);
    if (c->db)
        return CLI_OK;
    client_close(client);
    return no_memory(c);
}

int cli_connect(struct cli *c, const struct cli_args *a)
{
    struct cli_login l = {0};
    int code = gather(c, a, &l);
    if (code == CLI_OK)
        code = secrets(c, a, &l);
    if (code == CLI_OK)
        code = connect_as(c, a, &l);
    cli_login_deinit(&l);
    return code;
}
