/* The profile file: names of profiles, and under each its settings, one level deep.
 *
 *     production:
 *       server: db1.example.org:7878,db2.example.org:7878
 *       ca: /etc/varve/ca.pem
 *       user: alice
 *       password_file: /home/alice/.config/varve/password
 */
#include "apps/cli/cli_args.h"
#include "apps/cli/cli_connect.h"
#include "base/alloc.h"
#include "serve/security/credential.h"
#include <string.h>
#include <yaml.h>

enum { NAMES_MAX = 64, NAME_SHOWN_MAX = 400 };

void cli_login_deinit(struct cli_login *l)
{
#define X(field, name)                                                                             \
    if (l->field)                                                                                  \
        secret_wipe(l->field, strlen(l->field));                                                   \
    mem_free(l->field);
    CLI_LOGIN_TABLE(X)
#undef X
    *l = (struct cli_login){0};
}

struct reading {
    const char *where, *name;
    struct cli_login *login;
    struct err *err;
    yaml_parser_t parser;
    yaml_event_t event;
    bool found;
    char others[NAME_SHOWN_MAX];
};

static enum status bad(struct reading *r, const char *what)
{
    return err_set(r->err, ST_INVALID_ARGUMENT, "%s:%zu:%zu: %s", r->where,
                   r->event.start_mark.line + 1, r->event.start_mark.column + 1, what);
}

static enum status next(struct reading *r)
{
    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) {
        if (r->event.type == YAML_ALIAS_EVENT)
            return bad(r, "anchors and aliases are not taken");
        return ST_OK;
    }
    if (r->parser.error == YAML_MEMORY_ERROR)
        return err_set(r->err, ST_NO_MEMORY, "%s: no memory to read it", r->where);
    return err_set(r->err, ST_INVALID_ARGUMENT, "%s:%zu:%zu: %s", r->where,
                   r->parser.problem_mark.line + 1, r->parser.problem_mark.column + 1,
                   r->parser.problem ? r->parser.problem : "no YAML");
}

static const char *scalar(const struct reading *r)
{
    return (const char *)r->event.data.scalar.value;
}

static enum status unknown(struct reading *r)
{
    const char *names[] = {
#define X(field, name) name,
        CLI_LOGIN_TABLE(X)
#undef X
    };
    char text[200];
    const char *near = cli_nearest(scalar(r), names, sizeof names / sizeof names[0]);
    snprintf(text, sizeof text, "there is no setting '%.60s'%s%s%s", scalar(r),
             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return bad(r, text);
}

/* A setting; the event is its name. */
static enum status setting(struct reading *r, bool ours)
{
    char **to = NULL;
#define X(field, text)                                                                             \
    if (strcmp(scalar(r), text) == 0)                                                              \
        to = &r->login->field;
    CLI_LOGIN_TABLE(X)
#undef X
    if (!to)
        return unknown(r);
    enum status st = next(r);
    if (st != ST_OK)
        return st;
    if (r->event.type != YAML_SCALAR_EVENT)
        return bad(r, "a plain value is expected here");
    if (!ours)
        return ST_OK;
    if (*to)
        return bad(r, "this setting was said before");
    char *copy = mem_strdup(scalar(r));
    if (!copy)
        return err_set(r->err, ST_NO_MEMORY, "%s: no memory to read it", r->where);
    *to = copy;
    return ST_OK;
}

static enum status profile(struct reading *r)
{
    bool ours = strcmp(scalar(r), r->name) == 0;
    if (ours && r->found)
        return bad(r, "this profile was there before");
    size_t len = strlen(r->others);
    snprintf(r->others + len, sizeof r->others - len, "%s%s", len ? ", " : "", scalar(r));
    r->found = r->found || ours;
    enum status st = next(r);
    if (st != ST_OK)
        return st;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return bad(r, "the settings of a profile are expected here, as in server: HOST:PORT");
    while ((st = next(r)) == ST_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT)
            return bad(r, "a name of a setting is expected here");
        if ((st = setting(r, ours)) != ST_OK)
            return st;
    }
    return st;
}

static enum status document(struct reading *r)
{
    enum status st = ST_OK;
    while (st == ST_OK && r->event.type != YAML_MAPPING_START_EVENT &&
           r->event.type != YAML_STREAM_END_EVENT) {
        st = next(r);
        if (st == ST_OK &&
            (r->event.type == YAML_SCALAR_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT))
            return bad(r, "names of profiles are expected here");
    }
    while (st == ST_OK && r->event.type != YAML_STREAM_END_EVENT) {
        if ((st = next(r)) != ST_OK || r->event.type == YAML_MAPPING_END_EVENT)
            break;
        st = r->event.type == YAML_SCALAR_EVENT ? profile(r)
                                                : bad(r, "a name of a profile is expected here");
    }
    return st;
}

enum status cli_profile_read(struct bytes text, const char *where, const char *name,
                             struct cli_login *ret, struct err *err)
{
    struct reading r = {.where = where, .name = name, .login = ret, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ST_NO_MEMORY, "%s: no memory to read it", where);
    yaml_parser_set_input_string(&r.parser, text.data, text.len);
    enum status st = document(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (st == ST_OK && !r.found)
        st = err_set(err, ST_NOT_FOUND, "%s: there is no profile '%.60s'%s%s", where, name,
                     *r.others ? "; there are: " : "", r.others);
    return st;
}
