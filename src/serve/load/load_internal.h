/* load_internal.h - the runner's state: connections (load_conn.c), what is asked next (load_draw.c),
 * rounds and time (load_run.c). */
#ifndef VARVE_SERVE_LOAD_LOAD_INTERNAL_H
#define VARVE_SERVE_LOAD_LOAD_INTERNAL_H

#include "base/buf.h"
#include "serve/load/load_protocol.h"

enum {
    TICK_MS = 100,
    CONNECT_MS = 10000,      /* until all connections must be there */
    TIMEOUT_MS = 30000,      /* without an answer */
    UNKNOWN_MAX = 1u << 16,  /* inserts whose number is above the lowest one not yet answered */
    POOL_BYTES = 1024 * 1024 /* of values, at least */
};

struct load_conn {
    struct load_run *run;
    struct loop_conn *lc; /* NULL: gone */
    void *filter;
    void *state;
    struct load_slot *slots;
    struct load_slot *refused; /* those whose request was OVERLOADED */
    struct load_conn *next_dirty;
    bool ready; /* requests may be sent */
    bool dirty; /* has output to be made */
    bool lost;  /* fails at the end of the round */
    struct err why;
};

struct load_run {
    const struct load_settings *s;
    struct load_context context;
    struct load_values values;
    struct load_keys keys;
    struct loop *loop;
    struct load_conn *conns;
    struct load_conn *dirty;
    struct load_slot *free_head, *free_tail;
    struct buf sealed, clear;
    struct h2_pool *h2_pool;
    struct load_result *result;
    uint8_t *answered; /* ring of UNKNOWN_MAX inserts, by number */
    uint64_t known;    /* inserts below this number are all answered */
    uint64_t next_new, new_end;
    uint64_t round_ns;                     /* time of this round's sends and answers */
    uint64_t start_ns, begin_ns, end_ns;   /* of the schedule, of the measured part */
    uint64_t last_answer_ns, last_done_ns; /* any; measured */
    uint64_t drawn, measured_drawn;        /* requests begun */
    uint64_t in_flight;                    /* begun and not answered, second halves too */
    uint32_t ready_conns;
    bool began, ended;
    struct err failed; /* the first connection's failure before the start */
};

/* load_conn.c */
enum status load__connect(struct load_conn *c, struct err *err) WARN_UNUSED;
void load__conn_deinit(struct load_conn *c); /* after its loop_conn has gone */
void load__send(struct load_slot *slot);     /* its op is set; counts it as in flight */
void load__flush(struct load_run *r);        /* turns what the round queued into bytes */
void load__free_slot(struct load_slot *slot);

/* load_draw.c */
bool load__may_draw(const struct load_run *r);
void load__draw(struct load_run *r, struct load_op *op, uint64_t due_ns);
void load__insert_answered(struct load_run *r, uint64_t number);

#endif
