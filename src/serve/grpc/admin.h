/* admin.h - the methods of varve.v1.Admin that stream their progress. */
#ifndef VARVE_SERVE_GRPC_ADMIN_H
#define VARVE_SERVE_GRPC_ADMIN_H

#include "serve/grpc/door_internal.h"

enum status admin_verify(struct call *c, const void *request);
enum status admin_vacuum(struct call *c, const void *request);

#endif
