/* crash_cut.c - decides what of the unsynced is there after a power cut, and lays the folder down.
 */
#include "crash_images_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A number for (seed, a, b), the same every time (splitmix64's finisher over each part). */
static uint64_t draw(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t z = seed;
    const uint64_t parts[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        z += parts[i] + 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return z;
}

enum { DRAW_LOSS = 1, DRAW_ORDER, DRAW_TEAR, DRAW_SIZE, DRAW_NAMES, DRAW_UNIT = 16 };

/* What is there of one file's pending changes. */
struct survival {
    const struct crash_cut *cut;
    size_t file, count;
    enum crash_loss loss;
    size_t kept;    /* ORDERED: this many changes */
    uint64_t torn;  /* ORDERED: and of the next one what lies before this offset */
    uint64_t size;  /* of the file */
    size_t size_at; /* the size is that after so many changes */
    uint64_t fresh; /* EXT4: units from this offset on were not part of the durable file */
};

static struct survival decide(const struct crash_images *c, size_t file,
                              const struct crash_cut *cut)
{
    const struct crash_file *f = &c->files[file];
    struct survival s = {.cut = cut,
                         .file = file,
                         .count = f->pending_count,
                         .loss = cut->loss,
                         .fresh = UINT64_MAX};
    if (s.loss == CRASH_MIXED)
        s.loss = (enum crash_loss)(draw(cut->seed, file, DRAW_LOSS) % CRASH_MIXED);
    switch (s.loss) {
    case CRASH_KEEP_ALL:
    case CRASH_MIXED:
        s.kept = s.size_at = s.count;
        break;
    case CRASH_LOSE_ALL:
        break;
    case CRASH_ORDERED:
        s.kept = s.size_at = (size_t)(draw(cut->seed, file, DRAW_ORDER) % (s.count + 1));
        break;
    case CRASH_SCATTERED:
        s.size_at = (size_t)(draw(cut->seed, file, DRAW_SIZE) % (s.count + 1));
        break;
    }
    s.size = f->durable_size;
    for (size_t k = 0; k < s.size_at; k++)
        s.size = crash__size_after(&f->pending[k], s.size);
    if (s.loss == CRASH_ORDERED && s.kept < s.count && f->pending[s.kept].kind == CRASH_WRITE) {
        const struct crash_change *next = &f->pending[s.kept];
        uint64_t first = next->offset / cut->unit,
                 units = (next->offset + next->size) / cut->unit - first + 1;
        s.torn = (first + draw(cut->seed, file, DRAW_TEAR) % units) * cut->unit;
        if (s.torn > next->offset && s.torn > s.size)
            s.size = s.torn;
    }
    if (c->model == CRASH_EXT4)
        s.fresh = f->durable_size - f->durable_size % cut->unit;
    return s;
}

/* How many of the pending changes the unit that begins at `off` has seen. */
static size_t seen(const struct survival *s, uint64_t off)
{
    size_t n = s->kept;
    if (s->loss == CRASH_ORDERED && s->kept < s->count && off < s->torn)
        n = s->kept + 1;
    if (s->loss == CRASH_SCATTERED)
        n = (size_t)(draw(s->cut->seed, s->file, DRAW_UNIT + off) % (s->count + 1));
    return off >= s->fresh && n < s->size_at ? s->size_at : n;
}

static void survive(const struct survival *s, const struct crash_change *c, size_t k,
                    struct crash_bytes *view, bool **owned)
{
    uint64_t unit = s->cut->unit;
    uint64_t from = c->kind == CRASH_TRUNCATE ? c->size : c->offset;
    uint64_t to = c->kind == CRASH_TRUNCATE ? view->blocks * CRASH_BLOCK : c->offset + c->size;
    if (c->kind == CRASH_GROW)
        return;
    if (s->loss == CRASH_KEEP_ALL) {
        crash__bytes_change(view, owned, c, from, to);
        return;
    }
    for (uint64_t off = from - from % unit; off < to; off += unit)
        if (k < seen(s, off))
            crash__bytes_change(view, owned, c, off, off + unit);
}

static bool write_bytes(int fd, const struct crash_bytes *view, uint64_t size)
{
    for (size_t i = 0; i < view->blocks && i * CRASH_BLOCK < size; i++) {
        uint64_t left = size - i * CRASH_BLOCK;
        size_t len = left < CRASH_BLOCK ? (size_t)left : CRASH_BLOCK;
        if (view->block[i] &&
            pwrite(fd, view->block[i], len, (off_t)(i * CRASH_BLOCK)) != (ssize_t)len)
            return false;
    }
    return ftruncate(fd, (off_t)size) == 0;
}

static bool write_file(const struct crash_images *c, size_t file, const struct crash_cut *cut,
                       const char *path, char err[CRASH_ERROR_MAX])
{
    const struct crash_file *f = &c->files[file];
    struct survival s = decide(c, file, cut);
    struct crash_bytes view = {.blocks = f->durable.blocks};
    bool *owned = calloc(view.blocks + 1, sizeof *owned);
    view.block = malloc((view.blocks + 1) * sizeof *view.block);
    if (!owned || !view.block)
        abort();
    if (view.blocks)
        memcpy(view.block, f->durable.block, view.blocks * sizeof *view.block);
    for (size_t k = 0; k < f->pending_count; k++)
        survive(&s, &f->pending[k], k, &view, &owned);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write_bytes(fd, &view, s.size);
    if (!ok)
        crash__fail(err, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    for (size_t i = 0; i < view.blocks; i++)
        if (owned[i])
            free(view.block[i]);
    free(view.block);
    free(owned);
    return ok;
}

/* The names that are there after the cut. */
static struct crash_entries surviving_names(const struct crash_images *c,
                                            const struct crash_cut *cut)
{
    struct crash_entries e = {.count = c->base.count, .room = c->base.count + 1};
    e.v = calloc(e.room, sizeof *e.v);
    if (!e.v)
        abort();
    if (e.count)
        memcpy(e.v, c->base.v, e.count * sizeof *e.v);
    enum crash_loss loss = cut->loss;
    if (loss == CRASH_MIXED)
        loss = (enum crash_loss)(draw(cut->seed, 0, DRAW_LOSS) % CRASH_MIXED);
    if (loss == CRASH_SCATTERED && c->model == CRASH_EXT4)
        loss = CRASH_ORDERED;
    size_t kept = loss == CRASH_KEEP_ALL ? c->move_count
                  : loss == CRASH_ORDERED
                      ? (size_t)(draw(cut->seed, 0, DRAW_NAMES) % (c->move_count + 1))
                      : 0;
    for (size_t i = 0; i < c->move_count; i++) {
        bool there = c->moves[i].durable || i < kept ||
                     (loss == CRASH_SCATTERED && draw(cut->seed, c->moves[i].seq, DRAW_NAMES) & 1);
        if (there)
            crash__entries_apply(&e, &c->moves[i]);
    }
    return e;
}

/* Lays down what is in one folder, then what is in its folders. `first` remembers where a file with
 * several names is. */
static bool write_dir(const struct crash_images *c, const struct crash_cut *cut,
                      const struct crash_entries *e, size_t dir, const char *path, char **first,
                      char err[CRASH_ERROR_MAX])
{
    char below[PATH_MAX];
    if (mkdir(path, 0755) < 0)
        return crash__fail(err, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < e->count; i++) {
        size_t file = e->v[i].file;
        if (e->v[i].dir != dir)
            continue;
        int n = snprintf(below, sizeof below, "%s/%s", path, e->v[i].text);
        if (n < 0 || (size_t)n >= sizeof below)
            return crash__fail(err, "%s: a path too long", path);
        if (first[file]) {
            /* A folder seen twice can only be a move whose removal was lost; it stays where it was
             * met first. */
            if (!c->files[file].is_dir && link(first[file], below) < 0)
                return crash__fail(err, "%s: %s", below, strerror(errno));
            continue;
        }
        first[file] = strdup(below);
        if (!first[file])
            abort();
        bool ok = c->files[file].is_dir ? write_dir(c, cut, e, file, below, first, err)
                                        : write_file(c, file, cut, below, err);
        if (!ok)
            return false;
    }
    return true;
}

bool crash_images_write(const struct crash_images *c, const struct crash_cut *cut, const char *dir,
                        char err[CRASH_ERROR_MAX])
{
    if (cut->unit != 512 && cut->unit != 4096)
        return crash__fail(err, "a unit of %u bytes: only 512 and 4096 are known", cut->unit);
    struct crash_entries names = surviving_names(c, cut);
    char **first = calloc(c->file_count, sizeof *first);
    if (!first)
        abort();
    bool ok = write_dir(c, cut, &names, 0, dir, first, err);
    for (size_t i = 0; i < c->file_count; i++)
        free(first[i]);
    free(first);
    free(names.v);
    return ok;
}
