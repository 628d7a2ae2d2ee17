/* The end: are the replicas equal, and was what the clients saw right? */
#include "sim/cluster/door.h"
#include "sim/cluster/members.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

enum { SAME_MS = 60000, QUIET_MS = 2000 };

/* --- a replica's whole content, every version of everything --- */

struct export
{
    struct node *node;
    bool tells; /* the history's final rows */
    bool done;
    enum status st;
    struct err err;
    uint64_t digest, rows;
};

static uint32_t route_id(struct bytes key)
{
    return (uint32_t)key.data[0] << 24 | (uint32_t)key.data[1] << 16 | (uint32_t)key.data[2] << 8 |
           key.data[3];
}

static enum status export_row(struct export *x, const struct store_row *row, uint32_t registers)
{
    struct buf buf = BUF_INIT;
    struct record rec = {0};
    enum status st = ST_OK;
    struct store *s = x->node->store;
    if (row->rec.kind == RECORD_PUT)
        st = store_get(s, row->key, row->rec.version, &buf, &rec, &x->err);
    uint64_t fixed[3] = {row->rec.version.hlc, row->rec.kind, row->key.len};
    x->digest = hash_xxh64(fixed, sizeof fixed, x->digest);
    x->digest = hash_xxh64(row->key.data, row->key.len, x->digest);
    x->digest = hash_xxh64(rec.value.data, rec.value.len, x->digest);
    x->rows++;
    if (!st && x->tells && route_id(row->key) == registers) {
        struct history_row r = {
            .verb = row->rec.kind == RECORD_DELETE ? HISTORY_DELETE : HISTORY_PUT,
            .version = row->rec.version.hlc,
            .key = BYTES(row->key.data + STORE_ROUTE_BYTES, row->key.len - STORE_ROUTE_BYTES),
            .value = rec.value};
        struct sim_heap *heap = sim_heap_enter(NULL); /* the history is no process's */
        st = history_final(x->node->run->history, &r);
        sim_heap_enter(heap);
    }
    buf_deinit(&buf);
    return st;
}

/* What the keeper has: the present alone, for each node removes the past by itself. */
static enum status export_kept(struct export *x, uint32_t *ret_id)
{
    struct store *s = x->node->store;
    struct collection *kept = NULL;
    struct store_iter *it = NULL;
    struct store_row row;
    uint8_t lower[STORE_ROUTE_BYTES], upper[STORE_ROUTE_BYTES];
    if (store_collection_find(s, BYTES_LIT("kept"), &kept, NULL) != ST_OK)
        return ST_OK;
    *ret_id = collection_id(kept);
    for (int i = 0; i < STORE_ROUTE_BYTES; i++) {
        lower[i] = (uint8_t)(*ret_id >> (24 - 8 * i));
        upper[i] = (uint8_t)((*ret_id + 1) >> (24 - 8 * i));
    }
    struct store_scan q = {.in = {BYTES(lower, sizeof lower), BYTES(upper, sizeof upper)},
                           .with_expired = true};
    enum status st = store_scan(s, &q, &it, &x->err);
    int got = 0;
    while (!st && (got = store_iter_next(it, &row, &x->err)) > 0) {
        uint64_t fixed[3] = {row.rec.version.hlc, row.rec.expires_ms, row.key.len};
        x->digest = hash_xxh64(fixed, sizeof fixed, x->digest);
        x->digest = hash_xxh64(row.key.data, row.key.len, x->digest);
        x->digest = hash_xxh64(row.rec.value.data, row.rec.value.len, x->digest);
        x->rows++;
    }
    store_iter_close(it);
    return !st && got < 0 ? (enum status) - got : st;
}

/* What those who misbehave write expires, is dropped, and its past is removed on one node alone. */
static bool is_rogues(struct store *s, uint32_t id)
{
    const char *name = store_collection_name(s, id);
    return name && !strcmp(name, ROGUES_COLLECTION);
}

static void export_fiber(void *export)
{
    struct export *x = export;
    struct store *s = x->node->store;
    struct store_iter *it = NULL;
    struct store_row row;
    struct collection *registers = NULL;
    err_init(&x->err);
    uint32_t id = 0, kept = 0;
    if (store_collection_find(s, BYTES_LIT("register"), &registers, NULL) == ST_OK)
        id = collection_id(registers);
    x->st = export_kept(x, &kept);
    if (!x->st) /* the keeper's past is not the same everywhere: that of no other was removed */
        x->st = store_changes(s, BYTES_LIT("register"), VERSION_NONE, BYTES_EMPTY, &it, &x->err);
    while (it && !x->st) {
        int got = store_iter_next(it, &row, &x->err);
        if (got <= 0) {
            x->st = (enum status) - got;
            break;
        }
        uint32_t of = route_id(row.key);
        if ((!kept || of != kept) && !is_rogues(s, of))
            x->st = export_row(x, &row, id);
    }
    if (it)
        store_iter_close(it);
    x->done = true;
}

static bool export_node(struct export *x)
{
    struct run *r = x->node->run;
    uint64_t until = run_now(r) + 1000 * MS;
    if (!sim_machine_spawn(x->node->machine, export_fiber, x))
        return false;
    while (!x->done && run_now(r) < until)
        sim_world_run(r->world, run_now(r) + 1 * MS);
    return x->done;
}

/* --- equal --- */

static bool takes_part(const struct node *n)
{
    return n->state != NODE_LOST && !n->cut_off && !members_out(n);
}

/* All that take part have applied the same, and know that. */
static bool settled(const struct run *r, uint64_t *ret_applied)
{
    uint64_t applied = 0;
    bool any = false; /* a node that has an empty disk has applied nothing, and that counts */
    for (unsigned i = 1; i <= r->plan.nodes; i++) {
        struct node *n = &r->nodes[i];
        struct store_role role;
        if (!takes_part(n))
            continue;
        if (n->state != NODE_UP)
            return false;
        store_role(n->store, &role);
        if (r->plan.nodes > 1 && (role.commit != role.applied || role.leader == 0))
            return false;
        if (any && applied != role.applied)
            return false;
        any = true;
        applied = role.applied;
    }
    *ret_applied = applied;
    return true;
}

static void fail_unsettled(struct run *r)
{
    char text[600];
    size_t len = 0;
    for (unsigned i = 1; i <= r->plan.nodes && len < sizeof text - 120; i++) {
        const struct node *n = &r->nodes[i];
        struct store_role role = {0};
        if (n->state == NODE_UP)
            store_role(n->store, &role);
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "; node %u: state %d%s term %llu leader %llu commit %llu "
                                "applied %llu",
                                i, (int)n->state, n->cut_off ? " (left out)" : "",
                                (unsigned long long)role.term, (unsigned long long)role.leader,
                                (unsigned long long)role.commit, (unsigned long long)role.applied);
    }
    run_fail(r, "the replicas are not equal within %d ms of quiet%s", SAME_MS, text);
}

/* Settled, and at the same index as a while before: a write whose outcome is unknown may still be on its
 * way, from a node that was cut off, and what it changes belongs to the final history. */
static bool quiet(struct run *r, uint64_t *ret_applied)
{
    uint64_t applied = 0, last = 0, since = 0, until = run_now(r) + SAME_MS * MS;
    for (; run_now(r) < until && !run_failed(r); sim_world_run(r->world, run_now(r) + 20 * MS)) {
        if (!settled(r, &applied))
            continue;
        if (since && applied == last && run_now(r) - since >= QUIET_MS * MS) {
            *ret_applied = applied;
            return true;
        }
        if (!since || applied != last)
            since = run_now(r);
        last = applied;
    }
    return false;
}

bool judge_replicas(struct run *r)
{
    uint64_t applied = 0;
    bool same = quiet(r, &applied);
    if (run_failed(r))
        return false;
    if (!same) {
        fail_unsettled(r);
        return false;
    }
    uint64_t first = 0;
    for (unsigned i = 1; i <= r->plan.nodes; i++) {
        struct node *n = &r->nodes[i];
        if (!takes_part(n))
            continue;
        size_t rows;
        bool complete;
        uint64_t horizon;
        (void)history_rows(r->history, &rows, &complete, &horizon);
        struct export *x = sim_zalloc(sizeof *x);
        *x = (struct export){.node = n, .tells = !complete};
        bool got = export_node(x);
        if (!got || x->st)
            run_fail(r, "%s does not tell its content: %s", node_name(n),
                     got ? x->err.detail : "no end of it");
        else if (x->tells)
            history_final_done(r->history, 0);
        run_say(r, node_name(n), "has %llu rows at index %llu, digest %016llx",
                (unsigned long long)x->rows, (unsigned long long)applied,
                (unsigned long long)x->digest);
        run_digest(r, 'e' << 8 | n->id, x->digest);
        if (got && first && x->digest != first)
            run_fail(r, "%s differs from the others at index %llu", node_name(n),
                     (unsigned long long)applied);
        first = got ? x->digest : first;
        struct history_note note = {.fact = HISTORY_APPLIED,
                                    .node = n->id,
                                    .group = 1,
                                    .index = applied,
                                    .digest = x->digest};
        enum status st = history_note(r->history, run_now(r), &note);
        ASSERT(st == ST_OK);
        if (got)
            sim_free(x); /* else a fiber may still write to it */
    }
    return !run_failed(r);
}

/* --- right --- */

void judge_history(struct run *r)
{
    static const struct check_options o = {.bank_total = 0, .bank_overdraft = true};
    struct check_report *report = check_report_new();
    struct buf text = BUF_INIT;
    ASSERT(report);
    enum status st = check_all(r->history, &o, report);
    ASSERT(st == ST_OK);
    r->result->violations = check_violations(report);
    r->result->undecided = check_undecided(report);
    if (r->result->violations) {
        st = check_report_text(report, &text);
        ASSERT(st == ST_OK && buf_cstr(&text));
        run_fail(r, "%llu violations:\n%s", (unsigned long long)r->result->violations,
                 buf_cstr(&text));
    }
    buf_deinit(&text);
    check_report_free(report);
}
