/* suite_engine.h - the conformance suite: what every engine is held to. */
#ifndef VARVE_TESTS_SUITE_ENGINE_H
#define VARVE_TESTS_SUITE_ENGINE_H

#include "storage/engine/engine_testing.h"

struct backend {
    const char *name;
    uint64_t seeds;
    enum status (*open)(struct env *env, const char *dir, const struct engine_options *o,
                        struct engine **ret, struct err *err);
    enum status (*raw)(struct engine *e, enum engine_family f, struct bytes key,
                       const struct bytes *value, struct err *err);
    void (*fail_step)(struct engine *e, int n); /* NULL: a commit is never half there */
};
extern const struct backend suite_backend;

int suite_setup(void **state); /* for the group */
void suite_random(void **state);
void suite_half_drains(void **state);
void suite_cut_vacuum(void **state);
void suite_changes_order(void **state);
void suite_long_history(void **state);
void suite_large(void **state);
void suite_move(void **state);
void suite_copy(void **state);
void suite_refusals(void **state);
void suite_no_memory(void **state);
void suite_verify_planted(void **state);
void suite_verify_random(void **state);

#endif
