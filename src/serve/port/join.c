/* join.c - calls that wait for the same thing wait as one (port_handlers.join), without fibers.
 *
 * A parked fiber holds a stack. A thousand of them are more than the processor's caches have room
 * for, and each is paged in again when it goes on. Those that start when the waiting is over run one
 * after the other on the same stack.
 */
#include "serve/port/port_internal.h"

#include "base/env/fiber.h"

enum { JOIN_SLICE = 64 }; /* calls started before their answers leave: the peers work meanwhile */

static void start(struct slot *s, const struct err *failed)
{
    struct err *copy = NULL;
    s->as.q.joined = true;
    if (failed && !(copy = arena_alloc(&s->arena, sizeof *copy))) {
        slot__refuse(s, failed);
        return;
    }
    if (copy)
        *copy = *failed;
    s->as.q.join_failed = copy;
    slot__start(s);
}

static void run(void *arg)
{
    struct port_reactor *pr = arg;
    const struct port_handlers *h = &pr->port->handlers;
    struct err err;
    err_init(&err);
    fiber_yield(); /* what this round brings on other connections comes along */
    struct slot *s = pr->joining;
    pr->joining = NULL; /* who comes from here on is for the next */
    enum status st = h->join(h->arg, &err);
    for (size_t n = 1; s; n++) {
        struct slot *next = s->join_next;
        start(s, st == ST_OK ? NULL : &err);
        if (next && n % JOIN_SLICE == 0)
            reactor_yield(pr->reactor);
        s = next;
    }
}

bool join__add(struct slot *s)
{
    struct port_reactor *pr = s->pc->pr;
    const struct port_handlers *h = &pr->port->handlers;
    struct err err;
    if (s->as.q.door != REQUEST_GRPC || !s->have_first || !h->grpc_joins ||
        !h->grpc_joins(&s->as.r, s->first, h->arg))
        return false;
    if (!pr->joining) {
        /* Without a fiber for it this call is on its own, and probably refused. */
        if (reactor_spawn(pr->reactor, run, pr, &err) != ST_OK)
            return false;
        pr->joining_end = &pr->joining;
    }
    s->join_next = NULL;
    *pr->joining_end = s;
    pr->joining_end = &s->join_next;
    return true;
}
