/* sim_copy.c - what a power cut now would surely leave, as a world of its own. */
#include "sim/env/sim_internal.h"

#include <stdio.h>

/* `now`: with the names as they are; else as they are durable. */
static void copy_folder(struct sim *to, struct sim_inode *parent, const struct sim_inode *from,
                        bool now)
{
    const struct sim_entries *names = now ? &from->entries : &from->durable_entries;
    for (size_t i = 0; i < names->len; i++) {
        const struct sim_entry *e = &names->at[i];
        struct sim_inode *child = sim__inode_new(to, e->inode->folder);
        struct sim_place at = {.parent = parent};
        (void)snprintf(at.name, sizeof at.name, "%s", e->name);
        sim__file_surely(e->inode, &child->now);
        sim__image_copy(&child->durable, &child->now);
        sim__name_add(to, &at, child);
        if (child->folder)
            copy_folder(to, child, e->inode, now);
    }
}

struct env *sim_env_durable(struct env *e)
{
    struct sim *from = sim_of(e);
    struct env *copy = sim_env_new(&(struct sim_options){.seed = 1});
    bool now = false;
    /* Where a sync of names once failed, what was synced since lies behind it in the list: then the
     * names of now are taken, of which some might go. */
    list_foreach (it, &from->name_ops)
        now |= container_of(it, struct sim_name_op, link)->must;
    copy_folder(sim_of(copy), sim_of(copy)->root, from->root, now);
    return copy;
}
