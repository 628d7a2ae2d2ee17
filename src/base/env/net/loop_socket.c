/* The kernel's sockets: the system calls that both loops make directly. */
#include "base/env/net/loop_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <unistd.h>

union any_addr {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static socklen_t to_sockaddr(const struct net_addr *a, union any_addr *ret)
{
    *ret = (union any_addr){0};
    if (a->family == NET_IP4) {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons(a->port);
        memcpy(&ret->in.sin_addr, a->ip, 4);
        return sizeof ret->in;
    }
    ret->in6.sin6_family = AF_INET6;
    ret->in6.sin6_port = htons(a->port);
    ret->in6.sin6_scope_id = a->scope;
    memcpy(&ret->in6.sin6_addr, a->ip, 16);
    return sizeof ret->in6;
}

void socket__addr(const struct sockaddr *sa, struct net_addr *ret)
{
    *ret = (struct net_addr){0};
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        ret->family = NET_IP4;
        ret->port = ntohs(in.sin_port);
        memcpy(ret->ip, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        ret->family = NET_IP6;
        ret->port = ntohs(in6.sin6_port);
        ret->scope = in6.sin6_scope_id;
        memcpy(ret->ip, &in6.sin6_addr, 16);
    }
}

void socket__peer(int fd, struct net_addr *ret)
{
    union any_addr a = {0};
    socklen_t len = sizeof a;
    if (getpeername(fd, &a.sa, &len) < 0)
        a.sa.sa_family = AF_UNSPEC;
    socket__addr(&a.sa, ret);
}

static void socket_peer(struct loop *l, int fd, struct net_addr *ret)
{
    (void)l;
    socket__peer(fd, ret);
}

static void socket_local(struct loop *l, int fd, struct net_addr *ret)
{
    (void)l;
    union any_addr a = {0};
    socklen_t len = sizeof a;
    if (getsockname(fd, &a.sa, &len) < 0)
        a.sa.sa_family = AF_UNSPEC;
    socket__addr(&a.sa, ret);
}

static bool set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

/* Accepted sockets inherit these from their listener, which saves a call for each. Keep-alives find
 * peers that vanished without a word. */
static bool set_tcp(int fd)
{
    return set(fd, IPPROTO_TCP, TCP_NODELAY, 1) && set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60) && set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15) &&
           set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

static enum status fail(struct err *err, int e, const char *what, const struct net_addr *a)
{
    char text[NET_ADDR_TEXT];
    enum status st = err_errno(err, e, "%s %s", what, net_addr_text(a, text));
    return st;
}

static enum status make(const struct net_addr *a, int *ret_fd, struct err *err)
{
    char text[NET_ADDR_TEXT];
    if (a->family == NET_NONE)
        return err_set(err, ST_INVALID_ARGUMENT, "socket: the address has no family");
    int fd = socket(a->family == NET_IP4 ? AF_INET : AF_INET6,
                    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "socket for %s", net_addr_text(a, text));
    if (!set_tcp(fd)) {
        int e = errno;
        close(fd);
        return err_errno(err, e, "socket options for %s", net_addr_text(a, text));
    }
    *ret_fd = fd;
    return ST_OK;
}

static enum status socket_listen(struct loop *l, const struct loop_listen_options *o, int *ret_fd,
                                 struct net_addr *ret_addr, struct err *err)
{
    int fd;
    enum status st = make(&o->addr, &fd, err);
    if (st)
        return st;
    union any_addr a;
    socklen_t len = to_sockaddr(&o->addr, &a);
    bool ok = set(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
              (!o->reuseport || set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
              (o->addr.family != NET_IP6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only)) &&
              bind(fd, &a.sa, len) == 0 && listen(fd, o->backlog ? o->backlog : 4096) == 0;
    if (!ok) {
        int e = errno;
        close(fd);
        return fail(err, e, "listen on", &o->addr);
    }
    socket_local(l, fd, ret_addr);
    *ret_fd = fd;
    return ST_OK;
}

static enum status socket_connect(struct loop *l, const struct net_addr *to, int *ret_fd,
                                  struct err *err)
{
    (void)l;
    int fd;
    enum status st = make(to, &fd, err);
    if (st)
        return st;
    union any_addr a;
    socklen_t len = to_sockaddr(to, &a);
    /* EINTR too leaves it under way. */
    if (connect(fd, &a.sa, len) < 0 && errno != EINPROGRESS && errno != EINTR) {
        int e = errno;
        close(fd);
        return fail(err, e, "connect to", to);
    }
    *ret_fd = fd;
    return ST_OK;
}

int socket__error(int fd)
{
    int e = 0;
    socklen_t len = sizeof e;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 ? errno : e;
}

/* accept(2) lists what Linux passes on from the new connection's own network. */
bool socket__error_is_passing(int e)
{
    static const int passing[] = {EINTR,  ECONNABORTED, EPROTO,       ENETDOWN,   ENOPROTOOPT,
                                  ENONET, EHOSTDOWN,    EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH,
                                  EPERM,  ECONNRESET,   ETIMEDOUT};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (e == passing[i])
            return true;
    return false;
}

static void socket_reset_on_close(struct loop *l, int fd)
{
    (void)l;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* else it ends politely */
}

static void socket_finish(struct loop *l, int fd)
{
    (void)l;
    (void)shutdown(fd, SHUT_WR); /* ENOTCONN: the peer is gone, as reading will tell */
}

static void socket_close(struct loop *l, int fd)
{
    (void)l;
    close(fd); /* Linux frees the descriptor even when it fails, EINTR included */
}

/* --- waking a loop that waits in the kernel --- */

static enum status wake_open(struct loop *l, struct err *err)
{
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return l->wake_fd < 0 ? err_errno(err, errno, "loop: eventfd") : ST_OK;
}

static void wake_close(struct loop *l)
{
    if (l->wake_fd >= 0)
        close(l->wake_fd);
}

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(l->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so the loop is as awake as can be. */
}

void loop__woken(struct loop *l)
{
    uint64_t count;
    ssize_t n;
    do
        n = read(l->wake_fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
}

const struct loop_sockets loop__sockets = {
    .open = wake_open,
    .close = wake_close,
    .wake = wake,
    .listen = socket_listen,
    .connect = socket_connect,
    .peer = socket_peer,
    .local = socket_local,
    .finish = socket_finish,
    .reset_on_close = socket_reset_on_close,
    .close_socket = socket_close,
};
