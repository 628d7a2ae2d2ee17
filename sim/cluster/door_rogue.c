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
    const char *body;            /* with its length before it; NULL: the text is all */
};

#define PUT       "PUT /v1/rogue/k HTTP/1.1\r\nhost: n\r\n"
#define LIVE      "GET /livez HTTP/1.1\r\nhost: n\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nhost: n\r\n\r\n"
#define SEND(method, path)                                                                         \
    method " " path " HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n"
/* A write may find no leader, no disk, no time. */
#define WRITTEN 200, 201, 504, 507

static const struct text_script texts[] = {
    {LIVE "\r\n" LIVE "\r\n" LIVE "\r\n", {200}, NULL, 0, NULL}, /* three at once */
    {"GET /livez HTTP/1.0\r\n\r\n", {200}, NULL, 0, NULL},
    {"GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", {200}, NULL, 0, NULL},
    {LIVE "connection: close\r\n\r\n", {200}, NULL, 0, NULL},
    {"HEAD /livez HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0, NULL},
    {"GET http://n/livez HTTP/1.1\r\nhost: n\r\n\r\n", {200, 400, 404}, NULL, 0, NULL},
    {"\r\n\r\n" LIVE "\r\n", {200, 400}, NULL, 0, NULL},
    {"GET /openapi.json HTTP/1.0\r\n\r\n", {200}, NULL, 0, NULL},
    {"OPTIONS /v1/rogue/k HTTP/1.1\r\nhost: n\r\n\r\n", {204, 405}, NULL, 0, NULL},
    {"GET /livez HTTP/1.1\r\n\r\n", {400}, NULL, 0, NULL},
    {LIVE "host: m\r\n\r\n", {400}, NULL, 0, NULL},
    {PUT "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     {400},
     NULL,
     0,
     NULL},
    {PUT "content-length: 1\r\ncontent-length: 2\r\n\r\nxy", {400}, NULL, 0, NULL},
    {PUT "content-length: -1\r\n\r\n", {400}, NULL, 0, NULL},
    {PUT "content-length: 99999999999999\r\n\r\n", {413}, NULL, 0, NULL},
    {PUT "content-length: 999999999999999999999999\r\n\r\n", {400, 413}, NULL, 0, NULL},
    {PUT "transfer-encoding: gzip\r\n\r\n", {400, 501}, NULL, 0, NULL},
    {PUT "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}, NULL, 0, NULL},
    {PUT "transfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\n\r\n", {400}, NULL, 0, NULL},
    {PUT "transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", {400}, NULL, 0, NULL},
    {PUT "transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", {400}, NULL, 0, NULL},
    {PUT "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", {400, 413}, NULL, 0, NULL},
    {PUT "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n",
     {WRITTEN},
     NULL,
     0,
     NULL},
    {PUT "expect: 100-continue\r\ncontent-length: 3\r\n\r\n", {100, WRITTEN}, "abc", 0, NULL},
    {PUT "expect: something\r\ncontent-length: 3\r\n\r\nabc",
     {417, 200, 201, 503, 504},
     NULL,
     0,
     NULL},
    {PUT "content-length: 10\r\n\r\nabc", {408}, NULL, 0, NULL},
    {PUT "content-length: 10\r\n\r\nabc", {WRITTEN, 408}, "defghij", 0, NULL},
    {"GET /li", {408}, NULL, 0, NULL},
    {"GET /li", {200, 408}, "vez HTTP/1.1\r\nhost: n\r\n\r\n", 0, NULL},
    {LIVE "x-a: 1\r\n folded\r\n\r\n", {400}, NULL, 0, NULL},
    {LIVE "x-a : 1\r\n\r\n", {400}, NULL, 0, NULL},
    {LIVE "x-a: \001\r\n\r\n", {400}, NULL, 0, NULL},
    {LIVE "x\x80y: 1\r\n\r\n", {400}, NULL, 0, NULL},
    {"GET /livez HTTP/1.1\nhost: n\n\n", {400}, NULL, 0, NULL},
    {"GET /livez HTTP/1.1\rhost: n\r\r", {400, 408}, NULL, 0, NULL},
    {"GET /livez HTTP/3.7\r\nhost: n\r\n\r\n", {400, 505}, NULL, 0, NULL},
    {"BREW /livez HTTP/1.1\r\nhost: n\r\n\r\n", {400, 405, 501}, NULL, 0, NULL},
    {"GET  /livez HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0, NULL},
    {"\001\002\003\004", {400, 408}, NULL, 0, NULL},
    {"\026\003\001\002\000\001", {400, 408}, NULL, 0, NULL}, /* TLS, where there is none */
    {"GET /~ HTTP/1.1\r\nhost: n\r\n\r\n", {414, 431}, NULL, 40000, NULL},
    {LIVE "x-a: ~\r\n\r\n", {431}, NULL, 40000, NULL},
    {"POST /v1/batch HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\ncontent-length: "
     "9\r\n\r\n"
     "{\"writes\":",
     {400},
     NULL,
     0,
     NULL},
    {"GET /v1/rogue?nothing=1 HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0, NULL},
    {"GET /v1/rogue/%zz HTTP/1.1\r\nhost: n\r\n\r\n", {400}, NULL, 0, NULL},
    {"DELETE /v1/stats HTTP/1.1\r\nhost: n\r\n\r\n", {405}, NULL, 0, NULL},
    {"GET /metrics HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0, NULL},
    {"GET /v1/stats HTTP/1.1\r\nhost: n\r\n\r\n", {200}, NULL, 0, NULL},
    {"POST /v1/rogue/k/restore?at=-1s HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n",
     {200, 400, 404, 410, 504, 507},
     NULL,
     0,
     NULL}, /* 400: the clock is ahead of the cluster's time */
    /* What is asked wrongly, and what is asked seldom. 507 to a read: the moment lies behind the last
     * write, and to be fixed it needs an entry of the log; one to come is refused where that would be made,
     * and so not by a leader whose disk is full. */
    {GET("/v1/changes?since=abc"), {400}, NULL, 0, NULL},
    {GET("/v1/changes?since=A"), {400}, NULL, 0, NULL},
    {GET("/v1/changes?since=AgEBAaH6cd28AAAAAAAACQAAABBhbGljZaRYoKM"), {400}, NULL, 0, NULL},
    {GET("/v1/changes?since=AQIBAaH6cd28AAAAAAAACQAAABBhbGljZaRYoKM"), {400}, NULL, 0, NULL},
    {GET("/v1/changes?since=AQEBAaH6cd28AAAAAAAACQAAABBhbGljZaRYoKN"), {400}, NULL, 0, NULL},
    {GET("/v1/changes?since=~"), {400, 414, 431}, NULL, 3000, NULL},
    {GET("/v1/changes?since=now&collection=rogue&prefix=k&limit=3"), {200}, NULL, 0, NULL},
    {GET("/v1/changes?prefix=k"), {400}, NULL, 0, NULL},
    {GET("/v1/rogue?page=abc"), {400}, NULL, 0, NULL},
    {GET("/v1/rogue?limit=99999999"), {400, 413}, NULL, 0, NULL},
    {GET("/v1/rogue?prefix=k&from=a&to=z&reverse=true&limit=2"), {200}, NULL, 0, NULL},
    {GET("/v1/rogue?from=z&to=a"), {200}, NULL, 0, NULL},
    {GET("/v1/rogue?at=-2s&keys_only=true"), {200, 400, 410, 507}, NULL, 0, NULL},
    {GET("/v1/~/k"), {400}, NULL, 300, NULL},
    {GET("/v1/rogue/~"), {400, 404, 414, 431}, NULL, 3000, NULL},
    {GET("/v1/rogue/k?at=bogus"), {400}, NULL, 0, NULL},
    {GET("/v1/rogue/k?at=@nothing"), {404}, NULL, 0, NULL},
    {GET("/v1/rogue/k?at=2999-01-01"), {400, 507}, NULL, 0, NULL},
    {GET("/v1/rogue/k?at=-1s"), {200, 400, 404, 410, 507}, NULL, 0, NULL},
    {GET("/v1/rogue/k/history?limit=2"), {200}, NULL, 0, NULL},
    {GET("/v1/rogue/k/diff?a=-1s"), {200, 400, 404, 410, 507}, NULL, 0, NULL},
    {GET("/v1/rogue/doc?canonical=true"), {200, 404, 406}, NULL, 0, NULL},
    {GET("/v1/_varve.security/k"), {403}, NULL, 0, NULL},
    {GET("/v1/collections"), {200}, NULL, 0, NULL},
    {GET("/v1/collections?limit=1"), {200}, NULL, 0, NULL},
    {GET("/v1/snapshots?limit=1"), {200}, NULL, 0, NULL},
    {GET("/v1/collections/rogue/retention"), {200, 404}, NULL, 0, NULL},
    {GET("/v1/admin/topology"), {200, 501}, NULL, 0, NULL},
    {GET("/readyz"), {200}, NULL, 0, NULL},
    {GET("/"), {200}, NULL, 0, NULL},
    {SEND("PUT", "/v1/collections/rogue/retention"),
     {WRITTEN, 404},
     NULL,
     0,
     "{\"max_age\":\"1h\",\"max_count\":5}"},
    {SEND("PUT", "/v1/collections/rogue/retention"), {400}, NULL, 0, "{\"max_count\":-1}"},
    {SEND("DELETE", "/v1/collections/rogue"), {428}, NULL, 0, ""},
    {SEND("DELETE", "/v1/collections/rogue?confirm=rogue"), {204, 404, 504, 507}, NULL, 0, ""},
    {SEND("DELETE", "/v1/snapshots/rogue"), {404, 504, 507}, NULL, 0, ""},
    {SEND("PUT", "/v1/snapshots/~"), {400}, NULL, 300, ""},
    {SEND("POST", "/v1/admin/checkpoint"), {200, 500, 507}, NULL, 0, ""},
    {SEND("POST", "/v1/admin/vacuum?collection=rogue"), {200, 404, 500, 504, 507}, NULL, 0, ""},
    {SEND("POST", "/v1/admin/vacuum?collection=nothing"), {404}, NULL, 0, ""},
    {SEND("POST", "/v1/get"),
     {200},
     NULL,
     0,
     "{\"keys\":[{\"collection\":\"rogue\",\"key\":\"k\"}]}"},
    {SEND("POST", "/v1/get"), {400}, NULL, 0, "{\"keys\":[]}"},
    {SEND("POST", "/v1/get"), {400}, NULL, 0, "{\"keys\":[{\"key\":\"k\"}],\"at\":\"-1s\"}"},
    {SEND("POST", "/v1/batch"),
     {400},
     NULL,
     0,
     "{\"writes\":[{\"collection\":\"rogue\",\"key\":\"k\",\"delete\":true},"
     "{\"collection\":\"rogue\",\"key\":\"k\",\"value\":\"x\"}]}"},
    {SEND("POST", "/v1/batch"),
     {WRITTEN, 412},
     NULL,
     0,
     "{\"writes\":[{\"collection\":\"rogue\",\"key\":\"k\",\"value\":{\"a\":1},"
     "\"ttl\":\"2s\",\"if_absent\":true}]}"},
    {SEND("POST", "/v1/batch"),
     {400},
     NULL,
     0,
     "{\"writes\":[{\"collection\":\"rogue\",\"value\":1}]}"},
    {SEND("POST", "/v1/batch"), {400}, NULL, 0, "{\"writes\":[],\"more\":1}"},
    {SEND("PUT", "/v1/rogue/doc"), {WRITTEN}, NULL, 0, "{\"name\":\"a document\",\"n\":[1,2,3]}"},
    {SEND("PUT", "/v1/rogue/doc"), {400}, NULL, 0, "{\"name\":"},
    {SEND("PUT", "/v1/rogue/t?ttl=1s&sync=always"), {WRITTEN}, NULL, 0, "{}"},
    {SEND("PUT", "/v1/rogue/t?ttl=soon"), {400}, NULL, 0, "{}"},
    {SEND("PUT", "/v1/rogue/t?sync=never"), {400}, NULL, 0, "{}"},
    {PUT "content-type: image/png\r\ncontent-length: 1\r\n\r\nx", {415}, NULL, 0, NULL},
    {PUT "if-match: nonsense\r\ncontent-length: 1\r\n\r\nx", {400, 412}, NULL, 0, NULL},
    {PUT "x-varve-writer: somebody\r\ncontent-length: 1\r\n\r\nx", {WRITTEN}, NULL, 0, NULL},
    {PUT "idempotency-key: ~\r\ncontent-length: 1\r\n\r\nx", {400, 413}, NULL, 200, NULL},
    {"GET /v1/rogue/k HTTP/1.1\r\nhost: n\r\naccept: text/html\r\n\r\n", {404, 406}, NULL, 0, NULL},
    {"DELETE /v1/rogue/k HTTP/1.1\r\nhost: n\r\n\r\n", {WRITTEN, 404}, NULL, 0, NULL},
};

static void send_text(struct line *l, const struct text_script *s)
{
    const char *at = s->filler ? strchr(s->text, '~') : NULL;
    size_t n = strlen(s->text), before = at ? (size_t)(at - s->text) : n;
    line_send(l, BYTES(s->text, before));
    if (at) {
        char *filler = sim_zalloc(s->filler);
        memset(filler, 'f', s->filler);
        line_send(l, BYTES(filler, s->filler));
        sim_free(filler);
        line_send(l, BYTES(s->text + before + 1, n - before - 1));
    }
    if (s->body) {
        char head[64];
        (void)snprintf(head, sizeof head, "content-length: %zu\r\n\r\n", strlen(s->body));
        line_send(l, BYTES_STR(head));
        line_send(l, BYTES_STR(s->body));
    }
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
        run_fail(g->run, "%s answers %.600s to %.60s %s", node_name(g->node),
                 (const char *)heard.data, s->text, s->body ? s->body : "");
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
    bool texts_too = true;
    if (g->run->plan.streams && dice_one_in(&g->dice, 4)) { /* where nodes expect each other */
        o.to.port = PEER_PORT;
        texts_too = false;
    }
    struct line *l = line_open(&o);
    if (line_wait(l, CONNECT_MS * MS)) {
        if (texts_too && dice_one_in(&g->dice, 2))
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
