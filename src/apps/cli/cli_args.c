#include "apps/cli/cli_args.h"
#include "base/alloc.h"
#include <string.h>

const struct cli_option cli_options[OPT_COUNT] = {
#define X(id, name, letter, value, help) [OPT_##id] = {name, letter, value, help},
    CLI_OPTION_TABLE(X)
#undef X
};

void cli_args_init(struct cli_args *a)
{
    memset(a, 0, sizeof *a);
}

void cli_args_deinit(struct cli_args *a)
{
    mem_free(a->arg);
    cli_args_init(a);
}

bool cli_number_parse(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    if (!*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        unsigned digit = (unsigned)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return true;
}

/* Names are short; what is longer than this is near nothing. */
enum { NAME_MAX_COMPARED = 40 };

size_t cli_edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    if (la > NAME_MAX_COMPARED || lb > NAME_MAX_COMPARED)
        return la > lb ? la : lb;
    size_t rows[3][NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *up = rows[(i - 1) % 3], *up2 = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best)
                best = up[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *cli_nearest(const char *name, const char *const *names, size_t n)
{
    size_t limit = strlen(name) / 3;
    limit = limit < 1 ? 1 : limit > 3 ? 3 : limit;
    const char *best = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = cli_edit_distance(name, names[i]);
        /* What was typed so far of a longer name is near it too. */
        bool begins = strlen(name) >= 3 && strncmp(name, names[i], strlen(name)) == 0;
        if (d <= limit || (begins && !best)) {
            best = names[i];
            if (d < limit)
                limit = d;
        }
    }
    return best;
}

static enum status unknown_option(const char *name, cli_opts allowed, const char *whose,
                                  struct err *err)
{
    const char *names[OPT_COUNT];
    size_t n = 0;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (strcmp(cli_options[i].name, name) == 0)
            return err_set(err, ST_INVALID_ARGUMENT, "--%s is not an option of '%s'", name, whose);
        if ((allowed >> i) & 1)
            names[n++] = cli_options[i].name;
    }
    const char *near = cli_nearest(name, names, n);
    if (near)
        return err_set(err, ST_INVALID_ARGUMENT, "unknown option --%s; did you mean --%s?", name,
                       near);
    return err_set(err, ST_INVALID_ARGUMENT, "unknown option --%s", name);
}

/* Where the parser stands, so that an option can take the next word as its value. */
struct cursor {
    int argc, at;
    char *const *argv;
};

static enum status take(struct cli_args *a, size_t opt, const char *inline_value,
                        struct cursor *cur, struct err *err)
{
    const struct cli_option *o = &cli_options[opt];
    const char *value = inline_value;
    if (!o->value && inline_value)
        return err_set(err, ST_INVALID_ARGUMENT, "--%s takes no value", o->name);
    if (o->value && !value) {
        if (cur->at + 1 >= cur->argc)
            return err_set(err, ST_INVALID_ARGUMENT, "--%s needs a value: --%s %s", o->name,
                           o->name, o->value);
        value = cur->argv[++cur->at];
    }
    a->set |= UINT64_C(1) << opt;
    a->value[opt] = value;
    return ST_OK;
}

static enum status long_option(struct cli_args *a, cli_opts allowed, const char *whose,
                               struct cursor *cur, struct err *err)
{
    const char *name = cur->argv[cur->at] + 2;
    const char *eq = strchr(name, '=');
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    for (size_t i = 0; i < OPT_COUNT; i++)
        if ((allowed >> i) & 1 && strlen(cli_options[i].name) == len &&
            memcmp(cli_options[i].name, name, len) == 0)
            return take(a, i, eq ? eq + 1 : NULL, cur, err);
    char shown[NAME_MAX_COMPARED + 1];
    size_t n = len < sizeof shown - 1 ? len : sizeof shown - 1;
    memcpy(shown, name, n);
    shown[n] = '\0';
    return unknown_option(shown, allowed, whose, err);
}

static enum status short_options(struct cli_args *a, cli_opts allowed, struct cursor *cur,
                                 struct err *err)
{
    for (const char *p = cur->argv[cur->at] + 1; *p; p++) {
        size_t i = 0;
        while (i < OPT_COUNT && !(((allowed >> i) & 1) && cli_options[i].letter == *p))
            i++;
        if (i == OPT_COUNT)
            return err_set(err, ST_INVALID_ARGUMENT, "unknown option -%c", *p);
        bool wants = cli_options[i].value != NULL;
        enum status st = take(a, i, wants && p[1] ? p + 1 : NULL, cur, err);
        if (st != ST_OK || wants)
            return st;
    }
    return ST_OK;
}

static enum status add_arg(struct cli_args *a, const char *arg, struct err *err)
{
    const char **grown = mem_realloc(a->arg, (a->nargs + 1) * sizeof *grown);
    if (!grown)
        return err_set(err, ST_NO_MEMORY, "no memory for the arguments");
    a->arg = grown;
    a->arg[a->nargs++] = arg;
    return ST_OK;
}

enum status cli_args_raw(struct cli_args *a, int argc, char *const *argv, struct err *err)
{
    enum status st = ST_OK;
    for (int i = 0; i < argc && st == ST_OK; i++)
        st = add_arg(a, argv[i], err);
    return st;
}

enum status cli_args_parse(struct cli_args *a, cli_opts allowed, const char *whose, int argc,
                           char *const *argv, bool stop_at_arg, int *ret_used, struct err *err)
{
    struct cursor cur = {argc, 0, argv};
    bool only_args = false;
    for (; cur.at < argc; cur.at++) {
        const char *word = argv[cur.at];
        enum status st = ST_OK;
        bool option =
            !only_args && word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
        if (option && strcmp(word, "--") == 0)
            only_args = true;
        else if (option && word[1] == '-')
            st = long_option(a, allowed, whose, &cur, err);
        else if (option)
            st = short_options(a, allowed, &cur, err);
        else if (stop_at_arg)
            break;
        else
            st = add_arg(a, word, err);
        if (st != ST_OK)
            return st;
    }
    if (ret_used)
        *ret_used = cur.at;
    return ST_OK;
}
