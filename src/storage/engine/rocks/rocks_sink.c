/* rocks_sink.c - rows become sorted files, and files become part of the DB.
 *
 * Each family's rows are written to files of at most about 64 MiB in DIR/incoming, synced by
 * RocksDB as they are finished, then linked into the DB: when, past, live. Linking a family's files
 * is one change of the manifest, so it is all or nothing; the mark travels with the live rows, in a
 * small file of its own because files that do not overlap can go straight to a deep level, and the
 * mark's key lies far from all others. Where runs are merged with their like every file in level 0
 * counts, so there rows that overlap others anyway take the mark along. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_testing.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>
#include <stdio.h>

enum {
    FILE_RAW_BYTES = 96 << 20, /* before compression and of keys and values only */
    BEHIND_BYTES = 4 << 20,
};

struct part {
    rocksdb_sstfilewriter_t *writer; /* NULL: none is open */
    uint64_t bytes;
    /* The system is told every few MiB to begin writing the file, or the sync at its end would send
     * all of it at once, and the log's syncs would wait behind that. */
    struct env_file *behind;          /* the file that is open; NULL: not yet */
    uint64_t behind_at, behind_bytes; /* what of it was told of; `bytes` then */
    char **files;
    size_t n_files, cap_files;
};

struct sink {
    struct engine_sink base;
    struct rocks *e;
    struct part parts[ENGINE_FAMILIES];
    struct buf first; /* the first live row's key */
    int step;         /* of the commit, for tests */
};

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "sorted files");
}

static enum status part_open(struct sink *s, enum engine_family f, struct err *err)
{
    struct part *p = &s->parts[f];
    char path[ROCKS_DIR_MAX];
    char *message = NULL;
    if (p->n_files == p->cap_files) {
        size_t cap = p->cap_files ? p->cap_files * 2 : 4;
        char **files = mem_realloc(p->files, cap * sizeof(*files));
        if (!files)
            return no_memory(err);
        p->files = files;
        p->cap_files = cap;
    }
    snprintf(path, sizeof(path), "%s/incoming/%s-%06llu.sst", s->e->dir, engine_family_name(f),
             (unsigned long long)s->e->next_file++);
    char *name = mem_strdup(path);
    if (!name)
        return no_memory(err);
    p->files[p->n_files++] = name;
    p->writer = rocksdb_sstfilewriter_create(s->e->env_options, s->e->file_options[f]);
    p->bytes = p->behind_at = p->behind_bytes = 0;
    rocksdb_sstfilewriter_open(p->writer, path, &message);
    return message ? rocks__error(message, "make a sorted file", err) : ST_OK;
}

/* Without it the sync takes longer, so what fails here is no failure. */
static void part_write_behind(struct sink *s, struct part *p)
{
    uint64_t size = 0;
    p->behind_bytes = p->bytes;
    if (!p->behind &&
        env_open(s->e->env, p->files[p->n_files - 1], ENV_READ, &p->behind, NULL) != ST_OK)
        return;
    if (env_size(p->behind, &size, NULL) != ST_OK || size <= p->behind_at)
        return;
    env_write_behind(p->behind, p->behind_at, size - p->behind_at);
    p->behind_at = size;
}

static void part_close(struct part *p)
{
    if (p->writer)
        rocksdb_sstfilewriter_destroy(p->writer);
    p->writer = NULL;
    env_close(p->behind);
    p->behind = NULL;
}

static enum status part_finish(struct part *p, struct err *err)
{
    char *message = NULL;
    if (!p->writer)
        return ST_OK;
    rocksdb_sstfilewriter_finish(p->writer, &message);
    part_close(p);
    return message ? rocks__error(message, "finish a sorted file", err) : ST_OK;
}

/* Whether the live rows so far lie apart from all that the DB has of them. */
static bool lies_apart(const struct sink *s)
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(s->e->db);
    bool apart = true;
    for (int i = 0; apart && i < rocksdb_livefiles_count(files); i++) {
        struct bytes last;
        last.data = (const uint8_t *)rocksdb_livefiles_largestkey(files, i, &last.len);
        if (strcmp(rocksdb_livefiles_column_family_name(files, i), "default") != 0)
            continue;
        struct bytes from;
        from.data = (const uint8_t *)rocksdb_livefiles_smallestkey(files, i, &from.len);
        apart = engine_key_reserved(from) || bytes_cmp(last, buf_bytes(&s->first)) < 0;
    }
    rocksdb_livefiles_destroy(files);
    return apart;
}

static enum status part_ready(struct sink *s, enum engine_family f, struct bytes key,
                              struct err *err)
{
    struct part *p = &s->parts[f];
    enum status st = ST_OK;
    bool mark = f == ENGINE_LIVE && engine_key_reserved(key);
    if (p->writer &&
        ((mark && (!rocks__tiered(s->e) || lies_apart(s))) || p->bytes >= FILE_RAW_BYTES))
        st = part_finish(p, err);
    if (st == ST_OK && !p->writer)
        st = part_open(s, f, err);
    if (st == ST_OK && f == ENGINE_LIVE && s->first.len == 0 &&
        buf_append(&s->first, key.data, key.len) != ST_OK)
        st = no_memory(err);
    return st;
}

static enum status sink_put(struct engine_sink *base, enum engine_family f, struct bytes key,
                            struct bytes value, struct err *err)
{
    struct sink *s = (struct sink *)base;
    char *message = NULL;
    enum status st = part_ready(s, f, key, err);
    if (st != ST_OK)
        return st;
    s->parts[f].bytes += key.len + value.len;
    rocksdb_sstfilewriter_put(s->parts[f].writer, (const char *)key.data, key.len,
                              (const char *)value.data, value.len, &message);
    if (!message && s->parts[f].bytes - s->parts[f].behind_bytes >= BEHIND_BYTES)
        part_write_behind(s, &s->parts[f]);
    return message ? rocks__error(message, "write a sorted file", err) : ST_OK;
}

static enum status sink_del(struct engine_sink *base, enum engine_family f, struct bytes key,
                            struct err *err)
{
    struct sink *s = (struct sink *)base;
    char *message = NULL;
    enum status st = part_ready(s, f, key, err);
    if (st != ST_OK)
        return st;
    s->parts[f].bytes += key.len;
    rocksdb_sstfilewriter_delete(s->parts[f].writer, (const char *)key.data, key.len, &message);
    return message ? rocks__error(message, "write a sorted file", err) : ST_OK;
}

static enum status part_ingest(struct sink *s, enum engine_family f, struct err *err)
{
    struct part *p = &s->parts[f];
    char *message = NULL;
    if (p->n_files == 0)
        return ST_OK;
    s->step++;
    if (s->step == s->e->test_fail_step)
        return err_set(err, ST_IO_ERROR, "a test made step %d of a commit fail", s->step);
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    rocksdb_ingest_external_file_cf(s->e->db, s->e->cf[f], (const char *const *)p->files,
                                    p->n_files, o, &message);
    rocksdb_ingestexternalfileoptions_destroy(o);
    if (!message) {
        s->e->unseen = true;
        return ST_OK;
    }
    /* What fails before the manifest is touched names a sorted file, and may be tried again. */
    bool manifest = !strstr(message, ".sst");
    enum status st = rocks__error(message, "take in sorted files", err);
    if (manifest && rocks__disk_error(st))
        s->e->stopped = true;
    return st;
}

/* What was linked is gone from DIR/incoming already; what was not is removed. */
static void part_drop(struct sink *s, struct part *p)
{
    part_close(p);
    for (size_t i = 0; i < p->n_files; i++) {
        struct err ignored; /* the next open clears the folder again */
        enum status st = s->e->env->ops->unlink(s->e->env, p->files[i], &ignored);
        (void)st;
        mem_free(p->files[i]);
    }
    p->n_files = 0;
}

enum status rocks__still_writes(struct rocks *e, struct err *err)
{
    char *message = NULL;
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
    rocksdb_writeoptions_t *o = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(o, 1);
    rocksdb_write(e->db, o, nothing, &message);
    rocksdb_writeoptions_destroy(o);
    rocksdb_writebatch_destroy(nothing);
    if (!message)
        return ST_OK;
    e->stopped = e->suspect =
        true; /* also a merge alone: the next write opens it anew, if it can */
    enum status st = rocks__stopped(e, message, err);
    rocksdb_free(message);
    return st;
}

static enum status sink_commit(struct engine_sink *base, struct err *err)
{
    static const enum engine_family order[ENGINE_FAMILIES] = {ENGINE_WHEN, ENGINE_PAST,
                                                              ENGINE_LIVE};
    struct sink *s = (struct sink *)base;
    enum status st = ST_OK;
    s->step = 0;
    for (int i = 0; st == ST_OK && i < ENGINE_FAMILIES; i++)
        st = part_finish(&s->parts[order[i]], err);
    if (st == ST_OK)
        st = rocks__still_writes(s->e, err);
    if (st == ST_OK)
        st = rocks__manifest_note(s->e, s->e->dir, err);
    for (int i = 0; st == ST_OK && i < ENGINE_FAMILIES; i++)
        st = part_ingest(s, order[i], err);
    if (st == ST_OK) /* or it counts as not done, and is repeated */
        st = rocks__manifest_note(s->e, s->e->dir, err);
    for (int i = 0; i < ENGINE_FAMILIES; i++)
        part_drop(s, &s->parts[i]);
    return st;
}

static const struct engine_sink_ops sink_ops = {sink_put, sink_del, sink_commit};

struct engine_sink *rocks__sink_new(struct rocks *e)
{
    struct sink *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->base.ops = &sink_ops;
    s->e = e;
    return &s->base;
}

void rocks__sink_free(struct engine_sink *base)
{
    struct sink *s = (struct sink *)base;
    if (!s)
        return;
    for (int i = 0; i < ENGINE_FAMILIES; i++) {
        part_drop(s, &s->parts[i]);
        mem_free(s->parts[i].files);
    }
    buf_deinit(&s->first);
    mem_free(s);
}

enum status rocks__incoming_clear(struct rocks *e, struct err *err)
{
    char path[ROCKS_DIR_MAX + 300];
    struct buf names = BUF_INIT;
    snprintf(path, sizeof(path), "%s/incoming", e->dir);
    enum status st = env_mkdirs(e->env, path, err);
    if (st == ST_OK)
        st = env_list(e->env, path, &names, err);
    for (size_t at = 0; st == ST_OK && at < names.len;) {
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        snprintf(path, sizeof(path), "%s/incoming/%s", e->dir, name);
        st = env_unlink(e->env, path, err);
        if (st == ST_NOT_FOUND)
            st = ST_OK;
    }
    buf_deinit(&names);
    return st;
}

enum status engine_rocks_test_raw(struct engine *engine, enum engine_family f, struct bytes key,
                                  const struct bytes *value, struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    struct engine_sink *s = rocks__sink_new(e);
    if (!s)
        return no_memory(err);
    enum status st = engine_sink_raw(s, f, key, value, err);
    rocks__sink_free(s);
    return st == ST_OK ? rocks__publish(e, err) : st;
}

void engine_rocks_test_fail_step(struct engine *engine, int n)
{
    ((struct rocks *)engine)->test_fail_step = n;
}
