/* bytes.h - a borrowed run of bytes.
 *
 * Owns:     nothing; whoever hands out a `struct bytes` says how long it lives.
 * Promises: compares as unsigned bytes, shorter first on a tie (memcomparable order).
 * Never:    assumes a NUL at the end.
 * Threads:  pure functions.
 */
#ifndef VARVE_BASE_BYTES_H
#define VARVE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL only when len is 0 */
    size_t len;
};

#define BYTES(ptr, n) ((struct bytes){(const uint8_t *)(ptr), (n)})
#define BYTES_EMPTY   ((struct bytes){(const uint8_t *)"", 0})
#define BYTES_STR(s)  BYTES((s), strlen(s))
#define BYTES_LIT(s)  BYTES((s), sizeof(s) - 1)

static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool bytes_has_prefix(struct bytes a, struct bytes prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

#endif
