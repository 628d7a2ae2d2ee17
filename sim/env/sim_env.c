/* The simulated world's face: the operations of env.h, virtual time, and the death of the
 * machine. */
#include "sim/env/sim_env.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "sim/env/sim_internal.h"

#include <stdlib.h>

enum { DEFAULT_OP_NS = 1000, SWEEP_AFTER = 8 };
#define DEFAULT_START_MS UINT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define UNLIMITED_BYTES  ((uint64_t)1 << 46)     /* what an unlimited disk says is free */

void *sim__alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    ASSERT(p);
    return p;
}

void *sim__grow(void *p, size_t *cap, size_t want, size_t elem)
{
    if (want <= *cap)
        return p;
    size_t n = *cap ? 2 * *cap : 8;
    n = n < want ? want : n;
    p = realloc(p, n * elem);
    ASSERT(p);
    *cap = n;
    return p;
}

/* SplitMix64 (Steele, Lea and Flood, OOPSLA '14): any seed is as good as any other. */
uint64_t sim__next(struct sim_rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t sim__below(struct sim_rng *r, uint64_t n)
{
    return sim__next(r) % n; /* n is small: the bias is far below what a test could see */
}

static struct sim_handle *handle_of(struct env_file *f)
{
    return (struct sim_handle *)(void *)f;
}

/* --- time and randomness --- */

static uint64_t sim_now_ms(struct env *e)
{
    struct sim *s = sim_of(e);
    return s->mono_ns / 1000000 + s->wall_offset_ms;
}

static uint64_t sim_mono_ns(struct env *e)
{
    return sim_of(e)->mono_ns;
}

static void sim_sleep_ms(struct env *e, uint64_t ms)
{
    sim_of(e)->mono_ns += ms * 1000000;
}

static void sim_random(struct env *e, void *out, size_t len)
{
    struct sim *s = sim_of(e);
    uint8_t *p = out;
    while (len > 0) {
        uint64_t v = sim__next(&s->env_rng);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

/* --- faults --- */

static bool unlucky(struct sim *s, uint32_t ppm)
{
    return ppm != 0 && sim__below(&s->fault_rng, 1000000) < ppm;
}

/* Every disk operation begins here: it takes its time, is counted, and may meet the point of no
 * return. */
static enum status begin(struct sim *s, const char *what, const char *path, struct err *err)
{
    s->mono_ns += s->options.op_ns;
    if (unlucky(s, s->faults.slow_ppm))
        s->mono_ns += sim__below(&s->fault_rng, s->faults.slow_ns + 1);
    s->ops++;
    uint64_t limit = s->faults.fail_after_ops;
    if (limit != 0 && s->ops - s->ops_at_faults >= limit)
        return err_set(err, ST_IO_ERROR, "%s %s: simulated: the disk is gone", what, path);
    return ST_OK;
}

/* As begin, on an open file. */
static enum status begin_file(struct sim_handle *h, const char *what, struct err *err)
{
    if (!h->inode)
        return err_set(err, ST_CLOSED, "%s %s: the machine died since it was opened", what,
                       h->path);
    return begin(h->sim, what, h->path, err);
}

static enum status full(struct err *err, const char *what, const char *path)
{
    return err_set(err, ST_DISK_FULL, "%s %s: simulated: no space left on device", what, path);
}

/* --- space --- */

static uint64_t rounded(uint64_t size)
{
    return (size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE;
}

static uint64_t free_bytes(const struct sim *s)
{
    uint64_t cap = s->options.disk_bytes;
    if (cap == 0)
        return UNLIMITED_BYTES;
    return cap > s->used_bytes ? cap - s->used_bytes : 0;
}

/* Whether the file may become `size` bytes long. */
static bool has_room(const struct sim *s, const struct sim_inode *f, uint64_t size)
{
    if (s->options.disk_bytes == 0 || rounded(size) <= sim__space_of(f))
        return true;
    return rounded(size) - sim__space_of(f) <= free_bytes(s);
}

/* --- open files --- */

static enum status handle_new(struct sim *s, const char *path, unsigned flags,
                              struct sim_handle **ret, struct err *err)
{
    if (s->options.max_open_files != 0 && s->open_files >= s->options.max_open_files)
        return err_set(err, ST_TOO_MANY_FILES, "open %s: simulated: %u files are open", path,
                       s->open_files);
    size_t len = strlen(path) + 1;
    struct sim_handle *h = mem_alloc(sizeof *h + len);
    if (!h)
        return err_set(err, ST_NO_MEMORY, "open %s: no memory for the handle", path);
    *h = (struct sim_handle){.file.ops = s->env.ops, .sim = s, .flags = flags};
    memcpy(h->path, path, len);
    *ret = h;
    return ST_OK;
}

static void handle_attach(struct sim_handle *h, struct sim_inode *inode)
{
    h->inode = inode;
    inode->opens++;
    h->sim->open_files++;
    list_push_back(&h->sim->handles, &h->link);
}

static void handle_detach(struct sim_handle *h)
{
    struct sim *s = h->sim;
    struct sim_inode *inode = h->inode;
    if (!inode)
        return;
    h->inode = NULL;
    s->open_files--;
    if (inode->lock == h)
        inode->lock = NULL;
    if (--inode->opens == 0 && !inode->named)
        s->used_bytes -= sim__space_of(inode);
}

static enum status file_find_or_make(struct sim *s, const char *path, unsigned flags,
                                     struct sim_inode **ret, struct err *err)
{
    struct sim_place at;
    enum status st = sim__find(s, path, &at, err);
    if (st)
        return st;
    if (at.inode && (flags & ENV_CREATE) && (flags & ENV_EXCL))
        return err_set(err, ST_ALREADY_EXISTS, "open %s: it exists", path);
    if (at.inode && at.inode->folder)
        return err_set(err, ST_INVALID_ARGUMENT, "open %s: it is a folder", path);
    if (!at.inode && !(flags & ENV_CREATE))
        return err_set(err, ST_NOT_FOUND, "open %s: no such file", path);
    if (!at.inode) {
        if (unlucky(s, s->faults.write_enospc_ppm))
            return full(err, "open", path);
        at.inode = sim__inode_new(s, false);
        struct sim_inode *made = at.inode;
        at.inode = NULL;
        sim__name_add(s, &at, made);
        at.inode = made;
    }
    *ret = at.inode;
    return ST_OK;
}

static void set_size(struct sim *s, struct sim_inode *f, uint64_t size)
{
    s->used_bytes += rounded(size) - sim__space_of(f);
    sim__file_truncate(f, size);
}

static enum status sim_open(struct env *e, const char *path, unsigned flags, struct env_file **ret,
                            struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_handle *h = NULL;
    struct sim_inode *f = NULL;
    if ((flags & (ENV_CREATE | ENV_TRUNC)) && !(flags & ENV_WRITE))
        return err_set(err, ST_INVALID_ARGUMENT, "open %s: CREATE and TRUNC need WRITE", path);
    enum status st = begin(s, "open", path, err);
    if (!st)
        st = handle_new(s, path, flags, &h, err);
    if (!st)
        st = file_find_or_make(s, path, flags, &f, err);
    if (st) {
        mem_free(h);
        return st;
    }
    handle_attach(h, f);
    if ((flags & ENV_TRUNC) && f->now.size > 0)
        set_size(s, f, 0);
    *ret = &h->file;
    return ST_OK;
}

static void sim_close(struct env_file *file)
{
    struct sim_handle *h = handle_of(file);
    handle_detach(h);
    list_remove(&h->link);
    mem_free(h);
}

static enum status sim_lock(struct env *e, const char *path, struct env_file **ret, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_handle *h = NULL;
    struct sim_inode *f = NULL;
    enum status st = begin(s, "lock", path, err);
    if (!st)
        st = handle_new(s, path, ENV_WRITE, &h, err);
    if (!st)
        st = file_find_or_make(s, path, ENV_WRITE | ENV_CREATE, &f, err);
    if (!st && f->lock)
        st = err_set(err, ST_LOCKED, "lock %s: held by another process or handle", path);
    if (st) {
        mem_free(h);
        return st;
    }
    handle_attach(h, f);
    f->lock = h;
    *ret = &h->file;
    return ST_OK;
}

/* --- content --- */

static enum status check_direct(const struct sim_handle *h, uint64_t off, const void *data,
                                size_t len, const char *what, struct err *err)
{
    if (!(h->flags & ENV_DIRECT) ||
        (off % SIM_PAGE == 0 && len % SIM_PAGE == 0 && (uintptr_t)data % SIM_PAGE == 0))
        return ST_OK;
    return err_set(err, ST_INVALID_ARGUMENT, "%s %s: DIRECT needs multiples of 4096", what,
                   h->path);
}

/* One page of what was read becomes what it was. */
static void show_stale(const struct sim_handle *h, uint64_t off, uint8_t *out, size_t len)
{
    const struct sim_inode *f = h->inode;
    const struct sim_image *img = h->sim->options.keeps_older ? &f->older : &f->durable;
    uint64_t first = off / SIM_PAGE, last = (off + len - 1) / SIM_PAGE;
    uint64_t page = first + sim__below(&h->sim->fault_rng, last - first + 1);
    uint64_t from = page == first ? off : page * SIM_PAGE;
    uint64_t to = page == last ? off + len : (page + 1) * SIM_PAGE;
    memset(out + (from - off), 0, (size_t)(to - from));
    (void)sim__image_read(img, from, out + (from - off), (size_t)(to - from));
}

static enum status sim_pread(struct env_file *file, uint64_t off, void *out, size_t len,
                             size_t *ret_len, struct err *err)
{
    struct sim_handle *h = handle_of(file);
    enum status st = begin_file(h, "read", err);
    if (!st)
        st = check_direct(h, off, out, len, "read", err);
    if (st)
        return st;
    if (off > INT64_MAX || len > (uint64_t)INT64_MAX - off)
        return err_set(err, ST_INVALID_ARGUMENT, "read %s: beyond any file", h->path);
    if (unlucky(h->sim, h->sim->faults.read_eio_ppm))
        return err_set(err, ST_IO_ERROR, "read %s: simulated: input/output error", h->path);
    *ret_len = sim__image_read(&h->inode->now, off, out, len);
    if (*ret_len > 0 && unlucky(h->sim, h->sim->faults.stale_read_ppm))
        show_stale(h, off, out, *ret_len);
    return ST_OK;
}

static void write_now(struct sim_handle *h, uint64_t off, struct bytes data)
{
    uint64_t before = sim__space_of(h->inode);
    sim__file_write(h->inode, off, data.data, data.len);
    h->sim->used_bytes += sim__space_of(h->inode) - before;
}

/* Where a write really lands: another page of the file, now and then. */
static uint64_t misdirected(struct sim_handle *h, uint64_t off)
{
    struct sim *s = h->sim;
    uint64_t pages = h->inode->now.size / SIM_PAGE;
    if (pages < 2 || !unlucky(s, s->faults.misdirect_ppm))
        return off;
    const char *end = strrchr(h->path, '/');
    size_t len = end ? (size_t)(end - h->path) : 0;
    ASSERT(len < sizeof s->lie_dir);
    memcpy(s->lie_dir, h->path, len);
    s->lie_dir[len] = 0;
    s->lies++;
    s->syncs_since_lie = 0;
    return sim__below(&s->fault_rng, pages) * SIM_PAGE + off % SIM_PAGE;
}

/* What a failed write leaves: nothing, or when asked for, any prefix of what there was room for. */
static void write_partly(struct sim_handle *h, uint64_t off, struct bytes data)
{
    struct sim *s = h->sim;
    if (!s->faults.partial_on_error || data.len == 0)
        return;
    size_t n = (size_t)sim__below(&s->fault_rng, data.len + 1);
    uint64_t room = sim__space_of(h->inode) + free_bytes(s);
    if (off >= room)
        return;
    if (n > room - off)
        n = (size_t)(room - off);
    write_now(h, off, BYTES(data.data, n));
}

/* One run of bytes: the only part where it lies, or all parts in the simulator's scratch. */
static struct bytes gather(struct sim *s, const struct bytes *parts, size_t n, size_t total)
{
    if (n == 1)
        return parts[0];
    s->gather = sim__grow(s->gather, &s->gather_cap, total, 1);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(s->gather + at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    return BYTES(s->gather, total);
}

static enum status write_check(struct sim_handle *h, uint64_t off, const struct bytes *parts,
                               size_t n, size_t *ret_total, struct err *err)
{
    size_t total = 0;
    if (!(h->flags & ENV_WRITE))
        return err_set(err, ST_INVALID_ARGUMENT, "write %s: opened for reading", h->path);
    for (size_t i = 0; i < n; i++) {
        enum status st = check_direct(h, off + total, parts[i].data, parts[i].len, "write", err);
        if (st)
            return st;
        total += parts[i].len;
    }
    if (off > SIM_FILE_MAX || total > SIM_FILE_MAX - off)
        return err_set(err, ST_TOO_LARGE, "write %s: a simulated file holds 64 GiB", h->path);
    *ret_total = total;
    return ST_OK;
}

static enum status sim_pwritev(struct env_file *file, uint64_t off, const struct bytes *parts,
                               size_t n, struct err *err)
{
    struct sim_handle *h = handle_of(file);
    struct sim *s = h->sim;
    size_t total = 0;
    if (!h->inode)
        return begin_file(h, "write", err);
    enum status st = write_check(h, off, parts, n, &total, err);
    if (st)
        return st;
    struct bytes data = gather(s, parts, n, total);
    st = begin_file(h, "write", err);
    if (!st && unlucky(s, s->faults.write_eio_ppm))
        st = err_set(err, ST_IO_ERROR, "write %s: simulated: input/output error", h->path);
    if (!st && total > 0 &&
        (unlucky(s, s->faults.write_enospc_ppm) || !has_room(s, h->inode, off + total)))
        st = full(err, "write", h->path);
    if (st)
        write_partly(h, off, data);
    else if (total > 0)
        write_now(h, misdirected(h, off), data);
    return st;
}

static void synced(const struct sim_handle *h)
{
    struct sim *s = h->sim;
    size_t len = strlen(s->lie_dir);
    if (s->lies && !strncmp(h->path, s->lie_dir, len) && h->path[len] == '/')
        s->syncs_since_lie++;
}

static enum status sim_sync(struct env_file *file, struct err *err)
{
    struct sim_handle *h = handle_of(file);
    if (!h->inode)
        return begin_file(h, "sync", err);
    enum status st = begin_file(h, "sync", err);
    h->sim->mono_ns += h->sim->faults.sync_ns;
    if (!st && unlucky(h->sim, h->sim->faults.sync_eio_ppm))
        st = err_set(err, ST_IO_ERROR, "sync %s: simulated: input/output error", h->path);
    if (st)
        sim__file_sync_failed(h->inode);
    else
        sim__file_sync(h->inode, h->sim->options.keeps_older);
    if (!st)
        synced(h);
    return st;
}

/* Nothing: which un-synced writes a power cut takes is the fault model's to say. */
static void sim_write_behind(struct env_file *file, uint64_t off, uint64_t len)
{
    (void)file;
    (void)off;
    (void)len;
}

static enum status sim_truncate(struct env_file *file, uint64_t size, struct err *err)
{
    struct sim_handle *h = handle_of(file);
    enum status st = begin_file(h, "truncate", err);
    if (st)
        return st;
    struct sim *s = h->sim;
    if (!(h->flags & ENV_WRITE))
        return err_set(err, ST_INVALID_ARGUMENT, "truncate %s: opened for reading", h->path);
    if (size > SIM_FILE_MAX)
        return err_set(err, ST_TOO_LARGE, "truncate %s: a simulated file holds 64 GiB", h->path);
    if (unlucky(s, s->faults.write_eio_ppm))
        return err_set(err, ST_IO_ERROR, "truncate %s: simulated: input/output error", h->path);
    if (size > h->inode->now.size &&
        (unlucky(s, s->faults.write_enospc_ppm) || !has_room(s, h->inode, size)))
        return full(err, "truncate", h->path);
    if (size != h->inode->now.size)
        set_size(s, h->inode, size);
    return ST_OK;
}

static enum status sim_size(struct env_file *file, uint64_t *ret, struct err *err)
{
    struct sim_handle *h = handle_of(file);
    enum status st = begin_file(h, "stat", err);
    if (!st)
        *ret = h->inode->now.size;
    return st;
}

/* --- names --- */

static enum status find_any(struct sim *s, const char *what, const char *path,
                            struct sim_place *ret, struct err *err)
{
    enum status st = begin(s, what, path, err);
    if (!st)
        st = sim__find(s, path, ret, err);
    if (!st && !ret->inode)
        st = err_set(err, ST_NOT_FOUND, "%s %s: no such file or folder", what, path);
    return st;
}

static enum status find_folder(struct sim *s, const char *what, const char *path,
                               struct sim_place *ret, struct err *err)
{
    enum status st = find_any(s, what, path, ret, err);
    if (!st && !ret->inode->folder)
        st = err_set(err, ST_NOT_FOUND, "%s %s: it is no folder", what, path);
    return st;
}

static void sweep_sometimes(struct sim *s)
{
    if (s->unnamed >= SWEEP_AFTER)
        sim__sweep(s);
}

/* Whether `inode` lies in the tree under `folder`, or is it. */
static bool holds(const struct sim_inode *folder, const struct sim_inode *inode)
{
    if (folder == inode)
        return true;
    for (size_t i = 0; i < folder->entries.len; i++)
        if (folder->entries.at[i].inode->folder && holds(folder->entries.at[i].inode, inode))
            return true;
    return false;
}

static enum status rename_check(const struct sim_place *a, const struct sim_place *b,
                                const char *from, const char *to, struct err *err)
{
    const struct sim_inode *old = b->inode;
    if (!a->parent || !b->parent || (a->inode->folder && holds(a->inode, b->parent)))
        return err_set(err, ST_INVALID_ARGUMENT, "rename %s to %s: into itself", from, to);
    if (old && old->folder && !a->inode->folder)
        return err_set(err, ST_INVALID_ARGUMENT, "rename %s to %s: a folder is there", from, to);
    if (old && !old->folder && a->inode->folder)
        return err_set(err, ST_NOT_FOUND, "rename %s to %s: it is no folder", from, to);
    if (old && old->folder && old->entries.len > 0)
        return err_set(err, ST_ALREADY_EXISTS, "rename %s to %s: not empty", from, to);
    return ST_OK;
}

static enum status sim_rename(struct env *e, const char *from, const char *to, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place a, b;
    enum status st = find_any(s, "rename", from, &a, err);
    if (!st)
        st = sim__find(s, to, &b, err);
    if (st || a.inode == b.inode)
        return st;
    st = rename_check(&a, &b, from, to, err);
    if (st)
        return st;
    sim__name_move(s, &a, &b);
    sweep_sometimes(s);
    return ST_OK;
}

static enum status sim_unlink(struct env *e, const char *path, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = find_any(s, "remove", path, &at, err);
    if (st)
        return st;
    if (at.inode->folder)
        return err_set(err, ST_INVALID_ARGUMENT, "remove %s: it is a folder", path);
    sim__name_remove(s, &at);
    sweep_sometimes(s);
    return ST_OK;
}

static enum status sim_mkdir(struct env *e, const char *path, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = begin(s, "make folder", path, err);
    if (!st)
        st = sim__find(s, path, &at, err);
    if (st)
        return st;
    if (at.inode)
        return err_set(err, ST_ALREADY_EXISTS, "make folder %s: it exists", path);
    if (unlucky(s, s->faults.write_enospc_ppm))
        return full(err, "make folder", path);
    sim__name_add(s, &at, sim__inode_new(s, true));
    return ST_OK;
}

static enum status sim_rmdir(struct env *e, const char *path, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = find_any(s, "remove folder", path, &at, err);
    if (st)
        return st;
    if (!at.inode->folder || at.inode->entries.len > 0)
        return err_set(err, ST_INVALID_ARGUMENT, "remove folder %s: it is %s", path,
                       at.inode->folder ? "not empty" : "no folder");
    sim__name_remove(s, &at);
    sweep_sometimes(s);
    return ST_OK;
}

static enum status sim_sync_dir(struct env *e, const char *path, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = sim__find(s, path, &at, NULL);
    struct sim_inode *folder = !st && at.inode && at.inode->folder ? at.inode : NULL;
    st = find_folder(s, "sync folder", path, &at, err);
    s->mono_ns += s->faults.sync_ns;
    if (!st && unlucky(s, s->faults.sync_eio_ppm))
        st = err_set(err, ST_IO_ERROR, "sync folder %s: simulated: input/output error", path);
    if (folder && st)
        sim__names_sync_failed(s, folder);
    else if (folder)
        sim__names_sync(s, folder);
    return st;
}

static enum status sim_list(struct env *e, const char *path, struct buf *ret_names, struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = find_folder(s, "list", path, &at, err);
    if (st)
        return st;
    const struct sim_entries *names = &at.inode->entries;
    size_t total = 0;
    for (size_t i = 0; i < names->len; i++)
        total += strlen(names->at[i].name) + 1;
    st = buf_reserve(ret_names, total);
    if (st)
        return err_set(err, st, "list %s: no room for the names", path);
    for (size_t i = 0; i < names->len && !st; i++)
        st = buf_append(ret_names, names->at[i].name, strlen(names->at[i].name) + 1);
    return st;
}

static enum status sim_free_space(struct env *e, const char *path, uint64_t *ret_bytes,
                                  struct err *err)
{
    struct sim *s = sim_of(e);
    struct sim_place at;
    enum status st = find_any(s, "free space of", path, &at, err);
    if (!st)
        *ret_bytes = free_bytes(s);
    return st;
}

/* --- the world --- */

static uint64_t log_clock(void *e)
{
    return sim_now_ms(e);
}

struct env *sim_env_new(const struct sim_options *o)
{
    static const struct env_ops ops = {
        .now_ms = sim_now_ms,
        .mono_ns = sim_mono_ns,
        .sleep_ms = sim_sleep_ms,
        .random = sim_random,
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwritev = sim_pwritev,
        .sync = sim_sync,
        .write_behind = sim_write_behind,
        .truncate = sim_truncate,
        .size = sim_size,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .rmdir = sim_rmdir,
        .sync_dir = sim_sync_dir,
        .list = sim_list,
        .free_space = sim_free_space,
        .lock = sim_lock,
    };
    struct sim *s = sim__alloc(sizeof *s);
    s->env.ops = &ops;
    s->options = *o;
    if (s->options.op_ns == 0)
        s->options.op_ns = DEFAULT_OP_NS;
    s->wall_offset_ms = o->start_ms ? o->start_ms : DEFAULT_START_MS;
    s->env_rng.state = o->seed;
    struct sim_rng split = {~o->seed};
    s->fault_rng.state = sim__next(&split);
    s->crash_rng.state = sim__next(&split);
    list_init(&s->inodes);
    list_init(&s->handles);
    list_init(&s->name_ops);
    s->root = sim__inode_new(s, true);
    s->root->named = true;
    log_set_clock(log_clock, &s->env);
    return &s->env;
}

void sim_env_free(struct env *e)
{
    if (!e)
        return;
    struct sim *s = sim_of(e);
    log_set_clock(NULL, NULL);
    list_foreach_safe (it, &s->handles) {
        list_remove(it);
        mem_free(container_of(it, struct sim_handle, link));
    }
    sim__disk_free(s);
    free(s->gather);
    free(s);
}

void sim_advance_ms(struct env *e, uint64_t ms)
{
    sim_sleep_ms(e, ms);
}

static void recount_space(struct sim *s)
{
    s->used_bytes = 0;
    list_foreach (it, &s->inodes) {
        const struct sim_inode *f = container_of(it, struct sim_inode, link);
        if (f->named)
            s->used_bytes += sim__space_of(f);
    }
}

void sim_crash(struct env *e, enum sim_crash how, uint32_t torn_bytes)
{
    struct sim *s = sim_of(e);
    list_foreach (it, &s->handles)
        handle_detach(container_of(it, struct sim_handle, link));
    if (how == SIM_CRASH_POWER) {
        ASSERT(torn_bytes > 0);
        sim__names_crash(s);
        list_foreach (it, &s->inodes)
            sim__file_crash(container_of(it, struct sim_inode, link), &s->crash_rng, torn_bytes);
    }
    sim__sweep(s);
    recount_space(s);
}

void sim_forget_handles(struct env *e)
{
    struct sim *s = sim_of(e);
    list_foreach (it, &s->handles)
        ASSERT(!container_of(it, struct sim_handle, link)->inode);
    list_init(&s->handles);
}
