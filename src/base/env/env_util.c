/* What is built on the file operations alone, and so the same in every world. */
#include "base/env/env.h"

#include "base/alloc.h"

/* The folder that holds `path`, as an owned string: "." for a bare name, "/" for what lies in the
 * root. */
static char *parent_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    while (end > 0 && path[end - 1] != '/')
        end--;
    while (end > 1 && path[end - 1] == '/')
        end--;
    if (end == 0)
        return mem_strdup(".");
    char *dir = mem_memdup(path, end + 1);
    if (dir)
        dir[end] = '\0';
    return dir;
}

static enum status sync_parent(struct env *e, const char *path, struct err *err)
{
    char *dir = parent_of(path);
    if (!dir)
        return err_set(err, ST_NO_MEMORY, "no memory for the folder of %s", path);
    enum status st = env_sync_dir(e, dir, err);
    mem_free(dir);
    return st;
}

enum status env_read_file(struct env *e, const char *path, size_t max, struct buf *ret,
                          struct err *err)
{
    struct env_file *f = NULL;
    uint64_t size = 0;
    size_t got = 0;
    enum status st = env_open(e, path, ENV_READ, &f, err);
    if (st)
        return st;
    st = env_size(f, &size, err);
    if (st)
        goto out;
    if (size > max) {
        st = err_set(err, ST_TOO_LARGE, "read %s: %llu bytes, at most %zu are taken", path,
                     (unsigned long long)size, max);
        goto out;
    }
    st = buf_reserve(ret, (size_t)size);
    if (st) {
        err_set(err, st, "read %s: no room for %llu bytes", path, (unsigned long long)size);
        goto out;
    }
    if (size > 0)
        st = env_pread(f, 0, ret->data + ret->len, (size_t)size, &got, err);
    if (!st)
        ret->len += got;
out:
    env_close(f);
    return st;
}

static enum status write_synced(struct env *e, const char *path, struct bytes content,
                                struct err *err)
{
    struct env_file *f = NULL;
    enum status st = env_open(e, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNC, &f, err);
    if (st)
        return st;
    st = env_pwritev(f, 0, &content, 1, err);
    if (!st)
        st = env_sync(f, err);
    env_close(f);
    return st;
}

/* A name whose sync has failed may be lost even after a later sync that went well: what is new goes again, so
 * that the next try makes another one. */
enum status env_write_file(struct env *e, const char *path, struct bytes content, struct err *err)
{
    struct buf beside = BUF_INIT;
    bool fresh = !env_exists(e, path);
    enum status st = buf_printf(&beside, "%s.tmp", path);
    const char *tmp = st ? NULL : buf_cstr(&beside);
    if (!tmp) {
        st = err_set(err, ST_NO_MEMORY, "write %s: no memory for its name", path);
        goto out;
    }
    st = write_synced(e, tmp, content, err);
    if (!st)
        st = env_rename(e, tmp, path, err);
    if (st) {
        /* The first error is the one to tell; a leftover .tmp is truncated by the next try. */
        (void)env_unlink(e, tmp, NULL);
        goto out;
    }
    st = sync_parent(e, path, err);
    if (st && fresh)
        (void)env_unlink(e, path, NULL);
out:
    buf_deinit(&beside);
    return st;
}

/* Makes one folder of the chain and its name durable. */
static enum status mkdir_synced(struct env *e, const char *path, bool last, struct err *err)
{
    enum status st = env_mkdir(e, path, err);
    if (!st) {
        st = sync_parent(e, path, err);
        if (st)
            (void)env_rmdir(e, path, NULL); /* as env_write_file does */
        return st;
    }
    if (st != ST_ALREADY_EXISTS || !last)
        return st == ST_ALREADY_EXISTS ? ST_OK : st;
    st = env_sync_dir(e, path, err); /* NOT_FOUND when it is a file */
    if (st)
        return st;
    /* Whoever made it may have died before syncing its name. A parent that may not be opened was
     * set up by the administrator, long ago. */
    st = sync_parent(e, path, err);
    return st == ST_PERMISSION_DENIED ? ST_OK : st;
}

enum status env_mkdirs(struct env *e, const char *path, struct err *err)
{
    char *prefix = mem_strdup(path);
    if (!prefix)
        return err_set(err, ST_NO_MEMORY, "make folder %s: no memory for its name", path);
    size_t len = strlen(prefix);
    enum status st = len == 0 ? env_mkdir(e, path, err) : ST_OK;
    while (len > 1 && prefix[len - 1] == '/')
        prefix[--len] = '\0';
    for (size_t i = 1; i <= len && !st; i++) {
        if ((prefix[i] != '/' && prefix[i] != '\0') || prefix[i - 1] == '/')
            continue;
        char kept = prefix[i];
        prefix[i] = '\0';
        st = mkdir_synced(e, prefix, i == len, err);
        prefix[i] = kept;
    }
    mem_free(prefix);
    return st;
}

bool env_exists(struct env *e, const char *path)
{
    struct env_file *f = NULL;
    enum status st = env_open(e, path, ENV_READ, &f, NULL);
    if (!st)
        env_close(f);
    /* A folder cannot be opened as a file, yet it is there; so may be what other errors hide. */
    return st != ST_NOT_FOUND;
}
