/* cli.h - what every verb of the `varve` command shares: the context, the table of verbs, opening,
 * failing, exiting.
 *
 * Owns:     the open handle (one per command; the shell keeps one for all of its commands).
 * Promises: usage errors are found before the folder is touched; reading verbs never make a folder;
 * the answer is one of the exit codes below. Never:    reaches past cli_db.h into the database, nor
 * past include/varve/varve.h behind it. Threads:  one. The signal handler only sets a flag.
 */
#ifndef VARVE_APPS_CLI_CLI_H
#define VARVE_APPS_CLI_CLI_H

#include "apps/cli/cli_args.h"
#include "apps/cli/cli_db.h"
#include "base/buf.h"
#include <signal.h>
#include <stdio.h>
#include <varve/varve.h>

/* Exit codes; `varve help` prints them. */
enum {
    CLI_OK = 0,
    CLI_ABSENT = 1,     /* not found, a condition that did not hold, a past that is gone */
    CLI_USAGE = 2,      /* wrong arguments or a value over a limit; nothing was done */
    CLI_LOCKED = 3,     /* another process has the folder */
    CLI_CORRUPT = 4,    /* a checksum does not hold, or verify found something */
    CLI_FAILED = 5,     /* everything else: no database, disk full, input/output, bad input data */
    CLI_SIGNALLED = 128 /* plus the signal's number, after a clean stop */
};

struct cli {
    FILE *in, *out, *err;
    bool in_tty, out_tty, err_tty;
    bool color, err_color;
    bool shell;    /* a command of the shell: the handle stays open */
    struct db *db; /* NULL until cli_open */
    /* Where it runs; borrowed from arguments or environment. */
    const char *data;             /* the folder */
    bool remote;                  /* at a server instead: */
    const char *server, *profile; /* one of both may be NULL */
    const char *program;          /* prefix of messages: "varve" */
    bool out_failed;              /* writing to `out` failed with out_errno */
    int out_errno;
    struct buf scratch; /* one line of output at a time */
};

/* What a verb does with the folder: nothing; reads; writes to one that is there; makes it when
 * there is none; that, and never at a server. CLI_RAW: nothing, and the words behind the verb are
 * its own to read. */
enum cli_mode { CLI_PURE, CLI_READS, CLI_WRITES, CLI_MAKES, CLI_FOLDER, CLI_RAW };

typedef int (*cli_fn)(struct cli *c, const struct cli_args *a);
struct cli_verb {
    const char *name;
    const char *summary;  /* one line for the list */
    const char *usage;    /* after "varve NAME " */
    const char *about;    /* paragraphs; NULL: the summary says it */
    const char *examples; /* one command a line */
    cli_opts options;     /* besides CLI_OPTS_COMMON */
    size_t min_args, max_args;
    enum cli_mode mode;
    cli_fn fn;
};
extern const struct cli_verb cli_verbs[];
extern const size_t cli_verb_count;
/* All that it takes: its own, the common ones, and those of the way to a server. */
cli_opts cli_verb_options(const struct cli_verb *v);
const struct cli_verb *cli_verb_find(const char *name); /* NULL: none */
const char *cli_verb_suggest(const char *name);         /* the nearest name; NULL: none is near */

/* cli_connect.c: where a verb runs, by its options and the environment; and the way to the server.
 * Each CLI_OK or an exit code after its message. */
int cli_place(struct cli *c, const struct cli_args *a);
int cli_connect(struct cli *c, const struct cli_args *a);
/* From the terminal without showing it, else the first line of standard input. */
int cli_ask_secret(struct cli *c, const char *prompt, struct buf *ret);

/* cli_run.c */
void cli_init(struct cli *c);
void cli_deinit(struct cli *c);
/* Runs one command line (argv[0] is the verb, or an option before it) and returns its exit code. */
int cli_run(struct cli *c, int argc, char **argv);
/* Opens the folder as the verb needs it, or gets ready to call the server; CLI_OK or an exit code
 * after its message. */
int cli_open(struct cli *c, const struct cli_args *a);
int cli_close(struct cli *c); /* CLI_OK or an exit code after its message; takes a closed one */

/* Each prints "varve: ..." to `err` and returns an exit code. */
int cli_usage(struct cli *c, const struct cli_args *a, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int cli_error(struct cli *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The failure of a call of c->db (or of opening it): its detail, a hint where one helps, and the
 * code that fits. cli_fail_lib: of a call of the library that is no folder's. */
int cli_fail(struct cli *c, varve_status st, const char *what);
int cli_fail_lib(struct cli *c, varve_status st, const char *what);
/* A key or name in a message: cut after so many bytes, with "..." behind it. */
enum { CLI_NAME_SHOWN = 64, CLI_NAME_TEXT_MAX = CLI_NAME_SHOWN + 8 };
void cli_name_text(const char *name, char out[CLI_NAME_TEXT_MAX]);
int cli_fail_local(struct cli *c, enum status st, const struct err *e);
int cli_exit_code(varve_status st);
void cli_note(struct cli *c, const struct cli_args *a, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))); /* to `err`, not under --quiet */

/* True once a signal asked to stop or the output is gone; loops ask at every row. cli_stop_code is
 * what to return then. */
bool cli_stopped(const struct cli *c);
int cli_stop_code(struct cli *c);
bool cli_signalled(void);
void cli_signals_install(void);
void cli_signals_clear(void);
bool cli_progress_goes_on(void); /* for the library's progress callbacks */

/* "users/alice": the collection up to the first '/', the key behind it (with --escapes decoded).
 * Lives as long as `p`. */
struct cli_path {
    char *collection;
    struct buf key;
    bool has_slash;
};
int cli_path_parse(struct cli *c, const struct cli_args *a, const char *text, bool need_key,
                   struct cli_path *p);
void cli_path_deinit(struct cli_path *p);
/* The bytes that an option's text stands for: itself, or decoded under --escapes. */
int cli_bytes_arg(struct cli *c, const struct cli_args *a, const char *text, struct buf *ret);

/* From --at (absent: now), --limit, --ttl and so on. CLI_OK or CLI_USAGE after its message. */
int cli_at_arg(struct cli *c, const struct cli_args *a, varve_at *ret);
int cli_number_arg(struct cli *c, const struct cli_args *a, enum cli_opt opt, uint64_t *ret);
int cli_duration_arg(struct cli *c, const struct cli_args *a, enum cli_opt opt, uint64_t *ret_ms);
int cli_version_arg(struct cli *c, const struct cli_args *a, const char *text, varve_version *ret);
/* --sync, --ttl and --writer ($VARVE_WRITER, else the user's name). */
int cli_write_args(struct cli *c, const struct cli_args *a, varve_write_options *ret);
uint64_t cli_now_ms(void);
uint64_t cli_mono_ms(void);
/* What it runs on, for messages: the folder, the server, or the profile. */
const char *cli_where(const struct cli *c);
char *cli_user_name(void); /* to be freed with mem_free; NULL: no memory or no name */

/* The verbs. */
int cli_get(struct cli *c, const struct cli_args *a);
int cli_scan(struct cli *c, const struct cli_args *a);
int cli_log(struct cli *c, const struct cli_args *a);
int cli_diff(struct cli *c, const struct cli_args *a);
int cli_changes(struct cli *c, const struct cli_args *a);
int cli_watch(struct cli *c, const struct cli_args *a);
int cli_put(struct cli *c, const struct cli_args *a);
int cli_delete(struct cli *c, const struct cli_args *a);
int cli_restore(struct cli *c, const struct cli_args *a);
int cli_import(struct cli *c, const struct cli_args *a);
int cli_export(struct cli *c, const struct cli_args *a);
int cli_snapshot(struct cli *c, const struct cli_args *a);
int cli_stats(struct cli *c, const struct cli_args *a);
int cli_verify(struct cli *c, const struct cli_args *a);
int cli_vacuum(struct cli *c, const struct cli_args *a);
int cli_checkpoint(struct cli *c, const struct cli_args *a);
int cli_retention(struct cli *c, const struct cli_args *a);
int cli_compact(struct cli *c, const struct cli_args *a);
int cli_collections(struct cli *c, const struct cli_args *a);
int cli_drop(struct cli *c, const struct cli_args *a);
int cli_user(struct cli *c, const struct cli_args *a);
int cli_token(struct cli *c, const struct cli_args *a);
int cli_shell(struct cli *c, const struct cli_args *a);
int cli_completion(struct cli *c, const struct cli_args *a);
int cli_help(struct cli *c, const struct cli_args *a);
int cli_serve(struct cli *c, const struct cli_args *a);
int cli_sim(struct cli *c, const struct cli_args *a);
int cli_config(struct cli *c, const struct cli_args *a);
int cli_bench(struct cli *c, const struct cli_args *a);
/* The library's {"set":{},"unset":[]} as lines for people. */
int cli_diff_text(struct cli *c, const char *json);
void cli_help_verb(FILE *out, const struct cli_verb *v);

/* Collections that the command keeps for itself start with this; lists leave them out unless asked
 * (--all). */
#define CLI_HIDDEN_PREFIX "_varve."
#define CLI_IMPORTS       "_varve.imports"
bool cli_hidden(const char *collection);

#endif
