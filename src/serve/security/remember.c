/* remember.c - a small set-associative table; the oldest of a set gives way. */
#include "serve/security/security_internal.h"

struct entry {
    uint8_t digest[SCRAM_HASH];
    struct security_principal *who; /* NULL: free */
    uint64_t used;
};
struct remembered {
    struct env_spin lock;
    size_t sets;
    uint64_t now; /* counts uses */
    struct entry entries[];
};

struct remembered *remember_new(size_t n)
{
    size_t sets = n / REMEMBER_WAYS ? n / REMEMBER_WAYS : 1;
    if (sets > SIZE_MAX / 2 / REMEMBER_WAYS / sizeof(struct entry))
        return NULL;
    struct remembered *r = mem_zalloc(sizeof *r + sets * REMEMBER_WAYS * sizeof r->entries[0]);
    if (r)
        r->sets = sets;
    return r;
}

void remember_free(struct remembered *r)
{
    for (size_t i = 0; r && i < r->sets * REMEMBER_WAYS; i++)
        security_gate_close(r->entries[i].who);
    mem_free(r);
}

static struct entry *set_of(struct remembered *r, const uint8_t digest[SCRAM_HASH])
{
    uint64_t h;
    memcpy(&h, digest, sizeof h);
    return &r->entries[h % r->sets * REMEMBER_WAYS];
}

/* The digest is keyed with a secret: comparing it plainly tells nothing. */
static struct entry *find(struct remembered *r, const uint8_t digest[SCRAM_HASH])
{
    struct entry *set = set_of(r, digest);
    for (size_t i = 0; i < REMEMBER_WAYS; i++)
        if (set[i].who && memcmp(set[i].digest, digest, SCRAM_HASH) == 0)
            return &set[i];
    return NULL;
}

struct security_principal *remember_find(struct remembered *r, const uint8_t digest[SCRAM_HASH])
{
    struct security_principal *who = NULL;
    env_spin_lock(&r->lock);
    struct entry *e = find(r, digest);
    if (e) {
        who = e->who;
        atomic_fetch_add_explicit(&who->refs, 1, memory_order_relaxed);
        e->used = ++r->now;
    }
    env_spin_unlock(&r->lock);
    return who;
}

void remember_add(struct remembered *r, const uint8_t digest[SCRAM_HASH],
                  struct security_principal *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    env_spin_lock(&r->lock);
    struct entry *e = find(r, digest), *set = set_of(r, digest);
    for (size_t i = 0; !e && i < REMEMBER_WAYS; i++)
        if (!set[i].who)
            e = &set[i];
    if (!e) {
        e = set;
        for (size_t i = 1; i < REMEMBER_WAYS; i++)
            if (set[i].used < e->used)
                e = &set[i];
    }
    struct security_principal *was = e->who;
    memcpy(e->digest, digest, SCRAM_HASH);
    e->who = p;
    e->used = ++r->now;
    env_spin_unlock(&r->lock);
    security_gate_close(was);
}

void remember_forget(struct remembered *r, const uint8_t digest[SCRAM_HASH])
{
    struct security_principal *was = NULL;
    env_spin_lock(&r->lock);
    struct entry *e = find(r, digest);
    if (e) {
        was = e->who;
        e->who = NULL;
    }
    env_spin_unlock(&r->lock);
    security_gate_close(was);
}
