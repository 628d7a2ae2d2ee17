/* settings_yaml.c - the configuration file: mappings of scalars, one level deep, read by libyaml's
 * events. A list of scalars stands for its items with commas between them. Anchors, tags and several
 * documents are refused: they would mean nothing here. */
#include "apps/server/settings_internal.h"

#include <yaml.h>

struct reading {
    struct settings *s;
    const char *where;
    struct err *err;
    yaml_parser_t parser;
    yaml_event_t event;
    bool seen[SETTING_COUNT];
    char section[2 * SETTING_NAME_MAX + 2];
};

static enum status bad(struct reading *r, yaml_mark_t at, const char *what)
{
    return err_set(r->err, ST_INVALID_ARGUMENT, "%s:%zu:%zu: %s", r->where, at.line + 1,
                   at.column + 1, what);
}

/* The next event; the one before is let go. */
static enum status next(struct reading *r)
{
    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return ST_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return err_set(r->err, ST_NO_MEMORY, "%s: no memory to read it", r->where);
    return bad(r, r->parser.problem_mark, r->parser.problem ? r->parser.problem : "no YAML");
}

static enum status plain(struct reading *r)
{
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
            return bad(r, e->start_mark, "a NUL in a value");
    }
    if (e->type == YAML_ALIAS_EVENT || anchor || tag)
        return bad(r, e->start_mark, "anchors, aliases and tags are not taken");
    return ST_OK;
}

static const char *scalar(const struct reading *r)
{
    return (const char *)r->event.data.scalar.value;
}

static enum status list(struct reading *r, struct buf *ret)
{
    enum status st;
    while ((st = next(r)) == ST_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if ((st = plain(r)) != ST_OK)
            return st;
        if (r->event.type != YAML_SCALAR_EVENT)
            return bad(r, r->event.start_mark, "a list may only have plain items");
        st = buf_printf(ret, "%s%s", ret->len ? "," : "", scalar(r));
        if (st)
            return err_set(r->err, st, "%s: no memory to read it", r->where);
    }
    return st;
}

static enum status assign(struct reading *r, const char *name, const char *value, yaml_mark_t at)
{
    size_t i = settings__find(name);
    if (i < SETTING_COUNT && r->seen[i])
        return bad(r, at, "it is set twice");
    enum status st = settings_set(r->s, name, value, SETTING_FILE, r->err);
    if (st)
        err_prefix(r->err, "%s:%zu:%zu", r->where, at.line + 1, at.column + 1);
    else
        r->seen[i] = true;
    return st;
}

static enum status mapping(struct reading *r, bool top);

/* The value behind a name, whose event is the next. */
static enum status value(struct reading *r, const char *name, bool top, yaml_mark_t at)
{
    enum status st = next(r);
    if (!st)
        st = plain(r);
    if (st)
        return st;
    if (r->event.type == YAML_SCALAR_EVENT)
        return assign(r, name, scalar(r), at);
    if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        struct buf items;
        buf_init(&items, SETTINGS_FILE_MAX);
        st = list(r, &items);
        const char *text = st ? NULL : buf_cstr(&items);
        if (!st)
            st = text ? assign(r, name, text, at)
                      : err_set(r->err, ST_NO_MEMORY, "%s: no memory to read it", r->where);
        buf_deinit(&items);
        return st;
    }
    if (r->event.type != YAML_MAPPING_START_EVENT || !top)
        return bad(r, r->event.start_mark, "a value is expected here");
    (void)snprintf(r->section, sizeof r->section, "%s.", name);
    st = mapping(r, false);
    r->section[0] = '\0';
    return st;
}

static enum status mapping(struct reading *r, bool top)
{
    enum status st;
    while ((st = next(r)) == ST_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        char name[2 * SETTING_NAME_MAX];
        if ((st = plain(r)) != ST_OK)
            return st;
        yaml_mark_t at = r->event.start_mark;
        if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.length >= SETTING_NAME_MAX)
            return bad(r, at, "a name of a setting is expected here");
        if (snprintf(name, sizeof name, "%s%s", r->section, scalar(r)) >= (int)sizeof name)
            return bad(r, at, "a name of a setting is expected here");
        if ((st = value(r, name, top, at)) != ST_OK)
            return st;
    }
    return st;
}

static enum status document(struct reading *r)
{
    enum status st = next(r); /* the stream begins */
    if (!st)
        st = next(r);
    if (st || r->event.type == YAML_STREAM_END_EVENT) /* an empty file sets nothing */
        return st;
    if ((st = next(r)) != ST_OK)
        return st;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        st = mapping(r, true);
    else if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.length)
        return bad(r, r->event.start_mark, "names of settings are expected, as in listen: ...");
    if (!st)
        st = next(r); /* the document ends */
    if (!st)
        st = next(r);
    if (!st && r->event.type != YAML_STREAM_END_EVENT)
        st = bad(r, r->event.start_mark, "one document is enough");
    return st;
}

enum status settings_yaml(struct settings *s, struct bytes text, const char *where, struct err *err)
{
    struct reading r = {.s = s, .where = where, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ST_NO_MEMORY, "%s: no memory to read it", where);
    yaml_parser_set_input_string(&r.parser, text.data, text.len);
    enum status st = document(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return st;
}
