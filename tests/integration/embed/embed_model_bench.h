/* embed_model_bench.h - a folder and its model side by side, and what is done to both.
 *
 * Owns: iterators and watches that stay open between steps. Promises: the check_ functions leave the
 * folder and the model as they are; the do_ functions change both alike. A difference fails the test.
 * Threads: one.
 */
#ifndef VARVE_TESTS_EMBED_MODEL_BENCH_H
#define VARVE_TESTS_EMBED_MODEL_BENCH_H

#include "embed_model.h"
#include "embed_util.h"

enum { HELD = 5, WATCHES = 4, HELD_ROWS = 64, TOKEN_MAX = 1200 };

struct held_row {
    char key[MODEL_KEY_MAX];
    size_t key_len, value_len;
    varve_version version;
    bool del;
    uint64_t sum; /* of the value's bytes */
};
struct held { /* an iterator, and what it must deliver whatever happens */
    varve_iter *it;
    struct held_row *rows;
    size_t n, next;
};

struct watcher {
    varve_watch *w;
    int name; /* -1: all */
    bool prefixed;
    int seen;  /* rows of the model looked at */
    int event; /* until when */
};

struct bench {
    struct world *w;
    struct model m;
    struct test_rng rng;
    struct held held[HELD];
    struct watcher watchers[WATCHES];
    int step;
};

static inline uint64_t below(struct bench *b, uint64_t n)
{
    return test_rng_below(&b->rng, n);
}

/* ---- embed_model_reads.c ---- */

struct moment {
    varve_at at;
    int event;
    bool named;
    char name[8];
};
/* A moment whose state the model knows; NULL: the present. */
const varve_at *some_moment(struct bench *b, struct moment *t);
/* May a read of a key at a moment be refused? By age as one collection, by count as one key; key -1:
 * any. */
bool may_refuse(const struct bench *b, int home, int key, int event);
/* What was delivered is the put of that row. */
void expect_row(struct bench *b, int row, varve_bytes value, varve_type type, varve_version version,
                varve_bytes writer);
void check_get(struct bench *b);
void check_get_many(struct bench *b);
void check_scan(struct bench *b);
void check_history_of(struct bench *b, int name, int key);
void check_lists(struct bench *b); /* of collections and of snapshots */
/* Opens an iterator that is to stay, and notes all that it must deliver. */
void hold(struct bench *b, struct held *h);
/* Steps it at most so often; at its end it is closed. */
void held_on(struct bench *b, struct held *h, size_t most);

/* ---- embed_model_feed.c ---- */

void check_changes(struct bench *b);
/* Opens what the watcher tells; from now where the token is too old. */
void watch_from(struct bench *b, struct watcher *w, const char *token);
void watch_anew(struct bench *b, struct watcher *w);
void watch_on(struct bench *b, struct watcher *w); /* takes some changes */

/* ---- embed_model_writes.c ---- */

void do_put(struct bench *b, bool cas);
void do_delete(struct bench *b);
void do_restore(struct bench *b);
void do_batch(struct bench *b);
void do_drop(struct bench *b);
void do_snapshot(struct bench *b);
void do_retention(struct bench *b);
void do_vacuum(struct bench *b);

#endif
