/* settings.h - what a server can be told, from one table: file, environment and flags all set the
 * same names.
 *
 * A setting "tls.cert" is `tls:` / `cert:` in the file (YAML), VARVE_TLS_CERT in the environment and
 * --tls-cert on the command line; the later of these wins.
 *
 * Owns:     the texts of its values.
 * Promises: an unknown name or a bad value is an error that says where it stands and names the
 *           nearest that there is; nothing is set twice in one place; what is printed reads back.
 * Never:    prints; changes a server.
 * Threads:  one owner; read only once loaded.
 */
#ifndef VARVE_APPS_SERVER_SETTINGS_H
#define VARVE_APPS_SERVER_SETTINGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/env/env.h"
#include "base/env/net/net.h"

/* X(field, name, kind, default, choices, reload, help). reload: a running server takes it on
 * SIGHUP. A size is a number with B, KiB, MiB or GiB; a duration as 500ms, 30s, 5m. Settings of a
 * section stand together. */
#define SETTINGS_TABLE(X)                                                                          \
    X(data, "data", TEXT, "./varve-data", NULL, false, "the database's folder")                    \
    X(listen, "listen", TEXT, "127.0.0.1:7878", NULL, false,                                       \
      "addresses to serve on, with commas between them")                                           \
    X(insecure, "insecure", BOOL, "false", NULL, false,                                            \
      "serve other addresses than loopback without TLS and authentication")                        \
    X(auth, "auth", BOOL, "false", NULL, false, "clients must say who they are")                   \
    X(drain, "drain", DURATION, "30s", NULL, true,                                                 \
      "how long requests may take to finish when the server stops; 0: not")                        \
    X(tls_cert, "tls.cert", TEXT, "", NULL, false, "certificate and its chain, PEM; turns TLS on") \
    X(tls_key, "tls.key", TEXT, "", NULL, false, "its private key, PEM")                           \
    X(tls_client_ca, "tls.client_ca", TEXT, "", NULL, false,                                       \
      "whose client certificates are believed, PEM")                                               \
    X(tls_client, "tls.client", CHOICE, "none", "none,asked,required", false,                      \
      "whether clients show a certificate")                                                        \
    X(tls_only_1_3, "tls.only_1_3", BOOL, "false", NULL, false, "no TLS 1.2")                      \
    X(log_level, "log.level", CHOICE, "info", "debug,info,warn,error,off", true,                   \
      "the least that is logged")                                                                  \
    X(log_format, "log.format", CHOICE, "json", "human,json", true, "form of the log's lines")     \
    X(log_access, "log.access", BOOL, "false", NULL, true, "a line for every request")             \
    X(log_slow, "log.slow", DURATION, "1s", NULL, true,                                            \
      "a line for requests that took so long; 0: none")                                            \
    X(engine, "store.engine", CHOICE, "rocks", "rocks,mem", false, "where data lies on disk")      \
    X(sync, "store.sync", CHOICE, "always", "always,interval,off", false,                          \
      "when a write counts as done: what a power cut may lose")                                    \
    X(sync_interval, "store.sync_interval", DURATION, "1s", NULL, false,                           \
      "between syncs under interval")                                                              \
    X(checkpoint, "store.checkpoint_interval", DURATION, "5m", NULL, false, "between checkpoints") \
    X(cache, "store.cache", SIZE, "64MiB", NULL, false, "memory for hot records; 0: none")         \
    X(block_cache, "store.block_cache", SIZE, "0B", NULL, false,                                   \
      "memory for the engine's blocks; 0: the engine's choice")                                    \
    X(table, "store.table", SIZE, "128MiB", NULL, false,                                           \
      "writes gathered before a checkpoint; at least 64KiB")                                       \
    X(log_bytes, "store.log", SIZE, "1GiB", NULL, false, "log that forces a checkpoint")           \
    X(node_id, "cluster.node_id", NUMBER, "1", NULL, false,                                        \
      "which of cluster.nodes this is; also --node-id")                                            \
    X(nodes, "cluster.nodes", TEXT, "", NULL, false,                                               \
      "all nodes as ID@HOST:PORT of their peers' ports, with commas; empty: this one alone")       \
    X(cluster_name, "cluster.name", TEXT, "varve", NULL, false,                                    \
      "nodes of other names are refused")                                                          \
    X(peer_listen, "cluster.peer_listen", TEXT, "", NULL, false,                                   \
      "where to hear the other nodes; empty: as cluster.nodes says of this one")                   \
    X(peer_cert, "cluster.peer_tls_cert", TEXT, "", NULL, false,                                   \
      "this node's certificate and its chain, PEM; turns TLS between nodes on")                    \
    X(peer_key, "cluster.peer_tls_key", TEXT, "", NULL, false, "its private key, PEM")             \
    X(peer_ca, "cluster.peer_tls_ca", TEXT, "", NULL, false,                                       \
      "whose certificates nodes must show each other, PEM")                                        \
    X(heartbeat, "cluster.heartbeat", DURATION, "100ms", NULL, false, "of the leader")             \
    X(election, "cluster.election", DURATION, "1s", NULL, false,                                   \
      "without the leader before another is elected: once to twice that")                          \
    X(patience, "cluster.timeout", DURATION, "10s", NULL, false,                                   \
      "how long a write waits for a leader and a majority")                                        \
    X(cors, "http.cors", TEXT, "", NULL, false,                                                    \
      "origins whose pages may call, with commas; *: all; empty: none")                            \
    X(loop, "run.loop", CHOICE, "epoll", "epoll,io_uring,auto", false, "how to wait for input")    \
    X(look_us, "run.look", AMOUNT, "50", NULL, false,                                              \
      "microseconds to look for input before sleeping, while it comes fast; 0: none")              \
    X(reactors, "run.reactors", NUMBER, "1", NULL, false, "threads that serve connections")        \
    X(workers, "run.workers", NUMBER, "4", NULL, false, "threads for reads that wait for a disk")  \
    X(care, "run.care", NUMBER, "2", NULL, false, "threads for vacuum, verify and their kind")     \
    X(max_conns, "limit.connections", NUMBER, "16384", NULL, false, "of one reactor")              \
    X(max_fibers, "limit.requests", NUMBER, "4096", NULL, false,                                   \
      "at work at once, of one reactor")                                                           \
    X(streams, "limit.streams", NUMBER, "256", NULL, false, "at once of one HTTP/2 connection")    \
    X(header, "limit.header", SIZE, "32KiB", NULL, false, "of a request's head")                   \
    X(body, "limit.body", SIZE, "64MiB", NULL, false, "of an HTTP request's body")                 \
    X(message, "limit.message", SIZE, "32MiB", NULL, false, "of a gRPC message")                   \
    X(conn_bytes, "limit.connection_bytes", SIZE, "64MiB", NULL, false,                            \
      "held by the requests of one connection; at least 2MiB")                                     \
    X(request_bytes, "limit.request_bytes", SIZE, "256MiB", NULL, false,                           \
      "held by the requests of one reactor; at least 2MiB")                                        \
    X(output_bytes, "limit.output_bytes", SIZE, "256MiB", NULL, false,                             \
      "waiting to be sent by one reactor; at least 256KiB")                                        \
    X(http_timeout, "timeout.http", DURATION, "60s", NULL, false,                                  \
      "an HTTP request's deadline; streams have none")                                             \
    X(head_timeout, "timeout.head", DURATION, "10s", NULL, false, "for a request's head to come")  \
    X(body_timeout, "timeout.body", DURATION, "30s", NULL, false,                                  \
      "without a byte of a body that is awaited")                                                  \
    X(idle_timeout, "timeout.idle", DURATION, "4m", NULL, false, "of connections without request") \
    X(send_timeout, "timeout.send", DURATION, "30s", NULL, false,                                  \
      "without the client taking what is sent")                                                    \
    X(keepalive, "timeout.keepalive", DURATION, "60s", NULL, false,                                \
      "of silence before a PING on HTTP/2; 0: none")

#define SETTING_C_TEXT     const char *
#define SETTING_C_NUMBER   uint64_t
#define SETTING_C_AMOUNT   uint64_t
#define SETTING_C_SIZE     uint64_t
#define SETTING_C_DURATION uint64_t /* milliseconds */
#define SETTING_C_BOOL     uint64_t
#define SETTING_C_CHOICE   uint64_t /* index among the choices */

enum setting_id {
#define X(field, ...) SETTING_##field,
    SETTINGS_TABLE(X)
#undef X
        SETTING_COUNT
};
enum setting_from { SETTING_DEFAULT, SETTING_FILE, SETTING_ENVIRONMENT, SETTING_FLAG };

struct settings {
#define X(field, name, kind, ...) SETTING_C_##kind field;
    SETTINGS_TABLE(X)
#undef X
    uint8_t from[SETTING_COUNT]; /* enum setting_from */
    const char *file;            /* the configuration file; NULL: none */
    struct arena arena;
};

/* The defaults. NO_MEMORY. */
enum status settings_init(struct settings *s, struct err *err) WARN_UNUSED;
void settings_deinit(struct settings *s); /* takes a zeroed one */
/* INVALID_ARGUMENT: an unknown name (the nearest is named), a bad value. */
enum status settings_set(struct settings *s, const char *name, const char *value,
                         enum setting_from from, struct err *err) WARN_UNUSED;
/* YAML text; `where` names it in errors, with line and column. */
enum status settings_yaml(struct settings *s, struct bytes text, const char *where,
                          struct err *err) WARN_UNUSED;
/* File, then environment ("NAME=VALUE", NULL-terminated; those beginning with VARVE_), then flags
 * (the words behind the verb). --config FILE or VARVE_CONFIG names the file. *ret_help: --help was
 * among them, and nothing else counts. Words that are no flag are refused. */
enum status settings_load(struct settings *s, struct env *env, char *const *variables, int argc,
                          char *const *argv, bool *ret_help, struct err *err) WARN_UNUSED;
/* What fits together: listen addresses, TLS files, safety. */
enum status settings_check(const struct settings *s, struct err *err) WARN_UNUSED;
/* Appends the whole of it as YAML that settings_yaml takes, each with where it came from. */
enum status settings_print(const struct settings *s, struct buf *out) WARN_UNUSED;
/* Appends the flags with their help and defaults, a line each. */
enum status settings_help(struct buf *out) WARN_UNUSED;
/* The names of those that differ and that a running server cannot take, with commas between them. */
enum status settings_frozen(const struct settings *running, const struct settings *wanted,
                            struct buf *ret_names) WARN_UNUSED;
/* Copies those that can be taken. */
enum status settings_reload(struct settings *running, const struct settings *wanted,
                            struct err *err) WARN_UNUSED;

enum { SETTINGS_LISTEN_MAX = 16, SETTINGS_FILE_MAX = 1024 * 1024 };

/* cluster.nodes, read. */
enum { SETTINGS_NODES_MAX = 16 };
struct settings_node {
    uint64_t id;
    struct net_addr addr;
};
/* *ret_n 0: this node is alone. INVALID_ARGUMENT: the form, an id that is there twice, no node_id
 * among them. */
enum status settings_nodes(const struct settings *s, struct settings_node ret[SETTINGS_NODES_MAX],
                           size_t *ret_n, struct err *err) WARN_UNUSED;
/* Where this node hears the others. */
enum status settings_peer_listen(const struct settings *s, struct net_addr *ret,
                                 struct err *err) WARN_UNUSED;

#endif
