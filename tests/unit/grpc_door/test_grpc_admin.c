/* varve.v1.Admin, health and reflection through a real socket. */
#include "door_world.h"

#include <stdio.h>

#define ASK(w, method, m, name, ret)                                                               \
    ask(w, "varve.v1.Admin/" method, &(m).base, &varve__v1__##name##_response__descriptor,         \
        (void **)(ret))

static void collections_snapshots_retention(void **state)
{
    (void)state;
    struct door_world w;
    void *ret;
    door_start(&w, NULL);
    Varve__V1__Version *first = put_raw(&w, "users", "k", "v");
    (void)put_raw(&w, "orders", "k", "v");
    (void)put_raw(&w, "users", "k", "w");

    Varve__V1__ListCollectionsRequest list = VARVE__V1__LIST_COLLECTIONS_REQUEST__INIT;
    Varve__V1__ListCollectionsResponse *listed;
    list.page_size = 1;
    assert_code(ASK(&w, "ListCollections", list, list_collections, &listed), GRPC_OK);
    assert_int_equal(listed->n_collections, 1);
    assert_string_equal(listed->collections[0]->name, "orders");
    assert_true(listed->collections[0]->created->hlc > 0);
    list.page_token = listed->next_page_token;
    list.page_size = 0;
    assert_code(ASK(&w, "ListCollections", list, list_collections, &listed), GRPC_OK);
    assert_int_equal(listed->n_collections, 1);
    assert_string_equal(listed->collections[0]->name, "users");
    assert_string_equal(listed->next_page_token, "");
    list.page_token = (char *)(uintptr_t) "nonsense";
    struct ended e = ASK(&w, "ListCollections", list, list_collections, &listed);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "page_token");
    list.page_token = (char *)(uintptr_t) "";
    list.page_size = 100001;
    e = ASK(&w, "ListCollections", list, list_collections, &listed);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "page_size");

    Varve__V1__SetRetentionRequest set = VARVE__V1__SET_RETENTION_REQUEST__INIT;
    Varve__V1__Retention retention = VARVE__V1__RETENTION__INIT;
    Varve__V1__GetRetentionRequest get = VARVE__V1__GET_RETENTION_REQUEST__INIT;
    Varve__V1__GetRetentionResponse *got;
    set.collection = get.collection = (char *)(uintptr_t) "users";
    e = ASK(&w, "SetRetention", set, set_retention, &ret);
    assert_string_equal(e.field, "retention");
    set.retention = &retention;
    retention.max_age_ms = 1000;
    retention.max_count = 7;
    assert_code(ASK(&w, "SetRetention", set, set_retention, &ret), GRPC_OK);
    assert_code(ASK(&w, "GetRetention", get, get_retention, &got), GRPC_OK);
    assert_int_equal(got->retention->max_age_ms, 1000);
    assert_int_equal(got->retention->max_count, 7);
    get.collection = (char *)(uintptr_t) "none";
    assert_code(ASK(&w, "GetRetention", get, get_retention, &got), GRPC_NOT_FOUND);

    Varve__V1__CreateSnapshotRequest create = VARVE__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    Varve__V1__CreateSnapshotResponse *created;
    Varve__V1__At at = VARVE__V1__AT__INIT;
    create.name = (char *)(uintptr_t) "then";
    at.moment_case = VARVE__V1__AT__MOMENT_VERSION;
    at.version = first;
    create.at = &at;
    assert_code(ASK(&w, "CreateSnapshot", create, create_snapshot, &created), GRPC_OK);
    assert_string_equal(created->snapshot->name, "then");
    assert_int_equal(created->snapshot->version->hlc, first->hlc);
    assert_code(ASK(&w, "CreateSnapshot", create, create_snapshot, &created), GRPC_ALREADY_EXISTS);
    Varve__V1__ListSnapshotsRequest snapshots = VARVE__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Varve__V1__ListSnapshotsResponse *named;
    assert_code(ASK(&w, "ListSnapshots", snapshots, list_snapshots, &named), GRPC_OK);
    assert_int_equal(named->n_snapshots, 1);
    assert_int_equal(named->snapshots[0]->version->hlc, first->hlc);
    Varve__V1__DeleteSnapshotRequest forget = VARVE__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    forget.name = (char *)(uintptr_t) "then";
    assert_code(ASK(&w, "DeleteSnapshot", forget, delete_snapshot, &ret), GRPC_OK);
    assert_code(ASK(&w, "DeleteSnapshot", forget, delete_snapshot, &ret), GRPC_NOT_FOUND);

    Varve__V1__DropCollectionRequest drop = VARVE__V1__DROP_COLLECTION_REQUEST__INIT;
    drop.collection = (char *)(uintptr_t) "orders";
    assert_code(ASK(&w, "DropCollection", drop, drop_collection, &ret), GRPC_OK);
    assert_code(ASK(&w, "DropCollection", drop, drop_collection, &ret), GRPC_NOT_FOUND);
    door_stop(&w);
}

static void care(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    void *ret;
    char key[16];
    door_start(&w, NULL);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "k%d", i % 50);
        (void)put_raw(&w, "c", key, "value");
    }
    Varve__V1__SyncRequest sync = VARVE__V1__SYNC_REQUEST__INIT;
    Varve__V1__CheckpointRequest checkpoint = VARVE__V1__CHECKPOINT_REQUEST__INIT;
    Varve__V1__CompactRequest compact = VARVE__V1__COMPACT_REQUEST__INIT;
    assert_code(ASK(&w, "Sync", sync, sync, &ret), GRPC_OK);
    assert_code(ASK(&w, "Checkpoint", checkpoint, checkpoint, &ret), GRPC_OK);
    assert_code(ASK(&w, "Compact", compact, compact, &ret), GRPC_OK);

    Varve__V1__GetStatsRequest figures = VARVE__V1__GET_STATS_REQUEST__INIT;
    Varve__V1__GetStatsResponse *stats;
    assert_code(ASK(&w, "GetStats", figures, get_stats, &stats), GRPC_OK);
    assert_true(stats->stats->writes >= 200);
    assert_true(stats->stats->checkpoints >= 1);
    assert_int_equal(stats->stats->collections, 1);
    assert_true(stats->stats->newest->hlc > 0);
    assert_false(stats->stats->poisoned);

    Varve__V1__VerifyRequest verify = VARVE__V1__VERIFY_REQUEST__INIT;
    Varve__V1__VerifyResponse *v, *last = NULL;
    tcall_start(&t, &w, "varve.v1.Admin/Verify", 0, &varve__v1__verify_response__descriptor);
    tcall_say(&t, &verify.base, true);
    while ((v = tcall_hear(&t)))
        last = v;
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(last->event_case, VARVE__V1__VERIFY_RESPONSE__EVENT_RESULT);
    assert_int_equal(last->result->findings, 0);

    Varve__V1__SetRetentionRequest set = VARVE__V1__SET_RETENTION_REQUEST__INIT;
    Varve__V1__Retention retention = VARVE__V1__RETENTION__INIT;
    set.collection = (char *)(uintptr_t) "c";
    set.retention = &retention;
    retention.max_count = 1;
    assert_code(ASK(&w, "SetRetention", set, set_retention, &ret), GRPC_OK);
    Varve__V1__VacuumRequest vacuum = VARVE__V1__VACUUM_REQUEST__INIT;
    Varve__V1__VacuumResponse *vr, *vlast = NULL;
    tcall_start(&t, &w, "varve.v1.Admin/Vacuum", 0, &varve__v1__vacuum_response__descriptor);
    tcall_say(&t, &vacuum.base, true);
    while ((vr = tcall_hear(&t)))
        vlast = vr;
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(vlast->event_case, VARVE__V1__VACUUM_RESPONSE__EVENT_RESULT);
    assert_int_equal(vlast->result->versions_removed, 150);
    vacuum.collection = (char *)(uintptr_t) "none";
    tcall_start(&t, &w, "varve.v1.Admin/Vacuum", 0, &varve__v1__vacuum_response__descriptor);
    tcall_say(&t, &vacuum.base, true);
    assert_code(tcall_end(&t), GRPC_NOT_FOUND);

    Varve__V1__GetTopologyRequest where = VARVE__V1__GET_TOPOLOGY_REQUEST__INIT;
    Varve__V1__GetTopologyResponse *topology;
    assert_code(ASK(&w, "GetTopology", where, get_topology, &topology), GRPC_OK);
    assert_int_equal(topology->n_nodes, 1);
    assert_string_equal(topology->nodes[0]->address, "test:7878");
    assert_string_equal(topology->nodes[0]->software_version, "1.2.3");
    assert_true(topology->nodes[0]->answering);
    assert_true(topology->nodes[0]->leader);
    assert_string_equal(topology->cluster, "");
    assert_int_equal(topology->leader, 0);
    assert_true(topology->applied_index > 0);
    door_stop(&w);
}

static void health(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    Grpc__Health__V1__HealthCheckRequest m = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *r;
    static const char *const services[] = {"", "varve.v1.KV", "varve.v1.Changes", "varve.v1.Admin"};
    door_start(&w, NULL);
    for (size_t i = 0; i < 4; i++) {
        m.service = (char *)(uintptr_t)services[i];
        assert_code(ask(&w, "grpc.health.v1.Health/Check", &m.base,
                        &grpc__health__v1__health_check_response__descriptor, (void **)&r),
                    GRPC_OK);
        assert_int_equal(r->status,
                         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    }
    m.service = (char *)(uintptr_t) "no.Such";
    assert_code(ask(&w, "grpc.health.v1.Health/Check", &m.base,
                    &grpc__health__v1__health_check_response__descriptor, (void **)&r),
                GRPC_NOT_FOUND);
    tcall_start(&t, &w, "grpc.health.v1.Health/Watch", 0,
                &grpc__health__v1__health_check_response__descriptor);
    tcall_say(&t, &m.base, true);
    r = tcall_hear(&t);
    assert_int_equal(r->status,
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN);
    tcall_cancel(&t);
    m.service = (char *)(uintptr_t) "varve.v1.KV";
    tcall_start(&t, &w, "grpc.health.v1.Health/Watch", 0,
                &grpc__health__v1__health_check_response__descriptor);
    tcall_say(&t, &m.base, true);
    r = tcall_hear(&t);
    assert_int_equal(r->status, GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    door_stop_server(&w);
    r = tcall_hear(&t);
    assert_int_equal(r->status,
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
    assert_code(tcall_end(&t), GRPC_UNAVAILABLE);
    door_stop(&w);
}

typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;
#define Q(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define A(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static answer *reflect(struct tcall *t, uint32_t which, const char *text)
{
    question q = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    *(uint32_t *)(void *)&q.message_request_case = which;
    q.list_services = (char *)(uintptr_t)text; /* all of the strings lie there */
    q.host = (char *)(uintptr_t) "h";
    tcall_say(t, &q.base, false);
    answer *a = tcall_hear(t);
    assert_non_null(a);
    assert_string_equal(a->valid_host, "h");
    assert_int_equal(a->original_request->message_request_case, which);
    return a;
}

static void reflection_as(struct door_world *w, const char *method)
{
    struct tcall t;
    tcall_start(&t, w, method, 0, &grpc__reflection__v1__server_reflection_response__descriptor);
    answer *a = reflect(&t, Q(LIST_SERVICES), "*");
    assert_int_equal(a->message_response_case, A(LIST_SERVICES_RESPONSE));
    assert_int_equal(a->list_services_response->n_service, 6);
    bool kv = false;
    for (size_t i = 0; i < 6; i++)
        kv = kv || strcmp(a->list_services_response->service[i]->name, "varve.v1.KV") == 0;
    assert_true(kv);
    a = reflect(&t, Q(FILE_CONTAINING_SYMBOL), "varve.v1.KV.Get");
    assert_int_equal(a->message_response_case, A(FILE_DESCRIPTOR_RESPONSE));
    assert_int_equal(a->file_descriptor_response->n_file_descriptor_proto, 2); /* kv and types */
    a = reflect(&t, Q(FILE_BY_FILENAME), "google/rpc/status.proto");
    assert_int_equal(a->file_descriptor_response->n_file_descriptor_proto, 2);
    a = reflect(&t, Q(FILE_BY_FILENAME), "no.proto");
    assert_int_equal(a->message_response_case, A(ERROR_RESPONSE));
    assert_int_equal(a->error_response->error_code, GRPC_NOT_FOUND);
    a = reflect(&t, Q(FILE_CONTAINING_SYMBOL), "no.Such");
    assert_int_equal(a->message_response_case, A(ERROR_RESPONSE));
    a = reflect(&t, Q(ALL_EXTENSION_NUMBERS_OF_TYPE), "varve.v1.Record");
    assert_int_equal(a->message_response_case, A(ALL_EXTENSION_NUMBERS_RESPONSE));
    assert_int_equal(grpc_send_end(&t.call), ST_OK);
    assert_code(tcall_end(&t), GRPC_OK);
}

static void reflection(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    question empty = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    door_start(&w, NULL);
    reflection_as(&w, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    reflection_as(&w, "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    tcall_start(&t, &w, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 0,
                &grpc__reflection__v1__server_reflection_response__descriptor);
    tcall_say(&t, &empty.base, false);
    assert_code(tcall_end(&t), GRPC_INVALID_ARGUMENT);
    door_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collections_snapshots_retention),
        cmocka_unit_test(care),
        cmocka_unit_test(health),
        cmocka_unit_test(reflection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
