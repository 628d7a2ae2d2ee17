/* planted.c - which bug this process has; part of no build but the one with VARVE_PLANTED_BUGS. */
#include "base/planted.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum planted planted_bug;

static const char *const names[] = {"",
#define X(name, what) #name,
                                    PLANTED_BUGS(X)
#undef X
};

__attribute__((constructor)) static void choose(void)
{
    const char *name = getenv("VARVE_PLANTED_BUG");
    if (!name)
        return;
    size_t i = 0, n = sizeof names / sizeof *names;
    while (i < n && strcmp(names[i], name) != 0)
        i++;
    ASSERT(i < n); /* a misspelt name must not pass for a bug that was not found */
    planted_bug = (enum planted)i;
}
