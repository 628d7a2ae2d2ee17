/* pair.h - a client and a server connection that hand each other their bytes at once.
 *
 * Owns: both connections, from pair_open to pair_close. Threads: one owner.
 */
#ifndef VARVE_UNIT_WIRE_PAIR_H
#define VARVE_UNIT_WIRE_PAIR_H

#include "wire/http2/http2.h"

struct pair {
    struct h2_conn *client, *server;
    uint64_t now;
    size_t most_output; /* the most bytes that one h2_output has answered */
    struct err client_err, server_err;
};

/* False: no memory. */
bool pair_open(struct pair *p, const struct h2_options *client, const struct h2_events *on_client,
               const struct h2_options *server, const struct h2_events *on_server, void *arg);
/* Moves bytes until both are quiet. False: one has failed (the errs say why). */
bool pair_pump(struct pair *p);
void pair_close(struct pair *p);

#endif
