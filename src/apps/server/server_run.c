/* server_run.c - a server under its signals and its service manager. */
#include "apps/server/server.h"

#include "base/env/notify.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { LOOK_S = 2 /* how often a failed sync is looked for */ };

static void tell(const struct server_call *call, const char *state)
{
    struct err err;
    err_init(&err);
    if (env_notify(call->notify, state, &err) != ST_OK)
        log_at(LOG_WARN, "server", "the service manager cannot be told",
               LOG_FSTR("because", err.detail));
}

static enum status load(const struct server_call *call, struct settings *ret, bool *ret_help,
                        struct err *err)
{
    enum status st = settings_init(ret, err);
    if (st)
        return st;
    st = settings_load(ret, call->env, call->variables, call->argc, call->argv, ret_help, err);
    if (!st && !*ret_help)
        st = settings_check(ret, err);
    if (st)
        settings_deinit(ret);
    return st;
}

static void reload(const struct server_call *call, struct server *s)
{
    struct settings wanted;
    struct err err;
    bool help;
    char state[64];
    err_init(&err);
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                   env_mono_ns(call->env) / 1000);
    tell(call, state);
    enum status st = load(call, &wanted, &help, &err);
    if (!st) {
        st = server_reload(s, &wanted, &err);
        settings_deinit(&wanted);
    }
    if (st)
        log_at(LOG_ERROR, "server", "reloading failed; what ran goes on",
               LOG_FSTR("because", err.detail));
    else
        log_at(LOG_INFO, "server", "settings and certificates were reloaded");
    tell(call, "READY=1");
}

/* Until it is to stop. POISONED: a sync has failed. */
static enum status serve(const struct server_call *call, struct server *s, const sigset_t *signals,
                         struct err *err)
{
    for (;;) {
        struct timespec look = {.tv_sec = LOOK_S};
        int signo = sigtimedwait(signals, NULL, &look);
        if (signo == SIGHUP) {
            reload(call, s);
        } else if (signo > 0) {
            log_at(LOG_INFO, "server", "stopping", LOG_FI64("signal", signo));
            return ST_OK;
        }
        if (server_poisoned(s))
            return err_set(err, ST_POISONED,
                           "a sync has failed: what reached the disk is unknown, so the process "
                           "ends; the log is read when it starts again");
    }
}

static void announce(const struct server_call *call, struct server *s, const struct settings *o)
{
    struct buf text;
    buf_init(&text, 0);
    const char *at = server_addresses(s, &text) == ST_OK ? buf_cstr(&text) : NULL;
    log_at(LOG_INFO, "server", "listening", LOG_FSTR("address", at ? at : o->listen),
           LOG_FSTR("data", o->data), LOG_FBOOL("tls", *o->tls_cert != 0),
           LOG_FBOOL("auth", o->auth), LOG_FSTR("version", VARVE_VERSION));
    if (o->insecure)
        log_at(LOG_WARN, "server",
               "insecure: other machines may reach this without TLS or "
               "authentication");
    buf_deinit(&text);
    tell(call, "READY=1");
}

enum status server_run(const struct server_call *call, bool *ret_help, struct err *err)
{
    struct settings o;
    struct server *s;
    sigset_t signals, stops;
    enum status st = load(call, &o, ret_help, err);
    if (st)
        return st;
    if (*ret_help) {
        settings_deinit(&o);
        return ST_OK;
    }
    /* Before any thread is made: they inherit it. */
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    signals = stops;
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    st = server_start(call->env, &o, &s, err);
    if (st) {
        settings_deinit(&o);
        return st;
    }
    announce(call, s, &o);
    st = serve(call, s, &signals, err);
    tell(call, "STOPPING=1");
    /* The second signal has its usual effect. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &stops, NULL);
    if (st == ST_POISONED)
        return st; /* nothing more is written; the process ends */
    st = server_stop(s, err);
    settings_deinit(&o);
    if (!st)
        log_at(LOG_INFO, "server", "stopped");
    return st;
}
