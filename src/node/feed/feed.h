/* feed.h - the changes of a store from a token on, filtered, and waiting for more.
 *
 * Owns:     a feed owns its place, and while it has rows to give a view of the store; at the end of
 * what is visible it lets that go, so that one who waits holds nothing. Promises: every put and
 * delete of users' collections that passes the filter comes once, oldest first (by version, then
 *           routing key). The token moves over rows that the filter held back once everything visible has
 *           been looked at, and over nothing that is yet to become visible.
 * Never:    shows the catalog. Starts a thread.
 * Threads:  one owner of a feed; feed_wait is ended from others through `cancel` and
 * store_wake_watchers.
 */
#ifndef VARVE_NODE_FEED_FEED_H
#define VARVE_NODE_FEED_FEED_H

#include "node/store/store.h"

struct feed;

struct feed_options {
    struct bytes collection; /* a name, of whatever ids it had and will have; len 0 = all */
    struct bytes prefix;     /* of users' keys */
    struct bytes hidden; /* with all: not of collections whose name begins so; outlives the feed */
    uint64_t limit;      /* rows; 0 = none */
    bool values; /* puts carry the value of their version, with its type, writer and expiry */
};

struct feed_row {
    const char
        *collection;   /* borrowed until store_close; "" when the catalog does not know the id */
    struct bytes key;  /* the user's; borrowed, like rec, until the next call */
    struct record rec; /* version, kind, parent (none: the first, or not kept); more where values
                          were asked for */
};

/* token.len 0: from the beginning; "now": from here on. Errors: INVALID_ARGUMENT (no token, or one
 * of a write that this folder has not seen yet), BELOW_HORIZON (retention has removed changes
 * behind it), NO_MEMORY, CORRUPT, IO_ERROR. */
enum status feed_open(struct store *s, struct bytes token, const struct feed_options *o,
                      struct feed **ret, struct err *err) WARN_UNUSED;
/* 1: a row; 0: nothing more is visible now (asking again may give rows that came since), or the
 * limit is reached; < 0: minus a status: then the feed stands where it stood and may be asked again. */
int feed_next(struct feed *f, struct feed_row *ret, struct err *err) WARN_UNUSED;
/* After feed_next answered 0. Waits until something new is visible of the collection that it follows, or
 * of the catalog (it need not pass the filter: feed_next may answer 0 again), for timeout_ms (UINT64_MAX: without limit), or until *cancel is set and store_wake_watchers
 * called. false: nothing new. */
bool feed_wait(struct feed *f, uint64_t timeout_ms, const _Atomic bool *cancel);
bool feed_limit_reached(const struct feed *f);
/* Lets go of the rows that are at hand until the next feed_next: for one that may wait long before
 * it asks. */
void feed_rest(struct feed *f);
/* Takes the last row back: the next feed_next delivers it again. Once after each row; lets go of the
 * rows as feed_rest does. */
void feed_unread(struct feed *f);
/* Before the first row the place where the feed began; after a row, behind it; after feed_next
 * answered 0 for want of rows, behind all that was visible then. To be taken up with the same filter: it
 * says nothing of what another one would let through. Borrowed until the next call. */
const char *feed_token(struct feed *f);
void feed_close(struct feed *f); /* takes NULL */

#endif
