/* fake_server.h - a server in a process of its own that does what the request's text says, so that
 * memory can fail in the client alone.
 *
 * Words of a request:
 *     echo TEXT           answers TEXT
 *     many N              answers 0 .. N-1, one message each
 *     who                 answers the metadata "authorization", or "nobody"
 *     fail CODE REASON MS ends with the code; REASON "-": without details; MS > 0: worth another try
 *     changed             FAILED_PRECONDITION, and says which version is there
 *     field               INVALID_ARGUMENT, and says which field
 *     silent              says nothing
 *     half                one message, and the connection ends
 * and, for the first N of these requests, another outcome, then "late":
 *     lose N              the connection ends when the request was read
 *     refuse N            the stream is refused
 *     busy N              OVERLOADED, worth another try
 *     stop N              the server stops: CLOSED
 */
#ifndef VARVE_TESTS_CLIENT_FAKE_SERVER_H
#define VARVE_TESTS_CLIENT_FAKE_SERVER_H

#include "serve/client/client.h"
#include <stdatomic.h>
#include <sys/types.h>

struct fake {
    pid_t pid;
    char address[32];
    struct fake_counts {
        _Atomic int requests, connections, counted;
    } * counts; /* shared with the process */
};

void fake_start(struct fake *f);
void fake_stop(struct fake *f);
void fake_forget(struct fake *f); /* counts from 0 again */

#endif
