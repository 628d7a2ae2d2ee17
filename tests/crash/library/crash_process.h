/* crash_process.h - starts the programs of these tests, each with a time limit.
 *
 * Owns: nothing. Promises: a child that takes too long is killed and counts as failed.
 * Never: kills what it did not start. Threads: one.
 */
#ifndef VARVE_TESTS_CRASH_PROCESS_H
#define VARVE_TESTS_CRASH_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROCESS_KILLED = 1000, PROCESS_TIMED_OUT = 2000 };

/* A folder for the test, in memory where there is such a place: what is cut there is recorded, not
 * the disk's own doing. NULL: none could be made. To be given to temp_dir_remove. */
bool process_folder(char out[512], const char *tag);

/* Starts a program. `env`: "NAME=VALUE" strings to add, NULL-terminated, or NULL. Its standard
 * output goes to the file `out_path` (NULL: where ours goes), or to *ret_pipe (may be NULL). -1: it
 * could not be started. */
pid_t process_start(char *const argv[], const char *const env[], const char *out_path,
                    int *ret_pipe);
/* Its exit code; PROCESS_KILLED + the signal; PROCESS_TIMED_OUT when it had to be killed. */
int process_wait(pid_t pid, unsigned seconds);
int process_run(char *const argv[], const char *const env[], const char *out_path,
                unsigned seconds);

#endif
