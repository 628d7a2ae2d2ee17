/* security_internal.h - what the files of the gate share. Read security.h first.
 *
 * Owns:     nothing. Promises: as security.h. Never: as there.
 * Threads:  remember.c has its own lock; principals do not change once made.
 */
#ifndef VARVE_SERVE_SECURITY_INTERNAL_H
#define VARVE_SERVE_SECURITY_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/env/thread.h"
#include "serve/security/credential.h"
#include "serve/security/limit.h"
#include "serve/security/security.h"

enum {
    AUTHORIZATION_MAX = 4096, /* of the field: a name, a password and their base64 fit */
    CERTIFICATE_MAX = 1024,   /* of the subject */
    REMEMBERED = 4096,
    REMEMBER_WAYS = 4,
};

struct security_principal {
    _Atomic uint32_t refs;
    bool everyone;          /* nobody had to say who they are */
    struct version version; /* of the record that lets them in */
    struct bytes key;       /* of that record */
    struct bytes name;
    struct grants grants;
    uint8_t bytes[]; /* key, name, patterns */
};

struct remembered;
struct security {
    struct command_db db; /* may reach the system's collections */
    struct security_options o;
    uint8_t secret[SCRAM_HASH]; /* of this process: what is remembered is hashed with it */
    struct scram_keys nobody;   /* for users that there are not */
    struct limit *addresses, *users;
    struct remembered *remembered;
    struct security_principal *everyone;
    _Atomic uint64_t logins, hits, refused, limited, denied;
};

/* remember.c: who was let in lately, by a keyed hash of what they sent. */
struct remembered *remember_new(size_t n);
void remember_free(struct remembered *r);
/* With a reference; NULL: not there. */
struct security_principal *remember_find(struct remembered *r, const uint8_t digest[SCRAM_HASH]);
/* Takes a reference of its own. */
void remember_add(struct remembered *r, const uint8_t digest[SCRAM_HASH],
                  struct security_principal *p);
void remember_forget(struct remembered *r, const uint8_t digest[SCRAM_HASH]);

/* login.c: whoever the credentials prove. */
enum status security__login(struct security *s, const struct security_peer *peer,
                            struct bytes authorization, struct security_principal **ret,
                            struct err *err) WARN_UNUSED;
struct security_principal *security__principal(struct bytes key, struct version version,
                                               struct bytes name, const struct grants *grants);

/* audit.c */
struct audit {
    const char *what; /* "allowed", "denied", "login_refused", "login_limited" */
    struct bytes user, collection;
    const char *verb;   /* NULL: a login */
    const char *reason; /* NULL: none */
};
void security__audit(struct security *s, const struct security_peer *peer, const struct audit *a);

#endif
