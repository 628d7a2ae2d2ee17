/* doc_internal.h - what the files of this module share: walking BSON, numbers as text, printing one
 * value.
 *
 * Owns:     nothing but what a doc__finder or doc__index holds until its deinit.
 * Promises: doc__next never reads outside the document it was given, whatever the bytes are.
 * Never:    recursion deeper than DOC_MAX_DEPTH; fibers have small stacks, so the walkers keep
 * their own stack. Threads:  pure functions.
 */
#ifndef VARVE_MODEL_DOC_DOC_INTERNAL_H
#define VARVE_MODEL_DOC_DOC_INTERNAL_H

#include "model/doc/doc.h"

/* Element types of BSON 1.1. */
enum {
    DOC__DOUBLE = 0x01,
    DOC__STRING = 0x02,
    DOC__DOCUMENT = 0x03,
    DOC__ARRAY = 0x04,
    DOC__BINARY = 0x05,
    DOC__UNDEFINED = 0x06,
    DOC__OID = 0x07,
    DOC__BOOL = 0x08,
    DOC__DATE = 0x09,
    DOC__NULL = 0x0a,
    DOC__REGEX = 0x0b,
    DOC__DBPOINTER = 0x0c,
    DOC__CODE = 0x0d,
    DOC__SYMBOL = 0x0e,
    DOC__CODEWSCOPE = 0x0f,
    DOC__INT32 = 0x10,
    DOC__TIMESTAMP = 0x11,
    DOC__INT64 = 0x12,
    DOC__DECIMAL128 = 0x13,
    DOC__MAXKEY = 0x7f,
    DOC__MINKEY = 0xff,
};

enum {
    DOC__MIN_BYTES = 5,     /* an empty document: length and terminator */
    DOC__BINARY_OLD = 0x02, /* the subtype that repeats its length inside */
    DOC__BINARY_UUID = 0x04,
    DOC__PATH_SHOWN = 200, /* of a path in an error */
};

static inline uint32_t doc__le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t doc__le64(const uint8_t *p)
{
    return (uint64_t)doc__le32(p) | (uint64_t)doc__le32(p + 4) << 32;
}

static inline void doc__set_le32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline double doc__le_double(const uint8_t *p)
{
    uint64_t bits = doc__le64(p);
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

/* --- doc_walk.c: elements of a document, in order --- */

struct doc__el {
    uint8_t type;
    struct bytes name;
    struct bytes val; /* the raw value, exactly its size; all inner lengths and terminators hold */
};

struct doc__iter {
    const uint8_t *base, *p, *end; /* end: the document's terminator */
    const char *why;               /* what is malformed at p, after -1 */
};

/* False when the outer length or the terminator is wrong. */
bool doc__iter_init(struct doc__iter *it, struct bytes bson);
/* 1: an element; 0: the end; -1: malformed at it->p, it->why says how. */
int doc__next(struct doc__iter *it, struct doc__el *ret);
bool doc__utf8_ok(struct bytes s);

static inline bool doc__is_container(uint8_t type)
{
    return type == DOC__DOCUMENT || type == DOC__ARRAY;
}

/* The text of a string, code or symbol value. */
static inline struct bytes doc__text(struct bytes val)
{
    return BYTES(val.data + 4, val.len - 5);
}

struct doc__regex {
    struct bytes pattern, options;
};
struct doc__regex doc__regex_of(struct bytes val);
struct doc__code {
    struct bytes code, scope;
};
struct doc__code doc__code_of(struct bytes codewscope);

/* Field names of one document, ordered by hash then name; built for wide documents only. */
struct doc__index {
    const uint8_t *base;
    uint64_t *slots; /* 40 bits of hash, 24 bits of the name's offset */
    size_t len;
};
/* NO_MEMORY, or INVALID_ARGUMENT for what cannot be walked. `count` is the number of fields. */
enum status doc__index_build(struct doc__index *ix, struct bytes bson, size_t count) WARN_UNUSED;
void doc__index_deinit(struct doc__index *ix);

/* Looks for a name that `count` fields of a document share. OK with `ret_second` = the position
 * (from 0) of a second one and its name, or SIZE_MAX when there is none. */
enum status doc__duplicate(struct bytes bson, size_t count, size_t *ret_second,
                           struct bytes *ret_name) WARN_UNUSED;

/* Finds fields by name: in step when both sides have the same order, by index when the document is
 * wide. Works without memory too, only slower. */
struct doc__finder {
    struct bytes bson;
    struct doc__iter cursor;
    struct doc__index index;
    size_t steps; /* spent on searching so far */
    bool indexed, no_index;
};
bool doc__finder_init(struct doc__finder *f, struct bytes bson);
void doc__finder_deinit(struct doc__finder *f);
bool doc__find(struct doc__finder *f, struct bytes name, struct doc__el *ret);

/* Two documents side by side. On the heap: differences recurse, and a fiber's stack is 64 KiB. */
struct doc__sides {
    struct doc__iter ia, ib;
    struct doc__el ea, eb;
    struct doc__finder in_a, in_b;
};
/* NO_MEMORY, or INVALID_ARGUMENT for what is no document. */
enum status doc__sides_new(struct bytes a, struct bytes b, struct doc__sides **ret) WARN_UNUSED;
void doc__sides_free(struct doc__sides *s);

/* --- doc_number.c --- */

enum { DOC__NUMBER_MAX = 40 }; /* longest number as text, with the NUL */
/* A text that reads back as the same double: rounded to 15 digits, else to 16, else to 17 (powers of
 * two and subnormal numbers may have a shorter one); always with a point or an exponent. "NaN",
 * "Infinity", "-Infinity" for the others. Independent of the locale. Returns the length. */
size_t doc__double_text(double v, char ret[DOC__NUMBER_MAX]);
enum { DOC__DECIMAL_MAX = 48 };
size_t doc__decimal_text(const uint8_t *le, char ret[DOC__DECIMAL_MAX]);
size_t doc__i64_text(int64_t v, char ret[DOC__NUMBER_MAX]);
/* The length of the JSON number (RFC 8259) at the start of `s`, 0 when there is none. */
size_t doc__number_span(struct bytes s, bool *ret_integer);
/* A whole JSON number as a double; false when malformed or beyond the range of a double. */
bool doc__parse_double(struct bytes s, double *ret);
/* A whole JSON integer; false when malformed or beyond int64. */
bool doc__parse_i64(struct bytes s, int64_t *ret);

/* Milliseconds since 1970 to and from ISO 8601 (years 0 to 9999). */
enum { DOC__ISO_MAX = 32 };
size_t doc__iso_text(int64_t ms, char ret[DOC__ISO_MAX]);
bool doc__parse_iso(struct bytes s, int64_t *ret_ms);

/* --- doc_print.c --- */

enum doc__print {
    DOC__PRINT_RELAXED,
    DOC__PRINT_CANONICAL,
    DOC__PRINT_EXACT, /* relaxed where that reads back as the same type, else canonical */
};
/* Appends one value; TOO_LARGE, NO_MEMORY, INVALID_ARGUMENT. On failure `out` may hold a part. */
enum status doc__print_value(struct buf *out, uint8_t type, struct bytes val, enum doc__print mode,
                             struct err *err) WARN_UNUSED;
/* Appends text as a JSON string with its quotes. */
enum status doc__print_string(struct buf *out, struct bytes text) WARN_UNUSED;

/* --- doc_parse.c, doc_ext.c: the JSON reader and the $-forms of Extended JSON --- */

struct doc__parser {
    const uint8_t *base, *p, *end;
    struct buf *out;
    size_t out_start;
    struct buf text; /* the last string read by doc__read_text */
    struct err *err;
    enum status st; /* the first failure */
};
/* Sets the first failure at a place in the JSON, as line and column. Returns false. */
bool doc__fail(struct doc__parser *p, const uint8_t *at, enum status st, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool doc__no_room(struct doc__parser *p, enum status st); /* an append to a buf failed */
bool doc__put(struct doc__parser *p, const void *data, size_t len);
void doc__skip_space(struct doc__parser *p);
bool doc__expect(struct doc__parser *p, char c, const char *where);
/* Appends a JSON string's content to `dst`; a NUL in it is refused when `cstring`. */
bool doc__read_string(struct doc__parser *p, struct buf *dst, bool cstring, const char *what);
bool doc__read_text(struct doc__parser *p, const char *what); /* a string into p->text */

/* The number of the $-form that a name begins, or -1. */
int doc__form_of(struct bytes name);
/* Reads the rest of a form, from the colon after its first key to its closing brace, and appends
 * the value. With `ret_scope` true the value is code whose scope begins at the next byte; its
 * closing brace is the caller's. */
bool doc__read_form(struct doc__parser *p, int form, uint8_t *ret_type, bool *ret_scope);

/* --- doc_diff.c, doc_patch.c --- */

bool doc__value_equal(const struct doc__el *a, const struct doc__el *b);
enum status doc__patch(struct bytes a, struct bytes b, struct buf *out,
                       struct err *err) WARN_UNUSED;
enum status doc__paths(struct bytes a, struct bytes b, struct buf *out,
                       struct err *err) WARN_UNUSED;

#endif
