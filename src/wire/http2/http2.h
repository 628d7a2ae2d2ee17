/* http2.h - one HTTP/2 connection, the server's or the client's side: bytes in, bytes out (RFC
 * 9113).
 *
 * libnghttp2 does frames, HPACK and stream states. Added here: the rules for messages, streams
 * that outlive the protocol's until their owner lets go, queues with bounds both ways, limits
 * against floods, deadlines, graceful shutdown.
 *
 *     h2_recv(c, bytes from the socket, now)      -> events
 *     h2_respond / h2_write / h2_trailers ...     -> queued
 *     while (h2_output(c, &out), out.len)  n = send(out); h2_output_done(c, n);
 *     h2_tick(c, now) when the time that it named has come
 *     h2_finished(c) -> close the socket, h2_conn_free(c)
 *
 * Owns:     the session, its streams, their headers, and what waits to be sent.
 * Promises: memory of a connection is bounded by its options (see struct h2_options). An event is
 *           called only from h2_recv, h2_output, h2_tick and h2_conn_free; events may call anything
 *           but these four.
 * Never:    touches a socket or a clock; blocks; supports server push, CONNECT, or the upgrade from
 *           HTTP/1.1 (all but dead: RFC 9113, 3.1).
 * Threads:  one owner for a connection and its streams.
 */
#ifndef VARVE_WIRE_HTTP2_HTTP2_H
#define VARVE_WIRE_HTTP2_HTTP2_H

#include "base/blob.h"
#include "wire/wire.h"

struct h2_conn;
struct h2_stream;
/* Memory that connections of one thread share: what one of them has just let go is still in the
 * processor's cache when the next one wants some. At most some 1.2 MB; idle connections give it back. */
struct h2_pool;
struct h2_pool *h2_pool_new(void); /* NULL: no memory */
void h2_pool_free(
    struct h2_pool *p); /* after the last of its connections and their streams; takes NULL */

/* Error codes of RFC 9113, 7. */
enum h2_code {
    H2_NO_ERROR = 0,
    H2_PROTOCOL_ERROR = 1,
    H2_INTERNAL_ERROR = 2,
    H2_FLOW_CONTROL_ERROR = 3,
    H2_SETTINGS_TIMEOUT = 4,
    H2_STREAM_CLOSED = 5,
    H2_FRAME_SIZE_ERROR = 6,
    H2_REFUSED_STREAM = 7, /* not processed at all: safe to send again */
    H2_CANCEL = 8,
    H2_COMPRESSION_ERROR = 9,
    H2_CONNECT_ERROR = 10,
    H2_ENHANCE_YOUR_CALM = 11,
    H2_INADEQUATE_SECURITY = 12,
    H2_HTTP_1_1_REQUIRED = 13,
};
const char *h2_code_name(uint32_t code); /* "REFUSED_STREAM"; "UNKNOWN" */

/* Why a connection was cut off: X(name, what was exceeded). Each is a field of struct h2_options. */
#define H2_BREACHES(X)                                                                             \
    X(RESETS, "resets: streams reset too fast (rapid reset, CVE-2023-44487)")                      \
    X(SETTINGS, "settings: SETTINGS frames too fast")                                              \
    X(PINGS, "pings: PING frames too fast")                                                        \
    X(EMPTY_FRAMES, "empty_frames: frames that carry nothing too fast")                            \
    X(WINDOW_UPDATES, "window_updates: WINDOW_UPDATE frames too fast")                             \
    X(TINY_WINDOWS, "tiny_windows: windows that force tiny DATA frames")                           \
    X(CONTINUATIONS, "continuation_frames: too many for one header block")                         \
    X(HEADER_BLOCK, "header_block_bytes: a header block far over header_list_bytes")               \
    X(OUTPUT_FRAMES, "output_frames: the peer does not read what it asks for")                     \
    X(REFUSED, "refused: streams over max_streams too fast")                                       \
    X(PREFACE_TIMEOUT, "preface_timeout_ms: no preface and SETTINGS in time")                      \
    X(HEADERS_TIMEOUT, "headers_timeout_ms: a header block was not finished in time")              \
    X(KEEPALIVE_TIMEOUT, "keepalive_timeout_ms: the peer does not answer")                         \
    X(IDLE_TIMEOUT, "idle_timeout_ms: no stream for that long")
enum h2_breach {
    H2_BREACH_NONE,
#define X(name, text) H2_BREACH_##name,
    H2_BREACHES(X)
#undef X
};

/* The limits of one connection; a field that is 0 has the default said beside it. On a breach the
 * connection says GOAWAY with ENHANCE_YOUR_CALM (of the preface's timeout SETTINGS_TIMEOUT, of
 * keepalive's NO_ERROR), hears nothing more, and h2_conn_status names the limit. */
struct h2_options {
    struct h2_pool *pool; /* NULL: each connection has its own */
    /* Streams at once that the peer may open (SETTINGS_MAX_CONCURRENT_STREAMS; 256). More are
     * refused with REFUSED_STREAM, faster than `refused` cuts off. */
    uint32_t max_streams;
    /* Streams whose owner has not let go, the reset ones too (2 x max_streams): more are refused. */
    uint32_t max_held_streams;
    /* Received and not consumed: by one stream (256 KiB), by all (1 MiB; at least stream_window).
     * Streams that do not consume hold up the others once conn_window is full. */
    uint32_t stream_window, conn_window;
    /* Queued to send by one stream (64 KiB): from there on h2_write answers OVERLOADED. One write
     * may go over it. */
    uint32_t send_queue_bytes;
    /* Frames made ahead of the socket (64 KiB; one frame, at most 16 KiB, may go over it). */
    uint32_t output_bytes;
    /* Frames without body bytes that wait to be made, above one for each stream (1000). From half of
     * it on h2_wants_input is false; who goes on cuts off. */
    uint32_t output_frames;
    /* A header list: sum of names, values and 32 each (32 KiB), number of fields (128). A request
     * over it is answered 431 by itself; four times as much cuts off. */
    uint32_t header_list_bytes, header_count;
    uint32_t continuation_frames; /* for one header block (8) */
    /* Milliseconds: from h2_*_new to the peer's SETTINGS (10 s); from the first byte of a HEADERS
     * frame to the end of its block (10 s). */
    uint32_t preface_timeout_ms, headers_timeout_ms;
    /* After keepalive_ms without a byte from the peer a PING (0: never), then keepalive_timeout_ms
     * (20 s) to answer. */
    uint32_t keepalive_ms, keepalive_timeout_ms;
    uint32_t idle_timeout_ms; /* without a stream: graceful GOAWAY (0: never) */
    /* Defaults {burst, per second}. A PING is given back for every HEADERS or DATA sent, a
     * WINDOW_UPDATE two for every DATA sent, so only those beyond the traffic count. */
    struct wire_rate resets;         /* 1000, 100: RST_STREAM received, or provoked */
    struct wire_rate refused;        /* 1000, 100 */
    struct wire_rate settings;       /* 32, 4 */
    struct wire_rate pings;          /* 100, 20 */
    struct wire_rate empty_frames;   /* 1000, 100: empty DATA, PRIORITY, unknown types */
    struct wire_rate window_updates; /* 10000, 2000 */
    struct wire_rate tiny_windows;   /* 1000, 100: DATA under 64 B because of the peer's window */
};

/* What happened. `arg` is the connection's. Borrowed bytes live until the call returns, unless
 * said otherwise. NULL where nothing is to be done; headers, data and closed must be there. */
struct h2_events {
    /* Server: a request; the stream is the owner's until h2_release. Client: the final response's
     * headers (1xx are skipped). `end`: no body follows (`end` below is called too). */
    void (*headers)(void *arg, struct h2_stream *s, bool end);
    /* Body bytes, never empty. They count against the windows until h2_consume. */
    void (*data)(void *arg, struct h2_stream *s, struct bytes data);
    /* Trailers have come (h2_trailer_fields); `end` follows. */
    void (*trailers)(void *arg, struct h2_stream *s);
    /* The peer has sent all it wanted to send on this stream. */
    void (*end)(void *arg, struct h2_stream *s);
    /* The queue has drained to half of send_queue_bytes after a write was refused. */
    void (*writable)(void *arg, struct h2_stream *s);
    /* The last event of a stream: both sides ended (H2_NO_ERROR), reset by either side, or the
     * connection ended. Until h2_release the headers can still be read. */
    void (*closed)(void *arg, struct h2_stream *s, uint32_t code);
    /* The peer wants no new streams; those above `last` were not processed and close with
     * REFUSED_STREAM. */
    void (*goaway)(void *arg, uint32_t last, uint32_t code);
    void (*pong)(void *arg, uint64_t payload); /* an h2_ping was answered */
};

/* `options` may be NULL. `events` stays the caller's and must outlive the connection. Error:
 * NO_MEMORY. */
enum status h2_server_new(const struct h2_options *options, const struct h2_events *events,
                          void *arg, uint64_t now_ms, struct h2_conn **ret) WARN_UNUSED;
enum status h2_client_new(const struct h2_options *options, const struct h2_events *events,
                          void *arg, uint64_t now_ms, struct h2_conn **ret) WARN_UNUSED;
/* Closes what is open (events `closed`, code H2_CANCEL) and frees. Streams that were not released
 * stay readable and answer CLOSED until they are. Takes NULL. */
void h2_conn_free(struct h2_conn *c);

/* Takes all of `in`. Not OK: the connection has failed (h2_conn_status says why); send what
 * h2_output still has, then close. Errors: INVALID_ARGUMENT (the peer broke the protocol),
 * OVERLOADED (a breach), NO_MEMORY, CLOSED (after a failure). */
enum status h2_recv(struct h2_conn *c, struct bytes in, uint64_t now_ms,
                    struct err *err) WARN_UNUSED;
/* False: stop reading from the socket until output has gone out (the peer asks for answers and does
 * not read them). */
bool h2_wants_input(const struct h2_conn *c);
/* Makes frames, up to output_bytes, and lends them until the next call on the connection. Empty:
 * there is nothing to send. Errors: NO_MEMORY (the connection has failed). */
enum status h2_output(struct h2_conn *c, struct bytes *ret) WARN_UNUSED;
void h2_output_done(struct h2_conn *c, size_t n); /* the first n bytes of it have gone out */
bool h2_has_output(const struct h2_conn *c);      /* h2_output would answer bytes */
/* The peer's preface and its first SETTINGS have come. */
bool h2_greeted(const struct h2_conn *c);
/* Nothing is left to hear or to send: close the socket. */
bool h2_finished(const struct h2_conn *c);
/* Deadlines, keepalive, and giving back memory that an idle connection does not need. Returns when
 * it wants to be called next; may be called earlier. Look at h2_has_output afterwards. */
uint64_t h2_tick(struct h2_conn *c, uint64_t now_ms);
/* OK while the connection lives; else why it failed, with the detail in `err`. */
enum status h2_conn_status(const struct h2_conn *c, struct err *err);
enum h2_breach h2_conn_breach(const struct h2_conn *c);

/* Graceful: the peer is told to open no more streams (GOAWAY twice, a PING between, so that none in
 * flight is lost), those open go on, then h2_finished. */
void h2_shutdown(struct h2_conn *c);
bool h2_shutting_down(const struct h2_conn *c); /* either side has said GOAWAY */
/* At once: GOAWAY with `code`, then h2_finished as soon as it has gone out. */
void h2_abort(struct h2_conn *c, uint32_t code);
enum status h2_ping(struct h2_conn *c, uint64_t payload) WARN_UNUSED;

struct h2_stats {
    uint64_t streams_opened, streams_reset, bytes_in, bytes_out, frames_in;
    uint64_t heads_repeated; /* server: requests whose header block did not have to be decoded */
    uint32_t streams_open;   /* by the protocol */
    uint32_t streams_held;   /* not released */
    uint64_t unconsumed;     /* received body bytes that nobody has consumed: at most conn_window */
    uint64_t queued;         /* body bytes that wait to be sent, without those in the output */
    size_t memory;           /* heap bytes of the connection and its streams, blobs apart */
};
void h2_conn_stats(const struct h2_conn *c, struct h2_stats *ret);

/* Client: opens a stream. `headers` begins with :method, :scheme, :authority, :path. `user` is what
 * h2_user answers. The stream is the caller's until h2_release. Errors: CLOSED (the connection has
 * failed or is shutting down: use another), OVERLOADED (the peer's max_streams is reached: try
 * again when a stream has closed), INVALID_ARGUMENT (header), NO_MEMORY. */
enum status h2_request(struct h2_conn *c, const struct wire_header *headers, size_t n, bool end,
                       void *user, struct h2_stream **ret) WARN_UNUSED;
/* Server: the response's headers, :status made from `status`; once. Errors: CLOSED (stream or
 * connection is gone), INVALID_ARGUMENT (twice; a header), NO_MEMORY. */
enum status h2_respond(struct h2_stream *s, unsigned status, const struct wire_header *headers,
                       size_t n, bool end) WARN_UNUSED;
enum status h2_continue(struct h2_stream *s) WARN_UNUSED; /* server: 100, before h2_respond */

/* A piece of a body: bytes that are copied, or a run of a blob that is referenced. */
struct h2_part {
    struct bytes bytes;
    struct blob *blob; /* not NULL: `bytes` lies in it, and is not copied but kept by reference */
};
/* Queues body bytes: all of them or none; `end`: the last ones (there may be no bytes then).
 * Errors: OVERLOADED (the queue is full: wait for `writable`), CLOSED (the stream or its sending
 * side has ended), INVALID_ARGUMENT (no headers yet), NO_MEMORY. */
enum status h2_write_parts(struct h2_stream *s, const struct h2_part *parts, size_t n,
                           bool end) WARN_UNUSED;
enum status h2_write(struct h2_stream *s, struct bytes data, bool end) WARN_UNUSED;
/* Ends the sending side with trailers, after what is queued. Never OVERLOADED. */
enum status h2_trailers(struct h2_stream *s, const struct wire_header *headers,
                        size_t n) WARN_UNUSED;
bool h2_writable(const struct h2_stream *s); /* a write would not be OVERLOADED */
/* The owner has dealt with n of the received bytes; the peer may send as many more. */
void h2_consume(struct h2_stream *s, size_t n);
/* RST_STREAM; what is queued is dropped. `closed` comes with the next h2_output. Does nothing on a
 * closed stream. */
void h2_reset(struct h2_stream *s, uint32_t code);
/* The owner lets go and never uses `s` again. An open stream: what is queued still goes out; if the
 * sending side has not been ended it is reset (CANCEL); what the peer still sends is thrown away.
 * No event comes any more. Takes NULL. */
void h2_release(struct h2_stream *s);

/* Valid until h2_release. */
uint32_t h2_id(const struct h2_stream *s);
struct h2_conn *h2_conn_of(const struct h2_stream *s); /* NULL after h2_conn_free */
void h2_set_user(struct h2_stream *s, void *user);
void *h2_user(const struct h2_stream *s);
bool h2_closed(const struct h2_stream *s); /* `closed` has been called */
bool h2_ended(const struct h2_stream *s);  /* `end` has been called */

/* Received headers, pseudo-headers apart, in order. Lent until h2_release. */
const struct wire_header *h2_headers(const struct h2_stream *s, size_t *ret_n);
const struct wire_header *h2_trailer_fields(const struct h2_stream *s, size_t *ret_n);
/* The value of the first such header; false when there is none. `name` in lower case. */
bool h2_header(const struct h2_stream *s, struct bytes name, struct bytes *ret);
bool h2_trailer(const struct h2_stream *s, struct bytes name, struct bytes *ret);
struct bytes h2_method(const struct h2_stream *s); /* server; empty when absent: so all of these */
struct bytes h2_path(const struct h2_stream *s);
struct bytes h2_scheme(const struct h2_stream *s);
struct bytes h2_authority(const struct h2_stream *s);
unsigned h2_status(const struct h2_stream *s); /* client: 0 before the response */

#endif
