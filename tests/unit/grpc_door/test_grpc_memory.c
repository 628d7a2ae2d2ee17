/* Each allocation that a call makes on the server fails in turn: the call answers so, the server goes
 * on and gives back what it charged. Where memory fails under HTTP/2 itself the connection is cut. The gate stands at both ends of a call, so it sets and ends the
 * failing, while the client waits in poll and allocates nothing. */
#include "base/alloc.h"
#include "door_world.h"

#include <stdio.h>
#include <unistd.h>

static _Atomic uint64_t failing, hits;
static _Atomic int inside; /* calls between the gate's two ends */

static enum status gate_open(void *arg, struct request *q, void **ret_who, struct err *err)
{
    (void)arg;
    (void)q;
    (void)err;
    *ret_who = &failing;
    inside++;
    mem_fail_at(failing, 0);
    return ST_OK;
}
static void gate_close(void *arg, void *who)
{
    (void)arg;
    (void)who;
    mem_fail_at(0, 0);
    hits = mem_fail_hits();
    inside--;
}

/* What every call is given: collection "c" as field 1, key "k" as field 2, and more. */
static const struct {
    const char *method;
    const char *request;
    size_t len;
    bool stream;
} calls[] = {
#define CALL(method, request, stream)                                                              \
    {                                                                                              \
        "varve.v1." method, request, sizeof(request) - 1, stream                                   \
    }
    CALL("KV/Get",
         "\x0a\x01"
         "c\x12\x01k\x20\x02",
         false),
    CALL("KV/Put",
         "\x0a\x01"
         "c\x12\x01k\x1a\x04\x1a\x02{}",
         false),
    CALL("KV/BatchGet",
         "\x0a\x06\x0a\x01"
         "c\x12\x01k\x18\x02",
         false),
    CALL("KV/BatchWrite",
         "\x0a\x0b\x0a\x01"
         "c\x12\x01k\x1a\x03\x0a\x01v",
         false),
    CALL("KV/CompareAndSet",
         "\x0a\x01"
         "c\x12\x01k\x22\x03\x0a\x01v",
         false), /* fails: there is one */
    CALL("KV/Scan",
         "\x0a\x01"
         "c\x48\x02",
         true),
    CALL("KV/History",
         "\x0a\x01"
         "c\x12\x01k\x20\x02",
         true),
    CALL("Changes/Watch", "\x18\x01\x28\x02\x48\x01", true),
    CALL("Admin/ListCollections", "", false),
    CALL("Admin/GetStats", "", false),
    CALL("Admin/Verify", "", true),
#undef CALL
};

static enum grpc_code one(struct door_world *w, size_t i)
{
    /* All answers are read as a message without fields: what is in them is not the point. */
    struct tcall t;
    hits = 0;
    tcall_start(&t, w, calls[i].method, 0, &varve__v1__sync_response__descriptor);
    assert_int_equal(grpc_send(&t.call, BYTES(calls[i].request, calls[i].len), true), ST_OK);
    enum grpc_code code = tcall_end(&t).code;
    while (inside) /* only where the connection was cut */
        (void)usleep(100);
    return code;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const struct grpc_gate gate = {.open = gate_open, .close = gate_close};
    struct door_world w;
    door_start(&w, &gate);
    w.may_cut = true;
    (void)put_json(&w, "c", "k", "{\"a\": 1}");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        failing = 0;
        enum grpc_code usual = one(&w, i);
        assert_true(usual == GRPC_OK || usual == GRPC_FAILED_PRECONDITION);
        uint64_t refused = 0;
        for (failing = 1; failing < 300; failing++) {
            w.cut = false;
            enum grpc_code code = one(&w, i);
            if (hits == 0 && !w.cut && code == usual)
                break;
            refused += w.cut || code != usual;
            if (!w.cut && code != usual && code != GRPC_RESOURCE_EXHAUSTED && code != GRPC_INTERNAL)
                fail_msg("%s, allocation %d: %s", calls[i].method, (int)failing,
                         grpc_code_name(code));
        }
        assert_true(failing < 300 && refused > 0);
        failing = 0;
        assert_int_equal(one(&w, i), usual);
    }
    door_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
