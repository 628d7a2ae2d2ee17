/* rocks_absent.c - stands in where the build left RocksDB out. */
#include "storage/engine/engine.h"

bool engine_rocks_built(void)
{
    return false;
}

enum status engine_rocks_open(struct env *env, const char *dir, const struct engine_options *o,
                              struct engine **ret, struct err *err)
{
    (void)env, (void)o, (void)ret;
    return err_set(err, ST_UNIMPLEMENTED, "%s: this build has no RocksDB (VARVE_ROCKS is off)",
                   dir);
}
