/* From a command line to a verb, and what verbs share: opening the folder, failing, stopping. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include "base/env/env.h"
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t signalled;

static void on_signal(int signo)
{
    signalled = signo;
}

/* The first signal asks for a clean stop, a second one of the same kind ends the process
 * (SA_RESETHAND). Without SA_RESTART, a read from a terminal returns. */
void cli_signals_install(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

void cli_signals_clear(void)
{
    signalled = 0;
}

bool cli_signalled(void)
{
    return signalled != 0;
}

bool cli_progress_goes_on(void)
{
    return signalled == 0;
}

bool cli_stopped(const struct cli *c)
{
    return signalled != 0 || c->out_failed;
}

int cli_stop_code(struct cli *c)
{
    if (signalled)
        return CLI_SIGNALLED + signalled;
    if (!c->out_failed)
        return CLI_OK;
    if (c->out_errno ==
        EPIPE) /* the reader has enough (varve scan | head): what a filter answers */
        return CLI_SIGNALLED + SIGPIPE;
    return cli_error(c, CLI_FAILED, "cannot write the output: %s", strerror(c->out_errno));
}

void cli_init(struct cli *c)
{
    *c = (struct cli){.in = stdin, .out = stdout, .err = stderr, .program = "varve"};
    const char *no_color = getenv("NO_COLOR");
    bool color = !no_color || !*no_color;
    c->in_tty = isatty(STDIN_FILENO) == 1;
    c->out_tty = isatty(STDOUT_FILENO) == 1;
    c->err_tty = isatty(STDERR_FILENO) == 1;
    c->color = color && c->out_tty;
    c->err_color = color && c->err_tty;
}

void cli_deinit(struct cli *c)
{
    buf_deinit(&c->scratch);
}

uint64_t cli_now_ms(void)
{
    return env_now_ms(env_linux());
}

uint64_t cli_mono_ms(void)
{
    return env_mono_ns(env_linux()) / 1000000;
}

bool cli_hidden(const char *collection)
{
    return strncmp(collection, CLI_HIDDEN_PREFIX, strlen(CLI_HIDDEN_PREFIX)) == 0;
}

/* ---- messages ---- */

enum {
    MESSAGE_MAX = 16384 /* two paths and what is wrong; on the stack, as memory may be short */
};

static void say(struct cli *c, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
static void say(struct cli *c, const char *fmt, va_list args)
{
    char text[MESSAGE_MAX];
    int n = vsnprintf(text, sizeof text, fmt, args);
    cli_print_message(c->err, n < 0 ? fmt : text);
    fputs(n >= (int)sizeof text ? "...\n" : "\n", c->err);
}

static void message(struct cli *c, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
static void message(struct cli *c, const char *fmt, va_list args)
{
    fflush(c->out); /* so that both appear in their order on a terminal */
    fprintf(c->err, "%s%s:%s ", cli_red(c->err_color), c->program, cli_plain(c->err_color));
    say(c, fmt, args);
}

int cli_usage(struct cli *c, const struct cli_args *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    message(c, fmt, args);
    va_end(args);
    if (a && a->verb) {
        fprintf(c->err, "usage: varve %s %s\n", a->verb->name, a->verb->usage);
        fprintf(c->err, "see 'varve help %s'\n", a->verb->name);
    } else {
        fprintf(c->err, "see 'varve help'\n");
    }
    return CLI_USAGE;
}

int cli_error(struct cli *c, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    message(c, fmt, args);
    va_end(args);
    return code;
}

void cli_note(struct cli *c, const struct cli_args *a, const char *fmt, ...)
{
    va_list args;
    if (cli_has(a, OPT_QUIET))
        return;
    fflush(c->out);
    va_start(args, fmt);
    say(c, fmt, args);
    va_end(args);
}

int cli_exit_code(varve_status st)
{
    switch (st) {
    case VARVE_OK:
        return CLI_OK;
    case VARVE_NOT_FOUND:
    case VARVE_ALREADY_EXISTS:
    case VARVE_PRECONDITION_FAILED:
    case VARVE_BELOW_HORIZON:
        return CLI_ABSENT;
    case VARVE_INVALID_ARGUMENT:
    case VARVE_TOO_LARGE:
    case VARVE_FUTURE_TIME:
        return CLI_USAGE;
    case VARVE_LOCKED:
        return CLI_LOCKED;
    case VARVE_CORRUPT:
        return CLI_CORRUPT;
    case VARVE_CANCELLED:
    case VARVE_READ_ONLY:
    case VARVE_DISK_FULL:
    case VARVE_IO_ERROR:
    case VARVE_POISONED:
    case VARVE_NO_MEMORY:
    case VARVE_TOO_MANY_FILES:
    case VARVE_FORMAT_NEWER:
    case VARVE_UNIMPLEMENTED:
    case VARVE_TIMED_OUT:
    case VARVE_CLOSED:
    case VARVE_OVERLOADED:
    case VARVE_PERMISSION_DENIED:
    case VARVE_INTERNAL:
    case VARVE_UNAUTHENTICATED:
    case VARVE_UNAVAILABLE:
    case VARVE_UNKNOWN_OUTCOME:
        break;
    }
    return CLI_FAILED;
}

void cli_name_text(const char *name, char out[CLI_NAME_TEXT_MAX])
{
    size_t len = strlen(name), n = len;
    if (len > CLI_NAME_SHOWN) {
        n = CLI_NAME_SHOWN;
        while (n > 0 && ((uint8_t)name[n] & 0xc0) == 0x80) /* not in the middle of a character */
            n--;
    }
    memcpy(out, name, n);
    snprintf(out + n, CLI_NAME_TEXT_MAX - n, "%s", n < len ? "..." : "");
}

/* "no collection users" need not begin with "users: ", nor "changes of ..." with "changes: ". */
static bool names_already(const char *text, const char *what)
{
    size_t len = strlen(text), n = strlen(what);
    if (n == 0 || len <= n)
        return false;
    bool first = strncmp(text, what, n) == 0 && (text[n] == ' ' || text[n] == ':');
    return first || (strcmp(text + len - n, what) == 0 && text[len - n - 1] == ' ');
}

static int fail(struct cli *c, varve_status st, const char *what, const char *detail)
{
    const char *text = *detail ? detail : varve_status_text(st);
    char name[CLI_NAME_TEXT_MAX];
    cli_name_text(what, name);
    if (st == VARVE_CANCELLED && signalled)
        return cli_error(c, CLI_SIGNALLED + signalled, "%s: stopped", name);
    int code = names_already(text, what) ? cli_error(c, cli_exit_code(st), "%s", text)
                                         : cli_error(c, cli_exit_code(st), "%s: %s", name, text);
    if (st == VARVE_LOCKED && !c->remote)
        fprintf(c->err,
                "Another process has this folder open, and one process owns a folder at a "
                "time.\nWait until it is done; 'varve serve' is the way to share a database.\n");
    return code;
}

int cli_fail(struct cli *c, varve_status st, const char *what)
{
    return fail(c, st, what, c->db ? c->db->error(c->db) : varve_last_error());
}

int cli_fail_lib(struct cli *c, varve_status st, const char *what)
{
    return fail(c, st, what, varve_last_error());
}

int cli_fail_local(struct cli *c, enum status st, const struct err *e)
{
    return cli_error(c, cli_exit_code((varve_status)st), "%s", e->detail);
}

/* ---- the folder ---- */

/* Of the verbs with users and tokens only those that make the first. */
static bool makes_folder(const struct cli_args *a)
{
    const char *what = a->nargs ? a->arg[0] : "";
    bool first = strcmp(what, "add") == 0 || strcmp(what, "create") == 0;
    return a->verb->mode == CLI_MAKES || (a->verb->mode == CLI_FOLDER && first);
}

int cli_open(struct cli *c, const struct cli_args *a)
{
    if (c->db)
        return CLI_OK;
    if (c->remote)
        return cli_connect(c, a);
    bool reads = a->verb->mode == CLI_READS;
    bool makes = makes_folder(a);
    struct stat at;
    if (stat(c->data, &at) == 0 && !S_ISDIR(at.st_mode))
        return cli_error(c, CLI_FAILED, "%s is not a folder", c->data);
    varve_options o = {.size = sizeof o, .must_exist = !makes};
    varve *folder = NULL;
    varve_status st = varve_open(c->data, &o, &folder);
    if (reads &&
        (st == VARVE_READ_ONLY || st == VARVE_PERMISSION_DENIED || st == VARVE_DISK_FULL)) {
        o.read_only = true; /* on read-only media and on a full disk it can still be read */
        st = varve_open(c->data, &o, &folder);
    }
    if (st == VARVE_OK) {
        c->db = db_folder_new(folder);
        if (c->db)
            return CLI_OK;
        (void)!varve_close(folder);
        return cli_error(c, CLI_FAILED, "out of memory");
    }
    if (st == VARVE_NOT_FOUND && !makes) {
        cli_error(c, CLI_FAILED, "there is no database in %s", c->data);
        fprintf(c->err, "Name one with --data DIR or $VARVE_DATA. The first write makes it, as in\n"
                        "  varve put users/alice '{\"name\":\"Alice\"}' --data DIR\n");
        return CLI_FAILED;
    }
    int code = cli_fail(c, st, "cannot open the database");
    return code == CLI_ABSENT ? CLI_FAILED : code;
}

int cli_close(struct cli *c)
{
    struct db *db = c->db;
    c->db = NULL;
    if (!db)
        return CLI_OK;
    varve_status st = db->close(db);
    return st == VARVE_OK ? CLI_OK : cli_fail(c, st, "closing the database");
}

/* ---- what options and arguments mean ---- */

int cli_bytes_arg(struct cli *c, const struct cli_args *a, const char *text, struct buf *ret)
{
    struct err e;
    char name[CLI_NAME_TEXT_MAX];
    err_init(&e);
    enum status st = cli_has(a, OPT_ESCAPES) ? cli_text_unescape(ret, BYTES_STR(text), &e)
                                             : buf_append(ret, text, strlen(text));
    if (st == ST_INVALID_ARGUMENT)
        return cli_usage(c, a, "'%s': %s", (cli_name_text(text, name), name), e.detail);
    return st == ST_OK ? CLI_OK : cli_error(c, CLI_FAILED, "out of memory");
}

int cli_path_parse(struct cli *c, const struct cli_args *a, const char *text, bool need_key,
                   struct cli_path *p)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    *p = (struct cli_path){.has_slash = slash != NULL};
    if (len == 0)
        return cli_usage(c, a, "'%s' lacks a collection: write COLLECTION/KEY, as in users/alice",
                         text);
    if (need_key && (!slash || !slash[1]))
        return cli_usage(c, a, "'%s' lacks a key: write COLLECTION/KEY, as in users/alice", text);
    p->collection = mem_alloc(len + 1);
    if (!p->collection)
        return cli_error(c, CLI_FAILED, "out of memory");
    memcpy(p->collection, text, len);
    p->collection[len] = '\0';
    int code = slash ? cli_bytes_arg(c, a, slash + 1, &p->key) : CLI_OK;
    if (code != CLI_OK)
        cli_path_deinit(p);
    return code;
}

void cli_path_deinit(struct cli_path *p)
{
    mem_free(p->collection);
    buf_deinit(&p->key);
    *p = (struct cli_path){0};
}

int cli_at_arg(struct cli *c, const struct cli_args *a, varve_at *ret)
{
    struct err e;
    err_init(&e);
    *ret = (varve_at){.kind = VARVE_AT_NOW};
    if (!cli_has(a, OPT_AT))
        return CLI_OK;
    if (cli_time_parse(a->value[OPT_AT], cli_now_ms(), ret, &e) == ST_OK)
        return CLI_OK;
    return cli_usage(c, a, "--at: %s", e.detail);
}

int cli_number_arg(struct cli *c, const struct cli_args *a, enum cli_opt opt, uint64_t *ret)
{
    if (!cli_has(a, opt) || cli_number_parse(a->value[opt], ret))
        return CLI_OK;
    return cli_usage(c, a, "--%s: '%s' is not a whole number", cli_options[opt].name,
                     a->value[opt]);
}

int cli_duration_arg(struct cli *c, const struct cli_args *a, enum cli_opt opt, uint64_t *ret_ms)
{
    struct err e;
    err_init(&e);
    if (!cli_has(a, opt) || cli_duration_parse(a->value[opt], ret_ms, &e) == ST_OK)
        return CLI_OK;
    return cli_usage(c, a, "--%s: %s", cli_options[opt].name, e.detail);
}

int cli_version_arg(struct cli *c, const struct cli_args *a, const char *text, varve_version *ret)
{
    if (varve_version_parse(text, ret) == VARVE_OK)
        return CLI_OK;
    return cli_usage(c, a, "'%s' is not a VERSION: 16 hex digits, as put and log print them", text);
}

char *cli_user_name(void)
{
    const struct passwd *pw = getpwuid(geteuid());
    if (pw && pw->pw_name && *pw->pw_name)
        return mem_strdup(pw->pw_name);
    const char *env = getenv("USER");
    return env && *env ? mem_strdup(env) : NULL;
}

/* The user's name is looked up once; the text lives as long as the process. */
static const char *default_writer(void)
{
    static char name[256];
    const char *env = getenv("VARVE_WRITER");
    if (env && *env)
        return env;
    if (!name[0]) {
        char *user = cli_user_name();
        snprintf(name, sizeof name, "%s", user ? user : "");
        mem_free(user);
    }
    return name;
}

int cli_write_args(struct cli *c, const struct cli_args *a, varve_write_options *ret)
{
    const char *sync = cli_has(a, OPT_SYNC) ? a->value[OPT_SYNC] : "";
    *ret = (varve_write_options){.size = sizeof *ret};
    ret->writer = cli_has(a, OPT_WRITER) ? a->value[OPT_WRITER] : default_writer();
    if (strcmp(sync, "always") == 0)
        ret->sync = VARVE_SYNC_ALWAYS;
    else if (strcmp(sync, "interval") == 0)
        ret->sync = VARVE_SYNC_INTERVAL;
    else if (strcmp(sync, "off") == 0)
        ret->sync = VARVE_SYNC_OFF;
    else if (cli_has(a, OPT_SYNC))
        return cli_usage(c, a, "--sync: '%s' is not always, interval or off", sync);
    int code = cli_duration_arg(c, a, OPT_TTL, &ret->ttl_ms);
    /* For the library 0 is for ever. */
    if (code == CLI_OK && cli_has(a, OPT_TTL) && ret->ttl_ms == 0)
        return cli_usage(c, a, "--ttl: it is 0; without it nothing expires");
    return code;
}

/* ---- dispatch ---- */

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < cli_verb_count; i++)
        if (strcmp(cli_verbs[i].name, name) == 0)
            return &cli_verbs[i];
    return NULL;
}

const char *cli_verb_suggest(const char *name)
{
    const char *names[64];
    size_t n = 0;
    for (; n < cli_verb_count && n < 64; n++)
        names[n] = cli_verbs[n].name;
    return cli_nearest(name, names, n);
}

static int unknown_verb(struct cli *c, const char *name)
{
    const char *near = cli_verb_suggest(name);
    if (near)
        return cli_usage(c, NULL, "there is no verb '%s'; did you mean '%s'?", name, near);
    return cli_usage(c, NULL, "there is no verb '%s'", name);
}

/* What was printed is out; or why it is not, when nothing else went wrong. */
static int end_output(struct cli *c, int code)
{
    if ((fflush(c->out) != 0 || ferror(c->out)) && !c->out_failed) {
        c->out_failed = true;
        c->out_errno = errno;
    }
    clearerr(c->out); /* the shell's next line may do better */
    return code == CLI_OK && cli_stopped(c) ? cli_stop_code(c) : code;
}

static int run_verb(struct cli *c, struct cli_args *a)
{
    const struct cli_verb *v = a->verb;
    if (cli_has(a, OPT_HELP)) {
        cli_help_verb(c->out, v);
        return end_output(c, CLI_OK);
    }
    if (c->shell && (cli_has(a, OPT_DATA) || cli_has(a, OPT_SERVER) || cli_has(a, OPT_PROFILE)))
        return cli_usage(c, a, "the shell stays with what it was started for");
    if (c->shell && c->remote && v->mode == CLI_FOLDER)
        return cli_usage(c, a, "%s works on a folder; this shell is at a server", v->name);
    if (a->nargs < v->min_args)
        return cli_usage(c, a, "%s needs more arguments", v->name);
    if (a->nargs > v->max_args)
        return cli_usage(c, a, "%s: '%s' is one argument too many", v->name, a->arg[v->max_args]);
    int code = c->shell ? CLI_OK : cli_place(c, a);
    if (code == CLI_OK)
        code = v->fn(c, a);
    code = end_output(c, code);
    if (c->shell)
        return code;
    int closing = cli_close(c);
    return code == CLI_OK ? closing : code;
}

int cli_run(struct cli *c, int argc, char **argv)
{
    struct cli_args a;
    struct err e;
    int used = 0, code;
    err_init(&e);
    cli_args_init(&a);
    cli_opts common = CLI_OPTS_COMMON | CLI_OPTS_LOGIN;
    if (argc > 0 && strcmp(argv[0], "--version") == 0) {
        (void)fprintf(c->out, "varve %s\n", varve_version_string());
        return end_output(c, CLI_OK);
    }
    enum status st = cli_args_parse(&a, common, "varve", argc, argv, true, &used, &e);
    if (st == ST_OK && used < argc) {
        a.verb = cli_verb_find(argv[used]);
        if (!a.verb) {
            code = unknown_verb(c, argv[used]);
            goto out;
        }
        if (a.verb->mode == CLI_RAW)
            st = cli_args_raw(&a, argc - used - 1, argv + used + 1, &e);
        else
            st = cli_args_parse(&a, cli_verb_options(a.verb), a.verb->name, argc - used - 1,
                                argv + used + 1, false, NULL, &e);
    }
    if (st == ST_NO_MEMORY)
        code = cli_fail_local(c, st, &e);
    else if (st != ST_OK)
        code = cli_usage(c, &a, "%s", e.detail);
    else if (a.verb)
        code = run_verb(c, &a);
    else if (cli_has(&a, OPT_HELP))
        code = end_output(c, cli_help(c, &a));
    else
        code = cli_usage(c, NULL, "a verb is missing, as in 'varve get users/alice'");
out:
    cli_args_deinit(&a);
    return code;
}
