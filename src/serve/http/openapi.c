/* openapi.c - OpenAPI 3.1 (JSON Schema 2020-12), from the table of routes; the schemas are here. */
#include "serve/http/http_internal.h"

#include <stdio.h>

static const char schemas[] =
    "\"Any\":{},"
    "\"Bytes\":{\"description\":\"A string of UTF-8, or bytes as Extended JSON has them.\","
    "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"required\":[\"$binary\"],"
    "\"additionalProperties\":false,\"properties\":{\"$binary\":{\"type\":\"object\","
    "\"required\":[\"base64\",\"subType\"],\"additionalProperties\":false,\"properties\":{"
    "\"base64\":{\"type\":\"string\"},\"subType\":{\"type\":\"string\"}}}}}]},"
    "\"Document\":{\"type\":\"object\",\"description\":\"MongoDB Extended JSON v2.\"},"
    "\"Version\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{16}(-[0-9]+)?$\"},"
    "\"Time\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"Written\":{\"type\":\"object\",\"required\":[\"version\",\"time\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"time\":{\"$ref\":\"#/components/schemas/Time\"}}},"
    "\"Record\":{\"type\":\"object\",\"required\":[\"version\",\"time\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"collection\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"key\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"time\":{\"$ref\":\"#/components/schemas/Time\"},"
    "\"kind\":{\"type\":\"string\",\"enum\":[\"put\",\"delete\"]},"
    "\"parent\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"writer\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"expires\":{\"$ref\":\"#/components/schemas/Time\"},"
    "\"type\":{\"type\":\"string\",\"enum\":[\"document\",\"bytes\"]},"
    "\"value\":{\"description\":\"A document, or Bytes.\"},"
    "\"token\":{\"type\":\"string\"}}},"
    "\"Missing\":{\"type\":\"object\",\"required\":[\"collection\",\"key\",\"version\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"collection\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"key\":{\"$ref\":\"#/components/schemas/Bytes\"},\"version\":{\"type\":\"null\"}}},"
    "\"ScanPage\":{\"type\":\"object\",\"required\":[\"items\",\"next\",\"at\",\"time\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Record\"}},"
    "\"next\":{\"type\":[\"string\",\"null\"]},"
    "\"at\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"time\":{\"$ref\":\"#/components/schemas/Time\"}}},"
    "\"HistoryPage\":{\"$ref\":\"#/components/schemas/ScanPage\"},"
    "\"ChangesPage\":{\"type\":\"object\",\"required\":[\"items\",\"next\",\"more\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Record\"}},"
    "\"next\":{\"type\":\"string\"},\"more\":{\"type\":\"boolean\"}}},"
    "\"Records\":{\"type\":\"object\",\"required\":[\"items\"],\"additionalProperties\":false,"
    "\"properties\":{\"items\":{\"type\":\"array\",\"items\":{\"oneOf\":["
    "{\"$ref\":\"#/components/schemas/Record\"},"
    "{\"$ref\":\"#/components/schemas/Missing\"}]}}}},"
    "\"Diff\":{\"description\":\"paths: {set, unset}; patch: RFC 6902.\",\"oneOf\":["
    "{\"type\":\"object\",\"required\":[\"set\",\"unset\"],\"additionalProperties\":false,"
    "\"properties\":{\"set\":{\"type\":\"object\"},\"unset\":{\"type\":\"array\","
    "\"items\":{\"type\":\"string\"}}}},"
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"op\",\"path\"]}}]},"
    "\"Batch\":{\"type\":\"object\",\"required\":[\"writes\"],\"additionalProperties\":false,"
    "\"properties\":{"
    "\"writes\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
    "\"required\":[\"collection\",\"key\"],\"additionalProperties\":false,\"properties\":{"
    "\"collection\":{\"type\":\"string\"},\"key\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"value\":{\"description\":\"An object is a document; Bytes are bytes.\"},"
    "\"delete\":{\"type\":\"boolean\"},\"ttl\":{\"type\":\"string\"},"
    "\"if_version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"if_absent\":{\"type\":\"boolean\"},\"if_present\":{\"type\":\"boolean\"}}}},"
    "\"require\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
    "\"required\":[\"collection\",\"key\"],\"additionalProperties\":false,\"properties\":{"
    "\"collection\":{\"type\":\"string\"},\"key\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"absent\":{\"type\":\"boolean\"},\"present\":{\"type\":\"boolean\"}}}},"
    "\"sync\":{\"type\":\"string\",\"enum\":[\"always\",\"interval\",\"off\"]},"
    "\"writer\":{\"$ref\":\"#/components/schemas/Bytes\"}}},"
    "\"Keys\":{\"type\":\"object\",\"required\":[\"keys\"],\"additionalProperties\":false,"
    "\"properties\":{\"keys\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
    "\"required\":[\"collection\",\"key\"],\"additionalProperties\":false,\"properties\":{"
    "\"collection\":{\"type\":\"string\"},\"key\":{\"$ref\":\"#/components/schemas/Bytes\"}}}},"
    "\"at\":{\"type\":\"string\"},\"canonical\":{\"type\":\"boolean\"}}},"
    "\"Name\":{\"type\":\"object\",\"required\":[\"name\",\"version\",\"time\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"name\":{\"$ref\":\"#/components/schemas/Bytes\"},"
    "\"version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"time\":{\"$ref\":\"#/components/schemas/Time\"}}},"
    "\"NamesPage\":{\"type\":\"object\",\"required\":[\"items\",\"next\"],"
    "\"additionalProperties\":false,\"properties\":{"
    "\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Name\"}},"
    "\"next\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Retention\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"max_age\":{\"type\":[\"string\",\"null\"],\"description\":\"A duration; null: no limit.\"},"
    "\"max_count\":{\"type\":\"integer\",\"minimum\":0,\"description\":\"0: no limit.\"}}},"
    "\"Stats\":{\"type\":\"object\",\"required\":[\"collections\",\"writes\",\"newest\",\"time\","
    "\"poisoned\"],\"properties\":{\"newest\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"poisoned\":{\"type\":\"boolean\"}}},"
    "\"Topology\":{\"type\":\"object\",\"required\":[\"cluster\",\"leader\",\"term\",\"commit\","
    "\"applied\",\"nodes\"],\"properties\":{"
    "\"cluster\":{\"type\":\"string\",\"description\":\"Empty: there is only this node.\"},"
    "\"leader\":{\"type\":[\"integer\",\"null\"]},\"term\":{\"type\":\"integer\"},"
    "\"commit\":{\"type\":\"integer\"},\"applied\":{\"type\":\"integer\"},"
    "\"nodes\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"id\","
    "\"leader\",\"reachable\",\"answering\"],\"properties\":{\"id\":{\"type\":\"integer\"},"
    "\"address\":{\"type\":\"string\"},\"peer_address\":{\"type\":\"string\"},"
    "\"version\":{\"type\":\"string\"},\"leader\":{\"type\":\"boolean\"},"
    "\"reachable\":{\"type\":\"boolean\"},\"answering\":{\"type\":\"boolean\"}}}}}},"
    "\"Took\":{\"type\":\"object\",\"required\":[\"ms\"],\"additionalProperties\":false,"
    "\"properties\":{\"ms\":{\"type\":\"integer\"}}},"
    "\"Vacuumed\":{\"type\":\"object\",\"required\":[\"rows_seen\",\"versions_removed\","
    "\"bytes_removed\",\"expired\"],\"additionalProperties\":false,\"properties\":{"
    "\"rows_seen\":{\"type\":\"integer\"},\"versions_removed\":{\"type\":\"integer\"},"
    "\"bytes_removed\":{\"type\":\"integer\"},\"expired\":{\"type\":\"integer\"}}},"
    "\"Verified\":{\"type\":\"object\",\"required\":[\"items\",\"ok\",\"findings\"],"
    "\"additionalProperties\":false,\"properties\":{\"items\":{\"type\":\"array\",\"items\":{"
    "\"type\":\"object\"}},\"ok\":{\"type\":\"boolean\"},\"findings\":{\"type\":\"integer\"}}},"
    "\"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457.\",\"required\":[\"type\","
    "\"title\",\"status\",\"detail\",\"request_id\"],\"additionalProperties\":false,"
    "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
    "\"field\":{\"type\":\"string\",\"description\":\"What of the request it is about.\"},"
    "\"limit\":{\"type\":\"integer\",\"description\":\"What it is over.\"},"
    "\"version\":{\"$ref\":\"#/components/schemas/Version\"},"
    "\"time\":{\"$ref\":\"#/components/schemas/Time\"},"
    "\"request_id\":{\"type\":\"string\"}}}";

static const char intro[] =
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Varve\",\"version\":\"1\",\"description\":"
    "\"Keys are bytes, percent-encoded; a raw / separates, %2F is part of a key. A collection "
    "whose "
    "name is a word of this interface (batch, changes, ...) or begins with = is written with = "
    "before it: /v1/=batch/key.\"},\"security\":[{},{\"basic\":[]},{\"bearer\":[]}],\"paths\":{";

static enum status parameter(struct buf *b, const char *where, const char *name, const char *schema,
                             const char *text, bool required)
{
    return buf_printf(b,
                      "{\"name\":\"%s\",\"in\":\"%s\",\"required\":%s,\"description\":\"%s\","
                      "\"schema\":%s},",
                      name, where, required ? "true" : "false", text, schema);
}

/* Writes end with a comma, which the last one loses. */
static void no_comma(struct buf *b)
{
    if (b->len && b->data[b->len - 1] == ',')
        b->len--;
}

static enum status path_parameters(struct buf *b, const struct http_route *r)
{
    static const char *const names[][2] = {
        {"collection", "The collection."},
        {"key", "The key: any bytes, percent-encoded."},
        {"name", "The name of the snapshot."},
    };
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < 3; i++) {
        char in[32];
        snprintf(in, sizeof in, "{%s}", names[i][0]);
        if (strstr(r->path, in))
            st = parameter(b, "path", names[i][0], "{\"type\":\"string\"}", names[i][1], true);
    }
    return st;
}

static enum status query_parameters(struct buf *b, const struct http_route *r)
{
    static const struct {
        const char *name, *schema, *text;
    } all[] = {
#define X(id, name, schema, text) {name, schema, text},
        HTTP_PARAM_TABLE(X)
#undef X
    };
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < PARAM_COUNT; i++)
        if ((r->params >> i) & 1)
            st = parameter(b, "query", all[i].name, all[i].schema, all[i].text, false);
    return st;
}

static enum status header_parameters(struct buf *b, const struct http_route *r)
{
    static const char text[] = "{\"type\":\"string\"}";
    enum status st = ST_OK;
    if (r->condition == CONDITION_WRITE)
        st = parameter(b, "header", "If-Match", text,
                       "The version that must be the present one, in quotes, or *: there is one.",
                       false);
    if (st == ST_OK && r->condition != CONDITION_NONE)
        st = parameter(b, "header", "If-None-Match", text,
                       r->condition == CONDITION_WRITE ? "* only: the key must be absent."
                                                       : "What the client has: 304.",
                       false);
    bool writes = r->params & PARAM(SYNC) || r->verb == COMMAND_COMMIT;
    if (st == ST_OK && writes)
        st = parameter(b, "header", "X-Varve-Writer", text,
                       "Who writes, percent-encoded; without it, who is logged in.", false);
    if (st == ST_OK && writes)
        st = parameter(b, "header", "Idempotency-Key", text,
                       "Writes of one key are done once within 24 hours; percent-encoded, at most "
                       "128 bytes.",
                       false);
    if (st == ST_OK && r->answers & MEDIA(EVENTS))
        st = parameter(b, "header", "Last-Event-ID", text, "Go on behind this event.", false);
    return st;
}

/* Bodies by type: what is JSON has the schema, the rest is bytes or text. */
static enum status content(struct buf *b, unsigned which, const char *schema)
{
    enum status st = json_put(b, "\"content\":{");
    for (int m = 0; st == ST_OK && m < MEDIA_NONE; m++) {
        if (!((which >> m) & 1))
            continue;
        st = buf_printf(b, "\"%s\":", http_media_type((enum http_media)m));
        if (st == ST_OK && (m == MEDIA_JSON || m == MEDIA_PATCH))
            st = buf_printf(b, "{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}},",
                            schema ? schema : "Any");
        else if (st == ST_OK)
            st = json_put(b, m == MEDIA_BYTES || m == MEDIA_BSON
                                 ? "{},"
                                 : "{\"schema\":{\"type\":\"string\"}},");
    }
    no_comma(b);
    return st == ST_OK ? buf_append_u8(b, '}') : st;
}

static enum status problem(struct buf *b, unsigned code, const char *text)
{
    return buf_printf(b,
                      "\"%u\":{\"description\":\"%s\",\"content\":{\"application/problem+json\":{"
                      "\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}},",
                      code, text);
}

static const struct {
    unsigned code;
    const char *text;
} codes[] = {
    {400, "A part of the request is wrong: field says which."},
    {401, "Who asks has not shown who they are."},
    {403, "Who asks may not do this."},
    {404, "There is no such record, collection or snapshot."},
    {406, "None of what Accept names can be had."},
    {409, "There is one already."},
    {410, "That past is gone: below the retention horizon."},
    {412, "The condition does not hold; version is what is there."},
    {413, "The body is over the limit."},
    {415, "The body is of a type that is not taken."},
    {428, "A condition must be said."},
    {429, "Too much at once: see Retry-After."},
    {500, "The database has failed."},
    {503, "Not now: see Retry-After."},
    {504, "It took too long."},
    {507, "The disk is full."},
};

static bool may(const struct http_route *r, unsigned code)
{
    char text[8];
    snprintf(text, sizeof text, "%u", code);
    bool common = code == 400 || code == 500 || code == 503;
    bool gated = r->verb >= 0 && (code == 401 || code == 403 || code == 429 || code == 504);
    return common || gated || strstr(r->problems, text);
}

static enum status responses(struct buf *b, const struct http_route *r)
{
    enum status st = buf_printf(b, "\"responses\":{\"%u\":{\"description\":\"Done.\"", r->status);
    if (st == ST_OK && r->answers != MEDIA(NONE)) {
        st = buf_append_u8(b, ',');
        if (st == ST_OK)
            st = content(b, r->answers, r->schema);
    }
    if (st == ST_OK)
        st = json_put(b, "},");
    if (st == ST_OK && strstr(r->problems, "201")) {
        st = json_put(b, "\"201\":{\"description\":\"Done, and the key was absent.\",");
        if (st == ST_OK)
            st = content(b, r->answers, r->schema);
        if (st == ST_OK)
            st = json_put(b, "},");
    }
    if (st == ST_OK && strstr(r->problems, "304"))
        st = json_put(b, "\"304\":{\"description\":\"The client has it.\"},");
    for (size_t i = 0; st == ST_OK && i < sizeof codes / sizeof codes[0]; i++)
        if (may(r, codes[i].code))
            st = problem(b, codes[i].code, codes[i].text);
    no_comma(b);
    return st == ST_OK ? buf_append_u8(b, '}') : st;
}

static enum status operation(struct buf *b, const struct http_route *r)
{
    static const char *const names[] = {"get", "put", "post", "delete"};
    enum status st =
        buf_printf(b, "\"%s\":{\"operationId\":\"%s\",\"summary\":\"%s\",\"parameters\":[",
                   names[r->method], r->id, r->summary);
    if (st == ST_OK)
        st = path_parameters(b, r);
    if (st == ST_OK)
        st = query_parameters(b, r);
    if (st == ST_OK)
        st = header_parameters(b, r);
    no_comma(b);
    if (st == ST_OK)
        st = json_put(b, "],");
    if (st == ST_OK && r->body) {
        st = json_put(b, "\"requestBody\":{\"required\":true,");
        if (st == ST_OK)
            st = content(b, r->body, r->body_schema);
        if (st == ST_OK)
            st = json_put(b, "},");
    }
    if (st == ST_OK)
        st = responses(b, r);
    return st == ST_OK ? json_put(b, "},") : st;
}

/* All methods of a path stand together, at its first route. */
static enum status path(struct buf *b, size_t first)
{
    for (size_t i = 0; i < first; i++)
        if (strcmp(http_routes[i].path, http_routes[first].path) == 0)
            return ST_OK;
    enum status st = buf_printf(b, "\"%s\":{", http_routes[first].path);
    for (size_t i = first; st == ST_OK && i < http_route_count; i++)
        if (strcmp(http_routes[i].path, http_routes[first].path) == 0)
            st = operation(b, &http_routes[i]);
    no_comma(b);
    return st == ST_OK ? json_put(b, "},") : st;
}

enum status http_openapi(struct buf *out)
{
    enum status st = json_put(out, intro);
    for (size_t i = 0; st == ST_OK && i < http_route_count; i++)
        st = path(out, i);
    no_comma(out);
    if (st == ST_OK)
        st = json_put(out, "},\"components\":{\"securitySchemes\":{\"basic\":{\"type\":\"http\","
                           "\"scheme\":\"basic\"},\"bearer\":{\"type\":\"http\",\"scheme\":"
                           "\"bearer\"}},\"schemas\":{");
    if (st == ST_OK)
        st = json_put(out, schemas);
    return st == ST_OK ? json_put(out, "}}}\n") : st;
}
