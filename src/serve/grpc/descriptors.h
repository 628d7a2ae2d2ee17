/* descriptors.h - finds files and symbols in the descriptors that the binary carries.
 *
 * Owns:     nothing: it points into proto_descriptors().
 * Promises: linear search over a dozen files; reflection is rare.
 * Never:    allocates.
 * Threads:  read only once made.
 */
#ifndef VARVE_SERVE_GRPC_DESCRIPTORS_H
#define VARVE_SERVE_GRPC_DESCRIPTORS_H

#include "base/bytes.h"

enum { DESCRIPTORS_MAX = 32 };
struct descriptor_file {
    struct bytes name, package, content; /* an encoded google.protobuf.FileDescriptorProto */
};
struct descriptors {
    struct descriptor_file files[DESCRIPTORS_MAX];
    size_t n;
};

/* From an encoded FileDescriptorSet. False: malformed, or over DESCRIPTORS_MAX. */
bool descriptors_load(struct descriptors *d, struct bytes set);
/* The file of that name, or that defines the symbol of that full name; NULL: none. */
const struct descriptor_file *descriptors_by_name(const struct descriptors *d, struct bytes name);
const struct descriptor_file *descriptors_by_symbol(const struct descriptors *d,
                                                    struct bytes symbol);
/* A file's i-th import; false: no more. */
bool descriptors_import(const struct descriptor_file *f, size_t i, struct bytes *ret);
/* A file's i-th service, without the package. */
bool descriptors_service(const struct descriptor_file *f, size_t i, struct bytes *ret);

#endif
