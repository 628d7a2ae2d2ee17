/* limit.h - how often somebody may fail: a leaky bucket for each name, in a table of fixed size.
 *
 * A bucket is one number, the time at which all its failures will be forgiven (the generic cell rate
 * algorithm of ITU-T I.371). Names are kept as keyed hashes; when a set of the table is full the one
 * that is forgiven first gives way.
 *
 * Owns:     its table. Promises: fixed memory; whom it lets through costs no write.
 * Never:    keeps a name. Threads: any.
 */
#ifndef VARVE_SERVE_SECURITY_LIMIT_H
#define VARVE_SERVE_SECURITY_LIMIT_H

#include "base/bytes.h"
#include "base/status.h"

struct limit;
enum { LIMIT_SLOTS = 4096, LIMIT_WAYS = 4 };

/* `failures` at once, and as many again over each window. NULL: no memory. */
struct limit *limit_new(uint32_t failures, uint64_t window_ms, uint64_t seed);
void limit_free(struct limit *l);
/* 0: may try; else the milliseconds to wait. */
uint64_t limit_wait_ms(struct limit *l, struct bytes name, uint64_t now_ms);
void limit_failed(struct limit *l, struct bytes name, uint64_t now_ms);

#endif
