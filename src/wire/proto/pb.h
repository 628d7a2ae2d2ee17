/* pb.h - protobuf messages from bytes and into bytes, over protobuf-c's descriptors and structs.
 *
 * protobuf-c makes the structs (proto.h) and packs what is not hot. Its unpacking is not used: it
 * cuts a string at a NUL, takes what is no UTF-8, copies every value, and lets 2 bytes on the wire
 * become 150 in memory without bound. pb_decode fills the same structs; tests hold the two against
 * each other. The encoding: protobuf.dev/programming-guides/encoding.
 *
 * Owns:     nothing; a decoded message lies in the arena, its `bytes` fields in the input.
 * Promises: what is accepted is well-formed: strings are UTF-8 without NUL, depth and memory are
 *           bounded. A refusal names the field by its path: "operations[3].key: ...".
 * Never:    keeps unknown fields (they are passed over); reads groups; trusts a length.
 * Threads:  pure functions.
 */
#ifndef VARVE_WIRE_PROTO_PB_H
#define VARVE_WIRE_PROTO_PB_H

#include "base/arena.h"
#include "base/buf.h"
#include "wire/proto/proto.h"

enum {
    PB_DEPTH_MAX = 32,                /* messages within messages */
    PB_MEMORY_MAX = 64 * 1024 * 1024, /* of a decoded message, without its `bytes` */
    PB_VARINT_MAX = 10,
    PB_TAG_MAX = 5, /* bytes */
};

/* Fills a message of the type `d` from `in`, which must live as long as it. *ret_memory (may be
 * NULL): what it took of the arena. Fields absent from `in` have their defaults: 0, "", NULL.
 * Errors: INVALID_ARGUMENT (malformed, a string that is none), TOO_LARGE (PB_MEMORY_MAX),
 * NO_MEMORY. What was taken of the arena stays taken. */
enum status pb_decode(const ProtobufCMessageDescriptor *d, struct bytes in, struct arena *arena,
                      void **ret, size_t *ret_memory, struct err *err) WARN_UNUSED;
/* Appends the message as protobuf-c packs it. NO_MEMORY, TOO_LARGE (out->max). */
enum status pb_encode(const ProtobufCMessage *m, struct buf *out) WARN_UNUSED;

static inline struct bytes pb_bytes(ProtobufCBinaryData b)
{
    return b.len ? BYTES(b.data, b.len) : BYTES_EMPTY;
}
/* For pb_encode, which only reads. */
static inline ProtobufCBinaryData pb_data(struct bytes b)
{
    return (ProtobufCBinaryData){.len = b.len, .data = (uint8_t *)(uintptr_t)b.data};
}

/* ---- text ---- */

/* Well-formed UTF-8 (RFC 3629: no surrogates, nothing over-long), NUL allowed. */
bool pb_is_utf8(struct bytes b);
/* Bytes that go into a `string`, which must be UTF-8 or clients refuse the whole message: where
 * they are not, every byte beyond ASCII becomes '?'. NUL-terminated, in the arena. NULL: no memory. */
char *pb_text(struct bytes b, struct arena *arena);

/* ---- reading field by field: for what has no struct (descriptors) ---- */

enum pb_wire { PB_VARINT = 0, PB_64BIT = 1, PB_BYTES = 2, PB_32BIT = 5 };
struct pb_field {
    uint32_t number;
    enum pb_wire wire;
    uint64_t value;     /* PB_VARINT, PB_64BIT, PB_32BIT */
    struct bytes bytes; /* PB_BYTES */
};
/* False: malformed. Not to be called at the end of `r`. */
bool pb_next(struct reader *r, struct pb_field *ret);

/* ---- writing by hand: for what is hot. The caller has made room. ---- */

static inline size_t pb_varint_size(uint64_t v)
{
    return ((size_t)(64 - __builtin_clzll(v | 1)) + 6) / 7;
}
/* A field of n bytes with its tag and length; the tag of a number below 16 has one byte. */
static inline size_t pb_field_size(size_t n)
{
    return 1 + pb_varint_size(n) + n;
}
static inline uint8_t *pb_w_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}
static inline uint8_t *pb_w_tag(uint8_t *p, uint32_t number, enum pb_wire wire)
{
    return pb_w_varint(p, (uint64_t)number << 3 | (uint64_t)wire);
}
/* What n bytes of content follow. */
static inline uint8_t *pb_w_head(uint8_t *p, uint32_t number, size_t n)
{
    return pb_w_varint(pb_w_tag(p, number, PB_BYTES), n);
}
static inline uint8_t *pb_w_bytes(uint8_t *p, uint32_t number, struct bytes b)
{
    p = pb_w_head(p, number, b.len);
    if (b.len)
        memcpy(p, b.data, b.len);
    return p + b.len;
}
static inline uint8_t *pb_w_fixed64(uint8_t *p, uint32_t number, uint64_t v)
{
    p = pb_w_tag(p, number, PB_64BIT);
    for (int i = 0; i < 8; i++)
        *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

#endif
