/* story.h - what the stories of a small cluster share: one at a time, in `c`. */
#ifndef VARVE_TESTS_RAFT_STORY_H
#define VARVE_TESTS_RAFT_STORY_H

#include "sim/raft/group.h"
#include "support/cmocka.h"

extern struct group *c;
void begin(unsigned n, unsigned voters, const struct raft_options *o);
void end(void);
struct node *at(unsigned store);
struct node *other(const struct node *not_this, const struct node *nor_this);
uint64_t put(struct node *n); /* proposed by it; its index */
void everyone_has(uint64_t index);

#endif
