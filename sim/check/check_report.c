/* check_report.c - findings, counted by checker and anomaly, and told a few times each. */
#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

/* There are fewer names of anomalies than this; see the README's table. */
enum { TALLIES_MAX = 128 };

struct tally {
    const char *checker, *anomaly;
    uint64_t counted;
    unsigned told;
};

struct check_report {
    struct arena arena;
    struct tally tallies[TALLIES_MAX];
    size_t tallies_n;
    struct check_finding findings[TALLIES_MAX * CHECK_STORIES_MAX];
    size_t n;
    uint64_t violations, undecided;
};

struct check_report *check_report_new(void)
{
    struct check_report *r = mem_zalloc(sizeof *r);
    if (r)
        arena_init(&r->arena, 0);
    return r;
}

void check_report_free(struct check_report *r)
{
    if (!r)
        return;
    arena_deinit(&r->arena);
    mem_free(r);
}

static struct tally *tally_of(struct check_report *r, const char *checker, const char *anomaly)
{
    for (size_t i = 0; i < r->tallies_n; i++) {
        struct tally *t = &r->tallies[i];
        if (!strcmp(t->checker, checker) && !strcmp(t->anomaly, anomaly))
            return t;
    }
    ASSERT(r->tallies_n < TALLIES_MAX);
    r->tallies[r->tallies_n] = (struct tally){.checker = checker, .anomaly = anomaly};
    return &r->tallies[r->tallies_n++];
}

bool check__found(struct check_report *r, const char *checker, const char *anomaly)
{
    struct tally *t = tally_of(r, checker, anomaly);
    t->counted++;
    r->violations++;
    return t->told < CHECK_STORIES_MAX;
}

enum status check__told(struct check_report *r, const char *checker, const char *anomaly,
                        struct buf *story, enum status st)
{
    struct tally *t = tally_of(r, checker, anomaly);
    const char *text = st == ST_OK ? buf_cstr(story) : NULL;
    char *copy = text ? arena_strdup(&r->arena, text) : NULL;
    if (st == ST_OK && !copy)
        st = ST_NO_MEMORY;
    if (st != ST_OK)
        return st;
    ASSERT(t->told < CHECK_STORIES_MAX);
    t->told++;
    r->findings[r->n++] = (struct check_finding){checker, anomaly, copy};
    return ST_OK;
}

void check__gave_up(struct check_report *r)
{
    r->undecided++;
}

const struct check_finding *check_findings(const struct check_report *r, size_t *ret_n)
{
    *ret_n = r->n;
    return r->findings;
}

uint64_t check_violations(const struct check_report *r)
{
    return r->violations;
}

uint64_t check_undecided(const struct check_report *r)
{
    return r->undecided;
}

enum status check_report_text(const struct check_report *r, struct buf *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct check_finding *f = &r->findings[i];
        enum status st = buf_printf(out, "%s: %s\n%s", f->checker, f->anomaly, f->story);
        if (st != ST_OK)
            return st;
    }
    for (size_t i = 0; i < r->tallies_n; i++) {
        const struct tally *t = &r->tallies[i];
        if (t->counted == t->told)
            continue;
        enum status st = buf_printf(out, "%s: %s: %llu more of these\n", t->checker, t->anomaly,
                                    (unsigned long long)(t->counted - t->told));
        if (st != ST_OK)
            return st;
    }
    if (r->undecided == 0)
        return ST_OK;
    return buf_printf(out, "%llu keys could not be decided within the bounds of the search\n",
                      (unsigned long long)r->undecided);
}
