#include "unit/table/model_table.h"

#include "base/assert.h"
#include <stdlib.h>

static void *grown(void *p, size_t n, size_t size)
{
    p = realloc(p, (n + 1) * size);
    ASSERT(p);
    return p;
}

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < m->n_keys; i++)
        free(m->keys[i].puts);
    for (size_t i = 0; i < m->n_puts; i++)
        free(m->puts[i]);
    free(m->keys);
    free(m->puts);
    *m = (struct model){0};
}

struct bytes model_key_bytes(const struct model *m, size_t i)
{
    const struct model_put *p = m->keys[i].puts[0];
    return BYTES(p->key, p->key_len);
}

size_t model_lower(const struct model *m, struct bytes key)
{
    size_t i = 0;
    while (i < m->n_keys && bytes_cmp(model_key_bytes(m, i), key) < 0)
        i++;
    return i;
}

void model_put(struct model *m, struct bytes key, const struct record *rec)
{
    struct model_put *p = calloc(1, sizeof(*p));
    ASSERT(p && key.len <= sizeof(p->key) && rec->value.len <= sizeof(p->value));
    ASSERT(rec->writer.len <= sizeof(p->writer));
    memcpy(p->key, key.data, p->key_len = key.len);
    memcpy(p->value, rec->value.data, p->value_len = rec->value.len);
    memcpy(p->writer, rec->writer.data, p->writer_len = rec->writer.len);
    p->rec = *rec;
    p->rec.value = BYTES(p->value, p->value_len);
    p->rec.writer = BYTES(p->writer, p->writer_len);
    p->rec.parent = VERSION_NONE;

    size_t i = model_lower(m, key);
    if (i == m->n_keys || !bytes_eq(model_key_bytes(m, i), key)) {
        m->keys = grown(m->keys, m->n_keys, sizeof(*m->keys));
        memmove(&m->keys[i + 1], &m->keys[i], (m->n_keys - i) * sizeof(*m->keys));
        m->keys[i] = (struct model_key){0};
        m->n_keys++;
    }
    struct model_key *k = &m->keys[i];
    if (k->n)
        p->rec.parent = k->puts[k->n - 1]->rec.version;
    k->puts = grown(k->puts, k->n, sizeof(struct model_put *));
    k->puts[k->n++] = p;
    m->puts = grown(m->puts, m->n_puts, sizeof(struct model_put *));
    m->puts[m->n_puts++] = p;
}

long model_find(const struct model *m, size_t i, struct version at)
{
    long best = -1;
    for (size_t j = 0; j < m->keys[i].n; j++)
        if (version_cmp(m->keys[i].puts[j]->rec.version, at) <= 0)
            best = (long)j;
    return best;
}
