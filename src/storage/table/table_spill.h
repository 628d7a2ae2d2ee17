/* table_spill.h - how the copy of a table lies in its file; see table_spill.c. */
#ifndef VARVE_STORAGE_TABLE_TABLE_SPILL_H
#define VARVE_STORAGE_TABLE_TABLE_SPILL_H

#include "storage/table/table_internal.h"

enum { TABLE_RANK_BYTES = 8, TABLE_BRIEF_HEAD = 16 };

/* What is written, and held against its checksum, at once. */
struct table_piece {
    size_t at, len;
    uint32_t sum;
};

struct table_spill {
    struct env_file *file; /* NULL: the copy lies in memory */
    uint8_t *base;         /* where readers see its first byte */
    size_t bytes, briefs_at, briefs_bytes;
    struct table_piece *pieces; /* from the end of the file to its start; of a file only */
    size_t n_pieces, cap_pieces;
    size_t n_brief_pieces;
};

#endif
