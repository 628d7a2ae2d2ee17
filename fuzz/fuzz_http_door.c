/* What the HTTP door reads: targets with queries, Accept and entity tags, bodies of batches. The
 * first byte picks. What is taken keeps its promises; nothing crashes. */
#include "serve/http/http_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void target(struct bytes in, struct arena *arena)
{
    const uint8_t *mark = memchr(in.data, '?', in.len);
    struct bytes path = BYTES(in.data, mark ? (size_t)(mark - in.data) : in.len);
    struct bytes query = mark ? BYTES(mark + 1, in.len - path.len - 1) : BYTES_EMPTY;
    struct http_target t;
    struct http_names names;
    struct http_query q;
    unsigned allow = 0;
    if (http_target_parse(path, arena, &t, NULL) == ST_OK) {
        ASSERT(t.n <= HTTP_SEGMENTS_MAX);
        for (size_t i = 0; i < t.n; i++) {
            ASSERT(t.at[i].raw.len > 0 && t.at[i].data.len <= t.at[i].raw.len);
            ASSERT(!memchr(t.at[i].raw.data, '/', t.at[i].raw.len));
        }
        if (!http_route_find(BYTES_LIT("GET"), &t, &names, &allow))
            ASSERT((allow & (1U << METHOD_GET)) == 0);
    }
    if (http_query_parse(query, UINT32_MAX, arena, &q, NULL) == ST_OK)
        for (int i = 0; i < PARAM_COUNT; i++)
            ASSERT(!((q.set >> i) & 1) || q.value[i].len <= query.len);
}

static void headers(struct bytes in)
{
    struct version v;
    unsigned quality;
    if (etag_parse(in, &v))
        ASSERT(!version_is_none(v));
    for (int m = 0; m < MEDIA_NONE; m++) {
        bool yes = http_accepts(in, (enum http_media)m, &quality);
        ASSERT(quality <= 1000 && yes == (quality > 0));
    }
}

static void bodies(struct bytes in, struct arena *arena)
{
    struct command_batch *b = command_batch_new();
    struct batch_in batch;
    struct keys_in keys;
    struct collection_settings settings;
    struct err err;
    err_init(&err);
    if (!b)
        return;
    if (batch_in_decode(in, 16, arena, b, &batch, &err) == ST_OK) {
        ASSERT(command_batch_count(b) > 0 && command_batch_count(b) <= 16);
        ASSERT(batch.n_requires <= 32);
    }
    command_batch_free(b);
    if (keys_in_decode(in, 16, arena, &keys, &err) == ST_OK)
        ASSERT(keys.n > 0 && keys.n <= 16);
    if (retention_in_decode(in, arena, &settings, &err) != ST_OK)
        ASSERT(err.detail[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    if (size == 0)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1);
    arena_init(&arena, 0);
    if (data[0] % 3 == 0)
        target(in, &arena);
    else if (data[0] % 3 == 1)
        headers(in);
    else
        bodies(in, &arena);
    arena_deinit(&arena);
    return 0;
}
