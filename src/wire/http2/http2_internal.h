/* http2_internal.h - what a connection is made of.
 *
 * Invariants:
 * 1. A stream is in `streams` from its making until both the protocol has closed it and its owner
 *    has let go (a stream that was never announced has no owner); then it goes to the pool.
 * 2. `unconsumed` of a stream is what the peer has sent, our windows have counted, and nobody has
 *    given back; the connection's is the sum. What is left when a stream closes or is released goes
 *    back to the connection's window.
 * 3. A stream's sending side is a queue of pieces, then END_STREAM or trailers. nghttp2 asks for
 *    body bytes (on_read); when there are none it is told DEFERRED, and `deferred` says that it
 *    must be woken.
 * 4. Once `status` is not OK nothing is fed to nghttp2 any more.
 */
#ifndef VARVE_WIRE_HTTP2_HTTP2_INTERNAL_H
#define VARVE_WIRE_HTTP2_HTTP2_INTERNAL_H

#include "base/arena.h"
#include "base/list.h"
#include "wire/http2/http2.h"

#include <nghttp2/nghttp2.h>

enum {
    H2_INLINE_HEADERS = 12, /* more, and longer ones, go to the stream's arena */
    H2_INLINE_TEXT = 448,
    H2_INLINE_BODY = 448, /* queued bytes kept in the stream itself */
    H2_INLINE_TRAILERS = 4,
    H2_PIECE_BYTES = 4096, /* room of a piece of copied bytes, at least */
    H2_FRAME_HEAD = 9,
    H2_FRAME_TYPE = 3, /* places in it */
    H2_FRAME_FLAGS = 4,
    H2_FRAME_STREAM = 5,
    H2_POOL_CLASSES = 16,
    H2_SUBMIT_HEADERS = 24,     /* more are put together on the heap */
    H2_SHUTDOWN_PING_MS = 1000, /* how long a graceful shutdown waits for the peer's answer */
    H2_TRIM_MS = 1000,          /* so long without traffic: memory is given back */
    H2_HEADER_OVERHEAD = 32,    /* RFC 9113, 6.5.2 */
    H2_HARD_FACTOR = 4,         /* header_list_bytes times this cuts off */
    H2_TINY_DATA = 64,
    H2_KNOWN_PLACES = 12,     /* of a header block, whose headers are remembered */
    H2_KNOWN_EACH = 3,        /* headers remembered for each */
    H2_KNOWN_BYTES_MAX = 512, /* of one */
    H2_KNOWN_MISSES = 256,    /* so many others, and it begins anew */
    H2_REPLAY_BYTES = 4,      /* of a block that is kept */
    H2_REPEATS = 4,           /* blocks of requests that are kept */
};
/* Under AddressSanitizer nothing is kept for reuse, so that it sees every use after a free. */
#if defined(__SANITIZE_ADDRESS__)
#define H2_SANITIZED 1 /* gcc */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define H2_SANITIZED 1 /* clang */
#endif
#endif
#ifdef H2_SANITIZED
enum { H2_POOLING = 0, H2_SPARE_STREAMS = 0, H2_SPARE_SHARED = 0 };
#else
enum { H2_POOLING = 1, H2_SPARE_STREAMS = 64, H2_SPARE_SHARED = 256 };
#endif
/* Payloads of our own PINGs; owners' may be the same, they are told apart by `*_ping_out`. */
#define H2_PING_KEEPALIVE UINT64_C(0x7661727665000001)
#define H2_PING_SHUTDOWN  UINT64_C(0x7661727665000002)

/* A run of queued body bytes: a part of a blob, or copied bytes with room for more behind them. */
struct h2_piece {
    struct h2_piece *next;
    struct blob *blob;
    uint8_t *data;
    uint8_t *start;   /* of the room for copied bytes */
    size_t len, room; /* room: from start; 0 for a blob */
};

struct h2_block {
    struct wire_header *v;
    size_t n, cap;
};

/* What one header does to its message (http2_rules.c); flags are of that file. */
struct h2_rule {
    uint16_t refuses; /* malformed if one of these was seen */
    uint16_t sets;
    uint16_t status; /* of a :status */
    uint16_t field;  /* another pseudo-header: offset of its place in the stream */
    bool length;     /* content-length: depends on more */
};
enum h2_verdict { H2_TAKEN, H2_PASSED_OVER, H2_MALFORMED };
enum { H2_ALWAYS = 1 << 15 }; /* as if it were always seen */

/* A header that came before, by the two buffers in which nghttp2 told it: what HPACK's tables hold is
 * told in the same ones again. Once `full` the entry has a reference to both, so that its text stays
 * and no other header can have their addresses. */
struct h2_known {
    nghttp2_rcbuf *name, *value;
    bool full;
    struct h2_rule rule;
    uint64_t size;        /* as header lists are counted */
    struct wire_header h; /* lent by the buffers */
};
struct h2_known_place {
    struct h2_known v[H2_KNOWN_EACH];
};

struct h2_stream {
    struct list link;  /* conn->streams or pool->spare */
    struct list ready; /* conn->ready, while `writable` is to be called */
    struct h2_conn *conn;
    void *user;
    uint32_t id, code;
    bool announced, released, closed, ended, reset_by_us;
    bool malformed;    /* reset for that; what still comes is thrown away */
    bool telling;      /* `closed` is being called */
    bool too_large;    /* the request's headers: answered 431 */
    bool in_trailers;  /* the block being received */
    bool headers_done; /* received */
    bool responded;    /* headers submitted */
    bool send_ended;   /* END_STREAM or trailers follow the queue */
    bool deferred;
    bool wants_writable; /* a write was refused */
    bool continued;      /* 100 was said */
    bool fixed_trailer;  /* out_trailers are one, a literal of the program */
    bool replays;        /* its trailer goes behind its last DATA frame (http2_replay.c) */
    bool head_replays;   /* its headers were submitted as none (http2_replay.c) */
    uint64_t unconsumed;

    struct h2_block headers, trailers;
    struct bytes method, path, scheme, authority;
    struct h2_repeat *repeat; /* whose headers these are; NULL: its own */
    unsigned status;
    uint16_t message; /* flags of http2_rules.c */
    uint64_t length;  /* content-length, if `message` says so */
    uint64_t body_bytes;
    uint64_t list_bytes;

    struct h2_piece *head, *tail;
    size_t queued;
    nghttp2_nv out_head; /* :status is 200, and this fixed header all else; no name: otherwise */
    nghttp2_nv *out_trailers;
    size_t out_trailers_n;

    struct arena arena; /* what does not fit below */
    size_t text_used;
    struct h2_piece inline_piece;
    struct wire_header inline_headers[H2_INLINE_HEADERS];
    nghttp2_nv inline_trailers[H2_INLINE_TRAILERS];
    uint8_t inline_text[H2_INLINE_TEXT];
    uint8_t inline_body[H2_INLINE_BODY];
};

/* A block that stands for one fixed header, a head's also for ":status: 200" (http2_replay.c). */
struct h2_replay_block {
    nghttp2_nv of;
    uint8_t bytes[H2_REPLAY_BYTES];
    size_t len; /* 0: none */
};
struct h2_replay {
    struct h2_replay_block head, trailer;
    /* Of the frame that nghttp2 makes just now: */
    struct h2_replay_block *sent; /* which of both it is; NULL: neither */
    nghttp2_nv of;
    bool empty; /* nghttp2's block is, and gets its bytes afterwards */
};

/* Header blocks of requests that may come again (http2_repeat.c). */
struct h2_repeats {
    struct h2_repeat *kept[H2_REPEATS];
    uint32_t n, next;
    uint64_t seen[H2_REPEATS]; /* hashes of the last blocks that were not kept */
    uint32_t last;             /* the highest stream that had headers */
    struct h2_repeat *applies; /* to the request whose block nghttp2 takes for empty */
    struct bytes learns;       /* the block that nghttp2 decodes, if it is to be kept */
};

/* What is kept for the next request. */
struct h2_pool {
    struct h2_block_free *blocks[H2_POOL_CLASSES];
    size_t block_bytes, block_bytes_max;
    struct list spare; /* streams */
    uint32_t spare_n, spare_max;
    uint8_t *out;     /* an output buffer; NULL: none */
    size_t memory;    /* heap bytes of all that is kept */
    uint32_t conns;   /* that use it */
    uint64_t used_ms; /* last traffic of any of them */
};

/* http2_frames.c: a frame's head as far as it came, or how much of its payload is still to come. */
struct h2__frames {
    uint8_t head[9], have;
    bool ends_block; /* the payload at hand is the last of a header block */
    uint32_t left;
};

struct h2_conn {
    nghttp2_session *session;
    const struct h2_events *events;
    void *arg;
    struct h2_options o;
    bool server, freed, closing, calling; /* calling: inside of nghttp2; closing: h2_conn_free */
    enum status status;
    enum h2_breach breach;
    char detail[160];

    struct list streams;
    struct h2_stream *recent; /* the one looked up last; NULL once it is freed */
    uint32_t held, open;      /* held: not released; open: by the protocol */
    uint64_t unconsumed, queued;
    struct list ready; /* streams whose owner is to be told that it may write */

    uint8_t *out;
    size_t out_off, out_len, out_cap;

    uint64_t now_ms, created_ms, last_in_ms, idle_since_ms, last_traffic_ms;
    uint64_t block_since_ms; /* a header block is being received since then; 0: none */
    struct h2__frames frames;
    uint32_t block_continuations, block_fields;
    uint64_t block_bytes;
    uint64_t ping_sent_ms, shutdown_sent_ms;
    int32_t last_served; /* with shutdown_final: what the last GOAWAY says, sent or not */
    int last_invalid;    /* error of nghttp2 for the last frame that was wrong */
    bool mute;           /* not even GOAWAY can be said any more */
    bool peer_settings, keepalive_out, shutdown_started, shutdown_final, goaway_received;

    struct wire_bucket resets, refused, settings, pings, empty_frames, window_updates, tiny_windows;
    struct h2_stats stats;
    size_t memory;                  /* heap bytes in use */
    struct h2_pool *pool, own_pool; /* the shared one, or its own */
    struct h2_known_place *known;   /* http2_known.c; NULL: none yet */
    uint32_t known_misses;
    struct h2_replay replay;
    struct h2_repeats repeats; /* server */
};

/* http2_limits.c */
void h2__options(struct h2_options *o, const struct h2_options *from);
void h2__buckets(struct h2_conn *c);
/* The connection has failed: says GOAWAY with `code`, keeps the reason. Returns what a callback of
 * nghttp2 must return to stop it. */
int h2__fail(struct h2_conn *c, enum status st, uint32_t code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int h2__breach(struct h2_conn *c, enum h2_breach breach, uint32_t code);
/* Takes one from the bucket; 0, or what h2__breach returns. */
int h2__count(struct h2_conn *c, struct wire_bucket *b, struct wire_rate rate,
              enum h2_breach breach);

/* http2_frames.c */
void h2__frames_begin(struct h2_conn *c);
void h2__frames_pass(struct h2_conn *c, struct bytes in); /* what nghttp2 has taken */

/* http2_known.c */
/* Remembers what comes again at this place of the block. `flags` are those of nghttp2. */
void h2__known_note(struct h2_conn *c, size_t place, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    uint8_t flags);
void h2__known_free(struct h2_conn *c); /* no stream may have a header of it any more */

/* http2_replay.c; of the server's side */
void h2__replay_sent(struct h2_conn *c, const struct h2_stream *s, bool end); /* nghttp2 HEADERS */
size_t h2__replay_room(const struct h2_conn *c); /* for what h2__replay_made may add */
size_t h2__replay_made(struct h2_conn *c, uint8_t *frame,
                       size_t len); /* its bytes; how many more */
void h2__replay_forget(struct h2_conn *c);
bool h2__replay_head(const struct h2_conn *c, const struct h2_stream *s); /* submit it as none */
bool h2__replay_fits(const struct h2_conn *c, const struct h2_stream *s); /* `s` has trailers */
void h2__replay_put(const struct h2_conn *c, uint32_t id, uint8_t *to);   /* replay.trailer */

/* http2_repeat.c; of the server's side */
int h2__repeat_recv(struct h2_conn *c, struct bytes in); /* feeds nghttp2; 0, or its error */
void h2__repeat_learn(struct h2_conn *c, const struct h2_stream *s); /* from `repeats.learns` */
void h2__repeat_apply(struct h2_conn *c, struct h2_stream *s);       /* `repeats.applies` */
void h2__repeat_release(struct h2_stream *s);
void h2__repeat_forget(struct h2_conn *c);

/* http2_rules.c. False: malformed. */
struct h2_rule h2__rule_of(bool server, struct bytes name, struct bytes value);
enum h2_verdict h2__rule_length(struct h2_stream *s, struct bytes value); /* content-length */
void h2__message_asks(struct h2_stream *s, const struct wire_header *headers,
                      size_t n); /* client */
void h2__message_begin_trailers(struct h2_stream *s);
bool h2__message_headers(struct h2_stream *s,
                         bool end); /* a block has ended, and so the message? */
bool h2__message_data(struct h2_stream *s, size_t n);
bool h2__message_end(const struct h2_stream *s);

/* http2_stream.c */
struct h2_stream *h2__stream_find(struct h2_conn *c, int32_t id); /* NULL: none */
struct h2_stream *h2__stream_new(struct h2_conn *c, uint32_t id); /* NULL: no memory */
void h2__stream_closed(struct h2_stream *s, uint32_t code);
void h2__stream_free(struct h2_stream *s); /* to the pool, or the heap */
enum status h2__store_header(struct h2_stream *s, const struct h2_rule *r, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value);
enum status h2__store_known(struct h2_stream *s, const struct h2_known *k);
void h2__forget_headers(struct h2_stream *s);
void *h2__stream_alloc(struct h2_stream *s, size_t size, size_t align);
void h2__conn_release(struct h2_conn *c); /* frees it once it is freed and no stream is left */

/* http2_in.c, http2_out.c: what nghttp2 calls */
void h2__callbacks_in(nghttp2_session_callbacks *cb);
void h2__callbacks_out(nghttp2_session_callbacks *cb);
/* The source of a body; source->ptr is the stream. */
ssize_t h2__on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                    uint32_t *flags, nghttp2_data_source *source, void *arg);
enum status h2__status_of(int nghttp2_error);
void h2__finish_shutdown(struct h2_conn *c);

/* http2_queue.c */
enum status h2__queue_parts(struct h2_stream *s, const struct h2_part *parts, size_t n);
void h2__queue_take(struct h2_stream *s, uint8_t *to, size_t n); /* moves the first n bytes */
void h2__queue_clear(struct h2_stream *s);

/* http2_memory.c: for nghttp2 and for us, counted. */
void *h2__alloc(struct h2_conn *c, size_t size);
void *h2__realloc(struct h2_conn *c, void *p, size_t size);
void h2__free(struct h2_conn *c, void *p);
struct h2_stream *h2__spare_take(struct h2_conn *c); /* NULL: no memory */
void h2__spare_give(struct h2_conn *c, struct h2_stream *s);
void h2__out_take(struct h2_conn *c); /* a buffer for `out`, if one is kept */
void h2__out_give(struct h2_conn *c); /* all of it has gone out */
void h2__pool_join(struct h2_conn *c);
void h2__pool_leave(struct h2_conn *c);
void h2__pool_trim(struct h2_pool *pool); /* gives back all that is kept */

/* Of a frame, from its head (RFC 9113, 4.1). */
static inline uint32_t h2__length_of(const uint8_t *head)
{
    return (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
}

/* The entry if this header came before at this place of a block, else NULL. */
static inline const struct h2_known *h2__known(struct h2_conn *c, nghttp2_rcbuf *name,
                                               nghttp2_rcbuf *value, uint8_t flags)
{
    const size_t place = c->block_fields++;
    if (c->known && place < H2_KNOWN_PLACES)
        for (size_t i = 0; i < H2_KNOWN_EACH; i++) {
            const struct h2_known *k = &c->known[place].v[i];
            if (k->name == name && k->value == value && k->full)
                return k;
        }
    h2__known_note(c, place, name, value, flags);
    return NULL;
}

static inline enum h2_verdict h2__rule_apply(struct h2_stream *s, const struct h2_rule *r,
                                             struct bytes value)
{
    if (r->refuses & (s->message | H2_ALWAYS))
        return H2_MALFORMED;
    s->message |= r->sets;
    if (r->status)
        s->status = r->status;
    return r->length ? h2__rule_length(s, value) : H2_TAKEN;
}

/* A frame asks for its stream again with each header and event, so the last answer is kept. A stream
 * that nghttp2 has closed is not asked for any more: its last event is `closed`. NULL: none. */
static inline struct h2_stream *h2__stream_of(struct h2_conn *c, int32_t id)
{
    struct h2_stream *s = c->recent;
    return s && s->id == (uint32_t)id && !s->closed ? s : h2__stream_find(c, id);
}

#endif
