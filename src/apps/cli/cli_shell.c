/* The interactive shell: the same verbs, one handle. */
#include "apps/cli/cli_shell.h"
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include "base/alloc.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void cli_words_deinit(struct cli_words *w)
{
    mem_free(w->word);
    mem_free(w->text);
    *w = (struct cli_words){0};
}

static enum status add_word(struct cli_words *w, char *word)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 8;
        char **grown = mem_realloc(w->word, cap * sizeof *grown);
        if (!grown)
            return ST_NO_MEMORY;
        w->word = grown;
        w->cap = cap;
    }
    w->word[w->n++] = word;
    return ST_OK;
}

/* A JSON document needs no quotes: a word that begins with '{' ends behind the brace that closes
 * it. */
static bool json_word(const char **p, char **out)
{
    size_t depth = 0;
    bool in_string = false;
    const char *s = *p;
    do {
        if (!*s)
            return false;
        if (in_string && *s == '\\' && s[1])
            *(*out)++ = *s++;
        else if (*s == '"')
            in_string = !in_string;
        else if (!in_string)
            depth = *s == '{' ? depth + 1 : *s == '}' ? depth - 1 : depth;
        *(*out)++ = *s++;
    } while (depth);
    *(*out)++ = '\0';
    *p = s;
    return !*s || is_blank(*s);
}

/* Copies one word from *p to *out, both moved behind it. false: something was left open. */
static bool one_word(const char **p, char **out)
{
    char quote = 0;
    const char *s = *p;
    for (; *s && (quote || !is_blank(*s)); s++) {
        bool takes = quote == 0 || (quote == '"' && (s[1] == '"' || s[1] == '\\'));
        if (quote && *s == quote)
            quote = 0;
        else if (!quote && (*s == '\'' || *s == '"'))
            quote = *s;
        else if (*s == '\\' && takes && !s[1])
            return false;
        else
            *(*out)++ = *s == '\\' && takes ? *++s : *s;
    }
    *(*out)++ = '\0';
    *p = s;
    return quote == 0;
}

enum status cli_words_split(const char *line, struct cli_words *ret, struct err *err)
{
    struct cli_words w = {0};
    /* No word is longer than its source, and each NUL takes the place of a blank or of the line's
     * end. */
    char *out = w.text = mem_alloc(strlen(line) + 1);
    enum status st = out ? ST_OK : ST_NO_MEMORY;
    while (st == ST_OK) {
        while (is_blank(*line))
            line++;
        if (!*line || *line == '#')
            break;
        st = add_word(&w, out);
        if (st == ST_OK && !(*line == '{' ? json_word(&line, &out) : one_word(&line, &out)))
            st = err_set(err, ST_INVALID_ARGUMENT, "a quote, a brace or a backslash is left open");
    }
    if (st != ST_OK) {
        cli_words_deinit(&w);
        return st == ST_NO_MEMORY ? err_set(err, st, "out of memory") : st;
    }
    *ret = w;
    return ST_OK;
}

static const char *const not_here[] = {"shell", "completion"};

static int run_words(struct cli *c, struct cli_words *w)
{
    for (size_t i = 0; i < sizeof not_here / sizeof not_here[0]; i++)
        if (strcmp(w->word[0], not_here[i]) == 0)
            return cli_error(c, CLI_USAGE, "'%s' does not work inside the shell", not_here[i]);
    c->out_failed = false;
    return cli_run(c, (int)w->n, w->word);
}

/* One line. *ret_exit when it was "exit" or "quit". */
static int run_line(struct cli *c, const char *line, bool *ret_exit)
{
    struct cli_words w;
    struct err e;
    err_init(&e);
    if (cli_words_split(line, &w, &e) != ST_OK)
        return cli_error(c, CLI_USAGE, "%s", e.detail);
    int code = CLI_OK;
    if (w.n && (strcmp(w.word[0], "exit") == 0 || strcmp(w.word[0], "quit") == 0))
        *ret_exit = true;
    else if (w.n)
        code = run_words(c, &w);
    cli_words_deinit(&w);
    return code;
}

static void prompt(struct cli *c)
{
    if (!c->in_tty)
        return;
    fprintf(c->out, "%svarve>%s ", cli_bold(c->color), cli_plain(c->color));
    fflush(c->out);
}

/* The next line, without its LF. 1; 0 at the end or when a signal came; < 0: no memory. */
static int read_line(struct cli *c, struct buf *line)
{
    int byte;
    buf_clear(line);
    while ((byte = getc(c->in)) != EOF && byte != '\n')
        if (buf_append_u8(line, (uint8_t)byte) != ST_OK)
            return -1;
    return byte != EOF || (line->len && !cli_signalled());
}

static int one_line(struct cli *c, struct buf *line, bool *ret_leave)
{
    const char *text = buf_cstr(line);
    if (!text)
        return cli_error(c, CLI_FAILED, "out of memory");
    if (strlen(text) != line->len)
        return cli_error(c, CLI_USAGE,
                         "the line holds a NUL; keys with one are typed with --escapes");
    return run_line(c, text, ret_leave);
}

static int loop(struct cli *c)
{
    struct buf line = BUF_INIT;
    int first_failure = CLI_OK, got = 1;
    bool leave = false;
    while (!leave) {
        prompt(c);
        got = read_line(c, &line);
        if (got == 1) {
            int code = one_line(c, &line, &leave);
            if (code != CLI_OK && first_failure == CLI_OK)
                first_failure = code;
        }
        if (got < 0 || (got == 0 && !(cli_signalled() && c->in_tty)))
            break;
        if (cli_signalled() && !c->in_tty)
            break;
        if (cli_signalled()) { /* Ctrl-C: at the prompt it drops the line, else it ended the verb */
            cli_signals_clear();
            cli_signals_install();
            clearerr(c->in);
            fputc('\n', c->out);
        }
    }
    if (c->in_tty && !leave)
        fputc('\n', c->out);
    buf_deinit(&line);
    if (got < 0)
        return cli_error(c, CLI_FAILED, "out of memory");
    if (cli_signalled())
        return cli_stop_code(c);
    return c->in_tty ? CLI_OK : first_failure;
}

int cli_shell(struct cli *c, const struct cli_args *a)
{
    if (c->in_tty)
        cli_note(c, a, "varve %s on %s; 'help' lists the verbs, 'exit' ends",
                 varve_version_string(), cli_where(c));
    /* A folder that is locked or damaged is told at once. One that is not there may be made by the
     * first put. */
    struct stat at;
    if (!c->remote && stat(c->data, &at) != 0 && errno == ENOENT) {
        cli_note(c, a, "there is no database in %s yet; the first put makes it", c->data);
    } else {
        int opened = cli_open(c, a);
        if (opened != CLI_OK)
            return opened;
    }
    c->shell = true;
    int code = loop(c);
    c->shell = false;
    return code;
}
