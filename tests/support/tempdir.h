/* tempdir.h - a fresh folder per test, under $TMPDIR or /tmp.
 *
 * Owns:     nothing; the caller removes what it made.
 * Promises: the folder is new and empty. A failure is printed with its cause.
 * Never:    follows symbolic links while removing; removes anything but what temp_dir_make made.
 * Threads:  any.
 */
#ifndef VARVE_SUPPORT_TEMPDIR_H
#define VARVE_SUPPORT_TEMPDIR_H

#include <stdbool.h>

enum { TEMP_DIR_MAX = 512 };

bool temp_dir_make(char out[TEMP_DIR_MAX], const char *tag); /* tag: part of the name, e.g. "wal" */
bool temp_dir_remove(const char *path); /* with all that is in it; true when it is gone */

#endif
