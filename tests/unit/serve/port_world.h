/* port_world.h - a port with handlers that do a little of everything, and clients of it on blocking
 * sockets: raw bytes, and HTTP/2 by src/wire. */
#ifndef VARVE_TESTS_PORT_WORLD_H
#define VARVE_TESTS_PORT_WORLD_H

#include "serve/port/port.h"

struct world {
    struct reactors *g;
    struct port *port;
    struct net_addr addr;
    struct metrics *metrics;
    /* What the handlers saw. */
    _Atomic unsigned running, cancelled, timed_out, closed, stop_hooks, done, write_closed;
    _Atomic unsigned last_http, last_grpc;
    _Atomic uint64_t streamed, bytes_in, last_bytes_out;
    _Atomic unsigned group; /* requests at work together, when the first went on */
    _Atomic uint64_t most_active;
    /* Joins that have begun; how many of them may end; whether they fail. */
    _Atomic unsigned joins, joins_may_end, joins_fail;
};
struct world_options {
    struct reactor_options reactor;
    struct port_options port;
    bool no_http; /* gRPC alone, as at the port of a cluster's nodes */
};
/* HTTP: /hello /echo /pieces /stream?BYTES /wait /none /half /headers /late /group
 * gRPC test.T: Echo, One (an echo that begins when the client has ended), Stream (message: decimal bytes to stream), Sum, Wait, Late, None, Joined
 * (an echo after a join). */
void world_start(struct world *w, const struct world_options *o);
size_t world_stop(struct world *w, uint64_t drain_ms); /* how many connections were cut */
/* Waits until the counter has reached n; fails after 20 s. */
void world_until(const _Atomic unsigned *counter, unsigned n);
struct reactor_stats world_reactor(struct world *w);

/* --- raw bytes --- */
int dial(const struct world *w);
void say_bytes(int fd, const void *data, size_t len);
void say(int fd, const char *text);
/* Reads until the connection ends; what came, NUL-terminated (the caller frees). */
char *hear_all(int fd, size_t *ret_len);
/* Reads until `text` has come; the whole of it so far (the caller frees). */
char *hear_until(int fd, const char *text);

/* --- HTTP/2 --- */
struct peer;
struct answer {
    struct h2_stream *stream;
    struct grpc_call call; /* gRPC */
    bool grpc, headers, end, closed;
    unsigned status;
    uint32_t code;
    struct buf body;
    unsigned messages;
    struct grpc_result result;
    bool hold; /* does not consume */
};
struct peer *peer_dial(const struct world *w, const struct h2_options *o);
void peer_close(struct peer *p); /* the socket too */
int peer_fd(const struct peer *p);
struct h2_conn *peer_h2(const struct peer *p);
void peer_request(struct peer *p, struct answer *a, const char *method, const char *path,
                  struct bytes body, bool end);
void peer_call(struct peer *p, struct answer *a, const char *method, uint64_t timeout_ns);
void peer_send(struct peer *p); /* all that the client has to say */
/* Exchanges bytes until *done (or the connection ends: then fails, unless may_end). */
void peer_until(struct peer *p, const bool *done);
/* One read and its answers; false: the connection has ended. */
bool peer_turn(struct peer *p);
/* A client without a socket, and requests of it: for what it would say. */
struct h2_conn *peer_alone(void);
void alone_request(struct h2_conn *c, struct answer *a, const char *path, struct bytes body);
void answer_free(struct answer *a);

#endif
