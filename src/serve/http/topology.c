/* topology.c - which nodes there are, and who leads. */
#include "serve/http/http_internal.h"

#include <inttypes.h>
#include <stdio.h>

static enum status put_text(struct buf *b, const char *name, const char *text)
{
    enum status st = buf_printf(b, ",\"%s\":", name);
    return st == ST_OK ? json_text(b, BYTES_STR(text)) : st;
}

static enum status put_node(struct buf *b, const struct topology_node *n, bool first)
{
    enum status st = buf_printf(b, "%s{\"id\":%" PRIu64, first ? "" : ",", n->id);
    if (st == ST_OK)
        st = put_text(b, "address", n->address);
    if (st == ST_OK)
        st = put_text(b, "peer_address", n->peer_address);
    if (st == ST_OK)
        st = put_text(b, "version", n->version);
    if (st == ST_OK)
        st = buf_printf(b, ",\"leader\":%s,\"reachable\":%s,\"answering\":%s}",
                        n->leader ? "true" : "false", n->reachable ? "true" : "false",
                        n->answering ? "true" : "false");
    return st;
}

static enum status put_topology(struct buf *b, const struct topology *t)
{
    char leader[24] = "null";
    if (t->leader)
        (void)snprintf(leader, sizeof leader, "%" PRIu64, t->leader);
    enum status st = json_put(b, "{\"cluster\":");
    if (st == ST_OK)
        st = json_text(b, BYTES_STR(t->cluster));
    if (st == ST_OK)
        st = buf_printf(b,
                        ",\"leader\":%s,\"term\":%" PRIu64 ",\"commit\":%" PRIu64
                        ",\"applied\":%" PRIu64 ",\"nodes\":[",
                        leader, t->term, t->commit, t->applied);
    for (size_t i = 0; i < t->n && st == ST_OK; i++)
        st = put_node(b, &t->nodes[i], i == 0);
    return st == ST_OK ? json_put(b, "]}\n") : st;
}

static void alone(struct http_call *c, struct topology *ret)
{
    struct store_role role;
    store_role(c->db.store, &role);
    ret->cluster = "";
    ret->n = 1;
    ret->commit = role.commit;
    ret->applied = role.applied;
    struct topology_node *only = &ret->nodes[0];
    only->id = 1;
    only->answering = only->reachable = only->leader = true;
    (void)snprintf(only->address, sizeof only->address, "%s", c->door->o.address);
    (void)snprintf(only->version, sizeof only->version, "%s", c->door->o.version);
}

enum status http_topology(struct http_call *c)
{
    const struct topology_source *source = &c->door->o.topology;
    struct buf b = BUF_INIT;
    enum status st = http__allow(c, COMMAND_COLLECTIONS, BYTES_EMPTY);
    if (st != ST_OK)
        return st;
    struct topology *t = arena_alloc(call_arena(c), sizeof *t);
    if (!t)
        return err_set(&c->err, ST_NO_MEMORY, "no memory for the answer");
    memset(t, 0, sizeof *t);
    if (source->look)
        source->look(source->arg, t);
    else
        alone(c, t);
    st = put_topology(&b, t);
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}
