/* cli_shell.h - a line of the shell as words.
 *
 * Blanks part words. '...' is taken as it is; inside "..." a backslash takes a following quote or
 * backslash, any other backslash stays; outside of quotes a backslash takes the next character. A
 * '#' at the start of a word begins a comment.
 * A word that begins with '{' is a JSON document and ends behind the brace that closes it; it needs
 * no quotes.
 *
 * Owns: the words' memory. Promises: every byte of a word is the user's; nothing is expanded.
 * Never: runs anything. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_SHELL_H
#define VARVE_APPS_CLI_CLI_SHELL_H

#include "base/buf.h"

struct cli_words {
    char **word;
    size_t n, cap;
    char *text;
};

/* INVALID_ARGUMENT for a quote or backslash that is left open. To be freed with cli_words_deinit
 * after ST_OK only. */
enum status cli_words_split(const char *line, struct cli_words *ret, struct err *err) WARN_UNUSED;
void cli_words_deinit(struct cli_words *w);

#endif
