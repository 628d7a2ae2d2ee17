/* cli_import.h - the parts of import: rows out of a file, and the place that was reached, kept in
 * the database.
 *
 * Owns:     cli_rows its input and buffers. Promises: a bad row is named by line and field and can
 * be skipped. Never:    writes (cli_import.c does). Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_IMPORT_H
#define VARVE_APPS_CLI_CLI_IMPORT_H

#include "apps/cli/cli.h"
#include "apps/cli/cli_csv.h"

#define CLI_KEY_FIELD "_key"
#define CLI_RAW_FIELD "_raw"
#define CLI_DOC_FIELD "_doc"
enum { CLI_KEY_MAX = 64 * 1024, CLI_VALUE_MAX = 16 * 1024 * 1024 };

struct cli_row {
    struct buf key, value;
    varve_type type; /* VARVE_DOC (value is BSON) or VARVE_RAW */
    uint64_t line;
};

struct cli_rows {
    struct cli_input in;
    bool csv, infer, drop_key;
    bool envelope; /* rows as export writes them: _key with _raw or _doc beside it */
    struct bytes key_field;
    struct buf line;       /* NDJSON */
    struct cli_csv parser; /* CSV */
    struct buf names;      /* the heading, NUL-terminated one after the other */
    size_t *name_at, columns, key_column;
};

/* --format, else by the file's name (path may be NULL). CLI_OK or CLI_USAGE after its message. */
int cli_format_arg(struct cli *c, const struct cli_args *a, const char *path, bool *ret_csv);

/* A line of NDJSON as a document. Where the limits of one are passed only because the key stands
 * beside the value, *ret_around is set: what is taken out of it is to be checked. */
enum status cli_json_line(struct bytes line, struct buf *ret, bool *ret_around,
                          struct err *err) WARN_UNUSED;
/* The key in a row of NDJSON. NOT_FOUND, INVALID_ARGUMENT. */
enum status cli_json_key(struct bytes doc, struct bytes key_field, struct buf *ret,
                         struct err *err) WARN_UNUSED;

/* CSV: reads the heading. The key's field is borrowed. */
enum status cli_rows_open(struct cli_rows *r, const char *path, bool csv, struct bytes key_field,
                          struct err *err) WARN_UNUSED;
void cli_rows_close(struct cli_rows *r);
/* 1: a row; 0: the end; < 0: minus a status; INVALID_ARGUMENT and TOO_LARGE are faults of this one
 * row, which is behind the reader then. */
int cli_rows_next(struct cli_rows *r, struct cli_row *ret, struct err *err);

/* How far an import is: a document in CLI_IMPORTS, written in the same batch as the rows. */
struct cli_import_state {
    uint64_t offset, line; /* of the next row */
    uint64_t rows, unchanged, skipped;
    bool done;
};
/* "COLLECTION/16 hex digits", from the file's identity. */
enum status cli_import_key(const char *collection, const struct cli_file_id *id,
                           struct buf *out) WARN_UNUSED;
enum status cli_import_encode(const struct cli_import_state *s, const struct cli_file_id *id,
                              const char *file, struct bytes key_field, bool csv,
                              struct buf *out) WARN_UNUSED;
/* INVALID_ARGUMENT when it belongs to another file, key or format: the message says which. */
enum status cli_import_decode(struct bytes doc, const struct cli_file_id *id,
                              struct bytes key_field, bool csv, struct cli_import_state *ret,
                              struct err *err) WARN_UNUSED;

#endif
