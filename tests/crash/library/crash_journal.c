/* crash_journal.c - see crash_journal.h. */
#include "crash/library/crash_journal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void journal_init(struct journal *j)
{
    *j = (struct journal){0};
}

void journal_deinit(struct journal *j)
{
    for (unsigned i = 0; i < MODEL_STREAMS_MAX; i++)
        free(j->streams[i].steps);
}

static struct journal_stream *reach(struct journal *j, unsigned stream, uint64_t step)
{
    struct journal_stream *s = &j->streams[stream];
    if (stream >= j->stream_count)
        j->stream_count = stream + 1;
    if (step >= s->room) {
        size_t room = (size_t)step * 2 + 64;
        s->steps = realloc(s->steps, room * sizeof(*s->steps));
        if (!s->steps)
            abort();
        memset(s->steps + s->room, 0, (room - s->room) * sizeof(*s->steps));
        s->room = room;
    }
    return s;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool journal_line(struct journal *j, const char *line)
{
    char what = 0;
    unsigned stream = 0, durable = 0;
    uint64_t step = 0, more = 0;
    int n =
        sscanf(line, "%c %u %" SCNu64 " %" SCNu64 " %u", &what, &stream, &step, &more, &durable);
    int want = what == 'a'                                                ? 5
               : what == 'x'                                              ? 4
               : what == 'b' || what == 'k' || what == 'o' || what == 'c' ? 3
                                                                          : 99;
    if (n != want || stream >= MODEL_STREAMS_MAX || step > 10000000 ||
        (what == 'x' && more > 10000000))
        return false;
    if (what == 'o' || what == 'c')
        return true;
    struct journal_stream *s = reach(j, stream, what == 'x' ? more : step);
    if (what == 'b') {
        s->begun = max_of(s->begun, step + 1);
    } else if (what == 'a') {
        s->steps[step].acknowledged = true;
        s->steps[step].hlc = more;
        s->acked = max_of(s->acked, step + 1);
        if (durable)
            s->durable = max_of(s->durable, step + 1);
    } else if (what == 'k') {
        s->known = max_of(s->known, step);
    } else {
        for (uint64_t i = step; i < more; i++)
            s->steps[i].dead = true;
    }
    return true;
}

bool journal_read(struct journal *j, const char *path)
{
    char line[256];
    bool ok = true;
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        return false;
    }
    while (ok && fgets(line, sizeof(line), f)) {
        if (!strchr(line, '\n'))
            break; /* cut short */
        ok = journal_line(j, line);
        if (!ok)
            fprintf(stderr, "%s: what is \"%s\"?\n", path, line);
    }
    fclose(f);
    return ok;
}
