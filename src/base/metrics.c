/* metrics.c - families in registration order, each with its metrics (one per set of labels).
 *
 * Source of the text format: Prometheus, "Exposition formats", version 0.0.4.
 */
#include "base/metrics.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/list.h"
#include <stdio.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
/* Histograms are printed with one bucket per power of two up to this one; what lies above is in
 * +Inf. The set never changes, because Prometheus cannot compute rates over buckets that come and
 * go. 2^40 ns = 18 min; 2^40 B = 1 TiB. */
enum { HISTOGRAM_PRINTED_OCTAVES = 40, SECONDS_FIRST_OCTAVE = 10 /* 1 us */ };

struct family {
    struct list node; /* metrics.families */
    struct list members;
    enum metric_type type;
    char *name, *help;
};

struct metric {
    struct list node; /* family.members */
    char *labels;     /* "" when there are none */
    union {
        struct counter counter;
        struct gauge gauge;
        struct histogram histogram;
    } u;
};

struct metrics {
    struct list families;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_alloc(sizeof *m);
    if (m)
        list_init(&m->families);
    return m;
}

static void metric_free(struct metric *x)
{
    if (!x)
        return;
    mem_free(x->labels);
    mem_free(x);
}

static void family_free(struct family *f)
{
    if (!f)
        return;
    list_foreach_safe (it, &f->members)
        metric_free(container_of(it, struct metric, node));
    mem_free(f->name);
    mem_free(f->help);
    mem_free(f);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    list_foreach_safe (it, &m->families)
        family_free(container_of(it, struct family, node));
    mem_free(m);
}

static bool is_name_char(char c, bool first, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':') ||
           (!first && c >= '0' && c <= '9');
}

static bool name_valid(const char *name)
{
    if (!name || !*name)
        return false;
    for (const char *p = name; *p; p++)
        if (!is_name_char(*p, p == name, true))
            return false;
    return true;
}

/* Steps over one name="value"; NULL when it is not one. `le` belongs to histograms, a leading "__"
 * to Prometheus. */
static const char *skip_label(const char *p)
{
    const char *name = p;
    while (is_name_char(*p, p == name, false))
        p++;
    size_t len = (size_t)(p - name);
    if (len == 0 || (len == 2 && memcmp(name, "le", 2) == 0) || strncmp(name, "__", 2) == 0)
        return NULL;
    if (p[0] != '=' || p[1] != '"')
        return NULL;
    for (p += 2; *p && *p != '"'; p++) {
        if (*p == '\n')
            return NULL;
        if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
            return NULL;
    }
    return *p == '"' ? p + 1 : NULL;
}

static bool labels_valid(const char *labels)
{
    const char *p = labels;
    while (*p) {
        p = skip_label(p);
        if (!p)
            return false;
        if (*p == ',' && p[1])
            p++;
        else if (*p)
            return false;
    }
    return true;
}

/* A histogram also takes its name with these ends. */
static bool is_series_of(const char *name, const char *histogram)
{
    static const char *const ends[] = {"_bucket", "_sum", "_count"};
    size_t len = strlen(histogram);
    if (strncmp(name, histogram, len) != 0)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (strcmp(name + len, ends[i]) == 0)
            return true;
    return false;
}

static struct family *family_find(struct metrics *m, const char *name)
{
    list_foreach (it, &m->families) {
        struct family *f = container_of(it, struct family, node);
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static bool name_collides(struct metrics *m, const char *name, enum metric_type type)
{
    list_foreach (it, &m->families) {
        struct family *f = container_of(it, struct family, node);
        if ((f->type == METRIC_HISTOGRAM && is_series_of(name, f->name)) ||
            (type == METRIC_HISTOGRAM && is_series_of(f->name, name)))
            return true;
    }
    return false;
}

static struct family *family_new(const char *name, enum metric_type type, const char *help)
{
    struct family *f = mem_zalloc(sizeof *f);
    if (!f)
        return NULL;
    list_init(&f->node);
    list_init(&f->members);
    f->type = type;
    f->name = mem_strdup(name);
    f->help = mem_strdup(help ? help : "");
    if (f->name && f->help)
        return f;
    family_free(f);
    return NULL;
}

static bool family_has(const struct family *f, const char *labels)
{
    list_foreach (it, &f->members)
        if (strcmp(container_of(it, struct metric, node)->labels, labels) == 0)
            return true;
    return false;
}

static struct metric *metric_new(const char *labels)
{
    struct metric *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    list_init(&x->node);
    x->labels = mem_strdup(labels);
    if (x->labels)
        return x;
    metric_free(x);
    return NULL;
}

static struct metric *add(struct metrics *m, const char *name, const char *labels, const char *help,
                          enum metric_type type)
{
    if (!labels)
        labels = "";
    if (!name_valid(name) || !labels_valid(labels))
        return NULL;
    struct family *f = family_find(m, name);
    if (f ? f->type != type || family_has(f, labels) : name_collides(m, name, type))
        return NULL;
    struct metric *x = metric_new(labels);
    if (!x)
        return NULL;
    if (!f) {
        f = family_new(name, type, help);
        if (!f) {
            metric_free(x);
            return NULL;
        }
        list_push_back(&m->families, &f->node);
    }
    list_push_back(&f->members, &x->node);
    return x;
}

struct counter *metrics_counter(struct metrics *m, const char *name, const char *labels,
                                const char *help)
{
    struct metric *x = add(m, name, labels, help, METRIC_COUNTER);
    return x ? &x->u.counter : NULL;
}

struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *labels,
                            const char *help)
{
    struct metric *x = add(m, name, labels, help, METRIC_GAUGE);
    return x ? &x->u.gauge : NULL;
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                    const char *help)
{
    struct metric *x = add(m, name, labels, help, METRIC_HISTOGRAM);
    return x ? &x->u.histogram : NULL;
}

/* Values below 4 have a bucket each; above, bucket 4 * (e - 1) + s holds the s-th quarter of [2^e,
 * 2^(e+1)). */
static size_t bucket_of(uint64_t value)
{
    if (value < 4)
        return (size_t)value;
    unsigned e = 63 - (unsigned)__builtin_clzll(value);
    return 4 * (size_t)(e - 1) + (size_t)(value >> (e - 2) & 3);
}

/* The largest value of a bucket. For the last one the shift wraps to 0, and 0 - 1 is the largest of
 * all. */
static uint64_t bucket_top(size_t i)
{
    if (i < 4)
        return i;
    size_t e = i / 4 + 1;
    return ((uint64_t)(5 + i % 4) << (e - 2)) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    size_t i = bucket_of(value);
    DASSERT(i < HISTOGRAM_BUCKETS);
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
}

/* Copies the buckets and returns their total. Adders do not wait, so `count` may differ from it for
 * a moment. */
static uint64_t buckets_read(const struct histogram *h, uint64_t out[HISTOGRAM_BUCKETS])
{
    uint64_t total = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        out[i] = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        total += out[i];
    }
    return total;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t bucket[HISTOGRAM_BUCKETS], seen = 0;
    uint64_t total = buckets_read(h, bucket);
    if (total == 0)
        return 0;
    double clamped = q >= 1 ? 1 : q > 0 ? q : 0;
    double wanted = clamped * (double)total;
    size_t last = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (bucket[i] == 0)
            continue;
        seen += bucket[i];
        last = i;
        if ((double)seen >= wanted)
            break;
    }
    return bucket_top(last);
}

static enum status print_help(const struct family *f, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    enum status st = buf_printf(out, "# HELP %s ", f->name);
    for (const char *p = f->help; *p && st == ST_OK; p++) {
        if (*p == '\\')
            st = buf_append(out, "\\\\", 2);
        else if (*p == '\n')
            st = buf_append(out, "\\n", 2);
        else
            st = buf_append_u8(out, (uint8_t)*p);
    }
    return st == ST_OK ? buf_printf(out, "\n# TYPE %s %s\n", f->name, types[f->type]) : st;
}

static enum status print_series(const struct family *f, const char *suffix, const char *labels,
                                struct buf *out)
{
    return *labels ? buf_printf(out, "%s%s{%s} ", f->name, suffix, labels)
                   : buf_printf(out, "%s%s ", f->name, suffix);
}

static enum status print_u64(const struct family *f, const char *suffix, const char *labels,
                             uint64_t value, struct buf *out)
{
    enum status st = print_series(f, suffix, labels, out);
    return st == ST_OK ? buf_printf(out, "%llu\n", (unsigned long long)value) : st;
}

static enum status print_bucket(const struct family *f, const struct metric *x, const char *le,
                                uint64_t value, struct buf *out)
{
    return buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", f->name, x->labels,
                      *x->labels ? "," : "", le, (unsigned long long)value);
}

/* Nanoseconds as seconds, exactly: the base unit that Prometheus wants. */
static void seconds_text(uint64_t ns, char out[32])
{
    (void)snprintf(out, 32, "%llu.%09llu", (unsigned long long)(ns / 1000000000),
                   (unsigned long long)(ns % 1000000000));
}

static enum status print_sum(const struct family *f, const struct metric *x, uint64_t sum,
                             bool seconds, struct buf *out)
{
    char text[32];
    if (!seconds)
        return print_u64(f, "_sum", x->labels, sum, out);
    seconds_text(sum, text);
    enum status st = print_series(f, "_sum", x->labels, out);
    return st == ST_OK ? buf_printf(out, "%s\n", text) : st;
}

static bool in_seconds(const struct family *f)
{
    static const char unit[] = "_seconds";
    size_t len = strlen(f->name);
    return len >= sizeof unit && strcmp(f->name + len - (sizeof unit - 1), unit) == 0;
}

static enum status print_histogram(const struct family *f, const struct metric *x, struct buf *out)
{
    uint64_t bucket[HISTOGRAM_BUCKETS], seen = 0;
    const struct histogram *h = &x->u.histogram;
    uint64_t sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    uint64_t total = buckets_read(h, bucket);
    enum status st = ST_OK;
    size_t i = 0;
    bool seconds = in_seconds(f);
    for (unsigned octave = seconds ? SECONDS_FIRST_OCTAVE : 0;
         octave <= HISTOGRAM_PRINTED_OCTAVES && st == ST_OK; octave++) {
        uint64_t top =
            ((uint64_t)1 << octave) - 1; /* values are whole, so "< 2^n" is "<= 2^n - 1" */
        char le[32];
        for (; i < HISTOGRAM_BUCKETS && bucket_top(i) <= top; i++)
            seen += bucket[i];
        if (seconds)
            seconds_text(top, le);
        else
            (void)snprintf(le, sizeof le, "%llu", (unsigned long long)top);
        st = print_bucket(f, x, le, seen, out);
    }
    if (st == ST_OK)
        st = print_bucket(f, x, "+Inf", total, out);
    if (st == ST_OK)
        st = print_sum(f, x, sum, seconds, out);
    return st == ST_OK ? print_u64(f, "_count", x->labels, total, out) : st;
}

static enum status print_gauge(const struct family *f, const struct metric *x, struct buf *out)
{
    int64_t value = atomic_load_explicit(&x->u.gauge.value, memory_order_relaxed);
    enum status st = print_series(f, "", x->labels, out);
    return st == ST_OK ? buf_printf(out, "%lld\n", (long long)value) : st;
}

static enum status print_metric(const struct family *f, const struct metric *x, struct buf *out)
{
    switch (f->type) {
    case METRIC_COUNTER:
        return print_u64(f, "", x->labels,
                         atomic_load_explicit(&x->u.counter.value, memory_order_relaxed), out);
    case METRIC_GAUGE:
        return print_gauge(f, x, out);
    case METRIC_HISTOGRAM:
        return print_histogram(f, x, out);
    }
    return ST_INTERNAL;
}

enum status metrics_print(const struct metrics *m, struct buf *out)
{
    size_t before = out->len;
    enum status st = ST_OK;
    for (const struct list *f_it = m->families.next; f_it != &m->families; f_it = f_it->next) {
        const struct family *f = container_of(f_it, struct family, node);
        st = print_help(f, out);
        if (st != ST_OK)
            goto out;
        list_foreach (it, &f->members) {
            st = print_metric(f, container_of(it, struct metric, node), out);
            if (st != ST_OK)
                goto out;
        }
    }
out:
    if (st != ST_OK)
        out->len = before;
    return st;
}
