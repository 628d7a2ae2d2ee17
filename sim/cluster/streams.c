/* Nodes that talk as servers do: serve/peer over streams of the simulated network. */
#include "sim/cluster/run.h"

#include "serve/peer/peer.h"

static enum status receive(void *arg, uint64_t from, const struct bytes *bundles, size_t n,
                           size_t *ret_taken, struct err *err)
{
    struct node *node = arg;
    *ret_taken = 0;
    if (!node->store || node->closing) /* it is still being opened, or already closed */
        return err_set(err, ST_OVERLOADED, "the store is not open");
    node->fibers++;
    enum status st = store_receive_all(node->store, from, bundles, n, ret_taken, err);
    node->fibers--;
    return st;
}

static void changed(void *arg, uint64_t other, bool up)
{
    struct node *node = arg;
    run_say(node->run, node_name(node),
            up ? "has a link to node %llu" : "lost its link to node %llu",
            (unsigned long long)other);
    if (!up && node->store)
        store_unreachable(node->store, other);
}

static bool send(void *arg, uint64_t to_node, struct bytes bundle)
{
    struct node *node = arg;
    node_speaks(node);
    promises_note(node, to_node, bundle);
    return peers_send(node->peers, to_node, bundle);
}

enum status streams_open(struct node *n, struct store_transport *ret, struct err *err)
{
    const struct plan *p = &n->run->plan;
    struct peer_node nodes[PLAN_NODES_MAX];
    struct net_addr here;
    for (unsigned i = 1; i <= p->nodes; i++) {
        nodes[i - 1].id = i;
        sim_host_addr(sim_machine_host(n->run->nodes[i].machine), PEER_PORT, &nodes[i - 1].addr);
    }
    here = nodes[n->id - 1].addr;
    struct peer_options o = {.cluster = "simulated",
                             .node = n->id,
                             .nodes = nodes,
                             .n_nodes = p->nodes,
                             .receive = receive,
                             .changed = changed,
                             .arg = n};
    struct reactors *g = sim_machine_reactors(n->machine);
    enum status st = peers_new(sim_machine_env(n->machine), g, &o, &n->peers, err);
    if (!st)
        st = peers_listen(n->peers, &here, NULL, NULL, err);
    if (!st)
        st = peers_start(n->peers, err);
    if (!st)
        *ret = (struct store_transport){send, n};
    return st;
}
