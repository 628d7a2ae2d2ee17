/* nemesis_internal.h - what the files of the nemesis share: nemesis.c each kind of fault, storm.c
 * leaders that fall in a row, and calms.
 */
#ifndef VARVE_SIM_CLUSTER_NEMESIS_INTERNAL_H
#define VARVE_SIM_CLUSTER_NEMESIS_INTERNAL_H

#include "sim/cluster/run.h"

struct striker {
    struct nemesis *nemesis;
    enum plan_fault fault;
    struct sim_event next;
};

/* A fault under way, and how it ends. */
struct trouble {
    struct list node;
    struct nemesis *nemesis;
    struct sim_event end;
    void (*over)(struct nemesis *m, const struct trouble *t);
    unsigned a, b;
    uint64_t mask;
};

/* Leaders that fall one after the other, soon after each was elected: what was under way meets the
 * next election, and who comes back has a log that others went on without. Afterwards, now and then,
 * a calm: all is well for a moment, and then everybody must follow one leader and keep up. */
struct storm {
    struct sim_event next;
    struct dice dice;
    bool on, calm;
    unsigned ways;         /* in which its leaders fall: bits of enum storm_way */
    unsigned left;         /* strikes */
    uint64_t mask;         /* of those that are cut off by it; 0: nobody */
    uint64_t term;         /* of the leader seen last, */
    unsigned leader;       /* which is struck */
    struct dice hush;      /* luck of its own, so that older seeds stay what they were */
    bool hushes;           /* some fall before they have said that they lead */
    bool hushed;           /* the leader before was one of these */
    bool strikes;          /* next; else it has waited long enough for a leader */
    uint64_t until, index; /* a calm: what was committed when it began is everywhere by then */
};

struct nemesis {
    struct run *run;
    struct dice dice, stops;
    struct striker strikers[FAULT_KINDS];
    struct list troubles;
    struct storm storm;
    /* How many troubles cut each direction, or weigh on each node. */
    unsigned cuts[PLAN_NODES_MAX + 1][PLAN_NODES_MAX + 1];
    bool stopped;
};

/* A fault that lasts `ns`; `over` ends it. Filled in by the caller; dropped when it is over. */
struct trouble *nemesis__begin(struct nemesis *m, uint64_t ns,
                               void (*over)(struct nemesis *m, const struct trouble *t));
void nemesis__struck(struct nemesis *m, enum plan_fault f);        /* counts it */
bool nemesis__may_damage(struct nemesis *m, const struct node *n); /* the atlas */
bool nemesis__may_go_down(struct nemesis *m, const struct node *n);
void nemesis__resume(struct nemesis *m, const struct trouble *t); /* a pause is over */
/* Counts cuts (delta 1 or -1) between the nodes whose bits are in the mask and all others. */
void nemesis__cut_groups(struct nemesis *m, uint64_t mask, int delta);

void storm__begin(struct nemesis *m, enum plan_fault f); /* nothing while one is on, or a calm */
void storm__over(struct nemesis *m);

#endif
