/* assert.c - how an invariant's end is reported: one line, then abort, so that a core shows the
 * place. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void assert_failed(const char *expr, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof text, "varve: assertion failed: %s (%s:%d)\n", expr, file, line);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    ssize_t written = write(STDERR_FILENO, text, len);
    (void)written; /* there is nowhere left to complain to */
    abort();
}
