/* blob.h - a reference-counted run of bytes, so that large values move by reference.
 *
 * Owns: its bytes, until the last unref. Promises: data is 8-byte aligned. Never: changes after it
 *       is shared.
 * Threads: ref and unref from any.
 */
#ifndef VARVE_BASE_BLOB_H
#define VARVE_BASE_BLOB_H

#include "base/bytes.h"
#include <stdatomic.h>

struct blob {
    _Atomic uint32_t refs;
    size_t len;
    uint8_t data[];
};

struct blob *blob_new(size_t len); /* uninitialised, one reference; NULL: no memory */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* takes NULL */

#endif
