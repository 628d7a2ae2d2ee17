/* Files' content: shared pages, the writes that were not synced, and what a power cut leaves of
 * them. */
#include "sim/env/sim_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "sim/core/blocks.h"

#include <stdlib.h>

static struct sim_page *page_ref(struct sim_page *p)
{
    if (p)
        p->refs++;
    return p;
}

static void page_unref(struct sim_page *p)
{
    if (p && --p->refs == 0)
        blocks_give(p, sizeof *p);
}

static void page_set(struct sim_page **at, struct sim_page *p)
{
    page_ref(p);
    page_unref(*at);
    *at = p;
}

/* The page as one that may be written: alone, and there. Its content is kept unless `fresh`. */
static struct sim_page *page_own(struct sim_page **at, bool fresh)
{
    struct sim_page *old = *at;
    if (old && old->refs == 1)
        return old;
    struct sim_page *p = blocks_take(sizeof *p);
    ASSERT(p);
    if (old && !fresh)
        memcpy(p->data, old->data, SIM_PAGE);
    else if (!fresh)
        memset(p->data, 0, SIM_PAGE);
    p->refs = 1;
    page_unref(old);
    *at = p;
    return p;
}

bool sim__is_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static size_t pages_for(uint64_t size)
{
    return (size_t)((size + SIM_PAGE - 1) / SIM_PAGE);
}

static void image_reserve(struct sim_image *img, uint64_t size)
{
    ASSERT(size <= SIM_FILE_MAX);
    size_t want = pages_for(size), before = img->cap;
    if (want <= before)
        return;
    img->pages = sim__grow(img->pages, &img->cap, want, sizeof *img->pages);
    memset(img->pages + before, 0, (img->cap - before) * sizeof *img->pages);
}

void sim__image_deinit(struct sim_image *img)
{
    for (size_t i = 0; i < pages_for(img->size); i++)
        page_unref(img->pages[i]);
    free(img->pages);
    *img = (struct sim_image){0};
}

/* Makes pages [from, to) and the size of `img` those of `src`. */
static void image_share(struct sim_image *img, const struct sim_image *src, size_t from, size_t to)
{
    image_reserve(img, src->size);
    for (size_t i = from; i < to && i < pages_for(src->size); i++)
        page_set(&img->pages[i], src->pages[i]);
    img->size = src->size;
}

void sim__image_copy(struct sim_image *to, const struct sim_image *from)
{
    sim__image_truncate(to, 0);
    image_share(to, from, 0, SIZE_MAX);
}

void sim__image_write(struct sim_image *img, uint64_t off, const uint8_t *data, size_t len)
{
    if (len == 0)
        return;
    image_reserve(img, off + len);
    if (off + len > img->size)
        img->size = off + len;
    while (len > 0) {
        size_t in = off % SIM_PAGE;
        size_t n = SIM_PAGE - in < len ? SIM_PAGE - in : len;
        struct sim_page **at = &img->pages[off / SIM_PAGE];
        if (!sim__is_zero(data, n))
            memcpy(page_own(at, n == SIM_PAGE)->data + in, data, n);
        else if (n == SIM_PAGE)
            page_set(at, NULL);
        else if (*at)
            memset(page_own(at, false)->data + in, 0, n);
        off += n;
        data += n;
        len -= n;
    }
}

void sim__image_truncate(struct sim_image *img, uint64_t size)
{
    image_reserve(img, size);
    for (size_t i = pages_for(size); i < pages_for(img->size); i++)
        page_set(&img->pages[i], NULL);
    size_t in = size % SIM_PAGE;
    if (size < img->size && in > 0 && img->pages[size / SIM_PAGE])
        memset(page_own(&img->pages[size / SIM_PAGE], false)->data + in, 0, SIM_PAGE - in);
    img->size = size;
}

size_t sim__image_read(const struct sim_image *img, uint64_t off, uint8_t *out, size_t len)
{
    if (off >= img->size)
        return 0;
    if (len > img->size - off)
        len = (size_t)(img->size - off);
    for (size_t done = 0; done < len;) {
        size_t in = (off + done) % SIM_PAGE;
        size_t n = SIM_PAGE - in < len - done ? SIM_PAGE - in : len - done;
        const struct sim_page *p = img->pages[(off + done) / SIM_PAGE];
        if (p)
            memcpy(out + done, p->data + in, n);
        else
            memset(out + done, 0, n);
        done += n;
    }
    return len;
}

void sim__image_flip(struct sim_image *img, uint64_t off, unsigned bit)
{
    if (off < img->size)
        page_own(&img->pages[off / SIM_PAGE], false)->data[off % SIM_PAGE] ^= (uint8_t)(1u << bit);
}

uint64_t sim__image_hash(const struct sim_image *img, uint64_t seed)
{
    uint64_t h = hash_xxh64(&img->size, sizeof img->size, seed);
    for (uint64_t i = 0; i < pages_for(img->size); i++) {
        const struct sim_page *p = img->pages[i];
        if (p && !sim__is_zero(p->data, SIM_PAGE))
            h = hash_xxh64(p->data, SIM_PAGE, h ^ (i * 0x9e3779b97f4a7c15u));
    }
    return h;
}

/* --- what was not synced --- */

static struct sim_op *op_new(struct sim_op with)
{
    struct sim_op *op = blocks_take(sizeof *op);
    ASSERT(op);
    *op = with;
    return op;
}

static void op_free(struct sim_op *op)
{
    size_t n = op->pages ? pages_for(op->off + op->len) - (size_t)(op->off / SIM_PAGE) : 0;
    for (size_t i = 0; i < n; i++)
        page_unref(op->pages[i]);
    list_remove(&op->link);
    blocks_give(op->pages, n * sizeof *op->pages);
    blocks_give(op->bytes, op->len);
    blocks_give(op, sizeof *op);
}

static struct sim_op *op_of(struct list *it)
{
    return container_of(it, struct sim_op, link);
}

static void ops_clear(struct sim_inode *f)
{
    list_foreach_safe (it, &f->ops)
        op_free(op_of(it));
    f->truncated = false;
    f->dirty_from = SIZE_MAX;
    f->dirty_to = 0;
}

void sim__file_write(struct sim_inode *f, uint64_t off, const uint8_t *data, size_t len)
{
    if (len == 0)
        return;
    sim__image_write(&f->now, off, data, len);
    struct sim_op *op = op_new((struct sim_op){.off = off, .len = len});
    size_t from = (size_t)(off / SIM_PAGE), to = pages_for(off + len);
    if (len < SIM_PAGE) {
        op->bytes = blocks_take(len);
        ASSERT(op->bytes);
        memcpy(op->bytes, data, len);
    } else {
        op->pages = blocks_take((to - from) * sizeof *op->pages);
        ASSERT(op->pages);
        for (size_t i = from; i < to; i++)
            op->pages[i - from] = page_ref(f->now.pages[i]);
    }
    list_push_back(&f->ops, &op->link);
    f->dirty_from = from < f->dirty_from ? from : f->dirty_from;
    f->dirty_to = to > f->dirty_to ? to : f->dirty_to;
    f->flat_valid = false;
}

void sim__file_truncate(struct sim_inode *f, uint64_t size)
{
    sim__image_truncate(&f->now, size);
    struct sim_op *op = op_new((struct sim_op){.truncate = true, .off = size});
    list_push_back(&f->ops, &op->link);
    f->truncated = true;
    f->flat_valid = false;
}

void sim__file_sync(struct sim_inode *f, bool keeps_older)
{
    bool doomed = false;
    list_foreach (it, &f->ops) {
        struct sim_op *op = op_of(it);
        doomed |= op->doomed;
        op->must |= !op->doomed;
    }
    if (doomed)
        return; /* a crash sorts out what the doomed ones leave; until then all stays listed */
    if (keeps_older && f->truncated)
        sim__image_copy(&f->older, &f->durable);
    else if (keeps_older && f->dirty_to > 0)
        image_share(&f->older, &f->durable, f->dirty_from, f->dirty_to);
    if (f->truncated)
        sim__image_copy(&f->durable, &f->now);
    else if (f->dirty_to > 0)
        image_share(&f->durable, &f->now, f->dirty_from, f->dirty_to);
    ops_clear(f);
}

void sim__file_sync_failed(struct sim_inode *f)
{
    list_foreach (it, &f->ops) {
        struct sim_op *op = op_of(it);
        op->doomed |= !op->must;
    }
}

/* Applies bytes [from, to) of the file, which lie in the op's write. */
static void op_apply(struct sim_image *img, const struct sim_op *op, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[SIM_PAGE];
    if (op->bytes) {
        sim__image_write(img, from, op->bytes + (from - op->off), (size_t)(to - from));
        return;
    }
    while (from < to) {
        size_t in = from % SIM_PAGE;
        size_t n = SIM_PAGE - in < to - from ? SIM_PAGE - in : (size_t)(to - from);
        struct sim_page *p = op->pages[from / SIM_PAGE - op->off / SIM_PAGE];
        if (n == SIM_PAGE && p) {
            image_reserve(img, from + n);
            img->size = from + n > img->size ? from + n : img->size;
            page_set(&img->pages[from / SIM_PAGE], p);
        } else {
            sim__image_write(img, from, p ? p->data + in : zeros, n);
        }
        from += n;
    }
}

/* Of a write, each unit survives with `chance` in 256. */
static void op_tear(struct sim_image *img, const struct sim_op *op, struct sim_rng *rng,
                    unsigned chance, uint32_t torn)
{
    uint64_t end = op->off + op->len, run = op->off; /* [run, at) survives and is not applied yet */
    for (uint64_t at = op->off, next; at < end; at = next) {
        next = (at / torn + 1) * torn;
        next = next < end ? next : end;
        if (sim__below(rng, 256) < chance)
            continue;
        if (run < at)
            op_apply(img, op, run, at);
        run = next;
    }
    if (run < end)
        op_apply(img, op, run, end);
}

static void op_survive(struct sim_image *img, const struct sim_op *op, struct sim_rng *rng,
                       unsigned chance, uint32_t torn)
{
    if (op->must)
        chance = 256;
    if (!op->truncate && chance == 256)
        op_apply(img, op, op->off, op->off + op->len);
    else if (!op->truncate)
        op_tear(img, op, rng, chance, torn);
    else if (sim__below(rng, 256) < chance)
        sim__image_truncate(img, op->off);
}

/* Everything, nothing, and a torn prefix are common in real power cuts, so they are common here;
 * the rest of the time each unit of each write has its own luck. */
void sim__file_crash(struct sim_inode *f, struct sim_rng *rng, uint32_t torn_bytes)
{
    static const unsigned chances[] = {256, 0, 32, 128, 224, 128};
    enum { PREFIX = 6, KINDS = 8 }; /* from PREFIX on: whole ops up to one that is torn */
    if (list_empty(&f->ops))
        return;
    uint64_t count = 0, i = 0;
    list_foreach (it, &f->ops)
        count++;
    uint64_t kind = sim__below(rng, KINDS), cut = sim__below(rng, count + 1);
    list_foreach (it, &f->ops) {
        unsigned chance = kind < PREFIX ? chances[kind] : i < cut ? 256 : i == cut ? 128 : 0;
        op_survive(&f->durable, op_of(it), rng, chance, torn_bytes);
        i++;
    }
    ops_clear(f);
    sim__image_copy(&f->now, &f->durable);
    f->flat_valid = false;
}

void sim__file_surely(const struct sim_inode *f, struct sim_image *ret)
{
    sim__image_copy(ret, &f->durable);
    list_foreach (it, &f->ops) {
        const struct sim_op *op = op_of(it);
        if (op->must && op->truncate)
            sim__image_truncate(ret, op->off);
        else if (op->must)
            op_apply(ret, op, op->off, op->off + op->len);
    }
}

void sim__file_flip(struct sim_inode *f, uint64_t off, unsigned bit)
{
    sim__image_flip(&f->now, off, bit);
    sim__image_flip(&f->durable, off, bit);
    list_foreach (it, &f->ops) {
        struct sim_op *op = op_of(it);
        if (op->truncate || off < op->off || off - op->off >= op->len)
            continue;
        if (op->bytes)
            op->bytes[off - op->off] ^= (uint8_t)(1u << bit);
        else
            page_own(&op->pages[off / SIM_PAGE - op->off / SIM_PAGE], false)
                ->data[off % SIM_PAGE] ^= (uint8_t)(1u << bit);
    }
    f->flat_valid = false;
}

uint64_t sim__file_hash(const struct sim_inode *f, uint64_t seed)
{
    uint64_t h = sim__image_hash(&f->durable, seed);
    list_foreach (it, &f->ops) {
        const struct sim_op *op = op_of(it);
        if (!op->must)
            continue;
        struct sim_image alone = {0};
        if (!op->truncate)
            op_apply(&alone, op, op->off, op->off + op->len);
        h = sim__image_hash(&alone, h ^ op->off);
        sim__image_deinit(&alone);
    }
    return h;
}

void sim__file_deinit(struct sim_inode *f)
{
    ops_clear(f);
    sim__image_deinit(&f->now);
    sim__image_deinit(&f->durable);
    sim__image_deinit(&f->older);
    free(f->flat);
}
