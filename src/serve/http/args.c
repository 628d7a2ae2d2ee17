/* args.c - what parameters and headers say, as the verbs take it. Refusals name the parameter. */
#include "serve/http/http_internal.h"

#include <inttypes.h>

static enum status refuse(struct http_call *c, enum http_param p, enum status st)
{
    if (st != ST_OK)
        err_prefix(&c->err, "%s", http_param_name(p));
    return st;
}

/* NUL-terminated, in the arena. */
enum status arg_text(struct http_call *c, struct bytes b, const char **ret)
{
    if (b.len && memchr(b.data, 0, b.len))
        return err_set(&c->err, ST_INVALID_ARGUMENT, "there is a zero byte in it");
    char *text = arena_alloc(call_arena(c), b.len + 1);
    if (!text)
        return err_set(&c->err, ST_NO_MEMORY, "no memory for the request");
    memcpy(text, b.data, b.len);
    text[b.len] = '\0';
    *ret = text;
    return ST_OK;
}

enum status arg_moment(struct http_call *c, enum http_param p, struct command_at *ret,
                       bool *ret_fixed)
{
    static const enum command_at_kind kinds[] = {[MOMENT_NOW] = COMMAND_AT_NOW,
                                                 [MOMENT_VERSION] = COMMAND_AT_VERSION,
                                                 [MOMENT_TIME] = COMMAND_AT_TIME,
                                                 [MOMENT_SNAPSHOT] = COMMAND_AT_SNAPSHOT};
    struct moment m = {.kind = MOMENT_NOW};
    const char *text = NULL;
    enum status st = ST_OK;
    if (call_has(c, p)) {
        st = arg_text(c, c->query.value[p], &text);
        if (st == ST_OK)
            st = moment_parse(text, env_now_ms(c->db.env), &m, &c->err);
    }
    if (st != ST_OK)
        return refuse(c, p, st);
    *ret = (struct command_at){.kind = kinds[m.kind],
                               .version = m.version,
                               .time_ms = m.time_ms,
                               .snapshot = m.snapshot ? BYTES_STR(m.snapshot) : BYTES_EMPTY};
    /* A snapshot's name may come to mean another moment. */
    *ret_fixed = (m.kind == MOMENT_VERSION || m.kind == MOMENT_TIME) && !m.relative;
    return ST_OK;
}

enum status arg_bool(struct http_call *c, enum http_param p, bool *ret)
{
    struct bytes v = c->query.value[p];
    if (!call_has(c, p))
        return ST_OK;
    bool yes = v.len == 0 || bytes_eq(v, BYTES_LIT("true")) || bytes_eq(v, BYTES_LIT("1"));
    if (!yes && !bytes_eq(v, BYTES_LIT("false")) && !bytes_eq(v, BYTES_LIT("0")))
        return refuse(c, p, err_set(&c->err, ST_INVALID_ARGUMENT, "it is neither true nor false"));
    *ret = yes;
    return ST_OK;
}

enum status arg_number(struct http_call *c, enum http_param p, uint64_t max, uint64_t *ret)
{
    struct bytes v = c->query.value[p];
    uint64_t n = 0;
    if (!call_has(c, p))
        return ST_OK;
    for (size_t i = 0; i < v.len; i++) {
        unsigned digit = (unsigned)v.data[i] - '0';
        if (digit > 9)
            return refuse(c, p, err_set(&c->err, ST_INVALID_ARGUMENT, "it is not a whole number"));
        n = n > UINT64_MAX / 20 ? n : n * 10 + digit; /* over any limit as it is */
    }
    if (v.len == 0 || n == 0)
        return refuse(c, p, err_set(&c->err, ST_INVALID_ARGUMENT, "it is not a number from 1 on"));
    if (n > max)
        return refuse(
            c, p, err_set(&c->err, ST_INVALID_ARGUMENT, "it is over the limit of %" PRIu64, max));
    *ret = n;
    return ST_OK;
}

enum status arg_duration(struct http_call *c, enum http_param p, uint64_t *ret_ms)
{
    const char *text = NULL;
    if (!call_has(c, p))
        return ST_OK;
    enum status st = arg_text(c, c->query.value[p], &text);
    if (st == ST_OK)
        st = duration_parse(text, ret_ms, &c->err);
    return refuse(c, p, st);
}

enum status arg_consistency(struct http_call *c)
{
    struct bytes v = c->query.value[PARAM_CONSISTENCY];
    if (!call_has(c, PARAM_CONSISTENCY) || bytes_eq(v, BYTES_LIT("linearizable")))
        return ST_OK;
    if (bytes_eq(v, BYTES_LIT("local"))) {
        c->db.consistency = COMMAND_LOCAL;
        return ST_OK;
    }
    return refuse(c, PARAM_CONSISTENCY,
                  err_set(&c->err, ST_INVALID_ARGUMENT, "it is neither linearizable nor local"));
}

enum status sync_parse(struct bytes text, enum store_sync *ret, struct err *err)
{
    if (bytes_eq(text, BYTES_LIT("always")))
        *ret = STORE_SYNC_ALWAYS;
    else if (bytes_eq(text, BYTES_LIT("interval")))
        *ret = STORE_SYNC_INTERVAL;
    else if (bytes_eq(text, BYTES_LIT("off")))
        *ret = STORE_SYNC_OFF;
    else
        return err_set(err, ST_INVALID_ARGUMENT, "sync: it is not always, interval or off");
    return ST_OK;
}

enum status arg_request_id(struct http_call *c, struct command_options *o)
{
    struct bytes id;
    if (!request_header(&c->x->req, BYTES_LIT("idempotency-key"), &id))
        return ST_OK;
    enum status st = http_percent_decode(id, call_arena(c), &o->request_id, &c->err);
    if (st == ST_OK && o->request_id.len == 0)
        st = err_set(&c->err, ST_INVALID_ARGUMENT, "it is empty");
    if (st != ST_OK)
        err_prefix(&c->err, "options.request_id"); /* told by the name of the header */
    return st;
}

enum status arg_writer(struct http_call *c, struct command_options *ret)
{
    struct bytes text;
    if (!request_header(&c->x->req, BYTES_LIT("x-varve-writer"), &text))
        return ST_OK;
    enum status st = http_percent_decode(text, call_arena(c), &ret->writer, &c->err);
    if (st != ST_OK)
        err_prefix(&c->err, "writer"); /* told by the name of the header */
    return st;
}

enum status arg_write(struct http_call *c, struct command_options *ret)
{
    struct command_options o = {0};
    enum status st = arg_duration(c, PARAM_TTL, &o.ttl_ms);
    if (st == ST_OK && call_has(c, PARAM_TTL) && o.ttl_ms == 0) /* for the verbs 0 is for ever */
        st = call_refuse(c, 400, "ttl", "it is 0; without it the record stays");
    if (st == ST_OK && call_has(c, PARAM_SYNC))
        st = sync_parse(c->query.value[PARAM_SYNC], &o.sync, &c->err);
    if (st == ST_OK)
        st = arg_writer(c, &o);
    if (st == ST_OK)
        st = arg_request_id(c, &o);
    if (st == ST_OK)
        *ret = o;
    return st;
}

/* ---- tags and conditions (RFC 9110, section 13) ---- */

static struct bytes trim(struct bytes b)
{
    while (b.len && (b.data[0] == ' ' || b.data[0] == '\t'))
        b = BYTES(b.data + 1, b.len - 1);
    while (b.len && (b.data[b.len - 1] == ' ' || b.data[b.len - 1] == '\t'))
        b.len--;
    return b;
}

bool etag_parse(struct bytes text, struct version *ret)
{
    text = trim(text);
    return text.len > 2 && text.data[0] == '"' && text.data[text.len - 1] == '"' &&
           version_parse(BYTES(text.data + 1, text.len - 2), ret) && !version_is_none(*ret);
}

/* Each tag of a list, also of the same field given several times. */
static bool next_tag(struct http_call *c, const char *field, size_t *header, size_t *at,
                     struct bytes *ret)
{
    for (; *header < c->x->n_headers; (*header)++, *at = 0) {
        const struct wire_header *h = &c->x->headers[*header];
        if (!wire_eq_nocase(h->name, BYTES_STR(field)))
            continue;
        while (*at < h->value.len) {
            const uint8_t *from = h->value.data + *at;
            const uint8_t *comma = memchr(from, ',', h->value.len - *at);
            size_t n = comma ? (size_t)(comma - from) : h->value.len - *at;
            *at += n + 1;
            *ret = trim(BYTES(from, n));
            if (ret->len)
                return true;
        }
    }
    return false;
}

bool etag_known(struct http_call *c, struct version v)
{
    size_t header = 0, at = 0;
    struct bytes tag;
    struct version known;
    while (next_tag(c, "if-none-match", &header, &at, &tag)) {
        if (bytes_eq(tag, BYTES_LIT("*")))
            return true;
        if (bytes_has_prefix(tag, BYTES_LIT("W/"))) /* compared weakly here */
            tag = BYTES(tag.data + 2, tag.len - 2);
        if (etag_parse(tag, &known) && version_cmp(known, v) == 0)
            return true;
    }
    return false;
}

static enum status only_tag(struct http_call *c, const char *field, struct bytes *ret,
                            bool *ret_any)
{
    size_t header = 0, at = 0;
    struct bytes more;
    *ret = BYTES_EMPTY;
    *ret_any = next_tag(c, field, &header, &at, ret);
    if (*ret_any && next_tag(c, field, &header, &at, &more))
        return call_refuse(c, 400, field, "a write takes one entity tag, not a list of them");
    /* A field without a tag is a condition too: it must not write as if there were none. */
    *ret_any = *ret_any || request_header(&c->x->req, BYTES_STR(field), &more);
    return ST_OK;
}

enum status arg_condition(struct http_call *c, struct command_require *ret)
{
    struct bytes match, none;
    bool has_match, has_none;
    struct command_require r = {0};
    enum status st = only_tag(c, "if-match", &match, &has_match);
    if (st == ST_OK)
        st = only_tag(c, "if-none-match", &none, &has_none);
    if (st != ST_OK)
        return st;
    if (has_match && has_none)
        return call_refuse(c, 400, "if-match",
                           "it stands beside if-none-match: one of them counts");
    if (has_none && !bytes_eq(none, BYTES_LIT("*")))
        return call_refuse(c, 400, "if-none-match",
                           "a write takes only * (the key must be absent)");
    if (has_none)
        r.what = STORE_REQUIRE_ABSENT;
    if (has_match && bytes_eq(match, BYTES_LIT("*")))
        r.what = STORE_REQUIRE_PRESENT;
    else if (has_match && etag_parse(match, &r.version))
        r.what = STORE_REQUIRE_VERSION;
    else if (has_match) { /* no tag of ours: it fits no version (weak tags never do) */
        c->field = "if-match";
        return err_set(&c->err, ST_PRECONDITION_FAILED,
                       "it is not the entity tag of any version: \"VERSION\" in quotes");
    }
    *ret = r;
    return ST_OK;
}
