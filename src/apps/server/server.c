/* server.c - beginning, reloading and end of a server. */
#include "apps/server/server_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/engine/engine.h"

#include <sys/resource.h>

enum { OUTPUT_HIGH = 64 * 1024 /* a slow reader's share: see limit.output_bytes */ };

static enum status open_store(struct server *s, struct err *err)
{
    const struct settings *o = &s->now;
    bool rocks = o->engine == 0;
    if (rocks && !engine_rocks_built())
        return err_set(err, ST_UNIMPLEMENTED, "store.engine: this build has no RocksDB");
    struct store_cluster cluster;
    struct store_options so = {
        .engine_name = rocks ? "rocks" : "mem",
        .engine_open = rocks ? engine_rocks_open : engine_mem_open,
        .engine = {.cache_bytes = o->block_cache, .behind = true},
        .sync = (enum store_sync)(STORE_SYNC_ALWAYS + (int)o->sync),
        .sync_interval_ms = (uint32_t)o->sync_interval,
        .cache_bytes = o->cache,
        .table_bytes = o->table,
        .log_bytes = o->log_bytes,
        .checkpoint_interval_ms = (uint32_t)o->checkpoint,
    };
    if (s->cluster) {
        cluster__store_options(s, &cluster);
        so.cluster = &cluster;
    }
    enum status st = store_open(s->env, o->data, &so, &s->db.store, err);
    s->db.cluster = s->cluster != NULL;
    s->db.env = s->env;
    s->db.writer = BYTES_EMPTY;
    return st;
}

static enum status open_tls(struct server *s, struct err *err)
{
    const struct settings *o = &s->now;
    if (!*o->tls_cert)
        return ST_OK;
    struct tls_options to = {
        .cert_file = o->tls_cert,
        .key_file = o->tls_key,
        .ca_file = *o->tls_client_ca ? o->tls_client_ca : NULL,
        .client_certificate = (enum tls_client_certificate)o->tls_client,
        .only_1_3 = o->tls_only_1_3,
    };
    return tls_server_new(s->env, &to, &s->tls, err);
}

static enum status start_reactors(struct server *s, struct err *err)
{
    static const enum loop_kind loops[] = {LOOP_EPOLL, LOOP_URING, LOOP_AUTO};
    const struct settings *o = &s->now;
    /* Looking takes a processor from whoever it looks for when there is no other. */
    bool may_look = env_cpu_count() > o->reactors;
    struct reactor_options ro = {
        .loop = loops[o->loop],
        .look_ns = may_look ? o->look_us * 1000 : 0,
        .max_conns = o->max_conns,
        .max_fibers = o->max_fibers,
        .request_conn_bytes = o->conn_bytes,
        .request_bytes = o->request_bytes,
        .output = {.send_high_bytes = OUTPUT_HIGH},
        .output_bytes = o->output_bytes,
        .idle_timeout_ms = o->idle_timeout + 60 * 1000, /* the port says goodbye before */
        .send_timeout_ms = o->send_timeout,
        .setup_timeout_ms = o->head_timeout + 1000, /* the port says 408 before */
    };
    return reactors_start(s->env, (unsigned)o->reactors, &ro, &s->reactors, err);
}

static uint32_t ms32(uint64_t ms)
{
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX - 1;
}

static enum status make_port(struct server *s, struct err *err)
{
    const struct settings *o = &s->now;
    struct port_options po = {
        .streams = (uint32_t)o->streams,
        .header_bytes = (uint32_t)o->header,
        .body_bytes = o->body,
        .message_bytes = o->message,
        .conn_body_bytes = o->conn_bytes,
        .reactor_body_bytes = o->request_bytes,
        .conn_request_bytes = o->conn_bytes,
        .http_timeout_ms = o->http_timeout,
        .head_timeout_ms = ms32(o->head_timeout),
        .body_timeout_ms = ms32(o->body_timeout),
        .idle_timeout_ms = ms32(o->idle_timeout),
        .keepalive_ms = o->keepalive ? ms32(o->keepalive) : UINT32_MAX,
        .metrics = store_metrics(s->db.store),
        .done = server__request_done,
        .done_arg = s,
    };
    struct port_handlers handlers;
    doors__handlers(s->doors, &handlers);
    return port_new(s->reactors, &po, &handlers, &s->port, err);
}

static enum status listen_all(struct server *s, struct err *err)
{
    const struct conn_filter_maker *filter = s->tls ? tls_filter(s->tls) : NULL;
    for (const char *p = s->now.listen; *p;) {
        char one[NET_ADDR_TEXT];
        struct net_addr addr;
        size_t len = strcspn(p, ",");
        if (s->n_listening == SETTINGS_LISTEN_MAX || len >= sizeof one)
            return err_set(err, ST_INVALID_ARGUMENT, "listen: too many addresses");
        memcpy(one, p, len);
        one[len] = '\0';
        enum status st = net_addr_parse(one, &addr, err);
        if (!st)
            st = port_listen(s->port, &addr, REACTORS_REUSEPORT, filter,
                             &s->listening[s->n_listening], err);
        if (st)
            return st;
        s->n_listening++;
        p += len + (p[len] == ',');
    }
    return ST_OK;
}

/* Each connection is a descriptor, and the engine has its own: as many as the system allows. */
static void allow_descriptors(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
            log_at(LOG_WARN, "server", "the limit of descriptors cannot be raised",
                   LOG_FU64("limit", lim.rlim_cur));
    }
}

static void apply(struct server *s)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF};
    log_configure(levels[s->now.log_level], s->now.log_format ? LOG_JSON : LOG_HUMAN);
    atomic_store(&s->log_access, s->now.log_access != 0);
    atomic_store(&s->slow_us, s->now.log_slow > UINT64_MAX / 1000 ? 0 : s->now.log_slow * 1000);
}

static size_t first_len(const char *listen)
{
    size_t n = strcspn(listen, ",");
    return n < NET_ADDR_TEXT ? n : 0;
}

static void stop_serving(struct server *s)
{
    atomic_store(&s->ready, false);
    if (!s->reactors)
        return;
    doors__stop(s->doors);
    size_t cut = reactors_stop(s->reactors, s->now.drain);
    if (cut)
        log_at(LOG_WARN, "server", "connections were cut at the end of draining",
               LOG_FU64("connections", cut));
}

enum status server_stop(struct server *s, struct err *err)
{
    if (!s)
        return ST_OK;
    stop_serving(s);
    reactors_free(s->reactors);
    port_free(s->port);
    doors__free(s->doors);
    work_free(s->work);
    tls_free(s->tls);
    cluster__hand_over(s);
    cluster__stop(s);
    enum status st = s->db.store ? store_close(s->db.store, err) : ST_OK;
    cluster__free(s);
    mem_free(s);
    return st;
}

enum status server_start(struct env *env, const struct settings *settings, struct server **ret,
                         struct err *err)
{
    struct server *s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "server: no memory");
    s->env = env;
    s->now = *settings;
    memcpy(s->address, s->now.listen, first_len(s->now.listen));
    apply(s);
    allow_descriptors();
    enum status st = open_tls(s, err); /* first: it costs nothing and is often wrong */
    if (!st)
        st = cluster__new(s, err);
    if (!st)
        st = open_store(s, err);
    if (!st) {
        struct work_options wo = {.threads = (unsigned)s->now.workers,
                                  .care_threads = (unsigned)s->now.care,
                                  .metrics = store_metrics(s->db.store)};
        st = work_new(&wo, &s->work, err);
    }
    if (!st)
        st = doors__new(s, &s->doors, err);
    if (!st)
        st = start_reactors(s, err);
    if (!st)
        st = make_port(s, err);
    if (!st)
        st = listen_all(s, err);
    if (!st)
        st = cluster__start(s, err);
    if (st) {
        struct err ignored;
        s->now.drain = 0;
        if (server_stop(s, &ignored) != ST_OK)
            log_at(LOG_ERROR, "server", "the folder could not be closed either",
                   LOG_FSTR("because", ignored.detail));
        return st;
    }
    atomic_store(&s->ready, true);
    *ret = s;
    return ST_OK;
}

static enum status certificates(struct server *s, server_certificate_fn *each, struct err *err)
{
    enum status st = s->tls ? each(s->tls, err) : ST_OK;
    return st ? st : cluster__certificates(s, each, err);
}

enum status server_reload(struct server *s, const struct settings *wanted, struct err *err)
{
    struct buf names;
    buf_init(&names, 0);
    enum status st = settings_frozen(&s->now, wanted, &names);
    const char *text = st ? NULL : buf_cstr(&names);
    if (text && *text)
        log_at(LOG_WARN, "server", "settings that have changed need a restart",
               LOG_FSTR("settings", text));
    buf_deinit(&names);
    if (!text)
        return err_set(err, ST_NO_MEMORY, "no memory to reload");
    /* All or nothing: one certificate that is bad leaves the others and the settings as they were. */
    st = certificates(s, tls_check, err);
    if (!st)
        st = certificates(s, tls_reload, err);
    if (!st)
        st = settings_reload(&s->now, wanted, err);
    if (!st)
        apply(s);
    return st;
}

bool server_poisoned(struct server *s)
{
    struct store_stats stats;
    store_stats(s->db.store, &stats);
    return stats.poisoned;
}

enum status server_addresses(const struct server *s, struct buf *out)
{
    enum status st = ST_OK;
    for (unsigned i = 0; i < s->n_listening && !st; i++) {
        char text[NET_ADDR_TEXT];
        st = buf_printf(out, "%s%s", i ? "," : "", net_addr_text(&s->listening[i], text));
    }
    return st;
}
