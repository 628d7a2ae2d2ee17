#include "embed_model.h"

#include "support/cmocka.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

const char *const model_names[MODEL_NAMES] = {"a", "b", "\xc3\xbcmlaut"};

varve_bytes model_key(int key, char buf[MODEL_KEY_MAX])
{
    static const struct {
        const char *bytes;
        size_t len;
    } keys[MODEL_KEYS] = {{"\0", 1},   {"\0\0", 2},    {"a", 1}, {"a\0", 2},
                          {"aa", 2},   {"long", 600},  {"z", 1}, {"\xfe\xff", 2},
                          {"\xff", 1}, {"\xff\xff", 2}};
    memset(buf, 'l', MODEL_KEY_MAX);
    memcpy(buf, keys[key].bytes, keys[key].len < 4 ? keys[key].len : 4);
    return (varve_bytes){buf, keys[key].len};
}

size_t model_value(uint32_t number, bool json, char buf[MODEL_VALUE_MAX])
{
    if (json)
        return (size_t)snprintf(buf, MODEL_VALUE_MAX, "{\"n\":%u,\"same\":[1,2]}", number);
    if (number % 13 == 0)
        return 0;
    size_t len = (size_t)snprintf(buf, MODEL_VALUE_MAX, "%u", number);
    size_t pad = number % 11 == 0 ? 8000 : number % 40;
    memset(buf + len, 'x', pad);
    return len + pad;
}

const char *model_writer(uint32_t number, char buf[8])
{
    snprintf(buf, 8, "w%u", number % 5);
    return buf;
}

int model_event(struct model *m, uint64_t ms)
{
    assert_true(m->n_events + 1 < MODEL_EVENTS_MAX);
    uint64_t last = m->event_ms[m->n_events]; /* versions may be ahead of the clock */
    m->event_ms[++m->n_events] = ms > last ? ms : last;
    return m->n_events;
}

int model_home_at(const struct model *m, int name, int event)
{
    for (int i = m->n_homes - 1; i >= 0; i--) {
        const struct model_home *h = &m->homes[i];
        if (h->name == name && h->made <= event)
            return h->dropped && h->dropped <= event ? -1 : i;
    }
    return -1;
}

int model_find(const struct model *m, int home, int key, int event)
{
    for (int i = m->n_rows - 1; i >= 0; i--)
        if (m->rows[i].home == home && m->rows[i].key == key && m->rows[i].event <= event)
            return i;
    return -1;
}

int model_get(const struct model *m, int name, int key, int event)
{
    int home = model_home_at(m, name, event);
    int row = home < 0 ? -1 : model_find(m, home, key, event);
    return row >= 0 && !m->rows[row].del ? row : -1;
}

int model_make(struct model *m, int name, int event)
{
    int home = model_home_at(m, name, event);
    if (home >= 0)
        return home;
    assert_true(m->n_homes < MODEL_HOMES_MAX);
    m->homes[m->n_homes] = (struct model_home){.name = name, .made = event};
    return m->n_homes++;
}

int model_add(struct model *m, int home, int key, bool del, bool json, uint32_t number, int event,
              varve_version v)
{
    assert_true(m->n_rows < MODEL_ROWS_MAX);
    int parent = model_find(m, home, key, event);
    m->rows[m->n_rows] = (struct model_row){.version = v,
                                            .event = event,
                                            .home = home,
                                            .key = key,
                                            .del = del,
                                            .json = json,
                                            .number = number,
                                            .parent = parent,
                                            .child = -1};
    if (parent >= 0)
        m->rows[parent].child = m->n_rows;
    return m->n_rows++;
}

int model_event_at(const struct model *m, uint64_t ms)
{
    int e = 0;
    for (int i = 1; i <= m->n_events; i++)
        if (m->event_ms[i] <= ms)
            e = i;
    return e;
}

int model_oldest_snapshot(const struct model *m)
{
    int oldest = INT_MAX;
    for (int i = 0; i < MODEL_SNAPSHOTS; i++)
        if (m->snapshots[i].there && m->snapshots[i].event < oldest)
            oldest = m->snapshots[i].event;
    return oldest;
}

void model_vacuum(struct model *m, int home, int event, uint64_t ms)
{
    struct model_home *h = &m->homes[home];
    int hold = model_oldest_snapshot(m);
    if (h->dropped || (!h->keep.max_age_ms && !h->keep.max_count))
        return;
    uint64_t before = h->keep.max_age_ms && h->keep.max_age_ms < ms ? ms - h->keep.max_age_ms : 0;
    h->vacuumed = event;
    if (h->keep.max_count)
        h->feed = event;
    if (before) {
        int horizon = model_event_at(m, before) + 1; /* which is noted when it is over */
        horizon = horizon < hold ? horizon : hold;
        h->horizon = horizon > h->horizon ? horizon : h->horizon;
        /* Who has heard of the very last event before the moment is refused too: that nothing lies
         * between the two is not known. */
        h->feed = horizon + 1 > h->feed ? horizon + 1 : h->feed;
    }
    for (int i = 0; i < m->n_rows; i++) {
        struct model_row *r = &m->rows[i];
        if (r->home != home)
            continue;
        uint64_t rank = 0;
        for (int c = r->child; c >= 0; c = m->rows[c].child)
            rank++;
        if (r->child < 0 && !r->del) /* the newest of a record that is there */
            continue;
        /* By age a delete needs no successor: what it says is said by its absence too. */
        const struct model_row *end = r->child < 0 || (r->del && before) ? r : &m->rows[r->child];
        bool held = end->event > hold;
        bool aged = before && m->event_ms[end->event - 1] <= before;
        bool counted = h->keep.max_count && rank >= h->keep.max_count;
        r->may_go = r->may_go || (!held && (aged || counted));
    }
}
