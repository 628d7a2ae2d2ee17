/* login.c - from what was sent to who it is.
 *
 * 1. Whatever is wrong, the answer is the same words, and takes a derivation where a password came.
 * 2. Only failures are counted; who waits out the limit is not even looked up. */
#include "base/base64.h"
#include "serve/security/security_internal.h"

#include <inttypes.h>
#include <stdio.h>

struct login {
    struct security *s;
    const struct security_peer *peer;
    struct bytes user; /* as they call themselves, for the limit and the audit */
    struct buf scratch, record, key;
    struct security_principal *who;
};

struct security_principal *security__principal(struct bytes key, struct version version,
                                               struct bytes name, const struct grants *grants)
{
    size_t n = key.len + name.len;
    for (size_t i = 0; i < grants->n; i++)
        n += grants->at[i].pattern.len;
    struct security_principal *p = mem_alloc(sizeof *p + n);
    if (!p)
        return NULL;
    uint8_t *to = p->bytes;
    *p = (struct security_principal){.refs = 1, .version = version, .grants = *grants};
    memcpy(to, key.data, key.len);
    p->key = BYTES(to, key.len);
    to += key.len;
    memcpy(to, name.data, name.len);
    p->name = BYTES(to, name.len);
    to += name.len;
    for (size_t i = 0; i < grants->n; i++) {
        struct bytes from = grants->at[i].pattern;
        memcpy(to, from.data, from.len);
        p->grants.at[i].pattern = BYTES(to, from.len);
        to += from.len;
    }
    return p;
}

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "no memory to log in");
}

/* Not the wall clock: put back by an hour, it would keep out for an hour who failed once. */
static uint64_t limit_now_ms(const struct login *l)
{
    return env_mono_ns(l->s->db.env) / 1000000;
}

/* Whoever was given a network of IPv6 has an address for every guess. */
static struct bytes from_where(const struct login *l)
{
    return l->peer->network.len ? l->peer->network : l->peer->address;
}

static enum status refused(struct login *l, const char *reason, struct err *err)
{
    uint64_t now = limit_now_ms(l);
    struct audit a = {.what = "login_refused", .user = l->user, .reason = reason};
    if (from_where(l).len)
        limit_failed(l->s->addresses, from_where(l), now);
    if (l->user.len)
        limit_failed(l->s->users, l->user, now);
    atomic_fetch_add_explicit(&l->s->refused, 1, memory_order_relaxed);
    security__audit(l->s, l->peer, &a);
    return err_set(err, ST_UNAUTHENTICATED, "the credentials are not valid");
}

static enum status within_limits(struct login *l, struct err *err)
{
    uint64_t now = limit_now_ms(l), wait = 0, other = 0;
    if (from_where(l).len)
        wait = limit_wait_ms(l->s->addresses, from_where(l), now);
    if (l->user.len)
        other = limit_wait_ms(l->s->users, l->user, now);
    if (other > wait)
        wait = other;
    if (wait == 0)
        return ST_OK;
    struct audit a = {.what = "login_limited", .user = l->user};
    atomic_fetch_add_explicit(&l->s->limited, 1, memory_order_relaxed);
    security__audit(l->s, l->peer, &a);
    return err_set(err, ST_OVERLOADED, "too many failed logins: wait %" PRIu64 " ms", wait);
}

/* The record under prefix and name. NOT_FOUND. */
static enum status look_up(struct login *l, const char *prefix, struct bytes name,
                           struct record *ret, struct err *err)
{
    buf_clear(&l->key);
    if (buf_append(&l->key, prefix, strlen(prefix)) != ST_OK ||
        buf_append(&l->key, name.data, name.len) != ST_OK)
        return no_memory(err);
    struct command_get c = {.collection = BYTES_LIT(SECURITY_COLLECTION),
                            .key = buf_bytes(&l->key)};
    return command_get(&l->s->db, &c, &l->record, ret, err);
}

static enum status let_in(struct login *l, struct version version, struct bytes name,
                          const struct grants *grants, struct err *err)
{
    l->who = security__principal(buf_bytes(&l->key), version, name, grants);
    if (!l->who)
        return no_memory(err);
    atomic_fetch_add_explicit(&l->s->logins, 1, memory_order_relaxed);
    return ST_OK;
}

static enum status damaged(struct login *l, struct err *err)
{
    return err_set(err, ST_CORRUPT, "the record of %.*s cannot be read", (int)l->user.len,
                   (const char *)l->user.data);
}

static enum status by_password(struct login *l, struct bytes text, struct err *err)
{
    struct user_record u = {0};
    struct record rec = {0};
    enum status st = base64_decode(text, &l->scratch);
    if (st != ST_OK)
        return st == ST_NO_MEMORY ? no_memory(err) : refused(l, "not base64", err);
    struct bytes both = buf_bytes(&l->scratch), password;
    const uint8_t *colon = memchr(both.data, ':', both.len);
    if (!colon)
        return refused(l, "no colon in it", err);
    l->user = BYTES(both.data, (size_t)(colon - both.data));
    password = BYTES(colon + 1, both.len - l->user.len - 1);
    if (user_name_check(l->user, NULL) != ST_OK || password.len > USER_PASSWORD_MAX) {
        l->user = BYTES_EMPTY;
        return refused(l, "no name of a user, or no password", err);
    }
    st = within_limits(l, err);
    if (st == ST_OK)
        st = look_up(l, CREDENTIAL_USER, l->user, &rec, err);
    if (st == ST_OK && !user_decode(rec.value, &u))
        st = damaged(l, err);
    if (st != ST_OK && st != ST_NOT_FOUND)
        return st;
    bool known = st == ST_OK && u.has_password;
    bool right = scram_matches(known ? &u.keys : &l->s->nobody, password);
    if (!known || !right)
        return refused(l, known ? "wrong password" : "no such user, or without a password", err);
    return let_in(l, rec.version, l->user, &u.grants, err);
}

static enum status by_token(struct login *l, struct bytes text, struct err *err)
{
    struct token_record t;
    struct record rec = {0};
    struct bytes id;
    uint8_t hash[SCRAM_HASH];
    char name[sizeof "token:" + TOKEN_LABEL_MAX];
    enum status st = within_limits(l, err);
    if (st != ST_OK)
        return st;
    if (!token_parse(text, &id))
        return refused(l, "not a token of ours", err);
    if (!secret_sha256(text, hash))
        return err_set(err, ST_INTERNAL, "libcrypto could not hash a token");
    st = look_up(l, CREDENTIAL_TOKEN, id, &rec, err);
    if (st == ST_NOT_FOUND)
        return refused(l, "no such token, or expired", err);
    if (st == ST_OK && !token_record_decode(rec.value, &t))
        st = damaged(l, err);
    if (st != ST_OK)
        return st;
    if (!secret_equal(hash, t.hash, sizeof hash))
        return refused(l, "the secret of the token is wrong", err);
    int n = snprintf(name, sizeof name, "token:%.*s", (int)t.label.len, (const char *)t.label.data);
    return let_in(l, rec.version, BYTES(name, (size_t)n), &t.grants, err);
}

/* The value of the first CN, the most particular as RFC 2253 writes subjects; without escapes. A comma
 * that is escaped is of a value: nothing begins behind it. */
static struct bytes common_name(struct bytes subject)
{
    bool begins = true;
    for (size_t i = 0; i + 3 <= subject.len; i++) {
        if (!begins || memcmp(subject.data + i, "CN=", 3) != 0) {
            begins = subject.data[i] == ',';
            i += subject.data[i] == '\\'; /* and what it escapes */
            continue;
        }
        const uint8_t *from = subject.data + i + 3;
        size_t n = 0;
        while (from + n < subject.data + subject.len && from[n] != ',' && from[n] != '+')
            if (from[n++] == '\\')
                return BYTES_EMPTY;
        return BYTES(from, n);
    }
    return BYTES_EMPTY;
}

static enum status by_certificate(struct login *l, struct err *err)
{
    struct bytes subject = l->peer->certificate, names[] = {subject, common_name(subject)};
    for (size_t i = 0; i < 2; i++) {
        struct user_record u;
        struct record rec = {0};
        if (user_name_check(names[i], NULL) != ST_OK)
            continue;
        l->user = names[i];
        enum status st = look_up(l, CREDENTIAL_USER, names[i], &rec, err);
        if (st == ST_OK && !user_decode(rec.value, &u))
            st = damaged(l, err);
        if (st == ST_OK && u.by_certificate)
            return let_in(l, rec.version, names[i], &u.grants, err);
        if (st != ST_OK && st != ST_NOT_FOUND)
            return st;
    }
    return refused(l, "no user may come by this certificate alone", err);
}

static bool scheme(struct bytes in, const char *name, struct bytes *ret)
{
    size_t n = strlen(name);
    if (in.len <= n || in.data[n] != ' ')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((in.data[i] | 0x20) != (uint8_t)name[i])
            return false;
    while (n < in.len && in.data[n] == ' ')
        n++;
    *ret = BYTES(in.data + n, in.len - n);
    return true;
}

static enum status by_what_came(struct login *l, struct bytes authorization, struct err *err)
{
    struct bytes rest;
    if (authorization.len == 0 && l->peer->certificate.len == 0)
        return err_set(err, ST_UNAUTHENTICATED, "no credentials were sent");
    if (authorization.len > AUTHORIZATION_MAX || l->peer->certificate.len > CERTIFICATE_MAX)
        return err_set(err, ST_UNAUTHENTICATED, "the credentials are over the limit of %d bytes",
                       authorization.len > AUTHORIZATION_MAX ? AUTHORIZATION_MAX : CERTIFICATE_MAX);
    if (authorization.len == 0)
        return by_certificate(l, err);
    if (scheme(authorization, "basic", &rest))
        return by_password(l, rest, err);
    if (scheme(authorization, "bearer", &rest))
        return by_token(l, rest, err);
    return err_set(err, ST_UNAUTHENTICATED, "authorization: only Basic and Bearer are understood");
}

enum status security__login(struct security *s, const struct security_peer *peer,
                            struct bytes authorization, struct security_principal **ret,
                            struct err *err)
{
    struct login l = {.s = s, .peer = peer, .user = BYTES_EMPTY};
    enum status st = by_what_came(&l, authorization, err);
    if (st == ST_OK)
        *ret = l.who;
    if (l.scratch.data)
        secret_wipe(l.scratch.data, l.scratch.cap); /* it had the password */
    buf_deinit(&l.scratch);
    buf_deinit(&l.record);
    buf_deinit(&l.key);
    return st;
}
