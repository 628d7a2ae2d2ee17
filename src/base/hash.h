/* hash.h - checksums and hashes: CRC32C for bytes at rest (RFC 3720, Castagnoli), XXH64 for placing
 * keys.
 *
 * Owns: nothing. Promises: the same value on every machine. Never: is a defence against an
 *       adversary. Threads: any.
 */
#ifndef VARVE_BASE_HASH_H
#define VARVE_BASE_HASH_H

#include "base/bytes.h"

/* Continues `crc` (start with 0) over the bytes; uses the CPU's instruction where there is one. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same over five words as little-endian bytes. For headers that are made in registers: read back
 * from memory at once they would hold up the processor. */
uint32_t crc32c_words(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len); /* the reference, for tests */
uint64_t hash_xxh64(const void *data, size_t len, uint64_t seed);

#endif
