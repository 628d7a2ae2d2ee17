/* varve.v1.KV through a real socket. */
#include "door_world.h"

#include <stdio.h>
#include <stdlib.h>

#define ASK(w, method, m, name, ret)                                                               \
    ask(w, "varve.v1.KV/" method, &(m).base, &varve__v1__##name##_response__descriptor,            \
        (void **)(ret))

static struct ended get(struct door_world *w, const char *collection, const char *key,
                        Varve__V1__At *at, Varve__V1__DocumentFormat format,
                        Varve__V1__Record **ret)
{
    Varve__V1__GetRequest m = VARVE__V1__GET_REQUEST__INIT;
    Varve__V1__GetResponse *r = NULL;
    m.collection = (char *)(uintptr_t)collection;
    m.key = data_of(key);
    m.at = at;
    m.document_format = format;
    struct ended e = ASK(w, "Get", m, get, &r);
    *ret = r ? r->record : NULL;
    return e;
}

static Varve__V1__Record *must_get(struct door_world *w, const char *collection, const char *key,
                                   Varve__V1__At *at)
{
    Varve__V1__Record *r;
    assert_code(get(w, collection, key, at, 0, &r), GRPC_OK);
    assert_non_null(r);
    return r;
}

static void raw_is(const Varve__V1__Record *r, const char *text)
{
    assert_int_equal(r->value->kind_case, VARVE__V1__VALUE__KIND_RAW);
    assert_true(bytes_eq(pb_bytes(r->value->raw), BYTES_STR(text)));
}

static Varve__V1__At *at_version(struct door_world *w, Varve__V1__Version *v)
{
    Varve__V1__At *at = arena_alloc(&w->arena, sizeof *at);
    varve__v1__at__init(at);
    at->moment_case = VARVE__V1__AT__MOMENT_VERSION;
    at->version = v;
    return at;
}

static void values_come_back(void **state)
{
    (void)state;
    struct door_world w;
    Varve__V1__Record *r;
    door_start(&w, NULL);
    Varve__V1__Version *one = put_raw(&w, "users", "alice", "one");
    Varve__V1__Version *two = put_raw(&w, "users", "alice", "two");
    assert_true(two->hlc > one->hlc);
    r = must_get(&w, "users", "alice", NULL);
    raw_is(r, "two");
    assert_int_equal(r->version->hlc, two->hlc);
    assert_string_equal(r->writer, "server");
    assert_int_equal(r->key.len, 0);
    raw_is(must_get(&w, "users", "alice", at_version(&w, one)), "one");
    Varve__V1__At at = VARVE__V1__AT__INIT;
    at.moment_case = VARVE__V1__AT__MOMENT_TIME_UNIX_MS;
    at.time_unix_ms = (one->hlc >> 16) - 1;
    struct ended e = get(&w, "users", "alice", &at, 0, &r);
    assert_code(e, GRPC_NOT_FOUND);
    assert_string_equal(e.reason, "NOT_FOUND");
    at.time_unix_ms = (one->hlc >> 16) + 1000000;
    e = get(&w, "users", "alice", &at, 0, &r);
    assert_code(e, GRPC_OUT_OF_RANGE);
    assert_string_equal(e.reason, "FUTURE_TIME");
    assert_code(get(&w, "users", "nobody", NULL, 0, &r), GRPC_NOT_FOUND);
    assert_code(get(&w, "nothing", "alice", NULL, 0, &r), GRPC_NOT_FOUND);

    (void)put_json(&w, "users", "bob", "{\"age\": 30, \"when\": {\"$date\": 0}}");
    r = must_get(&w, "users", "bob", NULL);
    assert_int_equal(r->value->kind_case, VARVE__V1__VALUE__KIND_BSON);
    assert_code(get(&w, "users", "bob", NULL, 2, &r), GRPC_OK);
    assert_int_equal(r->value->kind_case, VARVE__V1__VALUE__KIND_JSON);
    assert_non_null(strstr(r->value->json, "\"age\""));
    assert_null(strstr(r->value->json, "$numberInt"));
    assert_code(get(&w, "users", "bob", NULL, 3, &r), GRPC_OK);
    assert_non_null(strstr(r->value->json, "$numberInt"));
    door_stop(&w);
}

static void a_large_value_goes_both_ways(void **state)
{
    (void)state;
    enum { LEN = 9 * 1000 * 1000 };
    struct door_world w;
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    void *ret;
    uint8_t *big = malloc(LEN);
    for (size_t i = 0; i < LEN; i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    door_start(&w, NULL);
    m.collection = (char *)(uintptr_t) "big";
    m.key = data_of("k");
    m.value = &v;
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = (ProtobufCBinaryData){.len = LEN, .data = big};
    assert_code(ASK(&w, "Put", m, put, &ret), GRPC_OK);
    Varve__V1__Record *r = must_get(&w, "big", "k", NULL);
    assert_int_equal(r->value->raw.len, LEN);
    assert_memory_equal(r->value->raw.data, big, LEN);

    /* Answers are deflated for who deflates what they ask. */
    struct tcall t;
    Varve__V1__GetRequest g = VARVE__V1__GET_REQUEST__INIT;
    struct bytes encoding;
    g.collection = m.collection;
    g.key = m.key;
    for (int gzip = 0; gzip < 2; gzip++) {
        w.gzip = gzip;
        tcall_start(&t, &w, "varve.v1.KV/Get", 0, &varve__v1__get_response__descriptor);
        tcall_say(&t, &g.base, true);
        Varve__V1__GetResponse *answer = tcall_hear(&t);
        assert_memory_equal(answer->record->value->raw.data, big, LEN);
        assert_int_equal(h2_header(t.call.stream, BYTES_LIT("grpc-encoding"), &encoding) &&
                             bytes_eq(encoding, BYTES_LIT("gzip")),
                         gzip);
        assert_code(tcall_end(&t), GRPC_OK);
    }
    free(big);
    door_stop(&w);
}

static void refusals_have_details(void **state)
{
    (void)state;
    struct door_world w;
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    Varve__V1__WriteOptions options = VARVE__V1__WRITE_OPTIONS__INIT;
    void *ret;
    door_start(&w, NULL);
    struct ended e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "value");
    assert_string_equal(e.reason, "INVALID_ARGUMENT");
    m.value = &v;
    v.kind_case = VARVE__V1__VALUE__KIND_JSON;
    v.json = (char *)(uintptr_t) "{\"a\": ";
    m.collection = (char *)(uintptr_t) "c";
    m.key = data_of("k");
    e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "value");
    /* Its name is cut for the message, in the middle of a character: the details can be read still. */
#define CUT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa9"
    v.json = (char *)(uintptr_t) "{\"" CUT "\":1,\"" CUT "\":2}";
    e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "value");
    v.json = (char *)(uintptr_t) "{}";
    m.key.len = 0;
    e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "key");
    m.key = data_of("k");
    m.options = &options;
    char id[STORE_REQUEST_ID_MAX + 2];
    memset(id, 'i', sizeof id);
    id[sizeof id - 1] = '\0';
    options.request_id = id;
    e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "options.request_id");
    options.request_id = (char *)(uintptr_t) "";
    options.sync = 77;
    e = ASK(&w, "Put", m, put, &ret);
    assert_string_equal(e.field, "options.sync");
    options.sync = 0;
    options.ttl_ms = UINT64_MAX;
    e = ASK(&w, "Put", m, put, &ret);
    assert_string_equal(e.field, "options.ttl_ms");
    options.ttl_ms = 0;
    char name[200];
    memset(name, 'n', sizeof name);
    name[199] = '\0';
    m.collection = name;
    e = ASK(&w, "Put", m, put, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.reason, "TOO_LARGE");
    assert_string_equal(e.field, "collection");

    e = ask_bytes(&w, "varve.v1.KV/Get", BYTES_LIT("\x0a\x02u\xff"),
                  &varve__v1__get_response__descriptor, &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "collection");
    e = ask_bytes(&w, "varve.v1.KV/Get", BYTES_LIT("\x0b"), &varve__v1__get_response__descriptor,
                  &ret);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_code(ask_bytes(&w, "varve.v1.KV/Nothing", BYTES_EMPTY,
                          &varve__v1__get_response__descriptor, &ret),
                GRPC_UNIMPLEMENTED);
    assert_code(
        ask_bytes(&w, "varve.v9.KV/Get", BYTES_EMPTY, &varve__v1__get_response__descriptor, &ret),
        GRPC_UNIMPLEMENTED);
    door_stop(&w);
}

static struct ended put_bytes(struct door_world *w, struct bytes m)
{
    void *ret;
    return ask_bytes(w, "varve.v1.KV/Put", m, &varve__v1__put_response__descriptor, &ret);
}

/* The plainest messages are read without descriptors: whatever differs from them is not taken for one. */
static void puts_are_read_whole(void **state)
{
    (void)state;
    struct door_world w;
    door_start(&w, NULL);
    assert_code(put_bytes(&w, BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x05\x0a\x03one")), GRPC_OK);
    raw_is(must_get(&w, "u", "k", NULL), "one");
    /* In another order, and of no bytes. */
    assert_code(put_bytes(&w, BYTES_LIT("\x1a\x02\x0a\x00\x12\x01k\x0a\x01u")), GRPC_OK);
    raw_is(must_get(&w, "u", "k", NULL), "");
    /* What comes twice: the last one counts, of values too. */
    assert_code(put_bytes(&w, BYTES_LIT("\x0a\x01x\x0a\x01u\x12\x01x\x12\x01k"
                                        "\x1a\x05\x0a\x03two\x1a\x05\x0a\x03ten")),
                GRPC_OK);
    raw_is(must_get(&w, "u", "k", NULL), "ten");
    assert_code(put_bytes(&w, BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x08\x12\x01x\x0a\x03six")),
                GRPC_OK);
    raw_is(must_get(&w, "u", "k", NULL), "six");
    /* A field of a newer client is passed over; a condition and options are not. */
    assert_code(put_bytes(&w, BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x03\x0a\x01"
                                        "7\x32\x00")),
                GRPC_OK);
    raw_is(must_get(&w, "u", "k", NULL), "7");
    struct ended e = put_bytes(&w, BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x03\x0a\x01"
                                             "8\x22\x02\x08\x01"));
    assert_code(e, GRPC_FAILED_PRECONDITION);
    e = put_bytes(&w, BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x03\x0a\x01"
                                "8\x2a\x02\x08\x4d"));
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "options.sync");
    raw_is(must_get(&w, "u", "k", NULL), "7");

    static const struct {
        struct bytes m;
        const char *field;
    } bad[] = {
        {BYTES_LIT("\x0a\x01\xff\x12\x01k\x1a\x03\x0a\x01"
                   "1"),
         "collection"},
        {BYTES_LIT("\x0a\x02u\x00\x12\x01k\x1a\x03\x0a\x01"
                   "1"),
         "collection"},
        {BYTES_LIT("\x12\x01k\x1a\x03\x0a\x01"
                   "1"),
         "collection"},
        {BYTES_LIT("\x0a\x01u\x1a\x03\x0a\x01"
                   "1"),
         "key"},
        {BYTES_LIT("\x0a\x01u\x12\x01k"), "value"},
        {BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x00"), "value"},
        {BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x04\x12\x02no"), "value"}, /* BSON is checked */
        {BYTES_LIT("\x0a\x01u\x12\x01k\x1a\x03\x0a\x02"
                   "1"),
         ""}, /* too short */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e = put_bytes(&w, bad[i].m);
        assert_code(e, GRPC_INVALID_ARGUMENT);
        if (bad[i].field[0])
            assert_string_equal(e.field, bad[i].field);
    }
    raw_is(must_get(&w, "u", "k", NULL), "7");
    door_stop(&w);
}

static void preconditions_say_what_is_there(void **state)
{
    (void)state;
    struct door_world w;
    Varve__V1__CompareAndSetRequest m = VARVE__V1__COMPARE_AND_SET_REQUEST__INIT;
    Varve__V1__CompareAndSetResponse *set;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    char text[VERSION_TEXT_MAX];
    door_start(&w, NULL);
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = data_of("first");
    m.collection = (char *)(uintptr_t) "c";
    m.key = data_of("k");
    m.value = &v;
    assert_code(ASK(&w, "CompareAndSet", m, compare_and_set, &set), GRPC_OK);
    Varve__V1__Version *first = set->version;
    struct ended e = ASK(&w, "CompareAndSet", m, compare_and_set, &set);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.reason, "PRECONDITION_FAILED");
    assert_string_equal(e.required, "ABSENT");
    assert_string_equal(e.subject, "expected");
    assert_string_equal(e.message, "the key is not absent");
    (void)version_format((struct version){first->hlc, first->origin}, text);
    assert_string_equal(e.present, text);
    m.expected = first;
    assert_code(ASK(&w, "CompareAndSet", m, compare_and_set, &set), GRPC_OK);
    e = ASK(&w, "CompareAndSet", m, compare_and_set, &set);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.required, "VERSION");

    Varve__V1__DeleteRequest d = VARVE__V1__DELETE_REQUEST__INIT;
    Varve__V1__Precondition p = VARVE__V1__PRECONDITION__INIT;
    Varve__V1__DeleteResponse *deleted;
    d.collection = (char *)(uintptr_t) "c";
    d.key = data_of("k");
    d.precondition = &p;
    e = ASK(&w, "Delete", d, delete, &deleted); /* a condition without content */
    assert_code(e, GRPC_INVALID_ARGUMENT);
    p.what_case = VARVE__V1__PRECONDITION__WHAT_PRESENT;
    p.present = true;
    e = ASK(&w, "Delete", d, delete, &deleted);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "precondition");
    p.what_case = VARVE__V1__PRECONDITION__WHAT_VERSION;
    p.version = first;
    e = ASK(&w, "Delete", d, delete, &deleted);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.subject, "precondition");
    d.precondition = NULL;
    assert_code(ASK(&w, "Delete", d, delete, &deleted), GRPC_OK);
    assert_code(ASK(&w, "Delete", d, delete, &deleted), GRPC_NOT_FOUND);
    d.precondition = &p;
    e = ASK(&w, "Delete", d, delete, &deleted);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.present, "");

    Varve__V1__PutRequest put = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__PutResponse *written;
    put.collection = (char *)(uintptr_t) "c";
    put.key = data_of("k");
    put.value = &v;
    put.precondition = &p;
    p.what_case = VARVE__V1__PRECONDITION__WHAT_PRESENT;
    p.present = true;
    e = ASK(&w, "Put", put, put, &written);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.required, "PRESENT");
    p.what_case = VARVE__V1__PRECONDITION__WHAT_ABSENT;
    p.absent = true;
    assert_code(ASK(&w, "Put", put, put, &written), GRPC_OK);
    door_stop(&w);
}

enum { BATCH = 5 };
static const char *const batch_keys[BATCH] = {"a", "b", "c", "d", "e"};

/* All keys of the batch but "c", which it deleted, have its version. */
static void batch_is_there(struct door_world *w, const Varve__V1__BatchWriteResponse *written)
{
    Varve__V1__BatchGetRequest g = VARVE__V1__BATCH_GET_REQUEST__INIT;
    Varve__V1__BatchGetRequest__Key key[BATCH], *wanted[BATCH];
    Varve__V1__BatchGetResponse *got;
    for (int i = 0; i < BATCH; i++) {
        varve__v1__batch_get_request__key__init(&key[i]);
        key[i].collection = (char *)(uintptr_t) "c";
        key[i].key = data_of(batch_keys[i]);
        wanted[i] = &key[i];
    }
    g.keys = wanted;
    g.n_keys = BATCH;
    assert_code(ASK(w, "BatchGet", g, batch_get, &got), GRPC_OK);
    assert_int_equal(got->n_results, BATCH);
    for (int i = 0; i < BATCH; i++) {
        if (i == 2) {
            assert_null(got->results[i]->record);
            continue;
        }
        raw_is(got->results[i]->record, "value");
        assert_int_equal(got->results[i]->record->version->hlc, written->version->hlc);
    }
    g.n_keys = 0;
    assert_code(ASK(w, "BatchGet", g, batch_get, &got), GRPC_OK);
}

static void batches_are_one(void **state)
{
    (void)state;
    struct door_world w;
    Varve__V1__BatchWriteRequest m = VARVE__V1__BATCH_WRITE_REQUEST__INIT;
    Varve__V1__BatchWriteRequest__Operation op[BATCH], *ops[BATCH];
    Varve__V1__BatchWriteRequest__Condition condition =
        VARVE__V1__BATCH_WRITE_REQUEST__CONDITION__INIT;
    Varve__V1__BatchWriteRequest__Condition *conditions[1] = {&condition};
    Varve__V1__Precondition absent = VARVE__V1__PRECONDITION__INIT;
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    Varve__V1__BatchWriteResponse *written;
    door_start(&w, NULL);
    absent.what_case = VARVE__V1__PRECONDITION__WHAT_ABSENT;
    absent.absent = true;
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = data_of("value");
    for (int i = 0; i < BATCH; i++) {
        varve__v1__batch_write_request__operation__init(&op[i]);
        op[i].collection = (char *)(uintptr_t) "c";
        op[i].key = data_of(batch_keys[i]);
        op[i].action_case = VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT;
        op[i].put = &v;
        ops[i] = &op[i];
    }
    struct ended e = ASK(&w, "BatchWrite", m, batch_write, &written);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "operations");
    m.operations = ops;
    m.n_operations = BATCH;
    op[3].precondition = &absent;
    assert_code(ASK(&w, "BatchWrite", m, batch_write, &written), GRPC_OK);
    e = ASK(&w, "BatchWrite", m, batch_write, &written);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.subject, "operations[3].precondition");
    assert_string_equal(e.required, "ABSENT");
    op[3].precondition = NULL;
    m.conditions = conditions;
    m.n_conditions = 1;
    e = ASK(&w, "BatchWrite", m, batch_write, &written);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "conditions[0].precondition");
    condition.collection = (char *)(uintptr_t) "c";
    condition.key = data_of("e");
    condition.precondition = &absent;
    e = ASK(&w, "BatchWrite", m, batch_write, &written);
    assert_code(e, GRPC_FAILED_PRECONDITION);
    assert_string_equal(e.subject, "conditions[0].precondition");
    m.n_conditions = 0;
    op[2].key.len = 0;
    e = ASK(&w, "BatchWrite", m, batch_write, &written);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "operations[2].key");
    op[2].key = data_of("a");
    assert_code(ASK(&w, "BatchWrite", m, batch_write, &written), GRPC_INVALID_ARGUMENT); /* twice */
    op[2].key = data_of("c");
    op[2].action_case = VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_DELETE;
    op[2].delete_ = true;
    assert_code(ASK(&w, "BatchWrite", m, batch_write, &written), GRPC_OK);
    batch_is_there(&w, written);
    door_stop(&w);
}

/* n keys from k00000 on, their values the same bytes, as one batch. */
static struct version put_many(struct door_world *w, unsigned n)
{
    struct err err;
    struct version v;
    size_t failed;
    char key[16];
    struct command_batch *b = command_batch_new();
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(key, sizeof key, "k%05u", i);
        assert_int_equal(command_batch_put(b, BYTES_LIT("c"), BYTES_STR(key),
                                           (struct command_value){COMMAND_RAW, BYTES(key, 6)}, 0,
                                           &err),
                         ST_OK);
    }
    assert_int_equal(command_commit(&w->db, b, &(struct command_options){0}, &v, &failed, &err),
                     ST_OK);
    command_batch_free(b);
    return v;
}

static void scan_say(struct tcall *t, struct door_world *w, const Varve__V1__ScanRequest *m)
{
    tcall_start(t, w, "varve.v1.KV/Scan", 0, &varve__v1__scan_response__descriptor);
    tcall_say(t, &m->base, true);
}

static void scans_go_on_from_a_token(void **state)
{
    (void)state;
    enum { KEYS = 2500 };
    struct door_world w;
    struct tcall t;
    char key[16], *token = NULL;
    Varve__V1__ScanRequest m = VARVE__V1__SCAN_REQUEST__INIT;
    Varve__V1__ScanResponse *r;
    size_t n = 0, messages = 0;
    door_start(&w, NULL);
    struct version v = put_many(&w, KEYS);
    m.collection = (char *)(uintptr_t) "c";
    scan_say(&t, &w, &m);
    while ((r = tcall_hear(&t))) {
        for (size_t i = 0; i < r->n_records; i++, n++) {
            (void)snprintf(key, sizeof key, "k%05zu", n);
            assert_true(bytes_eq(pb_bytes(r->records[i]->key), BYTES_STR(key)));
            raw_is(r->records[i], key);
        }
        assert_true(r->at->hlc >= v.hlc);
        messages++;
        if (messages == 1)
            token = r->resume_token;
        assert_true((n < KEYS) == (r->resume_token[0] != '\0'));
    }
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(n, KEYS);
    assert_true(messages >= 3);

    /* From the first message's end on, and what is written since is not seen. */
    (void)put_raw(&w, "c", "k02499x", "late");
    m.resume_token = token;
    scan_say(&t, &w, &m);
    for (n = 0; (r = tcall_hear(&t));)
        n += r->n_records;
    assert_code(tcall_end(&t), GRPC_OK);
    assert_true(n > 0 && n < KEYS);
    m.reverse = true;
    scan_say(&t, &w, &m);
    struct ended e = tcall_end(&t);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "resume_token");
    door_stop(&w);
}

static void scans_keep_to_bounds_and_pages(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    Varve__V1__ScanRequest m = VARVE__V1__SCAN_REQUEST__INIT;
    Varve__V1__ScanResponse *r;
    size_t n, messages;
    door_start(&w, NULL);
    (void)put_many(&w, 200);
    m.collection = (char *)(uintptr_t) "c";
    m.start_key = data_of("k00010");
    m.end_key = data_of("k00100");
    m.reverse = m.keys_only = true;
    m.limit = 25;
    m.page_rows = 10;
    scan_say(&t, &w, &m);
    for (n = messages = 0; (r = tcall_hear(&t)); messages++) {
        assert_true(r->n_records <= 10);
        if (n == 0)
            assert_true(bytes_eq(pb_bytes(r->records[0]->key), BYTES_LIT("k00099")));
        if (r->n_records)
            assert_null(r->records[0]->value);
        n += r->n_records;
    }
    assert_code(tcall_end(&t), GRPC_OK);
    assert_int_equal(n, 25);
    assert_true(messages >= 3);
    m.page_rows = 1000000;
    scan_say(&t, &w, &m);
    struct ended e = tcall_end(&t);
    assert_string_equal(e.field, "page_rows");
    door_stop(&w);
}

static void histories_are_paged(void **state)
{
    (void)state;
    struct door_world w;
    struct tcall t;
    Varve__V1__HistoryRequest h = VARVE__V1__HISTORY_REQUEST__INIT;
    Varve__V1__HistoryResponse *hr;
    Varve__V1__DeleteRequest d = VARVE__V1__DELETE_REQUEST__INIT;
    void *ret;
    door_start(&w, NULL);
    (void)put_raw(&w, "c", "k", "once");
    (void)put_raw(&w, "c", "k", "again");
    d.collection = (char *)(uintptr_t) "c";
    d.key = data_of("k");
    assert_code(ASK(&w, "Delete", d, delete, &ret), GRPC_OK);
    h.collection = (char *)(uintptr_t) "c";
    h.key = data_of("k");
    h.page_rows = 2;
    tcall_start(&t, &w, "varve.v1.KV/History", 0, &varve__v1__history_response__descriptor);
    tcall_say(&t, &h.base, true);
    hr = tcall_hear(&t);
    assert_int_equal(hr->n_records, 2);
    assert_true(hr->records[0]->deleted && !hr->records[0]->value);
    assert_int_equal(hr->records[0]->parent->hlc, hr->records[1]->version->hlc);
    raw_is(hr->records[1], "again");
    assert_true(hr->resume_token[0]);
    hr = tcall_hear(&t);
    assert_int_equal(hr->n_records, 1);
    raw_is(hr->records[0], "once");
    assert_null(hr->records[0]->parent);
    assert_code(tcall_end(&t), GRPC_OK);
    door_stop(&w);
}

/* Readers that do not read hold a page each, and nobody else up. */
static void slow_scans_hold_little(void **state)
{
    (void)state;
    enum { ROWS = 3000, SCANS = 3 }; /* more would fill the window of the connection */
    static char value[4000];
    struct door_world w;
    static struct tcall t[SCANS];
    Varve__V1__ScanRequest m = VARVE__V1__SCAN_REQUEST__INIT;
    Varve__V1__ScanResponse *r;
    struct reactor_stats st;
    struct err err;
    door_start(&w, NULL);
    for (uint32_t i = 0; i < ROWS; i++) { /* 12 MB */
        struct version v;
        struct command_put p = {.collection = BYTES_LIT("c"),
                                .key = BYTES(&i, sizeof i),
                                .value = {COMMAND_RAW, BYTES(value, sizeof value)}};
        assert_int_equal(command_put(&w.db, &p, &v, &err), ST_OK);
    }
    m.collection = (char *)(uintptr_t) "c";
    for (int i = 0; i < SCANS; i++) { /* their windows, 256 KiB each, fill up, then they wait */
        tcall_start(&t[i], &w, "varve.v1.KV/Scan", 0, &varve__v1__scan_response__descriptor);
        tcall_say(&t[i], &m.base, true);
    }
    assert_non_null(tcall_hear(&t[SCANS - 1]));
    (void)put_raw(&w, "other", "k", "quick");
    raw_is(must_get(&w, "other", "k", NULL), "quick");
    reactor_stats_of(reactors_at(w.reactors, 0), &st);
    assert_true(st.request_bytes + st.output_bytes < SCANS * 1024 * 1024);
    for (int i = 1; i < SCANS; i++)
        tcall_cancel(&t[i]);
    size_t n = 0;
    while ((r = tcall_hear(&t[0])))
        n += r->n_records;
    assert_code(tcall_end(&t[0]), GRPC_OK);
    assert_int_equal(n, ROWS);
    door_stop(&w);
}

static void diffs_and_restores(void **state)
{
    (void)state;
    struct door_world w;
    Varve__V1__DiffRequest m = VARVE__V1__DIFF_REQUEST__INIT;
    Varve__V1__DiffResponse *diff;
    Varve__V1__RestoreRequest r = VARVE__V1__RESTORE_REQUEST__INIT;
    Varve__V1__RestoreResponse *restored;
    door_start(&w, NULL);
    Varve__V1__Version *one = put_json(&w, "c", "k", "{\"a\": 1, \"b\": 2}");
    Varve__V1__Version *two = put_json(&w, "c", "k", "{\"a\": 1, \"b\": 3}");
    (void)put_json(&w, "c", "k", "{\"a\": 9}");
    m.collection = (char *)(uintptr_t) "c";
    m.key = data_of("k");
    struct ended e = ASK(&w, "Diff", m, diff, &diff);
    assert_code(e, GRPC_INVALID_ARGUMENT);
    assert_string_equal(e.field, "older");
    Varve__V1__At far = VARVE__V1__AT__INIT;
    far.moment_case = VARVE__V1__AT__MOMENT_TIME_UNIX_MS;
    far.time_unix_ms = UINT64_MAX;
    m.older = &far;
    e = ASK(&w, "Diff", m, diff, &diff);
    assert_code(e, GRPC_OUT_OF_RANGE);
    assert_string_equal(e.field, "older.time_unix_ms");
    m.older = at_version(&w, one);
    m.newer = &far;
    far.moment_case = VARVE__V1__AT__MOMENT_SNAPSHOT;
    far.snapshot = (char *)(uintptr_t) "a/b";
    e = ASK(&w, "Diff", m, diff, &diff);
    assert_string_equal(e.field, "newer.snapshot");
    m.newer = at_version(&w, two);
    assert_code(ASK(&w, "Diff", m, diff, &diff), GRPC_OK);
    assert_non_null(strstr(diff->json, "\"b\""));
    assert_null(strstr(diff->json, "\"a\""));
    m.newer = NULL;
    m.format = VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_JSON_PATCH;
    assert_code(ASK(&w, "Diff", m, diff, &diff), GRPC_OK);
    assert_int_equal(diff->json[0], '[');
    r.collection = m.collection;
    r.key = m.key;
    assert_code(ASK(&w, "Restore", r, restore, &restored), GRPC_INVALID_ARGUMENT);
    r.at = at_version(&w, one);
    assert_code(ASK(&w, "Restore", r, restore, &restored), GRPC_OK);
    m.format = 0;
    assert_code(ASK(&w, "Diff", m, diff, &diff), GRPC_OK);
    assert_string_equal(diff->json, "{\"set\":{},\"unset\":[]}");
    door_stop(&w);
}

/* ---- the gate ---- */

static _Atomic int opened, closed;

static enum status gate_open(void *arg, struct request *q, void **ret_who, struct err *err)
{
    struct bytes token;
    if (!request_header(q, BYTES_LIT("authorization"), &token))
        token = BYTES_LIT("guest");
    (void)arg;
    (void)err;
    atomic_fetch_add(&opened, 1);
    *ret_who = (void *)(uintptr_t) "guest";
    return ST_OK;
}
static enum status gate_check(void *arg, void *who, struct request *q, enum command_verb verb,
                              struct bytes collection, struct err *err)
{
    (void)arg;
    (void)q;
    assert_string_equal(who, "guest");
    if (command_verb_access(verb) == COMMAND_ADMIN)
        return err_set(err, ST_PERMISSION_DENIED, "%s is not for guests", command_verb_name(verb));
    return bytes_eq(collection, BYTES_LIT("secret"))
               ? err_set(err, ST_PERMISSION_DENIED, "secret is not for guests")
               : ST_OK;
}
static enum status gate_check_batch(void *arg, void *who, struct request *q,
                                    const struct command_batch *b, struct err *err)
{
    struct bytes name;
    bool written;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && command_batch_name(b, i, &name, &written); i++)
        st = gate_check(arg, who, q, COMMAND_COMMIT, name, err);
    return st;
}
static struct bytes gate_writer(void *arg, void *who)
{
    (void)arg;
    return BYTES_STR((const char *)who);
}
static void gate_close(void *arg, void *who)
{
    (void)arg;
    (void)who;
    atomic_fetch_add(&closed, 1);
}

static void every_call_asks_the_gate(void **state)
{
    (void)state;
    static const struct grpc_gate gate = {.open = gate_open,
                                          .check = gate_check,
                                          .check_batch = gate_check_batch,
                                          .writer = gate_writer,
                                          .close = gate_close};
    struct door_world w;
    Varve__V1__Record *r;
    void *ret;
    door_start(&w, &gate);
    (void)put_raw(&w, "open", "k", "v");
    assert_string_equal(must_get(&w, "open", "k", NULL)->writer, "guest");
    assert_code(get(&w, "secret", "k", NULL, 0, &r), GRPC_PERMISSION_DENIED);
    /* Collection "secret" is field 1 of most requests. */
    static const char *const methods[] = {"KV/Put",     "KV/Delete",     "KV/CompareAndSet",
                                          "KV/Scan",    "KV/History",    "KV/Diff",
                                          "KV/Restore", "Changes/Watch", "Admin/GetRetention"};
    char method[64];
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        (void)snprintf(method, sizeof method, "varve.v1.%s", methods[i]);
        assert_code(ask_bytes(&w, method, BYTES_LIT("\x0a\x06secret"),
                              &varve__v1__get_response__descriptor, &ret),
                    GRPC_PERMISSION_DENIED);
    }
    assert_code(ask_bytes(&w, "varve.v1.KV/BatchGet",
                          BYTES_LIT("\x0a\x06\x0a\x04open\x0a\x08\x0a\x06secret"),
                          &varve__v1__batch_get_response__descriptor, &ret),
                GRPC_PERMISSION_DENIED);
    assert_code(ask_bytes(&w, "varve.v1.KV/BatchWrite",
                          BYTES_LIT("\x0a\x0d\x0a\x06secret\x12\x01k\x20\x01"),
                          &varve__v1__batch_write_response__descriptor, &ret),
                GRPC_PERMISSION_DENIED);
    static const char *const admin[] = {"DropCollection", "SetRetention", "CreateSnapshot",
                                        "DeleteSnapshot", "GetStats",     "Verify",
                                        "Vacuum",         "Checkpoint",   "Compact"};
    for (size_t i = 0; i < sizeof admin / sizeof admin[0]; i++) {
        (void)snprintf(method, sizeof method, "varve.v1.Admin/%s", admin[i]);
        assert_code(ask_bytes(&w, method, BYTES_EMPTY, &varve__v1__get_response__descriptor, &ret),
                    GRPC_PERMISSION_DENIED);
    }
    door_stop(&w);
    assert_true(atomic_load(&opened) > 20);
    assert_int_equal(atomic_load(&opened), atomic_load(&closed));
}

static enum status gate_shut(void *arg, struct request *q, void **ret_who, struct err *err)
{
    (void)arg, (void)ret_who;
    q->retry_ms = 2969;
    return err_set(err, ST_OVERLOADED, "too many failed logins: wait 2969 ms");
}

/* Not the tenth of a second that a full queue is waited for. */
static void who_guesses_is_told_how_long_to_wait(void **state)
{
    (void)state;
    static const struct grpc_gate gate = {.open = gate_shut};
    struct door_world w;
    void *ret;
    door_start(&w, &gate);
    struct ended e = ask_bytes(&w, "varve.v1.KV/Get", BYTES_LIT("\x0a\x01c"),
                               &varve__v1__get_response__descriptor, &ret);
    assert_code(e, GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(e.retry_ms, 2969);
    door_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(a_large_value_goes_both_ways),
        cmocka_unit_test(refusals_have_details),
        cmocka_unit_test(puts_are_read_whole),
        cmocka_unit_test(preconditions_say_what_is_there),
        cmocka_unit_test(batches_are_one),
        cmocka_unit_test(scans_go_on_from_a_token),
        cmocka_unit_test(scans_keep_to_bounds_and_pages),
        cmocka_unit_test(histories_are_paged),
        cmocka_unit_test(slow_scans_hold_little),
        cmocka_unit_test(diffs_and_restores),
        cmocka_unit_test(every_call_asks_the_gate),
        cmocka_unit_test(who_guesses_is_told_how_long_to_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
