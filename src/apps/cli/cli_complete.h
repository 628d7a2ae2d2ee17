/* cli_complete.h - completion scripts for shells, from the table of verbs.
 *
 * Owns: nothing. Promises: every verb and every option of it is offered. Never: runs the program to
 * complete. Threads: any.
 */
#ifndef VARVE_APPS_CLI_CLI_COMPLETE_H
#define VARVE_APPS_CLI_CLI_COMPLETE_H

#include <stdbool.h>
#include <stdio.h>

/* "bash", "zsh" or "fish"; false for another shell. */
bool cli_complete(FILE *out, const char *shell);

#endif
