/* Clients that misbehave, within what the protocols allow or beyond it: each comes, sends a script, and
 * stays, breaks off or closes. What a node says to them is looked at; that it goes on serving others is
 * what everybody else's operations show. */
#include "sim/cluster/door_rogue.h"
#include "sim/cluster/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROGUES = 2, CONNECT_MS = 2000, ANSWER_MS = 1500, PIECE = 700, STATUSES = 6 };

struct door_rogue {
    struct run *run;
    struct node *node;
    struct dice dice;
    struct sim_event next;
    bool running;
};

/* --- HTTP/1 --- */

struct text_script {
    const char *text;
    unsigned statuses[STATUSES]; /* that may answer the first request of it; 0: none other */
    const char *more;            /* sent once something was heard, or after a while */
    unsigned filler;             /* so many bytes where the text has a '~' */
};

#define PUT  "PUT /v1/rogue/k HTTP/1.1\r\nhost: n\r\n"
#define LIVE "GET /livez HTTP/1.1\r\nhost: n\r\n"
/* A write may find no leader, no disk, no time. */
#define WRITTEN 200, 201, 504, 507

static const struct text_script texts[] = {
    {LIVE "\r\n" LIVE "\r\n" LIVE "\r\n", {200}, NULL, 0}, /* three at once */
    {"GET /livez HTTP/1.0\r\n\r\n", {200}, NULL, 0},
    {"GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", {200}, NULL, 0},
    {LIVE "connection: close\r\n\r\n", {200}, NULL, 0},
    {"HEAD /livez HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0},
    {"GET http://n/livez HTTP/1.1\r\nhost: n\r\n\r\n", {200, 400, 404}, NULL, 0},
    {"\r\n\r\n" LIVE "\r\n", {200, 400}, NULL, 0},
    {"GET /openapi.json HTTP/1.0\r\n\r\n", {200}, NULL, 0},
    {"OPTIONS /v1/rogue/k HTTP/1.1\r\nhost: n\r\n\r\n", {204, 405}, NULL, 0},
    {"GET /livez HTTP/1.1\r\n\r\n", {400}, NULL, 0},
    {LIVE "host: m\r\n\r\n", {400}, NULL, 0},
    {PUT "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     {400},
     NULL,
     0},
    {PUT "content-length: 1\r\ncontent-length: 2\r\n\r\nxy", {400}, NULL, 0},
    {PUT "content-length: -1\r\n\r\n", {400}, NULL, 0},
    {PUT "content-length: 99999999999999\r\n\r\n", {413}, NULL, 0},
    {PUT "content-length: 999999999999999999999999\r\n\r\n", {400, 413}, NULL, 0},
    {PUT "transfer-encoding: gzip\r\n\r\n", {400, 501}, NULL, 0},
    {PUT "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}, NULL, 0},
    {PUT "transfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\n\r\n", {400}, NULL, 0},
    {PUT "transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", {400}, NULL, 0},
    {PUT "transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", {400}, NULL, 0},
    {PUT "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", {400, 413}, NULL, 0},
    {PUT "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n", {WRITTEN}, NULL, 0},
    {PUT "expect: 100-continue\r\ncontent-length: 3\r\n\r\n", {100, WRITTEN}, "abc", 0},
    {PUT "expect: something\r\ncontent-length: 3\r\n\r\nabc", {417, 200, 201, 503, 504}, NULL, 0},
    {PUT "content-length: 10\r\n\r\nabc", {408}, NULL, 0},
    {PUT "content-length: 10\r\n\r\nabc", {WRITTEN, 408}, "defghij", 0},
    {"GET /li", {408}, NULL, 0},
    {"GET /li", {200, 408}, "vez HTTP/1.1\r\nhost: n\r\n\r\n", 0},
    {LIVE "x-a: 1\r\n folded\r\n\r\n", {400}, NULL, 0},
    {LIVE "x-a : 1\r\n\r\n", {400}, NULL, 0},
    {LIVE "x-a: \001\r\n\r\n", {400}, NULL, 0},
    {LIVE "x\x80y: 1\r\n\r\n", {400}, NULL, 0},
    {"GET /livez HTTP/1.1\nhost: n\n\n", {400}, NULL, 0},
    {"GET /livez HTTP/1.1\rhost: n\r\r", {400, 408}, NULL, 0},
    {"GET /livez HTTP/3.7\r\nhost: n\r\n\r\n", {400, 505}, NULL, 0},
    {"BREW /livez HTTP/1.1\r\nhost: n\r\n\r\n", {400, 405, 501}, NULL, 0},
    {"GET  /livez HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0},
    {"\001\002\003\004", {400, 408}, NULL, 0},
    {"\026\003\001\002\000\001", {400, 408}, NULL, 0}, /* TLS, where there is none */
    {"GET /~ HTTP/1.1\r\nhost: n\r\n\r\n", {414, 431}, NULL, 20000},
    {LIVE "x-a: ~\r\n\r\n", {431}, NULL, 40000},
    {"POST /v1/batch HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\ncontent-length: "
     "9\r\n\r\n"
     "{\"writes\":",
     {400},
     NULL,
     0},
    {"GET /v1/rogue?nothing=1 HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0},
    {"GET /v1/rogue/%zz HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0},
    {"DELETE /v1/stats HTTP/1.1\r\nhost: n\r\n\r\n", {405}, NULL, 0},
    {"GET /metrics HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0},
    {"GET /v1/stats HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0},
    {"POST /v1/rogue/k/restore?at=-1s HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n",
     {200, 400, 404, 410, 504},
     NULL,
     0}, /* 400: the clock is ahead of the cluster's time */
};

static void send_text(struct line *l, const struct text_script *s)
{
    const char *at = s->filler ? strchr(s->text, '~') : NULL;
    size_t n = strlen(s->text), before = at ? (size_t)(at - s->text) : n;
    line_send(l, BYTES(s->text, before));
    if (!at)
        return;
    char *filler = sim_zalloc(s->filler);
    memset(filler, 'f', s->filler);
    line_send(l, BYTES(filler, s->filler));
    sim_free(filler);
    line_send(l, BYTES(s->text + before + 1, n - before - 1));
}

/* A node that stops, or has too much to do, may always say 503. */
static void look_at_text(const struct door_rogue *g, const struct text_script *s,
                         struct bytes heard)
{
    static const char version[] = "HTTP/1.1 ";
    if (heard.len < sizeof version + 3)
        return;
    bool sound = bytes_has_prefix(heard, BYTES_LIT(version));
    unsigned status = (unsigned)strtoul((const char *)heard.data + sizeof version - 1, NULL, 10);
    bool meant = status == 503;
    for (int i = 0; i < STATUSES; i++)
        meant |= status == s->statuses[i];
    if (!sound || !meant)
        run_fail(g->run, "%s answers %.60s to %.60s", node_name(g->node), (const char *)heard.data,
                 s->text);
}

static void by_text(struct door_rogue *g, struct line *l)
{
    const struct text_script *s = &texts[dice_below(&g->dice, sizeof texts / sizeof *texts)];
    send_text(l, s);
    bool heard = line_wait_more(l, s->more ? 100 * MS : ANSWER_MS * MS);
    if (s->more) {
        line_send(l, BYTES_STR(s->more));
        heard = line_wait_more(l, ANSWER_MS * MS);
    }
    (void)heard;
    look_at_text(g, s, line_heard(l));
}

/* --- HTTP/2 --- */

static void by_frames(struct door_rogue *g, struct line *l)
{
    struct buf out = BUF_INIT;
    const struct frames *s = frames_draw(&g->dice, &out);
    /* All at once, or in pieces between which the node does something. */
    size_t piece = dice_one_in(&g->dice, 2) ? out.len : PIECE, at = 0;
    while (at < out.len && !line_gone(l)) {
        size_t n = out.len - at < piece ? out.len - at : piece;
        line_send(l, BYTES(out.data + at, n));
        at += n;
        if (at < out.len)
            (void)line_wait_more(l, 1 * MS);
    }
    buf_deinit(&out);
    for (int i = 0; i < 20 && line_wait_more(l, ANSWER_MS * MS); i++)
        ;
    unsigned code = 0;
    bool sound, meant = false;
    bool said = frames_goaway(line_heard(l), &code, &sound);
    for (int i = 0; i < FRAMES_GOAWAYS; i++)
        meant |= code == s->goaways[i] || code == 0;
    if (!sound || (said && !meant))
        run_fail(g->run, "%s says %s %u to a client with %s", node_name(g->node),
                 sound ? "GOAWAY" : "what is no HTTP/2, GOAWAY", code, s->name);
}

/* --- their life --- */

static void plan_next(struct door_rogue *g)
{
    struct sim_queue *q = sim_world_queue(g->run->world);
    sim_queue_add(q, &g->next, run_now(g->run) + dice_below(&g->dice, 1500) * MS);
}

static void rogue_fiber(void *rogue)
{
    struct door_rogue *g = rogue;
    struct line_options o = {.kind = LINE_RAW};
    door_addr(g->node, &o.to);
    struct line *l = line_open(&o);
    if (line_wait(l, CONNECT_MS * MS)) {
        if (dice_one_in(&g->dice, 2))
            by_text(g, l);
        else
            by_frames(g, l);
    }
    line_close(l, dice_one_in(&g->dice, 2));
    g->running = false;
    plan_next(g);
}

static void come(void *rogue)
{
    struct door_rogue *g = rogue;
    struct run *r = g->run;
    if (g->running || r->stop_clients)
        return;
    g->node = &r->nodes[1 + dice_below(&g->dice, r->plan.nodes)];
    if (!node_serves(g->node) || !sim_machine_spawn(door_machine(r), rogue_fiber, g)) {
        plan_next(g);
        return;
    }
    g->running = true;
}

void rogues_start(struct run *r)
{
    struct dice d = dice_fork(r->plan.seed, 80000);
    r->n_rogues = r->plan.doors ? (unsigned)dice_below(&d, ROGUES + 1) : 0;
    r->rogues = sim_zalloc((r->n_rogues + 1) * sizeof *r->rogues);
    for (unsigned i = 0; i < r->n_rogues; i++) {
        struct door_rogue *g = &r->rogues[i];
        *g = (struct door_rogue){.run = r, .dice = dice_fork(r->plan.seed, 80001 + i)};
        g->next = (struct sim_event){.fn = come, .arg = g};
        plan_next(g);
    }
}

void rogues_free(struct run *r)
{
    for (unsigned i = 0; r->rogues && i < r->n_rogues; i++)
        sim_queue_drop(sim_world_queue(r->world), &r->rogues[i].next);
    sim_free(r->rogues);
    r->rogues = NULL;
}
