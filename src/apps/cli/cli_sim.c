/* sim: hands over to varve-sim, which lies beside this program in a build folder. It is a program of
 * its own: nothing of the simulator is linked into what serves. */
#include "apps/cli/cli.h"
#include "base/alloc.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The path of varve-sim in the folder of this program; false: it does not fit, or is not known. */
static bool beside(char path[PATH_MAX])
{
    static const char name[] = "varve-sim";
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (n < 0)
        return false;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash + 1 - path) + sizeof name > PATH_MAX)
        return false;
    memcpy(slash + 1, name, sizeof name);
    return true;
}

int cli_sim(struct cli *c, const struct cli_args *a)
{
    char path[PATH_MAX];
    char **words = mem_alloc((a->nargs + 2) * sizeof *words);
    if (!words || !beside(path)) {
        mem_free(words);
        return cli_error(c, CLI_FAILED, "cannot look beside this program for varve-sim");
    }
    words[0] = path;
    for (size_t i = 0; i < a->nargs; i++)
        words[i + 1] = (char *)(uintptr_t)a->arg[i];
    words[a->nargs + 1] = NULL;
    (void)fflush(c->out);
    execv(path, words);
    int e = errno;
    mem_free(words);
    if (e == ENOENT)
        return cli_error(c, CLI_FAILED,
                         "there is no %s: the simulator is built with Varve, but not installed",
                         path);
    return cli_error(c, CLI_FAILED, "%s: %s", path, strerror(e));
}
