/* embed_util.h - what the tests of the library share: a folder, an engine, short calls with
 * strings.
 *
 * Every test opens with `db_open` and ends with `db_end`, which verifies the folder before it
 * closes.
 */
#ifndef VARVE_TESTS_EMBED_UTIL_H
#define VARVE_TESTS_EMBED_UTIL_H

#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"
#include "varve/varve.h"

#include <stdlib.h>
#include <string.h>

struct world {
    const char *engine;
    char dir[TEMP_DIR_MAX];
    char folder[TEMP_DIR_MAX + 8];
    varve_options o; /* of the next opening */
    varve *db;
    varve_value *v;
};

extern const char *test_engine; /* "mem" or "rocks" */
int world_setup(void **state);
int world_teardown(void **state);
/* Runs the group once for each engine; the arguments are names of engines. */
#define RUN_ON(tests, ...)                                                                         \
    run_on((tests), sizeof(tests) / sizeof((tests)[0]), (const char *const[]){__VA_ARGS__, NULL})
int run_on(const struct CMUnitTest *tests, size_t n, const char *const *engines);
#define WORLD_TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

void db_open(struct world *w);
void db_close(struct world *w);
void db_reopen(struct world *w);
void db_verify(struct world *w);
void db_end(struct world *w); /* verifies and closes */

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        varve_status st_ = (call);                                                                 \
        if (st_ != VARVE_OK)                                                                       \
            fail_msg("%s: %s: %s", #call, varve_status_name(st_), varve_last_error());             \
    } while (0)
/* The status, and that the message contains `part`. */
#define assert_fails(call, status, part)                                                           \
    do {                                                                                           \
        varve_status st_ = (call);                                                                 \
        if (st_ != (status) || !strstr(varve_last_error(), (part)))                                \
            fail_msg("%s: %s: %s (wanted %s and \"%s\")", #call, varve_status_name(st_),           \
                     varve_last_error(), varve_status_name(status), (part));                       \
    } while (0)

varve_version put(struct world *w, const char *collection, const char *key, const char *value);
varve_version put_json(struct world *w, const char *collection, const char *key, const char *json);
varve_version del(struct world *w, const char *collection, const char *key);
void expect(struct world *w, const char *collection, const char *key, const varve_at *at,
            const char *value); /* NULL: absent */
varve_at at_version(varve_version v);
varve_at at_time(uint64_t ms);
varve_at at_snapshot(const char *name);
bool same_version(varve_version a, varve_version b);
bool bytes_are(varve_bytes b, const char *text);
uint64_t clock_ms(void);
void nap_ms(unsigned ms);

#endif
