/* proto.h - the contracts of gRPC (proto/), as protobuf-c made C of them, and as descriptors.
 *
 * The structs are protobuf-c's: Varve__V1__GetRequest for varve.v1.GetRequest, with its descriptor
 * varve__v1__get_request__descriptor. pb.h reads and writes them.
 *
 * Owns:     nothing; all of it is constant.
 * Promises: what is served by reflection is what this was made of.
 * Never:    is edited: it comes out of the .proto files at build time.
 * Threads:  any.
 */
#ifndef VARVE_WIRE_PROTO_PROTO_H
#define VARVE_WIRE_PROTO_PROTO_H

#include "base/bytes.h"

#include <proto/google/rpc/error_details.pb-c.h>
#include <proto/google/rpc/status.pb-c.h>
#include <proto/grpc/health/v1/health.pb-c.h>
#include <proto/grpc/reflection/v1/reflection.pb-c.h>
#include <proto/grpc/reflection/v1alpha/reflection.pb-c.h>
#include <proto/varve/peer/v1/peer.pb-c.h>
#include <proto/varve/v1/admin.pb-c.h>
#include <proto/varve/v1/changes.pb-c.h>
#include <proto/varve/v1/kv.pb-c.h>
#include <proto/varve/v1/types.pb-c.h>

/* An encoded google.protobuf.FileDescriptorSet of all contracts for clients (varve.peer.v1 is none),
 * each file after those it imports. */
struct bytes proto_descriptors(void);

#endif
