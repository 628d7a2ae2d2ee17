/* doc_walk.c - walking elements with every length checked, finding fields and duplicates. */
#include "model/doc/doc_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"

enum {
    FEW = 48, /* fields compared pairwise by fingerprint; beyond, by an index */
    STEPS_BEFORE_INDEX = 256,
    OFFSET_BITS = 25,
};
_Static_assert(DOC_MAX_BYTES + DOC_AROUND_BYTES <= 1 << OFFSET_BITS, "an offset fits the index");

bool doc__iter_init(struct doc__iter *it, struct bytes bson)
{
    if (bson.len < DOC__MIN_BYTES || doc__le32(bson.data) != bson.len ||
        bson.data[bson.len - 1] != 0)
        return false;
    *it =
        (struct doc__iter){.base = bson.data, .p = bson.data + 4, .end = bson.data + bson.len - 1};
    return true;
}

static size_t text_size(const uint8_t *v, size_t left)
{
    if (left < 5)
        return 0;
    uint32_t n = doc__le32(v);
    return n >= 1 && n <= left - 4 && v[4 + n - 1] == 0 ? 4 + (size_t)n : 0;
}

static size_t document_size(const uint8_t *v, size_t left)
{
    if (left < DOC__MIN_BYTES)
        return 0;
    uint32_t n = doc__le32(v);
    return n >= DOC__MIN_BYTES && n <= left && v[n - 1] == 0 ? n : 0;
}

static size_t binary_size(const uint8_t *v, size_t left)
{
    if (left < 5)
        return 0;
    uint32_t n = doc__le32(v);
    if (n > left - 5)
        return 0;
    if (v[4] == DOC__BINARY_OLD && (n < 4 || doc__le32(v + 5) != n - 4))
        return 0;
    return 5 + (size_t)n;
}

static size_t regex_size(const uint8_t *v, size_t left)
{
    const uint8_t *pattern_end = left ? memchr(v, 0, left) : NULL;
    if (!pattern_end)
        return 0;
    const uint8_t *options = pattern_end + 1;
    size_t options_left = left - (size_t)(options - v);
    const uint8_t *options_end = options_left ? memchr(options, 0, options_left) : NULL;
    return options_end ? (size_t)(options_end + 1 - v) : 0;
}

static size_t codewscope_size(const uint8_t *v, size_t left)
{
    if (left < 14)
        return 0;
    uint32_t total = doc__le32(v);
    if (total < 14 || total > left)
        return 0;
    size_t code = text_size(v + 4, total - 4);
    if (!code)
        return 0;
    size_t scope_left = total - 4 - code;
    return document_size(v + 4 + code, scope_left) == scope_left ? total : 0;
}

/* The size of a value, or 0 with the reason; types without a value are the caller's. */
static size_t value_size(uint8_t type, const uint8_t *v, size_t left, const char **why)
{
    size_t n = 0;
    switch (type) {
    case DOC__DOUBLE:
    case DOC__DATE:
    case DOC__TIMESTAMP:
    case DOC__INT64:
        n = 8;
        break;
    case DOC__INT32:
        n = 4;
        break;
    case DOC__BOOL:
        n = 1;
        break;
    case DOC__OID:
        n = 12;
        break;
    case DOC__DECIMAL128:
        n = 16;
        break;
    case DOC__STRING:
    case DOC__CODE:
    case DOC__SYMBOL:
        *why = "bad string length or terminator";
        return text_size(v, left);
    case DOC__DOCUMENT:
    case DOC__ARRAY:
        *why = "bad length or terminator of an embedded document";
        return document_size(v, left);
    case DOC__BINARY:
        *why = "bad length of binary";
        return binary_size(v, left);
    case DOC__REGEX:
        *why = "regular expression without an end";
        return regex_size(v, left);
    case DOC__DBPOINTER:
        *why = "bad length of a DBPointer";
        n = text_size(v, left);
        return n && left - n >= 12 ? n + 12 : 0;
    case DOC__CODEWSCOPE:
        *why = "bad lengths of code with scope";
        return codewscope_size(v, left);
    default:
        *why = "unknown element type";
        return 0;
    }
    *why = "value runs past the end of its document";
    return n <= left ? n : 0;
}

int doc__next(struct doc__iter *it, struct doc__el *ret)
{
    if (it->p == it->end)
        return 0;
    uint8_t type = it->p[0];
    const uint8_t *name = it->p + 1;
    const uint8_t *nul = name < it->end ? memchr(name, 0, (size_t)(it->end - name)) : NULL;
    if (!nul) {
        it->why = type == 0 ? "terminator before the end of the document" : "name without an end";
        return -1;
    }
    const uint8_t *v = nul + 1;
    size_t size = 0;
    if (type != DOC__NULL && type != DOC__UNDEFINED && type != DOC__MINKEY && type != DOC__MAXKEY) {
        size = value_size(type, v, (size_t)(it->end - v), &it->why);
        if (size == 0)
            return -1;
    }
    ret->type = type;
    ret->name = BYTES(name, (size_t)(nul - name));
    ret->val = BYTES(v, size);
    it->p = v + size;
    return 1;
}

/* Well-formed UTF-8 per RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool doc__utf8_ok(struct bytes s)
{
    const uint8_t *p = s.data, *end = s.data + s.len;
    while (p < end) {
        while (end - p >= 8) {
            uint64_t w;
            memcpy(&w, p, 8);
            if (w & 0x8080808080808080u)
                break;
            p += 8;
        }
        if (p == end)
            break;
        uint8_t c = *p++;
        if (c < 0x80)
            continue;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - p < more)
            return false;
        uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (*p < low || *p > high)
            return false;
        for (p++; --more > 0; p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

struct doc__regex doc__regex_of(struct bytes val)
{
    const uint8_t *nul = memchr(val.data, 0, val.len);
    ASSERT(nul);
    size_t n = (size_t)(nul - val.data);
    return (struct doc__regex){BYTES(val.data, n), BYTES(nul + 1, val.len - n - 2)};
}

struct doc__code doc__code_of(struct bytes codewscope)
{
    size_t n = doc__le32(codewscope.data + 4);
    ASSERT(8 + n <= codewscope.len);
    return (struct doc__code){BYTES(codewscope.data + 8, n - 1),
                              BYTES(codewscope.data + 8 + n, codewscope.len - 8 - n)};
}

/* --- the index --- */

static uint64_t hash_bits(struct bytes name)
{
    return hash_xxh64(name.data, name.len, 0) >> OFFSET_BITS;
}

static const char *slot_name(const struct doc__index *ix, uint64_t slot)
{
    return (const char *)ix->base + (slot & ((1u << OFFSET_BITS) - 1));
}

/* Hash first, then name: names chosen to collide cost comparisons, not a quadratic search. */
static int slot_cmp(const struct doc__index *ix, uint64_t a, uint64_t b)
{
    uint64_t ha = a >> OFFSET_BITS, hb = b >> OFFSET_BITS;
    if (ha != hb)
        return ha < hb ? -1 : 1;
    return strcmp(slot_name(ix, a), slot_name(ix, b));
}

/* Bottom-up and stable, so that equal names stay in the document's order. */
static void merge_sort(struct doc__index *ix, uint64_t *scratch)
{
    uint64_t *from = ix->slots, *to = scratch;
    for (size_t width = 1; width < ix->len; width *= 2) {
        for (size_t lo = 0; lo < ix->len; lo += 2 * width) {
            size_t mid = lo + width < ix->len ? lo + width : ix->len;
            size_t hi = mid + width < ix->len ? mid + width : ix->len;
            size_t i = lo, j = mid;
            for (size_t k = lo; k < hi; k++) {
                bool left = i < mid && (j >= hi || slot_cmp(ix, from[i], from[j]) <= 0);
                to[k] = left ? from[i++] : from[j++];
            }
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != ix->slots)
        memcpy(ix->slots, from, ix->len * sizeof(*from));
}

enum status doc__index_build(struct doc__index *ix, struct bytes bson, size_t count)
{
    enum status st = ST_OK;
    struct doc__iter it;
    struct doc__el el;
    if (bson.len > DOC_MAX_BYTES + DOC_AROUND_BYTES || !doc__iter_init(&it, bson))
        return ST_INVALID_ARGUMENT;
    struct doc__index made = {.base = bson.data};
    uint64_t *scratch = mem_alloc(count * sizeof(*scratch) + 1);
    made.slots = mem_alloc(count * sizeof(*made.slots) + 1);
    if (!scratch || !made.slots) {
        st = ST_NO_MEMORY;
        goto out;
    }
    int rc = 0;
    while (made.len < count && (rc = doc__next(&it, &el)) == 1)
        made.slots[made.len++] =
            hash_bits(el.name) << OFFSET_BITS | (uint64_t)(el.name.data - bson.data);
    if (rc < 0 || made.len != count) {
        st = ST_INVALID_ARGUMENT;
        goto out;
    }
    merge_sort(&made, scratch);
    *ix = made;
    made.slots = NULL;
out:
    mem_free(scratch);
    mem_free(made.slots);
    return st;
}

void doc__index_deinit(struct doc__index *ix)
{
    mem_free(ix->slots);
    *ix = (struct doc__index){0};
}

static bool index_find(const struct doc__index *ix, struct bytes name, struct doc__iter *ret_at)
{
    uint64_t h = hash_bits(name);
    size_t lo = 0, hi = ix->len;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const char *there = slot_name(ix, ix->slots[mid]);
        uint64_t hm = ix->slots[mid] >> OFFSET_BITS;
        int c = hm != h ? (hm < h ? -1 : 1) : bytes_cmp(BYTES_STR(there), name);
        if (c == 0) {
            ret_at->p = (const uint8_t *)there - 1;
            return true;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* --- duplicates --- */

static uint32_t fingerprint(struct bytes name)
{
    if (name.len == 0)
        return 0;
    uint32_t first = name.data[0], last = name.data[name.len - 1];
    uint32_t before = name.len > 1 ? name.data[name.len - 2] : 0;
    return (uint32_t)(name.len & 0xff) << 24 | first << 16 | before << 8 | last;
}

static void duplicate_of_few(struct doc__iter it, size_t count, size_t *ret_second,
                             struct bytes *ret_name)
{
    uint32_t prints[FEW];
    uint32_t offsets[FEW];
    struct doc__el el;
    for (size_t i = 0; i < count && doc__next(&it, &el) == 1; i++) {
        prints[i] = fingerprint(el.name);
        offsets[i] = (uint32_t)(el.name.data - it.base);
        for (size_t j = 0; j < i; j++) {
            /* the earlier name may be the shorter one: it ends in NUL, and so does this one */
            if (prints[j] == prints[i] &&
                strcmp((const char *)it.base + offsets[j], (const char *)el.name.data) == 0) {
                *ret_second = i;
                *ret_name = el.name;
                return;
            }
        }
    }
}

/* Most wide documents have their names in ascending order, and those cannot repeat. */
static bool names_ascend(struct doc__iter it)
{
    struct doc__el el;
    struct bytes before = BYTES_EMPTY;
    bool first = true;
    while (doc__next(&it, &el) == 1) {
        if (!first && bytes_cmp(before, el.name) >= 0)
            return false;
        before = el.name;
        first = false;
    }
    return true;
}

static size_t position_of(struct doc__iter it, const uint8_t *name)
{
    struct doc__el el;
    size_t i = 0;
    while (doc__next(&it, &el) == 1 && el.name.data != name)
        i++;
    return i;
}

enum status doc__duplicate(struct bytes bson, size_t count, size_t *ret_second,
                           struct bytes *ret_name)
{
    struct doc__iter it;
    *ret_second = SIZE_MAX;
    if (!doc__iter_init(&it, bson))
        return ST_INVALID_ARGUMENT;
    if (count <= FEW) {
        if (count > 1)
            duplicate_of_few(it, count, ret_second, ret_name);
        return ST_OK;
    }
    if (names_ascend(it))
        return ST_OK;
    struct doc__index ix;
    enum status st = doc__index_build(&ix, bson, count);
    if (st)
        return st;
    for (size_t i = 1; i < ix.len; i++) {
        if (slot_cmp(&ix, ix.slots[i - 1], ix.slots[i]) == 0) {
            *ret_name = BYTES_STR(slot_name(&ix, ix.slots[i]));
            *ret_second = position_of(it, ret_name->data);
            break;
        }
    }
    doc__index_deinit(&ix);
    return ST_OK;
}

/* --- finding --- */

bool doc__finder_init(struct doc__finder *f, struct bytes bson)
{
    *f = (struct doc__finder){.bson = bson};
    return doc__iter_init(&f->cursor, bson);
}

void doc__finder_deinit(struct doc__finder *f)
{
    doc__index_deinit(&f->index);
}

static void build_finder_index(struct doc__finder *f)
{
    struct doc__iter it;
    struct doc__el el;
    size_t count = 0;
    bool ok = doc__iter_init(&it, f->bson);
    ASSERT(ok); /* as when the finder was made */
    while (doc__next(&it, &el) == 1)
        count++;
    f->indexed = doc__index_build(&f->index, f->bson, count) == ST_OK;
    f->no_index = !f->indexed; /* the search stays right, it only takes longer */
}

bool doc__find(struct doc__finder *f, struct bytes name, struct doc__el *ret)
{
    struct doc__iter here = f->cursor;
    if (doc__next(&here, ret) == 1 && bytes_eq(ret->name, name)) {
        f->cursor = here;
        return true;
    }
    if (!f->indexed && !f->no_index && f->steps > STEPS_BEFORE_INDEX)
        build_finder_index(f);
    if (f->indexed) {
        here = f->cursor;
        if (!index_find(&f->index, name, &here) || doc__next(&here, ret) != 1)
            return false;
        f->cursor = here;
        return true;
    }
    here.p = here.base + 4;
    while (doc__next(&here, ret) == 1) {
        f->steps++;
        if (bytes_eq(ret->name, name)) {
            f->cursor = here;
            return true;
        }
    }
    return false;
}

/* --- two documents --- */

enum status doc__sides_new(struct bytes a, struct bytes b, struct doc__sides **ret)
{
    struct doc__sides *s = mem_zalloc(sizeof(*s));
    if (!s)
        return ST_NO_MEMORY;
    if (!doc__iter_init(&s->ia, a) || !doc__iter_init(&s->ib, b) ||
        !doc__finder_init(&s->in_a, a) || !doc__finder_init(&s->in_b, b)) {
        mem_free(s);
        return ST_INVALID_ARGUMENT;
    }
    *ret = s;
    return ST_OK;
}

void doc__sides_free(struct doc__sides *s)
{
    if (!s)
        return;
    doc__finder_deinit(&s->in_a);
    doc__finder_deinit(&s->in_b);
    mem_free(s);
}
