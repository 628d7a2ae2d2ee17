/* Everything at once against a naive model: writes of every kind, drops, snapshots, retention and
 * vacuum, reads of the present and of the past, iterators and watches that live through all of it.
 *
 * A refusal (BELOW_HORIZON) is right only where the model says that something may be gone; any other
 * answer must be the model's. */
#include "embed_model_bench.h"

#include <stdio.h>

enum { STEPS = 260 };

static void close_all(struct bench *b, char tokens[WATCHES][TOKEN_MAX])
{
    for (int i = 0; i < HELD; i++)
        held_on(b, &b->held[i], HELD_ROWS + 1);
    for (int i = 0; i < WATCHES; i++) {
        assert_true(strlen(varve_watch_token(b->watchers[i].w)) < TOKEN_MAX);
        strcpy(tokens[i], varve_watch_token(b->watchers[i].w));
        varve_watch_close(b->watchers[i].w);
    }
}

static void do_reopen(struct bench *b)
{
    static char tokens[WATCHES][TOKEN_MAX];
    close_all(b, tokens);
    if (below(b, 3) == 0)
        db_verify(b->w);
    db_reopen(b->w);
    for (int i = 0; i < WATCHES; i++)
        watch_from(b, &b->watchers[i], tokens[i]);
}

static void do_something(struct bench *b)
{
    switch (below(b, 34)) {
    case 0:
        do_drop(b);
        break;
    case 1:
    case 2:
        do_snapshot(b);
        break;
    case 3:
        do_retention(b);
        break;
    case 4:
        do_vacuum(b);
        break;
    case 5:
        assert_ok(varve_checkpoint(b->w->db));
        break;
    case 6:
        do_reopen(b);
        break;
    case 7:
    case 8:
        do_restore(b);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        do_delete(b);
        break;
    case 13:
    case 14:
    case 15:
    case 16:
        do_batch(b);
        break;
    case 17:
    case 18:
    case 19:
    case 20:
        do_put(b, true);
        break;
    case 21:
        nap_ms((unsigned)below(b, 12));
        break;
    case 22:
        assert_ok(varve_compact(b->w->db));
        break;
    default:
        do_put(b, false);
    }
}

static void look_around(struct bench *b)
{
    for (int i = 0; i < 8; i++)
        check_get(b);
    check_get_many(b);
    check_scan(b);
    check_history_of(b, (int)below(b, MODEL_NAMES), (int)below(b, MODEL_KEYS));
    if (below(b, 6) == 0)
        check_changes(b);
    if (below(b, 10) == 0)
        check_lists(b);
    watch_on(b, &b->watchers[below(b, WATCHES)]);
    struct held *h = &b->held[below(b, HELD)];
    if (h->it)
        held_on(b, h, 1 + below(b, 4));
    else
        hold(b, h);
}

static void check_all(struct bench *b)
{
    check_lists(b);
    for (int name = 0; name < MODEL_NAMES; name++)
        for (int key = 0; key < MODEL_KEYS; key++)
            check_history_of(b, name, key);
    for (int i = 0; i < 300; i++)
        check_get(b);
    for (int i = 0; i < 60; i++)
        check_scan(b);
    for (int i = 0; i < 8; i++)
        check_changes(b);
}

static void does_as_the_model(void **state)
{
    struct world *w = *state;
    char folder[sizeof(w->folder)];
    memcpy(folder, w->folder, sizeof(folder));
    uint64_t seed;
    FOR_EACH_SEED(seed, 6)
    {
        static char tokens[WATCHES][TOKEN_MAX];
        struct bench *b = calloc(1, sizeof(*b));
        assert_non_null(b);
        b->w = w;
        test_rng_init(&b->rng, seed);
        snprintf(w->folder, sizeof(w->folder), "%.400s/%llu", w->dir, (unsigned long long)seed);
        db_open(w);
        for (int i = 0; i < WATCHES; i++)
            watch_anew(b, &b->watchers[i]);
        for (b->step = 0; b->step < STEPS; b->step++) {
            do_something(b);
            look_around(b);
        }
        check_all(b);
        close_all(b, tokens);
        db_reopen(w);
        check_all(b);
        db_end(w);
        free(b);
    }
    memcpy(w->folder, folder, sizeof(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(does_as_the_model)};
    return RUN_ON(tests, "mem", "rocks");
}
