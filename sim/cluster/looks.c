/* One moment, looked at by other ways: a scan in either direction and the history of each key have to
 * show what gets as of that moment have shown. */
#include "sim/cluster/door.h"

#include <stdio.h>
#include <string.h>

static void differs(struct client *c, const struct history_step *s, const char *way,
                    uint64_t version)
{
    run_fail(c->run, "%s: %s shows %s at %llx, where a get of the same moment showed %llx",
             node_name(c->node), way, c->memory[s - c->steps].key, (unsigned long long)version,
             (unsigned long long)s->version);
}

/* The whole collection; keys that the operation did not ask for are passed over. */
static void look_by_scan(struct client *c, const struct collection *col, struct version at)
{
    uint8_t lower[STORE_ROUTE_BYTES + KEY_MAX], upper[STORE_ROUTE_BYTES];
    uint64_t shown[STEPS_MAX] = {0};
    struct store_iter *it = NULL;
    struct store_row row;
    uint32_t after = collection_id(col) + 1;
    int got;
    for (int i = 0; i < STORE_ROUTE_BYTES; i++)
        upper[i] = (uint8_t)(after >> (24 - 8 * i));
    struct store_scan q = {.in = {work_route(col, "", lower), BYTES(upper, sizeof upper)},
                           .at = at,
                           .reverse = c->serial % 3 == 0,
                           .keys_only = c->serial % 5 == 0};
    if (store_scan(c->node->store, &q, &it, NULL) != ST_OK)
        return;
    while ((got = store_iter_next(it, &row, NULL)) > 0)
        for (size_t i = 0; i < c->n; i++)
            if (row.key.len > STORE_ROUTE_BYTES &&
                bytes_eq(BYTES(row.key.data + STORE_ROUTE_BYTES, row.key.len - STORE_ROUTE_BYTES),
                         c->steps[i].key))
                shown[i] = row.rec.version.hlc;
    store_iter_close(it);
    for (size_t i = 0; got == 0 && i < c->n; i++)
        if (shown[i] != (c->steps[i].found ? c->steps[i].version : 0))
            differs(c, &c->steps[i], q.reverse ? "a scan from behind" : "a scan", shown[i]);
}

static void look_by_history(struct client *c, const struct collection *col, struct version at)
{
    uint8_t route[STORE_ROUTE_BYTES + KEY_MAX];
    for (size_t i = 0; i < c->n; i++) {
        const struct history_step *s = &c->steps[i];
        struct store_iter *it = NULL;
        struct store_row row;
        struct bytes key = work_route(col, c->memory[i].key, route);
        if (store_history_from(c->node->store, key, at, 2, &it, NULL) != ST_OK)
            return;
        int got = store_iter_next(it, &row, NULL);
        uint64_t shown = got > 0 && row.rec.kind == RECORD_PUT ? row.rec.version.hlc : 0;
        store_iter_close(it);
        if (got >= 0 && shown != (s->found ? s->version : 0))
            differs(c, s, "the history", shown);
    }
}

void work_look_again(struct client *c, const struct collection *col, struct version at)
{
    if (c->door)
        door_look_again(c, at);
    else if (c->serial % 2)
        look_by_scan(c, col, at);
    else
        look_by_history(c, col, at);
}

void work_ask_in_vain(struct client *c)
{
    enum { KEYS = 6 };
    const struct collection *col = c->node->collections[c->work];
    for (uint64_t i = 0; col && !c->door && i < KEYS && node_usable(c->node); i++) {
        uint8_t route[STORE_ROUTE_BYTES + KEY_MAX];
        char key[KEY_MAX];
        struct buf buf = BUF_INIT;
        struct record rec;
        uint64_t number = c->run->result->operations * KEYS + i;
        (void)snprintf(key, sizeof key, "x%llu", (unsigned long long)number);
        struct bytes asked = work_route(col, key, route);
        if (store_get(c->node->store, asked, VERSION_NONE, &buf, &rec, NULL) == ST_OK)
            run_fail(c->run, "%s has %s, which nobody wrote", node_name(c->node), key);
        buf_deinit(&buf);
    }
}
