/* security.h - the one gate that every door calls: who is asking, and may they.
 *
 * Users and tokens are versioned records of the collection SECURITY_COLLECTION (record.h), which no
 * door can name. Passwords are kept as SCRAM-SHA-256 keys (RFC 5802, 7677), tokens as SHA-256.
 *
 * Owns:     what it remembers of those who were let in, the counts of failed logins. The principals
 *           it hands out are the caller's, until security_gate_close.
 * Promises: whoever is taken out, or given less, is held to it from the next call on: what is
 *           remembered counts only as long as its record has the same version. Secrets are compared
 *           in constant time; a user that there is not costs as much as a wrong password. Memory is
 *           bounded. Every admin call and every refusal is a line of the audit log.
 * Never:    knows a protocol; logs a secret; waits for a network.
 * Threads:  any, for all but new and free. Principals are immutable and may go from thread to thread.
 */
#ifndef VARVE_SERVE_SECURITY_SECURITY_H
#define VARVE_SERVE_SECURITY_SECURITY_H

#include "serve/command/command.h"

struct security;
struct security_principal;

#define SECURITY_COLLECTION "_varve.security"

struct security_options {
    /* false: a server on loopback without authentication. Whoever asks may do everything; what they
     * send as credentials is not looked at. */
    bool required;
    /* Failed logins before an address (a user) must wait; 0 = 20 (60). They are forgiven evenly over
     * login_window_ms; 0 = 60,000. */
    uint32_t login_failures_address, login_failures_user;
    uint64_t login_window_ms;
    size_t remembered; /* logins kept in memory; 0 = 4,096 */
    /* Takes one line of JSON without its end. NULL: the program's log, module "audit". Any thread. */
    void (*audit)(void *arg, const char *line, size_t len);
    void *audit_arg;
};

/* `db` is copied; its store outlives the gate. NO_MEMORY. */
enum status security_new(const struct command_db *db, const struct security_options *o,
                         struct security **ret, struct err *err) WARN_UNUSED;
void security_free(struct security *s); /* takes NULL */
bool security_required(const struct security *s);

/* What a door knows of who is at it. Any field may be empty. */
struct security_peer {
    struct bytes address;     /* text, without the port */
    struct bytes network;     /* whose failed logins count together; empty: the address's */
    struct bytes certificate; /* the subject that TLS verified (RFC 2253) */
    struct bytes request_id;  /* for the audit */
};

/* Lets in. `authorization` is the field's value: "Basic ...", "Bearer ...", or empty: then the
 * certificate counts, if its user is allowed to come by certificate alone.
 * Errors: UNAUTHENTICATED (none, unknown, wrong, expired: the message does not say which of these
 * last), OVERLOADED (too many failed logins; the message says how long to wait), those of
 * command_get. Derives a key (tens of milliseconds of work) and may ask the disk: call it on a thread
 * that may wait. */
enum status security_gate_open(struct security *s, const struct security_peer *peer,
                               struct bytes authorization, struct security_principal **ret,
                               struct err *err) WARN_UNUSED;
/* The same from memory: TIMED_OUT when security_gate_open must be asked. */
enum status security_gate_open_cached(struct security *s, const struct security_peer *peer,
                                      struct bytes authorization, struct security_principal **ret,
                                      struct err *err) WARN_UNUSED;
/* They may, and nobody needs to be told: true is what security_gate_check would answer, without a peer
 * to write down. False: ask it. */
bool security_gate_passes(const struct security_principal *who, enum command_verb verb,
                          struct bytes collection);
/* Whether they may: `collection` empty where the verb names none, then it takes a grant for all
 * ("*"). PERMISSION_DENIED says what would be needed. Never waits. */
enum status security_gate_check(struct security *s, const struct security_principal *who,
                                const struct security_peer *peer, enum command_verb verb,
                                struct bytes collection, struct err *err) WARN_UNUSED;
/* The same, for a batch: each collection that it names. */
enum status security_gate_check_batch(struct security *s, const struct security_principal *who,
                                      const struct security_peer *peer,
                                      const struct command_batch *b, struct err *err) WARN_UNUSED;
void security_gate_close(struct security_principal *who); /* takes NULL */

/* "alice", "token:ci"; "" when nobody had to say. Lives as long as `who`. It is the writer of what
 * they write when the request names none. */
struct bytes security_principal_name(const struct security_principal *who);

struct security_stats { /* since the start */
    uint64_t logins, remembered_hits, refused_logins, limited_logins, denied;
};
void security_stats(struct security *s, struct security_stats *ret);

#endif
