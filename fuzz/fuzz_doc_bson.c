/* fuzz_doc_bson.c - every function bears any bytes; what doc_check accepts is valid for libbson
 * too, has no difference from itself, and comes back from JSON the same, but for documents that
 * begin with the name of a $-form. */
#include "base/assert.h"
#include "model/doc/doc.h"

#include <bson/bson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool begins_form(bson_iter_t it)
{
    bson_iter_t child;
    for (bool first = true; bson_iter_next(&it); first = false) {
        const char *name = bson_iter_key(&it);
        /* any dollar: what exactly a form is called is not for the fuzzer to know */
        if ((first && name[0] == '$') || strcmp(name, "$code") == 0)
            return true;
        if (BSON_ITER_HOLDS_CODEWSCOPE(&it)) {
            uint32_t len, scope_len;
            const uint8_t *scope;
            ASSERT(bson_iter_codewscope(&it, &len, &scope_len, &scope));
            ASSERT(bson_iter_init_from_data(&child, scope, scope_len));
        } else if (!BSON_ITER_HOLDS_DOCUMENT(&it) && !BSON_ITER_HOLDS_ARRAY(&it)) {
            continue;
        } else {
            ASSERT(bson_iter_recurse(&it, &child));
        }
        if (begins_form(child))
            return true;
    }
    return false;
}

/* Arrays may have any names, so the text is compared and not the bytes. */
static void comes_back(enum doc_json mode, struct bytes text)
{
    struct buf back = BUF_INIT, again = BUF_INIT;
    ASSERT(doc_from_json(text, &back, NULL) == ST_OK);
    ASSERT(doc_check(buf_bytes(&back), NULL) == ST_OK);
    ASSERT(doc_to_json(buf_bytes(&back), mode, false, &again, NULL) == ST_OK);
    ASSERT(bytes_eq(text, buf_bytes(&again)));
    buf_deinit(&back);
    buf_deinit(&again);
}

static void walk(struct bytes doc, bool good)
{
    struct buf text = BUF_INIT, key = BUF_INIT;
    struct bytes name;
    size_t pos = 0;
    int rc;
    while ((rc = doc_next_field(doc, &pos, &name, &text, NULL)) == 1) {
        enum status st = doc_key_text(doc, name, &key, NULL);
        ASSERT(st == ST_OK || st == ST_NOT_FOUND || st == ST_INVALID_ARGUMENT);
    }
    ASSERT(rc == 0 || !good);
    buf_deinit(&text);
    buf_deinit(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes doc = BYTES(data, size);
    struct buf canonical = BUF_INIT, relaxed = BUF_INIT, diff = BUF_INIT;
    struct err err;
    bson_t view;
    bson_iter_t it;
    err_init(&err);
    bool good = doc_check(doc, &err) == ST_OK;
    ASSERT(good == (err.status == ST_OK));
    bool printed = doc_to_json(doc, DOC_JSON_CANONICAL, false, &canonical, NULL) == ST_OK &&
                   doc_to_json(doc, DOC_JSON_RELAXED, false, &relaxed, NULL) == ST_OK;
    bool same = doc_equal(doc, doc);
    bool patched =
        doc_diff(doc, BYTES_LIT("\5\0\0\0\0"), DOC_DIFF_JSON_PATCH, &diff, NULL) == ST_OK;
    walk(doc, good);
    if (good) {
        ASSERT(printed && same && patched);
        ASSERT(bson_init_static(&view, data, size));
        ASSERT(bson_validate(&view, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, NULL));
        ASSERT(bson_iter_init(&it, &view));
        if (!begins_form(it)) {
            comes_back(DOC_JSON_CANONICAL, buf_bytes(&canonical));
            comes_back(DOC_JSON_RELAXED, buf_bytes(&relaxed));
        }
    }
    buf_deinit(&canonical);
    buf_deinit(&relaxed);
    buf_deinit(&diff);
    return 0;
}
