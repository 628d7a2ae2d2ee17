#include "sim/cluster/plan.h"

#include "base/assert.h"
#include "sim/core/dice.h"

#include <string.h>

const char *plan_fault_name(enum plan_fault f)
{
    static const char *const names[] = {
#define X(name, text) text,
        PLAN_FAULTS(X)
#undef X
    };
    ASSERT(f < FAULT_KINDS);
    return names[f];
}

static uint64_t pick(struct dice *d, const uint64_t *of, size_t n)
{
    return of[dice_below(d, n)];
}
#define PICK(d, ...)                                                                               \
    pick((d), (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 8)

static const struct {
    enum plan_fault fault;
    uint32_t often_ms, in; /* how often when at all, and in one of so many seeds; 0: drawn apart */
    unsigned nodes;        /* makes sense from so many nodes on */
} kinds[] = {
    {FAULT_KILL, 3000, 2, 1},       {FAULT_POWER, 4000, 2, 1},       {FAULT_PAUSE, 3000, 2, 1},
    {FAULT_PARTITION, 4000, 2, 2},  {FAULT_ISOLATE, 3000, 2, 2},     {FAULT_ONE_WAY, 4000, 3, 2},
    {FAULT_CLOG, 3000, 3, 2},       {FAULT_LOSS, 4000, 2, 2},        {FAULT_CLOCK_JUMP, 4000, 3, 1},
    {FAULT_DRIFT, 5000, 3, 1},      {FAULT_WRITE_ERROR, 6000, 4, 1}, {FAULT_SYNC_ERROR, 6000, 4, 1},
    {FAULT_READ_ERROR, 8000, 5, 1}, {FAULT_DISK_FULL, 6000, 4, 1},   {FAULT_SLOW_DISK, 4000, 3, 1},
    {FAULT_ROT, 8000, 6, 3},        {FAULT_WIPE, 15000, 8, 3},       {FAULT_STORM, 0, 0, 2},
    {FAULT_MISDIRECT, 10000, 0, 3}, {FAULT_STALE_READ, 6000, 0, 1},  {FAULT_STOP, 3000, 0, 1},
    {FAULT_MEMBERS, 3000, 0, 3},
};
_Static_assert(sizeof kinds / sizeof *kinds == FAULT_KINDS, "every kind has its chance");

bool plan_disks_fail(const struct plan *p)
{
    static const enum plan_fault of[] = {FAULT_WRITE_ERROR, FAULT_SYNC_ERROR, FAULT_READ_ERROR,
                                         FAULT_DISK_FULL,   FAULT_ROT,        FAULT_MISDIRECT,
                                         FAULT_STALE_READ};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (p->every_ms[of[i]])
            return true;
    return false;
}

void plan_nodes(struct plan *p, unsigned nodes)
{
    p->nodes = nodes;
    p->alone = false;
    p->down_max = nodes == 1 || p->down_max >= nodes ? nodes : nodes / 2;
    for (size_t i = 0; i < FAULT_KINDS; i++)
        if (nodes < kinds[i].nodes)
            p->every_ms[kinds[i].fault] = 0;
}

static void draw_faults(struct plan *p, struct dice *d)
{
    unsigned drawn = 0;
    /* Fewer than three kinds would make a dull run. */
    for (int round = 0; round < 4 && drawn < 4; round++)
        for (size_t i = 0; i < FAULT_KINDS; i++) {
            if (p->nodes < kinds[i].nodes || p->every_ms[kinds[i].fault] || kinds[i].in == 0 ||
                !dice_one_in(d, kinds[i].in))
                continue;
            p->every_ms[kinds[i].fault] =
                (uint32_t)(kinds[i].often_ms * dice_between(d, 50, 200) / 100);
            drawn++;
        }
    /* A leader that is never in trouble proves little. */
    static const enum plan_fault changes[] = {FAULT_KILL, FAULT_POWER, FAULT_PAUSE, FAULT_ISOLATE};
    bool any = p->nodes < 2;
    for (size_t i = 0; i < 4; i++)
        any |= p->every_ms[changes[i]] > 0;
    if (!any)
        p->every_ms[changes[dice_below(d, 4)]] = 3000;
}

/* By luck of its own, so that older seeds stay what they were. */
static void draw_lies(struct plan *p)
{
    struct dice d = dice_fork(p->seed, 'l');
    for (size_t i = FAULT_MISDIRECT; i <= FAULT_STALE_READ; i++)
        if (dice_one_in(&d, 6) && p->nodes >= kinds[i].nodes)
            p->every_ms[kinds[i].fault] =
                (uint32_t)(kinds[i].often_ms * dice_between(&d, 50, 200) / 100);
}

static void draw_link(struct plan *p, struct dice *d)
{
    p->link.delay_ns = PICK(d, 20, 50, 100, 300, 2000) * 1000;
    p->link.spread_ns = p->link.delay_ns * PICK(d, 1, 2, 5);
    p->link.loss_ppm = (uint32_t)PICK(d, 0, 0, 0, 1000, 10000);
    p->link.twice_ppm = (uint32_t)PICK(d, 0, 0, 1000, 10000);
    p->link.late_ppm = (uint32_t)PICK(d, 0, 0, 1000, 20000);
    p->link.late_ns = PICK(d, 5, 50, 500) * 1000000;
}

static void draw_store(struct plan *p, struct dice *d)
{
    p->heartbeat_ms = (uint32_t)PICK(d, 20, 50, 100);
    p->election_ms = p->heartbeat_ms * (uint32_t)PICK(d, 4, 5, 10);
    p->propose_timeout_ms = (uint32_t)PICK(d, 1000, 3000, 10000);
    p->segment_bytes = (size_t)PICK(d, 64, 64, 256, 1024) << 10;
    p->first_segment_bytes = (size_t)64 << 10;
    p->table_bytes = (size_t)PICK(d, 64, 128, 256, 4096) << 10;
    p->cache_bytes = (size_t)PICK(d, 0, 64, 1024) << 10;
    p->log_bytes = PICK(d, 128, 256, 1024, 1 << 20) << 10;
    p->checkpoint_ms = (uint32_t)PICK(d, 500, 2000, 10000, UINT32_MAX);
    p->sync_us = (uint32_t)PICK(d, 50, 100, 200, 1000);
    p->torn_bytes = (uint32_t)PICK(d, 512, 4096);
}

/* What came to be drawn later has luck of its own, so that seeds go on meaning the rest of what they
 * meant. Half of an even number is no majority: two and four nodes are asked for that. */
static unsigned draw_nodes(struct dice *d, uint64_t seed)
{
    unsigned odd = (unsigned)PICK(d, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5);
    struct dice apart = dice_fork(seed, 'e');
    if (odd == 1 || !dice_one_in(&apart, 10))
        return odd;
    return (unsigned)PICK(&apart, 2, 4, 4);
}

static bool draw_alone(uint64_t seed)
{
    struct dice apart = dice_fork(seed, 'w');
    return dice_one_in(&apart, 30);
}

static void draw_storms(struct plan *p, uint64_t seed)
{
    struct dice apart = dice_fork(seed, 'y');
    if (p->nodes > 1 && dice_one_in(&apart, 2))
        p->every_ms[FAULT_STORM] = (uint32_t)dice_between(&apart, 2000, 8000);
}

static void draw_stops(struct plan *p, uint64_t seed)
{
    struct dice apart = dice_fork(seed, 'h');
    if (dice_one_in(&apart, 3))
        p->every_ms[FAULT_STOP] = (uint32_t)dice_between(&apart, 1500, 6000);
}

/* What others lack goes to them in many messages, down to one entry in each and one at a time: a log
 * is elsewhere in part, and its leader falls in between. */
static void draw_messages(struct plan *p, uint64_t seed)
{
    struct dice apart = dice_fork(seed, 'b');
    if (!dice_one_in(&apart, 2))
        return;
    p->append_bytes = (size_t)PICK(&apart, 1, 1, 1, 10000);
    p->append_messages = (uint32_t)PICK(&apart, 1, 1, 1, 4);
}

static void draw_members(struct plan *p, uint64_t seed)
{
    struct dice apart = dice_fork(seed, 'm');
    if (p->nodes >= 3 && dice_one_in(&apart, 3))
        p->every_ms[FAULT_MEMBERS] = (uint32_t)dice_between(&apart, 800, 4000);
    /* Where few vote they may be far ahead of the others, who have to catch up before they can. */
    if (p->every_ms[FAULT_MEMBERS] && p->append_messages == 1)
        p->append_messages = 4;
}

void plan_draw(struct plan *p, uint64_t seed)
{
    struct dice d = dice_fork(seed, 'p');
    *p = (struct plan){.seed = seed};
    p->nodes = draw_nodes(&d, seed);
    p->alone = draw_alone(seed);
    p->clients = (unsigned)PICK(&d, 4, 8, 16, 32);
    p->watchers = (unsigned)dice_below(&d, 3);
    p->buggify = !dice_one_in(&d, 4);
    struct dice apart = dice_fork(seed, 's'); /* so that older seeds stay what they were */
    p->streams = dice_one_in(&apart, 4);
    apart = dice_fork(seed, 'v');
    p->vain = dice_one_in(&apart, 3);
    apart = dice_fork(seed, 'd');
    p->doors = dice_one_in(&apart, 4);
    p->busy_ms = PICK(&d, 15000, 30000, 50000);
    p->more_ms = 2 * p->busy_ms;
    p->heal_ms = 120000;
    p->ops_max = PICK(&d, 3000, 6000, 9000);
    /* Four times as fast as it takes: most of the time somebody is slow, cut off or dead. */
    p->think_us = (uint32_t)(p->busy_ms * 1000 * p->clients / p->ops_max / 4);
    p->down_max = p->nodes == 1 || dice_one_in(&d, 3) ? p->nodes : p->nodes / 2;
    p->outage_ms = PICK(&d, 300, 1000, 3000);
    draw_store(p, &d);
    draw_link(p, &d);
    draw_faults(p, &d);
    draw_storms(p, seed);
    draw_lies(p);
    draw_stops(p, seed);
    draw_messages(p, seed);
    draw_members(p, seed);
    apart = dice_fork(seed, 'k');
    p->keeper = dice_one_in(&apart, 2);
    p->keys = (unsigned)PICK(&d, 3, 10, 40);
    p->value_bytes = (unsigned)PICK(&d, 16, 100, 1000, 6000);
    for (size_t i = 0; i < sizeof p->weight / sizeof *p->weight; i++)
        p->weight[i] = (unsigned)PICK(&d, 0, 1, 1, 2, 5);
    p->weight[0] += 2; /* registers are always there */
}

/* --- scenarios: the same plan with one sort of trouble --- */

static void only(struct plan *p, const enum plan_fault *keep, size_t n)
{
    for (unsigned f = 0; f < FAULT_KINDS; f++) {
        bool kept = false;
        for (size_t i = 0; i < n; i++)
            kept |= keep[i] == f;
        p->every_ms[f] = kept ? 2500 : 0;
    }
}

struct scenario {
    const char *name;
    enum plan_fault keep[6];
    size_t n;
};

static const struct scenario scenarios[] = {
    {"quiet", {0}, 0},
    {"alone", {0}, 0},
    {"kills", {FAULT_KILL, FAULT_POWER}, 2},
    {"power", {FAULT_POWER}, 1},
    {"partitions", {FAULT_PARTITION, FAULT_ISOLATE, FAULT_ONE_WAY}, 3},
    {"pauses", {FAULT_PAUSE, FAULT_CLOCK_JUMP, FAULT_DRIFT}, 3},
    {"network", {FAULT_CLOG, FAULT_LOSS, FAULT_PARTITION}, 3},
    {"disks",
     {FAULT_WRITE_ERROR, FAULT_SYNC_ERROR, FAULT_DISK_FULL, FAULT_SLOW_DISK, FAULT_POWER},
     5},
    {"rot", {FAULT_ROT, FAULT_WIPE, FAULT_POWER}, 3},
    {"storms", {FAULT_STORM}, 1},
    {"members", {FAULT_MEMBERS, FAULT_KILL, FAULT_ISOLATE, FAULT_PARTITION}, 4},
    {"stops", {FAULT_STOP, FAULT_KILL, FAULT_ISOLATE}, 3},
    {"lies", {FAULT_MISDIRECT, FAULT_STALE_READ, FAULT_POWER, FAULT_KILL}, 4},
};

bool plan_scenario(struct plan *p, const char *name)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (!strcmp(scenarios[i].name, name)) {
            if (p->nodes == 1)
                plan_nodes(p, 3);
            p->alone = !strcmp(name, "alone");
            only(p, scenarios[i].keep, scenarios[i].n);
            return true;
        }
    return false;
}

const char *plan_scenarios(void)
{
    return "quiet\nalone\nkills\npower\npartitions\npauses\nnetwork\ndisks\nrot\nstorms\nmembers\n"
           "stops\nlies\n";
}

enum status plan_text(const struct plan *p, struct buf *out)
{
    enum status st =
        buf_printf(out,
                   "seed %llu: %u nodes, %u clients, %u watchers, %s%s, heartbeat %u "
                   "ms, election %u ms, segments "
                   "%zu KiB, table %zu KiB, cache %zu KiB, delay %llu us, faults:",
                   (unsigned long long)p->seed, p->nodes, p->clients, p->watchers,
                   p->streams ? "streams" : "messages", p->doors ? ", doors" : "", p->heartbeat_ms,
                   p->election_ms, p->segment_bytes >> 10, p->table_bytes >> 10,
                   p->cache_bytes >> 10, (unsigned long long)p->link.delay_ns / 1000);
    for (unsigned f = 0; f < FAULT_KINDS && !st; f++)
        if (p->every_ms[f])
            st = buf_printf(out, " %s", plan_fault_name(f));
    return st;
}
