/* engine_reads.c - the reading operations, which are the same over every view. */
#include "storage/engine/engine_view.h"

enum status engine_snapshot_get(struct engine *e, struct engine_snapshot *s, struct bytes key,
                                struct version at, bool cache_only, struct record *ret,
                                struct engine_pin *ret_pin, struct err *err)
{
    (void)e;
    return engine_view_get(engine_snapshot_view(s), key, at, cache_only, ret, ret_pin, err);
}

enum status engine_snapshot_scan(struct engine *e, struct engine_snapshot *s,
                                 const struct engine_scan *q, struct engine_iter **ret,
                                 struct err *err)
{
    (void)e;
    return engine_view_scan(engine_snapshot_view(s), q, ret, err);
}

enum status engine_snapshot_history(struct engine *e, struct engine_snapshot *s, struct bytes key,
                                    struct version from, struct engine_iter **ret, struct err *err)
{
    (void)e;
    return engine_view_history(engine_snapshot_view(s), key, from, ret, err);
}

enum status engine_snapshot_changes(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                    struct version after, struct bytes after_key,
                                    struct engine_iter **ret, struct err *err)
{
    (void)e;
    return engine_view_changes(engine_snapshot_view(s), range, after, after_key, ret, err);
}

enum status engine_snapshot_export_open(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                        const struct engine_interval *in,
                                        struct engine_export **ret, struct err *err)
{
    (void)e;
    return engine_view_export_open(engine_snapshot_view(s), range, in, ret, err);
}

enum status engine_snapshot_export(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                   const struct engine_interval *in, engine_export_fn fn, void *arg,
                                   struct err *err)
{
    (void)e;
    return engine_view_export(engine_snapshot_view(s), range, in, fn, arg, err);
}
