/* fuzz_state.c - a store takes any bytes for another's state: refused, or whole.
 *
 * The checksums of header, blocks and end are made right first, so that the rows behind them are
 * reached; inputs of odd length keep theirs. What is installed can be read, is there after opening
 * again, and is sent on as it came.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/store/state.h"
#include "node/store/store_internal.h"
#include "sim/env/sim_env.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void repair(uint8_t *p, size_t size)
{
    if (size < STATE_HEADER)
        return;
    put32(p + 8, crc32c(0, p + 12, STATE_HEADER - 12));
    for (size_t at = STATE_HEADER; size - at >= STATE_BLOCK_HEADER;) {
        size_t len = get32(p + at + 4);
        if (len > size - at - STATE_BLOCK_HEADER)
            return;
        if (get32(p + at + 12) == 2 && len == STATE_END_BYTES)
            put32(p + at + STATE_BLOCK_HEADER + 16, crc32c(0, p, at));
        put32(p + at, crc32c(0, p + at + 4, STATE_BLOCK_HEADER - 4 + len));
        at += STATE_BLOCK_HEADER + len;
    }
}

static struct store *open_it(struct env *env, struct err *err)
{
    const struct store_options o = {.engine_name = "mem",
                                    .engine_open = engine_mem_open,
                                    .cache_bytes = 1 << 18,
                                    .wal = {.segment_bytes = 65536, .first_segment_bytes = 65536},
                                    .no_thread = true};
    struct store *s = NULL;
    enum status st = store_open(env, "/db", &o, &s, err);
    if (st != ST_OK)
        (void)fprintf(stderr, "%s\n", err->detail);
    ASSERT(st == ST_OK);
    return s;
}

static enum status take_in(struct store *s, struct bytes state, struct err *err)
{
    struct store_incoming *in;
    struct engine_mark mark;
    ASSERT(store_incoming_begin(s, &in, err) == ST_OK);
    ASSERT(store_incoming_append(in, 0, state, err) == ST_OK);
    enum status st = store_incoming_build(in, &mark, err);
    if (st == ST_OK)
        st = store__lead_begin(s, err);
    if (st == ST_OK) {
        st = store_incoming_install(in, false, err);
        store__lead_end(s);
    }
    store_incoming_end(in);
    return st;
}

/* Whatever rows there are, reading them neither crashes nor ends in anything but an answer. */
static void read_it(struct store *s)
{
    struct store_iter *it;
    struct store_row row;
    struct err err;
    const struct store_scan q = {.keys_only = false};
    if (store_scan(s, &q, &it, &err) == ST_OK) {
        int rc;
        while ((rc = store_iter_next(it, &row, &err)) > 0)
            continue;
        ASSERT(rc == 0 || rc == -ST_CORRUPT);
        store_iter_close(it);
    }
    (void)!store_verify(s, NULL, NULL, NULL, &err);
}

static void send_on(struct store *s, struct bytes want)
{
    struct store_state *st;
    struct buf got = BUF_INIT;
    struct err err;
    bool last = false;
    ASSERT(store_state_pin(s, &st, &err) == ST_OK);
    if (store_state_read(st, 0, want.len + 1, &got, &last, &err) == ST_OK)
        ASSERT(last);
    store_state_release(st);
    buf_deinit(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err;
    err_init(&err);
    log_configure(LOG_OFF, LOG_HUMAN);
    if (size > 1 << 20)
        return 0;
    uint8_t *p = malloc(size ? size : 1);
    ASSERT(p);
    memcpy(p, data, size);
    if (size % 2 == 0)
        repair(p, size);
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct store *s = open_it(env, &err);
    enum status st = take_in(s, BYTES(p, size), &err);
    ASSERT(st == ST_OK || st == ST_CORRUPT || st == ST_FORMAT_NEWER || st == ST_TOO_LARGE ||
           st == ST_PRECONDITION_FAILED || st == ST_NO_MEMORY || st == ST_INVALID_ARGUMENT);
    if (st == ST_OK) {
        read_it(s);
        send_on(s, BYTES(p, size));
        ASSERT(store_close(s, &err) == ST_OK);
        s = open_it(env, &err);
        read_it(s);
    }
    ASSERT(store_close(s, &err) == ST_OK);
    sim_env_free(env);
    free(p);
    return 0;
}
