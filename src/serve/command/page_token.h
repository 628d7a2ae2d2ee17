/* page_token.h - where a scan, a history or a list goes on: the bytes behind the text of a page's
 * token.
 *
 * Format 1: u8 format, u8 kind | u64 BE query | u64 BE hlc, u32 BE origin (the moment of the read) |
 * varint milliseconds at which expiry is judged | varint rows left (0: no limit) | u64 BE hlc, u32 BE
 * origin (history: the version last taken; else 0) | varint key length, key (the key or name last
 * looked at; empty for a history) | u32 BE CRC32C of all before. The text is base64url without
 * padding.
 *
 * Owns:     nothing. Promises: one text for each place; decoding accepts nothing that encoding could
 *           not have made; no text longer than COMMAND_TOKEN_MAX.
 * Never:    a right: see command.h. Threads:  pure functions.
 */
#ifndef VARVE_SERVE_COMMAND_PAGE_TOKEN_H
#define VARVE_SERVE_COMMAND_PAGE_TOKEN_H

#include "base/buf.h"
#include "base/hlc.h"

enum page_kind { PAGE_SCAN = 1, PAGE_HISTORY = 2, PAGE_COLLECTIONS = 3, PAGE_SNAPSHOTS = 4 };

struct page_token {
    enum page_kind kind;
    uint64_t query; /* a hash of the request that it belongs to */
    struct version at;
    uint64_t at_ms;
    uint64_t left;
    struct version below;
    struct bytes key;
};

/* Replaces what `out` holds by the NUL-terminated text. NO_MEMORY. */
enum status page_token_encode(const struct page_token *t, struct buf *out) WARN_UNUSED;
/* The key points into `scratch`. INVALID_ARGUMENT (names why), NO_MEMORY. */
enum status page_token_decode(struct bytes text, struct buf *scratch, struct page_token *ret,
                              struct err *err) WARN_UNUSED;

#endif
