/* serve and config: the words behind them are settings (apps/server/settings.h). */
#include "apps/cli/cli.h"
#include "apps/server/server.h"
#include "base/env/env.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const *words(const struct cli_args *a, size_t from)
{
    return a->arg + from;
}

static int refused(struct cli *c, const struct cli_args *a, enum status st, const struct err *e)
{
    if (st == ST_INVALID_ARGUMENT)
        return cli_usage(c, a, "%s", e->detail);
    int code = cli_fail_local(c, st, e);
    if (st == ST_LOCKED)
        fprintf(c->err, "Another process has this folder open, and one process owns a folder at a "
                        "time.\n");
    return code == CLI_ABSENT ? CLI_FAILED : code;
}

static int print_settings(struct cli *c, const struct cli_args *a)
{
    struct buf text = BUF_INIT;
    cli_help_verb(c->out, a->verb);
    fprintf(c->out, "\nSettings: as a flag; in the file \"tls.cert\" is tls: / cert:, in the "
                    "environment VARVE_TLS_CERT.\n");
    enum status st = settings_help(&text);
    if (st == ST_OK)
        fwrite(text.data, 1, text.len, c->out);
    buf_deinit(&text);
    return st == ST_OK ? CLI_OK : cli_error(c, CLI_FAILED, "out of memory");
}

static struct server_call call_of(const struct cli_args *a, size_t from)
{
    return (struct server_call){
        .env = env_linux(),
        .variables = environ,
        .argc = (int)(a->nargs - from),
        .argv = (char *const *)(uintptr_t)words(a, from),
        .notify = getenv("NOTIFY_SOCKET"),
    };
}

int cli_serve(struct cli *c, const struct cli_args *a)
{
    struct err e;
    bool help = false;
    struct server_call call = call_of(a, 0);
    err_init(&e);
    if (c->shell)
        return cli_usage(c, a, "the shell has the folder open itself");
    enum status st = server_run(&call, &help, &e);
    if (st == ST_POISONED) {
        /* Threads still run and the engine must write nothing more: no destructors. */
        cli_fail_local(c, st, &e);
        fflush(c->err);
        _exit(CLI_FAILED);
    }
    if (st != ST_OK)
        return refused(c, a, st, &e);
    return help ? print_settings(c, a) : CLI_OK;
}

static int show(struct cli *c, const struct settings *s, bool print)
{
    struct buf text = BUF_INIT;
    if (!print) {
        fprintf(c->out, "the settings are fine%s%s\n", s->file ? ": " : "", s->file ? s->file : "");
        return CLI_OK;
    }
    enum status st = settings_print(s, &text);
    if (st == ST_OK)
        fwrite(text.data, 1, text.len, c->out);
    buf_deinit(&text);
    return st == ST_OK ? CLI_OK : cli_error(c, CLI_FAILED, "out of memory");
}

int cli_config(struct cli *c, const struct cli_args *a)
{
    struct settings s;
    struct err e;
    bool help = false;
    const char *what = a->nargs ? a->arg[0] : "";
    bool print = strcmp(what, "print") == 0;
    err_init(&e);
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)
        return print_settings(c, a);
    if (!print && strcmp(what, "check") != 0)
        return cli_usage(c, a, "'%s' is neither check nor print", what);
    struct server_call call = call_of(a, 1);
    enum status st = settings_init(&s, &e);
    if (st != ST_OK)
        return cli_fail_local(c, st, &e);
    st = settings_load(&s, call.env, call.variables, call.argc, call.argv, &help, &e);
    if (st == ST_OK && !help)
        st = settings_check(&s, &e);
    int code = st != ST_OK ? refused(c, a, st, &e)
               : help      ? print_settings(c, a)
                           : show(c, &s, print);
    settings_deinit(&s);
    return code;
}
