/* cli_bench.h - what the files of `varve bench` share: what was asked for, and the report.
 *
 * Owns:     the texts that the settings point into.
 * Promises: nothing is sent before all words were understood.
 * Never:    opens a folder: it only talks to a server.
 * Threads:  one.
 */
#ifndef VARVE_APPS_CLI_CLI_BENCH_H
#define VARVE_APPS_CLI_CLI_BENCH_H

#include "apps/cli/cli.h"
#include "serve/load/load_grpc.h"
#include "serve/load/load_http.h"

/* X(name, placeholder or NULL for a flag, default or "", help) */
#define BENCH_OPTIONS(X)                                                                           \
    X("server", "HOST:PORT", "127.0.0.1:7878", "whom to ask (default also $VARVE_SERVER)")         \
    X("protocol", "NAME", "grpc", "grpc, or http for HTTP/1.1")                                    \
    X("connections", "N", "16", "connections")                                                     \
    X("in-flight", "N", "1", "requests at once on each; HTTP/1.1 carries one")                     \
    X("rate", "N", "0", "requests a second, due at fixed times (open loop); 0: closed loop")       \
    X("warm-up", "DURATION", "1s", "not measured")                                                 \
    X("duration", "DURATION", "10s", "measured")                                                   \
    X("count", "N", "0", "measured requests, instead of a duration")                               \
    X("keys", "N", "100000", "keys there are")                                                     \
    X("first-new", "N", "0", "number of the first new key; 0: as --keys")                          \
    X("choice", "NAME", "", "uniform, zipf, latest or sequence (default: the workload's)")         \
    X("theta", "X", "0.99", "of Zipf's law, between 0 and 1")                                      \
    X("value", "BYTES", "256", "size of a value, from 8")                                          \
    X("batch", "N", "1000", "keys of a batch")                                                     \
    X("rows", "N", "0", "rows of a scan; 0: 1 to 100")                                             \
    X("collection", "NAME", "bench", "where the keys are")                                         \
    X("sync", "MODE", "", "always, interval or off (default: the server's)")                       \
    X("timeout", "DURATION", "30s", "give up when no answer came for so long")                     \
    X("seed", "N", "1", "of what is drawn")                                                        \
    X("loop", "NAME", "epoll", "epoll, io_uring or auto")                                          \
    X("tls", NULL, "", "encrypt, and believe the system's roots")                                  \
    X("tls-ca", "FILE", "", "encrypt, and believe these roots (PEM)")                              \
    X("tls-cert", "FILE", "", "show this certificate (PEM)")                                       \
    X("tls-key", "FILE", "", "its key")                                                            \
    X("tls-name", "NAME", "", "whom the server must prove to be (default: the host)")              \
    X("token-file", "FILE", "", "its first line is an API token")                                  \
    X("user", "NAME", "", "as this user; needs --password-file")                                   \
    X("password-file", "FILE", "", "its first line is the password")                               \
    X("pid", "PID", "0", "also tell the processor time of this process")                           \
    X("json", NULL, "", "one JSON object")                                                         \
    X("quiet", NULL, "", "no progress")                                                            \
    X("help", NULL, "", "show this help")

enum {
    BENCH_OPTION_COUNT =
#define X(name, value, otherwise, help) +1
        BENCH_OPTIONS(X)
#undef X
};

struct bench_cpu {
    bool known;
    uint64_t user_us, system_us;
};

struct bench {
    struct cli *c;
    const struct cli_args *a;
    const char *workload;
    const char *value[BENCH_OPTION_COUNT]; /* as given, else the default */
    bool given[BENCH_OPTION_COUNT];
    struct load_settings settings;
    struct load_grpc grpc;
    struct load_varve varve;
    struct load_http http;
    char path[LOAD_HTTP_PATH_MAX];
    char query[32];
    struct buf authorization;
    uint64_t pid;
    struct bench_cpu before, after;
    bool tls, json;
};

/* cli_bench_report.c */
enum status bench_report(const struct bench *b, const struct load_result *r,
                         struct buf *out) WARN_UNUSED;
enum status bench_report_json(const struct bench *b, const struct load_result *r,
                              struct buf *out) WARN_UNUSED;

#endif
