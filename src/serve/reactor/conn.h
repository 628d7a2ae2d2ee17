/* conn.h - a connection of a reactor, as a protocol sees it.
 *
 * A protocol is a table of callbacks (conn_proto). Between it and the socket may stand a filter
 * (TLS), which it does not notice. HTTP/1, HTTP/2 and others plug in here; a protocol that only
 * tells others apart by ALPN or preface hands over with conn_set_proto.
 *
 * Owns:     the connection, by reference counting: the reactor holds one until on_closed, each
 *           request fiber that keeps the pointer holds its own.
 * Promises: callbacks run on the reactor's thread, outside fibers, never within a call of this
 *           header. A reader that does not read costs its output queue and no more: above
 *           output.send_high_bytes reading from it pauses by itself.
 * Never:    interprets bytes.
 * Threads:  the reactor's own, in callbacks and on its fibers.
 */
#ifndef VARVE_SERVE_REACTOR_CONN_H
#define VARVE_SERVE_REACTOR_CONN_H

#include "serve/reactor/reactor.h"

struct conn_proto {
    const char *name;
    /* The connection is there and its filter's handshake is done (conn_alpn is known). Makes the
     * protocol's state and puts it in place (conn_set_state). An error closes the connection;
     * on_closed is then not called, nor is it when the handshake failed (but see reactor_connect). `arg` is reactors_listen's. */
    enum status (*on_open)(struct conn *c, void *arg);
    /* Bytes, borrowed until the return. Returns how many were taken; when some were left, reading
     * pauses and the rest comes again, with what came after it, after conn_resume. To wait for more
     * bytes take them all and keep what is incomplete. After conn_set_proto the rest goes to the
     * new protocol at once. */
    size_t (*on_data)(struct conn *c, struct bytes data);
    /* The peer sends no more. NULL: conn_finish. */
    void (*on_eof)(struct conn *c);
    /* Output fell to the low-water mark after conn_writable had said no. May be NULL. */
    void (*on_writable)(struct conn *c);
    /* After the fibers of the round, once for each connection that called conn_want_output: the
     * moment to turn what protocol and fibers have ready into bytes (conn_send), so that all of it
     * leaves together. May be NULL. */
    void (*on_output)(struct conn *c);
    /* The time set by conn_set_tick has come. May be NULL. */
    void (*on_tick)(struct conn *c, uint64_t now_ns);
    /* The reactor stops: take no new requests, tell the peer (GOAWAY, Connection: close), and
     * conn_finish when the last answer is queued. NULL: conn_finish. */
    void (*on_drain)(struct conn *c);
    /* The last callback. Frees the protocol's state; fibers may still hold references to `c`, for
     * whom conn_is_open now says no. why as loop_conn_ops.on_close, and TIMED_OUT, CANCELLED (cut
     * at the end of draining), or what conn_abort was told. */
    void (*on_closed)(struct conn *c, enum status why);
};

void *conn_state(const struct conn *c);
void conn_set_state(struct conn *c, void *state);
const struct conn_proto *conn_proto_of(const struct conn *c);
/* Another protocol takes over, from the next byte on; its on_open is not called. */
void conn_set_proto(struct conn *c, const struct conn_proto *proto, void *state);
struct reactor *conn_reactor(const struct conn *c);
uint64_t conn_id(const struct conn *c); /* unique in the process's life: for logs */
void conn_ref(struct conn *c);
void conn_unref(struct conn *c);         /* takes NULL */
bool conn_is_open(const struct conn *c); /* output is still taken */

/* --- output; sent at the end of the round --- */

/* Queues a copy, all or nothing. OVERLOADED: output.send_max_bytes or output_bytes; NO_MEMORY;
 * CLOSED: after conn_finish, or gone. IO_ERROR: the filter failed. */
enum status conn_send(struct conn *c, struct bytes data) WARN_UNUSED;
/* Queues the bytes themselves where no filter stands between (else a sealed copy); release(arg) is
 * called once they are not needed any more, also when this call fails. */
enum status conn_send_ref(struct conn *c, struct bytes data, void (*release)(void *arg),
                          void *arg) WARN_UNUSED;
/* on_output follows in this round, or in the next when called from on_output. */
void conn_want_output(struct conn *c);
bool conn_writable(const struct conn *c); /* queued <= output.send_high_bytes, and open */
size_t conn_queued(const struct conn *c);
/* Parks the current fiber until conn_writable, the connection is gone (CLOSED), or the deadline
 * (UINT64_MAX: none) passed (TIMED_OUT). For streams: one fiber a connection at a time. */
enum status conn_wait_writable(struct conn *c, uint64_t deadline_ns) WARN_UNUSED;

/* --- input --- */

void conn_pause(struct conn *c);  /* no on_data until conn_resume; does not count calls */
void conn_resume(struct conn *c); /* what was left comes again in a coming round */
/* A request holds `bytes` of memory from here on. Over request_conn_bytes reading pauses until
 * enough was given back; over request_bytes: OVERLOADED, nothing is charged. So that a pause ends,
 * charge what is complete and at work; what is incomplete the protocol bounds itself (size limits,
 * flow control). */
enum status conn_charge(struct conn *c, size_t bytes, struct err *err) WARN_UNUSED;
void conn_uncharge(struct conn *c, size_t bytes); /* also after the connection is gone */

/* --- life --- */

void conn_settled(struct conn *c); /* ends the setup timeout: the peer has shown good will */
/* How many requests are at work: while there are any the idle timeout does not run. */
void conn_busy(struct conn *c, int delta);
void conn_set_tick(struct conn *c, uint64_t at_ns); /* on_tick then, once; UINT64_MAX: not */
/* Sends what is queued, then closes; input is thrown away from here on. The peer has linger_ms to
 * close its side, so that it reads all, and may send linger_bytes until then. */
void conn_finish(struct conn *c);
/* Drops the connection and its output now; on_closed(why) follows in a coming round. */
void conn_abort(struct conn *c, enum status why);
void conn_peer(const struct conn *c, struct net_addr *ret);

/* --- the filter --- */

/* A filter turns what the socket carries into what the protocol sees, and back; it does no I/O. All
 * calls come from the reactor. */
struct conn_filter_ops {
    /* Takes all of `in` and appends what is to be sent because of it (handshake, alerts) to `out`.
     * An error ends the connection after `out` was sent. `in` is borrowed until read has said
     * *ret_len = 0 for the first time after; what is unread by then the filter keeps itself. */
    enum status (*feed)(void *f, struct bytes in, struct buf *out, struct err *err);
    /* Gives clear bytes, as many as fit; *ret_len = 0: none now. *ret_eof: the peer ended well. */
    enum status (*read)(void *f, uint8_t *to, size_t cap, size_t *ret_len, bool *ret_eof,
                        struct buf *out, struct err *err);
    /* Keeps a copy of what `in` has left unread, *ret_len bytes: the borrowing ends. NO_MEMORY. */
    enum status (*keep)(void *f, size_t *ret_len);
    bool (*ready)(const void *f); /* the handshake is done */
    /* Seals clear bytes, appending to `out`. Only when ready. */
    enum status (*seal)(void *f, struct bytes clear, struct buf *out, struct err *err);
    enum status (*finish)(void *f, struct buf *out); /* appends the goodbye (close_notify) */
    const char *(*alpn)(const void *f);              /* "h2", "http/1.1"; "" when none was agreed */
    /* Who the peer proved to be, e.g. the certificate's subject (RFC 2253); "" when nobody. */
    const char *(*peer_name)(const void *f);
    void (*free)(void *f);
};
/* Makes the filter of one connection; may put first bytes into `out` (a client's hello). Called on
 * the reactors' threads, on several at once. */
struct conn_filter_maker {
    enum status (*make)(void *arg, struct buf *out, void **ret_filter, struct err *err);
    const struct conn_filter_ops *ops;
    void *arg;
};
bool conn_is_secure(const struct conn *c); /* a filter stands between */
/* What the filter found wrong, in words; "" when nothing. Lives as long as c. */
const char *conn_failure(const struct conn *c);
/* The filter, for whoever made it; NULL when it has none or another kind of. */
void *conn_filter(const struct conn *c, const struct conn_filter_ops *ops);
const char *conn_alpn(const struct conn *c);      /* "" without a filter */
const char *conn_peer_name(const struct conn *c); /* "" without a filter; lives as long as c */

#endif
