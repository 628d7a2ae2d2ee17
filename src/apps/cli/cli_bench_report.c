/* cli_bench_report.c - what `varve bench` prints: the machine, what was asked, and what came of it. */
#include "apps/cli/cli_bench.h"

#include "apps/cli/cli_out.h"
#include "base/json.h"

#include <sys/utsname.h>
#include <unistd.h>

/* --- the machine --- */

static void processor(char *out, size_t n)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    (void)snprintf(out, n, "an unknown processor");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        (void)snprintf(out, n, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f)
        (void)fclose(f);
}

static enum status machine(struct buf *out)
{
    char cpu[160];
    struct utsname u;
    processor(cpu, sizeof cpu);
    if (uname(&u) != 0)
        memset(&u, 0, sizeof u);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return buf_printf(out, "%s, %ld cores, %.1f GiB, %s %s", cpu, sysconf(_SC_NPROCESSORS_ONLN),
                      (double)pages * (double)page / (1024.0 * 1024 * 1024), u.sysname, u.release);
}

static double per_s(uint64_t n, const struct load_result *r)
{
    return r->elapsed_ns ? (double)n * 1e9 / (double)r->elapsed_ns : 0;
}

/* What a server refuses at once is no rate that it reaches. */
static uint64_t went_well(const struct load_result *r)
{
    return r->done - r->failed;
}

static double cpu_us(const struct bench *b, const struct load_result *r)
{
    if (!b->before.known || !b->after.known || r->done == 0)
        return 0;
    uint64_t us = b->after.user_us + b->after.system_us - b->before.user_us - b->before.system_us;
    return (double)us / (double)r->done;
}

/* --- for people --- */

static const struct {
    const char *name, *json;
    double q;
} quantiles[] = {{"p50", "p50", 0.5},
                 {"p90", "p90", 0.9},
                 {"p99", "p99", 0.99},
                 {"p99.9", "p99_9", 0.999},
                 {"p99.99", "p99_99", 0.9999}};
enum { QUANTILES = sizeof quantiles / sizeof quantiles[0] };

/* Microseconds with three digits that count. */
static enum status print_us(struct buf *out, double ns)
{
    double us = ns / 1000;
    return buf_printf(out, " %9.*f", us < 10 ? 2 : us < 100 ? 1 : 0, us);
}

static enum status print_row(struct buf *out, const char *name, const struct load_hist *h)
{
    char count[CLI_NUMBER_TEXT_MAX];
    cli_count_format(h->count, count);
    enum status st = buf_printf(out, "  %-18s %12s", name, count);
    if (st == ST_OK)
        st = print_us(out, load_hist_mean(h));
    for (int i = 0; st == ST_OK && i < QUANTILES; i++)
        st = print_us(out, (double)load_hist_quantile(h, quantiles[i].q));
    if (st == ST_OK)
        st = print_us(out, (double)h->high);
    return st == ST_OK ? buf_printf(out, "\n") : st;
}

static enum status print_latency(const struct bench *b, const struct load_result *r,
                                 struct buf *out)
{
    enum status st = buf_printf(out, "latency, us          %12s %9s", "requests", "mean");
    for (int i = 0; st == ST_OK && i < QUANTILES; i++)
        st = buf_printf(out, " %9s", quantiles[i].name);
    if (st == ST_OK)
        st = buf_printf(out, " %9s\n", "max");
    for (int k = 0; st == ST_OK && k < LOAD_KINDS; k++)
        if (r->kind[k].count && r->kind[k].count != r->all.count)
            st = print_row(out, load_kind_name((enum load_kind)k), &r->kind[k]);
    if (st == ST_OK)
        st = print_row(out, b->settings.rate > 0 ? "all, since due" : "all", &r->all);
    if (st == ST_OK && b->settings.rate == 0)
        st = print_row(out, "all, corrected", &r->corrected);
    return st;
}

static enum status print_errors(const struct load_result *r, struct buf *out)
{
    enum status st = ST_OK;
    if (r->errors_n == 0)
        return buf_printf(out, "errors: none\n");
    for (size_t i = 0; st == ST_OK && i < r->errors_n; i++)
        st = buf_printf(out, "error %s: %llu, the first one: %s\n", r->errors[i].kind,
                        (unsigned long long)r->errors[i].count, r->errors[i].detail);
    return st;
}

static enum status print_settings(const struct bench *b, struct buf *out)
{
    const struct load_settings *s = &b->settings;
    char keys[CLI_NUMBER_TEXT_MAX], to[NET_ADDR_TEXT];
    cli_count_format(s->keys, keys);
    enum status st = buf_printf(out, "machine: ");
    if (st == ST_OK)
        st = machine(out);
    if (st == ST_OK)
        st = buf_printf(out, "\nserver: %s by %s%s; collection %.*s\n", net_addr_text(&s->to, to),
                        s->protocol->name, b->tls ? " with TLS" : "", (int)b->varve.collection.len,
                        (const char *)b->varve.collection.data);
    if (st == ST_OK)
        st = buf_printf(out,
                        "load: %s, %s keys, %s, values of %zu B, %u connections x %u in flight, ",
                        b->workload, keys, load_choice_name(s->choice), s->value_bytes,
                        s->connections, s->in_flight);
    if (st == ST_OK)
        st = s->rate > 0 ? buf_printf(out, "open loop at %.0f/s\n", s->rate)
                         : buf_printf(out, "closed loop\n");
    return st;
}

enum status bench_report(const struct bench *b, const struct load_result *r, struct buf *out)
{
    char done[CLI_NUMBER_TEXT_MAX], rows[CLI_NUMBER_TEXT_MAX], rate[CLI_NUMBER_TEXT_MAX];
    cli_count_format(r->done, done);
    cli_count_format(r->rows, rows);
    cli_count_format((uint64_t)per_s(went_well(r), r), rate);
    enum status st = print_settings(b, out);
    if (st == ST_OK)
        st = buf_printf(out, "rate: %s/s (%s requests, %s rows in %.2f s; %.0f rows/s)\n", rate,
                        done, rows, (double)r->elapsed_ns / 1e9, per_s(r->rows, r));
    if (st == ST_OK)
        st = print_latency(b, r, out);
    if (st == ST_OK && b->settings.rate > 0)
        st = buf_printf(out, "the latest was sent %.1f us after it was due; %llu were never sent\n",
                        (double)r->late_ns / 1e3, (unsigned long long)r->unsent);
    if (st == ST_OK)
        st = print_errors(r, out);
    if (st == ST_OK && b->before.known && b->after.known)
        st = buf_printf(out, "processor time of %llu: %.2f us a request\n",
                        (unsigned long long)b->pid, cpu_us(b, r));
    if (st == ST_OK)
        st = buf_printf(out, "checksum: %016llx%s\n", (unsigned long long)r->checksum,
                        r->cut ? " (the run was cut short)" : "");
    return st;
}

/* --- for programs --- */

static enum status json_hist(struct buf *out, const char *name, const struct load_hist *h)
{
    enum status st =
        buf_printf(out, "\"%s\":{\"count\":%llu,\"mean\":%.0f,\"min\":%llu", name,
                   (unsigned long long)h->count, load_hist_mean(h), (unsigned long long)h->low);
    for (int i = 0; st == ST_OK && i < QUANTILES; i++)
        st = buf_printf(out, ",\"%s\":%llu", quantiles[i].json,
                        (unsigned long long)load_hist_quantile(h, quantiles[i].q));
    return st == ST_OK ? buf_printf(out, ",\"max\":%llu}", (unsigned long long)h->high) : st;
}

static enum status json_settings(const struct bench *b, struct buf *out)
{
    const struct load_settings *s = &b->settings;
    char to[NET_ADDR_TEXT];
    struct buf text = BUF_INIT;
    enum status st = machine(&text);
    if (st == ST_OK)
        st = json_put(out, "{\"machine\":");
    if (st == ST_OK)
        st = json_text(out, buf_bytes(&text));
    buf_deinit(&text);
    if (st == ST_OK)
        st = buf_printf(out, ",\"server\":\"%s\",\"protocol\":\"%s\",\"tls\":%s,\"collection\":",
                        net_addr_text(&s->to, to), s->protocol->name, b->tls ? "true" : "false");
    if (st == ST_OK)
        st = json_text(out, b->varve.collection);
    if (st == ST_OK)
        st = buf_printf(out,
                        ",\"workload\":\"%s\",\"choice\":\"%s\",\"keys\":%llu,\"value_bytes\":%zu,"
                        "\"connections\":%u,\"in_flight\":%u,\"target_rate\":%.0f,\"seed\":%llu",
                        b->workload, load_choice_name(s->choice), (unsigned long long)s->keys,
                        s->value_bytes, s->connections, s->in_flight, s->rate,
                        (unsigned long long)s->seed);
    return st;
}

static enum status json_errors(const struct load_result *r, struct buf *out)
{
    enum status st = json_put(out, ",\"errors\":[");
    for (size_t i = 0; st == ST_OK && i < r->errors_n; i++) {
        st = buf_printf(out, "%s{\"kind\":\"%s\",\"count\":%llu,\"first\":", i ? "," : "",
                        r->errors[i].kind, (unsigned long long)r->errors[i].count);
        if (st == ST_OK)
            st = json_text(out, BYTES_STR(r->errors[i].detail));
        if (st == ST_OK)
            st = json_put(out, "}");
    }
    return st == ST_OK ? json_put(out, "]") : st;
}

enum status bench_report_json(const struct bench *b, const struct load_result *r, struct buf *out)
{
    enum status st = json_settings(b, out);
    if (st == ST_OK)
        st = buf_printf(out,
                        ",\"elapsed_ns\":%llu,\"requests\":%llu,\"rows\":%llu,\"failed\":%llu,"
                        "\"unsent\":%llu,\"late_ns\":%llu,\"rate\":%.1f,\"rows_rate\":%.1f,"
                        "\"bytes_in\":%llu,\"bytes_out\":%llu,\"cut\":%s,\"latency_ns\":{",
                        (unsigned long long)r->elapsed_ns, (unsigned long long)r->done,
                        (unsigned long long)r->rows, (unsigned long long)r->failed,
                        (unsigned long long)r->unsent, (unsigned long long)r->late_ns,
                        per_s(went_well(r), r), per_s(r->rows, r), (unsigned long long)r->bytes_in,
                        (unsigned long long)r->bytes_out, r->cut ? "true" : "false");
    for (int k = 0; st == ST_OK && k < LOAD_KINDS; k++) {
        if (!r->kind[k].count)
            continue;
        st = json_hist(out, load_kind_name((enum load_kind)k), &r->kind[k]);
        if (st == ST_OK)
            st = json_put(out, ",");
    }
    if (st == ST_OK)
        st = json_hist(out, "all", &r->all);
    if (st == ST_OK)
        st = json_put(out, ",");
    if (st == ST_OK)
        st = json_hist(out, "corrected", &r->corrected);
    if (st == ST_OK)
        st = json_put(out, "}");
    if (st == ST_OK)
        st = json_errors(r, out);
    if (st == ST_OK && b->before.known && b->after.known)
        st = buf_printf(out, ",\"cpu_us_a_request\":%.3f", cpu_us(b, r));
    return st == ST_OK
               ? buf_printf(out, ",\"checksum\":\"%016llx\"}\n", (unsigned long long)r->checksum)
               : st;
}
