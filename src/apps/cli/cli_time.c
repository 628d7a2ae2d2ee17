#include "apps/cli/cli_time.h"
#include "base/moment.h"
#include <stdio.h>
#include <string.h>

enum { DAY_MS = 86400000 };
static const uint64_t YEAR_10000_MS = UINT64_C(253402300800000);

enum status cli_duration_parse(const char *text, uint64_t *ret_ms, struct err *err)
{
    return duration_parse(text, ret_ms, err);
}

enum status cli_time_parse(const char *text, uint64_t now_ms, varve_at *ret, struct err *err)
{
    static const varve_at_kind kinds[] = {[MOMENT_NOW] = VARVE_AT_NOW,
                                          [MOMENT_VERSION] = VARVE_AT_VERSION,
                                          [MOMENT_TIME] = VARVE_AT_TIME,
                                          [MOMENT_SNAPSHOT] = VARVE_AT_SNAPSHOT};
    struct moment m;
    enum status st = moment_parse(text, now_ms, &m, err);
    if (st == ST_OK)
        *ret = (varve_at){.kind = kinds[m.kind],
                          .version = {m.version.hlc, m.version.origin},
                          .time_ms = m.time_ms,
                          .snapshot = m.snapshot};
    return st;
}

varve_version cli_version_at(uint64_t unix_ms)
{
    return (varve_version){version_at_ms(unix_ms).hlc, 0};
}

void cli_time_format(uint64_t unix_ms, char out[CLI_TIME_TEXT_MAX])
{
    if (unix_ms >= YEAR_10000_MS) {
        snprintf(out, CLI_TIME_TEXT_MAX, "%llums", (unsigned long long)unix_ms);
        return;
    }
    time_format(unix_ms, out);
}

void cli_duration_format(uint64_t ms, char out[CLI_TIME_TEXT_MAX])
{
    unsigned long long s = ms / 1000;
    if (ms < 1000)
        snprintf(out, CLI_TIME_TEXT_MAX, "%llu ms", (unsigned long long)ms);
    else if (s < 60)
        snprintf(out, CLI_TIME_TEXT_MAX, "%llu.%llu s", s, (unsigned long long)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(out, CLI_TIME_TEXT_MAX, "%llu min %02llu s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, CLI_TIME_TEXT_MAX, "%llu h %02llu min", s / 3600, s / 60 % 60);
    else
        snprintf(out, CLI_TIME_TEXT_MAX, "%llu d %02llu h", s / 86400, s / 3600 % 24);
}

void cli_duration_exact(uint64_t ms, char out[CLI_TIME_TEXT_MAX])
{
    static const struct {
        const char *name;
        uint64_t ms;
    } descending[] = {{"d", DAY_MS}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t len = 0;
    snprintf(out, CLI_TIME_TEXT_MAX, "0");
    for (size_t i = 0; i < sizeof descending / sizeof descending[0]; i++) {
        uint64_t n = ms / descending[i].ms;
        ms %= descending[i].ms;
        if (n && len < CLI_TIME_TEXT_MAX)
            len += (size_t)snprintf(out + len, CLI_TIME_TEXT_MAX - len, "%llu%s",
                                    (unsigned long long)n, descending[i].name);
    }
}
