/* cluster_internal.h - what the parts of the cluster of cluster.h share: nothing for the tests.
 *
 * cluster_disk.c keeps entries, cluster_net.c carries messages and holds what leaves against the disk,
 * cluster_snapshot.c makes states durable and moves them, cluster_node.c turns updates of raft into work
 * for those three and has the state machine, cluster.c drives all nodes and checks commits.
 */
#ifndef VARVE_TESTS_RAFT_CLUSTER_INTERNAL_H
#define VARVE_TESTS_RAFT_CLUSTER_INTERNAL_H

#include "support/cmocka.h"
#include "unit/raft/cluster.h"

#include <stdlib.h>

typedef unsigned long long ull;

#define DEMAND(c, cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            print_error("step %llu: ", (ull)(c)->steps);                                           \
            print_error(__VA_ARGS__);                                                              \
            print_error("\n");                                                                     \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

static inline void *must(void *p)
{
    assert_non_null(p);
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

bool net_lost(struct cluster *c, uint64_t from, uint64_t to);
void net_send(struct node *n, const struct raft_msg *m);

void snapshot_make(struct node *n);
void snapshot_give_chunk(struct node *n);
void snapshot_install(struct node *n);

/* What a leader takes for committed is on the disks, now, of a majority of the configuration that is
 * in force, or was until this very step. */
void cluster_check_commits(struct cluster *c, struct node *n);

#endif
