/* fuzz_cli_time.c - any text is a moment or an error with a reason; a moment's text reads back as
 * the same moment. */
#include "apps/cli/cli_time.h"
#include "base/assert.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void durations(const char *text)
{
    struct err err;
    char shown[CLI_TIME_TEXT_MAX];
    uint64_t ms = 0, back = 1;
    err_init(&err);
    if (cli_duration_parse(text, &ms, &err) != ST_OK) {
        ASSERT(err.detail[0] && ms == 0);
        return;
    }
    cli_duration_exact(ms, shown);
    ASSERT(cli_duration_parse(shown, &back, &err) == ST_OK && back == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[128], shown[CLI_TIME_TEXT_MAX];
    size_t len = size < sizeof text - 1 ? size : sizeof text - 1;
    const uint64_t now = UINT64_C(1769904000000);
    varve_at at = {.kind = VARVE_AT_NOW}, back;
    struct err err;
    err_init(&err);
    memcpy(text, data, len);
    text[len] = '\0';
    durations(text);
    if (cli_time_parse(text, now, &at, &err) != ST_OK) {
        ASSERT(err.status == ST_INVALID_ARGUMENT && err.detail[0] && at.kind == VARVE_AT_NOW);
        return 0;
    }
    if (at.kind == VARVE_AT_TIME) {
        ASSERT(at.time_ms < UINT64_C(253402300800000));
        cli_time_format(at.time_ms, shown);
        ASSERT(cli_time_parse(shown, now, &back, &err) == ST_OK);
        ASSERT(back.kind == VARVE_AT_TIME && back.time_ms == at.time_ms);
    }
    if (at.kind == VARVE_AT_SNAPSHOT)
        ASSERT(at.snapshot == text + 1 && at.snapshot[0]);
    return 0;
}
