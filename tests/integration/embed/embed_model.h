/* embed_model.h - a naive model of a folder: every write in order, searched from end to end.
 *
 * Time is counted in events: each write, drop, vacuum and snapshot of the present is one. A moment is
 * an event, and holds what events up to it did.
 *
 * Owns: nothing but its arrays. Promises: simple enough to be right by reading. Never: opens a
 * database. Threads: one.
 */
#ifndef VARVE_TESTS_EMBED_MODEL_H
#define VARVE_TESTS_EMBED_MODEL_H

#include "varve/varve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_NAMES = 3,
    MODEL_KEYS = 10,
    MODEL_ROWS_MAX = 6000,
    MODEL_HOMES_MAX = 400,
    MODEL_EVENTS_MAX = 6000,
    MODEL_SNAPSHOTS = 4,
    MODEL_KEY_MAX = 700,
    MODEL_VALUE_MAX = 9000,
};

struct model_row {
    varve_version version;
    int event, home, key; /* rows of one event: by home, then key */
    bool del, json;
    uint32_t number; /* the value's */
    int parent;      /* row that it superseded; -1: none */
    int child;       /* row that superseded it; -1: none yet */
    bool may_go;     /* a vacuum was allowed to remove it */
};

struct model_home { /* one life of a collection's name */
    int name;
    int made, dropped; /* events; dropped 0: it lives */
    varve_retention keep;
    int vacuumed; /* the last vacuum that found retention set; 0: none */
    int horizon;  /* reads by age may be refused up to this event */
    int feed; /* so may changes after an event before this one; a vacuum by count lets go of all */
};

struct model_snapshot {
    bool there;
    int event;
    varve_version version;
};

struct model {
    struct model_row rows[MODEL_ROWS_MAX];
    int n_rows;
    struct model_home homes[MODEL_HOMES_MAX];
    int n_homes;
    uint64_t event_ms[MODEL_EVENTS_MAX];
    int n_events; /* the last one's number; the first is 1 */
    struct model_snapshot snapshots[MODEL_SNAPSHOTS];
    uint32_t numbers; /* values handed out */
};

extern const char *const model_names[MODEL_NAMES];
/* In the order of bytes. Borrowed until the next call with the same `buf`. */
varve_bytes model_key(int key, char buf[MODEL_KEY_MAX]);
/* What is handed to a put, as raw bytes or JSON text. */
size_t model_value(uint32_t number, bool json, char buf[MODEL_VALUE_MAX]);
const char *model_writer(uint32_t number, char buf[8]);

int model_event(struct model *m, uint64_t ms);
/* The life of a name that a moment sees; -1: none. */
int model_home_at(const struct model *m, int name, int event);
/* The row of a key that a moment sees, deletes included; -1: none. */
int model_find(const struct model *m, int home, int key, int event);
/* The record that a moment sees by name; -1: absent or deleted. */
int model_get(const struct model *m, int name, int key, int event);
/* Makes the name's home when there is none. */
int model_make(struct model *m, int name, int event);
int model_add(struct model *m, int home, int key, bool del, bool json, uint32_t number, int event,
              varve_version v);
/* The last event at or before a millisecond; 0: none. */
int model_event_at(const struct model *m, uint64_t ms);
/* Oldest snapshot's event; INT_MAX: none. */
int model_oldest_snapshot(const struct model *m);
/* A vacuum by the clock of `ms` was let loose on a home. */
void model_vacuum(struct model *m, int home, int event, uint64_t ms);

#endif
