/* What tests and the simulator set in a world, and what they look at in it. */
#include "sim/env/sim_env.h"

#include "sim/env/sim_internal.h"

#include <stdlib.h>

/* --- what happens from now on --- */

void sim_set_faults(struct env *e, const struct sim_faults *f)
{
    struct sim *s = sim_of(e);
    s->faults = *f;
    s->ops_at_faults = s->ops;
}

void sim_set_disk_bytes(struct env *e, uint64_t bytes)
{
    sim_of(e)->options.disk_bytes = bytes;
}

void sim_advance_to_ns(struct env *e, uint64_t ns)
{
    struct sim *s = sim_of(e);
    if (ns > s->mono_ns)
        s->mono_ns = ns;
}

void sim_set_wall_ms(struct env *e, uint64_t ms)
{
    struct sim *s = sim_of(e);
    s->wall_offset_ms = ms - s->mono_ns / 1000000; /* modulo 2^64 when that lies before the start */
}

uint64_t sim_ops(struct env *e)
{
    return sim_of(e)->ops;
}

uint64_t sim_syncs_since_lie(struct env *e)
{
    return sim_of(e)->lies ? sim_of(e)->syncs_since_lie : UINT64_MAX;
}

/* --- files from outside --- */

static struct sim_inode *file_at(struct sim *s, const char *path)
{
    struct sim_place at;
    if (sim__find(s, path, &at, NULL) || !at.inode || at.inode->folder)
        return NULL;
    return at.inode;
}

bool sim_flip_bit(struct env *e, const char *path, uint64_t offset, unsigned bit)
{
    struct sim_inode *f = file_at(sim_of(e), path);
    if (!f || offset >= f->now.size || bit > 7)
        return false;
    sim__file_flip(f, offset, bit);
    return true;
}

bool sim_file(struct env *e, const char *path, struct bytes *ret)
{
    struct sim_inode *f = file_at(sim_of(e), path);
    if (!f)
        return false;
    size_t size = (size_t)f->now.size;
    if (!f->flat_valid) {
        free(f->flat);
        f->flat = sim__alloc(size);
        sim__image_read(&f->now, 0, f->flat, size);
        f->flat_valid = true;
    }
    *ret = BYTES(f->flat, size);
    return true;
}

uint64_t sim_digest(struct env *e)
{
    return sim__names_hash(sim_of(e));
}
