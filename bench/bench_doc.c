/* bench_doc.c - what a document costs on its way in and out: check, read and write, at two sizes.
 *
 *     bench_doc [ROUNDS]
 */
#include "bench_util.h"
#include "model/doc/doc.h"

#include <stdio.h>

enum { ROUNDS_DEFAULT = 100000 };

static void must(enum status st, const struct err *err)
{
    if (st)
        bench_die("%s: %s", status_name(st), err->detail);
}

/* Like a customer's record: short fields of mixed types, then orders of five fields each until the
 * size is reached. */
static void make_json(struct buf *out, size_t bson_bytes)
{
    struct err err = {.detail = "making JSON"};
    struct buf bson = BUF_INIT;
    for (int orders = 0; bson.len < bson_bytes; orders++) {
        buf_clear(out);
        buf_clear(&bson);
        must(buf_printf(
                 out,
                 "{\"_id\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"},\"name\":\"J\xc3\xa9r\xc3\xb4me "
                 "Example\","
                 "\"age\":42,\"score\":0.75,\"active\":true,\"since\":{\"$date\":\"2012-12-24T12:"
                 "15:30Z\"},"
                 "\"address\":{\"street\":\"Long Lane 5\",\"zip\":\"1010\",\"city\":\"Vienna\"},"
                 "\"tags\":[\"a\",\"bc\",\"def\"],\"note\":null,\"orders\":["),
             &err);
        for (int i = 0; i < orders; i++)
            must(buf_printf(out,
                            "%s{\"number\":%d,\"sum\":%d.25,\"item\":\"thing "
                            "%d\",\"sent\":false,\"weight\":1.5}",
                            i ? "," : "", i + 1000, i * 17, i),
                 &err);
        must(buf_append(out, "]}", 2), &err);
        must(doc_from_json(buf_bytes(out), &bson, &err), &err);
    }
    buf_deinit(&bson);
}

static void measure(const char *what, uint64_t rounds, struct bytes json, struct bytes bson,
                    int kind, uint64_t *sum)
{
    struct buf out = BUF_INIT;
    struct err err;
    char text[64];
    err_init(&err);
    uint64_t start = bench_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        buf_clear(&out);
        if (kind == 0)
            must(doc_check(bson, &err), &err);
        else if (kind == 1)
            must(doc_from_json(json, &out, &err), &err);
        else if (kind == 2)
            must(doc_to_json(bson, DOC_JSON_RELAXED, false, &out, &err), &err);
        else
            must(doc_to_json(bson, DOC_JSON_CANONICAL, false, &out, &err), &err);
        *sum = *sum * 31 + out.len + 1;
    }
    uint64_t ns = bench_ns() - start;
    int n = snprintf(text, sizeof(text), "%s, %zu B", what, bson.len);
    if (n < 0)
        bench_die("snprintf");
    bench_rate(text, rounds, ns);
    buf_deinit(&out);
}

int main(int argc, char **argv)
{
    static const char *const WHAT[] = {"check", "from JSON", "to relaxed JSON",
                                       "to canonical JSON"};
    static const size_t SIZES[] = {500, 2048};
    uint64_t rounds = bench_arg(argc, argv, 1, ROUNDS_DEFAULT), sum = 0;
    struct err err;
    bench_machine(argv[0]);
    for (size_t i = 0; i < 2; i++) {
        struct buf json = BUF_INIT, bson = BUF_INIT;
        make_json(&json, SIZES[i]);
        must(doc_from_json(buf_bytes(&json), &bson, &err), &err);
        for (int kind = 0; kind < 4; kind++)
            measure(WHAT[kind], rounds, buf_bytes(&json), buf_bytes(&bson), kind, &sum);
        buf_deinit(&json);
        buf_deinit(&bson);
    }
    bench_checksum(sum);
    return 0;
}
