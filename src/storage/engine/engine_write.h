/* engine_write.h - the writing that is the same for all engines: which rows a drain, a vacuum or an
 * ingest makes.
 *
 * An engine gives a sink. Rows of one family come in ascending key order between two commits, the
 * families in any mix. The sink's commit makes them durable in the order when, past, live: the
 * order that lets a cut be repeated (see engine_view.h on half drains), each family all or nothing.
 *
 * Owns: nothing. Promises: the same input makes the same rows, so repeating is harmless.
 * Never: reads a clock. Threads: one caller at a time for an engine.
 */
#ifndef VARVE_STORAGE_ENGINE_ENGINE_WRITE_H
#define VARVE_STORAGE_ENGINE_ENGINE_WRITE_H

#include "storage/engine/engine_view.h"

struct engine_sink {
    const struct engine_sink_ops *ops;
};
struct engine_sink_ops {
    enum status (*put)(struct engine_sink *s, enum engine_family f, struct bytes key,
                       struct bytes value, struct err *err);
    enum status (*del)(struct engine_sink *s, enum engine_family f, struct bytes key,
                       struct err *err);
    enum status (*commit)(struct engine_sink *s,
                          struct err *err); /* afterwards the sink takes rows again */
};

/* One row alone, committed: for tests. `value` NULL: removes it. */
enum status engine_sink_raw(struct engine_sink *sink, enum engine_family f, struct bytes key,
                            const struct bytes *value, struct err *err) WARN_UNUSED;
/* The mark's row, which comes last in `live`. */
enum status engine_sink_mark(struct engine_sink *sink, uint64_t range,
                             const struct engine_mark *mark, uint8_t flags,
                             const struct engine_counts *counts, struct err *err) WARN_UNUSED;
/* What a range counted before this change; all zero, and known, of one without a mark. */
struct engine_counts engine_counts_before(const struct engine_mark_row *before);
/* Current live + the versions of the table and of those below it -> rows, the mark last; commits.
 * Versions at or below the range's persisted mark are skipped; nothing at all is written when `mark`
 * is not above it, and *ret is left alone then (it may be NULL).
 * INVALID_ARGUMENT: a reserved key. CORRUPT: a spilled table came back changed. */
enum status engine_drain_rows(struct engine_view *v, uint64_t range, const struct table *t,
                              const struct engine_mark *mark, struct engine_sink *sink,
                              struct engine_drained *ret, struct err *err) WARN_UNUSED;
/* As in engine_ops; commits in batches. *ret is set on CANCELLED too. */
enum status engine_vacuum_rows(struct engine_view *v, uint64_t range, const struct engine_vacuum *q,
                               struct engine_sink *sink, struct engine_vacuum_result *ret,
                               struct err *err) WARN_UNUSED;
typedef enum status (*engine_ingest_fn)(void *arg, uint8_t *family, struct bytes *key,
                                        struct bytes *value, bool *end, struct err *err);
/* Checks every row and its order; commits. PRECONDITION_FAILED: the interval is not empty, or the
 * range has a mark. CORRUPT: a row that export could not have made. Leftovers of an ingest that was
 * cut are removed first. */
enum status engine_ingest_rows(struct engine_view *v, uint64_t range,
                               const struct engine_interval *in, engine_ingest_fn next, void *arg,
                               const struct engine_mark *mark, struct engine_sink *sink,
                               struct err *err) WARN_UNUSED;

#endif
