#include "apps/cli/cli.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A standard stream that was closed would be the next file opened, and that is one of the database:
 * what is printed would be written into it. So it is held by one that fails as a closed one does. */
static bool hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct cli c;
    if (!hold_standard_streams())
        return CLI_FAILED;
    cli_init(&c);
    cli_signals_install();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is met as a failed write, so that the folder is
                                 closed properly */
    int code = cli_run(&c, argc - 1, argv + 1);
    cli_deinit(&c);
    return code;
}
