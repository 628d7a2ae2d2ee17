/* load_draw.c - what is asked next. */
#include "serve/load/load_internal.h"

#include "base/assert.h"

/* A get of the newest keys must not ask for one whose insert is still under way: inserts wait when
 * too many lie above the lowest one that is not answered. */
bool load__may_draw(const struct load_run *r)
{
    if (r->s->fill)
        return r->next_new < r->new_end;
    return r->next_new - r->known < UNKNOWN_MAX || r->s->mix->percent[LOAD_INSERT] == 0;
}

void load__insert_answered(struct load_run *r, uint64_t number)
{
    if (number < r->known)
        return;
    r->answered[number % UNKNOWN_MAX] = 1;
    while (r->answered[r->known % UNKNOWN_MAX]) {
        r->answered[r->known % UNKNOWN_MAX] = 0;
        r->known++;
    }
    if (r->keys.choice == LOAD_LATEST)
        r->keys.n = r->known;
}

static enum load_kind draw_kind(struct load_run *r)
{
    const uint8_t *percent = r->s->mix->percent;
    for (int k = 0; k < LOAD_KINDS; k++)
        if (percent[k] == 100)
            return (enum load_kind)k;
    uint64_t left = load_keys_random(&r->keys, 100);
    int k = 0;
    while (left >= percent[k])
        left -= percent[k++];
    ASSERT(k < LOAD_KINDS);
    return (enum load_kind)k;
}

void load__draw(struct load_run *r, struct load_op *op, uint64_t due_ns)
{
    const struct load_settings *s = r->s;
    *op = (struct load_op){.kind = draw_kind(r), .turn = ++r->drawn, .rows = 1, .start_ns = due_ns};
    op->measured = due_ns >= r->begin_ns;
    r->measured_drawn += op->measured;
    if (op->kind == LOAD_INSERT) {
        op->key = r->next_new++;
    } else if (op->kind == LOAD_BATCH) {
        op->key = r->next_new;
        uint64_t left = r->new_end - r->next_new;
        op->rows = s->batch < left ? s->batch : (uint32_t)left;
        r->next_new += op->rows;
    } else {
        op->key = load_keys_next(&r->keys);
        if (op->kind == LOAD_SCAN)
            op->rows = s->scan_rows ? s->scan_rows : (uint32_t)load_keys_random(&r->keys, 100) + 1;
    }
}
