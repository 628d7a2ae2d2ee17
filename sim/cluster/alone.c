/* A seed without nodes: Raft groups alone, one after the other (plan.alone). */
#include "sim/cluster/run.h"
#include "sim/raft/weather.h"

#include <stdio.h>

enum { GROUPS = 20 };

static void take_over(const struct weather_result *w, struct run_result *ret)
{
    ret->digest = w->digest;
    ret->operations = w->commits + w->reads_ok;
    ret->failed = w->reads_failed;
    ret->leader_changes = w->elections;
    ret->faults[FAULT_POWER] = w->crashes;
    ret->faults[FAULT_PARTITION] = w->cuts;
    ret->faults[FAULT_ROT] = w->rots;
    ret->starts = w->crashes;
}

void run_alone(const struct plan *p, struct run_result *ret)
{
    struct weather_result w = {0};
    *ret = (struct run_result){0};
    points_begin(p->seed, p->buggify);
    for (unsigned i = 1; i <= GROUPS && !ret->failure[0]; i++)
        if (!weather_run(dice_fork(p->seed, ('w' << 8) + i).state, &w))
            (void)snprintf(ret->failure, sizeof ret->failure, "raft alone: group %u: %s", i,
                           w.failure);
    take_over(&w, ret);
}
