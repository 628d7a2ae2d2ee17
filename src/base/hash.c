/* hash.c - CRC32C in three ways, and XXH64 from the library.
 *
 * The crc instruction has a latency of 3 cycles and a throughput of 1, so long inputs are cut into
 * three equal blocks that run side by side; the three remainders are then joined by shifting one
 * over as many zero bytes as the next block is long (a linear map over GF(2), kept as four tables
 * of 256). Source of the idea: V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using
 * CRC32 Instruction" (Intel 2011).
 */
#include "base/hash.h"

#include "base/le.h"

#include <pthread.h>
#include <stdatomic.h>
#define XXH_INLINE_ALL /* keys are short: a call costs as much as their hash */
#include <xxhash.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC_HW            1
#define CRC_TARGET        __attribute__((target("sse4.2")))
#define crc_step8(crc, v) ((uint32_t)_mm_crc32_u64((crc), (v)))
#define crc_step4(crc, v) _mm_crc32_u32((crc), (v))
#define crc_step1(crc, v) _mm_crc32_u8((crc), (v))
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC_HW 1
#define CRC_TARGET
#define crc_step8(crc, v) __crc32cd((crc), (v))
#define crc_step4(crc, v) __crc32cw((crc), (v))
#define crc_step1(crc, v) __crc32cb((crc), (v))
#endif

typedef uint32_t (*crc_fn)(uint32_t crc, const uint8_t *p, size_t len);
typedef uint32_t (*words_fn)(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                             uint64_t e);

static const uint32_t polynomial = 0x82f63b78; /* Castagnoli, bits reflected */
static uint32_t slice[8][256];                 /* slice[k][b]: byte b followed by k zero bytes */
static pthread_once_t slice_once = PTHREAD_ONCE_INIT;

static void slice_init(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
        slice[0][b] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            slice[k][b] = slice[k - 1][b] >> 8 ^ slice[0][slice[k - 1][b] & 0xff];
}

/* All the functions of type crc_fn and words_fn take and give the inner state, that is the complement of the
 * CRC. */
static uint32_t crc_slices(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = get_le64(p) ^ crc;
        crc = 0;
        for (int k = 0; k < 8; k++)
            crc ^= slice[7 - k][v >> (8 * k) & 0xff];
    }
    for (; len; p++, len--)
        crc = crc >> 8 ^ slice[0][(crc ^ *p) & 0xff];
    return crc;
}

static uint32_t words_slices(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                             uint64_t e)
{
    uint64_t w[5] = {le64(a), le64(b), le64(c), le64(d), le64(e)};
    return crc_slices(crc, (const uint8_t *)w, sizeof w);
}

#ifdef CRC_HW
enum { BLOCK_SHORT = 256, BLOCK_LONG = 4096 };
struct shift {
    uint32_t table[4][256];
};
static struct shift shift_short, shift_long;

static inline uint32_t shift_apply(const struct shift *s, uint32_t crc)
{
    return s->table[0][crc & 0xff] ^ s->table[1][crc >> 8 & 0xff] ^ s->table[2][crc >> 16 & 0xff] ^
           s->table[3][crc >> 24];
}

/* Fills the tables from what the map does to each of the 32 bits. */
static void shift_fill(struct shift *s, const uint32_t image[32])
{
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t v = 0; v < 256; v++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                sum ^= v >> bit & 1 ? image[8 * byte + bit] : 0;
            s->table[byte][v] = sum;
        }
}

static void shifts_init(void)
{
    static const uint8_t zeros[BLOCK_SHORT];
    uint32_t image[32];
    for (int bit = 0; bit < 32; bit++)
        image[bit] = crc_slices((uint32_t)1 << bit, zeros, sizeof zeros);
    shift_fill(&shift_short, image);
    for (int bit = 0; bit < 32; bit++) {
        image[bit] = (uint32_t)1 << bit;
        for (int i = 0; i < BLOCK_LONG / BLOCK_SHORT; i++)
            image[bit] = shift_apply(&shift_short, image[bit]);
    }
    shift_fill(&shift_long, image);
}

CRC_TARGET static inline uint32_t crc_three(uint32_t crc, const uint8_t *p, size_t block,
                                            const struct shift *shift)
{
    uint32_t second = 0, third = 0;
    for (size_t i = 0; i < block; i += 8) {
        crc = crc_step8(crc, get_le64(p + i));
        second = crc_step8(second, get_le64(p + block + i));
        third = crc_step8(third, get_le64(p + 2 * block + i));
    }
    crc = shift_apply(shift, crc) ^ second;
    return shift_apply(shift, crc) ^ third;
}

/* Apart, so that short inputs do not pay for the registers that it saves. */
CRC_TARGET __attribute__((noinline)) static uint32_t crc_blocks(uint32_t crc, const uint8_t *p,
                                                                size_t len)
{
    for (; len >= 3 * BLOCK_LONG; p += 3 * BLOCK_LONG, len -= 3 * BLOCK_LONG)
        crc = crc_three(crc, p, BLOCK_LONG, &shift_long);
    for (; len >= 3 * BLOCK_SHORT; p += 3 * BLOCK_SHORT, len -= 3 * BLOCK_SHORT)
        crc = crc_three(crc, p, BLOCK_SHORT, &shift_short);
    return crc;
}

CRC_TARGET static uint32_t crc_hw(uint32_t crc, const uint8_t *p, size_t len)
{
    if (len >= 3 * BLOCK_SHORT) {
        size_t rest = len % (3 * BLOCK_LONG) % (3 * BLOCK_SHORT);
        crc = crc_blocks(crc, p, len - rest);
        p += len - rest;
        len = rest;
    }
    for (; len >= 8; p += 8, len -= 8)
        crc = crc_step8(crc, get_le64(p));
    if (len >= 4) {
        crc = crc_step4(crc, get_le32(p));
        p += 4;
        len -= 4;
    }
    for (; len; p++, len--)
        crc = crc_step1(crc, *p);
    return crc;
}

CRC_TARGET static uint32_t words_hw(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                    uint64_t e)
{
    crc = crc_step8(crc, a);
    crc = crc_step8(crc, b);
    crc = crc_step8(crc, c);
    crc = crc_step8(crc, d);
    return crc_step8(crc, e);
}

static bool cpu_has_crc(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("sse4.2");
#else
    return true;
#endif
}
#endif

static uint32_t crc_choose(uint32_t crc, const uint8_t *p, size_t len);
static uint32_t words_choose(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                             uint64_t e);
static _Atomic(crc_fn) crc_chosen = crc_choose;
static _Atomic(words_fn) words_chosen = words_choose;
static pthread_once_t choose_once = PTHREAD_ONCE_INIT;

static void choose(void)
{
    crc_fn fn = crc_slices;
    words_fn words = words_slices;
    (void)pthread_once(&slice_once, slice_init);
#ifdef CRC_HW
    if (cpu_has_crc()) {
        shifts_init();
        fn = crc_hw;
        words = words_hw;
    }
#endif
    /* Release: whoever sees the function sees its tables. */
    atomic_store_explicit(&crc_chosen, fn, memory_order_release);
    atomic_store_explicit(&words_chosen, words, memory_order_release);
}

static uint32_t crc_choose(uint32_t crc, const uint8_t *p, size_t len)
{
    (void)pthread_once(&choose_once, choose);
    return atomic_load_explicit(&crc_chosen, memory_order_acquire)(crc, p, len);
}

static uint32_t words_choose(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                             uint64_t e)
{
    (void)pthread_once(&choose_once, choose);
    return atomic_load_explicit(&words_chosen, memory_order_acquire)(crc, a, b, c, d, e);
}

uint32_t crc32c_words(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    return ~atomic_load_explicit(&words_chosen, memory_order_acquire)(~crc, a, b, c, d, e);
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~atomic_load_explicit(&crc_chosen, memory_order_acquire)(~crc, data, len);
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    (void)pthread_once(&slice_once, slice_init);
    return ~crc_slices(~crc, data, len);
}

uint64_t hash_xxh64(const void *data, size_t len, uint64_t seed)
{
    return XXH64(data, len, seed);
}
