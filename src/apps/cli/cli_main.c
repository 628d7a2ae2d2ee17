#include "apps/cli/cli.h"
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct cli c;
    cli_init(&c);
    cli_signals_install();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is met as a failed write, so that the folder is
                                 closed properly */
    int code = cli_run(&c, argc - 1, argv + 1);
    if (fflush(c.out) != 0 && code == CLI_OK)
        code = CLI_FAILED;
    cli_deinit(&c);
    return code;
}
