#include "apps/cli/cli_out.h"
#include "apps/cli/cli.h"
#include <errno.h>
#include <string.h>

size_t cli_utf8_len(struct bytes b)
{
    static const uint8_t low_second[] = {0xa0, 0x90}, high_second[] = {0x9f, 0x8f};
    if (b.len == 0)
        return 0;
    uint8_t c = b.data[0], low = 0x80, high = 0xbf;
    size_t n = c < 0x80                ? 1
               : c >= 0xc2 && c < 0xe0 ? 2
               : (c & 0xf0) == 0xe0    ? 3
               : c >= 0xf0 && c < 0xf5 ? 4
                                       : 0;
    if (n == 0 || b.len < n)
        return 0;
    if (c == 0xe0)
        low = low_second[0]; /* overlong below */
    else if (c == 0xf0)
        low = low_second[1];
    else if (c == 0xed)
        high = high_second[0]; /* surrogates above */
    else if (c == 0xf4)
        high = high_second[1];
    for (size_t i = 1; i < n; i++) {
        if (b.data[i] < low || b.data[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

bool cli_is_utf8(struct bytes b)
{
    while (b.len) {
        size_t n = cli_utf8_len(b);
        if (n == 0)
            return false;
        b = BYTES(b.data + n, b.len - n);
    }
    return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum status cli_base64(struct buf *out, struct bytes b)
{
    enum status st = buf_reserve(out, (b.len + 2) / 3 * 4);
    for (size_t i = 0; st == ST_OK && i < b.len; i += 3) {
        size_t n = b.len - i < 3 ? b.len - i : 3;
        uint32_t v = (uint32_t)b.data[i] << 16;
        if (n > 1)
            v |= (uint32_t)b.data[i + 1] << 8;
        if (n > 2)
            v |= b.data[i + 2];
        char quad[4] = {base64_digits[v >> 18], base64_digits[(v >> 12) & 63],
                        n > 1 ? base64_digits[(v >> 6) & 63] : '=',
                        n > 2 ? base64_digits[v & 63] : '='};
        st = buf_append(out, quad, sizeof quad);
    }
    return st;
}

bool cli_base64_decode(struct bytes text, struct buf *out)
{
    if (text.len % 4)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t v = 0;
        size_t pad = 0;
        for (size_t j = 0; j < 4; j++) {
            const char *at = text.data[i + j] ? strchr(base64_digits, text.data[i + j]) : NULL;
            bool may_pad = i + 4 == text.len && j >= 2 && text.data[i + j] == '=';
            if (may_pad)
                pad++;
            else if (!at || pad)
                return false;
            v = v << 6 | (may_pad ? 0 : (uint32_t)(at - base64_digits));
        }
        uint8_t triple[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        if (buf_append(out, triple, 3 - pad) != ST_OK)
            return false;
    }
    return true;
}

static enum status json_char(struct buf *out, const uint8_t *p, size_t n)
{
    if (n == 1 && (*p == '"' || *p == '\\'))
        return buf_printf(out, "\\%c", *p);
    if (n == 1 && *p == '\n')
        return buf_append(out, "\\n", 2);
    if (n == 1 && *p == '\t')
        return buf_append(out, "\\t", 2);
    if (n == 1 && (*p < 0x20 || *p == 0x7f))
        return buf_printf(out, "\\u%04x", *p);
    return buf_append(out, p, n);
}

enum status cli_json_bytes(struct buf *out, struct bytes b)
{
    enum status st;
    if (!cli_is_utf8(b)) {
        if ((st = buf_printf(out, "{\"$binary\":{\"base64\":\"")) != ST_OK ||
            (st = cli_base64(out, b)) != ST_OK)
            return st;
        return buf_printf(out, "\",\"subType\":\"00\"}}");
    }
    st = buf_append_u8(out, '"');
    for (size_t i = 0, n; st == ST_OK && i < b.len; i += n) {
        n = cli_utf8_len(BYTES(b.data + i, b.len - i));
        st = json_char(out, b.data + i, n);
    }
    return st == ST_OK ? buf_append_u8(out, '"') : st;
}

/* Whether the character at p, of n bytes, is one. U+0080 to U+009F are, too: some terminals obey
 * them. */
static bool is_control(const uint8_t *p, size_t n)
{
    return n == 1 ? *p < 0x20 || *p == 0x7f : n == 2 && *p == 0xc2 && p[1] < 0xa0;
}

enum status cli_text_bytes(struct buf *out, struct bytes b)
{
    enum status st = ST_OK;
    for (size_t i = 0, n; st == ST_OK && i < b.len; i += n) {
        const uint8_t *p = b.data + i;
        n = cli_utf8_len(BYTES(p, b.len - i));
        bool control = is_control(p, n);
        if (n == 1 && *p == '\\') {
            st = buf_append(out, "\\\\", 2);
        } else if (n == 0 || control) {
            n = 1;
            st = buf_printf(out, "\\x%02x", *p);
            if (st == ST_OK && control && *p == 0xc2)
                st = buf_printf(out, "\\x%02x", p[n++]);
        } else {
            st = buf_append(out, p, n);
        }
    }
    return st;
}

/* Runs that may be shown are written whole: stderr has no buffer. */
void cli_print_message(FILE *f, const char *text)
{
    const uint8_t *run = (const uint8_t *)text, *p = run, *end = p + strlen(text);
    while (p < end) {
        size_t n = cli_utf8_len(BYTES(p, (size_t)(end - p)));
        if (n && (*p == '\n' || !is_control(p, n))) {
            p += n;
            continue;
        }
        (void)fwrite(run, 1, (size_t)(p - run), f);
        fprintf(f, "\\x%02x", *p++);
        if (n == 2)
            fprintf(f, "\\x%02x", *p++);
        run = p;
    }
    (void)fwrite(run, 1, (size_t)(p - run), f);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum status cli_text_unescape(struct buf *out, struct bytes text, struct err *err)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        size_t left = text.len - i - 1;
        if (byte == '\\') {
            const uint8_t *p = text.data + i + 1;
            if (left >= 1 && p[0] == '\\') {
                i += 1;
            } else if (left >= 3 && p[0] == 'x' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
                byte = (uint8_t)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
                i += 3;
            } else {
                return err_set(err, ST_INVALID_ARGUMENT,
                               "the backslash at byte %zu begins neither \\xNN nor \\\\", i);
            }
        }
        enum status st = buf_append_u8(out, byte);
        if (st != ST_OK)
            return err_set(err, st, "no memory for a key");
    }
    return ST_OK;
}

enum status cli_json_version(struct buf *out, const char *name, varve_version v)
{
    char text[VARVE_VERSION_TEXT_MAX], time[CLI_TIME_TEXT_MAX];
    varve_version_format(v, text);
    cli_time_format(varve_version_time_ms(v), time);
    return buf_printf(out, "\"%s\":\"%s\",\"time\":\"%s\"", name, text, time);
}

enum status cli_json_value(struct buf *out, varve_type type, struct bytes value, bool canonical,
                           struct err *err)
{
    if (type != VARVE_DOC)
        return cli_json_bytes(out, value);
    char *json = NULL;
    varve_status vst = varve_bson_to_json(value.data, value.len, canonical, false, &json);
    if (vst != VARVE_OK)
        return err_set(err, (enum status)vst, "%s", varve_last_error());
    enum status st = buf_append(out, json, strlen(json));
    varve_free(json);
    return st;
}

enum status cli_text_value(struct buf *out, varve_type type, struct bytes value, struct err *err)
{
    if (type == VARVE_DOC)
        return cli_json_value(out, type, value, false, err);
    return cli_text_bytes(out, value);
}

void cli_count_format(uint64_t n, char out[CLI_NUMBER_TEXT_MAX])
{
    char plain[CLI_NUMBER_TEXT_MAX];
    int len = snprintf(plain, sizeof plain, "%llu", (unsigned long long)n);
    char *p = out;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            *p++ = ',';
        *p++ = plain[i];
    }
    *p = '\0';
}

void cli_bytes_format(uint64_t n, char out[CLI_NUMBER_TEXT_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double v = (double)n;
    for (; v >= 1024 && unit < 6; unit++)
        v /= 1024;
    snprintf(out, CLI_NUMBER_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

void cli_table_init(struct cli_table *t, size_t columns)
{
    *t = (struct cli_table){.columns = columns};
}

void cli_table_deinit(struct cli_table *t)
{
    buf_deinit(&t->cells);
}

enum status cli_table_cell(struct cli_table *t, struct bytes text)
{
    size_t before = t->cells.len;
    enum status st = cli_text_bytes(&t->cells, text);
    if (st == ST_OK)
        st = buf_append_u8(&t->cells, 0);
    if (st != ST_OK)
        t->cells.len = before;
    else
        t->rows++; /* cells, until the table is formatted */
    return st;
}

enum status cli_table_str(struct cli_table *t, const char *text)
{
    return cli_table_cell(t, BYTES_STR(text));
}

/* Characters, which is near enough to columns on a terminal for what stands in our tables. */
static size_t text_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

enum status cli_table_format(const struct cli_table *t, bool color, struct buf *out)
{
    size_t width[CLI_TABLE_COLUMNS_MAX] = {0};
    const char *end = (const char *)t->cells.data + t->cells.len;
    size_t i = 0;
    for (const char *p = (const char *)t->cells.data; p < end; p += strlen(p) + 1, i++)
        if (text_width(p) > width[i % t->columns])
            width[i % t->columns] = text_width(p);
    enum status st = ST_OK;
    i = 0;
    for (const char *p = (const char *)t->cells.data; st == ST_OK && p < end;
         p += strlen(p) + 1, i++) {
        bool last = i % t->columns == t->columns - 1, heading = i < t->columns;
        int pad = last ? 0 : (int)(width[i % t->columns] - text_width(p) + 2);
        st = buf_printf(out, "%s%s%s%*s%s", heading ? cli_bold(color) : "", p,
                        heading ? cli_plain(color) : "", pad, "", last ? "\n" : "");
    }
    return st;
}

const char *cli_bold(bool on)
{
    return on ? "\033[1m" : "";
}
const char *cli_dim(bool on)
{
    return on ? "\033[2m" : "";
}
const char *cli_red(bool on)
{
    return on ? "\033[31m" : "";
}
const char *cli_yellow(bool on)
{
    return on ? "\033[33m" : "";
}
const char *cli_plain(bool on)
{
    return on ? "\033[0m" : "";
}

bool cli_put_bytes(struct cli *c, struct bytes b)
{
    if (!c->out_failed && b.len && fwrite(b.data, 1, b.len, c->out) != b.len) {
        c->out_failed = true;
        c->out_errno = errno;
    }
    return !c->out_failed;
}

bool cli_put_scratch(struct cli *c)
{
    bool ok = cli_put_bytes(c, buf_bytes(&c->scratch));
    buf_clear(&c->scratch);
    return ok;
}
