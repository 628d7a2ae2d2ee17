#include "story.h"

#include <stdlib.h>

struct group *c;

void begin(unsigned n, unsigned voters, const struct raft_options *o)
{
    c = calloc(1, sizeof *c);
    assert_non_null(c);
    group_init(c, 42, n, voters, o);
}

void end(void)
{
    group_deinit(c);
    free(c);
}

struct node *at(unsigned store)
{
    return &c->nodes[store];
}

struct node *other(const struct node *not_this, const struct node *nor_this)
{
    for (unsigned s = 1; s <= c->n; s++)
        if (at(s) != not_this && at(s) != nor_this)
            return at(s);
    return NULL;
}

uint64_t put(struct node *n)
{
    uint64_t index = 0;
    assert_true(node_propose(n, &index));
    return index;
}

void everyone_has(uint64_t index)
{
    for (unsigned s = 1; s <= c->n; s++)
        assert_true(at(s)->applied >= index);
}
