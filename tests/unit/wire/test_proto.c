/* Protobuf messages: what we read against what protobuf-c writes and reads, and what must be refused. */
#include "base/alloc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/proto/pb.h"

#include <stdio.h>
#include <stdlib.h>

static const ProtobufCMessageDescriptor *const types[] = {
    &varve__v1__get_request__descriptor,
    &varve__v1__put_request__descriptor,
    &varve__v1__delete_request__descriptor,
    &varve__v1__batch_get_request__descriptor,
    &varve__v1__batch_write_request__descriptor,
    &varve__v1__compare_and_set_request__descriptor,
    &varve__v1__scan_request__descriptor,
    &varve__v1__history_response__descriptor,
    &varve__v1__diff_request__descriptor,
    &varve__v1__restore_request__descriptor,
    &varve__v1__watch_request__descriptor,
    &varve__v1__watch_response__descriptor,
    &varve__v1__get_stats_response__descriptor,
    &varve__v1__verify_response__descriptor,
    &google__rpc__status__descriptor,
    &google__rpc__error_info__descriptor,
    &google__rpc__retry_info__descriptor,
    &grpc__reflection__v1__server_reflection_response__descriptor,
};
enum { TYPES = sizeof types / sizeof types[0] };

/* ---- random messages, made for protobuf-c ---- */

static void *fill(struct test_rng *r, struct arena *a, const ProtobufCMessageDescriptor *d,
                  int depth);

static void put_random(struct test_rng *r, struct arena *a, const ProtobufCFieldDescriptor *f,
                       void *to, int depth)
{
    uint64_t number = test_rng_any_width(r);
    size_t len = (size_t)test_rng_below(r, 40);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        *(void **)to = fill(r, a, f->descriptor, depth + 1);
    } else if (f->type == PROTOBUF_C_TYPE_STRING) {
        char *text = arena_alloc(a, 2 * len + 1), *p = text;
        for (size_t i = 0; i < len; i++)
            p += test_rng_chance(r, 1, 5) ? sprintf(p, "%s", "\xc3\xa9")
                                          : sprintf(p, "%c", (int)test_rng_between(r, 1, 127));
        *p = '\0';
        *(char **)to = text;
    } else if (f->type == PROTOBUF_C_TYPE_BYTES) {
        uint8_t *data = arena_alloc(a, len + 1);
        test_rng_bytes(r, data, len);
        *(ProtobufCBinaryData *)to = (ProtobufCBinaryData){.len = len, .data = data};
    } else if (f->type == PROTOBUF_C_TYPE_BOOL) {
        *(int *)to = (int)(number & 1);
    } else if (f->type == PROTOBUF_C_TYPE_UINT64 || f->type == PROTOBUF_C_TYPE_FIXED64 ||
               f->type == PROTOBUF_C_TYPE_INT64) {
        *(uint64_t *)to = number;
    } else {
        *(uint32_t *)to = (uint32_t)number;
    }
}

static size_t width(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData)
           : type == PROTOBUF_C_TYPE_MESSAGE || type == PROTOBUF_C_TYPE_STRING ? sizeof(void *)
           : type == PROTOBUF_C_TYPE_INT32 || type == PROTOBUF_C_TYPE_UINT32   ? 4
                                                                               : 8;
}

static void *fill(struct test_rng *r, struct arena *a, const ProtobufCMessageDescriptor *d,
                  int depth)
{
    char *m = arena_alloc(a, d->sizeof_message);
    d->message_init((ProtobufCMessage *)(void *)m);
    for (unsigned i = 0; i < d->n_fields && depth < 6; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        bool oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
        if (!test_rng_chance(r, 1, 2) || (oneof && *(uint32_t *)(void *)(m + f->quantifier_offset)))
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = (size_t)test_rng_below(r, 12);
            char *array = arena_alloc(a, n * width(f->type) + 1);
            for (size_t k = 0; k < n; k++)
                put_random(r, a, f, array + k * width(f->type), depth);
            *(size_t *)(void *)(m + f->quantifier_offset) = n;
            *(void **)(void *)(m + f->offset) = array;
            continue;
        }
        if (oneof)
            *(uint32_t *)(void *)(m + f->quantifier_offset) = f->id;
        put_random(r, a, f, m + f->offset, depth);
    }
    return m;
}

/* ---- comparing ---- */

static void assert_packs_as(const ProtobufCMessage *m, struct bytes want)
{
    struct buf packed = BUF_INIT;
    assert_int_equal(pb_encode(m, &packed), ST_OK);
    assert_true(bytes_eq(buf_bytes(&packed), want));
    buf_deinit(&packed);
}

static void what_protobuf_c_packs_is_read(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng r;
        struct arena a;
        struct buf packed = BUF_INIT;
        void *got = NULL;
        test_rng_init(&r, seed);
        arena_init(&a, 0);
        const ProtobufCMessageDescriptor *d = types[test_rng_below(&r, TYPES)];
        void *m = fill(&r, &a, d, 0);
        assert_int_equal(pb_encode(m, &packed), ST_OK);
        struct err err;
        err_init(&err);
        if (pb_decode(d, buf_bytes(&packed), &a, &got, NULL, &err) != ST_OK)
            fail_msg("%s: %s", d->name, err.detail);
        assert_packs_as(got, buf_bytes(&packed));
        /* Cut anywhere it is refused, or is a message that ends there; never read past. */
        size_t cut = packed.len ? (size_t)test_rng_below(&r, packed.len) : 0;
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, packed.len ? packed.data : exact, cut);
        exact = realloc(exact, cut ? cut : 1);
        (void)!pb_decode(d, BYTES(exact, cut), &a, &got, NULL, NULL);
        free(exact);
        buf_deinit(&packed);
        arena_deinit(&a);
    }
}

static enum status decode_get(struct bytes in, Varve__V1__GetRequest **ret, struct arena *a,
                              struct err *err)
{
    void *m = NULL;
    err_init(err);
    enum status st = pb_decode(&varve__v1__get_request__descriptor, in, a, &m, NULL, err);
    *ret = m;
    return st;
}

static void odd_but_right_messages_are_read(void **state)
{
    (void)state;
    struct arena a;
    struct err err;
    Varve__V1__GetRequest *m;
    arena_init(&a, 0);
    assert_int_equal(decode_get(BYTES_EMPTY, &m, &a, &err), ST_OK);
    assert_string_equal(m->collection, "");
    assert_int_equal(m->key.len, 0);
    assert_null(m->at);
    /* Unknown fields of every wire type are passed over, and order does not matter. */
    assert_int_equal(decode_get(BYTES_LIT("\x12\x02kk\xf8\x07\x05\xf9\x07"
                                          "12345678\xfd\x07"
                                          "1234\xfa\x07\x03xyz\x0a\x01u"),
                                &m, &a, &err),
                     ST_OK);
    assert_string_equal(m->collection, "u");
    assert_true(bytes_eq(pb_bytes(m->key), BYTES_LIT("kk")));
    /* The last of a field that comes twice counts; messages are merged; of a oneof the last. */
    assert_int_equal(
        decode_get(BYTES_LIT("\x0a\x01u\x0a\x01v\x1a\x02\x10\x05\x1a\x09\x0a\x07\x10\x03"
                             "\xfa\x07\x02zz"),
                   &m, &a, &err),
        ST_OK);
    assert_string_equal(m->collection, "v");
    assert_int_equal(m->at->moment_case, VARVE__V1__AT__MOMENT_VERSION);
    assert_int_equal(m->at->version->origin, 3);
    arena_deinit(&a);
}

static void refusals_name_the_field(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *detail;
    } cases[] = {
        {"\x0a\x02u\0", 4, "collection: it has a NUL character"},
        {"\x0a\x02u\xff", 4, "collection: it is not UTF-8"},
        {"\x0a\x02\xc0\xaf", 4, "collection: it is not UTF-8"},     /* over-long '/' */
        {"\x0a\x03\xed\xa0\x80", 5, "collection: it is not UTF-8"}, /* a surrogate */
        {"\x08\x02", 2, "collection: it has the wrong wire type"},
        {"\x1a\x02\x08\x02", 4, "at.version: it has the wrong wire type"},
        {"\x1a\x03\x1a\x01\xff", 5, "at.snapshot: it is not UTF-8"},
        {"\x12\x05k", 3, "request: malformed protobuf"}, /* longer than there is */
        {"\x0b\x0c", 2, "request: malformed protobuf"},  /* a group */
        {"\x02\x00", 2, "request: malformed protobuf"},  /* field 0 */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "request: malformed protobuf"},
        {"\x1a\x01\x0a", 3, "at: malformed protobuf"},
    };
    struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err;
        Varve__V1__GetRequest *m;
        assert_int_equal(decode_get(BYTES(cases[i].in, cases[i].len), &m, &a, &err),
                         ST_INVALID_ARGUMENT);
        assert_string_equal(err.detail, cases[i].detail);
    }
    /* The element of a repeated field. */
    struct err err;
    void *m;
    err_init(&err);
    assert_int_equal(pb_decode(&varve__v1__batch_get_request__descriptor,
                               BYTES_LIT("\x0a\x03\x0a\x01u\x0a\x03\x0a\x01\xff"), &a, &m, NULL,
                               &err),
                     ST_INVALID_ARGUMENT);
    assert_string_equal(err.detail, "keys[1].collection: it is not UTF-8");
    arena_deinit(&a);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    enum { KEYS = 2 * 1000 * 1000 };
    struct arena a;
    struct err err;
    void *m = NULL;
    size_t memory = 0;
    uint8_t *in = malloc(2 * KEYS);
    for (size_t i = 0; i < 2 * KEYS;
         i += 2) { /* 2 bytes each, in memory an element of 48 and more */
        in[i] = 0x0a;
        in[i + 1] = 0;
    }
    arena_init(&a, 0);
    err_init(&err);
    assert_int_equal(pb_decode(&varve__v1__batch_get_request__descriptor, BYTES(in, 2 * KEYS), &a,
                               &m, NULL, &err),
                     ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "over the limit of 64 MiB"));
    assert_true(a.total_bytes < PB_MEMORY_MAX + 4 * 1024 * 1024);
    assert_int_equal(pb_decode(&varve__v1__batch_get_request__descriptor, BYTES(in, 2000), &a, &m,
                               &memory, &err),
                     ST_OK);
    assert_int_equal(((Varve__V1__BatchGetRequest *)m)->n_keys, 1000);
    assert_true(memory > 1000 * sizeof(Varve__V1__BatchGetRequest__Key) && memory < 200 * 1000);
    arena_deinit(&a);
    free(in);
}

static void no_memory_is_told(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct arena a;
        struct err err;
        void *m = NULL;
        arena_init(&a, 64);
        err_init(&err);
        mem_fail_at(nth, 0);
        enum status st =
            pb_decode(&varve__v1__batch_get_request__descriptor,
                      BYTES_LIT("\x0a\x07\x0a\x05users\x0a\x07\x0a\x05users\x0a\x07\x0a\x05"
                                "users\x0a\x07\x0a\x05users\x0a\x07\x0a\x05users"),
                      &a, &m, NULL, &err);
        mem_fail_at(0, 0);
        arena_deinit(&a);
        if (!mem_fail_hits()) {
            assert_int_equal(st, ST_OK);
            assert_true(nth > 3);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
    }
}

static void text_for_strings(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    assert_string_equal(pb_text(BYTES_LIT("caf\xc3\xa9"), &a), "caf\xc3\xa9");
    assert_string_equal(pb_text(BYTES_LIT("caf\xe9"), &a), "caf?");
    assert_string_equal(pb_text(BYTES_LIT("a\0b"), &a), "a?b");
    assert_string_equal(pb_text(BYTES_EMPTY, &a), "");
    assert_true(pb_is_utf8(BYTES_LIT("\xf4\x8f\xbf\xbf")));
    assert_false(pb_is_utf8(BYTES_LIT("\xf4\x90\x80\x80")));
    assert_false(pb_is_utf8(BYTES_LIT("12345678\xe2\x82")));
    arena_deinit(&a);
}

static void writing_by_hand_is_protobuf(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        test_rng_init(&r, seed);
        uint64_t v = test_rng_any_width(&r);
        uint8_t out[PB_VARINT_MAX];
        size_t n = (size_t)(pb_w_varint(out, v) - out);
        assert_int_equal(n, pb_varint_size(v));
        uint64_t back;
        struct reader in = reader_of(BYTES(out, n));
        assert_true(read_varint(&in, &back) && back == v && reader_left(&in) == 0);
    }
    Varve__V1__Version version = VARVE__V1__VERSION__INIT;
    version.hlc = 0x018f3a2b4c5d0001;
    uint8_t out[16];
    assert_packs_as(&version.base, BYTES(out, (size_t)(pb_w_fixed64(out, 1, version.hlc) - out)));
}

static void all_contracts_are_embedded(void **state)
{
    (void)state;
    struct reader r = reader_of(proto_descriptors());
    size_t files = 0;
    while (reader_left(&r)) {
        struct pb_field f;
        assert_true(pb_next(&r, &f));
        assert_int_equal(f.number, 1);
        files++;
    }
    assert_int_equal(files, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_protobuf_c_packs_is_read),
        cmocka_unit_test(odd_but_right_messages_are_read),
        cmocka_unit_test(refusals_name_the_field),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(text_for_strings),
        cmocka_unit_test(writing_by_hand_is_protobuf),
        cmocka_unit_test(all_contracts_are_embedded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
