#include "bench/bench_peer.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { VARVE_PEER, ROCKS_PEER, SQLITE_PEER };

struct peer {
    enum kind kind;
    char *dir;
    varve *db;
    rocksdb_t *rocks;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table_options;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
};
struct session {
    struct peer *p;
    varve_value *value;
    varve_batch *batch;
    sqlite3 *sql;
    sqlite3_stmt *put;
};

static void must(varve_status st, const char *what)
{
    if (st != VARVE_OK)
        bench_die("%s: %s: %s", what, varve_status_name(st), varve_last_error());
}

static void rocks_must(char *err, const char *what)
{
    if (err)
        bench_die("RocksDB %s: %s", what, err);
}

static struct peer *peer_new(enum kind kind, const char *dir)
{
    struct peer *p = calloc(1, sizeof(*p));
    if (!p || !(p->dir = strdup(dir)))
        bench_die("no memory");
    p->kind = kind;
    return p;
}

struct peer *peer_varve(const char *dir, const struct peer_config *c)
{
    struct peer *p = peer_new(VARVE_PEER, dir);
    const varve_sync modes[] = {VARVE_SYNC_ALWAYS, VARVE_SYNC_INTERVAL, VARVE_SYNC_OFF};
    size_t cache = c->cache_shared ? c->cache_bytes / 2 : c->cache_bytes;
    varve_options o = {.size = sizeof(o),
                       .sync = modes[c->sync],
                       .cache_bytes = cache ? cache : SIZE_MAX,
                       .block_cache_bytes = cache,
                       .table_bytes = c->table_bytes};
    must(varve_open(dir, &o, &p->db), "open");
    return p;
}

struct peer *peer_rocks(const char *dir, const struct peer_config *c)
{
    struct peer *p = peer_new(ROCKS_PEER, dir);
    char *err = NULL;
    p->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(p->options, 1);
    rocksdb_options_set_write_buffer_size(p->options, c->table_bytes ? c->table_bytes : 64u << 20);
    rocksdb_options_increase_parallelism(p->options, 2);
    p->table_options = rocksdb_block_based_options_create();
    p->cache = rocksdb_cache_create_lru(c->cache_bytes ? c->cache_bytes : 8u << 20);
    rocksdb_block_based_options_set_block_cache(p->table_options, p->cache);
    rocksdb_block_based_options_set_filter_policy(p->table_options,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_format_version(p->table_options, 5);
    rocksdb_options_set_block_based_table_factory(p->options, p->table_options);
    p->rocks = rocksdb_open(p->options, dir, &err);
    rocks_must(err, "open");
    p->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(p->write, c->sync == PEER_ALWAYS);
    p->read = rocksdb_readoptions_create();
    return p;
}

struct peer *peer_sqlite(const char *dir, const struct peer_config *c)
{
    if (c->sync != PEER_ALWAYS)
        bench_die("SQLite runs with synchronous=FULL only");
    struct peer *p = peer_new(SQLITE_PEER, dir);
    struct session *s = peer_session(p);
    if (sqlite3_exec(s->sql,
                     "CREATE TABLE IF NOT EXISTS t (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
                     NULL, NULL, NULL) != SQLITE_OK)
        bench_die("SQLite: %s", sqlite3_errmsg(s->sql));
    session_close(s);
    return p;
}

void peer_close(struct peer *p)
{
    if (p->kind == VARVE_PEER)
        must(varve_close(p->db), "close");
    if (p->kind == ROCKS_PEER) {
        rocksdb_close(p->rocks);
        rocksdb_options_destroy(p->options);
        rocksdb_block_based_options_destroy(p->table_options);
        rocksdb_cache_destroy(p->cache);
        rocksdb_writeoptions_destroy(p->write);
        rocksdb_readoptions_destroy(p->read);
    }
    free(p->dir);
    free(p);
}

const char *peer_name(const struct peer *p)
{
    static const char *const names[] = {"varve", "rocksdb", "sqlite"};
    return names[p->kind];
}

varve *peer_handle(struct peer *p)
{
    return p->db;
}

void peer_settle(struct peer *p)
{
    if (p->kind == VARVE_PEER) {
        must(varve_checkpoint(p->db), "checkpoint");
        must(varve_compact(p->db), "compact");
    }
    if (p->kind == ROCKS_PEER) {
        char *err = NULL;
        rocksdb_flushoptions_t *f = rocksdb_flushoptions_create();
        rocksdb_flush(p->rocks, f, &err);
        rocks_must(err, "flush");
        rocksdb_flushoptions_destroy(f);
        rocksdb_compact_range(p->rocks, NULL, 0, NULL, 0);
    }
}

struct session *peer_session(struct peer *p)
{
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        bench_die("no memory");
    s->p = p;
    if (p->kind == VARVE_PEER) {
        s->value = varve_value_new();
        s->batch = varve_batch_new();
        if (!s->value || !s->batch)
            bench_die("no memory");
    }
    if (p->kind == SQLITE_PEER) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/db.sqlite", p->dir);
        if (sqlite3_open_v2(path, &s->sql,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                            NULL) != SQLITE_OK ||
            sqlite3_busy_timeout(s->sql, 60000) != SQLITE_OK ||
            sqlite3_exec(s->sql, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL,
                         NULL) != SQLITE_OK)
            bench_die("SQLite: %s", sqlite3_errmsg(s->sql));
    }
    return s;
}

void session_close(struct session *s)
{
    varve_value_free(s->value);
    varve_batch_free(s->batch);
    sqlite3_finalize(s->put);
    sqlite3_close(s->sql);
    free(s);
}

static void sqlite_put(struct session *s, struct bytes key, struct bytes value)
{
    if (!s->put && sqlite3_prepare_v2(s->sql, "INSERT OR REPLACE INTO t VALUES (?, ?)", -1, &s->put,
                                      NULL) != SQLITE_OK)
        bench_die("SQLite: %s", sqlite3_errmsg(s->sql));
    sqlite3_bind_blob(s->put, 1, key.data, (int)key.len, SQLITE_STATIC);
    sqlite3_bind_blob(s->put, 2, value.data, (int)value.len, SQLITE_STATIC);
    if (sqlite3_step(s->put) != SQLITE_DONE)
        bench_die("SQLite put: %s", sqlite3_errmsg(s->sql));
    sqlite3_reset(s->put);
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    char *err = NULL;
    switch (s->p->kind) {
    case VARVE_PEER:
        must(varve_put(s->p->db, "bench", key.data, key.len, VARVE_RAW, value.data, value.len, NULL,
                       NULL),
             "put");
        break;
    case ROCKS_PEER:
        rocksdb_put(s->p->rocks, s->p->write, (const char *)key.data, key.len,
                    (const char *)value.data, value.len, &err);
        rocks_must(err, "put");
        break;
    case SQLITE_PEER:
        sqlite_put(s, key, value);
        break;
    }
}

void session_batch(struct session *s, const uint8_t (*keys)[BENCH_KEY], size_t n,
                   struct bytes value)
{
    char *err = NULL;
    if (s->p->kind == VARVE_PEER) {
        varve_batch_clear(s->batch);
        for (size_t i = 0; i < n; i++)
            must(varve_batch_put(s->batch, "bench", keys[i], BENCH_KEY, VARVE_RAW, value.data,
                                 value.len, 0),
                 "batch put");
        must(varve_commit(s->p->db, s->batch, NULL, NULL, NULL), "commit");
        return;
    }
    rocksdb_writebatch_t *b = rocksdb_writebatch_create();
    for (size_t i = 0; i < n; i++)
        rocksdb_writebatch_put(b, (const char *)keys[i], BENCH_KEY, (const char *)value.data,
                               value.len);
    rocksdb_write(s->p->rocks, s->p->write, b, &err);
    rocks_must(err, "write");
    rocksdb_writebatch_destroy(b);
}

static uint64_t mix_value(const void *data, size_t len)
{
    uint64_t head = 0;
    memcpy(&head, data, len < 8 ? len : 8);
    return bench_mix(len, head) | 1;
}

uint64_t session_get(struct session *s, struct bytes key)
{
    if (s->p->kind == VARVE_PEER) {
        varve_status st = varve_get(s->p->db, "bench", key.data, key.len, NULL, s->value);
        if (st == VARVE_NOT_FOUND)
            return 0;
        must(st, "get");
        varve_bytes v = varve_value_bytes(s->value);
        return mix_value(v.data, v.len);
    }
    char *err = NULL;
    rocksdb_pinnableslice_t *v =
        rocksdb_get_pinned(s->p->rocks, s->p->read, (const char *)key.data, key.len, &err);
    rocks_must(err, "get");
    if (!v)
        return 0;
    size_t len;
    const char *data = rocksdb_pinnableslice_value(v, &len);
    uint64_t mixed = mix_value(data, len);
    rocksdb_pinnableslice_destroy(v);
    return mixed;
}

uint64_t session_scan(struct session *s, struct bytes from, size_t n, size_t *ret_n)
{
    uint64_t h = 0;
    size_t got = 0;
    if (s->p->kind == VARVE_PEER) {
        varve_scan_options o = {.size = sizeof(o), .from = {from.data, from.len}, .limit = n};
        varve_iter *it;
        int rc;
        must(varve_scan(s->p->db, "bench", &o, &it), "scan");
        for (; (rc = varve_iter_next(it)) > 0; got++)
            h = bench_mix(h, varve_iter_key(it).len + varve_iter_value(it).len);
        if (rc < 0)
            must((varve_status)-rc, "scan");
        varve_iter_close(it);
    } else {
        rocksdb_iterator_t *it = rocksdb_create_iterator(s->p->rocks, s->p->read);
        for (rocksdb_iter_seek(it, (const char *)from.data, from.len);
             got < n && rocksdb_iter_valid(it); rocksdb_iter_next(it), got++) {
            size_t key_len, value_len;
            (void)rocksdb_iter_key(it, &key_len);
            (void)rocksdb_iter_value(it, &value_len);
            h = bench_mix(h, key_len + value_len);
        }
        rocksdb_iter_destroy(it);
    }
    *ret_n = got;
    return h;
}
