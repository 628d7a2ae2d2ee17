#include "bench/bench_server_start.h"

#include "bench/bench_util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 20000, WORDS_MAX = 40, WORD_MAX = 512 };

const char *server_name(enum server_kind kind)
{
    static const char *const names[] = {"varve", "etcd", "redis (always)", "redis (everysec)"};
    return names[kind];
}

/* --- programs --- */

/* build/release/bench/bench_server -> build/release/varve */
static void varve_path(char out[WORD_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, WORD_MAX - 1);
    if (n <= 0)
        bench_die("/proc/self/exe cannot be read");
    out[n] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(out, '/');
        if (slash)
            *slash = '\0';
    }
    (void)strncat(out, "/varve", WORD_MAX - strlen(out) - 1);
}

static bool on_path(const char *name)
{
    char copy[4096], file[WORD_MAX];
    const char *path = getenv("PATH");
    char *rest = copy;
    (void)snprintf(copy, sizeof copy, "%s:/usr/sbin", path ? path : "/usr/bin:/bin");
    for (char *dir = strsep(&rest, ":"); dir; dir = strsep(&rest, ":")) {
        (void)snprintf(file, sizeof file, "%s/%s", dir, name);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

bool server_is_there(enum server_kind kind)
{
    char file[WORD_MAX];
    if (kind == SERVER_ETCD)
        return on_path("etcd");
    if (kind != SERVER_VARVE)
        return on_path("redis-server");
    varve_path(file);
    return access(file, X_OK) == 0;
}

/* --- words --- */

struct words {
    char text[WORDS_MAX][WORD_MAX];
    char *argv[WORDS_MAX + 1];
    int n;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *fmt, ...)
{
    va_list ap;
    if (w->n == WORDS_MAX)
        bench_die("too many words");
    va_start(ap, fmt);
    (void)vsnprintf(w->text[w->n], WORD_MAX, fmt, ap);
    va_end(ap);
    w->argv[w->n] = w->text[w->n];
    w->argv[++w->n] = NULL;
}

/* All of the data fits into the memory that each may use, as Redis' does. */
static void varve_words(struct words *w, const struct server *s)
{
    char file[WORD_MAX];
    const char *more = getenv("BENCH_VARVE"); /* settings, one word each, with blanks between */
    varve_path(file);
    add(w, "%s", file);
    add(w, "serve");
    add(w, "--data=%s/data", s->dir);
    add(w, "--listen=%s", s->text);
    add(w, "--store-cache=1GiB");
    if (s->node) {
        add(w, "--node-id=%u", s->node);
        add(w, "--cluster-nodes=%s", s->cluster);
    }
    char copy[WORD_MAX], *rest = copy;
    (void)snprintf(copy, sizeof copy, "%s", more ? more : "");
    for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " "))
        if (*word)
            add(w, "%s", word);
}

static void etcd_words(struct words *w, const struct server *s)
{
    const char *peer = s->peer;
    char alone[WORD_MAX];
    (void)snprintf(alone, sizeof alone, "node0=http://%s", peer);
    add(w, "etcd");
    add(w, "--data-dir=%s/data", s->dir);
    add(w, "--listen-client-urls=http://%s", s->text);
    add(w, "--advertise-client-urls=http://%s", s->text);
    add(w, "--name=node%u", s->node);
    add(w, "--listen-peer-urls=http://%s", peer);
    add(w, "--initial-advertise-peer-urls=http://%s", peer);
    add(w, "--initial-cluster=%s", s->node ? s->cluster : alone);
    add(w, "--quota-backend-bytes=8589934592");
    add(w, "--logger=zap");
    add(w, "--log-level=error");
}

static void redis_words(struct words *w, const struct server *s)
{
    add(w, "redis-server");
    add(w, "--bind");
    add(w, "127.0.0.1");
    add(w, "--port");
    add(w, "%u", s->addr.port);
    add(w, "--dir");
    add(w, "%s", s->dir);
    add(w, "--save");
    add(w, "%s", "");
    add(w, "--appendonly");
    add(w, "yes");
    add(w, "--appendfsync");
    add(w, "%s", s->kind == SERVER_REDIS_ALWAYS ? "always" : "everysec");
}

/* --- the process --- */

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static unsigned free_port(void)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        bench_die("no port: %s", strerror(errno));
    close(fd);
    return ntohs(at.sin_port);
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static bool answers(const struct server *s)
{
    struct sockaddr_in at = loopback(s->addr.port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0)
        close(fd);
    return there;
}

static void run(const struct server *s, const struct words *w)
{
    char log[WORD_MAX];
    (void)snprintf(log, sizeof log, "%s/log", s->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd >= 0) {
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
    }
    execvp(w->argv[0], w->argv);
    _exit(127);
}

/* On the data that its folder has. */
static void launch(struct server *s)
{
    static struct words w;
    enum server_kind kind = s->kind;
    w.n = 0;
    (void)snprintf(s->text, sizeof s->text, "127.0.0.1:%u", free_port());
    if (net_addr_parse(s->text, &s->addr, NULL) != ST_OK)
        bench_die("%s is no address", s->text);
    if (!s->node)
        (void)snprintf(s->peer, sizeof s->peer, "127.0.0.1:%u", free_port());
    if (kind == SERVER_VARVE)
        varve_words(&w, s);
    else if (kind == SERVER_ETCD)
        etcd_words(&w, s);
    else
        redis_words(&w, s);
    s->pid = fork();
    if (s->pid == 0)
        run(s, &w);
    for (int ms = 0; s->pid > 0 && !answers(s); ms += 20) {
        if (ms >= START_MS || waitpid(s->pid, NULL, WNOHANG) != 0)
            bench_die("%s did not start; see %s/log", server_name(kind), s->dir);
        pause_ms(20);
    }
    if (s->pid < 0)
        bench_die("no process: %s", strerror(errno));
}

void server_start(struct server *s, enum server_kind kind)
{
    *s = (struct server){.kind = kind, .dir = bench_scratch("server")};
    launch(s);
}

void servers_start(struct server *s, unsigned n, enum server_kind kind)
{
    static char cluster[WORD_MAX];
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        s[i] = (struct server){
            .kind = kind, .dir = bench_scratch("server"), .node = i + 1, .cluster = cluster};
        (void)snprintf(s[i].peer, sizeof s[i].peer, "127.0.0.1:%u", free_port());
        len += (size_t)snprintf(cluster + len, sizeof cluster - len,
                                kind == SERVER_ETCD ? "%snode%u=http://%s" : "%s%u@%s",
                                i ? "," : "", i + 1, s[i].peer);
    }
    if (len >= sizeof cluster)
        bench_die("too many nodes");
    for (unsigned i = 0; i < n; i++)
        launch(&s[i]);
}

void server_restart(struct server *s)
{
    (void)kill(s->pid, SIGTERM);
    (void)waitpid(s->pid, NULL, 0);
    launch(s);
}

void server_stop(struct server *s)
{
    (void)kill(s->pid, SIGKILL); /* its folder goes with it */
    (void)waitpid(s->pid, NULL, 0);
    bench_scratch_remove(s->dir);
    *s = (struct server){0};
}

/* --- what the system knows of it --- */

uint64_t server_cpu_us(const struct server *s)
{
    char path[64], line[1024];
    unsigned long long user, system;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)s->pid);
    FILE *f = fopen(path, "r");
    const char *behind = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (!behind || sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                          &user, &system) != 2)
        bench_die("%s cannot be read", path);
    (void)fclose(f);
    return (user + system) * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

double server_rss_mib(const struct server *s)
{
    char path[64];
    unsigned long pages = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)s->pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1)
        bench_die("%s cannot be read", path);
    (void)fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1024.0 * 1024);
}
