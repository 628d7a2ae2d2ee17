/* state_receive.h - a state on its way in, between state_receive.c and state_install.c. */
#ifndef VARVE_NODE_STORE_STATE_RECEIVE_H
#define VARVE_NODE_STORE_STATE_RECEIVE_H

#include "node/store/state_internal.h"

struct store_incoming {
    struct store *s;
    struct env_file *file; /* DIR/incoming; NULL: built */
    uint64_t bytes;
    struct home *home;       /* the engine built of it; NULL: not yet, or installed */
    struct engine_mark mark; /* before it is built: the note alone */
    bool built;
};

void state__unclaim(struct store *s);

#endif
