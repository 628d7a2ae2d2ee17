/* check_linear.c - is each key a linearizable register?
 *
 * Versions decide first, because that is a sort; the search is the judge where they do not, and
 * wherever they say "wrong". With search_always it judges every key.
 */
#include "sim/check/check_internal.h"

static const char NAME[] = "linear";

struct verdicts {
    enum check_verdict versions, search;
    bool searched;
};

static enum status tell(struct check_report *r, const struct history *h, uint32_t key,
                        struct check_reason *why, const char *note)
{
    if (!check__found(r, NAME, why->anomaly))
        return ST_OK;
    struct buf story = BUF_INIT;
    enum status st = buf_printf(&story, "  Key %s: %s%s\n", check__text(history_key(h, key)).s,
                                why->words, note);
    if (st == ST_OK && why->held == CHECK_ABSENT)
        st = buf_printf(&story, "  It then holds nothing.\n");
    else if (st == ST_OK && why->held != CHECK_ANY_VALUE)
        st =
            buf_printf(&story, "  It then holds %s.\n", check__text(history_value(h, why->held)).s);
    if (st == ST_OK)
        st = check__tell_ops(&story, h, why->ops, why->n);
    st = check__told(r, NAME, why->anomaly, &story, st);
    buf_deinit(&story);
    return st;
}

static enum status conclude(struct check_report *r, const struct history *h, uint32_t key,
                            const struct verdicts *v, struct check_reason *versions,
                            struct check_reason *search)
{
    bool decided = v->searched && v->search != CHECK_OPEN;
    if (decided && v->versions != CHECK_OPEN && v->versions != v->search) {
        struct check_reason *why = v->versions == CHECK_WRONG ? versions : search;
        why->anomaly = "checkers disagree";
        return tell(r, h, key, why,
                    v->search == CHECK_WRONG ? " (Only the search finds this.)"
                                             : " (The search finds an order.)");
    }
    if (v->versions == CHECK_WRONG)
        return tell(r, h, key, versions, decided ? "" : " (The search gave up; versions show it.)");
    if (decided && v->search == CHECK_WRONG)
        return tell(r, h, key, search, "");
    if (v->versions == CHECK_OPEN && !decided)
        check__gave_up(r);
    return ST_OK;
}

static enum status check_key(const struct history *h, const struct check_registers *all,
                             const struct check_register *g, const struct check_options *o,
                             struct check_report *r)
{
    struct check_reason versions = {0}, search = {0};
    struct verdicts v = {0};
    uint64_t steps = o->search_steps ? o->search_steps : CHECK_SEARCH_STEPS;
    enum status st = check__by_versions(all, g, &v.versions, &versions);
    if (st == ST_OK && (o->search_always || v.versions != CHECK_RIGHT)) {
        v.searched = true;
        st = check__by_search(g, steps, &v.search, &search);
    }
    return st == ST_OK ? conclude(r, h, g->key, &v, &versions, &search) : st;
}

enum status check_linear(const struct history *h, const struct check_options *o,
                         struct check_report *r)
{
    struct check_registers all;
    enum status st = check__registers(h, &all);
    if (st != ST_OK)
        return st;
    for (size_t k = 0; k < all.n && st == ST_OK; k++)
        if (all.of[k].n)
            st = check_key(h, &all, &all.of[k], o, r);
    check__registers_deinit(&all);
    return st;
}
