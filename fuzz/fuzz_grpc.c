/* fuzz_grpc.c - gRPC's framing, gzip and codings take any bytes. The first byte: 1 = messages may be
 * compressed. The rest is a body, and a text.
 */
#include "base/assert.h"
#include "wire/grpc/grpc_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 100000, BUDGET = 150000 };

static size_t take_all(struct grpc_decoder *d, size_t *owed)
{
    size_t total = 0;
    for (;;) {
        bool any;
        struct bytes m;
        size_t more;
        if (grpc_decoder_next(d, &any, &m, &more, NULL) != ST_OK || !any)
            break;
        ASSERT(m.len <= MESSAGE_MAX);
        for (size_t i = 0; i < m.len; i += 64) /* all of it can be read */
            total += m.data[i];
        *owed += more;
    }
    *owed += grpc_decoder_owed(d);
    return total;
}

static void decode(uint8_t mode, struct bytes in, size_t piece)
{
    struct wire_budget budget = {BUDGET, 0};
    struct grpc_decoder d;
    size_t owed = 0;
    grpc_decoder_init(&d, MESSAGE_MAX, &budget);
    d.encoding = mode & 1 ? GRPC_GZIP : GRPC_IDENTITY;
    for (size_t at = 0; at < in.len; at += piece) {
        size_t n = in.len - at < piece ? in.len - at : piece;
        enum status st = grpc_decoder_feed(&d, BYTES(in.data + at, n), NULL);
        (void)take_all(&d, &owed);
        ASSERT(owed <= at + n && budget.used <= BUDGET);
        if (st != ST_OK)
            break;
    }
    grpc_decoder_deinit(&d);
    ASSERT(budget.used == 0);
}

static void texts(struct bytes in)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    uint64_t ns;
    char text[GRPC_TIMEOUT_TEXT];
    enum grpc_code code;
    enum status st = grpc_percent_encode(in, &a);
    ASSERT(st == ST_OK);
    st = grpc_percent_decode(buf_bytes(&a), &b);
    ASSERT(st == ST_OK && bytes_eq(buf_bytes(&b), in));
    buf_clear(&a);
    buf_clear(&b);
    if (grpc_base64_decode(in, &a) == ST_OK) {
        st = grpc_base64_encode(buf_bytes(&a), &b);
        ASSERT(st == ST_OK && b.len <= in.len);
    }
    buf_clear(&a);
    if (grpc_percent_decode(in, &a) == ST_OK)
        ASSERT(a.len <= in.len);
    if (grpc_timeout_parse(in, &ns)) {
        uint64_t again;
        size_t n = grpc_timeout_format(ns, text);
        ASSERT(grpc_timeout_parse(BYTES(text, n), &again) && again >= ns);
    }
    if (grpc_code_parse(in, &code))
        ASSERT(code <= GRPC_UNAUTHENTICATED);
    buf_deinit(&a);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1);
    decode(data[0], in, in.len + 1);
    decode(data[0], in, 3);
    texts(in);
    return 0;
}
