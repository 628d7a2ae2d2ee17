/* server_log.c - lines for requests, and the figures that only the server has. */
#include "apps/server/server_internal.h"

#include "base/log.h"

#include <inttypes.h>

enum { SHOWN_MAX = 512 };

static const char *text(struct request *q, struct bytes b)
{
    size_t n = b.len < SHOWN_MAX ? b.len : SHOWN_MAX;
    char *out = arena_alloc(q->arena, n + 1);
    if (!out)
        return "";
    memcpy(out, b.data, n);
    out[n] = '\0';
    return out;
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

/* Streams of changes last until somebody ends them: that is not slowness. */
static bool endless(const struct port_done *d)
{
    static const char watch[] = "/Watch";
    if (d->grpc_code >= 0)
        return d->path.len >= sizeof watch - 1 &&
               memcmp(d->path.data + d->path.len - (sizeof watch - 1), watch, sizeof watch - 1) ==
                   0;
    return d->request->deadline_ns == UINT64_MAX;
}

void server__request_done(void *server, const struct port_done *d)
{
    struct server *s = server;
    uint64_t slow_us = atomic_load_explicit(&s->slow_us, memory_order_relaxed);
    bool slow = slow_us && d->us >= slow_us && !endless(d);
    if (!slow && !atomic_load_explicit(&s->log_access, memory_order_relaxed))
        return;
    static const char *const doors[] = {"http/1", "http/2", "grpc"};
    struct request *q = d->request;
    enum log_level level = slow ? LOG_WARN : LOG_INFO;
    log_at(level, "access", slow ? "slow request" : "request",
           LOG_FSTR("request_id", request_id(q)), LOG_FSTR("door", doors[q->door]),
           LOG_FSTR("method", text(q, d->method)), LOG_FSTR("path", text(q, d->path)),
           LOG_FSTR("route", or_empty(q->route)), LOG_FU64("status", d->http_status),
           LOG_FSTR("grpc", d->grpc_code < 0 ? "" : grpc_code_name((enum grpc_code)d->grpc_code)),
           LOG_FU64("bytes_in", d->bytes_in), LOG_FU64("bytes_out", d->bytes_out),
           LOG_FU64("us", d->us), LOG_FSTR("peer", request_peer_text(q)),
           LOG_FSTR("user", or_empty(q->user)), LOG_FSTR("trace", request_traceparent(q)),
           LOG_FSTR("note", or_empty(q->note)));
}

static enum status put(struct buf *out, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type,
                      name, value);
}

enum status server__metrics(void *server, struct buf *out)
{
    struct server *s = server;
    struct reactor_stats sum = {0}, r;
    struct port_stats p;
    for (unsigned i = 0; i < reactors_count(s->reactors); i++) {
        reactor_stats_of(reactors_at(s->reactors, i), &r);
        sum.conns += r.conns;
        sum.fibers += r.fibers;
        sum.request_bytes += r.request_bytes;
        sum.output_bytes += r.output_bytes;
        sum.kept_bytes += r.kept_bytes;
        sum.accepted += r.accepted;
        sum.refused_full += r.refused_full;
        sum.timed_out += r.timed_out;
        sum.cut_slow += r.cut_slow;
        sum.rounds += r.rounds;
        sum.bytes_in += r.bytes_in;
        sum.bytes_out += r.bytes_out;
    }
    port_stats_of(s->port, &p);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } all[] = {
        {"varve_connections", "gauge", "Connections that are open.", sum.conns},
        {"varve_requests_active", "gauge", "Requests at work or coming in.", p.requests_active},
        {"varve_fibers", "gauge", "Fibers that are alive.", sum.fibers},
        {"varve_request_bytes", "gauge", "Memory charged for requests at work.", sum.request_bytes},
        {"varve_output_bytes", "gauge", "Bytes that wait to be sent.", sum.output_bytes},
        {"varve_kept_bytes", "gauge", "Input kept for paused connections.", sum.kept_bytes},
        {"varve_connections_accepted_total", "counter", "Connections taken.", sum.accepted},
        {"varve_connections_refused_total", "counter", "Connections refused: too many.",
         sum.refused_full},
        {"varve_connections_timed_out_total", "counter", "Connections closed by a timeout.",
         sum.timed_out},
        {"varve_connections_cut_slow_total", "counter",
         "Connections cut because they did not take what was sent.", sum.cut_slow},
        {"varve_reactor_rounds_total", "counter", "Rounds of the reactors.", sum.rounds},
        {"varve_received_bytes_total", "counter", "Bytes received.", sum.bytes_in},
        {"varve_sent_bytes_total", "counter", "Bytes sent.", sum.bytes_out},
    };
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !st; i++)
        st = put(out, all[i].name, all[i].type, all[i].help, all[i].value);
    return st ? st : cluster__metrics(s, out);
}
