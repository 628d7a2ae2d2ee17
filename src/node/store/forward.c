#include "node/store/cluster.h"
#include "node/store/forward_codec.h"

#include "base/alloc.h"
#include "base/buggify.h"
#include "base/log.h"
#include "base/planted.h"
#include <stdio.h>

/* Writes that come to a node which does not lead go to the one that does. A forward is for one
 * incarnation of one node in one term: that node remembers which numbers it has seen, so that a copy
 * that comes late or twice is never done again, and "not done" is only said of what was not seen. */

/* A write of another node, with all that it points to. */
struct remote {
    struct proposal p;
    struct store_write w;
    uint64_t from, incarnation, number, term;
    struct store_require *requires;
    struct forward_collection *named; /* the collections, as that node calls them */
    size_t n_named;
    struct collection **collections; /* and here; remote_find_collections */
    uint8_t *bytes;                  /* what keys and names borrow from */
};

void remote_free(struct proposal *p)
{
    struct remote *m = p->remote;
    blob_unref(m->w.entry);
    mem_free(m->requires);
    mem_free(m->named);
    mem_free(m->collections);
    mem_free(m->bytes);
    mem_free(m);
}

bool remote_is_of_term(const struct proposal *p, uint64_t term)
{
    return p->remote->term == term;
}

/* ---- sending ---- */

static enum status encode(struct store *s, const struct proposal *p, struct buf *out)
{
    const struct store_write *w = p->w;
    struct forward f = {.number = p->number,
                        .incarnation = p->to_incarnation,
                        .term = p->term,
                        .at_least = p->at_least,
                        .n_older = p->n_older,
                        .request_id = w->request_id,
                        .n_collections = w->n_collections,
                        .n_requires = w->n_requires};
    (void)s;
    memcpy(f.older, p->older, sizeof f.older);
    enum status st = forward_encode(out, &f);
    for (size_t i = 0; st == ST_OK && i < w->n_collections; i++) {
        const struct collection *c = w->collections[i];
        st = forward_encode_collection(
            out, &(struct forward_collection){c->id, BYTES(c->name, c->name_len)});
    }
    for (size_t i = 0; st == ST_OK && i < w->n_requires; i++)
        st = forward_encode_require(out, &w->requires[i]);
    return st == ST_OK ? forward_encode_entry(out, BYTES(w->entry->data, w->entry->len)) : st;
}

enum status cluster_forward(struct store *s, struct proposal *p)
{
    struct cluster *c = s->cluster;
    const struct cluster_peer *to = cluster_peer(s, c->now.leader_store);
    if (!to || to->incarnation == 0)
        return ST_UNAVAILABLE; /* not heard of yet */
    /* A copy that is still on its way must not be done after this one has been answered. */
    if (p->to_node != to->node || p->to_incarnation != to->incarnation || p->term != c->now.term)
        p->n_older = 0;
    else if (p->number != 0 && p->n_older < FORWARD_OLDER_MAX)
        p->older[p->n_older++] = p->number;
    p->sent_before = p->sent_before || p->number != 0;
    p->number = ++c->number;
    p->sent_ns = env_mono_ns(s->env);
    p->to_node = to->node;
    p->to_incarnation = to->incarnation;
    p->term = c->now.term;
    buf_clear(&c->scratch);
    enum status st = encode(s, p, &c->scratch);
    if (st == ST_OK)
        st = replicas_say(s->replicas, p->to_node, CLUSTER_FORWARD, buf_bytes(&c->scratch));
    if (st == ST_OK && BUGGIFY("store: a forward is sent twice"))
        st = replicas_say(s->replicas, p->to_node, CLUSTER_FORWARD, buf_bytes(&c->scratch));
    if (c->scratch.cap > 1024 * 1024)
        buf_deinit(&c->scratch);
    if (st == ST_OK)
        counter_add(c->m_forwarded, 1);
    return st;
}

void cluster_tell(struct store *s, struct proposal *p)
{
    struct cluster *c = s->cluster;
    const struct remote *m = p->remote;
    struct forward_answer a = {.number = m->number,
                               .incarnation = m->incarnation,
                               .status = p->st,
                               .index = p->index,
                               .failed = m->w.failed,
                               .version = m->w.version,
                               .duplicate = m->w.duplicate,
                               .message = p->st == ST_OK ? BYTES_EMPTY : BYTES_STR(p->err.detail)};
    struct cluster_peer *peer = cluster_peer(s, m->from);
    if (peer && p->st == ST_OK)
        peer->waits = true;
    if (BUGGIFY("store: the answer to a forward is lost"))
        return;
    buf_clear(&c->scratch);
    if (forward_encode_answer(&c->scratch, &a) != ST_OK ||
        replicas_say(s->replicas, m->from, CLUSTER_ANSWER, buf_bytes(&c->scratch)) != ST_OK)
        log_at(LOG_WARN, "cluster", "no memory to answer another node's write; it will not know",
               LOG_FSTR("dir", s->dir));
}

/* ---- receiving ---- */

_Static_assert(FORWARD_OLDER_MAX == sizeof((struct proposal *)0)->older / sizeof(uint64_t),
               "a forward has room for what a proposal remembers");

/* true: for the first time. What is too old to be told is taken for seen. */
static bool see(struct cluster_peer *peer, uint64_t number)
{
    if (number + CLUSTER_SEEN <= peer->seen_max || number == 0)
        return false;
    for (; peer->seen_max < number; peer->seen_max++) {
        uint64_t next = (peer->seen_max + 1) % CLUSTER_SEEN;
        if (number - peer->seen_max > CLUSTER_SEEN) { /* all of the window is new */
            memset(peer->seen, 0, sizeof peer->seen);
            peer->seen_max = number;
            break;
        }
        peer->seen[next / 64] &= ~(UINT64_C(1) << (next % 64));
    }
    uint64_t at = number % CLUSTER_SEEN, bit = UINT64_C(1) << (at % 64);
    bool first = !(peer->seen[at / 64] & bit);
    peer->seen[at / 64] |= bit;
    return first || PLANTED(FORWARD_TAKEN_TWICE);
}

static enum status take_names(struct remote *m, struct forward *f)
{
    size_t n = (size_t)f->n_collections;
    if (n && (!(m->named = mem_alloc(n * sizeof *m->named)) ||
              !(m->collections = mem_alloc(n * sizeof(struct collection *)))))
        return ST_NO_MEMORY;
    for (; m->n_named < n; m->n_named++)
        if (!forward_collection_next(f, &m->named[m->n_named]))
            return ST_INVALID_ARGUMENT;
    return ST_OK;
}

bool remote_find_collections(struct store *s, struct proposal *p, struct bytes *ret_gone)
{
    struct remote *m = p->remote;
    m->w.n_collections = 0;
    for (size_t i = 0; i < m->n_named; i++) {
        struct collection *col = store__collection_by_id(s, m->named[i].id);
        if (!col || !bytes_eq(BYTES(col->name, col->name_len), m->named[i].name)) {
            *ret_gone = m->named[i].name;
            return false;
        }
        m->collections[i] = col;
    }
    m->w.collections = m->collections;
    m->w.n_collections = m->n_named;
    return true;
}

static enum status take_rest(struct remote *m, struct forward *f)
{
    size_t n = (size_t)f->n_requires;
    struct bytes entry;
    if (n && !(m->requires = mem_alloc(n * sizeof *m->requires)))
        return ST_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!forward_require_next(f, &m->requires[i]))
            return ST_INVALID_ARGUMENT;
    m->w.requires = m->requires;
    m->w.n_requires = n;
    if (!forward_entry(f, &entry) || !entry_sound(entry))
        return ST_INVALID_ARGUMENT;
    if (!(m->w.entry = blob_new(entry.len)))
        return ST_NO_MEMORY;
    memcpy(m->w.entry->data, entry.data, entry.len);
    return ST_OK;
}

static struct remote *remote_new(struct bytes body)
{
    struct remote *m = mem_zalloc(sizeof *m);
    uint8_t *copy = m ? mem_alloc(body.len) : NULL;
    if (!copy) {
        mem_free(m);
        return NULL;
    }
    memcpy(copy, body.data, body.len);
    m->bytes = copy;
    m->p.remote = m;
    m->p.w = &m->w;
    err_init(&m->p.err);
    return m;
}

static void on_forward(struct store *s, struct cluster_peer *peer, struct bytes body)
{
    struct cluster *c = s->cluster;
    struct forward f;
    if (!forward_open(body, &f) || f.incarnation != c->incarnation || !see(peer, f.number))
        return;
    for (uint64_t i = 0; i < f.n_older; i++)
        (void)see(peer, f.older[i]);
    struct remote *m = remote_new(body);
    if (!m) /* as if lost; the asking node says that the outcome is unknown */
        return;
    m->from = peer->node;
    m->incarnation = peer->incarnation;
    m->number = f.number;
    m->term = f.term;
    m->p.at_least = f.at_least;
    m->p.deadline_ns = env_mono_ns(s->env) + c->o.propose_timeout_ms * UINT64_C(1000000);
    bool open = forward_open(BYTES(m->bytes, body.len), &f); /* again, to borrow from the copy */
    ASSERT(open);
    m->w.request_id = f.request_id;
    raft_status(replica_raft(s->replica), &c->now);
    enum status st = ST_OK;
    if (c->now.role != RAFT_LEADER || c->now.term != f.term ||
        BUGGIFY("store: a forward is refused"))
        st = err_set(&m->p.err, ST_UNAVAILABLE, "node %llu does not lead",
                     (unsigned long long)c->o.node);
    if (st == ST_OK)
        st = take_names(m, &f);
    if (st == ST_OK)
        st = take_rest(m, &f);
    if (st == ST_OK) {
        list_push_back(&c->queued, &m->p.node);
        return;
    }
    if (st == ST_NO_MEMORY || st == ST_INVALID_ARGUMENT)
        err_set(&m->p.err, st,
                st == ST_NO_MEMORY ? "no memory for another node's write"
                                   : "a forwarded write is malformed");
    list_init(&m->p.node);
    cluster_answer(s, &m->p, st);
}

static void on_answer(struct store *s, const struct cluster_peer *peer, struct bytes body)
{
    struct cluster *c = s->cluster;
    struct forward_answer a;
    if (!forward_decode_answer(body, &a) || a.incarnation != c->incarnation)
        return;
    list_foreach_safe (it, &c->sent) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->number != a.number || p->to_node != peer->node)
            continue;
        list_remove(&p->node);
        if (p->n_older)
            PROBE("store: a forward that was sent again is answered");
        if (a.status == ST_UNAVAILABLE) { /* surely not done: the next leader may do it */
            if (!p->w->request_id.len)
                p->number = 0;
            list_push_back(&c->queued, &p->node);
            return;
        }
        p->w->version = a.version;
        p->w->failed = (size_t)a.failed;
        p->w->duplicate = a.duplicate;
        p->index = a.index;
        if (a.status == ST_OK && a.index > s->range.applied) {
            list_push_back(&c->awaiting, &p->node);
            return;
        }
        if (a.status == ST_OK) { /* the entry was quicker than the answer */
            cluster_answer(s, p, ST_OK);
            return;
        }
        err_set(&p->err, a.status, "%.*s", (int)a.message.len, (const char *)a.message.data);
        cluster_not_done(s, p, a.status);
        return;
    }
}

void cluster_item(void *arg, uint64_t from, uint64_t incarnation, uint8_t kind, struct bytes body)
{
    struct store *s = arg;
    struct cluster_peer *peer = cluster_peer(s, from);
    ASSERT(peer && peer->incarnation == incarnation); /* receive() has looked */
    (void)incarnation;
    if (kind == CLUSTER_FORWARD)
        on_forward(s, peer, body);
    else if (kind == CLUSTER_ANSWER)
        on_answer(s, peer, body);
}
