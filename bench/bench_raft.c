/* Raft alone: three replicas in memory in one thread, 16-byte entries proposed in batches, every
 * entry committed, applied and acknowledged on all three; disks that are done at once. Then many
 * idle groups between the same three stores: what their heartbeats cost. Usage: bench_raft [million
 * entries] [batch] [idle groups] */
#include "bench/bench_util.h"
#include "consensus/raft/raft.h"

#include <stdio.h>
#include <stdlib.h>

enum { STORES = 3 };

static struct raft_store *stores[STORES + 1];
static struct raft **groups[STORES + 1]; /* [store][group] */
static uint64_t applied_bytes, messages, beats, now_ms = 1;

static void die_unless(enum status st, const char *what)
{
    if (st != ST_OK)
        bench_die("%s: %s", what, status_name(st));
}

static void deliver(const struct raft_msg *m)
{
    messages++;
    die_unless(raft_step(groups[m->to_store][m->group - 1], m), "raft_step");
}

static void pump(unsigned s)
{
    static struct raft_msg later[256];
    struct raft_update u;
    for (struct raft *r; (r = raft_store_ready(stores[s]));) {
        if (!raft_update(r, &u))
            continue;
        for (size_t i = 0; i < u.n_now; i++)
            deliver(&u.now[i]);
        uint64_t ticket = u.ticket, to = 0;
        size_t n = u.n_after;
        for (size_t i = 0; i < n; i++)
            later[i] = u.after[i];
        for (size_t i = 0; i < u.n_committed; i++)
            applied_bytes += u.committed[i].payload.len;
        if (u.n_committed)
            to = u.committed[u.n_committed - 1].index;
        raft_done(r);
        if (ticket)
            raft_appended(r, ticket);
        for (size_t i = 0; i < n; i++)
            deliver(&later[i]);
        if (to) {
            raft_applied(r, to);
            if (to % 65536 < 4096)
                raft_compact(r, to);
        }
    }
}

static void settle(void)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned s = 1; s <= STORES; s++)
            if (raft_store_ready(stores[s])) {
                pump(s);
                any = true;
            }
    }
}

static void tick(uint64_t ms)
{
    struct raft_beat b[STORES];
    now_ms += ms;
    for (unsigned s = 1; s <= STORES; s++) {
        raft_store_tick(stores[s], now_ms);
        size_t n = raft_store_beats(stores[s], b, STORES);
        beats += n;
        for (size_t i = 0; i < n; i++)
            die_unless(raft_store_beat(stores[b[i].to_store], &b[i]), "raft_store_beat");
    }
    settle();
}

static void open_all(uint64_t n)
{
    for (unsigned s = 1; s <= STORES; s++) {
        struct raft_options o = {.store = s, .incarnation = 1, .seed = s, .cache_bytes = 8 << 20};
        die_unless(raft_store_new(&o, &stores[s], NULL), "raft_store_new");
        groups[s] = calloc(n, sizeof(struct raft *));
        for (uint64_t g = 0; g < n; g++) {
            struct raft_init i = {.group = g + 1, .replica = s};
            i.conf.n = STORES;
            for (unsigned k = 0; k < STORES; k++)
                i.conf.member[k] = (struct raft_member){k + 1, k + 1, RAFT_VOTER};
            die_unless(raft_new(stores[s], &i, &groups[s][g], NULL), "raft_new");
            die_unless(raft_start(groups[s][g], NULL), "raft_start");
        }
    }
}

static void close_all(uint64_t n)
{
    for (unsigned s = 1; s <= STORES; s++) {
        for (uint64_t g = 0; g < n; g++)
            raft_free(groups[s][g]);
        free(groups[s]);
        raft_store_free(stores[s]);
    }
}

static unsigned leader_of(uint64_t g)
{
    struct raft_status a;
    for (unsigned s = 1; s <= STORES; s++) {
        raft_status(groups[s][g], &a);
        if (a.role == RAFT_LEADER)
            return s;
    }
    return 0;
}

static void commits(uint64_t entries, uint64_t batch)
{
    char what[80];
    uint8_t payload[16];
    uint64_t index, term;
    open_all(1);
    while (!leader_of(0))
        tick(50);
    unsigned l = leader_of(0);
    bench_value(1, payload, sizeof payload);
    messages = applied_bytes = 0;
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < entries; i += batch) {
        for (uint64_t k = 0; k < batch; k++)
            die_unless(raft_propose(groups[l][0], BYTES(payload, sizeof payload), &index, &term),
                       "raft_propose");
        settle();
    }
    uint64_t ns = bench_ns() - t0;
    struct raft_status a;
    tick(200); /* the last commit is told */
    raft_status(groups[l][0], &a);
    if (a.commit < entries || applied_bytes < 3 * 16 * entries)
        bench_die("only %llu of %llu are committed", (unsigned long long)a.commit,
                  (unsigned long long)entries);
    (void)snprintf(what, sizeof what, "commits, 3 replicas, 16 B, batches of %llu",
                   (unsigned long long)batch);
    bench_rate(what, entries, ns);
    printf("  %.1f messages a batch\n", (double)messages / (double)(entries / batch));
    bench_checksum(applied_bytes + index);
    close_all(1);
}

static void idle_groups(uint64_t n)
{
    struct raft_store_stats st;
    uint64_t most = 0, sum = 0;
    open_all(n);
    for (unsigned i = 0; i < 400; i++) {
        tick(50);
        raft_store_stats(stores[1], &st);
        if (i > 100 && st.awake == 0)
            break;
    }
    for (unsigned s = 1; s <= STORES; s++) {
        raft_store_stats(stores[s], &st);
        if (st.awake)
            bench_die("%llu groups of store %u do not sleep", (unsigned long long)st.awake, s);
    }
    for (uint64_t g = 0; g < n; g++) {
        size_t bytes = raft_memory_bytes(groups[1][g]);
        sum += bytes;
        most = bytes > most ? bytes : most;
    }
    messages = beats = 0;
    uint64_t t0 = bench_ns(), seconds = 60;
    for (uint64_t ms = 0; ms < seconds * 1000; ms += 10)
        tick(10);
    uint64_t ns = bench_ns() - t0;
    printf(
        "%llu idle groups on 3 stores: %llu messages and %llu beats in %llu s, %.5f %% of a core; "
        "memory of a group: %llu bytes on average, %llu at most\n",
        (unsigned long long)n, (unsigned long long)messages, (unsigned long long)beats,
        (unsigned long long)seconds, (double)ns / (double)seconds / 1e7,
        (unsigned long long)(sum / n), (unsigned long long)most);
    close_all(n);
}

int main(int argc, char **argv)
{
    uint64_t entries = bench_arg(argc, argv, 1, 10) * 1000000,
             batch = bench_arg(argc, argv, 2, 256);
    uint64_t n = bench_arg(argc, argv, 3, 10000);
    bench_machine("bench_raft: commits in memory, and idle groups");
    if (batch == 0)
        bench_die("a batch of 0");
    if (entries)
        commits(entries / batch * batch, batch);
    if (n)
        idle_groups(n);
    return 0;
}
