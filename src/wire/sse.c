/* sse.c - see sse.h. */
#include "wire/sse.h"

/* A field's value must not be able to end its line; NUL in an id makes browsers ignore it. */
static bool one_line(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] == '\r' || b.data[i] == '\n' || b.data[i] == '\0')
            return false;
    return true;
}

static enum status field(struct buf *out, const char *name, struct bytes value)
{
    enum status st = buf_append(out, name, strlen(name));
    if (st == ST_OK)
        st = buf_append(out, value.data, value.len);
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

static size_t line_length(struct bytes b)
{
    size_t n = 0;
    while (n < b.len && b.data[n] != '\r' && b.data[n] != '\n')
        n++;
    return n;
}

static enum status data_fields(struct buf *out, struct bytes data)
{
    for (;;) {
        size_t n = line_length(data);
        enum status st = field(out, "data: ", BYTES(data.data, n));
        if (st != ST_OK || n == data.len)
            return st;
        n += data.data[n] == '\r' && n + 1 < data.len && data.data[n + 1] == '\n' ? 2 : 1;
        data = BYTES(data.data + n, data.len - n);
    }
}

enum status sse_event(struct buf *out, struct bytes id, struct bytes event, struct bytes data)
{
    const size_t before = out->len;
    enum status st = ST_OK;
    if (!one_line(id) || !one_line(event))
        return ST_INVALID_ARGUMENT;
    if (id.len)
        st = field(out, "id: ", id);
    if (st == ST_OK && event.len)
        st = field(out, "event: ", event);
    if (st == ST_OK)
        st = data_fields(out, data);
    if (st == ST_OK)
        st = buf_append_u8(out, '\n');
    if (st != ST_OK)
        out->len = before;
    return st;
}

enum status sse_comment(struct buf *out, struct bytes text)
{
    const size_t before = out->len;
    if (!one_line(text))
        return ST_INVALID_ARGUMENT;
    enum status st = field(out, ": ", text);
    if (st == ST_OK)
        st = buf_append_u8(out, '\n');
    if (st != ST_OK)
        out->len = before;
    return st;
}

enum status sse_retry(struct buf *out, uint32_t ms)
{
    return buf_printf(out, "retry: %u\n\n", ms);
}
