/* crash_images.c - walks a trace and keeps, per file and per name, what is durable and what is not
 * yet. */
#include "crash_images_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *crash__grow(void *v, size_t count, size_t *room, size_t each)
{
    if (count < *room)
        return v;
    size_t more = *room ? *room * 2 : 16;
    void *bigger = realloc(v, more * each);
    if (!bigger)
        abort();
    memset((char *)bigger + *room * each, 0, (more - *room) * each);
    *room = more;
    return bigger;
}

bool crash__fail(char err[CRASH_ERROR_MAX], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, CRASH_ERROR_MAX, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- bytes ---- */

uint64_t crash__size_after(const struct crash_change *c, uint64_t size)
{
    uint64_t reach = c->kind == CRASH_WRITE ? c->offset + c->size : c->size;
    if (c->kind == CRASH_TRUNCATE)
        return c->size;
    return (c->kind == CRASH_WRITE || c->kind == CRASH_GROW) && reach > size ? reach : size;
}

static unsigned char *block_for_write(struct crash_bytes *b, bool **owned, size_t i)
{
    if (i >= b->blocks) {
        size_t more = i + 1 > b->blocks * 2 ? i + 1 : b->blocks * 2;
        b->block = realloc(b->block, more * sizeof *b->block);
        if (owned)
            *owned = realloc(*owned, more * sizeof **owned);
        if (!b->block || (owned && !*owned))
            abort();
        memset(b->block + b->blocks, 0, (more - b->blocks) * sizeof *b->block);
        if (owned)
            memset(*owned + b->blocks, 0, (more - b->blocks) * sizeof **owned);
        b->blocks = more;
    }
    if (!b->block[i] || (owned && !(*owned)[i])) {
        unsigned char *fresh = malloc(CRASH_BLOCK);
        if (!fresh)
            abort();
        if (b->block[i])
            memcpy(fresh, b->block[i], CRASH_BLOCK);
        else
            memset(fresh, 0, CRASH_BLOCK);
        b->block[i] = fresh;
        if (owned)
            (*owned)[i] = true;
    }
    return b->block[i];
}

void crash__bytes_change(struct crash_bytes *b, bool **owned, const struct crash_change *c,
                         uint64_t from, uint64_t to)
{
    uint64_t begin = c->kind == CRASH_TRUNCATE ? c->size : c->offset;
    uint64_t end = c->kind == CRASH_TRUNCATE ? b->blocks * CRASH_BLOCK : c->offset + c->size;
    if (c->kind == CRASH_GROW)
        return;
    from = from > begin ? from : begin;
    to = to < end ? to : end;
    while (from < to) {
        size_t i = (size_t)(from / CRASH_BLOCK), in = (size_t)(from % CRASH_BLOCK);
        size_t len = CRASH_BLOCK - in < to - from ? CRASH_BLOCK - in : (size_t)(to - from);
        if (c->kind == CRASH_WRITE)
            memcpy(block_for_write(b, owned, i) + in, c->data + (from - c->offset), len);
        else if (i < b->blocks && b->block[i]) /* zeros over zeros change nothing */
            memset(block_for_write(b, owned, i) + in, 0, len);
        from += len;
    }
}

/* Makes the changes before record `upto` durable. */
static void file_sync(struct crash_file *f, size_t upto)
{
    size_t done = 0;
    while (done < f->pending_count && f->pending[done].seq < upto) {
        crash__bytes_change(&f->durable, NULL, &f->pending[done], 0, UINT64_MAX);
        f->durable_size = crash__size_after(&f->pending[done], f->durable_size);
        done++;
    }
    f->pending_count -= done;
    memmove(f->pending, f->pending + done, f->pending_count * sizeof *f->pending);
}

/* ---- names ---- */

size_t crash__entries_find(const struct crash_entries *e, size_t dir, const char *text, size_t len)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->v[i].dir == dir && !strncmp(e->v[i].text, text, len) && !e->v[i].text[len])
            return i;
    return SIZE_MAX;
}

void crash__entries_apply(struct crash_entries *e, const struct crash_move *m)
{
    size_t i;
    if (m->from.text) {
        i = crash__entries_find(e, m->from.dir, m->from.text, strlen(m->from.text));
        if (i != SIZE_MAX && e->v[i].file == m->file) /* else an earlier change was lost */
            e->v[i] = e->v[--e->count];
    }
    if (m->to.text) {
        i = crash__entries_find(e, m->to.dir, m->to.text, strlen(m->to.text));
        if (i == SIZE_MAX) {
            e->v = crash__grow(e->v, e->count, &e->room, sizeof *e->v);
            i = e->count++;
        }
        e->v[i] = (struct crash_entry){m->to.dir, m->to.text, m->file};
    }
}

/* Changes that are durable and stand first are folded into the base, so that the list stays short.
 */
static void fold(struct crash_images *c)
{
    size_t done = 0;
    while (done < c->move_count && c->moves[done].durable)
        crash__entries_apply(&c->base, &c->moves[done++]);
    c->move_count -= done;
    memmove(c->moves, c->moves + done, c->move_count * sizeof *c->moves);
}

static void names_sync(struct crash_images *c, size_t file, size_t upto)
{
    size_t last = 0; /* changes that the journal has to commit */
    bool is_dir = c->files[file].is_dir;
    for (size_t i = 0; i < c->move_count && c->moves[i].seq < upto; i++) {
        struct crash_move *m = &c->moves[i];
        bool in_dir =
            is_dir && ((m->from.text && m->from.dir == file) || (m->to.text && m->to.dir == file));
        if (c->model == CRASH_POSIX)
            m->durable |= in_dir;
        else if (in_dir || m->file == file)
            last = i + 1;
    }
    for (size_t i = 0; i < last; i++)
        c->moves[i].durable = true;
    fold(c);
}

/* Where a path leads in the names as they are: its folder, its last part and, if it is there, its
 * file. */
static bool walk(struct crash_images *c, const char *path, size_t len, struct crash_name *ret_name,
                 size_t *ret_file)
{
    size_t dir = 0;
    *ret_name = (struct crash_name){0, NULL};
    *ret_file = 0;
    while (len) {
        const char *slash = memchr(path, '/', len);
        size_t part = slash ? (size_t)(slash - path) : len;
        size_t found = crash__entries_find(&c->live, dir, path, part);
        *ret_file = found == SIZE_MAX ? SIZE_MAX : c->live.v[found].file;
        if (!slash) {
            c->strings =
                crash__grow(c->strings, c->string_count, &c->string_room, sizeof *c->strings);
            char *text = strndup(path, part);
            if (!text)
                abort();
            c->strings[c->string_count++] = text;
            *ret_name = (struct crash_name){dir, text};
            return true;
        }
        if (*ret_file == SIZE_MAX || !c->files[*ret_file].is_dir)
            return false;
        dir = *ret_file;
        path += part + 1;
        len -= part + 1;
    }
    return true;
}

static void move(struct crash_images *c, struct crash_name from, struct crash_name to, size_t file)
{
    c->moves = crash__grow(c->moves, c->move_count, &c->move_room, sizeof *c->moves);
    struct crash_move *m = &c->moves[c->move_count++];
    *m = (struct crash_move){.seq = c->position, .from = from, .to = to, .file = file};
    crash__entries_apply(&c->live, m);
}

static size_t file_new(struct crash_images *c, bool is_dir)
{
    c->files = crash__grow(c->files, c->file_count, &c->file_room, sizeof *c->files);
    c->files[c->file_count] = (struct crash_file){.is_dir = is_dir};
    return c->file_count++;
}

/* ---- the trace ---- */

static bool step_name(struct crash_images *c, const struct crash_record *r, const char *path,
                      char err[CRASH_ERROR_MAX])
{
    struct crash_name from, to, none = {0, NULL};
    size_t file, other;
    int len = (int)r->path_len;
    if (!walk(c, path, r->path_len, &from, &file))
        return crash__fail(err, "record %zu: no folder for %.*s", c->position, len, path);
    bool makes = r->kind == CRASH_CREATE || r->kind == CRASH_MKDIR;
    if (makes && !from.text) /* the recorded folder itself */
        return true;
    if (makes) {
        if (file != SIZE_MAX)
            return crash__fail(err, "record %zu: %.*s is made but was there", c->position, len,
                               path);
        move(c, none, from, file_new(c, r->kind == CRASH_MKDIR));
        return true;
    }
    if (file == SIZE_MAX)
        return crash__fail(err, "record %zu: %.*s is not there", c->position, len, path);
    if (r->kind == CRASH_UNLINK || r->kind == CRASH_RMDIR) {
        move(c, from, none, file);
        return true;
    }
    if (!walk(c, path + r->path_len, r->path2_len, &to, &other))
        return crash__fail(err, "record %zu: no folder for %.*s", c->position, (int)r->path2_len,
                           path + r->path_len);
    if (r->kind == CRASH_RENAME && other == file) /* two names of one file: POSIX does nothing */
        return true;
    move(c, r->kind == CRASH_RENAME ? from : none, to, file);
    return true;
}

static bool step_open(struct crash_images *c, const struct crash_record *r, const char *path,
                      char err[CRASH_ERROR_MAX])
{
    struct crash_name name;
    size_t file;
    if (!walk(c, path, r->path_len, &name, &file) || file == SIZE_MAX)
        return crash__fail(err, "record %zu: %.*s is opened but not there", c->position,
                           (int)r->path_len, path);
    while (r->handle >= c->handle_room)
        c->file_of = crash__grow(c->file_of, c->handle_room, &c->handle_room, sizeof *c->file_of);
    c->file_of[r->handle] = file;
    return true;
}

static bool step_file(struct crash_images *c, const struct crash_record *r,
                      const unsigned char *data, char err[CRASH_ERROR_MAX])
{
    if (r->handle == 0 || r->handle >= c->handle_room)
        return crash__fail(err, "record %zu: handle %u is not open", c->position, r->handle);
    size_t file = c->file_of[r->handle];
    struct crash_file *f = &c->files[file];
    if (r->kind == CRASH_SYNC_END) {
        if (r->offset >= c->position)
            return crash__fail(err, "record %zu: a sync ends before it begins", c->position);
        file_sync(f, (size_t)r->offset);
        names_sync(c, file, (size_t)r->offset);
        return true;
    }
    f->pending = crash__grow(f->pending, f->pending_count, &f->pending_room, sizeof *f->pending);
    f->pending[f->pending_count++] =
        (struct crash_change){.kind = r->kind,
                              .seq = c->position,
                              .offset = r->offset,
                              .size = r->kind == CRASH_WRITE ? r->data_len : r->size,
                              .data = data};
    return true;
}

static bool step(struct crash_images *c, char err[CRASH_ERROR_MAX])
{
    struct crash_record r;
    const unsigned char *body = c->trace + c->at[c->position] + sizeof r;
    memcpy(&r, c->trace + c->at[c->position], sizeof r);
    switch ((enum crash_kind)r.kind) {
    case CRASH_PROCESS:
    case CRASH_CLOSE:
    case CRASH_SYNC_BEGIN:
        return true;
    case CRASH_CREATE:
    case CRASH_MKDIR:
    case CRASH_RENAME:
    case CRASH_LINK:
    case CRASH_UNLINK:
    case CRASH_RMDIR:
        return step_name(c, &r, (const char *)body, err);
    case CRASH_OPEN:
        return step_open(c, &r, (const char *)body, err);
    case CRASH_WRITE:
    case CRASH_ZERO:
    case CRASH_TRUNCATE:
    case CRASH_GROW:
    case CRASH_SYNC_END:
        return step_file(c, &r, body, err);
    case CRASH_MARK:
        c->marks = crash__grow(c->marks, c->mark_count, &c->mark_room, sizeof *c->marks);
        c->marks[c->mark_count++] = c->position;
        return true;
    case CRASH_KINDS:
        break;
    }
    return crash__fail(err, "record %zu: unknown kind %u", c->position, r.kind);
}

bool crash_images_advance(struct crash_images *c, size_t upto, char err[CRASH_ERROR_MAX])
{
    if (upto > c->count || upto < c->position)
        return crash__fail(err, "position %zu is not ahead of %zu within %zu records", upto,
                           c->position, c->count);
    for (; c->position < upto; c->position++)
        if (!step(c, err))
            return false;
    return true;
}

static bool index_records(struct crash_images *c, const char *path, char err[CRASH_ERROR_MAX])
{
    struct crash_record r;
    size_t at = 0, room = 0;
    while (at < c->trace_len) {
        size_t left = c->trace_len - at;
        if (left >= sizeof r)
            memcpy(&r, c->trace + at, sizeof r);
        uint64_t body = left < sizeof r ? 0 : (uint64_t)r.path_len + r.path2_len + r.data_len;
        if (left < sizeof r || r.magic != CRASH_TRACE_MAGIC || body > left - sizeof r)
            return crash__fail(err, "%s: no record at byte %zu", path, at);
        c->at = crash__grow(c->at, c->count, &room, sizeof *c->at);
        c->at[c->count++] = at;
        at += sizeof r + (size_t)body;
    }
    return true;
}

bool crash_images_open(const char *path, enum crash_model model, struct crash_images **ret,
                       char err[CRASH_ERROR_MAX])
{
    struct crash_images *c = calloc(1, sizeof *c);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool ok = false;
    if (!c)
        abort();
    c->model = model;
    if (fd < 0 || fstat(fd, &st) < 0) {
        crash__fail(err, "%s: %s", path, strerror(errno));
        goto out;
    }
    c->trace_len = (size_t)st.st_size;
    void *map = c->trace_len ? mmap(NULL, c->trace_len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        crash__fail(err, "%s: empty or unreadable", path);
        goto out;
    }
    c->trace = map;
    file_new(c, true);
    ok = index_records(c, path, err);
out:
    if (fd >= 0)
        close(fd);
    if (ok)
        *ret = c;
    else
        crash_images_close(c);
    return ok;
}

void crash_images_close(struct crash_images *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->file_count; i++) {
        for (size_t k = 0; k < c->files[i].durable.blocks; k++)
            free(c->files[i].durable.block[k]);
        free(c->files[i].durable.block);
        free(c->files[i].pending);
    }
    for (size_t i = 0; i < c->string_count; i++)
        free(c->strings[i]);
    if (c->trace)
        munmap(c->trace, c->trace_len);
    free(c->files);
    free(c->strings);
    free(c->file_of);
    free(c->live.v);
    free(c->base.v);
    free(c->moves);
    free(c->marks);
    free(c->at);
    free(c);
}

size_t crash_images_count(const struct crash_images *c)
{
    return c->count;
}

size_t crash_images_position(const struct crash_images *c)
{
    return c->position;
}

struct crash_record crash_images_record(const struct crash_images *c, size_t i,
                                        const char **ret_body)
{
    struct crash_record r;
    memcpy(&r, c->trace + c->at[i], sizeof r);
    *ret_body = (const char *)(c->trace + c->at[i] + sizeof r);
    return r;
}

size_t crash_images_marks(const struct crash_images *c)
{
    return c->mark_count;
}

const char *crash_images_mark(const struct crash_images *c, size_t i, size_t *ret_len)
{
    struct crash_record r;
    size_t at = c->at[c->marks[i]];
    memcpy(&r, c->trace + at, sizeof r);
    *ret_len = (size_t)r.data_len;
    return (const char *)(c->trace + at + sizeof r);
}
