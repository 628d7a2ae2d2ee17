#include "base/alloc.h"
#include "doc_gen.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- a naive model: documents as trees of names, to which differences are applied by the letter of
 * the RFC --- */

struct node {
    char *name; /* NULL in arrays */
    bson_value_t value;
    bool array, document; /* then the kids count and not the value */
    struct node **kids;
    size_t len;
};

static void node_free(struct node *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->len; i++)
        node_free(n->kids[i]);
    if (!n->array && !n->document)
        bson_value_destroy(&n->value);
    free(n->kids);
    free(n->name);
    free(n);
}

static void node_insert(struct node *n, size_t at, struct node *kid)
{
    assert_true(at <= n->len);
    n->kids = realloc(n->kids, (n->len + 1) * sizeof(struct node *));
    assert_non_null(n->kids);
    memmove(n->kids + at + 1, n->kids + at, (n->len - at) * sizeof(struct node *));
    n->kids[at] = kid;
    n->len++;
}

static void node_remove(struct node *n, size_t at)
{
    assert_true(at < n->len);
    node_free(n->kids[at]);
    memmove(n->kids + at, n->kids + at + 1, (n->len - at - 1) * sizeof(struct node *));
    n->len--;
}

static struct node *node_of_iter(const bson_iter_t *it);

static struct node *node_of_children(bson_iter_t *it, bool array)
{
    struct node *n = calloc(1, sizeof(*n));
    assert_non_null(n);
    n->array = array;
    n->document = !array;
    while (bson_iter_next(it)) {
        struct node *kid = node_of_iter(it);
        if (!array)
            kid->name = strdup(bson_iter_key(it));
        node_insert(n, n->len, kid);
    }
    return n;
}

static struct node *node_of_iter(const bson_iter_t *it)
{
    bson_iter_t child;
    if (BSON_ITER_HOLDS_DOCUMENT(it) || BSON_ITER_HOLDS_ARRAY(it)) {
        assert_true(bson_iter_recurse(it, &child));
        return node_of_children(&child, BSON_ITER_HOLDS_ARRAY(it));
    }
    struct node *n = calloc(1, sizeof(*n));
    assert_non_null(n);
    bson_iter_t copy = *it;
    bson_value_copy(bson_iter_value(&copy), &n->value);
    return n;
}

static struct node *node_of(struct bytes bson)
{
    bson_t b;
    bson_iter_t it;
    assert_true(bson_init_static(&b, bson.data, bson.len));
    assert_true(bson_iter_init(&it, &b));
    return node_of_children(&it, false);
}

static void node_append(const struct node *n, bson_t *to, const char *name)
{
    bson_t child;
    if (!n->array && !n->document) {
        assert_true(bson_append_value(to, name, -1, &n->value));
        return;
    }
    bson_init(&child);
    for (size_t i = 0; i < n->len; i++) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        node_append(n->kids[i], &child, n->array ? index : n->kids[i]->name);
    }
    if (n->array)
        bson_append_array(to, name, -1, &child);
    else
        bson_append_document(to, name, -1, &child);
    bson_destroy(&child);
}

static void node_to_bson(const struct node *root, bson_t *ret)
{
    bson_init(ret);
    for (size_t i = 0; i < root->len; i++)
        node_append(root->kids[i], ret, root->kids[i]->name);
}

static struct node *kid_named(const struct node *n, const char *name, size_t *ret_at)
{
    for (size_t i = 0; i < n->len; i++) {
        if (strcmp(n->kids[i]->name, name) == 0) {
            *ret_at = i;
            return n->kids[i];
        }
    }
    return NULL;
}

static bool value_same(const bson_value_t *a, const bson_value_t *b)
{
    bson_t ba = BSON_INITIALIZER, bb = BSON_INITIALIZER;
    if (a->value_type != b->value_type)
        return false;
    if (a->value_type == BSON_TYPE_DOUBLE && isnan(a->value.v_double))
        return isnan(b->value.v_double);
    bson_append_value(&ba, "", 0, a);
    bson_append_value(&bb, "", 0, b);
    bool same = ba.len == bb.len && memcmp(bson_get_data(&ba), bson_get_data(&bb), ba.len) == 0;
    bson_destroy(&ba);
    bson_destroy(&bb);
    return same;
}

static bool node_same(const struct node *a, const struct node *b)
{
    size_t at;
    if (a->array != b->array || a->document != b->document || a->len != b->len)
        return false;
    if (!a->array && !a->document)
        return value_same(&a->value, &b->value);
    for (size_t i = 0; i < a->len; i++) {
        const struct node *other = a->array ? b->kids[i] : kid_named(b, a->kids[i]->name, &at);
        if (!other || !node_same(a->kids[i], other))
            return false;
    }
    return true;
}

/* --- applying --- */

static size_t index_of(const char *text, size_t len, size_t max)
{
    char *end;
    assert_true(text[0] >= '0' && text[0] <= '9' && (text[0] != '0' || text[1] == 0));
    size_t i = strtoul(text, &end, 10);
    assert_true(end == text + len && i <= max);
    return i;
}

/* The next reference token of a JSON Pointer, unescaped; false at the end. */
static bool next_token(const char **pointer, char *out, size_t size)
{
    const char *p = *pointer;
    size_t n = 0;
    if (*p == 0)
        return false;
    assert_int_equal(*p++, '/');
    for (; *p && *p != '/'; p++) {
        char c = *p;
        if (c == '~') {
            p++;
            assert_true(*p == '0' || *p == '1');
            c = *p == '0' ? '~' : '/';
        }
        assert_true(n + 1 < size);
        out[n++] = c;
    }
    out[n] = 0;
    *pointer = p;
    return true;
}

static void apply_at(struct node *parent, const char *token, const char *op, struct node *value)
{
    size_t at = 0;
    bool there = true;
    if (parent->array)
        at = index_of(token, strlen(token), parent->len);
    else
        there = kid_named(parent, token, &at) != NULL;
    if (parent->array && strcmp(op, "add") == 0) {
        node_insert(parent, at, value);
        return;
    }
    if (strcmp(op, "add") == 0) {
        assert_false(there); /* ours never adds over a field */
        at = parent->len;
    } else {
        assert_true(there);
        node_remove(parent, at);
    }
    if (!value)
        return;
    if (!parent->array)
        value->name = strdup(token);
    node_insert(parent, at, value);
}

static void apply_operation(struct node *root, const bson_iter_t *operation)
{
    bson_iter_t it;
    const char *op = NULL, *pointer = NULL;
    struct node *value = NULL, *at = root;
    char token[64], next[64];
    assert_true(bson_iter_recurse(operation, &it));
    while (bson_iter_next(&it)) {
        if (strcmp(bson_iter_key(&it), "op") == 0)
            op = bson_iter_utf8(&it, NULL);
        else if (strcmp(bson_iter_key(&it), "path") == 0)
            pointer = bson_iter_utf8(&it, NULL);
        else
            value = node_of_iter(&it);
    }
    assert_true(op && pointer && (strcmp(op, "remove") == 0) == (value == NULL));
    assert_true(strcmp(op, "remove") == 0 || strcmp(op, "add") == 0 || strcmp(op, "replace") == 0);
    assert_true(next_token(&pointer, token, sizeof(token)));
    while (next_token(&pointer, next, sizeof(next))) {
        size_t i = 0;
        if (at->array)
            at = at->kids[index_of(token, strlen(token), at->len - 1)];
        else
            at = kid_named(at, token, &i);
        assert_non_null(at);
        memcpy(token, next, sizeof(token));
    }
    apply_at(at, token, op, value);
}

/* libbson reads the patch where it can; some odd names it takes for forms. */
static struct buf parse(const char *json, bool ours)
{
    struct buf out = BUF_INIT;
    bson_t b;
    bson_error_t error;
    if (ours || !libbson_reads(json))
        return doc_of(json);
    if (!bson_init_from_json(&b, json, -1, &error))
        fail_msg("libbson: %s in %s", error.message, json);
    assert_int_equal(buf_append(&out, bson_get_data(&b), b.len), ST_OK);
    bson_destroy(&b);
    return out;
}

static void apply_patch(struct node *root, const char *patch, bool ours)
{
    struct buf json = BUF_INIT;
    bson_t b;
    bson_iter_t it, op;
    assert_int_equal(buf_printf(&json, "{\"p\":%s}", patch), ST_OK);
    struct buf parsed = parse(buf_cstr(&json), ours);
    assert_true(bson_init_static(&b, parsed.data, parsed.len));
    assert_true(bson_iter_init_find(&it, &b, "p") && bson_iter_recurse(&it, &op));
    while (bson_iter_next(&op))
        apply_operation(root, &op);
    buf_deinit(&json);
    buf_deinit(&parsed);
}

/* Sets (or, without a value, unsets) at a dotted path; the empty path is the whole document. */
static void apply_path(struct node **root, const char *path, struct node *value)
{
    struct node *at = *root;
    if (*path == 0) {
        assert_non_null(value);
        node_free(*root);
        *root = value;
        return;
    }
    for (;;) {
        const char *dot = strchr(path, '.');
        size_t len = dot ? (size_t)(dot - path) : strlen(path), i = 0;
        char step[64];
        assert_true(len > 0 && len < sizeof(step) && path[0] != '$');
        memcpy(step, path, len);
        step[len] = 0;
        bool there = true;
        if (at->array)
            i = index_of(step, len, at->len - 1);
        else
            there = kid_named(at, step, &i) != NULL;
        if (!dot) {
            assert_true(there || value);
            assert_true(value || !at->array);
            if (there)
                node_remove(at, i);
            else
                i = at->len;
            if (value && !at->array)
                value->name = strdup(step);
            if (value)
                node_insert(at, i, value);
            return;
        }
        assert_true(there);
        at = at->kids[i];
        path = dot + 1;
    }
}

static void apply_paths(struct node **root, const char *json, bool ours)
{
    struct buf parsed = parse(json, ours);
    bson_t b;
    bson_iter_t it, each;
    assert_true(bson_init_static(&b, parsed.data, parsed.len));
    assert_true(bson_iter_init_find(&it, &b, "set") && bson_iter_recurse(&it, &each));
    while (bson_iter_next(&each))
        apply_path(root, bson_iter_key(&each), node_of_iter(&each));
    assert_true(bson_iter_init_find(&it, &b, "unset") && bson_iter_recurse(&it, &each));
    while (bson_iter_next(&each))
        apply_path(root, bson_iter_utf8(&each, NULL), NULL);
    buf_deinit(&parsed);
}

/* --- tests --- */

static char *diff_of(struct bytes a, struct bytes b, enum doc_diff format)
{
    struct buf out = BUF_INIT;
    struct err err;
    size_t len;
    err_init(&err);
    if (doc_diff(a, b, format, &out, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(buf_append_u8(&out, 0), ST_OK);
    return (char *)buf_steal(&out, &len);
}

static void test_doc_diff_shows(void **state)
{
    static const char *const CASES[][4] = {
        {"{}", "{}", "{\"set\":{},\"unset\":[]}", "[]"},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "{\"set\":{},\"unset\":[]}", "[]"},
        {"{\"address\":{\"zip\":\"1000\",\"c\":1},\"age\":5}",
         "{\"address\":{\"zip\":\"1010\",\"c\":1}}",
         "{\"set\":{\"address.zip\":\"1010\"},\"unset\":[\"age\"]}",
         "[{\"op\":\"replace\",\"path\":\"/address/"
         "zip\",\"value\":\"1010\"},{\"op\":\"remove\",\"path\":\"/age\"}]"},
        {"{\"t\":[1,2,3]}", "{\"t\":[1,9,3]}", "{\"set\":{\"t.1\":9},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/t/1\",\"value\":9}]"},
        {"{\"t\":[1,2,3]}", "{\"t\":[0,1,2,3]}", "{\"set\":{\"t\":[0,1,2,3]},\"unset\":[]}",
         "[{\"op\":\"add\",\"path\":\"/t/0\",\"value\":0}]"},
        {"{\"t\":[1,2,3,4,5]}", "{\"t\":[1,9,5]}", "{\"set\":{\"t\":[1,9,5]},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/t/1\",\"value\":9},{\"op\":\"remove\",\"path\":\"/t/"
         "3\"},{\"op\":\"remove\",\"path\":\"/t/2\"}]"},
        {"{\"t\":[]}", "{\"t\":[1,{}]}", "{\"set\":{\"t\":[1,{}]},\"unset\":[]}",
         "[{\"op\":\"add\",\"path\":\"/t/0\",\"value\":1},{\"op\":\"add\",\"path\":\"/t/"
         "1\",\"value\":{}}]"},
        {"{\"n\":1}", "{\"n\":{\"$numberLong\":\"1\"}}", "{\"set\":{\"n\":1},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/n\",\"value\":{\"$numberLong\":\"1\"}}]"},
        {"{\"n\":0.0}", "{\"n\":-0.0}", "{\"set\":{\"n\":-0.0},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/n\",\"value\":-0.0}]"},
        {"{\"m~n\":{\"a/b\":1}}", "{\"m~n\":{\"a/b\":2}}", "{\"set\":{\"m~n.a/b\":2},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/m~0n/a~1b\",\"value\":2}]"},
        {"{\"p\":{\"a.b\":1,\"c\":1}}", "{\"p\":{\"a.b\":2,\"c\":1}}",
         "{\"set\":{\"p\":{\"a.b\":2,\"c\":1}},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/p/a.b\",\"value\":2}]"},
        {"{\"p\":{\"a.b\":1,\"c\":1}}", "{\"p\":{\"a.b\":1,\"c\":2}}",
         "{\"set\":{\"p.c\":2},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/p/c\",\"value\":2}]"},
        {"{\"p\":{\"c\":1,\"$x\":1}}", "{\"p\":{\"c\":1}}",
         "{\"set\":{\"p\":{\"c\":1}},\"unset\":[]}", "[{\"op\":\"remove\",\"path\":\"/p/$x\"}]"},
        {"{\"a\":1,\"\":1}", "{\"a\":1}", "{\"set\":{\"\":{\"a\":1}},\"unset\":[]}",
         "[{\"op\":\"remove\",\"path\":\"/\"}]"},
        {"{\"a\":{}}", "{\"a\":[]}", "{\"set\":{\"a\":[]},\"unset\":[]}",
         "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":[]}]"},
        {"{\"a\":{\"$code\":\"f\",\"$scope\":{\"x\":1,\"y\":2}}}",
         "{\"a\":{\"$code\":\"f\",\"$scope\":{\"y\":2,\"x\":1}}}", "{\"set\":{},\"unset\":[]}",
         "[]"},
        {"{\"l\":[{\"x\":1}]}", "{\"l\":[{\"x\":1,\"y\":{\"z\":[]}}]}",
         "{\"set\":{\"l.0.y\":{\"z\":[]}},\"unset\":[]}",
         "[{\"op\":\"add\",\"path\":\"/l/0/y\",\"value\":{\"z\":[]}}]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        struct buf a = doc_of(CASES[i][0]), b = doc_of(CASES[i][1]);
        for (int format = DOC_DIFF_PATHS; format <= DOC_DIFF_JSON_PATCH; format++) {
            char *text = diff_of(buf_bytes(&a), buf_bytes(&b), (enum doc_diff)format);
            assert_string_equal(text, CASES[i][2 + format]);
            mem_free(text);
        }
        assert_int_equal(doc_equal(buf_bytes(&a), buf_bytes(&b)), strcmp(CASES[i][3], "[]") == 0);
        buf_deinit(&a);
        buf_deinit(&b);
    }
}

/* What relaxed JSON does to a document: an int64 that fits becomes an int32. On the tree, since a
 * patched document may begin with a name like "$oid", which as JSON would be read as something
 * else. */
static void relax(struct node *n)
{
    for (size_t i = 0; i < n->len; i++)
        relax(n->kids[i]);
    bson_value_t *v = &n->value;
    if (n->array || n->document)
        return;
    if (v->value_type == BSON_TYPE_CODEWSCOPE) {
        bson_t scope, relaxed;
        assert_true(bson_init_static(&scope, v->value.v_codewscope.scope_data,
                                     v->value.v_codewscope.scope_len));
        struct node *tree = node_of(bson_bytes(&scope));
        relax(tree);
        node_to_bson(tree, &relaxed);
        node_free(tree);
        bson_free(v->value.v_codewscope.scope_data);
        v->value.v_codewscope.scope_len = relaxed.len;
        v->value.v_codewscope.scope_data = bson_destroy_with_steal(&relaxed, true, NULL);
    } else if (v->value_type == BSON_TYPE_INT64 && v->value.v_int64 >= INT32_MIN &&
               v->value.v_int64 <= INT32_MAX) {
        v->value.v_int32 = (int32_t)v->value.v_int64;
        v->value_type = BSON_TYPE_INT32;
    }
}

static void check_patch(uint64_t seed, const bson_t *a, const bson_t *b, bool ours)
{
    bson_t patched;
    struct node *tree = node_of(bson_bytes(a)), *wanted = node_of(bson_bytes(b));
    bool equal = doc_equal(bson_bytes(a), bson_bytes(b));
    if (equal != node_same(tree, wanted) || equal != doc_equal(bson_bytes(b), bson_bytes(a)))
        fail_msg("seed %llu: doc_equal and the model disagree", (unsigned long long)seed);
    char *patch = diff_of(bson_bytes(a), bson_bytes(b), DOC_DIFF_JSON_PATCH);
    if (equal != (strcmp(patch, "[]") == 0))
        fail_msg("seed %llu: %s", (unsigned long long)seed, patch);
    apply_patch(tree, patch, ours);
    node_to_bson(tree, &patched);
    if (!node_same(tree, wanted) || !doc_equal(bson_bytes(&patched), bson_bytes(b)))
        fail_msg("seed %llu: %s", (unsigned long long)seed, patch);
    bson_destroy(&patched);
    mem_free(patch);
    node_free(tree);
    node_free(wanted);
}

static void check_paths(uint64_t seed, const bson_t *a, const bson_t *b, bool ours)
{
    struct node *tree = node_of(bson_bytes(a)), *wanted = node_of(bson_bytes(b));
    char *paths = diff_of(bson_bytes(a), bson_bytes(b), DOC_DIFF_PATHS);
    bool empty = strcmp(paths, "{\"set\":{},\"unset\":[]}") == 0;
    if (doc_equal(bson_bytes(a), bson_bytes(b)) != empty)
        fail_msg("seed %llu: %s", (unsigned long long)seed, paths);
    apply_paths(&tree, paths, ours);
    relax(tree);
    relax(wanted);
    if (!node_same(tree, wanted))
        fail_msg("seed %llu: %s", (unsigned long long)seed, paths);
    mem_free(paths);
    node_free(tree);
    node_free(wanted);
}

static void test_doc_diff_applies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6000; seed++) {
        struct gen g = {.state = seed, .odd_names = seed % 2};
        bson_t a, b;
        gen_document(&g, &a, 4);
        if (seed % 5 == 0)
            gen_document(&g, &b, 4);
        else
            gen_changed(&g, &a, &b, 4);
        check_patch(seed, &a, &b, g.odd_names);
        check_patch(seed, &a, &a, g.odd_names);
        check_paths(seed, &a, &b, g.odd_names);
        bson_destroy(&a);
        bson_destroy(&b);
    }
}

static void test_doc_diff_wide_shuffled(void **state)
{
    enum { N = 100000 };
    bson_t a = BSON_INITIALIZER, b = BSON_INITIALIZER;
    (void)state;
    for (int64_t i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%d", (int)(i * 7919 % N));
        bson_append_int32(&a, name, -1, 1);
        snprintf(name, sizeof(name), "f%d", (int)(i * 104729 % N));
        bson_append_int32(&b, name, -1, 1);
    }
    assert_true(doc_equal(bson_bytes(&a), bson_bytes(&b)));
    char *none = diff_of(bson_bytes(&a), bson_bytes(&b), DOC_DIFF_JSON_PATCH);
    assert_string_equal(none, "[]");
    mem_free(none);
    bson_append_int32(&a, "old", -1, 1);
    bson_append_int32(&b, "new", -1, 1);
    assert_false(doc_equal(bson_bytes(&a), bson_bytes(&b)));
    char *both = diff_of(bson_bytes(&a), bson_bytes(&b), DOC_DIFF_PATHS);
    assert_string_equal(both, "{\"set\":{\"new\":1},\"unset\":[\"old\"]}");
    mem_free(both);
    bson_destroy(&a);
    bson_destroy(&b);
}

static void test_doc_equal_values(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } CASES[] = {
        {"{\"a\":1}", "{\"a\":1.0}", false},
        {"{\"a\":1}", "{\"a\":{\"$numberLong\":\"1\"}}", false},
        {"{\"a\":0.0}", "{\"a\":-0.0}", false},
        {"{\"a\":{\"$numberDouble\":\"NaN\"}}", "{\"a\":{\"$numberDouble\":\"NaN\"}}", true},
        {"{\"a\":{\"$numberDecimal\":\"1.0\"}}", "{\"a\":{\"$numberDecimal\":\"1.00\"}}", false},
        {"{\"a\":[1,2]}", "{\"a\":[2,1]}", false},
        {"{\"a\":[{\"x\":1,\"y\":2}]}", "{\"a\":[{\"y\":2,\"x\":1}]}", true},
        {"{\"a\":null}", "{}", false},
        {"{}", "{\"a\":null}", false},
        {"{\"a\":\"x\"}", "{\"a\":{\"$symbol\":\"x\"}}", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        struct buf a = doc_of(CASES[i].a), b = doc_of(CASES[i].b);
        if (doc_equal(buf_bytes(&a), buf_bytes(&b)) != CASES[i].equal)
            fail_msg("%s %s", CASES[i].a, CASES[i].b);
        buf_deinit(&a);
        buf_deinit(&b);
    }
    bson_t quiet = BSON_INITIALIZER, other = BSON_INITIALIZER;
    double nan = (double)NAN;
    uint64_t bits;
    memcpy(&bits, &nan, sizeof(bits));
    bson_append_double(&quiet, "a", 1, nan);
    bits ^= 0x8000000000000005u; /* another sign and payload */
    memcpy(&nan, &bits, sizeof(bits));
    bson_append_double(&other, "a", 1, nan);
    assert_true(doc_equal(bson_bytes(&quiet), bson_bytes(&other)));
    bson_destroy(&quiet);
    bson_destroy(&other);
}

struct deep {
    const char *open, *inside_a, *inside_b, *close;
    int levels;
};

static struct buf deep_json(const struct deep *d, const char *inside)
{
    struct buf out = BUF_INIT;
    enum status st = buf_append(&out, "{\"a\":", 5);
    for (int i = 0; i < d->levels; i++)
        st = st ? st : buf_append(&out, d->open, strlen(d->open));
    st = st ? st : buf_append(&out, inside, strlen(inside));
    for (int i = 0; i < d->levels; i++)
        st = st ? st : buf_append(&out, d->close, strlen(d->close));
    st = st ? st : buf_append_u8(&out, '}');
    assert_int_equal(st, ST_OK);
    return out;
}

static bool deep_difference(struct bytes a, struct bytes b)
{
    struct buf out = BUF_INIT;
    bool differ = !doc_equal(a, b) && !doc_equal(b, a) && doc_equal(a, a);
    for (int format = DOC_DIFF_PATHS; format <= DOC_DIFF_JSON_PATCH; format++) {
        buf_clear(&out);
        differ =
            differ && doc_diff(a, b, (enum doc_diff)format, &out, NULL) == ST_OK && out.len > 30;
    }
    buf_deinit(&out);
    return differ;
}

/* All that walks a document, on a stack as small as a fiber's. NULL: well. */
static void *walk_deep(void *arg)
{
    const struct deep *d = arg;
    struct buf ja = deep_json(d, d->inside_a), jb = deep_json(d, d->inside_b);
    struct buf a = BUF_INIT, b = BUF_INIT, text = BUF_INIT;
    const char *bad = NULL;
    if (doc_from_json(buf_bytes(&ja), &a, NULL) || doc_from_json(buf_bytes(&jb), &b, NULL))
        bad = "reading";
    else if (doc_check(buf_bytes(&a), NULL) || doc_check(buf_bytes(&b), NULL))
        bad = "checking";
    else if (doc_to_json(buf_bytes(&a), DOC_JSON_RELAXED, false, &text, NULL) ||
             !bytes_eq(buf_bytes(&text), buf_bytes(&ja)))
        bad = "printing";
    else if (!deep_difference(buf_bytes(&a), buf_bytes(&b)))
        bad = "comparing";
    buf_deinit(&ja);
    buf_deinit(&jb);
    buf_deinit(&a);
    buf_deinit(&b);
    buf_deinit(&text);
    return (void *)(uintptr_t)bad;
}

static void test_doc_diff_deep_on_a_small_stack(void **state)
{
    static struct deep cases[] = {
        {"{\"a\":", "1", "2", "}", DOC_MAX_DEPTH - 1},
        {"[", "1", "2", "]", DOC_MAX_DEPTH - 1},
        {"[", "1", "1,2", "]", DOC_MAX_DEPTH - 1},
        {"[0,", "1", "1,2", "]", DOC_MAX_DEPTH - 1},
        {"{\"x\":0,\"a\":", "{\"b\":1}", "{\"$c\":1}", "}", DOC_MAX_DEPTH - 2},
        {"{\"$code\":\"\",\"$scope\":{\"a\":", "1", "2", "}}", DOC_MAX_DEPTH - 1},
    };
    pthread_attr_t attr;
    size_t stack = 64 * 1024; /* FIBER_STACK_DEFAULT */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    stack *= 8; /* sanitizers make frames larger */
#endif
    (void)state;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, stack), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        pthread_t thread;
        void *bad = NULL;
        assert_int_equal(pthread_create(&thread, &attr, walk_deep, &cases[i]), 0);
        assert_int_equal(pthread_join(thread, &bad), 0);
        if (bad)
            fail_msg("case %zu: %s", i, (const char *)bad);
    }
    pthread_attr_destroy(&attr);
}

/* Equality needs no memory to be right; a difference says when it has none. */
static void test_doc_diff_without_memory(void **state)
{
    bson_t a = BSON_INITIALIZER, b = BSON_INITIALIZER, list = BSON_INITIALIZER;
    (void)state;
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%d", i * 7 % 200);
        bson_append_int32(&a, name, -1, i * 7 % 200);
        snprintf(name, sizeof(name), "f%d", i * 11 % 200);
        bson_append_int32(&b, name, -1, i * 11 % 200);
    }
    mem_fail_at(1, 1);
    bool equal = doc_equal(bson_bytes(&a), bson_bytes(&b));
    mem_fail_at(0, 0);
    assert_true(mem_fail_hits() > 0);
    assert_true(equal);
    bson_append_array(&a, "l", -1, &list);
    bson_append_int32(&list, "0", -1, 1);
    bson_append_array(&b, "l", -1, &list);
    for (int format = DOC_DIFF_PATHS; format <= DOC_DIFF_JSON_PATCH; format++) {
        char *wanted = diff_of(bson_bytes(&a), bson_bytes(&b), (enum doc_diff)format);
        for (uint64_t n = 1;; n++) {
            struct buf out = BUF_INIT;
            struct err err;
            err_init(&err);
            mem_fail_at(n, 0);
            enum status st =
                doc_diff(bson_bytes(&a), bson_bytes(&b), (enum doc_diff)format, &out, &err);
            mem_fail_at(0, 0);
            bool hit = mem_fail_hits() > 0;
            assert_true(st == ST_OK || (hit && st == ST_NO_MEMORY));
            assert_int_equal(err.status, st);
            if (st)
                assert_int_equal(out.len, 0);
            else
                assert_true(bytes_eq(buf_bytes(&out), BYTES_STR(wanted)));
            buf_deinit(&out);
            if (!hit) {
                assert_true(n > 3);
                break;
            }
        }
        mem_free(wanted);
    }
    bson_destroy(&a);
    bson_destroy(&b);
    bson_destroy(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doc_diff_shows),
        cmocka_unit_test(test_doc_diff_applies),
        cmocka_unit_test(test_doc_diff_wide_shuffled),
        cmocka_unit_test(test_doc_equal_values),
        cmocka_unit_test(test_doc_diff_deep_on_a_small_stack),
        cmocka_unit_test(test_doc_diff_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
