/* Disk used by the history of documents: D documents of 2 KiB with V versions each, 20 bytes
 * changed from one to the next, after compaction, the log apart, against the sum of all versions.
 * Usage: bench_disk [documents] [versions] */
#include "bench/bench_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 2048, CHANGED = 20 };

static void must(varve_status st, const char *what)
{
    if (st != VARVE_OK)
        bench_die("%s: %s: %s", what, varve_status_name(st), varve_last_error());
}

static void randomize(uint8_t *p, size_t n, uint64_t *state)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)letters[bench_rnd(state) & 63];
}

/* {"body": "..."} of SIZE bytes, as BSON. */
static void frame(uint8_t *doc)
{
    memset(doc, 0, SIZE);
    uint32_t total = SIZE, text = SIZE - 4 - 1 - 5 - 4 - 1;
    memcpy(doc, &total, 4);
    memcpy(doc + 4,
           "\x02"
           "body",
           6);
    memcpy(doc + 10, &text, 4);
}

int main(int argc, char **argv)
{
    uint64_t docs = bench_arg(argc, argv, 1, 1000), versions = bench_arg(argc, argv, 2, 1000),
             state = 42, sum = 0;
    bench_machine("bench_disk: history of 2 KiB documents, 20 bytes changed each time");
    char *dir = bench_scratch("disk");
    varve_options o = {.size = sizeof(o), .sync = VARVE_SYNC_OFF};
    varve *db;
    must(varve_open(dir, &o, &db), "open");
    uint8_t *all = malloc(docs * SIZE);
    varve_batch *b = varve_batch_new();
    if (!all || !b)
        bench_die("no memory");
    for (uint64_t d = 0; d < docs; d++) {
        frame(all + d * SIZE);
        randomize(all + d * SIZE + 14, SIZE - 16, &state);
    }
    uint64_t t0 = bench_ns();
    for (uint64_t v = 0; v < versions; v++) {
        for (uint64_t d = 0; d < docs;) {
            varve_batch_clear(b);
            for (int i = 0; i < 1000 && d < docs; i++, d++) {
                char key[32];
                uint8_t *doc = all + d * SIZE;
                if (v > 0)
                    randomize(doc + 14 + bench_rnd(&state) % (SIZE - 16 - CHANGED), CHANGED,
                              &state);
                int n = snprintf(key, sizeof(key), "doc%08lu", (unsigned long)d);
                must(varve_batch_put(b, "docs", key, (size_t)n, VARVE_DOC, doc, SIZE, 0), "batch");
                sum = bench_mix(sum, doc[100]);
            }
            must(varve_commit(db, b, NULL, NULL, NULL), "commit");
        }
    }
    bench_rate("versions written", docs * versions, bench_ns() - t0);
    t0 = bench_ns();
    must(varve_checkpoint(db), "checkpoint");
    must(varve_compact(db), "compact");
    bench_rate("versions compacted", docs * versions, bench_ns() - t0);
    varve_stats st = {.size = sizeof(st)};
    must(varve_get_stats(db, &st), "stats");
    double used = (double)(st.live_bytes + st.past_bytes + st.when_bytes),
           whole = (double)(docs * versions * SIZE);
    printf("versions %.1f MB; live %.1f MB, past %.1f MB, when %.1f MB\n", whole / 1e6,
           (double)st.live_bytes / 1e6, (double)st.past_bytes / 1e6, (double)st.when_bytes / 1e6);
    printf("disk / sum of versions: %.1f %% (goal: at most 10 %%)\n", used / whole * 100);
    bench_checksum(sum);
    must(varve_close(db), "close");
    varve_batch_free(b);
    free(all);
    bench_scratch_remove(dir);
    return 0;
}
