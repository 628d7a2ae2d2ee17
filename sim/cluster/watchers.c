/* Watchers: each follows the registers' changes from the beginning to the end, over whatever nodes
 * there are; its token is all that it carries from one to the next. */
#include "sim/cluster/door.h"
#include "sim/cluster/members.h"

#include "node/feed/feed.h"
#include "node/feed/token.h"

#include <string.h>

enum { TOKEN_MAX = 512, ROWS_A_VISIT = 400 };

struct watcher {
    struct run *run;
    unsigned number;
    struct node *node;
    bool running;
    struct dice dice;
    struct sim_event hop;
    char prefix[4];     /* of the keys that it follows; "": all */
    bool all;           /* it follows all collections, and passes over others */
    bool door, by_http; /* it comes through the node's door */
    char token[TOKEN_MAX];
    size_t token_len;
    uint64_t reached; /* it was told everything up to this version, or was shown a change of it */
};

static void plan_hop(struct watcher *w, uint64_t ns)
{
    sim_queue_add(sim_world_queue(w->run->world), &w->hop, run_now(w->run) + ns);
}

static void record(struct watcher *w, const struct history_watch *what)
{
    struct history_watch h = *what;
    h.watcher = w->number;
    h.node = w->node->id;
    if (h.kind != HISTORY_WATCH_OPEN && h.version > w->reached)
        w->reached = h.version;
    struct sim_heap *heap = sim_heap_enter(NULL); /* the history is no process's */
    enum status st = history_watch(w->run->history, run_now(w->run), &h);
    sim_heap_enter(heap);
    ASSERT(st == ST_OK);
    run_digest(w->run, 'w' << 8 | w->number, h.version);
}

static void remember(struct watcher *w, struct bytes token)
{
    ASSERT(token.len < TOKEN_MAX);
    w->token_len = token.len;
    memcpy(w->token, token.data, token.len);
    w->token[token.len] = 0;
}

/* The place that the token names is where the history's stream goes on. */
static bool record_open(struct watcher *w)
{
    struct history_watch h = {.kind = HISTORY_WATCH_OPEN, .prefix = BYTES_STR(w->prefix)};
    struct buf scratch = BUF_INIT;
    struct token t;
    if (w->token_len) {
        enum status st = token_decode(BYTES(w->token, w->token_len), &scratch, &t, NULL);
        ASSERT(st == ST_OK);
        /* A token's empty key stands before all of its version, the history's behind them. */
        h.version = t.version.hlc - (t.key.len == 0 && t.version.hlc > 0);
        if (t.key.len > STORE_ROUTE_BYTES)
            h.key = BYTES(t.key.data + STORE_ROUTE_BYTES, t.key.len - STORE_ROUTE_BYTES);
    }
    record(w, &h);
    buf_deinit(&scratch);
    return true;
}

/* A place behind no row: all that is watched has been delivered up to there. Whoever comes back with it
 * must not miss what it moved over. */
static void take_place(struct watcher *w, struct bytes token)
{
    struct buf scratch = BUF_INIT;
    struct token t;
    enum status st = token_decode(token, &scratch, &t, NULL);
    ASSERT(st == ST_OK);
    if (t.key.len == 0 && t.version.hlc > 0)
        record(w, &(struct history_watch){.kind = HISTORY_WATCH_PROGRESS,
                                          .version = t.version.hlc - 1});
    buf_deinit(&scratch);
    remember(w, token);
}

static void record_row(struct watcher *w, const struct feed_row *row)
{
    record(w, &(struct history_watch){
                  .kind = HISTORY_WATCH_EVENT,
                  .verb = row->rec.kind == RECORD_DELETE ? HISTORY_DELETE : HISTORY_PUT,
                  .version = row->rec.version.hlc,
                  .key = row->key,
                  .value = row->rec.kind == RECORD_DELETE ? BYTES_EMPTY : row->rec.value});
}

static void follow(struct watcher *w, struct feed *f)
{
    struct err err;
    struct feed_row row;
    err_init(&err);
    for (int rows = 0; rows < ROWS_A_VISIT && node_usable(w->node) && !w->node->stopping;) {
        if (w->run->healing && members_out(w->node))
            return; /* it is told nothing more */
        struct version visible = store_visible(w->node->store);
        int got = feed_next(f, &row, &err);
        if (got < 0) {
            run_say(w->run, "watcher", "%u is refused by %s: %s", w->number, node_name(w->node),
                    err.detail);
            return;
        }
        if (got > 0) {
            if (!w->all || !strcmp(row.collection, "register"))
                record_row(w, &row);
            remember(w, BYTES_STR(feed_token(f)));
            rows++;
            continue;
        }
        record(w, &(struct history_watch){.kind = HISTORY_WATCH_PROGRESS, .version = visible.hlc});
        take_place(w, BYTES_STR(feed_token(f)));
        if (w->run->stop_watchers)
            return;
        (void)feed_wait(f, 200, NULL);
    }
}

static void watcher_fiber(void *watcher)
{
    struct watcher *w = watcher;
    struct err err;
    struct feed *f = NULL;
    err_init(&err);
    struct feed_options o = {
        .collection = BYTES_LIT("register"), .prefix = BYTES_STR(w->prefix), .values = true};
    if (w->all)
        o.collection = BYTES_EMPTY;
    enum status st = feed_open(w->node->store, BYTES(w->token, w->token_len), &o, &f, &err);
    if (st == ST_OK && record_open(w))
        follow(w, f);
    feed_close(f);
    w->running = false;
    /* A token that this node has not seen yet: elsewhere, or later. */
    plan_hop(w, (st ? 100 : 10) * MS);
}

/* --- through doors --- */

static void on_opened(void *watcher)
{
    (void)record_open(watcher);
}

static void on_row(void *watcher, struct bytes token, const struct history_watch *what)
{
    record(watcher, what);
    remember(watcher, token);
}

static void on_progress(void *watcher, uint64_t version)
{
    record(watcher, &(struct history_watch){.kind = HISTORY_WATCH_PROGRESS, .version = version});
}

static void on_place(void *watcher, struct bytes token)
{
    take_place(watcher, token);
}

static void door_fiber(void *watcher)
{
    struct watcher *w = watcher;
    struct door_visit v = {.run = w->run,
                           .node = w->node,
                           .dice = &w->dice,
                           .token = w->token,
                           .prefix = BYTES_STR(w->prefix),
                           .all = w->all,
                           .by_http = w->by_http,
                           .arg = w,
                           .opened = on_opened,
                           .row = on_row,
                           .progress = on_progress,
                           .place = on_place};
    bool let_in = door_visit(&v);
    w->running = false;
    plan_hop(w, (let_in ? 10 : 100) * MS);
}

static void hop(void *watcher)
{
    struct watcher *w = watcher;
    struct run *r = w->run;
    if (w->running || r->stop_watchers)
        return;
    w->node = &r->nodes[1 + dice_below(&w->dice, r->plan.nodes)];
    struct sim_machine *on = w->door ? door_machine(r) : w->node->machine;
    if (!node_serves(w->node) || !sim_machine_spawn(on, w->door ? door_fiber : watcher_fiber, w)) {
        plan_hop(w, 50 * MS);
        return;
    }
    w->running = true;
}

/* Which changes it wants, and how it comes to see them: by luck of its own. */
static void draw(struct watcher *w)
{
    struct dice d = dice_fork(w->run->plan.seed, 21000 + w->number);
    if (dice_one_in(&d, 3))
        memcpy(w->prefix, "r1", 3);
    w->all = !w->prefix[0] && dice_one_in(&d, 3);
    w->door = w->run->plan.doors && dice_one_in(&d, 2);
    w->by_http = dice_one_in(&d, 2);
}

void watchers_start(struct run *r)
{
    r->watchers = sim_zalloc((r->plan.watchers + 1) * sizeof *r->watchers);
    for (unsigned i = 0; i < r->plan.watchers; i++) {
        struct watcher *w = &r->watchers[i];
        *w = (struct watcher){.run = r, .number = i, .dice = dice_fork(r->plan.seed, 20000 + i)};
        w->hop = (struct sim_event){.fn = hop, .arg = w};
        draw(w);
        plan_hop(w, 100 * MS + dice_below(&w->dice, 1000 * MS));
    }
}

void watchers_free(struct run *r)
{
    for (unsigned i = 0; r->watchers && i < r->plan.watchers; i++)
        sim_queue_drop(sim_world_queue(r->world), &r->watchers[i].hop);
    sim_free(r->watchers);
}

void watchers_node_died(struct run *r, const struct node *n)
{
    for (unsigned i = 0; r->watchers && i < r->plan.watchers; i++) {
        struct watcher *w = &r->watchers[i];
        if (w->running && w->node == n && !w->door) {
            w->running = false;
            plan_hop(w, 50 * MS);
        }
    }
}

/* Who follows everything and fell behind what a vacuum removed of another collection is refused for
 * good, and has to begin anew. */
static bool may_be_refused(const struct watcher *w)
{
    return w->all && (w->run->plan.keeper || w->run->plan.doors);
}

bool watchers_reached(const struct run *r, uint64_t version, unsigned *ret_behind)
{
    for (unsigned i = 0; r->watchers && i < r->plan.watchers; i++)
        if (r->watchers[i].reached < version && !may_be_refused(&r->watchers[i])) {
            *ret_behind = i;
            return false;
        }
    return true;
}

bool watchers_at(const struct node *n)
{
    const struct run *r = n->run;
    for (unsigned i = 0; i < r->plan.watchers; i++)
        if (r->watchers[i].running && r->watchers[i].node == n)
            return true;
    return false;
}
