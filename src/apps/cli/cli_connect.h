/* cli_connect.h - which server, and as whom: from options, environment and profile.
 *
 * Owns:     the texts; secrets are wiped. Promises: a password or token never stands on the command
 * line; a file with a secret that others may read is refused. Never: connects (the first call does).
 * Threads:  one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_CONNECT_H
#define VARVE_APPS_CLI_CLI_CONNECT_H

#include "apps/cli/cli.h"

/* X(field, name in the profile): each a text. */
#define CLI_LOGIN_TABLE(X)                                                                         \
    X(server, "server")                                                                            \
    X(user, "user")                                                                                \
    X(password, "password")                                                                        \
    X(password_file, "password_file")                                                              \
    X(token, "token")                                                                              \
    X(token_file, "token_file")                                                                    \
    X(tls, "tls")                                                                                  \
    X(ca, "ca")                                                                                    \
    X(cert, "cert")                                                                                \
    X(key, "key")                                                                                  \
    X(deadline, "deadline")

struct cli_login {
#define X(field, name) char *field;
    CLI_LOGIN_TABLE(X)
#undef X
};

void cli_login_deinit(struct cli_login *l); /* takes a zeroed one */

/* Reads the profile `name` out of the text of a profile file. `ret` gets its settings; those it has
 * already are replaced. NOT_FOUND: there is no such profile (the names that there are, are told);
 * INVALID_ARGUMENT with line and column; NO_MEMORY. */
enum status cli_profile_read(struct bytes text, const char *where, const char *name,
                             struct cli_login *ret, struct err *err) WARN_UNUSED;

#endif
