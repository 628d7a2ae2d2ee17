/* The workloads. Each function does one operation and records it. */
#include "sim/cluster/clients.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

/* The process's own, so that it is gone when that dies amid the operation. */
static uint8_t *scratch(size_t len)
{
    uint8_t *p = mem_zalloc(len);
    ASSERT(p);
    return p;
}

/* --- registers: get, put, delete, compare-and-set, batches, snapshots, the past --- */

static uint64_t some_key(struct client *c)
{
    /* The first keys are the hot ones. */
    uint64_t a = dice_below(&c->dice, c->run->plan.keys),
             b = dice_below(&c->dice, c->run->plan.keys);
    return a < b ? a : b;
}

/* Bytes that nobody else writes. */
static void fresh_value(struct client *c, struct history_step *s)
{
    uint8_t text[8192];
    size_t want = 8 + (size_t)dice_below(&c->dice, c->run->plan.value_bytes);
    int n = snprintf((char *)text, sizeof text, "c%u.%llu.", c->number,
                     (unsigned long long)c->serial++);
    size_t len = (size_t)n > want ? (size_t)n : want;
    memset(text + n, 'a' + (int)(c->serial % 26), len - (size_t)n);
    op_value(c, s, text, len);
}

static void saw(struct client *c, const struct history_step *s, uint64_t version)
{
    uint64_t key = 0;
    for (size_t i = 1; i < s->key.len; i++)
        key = key * 10 + (uint64_t)(s->key.data[i] - '0');
    c->seen[key] = version;
}

static void reg_get(struct client *c, bool weak)
{
    struct err err;
    struct collection *col;
    struct version at;
    err_init(&err);
    struct history_step *s = op_step(c, HISTORY_GET, 'r', some_key(c));
    c->weak = weak;
    op_invoke(c);
    enum status st = work_collection(c, &col, &err);
    if (!st && !weak && !c->door) /* a door asks the leader itself */
        st = work_barrier(c, &at, &err);
    if (!st)
        st = work_get(c, col, s, VERSION_NONE, &err);
    if (!st)
        saw(c, s, s->found ? s->version : 0);
    op_done(c, st, &err);
}

/* Several keys as of one moment. */
static void reg_snapshot(struct client *c)
{
    struct err err;
    struct collection *col;
    struct version at;
    err_init(&err);
    uint64_t first = some_key(c), n = 2 + dice_below(&c->dice, 3);
    for (uint64_t i = 0; i < n && i < c->run->plan.keys; i++)
        op_step(c, HISTORY_GET, 'r', (first + i) % c->run->plan.keys);
    op_invoke(c);
    enum status st = work_collection(c, &col, &err);
    if (!st)
        st = work_barrier(c, &at, &err);
    for (size_t i = 0; i < c->n && !st; i++)
        st = work_get(c, col, &c->steps[i], at, &err);
    if (!st)
        work_look_again(c, col, at);
    op_done(c, st, &err);
}

static void reg_past(struct client *c)
{
    struct err err;
    struct collection *col;
    struct run *r = c->run;
    err_init(&err);
    if (r->n_versions == 0) {
        reg_get(c, false);
        return;
    }
    struct history_step *s = op_step(c, HISTORY_GET, 'r', some_key(c));
    c->at = r->versions[dice_below(&c->dice, r->n_versions)];
    struct version at = {c->at, UINT32_MAX};
    op_invoke(c);
    enum status st = work_collection(c, &col, &err);
    if (!st && !c->door)
        st = store_fix_moment(c->node->store, at, &err);
    if (!st)
        st = work_get(c, col, s, at, &err);
    op_done(c, st, &err);
}

/* A write that met another's is as if it had never been asked. */
static void done_or_beaten(struct client *c, enum status st, const struct err *err)
{
    c->beaten = st == ST_PRECONDITION_FAILED;
    if (c->beaten)
        op_outcome(c, HISTORY_FAILED);
    else
        op_done(c, st, err);
}

static void reg_write(struct client *c, size_t n)
{
    struct err err;
    struct collection *col;
    struct work_write w[BATCH_MAX];
    err_init(&err);
    uint64_t first = some_key(c);
    for (size_t i = 0; i < n && i < c->run->plan.keys; i++) {
        uint64_t key = (first + i) % c->run->plan.keys;
        bool removes = dice_one_in(&c->dice, 8);
        struct history_step *s = op_step(c, removes ? HISTORY_DELETE : HISTORY_PUT, 'r', key);
        if (!removes)
            fresh_value(c, s);
        switch (dice_below(&c->dice, 6)) {
        case 0:
        case 1:
            if (c->seen[key]) {
                s->require = HISTORY_AT_VERSION;
                s->want = c->seen[key];
            }
            break;
        case 2:
            s->require = dice_one_in(&c->dice, 2) ? HISTORY_ABSENT : HISTORY_PRESENT;
            break;
        default:
            break;
        }
        w[i] = (struct work_write){.key = c->memory[i].key,
                                   .remove = removes,
                                   .value = s->value,
                                   .require = s->require,
                                   .want = s->want};
    }
    op_invoke(c);
    uint64_t version = 0, present = 0;
    size_t failed = 0;
    enum status st = work_collection(c, &col, &err);
    if (!st)
        st = work_propose(c, col, w, c->n, &version, &failed, &present, &err);
    if (st == ST_OK)
        for (size_t i = 0; i < c->n; i++) {
            c->steps[i].version = version;
            saw(c, &c->steps[i], c->steps[i].verb == HISTORY_PUT ? version : 0);
        }
    if (st == ST_PRECONDITION_FAILED && present == WORK_NOT_TOLD) {
        done_or_beaten(c, st, &err);
        return;
    }
    if (st == ST_PRECONDITION_FAILED) {
        struct history_step *s = &c->steps[failed];
        s->unmet = true;
        s->found = present != 0;
        s->version = present;
        saw(c, s, present);
    }
    if (st == ST_NOT_FOUND && c->n == 1 && c->steps[0].verb == HISTORY_DELETE)
        c->beaten = true; /* a door's delete of what is not there writes nothing */
    op_done(c, st, &err);
}

void work_register(struct client *c)
{
    uint64_t what = dice_below(&c->dice, 100);
    if (what < 35)
        reg_get(c, false);
    else if (what < 40)
        reg_get(c, true);
    else if (what < 48)
        reg_snapshot(c);
    else if (what < 55)
        reg_past(c);
    else
        reg_write(c, what < 85 ? 1 : 2 + (size_t)dice_below(&c->dice, 3));
}

/* --- read, change, write where nothing has changed since --- */

/* Reads the keys of the GET steps as of now; then `make` says what each becomes. */
static enum status read_all(struct client *c, struct collection **ret_col, struct err *err)
{
    struct version at;
    enum status st = work_collection(c, ret_col, err);
    if (!st)
        st = work_barrier(c, &at, err);
    for (size_t i = 0; i < c->n && !st; i++)
        if (c->steps[i].verb == HISTORY_GET)
            st = work_get(c, *ret_col, &c->steps[i], at, err);
    return st;
}

static void require_as_read(struct work_write *w, const struct history_step *read)
{
    w->require = read->found ? HISTORY_AT_VERSION : HISTORY_ABSENT;
    w->want = read->version;
}

static uint64_t unique(struct client *c)
{
    return (uint64_t)(c->number + 1) << 32 | ++c->serial;
}

/* New lists and sets after a while, so that none grows for ever. */
static uint64_t generation(const struct client *c, uint64_t ops)
{
    return c->run->result->operations / ops;
}

static void put64(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

static int64_t get64(struct bytes b)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 8 && i < b.len; i++)
        v |= (uint64_t)b.data[i] << 8 * i;
    return (int64_t)v;
}

/* Transactions over lists: some are read, some appended to. The value of a step that reads and
 * appends is what was read. */
static void append_some(struct client *c, size_t keys, char letter, uint64_t first, uint64_t of)
{
    struct err err;
    struct collection *col;
    struct work_write w[BATCH_MAX];
    uint8_t *grown[BATCH_MAX] = {0};
    bool appends[BATCH_MAX];
    size_t reads;
    err_init(&err);
    for (size_t i = 0; i < keys; i++) {
        op_step(c, HISTORY_GET, letter, first * of + (first + i) % of);
        appends[i] = i == 0 || dice_one_in(&c->dice, 2);
    }
    reads = c->n;
    for (size_t i = 0; i < reads; i++)
        if (appends[i]) {
            struct history_step *s = op_step(c, HISTORY_ADD, letter, 0);
            memcpy(c->memory[c->n - 1].key, c->memory[i].key, KEY_MAX);
            s->key = BYTES_STR(c->memory[c->n - 1].key);
            s->number = (int64_t)unique(c);
        }
    op_invoke(c);
    enum status st = read_all(c, &col, &err);
    size_t add = reads;
    for (size_t i = 0; i < reads && !st; i++) {
        const struct history_step *s = &c->steps[i];
        w[i] = (struct work_write){.key = c->memory[i].key};
        require_as_read(&w[i], s);
        if (!appends[i])
            continue;
        size_t had = s->found ? s->value.len : 0;
        grown[i] = scratch(had + 8);
        if (had)
            memcpy(grown[i], s->value.data, had);
        put64(grown[i] + had, (uint64_t)c->steps[add++].number);
        w[i].value = BYTES(grown[i], had + 8);
    }
    uint64_t version, present;
    size_t failed;
    if (!st)
        st = work_propose(c, col, w, reads, &version, &failed, &present, &err);
    for (size_t i = 0; i < BATCH_MAX; i++)
        mem_free(grown[i]);
    done_or_beaten(c, st, &err);
}

static void read_some(struct client *c, size_t keys, char letter, uint64_t first, uint64_t of)
{
    struct err err;
    struct collection *col;
    err_init(&err);
    for (size_t i = 0; i < keys; i++)
        op_step(c, HISTORY_GET, letter, first * of + (first + i) % of);
    op_invoke(c);
    enum status st = read_all(c, &col, &err);
    op_done(c, st, &err);
}

void work_list(struct client *c)
{
    uint64_t g = generation(c, 150) * 2 + dice_below(&c->dice, 2);
    size_t keys = 1 + (size_t)dice_below(&c->dice, 3);
    if (dice_one_in(&c->dice, 3))
        read_some(c, keys, 'l', g, 4);
    else
        append_some(c, keys, 'l', g, 4);
}

void work_set(struct client *c)
{
    uint64_t g = generation(c, 400);
    if (dice_one_in(&c->dice, 3)) {
        read_some(c, 1, 's', g, 1);
        return;
    }
    struct err err;
    struct collection *col;
    err_init(&err);
    struct history_step *s = op_step(c, HISTORY_ADD, 's', g), read = {0};
    s->number = (int64_t)unique(c);
    op_invoke(c);
    struct version at;
    enum status st = work_collection(c, &col, &err);
    if (!st)
        st = work_barrier(c, &at, &err);
    if (!st)
        st = work_get(c, col, s, at, &err);
    read = *s;
    struct work_write w = {.key = c->memory[0].key};
    require_as_read(&w, &read);
    size_t had = !st && read.found ? read.value.len : 0;
    uint8_t *grown = scratch(had + 8);
    if (had)
        memcpy(grown, read.value.data, had);
    put64(grown + had, (uint64_t)s->number);
    w.value = BYTES(grown, had + 8);
    s->value = BYTES_EMPTY;
    s->version = 0;
    s->found = false;
    uint64_t version, present;
    size_t failed;
    if (!st)
        st = work_propose(c, col, &w, 1, &version, &failed, &present, &err);
    mem_free(grown);
    done_or_beaten(c, st, &err);
}

/* --- numbers: counters, and accounts whose sum stays --- */

enum { ACCOUNTS = 6 };

/* Adds the ADD steps' numbers to their keys in one batch. */
static enum status add_all(struct client *c, struct err *err)
{
    struct collection *col;
    struct version at;
    struct work_write w[BATCH_MAX];
    uint8_t numbers[BATCH_MAX][8];
    enum status st = work_collection(c, &col, err);
    if (!st)
        st = work_barrier(c, &at, err);
    for (size_t i = 0; i < c->n && !st; i++) {
        struct history_step *s = &c->steps[i];
        st = work_get(c, col, s, at, err);
        w[i] = (struct work_write){.key = c->memory[i].key, .value = BYTES(numbers[i], 8)};
        require_as_read(&w[i], s);
        put64(numbers[i], (uint64_t)((s->found ? get64(s->value) : 0) + s->number));
        s->value = BYTES_EMPTY;
        s->version = 0;
        s->found = false;
    }
    uint64_t version, present;
    size_t failed;
    if (!st)
        st = work_propose(c, col, w, c->n, &version, &failed, &present, err);
    return st;
}

static enum status read_numbers(struct client *c, struct err *err)
{
    struct collection *col;
    enum status st = read_all(c, &col, err);
    for (size_t i = 0; i < c->n && !st; i++) {
        struct history_step *s = &c->steps[i];
        s->number = s->found ? get64(s->value) : 0;
        s->value = BYTES_EMPTY;
    }
    return st;
}

void work_counter(struct client *c)
{
    struct err err;
    err_init(&err);
    uint64_t key = dice_below(&c->dice, 2);
    if (dice_one_in(&c->dice, 3)) {
        op_step(c, HISTORY_GET, 'n', key);
        op_invoke(c);
        enum status st = read_numbers(c, &err);
        op_done(c, st, &err);
        return;
    }
    op_step(c, HISTORY_ADD, 'n', key)->number = (int64_t)(1 + dice_below(&c->dice, 9));
    op_invoke(c);
    enum status st = add_all(c, &err);
    done_or_beaten(c, st, &err);
}

/* Accounts begin at nothing and may be overdrawn: the sum of all is nothing, always. */
void work_bank(struct client *c)
{
    struct err err;
    err_init(&err);
    if (dice_one_in(&c->dice, 3)) {
        for (uint64_t i = 0; i < ACCOUNTS; i++)
            op_step(c, HISTORY_GET, 'a', i);
        op_invoke(c);
        enum status st = read_numbers(c, &err);
        op_done(c, st, &err);
        return;
    }
    uint64_t from = dice_below(&c->dice, ACCOUNTS);
    uint64_t to = (from + 1 + dice_below(&c->dice, ACCOUNTS - 1)) % ACCOUNTS;
    int64_t amount = (int64_t)(1 + dice_below(&c->dice, 100));
    op_step(c, HISTORY_ADD, 'a', from)->number = -amount;
    op_step(c, HISTORY_ADD, 'a', to)->number = amount;
    op_invoke(c);
    enum status st = add_all(c, &err);
    done_or_beaten(c, st, &err);
}
