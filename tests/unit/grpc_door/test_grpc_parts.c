/* The parts of the door that need no server: records by hand against protobuf-c, descriptors. */
#include "serve/grpc/door_internal.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdlib.h>

static struct bytes random_bytes(struct test_rng *r, uint8_t *to, size_t max)
{
    size_t n = (size_t)test_rng_below(r, max + 1);
    test_rng_bytes(r, to, n);
    return BYTES(to, n);
}

static struct version random_version(struct test_rng *r)
{
    return (struct version){test_rng_any_width(r),
                            test_rng_chance(r, 1, 3) ? (uint32_t)test_rng_any_width(r) : 0};
}

static void init_version(Varve__V1__Version *m, struct version v)
{
    varve__v1__version__init(m);
    m->hlc = v.hlc;
    m->origin = v.origin;
}

static void records_are_what_protobuf_c_packs(void **state)
{
    (void)state;
    static uint8_t key[1000], value[70000];
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        char writer[40] = "";
        struct buf mine = BUF_INIT, theirs = BUF_INIT, json = BUF_INIT;
        struct record_out o;
        test_rng_init(&r, seed);
        for (size_t i = (size_t)test_rng_below(&r, sizeof writer); i-- > 0;)
            writer[i] = (char)test_rng_between(&r, 1, 127);
        struct record rec = {
            .version = random_version(&r),
            .parent = random_version(&r),
            .kind = test_rng_chance(&r, 3, 4) ? RECORD_PUT : RECORD_DELETE,
            .type = test_rng_chance(&r, 1, 2) ? RECORD_RAW : RECORD_DOC,
            .expires_ms = test_rng_chance(&r, 1, 2) ? test_rng_any_width(&r) : 0,
            .writer = BYTES_STR(writer),
            .value = random_bytes(&r, value, test_rng_chance(&r, 1, 9) ? sizeof value : 300)};
        struct bytes k = random_bytes(&r, key, test_rng_chance(&r, 1, 2) ? sizeof key : 100);
        unsigned what = (unsigned)test_rng_below(&r, 8);
        assert_int_equal(record_out_of(&o, &rec, k, what, DOC_OUT_BSON, &json, NULL), ST_OK);
        assert_int_equal(record_out_append(&o, 1, &mine), ST_OK);

        Varve__V1__Record m = VARVE__V1__RECORD__INIT;
        Varve__V1__Version version, parent;
        Varve__V1__Value v = VARVE__V1__VALUE__INIT;
        init_version(&version, rec.version);
        init_version(&parent, rec.parent);
        m.version = &version;
        if (what & RECORD_OUT_KEY)
            m.key = pb_data(k);
        v.kind_case =
            rec.type == RECORD_DOC ? VARVE__V1__VALUE__KIND_BSON : VARVE__V1__VALUE__KIND_RAW;
        v.raw = pb_data(rec.value);
        if ((what & RECORD_OUT_VALUE) && rec.kind == RECORD_PUT)
            m.value = &v;
        m.expires_unix_ms = rec.expires_ms;
        m.writer = writer;
        m.deleted = (what & RECORD_OUT_PAST) && rec.kind == RECORD_DELETE;
        if ((what & RECORD_OUT_PAST) && !version_is_none(rec.parent))
            m.parent = &parent;
        Varve__V1__GetResponse around = VARVE__V1__GET_RESPONSE__INIT;
        around.record = &m;
        assert_int_equal(pb_encode(&around.base, &theirs), ST_OK);
        assert_true(bytes_eq(buf_bytes(&mine), buf_bytes(&theirs)));
        buf_deinit(&mine);
        buf_deinit(&theirs);
        buf_deinit(&json);
    }
}

static void a_head_and_a_tail_fit(void **state)
{
    (void)state;
    uint8_t out[RECORD_OUT_TAIL_MAX], writer[RECORD_WRITER_MAX];
    struct record_out o;
    memset(writer, 'w', sizeof writer);
    struct record rec = {.version = VERSION_MAX,
                         .parent = VERSION_MAX,
                         .kind = RECORD_PUT,
                         .expires_ms = UINT64_MAX,
                         .writer = BYTES(writer, sizeof writer),
                         .value = {(const uint8_t *)"", RECORD_VALUE_MAX}};
    assert_int_equal(record_out_of(&o, &rec, BYTES_EMPTY, RECORD_OUT_VALUE | RECORD_OUT_PAST,
                                   DOC_OUT_BSON, NULL, NULL),
                     ST_OK);
    uint8_t *p = record_out_head(&o, pb_w_head(out, 1, o.size));
    assert_true(p - out <= RECORD_OUT_HEAD_MAX);
    o.deleted = true;
    p = record_out_tail(&o, out);
    assert_true(p - out <= RECORD_OUT_TAIL_MAX);
}

static void writers_of_any_bytes_become_text(void **state)
{
    (void)state;
    struct record_out o;
    struct record rec = {.kind = RECORD_PUT, .writer = BYTES_LIT("Andr\xe9")};
    assert_int_equal(record_out_of(&o, &rec, BYTES_EMPTY, 0, DOC_OUT_BSON, NULL, NULL), ST_OK);
    assert_true(bytes_eq(o.writer, BYTES_LIT("Andr?")));
    rec.writer = BYTES_LIT("Andr\xc3\xa9");
    assert_int_equal(record_out_of(&o, &rec, BYTES_EMPTY, 0, DOC_OUT_BSON, NULL, NULL), ST_OK);
    assert_true(bytes_eq(o.writer, rec.writer));
}

static const char *file_of(const struct descriptors *d, const char *symbol)
{
    static char name[100];
    const struct descriptor_file *f = descriptors_by_symbol(d, BYTES_STR(symbol));
    if (!f)
        return "";
    memcpy(name, f->name.data, f->name.len);
    name[f->name.len] = '\0';
    return name;
}

static void symbols_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *symbol, *file;
    } cases[] = {
        {"varve.v1.KV", "varve/v1/kv.proto"},
        {"varve.v1.KV.Get", "varve/v1/kv.proto"},
        {"varve.v1.BatchWriteRequest.Operation", "varve/v1/kv.proto"},
        {"varve.v1.BatchWriteRequest.Operation.put", "varve/v1/kv.proto"},
        {"varve.v1.DiffRequest.Format", "varve/v1/kv.proto"},
        {"varve.v1.DiffRequest.FORMAT_PATHS", "varve/v1/kv.proto"},
        {"varve.v1.SYNC_OFF", "varve/v1/types.proto"},
        {"varve.v1.Version.hlc", "varve/v1/types.proto"},
        {"varve.v1.At.moment", "varve/v1/types.proto"},
        {"google.rpc.BadRequest.FieldViolation", "google/rpc/error_details.proto"},
        {"grpc.health.v1.Health", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
        {"varve.v1.KV.Got", ""},
        {"varve.v1.K", ""},
        {"varve.v1.", ""},
        {"varve.v1", ""},
        {"varve.v2.KV", ""},
        {"KV", ""},
        {"", ""},
        {"varve.v1.KV.", ""},
    };
    struct descriptors d;
    assert_true(descriptors_load(&d, proto_descriptors()));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(file_of(&d, cases[i].symbol), cases[i].file);
    /* Each import is there, and comes before. */
    for (size_t i = 0; i < d.n; i++) {
        struct bytes import;
        for (size_t k = 0; descriptors_import(&d.files[i], k, &import); k++) {
            const struct descriptor_file *f = descriptors_by_name(&d, import);
            assert_true(f && f < &d.files[i]);
        }
    }
    assert_null(descriptors_by_name(&d, BYTES_LIT("varve/v1/no.proto")));
}

static void broken_descriptors_are_refused(void **state)
{
    (void)state;
    struct bytes all = proto_descriptors();
    struct descriptors d;
    assert_false(descriptors_load(&d, BYTES_EMPTY));
    assert_false(descriptors_load(&d, BYTES(all.data, all.len - 1)));
    assert_false(descriptors_load(&d, BYTES_LIT("\x0a\x00")));     /* a file without a name */
    assert_false(descriptors_load(&d, BYTES_LIT("\x12\x01\x00"))); /* no file */
}

/* Every method that a contract has is served, and no other. */
static void the_table_is_the_contract(void **state)
{
    (void)state;
    static const struct {
        const struct service *service;
        const ProtobufCServiceDescriptor *contract;
    } tables[] = {
        {&door__kv, &varve__v1__kv__descriptor},
        {&door__changes, &varve__v1__changes__descriptor},
        {&door__admin, &varve__v1__admin__descriptor},
        {&door__health, &grpc__health__v1__health__descriptor},
        {&door__reflection, &grpc__reflection__v1__server_reflection__descriptor},
        {&door__reflection_alpha, &grpc__reflection__v1alpha__server_reflection__descriptor}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        const struct service *s = tables[i].service;
        assert_string_equal(s->name, tables[i].contract->name);
        assert_int_equal(s->n, tables[i].contract->n_methods);
        for (size_t k = 0; k < s->n; k++) {
            const ProtobufCMethodDescriptor *m = protobuf_c_service_descriptor_get_method_by_name(
                tables[i].contract, s->methods[k].name);
            assert_non_null(m);
            assert_true(!s->methods[k].request || s->methods[k].request == m->input);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_what_protobuf_c_packs),
        cmocka_unit_test(a_head_and_a_tail_fit),
        cmocka_unit_test(writers_of_any_bytes_become_text),
        cmocka_unit_test(symbols_are_found),
        cmocka_unit_test(broken_descriptors_are_refused),
        cmocka_unit_test(the_table_is_the_contract),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
