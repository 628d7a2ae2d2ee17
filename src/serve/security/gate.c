/* gate.c - letting in, from memory where that is enough, and asking whether they may. */
#include "serve/security/security_internal.h"

static struct security_principal *new_everyone(void)
{
    struct grants all = {.n = 1, .at = {{COMMAND_ADMIN, BYTES_LIT("*")}}};
    struct security_principal *p =
        security__principal(BYTES_EMPTY, VERSION_NONE, BYTES_EMPTY, &all);
    if (p)
        p->everyone = true;
    return p;
}

enum status security_new(const struct command_db *db, const struct security_options *o,
                         struct security **ret, struct err *err)
{
    struct security *s = mem_zalloc(sizeof *s);
    uint64_t seeds[2];
    if (!s)
        return err_set(err, ST_NO_MEMORY, "no memory for the gate");
    s->db = *db;
    s->db.system = true;
    s->db.consistency =
        COMMAND_LOCAL; /* every request asks; what a node has not heard it cannot heed */
    s->o = *o;
    env_random(db->env, s->secret, sizeof s->secret);
    env_random(db->env, seeds, sizeof seeds);
    s->nobody = (struct scram_keys){.iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT};
    env_random(db->env, s->nobody.salt, SCRAM_SALT);
    env_random(db->env, s->nobody.stored_key, SCRAM_HASH);
    uint64_t window = o->login_window_ms ? o->login_window_ms : 60000;
    s->addresses =
        limit_new(o->login_failures_address ? o->login_failures_address : 20, window, seeds[0]);
    s->users = limit_new(o->login_failures_user ? o->login_failures_user : 60, window, seeds[1]);
    s->remembered = remember_new(o->remembered ? o->remembered : REMEMBERED);
    s->everyone = new_everyone();
    if (!s->addresses || !s->users || !s->remembered || !s->everyone) {
        security_free(s);
        return err_set(err, ST_NO_MEMORY, "no memory for the gate");
    }
    *ret = s;
    return ST_OK;
}

void security_free(struct security *s)
{
    if (!s)
        return;
    limit_free(s->addresses);
    limit_free(s->users);
    remember_free(s->remembered);
    mem_free(s->everyone);
    secret_wipe(s->secret, sizeof s->secret);
    mem_free(s);
}

bool security_required(const struct security *s)
{
    return s->o.required;
}

/* ---- letting in ---- */

/* A certificate counts only where nothing else was sent, so one of them is enough. */
static bool digest_of(struct security *s, const struct security_peer *peer,
                      struct bytes authorization, uint8_t out[SCRAM_HASH])
{
    uint8_t inner[1 + SCRAM_HASH] = {authorization.len ? 'a' : 'c'};
    struct bytes what = authorization.len ? authorization : peer->certificate;
    return what.len > 0 && what.len <= AUTHORIZATION_MAX && secret_sha256(what, inner + 1) &&
           secret_hmac(BYTES(s->secret, sizeof s->secret), BYTES(inner, sizeof inner), out);
}

/* Whether what let them in is still as it was. TIMED_OUT: cannot tell from memory. */
static enum status still_valid(struct security *s, const struct security_principal *p, bool cached)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_get c = {.collection = BYTES_LIT(SECURITY_COLLECTION), .key = p->key};
    enum status st = cached ? command_get_cached(&s->db, &c, &buf, &rec, NULL)
                            : command_get(&s->db, &c, &buf, &rec, NULL);
    if (st == ST_OK && version_cmp(rec.version, p->version) != 0)
        st = ST_NOT_FOUND;
    buf_deinit(&buf);
    return st;
}

static enum status from_memory(struct security *s, const uint8_t digest[SCRAM_HASH], bool cached,
                               struct security_principal **ret)
{
    struct security_principal *p = remember_find(s->remembered, digest);
    enum status st = p ? still_valid(s, p, cached) : ST_NOT_FOUND;
    if (st == ST_OK) {
        atomic_fetch_add_explicit(&s->hits, 1, memory_order_relaxed);
        *ret = p;
        return ST_OK;
    }
    if (p && st == ST_NOT_FOUND)
        remember_forget(s->remembered, digest);
    security_gate_close(p);
    return st;
}

/* It lives as long as the gate, so nobody counts who has it. */
static struct security_principal *everyone(struct security *s)
{
    return s->everyone;
}

enum status security_gate_open_cached(struct security *s, const struct security_peer *peer,
                                      struct bytes authorization, struct security_principal **ret,
                                      struct err *err)
{
    uint8_t digest[SCRAM_HASH];
    if (!s->o.required) {
        *ret = everyone(s);
        return ST_OK;
    }
    if (authorization.len == 0 && peer->certificate.len == 0)
        return err_set(err, ST_UNAUTHENTICATED, "no credentials were sent");
    if (digest_of(s, peer, authorization, digest) && from_memory(s, digest, true, ret) == ST_OK)
        return ST_OK;
    return err_set(err, ST_TIMED_OUT, "not in memory");
}

enum status security_gate_open(struct security *s, const struct security_peer *peer,
                               struct bytes authorization, struct security_principal **ret,
                               struct err *err)
{
    uint8_t digest[SCRAM_HASH];
    struct security_principal *p = NULL;
    if (!s->o.required) {
        *ret = everyone(s);
        return ST_OK;
    }
    bool digested = digest_of(s, peer, authorization, digest);
    if (digested && from_memory(s, digest, false, ret) == ST_OK)
        return ST_OK;
    enum status st = security__login(s, peer, authorization, &p, err);
    if (st != ST_OK)
        return st;
    if (digested)
        remember_add(s->remembered, digest, p);
    *ret = p;
    return ST_OK;
}

void security_gate_close(struct security_principal *who)
{
    if (who && !who->everyone &&
        atomic_fetch_sub_explicit(&who->refs, 1, memory_order_acq_rel) == 1)
        mem_free(who);
}

struct bytes security_principal_name(const struct security_principal *who)
{
    return who->name;
}

/* ---- what they may ---- */

bool security_gate_passes(const struct security_principal *who, enum command_verb verb,
                          struct bytes collection)
{
    enum command_access access = command_verb_access(verb);
    return access != COMMAND_ADMIN && !command_is_system(collection) &&
           grants_allow(&who->grants, access, collection);
}

enum status security_gate_check(struct security *s, const struct security_principal *who,
                                const struct security_peer *peer, enum command_verb verb,
                                struct bytes collection, struct err *err)
{
    enum command_access access = command_verb_access(verb);
    bool allowed = !command_is_system(collection) && grants_allow(&who->grants, access, collection);
    struct audit a = {.what = allowed ? "allowed" : "denied",
                      .user = who->name,
                      .verb = command_verb_name(verb),
                      .collection = collection};
    /* Figures are read every few seconds and change nothing. */
    if (!allowed || (access == COMMAND_ADMIN && verb != COMMAND_STATS))
        security__audit(s, peer, &a);
    if (allowed)
        return ST_OK;
    atomic_fetch_add_explicit(&s->denied, 1, memory_order_relaxed);
    if (command_is_system(collection))
        return err_set(err, ST_PERMISSION_DENIED,
                       "collection: names that begin with " COMMAND_SYSTEM
                       " are the database's own");
    return err_set(err, ST_PERMISSION_DENIED, "%s needs the role %s on %s%.*s",
                   command_verb_name(verb), grant_role_name(access),
                   collection.len ? "" : "all collections (\"*\")", (int)collection.len,
                   (const char *)collection.data);
}

enum status security_gate_check_batch(struct security *s, const struct security_principal *who,
                                      const struct security_peer *peer,
                                      const struct command_batch *b, struct err *err)
{
    struct bytes name;
    bool written;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && command_batch_name(b, i, &name, &written); i++)
        st = security_gate_check(s, who, peer, written ? COMMAND_COMMIT : COMMAND_GET, name, err);
    return st;
}

void security_stats(struct security *s, struct security_stats *ret)
{
    *ret = (struct security_stats){
        .logins = atomic_load_explicit(&s->logins, memory_order_relaxed),
        .remembered_hits = atomic_load_explicit(&s->hits, memory_order_relaxed),
        .refused_logins = atomic_load_explicit(&s->refused, memory_order_relaxed),
        .limited_logins = atomic_load_explicit(&s->limited, memory_order_relaxed),
        .denied = atomic_load_explicit(&s->denied, memory_order_relaxed)};
}
