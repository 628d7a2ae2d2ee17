/* history.c - stores a record, overwrites it, and reads its history back. */
#include <stdio.h>
#include <string.h>
#include <varve/varve.h>

static int put(varve *db, const char *json)
{
    return varve_put(db, "users", "alice", 5, VARVE_JSON, json, strlen(json), NULL, NULL);
}

int main(int argc, char **argv)
{
    varve *db = NULL;
    varve_iter *it = NULL;
    if (varve_open(argc > 1 ? argv[1] : "history-data", NULL, &db) || put(db, "{\"age\": 30}") ||
        put(db, "{\"age\": 31}") || varve_history(db, "users", "alice", 5, 0, &it)) {
        fprintf(stderr, "%s\n", varve_last_error());
        return 1;
    }
    while (varve_iter_next(it) == 1) {
        char version[VARVE_VERSION_TEXT_MAX], *json = NULL;
        varve_bytes v = varve_iter_value(it);
        varve_version_format(varve_iter_version(it), version);
        if (varve_bson_to_json(v.data, v.len, false, false, &json) == VARVE_OK)
            printf("%s %s\n", version, json);
        varve_free(json);
    }
    varve_iter_close(it);
    return varve_close(db) == VARVE_OK ? 0 : 1;
}
