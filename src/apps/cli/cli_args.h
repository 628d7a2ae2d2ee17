/* cli_args.h - options and arguments of one command line, parsed from the one table of options.
 *
 * Forms: --name, --name=value, --name value, -x, -xvalue, -x value, -xyz (flags), "--" ends the
 * options, "-" alone and "-5m" (a digit behind the dash) are arguments.
 *
 * Owns:     the list of arguments (the strings are argv's).
 * Promises: an unknown option is an error that names the nearest known one; the last of a repeated
 * option counts. Never:    prints, exits or guesses. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_ARGS_H
#define VARVE_APPS_CLI_CLI_ARGS_H

#include "base/status.h"
#include <stdint.h>

/* X(id, long name, letter or 0, placeholder of the value or NULL for a flag, help) */
#define CLI_OPTION_TABLE(X)                                                                        \
    X(DATA, "data", 'd', "DIR", "the database's folder (default $VARVE_DATA, else ./varve-data)")  \
    X(SERVER, "server", 0, "HOST:PORT",                                                            \
      "run at a server, not in a folder (default $VARVE_SERVER)")                                  \
    X(PROFILE, "profile", 0, "NAME", "the server and the credentials of the profile file")         \
    X(JSON, "json", 'j', NULL, "JSON for programs: one value a line")                              \
    X(QUIET, "quiet", 'q', NULL, "no notes and no progress, only results and errors")              \
    X(HELP, "help", 'h', NULL, "show this help")                                                   \
    X(AT, "at", 'a', "WHEN",                                                                       \
      "read the past: a time (2026-02-01T00:00:00Z, 2026-02-01), -5m, VERSION or @SNAPSHOT")       \
    X(PRETTY, "pretty", 'p', NULL, "documents over several lines")                                 \
    X(CANONICAL, "canonical", 0, NULL, "canonical Extended JSON, which keeps every type")          \
    X(ESCAPES, "escapes", 'e', NULL, "keys are given as they are printed: \\xNN and \\\\")         \
    X(RAW, "raw", 0, NULL, "the value is bytes, not a JSON document")                              \
    X(DOC, "doc", 0, NULL, "with --file: the file holds a JSON document")                          \
    X(FILE, "file", 'f', "FILE", "take the value from a file, as bytes (or see --doc)")            \
    X(TTL, "ttl", 0, "DURATION", "the record expires after this: 30s, 10m, 2h, 7d")                \
    X(IF_ABSENT, "if-absent", 0, NULL, "only if the key does not exist")                           \
    X(IF_VERSION, "if-version", 0, "VERSION", "only if this is the key's present version")         \
    X(WRITER, "writer", 'w', "NAME", "who writes (default $VARVE_WRITER, else the user's name)")   \
    X(SYNC, "sync", 0, "MODE", "always (default), interval or off: what a power cut may lose")     \
    X(LIMIT, "limit", 'n', "N", "at most N rows")                                                  \
    X(PATCH, "patch", 0, NULL, "as a JSON Patch (RFC 6902)")                                       \
    X(PREFIX, "prefix", 0, "TEXT", "only keys that start with it")                                 \
    X(FROM, "from", 0, "KEY", "first key, included")                                               \
    X(TO, "to", 0, "KEY", "end, not included")                                                     \
    X(REVERSE, "reverse", 'r', NULL, "in descending order of keys")                                \
    X(KEYS_ONLY, "keys-only", 'k', NULL, "keys without their values")                              \
    X(SINCE, "since", 's', "TOKEN", "go on behind this token; \"now\" for what comes")             \
    X(COLLECTION, "collection", 'c', "NAME", "only this collection")                               \
    X(VALUES, "values", 0, NULL, "with the value of each version")                                 \
    X(FOLLOW, "follow", 0, NULL, "go on with what comes; needs a server (--server)")               \
    X(TIMEOUT, "timeout", 0, "DURATION", "stop when nothing came for this long")                   \
    X(KEY, "key", 0, "FIELD", "the field that is the key (default _key)")                          \
    X(DROP_KEY, "drop-key", 0, NULL, "do not keep the key's field in the document")                \
    X(FORMAT, "format", 0, "FORMAT", "ndjson or csv (default by the file's name, else ndjson)")    \
    X(BATCH, "batch", 0, "N", "rows written as one (default 1000)")                                \
    X(RESUME, "resume", 0, NULL, "go on where an interrupted run stopped")                         \
    X(ON_ERROR, "on-error", 0, "WHAT", "stop (default) or skip a bad row")                         \
    X(CHANGED_ONLY, "changed-only", 0, NULL, "leave documents alone that are already so")          \
    X(INFER, "infer", 0, NULL, "CSV: unquoted numbers and true/false are not strings")             \
    X(PROGRESS, "progress", 0, NULL, "report progress also when not on a terminal")                \
    X(MAX_AGE, "max-age", 0, "DURATION", "versions superseded longer ago may go; 0: no limit")     \
    X(MAX_COUNT, "max-count", 0, "N", "versions kept per key; 0: no limit")                        \
    X(CERTIFICATE, "certificate", 0, NULL, "the user comes by TLS certificate, not by password")   \
    X(USER, "user", 0, "NAME", "log in at the server as this user")                                \
    X(PASSWORD_FILE, "password-file", 0, "FILE",                                                   \
      "whose first line is the password (else it is asked for)")                                   \
    X(TOKEN_FILE, "token-file", 0, "FILE",                                                         \
      "whose first line is an API token (default $VARVE_TOKEN)")                                   \
    X(TLS, "tls", 0, NULL,                                                                         \
      "encrypt; the server is believed if the system's authorities vouch for it")                  \
    X(CA, "ca", 0, "FILE", "encrypt; whom to believe instead of the system's authorities, PEM")    \
    X(CERT, "cert", 0, "FILE", "our certificate, PEM")                                             \
    X(CERT_KEY, "cert-key", 0, "FILE", "its private key, PEM")                                     \
    X(DEADLINE, "deadline", 0, "DURATION", "for a call to be answered (default 30s; 0s: none)")    \
    X(ALL, "all", 0, NULL, "everything, also what is for internal use")

enum cli_opt {
#define X(id, name, letter, value, help) OPT_##id,
    CLI_OPTION_TABLE(X)
#undef X
        OPT_COUNT
};

struct cli_option {
    const char *name;
    char letter;
    const char *value;
    const char *help;
};
extern const struct cli_option cli_options[OPT_COUNT];

typedef uint64_t cli_opts; /* a set of them */
#define CLI_OPT(id) (UINT64_C(1) << OPT_##id)
#define CLI_OPTS_COMMON                                                                            \
    (CLI_OPT(DATA) | CLI_OPT(SERVER) | CLI_OPT(PROFILE) | CLI_OPT(JSON) | CLI_OPT(QUIET) |         \
     CLI_OPT(HELP))
/* With --server or --profile. */
#define CLI_OPTS_LOGIN                                                                             \
    (CLI_OPT(USER) | CLI_OPT(PASSWORD_FILE) | CLI_OPT(TOKEN_FILE) | CLI_OPT(TLS) | CLI_OPT(CA) |   \
     CLI_OPT(CERT) | CLI_OPT(CERT_KEY) | CLI_OPT(DEADLINE))
_Static_assert(OPT_COUNT <= 64, "a cli_opts has 64 bits");

struct cli_verb;
struct cli_args {
    const struct cli_verb *verb;
    cli_opts set;
    const char *value[OPT_COUNT];
    const char **arg;
    size_t nargs;
};

static inline bool cli_has(const struct cli_args *a, enum cli_opt opt)
{
    return (a->set >> opt) & 1;
}

void cli_args_init(struct cli_args *a);
void cli_args_deinit(struct cli_args *a);
/* Adds argv[0..argc) to `a`. `allowed` are the options known here; `whose` names them in errors
 * ("put"). With `stop_at_arg` the first argument ends it; *ret_used (may be NULL) tells how many
 * were read. INVALID_ARGUMENT, NO_MEMORY. */
enum status cli_args_parse(struct cli_args *a, cli_opts allowed, const char *whose, int argc,
                           char *const *argv, bool stop_at_arg, int *ret_used,
                           struct err *err) WARN_UNUSED;

/* Adds argv[0..argc) as arguments, whatever they look like. NO_MEMORY. */
enum status cli_args_raw(struct cli_args *a, int argc, char *const *argv,
                         struct err *err) WARN_UNUSED;

/* The number of single-letter edits (insert, delete, replace, swap of neighbours) from a to b. */
size_t cli_edit_distance(const char *a, const char *b);
/* The nearest of `names` to `name` (within a third of its length, at least 1 edit, at most 3), or
 * NULL. */
const char *cli_nearest(const char *name, const char *const *names, size_t n);

/* A whole number in decimal, without sign; false on anything else or overflow. */
bool cli_number_parse(const char *text, uint64_t *ret);

#endif
