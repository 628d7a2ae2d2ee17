/* What holds for calls of any service: how many messages they take, and what their refusals name. */
#include "door_world.h"

#include "base/env/env.h"

/* Neither half of two writes is done, and neither is a call without a message taken for an empty one. */
static void one_message_is_what_a_call_takes(void **state)
{
    (void)state;
    static const char *const methods[] = {"varve.v1.KV/Put", "varve.v1.Admin/Sync",
                                          "varve.v1.Changes/Watch"};
    struct door_world w;
    struct tcall t;
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    Varve__V1__GetRequest g = VARVE__V1__GET_REQUEST__INIT;
    m.collection = g.collection = (char *)(uintptr_t) "c";
    m.key = g.key = data_of("k");
    m.value = &v;
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = data_of("value");
    door_start(&w, NULL);
    (void)put_raw(&w, "c", "other", "value");
    tcall_start(&t, &w, methods[0], 0, &varve__v1__put_response__descriptor);
    tcall_say(&t, &m.base, false);
    tcall_say(&t, &m.base, true);
    struct ended e = tcall_end(&t);
    assert_code(e, GRPC_UNIMPLEMENTED);
    assert_string_equal(e.reason, "UNIMPLEMENTED");
    assert_string_equal(e.field, "");
    assert_code(ask(&w, "varve.v1.KV/Get", &g.base, &varve__v1__get_response__descriptor, NULL),
                GRPC_NOT_FOUND);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        tcall_start(&t, &w, methods[i], 0, &varve__v1__put_response__descriptor);
        assert_int_equal(grpc_send_end(&t.call), ST_OK);
        assert_code(tcall_end(&t), GRPC_UNIMPLEMENTED);
    }
    door_stop(&w);
}

static void what_expires_does_so_by_the_year_9999(void **state)
{
    (void)state;
    struct door_world w;
    struct ended e;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__WriteOptions options = VARVE__V1__WRITE_OPTIONS__INIT;
    door_start(&w, NULL);
    m.collection = (char *)(uintptr_t) "c";
    m.key = data_of("k");
    /* RFC 3339 can write no later time. */
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = data_of("value");
    m.value = &v;
    m.options = &options;
    options.ttl_ms = COMMAND_EXPIRES_MAX;
    e = ask(&w, "varve.v1.KV/Put", &m.base, &varve__v1__put_response__descriptor, NULL);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "options.ttl_ms");
    options.ttl_ms = COMMAND_EXPIRES_MAX - env_now_ms(w.db.env) - 60000;
    e = ask(&w, "varve.v1.KV/Put", &m.base, &varve__v1__put_response__descriptor, NULL);
    assert_int_equal(e.code, GRPC_OK);
    door_stop(&w);
}

static Varve__V1__At *at_time(struct door_world *w, uint64_t ms)
{
    Varve__V1__At *at = arena_alloc(&w->arena, sizeof *at);
    varve__v1__at__init(at);
    at->moment_case = VARVE__V1__AT__MOMENT_TIME_UNIX_MS;
    at->time_unix_ms = ms;
    return at;
}

static void a_moment_to_come_is_named(void **state)
{
    (void)state;
    struct door_world w;
    struct ended e;
    Varve__V1__GetRequest g = VARVE__V1__GET_REQUEST__INIT;
    Varve__V1__DiffRequest d = VARVE__V1__DIFF_REQUEST__INIT;
    door_start(&w, NULL);
    Varve__V1__At *to_come = at_time(&w, 32472144000000), *past = at_time(&w, 1);
    (void)put_json(&w, "c", "k", "{}");
    g.collection = d.collection = (char *)(uintptr_t) "c";
    g.key = d.key = data_of("k");
    g.at = to_come;
    e = ask(&w, "varve.v1.KV/Get", &g.base, &varve__v1__get_response__descriptor, NULL);
    assert_code(e, GRPC_OUT_OF_RANGE);
    assert_string_equal(e.field, "at");
    static const char *const fields[] = {"older", "newer"};
    for (int newer = 0; newer < 2; newer++) {
        d.older = newer ? past : to_come;
        d.newer = newer ? to_come : NULL;
        e = ask(&w, "varve.v1.KV/Diff", &d.base, &varve__v1__diff_response__descriptor, NULL);
        assert_code(e, GRPC_OUT_OF_RANGE);
        assert_string_equal(e.field, fields[newer]);
    }
    door_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_is_what_a_call_takes),
        cmocka_unit_test(what_expires_does_so_by_the_year_9999),
        cmocka_unit_test(a_moment_to_come_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
