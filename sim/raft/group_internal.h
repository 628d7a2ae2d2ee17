/* group_internal.h - what the files of a group share.
 *
 * group_disk.c keeps entries, group_net.c carries messages and holds what leaves against the disk,
 * group_snapshot.c makes states durable and moves them, group_node.c turns updates of raft into work
 * for those three and has the state machine, group.c drives all nodes and checks commits.
 */
#ifndef VARVE_SIM_RAFT_GROUP_INTERNAL_H
#define VARVE_SIM_RAFT_GROUP_INTERNAL_H

#include "base/assert.h"
#include "sim/raft/group.h"

#include <stdlib.h>

typedef unsigned long long ull;

/* Does not return. */
void group_fail(struct group *c, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#define DEMAND(c, cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond))                                                                               \
            group_fail(c, __VA_ARGS__);                                                            \
    } while (0)

static inline void *must(void *p)
{
    ASSERT(p);
    return p;
}

/* Room for n + 1 items of `size` bytes in the array `v`, which may move. */
static inline void *room(void *v, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap ? *cap * 2 : 16;
    return must(realloc(v, *cap * size));
}

void disk_write(struct node *n, const struct raft_update *u); /* not durable yet */
void disk_sync(struct node *n, size_t ops);    /* the first `ops` writes are durable */
void disk_forget(struct disk *d, size_t from); /* writes not synced, from that one on */
void disk_void(struct disk *d, uint64_t from); /* entries at and behind an index */
/* Is the entry on disk, or in the durable state? It may have rotted since it was acknowledged. */
bool disk_has(const struct node *n, uint64_t index, uint64_t term);

bool net_lost(struct group *c, uint64_t from, uint64_t to);
void net_send(struct node *n, const struct raft_msg *m);

void snapshot_make(struct node *n);
void snapshot_give_chunk(struct node *n);
void snapshot_install(struct node *n);

/* What a leader takes for committed is on the disks, now, of a majority of the configuration that is
 * in force, or was until this very step. */
void group_check_commits(struct group *c, struct node *n);

#endif
