/* past.c - what changed between two moments; writing again what once was. */
#include "serve/http/http_internal.h"

struct diff_job {
    struct http_call *c;
    struct command_diff diff;
    struct command_at a, b;
    struct buf out;
    enum status st;
};

static void diff_on_pool(void *arg)
{
    struct diff_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_moment(&c->db, &j->a, &j->diff.a, &c->err);
    if (j->st != ST_OK)
        err_prefix(&c->err, "a");
    if (j->st == ST_OK && (j->st = command_moment(&c->db, &j->b, &j->diff.b, &c->err)) != ST_OK)
        err_prefix(&c->err, "b");
    if (j->st == ST_OK)
        j->st = command_diff(&c->db, &j->diff, &j->out, &c->err);
    if (j->st == ST_OK && json_put(&j->out, "\n") != ST_OK)
        j->st = err_set(&c->err, ST_NO_MEMORY, "no memory for the answer");
}

enum status http_diff(struct http_call *c)
{
    struct diff_job j = {
        .c = c,
        .diff = {.collection = c->names.collection, .key = c->names.key, .format = DOC_DIFF_PATHS}};
    bool fixed_a, fixed_b;
    enum http_media m;
    struct bytes format =
        call_has(c, PARAM_FORMAT) ? c->query.value[PARAM_FORMAT] : BYTES_LIT("paths");
    enum status st = http__allow(c, COMMAND_DIFF, c->names.collection);
    if (st == ST_OK && !call_has(c, PARAM_A))
        st = call_refuse(c, 400, "a", "it is missing: the older moment");
    if (st == ST_OK)
        st = arg_moment(c, PARAM_A, &j.a, &fixed_a);
    if (st == ST_OK)
        st = arg_moment(c, PARAM_B, &j.b, &fixed_b);
    if (st == ST_OK && j.a.kind == COMMAND_AT_NOW)
        st = call_refuse(c, 400, "a", "it is the present");
    if (bytes_eq(format, BYTES_LIT("patch")))
        j.diff.format = DOC_DIFF_JSON_PATCH;
    else if (st == ST_OK && !bytes_eq(format, BYTES_LIT("paths")))
        st = call_refuse(c, 400, "format", "it is neither paths nor patch");
    if (st == ST_OK)
        st = call_negotiate(
            c, j.diff.format == DOC_DIFF_PATHS ? MEDIA(JSON) : MEDIA(PATCH) | MEDIA(JSON), &m);
    if (st == ST_OK)
        st = http__work(c, WORK_READ, diff_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK) {
        call_cache(c, fixed_a && fixed_b);
        st = http__respond(c, 200, j.diff.format == DOC_DIFF_PATHS ? MEDIA_JSON : MEDIA_PATCH,
                           buf_bytes(&j.out));
    }
    buf_deinit(&j.out);
    return st;
}

struct restore_job {
    struct http_call *c;
    struct command_restore restore;
    struct version version;
    enum status st;
};

static void restore_on_pool(void *arg)
{
    struct restore_job *j = arg;
    j->st = command_restore(&j->c->db, &j->restore, &j->version, &j->c->err);
}

enum status http_restore(struct http_call *c)
{
    struct restore_job j = {.c = c,
                            .restore = {.collection = c->names.collection, .key = c->names.key}};
    bool fixed;
    enum status st = http__allow(c, COMMAND_RESTORE, c->names.collection);
    if (st == ST_OK && !call_has(c, PARAM_AT))
        st = call_refuse(c, 400, "at", "it is missing: the moment to go back to");
    if (st == ST_OK)
        st = arg_moment(c, PARAM_AT, &j.restore.at, &fixed);
    if (st == ST_OK)
        st = arg_write(c, &j.restore.options);
    if (st == ST_OK)
        st = http__work(c, WORK_READ, restore_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    return st == ST_OK ? http__respond_version(c, 200, j.version) : st;
}
