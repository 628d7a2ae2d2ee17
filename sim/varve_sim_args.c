/* What was asked on the command line. */
#include "sim/varve_sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ask_usage(FILE *to)
{
    (void)fprintf(
        to,
        "usage: varve-sim --seed N [--trace | --trace-ops] [--history FILE]   one seed\n"
        "       varve-sim --seeds COUNT [--from N] [--jobs J] [--twice]       so many seeds\n"
        "       varve-sim --minutes M [--from N] [--jobs J]                   a hunt\n"
        "       varve-sim --shrink --seed N                                   less that still "
        "fails\n"
        "       varve-sim --file CORPUS                                       seeds that once "
        "failed\n"
        "       varve-sim --list                                              scenarios and "
        "faults\n"
        "All but --list take: --scenario NAME, --ticks MS (of phase 1), --ops N, --nodes N, "
        "--clients N,\n"
        "--watchers N, --without FAULT,FAULT..., --no-drains (tables and logs without a bound),\n"
        "--streams (nodes talk by serve/peer), --doors (clients come through the server's doors)\n"
        "Exit: 0 nothing found, 1 a seed failed, 2 wrong use.\n");
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || *end || end == text || v > max || *text == '-') {
        (void)fprintf(stderr, "varve-sim: %s: not a number up to %llu\n", text,
                      (unsigned long long)max);
        return false;
    }
    *ret = v;
    return true;
}

static bool faults(char *list, uint32_t *ret)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        unsigned f = 0;
        while (f < FAULT_KINDS && strcmp(plan_fault_name((enum plan_fault)f), name) != 0)
            f++;
        if (f == FAULT_KINDS) {
            (void)fprintf(stderr, "varve-sim: %s: no such fault (--list)\n", name);
            return false;
        }
        *ret |= 1u << f;
    }
    return true;
}

static void list_all(void)
{
    printf("scenarios:\n%sfaults:\n", plan_scenarios());
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        printf("%s\n", plan_fault_name((enum plan_fault)f));
}

static bool flag(struct ask *a, const char *name)
{
    static const char *const names[] = {"--trace",     "--trace-ops", "--shrink", "--twice",
                                        "--no-drains", "--streams",   "--doors"};
    bool *const to[] = {&a->trace,     &a->trace_ops, &a->shrink, &a->twice,
                        &a->no_drains, &a->streams,   &a->doors};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) {
            *to[i] = true;
            return true;
        }
    return false;
}

static bool option(struct ask *a, const char *name, char *value)
{
    uint64_t v = 0;
    if (!strcmp(name, "--scenario")) {
        struct plan p = {0};
        a->scenario = value;
        if (plan_scenario(&p, value))
            return true;
        (void)fprintf(stderr, "varve-sim: %s: no such scenario (--list)\n", value);
        return false;
    }
    if (!strcmp(name, "--history")) {
        a->history = value;
        return true;
    }
    if (!strcmp(name, "--file")) {
        a->file = value;
        return true;
    }
    if (!strcmp(name, "--without"))
        return faults(value, &a->without);
    static const struct {
        const char *name;
        uint64_t max;
    } numbers[] = {{"--seed", UINT64_MAX},  {"--from", UINT64_MAX},
                   {"--seeds", 1000000000}, {"--minutes", 100000},
                   {"--jobs", 64},          {"--ticks", 86400000},
                   {"--ops", 10000000},     {"--nodes", PLAN_NODES_MAX},
                   {"--clients", 1000},     {"--watchers", 100}};
    size_t i = 0;
    while (i < sizeof numbers / sizeof *numbers && strcmp(numbers[i].name, name) != 0)
        i++;
    if (i == sizeof numbers / sizeof *numbers) {
        (void)fprintf(stderr, "varve-sim: %s: no such option\n", name);
        return false;
    }
    if (!number(value, numbers[i].max, &v))
        return false;
    uint64_t *const wide[] = {&a->seed, &a->from,     &a->seeds, &a->minutes,
                              NULL,     &a->ticks_ms, &a->ops};
    unsigned *const narrow[] = {
        [4] = &a->jobs, [7] = &a->nodes, [8] = &a->clients, [9] = &a->watchers};
    if (i < 7 && wide[i])
        *wide[i] = v;
    else
        *narrow[i] = (unsigned)v;
    a->one |= i == 0;
    return true;
}

bool ask_parse(int argc, char **argv, struct ask *ret)
{
    struct ask a = {.from = 1, .jobs = 1, .watchers = NONE_GIVEN};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) {
            ask_usage(stdout);
            exit(EXIT_FINE);
        }
        if (!strcmp(argv[i], "--list")) {
            list_all();
            exit(EXIT_FINE);
        }
        if (flag(&a, argv[i]))
            continue;
        if (i + 1 == argc || !option(&a, argv[i], argv[i + 1]))
            return false;
        i++;
    }
    a.trace |= a.trace_ops;
    if (!a.one && !a.seeds && !a.minutes && !a.file)
        return false;
    if ((a.shrink && !a.one) || a.jobs == 0)
        return false;
    *ret = a;
    return true;
}

void ask_plan(const struct ask *a, uint64_t seed, struct plan *ret)
{
    plan_draw(ret, seed);
    if (a->nodes)
        plan_nodes(ret, a->nodes);
    if (a->scenario)
        (void)plan_scenario(ret, a->scenario); /* it was looked up */
    if (a->ticks_ms)
        ret->busy_ms = a->ticks_ms, ret->more_ms = 0;
    if (a->ops)
        ret->ops_max = a->ops;
    if (a->clients)
        ret->clients = a->clients;
    if (a->watchers != NONE_GIVEN)
        ret->watchers = a->watchers;
    ret->streams |= a->streams;
    ret->doors |= a->doors;
    if (a->no_drains) {
        ret->table_bytes = (size_t)1 << 30;
        ret->log_bytes = UINT64_C(1) << 40;
        ret->checkpoint_ms = UINT32_MAX;
    }
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        if (a->without >> f & 1)
            ret->every_ms[f] = 0;
}

void ask_print(const struct ask *a, uint64_t seed)
{
    printf("varve-sim --seed %llu", (unsigned long long)seed);
    if (a->scenario)
        printf(" --scenario %s", a->scenario);
    if (a->ticks_ms)
        printf(" --ticks %llu", (unsigned long long)a->ticks_ms);
    if (a->ops)
        printf(" --ops %llu", (unsigned long long)a->ops);
    if (a->nodes)
        printf(" --nodes %u", a->nodes);
    if (a->clients)
        printf(" --clients %u", a->clients);
    if (a->watchers != NONE_GIVEN)
        printf(" --watchers %u", a->watchers);
    if (a->streams)
        printf(" --streams");
    if (a->doors)
        printf(" --doors");
    if (a->no_drains)
        printf(" --no-drains");
    const char *before = " --without ";
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        if (a->without >> f & 1) {
            printf("%s%s", before, plan_fault_name((enum plan_fault)f));
            before = ",";
        }
    printf("\n");
    (void)fflush(stdout);
}
