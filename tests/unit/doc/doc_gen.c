#include "doc_gen.h"

#include "base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->detail);
    abort();
}

uint64_t gen_next(struct gen *g)
{
    uint64_t z = (g->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t gen_below(struct gen *g, uint64_t n)
{
    return gen_next(g) % n;
}

static double random_double(struct gen *g)
{
    static const double SPECIAL[] = {0.0,   -0.0,   1.0,  -1.5,       0.1,
                                     1e300, 5e-324, 1e15, 123456.789, 1e22};
    double d;
    uint64_t bits;
    switch (gen_below(g, 8)) {
    case 0:
        return (double)NAN;
    case 1:
        return gen_below(g, 2) ? (double)INFINITY : -(double)INFINITY;
    case 2:
    case 3:
        return SPECIAL[gen_below(g, sizeof(SPECIAL) / sizeof(*SPECIAL))];
    case 4:
        return (double)(int64_t)gen_below(g, 100000) / 100;
    default:
        bits = gen_next(g);
        memcpy(&d, &bits, sizeof(d));
        return isnan(d) ? 2.5 : d;
    }
}

static const char *random_text(struct gen *g)
{
    static const char *const TEXTS[] = {"",
                                        "a",
                                        "hello world",
                                        "quote \" back \\ slash /",
                                        "\x01\x1f\t\n\r\b\f\x7f",
                                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                                        "x.y$z~/",
                                        "\xe2\x80\xa8",
                                        "a rather longer text that does not fit into any word"};
    return TEXTS[gen_below(g, sizeof(TEXTS) / sizeof(*TEXTS))];
}

static int64_t random_int(struct gen *g)
{
    static const int64_t EDGES[] = {0,          1,         -1,        INT32_MAX, INT32_MIN,
                                    2147483648, INT64_MAX, INT64_MIN, 100,       -2147483649};
    return gen_below(g, 2) ? EDGES[gen_below(g, 10)] : (int64_t)gen_next(g) >> gen_below(g, 64);
}

static void random_name(struct gen *g, char *out, size_t size)
{
    static const char *const ODD[] = {"",  "a.b", "$x",        "a/b",           "~1", "m~n", "$oid",
                                      "0", "-",   "\xc3\xa4.", "with \"quote\""};
    int rc;
    if (g->odd_names && gen_below(g, 4) == 0)
        rc = snprintf(out, size, "%s", ODD[gen_below(g, sizeof(ODD) / sizeof(*ODD))]);
    else
        rc =
            snprintf(out, size, "%c%s", (char)('a' + gen_below(g, 8)), gen_below(g, 3) ? "" : "bc");
    if (rc < 0)
        abort();
}

static void append_decimal(struct gen *g, bson_t *to, const char *name)
{
    static const char *const TEXTS[] = {"0",
                                        "-0",
                                        "1.50",
                                        "NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "1E+6144",
                                        "9.999999999999999999999999999999999E-6143",
                                        "-12345678901234567890"};
    bson_decimal128_t d;
    if (!bson_decimal128_from_string(TEXTS[gen_below(g, 9)], &d))
        abort();
    bson_append_decimal128(to, name, -1, &d);
}

static void append_bytes(struct gen *g, bson_t *to, const char *name)
{
    static const bson_subtype_t SUBTYPES[] = {BSON_SUBTYPE_BINARY, BSON_SUBTYPE_BINARY_DEPRECATED,
                                              BSON_SUBTYPE_UUID, BSON_SUBTYPE_USER};
    uint8_t data[16];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)gen_next(g);
    bson_append_binary(to, name, -1, SUBTYPES[gen_below(g, 4)], data, (uint32_t)gen_below(g, 17));
}

static void append_oid(struct gen *g, bson_t *to, const char *name, bool pointer)
{
    bson_oid_t oid;
    for (size_t i = 0; i < sizeof(oid.bytes); i++)
        oid.bytes[i] = (uint8_t)gen_next(g);
    if (pointer)
        bson_append_dbpointer(to, name, -1, random_text(g), &oid);
    else
        bson_append_oid(to, name, -1, &oid);
}

static void append_nested(struct gen *g, bson_t *to, const char *name, int depth, int kind)
{
    bson_t child;
    if (kind == 0) {
        gen_document(g, &child, depth - 1);
        bson_append_document(to, name, -1, &child);
    } else if (kind == 1) {
        gen_document(g, &child, 1);
        bson_append_code_with_scope(to, name, -1, random_text(g), &child);
    } else {
        bson_init(&child);
        uint64_t n = gen_below(g, 6);
        for (uint64_t i = 0; i < n; i++) {
            char index[24];
            snprintf(index, sizeof(index), "%d", (int)i);
            gen_value(g, &child, index, depth - 1);
        }
        bson_append_array(to, name, -1, &child);
    }
    bson_destroy(&child);
}

void gen_value(struct gen *g, bson_t *to, const char *name, int depth)
{
    switch (gen_below(g, depth > 0 ? 26 : 20)) {
    case 0:
    case 1:
        bson_append_double(to, name, -1, random_double(g));
        break;
    case 2:
    case 3:
        bson_append_utf8(to, name, -1, random_text(g), -1);
        break;
    case 4:
        append_bytes(g, to, name);
        break;
    case 5:
        bson_append_undefined(to, name, -1);
        break;
    case 6:
        append_oid(g, to, name, false);
        break;
    case 7:
        bson_append_bool(to, name, -1, gen_below(g, 2));
        break;
    case 8:
    case 9:
        bson_append_date_time(
            to, name, -1, gen_below(g, 2) ? random_int(g) : (int64_t)gen_below(g, 4000000000000));
        break;
    case 10:
        bson_append_null(to, name, -1);
        break;
    case 11:
        bson_append_regex(to, name, -1, random_text(g), gen_below(g, 2) ? "im" : "");
        break;
    case 12:
        append_oid(g, to, name, true);
        break;
    case 13:
        bson_append_code(to, name, -1, random_text(g));
        break;
    case 14:
        bson_append_symbol(to, name, -1, random_text(g), -1);
        break;
    case 15:
        bson_append_int32(to, name, -1, (int32_t)random_int(g));
        break;
    case 16:
        bson_append_timestamp(to, name, -1, (uint32_t)gen_next(g), (uint32_t)gen_next(g));
        break;
    case 17:
        bson_append_int64(to, name, -1, random_int(g));
        break;
    case 18:
        append_decimal(g, to, name);
        break;
    case 19:
        if (gen_below(g, 2))
            bson_append_maxkey(to, name, -1);
        else
            bson_append_minkey(to, name, -1);
        break;
    case 20:
        append_nested(g, to, name, depth, 1);
        break;
    case 21:
    case 22:
        append_nested(g, to, name, depth, 2);
        break;
    default:
        append_nested(g, to, name, depth, 0);
        break;
    }
}

static bool may_add(const bson_t *to, const char *name)
{
    bson_iter_t it;
    return !bson_iter_init_find(&it, to, name) && !(bson_empty(to) && name[0] == '$');
}

void gen_document(struct gen *g, bson_t *ret, int depth)
{
    bson_init(ret);
    uint64_t n = gen_below(g, 9);
    for (uint64_t i = 0; i < n; i++) {
        char name[32];
        random_name(g, name, sizeof(name));
        if (may_add(ret, name))
            gen_value(g, ret, name, depth);
    }
}

static void change_field(struct gen *g, const bson_iter_t *from, bson_t *to, const char *name,
                         int depth)
{
    bson_type_t type = bson_iter_type(from);
    if ((type == BSON_TYPE_DOCUMENT || type == BSON_TYPE_ARRAY) && depth > 0 && gen_below(g, 4)) {
        const uint8_t *data;
        uint32_t len;
        bson_t sub, changed;
        if (type == BSON_TYPE_DOCUMENT)
            bson_iter_document(from, &len, &data);
        else
            bson_iter_array(from, &len, &data);
        if (!bson_init_static(&sub, data, len))
            abort();
        if (type == BSON_TYPE_DOCUMENT) {
            gen_changed(g, &sub, &changed, depth - 1);
            bson_append_document(to, name, -1, &changed);
        } else {
            bson_iter_t it;
            char index[24];
            int n = 0;
            bson_init(&changed);
            bson_iter_init(&it, &sub);
            while (bson_iter_next(&it)) {
                if (gen_below(g, 8) == 0)
                    continue;
                if (gen_below(g, 8) == 0) {
                    snprintf(index, sizeof(index), "%d", n++);
                    gen_value(g, &changed, index, depth - 1);
                }
                snprintf(index, sizeof(index), "%d", n++);
                change_field(g, &it, &changed, index, depth - 1);
            }
            bson_append_array(to, name, -1, &changed);
        }
        bson_destroy(&changed);
    } else if (gen_below(g, 4) == 0) {
        gen_value(g, to, name, depth);
    } else {
        bson_append_iter(to, name, -1, from);
    }
}

void gen_changed(struct gen *g, const bson_t *from, bson_t *ret, int depth)
{
    bson_iter_t it;
    bson_t moved = BSON_INITIALIZER;
    bson_init(ret);
    bson_iter_init(&it, from);
    while (bson_iter_next(&it)) {
        const char *name = bson_iter_key(&it);
        if (gen_below(g, 8) == 0)
            continue;
        bool later = gen_below(g, 6) == 0 || !may_add(ret, name);
        change_field(g, &it, later ? &moved : ret, name, depth);
    }
    bson_iter_init(&it, &moved);
    while (bson_iter_next(&it)) {
        if (may_add(ret, bson_iter_key(&it)))
            bson_append_iter(ret, bson_iter_key(&it), -1, &it);
    }
    bson_destroy(&moved);
    if (gen_below(g, 2)) {
        char name[32];
        random_name(g, name, sizeof(name));
        if (may_add(ret, name))
            gen_value(g, ret, name, depth);
    }
}

struct bytes bson_bytes(const bson_t *b)
{
    return BYTES(bson_get_data(b), b->len);
}

struct buf doc_of(const char *json)
{
    struct buf out = BUF_INIT;
    struct err err;
    err_init(&err);
    if (doc_from_json(BYTES_STR(json), &out, &err))
        die(json, &err);
    return out;
}

bool libbson_reads(const char *json)
{
    return !strstr(json, "\"$code\"") && !strstr(json, "\"$dbPointer\"");
}

char *json_of(struct bytes bson, enum doc_json mode)
{
    struct buf out = BUF_INIT;
    struct err err;
    size_t len;
    err_init(&err);
    if (doc_to_json(bson, mode, false, &out, &err) || buf_append_u8(&out, 0))
        die("to json", &err);
    return (char *)buf_steal(&out, &len);
}
