/* kv.h - the methods of varve.v1.KV, each as method_fn of door_internal.h. */
#ifndef VARVE_SERVE_GRPC_KV_H
#define VARVE_SERVE_GRPC_KV_H

#include "serve/grpc/door_internal.h"

enum status kv_get(struct call *c, const void *request);
/* A GetRequest of a collection and a key alone, as nearly all are: no descriptors, no memory. */
bool kv_get_plain(struct call *c, struct bytes message, enum status *ret);
/* What a GetRequest will read is asked for in memory (command_ahead). */
void kv_get_ahead(const struct command_db *db, struct bytes message);
bool kv_get_is_plain(struct bytes message); /* then it asks for the present, linearizably */
enum status kv_batch_get(struct call *c, const void *request);
enum status kv_diff(struct call *c, const void *request);
/* Text of a contract that needs no second look: ASCII without NUL. */
bool kv_plain_text(struct bytes b);
/* A PutRequest of collection, key and a value that is raw or bson, and no more. */
bool kv_put_plain(struct call *c, struct bytes message, enum status *ret);
enum status kv_put(struct call *c, const void *request);
enum status kv_delete(struct call *c, const void *request);
enum status kv_compare_and_set(struct call *c, const void *request);
enum status kv_restore(struct call *c, const void *request);
enum status kv_batch_write(struct call *c, const void *request);
enum status kv_scan(struct call *c, const void *request);
enum status kv_history(struct call *c, const void *request);

/* Brings a key's record to memory; may wait on the pool. */
void kv_warm(struct call *c, struct bytes collection, struct bytes key);

#endif
