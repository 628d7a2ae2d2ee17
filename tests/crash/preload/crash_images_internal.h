/* crash_images_internal.h - the state that a trace leads to: files by number, names as a history of
 * changes. */
#ifndef VARVE_TESTS_CRASH_IMAGES_INTERNAL_H
#define VARVE_TESTS_CRASH_IMAGES_INTERNAL_H

#include "crash_images.h"

enum { CRASH_BLOCK = 4096 };

/* A file's bytes as blocks; NULL stands for zeros. */
struct crash_bytes {
    unsigned char **block;
    size_t blocks;
};

/* A change of a file's bytes or size that no sync covers yet. */
struct crash_change {
    enum crash_kind kind; /* WRITE, ZERO, TRUNCATE, GROW */
    size_t seq;           /* number of its record */
    uint64_t offset, size;
    const unsigned char *data; /* in the trace */
};

struct crash_file {
    bool is_dir;
    struct crash_bytes durable;
    uint64_t durable_size;
    struct crash_change *pending;
    size_t pending_count, pending_room;
};

/* A change of names: `from` (if any) goes, `to` (if any) then stands for the file. */
struct crash_name {
    size_t dir;
    const char *text; /* owned by the sim's string list; NULL: none */
};
struct crash_move {
    size_t seq;
    struct crash_name from, to;
    size_t file;
    bool durable;
};

struct crash_entry {
    size_t dir;
    const char *text;
    size_t file;
};
struct crash_entries {
    struct crash_entry *v;
    size_t count, room;
};

struct crash_images {
    enum crash_model model;
    unsigned char *trace;
    size_t trace_len;
    size_t *at; /* offsets of the records */
    size_t count, position;
    struct crash_file *files; /* 0 is the folder itself */
    size_t file_count, file_room;
    size_t *file_of; /* handle -> file */
    size_t handle_room;
    struct crash_entries live; /* the names as the running system sees them */
    struct crash_entries base; /* durable: what moves before moves[0] left */
    struct crash_move *moves;
    size_t move_count, move_room;
    char **strings;
    size_t string_count, string_room;
    size_t *marks;
    size_t mark_count, mark_room;
};

void *crash__grow(void *v, size_t count, size_t *room,
                  size_t each); /* room for one more; aborts without memory */
bool crash__fail(char err[CRASH_ERROR_MAX], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void crash__entries_apply(struct crash_entries *e, const struct crash_move *m);
size_t crash__entries_find(const struct crash_entries *e, size_t dir, const char *text,
                           size_t len); /* SIZE_MAX: none */

/* The size after a change. */
uint64_t crash__size_after(const struct crash_change *c, uint64_t size);
/* Lets [from, to) of the bytes be what the change makes of them. `owned` (may be NULL): which
 * blocks may be written in place; the others are copied first. */
void crash__bytes_change(struct crash_bytes *b, bool **owned, const struct crash_change *c,
                         uint64_t from, uint64_t to);

#endif
