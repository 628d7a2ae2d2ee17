/* pair.c - see pair.h. */
#include "pair.h"

bool pair_open(struct pair *p, const struct h2_options *client, const struct h2_events *on_client,
               const struct h2_options *server, const struct h2_events *on_server, void *arg)
{
    *p = (struct pair){.now = 1000};
    if (h2_client_new(client, on_client, arg, p->now, &p->client) == ST_OK &&
        h2_server_new(server, on_server, arg, p->now, &p->server) == ST_OK)
        return true;
    pair_close(p);
    return false;
}

static bool move(struct pair *p, struct h2_conn *from, struct h2_conn *to, struct err *err,
                 bool *moved)
{
    struct bytes out;
    enum status st = h2_output(from, &out);
    if (st != ST_OK || out.len == 0)
        return st == ST_OK;
    if (out.len > p->most_output)
        p->most_output = out.len;
    *moved = true;
    st = h2_conn_status(to, err) == ST_OK ? h2_recv(to, out, p->now, err) : ST_CLOSED;
    h2_output_done(from, out.len);
    return st == ST_OK;
}

bool pair_pump(struct pair *p)
{
    bool moved, ok = true;
    do {
        moved = false;
        ok &= move(p, p->client, p->server, &p->server_err, &moved);
        ok &= move(p, p->server, p->client, &p->client_err, &moved);
    } while (moved);
    return ok && h2_conn_status(p->client, &p->client_err) == ST_OK &&
           h2_conn_status(p->server, &p->server_err) == ST_OK;
}

void pair_close(struct pair *p)
{
    h2_conn_free(p->client);
    h2_conn_free(p->server);
    *p = (struct pair){0};
}
