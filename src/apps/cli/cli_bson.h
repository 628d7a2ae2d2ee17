/* cli_bson.h - the little that import and export do with BSON by hand: walk the top level, add the
 * key, take it out.
 *
 * Source: BSON 1.1 (bsonspec.org). What comes in was checked by the library; the bounds are checked
 * all the same.
 *
 * Owns: nothing. Promises: never reads outside the bytes given. Never: looks below the top level.
 * Threads: pure functions.
 */
#ifndef VARVE_APPS_CLI_CLI_BSON_H
#define VARVE_APPS_CLI_CLI_BSON_H

#include "base/buf.h"

enum {
    CLI_BSON_DOUBLE = 0x01,
    CLI_BSON_STRING = 0x02,
    CLI_BSON_DOCUMENT = 0x03,
    CLI_BSON_ARRAY = 0x04,
    CLI_BSON_BINARY = 0x05,
    CLI_BSON_BOOL = 0x08,
    CLI_BSON_DATE = 0x09,
    CLI_BSON_NULL = 0x0a,
    CLI_BSON_INT32 = 0x10,
    CLI_BSON_INT64 = 0x12,
};

struct cli_bson_field {
    uint8_t type;
    struct bytes name;
    struct bytes value; /* string: its text; binary: its content; else as it lies in the document */
    struct bytes element; /* type, name and value together */
};

/* Walks the fields; *pos starts at 0. 1: a field; 0: the end; -1: this is no BSON. */
int cli_bson_next(struct bytes doc, size_t *pos, struct cli_bson_field *ret);
/* 1: found; 0: not there; -1: this is no BSON. */
int cli_bson_find(struct bytes doc, struct bytes name, struct cli_bson_field *ret);
/* An integer of either width; false for other types. */
bool cli_bson_int(const struct cli_bson_field *f, int64_t *ret);

/* A document is begun, filled and ended; *at is where it starts in `out`. */
enum status cli_bson_begin(struct buf *out, size_t *at) WARN_UNUSED;
enum status cli_bson_end(struct buf *out, size_t at) WARN_UNUSED;
enum status cli_bson_str(struct buf *out, struct bytes name, struct bytes text) WARN_UNUSED;
enum status cli_bson_binary(struct buf *out, struct bytes name, struct bytes content) WARN_UNUSED;
enum status cli_bson_i64(struct buf *out, struct bytes name,
                         int64_t v) WARN_UNUSED; /* narrow when it fits */
enum status cli_bson_double(struct buf *out, struct bytes name, double v) WARN_UNUSED;
enum status cli_bson_bool(struct buf *out, struct bytes name, bool v) WARN_UNUSED;
/* A string where the bytes are UTF-8, else binary. */
enum status cli_bson_key(struct buf *out, struct bytes name, struct bytes key) WARN_UNUSED;

#endif
