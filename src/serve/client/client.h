/* client.h - calls to a server over gRPC, for a thread that waits for their answers.
 *
 * One connection at a time, used again for every call; it is made when the first call needs it and
 * made anew after it was lost, to the next of several addresses if the one does not answer. What
 * fails in a way that another try may heal is tried again, with pauses that double and vary, but a
 * write only where it is sure that it was not done, or where doing it twice is impossible
 * (enum client_repeat). link.h, below, is the same connection without the waiting.
 *
 * Owns:     its loop, connections, TLS settings, copies of the credentials (wiped at the end).
 * Promises: a failure is told as a status of the table and the server's own words; a write whose
 *           outcome is not known says so. Memory: one message each way for every call under way.
 * Never:    sends a write again blindly; waits past a deadline; prints.
 * Threads:  one.
 */
#ifndef VARVE_SERVE_CLIENT_CLIENT_H
#define VARVE_SERVE_CLIENT_CLIENT_H

#include "base/buf.h"
#include "base/env/env.h"

struct client;

enum {
    CLIENT_PORT = 7878, /* where an address names none */
    CLIENT_SERVERS_MAX = 16,
    CLIENT_CONNECT_MS = 5000, /* for one address to answer, TLS included */
    CLIENT_PATIENCE_MS = 15000,
    CLIENT_SLICE_MS = 100, /* how often a wait looks whether it is to stop */
    CLIENT_NAME_MAX = 128,
};

struct client_options {
    /* host:port, with commas between several of one cluster; the first that answers is used. IPv6
     * addresses stand in brackets. */
    const char *servers;
    bool tls;
    /* PEM: whom to believe (NULL: the system's), our certificate and its key (NULL: none). */
    const char *ca_file, *cert_file, *key_file;
    /* Either a token, or a user and a password; NULL: none. */
    const char *token, *user, *password;
    uint64_t deadline_ms; /* of a call with one answer, all tries included; 0: none */
    uint64_t patience_ms; /* for how long it is tried again; 0: CLIENT_PATIENCE_MS */
    size_t message_max;   /* of an answer; 0: 64 MiB */
    /* Asked every CLIENT_SLICE_MS of a wait; true ends it with CANCELLED. May be NULL. */
    bool (*stopped)(void *arg);
    void *stopped_arg;
};

/* Connects to nobody yet. INVALID_ARGUMENT (an address, a certificate: which), the errors of reading
 * files, NO_MEMORY, TOO_MANY_FILES. */
enum status client_open(struct env *env, const struct client_options *o, struct client **ret,
                        struct err *err) WARN_UNUSED;
/* Calls and streams must have ended. Takes NULL. */
void client_close(struct client *c);
/* The address in use, or the first to try. */
const char *client_server(const struct client *c);

/* Whether a call may be sent again after a try of which it is not known what became. */
enum client_repeat {
    CLIENT_READ,  /* as often as it takes */
    CLIENT_WRITE, /* not: only after a try that surely did nothing */
    /* Yes: it is done only if nothing was done since, or has a request id. See `unsure`. */
    CLIENT_CONDITIONAL,
};

struct client_request {
    const char *method;   /* "varve.v1.KV/Get" */
    struct bytes message; /* encoded; lives until the call has ended */
    enum client_repeat repeat;
    uint64_t deadline_ms; /* 0: the client's; UINT64_MAX: none */
};

/* How a call failed. */
struct client_failure {
    struct err err;    /* INTERNAL and more are the server's; IO_ERROR: it cannot be reached */
    bool unreachable;  /* no address answered */
    bool lost;         /* the answer did not come: what became of it is not known */
    bool undone;       /* the server has surely done nothing */
    bool repeatable;   /* another try may do better */
    bool unsure;       /* an earlier try of it was lost: it may have been done then */
    uint64_t retry_ms; /* the server's wish before another try */
    char field[CLIENT_NAME_MAX];   /* of the request, "" where none is to blame */
    char subject[CLIENT_NAME_MAX]; /* what did not hold: "conditions[0].precondition" */
    bool has_present;              /* `present` was told */
    char present[40];              /* the key's present version; "": it is absent */
};

/* One request, one answer, which is appended to `answer`. The failure is filled in where the answer
 * is not OK; its status is what is returned. */
enum status client_call(struct client *c, const struct client_request *q, struct buf *answer,
                        struct client_failure *f) WARN_UNUSED;

/* The same in two halves, so that the caller can do something else meanwhile. `q` is copied but for
 * its message. What goes wrong is told by client_finish, which waits, and frees. NULL: no memory. */
struct client_pending;
struct client_pending *client_begin(struct client *c, const struct client_request *q) WARN_UNUSED;
void client_step(struct client *c); /* lets come and go what can, without waiting */
enum status client_finish(struct client_pending *p, struct buf *answer,
                          struct client_failure *f) WARN_UNUSED;

/* Tries of one thing: zeroed before the first. */
struct client_tries {
    unsigned n;
    uint64_t begun_ns, deadline_ns; /* deadline 0: none */
    bool unsure;
};
/* After a failure: OK when it is worth another try now (it has waited), else why not, which is the
 * failure's own status unless the wait was stopped. For streams, which go on where they were. */
enum status client_again(struct client *c, struct client_tries *t, enum client_repeat repeat,
                         struct client_failure *f) WARN_UNUSED;

/* One request, many answers. */
struct client_stream;
enum status client_stream_open(struct client *c, const struct client_request *q,
                               struct client_stream **ret, struct client_failure *f) WARN_UNUSED;
enum client_next {
    CLIENT_MESSAGE, /* *ret, lent until the next call */
    CLIENT_END,     /* all went well */
    CLIENT_QUIET,   /* nothing came within timeout_ms */
    CLIENT_FAILED,
};
enum client_next
client_stream_next(struct client_stream *s, uint64_t timeout_ms, struct bytes *ret,
                   struct client_failure *f) WARN_UNUSED; /* UINT64_MAX: no limit */
void client_stream_close(struct client_stream *s); /* cancels what has not ended; takes NULL */

#endif
