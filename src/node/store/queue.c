#include "node/store/store_internal.h"

#include "base/alloc.h"
#include "base/env/fiber.h"

/* About a sync: by then the leader before is done, unless the disk is slow. */
enum { TURN_SOON_NS = 150 * 1000 };

/* Alone a store commits in groups: whoever finds it free leads, and takes along all that waits behind
 * it. Its own threads and fibers do the work; nobody hands it over. */

static struct group *group_new(void)
{
    struct group *g = mem_zalloc(sizeof(*g));
    if (g) {
        g->tail = &g->head;
        env_event_init(&g->turn);
        env_event_init(&g->done);
    }
    return g;
}

static void group_unref(struct group *g)
{
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        mem_free(g);
}

static void join(struct group *g, struct proposal *p)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    *g->tail = p;
    g->tail = &p->next;
}

/* Closes the group that the caller leads. On a fiber the others of the reactor's round run first, so
 * that their proposals are in it: one group and one sync for all of them, where the leader alone
 * would block their thread with a sync of its own. */
static void take(struct store *s, struct group *g, struct group **ret_group,
                 struct proposal **ret_list)
{
    if (fiber_current())
        fiber_yield();
    env_mutex_lock(&s->queue_lock);
    ASSERT(s->waiting == g && s->leading);
    s->waiting = NULL; /* who comes now waits for the next group */
    env_mutex_unlock(&s->queue_lock);
    *ret_group = g;
    *ret_list = g->head;
}

enum status store__queue_enter(struct store *s, struct proposal *p, struct group **ret_group,
                               struct proposal **ret_list)
{
    *ret_group = NULL;
    *ret_list = p;
    env_mutex_lock(&s->queue_lock);
    if (!s->leading) {
        s->leading = true;
        ASSERT(!s->waiting);
        struct group *round = fiber_current() ? group_new() : NULL;
        if (!round) { /* a thread; or no memory to let others join */
            env_mutex_unlock(&s->queue_lock);
            return ST_OK;
        }
        join(round, p);
        s->waiting = round;
        env_mutex_unlock(&s->queue_lock);
        take(s, round, ret_group, ret_list);
        return ST_OK;
    }
    if (!s->waiting && !(s->waiting = group_new())) {
        env_mutex_unlock(&s->queue_lock);
        return ST_NO_MEMORY;
    }
    struct group *g = s->waiting;
    bool first = g->head == NULL;
    join(g, p);
    env_mutex_unlock(&s->queue_lock);

    if (!first) {
        env_wait(&g->done, UINT64_MAX);
        group_unref(g);
        *ret_list = NULL;
        return ST_OK;
    }
    env_wait_awake(&g->turn, TURN_SOON_NS);
    take(s, g, ret_group, ret_list);
    return ST_OK;
}

void store__group_done(struct group *g)
{
    env_event_set(&g->done);
    group_unref(g);
}

/* Hands the lead to the next group first: its leader has work, this one's followers only answers. */
void store__queue_leave(struct store *s, struct group *mine)
{
    env_mutex_lock(&s->queue_lock);
    struct group *next = s->waiting;
    if (!next)
        s->leading = false;
    env_mutex_unlock(&s->queue_lock);
    if (next)
        env_event_set(&next->turn);
    if (mine)
        store__group_done(mine);
}
