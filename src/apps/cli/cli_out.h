/* cli_out.h - how results are written: JSON for programs, text and tables for people.
 *
 * JSON shows bytes that are not UTF-8 as {"$binary":{"base64":"...","subType":"00"}} (Extended
 * JSON). Text shows control characters and what is not UTF-8 as \xNN and the backslash as \\, which
 * --escapes reads back.
 *
 * Owns:     a table owns its cells. Promises: what is written is valid UTF-8, whatever the bytes
 * were. Never:    colours what is not a terminal, nor anything when NO_COLOR is set. Threads: one
 * owner.
 */
#ifndef VARVE_APPS_CLI_CLI_OUT_H
#define VARVE_APPS_CLI_CLI_OUT_H

#include "apps/cli/cli_time.h"
#include "base/buf.h"
#include <stdio.h>
#include <varve/varve.h>

struct cli;

/* Well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong, up to U+10FFFF). */
bool cli_is_utf8(struct bytes b);
/* The length of the well-formed character at the front, 1 to 4; 0 when there is none. */
size_t cli_utf8_len(struct bytes b);

enum status cli_base64(struct buf *out, struct bytes b) WARN_UNUSED;
bool cli_base64_decode(struct bytes text, struct buf *out); /* false: no base64, or no memory */
enum status cli_json_bytes(struct buf *out, struct bytes b) WARN_UNUSED;
enum status cli_text_bytes(struct buf *out, struct bytes b) WARN_UNUSED;
/* A message, which may quote names and keys of anybody: control characters, but for the ends of
 * lines, and what is not UTF-8 as \xNN, so that a terminal does not obey them. */
void cli_print_message(FILE *f, const char *text);
/* Reads \xNN and \\ back. INVALID_ARGUMENT at any other use of a backslash. */
enum status cli_text_unescape(struct buf *out, struct bytes text, struct err *err) WARN_UNUSED;
/* "key":"018f...","time":"2026-..." without braces. */
enum status cli_json_version(struct buf *out, const char *name, varve_version v) WARN_UNUSED;
/* A value as JSON: a document as it is, bytes as cli_json_bytes shows them. INVALID_ARGUMENT: the
 * BSON is none. */
enum status cli_json_value(struct buf *out, varve_type type, struct bytes value, bool canonical,
                           struct err *err) WARN_UNUSED;
/* The same for people: bytes as text. */
enum status cli_text_value(struct buf *out, varve_type type, struct bytes value,
                           struct err *err) WARN_UNUSED;

/* "1,234,567"; "1.5 MiB". */
enum { CLI_NUMBER_TEXT_MAX = 32 };
void cli_count_format(uint64_t n, char out[CLI_NUMBER_TEXT_MAX]);
void cli_bytes_format(uint64_t n, char out[CLI_NUMBER_TEXT_MAX]);

static inline struct bytes cli_bytes(varve_bytes b)
{
    return (struct bytes){b.data, b.len};
}

/* A table for people: columns as wide as their widest cell, two spaces between. */
enum { CLI_TABLE_COLUMNS_MAX = 8 };
struct cli_table {
    size_t columns, rows;
    struct buf cells; /* NUL-terminated, row by row */
};
void cli_table_init(struct cli_table *t, size_t columns);
void cli_table_deinit(struct cli_table *t);
enum status cli_table_cell(struct cli_table *t, struct bytes text) WARN_UNUSED; /* shown as text */
enum status cli_table_str(struct cli_table *t, const char *text) WARN_UNUSED;
/* The first row is the heading. */
enum status cli_table_format(const struct cli_table *t, bool color, struct buf *out) WARN_UNUSED;

/* Colours, "" when `on` is false. */
const char *cli_bold(bool on);
const char *cli_dim(bool on);
const char *cli_red(bool on);
const char *cli_yellow(bool on);
const char *cli_plain(bool on);

/* Writes c->scratch and clears it. false once the output has failed (the loop is to stop:
 * cli_stop_code). */
bool cli_put_scratch(struct cli *c);
bool cli_put_bytes(struct cli *c, struct bytes b);

#endif
