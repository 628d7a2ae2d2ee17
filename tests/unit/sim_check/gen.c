/* gen.c - an imagined store under concurrent clients. Test code: without memory it aborts. */
#include "unit/sim_check/gen.h"

#include "support/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { CLIENTS_MAX = 64, STEPS_MAX = 8, GHOSTS_MAX = 64, LISTS = 3, BIG = 1000000, STRIDE = 10 };

struct row {
    uint64_t version, acked; /* tick at which its writer was answered; UINT64_MAX: not yet */
    bool present;
    char value[16];
};

struct reg {
    struct row *rows;
    size_t n, cap;
};

struct numbers {
    int64_t *of;
    size_t n, cap;
};

struct pending {
    bool busy, applied, ghost;
    uint32_t op, n;
    enum history_family family;
    uint64_t at, invoked;
    bool weak;
    enum history_outcome outcome;
    struct history_step steps[STEPS_MAX];
    char values[STEPS_MAX][16], keys[STEPS_MAX][8];
    void *lists[STEPS_MAX]; /* bytes of what its reads saw, owned */
};

struct gen {
    const struct gen_options *o;
    struct history *h;
    struct test_rng r;
    uint64_t tick, clock, armed_at;
    bool planted, quiet; /* quiet: nobody would see what is planted now */
    struct reg *regs;
    struct numbers lists[LISTS], set;
    int64_t accounts[GEN_ACCOUNTS], counter, next_element;
    struct pending clients[CLIENTS_MAX], ghosts[GHOSTS_MAX];
};

static void must(bool good)
{
    if (!good)
        abort();
}

static uint64_t below(struct gen *g, uint64_t n)
{
    return test_rng_below(&g->r, n);
}

static bool plants(struct gen *g, enum gen_plant p)
{
    return g->o->plant == p && !g->planted && !g->quiet && g->tick >= g->armed_at;
}

static void push_number(struct numbers *l, int64_t x)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->of = realloc(l->of, l->cap * sizeof *l->of);
        must(l->of);
    }
    l->of[l->n++] = x;
}

static struct row *push_row(struct reg *k, uint64_t version, bool present, const char *value)
{
    if (k->n == k->cap) {
        k->cap = k->cap ? k->cap * 2 : 16;
        k->rows = realloc(k->rows, k->cap * sizeof *k->rows);
        must(k->rows);
    }
    struct row *row = &k->rows[k->n++];
    *row = (struct row){.version = version, .acked = UINT64_MAX, .present = present};
    snprintf(row->value, sizeof row->value, "%s", value);
    return row;
}

/* --- what clients ask --- */

static struct history_step *add_step(struct pending *p, enum history_verb verb, char kind,
                                     uint64_t key)
{
    struct history_step *s = &p->steps[p->n];
    snprintf(p->keys[p->n], sizeof p->keys[0], "%c%u", kind, (unsigned)key % 1000000);
    *s = (struct history_step){.verb = verb, .key = BYTES_STR(p->keys[p->n])};
    p->n++;
    return s;
}

static void add_put(struct gen *g, struct pending *p, uint64_t key)
{
    struct history_step *s = add_step(p, HISTORY_PUT, 'r', key);
    char *value = p->values[p->n - 1];
    if (g->o->common_values)
        snprintf(value, sizeof p->values[0], "%c", (char)('a' + below(g, 3)));
    else
        snprintf(value, sizeof p->values[0], "v%u", (unsigned)g->next_element++);
    s->value = BYTES_STR(value);
}

static uint32_t key_of(const struct history_step *s)
{
    return (uint32_t)strtoul((const char *)s->key.data + 1, NULL, 10);
}

static void require(struct gen *g, struct pending *p)
{
    struct history_step *s = &p->steps[p->n - 1];
    const struct reg *k = &g->regs[key_of(s)];
    s->require = (enum history_require)(1 + below(g, 3));
    if (s->require != HISTORY_AT_VERSION)
        return;
    /* Mostly what is there, so that it is met now and then. */
    s->want = k->n == 0 ? STRIDE : k->rows[below(g, 3) ? k->n - 1 : below(g, k->n)].version;
}

static void ask_register(struct gen *g, struct pending *p)
{
    uint64_t key = below(g, g->o->keys), what = below(g, g->o->registers_only ? 70 : 100);
    if (what < 30) {
        add_step(p, HISTORY_GET, 'r', key);
    } else if (what < 45) {
        add_put(g, p, key);
    } else if (what < 50) {
        add_step(p, HISTORY_DELETE, 'r', key);
    } else if (what < 70) {
        add_put(g, p, key);
        require(g, p);
    } else if (what < 80 && g->o->keys > 3) {
        uint64_t n = 2 + below(g, 2);
        for (uint64_t i = 0; i < n; i++)
            add_put(g, p, (key + i) % g->o->keys);
        if (below(g, 2))
            require(g, p);
    } else if (what < 90 && g->o->keys > 3) {
        uint64_t n = 2 + below(g, 3);
        for (uint64_t i = 0; i < n; i++)
            add_step(p, HISTORY_GET, 'r', (key + i) % g->o->keys);
    } else {
        add_step(p, HISTORY_GET, 'r', key);
        p->weak = what >= 97;
        p->at = !p->weak && g->clock ? 1 + below(g, g->clock) : 0;
    }
}

static void ask(struct gen *g, struct pending *p)
{
    uint64_t family = g->o->registers_only ? 0 : below(g, 10);
    if (family < 5) {
        p->family = HISTORY_REGISTER;
        ask_register(g, p);
    } else if (family < 7) {
        p->family = HISTORY_LIST;
        for (uint64_t i = 1 + below(g, 3); i > 0; i--)
            if (below(g, 2))
                add_step(p, HISTORY_GET, 'l', below(g, LISTS));
            else
                add_step(p, HISTORY_ADD, 'l', below(g, LISTS))->number = g->next_element++;
    } else if (family < 8) {
        p->family = HISTORY_BANK;
        if (below(g, 2)) {
            for (uint64_t i = 0; i < GEN_ACCOUNTS; i++)
                add_step(p, HISTORY_GET, 'b', i);
        } else {
            int64_t amount = 1 + (int64_t)below(g, 5);
            uint64_t from = below(g, GEN_ACCOUNTS);
            add_step(p, HISTORY_ADD, 'b', from)->number = -amount;
            add_step(p, HISTORY_ADD, 'b', (from + 1) % GEN_ACCOUNTS)->number = amount;
        }
    } else if (family < 9) {
        p->family = HISTORY_SET;
        if (below(g, 4))
            add_step(p, HISTORY_ADD, 's', 0)->number = g->next_element++;
        else
            add_step(p, HISTORY_GET, 's', 0);
    } else {
        p->family = HISTORY_COUNTER;
        if (below(g, 2))
            add_step(p, HISTORY_GET, 'c', 0);
        else
            add_step(p, HISTORY_ADD, 'c', 0)->number = 1 + (int64_t)below(g, 5);
        if (plants(g, GEN_COUNTER_LOST) || plants(g, GEN_COUNTER_TWICE))
            p->steps[0].number = p->steps[0].verb == HISTORY_ADD ? BIG : 0;
    }
}

static void invoke(struct gen *g, struct pending *p, uint32_t client)
{
    struct history_call call = {.client = client,
                                .node = 1 + client % 3,
                                .family = p->family,
                                .at = p->at,
                                .weak = p->weak,
                                .steps = p->steps,
                                .n = p->n};
    must(history_invoke(g->h, g->tick * 1000, &call, &p->op) == ST_OK);
    p->busy = true;
    p->invoked = g->tick;
}

/* --- what the store does --- */

static bool holds(const struct gen *g, struct history_step *s)
{
    const struct reg *k = &g->regs[key_of(s)];
    const struct row *last = k->n ? &k->rows[k->n - 1] : NULL;
    bool present = last && last->present;
    bool held = s->require == HISTORY_ANY || (s->require == HISTORY_ABSENT && !present) ||
                (s->require == HISTORY_PRESENT && present) ||
                (s->require == HISTORY_AT_VERSION && present && last->version == s->want);
    s->unmet = !held;
    if (!held && present)
        s->version = last->version;
    return held;
}

static void see_row(struct pending *p, uint32_t i, const struct row *row)
{
    struct history_step *s = &p->steps[i];
    s->found = row && row->present;
    s->version = s->found ? row->version : 0;
    if (s->found) {
        snprintf(p->values[i], sizeof p->values[0], "%s", row->value);
        s->value = BYTES_STR(p->values[i]);
    }
}

/* Replaced by something newer that was acknowledged before the read began? */
static bool old_for(const struct pending *p, const struct reg *k)
{
    return k->n && k->rows[k->n - 1].acked < p->invoked;
}

/* A delete that is under way would explain an empty read. */
static bool delete_under_way(const struct gen *g, uint32_t key)
{
    for (uint32_t i = 0; i < g->o->clients; i++) {
        const struct pending *p = &g->clients[i];
        if (p->busy && p->family == HISTORY_REGISTER && p->steps[0].verb == HISTORY_DELETE &&
            key_of(&p->steps[0]) == key)
            return true;
    }
    return false;
}

static void read_register(struct gen *g, struct pending *p, uint32_t i)
{
    const struct reg *k = &g->regs[key_of(&p->steps[i])];
    size_t n = k->n;
    bool plain = p->n == 1 && !p->weak && p->at == 0;
    if (p->at)
        while (n && k->rows[n - 1].version > p->at)
            n--;
    if (p->weak && n)
        n -= below(g, 2);
    if (plain && n > 1 && k->rows[n - 2].present && old_for(p, k) && plants(g, GEN_STALE_READ)) {
        n--;
        g->planted = true;
    }
    if (plain && old_for(p, k) && k->rows[n - 1].present && plants(g, GEN_VANISHED) &&
        !delete_under_way(g, key_of(&p->steps[i]))) {
        n = 0;
        g->planted = true;
    }
    if (p->at && n > 1 && k->rows[n - 1].present && plants(g, GEN_OTHER_PAST)) {
        n--;
        g->planted = true;
    }
    see_row(p, i, n ? &k->rows[n - 1] : NULL);
}

static uint64_t next_version(struct gen *g)
{
    return g->clock += STRIDE;
}

static void write_one(struct gen *g, struct pending *p, uint32_t i, uint64_t version)
{
    struct history_step *s = &p->steps[i];
    s->version = version;
    push_row(&g->regs[key_of(s)], version, s->verb == HISTORY_PUT,
             s->verb == HISTORY_PUT ? p->values[i] : "");
}

static bool write_unmet(struct gen *g, struct pending *p)
{
    bool unmet = false;
    for (uint32_t i = 0; i < p->n; i++)
        unmet |= !holds(g, &p->steps[i]);
    const struct history_step *s = &p->steps[0];
    if (unmet && p->n == 1 && s->require == HISTORY_AT_VERSION && s->version > s->want &&
        old_for(p, &g->regs[key_of(s)]) && plants(g, GEN_LOST_UPDATE)) {
        p->steps[0].unmet = unmet = false;
        g->planted = true;
    }
    return unmet;
}

static void complete(struct gen *g, struct pending *p);
static void half_batch(struct gen *g, struct pending *p);

static void apply_register(struct gen *g, struct pending *p)
{
    if (p->steps[0].verb == HISTORY_GET) {
        for (uint32_t i = 0; i < p->n; i++)
            read_register(g, p, i);
        return;
    }
    if (write_unmet(g, p)) {
        p->outcome = HISTORY_UNMET;
        return;
    }
    bool plain = p->n == 1 && p->steps[0].verb == HISTORY_PUT;
    const struct reg *k = &g->regs[key_of(&p->steps[0])];
    if (plain && plants(g, GEN_LOST_WRITE)) {
        p->steps[0].version = next_version(g);
        g->planted = true;
        return;
    }
    if (plain && plants(g, GEN_REORDERED) && old_for(p, k)) {
        write_one(g, p, 0, k->rows[k->n - 1].version - STRIDE / 2);
        g->planted = true;
        return;
    }
    /* Nothing at all in the second key would tell no version, and might be any gap. */
    const struct reg *second = p->n == 2 ? &g->regs[key_of(&p->steps[1])] : NULL;
    if (second && second->n && second->rows[second->n - 1].present && plants(g, GEN_HALF_BATCH)) {
        half_batch(g, p);
        return;
    }
    uint64_t version = next_version(g);
    for (uint32_t i = 0; i < p->n; i++)
        write_one(g, p, i, version);
    if (plain && plants(g, GEN_WRITE_TWICE)) {
        write_one(g, p, 0, next_version(g));
        p->steps[0].version = version;
        g->planted = true;
    }
    if (plain && plants(g, GEN_DIRTY_WRITE)) {
        p->outcome = HISTORY_FAILED;
        g->planted = true;
    }
}

static void keep_list(struct pending *p, uint32_t i, const struct numbers *l)
{
    uint8_t *bytes = malloc(8 * l->n + 1);
    must(bytes);
    for (size_t j = 0; j < l->n; j++)
        for (unsigned b = 0; b < 8; b++)
            bytes[8 * j + b] = (uint8_t)((uint64_t)l->of[j] >> (8 * b));
    p->lists[i] = bytes;
    p->steps[i].value = BYTES(bytes, 8 * l->n);
    p->steps[i].found = true;
}

static void apply_list(struct gen *g, struct pending *p)
{
    bool adds = true;
    for (uint32_t i = 0; i < p->n; i++)
        adds &= p->steps[i].verb == HISTORY_ADD;
    if (adds && plants(g, GEN_LIST_LOST)) {
        g->planted = true;
        return;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        struct numbers *l = &g->lists[key_of(&p->steps[i])];
        if (p->steps[i].verb == HISTORY_GET)
            keep_list(p, i, l);
        else
            push_number(l, p->steps[i].number);
        if (adds && plants(g, GEN_LIST_TWICE)) {
            push_number(l, p->steps[i].number);
            g->planted = true;
        }
    }
    if (adds && plants(g, GEN_LIST_DIRTY)) {
        p->outcome = HISTORY_FAILED;
        g->planted = true;
    }
}

static void read_bank(struct gen *g, struct pending *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        p->steps[i].number = g->accounts[key_of(&p->steps[i])];
        p->steps[i].found = true;
    }
}

static void apply_bank(struct gen *g, struct pending *p)
{
    if (p->steps[0].verb == HISTORY_GET) {
        read_bank(g, p);
        return;
    }
    int64_t *from = &g->accounts[key_of(&p->steps[0])];
    if (*from + p->steps[0].number < 0) {
        p->outcome = HISTORY_UNMET;
        return;
    }
    *from += p->steps[0].number;
    if (plants(g, GEN_BANK_HALF)) {
        struct pending r = {.family = HISTORY_BANK, .outcome = HISTORY_OK};
        for (uint64_t i = 0; i < GEN_ACCOUNTS; i++)
            add_step(&r, HISTORY_GET, 'b', i);
        invoke(g, &r, 99);
        read_bank(g, &r);
        complete(g, &r);
        g->planted = true;
    }
    g->accounts[key_of(&p->steps[1])] += p->steps[1].number;
}

static void apply_set(struct gen *g, struct pending *p)
{
    if (p->steps[0].verb == HISTORY_GET) {
        keep_list(p, 0, &g->set);
    } else if (plants(g, GEN_SET_LOST)) {
        g->planted = true;
    } else {
        push_number(&g->set, p->steps[0].number);
        if (plants(g, GEN_SET_TWICE)) {
            push_number(&g->set, p->steps[0].number);
            g->planted = true;
        }
    }
}

static void apply_counter(struct gen *g, struct pending *p)
{
    struct history_step *s = &p->steps[0];
    if (s->verb == HISTORY_GET) {
        s->number = g->counter;
        s->found = true;
    } else if (s->number == BIG && plants(g, GEN_COUNTER_LOST)) {
        g->planted = true;
    } else {
        g->counter += s->number;
        if (s->number == BIG && plants(g, GEN_COUNTER_TWICE)) {
            g->counter += s->number;
            g->planted = true;
        }
    }
}

static void apply(struct gen *g, struct pending *p)
{
    bool lied = g->planted;
    p->applied = true;
    g->quiet = p->ghost;
    p->outcome = HISTORY_OK;
    switch (p->family) {
    case HISTORY_REGISTER:
        apply_register(g, p);
        break;
    case HISTORY_LIST:
        apply_list(g, p);
        break;
    case HISTORY_BANK:
        apply_bank(g, p);
        break;
    case HISTORY_SET:
        apply_set(g, p);
        break;
    case HISTORY_COUNTER:
        apply_counter(g, p);
        break;
    case HISTORY_FAMILIES:
        break;
    }
    g->quiet = false;
    if (!lied && g->planted && p->busy)
        complete(g, p); /* its answer must not get lost: it is what shows the violation */
}

static void forget(struct pending *p)
{
    for (uint32_t i = 0; i < STEPS_MAX; i++)
        free(p->lists[i]);
    *p = (struct pending){0};
}

static void complete(struct gen *g, struct pending *p)
{
    g->tick++;
    bool told = p->outcome == HISTORY_OK || p->outcome == HISTORY_UNMET;
    must(history_complete(g->h, g->tick * 1000, p->op, p->outcome, told ? p->steps : NULL,
                          told ? p->n : 0) == ST_OK);
    for (uint32_t i = 0; i < p->n && p->family == HISTORY_REGISTER; i++) {
        struct reg *k = &g->regs[key_of(&p->steps[i])];
        bool wrote = p->outcome == HISTORY_OK && p->steps[i].verb != HISTORY_GET;
        for (size_t j = k->n; j-- > 0 && wrote;)
            if (k->rows[j].version == p->steps[i].version) {
                k->rows[j].acked = g->tick;
                break;
            }
    }
    forget(p);
}

/* The first half is there, somebody looks, and then the other. */
static void half_batch(struct gen *g, struct pending *p)
{
    uint64_t version = next_version(g);
    write_one(g, p, 0, version);
    struct pending r = {.family = HISTORY_REGISTER, .outcome = HISTORY_OK};
    for (uint32_t i = 0; i < 2; i++)
        add_step(&r, HISTORY_GET, 'r', key_of(&p->steps[i]));
    invoke(g, &r, 99);
    for (uint32_t i = 0; i < 2; i++)
        read_register(g, &r, i);
    complete(g, &r);
    write_one(g, p, 1, version);
    g->planted = true;
}

/* --- the run --- */

static void lose(struct gen *g, struct pending *p)
{
    g->tick++;
    if (below(g, 2)) /* the client gives up; else nothing is ever heard */
        must(history_complete(g->h, g->tick * 1000, p->op, HISTORY_UNKNOWN, NULL, 0) == ST_OK);
    for (uint32_t i = 0; i < GHOSTS_MAX && !p->applied; i++)
        if (!g->ghosts[i].busy) {
            struct pending *q = &g->ghosts[i];
            *q = *p;
            q->ghost = true;
            for (uint32_t j = 0; j < q->n; j++) { /* they point into themselves */
                q->steps[j].key = BYTES_STR(q->keys[j]);
                if (q->steps[j].verb == HISTORY_PUT)
                    q->steps[j].value = BYTES_STR(q->values[j]);
            }
            *p = (struct pending){0};
            return;
        }
    forget(p);
}

static void fail(struct gen *g, struct pending *p)
{
    p->outcome = HISTORY_FAILED;
    complete(g, p);
}

static void one_event(struct gen *g, uint32_t *left)
{
    g->tick++;
    if (below(g, 20) == 0) {
        struct pending *q = &g->ghosts[below(g, GHOSTS_MAX)];
        if (q->busy) {
            if (below(g, 2))
                apply(g, q);
            forget(q);
        }
        return;
    }
    uint32_t client = (uint32_t)below(g, g->o->clients);
    struct pending *p = &g->clients[client];
    if (!p->busy) {
        if (*left == 0)
            return;
        --*left;
        ask(g, p);
        invoke(g, p, client);
    } else if (below(g, 100) < g->o->lost_percent) {
        lose(g, p);
    } else if (p->applied) {
        complete(g, p);
    } else if (below(g, 50) == 0) {
        fail(g, p);
    } else {
        apply(g, p);
    }
}

static bool anybody(const struct gen *g)
{
    for (uint32_t i = 0; i < g->o->clients; i++)
        if (g->clients[i].busy)
            return true;
    return false;
}

static void ask_at_last(struct gen *g, enum history_family family, char kind, uint32_t n, bool all)
{
    for (uint32_t i = 0; i < n; i++) {
        struct pending p = {.family = family, .outcome = HISTORY_OK};
        for (uint32_t j = all ? 0 : i; j < (all ? n : i + 1); j++)
            add_step(&p, HISTORY_GET, kind, j);
        g->tick++;
        invoke(g, &p, 98);
        apply(g, &p);
        if (p.busy)
            complete(g, &p);
        if (all)
            break;
    }
}

static void list_skew(struct gen *g)
{
    struct pending p[2] = {{.family = HISTORY_LIST, .outcome = HISTORY_OK},
                           {.family = HISTORY_LIST, .outcome = HISTORY_OK}};
    for (uint32_t i = 0; i < 2; i++) {
        add_step(&p[i], HISTORY_GET, 'l', i);
        add_step(&p[i], HISTORY_ADD, 'l', 1 - i)->number = g->next_element++;
        invoke(g, &p[i], 90 + i);
    }
    for (uint32_t i = 0; i < 2; i++)
        keep_list(&p[i], 0, &g->lists[i]);
    for (uint32_t i = 0; i < 2; i++) {
        push_number(&g->lists[1 - i], p[i].steps[1].number);
        complete(g, &p[i]);
    }
    g->planted = true;
}

/* --- rows, watches, notes --- */

struct truth {
    struct history_row *rows;
    size_t n;
    char (*keys)[8];
};

static int by_version_key(const void *a, const void *b)
{
    const struct history_row *x = a, *y = b;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return bytes_cmp(x->key, y->key);
}

static struct truth tell_rows(struct gen *g)
{
    struct truth t = {0};
    for (uint32_t k = 0; k < g->o->keys; k++)
        t.n += g->regs[k].n;
    t.rows = calloc(t.n + 1, sizeof *t.rows);
    t.keys = calloc(g->o->keys, sizeof *t.keys);
    must(t.rows && t.keys);
    size_t at = 0;
    for (uint32_t k = 0; k < g->o->keys; k++) {
        snprintf(t.keys[k], sizeof t.keys[0], "r%u", k % 1000000);
        for (size_t i = 0; i < g->regs[k].n; i++) {
            const struct row *row = &g->regs[k].rows[i];
            t.rows[at] = (struct history_row){row->present ? HISTORY_PUT : HISTORY_DELETE,
                                              row->version,
                                              BYTES_STR(t.keys[k]),
                                              BYTES_STR(row->value),
                                              0,
                                              0};
            must(history_final(g->h, &t.rows[at++]) == ST_OK);
        }
    }
    history_final_done(g->h, 0);
    qsort(t.rows, t.n, sizeof *t.rows, by_version_key);
    return t;
}

static void watch(struct gen *g, const struct history_watch *w)
{
    must(history_watch(g->h, ++g->tick * 1000, w) == ST_OK);
}

static struct history_watch event_of(const struct history_row *row)
{
    return (struct history_watch){.kind = HISTORY_WATCH_EVENT,
                                  .watcher = 1,
                                  .verb = row->verb,
                                  .version = row->version,
                                  .key = row->key,
                                  .value = row->value};
}

static void tell_progress(struct gen *g, uint64_t version)
{
    struct history_watch w = {.kind = HISTORY_WATCH_PROGRESS, .watcher = 1, .version = version};
    watch(g, &w);
}

static void tell_watch(struct gen *g, const struct truth *t, enum gen_plant plant)
{
    struct history_watch open = {.kind = HISTORY_WATCH_OPEN, .watcher = 1};
    bool all = below(g, 2);
    if (!all)
        open.prefix = BYTES_LIT("r1");
    watch(g, &open);
    const struct history_row *last = NULL;
    for (size_t i = 0; i < t->n; i++) {
        struct history_watch e = event_of(&t->rows[i]);
        if (!bytes_has_prefix(e.key, open.prefix))
            continue;
        bool here = last && plants(g, plant) && i + 2 < t->n;
        if (here && plant == GEN_WATCH_GAP) {
            g->planted = true; /* something is due after it: the progress at the end */
            continue;
        }
        if (here && plant == GEN_WATCH_REPEAT) {
            struct history_watch again = event_of(last);
            watch(g, &again);
            g->planted = true;
        }
        if (here && plant == GEN_WATCH_PHANTOM) {
            struct history_watch no = e;
            no.version--;
            watch(g, &no);
            g->planted = true;
        }
        if (here && plant == GEN_WATCH_VALUE && e.verb == HISTORY_PUT) {
            e.value = BYTES_LIT("another");
            g->planted = true;
        }
        if (here && plant == GEN_WATCH_ORDER && all) {
            struct history_watch early = event_of(&t->rows[i + 1]);
            watch(g, &early);
            g->planted = true;
        }
        watch(g, &e);
        last = &t->rows[i];
        if (below(g, 8) == 0) { /* again from its token */
            open.version = e.version;
            open.key = e.key;
            open.node = 1 + (uint32_t)below(g, 3);
            watch(g, &open);
        }
        if (here && plant == GEN_WATCH_PROGRESS && all) {
            tell_progress(g, t->rows[i + 1].version);
            g->planted = true;
        }
    }
    tell_progress(g, g->clock);
}

static void note(struct gen *g, struct history_note n)
{
    must(history_note(g->h, ++g->tick * 1000, &n) == ST_OK);
}

static void tell_notes(struct gen *g)
{
    for (uint64_t term = 1; term <= 4; term++) {
        uint32_t leader = 1 + (uint32_t)below(g, 3);
        for (uint32_t node = 1; node <= 3; node++) {
            struct history_note n = {HISTORY_DURABLE, node, 1, term, leader, term * 10, 0, 0, 0};
            bool early = term == 3 && node == 2;
            if (early && plants(g, GEN_EARLY_VOTE)) {
                n.vote = leader % 3 + 1;
                g->planted = true;
            }
            note(g, n);
            n = (struct history_note){HISTORY_VOTED, node, 1, term, leader, 0, 0, 0, 0};
            note(g, n);
            if (early && plants(g, GEN_VOTED_TWICE)) {
                n.vote = leader % 3 + 1;
                note(g, n);
                g->planted = true;
            }
            n = (struct history_note){HISTORY_ACKED, node, 1, term, 0, term * 10, 0, 0, 0};
            if (early && plants(g, GEN_EARLY_ACK)) {
                n.index++;
                g->planted = true;
            }
            note(g, n);
            n = (struct history_note){HISTORY_APPLIED, node, 1, 0, 0, term * 10, term * 77, 0, 0};
            if (early && plants(g, GEN_DIGEST)) {
                n.digest++;
                g->planted = true;
            }
            note(g, n);
        }
        note(g, (struct history_note){HISTORY_LEADER, leader, 1, term, 0, 0, 0, 0, 0});
        if (term == 3 && plants(g, GEN_TWO_LEADERS)) {
            note(g, (struct history_note){HISTORY_LEADER, leader % 3 + 1, 1, term, 0, 0, 0, 0, 0});
            g->planted = true;
        }
    }
}

static void finish(struct gen *g)
{
    for (uint32_t left = 0; anybody(g);)
        one_event(g, &left);
    if (plants(g, GEN_LIST_SKEW))
        list_skew(g);
    ask_at_last(g, HISTORY_REGISTER, 'r', g->o->keys, false);
    if (!g->o->registers_only) {
        if (!g->o->quiet_end)
            ask_at_last(g, HISTORY_LIST, 'l', LISTS, true);
        ask_at_last(g, HISTORY_BANK, 'b', GEN_ACCOUNTS, true);
        ask_at_last(g, HISTORY_SET, 's', 1, false);
        ask_at_last(g, HISTORY_COUNTER, 'c', 1, false);
    }
    struct truth t = tell_rows(g);
    if (!g->o->registers_only) {
        tell_watch(g, &t, g->o->plant);
        tell_notes(g);
    }
    free(t.rows);
    free(t.keys);
}

bool gen_history(const struct gen_options *o, struct history *h)
{
    struct gen *g = calloc(1, sizeof *g);
    must(g && o->clients <= CLIENTS_MAX);
    g->o = o;
    g->h = h;
    g->regs = calloc(o->keys, sizeof *g->regs);
    must(g->regs);
    test_rng_init(&g->r, o->seed);
    g->armed_at = below(g, o->ops);
    for (uint32_t i = 0; i < GEN_ACCOUNTS; i++)
        g->accounts[i] = GEN_BALANCE;
    for (uint32_t left = o->ops; left;)
        one_event(g, &left);
    finish(g);
    bool planted = g->planted;
    for (uint32_t i = 0; i < GHOSTS_MAX; i++)
        forget(&g->ghosts[i]);
    for (uint32_t i = 0; i < o->keys; i++)
        free(g->regs[i].rows);
    for (uint32_t i = 0; i < LISTS; i++)
        free(g->lists[i].of);
    free(g->set.of);
    free(g->regs);
    free(g);
    return planted;
}
