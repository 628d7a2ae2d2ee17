/* What a cluster of Raft does when nodes go away, in virtual time: how long after a leader's death the
 * next one has committed something, whether a node that was cut off and comes back ever deposes a
 * healthy leader, and whether replacing members under load ever leaves commits waiting. Messages take
 * 0.2 to 5 ms and cross one another; a disk takes 0.1 to 2 ms. Nothing here depends on how fast the
 * machine is. Usage: bench_elections [deaths] [rejoins] [replacements] [seed] */
#include "base/buf.h"
#include "bench/bench_util.h"
#include "consensus/raft/raft_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 5, ELECTION_MS = 1000, US_MS = 1000, HELD = 64, BUCKETS = 24, WINDOW = 64 };

struct event {
    uint64_t at_us, order;
    unsigned from, to; /* from 0: `ticket` of `to` is durable */
    uint64_t ticket;
    uint8_t *bytes;
    size_t len;
};

struct node {
    struct raft_store *store;
    struct raft *raft;
    struct raft_msg held[HELD]; /* wait for their tickets */
    uint64_t held_ticket[HELD];
    size_t n_held;
    uint64_t disk_us;       /* busy until then: writes are done in order */
    struct raft_entry *log; /* by index, for what has left the cache */
    size_t n_log, cap_log;
    bool cut;
};

static struct node nodes[NODES + 1];
static unsigned n_nodes;
static struct event *heap;
static size_t n_events, cap_events;
static uint64_t now_us, order, rnd, sum, messages;

static void die_unless(bool good, const char *what)
{
    if (!good)
        bench_die("%s", what);
}

/* ---- events, in order of time ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push(struct event e)
{
    if (n_events == cap_events) {
        cap_events = cap_events ? 2 * cap_events : 256;
        heap = realloc(heap, cap_events * sizeof *heap);
        die_unless(heap != NULL, "no memory");
    }
    e.order = ++order;
    size_t i = n_events++;
    for (; i > 0 && before(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

static struct event pop(void)
{
    struct event top = heap[0], last = heap[--n_events];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < n_events; i = k) {
        if (k + 1 < n_events && before(&heap[k + 1], &heap[k]))
            k++;
        if (!before(&heap[k], &last))
            break;
        heap[i] = heap[k];
    }
    heap[i] = last;
    return top;
}

/* ---- the network and the disks ---- */

static uint64_t between(uint64_t low, uint64_t high)
{
    return low + bench_rnd(&rnd) % (high - low + 1);
}

static void send_bytes(unsigned from, unsigned to, struct buf *b)
{
    struct event e = {.at_us = now_us + between(200, 5000), .from = from, .to = to, .len = b->len};
    messages++;
    if (nodes[from].cut || nodes[to].cut)
        return;
    e.bytes = malloc(b->len);
    die_unless(e.bytes != NULL, "no memory");
    memcpy(e.bytes, b->data, b->len);
    push(e);
}

static void send_msg(unsigned from, const struct raft_msg *m)
{
    struct buf b = BUF_INIT;
    die_unless(raft_encode(&b, m) == ST_OK, "raft_encode");
    send_bytes(from, (unsigned)m->to_store, &b);
    buf_deinit(&b);
}

static void deliver(const struct event *e)
{
    struct raft_decoded d = {0};
    struct reader r = reader_of(BYTES(e->bytes, e->len));
    if (!nodes[e->from].cut && !nodes[e->to].cut) {
        die_unless(raft_decode(&r, e->from, e->to, &d, NULL) == ST_OK, "raft_decode");
        /* What is refused, a stale message say, is refused rightly. */
        enum status st = d.kind == RAFT_ITEM_BEAT ? raft_store_beat(nodes[e->to].store, &d.beat)
                                                  : raft_step(nodes[e->to].raft, &d.msg);
        die_unless(st != ST_NO_MEMORY, "no memory");
    }
    raft_decoded_deinit(&d);
    free(e->bytes);
}

static void durable(unsigned s, uint64_t ticket)
{
    struct node *n = &nodes[s];
    size_t kept = 0;
    raft_appended(n->raft, ticket);
    for (size_t i = 0; i < n->n_held; i++) {
        if (n->held_ticket[i] <= ticket) {
            send_msg(s, &n->held[i]);
        } else {
            n->held[kept] = n->held[i];
            n->held_ticket[kept++] = n->held_ticket[i];
        }
    }
    n->n_held = kept;
}

static void keep(struct node *n, const struct raft_entry *e)
{
    while (n->n_log > e->index)
        free((void *)(uintptr_t)n->log[--n->n_log].payload.data);
    if (e->index >= n->cap_log) {
        n->cap_log = e->index + 1024;
        n->log = realloc(n->log, n->cap_log * sizeof *n->log);
        die_unless(n->log != NULL, "no memory");
    }
    for (; n->n_log < e->index; n->n_log++)
        n->log[n->n_log] = (struct raft_entry){0};
    uint8_t *copy = malloc(e->payload.len + 1);
    die_unless(copy != NULL, "no memory");
    if (e->payload.len)
        memcpy(copy, e->payload.data, e->payload.len);
    n->log[e->index] = *e;
    n->log[e->index].payload = BYTES(copy, e->payload.len);
    n->n_log = e->index + 1;
}

static void fetch(struct node *n, const struct raft_fetch *f)
{
    uint64_t end = f->to + 1 < n->n_log ? f->to + 1 : n->n_log;
    if (f->from < end)
        raft_fetched(n->raft, f->id, ST_OK, &n->log[f->from], (size_t)(end - f->from));
    else
        raft_fetched(n->raft, f->id, ST_NOT_FOUND, NULL, 0);
}

static void update(unsigned s)
{
    struct node *n = &nodes[s];
    struct raft_update u;
    while (raft_store_ready(n->store)) {
        uint64_t applied = 0;
        if (!raft_update(n->raft, &u))
            continue;
        for (size_t i = 0; i < u.n_now; i++)
            send_msg(s, &u.now[i]);
        for (size_t i = 0; i < u.n_after; i++) {
            die_unless(n->n_held < HELD, "too many messages wait for the disk");
            n->held[n->n_held] = u.after[i];
            n->held_ticket[n->n_held++] = u.ticket;
        }
        if (u.n_committed)
            applied = u.committed[u.n_committed - 1].index;
        for (size_t i = 0; i < u.n_entries; i++)
            keep(n, &u.entries[i]);
        die_unless(!u.want_snapshot, "a snapshot is wanted though nothing was compacted");
        uint64_t ticket = u.ticket;
        struct raft_fetch wanted = u.fetch;
        raft_done(n->raft);
        if (wanted.id)
            fetch(n, &wanted);
        if (ticket) {
            n->disk_us = (n->disk_us > now_us ? n->disk_us : now_us) + between(100, 2000);
            push((struct event){.at_us = n->disk_us, .to = s, .ticket = ticket});
        }
        if (applied) {
            raft_applied(n->raft, applied);
            sum += applied;
        }
    }
}

/* ---- time ---- */

static unsigned leader(void)
{
    unsigned best = 0;
    uint64_t term = 0;
    for (unsigned s = 1; s <= n_nodes; s++) {
        struct raft_status st;
        raft_status(nodes[s].raft, &st);
        if (!nodes[s].cut && st.role == RAFT_LEADER && st.term > term) {
            best = s;
            term = st.term;
        }
    }
    return best;
}

/* One millisecond: ticks everywhere, then what happens until the next. */
static void step(void)
{
    uint64_t until = now_us + US_MS;
    for (unsigned s = 1; s <= n_nodes; s++) {
        struct raft_beat b[NODES];
        raft_store_tick(nodes[s].store, now_us / US_MS);
        size_t n = raft_store_beats(nodes[s].store, b, NODES);
        for (size_t i = 0; i < n; i++) {
            struct buf out = BUF_INIT;
            die_unless(raft_encode_beat(&out, &b[i]) == ST_OK, "raft_encode_beat");
            send_bytes(s, (unsigned)b[i].to_store, &out);
            buf_deinit(&out);
        }
        update(s);
    }
    while (n_events && heap[0].at_us <= until) {
        struct event e = pop();
        now_us = e.at_us;
        if (e.from)
            deliver(&e);
        else
            durable(e.to, e.ticket);
        update(e.to);
    }
    now_us = until;
}

static void run(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++)
        step();
}

static uint64_t commit_of(unsigned s)
{
    struct raft_status st;
    raft_status(nodes[s].raft, &st);
    return st.commit;
}

static uint64_t term_of(unsigned s)
{
    struct raft_status st;
    raft_status(nodes[s].raft, &st);
    return st.term;
}

static void propose(void)
{
    uint64_t index, term;
    uint8_t payload[16];
    unsigned s = leader();
    bench_value(order, payload, sizeof payload);
    if (s && raft_propose(nodes[s].raft, BYTES(payload, sizeof payload), &index, &term) == ST_OK)
        update(s);
}

static struct raft_conf conf_of(unsigned voters, unsigned learners) /* as bits of nodes */
{
    struct raft_conf c = {0};
    for (unsigned s = 1; s <= n_nodes; s++)
        if ((voters | learners) & 1u << s)
            c.member[c.n++] =
                (struct raft_member){s, s, voters & 1u << s ? RAFT_VOTER : RAFT_LEARNER};
    return c;
}

static void open_all(unsigned n, unsigned voters, uint64_t seed)
{
    n_nodes = n;
    now_us = US_MS;
    rnd = seed;
    for (unsigned s = 1; s <= n; s++) {
        struct raft_options o = {.store = s,
                                 .incarnation = 1,
                                 .seed = seed + s,
                                 .election_ms = ELECTION_MS,
                                 .no_quiesce = true};
        struct raft_init i = {.group = 1, .replica = s};
        if (voters & 1u << s)
            i.conf = conf_of(voters, 0);
        nodes[s] = (struct node){0};
        die_unless(raft_store_new(&o, &nodes[s].store, NULL) == ST_OK, "raft_store_new");
        die_unless(raft_new(nodes[s].store, &i, &nodes[s].raft, NULL) == ST_OK, "raft_new");
        die_unless(raft_start(nodes[s].raft, NULL) == ST_OK, "raft_start");
    }
    while (!leader() || commit_of(leader()) == 0)
        step();
}

static void close_all(void)
{
    for (; n_events; n_events--)
        free(heap[n_events - 1].bytes);
    for (unsigned s = 1; s <= n_nodes; s++) {
        raft_free(nodes[s].raft);
        raft_store_free(nodes[s].store);
        while (nodes[s].n_log)
            free((void *)(uintptr_t)nodes[s].log[--nodes[s].n_log].payload.data);
        free(nodes[s].log);
    }
}

/* ---- what is measured ---- */

static uint64_t histogram[BUCKETS]; /* in quarters of the election timeout */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t one_death(uint64_t *ret_terms)
{
    unsigned old = leader();
    uint64_t begun = now_us, was = term_of(old), commit = commit_of(old);
    nodes[old].cut = true;
    unsigned s;
    do {
        step();
        s = leader();
        die_unless(now_us - begun < (uint64_t)120 * ELECTION_MS * US_MS,
                   "no new leader in 120 timeouts");
    } while (!s || commit_of(s) <= commit);
    uint64_t took = now_us - begun;
    *ret_terms = term_of(s) - was;
    nodes[old].cut = false;
    run(between(300, 1500));
    propose();
    run(50);
    return took;
}

static bool deaths(unsigned voters, uint64_t count, uint64_t seed)
{
    uint64_t *took = calloc(count + 1, sizeof *took), contested = 0, most = 0;
    die_unless(took != NULL, "no memory");
    open_all(voters, (2u << voters) - 2, seed);
    memset(histogram, 0, sizeof histogram);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t terms;
        took[i] = one_death(&terms);
        contested += terms > 1;
        most = terms > most ? terms : most;
        uint64_t at = took[i] * 4 / ((uint64_t)ELECTION_MS * US_MS);
        histogram[at < BUCKETS ? at : BUCKETS - 1]++;
    }
    qsort(took, count, sizeof *took, by_value);
    printf("%llu deaths of a leader, %u voters: from death to the next commit, in election "
           "timeouts of "
           "%d ms\n",
           (unsigned long long)count, voters, ELECTION_MS);
    for (unsigned b = 0; b < BUCKETS; b++)
        if (histogram[b])
            printf("  %5.2f%s %8llu\n", b / 4.0, b + 1 < BUCKETS ? " " : "+",
                   (unsigned long long)histogram[b]);
    double unit = (double)ELECTION_MS * US_MS, median = (double)took[count / 2] / unit;
    printf(
        "  median %.2f, p99 %.2f, longest %.2f; %llu took more than one term, %llu terms at most\n",
        median, (double)took[count * 99 / 100] / unit, (double)took[count - 1] / unit,
        (unsigned long long)contested, (unsigned long long)most);
    free(took);
    close_all();
    return median <= 2.0;
}

/* A follower is cut off for one to ten election timeouts and comes back. */
static bool rejoins(uint64_t count, uint64_t seed)
{
    uint64_t deposed = 0, terms = 0;
    open_all(3, 14, seed);
    for (uint64_t i = 0; i < count; i++) {
        unsigned l = leader(), f;
        uint64_t term = term_of(l);
        do
            f = (unsigned)between(1, 3);
        while (f == l);
        nodes[f].cut = true;
        run(between(ELECTION_MS, 10 * ELECTION_MS));
        propose();
        nodes[f].cut = false;
        run(3 * ELECTION_MS);
        deposed += leader() != l;
        terms += term_of(l) - term;
    }
    printf("%llu times a follower was cut off and came back: %llu leaders deposed, terms rose by "
           "%llu\n",
           (unsigned long long)count, (unsigned long long)deposed, (unsigned long long)terms);
    close_all();
    return deposed == 0 && terms == 0;
}

/* Voters who can be reached and whose copy has all that is committed but for what can be under way to
 * them (WINDOW entries), so that they can take part in the next commit, against what the configuration
 * in force at the leader needs, in each of its halves. */
static bool majority_stands(void)
{
    unsigned l = leader(), have[2] = {0}, all[2] = {0};
    if (!l)
        return false;
    const struct raft_conf *c = raft_configuration(nodes[l].raft);
    uint64_t commit = commit_of(l);
    for (unsigned i = 0; i < c->n; i++) {
        struct raft_status st;
        raft_status(nodes[c->member[i].store].raft, &st);
        bool has = !nodes[c->member[i].store].cut && st.durable + WINDOW >= commit;
        for (unsigned half = 0; half < 2; half++) {
            bool in = c->member[i].flags & (half ? RAFT_VOTER_OLD : RAFT_VOTER);
            all[half] += in;
            have[half] += in && has;
        }
    }
    return have[0] * 2 > all[0] && (all[1] == 0 || have[1] * 2 > all[1]);
}

static unsigned bits_of(const struct raft_conf *c, unsigned flag)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < c->n; i++)
        bits |= c->member[i].flags & flag ? 1u << c->member[i].store : 0;
    return bits;
}

/* Two of three voters are replaced by two newcomers, under load: learners first, voters when they have
 * caught up, then the old ones go. */
static bool replacements(uint64_t count, uint64_t seed)
{
    uint64_t lacking = 0, looked = 0, longest = 0, commits = 0;
    open_all(NODES, 14, seed);
    for (uint64_t i = 0; i < count; i++) {
        unsigned voters = bits_of(raft_configuration(nodes[leader()].raft), RAFT_VOTER);
        unsigned fresh = ((2u << NODES) - 2) & ~voters, target = fresh, kept = 0;
        for (unsigned s = 1; s <= NODES && !kept; s++)
            if (voters & 1u << s && between(0, 1))
                kept = 1u << s;
        target |= kept ? kept : (voters & -voters);
        uint64_t stage = 0, gap = 0, last = commit_of(leader()), ms = 0;
        for (; stage < 3 || bits_of(raft_configuration(nodes[leader() ? leader() : 1].raft),
                                    RAFT_VOTER) != target;
             ms++) {
            unsigned l = leader();
            propose();
            step();
            looked++;
            lacking += !majority_stands();
            if (!(l = leader()))
                continue;
            uint64_t c = commit_of(l), at;
            gap = c > last ? 0 : gap + 1;
            longest = gap > longest ? gap : longest;
            commits += c > last ? c - last : 0;
            last = c > last ? c : last;
            struct raft_conf want = stage == 0 ? conf_of(voters, fresh) : conf_of(target, 0);
            struct raft_peer_status p[NODES + 1];
            size_t n = raft_peers(nodes[l].raft, p, NODES + 1);
            bool caught_up = true;
            for (size_t k = 0; k < n; k++)
                caught_up &= p[k].match > 0 && p[k].match + WINDOW >= c;
            if (stage == 0 ? raft_change(nodes[l].raft, &want, true, &at, NULL) == ST_OK
                           : stage == 1 && caught_up && n >= NODES - 1 &&
                                 raft_change(nodes[l].raft, &want, true, &at, NULL) == ST_OK)
                stage++;
            else if (stage == 2)
                stage = 3;
            update(l);
            die_unless(ms < 60000, "a replacement does not end");
        }
        run(100);
    }
    printf("%llu replacements of two voters of three under load: %llu moments looked at, in %llu "
           "no majority could commit; %llu commits, at most %llu ms without one\n",
           (unsigned long long)count, (unsigned long long)looked, (unsigned long long)lacking,
           (unsigned long long)commits, (unsigned long long)longest);
    close_all();
    return lacking == 0;
}

int main(int argc, char **argv)
{
    uint64_t n_deaths = bench_arg(argc, argv, 1, 10000), n_rejoins = bench_arg(argc, argv, 2, 1000);
    uint64_t n_replaced = bench_arg(argc, argv, 3, 200), seed = bench_arg(argc, argv, 4, 1);
    bool good = true;
    bench_machine("bench_elections: Raft in virtual time when nodes go away");
    if (n_deaths) {
        good &= deaths(3, n_deaths, seed);
        good &= deaths(5, n_deaths / 10 + 1, seed + 1);
    }
    if (n_rejoins)
        good &= rejoins(n_rejoins, seed + 2);
    if (n_replaced)
        good &= replacements(n_replaced, seed + 3);
    bench_checksum(sum + messages);
    free(heap);
    if (!good)
        bench_die("a promise does not hold");
    return 0;
}
