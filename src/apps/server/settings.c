/* settings.c - values of settings: from text, to text. */
#include "apps/server/settings.h"

#include "apps/server/settings_internal.h"
#include "base/moment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const struct setting settings__table[SETTING_COUNT] = {
#define X(field, name, kind, value, choices, reload, help)                                         \
    {name, SETTING_##kind, offsetof(struct settings, field), value, choices, reload, help},
    SETTINGS_TABLE(X)
#undef X
};

static const struct {
    const char *unit;
    unsigned shift;
} sizes[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}};

uint64_t *settings__number(const struct settings *s, const struct setting *d)
{
    return (uint64_t *)(void *)((char *)(uintptr_t)s + d->offset);
}

const char **settings__text(const struct settings *s, const struct setting *d)
{
    return (const char **)(void *)((char *)(uintptr_t)s + d->offset);
}

/* --- from text --- */

static bool number_parse(const char *text, uint64_t *ret, const char **ret_rest)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *ret = v;
    *ret_rest = p;
    return p != text;
}

static bool size_parse(const char *text, uint64_t *ret)
{
    uint64_t v;
    const char *unit;
    if (!number_parse(text, &v, &unit))
        return false;
    while (*unit == ' ')
        unit++;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcmp(unit, sizes[i].unit) == 0 && v <= (uint64_t)INT64_MAX >> sizes[i].shift) {
            *ret = v << sizes[i].shift;
            return true;
        }
    *ret = 0;
    return v == 0 && *unit == '\0';
}

/* Where the value stands among "a,b,c". */
static bool choice_parse(const char *choices, const char *text, uint64_t *ret)
{
    size_t len = strlen(text);
    uint64_t i = 0;
    for (const char *p = choices; len; i++) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, text, len) == 0) {
            *ret = i;
            return true;
        }
        if (!p[n])
            break;
        p += n + 1;
    }
    return false;
}

static enum status value_parse(struct settings *s, const struct setting *d, const char *value,
                               uint64_t *ret, const char **ret_text, struct err *err)
{
    const char *rest;
    switch (d->kind) {
    case SETTING_TEXT:
        *ret_text = arena_strdup(&s->arena, value);
        return *ret_text ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for settings");
    case SETTING_NUMBER:
        if (number_parse(value, ret, &rest) && !*rest && *ret > 0 && *ret <= UINT32_MAX)
            return ST_OK;
        return err_set(err, ST_INVALID_ARGUMENT, "%s: '%.60s' is not a number above 0", d->name,
                       value);
    case SETTING_AMOUNT:
        if (number_parse(value, ret, &rest) && !*rest && *ret <= UINT32_MAX)
            return ST_OK;
        return err_set(err, ST_INVALID_ARGUMENT, "%s: '%.60s' is not a number", d->name, value);
    case SETTING_SIZE:
        if (size_parse(value, ret))
            return ST_OK;
        return err_set(err, ST_INVALID_ARGUMENT,
                       "%s: '%.60s' is not a size, as 64MiB (B, KiB, MiB, GiB)", d->name, value);
    case SETTING_DURATION:
        if (duration_parse(value, ret, err) == ST_OK)
            return ST_OK;
        return err_set(err, ST_INVALID_ARGUMENT,
                       "%s: '%.60s' is not a duration, as 500ms, 30s or 5m", d->name, value);
    case SETTING_BOOL:
        if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
            *ret = value[0] == 't';
            return ST_OK;
        }
        return err_set(err, ST_INVALID_ARGUMENT, "%s: '%.60s' is neither true nor false", d->name,
                       value);
    case SETTING_CHOICE:
        if (choice_parse(d->choices, value, ret))
            return ST_OK;
        return err_set(err, ST_INVALID_ARGUMENT, "%s: '%.60s' is none of %s", d->name, value,
                       d->choices);
    }
    return err_set(err, ST_INTERNAL, "%s: a setting of no kind", d->name);
}

static enum status set(struct settings *s, size_t i, const char *value, enum setting_from from,
                       struct err *err)
{
    const struct setting *d = &settings__table[i];
    uint64_t number = 0;
    const char *text = NULL;
    enum status st = value_parse(s, d, value, &number, &text, err);
    if (st)
        return st;
    if (d->kind == SETTING_TEXT)
        *settings__text(s, d) = text;
    else
        *settings__number(s, d) = number;
    s->from[i] = (uint8_t)from;
    return ST_OK;
}

enum status settings_init(struct settings *s, struct err *err)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->arena, 4096);
    enum status st = ST_OK;
    for (size_t i = 0; i < SETTING_COUNT && !st; i++)
        st = set(s, i, settings__table[i].value, SETTING_DEFAULT, err);
    if (st)
        settings_deinit(s);
    return st;
}

void settings_deinit(struct settings *s)
{
    arena_deinit(&s->arena);
    memset(s, 0, sizeof *s);
}

/* --- names --- */

/* Edits from a to b: a row of the table by Wagner and Fischer (1974). */
static size_t distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    size_t row[MOST + 1], n = strlen(b);
    if (n > MOST)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[n];
}

size_t settings__find(const char *name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings__table[i].name, name) == 0)
            return i;
    return SETTING_COUNT;
}

enum status settings__unknown(const char *name, struct err *err)
{
    size_t best = SIZE_MAX, at = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        size_t d = distance(name, settings__table[i].name);
        if (d < best) {
            best = d;
            at = i;
        }
    }
    if (best <= 1 + strlen(name) / 3)
        return err_set(err, ST_INVALID_ARGUMENT, "there is no setting %.60s; is %s meant?", name,
                       settings__table[at].name);
    return err_set(err, ST_INVALID_ARGUMENT, "there is no setting %.60s", name);
}

enum status settings_set(struct settings *s, const char *name, const char *value,
                         enum setting_from from, struct err *err)
{
    size_t i = settings__find(name);
    return i < SETTING_COUNT ? set(s, i, value, from, err) : settings__unknown(name, err);
}

/* --- to text --- */

static enum status put_quoted(struct buf *out, const char *text)
{
    enum status st = buf_append_u8(out, '"');
    for (; *text && !st; text++) {
        uint8_t b = (uint8_t)*text;
        if (b == '"' || b == '\\')
            st = buf_printf(out, "\\%c", b);
        else if (b < ' ' || b == 0x7f)
            st = buf_printf(out, "\\x%02x", b);
        else
            st = buf_append_u8(out, b);
    }
    return st ? st : buf_append_u8(out, '"');
}

static enum status put_size(struct buf *out, uint64_t v)
{
    size_t i = 0;
    while (sizes[i].shift && (v == 0 || v & ((UINT64_C(1) << sizes[i].shift) - 1)))
        i++;
    return buf_printf(out, "%" PRIu64 "%s", v >> sizes[i].shift, sizes[i].unit);
}

static enum status put_duration(struct buf *out, uint64_t ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    if (ms == 0)
        return buf_printf(out, "0");
    while (ms % units[i].ms)
        i++;
    return buf_printf(out, "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
}

static enum status put_value(const struct settings *s, const struct setting *d, struct buf *out)
{
    uint64_t v = d->kind == SETTING_TEXT ? 0 : *settings__number(s, d);
    const char *p = d->choices;
    switch (d->kind) {
    case SETTING_TEXT:
        return put_quoted(out, *settings__text(s, d));
    case SETTING_NUMBER:
    case SETTING_AMOUNT:
        return buf_printf(out, "%" PRIu64, v);
    case SETTING_SIZE:
        return put_size(out, v);
    case SETTING_DURATION:
        return put_duration(out, v);
    case SETTING_BOOL:
        return buf_printf(out, "%s", v ? "true" : "false");
    case SETTING_CHOICE:
        for (; v > 0; v--)
            p += strcspn(p, ",") + 1;
        /* YAML 1.1 reads a bare off as false; libyaml does not care, others do. */
        return buf_printf(out, "\"%.*s\"", (int)strcspn(p, ","), p);
    }
    return ST_INTERNAL;
}

enum status settings_print(const struct settings *s, struct buf *out)
{
    static const char *const from[] = {"default", "file", "environment", "flag"};
    char section[32] = "";
    enum status st = ST_OK;
    for (size_t i = 0; i < SETTING_COUNT && !st; i++) {
        const struct setting *d = &settings__table[i];
        const char *dot = strchr(d->name, '.'), *leaf = dot ? dot + 1 : d->name;
        size_t n = dot ? (size_t)(dot - d->name) : 0;
        if (strlen(section) != n || memcmp(section, d->name, n) != 0) {
            (void)snprintf(section, sizeof section, "%.*s", (int)n, d->name);
            st = n ? buf_printf(out, "%s:\n", section) : ST_OK;
        }
        if (!st)
            st = buf_printf(out, "%s%s: ", n ? "  " : "", leaf);
        if (!st)
            st = put_value(s, d, out);
        if (!st)
            st = buf_printf(out, s->from[i] ? "  # %s\n" : "\n", from[s->from[i]]);
    }
    return st;
}

void settings__flag(const char *name, char out[SETTING_NAME_MAX])
{
    size_t n = 0;
    for (; name[n] && n + 1 < SETTING_NAME_MAX; n++)
        out[n] = name[n] == '.' || name[n] == '_' ? '-' : name[n];
    out[n] = '\0';
}

enum status settings_help(struct buf *out)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < SETTING_COUNT && !st; i++) {
        const struct setting *d = &settings__table[i];
        char flag[SETTING_NAME_MAX];
        static const char *const kinds[] = {
            [SETTING_TEXT] = " TEXT",  [SETTING_NUMBER] = " N",          [SETTING_AMOUNT] = " N",
            [SETTING_SIZE] = " SIZE",  [SETTING_DURATION] = " DURATION", [SETTING_BOOL] = "",
            [SETTING_CHOICE] = " WORD"};
        settings__flag(d->name, flag);
        size_t begin = out->len;
        st = buf_printf(out, "  --%s%s", flag, kinds[d->kind]);
        size_t width = out->len - begin;
        if (!st)
            st = buf_printf(out, "%*s%s", width < 34 ? (int)(34 - width) : 1, "", d->help);
        if (!st && d->choices)
            st = buf_printf(out, " (%s)", d->choices);
        if (!st && *d->value && d->kind != SETTING_BOOL)
            st = buf_printf(out, " [%s]", d->value);
        if (!st)
            st = buf_printf(out, "\n");
    }
    return st;
}

/* --- a running server --- */

static bool same(const struct settings *a, const struct settings *b, const struct setting *d)
{
    return d->kind == SETTING_TEXT ? strcmp(*settings__text(a, d), *settings__text(b, d)) == 0
                                   : *settings__number(a, d) == *settings__number(b, d);
}

enum status settings_frozen(const struct settings *running, const struct settings *wanted,
                            struct buf *ret_names)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < SETTING_COUNT && !st; i++) {
        const struct setting *d = &settings__table[i];
        if (!d->reload && !same(running, wanted, d))
            st = buf_printf(ret_names, "%s%s", ret_names->len ? ", " : "", d->name);
    }
    return st;
}

enum status settings_reload(struct settings *running, const struct settings *wanted,
                            struct err *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *d = &settings__table[i];
        if (!d->reload)
            continue;
        if (d->kind == SETTING_TEXT)
            return err_set(err, ST_INTERNAL, "%s: a text cannot be reloaded", d->name);
        *settings__number(running, d) = *settings__number(wanted, d);
        running->from[i] = wanted->from[i];
    }
    return ST_OK;
}
