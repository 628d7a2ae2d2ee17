/* doc_build.c - a document built field by field.
 *
 * Invariants: `bson` holds the document without its terminator, and always has room for it;
 * `slots`, when there, is an open-addressed table (a power of two, at most half full) of the
 * offsets of all names, 0 for an empty slot.
 */
#include "model/doc/doc_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"

enum { FEW_FIELDS = 16, FIRST_SLOTS = 64 };

struct doc_builder {
    struct buf bson;
    size_t count;
    uint32_t *slots;
    size_t slot_count;
};

struct doc_builder *doc_builder_new(void)
{
    struct doc_builder *b = mem_zalloc(sizeof(*b));
    if (!b)
        return NULL;
    if (buf_append_le32(&b->bson, 0) || buf_reserve(&b->bson, 1)) {
        doc_builder_free(b);
        return NULL;
    }
    return b;
}

void doc_builder_free(struct doc_builder *b)
{
    if (!b)
        return;
    buf_deinit(&b->bson);
    mem_free(b->slots);
    mem_free(b);
}

void doc_builder_clear(struct doc_builder *b)
{
    b->bson.len = 4;
    b->count = 0;
    if (b->slots)
        memset(b->slots, 0, b->slot_count * sizeof(*b->slots));
}

static struct bytes name_at(const struct doc_builder *b, uint32_t offset)
{
    return BYTES_STR((const char *)b->bson.data + offset);
}

static uint32_t *slot_of(const struct doc_builder *b, struct bytes name)
{
    size_t i = hash_xxh64(name.data, name.len, 0) & (b->slot_count - 1);
    while (b->slots[i] && !bytes_eq(name_at(b, b->slots[i]), name))
        i = (i + 1) & (b->slot_count - 1);
    return &b->slots[i];
}

static void fill_slots(struct doc_builder *b)
{
    const uint8_t *base = b->bson.data;
    struct doc__iter it = {.base = base, .p = base + 4, .end = base + b->bson.len};
    struct doc__el el;
    while (doc__next(&it, &el) == 1)
        *slot_of(b, el.name) = (uint32_t)(el.name.data - base);
}

/* Room for one name more. */
static enum status grow_slots(struct doc_builder *b)
{
    if (b->count < FEW_FIELDS || (b->slots && 2 * (b->count + 1) <= b->slot_count))
        return ST_OK;
    size_t wanted = b->slot_count ? 2 * b->slot_count : FIRST_SLOTS;
    uint32_t *slots = mem_zalloc(wanted * sizeof(*slots));
    if (!slots)
        return ST_NO_MEMORY;
    mem_free(b->slots);
    b->slots = slots;
    b->slot_count = wanted;
    fill_slots(b);
    return ST_OK;
}

static bool has_name(const struct doc_builder *b, struct bytes name)
{
    if (b->slots)
        return *slot_of(b, name) != 0;
    const uint8_t *base = b->bson.data;
    struct doc__iter it = {.base = base, .p = base + 4, .end = base + b->bson.len};
    struct doc__el el;
    while (doc__next(&it, &el) == 1)
        if (bytes_eq(el.name, name))
            return true;
    return false;
}

static enum status check_name(struct doc_builder *b, struct bytes name, struct err *err)
{
    if (name.len && memchr(name.data, 0, name.len))
        return err_set(err, ST_INVALID_ARGUMENT, "a field's name cannot hold a NUL");
    if (!doc__utf8_ok(name))
        return err_set(err, ST_INVALID_ARGUMENT, "the name of field %zu is not UTF-8",
                       b->count + 1);
    if (has_name(b, name))
        return err_set(err, ST_INVALID_ARGUMENT, "duplicate name \"%.*s\"",
                       name.len > 64 ? 64 : (int)name.len, (const char *)name.data);
    return ST_OK;
}

static enum status add(struct doc_builder *b, uint8_t type, struct bytes name, struct bytes value,
                       struct err *err)
{
    ASSERT(b->bson.len >= 4 && b->bson.len < DOC_MAX_BYTES);
    struct buf *d = &b->bson;
    bool text = type == DOC__STRING;
    size_t room = DOC_MAX_BYTES - 1 - d->len;
    size_t around = 1 + 1 + (text ? 5 : 0); /* type, the name's end; a string's length and end */
    if (name.len > room || value.len > room || name.len + value.len + around > room)
        return err_set(err, ST_TOO_LARGE, "the document would be over the limit of %d bytes",
                       DOC_MAX_BYTES);
    enum status st = check_name(b, name, err);
    if (st)
        return st;
    st = grow_slots(b);
    if (!st)
        st = buf_reserve(d, name.len + value.len + around + 1);
    if (st)
        return err_set(err, st, "adding field %zu", b->count + 1);
    if (b->slots)
        *slot_of(b, name) = (uint32_t)d->len + 1;
    uint8_t length[4];
    doc__set_le32(length, (uint32_t)value.len + 1);
    struct bytes parts[] = {BYTES(&type, 1), name,
                            BYTES("", 1),    BYTES(length, text ? 4 : 0),
                            value,           BYTES("", text ? 1 : 0)};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        if (parts[i].len)
            memcpy(d->data + d->len, parts[i].data, parts[i].len);
        d->len += parts[i].len;
    }
    b->count++;
    return ST_OK;
}

enum status doc_builder_str(struct doc_builder *b, struct bytes name, struct bytes utf8,
                            struct err *err)
{
    if (!doc__utf8_ok(utf8))
        return err_set(err, ST_INVALID_ARGUMENT, "the text of field %zu is not UTF-8",
                       b->count + 1);
    return add(b, DOC__STRING, name, utf8, err);
}

static enum status add_le64(struct doc_builder *b, uint8_t type, struct bytes name, uint64_t v,
                            struct err *err)
{
    uint8_t le[8];
    doc__set_le32(le, (uint32_t)v);
    doc__set_le32(le + 4, (uint32_t)(v >> 32));
    return add(b, type, name, BYTES(le, 8), err);
}

enum status doc_builder_i64(struct doc_builder *b, struct bytes name, int64_t v, struct err *err)
{
    return add_le64(b, DOC__INT64, name, (uint64_t)v, err);
}

enum status doc_builder_double(struct doc_builder *b, struct bytes name, double v, struct err *err)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return add_le64(b, DOC__DOUBLE, name, bits, err);
}

enum status doc_builder_bool(struct doc_builder *b, struct bytes name, bool v, struct err *err)
{
    uint8_t byte = v;
    return add(b, DOC__BOOL, name, BYTES(&byte, 1), err);
}

enum status doc_builder_null(struct doc_builder *b, struct bytes name, struct err *err)
{
    return add(b, DOC__NULL, name, BYTES_EMPTY, err);
}

struct bytes doc_builder_bson(struct doc_builder *b)
{
    ASSERT(b->bson.len < b->bson.cap && b->bson.len < DOC_MAX_BYTES);
    b->bson.data[b->bson.len] = 0;
    doc__set_le32(b->bson.data, (uint32_t)b->bson.len + 1);
    return BYTES(b->bson.data, b->bson.len + 1);
}
