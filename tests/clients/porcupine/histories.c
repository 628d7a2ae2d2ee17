/* histories FOLDER COUNT: writes COUNT generated histories of registers into FOLDER, as NDJSON, and
 * prints for each its file and what check_linear makes of it: right, wrong or undecided.
 *
 * Every third is right, the others have a violation planted where a moment for it comes; every
 * fourth has values that do not tell their writers, so that versions alone seldom decide. */
#include "sim/check/check.h"
#include "unit/sim_check/gen.h"

#include <stdio.h>
#include <stdlib.h>

/* Those that a single key shows. */
static const enum gen_plant PLANTS[] = {
    GEN_RIGHT, GEN_STALE_READ, GEN_VANISHED,    GEN_RIGHT,       GEN_LOST_WRITE, GEN_WRITE_TWICE,
    GEN_RIGHT, GEN_REORDERED,  GEN_DIRTY_WRITE, GEN_LOST_UPDATE, GEN_STALE_READ};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "histories: %s\n", what);
    exit(2);
}

static const char *verdict(const struct history *h)
{
    struct check_report *r = check_report_new();
    struct check_options o = {.search_always = true};
    must(r && check_linear(h, &o, r) == ST_OK, "no memory");
    const char *s = check_violations(r) ? "wrong" : check_undecided(r) ? "undecided" : "right";
    check_report_free(r);
    return s;
}

static void write_file(const char *name, const struct history *h)
{
    struct buf text = BUF_INIT;
    must(history_write_ndjson(h, &text) == ST_OK, "no memory");
    FILE *f = fopen(name, "w");
    must(f && fwrite(text.data, 1, text.len, f) == text.len && fclose(f) == 0, name);
    buf_deinit(&text);
}

int main(int argc, char **argv)
{
    must(argc == 3, "usage: histories FOLDER COUNT");
    unsigned long count = strtoul(argv[2], NULL, 10);
    for (unsigned long i = 0; i < count; i++) {
        char name[4096];
        struct history *h = history_new();
        struct gen_options o = {.seed = i + 1,
                                .ops = 20 + (uint32_t)(i % 7) * 20,
                                .clients = 2 + (uint32_t)(i % 6),
                                .keys = 2 + (uint32_t)(i % 4),
                                .plant = PLANTS[i % (sizeof PLANTS / sizeof *PLANTS)],
                                .lost_percent = (uint32_t)(i % 5),
                                .common_values = i % 4 == 3,
                                .registers_only = true};
        must(h != NULL, "no memory");
        (void)gen_history(&o, h);
        snprintf(name, sizeof name, "%s/%lu.ndjson", argv[1], i);
        write_file(name, h);
        printf("%s %s\n", name, verdict(h));
        history_free(h);
    }
    return 0;
}
