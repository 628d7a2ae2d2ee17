/* http_internal.h - what the files of the door share: one call, its arguments, its answers.
 *
 * A handler answers OK when it has responded; any other status becomes problem+json in door.c.
 */
#ifndef VARVE_SERVE_HTTP_INTERNAL_H
#define VARVE_SERVE_HTTP_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/json.h"
#include "base/moment.h"
#include "serve/gate/gate.h"
#include "serve/http/http_door.h"
#include "serve/port/exchange.h"

enum {
    HTTP_IN_PLACE = 64 * 1024,    /* a write up to so many bytes is done on the reactor's thread */
    HTTP_PAGE_STREAM = 64 * 1024, /* values in one page of a stream */
    HTTP_SEGMENTS_MAX = 6,        /* of a path */
    HTTP_HEADERS_MAX = 16,        /* of an answer */
    HTTP_WAIT_MS = 60 * 1000,     /* for a slow reader of a stream, at each piece */
    HTTP_MAX_BODY = 32 * 1024 * 1024,
    HTTP_MAX_BATCH = 10000,
    HTTP_MAX_STREAMS = 1024,
    HTTP_HEARTBEAT_MS = 15000,
    HTTP_ANSWER_MAX = 32 * 1024 * 1024, /* values of a batch get */
};

/* ---- parameters of queries: X(ID, name, JSON schema, description) ---- */

#define HTTP_PARAM_TABLE(X)                                                                        \
    X(AT, "at", "{\"type\":\"string\"}",                                                           \
      "Read the past: an RFC 3339 time or date, a version, @ and the name of a snapshot, or a "    \
      "duration before now such as -5m.")                                                          \
    X(TTL, "ttl", "{\"type\":\"string\",\"pattern\":\"^([0-9]+(ms|s|m|h|d|w))+$\"}",               \
      "The record expires after this time: 500ms, 30s, 10m, 2h, 7d.")                              \
    X(SYNC, "sync", "{\"type\":\"string\",\"enum\":[\"always\",\"interval\",\"off\"]}",            \
      "What a power cut may lose of this write; without it, what the server is set to.")           \
    X(PREFIX, "prefix", "{\"type\":\"string\"}", "Only keys that start with these bytes.")         \
    X(FROM, "from", "{\"type\":\"string\"}", "The first key, included.")                           \
    X(TO, "to", "{\"type\":\"string\"}", "Where keys end, not included.")                          \
    X(LIMIT, "limit", "{\"type\":\"integer\",\"minimum\":1}",                                      \
      "At most so many rows: of a page, 100000 at most; of all in a stream of NDJSON.")            \
    X(PAGE, "page", "{\"type\":\"string\"}",                                                       \
      "Where to go on: \\\"next\\\" of the page before, with all else as it was.")                 \
    X(REVERSE, "reverse", "{\"type\":\"boolean\"}", "In descending order of keys.")                \
    X(KEYS_ONLY, "keys_only", "{\"type\":\"boolean\"}", "Without the values.")                     \
    X(VALUES, "values", "{\"type\":\"boolean\"}", "With the values.")                              \
    X(CANONICAL, "canonical", "{\"type\":\"boolean\"}",                                            \
      "Documents as canonical Extended JSON, which keeps every type.")                             \
    X(A, "a", "{\"type\":\"string\"}", "The older moment, as in at.")                              \
    X(B, "b", "{\"type\":\"string\"}", "The newer moment, as in at; without it, the present.")     \
    X(FORMAT, "format", "{\"type\":\"string\",\"enum\":[\"paths\",\"patch\"]}",                    \
      "paths (set and unset) or patch (JSON Patch, RFC 6902).")                                    \
    X(SINCE, "since", "{\"type\":\"string\"}",                                                     \
      "Go on behind this token; empty: from the beginning; now: what comes from here on.")         \
    X(COLLECTION, "collection", "{\"type\":\"string\"}", "Only this collection.")                  \
    X(HEARTBEAT, "heartbeat", "{\"type\":\"string\"}",                                             \
      "A comment after such a silence (100ms to 1h).")                                             \
    X(CONSISTENCY, "consistency", "{\"type\":\"string\",\"enum\":[\"linearizable\",\"local\"]}",   \
      "linearizable (so it is without it): the present has every write that any node "             \
      "acknowledged before; local: what this node has, without asking the leader.")                \
    X(CONFIRM, "confirm", "{\"type\":\"string\"}",                                                 \
      "The name of the collection once more, so that none is dropped by mistake.")

enum http_param {
#define X(id, name, schema, text) PARAM_##id,
    HTTP_PARAM_TABLE(X)
#undef X
        PARAM_COUNT
};
#define PARAM(id) (UINT32_C(1) << PARAM_##id)
const char *http_param_name(enum http_param p);

/* ---- media types ---- */

enum http_media {
    MEDIA_JSON,
    MEDIA_BYTES,
    MEDIA_BSON,
    MEDIA_NDJSON,
    MEDIA_EVENTS,
    MEDIA_PATCH,
    MEDIA_TEXT,
    MEDIA_METRICS,
    MEDIA_NONE, /* no body */
    MEDIA_COUNT,
};
#define MEDIA(id) (1U << MEDIA_##id)
const char *http_media_type(enum http_media m); /* "application/json" */

/* ---- routes ---- */

enum http_method { METHOD_GET, METHOD_PUT, METHOD_POST, METHOD_DELETE, METHODS };
enum http_condition { CONDITION_NONE, CONDITION_READ, CONDITION_WRITE };

struct http_call;
typedef enum status (*http_fn)(struct http_call *c);
struct http_route {
    enum http_method method;
    const char *path; /* "/v1/{collection}/{key}" */
    const char *id;   /* operationId */
    const char *summary;
    http_fn fn;
    int verb;           /* enum command_verb; -1: everybody may */
    uint32_t params;    /* PARAM() */
    unsigned body;      /* MEDIA() that a request's body may have; 0: none is taken */
    unsigned answers;   /* MEDIA() of the answer */
    const char *schema; /* of a JSON answer, or of one line or event */
    const char *body_schema;
    unsigned status; /* of success */
    enum http_condition condition;
    const char
        *problems; /* the statuses that it may refuse with, beyond those all may: "404 412" */
};
extern const struct http_route http_routes[];
extern const size_t http_route_count;

/* One segment of a path: its bytes as they came, and decoded. */
struct http_segment {
    struct bytes raw, data;
};
struct http_target {
    size_t n;
    struct http_segment at[HTTP_SEGMENTS_MAX];
};
/* Splits at raw slashes and decodes each part. INVALID_ARGUMENT; NOT_FOUND: more segments than any
 * route has, or an empty one. */
enum status http_target_parse(struct bytes path, struct arena *arena, struct http_target *ret,
                              struct err *err) WARN_UNUSED;
/* Percent signs decoded into the arena (borrowed when there are none). '+' is a plus sign. */
enum status http_percent_decode(struct bytes in, struct arena *arena, struct bytes *ret,
                                struct err *err) WARN_UNUSED;
enum status http_percent_encode(struct buf *out, struct bytes b) WARN_UNUSED; /* for headers */
/* Whether the route's path is this one; fills in collection, key and name. */
struct http_names {
    struct bytes collection, key, name;
};
bool http_route_matches(const struct http_route *r, const struct http_target *t,
                        struct http_names *ret);
/* NULL: *ret_allow has the methods there are (bit 1 << enum http_method); 0: no such path. */
const struct http_route *http_route_find(struct bytes method, const struct http_target *t,
                                         struct http_names *ret, unsigned *ret_allow);
enum status http_openapi(struct buf *out) WARN_UNUSED; /* the document of the table */

/* The parameters of a query. INVALID_ARGUMENT: unknown here, twice, bad percent signs. */
struct http_query {
    uint32_t set;
    struct bytes value[PARAM_COUNT];
};
enum status http_query_parse(struct bytes query, uint32_t allowed, struct arena *arena,
                             struct http_query *ret, struct err *err) WARN_UNUSED;

/* ---- one call ---- */

struct http_door {
    struct http_door_options o;
    struct gate gate;
    struct buf openapi;
    _Atomic bool stop;
    _Atomic uint32_t streams;
};

struct http_call {
    struct http_door *door;
    struct exchange *x;
    const struct http_route *route;
    struct http_names names;
    struct http_query query;
    struct command_db db; /* the door's, with the caller's writer */
    void *who;
    struct err err;
    unsigned http_status;   /* of the problem, where the status alone does not say; 0: it does */
    const char *field;      /* of the problem; NULL: from err */
    unsigned allow;         /* of 405 */
    struct version present; /* 412: the version that is there */
    bool know_present;
    size_t n_headers;
    struct wire_header headers[HTTP_HEADERS_MAX];
};

static inline bool call_has(const struct http_call *c, enum http_param p)
{
    return (c->query.set >> p) & 1;
}
static inline struct arena *call_arena(struct http_call *c)
{
    return c->x->req.arena;
}

/* door.c */
enum status http__work(struct http_call *c, enum work_kind kind, void (*fn)(void *arg),
                       void *arg) WARN_UNUSED;
enum status http__allow(struct http_call *c, enum command_verb verb,
                        struct bytes collection) WARN_UNUSED;
/* INVALID_ARGUMENT with that HTTP status. */
enum status call_refuse(struct http_call *c, unsigned http_status, const char *field,
                        const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* answer.c: headers gather in the call, then an answer takes them. The value is copied. */
void call_header(struct http_call *c, const char *name, struct bytes value);
void call_cache(struct http_call *c, bool fixed); /* Cache-Control of a read */
enum status call_etag(struct http_call *c, struct version v) WARN_UNUSED; /* and Last-Modified */
enum status http__respond(struct http_call *c, unsigned status, enum http_media m,
                          struct bytes body) WARN_UNUSED;
enum status call_begin(struct http_call *c, unsigned status, enum http_media m) WARN_UNUSED;
uint64_t call_wait_until(const struct http_call *c); /* a deadline: wait_ms from now */
/* Into a stream that was begun. A reader has wait_ms for each HTTP_PAGE_STREAM bytes of it. */
enum status call_write(struct http_call *c, struct bytes data) WARN_UNUSED;
enum status http__respond_version(struct http_call *c, unsigned status,
                                  struct version v) WARN_UNUSED;
/* What the client would rather have, of the MEDIA() offered; the first in the order of the enum when
 * it does not mind. 406. */
enum status call_negotiate(struct http_call *c, unsigned offered, enum http_media *ret) WARN_UNUSED;
/* Of MEDIA(): by Content-Type; without one it is bytes where the route takes them. 415. */
enum status call_content(struct http_call *c, enum http_media *ret) WARN_UNUSED;
void http_problem(struct http_call *c, enum status st); /* answers, if nothing was answered yet */
void http_cors(struct http_call *c);                    /* adds headers */
enum status http_preflight(struct http_call *c) WARN_UNUSED;
bool http__origin_allowed(const struct http_call *c, struct bytes origin);

/* host.c */
/* Whether it is uri-host [":" port] (RFC 9110, 7.2; perhaps without any letter of a host). */
bool http_host_parse(struct bytes authority, struct bytes *ret_host);
/* That it is one; over HTTP/2, that a Host beside :authority is the same (RFC 9113, 8.3.1); and
 * http_door_options.of_this_machine. INVALID_ARGUMENT, PERMISSION_DENIED. */
enum status http_check_host(struct http_call *c) WARN_UNUSED;
/* A page of another site can have a browser send, without asking, what needs no leave of CORS: a POST
 * without a body, with a password that the browser remembers. Browsers say where it comes from
 * (Sec-Fetch-Site, those before 2023 Origin alone). PERMISSION_DENIED. */
enum status http_check_site(struct http_call *c) WARN_UNUSED;
/* For tests. */
bool http_accepts(struct bytes accept, enum http_media m, unsigned *ret_q); /* q: 0 to 1000 */
enum status http_problem_json(const struct http_call *c, enum status st, unsigned code,
                              const char *request_id, struct buf *out) WARN_UNUSED;

/* args.c */
enum status arg_moment(struct http_call *c, enum http_param p, struct command_at *ret,
                       bool *ret_fixed) WARN_UNUSED;
enum status arg_bool(struct http_call *c, enum http_param p, bool *ret) WARN_UNUSED;
enum status arg_number(struct http_call *c, enum http_param p, uint64_t max,
                       uint64_t *ret) WARN_UNUSED;
enum status arg_duration(struct http_call *c, enum http_param p, uint64_t *ret_ms) WARN_UNUSED;
enum status arg_write(struct http_call *c, struct command_options *ret) WARN_UNUSED;
/* X-Varve-Writer, percent-encoded, into ret->writer. */
enum status arg_writer(struct http_call *c, struct command_options *ret) WARN_UNUSED;
/* Idempotency-Key, percent-encoded, into ret->request_id. */
enum status arg_request_id(struct http_call *c, struct command_options *ret) WARN_UNUSED;
enum status arg_text(struct http_call *c, struct bytes b, const char **ret) WARN_UNUSED;
enum status arg_consistency(struct http_call *c) WARN_UNUSED; /* which present c->db reads */
enum status sync_parse(struct bytes text, enum store_sync *ret, struct err *err) WARN_UNUSED;
/* If-Match and If-None-Match of a write. Both, lists and weak tags are refused. */
enum status arg_condition(struct http_call *c, struct command_require *ret) WARN_UNUSED;
/* Whether If-None-Match of a read names this version, so that 304 is the answer. */
bool etag_known(struct http_call *c, struct version v);
bool etag_parse(struct bytes text, struct version *ret); /* one strong tag of ours */

/* rows.c: one record as JSON */
enum {
    ROW_COLLECTION = 1,
    ROW_KEY = 2,
    ROW_VALUE = 4,
    ROW_KIND = 8, /* put or delete, and the parent */
    ROW_TOKEN = 16,
    ROW_CANONICAL = 32,
};
enum status row_json(struct buf *out, const struct command_row *row, unsigned what,
                     struct err *err) WARN_UNUSED;
enum status version_json(struct buf *out, const char *name, struct version v) WARN_UNUSED;

/* batch_in.c: the bodies of /v1/batch and /v1/get */
struct batch_in {
    struct command_options options;
    size_t n_requires;
    struct bytes *require_keys; /* in the order of the requirements, for messages */
    struct bytes *require_collections;
};
enum status batch_in_decode(struct bytes json, uint32_t max, struct arena *arena,
                            struct command_batch *b, struct batch_in *ret,
                            struct err *err) WARN_UNUSED;
struct keys_in {
    size_t n;
    struct command_key *keys;
    const char *at; /* NULL: the present */
    bool canonical;
};
enum status keys_in_decode(struct bytes json, uint32_t max, struct arena *arena,
                           struct keys_in *ret, struct err *err) WARN_UNUSED;
/* {"max_age":"30d","max_count":10} */
enum status retention_in_decode(struct bytes json, struct arena *arena,
                                struct collection_settings *ret, struct err *err) WARN_UNUSED;

/* changes.c, for tests: one event (Server-Sent Events, HTML Standard 9.2). Line ends in `data` become
 * several data lines. */
enum status sse_event(struct buf *out, struct bytes id, const char *event,
                      struct bytes data) WARN_UNUSED;

/* The handlers. */
enum status http_record_get(struct http_call *c);
enum status http_record_put(struct http_call *c);
enum status http_record_delete(struct http_call *c);
enum status http_scan(struct http_call *c);
enum status http_history(struct http_call *c);
enum status http_diff(struct http_call *c);
enum status http_restore(struct http_call *c);
enum status http_batch(struct http_call *c);
enum status http_get_many(struct http_call *c);
enum status http_changes(struct http_call *c);
enum status http_collections(struct http_call *c);
enum status http_collection_drop(struct http_call *c);
enum status http_retention_get(struct http_call *c);
enum status http_retention_put(struct http_call *c);
enum status http_snapshots(struct http_call *c);
enum status http_snapshot_put(struct http_call *c);
enum status http_snapshot_delete(struct http_call *c);
enum status http_topology(struct http_call *c) WARN_UNUSED;
enum status http_stats(struct http_call *c);
enum status http_checkpoint(struct http_call *c);
enum status http_vacuum(struct http_call *c);
enum status http_verify(struct http_call *c);
enum status http_metrics(struct http_call *c);
enum status http_livez(struct http_call *c);
enum status http_readyz(struct http_call *c);
enum status http_root(struct http_call *c);
enum status http_openapi_get(struct http_call *c);

#endif
