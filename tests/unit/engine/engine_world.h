/* engine_world.h - an engine in a folder beside its model, fed the same at random. */
#ifndef VARVE_TESTS_ENGINE_WORLD_H
#define VARVE_TESTS_ENGINE_WORLD_H

#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/engine/model_engine.h"
#include "unit/engine/suite_engine.h"

enum { RANGE = 7, KEYS = 24, POOL = 8 << 20, FILL = 1 << 20 };

struct world {
    struct test_rng rng;
    char dir[TEMP_DIR_MAX];
    struct engine *e;
    struct model m;
    uint8_t *pool; /* keys, values and writers live here to the end */
    size_t pool_used;
    struct bytes keys[KEYS];
    uint64_t clock, index;
    bool big;
    bool cut_vacuum;
    uint8_t *fill; /* what big values are made of */
};

#define check_ok(st, err)                                                                          \
    do {                                                                                           \
        enum status check_st = (st);                                                               \
        if (check_st != ST_OK)                                                                     \
            fail_msg("%s: %s", status_name(check_st), (err)->detail);                              \
    } while (0)

/* A fresh folder, the engine of suite_backend and an empty model. */
void world_init(struct world *w, uint64_t seed);
void world_deinit(struct world *w);
void reopen(struct world *w);

/* Of the pool, so they stay to the end. */
struct bytes pool_bytes(struct world *w, size_t n);
struct bytes random_bytes(struct world *w, size_t n);

struct write {
    struct bytes key;
    struct record rec;
};

/* n writes with rising versions, some sharing one; keys of one version differ. */
void make_writes(struct world *w, struct write *list, size_t n);
struct table *make_table(const struct write *list, size_t n);
/* The same as tables upon one another, parted where a version ends, some of them spilled. */
struct table *make_stack(struct world *w, const struct write *list, size_t n);
void model_apply(struct world *w, const struct write *list, size_t n,
                 const struct engine_mark *mark);
/* The mark of the next drain. */
struct engine_mark next_mark(struct world *w);

/* To the engine and the model, which must agree on what it did. */
void drain_random(struct world *w, size_t n);
void vacuum_random(struct world *w);
struct engine_vacuum random_vacuum(struct world *w);

/* Everything that can be read, and that verify finds nothing, against the model. */
void check_all(struct world *w);
void check_snapshot(struct world *w, struct engine_snapshot *s, const struct model *m);
void check_clean(struct world *w);
/* An engine's finding, as a failure of the test. */
void report(void *arg, const struct engine_finding *f);

#endif
