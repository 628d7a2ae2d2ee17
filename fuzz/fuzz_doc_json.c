/* fuzz_doc_json.c - whatever JSON is accepted makes a valid document, and canonical JSON gives that
 * document back byte for byte; whatever is refused leaves no output and says why. */
#include "base/assert.h"
#include "model/doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_difference(struct bytes doc)
{
    struct buf out = BUF_INIT;
    ASSERT(doc_equal(doc, doc));
    ASSERT(doc_diff(doc, doc, DOC_DIFF_PATHS, &out, NULL) == ST_OK);
    ASSERT(bytes_eq(buf_bytes(&out), BYTES_LIT("{\"set\":{},\"unset\":[]}")));
    buf_deinit(&out);
}

/* Relaxed JSON loses the width of integers once, and then nothing more. */
static void relaxed_settles(struct bytes doc)
{
    struct buf text = BUF_INIT, back = BUF_INIT, again = BUF_INIT;
    ASSERT(doc_to_json(doc, DOC_JSON_RELAXED, true, &text, NULL) == ST_OK);
    ASSERT(doc_from_json(buf_bytes(&text), &back, NULL) == ST_OK);
    ASSERT(doc_to_json(buf_bytes(&back), DOC_JSON_RELAXED, true, &again, NULL) == ST_OK);
    ASSERT(bytes_eq(buf_bytes(&text), buf_bytes(&again)));
    buf_deinit(&text);
    buf_deinit(&back);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf doc = BUF_INIT, text = BUF_INIT, back = BUF_INIT;
    struct err err;
    err_init(&err);
    enum status st = doc_from_json(BYTES(data, size), &doc, &err);
    if (st) {
        ASSERT(st == ST_INVALID_ARGUMENT || st == ST_TOO_LARGE);
        ASSERT(err.status == st && err.detail[0] && doc.len == 0);
    } else {
        ASSERT(doc_check(buf_bytes(&doc), &err) == ST_OK);
        ASSERT(doc_to_json(buf_bytes(&doc), DOC_JSON_CANONICAL, false, &text, &err) == ST_OK);
        ASSERT(doc_from_json(buf_bytes(&text), &back, &err) == ST_OK);
        ASSERT(bytes_eq(buf_bytes(&doc), buf_bytes(&back)));
        relaxed_settles(buf_bytes(&doc));
        no_difference(buf_bytes(&doc));
    }
    buf_deinit(&doc);
    buf_deinit(&text);
    buf_deinit(&back);
    return 0;
}
