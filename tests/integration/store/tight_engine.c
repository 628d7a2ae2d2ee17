#include "tight_engine.h"

struct tight_engine tight;

static struct engine_ops ops;
static const struct engine_ops *real;

static enum status drain(struct engine *e, uint64_t range, const struct table *t,
                         const struct engine_mark *mark, struct err *err)
{
    tight.hurried += atomic_load(tight.hurry);
    if (tight.full)
        return err_set(err, ST_DISK_FULL, "no room for a table");
    return real->drain(e, range, t, mark, err);
}

enum status tight_open(struct env *env, const char *dir, const struct engine_options *o,
                       struct engine **ret, struct err *err)
{
    enum status st = engine_mem_open(env, dir, o, ret, err);
    if (st != ST_OK)
        return st;
    tight.hurry = o->hurry;
    real = (*ret)->ops;
    ops = *real;
    ops.drain = drain;
    (*ret)->ops = &ops;
    return ST_OK;
}
