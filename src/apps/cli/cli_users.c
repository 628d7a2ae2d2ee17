/* cli_users.c - the server's users and tokens, as records of the folder (serve/security/credential.h).
 *
 * While a server has the folder these verbs answer as any other does then: another process has it. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_input.h"
#include "apps/cli/cli_out.h"
#include "serve/security/credential.h"
#include "serve/security/security.h"
#include <string.h>
#include <termios.h>
#include <unistd.h>

static int no_memory(struct cli *c)
{
    return cli_error(c, CLI_FAILED, "out of memory");
}

/* ---- records ---- */

enum { KEY_MAX = 16 + USER_NAME_MAX };
static void key_of(const char *prefix, const char *name, char out[KEY_MAX])
{
    snprintf(out, KEY_MAX, "%s%s", prefix, name);
}

/* 1: *ret is it; 0: there is none; -1: the failure was told, and is *ret_code. */
static int read_record(struct cli *c, const char *key, const struct db_row **ret, int *ret_code)
{
    varve_status st = c->db->read->get(c->db, SECURITY_COLLECTION, BYTES_STR(key), NULL, ret);
    if (st == VARVE_OK)
        return 1;
    if (st == VARVE_NOT_FOUND)
        return 0;
    *ret_code = cli_fail(c, st, key);
    return -1;
}

static int write_record(struct cli *c, const struct cli_args *a, const char *key,
                        varve_version expected, const struct buf *b, const char *there)
{
    varve_write_options o;
    varve_version v;
    int code = cli_write_args(c, a, &o);
    if (code != CLI_OK)
        return code;
    struct db_put put = {SECURITY_COLLECTION, BYTES_STR(key), buf_bytes(b), VARVE_RAW};
    varve_status st = c->db->write->put(c->db, &put, &expected, &o, &v);
    if (st == VARVE_PRECONDITION_FAILED)
        return cli_error(c, CLI_ABSENT, "%s", there);
    return st == VARVE_OK ? CLI_OK : cli_fail(c, st, key);
}

static int add_grants(struct cli *c, const struct cli_args *a, size_t from, struct grants *g)
{
    struct err e;
    err_init(&e);
    for (size_t i = from; i < a->nargs; i++) {
        struct grant one;
        struct bytes text = BYTES_STR(a->arg[i]), none = BYTES_LIT("none:");
        if (bytes_has_prefix(text, none)) {
            if (!grants_remove(g, BYTES(text.data + none.len, text.len - none.len)))
                return cli_error(c, CLI_ABSENT, "there is no grant for the pattern '%s'",
                                 a->arg[i] + none.len);
            continue;
        }
        if (grant_parse(text, &one, &e) != ST_OK || grants_add(g, one, &e) != ST_OK)
            return cli_usage(c, a, "%s", e.detail);
    }
    return CLI_OK;
}

/* ---- passwords: from the terminal without showing them, else the first line of standard input ---- */

static int read_line(struct cli *c, struct buf *ret)
{
    int ch;
    size_t n = 0;
    /* To its end: a shell is not to take the rest of a secret for a command. */
    while (!cli_signalled() && (ch = fgetc(c->in)) != EOF && ch != '\n') {
        if (++n <= USER_PASSWORD_MAX && buf_append_u8(ret, (uint8_t)ch) != ST_OK)
            return no_memory(c);
    }
    if (cli_signalled())
        return cli_stop_code(c);
    return n <= USER_PASSWORD_MAX
               ? CLI_OK
               : cli_error(c, CLI_USAGE, "password: it has %zu bytes, over the limit of %d", n,
                           USER_PASSWORD_MAX);
}

int cli_ask_secret(struct cli *c, const char *prompt, struct buf *ret)
{
    struct termios was, quiet;
    int fd = fileno(c->in);
    bool hidden = c->in_tty && tcgetattr(fd, &was) == 0;
    if (hidden) {
        quiet = was;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        fprintf(c->err, "%s", prompt);
        fflush(c->err);
        hidden = tcsetattr(fd, TCSAFLUSH, &quiet) == 0;
    }
    int code = read_line(c, ret);
    if (hidden) {
        tcsetattr(fd, TCSAFLUSH, &was);
        fputc('\n', c->err);
    }
    return code;
}

static int set_password(struct cli *c, const struct cli_args *a, struct user_record *u)
{
    struct buf first = BUF_INIT, again = BUF_INIT;
    struct err e;
    err_init(&e);
    if (c->shell && !c->in_tty)
        return cli_usage(c, a, "in the shell, standard input is where the commands come from");
    int code = cli_ask_secret(c, "Password: ", &first);
    if (code == CLI_OK && c->in_tty) {
        code = cli_ask_secret(c, "Once more: ", &again);
        if (code == CLI_OK && !bytes_eq(buf_bytes(&first), buf_bytes(&again)))
            code = cli_error(c, CLI_USAGE, "these are two different passwords");
    }
    if (code == CLI_OK && user_set_password(env_linux(), u, buf_bytes(&first), &e) != ST_OK)
        code = cli_error(c, CLI_USAGE, "%s", e.detail);
    if (first.data)
        secret_wipe(first.data, first.cap);
    if (again.data)
        secret_wipe(again.data, again.cap);
    buf_deinit(&first);
    buf_deinit(&again);
    return code;
}

/* ---- users ---- */

static int store_user(struct cli *c, const struct cli_args *a, const char *name,
                      varve_version expected, const struct user_record *u, const char *there)
{
    char key[KEY_MAX];
    struct buf b = BUF_INIT;
    key_of(CREDENTIAL_USER, name, key);
    int code =
        user_encode(&b, u) == ST_OK ? write_record(c, a, key, expected, &b, there) : no_memory(c);
    buf_deinit(&b);
    return code;
}

static int user_add(struct cli *c, const struct cli_args *a, const char *name)
{
    struct user_record u = {.made_ms = cli_now_ms(), .by_certificate = cli_has(a, OPT_CERTIFICATE)};
    int code = add_grants(c, a, 2, &u.grants);
    if (code == CLI_OK && !u.by_certificate)
        code = set_password(c, a, &u);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        return code;
    code = store_user(c, a, name, (varve_version){0, 0}, &u,
                      "there is such a user already; see 'varve help user'");
    if (code == CLI_OK && u.grants.n == 0)
        cli_note(c, a, "%s may do nothing yet: varve user grant %s read:'*'", name, name);
    return code;
}

/* Reads the user, lets `change` do its part, writes it if nobody else did meanwhile. */
static int user_change(struct cli *c, const struct cli_args *a, const char *name, bool password)
{
    struct user_record u = {0};
    char key[KEY_MAX];
    int code = cli_open(c, a);
    const struct db_row *v = NULL;
    key_of(CREDENTIAL_USER, name, key);
    if (code == CLI_OK) {
        int got = read_record(c, key, &v, &code);
        if (got == 0)
            code = cli_error(c, CLI_ABSENT, "there is no user %s", name);
        else if (got == 1 && !user_decode(v->value, &u))
            code = cli_error(c, CLI_CORRUPT, "the record of %s cannot be read", name);
    }
    if (code == CLI_OK)
        code = password ? set_password(c, a, &u) : add_grants(c, a, 2, &u.grants);
    if (code == CLI_OK)
        code =
            store_user(c, a, name, v->version, &u, "somebody else has changed this user meanwhile");
    return code;
}

static int remove_record(struct cli *c, const struct cli_args *a, const char *prefix,
                         const char *name, const char *what)
{
    varve_write_options o;
    char key[KEY_MAX];
    int code = cli_write_args(c, a, &o);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        return code;
    key_of(prefix, name, key);
    varve_status st =
        c->db->write->erase(c->db, SECURITY_COLLECTION, BYTES_STR(key), NULL, &o, NULL);
    if (st == VARVE_NOT_FOUND)
        return cli_error(c, CLI_ABSENT, "there is no %s %s", what, name);
    return st == VARVE_OK ? CLI_OK : cli_fail(c, st, name);
}

/* ---- lists ---- */

static enum status grants_text(struct buf *b, const struct grants *g)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < g->n; i++)
        st = buf_printf(b, "%s%s:%.*s", i ? " " : "", grant_role_name(g->at[i].role),
                        (int)g->at[i].pattern.len, (const char *)g->at[i].pattern.data);
    return st;
}

static enum status grants_json(struct buf *b, const struct grants *g)
{
    struct buf one = BUF_INIT;
    enum status st = buf_printf(b, ",\"grants\":[");
    for (size_t i = 0; st == ST_OK && i < g->n; i++) {
        buf_clear(&one);
        st = buf_printf(&one, "%s:%.*s", grant_role_name(g->at[i].role), (int)g->at[i].pattern.len,
                        (const char *)g->at[i].pattern.data);
        if (st == ST_OK && i)
            st = buf_append_u8(b, ',');
        if (st == ST_OK)
            st = cli_json_bytes(b, buf_bytes(&one));
    }
    buf_deinit(&one);
    return st == ST_OK ? buf_append_u8(b, ']') : st;
}

struct shown {
    struct bytes name, label; /* label: of a token */
    const char *how;          /* "password", "certificate", "token" */
    uint64_t made_ms;
    const struct grants *grants;
};

static enum status show(struct cli *c, const struct cli_args *a, struct cli_table *t,
                        const struct shown *s)
{
    char time[CLI_TIME_TEXT_MAX];
    struct buf text = BUF_INIT;
    enum status st;
    cli_time_format(s->made_ms, time);
    if (cli_has(a, OPT_JSON)) {
        st = buf_printf(&c->scratch, "{\"%s\":", s->label.len ? "id" : "name");
        if (st == ST_OK)
            st = cli_json_bytes(&c->scratch, s->name);
        if (st == ST_OK && s->label.len)
            st = buf_printf(&c->scratch, ",\"name\":");
        if (st == ST_OK && s->label.len)
            st = cli_json_bytes(&c->scratch, s->label);
        if (st == ST_OK)
            st = buf_printf(&c->scratch, ",\"by\":\"%s\",\"made\":\"%s\"", s->how, time);
        if (st == ST_OK)
            st = grants_json(&c->scratch, s->grants);
        if (st == ST_OK)
            st = buf_printf(&c->scratch, "}\n");
        if (st == ST_OK)
            cli_put_scratch(c);
        return st;
    }
    st = grants_text(&text, s->grants);
    if (st == ST_OK)
        st = cli_table_cell(t, s->name);
    if (st == ST_OK)
        st = s->label.len ? cli_table_cell(t, s->label) : cli_table_str(t, s->how);
    if (st == ST_OK)
        st = cli_table_str(t, time);
    if (st == ST_OK)
        st = cli_table_cell(t, buf_bytes(&text));
    buf_deinit(&text);
    return st;
}

static enum status show_row(struct cli *c, const struct cli_args *a, struct cli_table *t,
                            const struct db_row *row, const char *prefix, bool tokens)
{
    struct bytes key = row->key, value = row->value;
    struct user_record u;
    struct token_record k;
    struct shown s = {.name = BYTES(key.data + strlen(prefix), key.len - strlen(prefix)),
                      .label = BYTES_EMPTY};
    if (tokens && token_record_decode(value, &k)) {
        s.label = k.label;
        s.how = "token";
        s.made_ms = k.made_ms;
        s.grants = &k.grants;
    } else if (!tokens && user_decode(value, &u)) {
        s.how = u.by_certificate ? "certificate" : "password";
        s.made_ms = u.made_ms;
        s.grants = &u.grants;
    } else {
        return ST_CORRUPT;
    }
    return show(c, a, t, &s);
}

static int list(struct cli *c, const struct cli_args *a, bool tokens)
{
    const char *prefix = tokens ? CREDENTIAL_TOKEN : CREDENTIAL_USER;
    varve_scan_options o = {.size = sizeof o, .prefix = {prefix, strlen(prefix)}};
    struct db_rows *rows = NULL;
    const struct db_row *row;
    struct cli_table t;
    int got = 0, code = cli_open(c, a);
    if (code != CLI_OK)
        return code;
    varve_status vst = c->db->read->scan(c->db, SECURITY_COLLECTION, &o, &rows);
    if (vst != VARVE_OK)
        return cli_fail(c, vst, tokens ? "tokens" : "users");
    cli_table_init(&t, 4);
    enum status st = cli_table_str(&t, tokens ? "ID" : "NAME");
    if (st == ST_OK)
        st = cli_table_str(&t, tokens ? "NAME" : "BY");
    if (st == ST_OK)
        st = cli_table_str(&t, "MADE");
    if (st == ST_OK)
        st = cli_table_str(&t, "MAY");
    while (st == ST_OK && !cli_stopped(c) && (got = db_next(rows, &row)) == 1)
        st = show_row(c, a, &t, row, prefix, tokens);
    db_rows_close(rows);
    if (st == ST_OK && got == 0 && t.rows > 4)
        st = cli_table_format(&t, c->color, &c->scratch);
    else if (st == ST_OK && got == 0 && !cli_has(a, OPT_JSON))
        cli_note(c, a, "there are none");
    cli_table_deinit(&t);
    if (got < 0)
        return cli_fail(c, (varve_status)-got, tokens ? "tokens" : "users");
    if (st == ST_CORRUPT)
        return cli_error(c, CLI_CORRUPT, "a record of " SECURITY_COLLECTION " cannot be read");
    if (st != ST_OK)
        return no_memory(c);
    cli_put_scratch(c);
    return cli_stop_code(c);
}

static int check_name(struct cli *c, const struct cli_args *a, const char *what, const char *name)
{
    struct err e;
    err_init(&e);
    if (!name)
        return cli_usage(c, a, "%s %s needs a NAME", a->verb->name, what);
    return user_name_check(BYTES_STR(name), &e) == ST_OK ? CLI_OK : cli_usage(c, a, "%s", e.detail);
}

int cli_user(struct cli *c, const struct cli_args *a)
{
    const char *what = a->arg[0], *name = a->nargs > 1 ? a->arg[1] : NULL;
    if (strcmp(what, "list") == 0)
        return name ? cli_usage(c, a, "user list takes no name") : list(c, a, false);
    bool add = strcmp(what, "add") == 0, grant = strcmp(what, "grant") == 0;
    bool password = strcmp(what, "password") == 0, gone = strcmp(what, "remove") == 0;
    if (!add && !grant && !password && !gone)
        return cli_usage(c, a, "'%s' is not add, grant, list, password or remove", what);
    int code = check_name(c, a, what, name);
    if (code != CLI_OK)
        return code;
    if ((password || gone) && a->nargs > 2)
        return cli_usage(c, a, "user %s takes one name", what);
    if (grant && a->nargs < 3)
        return cli_usage(c, a, "user grant needs ROLE:PATTERN");
    if (cli_has(a, OPT_CERTIFICATE) && !add)
        return cli_usage(c, a, "--certificate is of user add");
    if (add)
        return user_add(c, a, name);
    return gone ? remove_record(c, a, CREDENTIAL_USER, name, "user")
                : user_change(c, a, name, password);
}

/* ---- tokens ---- */

static int token_create(struct cli *c, const struct cli_args *a, const char *name)
{
    struct token_record t = {.label = BYTES_STR(name), .made_ms = cli_now_ms()};
    char text[TOKEN_TEXT + 1], key[KEY_MAX], id[TOKEN_ID + 1];
    struct buf b = BUF_INIT;
    struct bytes parsed;
    struct err e;
    err_init(&e);
    if (token_label_check(t.label, &e) != ST_OK)
        return cli_usage(c, a, "%s", e.detail);
    int code = add_grants(c, a, 2, &t.grants);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        return code;
    if (token_make(env_linux(), &t, text, &e) != ST_OK || !token_parse(BYTES_STR(text), &parsed))
        return cli_error(c, CLI_FAILED, "%s", e.detail);
    snprintf(id, sizeof id, "%.*s", (int)parsed.len, (const char *)parsed.data);
    key_of(CREDENTIAL_TOKEN, id, key);
    code = token_record_encode(&b, &t) == ST_OK
               ? write_record(c, a, key, (varve_version){0, 0}, &b, "there is such a token already")
               : no_memory(c);
    buf_deinit(&b);
    if (code != CLI_OK)
        return code;
    enum status st = cli_has(a, OPT_JSON)
                         ? buf_printf(&c->scratch, "{\"id\":\"%s\",\"token\":\"%s\"}\n", id, text)
                         : buf_printf(&c->scratch, "%s\n", text);
    if (st != ST_OK)
        return no_memory(c);
    cli_put_scratch(c);
    cli_note(c, a, "it is shown this once; what is kept is its hash");
    return cli_stop_code(c);
}

int cli_token(struct cli *c, const struct cli_args *a)
{
    const char *what = a->arg[0], *name = a->nargs > 1 ? a->arg[1] : NULL;
    if (strcmp(what, "list") == 0)
        return name ? cli_usage(c, a, "token list takes no name") : list(c, a, true);
    bool create = strcmp(what, "create") == 0, revoke = strcmp(what, "revoke") == 0;
    if (!create && !revoke)
        return cli_usage(c, a, "'%s' is not create, list or revoke", what);
    if (!name)
        return cli_usage(c, a, create ? "token create needs a NAME" : "token revoke needs an ID");
    if (create)
        return token_create(c, a, name);
    if (a->nargs > 2 || strlen(name) != TOKEN_ID)
        return cli_usage(c, a, "token revoke takes an ID of %d characters, as token list shows it",
                         TOKEN_ID);
    return remove_record(c, a, CREDENTIAL_TOKEN, name, "token");
}
