/* cli_export.h - the parts of export: a record as a line, and the note beside the file that lets it
 * be taken up again.
 *
 * Owns:     a writer owns its columns and buffers. Promises: what import reads back is what was
 * exported, or the row is refused with its key named. Never: opens the folder. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_EXPORT_H
#define VARVE_APPS_CLI_CLI_EXPORT_H

#include "apps/cli/cli_import.h"

struct cli_export_column {
    size_t name_at, name_len;
    size_t text_at, text_len; /* of the present row */
    bool quote, present;
};

struct cli_export_rows {
    struct bytes key_field;
    bool csv, canonical, envelope; /* envelope: no --key was given */
    struct buf names, text, field, wrapped;
    struct cli_export_column *column;
    size_t columns, columns_cap;
    size_t *slot; /* open addressing by name: column + 1, or 0 */
    size_t slot_mask;
};

void cli_export_rows_deinit(struct cli_export_rows *r);
/* CSV, first pass: notes the fields of a record. */
enum status cli_export_note_columns(struct cli_export_rows *r, const struct db_row *row,
                                    struct err *err) WARN_UNUSED;
enum status cli_export_heading(struct cli_export_rows *r, struct buf *out) WARN_UNUSED;
/* Appends the line of a record. INVALID_ARGUMENT for what the format cannot hold. */
enum status cli_export_row(struct cli_export_rows *r, const struct db_row *row, struct buf *out,
                           struct err *err) WARN_UNUSED;

/* FILE.varve-export: what an unfinished export was. */
struct cli_export_note {
    char *collection, *key_field, *at; /* mem_free; `at` as cli_time_parse reads it */
    bool csv, canonical;
    bool over; /* the file may hold yet what was there before: nothing of this export */
};
void cli_export_note_deinit(struct cli_export_note *n);
enum status cli_export_note_write(const char *path, const struct cli_export_note *n,
                                  struct err *err) WARN_UNUSED;
enum status cli_export_note_read(const char *path, struct cli_export_note *ret,
                                 struct err *err) WARN_UNUSED;
/* Where the last whole row of a torn file ends, and its key (empty: there is none). */
enum status cli_export_find_end(const char *path, struct bytes key_field, bool csv,
                                uint64_t *ret_end, struct buf *ret_key,
                                struct err *err) WARN_UNUSED;

#endif
