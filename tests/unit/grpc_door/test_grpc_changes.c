/* varve.v1.Changes.Watch, deadlines, cancelling and the server's end, through a real socket. */
#include "door_world.h"

#include <stdio.h>
#include <time.h>

static void start(struct tcall *t, struct door_world *w, const Varve__V1__WatchRequest *m,
                  uint64_t timeout_ms)
{
    tcall_start(t, w, "varve.v1.Changes/Watch", timeout_ms, &varve__v1__watch_response__descriptor);
    tcall_say(t, &m->base, true);
}

/* The next message that has changes; heartbeats are passed over. */
static Varve__V1__WatchResponse *changes(struct tcall *t)
{
    Varve__V1__WatchResponse *r;
    do
        r = tcall_hear(t);
    while (r && r->n_changes == 0);
    return r;
}

static uint64_t watchers(struct door_world *w)
{
    struct store_stats s;
    store_stats(w->db.store, &s);
    return s.watchers;
}

static void until_watchers(struct door_world *w, uint64_t n)
{
    for (int i = 0; i < 2000 && watchers(w) != n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
    assert_int_equal(watchers(w), n);
}

static void changes_come_once_each(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    door_start(&w, NULL);
    (void)put_raw(&w, "c", "before", "0");
    m.collection = (char *)(uintptr_t) "c";
    m.values = true;
    start(&t, &w, &m, 0);
    Varve__V1__WatchResponse *r = tcall_hear(&t); /* at once, so that nothing is missed from here */
    assert_int_equal(r->n_changes, 0);
    assert_true(r->resume_token[0]);
    (void)put_raw(&w, "other", "k", "x");
    Varve__V1__Version *v = put_raw(&w, "c", "k", "one");
    r = changes(&t);
    assert_int_equal(r->n_changes, 1);
    assert_string_equal(r->changes[0]->collection, "c");
    assert_true(bytes_eq(pb_bytes(r->changes[0]->record->key), BYTES_LIT("k")));
    assert_int_equal(r->changes[0]->record->version->hlc, v->hlc);
    assert_true(bytes_eq(pb_bytes(r->changes[0]->record->value->raw), BYTES_LIT("one")));
    char *token = r->resume_token;
    (void)put_raw(&w, "c", "k", "two");
    r = changes(&t);
    assert_int_equal(r->changes[0]->record->parent->hlc, v->hlc);
    tcall_cancel(&t);
    until_watchers(&w, 0);

    /* From the token on, without values, until now. */
    (void)put_raw(&w, "c", "k", "three");
    m.resume_token = token;
    m.values = false;
    m.until_now = true;
    start(&t, &w, &m, 0);
    size_t n = 0;
    while ((r = tcall_hear(&t)))
        for (size_t i = 0; i < r->n_changes; i++, n++) {
            assert_null(r->changes[i]->record->value);
            assert_string_equal(r->changes[i]->record->writer, "");
        }
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(n, 2);

    /* From the beginning, all collections, a limit. */
    m = (Varve__V1__WatchRequest)VARVE__V1__WATCH_REQUEST__INIT;
    m.start = VARVE__V1__WATCH_REQUEST__START__START_BEGINNING;
    m.limit = 3;
    start(&t, &w, &m, 0);
    for (n = 0; (r = tcall_hear(&t));)
        n += r->n_changes;
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(n, 3);
    door_stop(&w);
}

enum { BATCHES = 3, IN_BATCH = 5, ROWS = BATCHES * IN_BATCH };

static void put_batches(struct door_world *w)
{
    char keys[IN_BATCH][8];
    Varve__V1__Value empty = VARVE__V1__VALUE__INIT;
    empty.kind_case = VARVE__V1__VALUE__KIND_RAW;
    for (int b = 0; b < BATCHES; b++) {
        Varve__V1__BatchWriteRequest m = VARVE__V1__BATCH_WRITE_REQUEST__INIT;
        Varve__V1__BatchWriteRequest__Operation op[IN_BATCH], *ops[IN_BATCH];
        for (int i = 0; i < IN_BATCH; i++) {
            ops[i] = &op[i];
            varve__v1__batch_write_request__operation__init(&op[i]);
            snprintf(keys[i], sizeof keys[i], "%02d", b * IN_BATCH + i);
            op[i].collection = (char *)(uintptr_t) "c";
            op[i].key = data_of(keys[i]);
            op[i].action_case = VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT;
            op[i].put = &empty;
        }
        m.operations = ops;
        m.n_operations = IN_BATCH;
        assert_code(ask(w, "varve.v1.KV/BatchWrite", &m.base,
                        &varve__v1__batch_write_response__descriptor, NULL),
                    GRPC_OK);
    }
}

/* The rows behind `from` are those from number `first` on; their tokens go to ret_tokens, those of their
 * messages to ret_places. */
static void rows_from(struct door_world *w, char *from, size_t first, uint32_t page_rows,
                      char **ret_tokens, char **ret_places)
{
    struct tcall t;
    const Varve__V1__WatchResponse *r;
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    m.collection = (char *)(uintptr_t) "c";
    m.start = VARVE__V1__WATCH_REQUEST__START__START_BEGINNING;
    m.resume_token = from;
    m.until_now = true;
    m.page_rows = page_rows;
    start(&t, w, &m, 0);
    while ((r = tcall_hear(&t)))
        for (size_t i = 0; i < r->n_changes; i++, first++) {
            char key[8];
            snprintf(key, sizeof key, "%02zu", first);
            assert_true(first < ROWS);
            assert_true(bytes_eq(pb_bytes(r->changes[i]->record->key), BYTES_STR(key)));
            ret_tokens[first] = r->changes[i]->resume_token;
            ret_places[first] =
                i + 1 == r->n_changes ? r->resume_token : r->changes[i]->resume_token;
        }
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(first, ROWS);
}

/* Each change is a place to go on from, in the middle of a batch and of a message too; and each message. */
static void a_watch_goes_on_behind_any_change(void **state)
{
    (void)state;
    struct door_world w;
    char *tokens[ROWS], *again[ROWS], *places[ROWS], *unused[ROWS];
    door_start(&w, NULL);
    put_batches(&w);
    rows_from(&w, (char *)(uintptr_t) "", 0, 4, tokens, places);
    for (size_t i = 0; i < ROWS; i++) {
        rows_from(&w, places[i], i + 1, (uint32_t)(i % 4), again, unused);
        rows_from(&w, tokens[i], i + 1, (uint32_t)(i % 4), again, unused);
        for (size_t k = i + 1; k < ROWS; k++)
            assert_string_equal(again[k], tokens[k]);
    }
    door_stop(&w);
}

static uint64_t rows_read(struct door_world *w)
{
    struct store_stats s;
    store_stats(w->db.store, &s);
    return s.changes_read;
}

/* The token of the last message of a watch of c, of which there are `n` changes behind `from`. */
static char *place_behind(struct door_world *w, char *from, size_t n, bool until_now)
{
    struct tcall t;
    const Varve__V1__WatchResponse *r;
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    char *token = NULL;
    m.collection = (char *)(uintptr_t) "c";
    m.start = VARVE__V1__WATCH_REQUEST__START__START_BEGINNING;
    m.resume_token = from;
    m.heartbeat_ms = 100;
    m.page_rows = 1;
    m.until_now = until_now;
    start(&t, w, &m, 0);
    for (bool beat = false; !beat && (r = tcall_hear(&t));) {
        token = r->resume_token;
        assert_true(r->n_changes <= n);
        n -= r->n_changes;
        beat = !until_now && r->n_changes == 0 && n == 0;
    }
    assert_int_equal(n, 0);
    if (until_now)
        assert_code(tcall_end(&t), GRPC_OK);
    else
        tcall_cancel(&t);
    until_watchers(w, 0);
    return token;
}

/* Of heartbeats, and of the last message of a watch that ends: who comes back reads nothing again. */
static void places_move_over_what_is_held_back(void **state)
{
    (void)state;
    enum { NOISE = 200 };
    for (int until_now = 0; until_now < 2; until_now++) {
        struct door_world w;
        door_start(&w, NULL);
        (void)put_raw(&w, "c", "k", "1");
        for (int i = 0; i < NOISE; i++)
            (void)put_raw(&w, "other", "k", "x");
        char *token = place_behind(&w, (char *)(uintptr_t) "", 1, until_now);
        assert_true(rows_read(&w) >= 1 + NOISE);
        uint64_t before = rows_read(&w);
        token = place_behind(&w, token, 0, until_now);
        assert_int_equal(rows_read(&w), before);
        (void)put_raw(&w, "other", "k", "x");
        (void)put_raw(&w, "c", "k", "2");
        (void)place_behind(&w, token, 1, until_now);
        assert_int_equal(rows_read(&w), before + 2);
        door_stop(&w);
    }
}

static void heartbeats_deadlines_and_bad_requests(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    door_start(&w, NULL);
    m.heartbeat_ms = 100;
    start(&t, &w, &m, 0);
    for (int i = 0; i < 3; i++) {
        Varve__V1__WatchResponse *r = tcall_hear(&t);
        assert_true(r && r->n_changes == 0 && r->resume_token[0]);
    }
    tcall_cancel(&t);
    start(&t, &w, &m, 250);
    struct ended e = tcall_end(&t);
    assert_code(e, GRPC_DEADLINE_EXCEEDED);
    m.heartbeat_ms = 1;
    start(&t, &w, &m, 0);
    e = tcall_end(&t);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "heartbeat_ms");
    m.heartbeat_ms = 0;
    m.resume_token = (char *)(uintptr_t) "nonsense";
    start(&t, &w, &m, 0);
    assert_code(tcall_end(&t), GRPC_INVALID_ARGUMENT);
    m.resume_token = (char *)(uintptr_t) "";
    m.prefix = data_of("p");
    start(&t, &w, &m, 0);
    e = tcall_end(&t);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "prefix");
    until_watchers(&w, 0);
    door_stop(&w);
}

static void watchers_hear_of_the_servers_end(void **state)
{
    (void)state;
    enum { N = 20 };
    struct door_world w;
    struct tcall t[N];
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    door_start(&w, NULL);
    for (int i = 0; i < N; i++) {
        start(&t[i], &w, &m, 0);
        assert_non_null(tcall_hear(&t[i]));
    }
    door_stop_server(&w);
    for (int i = 0; i < N; i++) {
        struct ended e = tcall_end(&t[i]);
        assert_code(e, GRPC_UNAVAILABLE);
        assert_string_equal(e.reason, "CLOSED");
        assert_true(e.retry_ms > 0);
    }
    assert_int_equal(watchers(&w), 0);
    door_stop(&w);
}

/* Much is written while nobody reads: the watcher catches up, and every write is told once. */
static void a_slow_watcher_catches_up(void **state)
{
    (void)state;
    enum { N = 3000 };
    static char value[4000];
    struct door_world w;
    struct tcall t;
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    struct err err;
    door_start(&w, NULL);
    m.values = true;
    m.limit = N;
    start(&t, &w, &m, 0);
    assert_non_null(tcall_hear(&t));
    for (uint32_t i = 0; i < N; i++) {
        struct version v;
        struct command_put p = {.collection = BYTES_LIT("c"),
                                .key = BYTES(&i, sizeof i),
                                .value = {COMMAND_RAW, BYTES(value, sizeof value)}};
        assert_int_equal(command_put(&w.db, &p, &v, &err), ST_OK);
    }
    Varve__V1__WatchResponse *r;
    uint32_t next = 0;
    while ((r = tcall_hear(&t)))
        for (size_t i = 0; i < r->n_changes; i++, next++)
            assert_memory_equal(r->changes[i]->record->key.data, &next, sizeof next);
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(next, N);
    door_stop(&w);
}

/* One write wakes more watchers than the pool takes: all of them hear of it, none is cut off. */
static void a_herd_of_watchers_hears(void **state)
{
    (void)state;
    enum { N = 100 };
    struct door_world w;
    static struct tcall t[N];
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    door_start_with(&w, NULL, &(struct work_options){.threads = 1, .queue_max = 4});
    for (int i = 0; i < N; i++) {
        start(&t[i], &w, &m, 0);
        assert_non_null(tcall_hear(&t[i]));
    }
    (void)put_raw(&w, "c", "k", "v");
    for (int i = 0; i < N; i++) {
        Varve__V1__WatchResponse *r = changes(&t[i]);
        assert_true(r && r->n_changes == 1);
        tcall_cancel(&t[i]);
    }
    until_watchers(&w, 0);
    door_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_come_once_each),
        cmocka_unit_test(a_watch_goes_on_behind_any_change),
        cmocka_unit_test(places_move_over_what_is_held_back),
        cmocka_unit_test(heartbeats_deadlines_and_bad_requests),
        cmocka_unit_test(watchers_hear_of_the_servers_end),
        cmocka_unit_test(a_slow_watcher_catches_up),
        cmocka_unit_test(a_herd_of_watchers_hears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
