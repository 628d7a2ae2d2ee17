/* gate.h - the gate (serve/security) as doors need it: from a request of the port to who asks.
 *
 * Takes Authorization, the TLS subject and the peer's address from the request; a login that costs
 * more than a look into memory runs on the pool. The signatures fit struct grpc_gate (serve/grpc);
 * the HTTP door calls them directly.
 *
 * Owns:     nothing. Promises: as security.h. Never: as there.
 * Threads:  the request's fiber.
 */
#ifndef VARVE_SERVE_GATE_GATE_H
#define VARVE_SERVE_GATE_GATE_H

#include "serve/port/request.h"
#include "serve/security/security.h"
#include "serve/work/work.h"

struct gate {
    struct security *security;
    struct work *work;
};

/* What whoever sends from there was given of the addresses: one of IPv4, also mapped into IPv6; of IPv6 a
 * /64. Its bytes; 0: none. */
enum { GATE_NETWORK = 8 };
size_t gate_network(const struct net_addr *a, uint8_t out[GATE_NETWORK]);

/* Once a request. Sets q->user, and q->retry_ms where failed logins are to be waited out. *ret_who goes
 * to the others and to gate_close. UNAUTHENTICATED, OVERLOADED, those of work_run and of
 * security_gate_open. `arg` is the struct gate. */
enum status gate_open(void *arg, struct request *q, void **ret_who, struct err *err) WARN_UNUSED;
enum status gate_check(void *arg, void *who, struct request *q, enum command_verb verb,
                       struct bytes collection, struct err *err) WARN_UNUSED;
enum status gate_check_batch(void *arg, void *who, struct request *q, const struct command_batch *b,
                             struct err *err) WARN_UNUSED;
struct bytes gate_writer(void *arg, void *who); /* empty: the database's; lives until gate_close */
void gate_close(void *arg, void *who);          /* takes NULL */

#endif
