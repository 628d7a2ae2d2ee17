/* Folders, names and inodes: what is named now, what stays named after a power cut. */
#include "sim/env/sim_internal.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

static struct sim_inode *inode_of(struct list *it)
{
    return container_of(it, struct sim_inode, link);
}

static struct sim_name_op *name_op_of(struct list *it)
{
    return container_of(it, struct sim_name_op, link);
}

/* --- entries --- */

/* Where `name` is, or would be. */
static size_t entries_seek(const struct sim_entries *e, const char *name, bool *ret_found)
{
    size_t lo = 0, hi = e->len;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(e->at[mid].name, name);
        if (c == 0) {
            *ret_found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = false;
    return lo;
}

static struct sim_inode *entries_get(const struct sim_entries *e, const char *name)
{
    bool found;
    size_t i = entries_seek(e, name, &found);
    return found ? e->at[i].inode : NULL;
}

static char *copy_name(const char *name)
{
    size_t n = strlen(name) + 1;
    return memcpy(sim__alloc(n), name, n);
}

static void entries_set(struct sim_entries *e, const char *name, struct sim_inode *inode)
{
    bool found;
    size_t i = entries_seek(e, name, &found);
    if (!found) {
        e->at = sim__grow(e->at, &e->cap, e->len + 1, sizeof *e->at);
        memmove(e->at + i + 1, e->at + i, (e->len - i) * sizeof *e->at);
        e->at[i].name = copy_name(name);
        e->len++;
    }
    e->at[i].inode = inode;
}

static void entries_remove_at(struct sim_entries *e, size_t i)
{
    free(e->at[i].name);
    memmove(e->at + i, e->at + i + 1, (e->len - i - 1) * sizeof *e->at);
    e->len--;
}

static void entries_remove(struct sim_entries *e, const char *name)
{
    bool found;
    size_t i = entries_seek(e, name, &found);
    if (found)
        entries_remove_at(e, i);
}

static void entries_remove_inode(struct sim_entries *e, const struct sim_inode *inode)
{
    for (size_t i = 0; i < e->len; i++)
        if (e->at[i].inode == inode) {
            entries_remove_at(e, i);
            return;
        }
}

static void entries_clear(struct sim_entries *e)
{
    for (size_t i = 0; i < e->len; i++)
        free(e->at[i].name);
    e->len = 0;
}

static void entries_copy(struct sim_entries *to, const struct sim_entries *from)
{
    entries_clear(to);
    to->at = sim__grow(to->at, &to->cap, from->len, sizeof *to->at);
    for (size_t i = 0; i < from->len; i++)
        to->at[i] = (struct sim_entry){copy_name(from->at[i].name), from->at[i].inode};
    to->len = from->len;
}

/* --- inodes --- */

struct sim_inode *sim__inode_new(struct sim *s, bool folder)
{
    struct sim_inode *inode = sim__alloc(sizeof *inode);
    inode->folder = folder;
    inode->dirty_from = SIZE_MAX;
    list_init(&inode->ops);
    list_push_back(&s->inodes, &inode->link);
    return inode;
}

static void inode_free(struct sim_inode *inode)
{
    sim__file_deinit(inode);
    entries_clear(&inode->entries);
    entries_clear(&inode->durable_entries);
    free(inode->entries.at);
    free(inode->durable_entries.at);
    list_remove(&inode->link);
    free(inode);
}

static void name_op_free(struct sim_name_op *op)
{
    list_remove(&op->link);
    free(op->from_name);
    free(op->to_name);
    free(op);
}

/* Marks what can be reached, one generation of folders at a time. */
static bool mark(struct sim_inode *inode)
{
    if (!inode || inode->marked)
        return false;
    inode->marked = true;
    return true;
}

static bool mark_children(const struct sim_entries *e)
{
    bool any = false;
    for (size_t i = 0; i < e->len; i++)
        any |= mark(e->at[i].inode);
    return any;
}

void sim__sweep(struct sim *s)
{
    list_foreach (it, &s->inodes)
        inode_of(it)->marked = false;
    mark(s->root);
    list_foreach (it, &s->handles)
        mark(container_of(it, struct sim_handle, link)->inode);
    list_foreach (it, &s->name_ops) {
        mark(name_op_of(it)->child);
        mark(name_op_of(it)->from);
        mark(name_op_of(it)->to);
    }
    for (bool any = true; any;) {
        any = false;
        list_foreach (it, &s->inodes) {
            struct sim_inode *inode = inode_of(it);
            if (!inode->marked || !inode->folder)
                continue;
            any |= mark_children(&inode->entries);
            any |= mark_children(&inode->durable_entries);
        }
    }
    list_foreach_safe (it, &s->inodes)
        if (!inode_of(it)->marked)
            inode_free(inode_of(it));
    s->unnamed = 0;
}

void sim__disk_free(struct sim *s)
{
    list_foreach_safe (op, &s->name_ops)
        name_op_free(name_op_of(op));
    list_foreach_safe (it, &s->inodes)
        inode_free(inode_of(it));
}

/* --- paths --- */

static enum status find_bad(struct err *err, enum status st, const char *path, const char *why)
{
    return err_set(err, st, "%s: %s", path, why);
}

enum status sim__find(struct sim *s, const char *path, struct sim_place *ret, struct err *err)
{
    struct sim_inode *parent = NULL, *inode = s->root;
    char name[SIM_NAME_MAX + 1] = "";
    if (!*path)
        return find_bad(err, ST_NOT_FOUND, path, "an empty path");
    for (const char *p = path;;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (n == 0)
            break;
        if (n > SIM_NAME_MAX)
            return find_bad(err, ST_INVALID_ARGUMENT, path, "a name over 255 bytes");
        if (n == 2 && !memcmp(p, "..", 2))
            return find_bad(err, ST_INVALID_ARGUMENT, path, "the simulated disk knows no \"..\"");
        if (n == 1 && *p == '.') {
            p += n;
            continue;
        }
        if (!inode || !inode->folder)
            return find_bad(err, ST_NOT_FOUND, path, "no such folder");
        memcpy(name, p, n);
        name[n] = '\0';
        parent = inode;
        inode = entries_get(&parent->entries, name);
        p += n;
    }
    ret->parent = parent;
    ret->inode = inode;
    memcpy(ret->name, name, sizeof name);
    return ST_OK;
}

/* --- changes now, remembered as not synced --- */

static struct sim_name_op *name_op_new(struct sim *s, struct sim_inode *child)
{
    struct sim_name_op *op = sim__alloc(sizeof *op);
    op->child = child;
    list_push_back(&s->name_ops, &op->link);
    return op;
}

/* A file that nobody names or holds open takes no space. */
static void lost_name(struct sim *s, struct sim_inode *inode)
{
    inode->named = false;
    if (inode->opens == 0)
        s->used_bytes -= sim__space_of(inode);
    s->unnamed++;
}

static void leave(struct sim_name_op *op, const struct sim_place *at)
{
    op->from = at->parent;
    op->from_name = copy_name(at->name);
    entries_remove(&at->parent->entries, at->name);
}

static void arrive(struct sim *s, struct sim_name_op *op, const struct sim_place *at)
{
    op->to = at->parent;
    op->to_name = copy_name(at->name);
    if (at->inode)
        lost_name(s, at->inode);
    entries_set(&at->parent->entries, at->name, op->child);
    op->child->named = true;
}

void sim__name_add(struct sim *s, const struct sim_place *at, struct sim_inode *child)
{
    arrive(s, name_op_new(s, child), at);
}

void sim__name_remove(struct sim *s, const struct sim_place *at)
{
    leave(name_op_new(s, at->inode), at);
    lost_name(s, at->inode);
}

void sim__name_move(struct sim *s, const struct sim_place *from, const struct sim_place *to)
{
    struct sim_name_op *op = name_op_new(s, from->inode);
    leave(op, from);
    arrive(s, op, to);
}

/* --- syncing and dying --- */

/* The change as it reaches the durable names, whichever of those before it did. */
static void name_op_apply(const struct sim_name_op *op)
{
    struct sim_inode *child = op->child;
    if (op->from && entries_get(&op->from->durable_entries, op->from_name) == child) {
        entries_remove(&op->from->durable_entries, op->from_name);
        child->durable_parent = NULL;
    }
    if (!op->to)
        return;
    if (child->durable_parent)
        entries_remove_inode(&child->durable_parent->durable_entries, child);
    struct sim_inode *replaced = entries_get(&op->to->durable_entries, op->to_name);
    if (replaced)
        replaced->durable_parent = NULL;
    entries_set(&op->to->durable_entries, op->to_name, child);
    child->durable_parent = op->to;
}

/* Marks the changes that a sync of the folder covers: a change over two folders is one step, so
 * that it brings along what waits in the other folder too, as a journal would. */
static void touch(struct sim *s, struct sim_inode *folder)
{
    list_foreach (it, &s->name_ops) {
        struct sim_name_op *op = name_op_of(it);
        op->touched = op->from == folder || op->to == folder;
    }
    for (bool more = true; more;) {
        more = false;
        list_foreach (a, &s->name_ops) {
            struct sim_name_op *x = name_op_of(a);
            if (!x->touched || !x->from || !x->to || x->from == x->to)
                continue;
            list_foreach (b, &s->name_ops) {
                struct sim_name_op *y = name_op_of(b);
                bool shares = (y->from && (y->from == x->from || y->from == x->to)) ||
                              (y->to && (y->to == x->from || y->to == x->to));
                more |= shares && !y->touched;
                y->touched |= shares;
            }
        }
    }
}

void sim__names_sync(struct sim *s, struct sim_inode *folder)
{
    touch(s, folder);
    bool doomed = false;
    list_foreach (it, &s->name_ops) {
        struct sim_name_op *op = name_op_of(it);
        if (!op->touched)
            continue;
        doomed |= op->doomed;
        op->must |= !op->doomed;
    }
    if (doomed)
        return; /* as with content: order matters until a crash has decided */
    list_foreach_safe (it, &s->name_ops) {
        struct sim_name_op *op = name_op_of(it);
        if (!op->touched)
            continue;
        name_op_apply(op);
        name_op_free(op);
    }
}

void sim__names_sync_failed(struct sim *s, struct sim_inode *folder)
{
    touch(s, folder);
    list_foreach (it, &s->name_ops) {
        struct sim_name_op *op = name_op_of(it);
        op->doomed |= op->touched && !op->must;
    }
}

/* The disk's names go all, not at all, up to some point, or each by its own luck. */
static void choose_names(struct sim *s)
{
    static const unsigned chances[] = {256, 0, 64, 128, 192};
    enum { PREFIX = 5, KINDS = 8 };
    uint64_t count = 0, i = 0;
    list_foreach (it, &s->name_ops)
        count++;
    uint64_t kind = sim__below(&s->crash_rng, KINDS);
    uint64_t cut = sim__below(&s->crash_rng, count + 1);
    list_foreach (it, &s->name_ops) {
        unsigned chance = kind < PREFIX ? chances[kind] : i < cut ? 256 : 0;
        struct sim_name_op *op = name_op_of(it);
        op->survives = sim__below(&s->crash_rng, 256) < chance || op->must;
        i++;
    }
}

void sim__names_crash(struct sim *s)
{
    choose_names(s);
    list_foreach_safe (it, &s->name_ops) {
        struct sim_name_op *op = name_op_of(it);
        if (op->survives)
            name_op_apply(op);
        name_op_free(op);
    }
    list_foreach (it, &s->inodes) {
        struct sim_inode *inode = inode_of(it);
        inode->named = inode == s->root || inode->durable_parent;
        if (inode->folder)
            entries_copy(&inode->entries, &inode->durable_entries);
    }
}

static uint64_t hash_folder(const struct sim_inode *folder, uint64_t h)
{
    for (size_t i = 0; i < folder->durable_entries.len; i++) {
        const struct sim_entry *e = &folder->durable_entries.at[i];
        h = hash_xxh64(e->name, strlen(e->name) + 1, h);
        h = e->inode->folder ? hash_folder(e->inode, h + 1) : sim__file_hash(e->inode, h + 2);
    }
    return hash_xxh64("/", 1, h);
}

uint64_t sim__names_hash(struct sim *s)
{
    uint64_t h = hash_folder(s->root, 0);
    list_foreach (it, &s->name_ops) {
        const struct sim_name_op *op = name_op_of(it);
        if (op->must && op->from)
            h = hash_xxh64(op->from_name, strlen(op->from_name) + 1, h + 3);
        if (op->must && op->to)
            h = hash_xxh64(op->to_name, strlen(op->to_name) + 1, h + 4);
    }
    return h;
}
