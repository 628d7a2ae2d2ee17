/* cli_csv.h - comma-separated values (RFC 4180), row by row.
 *
 * Reading: rows end in LF or CRLF; a quoted field may hold commas, doubled quotes and line ends;
 * blank lines and a byte order mark at the start are skipped. Each field tells whether it was
 * quoted, so that an empty field (nothing) and "" (the empty string) stay apart. Writing: what
 * needs quotes gets them; a row of one empty field is written as "".
 *
 * Owns:     the row's text, valid until the next row.
 * Promises: what the writer wrote the reader reads back, byte for byte and quote for quote; a
 * malformed row is an error that names its line, after which reading goes on at the next physical
 * line; but for a quote that is not closed, behind which nothing is a row. Never: reads a whole file
 * into memory. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_CSV_H
#define VARVE_APPS_CLI_CLI_CSV_H

#include "apps/cli/cli_input.h"

struct cli_csv_field {
    size_t at, len;
    bool quoted;
};

struct cli_csv {
    struct cli_input *in;
    struct buf text;
    struct cli_csv_field *field;
    size_t nfields, cap;
    uint64_t line; /* the first line of the row last read */
    bool ended;    /* the row had its line end: false at the end of a torn file */
    bool torn;     /* the file ended in a quoted field: CORRUPT was answered */
};

void cli_csv_init(struct cli_csv *csv, struct cli_input *in);
void cli_csv_deinit(struct cli_csv *csv);
/* 1: a row; 0: the end; < 0: minus a status: INVALID_ARGUMENT (malformed; may be called again),
 * TOO_LARGE (a row over 192 MiB; may be called again), CORRUPT (a quote that is not closed: there is no
 * going on), NO_MEMORY, or the input's. */
int cli_csv_next(struct cli_csv *csv, struct err *err);
struct bytes cli_csv_field(const struct cli_csv *csv, size_t i);

/* Appends a field, with the comma before it unless it is the first. */
enum status cli_csv_write(struct buf *out, bool first, struct bytes text, bool quote) WARN_UNUSED;
/* Ends a row whose fields were appended since out->len was `start`. */
enum status cli_csv_write_end(struct buf *out, size_t start) WARN_UNUSED;

/* What an unquoted field means under --infer. */
enum cli_csv_type { CLI_CSV_STRING, CLI_CSV_BOOL, CLI_CSV_INT, CLI_CSV_DOUBLE };
/* JSON's forms only: true, false, -12, 1.5e3; 007 and +1 stay strings, integers past 64 bits too.
 */
enum cli_csv_type cli_csv_infer(struct bytes text, bool *ret_bool, int64_t *ret_int,
                                double *ret_double);

#endif
