/* What diff shows to people: one line for each path that was set or unset.
 *
 * The answer is read as text, {"set":{"path":value,...},"unset":["path",...]}: as a document it may be
 * deeper and larger than one can be. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_out.h"
#include <string.h>

/* Behind a value, or the name of one, that begins at `p`. */
static const char *skip(const char *p)
{
    size_t depth = 0;
    do {
        if (*p == '"')
            for (p++; *p && *p != '"'; p++)
                p += *p == '\\' && p[1];
        else if (*p == '{' || *p == '[')
            depth++;
        else if ((*p == '}' || *p == ']') && depth)
            depth--;
        p += *p != '\0';
    } while (*p && (depth || !strchr(":,}]", *p)));
    return p;
}

/* A path, as it stands in quotes from `p` to `end`. */
static enum status path_text(const char *p, const char *end, struct buf *out)
{
    struct buf json = BUF_INIT;
    struct cli_bson_field f;
    void *bson = NULL;
    size_t len = 0, pos = 0;
    enum status st = buf_printf(&json, "{\"path\":");
    if (st == ST_OK)
        st = buf_append(&json, p, (size_t)(end - p));
    if (st == ST_OK)
        st = buf_append_u8(&json, '}');
    if (st == ST_OK)
        st = (enum status)varve_json_to_bson((const char *)json.data, json.len, &bson, &len);
    if (st == ST_OK)
        st = cli_bson_next(BYTES(bson, len), &pos, &f) == 1 && f.type == CLI_BSON_STRING
                 ? cli_text_bytes(out, f.value)
                 : ST_INVALID_ARGUMENT;
    varve_free(bson);
    buf_deinit(&json);
    return st;
}

/* The lines of one list; *p goes from its first entry to what closes it. */
static enum status lines(struct cli *c, const char *color, const char *what, const char **p)
{
    struct buf *b = &c->scratch;
    enum status st = ST_OK;
    while (st == ST_OK && **p == '"') {
        const char *end = skip(*p);
        st = buf_printf(b, "%s%-5s%s  ", color, what, cli_plain(c->color));
        if (st == ST_OK)
            st = path_text(*p, end, b);
        if (st == ST_OK && *end == ':') {
            const char *value = end + 1;
            end = skip(value);
            st = buf_printf(b, " = ");
            if (st == ST_OK)
                st = buf_append(b, value, (size_t)(end - value));
        }
        if (st == ST_OK)
            st = buf_append_u8(b, '\n');
        *p = end + (*end == ',');
    }
    return st;
}

static bool accept(const char **p, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

int cli_diff_text(struct cli *c, const char *json)
{
    const char *p = json;
    enum status st =
        accept(&p, "{\"set\":{") ? lines(c, cli_yellow(c->color), "set", &p) : ST_INVALID_ARGUMENT;
    if (st == ST_OK)
        st = accept(&p, "},\"unset\":[") ? lines(c, cli_red(c->color), "unset", &p)
                                         : ST_INVALID_ARGUMENT;
    if (st == ST_OK && strcmp(p, "]}") != 0)
        st = ST_INVALID_ARGUMENT;
    if (st == ST_OK) {
        cli_put_scratch(c);
        return CLI_OK;
    }
    buf_clear(&c->scratch);
    return cli_error(c, CLI_FAILED, "diff: %s",
                     st == ST_NO_MEMORY ? "out of memory"
                                        : "the library's answer has no set and unset");
}
