#include "unit/engine/model_engine.h"

#include <stdlib.h>

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->keys[i].v);
    free(m->keys);
    *m = (struct model){0};
}

void model_copy(const struct model *from, struct model *to)
{
    *to = *from;
    to->cap = to->n;
    to->keys = malloc((from->n + 1) * sizeof(*to->keys));
    for (size_t i = 0; i < from->n; i++) {
        to->keys[i] = from->keys[i];
        to->keys[i].cap = from->keys[i].n + 1;
        to->keys[i].v = malloc(to->keys[i].cap * sizeof(struct model_version));
        if (from->keys[i].n)
            memcpy(to->keys[i].v, from->keys[i].v, from->keys[i].n * sizeof(struct model_version));
    }
}

static size_t place(const struct model *m, struct bytes key)
{
    size_t i = 0;
    while (i < m->n && bytes_cmp(model_key_bytes(&m->keys[i]), key) < 0)
        i++;
    return i;
}

const struct model_key *model_find(const struct model *m, struct bytes key)
{
    size_t i = place(m, key);
    return i < m->n && bytes_eq(model_key_bytes(&m->keys[i]), key) ? &m->keys[i] : NULL;
}

void model_put(struct model *m, struct bytes key, const struct record *rec)
{
    size_t i = place(m, key);
    if (i == m->n || !bytes_eq(model_key_bytes(&m->keys[i]), key)) {
        if (m->n >= m->cap) {
            m->cap = m->cap ? m->cap * 2 : 16;
            m->keys = realloc(m->keys, m->cap * sizeof(*m->keys));
        }
        memmove(&m->keys[i + 1], &m->keys[i], (m->n - i) * sizeof(*m->keys));
        m->n++;
        m->keys[i] = (struct model_key){.key = (uint8_t *)(uintptr_t)key.data, .len = key.len};
    }
    struct model_key *k = &m->keys[i];
    if (k->n >= k->cap) {
        k->cap = k->cap ? k->cap * 2 : 4;
        k->v = realloc(k->v, k->cap * sizeof(*k->v));
    }
    k->v[k->n++] = (struct model_version){
        .version = rec->version,
        .parent = k->last,
        .kind = rec->kind,
        .type = rec->type,
        .expires_ms = rec->expires_ms,
        .writer = (uint8_t *)(uintptr_t)rec->writer.data,
        .writer_len = rec->writer.len,
        .value = (uint8_t *)(uintptr_t)rec->value.data,
        .value_len = rec->value.len,
    };
    k->last = rec->version;
}

enum status model_get(const struct model_key *k, struct version at,
                      const struct model_version **ret)
{
    if (!k)
        return ST_NOT_FOUND;
    for (size_t i = k->n; i-- > 0;) {
        if (version_cmp(k->v[i].version, at) <= 0) {
            *ret = &k->v[i];
            return ST_OK;
        }
    }
    return version_is_none(k->floor) ? ST_NOT_FOUND : ST_BELOW_HORIZON;
}

static uint64_t vacuum_key(struct model_key *k, struct version horizon, uint64_t keep)
{
    bool *gone = calloc(k->n + 1, 1), any = false, clean = false;
    struct version by_count = VERSION_NONE;
    bool aged = false;
    uint64_t removed = 0;
    for (size_t at = 0; at < k->n; at++) { /* newest first */
        const struct model_version *v = &k->v[k->n - 1 - at];
        bool old = !version_is_none(horizon) && version_cmp(v->version, horizon) <= 0;
        bool base = old && !aged; /* what a read at the horizon sees */
        bool by_age = aged || (base && v->kind == RECORD_DELETE);
        bool counted = keep && at >= keep;
        aged = aged || old;
        if (!by_age && !counted)
            continue;
        if (!any)
            clean = base && v->kind == RECORD_DELETE;
        any = true;
        if (counted && version_is_none(by_count))
            by_count = v->version;
        gone[k->n - 1 - at] = true;
    }
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++) {
        removed += gone[i];
        if (!gone[i])
            k->v[n++] = k->v[i];
    }
    k->n = n;
    if (clean)
        k->floor = VERSION_NONE;
    else if (version_cmp(by_count, k->floor) > 0)
        k->floor = by_count;
    if (n == 0)
        k->last = VERSION_NONE; /* nothing remembers it */
    free(gone);
    return removed;
}

void model_vacuum(struct model *m, const struct engine_vacuum *q, uint64_t *ret_removed)
{
    *ret_removed = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct model_key *k = &m->keys[i];
        struct bytes key = model_key_bytes(k);
        if (bytes_cmp(key, q->in.lower) >= 0 &&
            (q->in.upper.len == 0 || bytes_cmp(key, q->in.upper) < 0))
            *ret_removed += vacuum_key(k, q->horizon, q->keep_count);
    }
}
