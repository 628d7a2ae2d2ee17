/* state_internal.h - the stream's encoding, shared by both ends; and how a new state takes over. */
#ifndef VARVE_NODE_STORE_STATE_INTERNAL_H
#define VARVE_NODE_STORE_STATE_INTERNAL_H

#include "node/store/state.h"
#include "node/store/store_internal.h"

enum state_block_kind { STATE_ROWS = 1, STATE_END = 2 };
struct state_block {
    uint32_t crc, length, rows, kind;
};

/* state_codec.c */
void state__header_encode(const struct engine_mark *mark, uint8_t out[STATE_HEADER]);
/* CORRUPT, FORMAT_NEWER. */
enum status state__header_decode(const uint8_t in[STATE_HEADER], struct engine_mark *ret,
                                 struct err *err) WARN_UNUSED;
/* Fills in the block's header, which lies in its first bytes. */
void state__block_seal(uint8_t *block, size_t len, uint32_t rows, uint32_t kind);
/* false: not what any sender makes. */
bool state__block_decode(const uint8_t in[STATE_BLOCK_HEADER], struct state_block *ret) WARN_UNUSED;
/* `block` with its header and its whole length. */
bool state__block_sound(const uint8_t *block, const struct state_block *b) WARN_UNUSED;
/* Steps through the rows of a sound block; `*at` begins at 0. false: malformed. */
bool state__row_next(struct bytes rows, size_t *at, uint8_t *ret_family, struct bytes *ret_key,
                     struct bytes *ret_value) WARN_UNUSED;
/* The end's content. */
bool state__end_decode(struct bytes in, uint64_t *ret_rows, uint64_t *ret_bytes,
                       uint32_t *ret_crc) WARN_UNUSED;

enum { STATE_ID_MAX = 1 << 26 }; /* ids of collections: their map in memory grows with them */
/* state_catalog.c: what the maps in memory must say of another catalog. */
struct state_catalog {
    struct state_catalog_row {
        struct buf key, value;
        struct version version;
    } * rows;
    size_t n, cap;
    uint32_t last_id;
    bool reserved;
};
/* Reads the catalog's rows and makes sure of memory, so that applying them cannot fail. */
enum status state__catalog_read(struct store *s, struct engine *e, struct engine_snapshot *snapshot,
                                struct state_catalog *ret, struct err *err) WARN_UNUSED;
/* By whoever leads. */
void state__catalog_apply(struct store *s, struct state_catalog *c);
/* Gives the memory back that was made sure of, unless it was applied. */
void state__catalog_deinit(struct store *s, struct state_catalog *c);

#endif
