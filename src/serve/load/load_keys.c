#include "serve/load/load_keys.h"

#include "base/assert.h"

const char *load_choice_name(enum load_choice c)
{
    static const char *const names[LOAD_CHOICES] = {"uniform", "zipf", "latest", "sequence"};
    return names[c];
}

/* The finisher of splitmix64: each number goes to another. */
static uint64_t scatter(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void load_keys_init(struct load_keys *k, enum load_choice choice, uint64_t n, double theta,
                    uint64_t seed)
{
    ASSERT(n > 0);
    *k = (struct load_keys){.choice = choice, .n = n, .state = seed};
    if (choice == LOAD_ZIPF || choice == LOAD_LATEST)
        zipf_init(&k->zipf, n, theta, seed);
}

uint64_t load_keys_random(struct load_keys *k, uint64_t below)
{
    k->state += 0x9e3779b97f4a7c15u;
    return (uint64_t)(((unsigned __int128)scatter(k->state) * below) >> 64);
}

uint64_t load_keys_next(struct load_keys *k)
{
    if (k->choice == LOAD_UNIFORM)
        return load_keys_random(k, k->n);
    if (k->choice == LOAD_SEQUENCE)
        return k->turn++ % k->n;
    if (k->choice == LOAD_ZIPF)
        return zipf_next(&k->zipf);
    return k->n - 1 - zipf_rank(&k->zipf);
}

void load_key_text(uint64_t number, uint8_t out[LOAD_KEY])
{
    uint64_t z = scatter(number + 0x9e3779b97f4a7c15u);
    for (int i = 0; i < LOAD_KEY; i++, z <<= 4)
        out[i] = (uint8_t) "0123456789abcdef"[z >> 60];
}

void load_values_init(struct load_values *v, uint8_t *pool, size_t pool_bytes, size_t value_bytes)
{
    ASSERT(value_bytes >= LOAD_VALUE_MIN && pool_bytes >= 2 * value_bytes);
    static const char words[] = "nothing is overwritten, the newest lies on top; ";
    for (size_t i = 0; i < pool_bytes; i++) {
        bool random = (i / 16) % 2 == 0; /* in turn, so that each cut has half of both */
        uint64_t drawn = scatter(i / 8 + 1) >> (8 * (i % 8));
        pool[i] = (uint8_t)(random ? drawn & 0xff : (unsigned char)words[i % (sizeof words - 1)]);
    }
    *v = (struct load_values){.pool = pool, .pool_bytes = pool_bytes, .value_bytes = value_bytes};
}

static void number_out(uint64_t number, uint8_t out[LOAD_VALUE_MIN])
{
    for (int i = 0; i < LOAD_VALUE_MIN; i++)
        out[i] = (uint8_t)(number >> (8 * i));
}

void load_value_make(const struct load_values *v, uint64_t number, uint64_t turn,
                     struct load_value *ret)
{
    size_t room = v->pool_bytes - v->value_bytes + 1;
    number_out(number, ret->head);
    ret->body =
        BYTES(v->pool + scatter(number ^ (turn << 40)) % room, v->value_bytes - LOAD_VALUE_MIN);
}

bool load_value_is_of(struct bytes value, uint64_t number)
{
    uint8_t head[LOAD_VALUE_MIN];
    number_out(number, head);
    return value.len >= LOAD_VALUE_MIN && memcmp(value.data, head, LOAD_VALUE_MIN) == 0;
}
