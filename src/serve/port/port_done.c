/* port_done.c - what is counted and told when a request has ended; and the Date of answers. */
#include "serve/port/port_internal.h"

#include <stdio.h>
#include <time.h>

/* In order; codes that answers of ours can have. */
static const uint16_t http_codes[PORT_HTTP_CODES] = {
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409,
    410, 412, 413, 414, 415, 416, 417, 421, 422, 428, 429, 431, 499, 500, 501, 503, 504, 505, 507};

static size_t index_of(unsigned code)
{
    size_t low = 0, high = PORT_HTTP_CODES;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (http_codes[mid] < code)
            low = mid + 1;
        else
            high = mid;
    }
    return low < PORT_HTTP_CODES && http_codes[low] == code ? low : PORT_HTTP_CODES;
}

enum status port__metrics(struct port *p, struct metrics *m)
{
    char label[64];
    bool all = true;
    for (size_t i = 0; i <= PORT_HTTP_CODES; i++) {
        if (i < PORT_HTTP_CODES)
            (void)snprintf(label, sizeof label, "code=\"%u\"", http_codes[i]);
        else
            (void)snprintf(label, sizeof label, "code=\"other\"");
        p->http_codes[i] = metrics_counter(m, "varve_http_requests_total", label,
                                           "HTTP requests that have ended, by status code.");
        all = all && p->http_codes[i];
    }
    for (size_t i = 0; i < PORT_GRPC_CODES; i++) {
        (void)snprintf(label, sizeof label, "code=\"%s\"", grpc_code_name((enum grpc_code)i));
        p->grpc_codes[i] = metrics_counter(m, "varve_grpc_requests_total", label,
                                           "gRPC calls that have ended, by status.");
        all = all && p->grpc_codes[i];
    }
    p->refused = metrics_counter(m, "varve_requests_refused_total", NULL,
                                 "Requests refused before a handler saw them: out of fibers or "
                                 "memory.");
    p->http_ns = metrics_histogram(m, "varve_http_request_seconds", NULL,
                                   "Time of HTTP requests, from their dispatch to their end.");
    p->grpc_ns = metrics_histogram(m, "varve_grpc_request_seconds", NULL,
                                   "Time of gRPC calls, from their dispatch to their end.");
    return all && p->refused && p->http_ns && p->grpc_ns ? ST_OK : ST_NO_MEMORY;
}

void port__done(struct slot *s)
{
    struct port *p = s->pc->pr->port;
    bool grpc = s->as.q.door == REQUEST_GRPC;
    if (!p->o.metrics && !p->o.done)
        return;
    uint64_t now = loop_clock_ns(reactor_loop(s->pc->pr->reactor));
    uint64_t ns = s->as.q.start_ns && now > s->as.q.start_ns ? now - s->as.q.start_ns : 0;
    if (p->o.metrics) {
        unsigned http = s->begun ? s->http_status : 499;
        counter_add(grpc ? p->grpc_codes[s->grpc_code] : p->http_codes[index_of(http)], 1);
        histogram_add(grpc ? p->grpc_ns : p->http_ns, ns);
    }
    if (!p->o.done)
        return;
    struct port_done d = {
        .request = &s->as.q,
        .method = grpc ? BYTES_LIT("POST") : s->as.x.method,
        .path = grpc ? s->call.path : s->as.x.path,
        .http_status = grpc       ? 200
                       : s->begun ? s->http_status
                                  : 0,
        .grpc_code = grpc ? s->grpc_code : -1,
        .bytes_in = s->bytes_in,
        .bytes_out = s->bytes_out,
        .us = ns / 1000,
    };
    p->o.done(p->o.done_arg, &d);
}

struct bytes port__date(struct port_reactor *pr)
{
    uint64_t second = loop_now_ns(reactor_loop(pr->reactor)) / 1000000000;
    if (second != pr->date_s) {
        time_t t = (time_t)(env_now_ms(pr->port->env) / 1000);
        struct tm tm;
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        if (!gmtime_r(&t, &tm))
            return BYTES_LIT("Thu, 01 Jan 1970 00:00:00 GMT");
        int n = snprintf(pr->date, sizeof pr->date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                         days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                         tm.tm_hour, tm.tm_min, tm.tm_sec);
        pr->date_len = n > 0 && (size_t)n < sizeof pr->date ? (size_t)n : 0;
        pr->date_s = second;
    }
    return BYTES(pr->date, pr->date_len);
}
