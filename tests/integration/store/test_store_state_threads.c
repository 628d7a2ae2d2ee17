/* States taken in while others read: a writer's store goes on, its states are installed one after the
 * other in a second store, and whoever reads there sees each of them whole, or an older one, and never
 * goes back. Both engines, on real files; under ThreadSanitizer mem alone. */
#include "base/env/thread.h"
#include "base/log.h"
#include "node/store/state.h"
#include "node/store/store_internal.h"
#include "support/cmocka.h"
#include "support/tempdir.h"
#include <stdio.h>

enum { KEYS = 24, INSTALLS = 8, VALUE = 400 };

struct node {
    char dir[TEMP_DIR_MAX];
    struct store *s;
    struct collection *c;
    uint32_t id;
};
struct fixture {
    struct node from, to;
    _Atomic bool stop;
    _Atomic unsigned failures;
    _Atomic uint64_t reads, scans;
};

#define EXPECT(f, cond)                                                                            \
    ((cond) ? (void)0                                                                              \
            : (void)(atomic_fetch_add(&(f)->failures, 1),                                          \
                     fprintf(stderr, "line %d: %s\n", __LINE__, #cond)))

static void open_it(struct node *n, const char *engine, store_engine_open_fn fn)
{
    struct err err;
    err_init(&err);
    assert_true(temp_dir_make(n->dir, "state"));
    struct store_options o = {.engine_name = engine,
                              .engine_open = fn,
                              .cache_bytes = 1 << 20,
                              .table_bytes = 128 * 1024,
                              .absent_misses = 50,
                              .absent_slice = 20,
                              .wal = {.segment_bytes = 1 << 20},
                              .sync = STORE_SYNC_OFF};
    enum status st = store_open(env_linux(), n->dir, &o, &n->s, &err);
    if (st != ST_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(store_collection_open(n->s, BYTES_LIT("t"), BYTES_EMPTY, &n->c, &err), ST_OK);
    n->id = collection_id(n->c);
}

static void close_it(struct node *n)
{
    struct err err;
    err_init(&err);
    enum status st = store_close(n->s, &err);
    if (st != ST_OK)
        fail_msg("%s", err.detail);
    assert_true(temp_dir_remove(n->dir));
}

static struct bytes key_of(const struct node *n, unsigned i, uint8_t out[8])
{
    route_put(out, n->id);
    out[4] = (uint8_t)i;
    return BYTES(out, 5);
}

/* All keys in one batch, with the same number. */
static void write_round(struct node *n, uint64_t no)
{
    static uint8_t value[VALUE];
    uint8_t keys[KEYS][8];
    struct entry_op ops[KEYS];
    struct store_write w = {0};
    struct err err;
    err_init(&err);
    memcpy(value, &no, sizeof no);
    for (unsigned i = 0; i < KEYS; i++)
        ops[i] = (struct entry_op){
            .key = key_of(n, i, keys[i]), .kind = RECORD_PUT, .value = BYTES(value, sizeof value)};
    assert_int_equal(entry_encode(ops, KEYS, BYTES_EMPTY, &w.entry, &err), ST_OK);
    assert_int_equal(store_propose(n->s, &w, &err), ST_OK);
    blob_unref(w.entry);
}

static uint64_t number_of(struct bytes value)
{
    uint64_t no = 0;
    if (value.len == VALUE)
        memcpy(&no, value.data, sizeof no);
    return no;
}

/* One by one, always forward; and with a key that is never there. */
static void get_on(void *arg)
{
    struct fixture *f = arg;
    struct buf buf = BUF_INIT;
    struct err err;
    uint64_t last = 0;
    err_init(&err);
    for (unsigned i = 0; !atomic_load(&f->stop); i++) {
        uint8_t space[8];
        struct record rec;
        enum status st =
            store_get(f->to.s, key_of(&f->to, i % KEYS, space), VERSION_NONE, &buf, &rec, &err);
        EXPECT(f, st == ST_OK || (st == ST_NOT_FOUND && last == 0));
        if (st != ST_OK)
            continue;
        EXPECT(f, number_of(rec.value) >= last);
        last = number_of(rec.value);
        EXPECT(f, store_get(f->to.s, key_of(&f->to, KEYS + 1, space), VERSION_NONE, &buf, &rec,
                            &err) == ST_NOT_FOUND);
        atomic_fetch_add(&f->reads, 1);
    }
    buf_deinit(&buf);
}

/* Each scan sees one state, also when another one takes over in its middle; and the moment it was made
 * at answers the same later. */
static void scan_on(void *arg)
{
    struct fixture *f = arg;
    uint8_t lower[4], upper[4];
    uint64_t last = 0;
    struct err err;
    err_init(&err);
    route_put(lower, f->to.id);
    route_put(upper, f->to.id + 1);
    while (!atomic_load(&f->stop)) {
        struct store_scan q = {.in = {BYTES(lower, 4), BYTES(upper, 4)}};
        struct store_iter *it;
        struct store_row row;
        uint64_t no = 0, n = 0;
        int rc;
        EXPECT(f, store_scan(f->to.s, &q, &it, &err) == ST_OK);
        while ((rc = store_iter_next(it, &row, &err)) > 0) {
            EXPECT(f, n == 0 || number_of(row.rec.value) == no);
            no = number_of(row.rec.value);
            if (++n == KEYS / 2)
                env_sleep_ms(env_linux(), 1);
        }
        store_iter_close(it);
        EXPECT(f, rc == 0 && (n == KEYS || (n == 0 && last == 0)));
        EXPECT(f, no >= last);
        last = no;
        atomic_fetch_add(&f->scans, 1);
    }
}

/* Statistics, verification and compaction hold on to the engine they began with. */
static void care(void *arg)
{
    struct fixture *f = arg;
    struct store_stats stats;
    struct err err;
    err_init(&err);
    while (!atomic_load(&f->stop)) {
        store_stats(f->to.s, &stats);
        EXPECT(f, store_verify(f->to.s, NULL, NULL, NULL, &err) == ST_OK);
        env_sleep_ms(env_linux(), 2);
    }
}

static enum status receive(struct fixture *f, struct err *err)
{
    struct store_state *out;
    struct store_incoming *in;
    struct engine_mark mark;
    struct buf chunk = BUF_INIT;
    bool last = false;
    uint64_t at = 0;
    enum status st = store_incoming_begin(f->to.s, &in, err);
    if (st != ST_OK)
        return st;
    st = store_state_pin(f->from.s, &out, err);
    while (st == ST_OK && !last) {
        st = store_state_read(out, at, 30000, &chunk, &last, err);
        if (st == ST_OK)
            st = store_incoming_append(in, at, buf_bytes(&chunk), err);
        at += chunk.len;
    }
    store_state_release(out);
    if (st == ST_OK)
        st = store_incoming_build(in, &mark, err);
    if (st == ST_OK)
        st = store__lead_begin(f->to.s, err);
    if (st == ST_OK) {
        st = store_incoming_install(in, false, err);
        store__lead_end(f->to.s);
    }
    store_incoming_end(in);
    buf_deinit(&chunk);
    return st;
}

static void run(const char *engine, store_engine_open_fn fn)
{
    struct fixture f = {0};
    struct err err;
    err_init(&err);
    open_it(&f.to, engine, fn);
    open_it(&f.from, engine, fn);
    void (*const roles[])(void *) = {get_on, get_on, scan_on, care};
    enum { ROLES = sizeof roles / sizeof *roles };
    struct env_thread threads[ROLES];
    for (size_t i = 0; i < ROLES; i++)
        assert_int_equal(env_thread_start(&threads[i], "test", roles[i], &f, &err), ST_OK);
    uint64_t no = 1;
    for (unsigned i = 0; i < INSTALLS; i++) {
        for (int k = 0; k < 30; k++)
            write_round(&f.from, no++);
        assert_int_equal(store_checkpoint(f.from.s, &err), ST_OK);
        enum status st;
        while ((st = receive(&f, &err)) == ST_OVERLOADED) /* readers of the one before */
            env_sleep_ms(env_linux(), 1);
        if (st != ST_OK)
            fail_msg("%s: %s", status_name(st), err.detail);
        env_sleep_ms(env_linux(), 10);
    }
    atomic_store(&f.stop, true);
    for (size_t i = 0; i < ROLES; i++)
        env_thread_join(&threads[i]);
    assert_int_equal(f.failures, 0);
    assert_true(f.reads > 0 && f.scans > 0);
    uint8_t space[8];
    struct buf buf = BUF_INIT;
    struct record rec;
    assert_int_equal(store_get(f.to.s, key_of(&f.to, 0, space), VERSION_NONE, &buf, &rec, &err),
                     ST_OK);
    assert_int_equal(number_of(rec.value), no - 1);
    buf_deinit(&buf);
    assert_int_equal(store_verify(f.to.s, NULL, NULL, NULL, &err), ST_OK);
    print_message("%s: %llu gets and %llu scans beside %d installations\n", engine,
                  (unsigned long long)f.reads, (unsigned long long)f.scans, INSTALLS);
    close_it(&f.from);
    close_it(&f.to);
}

static void mem_engine(void **state)
{
    (void)state;
    run("mem", engine_mem_open);
}

static void rocks_engine(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* the library was not built for it */
#else
    if (!engine_rocks_built())
        skip();
    run("rocks", engine_rocks_open);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem_engine),
        cmocka_unit_test(rocks_engine),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
