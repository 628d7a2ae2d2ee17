/* Watchers: each follows the registers' changes from the beginning to the end, over whatever nodes
 * there are; its token is all that it carries from one to the next. */
#include "sim/cluster/run.h"

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
    char token[TOKEN_MAX];
    size_t token_len;
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
    struct sim_heap *heap = sim_heap_enter(NULL); /* the history is no process's */
    enum status st = history_watch(w->run->history, run_now(w->run), &h);
    sim_heap_enter(heap);
    ASSERT(st == ST_OK);
    run_digest(w->run, 'w' << 8 | w->number, h.version);
}

static void remember(struct watcher *w, struct feed *f)
{
    const char *token = feed_token(f);
    w->token_len = strlen(token);
    ASSERT(w->token_len < TOKEN_MAX);
    memcpy(w->token, token, w->token_len + 1);
}

/* The place that the token names is where the history's stream goes on. */
static bool record_open(struct watcher *w)
{
    struct history_watch h = {.kind = HISTORY_WATCH_OPEN};
    struct buf scratch = BUF_INIT;
    struct token t;
    if (w->token_len) {
        enum status st = token_decode(BYTES(w->token, w->token_len), &scratch, &t, NULL);
        ASSERT(st == ST_OK);
        h.version = t.version.hlc;
        if (t.key.len > STORE_ROUTE_BYTES)
            h.key = BYTES(t.key.data + STORE_ROUTE_BYTES, t.key.len - STORE_ROUTE_BYTES);
    }
    record(w, &h);
    buf_deinit(&scratch);
    return true;
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
        struct version visible = store_visible(w->node->store);
        int got = feed_next(f, &row, &err);
        if (got < 0) {
            run_say(w->run, "watcher", "%u is refused by %s: %s", w->number, node_name(w->node),
                    err.detail);
            return;
        }
        if (got > 0) {
            record_row(w, &row);
            remember(w, f);
            rows++;
            continue;
        }
        record(w, &(struct history_watch){.kind = HISTORY_WATCH_PROGRESS, .version = visible.hlc});
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
    struct feed_options o = {.collection = BYTES_LIT("register"), .values = true};
    enum status st = feed_open(w->node->store, BYTES(w->token, w->token_len), &o, &f, &err);
    if (st == ST_OK && record_open(w))
        follow(w, f);
    feed_close(f);
    w->running = false;
    /* A token that this node has not seen yet: elsewhere, or later. */
    plan_hop(w, (st ? 100 : 10) * MS);
}

static void hop(void *watcher)
{
    struct watcher *w = watcher;
    struct run *r = w->run;
    if (w->running || r->stop_watchers)
        return;
    w->node = &r->nodes[1 + dice_below(&w->dice, r->plan.nodes)];
    if (!node_serves(w->node) || !sim_machine_spawn(w->node->machine, watcher_fiber, w)) {
        plan_hop(w, 50 * MS);
        return;
    }
    w->running = true;
}

void watchers_start(struct run *r)
{
    r->watchers = sim_zalloc((r->plan.watchers + 1) * sizeof *r->watchers);
    for (unsigned i = 0; i < r->plan.watchers; i++) {
        struct watcher *w = &r->watchers[i];
        *w = (struct watcher){.run = r, .number = i, .dice = dice_fork(r->plan.seed, 20000 + i)};
        w->hop = (struct sim_event){.fn = hop, .arg = w};
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
        if (w->running && w->node == n) {
            w->running = false;
            plan_hop(w, 50 * MS);
        }
    }
}

bool watchers_at(const struct node *n)
{
    const struct run *r = n->run;
    for (unsigned i = 0; i < r->plan.watchers; i++)
        if (r->watchers[i].running && r->watchers[i].node == n)
            return true;
    return false;
}
