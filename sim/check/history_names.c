/* history_names.c - the words of the file and of the stories. */
#include "sim/check/history.h"

#include "base/assert.h"

const char *history_verb_name(enum history_verb v)
{
    static const char *const names[HISTORY_VERBS] = {"get", "put", "delete", "check", "add"};
    ASSERT(v < HISTORY_VERBS);
    return names[v];
}

const char *history_family_name(enum history_family f)
{
    static const char *const names[HISTORY_FAMILIES] = {"register", "list", "bank", "set",
                                                        "counter"};
    ASSERT(f < HISTORY_FAMILIES);
    return names[f];
}

const char *history_outcome_name(enum history_outcome o)
{
    static const char *const names[HISTORY_OUTCOMES] = {"unknown", "ok", "failed", "unmet"};
    ASSERT(o < HISTORY_OUTCOMES);
    return names[o];
}

const char *history_require_name(enum history_require r)
{
    static const char *const names[HISTORY_REQUIRES] = {"any", "absent", "present", "version"};
    ASSERT(r < HISTORY_REQUIRES);
    return names[r];
}

const char *history_watch_name(enum history_watch_kind k)
{
    static const char *const names[HISTORY_WATCH_KINDS] = {"open", "event", "progress"};
    ASSERT(k < HISTORY_WATCH_KINDS);
    return names[k];
}

const char *history_fact_name(enum history_fact f)
{
    static const char *const names[HISTORY_FACTS] = {"applied", "leader", "durable",
                                                     "voted",   "acked",  "wiped"};
    ASSERT(f < HISTORY_FACTS);
    return names[f];
}
