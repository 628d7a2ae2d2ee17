/* check_all.c - every checker, in a fixed order. */
#include "sim/check/check.h"

enum status check_all(const struct history *h, const struct check_options *o,
                      struct check_report *r)
{
    enum status st = check_replicas(h, r);
    if (st == ST_OK)
        st = check_final(h, r);
    if (st == ST_OK)
        st = check_linear(h, o, r);
    if (st == ST_OK)
        st = check_serial(h, r);
    if (st == ST_OK)
        st = check_session(h, r);
    if (st == ST_OK)
        st = check_past(h, r);
    if (st == ST_OK)
        st = check_watch(h, r);
    if (st == ST_OK)
        st = check_list(h, r);
    if (st == ST_OK)
        st = check_bank(h, o, r);
    if (st == ST_OK)
        st = check_set(h, r);
    return st == ST_OK ? check_counter(h, r) : st;
}
