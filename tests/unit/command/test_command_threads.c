/* Pages beside writers, checkpoints and vacuums: money moves between accounts in batches, and every
 * scan by pages sees all of it, whenever its pages come. */
#include "base/env/fiber.h"
#include "base/env/thread.h"
#include "serve/command/command.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { ACCOUNTS = 40, EACH = 100, SCANS = 40, WRITERS = 2 };

struct world {
    struct command_db db;
    _Atomic bool stop;
    _Atomic uint64_t moved, sums, overtaken;
};
struct worker {
    struct world *w;
    uint64_t seed;
    struct env_thread thread;
};

static struct bytes account(int i, char out[8])
{
    return BYTES(out, (size_t)snprintf(out, 8, "%03d", i));
}

static int read_account(struct world *w, int i, struct version *ret)
{
    char key[8];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    struct command_get c = {.collection = BYTES_LIT("money"), .key = account(i, key)};
    if (command_get(&w->db, &c, &buf, &rec, &err) != ST_OK || !buf_cstr(&buf))
        abort();
    int n = atoi((const char *)buf.data);
    *ret = rec.version;
    buf_deinit(&buf);
    return n;
}

static void add(struct command_batch *b, int i, int n, struct version was)
{
    char key[8], value[16];
    struct err err;
    struct command_value v = {COMMAND_RAW,
                              BYTES(value, (size_t)snprintf(value, sizeof(value), "%d ", n))};
    struct bytes k = account(i, key);
    if (command_batch_put(b, BYTES_LIT("money"), k, v, 0, &err) != ST_OK ||
        command_batch_require(b, BYTES_LIT("money"), k, command_expect(was), &err) != ST_OK)
        abort();
}

static void move_money(void *arg)
{
    struct worker *me = arg;
    struct test_rng r;
    struct command_batch *b = command_batch_new();
    test_rng_init(&r, me->seed);
    while (!atomic_load(&me->w->stop)) {
        struct version from_was, to_was, v;
        struct err err;
        int from = (int)test_rng_below(&r, ACCOUNTS), to = (int)test_rng_below(&r, ACCOUNTS);
        if (from == to)
            continue;
        int has = read_account(me->w, from, &from_was), had = read_account(me->w, to, &to_was);
        int n = (int)test_rng_below(&r, (uint64_t)has + 1);
        command_batch_clear(b);
        add(b, from, has - n, from_was);
        add(b, to, had + n, to_was);
        enum status st = command_commit(&me->w->db, b, NULL, &v, NULL, &err);
        if (st == ST_OK)
            atomic_fetch_add(&me->w->moved, 1);
        else if (st != ST_PRECONDITION_FAILED)
            abort();
    }
    command_batch_free(b);
}

static void keep_house(void *arg)
{
    struct worker *me = arg;
    struct err err;
    while (!atomic_load(&me->w->stop)) {
        if (store_checkpoint(me->w->db.store, &err) != ST_OK ||
            command_vacuum(&me->w->db, BYTES_LIT("money"), NULL, NULL, NULL, &err) != ST_OK)
            abort();
        env_sleep_ms(me->w->db.env, 20);
    }
}

static int take(void *arg, const struct command_row *row, struct err *err)
{
    char text[16] = {0};
    (void)err;
    memcpy(text, row->rec.value.data, row->rec.value.len < 15 ? row->rec.value.len : 15);
    *(int *)arg += atoi(text);
    return 1;
}

static void scan_by_pages(struct world *w, struct test_rng *r)
{
    struct buf token = BUF_INIT;
    struct command_page_end end = {.more = true};
    struct command_scan c = {.collection = BYTES_LIT("money"),
                             .options.reverse = test_rng_chance(r, 1, 2)};
    struct err err;
    int total = 0;
    uint32_t rows = 0;
    enum status st = ST_OK;
    bool first = true;
    while (end.more) {
        struct command_page p = {.max_rows = (uint32_t)test_rng_between(r, 1, 12),
                                 .token = buf_bytes(&token)};
        st = command_scan_page(&w->db, &c, &p, take, &total, &end, &token, &err);
        if (st != ST_OK)
            break;
        first = false;
        rows += end.rows;
        env_sleep_ms(w->db.env, test_rng_below(r, 3));
    }
    if (st == ST_OK) {
        assert_int_equal(rows, ACCOUNTS);
        assert_int_equal(total, ACCOUNTS * EACH);
        atomic_fetch_add(&w->sums, 1);
    } else if (st == ST_BELOW_HORIZON && !first) {
        atomic_fetch_add(&w->overtaken, 1);
    } else {
        fail_msg("page: %s: %s", status_name(st), err.detail);
    }
    buf_deinit(&token);
}

static void every_scan_sees_all_the_money(void **state)
{
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct world w = {.db = {.env = env_linux(), .writer = BYTES_EMPTY}};
    struct worker workers[WRITERS + 1];
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine_mem_open,
                              .sync = STORE_SYNC_OFF,
                              .cache_bytes = 1 << 20};
    struct collection_settings keep = {.max_age_ms = 100};
    struct test_rng r;
    struct err err;
    struct version v;
    (void)state;
    test_rng_init(&r, 1);
    assert_true(temp_dir_make(dir, "pages"));
    snprintf(folder, sizeof(folder), "%s/db", dir);
    assert_int_equal(store_open(w.db.env, folder, &o, &w.db.store, &err), ST_OK);
    struct command_batch *b = command_batch_new();
    for (int i = 0; i < ACCOUNTS; i++)
        add(b, i, EACH, VERSION_NONE);
    assert_int_equal(command_commit(&w.db, b, NULL, &v, NULL, &err), ST_OK);
    command_batch_free(b);
    assert_int_equal(command_retention_set(&w.db, BYTES_LIT("money"), &keep, &err), ST_OK);
    for (int i = 0; i <= WRITERS; i++) {
        workers[i] = (struct worker){.w = &w, .seed = (uint64_t)i};
        assert_int_equal(env_thread_start(&workers[i].thread, "worker",
                                          i < WRITERS ? move_money : keep_house, &workers[i], &err),
                         ST_OK);
    }
    for (int i = 0; i < SCANS; i++)
        scan_by_pages(&w, &r);
    atomic_store(&w.stop, true);
    for (int i = 0; i <= WRITERS; i++)
        env_thread_join(&workers[i].thread);
    assert_true(atomic_load(&w.moved) > 0 && atomic_load(&w.sums) > 0);
    assert_int_equal(store_close(w.db.store, &err), ST_OK);
    assert_true(temp_dir_remove(dir));
}

/* ---- fibers ---- */

enum { FIBERS = 60, ROUNDS = 10, HOSTS = 2 };

static void count_up(struct world *w)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    char text[16];
    struct command_get g = {.collection = BYTES_LIT("n"), .key = BYTES_LIT("counter")};
    struct command_put p = {.collection = g.collection, .key = g.key};
    for (;;) {
        struct version seen = VERSION_NONE;
        int n = 0;
        if (command_get_cached(&w->db, &g, &buf, &rec, &err) == ST_OK && buf_cstr(&buf)) {
            n = atoi((const char *)buf.data);
            seen = rec.version;
        }
        p.value.data = BYTES(text, (size_t)snprintf(text, sizeof(text), "%d ", n + 1));
        p.require = command_expect(seen);
        enum status st = command_put(&w->db, &p, &seen, &err);
        if (st == ST_OK)
            break;
        if (st != ST_PRECONDITION_FAILED)
            abort();
        fiber_yield();
    }
    buf_deinit(&buf);
}

/* A document as deep as may be: the checks of arguments run on a fiber's small stack. */
static void put_deep(struct world *w)
{
    char json[8 * (DOC_MAX_DEPTH - 1) + 16];
    size_t n = 0;
    struct err err;
    struct version v;
    for (int i = 0; i < DOC_MAX_DEPTH - 1; i++, n += 5)
        memcpy(json + n, "{\"a\":", 5);
    n += (size_t)snprintf(json + n, 4, "{}");
    memset(json + n, '}', DOC_MAX_DEPTH - 1);
    struct command_put p = {.collection = BYTES_LIT("n"),
                            .key = BYTES_LIT("deep"),
                            .value = {COMMAND_JSON, BYTES(json, n + DOC_MAX_DEPTH - 1)}};
    if (command_put(&w->db, &p, &v, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.detail);
        abort();
    }
}

static void work_on_a_fiber(void *arg)
{
    struct worker *me = arg;
    for (int i = 0; i < ROUNDS; i++) {
        count_up(me->w);
        if (i % 5 == 0)
            put_deep(me->w);
    }
}

static void host_fibers(void *arg)
{
    struct err err;
    struct fiber_sched *s = fiber_sched_new(FIBERS, FIBER_STACK_DEFAULT, &err);
    if (!s)
        abort();
    for (int i = 0; i < FIBERS; i++)
        if (fiber_spawn(s, work_on_a_fiber, arg, &err) != ST_OK)
            abort();
    while (fiber_sched_alive(s) > 0)
        if (fiber_sched_run(s) == 0)
            env_sleep_ms(env_linux(), 1);
    fiber_sched_free(s);
}

static void fibers_use_the_verbs(void **state)
{
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct world w = {.db = {.env = env_linux(), .writer = BYTES_EMPTY}};
    struct worker hosts[HOSTS];
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine_mem_open,
                              .sync = STORE_SYNC_OFF,
                              .cache_bytes = 1 << 20};
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    (void)state;
    assert_true(temp_dir_make(dir, "fibers"));
    snprintf(folder, sizeof(folder), "%s/db", dir);
    assert_int_equal(store_open(w.db.env, folder, &o, &w.db.store, &err), ST_OK);
    for (int i = 0; i < HOSTS; i++) {
        hosts[i] = (struct worker){.w = &w};
        assert_int_equal(env_thread_start(&hosts[i].thread, "host", host_fibers, &hosts[i], &err),
                         ST_OK);
    }
    for (int i = 0; i < HOSTS; i++)
        env_thread_join(&hosts[i].thread);
    struct command_get g = {.collection = BYTES_LIT("n"), .key = BYTES_LIT("counter")};
    assert_int_equal(command_get(&w.db, &g, &buf, &rec, &err), ST_OK);
    assert_int_equal(atoi(buf_cstr(&buf)), HOSTS * FIBERS * ROUNDS);
    buf_deinit(&buf);
    assert_int_equal(store_close(w.db.store, &err), ST_OK);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scan_sees_all_the_money),
        cmocka_unit_test(fibers_use_the_verbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
