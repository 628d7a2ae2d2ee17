// Compiles as C++: the header alone, and what a C++ program would write with it.
#include <varve/varve.h>

int reads_the_past(varve *db, varve_value *v)
{
    varve_at at = {};
    at.kind = VARVE_AT_TIME;
    at.time_ms = 1;
    varve_options o = {};
    o.size = sizeof(o);
    return varve_get(db, "users", "alice", 5, &at, v) == VARVE_OK && o.sync == VARVE_SYNC_DEFAULT;
}
