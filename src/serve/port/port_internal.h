/* port_internal.h - what the files of the port share.
 *
 * A slot is one request, from its head to the end of its answer. It waits (bytes gather, no fiber),
 * runs (its handler is on a fiber), or lingers (answered, but what was charged for the answer still
 * waits to be sent). Slots come from a pool of their reactor, with their arena and buffers.
 *
 * A port_conn is one connection's protocol state. It outlives its conn's end while slots of it run:
 * they hold the request's bytes.
 *
 * Threads:  the reactor's own, but for the atomics.
 */
#ifndef VARVE_SERVE_PORT_INTERNAL_H
#define VARVE_SERVE_PORT_INTERNAL_H

#include "base/buf.h"
#include "base/list.h"
#include "serve/port/port.h"
#include "wire/http1/http1.h"
#include "wire/http2/http2.h"

enum {
    PORT_GATHER = 64 * 1024, /* a body up to this is waited for without a fiber */
    PORT_HELD = 128 * 1024,  /* HTTP/1: read ahead of exchange_read */
    PORT_BIG = 64 * 1024,    /* answers from here on are charged until they have gone */
    PORT_CHARGE_MIN = 4096,  /* request bodies below are not worth counting */
    PORT_SPARE = 512,        /* slots kept by a reactor */
    PORT_BODY_KEEP = 16 * 1024,
    PORT_HEADERS_MAX = 64, /* of a handler's answer */
    PORT_STALL_MS = 20,    /* until output is tried again when the reactor's bound was reached */
};

/* Codes that are counted apart; others are "other". */
enum { PORT_HTTP_CODES = 38, PORT_GRPC_CODES = 17 };

struct port_counters {
    _Atomic uint64_t http1_conns, http2_conns, active, http, grpc, refused;
};

struct port_reactor {
    struct port *port;
    struct reactor *reactor;
    struct list spare; /* slots */
    size_t n_spare;
    struct h2_pool *h2_pool;             /* of its HTTP/2 connections */
    struct slot *joining, **joining_end; /* whom the next join is for; NULL: nobody */
    size_t body_used;                    /* of port_options.reactor_body_bytes */
    uint64_t id_base, id_next;
    uint64_t date_s;
    char date[32]; /* "Fri, 20 Nov 2026 18:00:00 GMT" */
    size_t date_len;
    struct port_counters count;
};

struct port {
    struct reactors *reactors;
    struct port_options o;
    struct port_handlers handlers;
    struct h2_options h2;
    struct h1_options h1;
    struct env *env;
    struct counter *http_codes[PORT_HTTP_CODES + 1], *grpc_codes[PORT_GRPC_CODES];
    struct counter *refused;
    struct histogram *http_ns, *grpc_ns;
    unsigned n;
    struct port_reactor at[];
};

enum port_kind { PORT_UNKNOWN, PORT_H1, PORT_H2 };

struct slot;
struct port_conn {
    struct conn *c; /* a reference */
    struct port_reactor *pr;
    struct h2_conn *h2;
    struct h1_conn *h1;
    enum port_kind kind;
    bool closed;       /* nothing more is said or heard: the conn is gone, or about to go */
    bool over;         /* its last callback has come: freed with the last slot */
    bool draining;     /* no new requests */
    bool paused;       /* h2_wants_input said no */
    bool h1_refused;   /* an error was answered: nothing more is read */
    unsigned waiting;  /* slots without a fiber */
    uint64_t told_ms;  /* when the peer was last told that its bodies come in */
    uint64_t tick_ms;  /* when on_tick comes; UINT64_MAX: not */
    struct slot *turn; /* HTTP/1: the exchange at work */
    struct list slots;
    struct wire_budget budget;
    size_t budget_seen; /* of budget.used, what pr->body_used has in it */
    size_t charged;     /* of port_options.conn_request_bytes */
    struct net_addr peer;
    char peer_text[NET_ADDR_TEXT]; /* made when first asked for; doors ask with every request */
    uint8_t first[WIRE_PREFACE];
    uint8_t first_len;
};

enum slot_state { SLOT_WAITING, SLOT_RUNNING, SLOT_LINGERING };

struct slot {
    union {
        struct request q;
        struct exchange x;
        struct rpc r;
    } as; /* first: a request's address is its slot's */
    struct port_conn *pc;
    struct list node; /* of pc->slots, or of the pool */
    enum slot_state state;
    struct h2_stream *stream; /* of an exchange over HTTP/2 */
    bool gone;                /* the stream or connection has ended under it */
    bool half_closed;         /* HTTP/1: the peer sends no more */
    bool busy;                /* counted by conn_busy */
    bool begun, ended;        /* the answer: its head, all of it is queued */
    bool body_end, gather, in_pieces, continued;
    unsigned http_status;
    int grpc_code;
    enum status body_st;
    uint64_t body_length;
    size_t gather_max;
    size_t unconsumed; /* HTTP/2: body bytes that the peer's window waits for */
    size_t budgeted;   /* of pc->budget, for body and lent */
    size_t charged, answer_charged;
    uint64_t bytes_in, bytes_out, seen_ms;
    struct env_event *waiter;
    struct slot *join_next;
    void (*on_stop)(void *arg);
    void *on_stop_arg;
    const char *trace;
    bool have_first;
    struct bytes first; /* the rpc's first message, taken to see that it is there */
    /* From here on nothing is zeroed as a whole. */
    _Atomic bool stop;
    char id[REQUEST_ID_MAX + 1];
    struct buf body, lent;
    struct arena arena;
    struct grpc_call call;
    char body_detail[256];
};

static inline struct slot *slot_of(const struct request *q)
{
    return (struct slot *)(uintptr_t)q;
}

/* --- slot.c --- */
struct slot *slot__new(struct port_conn *pc, enum request_door door);
/* Lets go of stream, charges and buffers; back to the pool. */
void slot__free(struct slot *s);
/* It has come far enough: starts it, at once or after its join. */
void slot__dispatch(struct slot *s);
/* Gives it a fiber; when that cannot be had the request is refused. */
void slot__start(struct slot *s);
void slot__refuse(struct slot *s, const struct err *err);
void slot__wake(struct slot *s);
/* Parks the fiber until slot__wake; OK, CANCELLED (gone) or TIMED_OUT. Looks before it waits. */
enum status slot__wait(struct slot *s, struct err *err);
void slot__stop(struct slot *s); /* the flag, the hook, the waiter */
/* The stream or connection ended: frees a slot without fiber, else tells its handler. */
void slot__gone(struct slot *s);
enum status slot__gone_status(struct slot *s, struct err *err);
/* Charges an answer's bytes until they have gone. */
enum status slot__charge_answer(struct slot *s, size_t bytes);
void slot__answer_gone(struct slot *s);

/* --- join.c --- */
/* true: it waits with others, and is started then. */
bool join__add(struct slot *s);

/* --- body.c: exchange bodies as they come --- */
void body__data(struct slot *s, struct bytes data);
void body__end(struct slot *s);
void body__fail(struct slot *s, enum status st, const char *text);

/* --- port_h2.c, port_h1.c --- */
extern const struct h2_events port__h2_events;
extern const struct h1_events port__h1_events;
extern const struct conn_proto port__h2_proto, port__h1_proto;
enum status h2__begin(struct port_conn *pc);
enum status h1__begin(struct port_conn *pc);
void h1__turn_done(struct slot *s); /* its handler has returned, its answer has ended */
void h1__want_body(struct slot *s, bool wanted);
void port__split_target(struct bytes target, struct exchange *x);

/* --- exchange.c, rpc.c --- */
void exchange__finish(struct slot *s); /* after the handler: completes the answer */
void exchange__refuse(struct slot *s, unsigned status, enum status kind, const char *detail);
void rpc__finish(struct slot *s);
/* Whether it is known what follows the message that was taken: nothing, another one, or a failure. */
bool rpc__is_over(const struct slot *s);

/* --- port.c --- */
void port__conn_release(struct port_conn *pc); /* frees it when nothing holds it */
/* Ends the setup timeout early, where the port itself ends what is idle or dawdles; where it does not
 * (the peers') only a whole request shows good will. */
void port__greeted(struct port_conn *pc);
void port__arm(struct port_conn *pc, uint64_t at_ms);
uint64_t port__now_ms(const struct port_conn *pc);
void port__count(_Atomic uint64_t *n, int64_t delta);
/* Before and after bytes are handed to the protocol: the reactor's bound on bodies. */
void port__budget_before(struct port_conn *pc);
void port__budget_after(struct port_conn *pc);
enum status port__send(struct port_conn *pc, struct bytes out); /* OVERLOADED: is tried again */

/* --- port_done.c --- */
enum status port__metrics(struct port *p, struct metrics *m);
void port__done(struct slot *s);
struct bytes port__date(struct port_reactor *pr);

#endif
