/* watch.c - changes by iterator, by pages, and waiting for more. The feed holds a view of the store
 * while it has rows at hand; between pages it is made to let go. */
#include "serve/command/command_internal.h"

enum status command_changes(const struct command_db *db, const struct command_changes *c,
                            struct feed **ret, struct err *err)
{
    const struct command_changes_options *o = &c->options;
    enum status st = ST_OK;
    if (o->collection.len > 0)
        st = command__check_collection(db, o->collection, "options.collection", err);
    /* Of what a door reaches by name all the same, there is no feed either. */
    if (st == ST_OK && !db->system && bytes_has_prefix(o->collection, BYTES_LIT(COMMAND_SYSTEM)))
        st = command__refuse_system("options.collection", err);
    if (st == ST_OK && o->prefix.len > 0 && o->collection.len == 0)
        st = err_set(err, ST_INVALID_ARGUMENT, "options.prefix: it needs options.collection");
    if (st == ST_OK && o->prefix.len > 0 && !o->prefix.data)
        st = command__null("options.prefix", err);
    /* "Now" and "all so far" are of the present; a token ahead of this node is waited for. */
    if (st == ST_OK)
        st = command__present(db, err);
    if (st != ST_OK)
        return st;
    struct feed_options fo = {.collection = o->collection.len ? o->collection : BYTES_EMPTY,
                              .prefix = o->prefix.len ? o->prefix : BYTES_EMPTY,
                              .hidden = db->system ? BYTES_EMPTY : BYTES_LIT(COMMAND_SYSTEM),
                              .limit = o->limit,
                              .values = o->values};
    return feed_open(db->store, c->token.len ? c->token : BYTES_EMPTY, &fo, ret, err);
}

struct command_watch {
    struct store *store;
    struct feed *feed;
};

enum status command_watch_open(const struct command_db *db, const struct command_changes *c,
                               struct command_watch **ret, struct err *err)
{
    struct command_watch *w = mem_zalloc(sizeof(*w));
    if (!w)
        return err_set(err, ST_NO_MEMORY, "no memory for a watch");
    w->store = db->store;
    enum status st = command_changes(db, c, &w->feed, err);
    if (st != ST_OK) {
        mem_free(w);
        return st;
    }
    feed_rest(w->feed);
    store_watchers_add(w->store, 1);
    *ret = w;
    return ST_OK;
}

void command_watch_close(struct command_watch *w)
{
    if (!w)
        return;
    store_watchers_add(w->store, -1);
    feed_close(w->feed);
    mem_free(w);
}

/* 1: the row was taken; 0: the page ends before it; < 0: minus a status. */
static int offer(struct feed *f, const struct feed_row *from, const struct page_limits *limits,
                 bool row_tokens, command_row_fn fn, void *arg, struct command_page_end *end,
                 struct err *err)
{
    struct command_row row = {.collection = BYTES_STR(from->collection),
                              .key = from->key,
                              .rec = from->rec,
                              .token = row_tokens ? BYTES_STR(feed_token(f)) : BYTES_EMPTY};
    size_t n = row_bytes(&row);
    if (end->rows > 0 && (end->bytes >= limits->bytes || n > limits->bytes - end->bytes))
        return 0;
    int rc = fn(arg, &row, err);
    if (rc > 0) {
        end->rows++;
        end->bytes += n;
    }
    return rc;
}

static enum status rows(struct feed *f, const struct page_limits *limits, bool row_tokens,
                        command_row_fn fn, void *arg, struct command_page_end *end, struct err *err)
{
    struct feed_row row;
    while (end->rows < limits->rows) {
        int rc = feed_next(f, &row, err);
        if (rc == 0)
            return ST_OK; /* nothing more is visible, and the feed holds nothing */
        if (rc < 0)
            return (enum status) - rc;
        rc = offer(f, &row, limits, row_tokens, fn, arg, end, err);
        if (rc <= 0) {
            feed_unread(f);
            end->more = rc == 0;
            return rc == 0 ? ST_OK : (enum status) - rc;
        }
    }
    end->more = !feed_limit_reached(f);
    feed_rest(f);
    return ST_OK;
}

enum status command_watch_page(struct command_watch *w, const struct command_page *page,
                               bool row_tokens, command_row_fn row, void *arg,
                               struct command_page_end *ret, struct err *err)
{
    struct page_limits limits;
    struct command_page_end end = {.at = store_visible(w->store)};
    enum status st = command__limits(page, &limits, err);
    if (st == ST_OK)
        st = rows(w->feed, &limits, row_tokens, row, arg, &end, err);
    if (st == ST_OK)
        *ret = end;
    return st;
}

bool command_watch_wait(struct command_watch *w, uint64_t timeout_ms, const _Atomic bool *cancel)
{
    return feed_wait(w->feed, timeout_ms, cancel);
}

bool command_watch_done(const struct command_watch *w)
{
    return feed_limit_reached(w->feed);
}

const char *command_watch_token(struct command_watch *w)
{
    return feed_token(w->feed);
}

enum status command_changes_page(const struct command_db *db, const struct command_changes *c,
                                 const struct command_page *page, bool row_tokens,
                                 command_row_fn row, void *arg, struct command_page_end *ret,
                                 struct buf *ret_token, struct err *err)
{
    struct page_limits limits;
    struct command_page_end end = {.at = store_visible(db->store)};
    struct command_changes from = *c;
    struct feed *f = NULL;
    if (page->token.len)
        from.token = page->token;
    enum status st = command__limits(page, &limits, err);
    if (st == ST_OK)
        st = command_changes(db, &from, &f, err);
    if (st == ST_OK)
        st = rows(f, &limits, row_tokens, row, arg, &end, err);
    if (st == ST_OK) {
        const char *text = feed_token(f);
        buf_clear(ret_token);
        if (buf_append(ret_token, text, strlen(text) + 1) == ST_OK)
            ret_token->len--; /* the NUL stays behind it */
        else
            st = err_set(err, ST_NO_MEMORY, "no memory for a token");
    }
    if (st == ST_OK)
        *ret = end;
    feed_close(f);
    return st;
}
