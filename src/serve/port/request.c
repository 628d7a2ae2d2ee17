/* request.c - who asks and how it is called in logs: worked out when first asked for. */
#include "serve/port/port_internal.h"

#include <inttypes.h>
#include <stdio.h>

static bool sane_id(struct bytes v)
{
    for (size_t i = 0; i < v.len; i++) {
        uint8_t b = v.data[i], low = b | 0x20;
        bool fine = (low >= 'a' && low <= 'z') || (b >= '0' && b <= '9') || b == '.' || b == '_' ||
                    b == '-';
        if (!fine)
            return false;
    }
    return v.len > 0 && v.len <= REQUEST_ID_MAX;
}

const char *request_id(struct request *q)
{
    struct slot *s = slot_of(q);
    struct bytes v;
    if (s->id[0])
        return s->id;
    if (request_header(q, BYTES_LIT("x-request-id"), &v) && sane_id(v)) {
        memcpy(s->id, v.data, v.len);
        s->id[v.len] = '\0';
        return s->id;
    }
    static const char hex[] = "0123456789abcdef";
    uint64_t id = s->pc->pr->id_base + s->pc->pr->id_next++;
    for (size_t i = 0; i < 16; i++)
        s->id[i] = hex[id >> (60 - 4 * i) & 15];
    s->id[16] = '\0';
    return s->id;
}

static bool all_hex(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != '0')
            return false;
    return true;
}

/* "00-<32 hex>-<16 hex>-<2 hex>" (Trace Context, 3.2); later versions may be longer. */
static bool sane_trace(struct bytes v)
{
    const uint8_t *p = v.data;
    if (v.len < REQUEST_TRACEPARENT || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    if (!all_hex(p, 2) || !all_hex(p + 3, 32) || !all_hex(p + 36, 16) || !all_hex(p + 53, 2) ||
        all_zero(p + 3, 32) || all_zero(p + 36, 16) || memcmp(p, "ff", 2) == 0)
        return false;
    return v.len == REQUEST_TRACEPARENT || (memcmp(p, "00", 2) != 0 && p[55] == '-');
}

const char *request_traceparent(struct request *q)
{
    struct slot *s = slot_of(q);
    struct bytes v;
    if (s->trace)
        return s->trace;
    s->trace = "";
    if (request_header(q, BYTES_LIT("traceparent"), &v) && sane_trace(v) &&
        !request_header_repeats(q, BYTES_LIT("traceparent"))) {
        char *copy = arena_alloc(&s->arena, REQUEST_TRACEPARENT + 1);
        if (copy) {
            memcpy(copy, v.data, REQUEST_TRACEPARENT);
            copy[REQUEST_TRACEPARENT] = '\0';
            s->trace = copy;
        }
    }
    return s->trace;
}

void request_peer(const struct request *q, struct net_addr *ret)
{
    *ret = slot_of(q)->pc->peer;
}

const char *request_peer_text(struct request *q)
{
    struct port_conn *pc = slot_of(q)->pc;
    return pc->peer_text[0] ? pc->peer_text : net_addr_text(&pc->peer, pc->peer_text);
}

const char *request_tls_name(const struct request *q)
{
    return conn_peer_name(slot_of(q)->pc->c);
}

uint64_t request_conn_id(const struct request *q)
{
    return conn_id(slot_of(q)->pc->c);
}

static const struct wire_header *headers_of(const struct request *q, size_t *ret_n)
{
    const struct slot *s = slot_of(q);
    if (q->door != REQUEST_GRPC) {
        *ret_n = s->as.x.n_headers;
        return s->as.x.headers;
    }
    *ret_n = 0;
    return s->call.stream ? h2_headers(s->call.stream, ret_n) : NULL;
}

bool request_header(const struct request *q, struct bytes name, struct bytes *ret)
{
    size_t n;
    const struct wire_header *headers = headers_of(q, &n);
    const struct wire_header *h = n ? wire_header_find(headers, n, name) : NULL;
    if (h)
        *ret = h->value;
    return h != NULL;
}

bool request_header_repeats(const struct request *q, struct bytes name)
{
    size_t n;
    const struct wire_header *headers = headers_of(q, &n);
    const struct wire_header *h = n ? wire_header_find(headers, n, name) : NULL;
    if (!h)
        return false;
    size_t behind = (size_t)(h - headers) + 1;
    return wire_header_find(headers + behind, n - behind, name) != NULL;
}
