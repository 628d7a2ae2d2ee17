/* doc.h - documents: BSON inside, MongoDB Extended JSON outside, and the difference between two of
 * them.
 *
 * Sources: BSON 1.1 (bsonspec.org); MongoDB Extended JSON v2; RFC 6901 (JSON Pointer), RFC 6902
 *          (JSON Patch).
 *
 * Owns:     nothing; results go into the caller's buf.
 * Promises: what doc_from_json or doc_check accepts is valid BSON within the limits, and every
 *           other function here works on it; JSON in and out keeps every BSON type in canonical
 *           mode. An error names the path, line or limit.
 * Never:    I/O, threads, clocks. Silently drops a duplicate key, a NaN or a deep branch.
 * Threads:  pure functions.
 */
#ifndef VARVE_MODEL_DOC_DOC_H
#define VARVE_MODEL_DOC_DOC_H

#include "base/buf.h"

enum {
    DOC_MAX_BYTES = 16 * 1024 * 1024,
    DOC_MAX_DEPTH = 100, /* levels of nesting, the outermost document is level 1 */
    DOC_AROUND_BYTES = 256 * 1024,
};

/* Checks BSON from outside: structure, lengths, UTF-8, depth, duplicate keys, keys without NUL.
 * Errors: INVALID_ARGUMENT (with the byte offset or path), TOO_LARGE (names the limit and the size
 * or depth). */
enum status doc_check(struct bytes bson, struct err *err) WARN_UNUSED;

/* Extended JSON v2 (canonical, relaxed or plain JSON; the outermost value must be an object) to
 * BSON. Errors: INVALID_ARGUMENT with line and column, TOO_LARGE. Appends to `out`. */
enum status doc_from_json(struct bytes json, struct buf *out, struct err *err) WARN_UNUSED;

/* The same where a value stands with its key in a document around it, as in a row of an export: such
 * a one may be a level deeper and DOC_AROUND_BYTES larger. What is taken out of it is not checked
 * against the limits yet. */
enum status doc_from_json_around(struct bytes json, struct buf *out, struct err *err) WARN_UNUSED;

enum doc_json { DOC_JSON_RELAXED, DOC_JSON_CANONICAL };
/* BSON to one line of Extended JSON v2; `pretty` breaks and indents it by two spaces. */
enum status doc_to_json(struct bytes bson, enum doc_json mode, bool pretty, struct buf *out,
                        struct err *err) WARN_UNUSED;

/* Any single BSON value found by its very name, else by a dotted path ("address.zip", "tags.0"), as
 * text for use as a key: strings as they are, int32/int64 in decimal, ObjectId in hex, anything else is INVALID_ARGUMENT;
 * NOT_FOUND when absent. */
enum status doc_key_text(struct bytes bson, struct bytes path, struct buf *out,
                         struct err *err) WARN_UNUSED;

/* What changed from `a` to `b`.
 * DOC_DIFF_PATHS: {"set":{"address.zip":"1010"},"unset":["age"]}, in relaxed Extended JSON. Dotted
 *                 paths; arrays of equal
 *   length are compared element by element, of other lengths set whole; a field name that contains
 *   a dot or starts with '$', or is empty, is shown inside the nearest parent that can be named,
 *   set whole; the path of the document is "".
 * DOC_DIFF_JSON_PATCH: RFC 6902 array of add, remove and replace, such that applying it to `a`
 *                      gives `b` up to the
 *   order of fields; in relaxed Extended JSON, but $numberLong for an int64 that would read back as
 *   an int32.
 * Both are empty ({"set":{},"unset":[]} and []) exactly when doc_equal says so. */
enum doc_diff { DOC_DIFF_PATHS, DOC_DIFF_JSON_PATCH };
enum status doc_diff(struct bytes a, struct bytes b, enum doc_diff format, struct buf *out,
                     struct err *err) WARN_UNUSED;
/* Equal as documents: same fields, same types, same values; the order of fields does not count. */
bool doc_equal(struct bytes a, struct bytes b);

/* A document built field by field, for imports (CSV) and commands. */
struct doc_builder;
struct doc_builder *doc_builder_new(void);
void doc_builder_free(struct doc_builder *b);
/* empty again, keeping the memory: one builder serves many rows */
void doc_builder_clear(struct doc_builder *b);
enum status doc_builder_str(struct doc_builder *b, struct bytes name, struct bytes utf8,
                            struct err *err) WARN_UNUSED;
enum status doc_builder_i64(struct doc_builder *b, struct bytes name, int64_t v,
                            struct err *err) WARN_UNUSED;
enum status doc_builder_double(struct doc_builder *b, struct bytes name, double v,
                               struct err *err) WARN_UNUSED;
enum status doc_builder_bool(struct doc_builder *b, struct bytes name, bool v,
                             struct err *err) WARN_UNUSED;
enum status doc_builder_null(struct doc_builder *b, struct bytes name, struct err *err) WARN_UNUSED;
struct bytes doc_builder_bson(struct doc_builder *b); /* borrowed until the next call */
/* Walks the top-level fields, in order: name and value as text for CSV (strings as they are,
 * numbers and booleans plainly, null empty, everything else as relaxed JSON). 1: a field; 0: the
 * end; < 0: minus a status. `pos` starts at 0. `ret_text` is cleared first and holds this field
 * only; the name is borrowed from the document. */
int doc_next_field(struct bytes bson, size_t *pos, struct bytes *ret_name, struct buf *ret_text,
                   struct err *err);

#endif
