/* grpc_gzip.c - gzip by zlib, with memory through base/alloc.h and a limit on what comes out. */
#include "base/alloc.h"
#include "wire/grpc/grpc_internal.h"

#include <zlib.h>

enum { GZIP_WINDOW = 15 + 16 /* the most, with gzip's header */, GZIP_MEMORY = 8, STEP = 16384 };

static voidpf hook_alloc(voidpf arg, uInt n, uInt size)
{
    (void)arg;
    size_t total;
    return __builtin_mul_overflow((size_t)n, (size_t)size, &total) ? NULL : mem_alloc(total);
}

static void hook_free(voidpf arg, voidpf p)
{
    (void)arg;
    mem_free(p);
}

/* Room behind the buf's bytes, at most `most`; 0: there is none left. */
static enum status offer(z_stream *z, struct buf *out, size_t most)
{
    size_t room = most < STEP ? most : STEP;
    enum status st = buf_reserve(out, room);
    if (st != ST_OK)
        return st;
    room = out->cap - out->len < most ? out->cap - out->len : most;
    z->next_out = out->data + out->len;
    z->avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
    return ST_OK;
}

static enum status deflate_some(z_stream *z, struct buf *out, int flush)
{
    int rc;
    do {
        enum status st = offer(z, out, SIZE_MAX);
        if (st != ST_OK)
            return st;
        uInt room = z->avail_out;
        rc = deflate(z, flush);
        out->len += room - z->avail_out;
        if (rc == Z_STREAM_ERROR)
            return ST_INTERNAL;
    } while (z->avail_in || (flush == Z_FINISH && rc != Z_STREAM_END));
    return ST_OK;
}

enum status grpc__gzip_parts(const struct h2_part *parts, size_t n, struct buf *out)
{
    const size_t before = out->len;
    z_stream z = {.zalloc = hook_alloc, .zfree = hook_free};
    int rc =
        deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY);
    if (rc != Z_OK)
        return rc == Z_MEM_ERROR ? ST_NO_MEMORY : ST_INTERNAL;
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (parts[i].bytes.len > UINT32_MAX) {
            st = ST_TOO_LARGE;
            break;
        }
        z.next_in = (Bytef *)(uintptr_t)parts[i].bytes.data; /* only read */
        z.avail_in = (uInt)parts[i].bytes.len;
        if (z.avail_in)
            st = deflate_some(&z, out, Z_NO_FLUSH);
    }
    if (st == ST_OK)
        st = deflate_some(&z, out, Z_FINISH);
    (void)deflateEnd(&z);
    if (st != ST_OK)
        out->len = before;
    return st;
}

enum status grpc_gzip(struct bytes in, struct buf *out)
{
    return grpc__gzip_parts(&(struct h2_part){.bytes = in}, 1, out);
}

static enum status inflate_all(z_stream *z, size_t max, struct buf *out, struct err *err)
{
    const size_t before = out->len;
    for (;;) {
        size_t left = max - (out->len - before);
        uint8_t over;
        enum status st = ST_OK;
        if (left)
            st = offer(z, out, left);
        else { /* the end may still come without another byte */
            z->next_out = &over;
            z->avail_out = 1;
        }
        if (st != ST_OK)
            return st;
        uInt room = z->avail_out;
        int rc = inflate(z, Z_NO_FLUSH);
        if (left)
            out->len += room - z->avail_out;
        else if (z->avail_out == 0)
            return err_set(err, ST_TOO_LARGE, "a gzip message inflates to more than %zu bytes",
                           max);
        if (rc == Z_STREAM_END)
            return z->avail_in ? err_set(err, ST_INTERNAL, "bytes follow the end of a gzip message")
                               : ST_OK;
        if (rc == Z_MEM_ERROR)
            return ST_NO_MEMORY;
        if (rc != Z_OK || (z->avail_in == 0 && z->avail_out))
            return err_set(err, ST_INTERNAL, "gzip message: %s",
                           z->msg ? z->msg : "it ends too early");
    }
}

enum status grpc_gunzip(struct bytes in, size_t max, struct buf *out, struct err *err)
{
    const size_t before = out->len;
    z_stream z = {.zalloc = hook_alloc, .zfree = hook_free};
    if (in.len > UINT32_MAX)
        return err_set(err, ST_TOO_LARGE, "a gzip message is over 4 GiB");
    int rc = inflateInit2(&z, GZIP_WINDOW);
    if (rc != Z_OK)
        return err_set(err, rc == Z_MEM_ERROR ? ST_NO_MEMORY : ST_INTERNAL, "cannot inflate");
    z.next_in = (Bytef *)(uintptr_t)in.data; /* only read */
    z.avail_in = (uInt)in.len;
    enum status st = inflate_all(&z, max, out, err);
    (void)inflateEnd(&z);
    if (st != ST_OK)
        out->len = before;
    return st == ST_NO_MEMORY ? err_set(err, st, "no memory to inflate a message") : st;
}
