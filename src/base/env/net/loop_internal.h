/* loop_internal.h - what loop.c and the implementations behind it share.
 *
 * The common half (loop.c, loop_conn.c, loop_timer.c) owns the state of connections, their output
 * queues, what they keep of their input, timers and messages. An implementation (struct
 * loop_backend) knows the kernel: it waits, and says what happened through the loop__ calls below.
 * Its sockets (struct loop_sockets) are the kernel's, or those of a simulated network; the common
 * half knows them by number only.
 *
 * Three lists drive a connection. `dirty`: it has output, or an end, for the kernel (loop_flush).
 * `attention`: something is to be done outside its owner's calls, i.e. in loop_poll: kept input to
 * deliver again, reading to take up, a low-water mark to tell, a close to carry out. `all`.
 *
 * Threads:  the loop's own; `sleeping`, `woken` and the ring of posts from any.
 */
#ifndef VARVE_BASE_ENV_NET_LOOP_INTERNAL_H
#define VARVE_BASE_ENV_NET_LOOP_INTERNAL_H

#include "base/env/net/loop.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    LOOP_IOV = 64,           /* parts in one send */
    CHUNK_SMALL = 4096,      /* an output chunk with its header; the first of a queue */
    CHUNK_LARGE = 32 * 1024, /* the later ones */
    CHUNKS_SPARE = 64,       /* small ones kept for reuse */
    ACCEPTS_A_ROUND = 64,    /* so that a burst of newcomers does not starve who is there */
    WHEEL_LEVELS = 4,
    WHEEL_SLOTS = 64,
};

struct out_chunk {
    struct out_chunk *next;
    uint8_t *data; /* own[], or borrowed when release is set */
    size_t at, end, cap;
    void (*release)(void *arg);
    void *arg;
    uint8_t own[];
};

struct loop_conn {
    struct loop *loop;
    const struct loop_conn_ops *ops;
    void *ctx;
    int fd;
    int close_errno;
    enum status close_why;
    struct list all, dirty, attention;

    bool connecting, want_read, eof_seen, eof_told, fin_wanted, fin_sent;
    bool above_high, drained_due;
    bool closing; /* no callback but on_close from here on */
    bool dropped; /* the backend has been told */
    bool reset;

    /* The backend's: readiness as epoll told it, or requests under way in io_uring. */
    bool can_read, can_write, hung_up;
    bool recv_armed, recv_cancelled, send_armed, connect_armed;
    unsigned pending;

    struct out_chunk *out_first, *out_last;
    size_t queued, send_max, send_high, send_low;
    uint64_t sent;
    uint8_t *kept; /* input not taken yet: [kept_at, kept_end) */
    size_t kept_at, kept_end, kept_cap;
};

struct loop_listener {
    struct loop *loop;
    struct loop_listen_options options;
    struct net_addr addr;
    int fd;
    bool paused, closing, dropped, armed;
    unsigned pending;
    struct loop_timer resume;
    struct list all, attention;
};

/* Sockets by number, as loop_listen, loop_connect and on_accept hand them about. */
struct loop_sockets {
    /* What loop_wake needs is made and unmade here; wake may come from any thread. */
    enum status (*open)(struct loop *l, struct err *err);
    void (*close)(struct loop *l);
    void (*wake)(struct loop *l);
    enum status (*listen)(struct loop *l, const struct loop_listen_options *o, int *ret_fd,
                          struct net_addr *ret_addr, struct err *err);
    /* A connection under way. */
    enum status (*connect)(struct loop *l, const struct net_addr *to, int *ret_fd, struct err *err);
    void (*peer)(struct loop *l, int fd, struct net_addr *ret);
    void (*local)(struct loop *l, int fd, struct net_addr *ret);
    void (*finish)(struct loop *l, int fd); /* half closes: nothing more is sent */
    void (*reset_on_close)(struct loop *l, int fd);
    void (*close_socket)(struct loop *l, int fd);
};
extern const struct loop_sockets loop__sockets; /* the kernel's */

struct loop_backend {
    enum loop_kind kind;
    const struct loop_sockets *sockets;
    size_t recv_buf_bytes, recv_bufs; /* defaults */
    enum status (*open)(struct loop *l, struct err *err);
    void (*close)(struct loop *l);
    /* Waits up to timeout_ns (0: not at all, UINT64_MAX: for ever) and handles what is ready. */
    void (*poll)(struct loop *l, uint64_t timeout_ns);
    enum status (*conn_add)(struct loop_conn *c, struct err *err);
    /* Reading is wanted and nothing is kept, or the connection is under way: takes it up. Comes
     * often; does nothing when it is. */
    void (*conn_read)(struct loop_conn *c);
    /* Has output or an end to send, and is connected. */
    void (*conn_flush)(struct loop_conn *c);
    /* Ends all that refers to the connection; loop__conn_gone when that is so, perhaps at once. */
    void (*conn_drop)(struct loop_conn *c);
    enum status (*listener_add)(struct loop_listener *li, struct err *err);
    void (*listener_pause)(struct loop_listener *li);
    void (*listener_resume)(struct loop_listener *li);
    void (*listener_drop)(struct loop_listener *li); /* loop__listener_gone */
};

struct wheel {
    uint64_t now_ms; /* all before this has been run */
    uint64_t used[WHEEL_LEVELS];
    struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
    struct list due;
};

struct post_cell {
    _Atomic size_t seq;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    const struct loop_backend *backend;
    void *impl; /* the backend's own */
    struct env *env;
    struct loop_options options;
    struct list conns, listeners, dirty, attention, listener_attention;
    struct list attended, flushed; /* stand in attention and dirty while those are gone through */
    size_t n_conns, queued, kept, callbacks;
    uint64_t now_ns;
    uint64_t events; /* that the backend has handled: what a wait ends with */
    unsigned looked_in_vain,
        sleep_at_once; /* times in a row; times to come (loop_options.look_ns) */
    struct wheel wheel;
    struct out_chunk *spare;
    size_t n_spare;

    int wake_fd;           /* the kernel's sockets' */
    _Atomic bool sleeping; /* may be in the kernel: a waker must write wake_fd */
    _Atomic bool woken;
    struct post_cell *posts;
    _Atomic size_t post_head; /* next to fill */
    size_t post_tail;         /* next to run */
};

extern const struct loop_backend loop__epoll;
#ifdef VARVE_URING
extern const struct loop_backend loop__uring;
#endif

/* --- what a backend reports --- */

void loop__received(struct loop_conn *c, const uint8_t *data, size_t len);
void loop__eof(struct loop_conn *c);
void loop__connected(struct loop_conn *c, int error);
void loop__sent(struct loop_conn *c, size_t len);
void loop__failed(struct loop_conn *c, int error); /* an errno of receiving or sending */
void loop__conn_gone(struct loop_conn *c);         /* closes the socket, tells and frees */
void loop__accepted(struct loop_listener *li, int fd, const struct net_addr *peer);
void loop__accept_failed(struct loop_listener *li, int error);
void loop__listener_gone(struct loop_listener *li);
void loop__awake(struct loop *l); /* a backend has stopped waiting; before it handles what came */
void loop__woken(struct loop *l); /* wake_fd is readable */

/* --- within the common half --- */

void loop__attend(struct loop_conn *c); /* puts it on the list */
void loop__mark_dirty(struct loop_conn *c);
void loop__close(struct loop_conn *c, enum status why, int error);
bool loop__wants_bytes(const struct loop_conn *c); /* reading wanted, none kept, not at the end */
bool loop__has_output(const struct loop_conn *c);  /* bytes, or an end not told yet */
/* Fills iov with the queue's beginning; *ret_bytes says how much that is. */
int loop__gather(const struct loop_conn *c, struct iovec *iov, int max, size_t *ret_bytes);
void loop__send_end(struct loop_conn *c); /* half closes when all is sent and that is wanted */
void loop__drop_output(struct loop_conn *c);
void loop__free_spares(struct loop *l);

void wheel__init(struct wheel *w, uint64_t now_ms);
uint64_t wheel__next_ms(const struct wheel *w); /* UINT64_MAX: nothing runs */
size_t wheel__run(struct wheel *w, uint64_t now_ms);

/* --- the kernel's sockets (loop_socket.c) --- */

int socket__error(int fd);                /* takes the pending error */
bool socket__error_is_passing(int error); /* of accept: about one newcomer, not about us */
void socket__addr(const struct sockaddr *sa, struct net_addr *ret);
void socket__peer(int fd, struct net_addr *ret);

#endif
