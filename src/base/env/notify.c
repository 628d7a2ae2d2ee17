#include "base/env/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum status env_notify(const char *path, const char *state, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || !*path)
        return ST_OK;
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof to.sun_path)
        return err_set(err, ST_INVALID_ARGUMENT, "NOTIFY_SOCKET: '%.60s' is no socket", path);
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "%s: socket", path);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                       (const struct sockaddr *)(const void *)&to, size);
    enum status st = n < 0 ? err_errno(err, errno, "%s", path) : ST_OK;
    close(fd);
    return st;
}
