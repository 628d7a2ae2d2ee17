/* notify.h - tells the service manager how we are (sd_notify(3), without its library).
 *
 * Owns:     nothing. Promises: never blocks for long: the message is one datagram, dropped when
 *           nobody takes it. Never: reads the environment; the caller passes $NOTIFY_SOCKET.
 * Threads:  any.
 */
#ifndef VARVE_BASE_ENV_NOTIFY_H
#define VARVE_BASE_ENV_NOTIFY_H

#include "base/status.h"

/* `state`: lines as "READY=1", "STOPPING=1", "STATUS=...". `path`: a file's name or, behind '@', an
 * abstract one; NULL or empty: nobody wants to know, which is OK. INVALID_ARGUMENT, IO_ERROR. */
enum status env_notify(const char *path, const char *state, struct err *err) WARN_UNUSED;

#endif
