/* A thousand idle watchers, each blocked in a thread of its own, use no CPU; then one write reaches
 * every one of them, and the rest are cancelled. */
#include "limits_util.h"

#include <pthread.h>
#include <sys/resource.h>

enum { WATCHERS_FULL = 1000, WATCHERS_QUICK = 50 };

struct watcher {
    varve_watch *watch;
    pthread_t thread;
    int rows;
    int last;
    _Atomic bool got;
};

static void *wait_for_change(void *arg)
{
    struct watcher *me = arg;
    const varve_iter *row;
    while ((me->last = varve_watch_next(me->watch, -1, &row)) == 1) {
        me->rows += bytes_are(varve_iter_key(row), "news");
        me->got = true;
    }
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void idle_watchers(void **state)
{
    struct world *w = *state;
    int n = limits_full ? WATCHERS_FULL : WATCHERS_QUICK;
    struct watcher *watchers = calloc((size_t)n, sizeof(*watchers));
    pthread_attr_t attr;
    assert_non_null(watchers);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
    db_open(w);
    put(w, "c", "old", "1");
    for (int i = 0; i < n; i++) {
        assert_ok(varve_watch_open(w->db, "now", NULL, &watchers[i].watch));
        assert_int_equal(pthread_create(&watchers[i].thread, &attr, wait_for_change, &watchers[i]),
                         0);
    }
    varve_stats st = {.size = sizeof(st)};
    assert_ok(varve_get_stats(w->db, &st));
    assert_int_equal(st.watchers, n);
    nap_ms(1000); /* until all of them wait */
    double before = cpu_seconds();
    nap_ms(limits_full ? 2000 : 200);
    double used = cpu_seconds() - before;
    print_message("  %d idle watchers used %.4f s of CPU in %s\n", n, used,
                  limits_full ? "2 s" : "0.2 s");
    if (limits_full)
        assert_true(used < 0.1);
    put(w, "c", "news", "2");
    for (int i = 0; i < n; i++)
        while (!watchers[i].got)
            nap_ms(1);
    for (int i = 0; i < n; i++)
        varve_watch_cancel(watchers[i].watch);
    for (int i = 0; i < n; i++) {
        assert_int_equal(pthread_join(watchers[i].thread, NULL), 0);
        assert_int_equal(watchers[i].rows, 1);
        assert_int_equal(watchers[i].last, 0);
        varve_watch_close(watchers[i].watch);
    }
    pthread_attr_destroy(&attr);
    free(watchers);
    db_end(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(idle_watchers)};
    limits_begin(argc, argv);
    return RUN_ON(tests, "rocks");
}
