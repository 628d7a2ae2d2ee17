/* client_stream.c - one request and many answers. */
#include "serve/client/client_internal.h"

#include "base/alloc.h"

struct client_stream {
    struct client *client;
    struct client_request q;
    struct client_try now;
    uint64_t deadline_ns;
};

enum status client_stream_open(struct client *c, const struct client_request *q,
                               struct client_stream **ret, struct client_failure *f)
{
    struct client_stream *s = mem_zalloc(sizeof *s);
    *f = (struct client_failure){0};
    if (!s)
        return client__no_memory(f);
    s->client = c;
    s->q = *q;
    s->q.message = BYTES_EMPTY; /* it has been sent */
    s->deadline_ns = q->deadline_ms ? client__deadline_ns(c, q) : UINT64_MAX;
    if (!client__try(c, q, s->deadline_ns, &s->now, f)) {
        mem_free(s);
        return f->err.status;
    }
    *ret = s;
    return ST_OK;
}

enum client_next client_stream_next(struct client_stream *s, uint64_t timeout_ms, struct bytes *ret,
                                    struct client_failure *f)
{
    struct client *c = s->client;
    uint64_t until = UINT64_MAX;
    *f = (struct client_failure){0};
    if (timeout_ms < UINT64_MAX / CLIENT_NS_PER_MS / 2)
        until = client__now_ns(c) + timeout_ms * CLIENT_NS_PER_MS;
    for (bool polled = false;; polled = true) {
        enum grpc_next next = grpc_next(&s->now.call.grpc, ret, &f->err);
        if (next == GRPC_MESSAGE)
            return CLIENT_MESSAGE;
        if (next == GRPC_END || next == GRPC_FAILED)
            return client__failed(&s->now, f) ? CLIENT_FAILED : CLIENT_END;
        if (client__stopped(c)) {
            client__cancelled(f);
            return CLIENT_FAILED;
        }
        uint64_t now = client__now_ns(c);
        if (now >= s->deadline_ns) {
            client__timed_out(&s->q, f);
            return CLIENT_FAILED;
        }
        if (polled && now >= until)
            return CLIENT_QUIET;
        link_flush(s->now.link->link);
        client__wait(c, until < s->deadline_ns ? until : s->deadline_ns);
    }
}

void client_stream_close(struct client_stream *s)
{
    if (!s)
        return;
    struct link *k = s->now.link->link;
    client__try_end(&s->now);
    link_flush(k);
    loop_flush(s->client->loop);
    mem_free(s);
}
