/* test_log.c - the lines themselves, and for random content that each JSON line is one valid JSON
 * object of valid UTF-8. */
#include "base/buf.h"
#include "base/log.h"
#include "support/cmocka.h"
#include "support/hexdump.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

struct sunk {
    struct buf text;
    size_t calls;
};

static void sink(void *arg, const char *line, unsigned long len)
{
    struct sunk *s = arg;
    s->calls++;
    assert_int_equal(buf_append(&s->text, line, len), ST_OK);
}

static uint64_t fixed_clock(void *arg)
{
    return *(uint64_t *)arg;
}

static int setup(void **state)
{
    static struct sunk s;
    buf_deinit(&s.text);
    s = (struct sunk){0};
    log_set_sink(sink, &s);
    log_set_clock(NULL, NULL);
    log_configure(LOG_INFO, LOG_JSON);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct sunk *s = *state;
    log_set_sink(NULL, NULL);
    log_set_clock(NULL, NULL);
    buf_deinit(&s->text);
    return 0;
}

static const char *take(struct sunk *s)
{
    static char copy[20000];
    snprintf(copy, sizeof copy, "%s", buf_cstr(&s->text));
    buf_clear(&s->text);
    return copy;
}

/* A strict little JSON checker (RFC 8259), independent of the writer. Returns the place after the
 * value, or NULL. */
static const char *json_value(const char *p);

static const char *utf8_step(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t c = p[0];
    int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : -1;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (more < 0)
        return NULL;
    c = more ? c & (0x3fU >> more) : c;
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return NULL;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return NULL;
    return s + more + 1;
}

static const char *json_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (p && *p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p != '\\') {
            p = utf8_step(p);
            continue;
        }
        if (p[1] == 'u') {
            for (int i = 2; i < 6; i++)
                if (!isxdigit((unsigned char)p[i]))
                    return NULL;
            p += 6;
        } else if (p[1] && strchr("\"\\/bfnrt", p[1])) {
            p += 2;
        } else {
            return NULL;
        }
    }
    return p ? p + 1 : NULL;
}

static const char *digits(const char *p)
{
    const char *start = p;
    while (isdigit((unsigned char)*p))
        p++;
    return p > start ? p : NULL;
}

static const char *json_number(const char *p)
{
    p += *p == '-';
    if (p[0] == '0' && isdigit((unsigned char)p[1]))
        return NULL;
    p = digits(p);
    if (p && *p == '.')
        p = digits(p + 1);
    if (p && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '+' || *p == '-';
        p = digits(p);
    }
    return p;
}

static const char *json_object(const char *p)
{
    if (*p++ != '{')
        return NULL;
    for (;;) {
        p = json_string(p);
        if (!p || *p != ':')
            return NULL;
        p = json_value(p + 1);
        if (!p)
            return NULL;
        if (*p == '}')
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

static const char *json_value(const char *p)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    return *p == '"' ? json_string(p) : *p == '{' ? json_object(p) : json_number(p);
}

static bool is_json_line(const char *line)
{
    const char *end = json_object(line);
    return end && end[0] == '\n' && end[1] == '\0';
}

static void the_checker_checks(void **state)
{
    (void)state;
    assert_true(is_json_line("{\"a\":1,\"b\":\"x\\n\\u00e9\xc3\xa9\",\"c\":-1.5e+10}\n"));
    static const char *const bad[] = {"{}\n",
                                      "{\"a\":01}\n",
                                      "{\"a\":nan}\n",
                                      "{\"a\":\"\xff\"}\n",
                                      "{\"a\":\"\xed\xa0\x80\"}\n",
                                      "{\"a\":\"\\x\"}\n",
                                      "{\"a\":1}",
                                      "{\"a\":1}\n\n",
                                      "{\"a\":\"x\ty\"}\n",
                                      "{\"a\":1,}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_json_line(bad[i]));
}

static void a_json_line(void **state)
{
    struct sunk *s = *state;
    uint64_t ms = UINT64_C(1709210096789); /* 2024-02-29, a leap day */
    log_set_clock(fixed_clock, &ms);
    log_at(LOG_WARN, "wal", "slow sync", LOG_FSTR("file", "seg-1"), LOG_FU64("us", UINT64_MAX),
           LOG_FI64("delta", INT64_MIN), LOG_FF64("ratio", 0.5), LOG_FBOOL("retry", 1));
    assert_string_equal(
        take(s), "{\"ts\":\"2024-02-29T12:34:56.789Z\",\"level\":\"warn\",\"module\":\"wal\","
                 "\"msg\":\"slow sync\",\"file\":\"seg-1\",\"us\":18446744073709551615,"
                 "\"delta\":-9223372036854775808,\"ratio\":0.5,\"retry\":true}\n");
    assert_int_equal(s->calls, 1);
    log_set_clock(NULL, NULL);
    log_at(LOG_INFO, "wal", "opened");
    assert_string_equal(take(s), "{\"level\":\"info\",\"module\":\"wal\",\"msg\":\"opened\"}\n");
}

static void a_human_line(void **state)
{
    struct sunk *s = *state;
    uint64_t ms = 0;
    log_set_clock(fixed_clock, &ms);
    log_configure(LOG_INFO, LOG_HUMAN);
    log_at(LOG_INFO, "wal", "slow\nsync", LOG_FSTR("file", "a b"), LOG_FSTR("short", "x"),
           LOG_FSTR("empty", ""), LOG_FSTR("none", NULL), LOG_FU64("us", 12));
    assert_string_equal(take(s), "1970-01-01T00:00:00.000Z info  wal: slow\\nsync file=\"a b\" "
                                 "short=x empty=\"\" none=null us=12\n");
    log_set_clock(NULL, NULL);
    log_at(LOG_ERROR, "wal", "gone");
    assert_string_equal(take(s), "error wal: gone\n");
}

static void special_content_is_escaped_or_replaced(void **state)
{
    struct sunk *s = *state;
    log_at(LOG_INFO, "m", "q\" b\\ n\n t\t c\x01 d\x7f e\xc3\xa9",
           LOG_FSTR("bad", "a\xff"
                           "b\xc3"),
           LOG_FSTR("surrogate", "\xed\xa0\x80"), LOG_FSTR("overlong", "\xc0\xaf"),
           LOG_FF64("nan", NAN), LOG_FF64("inf", -INFINITY), LOG_FSTR("null", NULL));
    const char *line = take(s);
    assert_true(is_json_line(line));
    assert_string_equal(
        line,
        "{\"level\":\"info\",\"module\":\"m\",\"msg\":\"q\\\" b\\\\ n\\n t\\t c\\u0001 d\\u007f "
        "e\xc3\xa9\","
        "\"bad\":\"a\xef\xbf\xbd"
        "b\xef\xbf\xbd\",\"surrogate\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
        "\"overlong\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"nan\":null,\"inf\":null,\"null\":null}\n");
}

static void levels_are_obeyed(void **state)
{
    struct sunk *s = *state;
    for (int at = LOG_DEBUG; at <= LOG_OFF; at++) {
        log_configure((enum log_level)at, LOG_JSON);
        for (int level = LOG_DEBUG; level < LOG_OFF; level++) {
            s->calls = 0;
            assert_int_equal(log_enabled((enum log_level)level) != 0, level >= at);
            log_at((enum log_level)level, "m", "x");
            log_write((enum log_level)level, "m", "x", NULL);
            assert_int_equal(s->calls, level >= at ? 2 : 0);
        }
        assert_false(log_enabled(LOG_OFF));
    }
}

static void long_content_is_cut_and_the_line_stays_valid(void **state)
{
    struct sunk *s = *state;
    char big[3000];
    memset(big, '\x02', sizeof big - 1); /* six bytes each, escaped */
    big[sizeof big - 1] = '\0';
    log_at(LOG_INFO, "m", big);
    const char *line = take(s);
    assert_true(is_json_line(line));
    assert_true(strlen(line) < 1200);
    assert_non_null(strstr(line, "...\"}"));
    log_at(LOG_INFO, "m", big, LOG_FSTR("a", big), LOG_FSTR("b", big), LOG_FSTR("c", big),
           LOG_FSTR("d", big), LOG_FSTR("e", big), LOG_FSTR("f", big), LOG_FSTR("g", big),
           LOG_FSTR("h", big), LOG_FU64("i", 1));
    line = take(s);
    assert_true(is_json_line(line));
    assert_true(strlen(line) <= 8192);
    /* The last field before the mark is whole, up to its own dots. */
    assert_non_null(strstr(line, "...\",\"truncated\":true}\n"));
}

static char *random_string(struct test_rng *rng, char *out, size_t max)
{
    static const char *const pieces[] = {
        "a",    "\"", "\\",   "\xc3\xa9",         "\xe2\x82\xac", "\xf0\x9f\x98\x80",
        "\xff", "\n", "\x01", "\xf4\x90\x80\x80", "\xe2\x82"};
    size_t len = 0, want = (size_t)test_rng_below(rng, max - 4);
    while (len < want) {
        const char *piece = pieces[test_rng_below(rng, sizeof pieces / sizeof pieces[0])];
        if (test_rng_chance(rng, 1, 3)) {
            out[len++] = (char)test_rng_between(rng, 1, 255);
            continue;
        }
        size_t n = strlen(piece);
        memcpy(out + len, piece, n);
        len += n;
    }
    out[len] = '\0';
    return out;
}

static void random_lines_are_valid_json(void **state)
{
    struct sunk *s = *state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng rng;
        char message[1600], name[100], value[1600];
        double f;
        test_rng_init(&rng, seed);
        uint64_t ms = test_rng_any_width(&rng), bits = test_rng_u64(&rng);
        memcpy(&f, &bits, sizeof f);
        log_set_clock(fixed_clock, &ms);
        size_t max = test_rng_chance(&rng, 1, 10) ? 1600 : 40;
        log_at(LOG_INFO, "mod", random_string(&rng, message, max),
               LOG_FSTR(random_string(&rng, name, 100), random_string(&rng, value, max)),
               LOG_FF64("f", f), LOG_FSTR("again", value), LOG_FI64("i", (int64_t)bits));
        const char *line = take(s);
        if (!is_json_line(line))
            hex_dump(stderr, "line", line, strlen(line));
        assert_true(is_json_line(line));
    }
}

static void the_default_sink_writes_one_line_to_standard_error(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    char text[256] = {0};
    assert_true(saved >= 0 && pipe(ends) == 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    log_set_sink(NULL, NULL);
    log_at(LOG_INFO, "m", "to stderr");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    close(ends[1]);
    close(saved);
    assert_true(n > 0);
    assert_string_equal(text, "{\"level\":\"info\",\"module\":\"m\",\"msg\":\"to stderr\"}\n");
}

static _Atomic unsigned long lines_seen;

static void counting_sink(void *arg, const char *line, unsigned long len)
{
    (void)arg;
    if (len > 2 && line[0] == '{' && line[len - 1] == '\n')
        lines_seen++;
}

static void *log_many(void *arg)
{
    for (uint64_t i = 0; i < 500; i++)
        log_at(LOG_INFO, "m", "from a thread", LOG_FU64("i", i));
    return arg;
}

static void threads_may_log_while_the_outlets_change(void **state)
{
    (void)state;
    pthread_t thread[3];
    uint64_t ms = 1;
    lines_seen = 0;
    log_set_sink(counting_sink, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, log_many, NULL), 0);
    for (int i = 0; i < 200; i++) {
        log_set_clock(i % 2 ? fixed_clock : NULL, &ms);
        log_set_sink(counting_sink, &ms);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(lines_seen, 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checker_checks),
        cmocka_unit_test_setup_teardown(a_json_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_human_line, setup, teardown),
        cmocka_unit_test_setup_teardown(special_content_is_escaped_or_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(levels_are_obeyed, setup, teardown),
        cmocka_unit_test_setup_teardown(long_content_is_cut_and_the_line_stays_valid, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(random_lines_are_valid_json, setup, teardown),
        cmocka_unit_test_setup_teardown(the_default_sink_writes_one_line_to_standard_error, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(threads_may_log_while_the_outlets_change, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
