/* Rows of a stream, page by page. A stream that is cut off goes on behind the last page, whose rows
 * were all taken; a watch too, for as long as it is waited for. */
#include "apps/cli/cli_remote.h"
#include "base/alloc.h"
#include <string.h>

enum { TOKEN_MAX = 96 * 1024 };

struct remote_rows {
    struct db_rows rows; /* first */
    struct remote *remote;
    const struct remote_source *source;
    void *request; /* decoded anew, so that it lives as long as the rows */
    struct arena request_arena, arena;
    struct buf encoded, token, first;
    struct client_stream *stream;
    struct client_tries tries;
    void *page; /* NULL: none */
    size_t at, count;
    bool follow, done;
    struct db_row row;
};

/* Takes the failure along; 1: open again. */
static int reopen(struct remote_rows *r)
{
    struct client_failure *f = &r->remote->failure;
    struct client_request q = {
        .method = r->source->method, .repeat = CLIENT_READ, .deadline_ms = UINT64_MAX};
    enum status st;
    buf_clear(&r->encoded);
    if (r->token.len) {
        const char *token = buf_cstr(&r->token);
        if (!token)
            return -(int)remote__no_memory(r->remote);
        r->source->resume(r->request, (char *)(uintptr_t)token);
    }
    if (pb_encode(r->request, &r->encoded) != ST_OK)
        return -(int)remote__no_memory(r->remote);
    q.message = buf_bytes(&r->encoded);
    while (client_stream_open(r->remote->client, &q, &r->stream, f) != ST_OK) {
        st = client_again(r->remote->client, &r->tries, CLIENT_READ, f);
        if (st != ST_OK)
            return -(int)st;
    }
    return 1;
}

static int take_page(struct remote_rows *r, struct bytes message)
{
    struct err e;
    void *page = NULL;
    err_init(&e);
    r->page = NULL;
    r->at = r->count = 0;
    arena_reset(&r->arena);
    if (pb_decode(r->source->answer, message, &r->arena, &page, NULL, &e) != ST_OK)
        return -(int)remote__broken(r->remote, &e);
    const char *token = r->source->token(page);
    size_t len = strlen(token);
    buf_clear(&r->token);
    if (len > TOKEN_MAX || buf_append(&r->token, token, len) != ST_OK)
        return -(int)remote__no_memory(r->remote);
    r->page = page;
    r->count = r->source->count(page);
    r->done = r->source->ends_with_token && len == 0;
    r->tries = (struct client_tries){0}; /* it goes on: a failure to come is another one */
    return 1;
}

/* 1: a page, perhaps without rows; 0: the end, or nothing came; < 0. */
static int next_page(struct remote_rows *r, uint64_t timeout_ms)
{
    struct client_failure *f = &r->remote->failure;
    struct bytes message;
    for (;;) {
        int got = r->stream ? 1 : reopen(r);
        if (got != 1)
            return got;
        switch (client_stream_next(r->stream, timeout_ms, &message, f)) {
        case CLIENT_MESSAGE:
            return take_page(r, message);
        case CLIENT_QUIET:
            return 0;
        case CLIENT_END:
            r->done = true;
            return 0;
        case CLIENT_FAILED:
            break;
        }
        client_stream_close(r->stream);
        r->stream = NULL;
        enum status st = client_again(r->remote->client, &r->tries, CLIENT_READ, f);
        if (st != ST_OK)
            return -(int)st;
    }
}

static int rows_next(struct db_rows *rows, int64_t timeout_ms, const struct db_row **ret)
{
    struct remote_rows *r = (struct remote_rows *)rows;
    uint64_t wait = timeout_ms < 0 || !r->follow ? UINT64_MAX : (uint64_t)timeout_ms;
    while (r->at == r->count) {
        if (r->done)
            return 0;
        int got = next_page(r, wait);
        if (got != 1)
            return got;
    }
    r->source->row(r->page, r->at++, &r->row);
    *ret = &r->row;
    return 1;
}

static const char *rows_token(struct db_rows *rows)
{
    struct remote_rows *r = (struct remote_rows *)rows;
    const char *token = buf_cstr(&r->token);
    return token ? token : "";
}

static void rows_close(struct db_rows *rows)
{
    struct remote_rows *r = (struct remote_rows *)rows;
    client_stream_close(r->stream);
    arena_deinit(&r->arena);
    arena_deinit(&r->request_arena);
    buf_deinit(&r->encoded);
    buf_deinit(&r->token);
    buf_deinit(&r->first);
    mem_free(r);
}

static const struct db_rows_ops rows_ops = {rows_next, rows_token, rows_close};

/* A copy of the request, by the way of its bytes. */
static varve_status copy_request(struct remote_rows *r, const ProtobufCMessage *request)
{
    struct err e;
    err_init(&e);
    if (pb_encode(request, &r->first) != ST_OK ||
        pb_decode(r->source->request, buf_bytes(&r->first), &r->request_arena, &r->request, NULL,
                  &e) == ST_NO_MEMORY)
        return remote__no_memory(r->remote);
    if (r->request)
        return VARVE_OK;
    /* A string that is none, as the server would say. */
    return (varve_status)err_set(&r->remote->failure.err, ST_INVALID_ARGUMENT, "%s", e.detail);
}

varve_status remote__rows(struct remote *remote, const struct remote_source *source,
                          const ProtobufCMessage *request, bool follow, struct db_rows **ret)
{
    struct remote_rows *r = mem_zalloc(sizeof *r);
    if (!r)
        return remote__no_memory(remote);
    r->rows.ops = &rows_ops;
    r->remote = remote;
    r->source = source;
    r->follow = follow;
    arena_init(&r->arena, 0);
    arena_init(&r->request_arena, 1024);
    varve_status st = copy_request(r, request);
    /* The first page comes with the opening, as what is wrong with the request is told there. */
    int got = st == VARVE_OK ? next_page(r, UINT64_MAX) : 0;
    if (st == VARVE_OK && got < 0)
        st = (varve_status)-got;
    if (st != VARVE_OK) {
        rows_close(&r->rows);
        return st;
    }
    *ret = &r->rows;
    return VARVE_OK;
}
