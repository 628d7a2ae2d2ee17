/* cli_db.h - where verbs run: in a folder (cli_db_folder.c) or at a server (cli_remote.c).
 *
 *     c->db->read->get(c->db, "users", key, &at, &row)
 *
 * Both take the structures of include/varve/varve.h and answer its statuses, so that a verb does not
 * know which of the two it talks to.
 *
 * Owns:     the open folder, or the connection; the memory behind lent rows.
 * Promises: outputs untouched on failure; db->error tells the detail of the last failure.
 * Never:    prints.
 * Threads:  one.
 */
#ifndef VARVE_APPS_CLI_CLI_DB_H
#define VARVE_APPS_CLI_CLI_DB_H

#include "base/bytes.h"
#include <varve/varve.h>

/* A record, a version, a change, or a name with its version; what is not known is zero. */
struct db_row {
    const char *collection; /* of changes; else NULL */
    struct bytes key, value, writer;
    varve_type type;
    varve_version version, parent;
    bool deleted;
    uint64_t expires_ms;
    const char *token; /* of changes: the place behind it */
};

/* Rows that are read one after the other. */
struct db_rows;
struct db_rows_ops {
    /* 1: *ret, lent until the next call; 0: the end, or nothing came within timeout_ms where rows
     * are waited for (-1: no limit); < 0: minus a status */
    int (*next)(struct db_rows *rows, int64_t timeout_ms, const struct db_row **ret);
    const char *(*token)(struct db_rows *rows); /* of changes: behind what was delivered */
    void (*close)(struct db_rows *rows);
};
struct db_rows {
    const struct db_rows_ops *ops;
};

struct db_changes {
    const char *token; /* "" = from the beginning, "now" = from here on */
    varve_changes_options o;
    bool follow; /* waits for what comes */
};

struct db_put {
    const char *collection;
    struct bytes key, data;
    varve_type type;
};

struct db;
struct db_read_ops {
    /* lent until the next call on db */
    varve_status (*get)(struct db *db, const char *collection, struct bytes key, const varve_at *at,
                        const struct db_row **ret);
    /* Tells of each key, in their order; NULL: it is absent. */
    varve_status (*get_many)(struct db *db, const char *collection, const struct bytes *keys,
                             size_t n, void (*tell)(void *arg, size_t i, const struct db_row *row),
                             void *arg);
    varve_status (*scan)(struct db *db, const char *collection, const varve_scan_options *o,
                         struct db_rows **ret);
    varve_status (*history)(struct db *db, const char *collection, struct bytes key, uint64_t limit,
                            struct db_rows **ret);
    /* From the record as it was at `a`, which is not the present, to that at `b`; to be freed with
     * varve_free. */
    varve_status (*diff)(struct db *db, const char *collection, struct bytes key, const varve_at *a,
                         const varve_at *b, varve_diff_format format, char **ret);
    varve_status (*changes)(struct db *db, const struct db_changes *o, struct db_rows **ret);
    varve_status (*collections)(struct db *db, struct db_rows **ret);
    varve_status (*snapshots)(struct db *db, struct db_rows **ret);
    /* The newest moment that can be read: `now_ms`, so that it does not show what has expired by then,
     * unless that is to come for who reads, or the newest write is ahead of it. {0,0}: nothing was ever
     * written. */
    varve_status (*newest)(struct db *db, const char *collection, uint64_t now_ms,
                           varve_version *ret);
};

struct db_write_ops {
    /* `expected` NULL: whatever is there; {0,0}: only if the key is absent. On PRECONDITION_FAILED
     * *ret is the present version. */
    varve_status (*put)(struct db *db, const struct db_put *p, const varve_version *expected,
                        const varve_write_options *o, varve_version *ret);
    varve_status (*erase)(struct db *db, const char *collection, struct bytes key,
                          const varve_version *expected, const varve_write_options *o,
                          varve_version *ret);
    varve_status (*restore)(struct db *db, const char *collection, struct bytes key,
                            const varve_at *at, const varve_write_options *o, varve_version *ret);
    /* Begins to write the puts as one, and `mark` (may be NULL) with them: a record that no two
     * commits share, whose version so far is *mark_version. By it a commit that was cut off is known
     * to have been done or not. Everything passed must live until `settle`. */
    varve_status (*commit)(struct db *db, const struct db_put *puts, size_t n,
                           const struct db_put *mark, varve_version *mark_version,
                           const varve_write_options *o);
    /* Waits for the commit that was begun, if any, and answers what became of it. */
    varve_status (*settle)(struct db *db);
    void (*step)(struct db *db); /* lets a commit under way go on, without waiting */
};

struct db_care_ops {
    varve_status (*drop)(struct db *db, const char *collection, const varve_write_options *o);
    varve_status (*snapshot_create)(struct db *db, const char *name, const varve_at *at,
                                    varve_version *ret);
    varve_status (*snapshot_delete)(struct db *db, const char *name);
    varve_status (*retention_get)(struct db *db, const char *collection, varve_retention *ret);
    varve_status (*retention_set)(struct db *db, const char *collection, const varve_retention *r);
    varve_status (*vacuum)(struct db *db, const char *collection, varve_progress_fn progress,
                           void *arg, varve_vacuum_result *ret);
    varve_status (*verify)(struct db *db, void (*report)(void *arg, const varve_finding *f),
                           varve_progress_fn progress, void *arg);
    varve_status (*checkpoint)(struct db *db);
    varve_status (*compact)(struct db *db);
    varve_status (*stats)(struct db *db, varve_stats *ret);
};

struct db {
    const struct db_read_ops *read;
    const struct db_write_ops *write;
    const struct db_care_ops *care;
    const char *(*error)(struct db *db); /* the detail of the last failure; "" when there is none */
    varve_status (*close)(struct db *db);
};

static inline int db_next(struct db_rows *rows, const struct db_row **ret)
{
    return rows->ops->next(rows, -1, ret);
}
static inline void db_rows_close(struct db_rows *rows) /* takes NULL */
{
    if (rows)
        rows->ops->close(rows);
}

/* Takes the handle over; NULL: no memory (then it is still the caller's). */
struct db *db_folder_new(varve *folder);
varve *db_folder(struct db *db); /* NULL when it is a server's */

#endif
