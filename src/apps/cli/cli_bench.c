/* cli_bench.c - bench: a server under load, over gRPC or HTTP. The words behind the verb are its own
 * (there are more of them than the table of options has room for). */
#include "apps/cli/cli_bench.h"

#include "apps/cli/cli_out.h"
#include "apps/cli/cli_progress.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include "base/base64.h"
#include "base/env/env.h"
#include "serve/tls/tls.h"

#include <stdlib.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 16 * 1024, ADDRS_MAX = 8 };

static const struct {
    const char *name, *value, *otherwise, *help;
} options[BENCH_OPTION_COUNT] = {
#define X(name, value, otherwise, help) {name, value, otherwise, help},
    BENCH_OPTIONS(X)
#undef X
};

static size_t option_find(struct bytes name)
{
    size_t i = 0;
    while (i < BENCH_OPTION_COUNT && !bytes_eq(name, BYTES_STR(options[i].name)))
        i++;
    return i;
}

static const char *text_of(const struct bench *b, const char *name)
{
    return b->value[option_find(BYTES_STR(name))];
}

static bool given(const struct bench *b, const char *name)
{
    return b->given[option_find(BYTES_STR(name))];
}

/* --- words --- */

static int unknown_option(struct bench *b, const char *word)
{
    const char *names[BENCH_OPTION_COUNT];
    for (size_t i = 0; i < BENCH_OPTION_COUNT; i++)
        names[i] = options[i].name;
    const char *near = cli_nearest(word + 2, names, BENCH_OPTION_COUNT);
    return near ? cli_usage(b->c, b->a, "there is no option %s; is --%s meant?", word, near)
                : cli_usage(b->c, b->a, "there is no option %s; 'varve bench --help' lists them",
                            word);
}

static int parse_option(struct bench *b, size_t *at)
{
    const char *word = b->a->arg[*at];
    const char *eq = strchr(word, '=');
    size_t len = eq ? (size_t)(eq - word) : strlen(word);
    size_t i =
        len > 2 && word[1] == '-' ? option_find(BYTES(word + 2, len - 2)) : BENCH_OPTION_COUNT;
    if (i == BENCH_OPTION_COUNT)
        return unknown_option(b, word);
    if (!options[i].value && eq)
        return cli_usage(b->c, b->a, "--%s takes no value", options[i].name);
    b->given[i] = true;
    if (!options[i].value)
        return CLI_OK;
    if (!eq && *at + 1 >= b->a->nargs)
        return cli_usage(b->c, b->a, "--%s needs a value: %s", options[i].name, options[i].value);
    b->value[i] = eq ? eq + 1 : b->a->arg[++*at];
    return CLI_OK;
}

static int parse_words(struct bench *b)
{
    for (size_t i = 0; i < BENCH_OPTION_COUNT; i++)
        b->value[i] = options[i].otherwise;
    const char *server = getenv("VARVE_SERVER");
    if (server && *server)
        b->value[option_find(BYTES_LIT("server"))] = server;
    for (size_t i = 0; i < b->a->nargs; i++) {
        const char *word = b->a->arg[i];
        int code = CLI_OK;
        if (strcmp(word, "-h") == 0)
            b->given[option_find(BYTES_LIT("help"))] = true;
        else if (word[0] == '-')
            code = parse_option(b, &i);
        else if (b->workload)
            code = cli_usage(b->c, b->a, "'%s': one workload at a time", word);
        else
            b->workload = word;
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

static int help(struct bench *b)
{
    FILE *out = b->c->out;
    cli_help_verb(out, b->a->verb);
    fprintf(out, "\nWorkloads:\n  %-8s %s\n", "load", "writes all keys once, in batches");
    for (size_t i = 0; i < load_mix_count; i++)
        fprintf(out, "  %-8s %s; %s\n", load_mixes[i].name, load_mixes[i].help,
                load_choice_name(load_mixes[i].choice));
    fprintf(out, "\nOptions:\n");
    for (size_t i = 0; i < BENCH_OPTION_COUNT; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "--%s%s%s", options[i].name, options[i].value ? " " : "",
                       options[i].value ? options[i].value : "");
        fprintf(out, "  %-26s %s%s%s%s\n", name, options[i].help, *options[i].otherwise ? " (" : "",
                options[i].otherwise, *options[i].otherwise ? ")" : "");
    }
    return CLI_OK;
}

/* --- settings --- */

static int number(struct bench *b, const char *name, uint64_t max, uint64_t *ret)
{
    const char *text = text_of(b, name);
    if (cli_number_parse(text, ret) && *ret <= max)
        return CLI_OK;
    return cli_usage(b->c, b->a, "--%s: '%s' is not a number up to %llu", name, text,
                     (unsigned long long)max);
}

static int real(struct bench *b, const char *name, double *ret)
{
    char *end;
    const char *text = text_of(b, name);
    *ret = strtod(text, &end);
    return *text && !*end ? CLI_OK
                          : cli_usage(b->c, b->a, "--%s: '%s' is not a number", name, text);
}

static int duration(struct bench *b, const char *name, uint64_t *ret_ms)
{
    struct err e;
    err_init(&e);
    if (cli_duration_parse(text_of(b, name), ret_ms, &e) == ST_OK)
        return CLI_OK;
    return cli_usage(b->c, b->a, "--%s: %s", name, e.detail);
}

/* The place of the option's text among `names`. */
static int one_of(struct bench *b, const char *name, const char *const *names, size_t n, int *ret)
{
    struct buf list = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        if (strcmp(text_of(b, name), names[i]) == 0) {
            *ret = (int)i;
            return CLI_OK;
        }
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *text = st == ST_OK ? buf_cstr(&list) : NULL;
    int code =
        cli_usage(b->c, b->a, "--%s: '%s' is none of %s", name, text_of(b, name), text ? text : "");
    buf_deinit(&list);
    return code;
}

static int take_numbers(struct bench *b)
{
    struct load_settings *s = &b->settings;
    const struct {
        const char *name;
        uint64_t max;
        uint64_t *to;
        uint32_t *to32;
        size_t *to_size;
    } all[] = {
        {"connections", UINT32_MAX, NULL, &s->connections, NULL},
        {"in-flight", UINT32_MAX, NULL, &s->in_flight, NULL},
        {"batch", UINT32_MAX, NULL, &s->batch, NULL},
        {"rows", UINT32_MAX, NULL, &s->scan_rows, NULL},
        {"count", UINT64_MAX, &s->count, NULL, NULL},
        {"keys", UINT64_MAX, &s->keys, NULL, NULL},
        {"first-new", UINT64_MAX / 4, &s->first_new, NULL, NULL},
        {"seed", UINT64_MAX, &s->seed, NULL, NULL},
        {"pid", INT32_MAX, &b->pid, NULL, NULL},
        {"value", UINT32_MAX, NULL, NULL, &s->value_bytes},
    };
    uint64_t v = 0;
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < sizeof all / sizeof all[0]; i++) {
        code = number(b, all[i].name, all[i].max, &v);
        if (all[i].to)
            *all[i].to = v;
        else if (all[i].to32)
            *all[i].to32 = (uint32_t)v;
        else
            *all[i].to_size = (size_t)v;
    }
    code = code ? code : real(b, "rate", &s->rate);
    code = code ? code : real(b, "theta", &s->theta);
    code = code ? code : duration(b, "warm-up", &s->warmup_ms);
    code = code ? code : duration(b, "duration", &s->duration_ms);
    return code ? code : duration(b, "timeout", &s->timeout_ms);
}

static int take_workload(struct bench *b)
{
    struct load_settings *s = &b->settings;
    if (!b->workload)
        return cli_usage(b->c, b->a,
                         "a workload is missing, as in 'varve bench load' and then "
                         "'varve bench get'; --help lists them");
    s->fill = strcmp(b->workload, "load") == 0;
    s->mix = load_mix_find(s->fill ? "batch" : b->workload);
    if (!s->mix)
        return cli_usage(b->c, b->a, "there is no workload '%s'; 'varve bench --help' lists them",
                         b->workload);
    if (s->fill)
        s->warmup_ms = 0;
    else
        b->workload = s->mix->name;
    s->choice = s->mix->choice;
    if (!given(b, "choice"))
        return CLI_OK;
    static const char *const names[] = {"uniform", "zipf", "latest", "sequence"};
    int choice = 0;
    int code = one_of(b, "choice", names, LOAD_CHOICES, &choice);
    s->choice = (enum load_choice)choice;
    return code;
}

static int take_words(struct bench *b)
{
    static const char *const protocols[] = {"grpc", "http"};
    static const char *const syncs[] = {"", "always", "interval", "off"};
    static const char *const loops[] = {"epoll", "io_uring", "auto"};
    int protocol = 0, sync = 0, loop = 0;
    struct err e;
    err_init(&e);
    int code = one_of(b, "protocol", protocols, 2, &protocol);
    code = code ? code : one_of(b, "sync", syncs, 4, &sync);
    code = code ? code : one_of(b, "loop", loops, 3, &loop);
    if (code != CLI_OK)
        return code;
    const char *collection = text_of(b, "collection");
    b->settings.protocol = protocol ? &load_http_protocol : &load_grpc_protocol;
    b->settings.protocol_arg = protocol ? (const void *)&b->http : (const void *)&b->grpc;
    b->settings.loop = (enum loop_kind)loop;
    b->varve.collection = BYTES_STR(collection);
    b->varve.sync = (enum load_sync)sync;
    if (sync)
        (void)snprintf(b->query, sizeof b->query, "?sync=%s", syncs[sync]);
    if (load_http_path(collection, b->path, &e) != ST_OK)
        return cli_usage(b->c, b->a, "--%s", e.detail);
    return CLI_OK;
}

/* --- credentials, TLS, the address --- */

/* Appends the first line of a file. */
static int first_line(struct bench *b, const char *option, struct buf *out)
{
    struct buf file = BUF_INIT;
    struct err e;
    err_init(&e);
    int code = CLI_OK;
    enum status st = env_read_file(env_linux(), text_of(b, option), SECRET_FILE_MAX, &file, &e);
    if (st == ST_OK) {
        const uint8_t *end = file.len ? memchr(file.data, '\n', file.len) : NULL;
        st = buf_append(out, file.data, end ? (size_t)(end - file.data) : file.len);
    }
    if (st != ST_OK)
        code = cli_error(b->c, CLI_FAILED, "--%s: %s", option,
                         e.detail[0] ? e.detail : status_text(st));
    buf_deinit(&file);
    return code;
}

static int take_credentials(struct bench *b)
{
    struct buf plain = BUF_INIT;
    int code = CLI_OK;
    enum status st = ST_OK;
    if (given(b, "token-file") && given(b, "user"))
        return cli_usage(b->c, b->a, "either --token-file or --user");
    if (given(b, "user") != given(b, "password-file"))
        return cli_usage(b->c, b->a, "--user and --password-file belong together");
    if (given(b, "token-file")) {
        st = buf_printf(&b->authorization, "Bearer ");
        code = st == ST_OK ? first_line(b, "token-file", &b->authorization) : CLI_OK;
    } else if (given(b, "user")) {
        st = buf_printf(&plain, "%s:", text_of(b, "user"));
        code = st == ST_OK ? first_line(b, "password-file", &plain) : CLI_OK;
        if (st == ST_OK && code == CLI_OK)
            st = buf_printf(&b->authorization, "Basic ");
        if (st == ST_OK && code == CLI_OK)
            st = base64_encode(&b->authorization, buf_bytes(&plain));
    }
    buf_deinit(&plain);
    return code != CLI_OK ? code
           : st == ST_OK  ? CLI_OK
                          : cli_error(b->c, CLI_FAILED, "out of memory");
}

static int take_address(struct bench *b)
{
    struct net_addr found[ADDRS_MAX];
    size_t n = 0;
    struct err e;
    err_init(&e);
    const char *server = text_of(b, "server");
    enum status st = net_resolve(server, found, ADDRS_MAX, &n, &e);
    if (st != ST_OK)
        return st == ST_INVALID_ARGUMENT ? cli_usage(b->c, b->a, "--server: %s", e.detail)
                                         : cli_error(b->c, CLI_FAILED, "--server: %s", e.detail);
    b->settings.to = found[0];
    struct bytes auth = buf_bytes(&b->authorization);
    b->grpc = (struct load_grpc){.authority = BYTES_STR(server),
                                 .authorization = auth,
                                 .codec = &load_varve_codec,
                                 .codec_arg = &b->varve};
    b->http = (struct load_http){.host = BYTES_STR(server),
                                 .authorization = auth,
                                 .path = BYTES_STR(b->path),
                                 .query = BYTES_STR(b->query)};
    return CLI_OK;
}

/* Without its port and brackets; to be freed. NULL: no memory. */
static char *host_of(const char *server)
{
    const char *from = *server == '[' ? server + 1 : server;
    const char *end = strrchr(server, *server == '[' ? ']' : ':');
    size_t n = end ? (size_t)(end - from) : strlen(from);
    char *host = mem_alloc(n + 1);
    if (host) {
        memcpy(host, from, n);
        host[n] = '\0';
    }
    return host;
}

static int take_tls(struct bench *b, struct tls_context **ret)
{
    static const char *const alpn_grpc[] = {"h2", NULL}, *const alpn_http[] = {"http/1.1", NULL};
    bool http = b->settings.protocol == &load_http_protocol;
    b->tls = given(b, "tls") || given(b, "tls-ca") || given(b, "tls-cert");
    if (!b->tls) {
        if (given(b, "tls-name") || given(b, "tls-key"))
            return cli_usage(b->c, b->a, "--tls-name and --tls-key need --tls or --tls-ca");
        return CLI_OK;
    }
    const struct tls_options o = {.cert_file = given(b, "tls-cert") ? text_of(b, "tls-cert") : NULL,
                                  .key_file = given(b, "tls-key") ? text_of(b, "tls-key") : NULL,
                                  .ca_file = given(b, "tls-ca") ? text_of(b, "tls-ca") : NULL,
                                  .alpn = http ? alpn_http : alpn_grpc};
    struct err e;
    err_init(&e);
    char *host = host_of(text_of(b, "server"));
    if (!host)
        return cli_error(b->c, CLI_FAILED, "out of memory");
    enum status st = tls_client_new(env_linux(), &o,
                                    given(b, "tls-name") ? text_of(b, "tls-name") : host, ret, &e);
    mem_free(host);
    if (st != ST_OK)
        return cli_error(b->c, CLI_FAILED, "TLS: %s", e.detail);
    b->settings.filter = tls_filter(*ret);
    return CLI_OK;
}

/* --- running --- */

struct running {
    struct bench *b;
    struct cli_progress progress;
};

static bool goes_on(void *arg, uint64_t done, double part)
{
    struct running *run = arg;
    cli_progress_update(&run->progress, (uint64_t)(part * 1e6), 1000000, done, cli_mono_ms());
    return !cli_stopped(run->b->c);
}

/* utime and stime of /proc/PID/stat, the 14th and 15th word, in ticks. */
static struct bench_cpu cpu_of(uint64_t pid)
{
    struct bench_cpu cpu = {0};
    char path[64], line[1024];
    unsigned long long user, system;
    (void)snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
    FILE *f = pid ? fopen(path, "r") : NULL;
    if (f && fgets(line, sizeof line, f)) {
        const char *behind = strrchr(line, ')'); /* the name may hold anything */
        uint64_t tick = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
        if (behind && sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                             &user, &system) == 2)
            cpu = (struct bench_cpu){true, user * tick, system * tick};
    }
    if (f)
        (void)fclose(f);
    return cpu;
}

static void mark(void *arg, bool begins)
{
    struct running *run = arg;
    *(begins ? &run->b->before : &run->b->after) = cpu_of(run->b->pid);
}

static int show(struct bench *b, const struct load_result *r)
{
    struct cli *c = b->c;
    buf_clear(&c->scratch);
    enum status st =
        b->json ? bench_report_json(b, r, &c->scratch) : bench_report(b, r, &c->scratch);
    if (st != ST_OK)
        return cli_error(c, CLI_FAILED, "out of memory");
    if (!cli_put_scratch(c) || r->cut)
        return cli_stop_code(c);
    return r->failed ? CLI_FAILED : CLI_OK;
}

static int run(struct bench *b)
{
    struct cli *c = b->c;
    struct running running = {.b = b};
    struct load_result *r = mem_zalloc(sizeof *r);
    struct err e;
    err_init(&e);
    if (!r)
        return cli_error(c, CLI_FAILED, "out of memory");
    b->settings.goes_on = goes_on;
    b->settings.mark = mark;
    b->settings.arg = &running;
    cli_progress_begin(&running.progress, c->err, c->err_tty, false, given(b, "quiet"), "bench",
                       "requests", 0, cli_mono_ms());
    enum status st = load_run(&b->settings, r, &e);
    cli_progress_end(&running.progress);
    int code;
    if (st == ST_INVALID_ARGUMENT)
        code = cli_usage(c, b->a, "%s", e.detail);
    else if (st != ST_OK && !r->cut)
        code = cli_fail_local(c, st, &e);
    else
        code = show(b, r);
    if (st != ST_OK && r->cut) /* behind what was measured until then */
        code = cli_fail_local(c, st, &e);
    mem_free(r);
    return code;
}

int cli_bench(struct cli *c, const struct cli_args *a)
{
    struct bench b = {.c = c, .a = a};
    struct tls_context *tls = NULL;
    int code = parse_words(&b);
    if (code == CLI_OK && given(&b, "help"))
        return help(&b);
    b.settings.env = env_linux();
    b.json = given(&b, "json");
    code = code ? code : take_numbers(&b);
    code = code ? code : take_workload(&b);
    code = code ? code : take_words(&b);
    code = code ? code : take_credentials(&b);
    code = code ? code : take_address(&b);
    code = code ? code : take_tls(&b, &tls);
    code = code ? code : run(&b);
    tls_free(tls);
    buf_deinit(&b.authorization);
    return code;
}
