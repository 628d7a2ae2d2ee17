/* crash_process.c - see crash_process.h. */
#include "crash/library/crash_process.h"

#include "support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Static_assert(TEMP_DIR_MAX == 512, "what process_folder is given has room for it");

bool process_folder(char out[512], const char *tag)
{
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) {
        int n = snprintf(out, 512, "/dev/shm/varve-test-%s-XXXXXX", tag);
        if (n > 0 && n < 512 && mkdtemp(out))
            return true;
    }
    return temp_dir_make(out, tag);
}

static void become(char *const argv[], const char *const env[], int out)
{
    if (out >= 0 && dup2(out, STDOUT_FILENO) < 0)
        _exit(127);
    for (size_t i = 0; env && env[i]; i++)
        if (putenv((char *)(unsigned long)env[i]))
            _exit(127);
    execv(argv[0], argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

pid_t process_start(char *const argv[], const char *const env[], const char *out_path,
                    int *ret_pipe)
{
    int ends[2] = {-1, -1};
    if (ret_pipe && pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    int out = out_path ? open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : ends[1];
    if (out_path && out < 0)
        return -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become(argv, env, out);
    if (out >= 0)
        close(out);
    if (ret_pipe && pid < 0)
        close(ends[0]);
    else if (ret_pipe)
        *ret_pipe = ends[0];
    return pid;
}

int process_wait(pid_t pid, unsigned seconds)
{
    struct timespec nap = {0, 2000000}, start, now;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got < 0)
            return PROCESS_TIMED_OUT;
        if (got == pid)
            return WIFSIGNALED(status) ? PROCESS_KILLED + WTERMSIG(status) : WEXITSTATUS(status);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > (time_t)seconds) {
            fprintf(stderr, "process %d has not ended within %u s\n", (int)pid, seconds);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return PROCESS_TIMED_OUT;
        }
        nanosleep(&nap, NULL);
    }
}

int process_run(char *const argv[], const char *const env[], const char *out_path, unsigned seconds)
{
    pid_t pid = process_start(argv, env, out_path, NULL);
    return pid < 0 ? PROCESS_TIMED_OUT : process_wait(pid, seconds);
}
