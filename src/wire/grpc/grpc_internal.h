/* grpc_internal.h - what the two sides of a call share. */
#ifndef VARVE_WIRE_GRPC_GRPC_INTERNAL_H
#define VARVE_WIRE_GRPC_GRPC_INTERNAL_H

#include "wire/grpc/grpc.h"

enum { GRPC_FIELDS_MAX = GRPC_METADATA_MAX + 12 };

/* Header fields with room for what must be encoded. */
struct grpc_fields {
    struct wire_header v[GRPC_FIELDS_MAX];
    size_t n;
    struct buf text; /* encoded values; v points into it only after grpc__fields_end */
    size_t offset[GRPC_FIELDS_MAX]; /* into text + 1; 0: v is right as it is */
};
void grpc__fields_add(struct grpc_fields *f, struct bytes name, struct bytes value);
enum status grpc__fields_metadata(struct grpc_fields *f, const struct wire_header *metadata,
                                  size_t n) WARN_UNUSED;
enum status grpc__fields_encoded(struct grpc_fields *f, struct bytes name, struct bytes value,
                                 enum status (*encode)(struct bytes, struct buf *)) WARN_UNUSED;
void grpc__fields_end(struct grpc_fields *f);

void grpc__call_init(struct grpc_call *call, struct h2_stream *s, const struct grpc_limits *limits,
                     bool client);
/* Keeps the first failure of the receiving side. */
void grpc__fail(struct grpc_call *call, const struct err *err);
/* The value of the peer's grpc-encoding. UNIMPLEMENTED: one that is not known. */
enum status grpc__take_encoding(struct grpc_call *call, struct bytes value,
                                struct err *err) WARN_UNUSED;
bool grpc__is_grpc_content(const struct h2_stream *s);
enum status grpc__gzip_parts(const struct h2_part *parts, size_t n, struct buf *out) WARN_UNUSED;

#endif
