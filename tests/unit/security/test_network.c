/* Which addresses are one network, whose failed logins count together. */
#include "serve/gate/gate.h"
#include "support/cmocka.h"

static bool one_network(const char *a, const char *b)
{
    struct net_addr of_a, of_b;
    uint8_t net_a[GATE_NETWORK], net_b[GATE_NETWORK];
    assert_int_equal(net_addr_parse(a, &of_a, NULL), ST_OK);
    assert_int_equal(net_addr_parse(b, &of_b, NULL), ST_OK);
    size_t n = gate_network(&of_a, net_a);
    return n == gate_network(&of_b, net_b) && memcmp(net_a, net_b, n) == 0;
}

static void networks(void **state)
{
    (void)state;
    uint8_t net[GATE_NETWORK];
    assert_true(one_network("10.0.0.1:1", "10.0.0.1:2"));
    assert_false(one_network("10.0.0.1:1", "10.0.0.2:1"));
    assert_true(one_network("[::ffff:10.0.0.1]:1", "10.0.0.1:1"));
    assert_false(one_network("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:1"));
    assert_true(one_network("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1"));
    assert_false(one_network("[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
    assert_int_equal(gate_network(&(struct net_addr){.family = NET_NONE}, net), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
