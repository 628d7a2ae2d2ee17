/* record.h - one version of what is kept under a key, and its encoding at rest.
 *
 * Encoding (all versions of the format start with the first byte):
 *   u8 codec            0 = plain; others reserved (compression of single values)
 *   u8 key id           0 = not encrypted; others reserved
 *   u8 flags bits 0-1 kind, bits 2-3 type, 4 has expiry, 5 has writer, 6 has parent, 7 has
 *   origin(s) [u64 BE hlc] only with RECORD_WITH_VERSION (rows of `past` carry the version in their
 *   key) [varint origin] with RECORD_WITH_VERSION and flag 7 [varint hlc - parent.hlc, and with
 *   flag 7 varint parent.origin] with flag 6 [varint expires_ms] with flag 4 [varint n, n bytes
 *   writer] with flag 5 value the rest
 *
 * Owns:     nothing. Promises: decode borrows from its input and accepts nothing that encode could
 *           not have made.
 * Never:    interprets the value. Threads: pure functions.
 */
#ifndef VARVE_STORAGE_RECORD_H
#define VARVE_STORAGE_RECORD_H

#include "base/buf.h"
#include "base/hlc.h"

enum record_kind {
    RECORD_PUT = 1,
    RECORD_DELETE = 2,
    RECORD_FLOOR = 3 /* engines only: older versions were vacuumed */
};
enum record_type { RECORD_RAW = 0, RECORD_DOC = 1 /* BSON */, RECORD_CRDT = 2 /* reserved */ };

enum {
    RECORD_KEY_MAX = 64 * 1024 + 16,     /* user key limit 64 KiB + routing prefix */
    RECORD_VALUE_MAX = 16 * 1024 * 1024, /* bytes */
    RECORD_WRITER_MAX = 255,
    RECORD_BY_REF = 4096, /* values above this many bytes are stored once and moved by reference */
};

struct record {
    struct version version;
    /* the version this one supersedes; none for the first (or unknown: see table.h) */
    struct version parent;
    uint8_t kind;        /* enum record_kind */
    uint8_t type;        /* enum record_type */
    uint64_t expires_ms; /* Unix milliseconds; 0 = never */
    struct bytes writer;
    struct bytes value;
};

enum { RECORD_WITH_VERSION = 1 };
enum status record_encode(struct buf *out, const struct record *r, unsigned flags) WARN_UNUSED;
/* false: malformed. Without RECORD_WITH_VERSION the caller sets ret->version first (the parent is
 * kept relative to it). */
bool record_decode(struct bytes in, unsigned flags, struct record *ret) WARN_UNUSED;

/* A put that has not expired at `at_ms`. */
static inline bool record_alive(const struct record *r, uint64_t at_ms)
{
    return r->kind == RECORD_PUT && (r->expires_ms == 0 || r->expires_ms > at_ms);
}

#endif
