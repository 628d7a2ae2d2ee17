/* grant.h - what somebody may do: roles over patterns of collection names.
 *
 * As text: "read:app-*". A pattern is a name in which '*' stands for any run of bytes, also none, '?'
 * for one byte, and '\' takes the next byte as it is. Roles include those below: admin, write, read.
 *
 * Owns:     nothing; patterns are borrowed.
 * Promises: matching takes at most pattern times name steps.
 * Never:    knows names: that no pattern covers what command_is_system says is up to the gate.
 * Threads:  pure functions.
 */
#ifndef VARVE_SERVE_SECURITY_GRANT_H
#define VARVE_SERVE_SECURITY_GRANT_H

#include "base/buf.h"
#include "serve/command/command.h"

enum { GRANTS_MAX = 64, GRANT_PATTERN_MAX = STORE_NAME_MAX };
struct grant {
    enum command_access role;
    struct bytes pattern;
};
struct grants {
    size_t n;
    struct grant at[GRANTS_MAX];
};

bool grant_glob(struct bytes pattern, struct bytes name);
const char *grant_role_name(enum command_access role); /* "read" */
/* "ROLE:PATTERN"; the pattern is borrowed from the text. INVALID_ARGUMENT, TOO_LARGE. */
enum status grant_parse(struct bytes text, struct grant *ret, struct err *err) WARN_UNUSED;
/* A grant for a pattern that is there replaces it. TOO_LARGE: GRANTS_MAX. */
enum status grants_add(struct grants *g, struct grant grant, struct err *err) WARN_UNUSED;
bool grants_remove(struct grants *g, struct bytes pattern); /* false: there was none */
/* Empty name: of all collections, which takes the pattern "*". */
bool grants_allow(const struct grants *g, enum command_access access, struct bytes name);

/* varint n, then each: u8 role, varint length, pattern. */
enum status grants_encode(struct buf *out, const struct grants *g) WARN_UNUSED;
bool grants_decode(struct reader *r, struct grants *ret); /* patterns borrowed from the reader */

#endif
