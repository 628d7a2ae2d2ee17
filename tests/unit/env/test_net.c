/* Addresses as text, and the timer wheel against a plain list. */
#include "base/env/net/loop_internal.h"
#include "base/env/net/net.h"
#include "support/cmocka.h"
#include "support/rng.h"

#include <string.h>

static void test_env_net_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
        bool loopback;
    } good[] = {
        {"127.0.0.1:7878", "127.0.0.1:7878", true},
        {"localhost:1", "127.0.0.1:1", true},
        {"10.1.2.3:65535", "10.1.2.3:65535", false},
        {"0.0.0.0:0", "0.0.0.0:0", false},
        {"[::1]:80", "[::1]:80", true},
        {"[2001:db8::7]:443", "[2001:db8::7]:443", false},
        {"[fe80::1%3]:443", "[fe80::1%3]:443", false},
        {"[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:5", true},
        {"[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.1]:5", false},
        {":7878", "[::]:7878", false},
        {"*:7878", "[::]:7878", false},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct net_addr a, again;
        char text[NET_ADDR_TEXT];
        assert_int_equal(net_addr_parse(good[i].text, &a, NULL), ST_OK);
        assert_string_equal(net_addr_text(&a, text), good[i].printed);
        assert_int_equal(net_addr_is_loopback(&a), good[i].loopback);
        assert_int_equal(net_addr_parse(text, &again, NULL), ST_OK);
        assert_true(net_addr_eq(&a, &again));
        again.port ^= 1;
        assert_false(net_addr_eq(&a, &again));
    }
    static const char *bad[] = {"",
                                "127.0.0.1",
                                "127.0.0.1:",
                                "127.0.0.1:65536",
                                "127.0.0.1:x",
                                "127.0.0.1:1x",
                                "::1:80",
                                "[::1]",
                                "[::1:80",
                                "[::g]:80",
                                "[fe80::1%eth]:1",
                                "[fe80::1%]:1",
                                "example:80",
                                "1.2.3:80",
                                "1.2.3.4.5:80",
                                "[1.2.3.4]:80",
                                "127.0.0.1:99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct net_addr a = {.port = 99};
        struct err err;
        err_init(&err);
        if (net_addr_parse(bad[i], &a, &err) != ST_INVALID_ARGUMENT)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(a.port, 99);
        assert_true(strlen(err.detail) > 0);
    }
}

static void test_env_net_resolve(void **state)
{
    (void)state;
    struct net_addr a[4];
    size_t n = 0;
    assert_int_equal(net_resolve("[::1]:80", a, 4, &n, NULL), ST_OK);
    assert_int_equal(n, 1);
    assert_int_equal(a[0].port, 80);
    n = 7;
    assert_int_equal(net_resolve("host", a, 4, &n, NULL), ST_INVALID_ARGUMENT);
    struct err err;
    err_init(&err);
    /* RFC 6761: never a name. */
    enum status st = net_resolve("no.such.name.invalid:80", a, 4, &n, &err);
    assert_true(st == ST_NOT_FOUND || st == ST_IO_ERROR);
    assert_non_null(strstr(err.detail, "no.such.name.invalid"));
    assert_int_equal(n, 7);
}

/* --- the wheel --- */

enum { TIMERS = 200 };
struct model {
    struct wheel wheel;
    struct loop_timer timer[TIMERS];
    uint64_t now, at[TIMERS]; /* 0: not running */
    size_t fired;
};
struct ref {
    struct model *m;
    size_t i;
};

static void fire(void *arg)
{
    struct ref *r = arg;
    struct model *m = r->m;
    assert_true(m->at[r->i] != 0);
    assert_true(m->at[r->i] <= m->now); /* never early */
    m->at[r->i] = 0;
    m->fired++;
}

static uint64_t earliest(const struct model *m)
{
    uint64_t min = UINT64_MAX;
    for (size_t i = 0; i < TIMERS; i++)
        if (m->at[i] && m->at[i] < min)
            min = m->at[i];
    return min;
}

static void wheel_round(uint64_t seed)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    static struct loop l; /* loop_timer_start wants a loop, of which it uses the wheel */
    static struct model m;
    m = (struct model){.now = 1 + test_rng_any_width(&r) / 1000000000u};
    wheel__init(&l.wheel, m.now);
    struct ref ref[TIMERS];
    for (size_t i = 0; i < TIMERS; i++) {
        ref[i] = (struct ref){&m, i};
        loop_timer_init(&m.timer[i], fire, &ref[i]);
    }
    for (unsigned step = 0; step < 3000; step++) {
        size_t i = test_rng_below(&r, TIMERS);
        uint64_t ahead = test_rng_any_width(&r) >> (34 + test_rng_below(&r, 30));
        switch (test_rng_below(&r, 4)) {
        case 0:
        case 1:
            m.at[i] = m.now + ahead;
            loop_timer_start(&l, &m.timer[i], m.at[i] * 1000000u - test_rng_below(&r, 2) * 999999u);
            break;
        case 2:
            m.at[i] = 0;
            loop_timer_stop(&l, &m.timer[i]);
            break;
        default: {
            /* Time goes on: by what the wheel asks for, or further. */
            uint64_t next = wheel__next_ms(&l.wheel), first = earliest(&m);
            assert_true(next <= first); /* never late */
            uint64_t to = test_rng_chance(&r, 1, 2) && next != UINT64_MAX ? next : m.now + ahead;
            m.now = to > m.now ? to : m.now;
            wheel__run(&l.wheel, m.now);
            assert_true(earliest(&m) > m.now); /* all that were due have fired */
        }
        }
    }
    for (size_t i = 0; i < TIMERS; i++)
        loop_timer_stop(&l, &m.timer[i]);
}

static void test_env_net_wheel(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        wheel_round(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_net_parse),
        cmocka_unit_test(test_env_net_resolve),
        cmocka_unit_test(test_env_net_wheel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
