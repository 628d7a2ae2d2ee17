/* server.h - one node behind its port: the store of a folder, reactors, the doors.
 *
 * Wiring only: what each part does is said where it lives.
 *
 * Owns:     everything between start and stop: store, reactors, port, doors, pools, certificates.
 * Promises: listens only when all is ready; refuses to be reached from outside unsafely; stops by
 *           draining, then checkpointing. A failed sync ends the process (server_run), because what
 *           reached the disk is unknown.
 * Never:    prints; handles a signal but in server_run.
 * Threads:  one owner.
 */
#ifndef VARVE_APPS_SERVER_SERVER_H
#define VARVE_APPS_SERVER_SERVER_H

#include "apps/server/settings.h"

struct server;

/* `settings` have passed settings_check and live as long as the server. Errors: those of store_open,
 * of listening and of reading certificates; the detail says which. */
enum status server_start(struct env *env, const struct settings *settings, struct server **ret,
                         struct err *err) WARN_UNUSED;
/* Takes what a running server can take of `wanted`, warns of the rest, reads certificates again. All
 * certificates are looked at first: where one is bad nothing has changed. */
enum status server_reload(struct server *s, const struct settings *wanted,
                          struct err *err) WARN_UNUSED;
bool server_poisoned(struct server *s); /* a sync has failed: writes are refused for good */
/* Ends requests (at most settings.drain), checkpoints, closes, frees. The errors of store_close. */
enum status server_stop(struct server *s, struct err *err);
/* Appends the addresses that are listened on, with commas between them. */
enum status server_addresses(const struct server *s, struct buf *out) WARN_UNUSED;

/* The whole life, until SIGTERM or SIGINT (a second one ends at once): the words are those behind
 * `varve serve`. SIGHUP loads the settings again. `notify` is $NOTIFY_SOCKET, or NULL. Errors:
 * settings_load, settings_check, server_start, POISONED. *ret_help: only help was asked for. */
struct server_call {
    struct env *env;
    char *const *variables; /* of the environment */
    int argc;
    char *const *argv;
    const char *notify;
};
enum status server_run(const struct server_call *call, bool *ret_help, struct err *err) WARN_UNUSED;

#endif
