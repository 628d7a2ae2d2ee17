/* load_mix.c - the mixes that load_run knows, and names. */
#include "serve/load/load.h"

#include "wire/wire.h"

const struct load_mix load_mixes[] = {
    {"A", LOAD_ZIPF, {[LOAD_GET] = 50, [LOAD_PUT] = 50}, "YCSB A: half gets, half puts"},
    {"B", LOAD_ZIPF, {[LOAD_GET] = 95, [LOAD_PUT] = 5}, "YCSB B: 95 % gets, 5 % puts"},
    {"C", LOAD_ZIPF, {[LOAD_GET] = 100}, "YCSB C: gets"},
    {"D",
     LOAD_LATEST,
     {[LOAD_GET] = 95, [LOAD_INSERT] = 5},
     "YCSB D: gets of the newest, 5 % new keys"},
    {"E",
     LOAD_ZIPF,
     {[LOAD_SCAN] = 95, [LOAD_INSERT] = 5},
     "YCSB E: scans of 1 to 100 rows, 5 % new keys"},
    {"F",
     LOAD_ZIPF,
     {[LOAD_GET] = 50, [LOAD_RMW] = 50},
     "YCSB F: half gets, half read-modify-write"},
    {"get", LOAD_UNIFORM, {[LOAD_GET] = 100}, "gets"},
    {"put", LOAD_UNIFORM, {[LOAD_PUT] = 100}, "puts over keys that are there"},
    {"insert", LOAD_UNIFORM, {[LOAD_INSERT] = 100}, "puts of new keys"},
    {"rmw", LOAD_UNIFORM, {[LOAD_RMW] = 100}, "read-modify-write"},
    {"scan", LOAD_UNIFORM, {[LOAD_SCAN] = 100}, "scans of --rows rows from any key on"},
    {"batch", LOAD_UNIFORM, {[LOAD_BATCH] = 100}, "batches of --batch puts of new keys"},
};
const size_t load_mix_count = sizeof load_mixes / sizeof load_mixes[0];

const struct load_mix *load_mix_find(const char *name)
{
    for (size_t i = 0; i < load_mix_count; i++)
        if (wire_eq_nocase(BYTES_STR(load_mixes[i].name), BYTES_STR(name)))
            return &load_mixes[i];
    return NULL;
}

const char *load_kind_name(enum load_kind kind)
{
    static const char *const names[LOAD_KINDS] = {
#define X(id, name) [LOAD_##id] = (name),
        LOAD_KINDS_TABLE(X)
#undef X
    };
    return names[kind];
}
