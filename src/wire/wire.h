/* wire.h - what the protocols share: header fields, a budget of bytes, which protocol a connection
 * speaks.
 *
 * Owns:     nothing.
 * Promises: pure functions over borrowed bytes.
 * Never:    touches a socket, a clock or a thread: no file under src/wire/ does. Time comes in as
 *           `now_ms`, milliseconds of a clock that never goes back.
 * Threads:  one owner for each object.
 */
#ifndef VARVE_WIRE_WIRE_H
#define VARVE_WIRE_WIRE_H

#include "base/bytes.h"
#include "base/status.h"

/* One header or trailer field. HTTP/2 names are lower case; HTTP/1 names keep the case they came
 * with. */
struct wire_header {
    struct bytes name, value;
    bool secret; /* sent by HTTP/2 so that no table of HPACK ever holds it (RFC 7541, 7.1.3) */
    bool fixed;  /* fit to be sent, and outlives the connection: literals of the program */
};
#define WIRE_HEADER(n, v) ((struct wire_header){.name = (n), .value = (v)})
#define WIRE_FIXED(n, v)                                                                           \
    ((struct wire_header){.name = BYTES_LIT(n), .value = BYTES_LIT(v), .fixed = true})

/* The first field of that name, compared without regard to ASCII case; NULL: there is none. */
const struct wire_header *wire_header_find(const struct wire_header *headers, size_t n,
                                           struct bytes name);
/* Equal without regard to the case of ASCII letters. */
bool wire_eq_nocase(struct bytes a, struct bytes b);
/* Nothing but letters and digits of ASCII and the bytes of `others`; also when it is empty. */
bool wire_is_of(struct bytes b, const char *others);

/* Memory for messages that many connections may hold together; whoever makes it says who shares it
 * (a connection, a reactor). The parts that take from it answer OVERLOADED when it is used up. */
struct wire_budget {
    size_t limit, used;
};
static inline bool wire_budget_take(struct wire_budget *b, size_t n)
{
    if (n > b->limit - b->used)
        return false;
    b->used += n;
    return true;
}
void wire_budget_give(struct wire_budget *b, size_t n);

/* What may happen at most `burst` times at once and `per_s` times a second for long. */
struct wire_rate {
    uint32_t burst, per_s;
};
struct wire_bucket {
    uint64_t since_ms; /* tokens were counted then */
    uint64_t milli;    /* thousandths of a token left */
};
void wire_bucket_init(struct wire_bucket *b, struct wire_rate rate, uint64_t now_ms);
/* Takes one; false: the rate is exceeded. */
bool wire_bucket_take(struct wire_bucket *b, struct wire_rate rate, uint64_t now_ms);
void wire_bucket_give(struct wire_bucket *b, struct wire_rate rate, uint32_t n); /* up to burst */

enum wire_protocol {
    WIRE_UNDECIDED, /* so far it could be HTTP/2: wait for more bytes */
    WIRE_HTTP1,
    WIRE_HTTP2,
};
enum { WIRE_PREFACE = 24 }; /* "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" (RFC 9113, 3.4) */
/* Tells by the first bytes that a client sent. What is neither is WIRE_HTTP1, whose parser refuses
 * it. Give all bytes, from the first, to the connection of that protocol. */
enum wire_protocol wire_detect(struct bytes first);

#endif
