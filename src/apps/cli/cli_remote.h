/* cli_remote.h - verbs at a server: gRPC (proto/varve/v1) behind the seam of cli_db.h.
 *
 * Owns:     the client, and what the last answer lies in.
 * Promises: a read that was cut off goes on where it was, and shows no row twice; a write of which
 *           it is not known whether it was done says so.
 * Threads:  one.
 */
#ifndef VARVE_APPS_CLI_CLI_REMOTE_H
#define VARVE_APPS_CLI_CLI_REMOTE_H

#include "apps/cli/cli_db.h"
#include "base/arena.h"
#include "serve/client/client.h"
#include "wire/proto/pb.h"

struct remote {
    struct db db; /* first */
    struct client *client;
    struct client_failure failure; /* the last one */
    struct arena arena;            /* of the request and the answer of one call */
    struct buf request, answer;
    struct db_row row;

    /* The commit under way; all of it NULL where none is. */
    struct client_pending *pending;
    struct arena commit_arena;
    struct buf commit_request;
    const struct db_put *mark;
    varve_version *mark_version;
};

/* Connects when the first call needs it. Takes the client over; NULL: no memory (then it is still
 * the caller's). */
struct db *db_remote_new(struct client *client);

extern const struct db_read_ops remote__read;
extern const struct db_write_ops remote__write;
extern const struct db_care_ops remote__care;

/* ---- within ---- */

static inline struct remote *remote__of(struct db *db)
{
    return (struct remote *)db;
}
varve_status remote__begin(struct remote *r); /* forgets the last call's failure, request, answer */
varve_status remote__no_memory(struct remote *r);
varve_status remote__broken(struct remote *r,
                            const struct err *e); /* an answer that cannot be read */

struct remote_method {
    const char *name;
    const ProtobufCMessageDescriptor *answer;
    enum client_repeat repeat;
    uint64_t deadline_ms; /* 0: the client's */
};
/* Sends m and reads the answer, which lies in the arena and in `answer` until the next call. */
varve_status remote__call(struct remote *r, const struct remote_method *how,
                          const ProtobufCMessage *m, void *ret);

/* Both lie in the arena and borrow; NULL: no memory. */
char *remote__text(struct arena *a, const char *s);
Varve__V1__Version *remote__version(struct arena *a, varve_version v);
Varve__V1__At *remote__at(struct arena *a, const varve_at *at);
Varve__V1__WriteOptions *remote__options(struct arena *a, const varve_write_options *o);
/* JSON becomes BSON here, so that what is wrong with it is told as in a folder. */
varve_status remote__value(struct remote *r, struct arena *a, const struct db_put *p,
                           Varve__V1__Value **ret);
varve_version remote__version_of(const Varve__V1__Version *m);
void remote__row_of(const Varve__V1__Record *m, struct db_row *row);

/* Rows of a stream; the request is encoded anew when it goes on behind a token. */
struct remote_source {
    const char *method;
    const ProtobufCMessageDescriptor *request, *answer;
    size_t (*count)(const void *answer);
    void (*row)(const void *answer, size_t i, struct db_row *ret);
    const char *(*token)(const void *answer);
    void (*resume)(void *request, char *token);
    bool ends_with_token; /* a token that is empty says that these were the last */
};
/* The first page is read with the opening. `follow`: rows are waited for, with a limit of time. */
varve_status remote__rows(struct remote *r, const struct remote_source *source,
                          const ProtobufCMessage *request, bool follow, struct db_rows **ret);
varve_status remote__collections(struct db *db, struct db_rows **ret);
varve_status remote__snapshots(struct db *db, struct db_rows **ret);

#endif
