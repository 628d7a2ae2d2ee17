/* fuzz_cli_csv.c - reading any CSV ends, names a line for whatever it refuses, and what it took is
 * read back the same once it was written again. */
#include "apps/cli/cli_csv.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status from_memory(void *arg, void *out, size_t cap, size_t *ret_len, struct err *err)
{
    struct bytes *left = arg;
    (void)err;
    /* Pieces of changing length, so that rows lie across them. */
    size_t n = left->len % 61 + 1;
    n = n < left->len ? n : left->len;
    ASSERT(n <= cap);
    memcpy(out, left->data, n);
    *left = BYTES(left->data + n, left->len - n);
    *ret_len = n;
    return ST_OK;
}

/* All good rows of a text, written anew; the number of bad ones. */
static size_t rewrite(struct bytes text, struct buf *out)
{
    struct cli_input in;
    struct cli_csv csv;
    struct err err;
    size_t bad = 0;
    int got;
    err_init(&err);
    ASSERT(cli_input_init(&in, from_memory, &text, &err) == ST_OK);
    cli_csv_init(&csv, &in);
    while ((got = cli_csv_next(&csv, &err)) != 0) {
        if (got < 0) {
            ASSERT(err.detail[0]);
            bad++;
            if (got == -(int)ST_CORRUPT && csv.torn) /* a quote that is never closed: no way on */
                break;
            ASSERT(got == -(int)ST_INVALID_ARGUMENT);
            continue;
        }
        size_t start = out->len;
        for (size_t i = 0; i < csv.nfields; i++)
            ASSERT(cli_csv_write(out, i == 0, cli_csv_field(&csv, i), csv.field[i].quoted) ==
                   ST_OK);
        ASSERT(cli_csv_write_end(out, start) == ST_OK);
    }
    cli_csv_deinit(&csv);
    cli_input_deinit(&in);
    return bad;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    bool boolean;
    int64_t whole;
    double number;
    (void)cli_csv_infer(BYTES(data, size), &boolean, &whole, &number);
    rewrite(BYTES(data, size), &once);
    ASSERT(rewrite(buf_bytes(&once), &twice) == 0);
    ASSERT(bytes_eq(buf_bytes(&once), buf_bytes(&twice)));
    buf_deinit(&once);
    buf_deinit(&twice);
    return 0;
}
