/* A node's doors: what the server puts before its store, on the node's own reactor. */
#include "sim/cluster/door.h"

#include "base/alloc.h"
#include "serve/gate/gate.h"
#include "serve/grpc/grpc_door.h"
#include "serve/http/http_door.h"
#include "serve/peer/peer.h"
#include "serve/port/port.h"

enum { LET_GO_MS = 3000, LOOK_MS = 1, DRAIN_MS = 1000 };

/* Of the process, as all that it points to. */
struct node_door {
    struct command_db db;
    struct work *work;
    struct gate gate;
    struct grpc_gate grpc_gate;
    struct http_door *http;
    struct grpc_door *grpc;
    struct port *port;
};

/* --- the pools of threads: their work is done by who asks, after others had their turn --- */

enum status __wrap_work_new(const struct work_options *o, struct work **ret, struct err *err);
void __wrap_work_free(struct work *w);
enum status __wrap_work_run(struct work *w, enum work_kind kind, void (*fn)(void *arg), void *arg,
                            struct err *err);

enum status __wrap_work_new(const struct work_options *o, struct work **ret, struct err *err)
{
    (void)o;
    *ret = mem_zalloc(1);
    return *ret ? ST_OK : err_set(err, ST_NO_MEMORY, "work: no memory");
}

void __wrap_work_free(struct work *w)
{
    mem_free(w);
}

enum status __wrap_work_run(struct work *w, enum work_kind kind, void (*fn)(void *arg), void *arg,
                            struct err *err)
{
    (void)w;
    (void)kind;
    (void)err;
    reactor_yield(reactor_current());
    fn(arg);
    return ST_OK;
}

/* --- handlers --- */

static void on_http(struct exchange *x, void *arg)
{
    struct node_door *d = arg;
    http_door_handle(x, d->http);
}

static void on_grpc(struct rpc *r, void *arg)
{
    struct node_door *d = arg;
    grpc_door_handle(r, d->grpc);
}

static void on_grpc_ahead(const struct rpc *r, struct bytes first, void *arg)
{
    const struct node_door *d = arg;
    grpc_door_ahead(r, first, d->grpc);
}

static bool on_grpc_joins(const struct rpc *r, struct bytes first, void *arg)
{
    const struct node_door *d = arg;
    return grpc_door_joins(r, first, d->grpc);
}

static enum status on_join(void *arg, struct err *err)
{
    const struct node_door *d = arg;
    return grpc_door_join(d->grpc, err);
}

/* --- making it --- */

static enum status more_metrics(void *node, struct buf *out)
{
    struct node *n = node;
    return n->peers ? peers_metrics(n->peers, out) : ST_OK;
}

static bool is_ready(void *node, struct err *err)
{
    const struct node *n = node;
    return node_serves(n) || err_set(err, ST_CLOSED, "the node stops") == ST_OK;
}

static bool is_healthy(void *node)
{
    return node_serves(node);
}

static enum status make_doors(struct node *n, struct node_door *d, struct err *err)
{
    struct security_options so = {.required = false};
    enum status st = work_new(NULL, &d->work, err);
    if (!st)
        st = security_new(&d->db, &so, &d->gate.security, err);
    if (st)
        return st;
    d->gate.work = d->work;
    d->grpc_gate = (struct grpc_gate){.arg = &d->gate,
                                      .open = gate_open,
                                      .check = gate_check,
                                      .check_batch = gate_check_batch,
                                      .writer = gate_writer,
                                      .close = gate_close};
    struct http_door_options ho = {.db = &d->db,
                                   .gate = d->gate.security,
                                   .work = d->work,
                                   .heartbeat_ms = 500,
                                   .ready = is_ready,
                                   .ready_arg = n,
                                   .metrics = more_metrics,
                                   .metrics_arg = n};
    struct grpc_door_options go = {
        .db = &d->db, .work = d->work, .gate = &d->grpc_gate, .ready = is_healthy, .ready_arg = n};
    st = http_door_new(&ho, &d->http, err);
    return st ? st : grpc_door_new(&go, &d->grpc, err);
}

/* Limits and deadlines that a run can reach, by luck of the node. */
static void draw_port(const struct node *n, struct port_options *o)
{
    struct dice d = dice_fork(n->run->plan.seed, 60000 + n->id);
    *o = (struct port_options){.metrics = NULL};
    static const uint32_t streams[] = {4, 32, 0}, queue[] = {4096, 16384, 0},
                          windows[] = {65536, 65536, 0}, heads[] = {4096, 0},
                          pauses[] = {300, 2000, 0}, idle[] = {500, 3000, 0};
    o->streams = streams[dice_below(&d, 3)];
    o->send_queue_bytes = queue[dice_below(&d, 3)];
    o->stream_window = o->conn_window = windows[dice_below(&d, 3)];
    o->header_bytes = heads[dice_below(&d, 2)];
    o->head_timeout_ms = o->body_timeout_ms = pauses[dice_below(&d, 3)];
    o->keepalive_ms = idle[dice_below(&d, 3)];
    o->idle_timeout_ms = idle[dice_below(&d, 3)];
}

static enum status make_port(struct node *n, struct node_door *d, struct err *err)
{
    struct port_options o;
    struct net_addr addr;
    struct port_handlers h = {.http = on_http,
                              .grpc = on_grpc,
                              .arg = d,
                              .grpc_ahead = on_grpc_ahead,
                              .grpc_joins = on_grpc_joins,
                              .join = on_join};
    draw_port(n, &o);
    o.metrics = store_metrics(n->store);
    enum status st = port_new(sim_machine_reactors(n->machine), &o, &h, &d->port, err);
    door_addr(n, &addr);
    return st ? st : port_listen(d->port, &addr, REACTORS_HAND_OUT, NULL, NULL, err);
}

enum status door_open(struct node *n, struct err *err)
{
    struct node_door *d = mem_zalloc(sizeof *d);
    ASSERT(d);
    d->db = (struct command_db){
        .env = sim_machine_env(n->machine), .store = n->store, .cluster = n->run->plan.nodes > 1};
    n->door = d;
    enum status st = make_doors(n, d, err);
    return st ? st : make_port(n, d, err);
}

bool door_let_go(struct node *n)
{
    struct port_stats stats;
    struct env_event never;
    if (!n->door)
        return true;
    http_door_stop(n->door->http);
    reactors_stop_begin(sim_machine_reactors(n->machine), DRAIN_MS);
    for (int i = 0; i < LET_GO_MS / LOOK_MS; i++) {
        port_stats_of(n->door->port, &stats);
        if (stats.requests_active == 0)
            return true;
        env_event_init(&never);
        (void)env_wait(&never, LOOK_MS * MS);
    }
    return false;
}
