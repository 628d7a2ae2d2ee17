/* A history as lines of JSON: what is read writes to text that reads back to the same, and every
 * checker can judge it, whatever nonsense it tells. */
#include "sim/check/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 64 * 1024)
        return 0;
    struct history *h = history_new(), *back = history_new();
    struct buf text = BUF_INIT, again = BUF_INIT;
    must(h && back);
    if (history_read_ndjson(h, BYTES(data, size), NULL) == ST_OK) {
        struct check_report *r = check_report_new();
        struct check_options o = {.search_steps = 2000, .search_always = true};
        must(history_write_ndjson(h, &text) == ST_OK);
        must(history_read_ndjson(back, buf_bytes(&text), NULL) == ST_OK);
        must(history_write_ndjson(back, &again) == ST_OK);
        must(bytes_eq(buf_bytes(&text), buf_bytes(&again)));
        must(r && check_all(h, &o, r) == ST_OK);
        check_report_free(r);
    }
    buf_deinit(&text);
    buf_deinit(&again);
    history_free(h);
    history_free(back);
    return 0;
}
