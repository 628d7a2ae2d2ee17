/* history_json.h - reading the JSON that history_write_ndjson writes, one line at a time.
 *
 * Owns:     nothing. Promises: reads what is JSON of the shape that it is asked for, and nothing
 * else; bounded by the line. Never: recurses; guesses. Threads: one owner of a cursor.
 */
#ifndef VARVE_SIM_CHECK_HISTORY_JSON_H
#define VARVE_SIM_CHECK_HISTORY_JSON_H

#include "base/arena.h"
#include "base/buf.h"

struct json_in {
    const uint8_t *p, *end;
    struct arena *arena; /* strings that are read go there */
    const char *wrong;   /* the first thing that was wrong; NULL: nothing */
    bool no_memory;
};

/* All answer false after the first failure, and then do nothing. */
bool json_in_char(struct json_in *j, char c); /* after white space */
bool json_in_end(struct json_in *j);          /* nothing but white space is left */
bool json_in_u64(struct json_in *j, uint64_t *ret);
bool json_in_i64(struct json_in *j, int64_t *ret);
bool json_in_bool(struct json_in *j, bool *ret);
/* A string, or {"$binary":{"base64":"...","subType":"00"}}; lives in the arena. */
bool json_in_bytes(struct json_in *j, struct bytes *ret);
/* The next field's name, with its colon; false at the end of the object too (then wrong is NULL).
 * `first` says whether it is the first, and is cleared. The opening brace was read. */
bool json_in_field(struct json_in *j, bool *first, struct bytes *ret_name);
/* Whether another element follows; the opening bracket was read. */
bool json_in_element(struct json_in *j, bool *first);
bool json_in_fail(struct json_in *j, const char *wrong); /* always false */

#endif
