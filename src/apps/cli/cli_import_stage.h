/* cli_import_stage.h - rows that were read and are not written yet, and writing them.
 *
 * Two stages take turns: while one is being written the other fills.
 *
 * Owns:     the rows of both. Promises: with each batch goes the place behind its last row, all or
 * nothing; one batch is under way at a time, so that rows reach the database in their order.
 * Threads:  one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_IMPORT_STAGE_H
#define VARVE_APPS_CLI_CLI_IMPORT_STAGE_H

#include "apps/cli/cli_import.h"
#include "apps/cli/cli_progress.h"
#include "base/arena.h"

struct import_stage {
    struct arena arena;
    struct db_put *puts;
    size_t n, bytes;
    struct buf place;              /* the document that tells of it */
    struct cli_import_state state; /* once it is written */
};

struct import {
    struct cli *c;
    const struct cli_args *a;
    const char *collection, *path;
    struct cli_rows rows;
    struct cli_file_id id;
    struct buf state_key;
    struct cli_import_state state; /* with what is staged or under way */
    struct cli_import_state in;    /* without */
    varve_version mark_version;    /* of the place's record */
    uint64_t start_rows;           /* read by earlier runs */
    varve_write_options o;
    size_t batch_max;
    bool changed_only, skip_errors;

    struct import_stage stages[2], *stage;
    struct import_stage *under_way; /* NULL: nothing is */
    struct db_put mark;
    uint64_t *seen; /* hashes of the staged keys, open addressing; 0 is free */
    size_t seen_mask;
    struct bytes *keys; /* with changed_only */
    bool *unchanged;
    struct cli_progress progress;
};

bool cli_import_stage_init(struct import *im); /* false: no memory */
void cli_import_stage_deinit(struct import *im);
/* Each CLI_OK or an exit code after its message. */
int cli_import_stage(struct import *im, const struct cli_row *row);
int cli_import_flush(struct import *im, bool done); /* begins to write what is staged */
int cli_import_settle(struct import *im);           /* until it is written */

#endif
