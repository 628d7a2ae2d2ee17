/* access.c - the table of verbs, and which field a refusal names. */
#include "base/assert.h"
#include "serve/command/command.h"

static const struct {
    const char *name;
    enum command_access access;
} verbs[] = {
#define X(name, text, access) [COMMAND_##name] = {text, COMMAND_##access},
    COMMAND_TABLE(X)
#undef X
};

const char *command_verb_name(enum command_verb v)
{
    return (unsigned)v < COMMAND_VERBS ? verbs[v].name : "?";
}

enum command_access command_verb_access(enum command_verb v)
{
    ASSERT((unsigned)v < COMMAND_VERBS);
    return verbs[v].access;
}

/* Words, dots and indexes: "options.at.version", "keys[12]". */
static bool of_a_field(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '[' ||
           c == ']';
}

struct bytes command_field(const struct err *err)
{
    size_t n = 0;
    if (err->status != ST_INVALID_ARGUMENT && err->status != ST_TOO_LARGE &&
        err->status != ST_FUTURE_TIME && err->status != ST_UNIMPLEMENTED)
        return BYTES_EMPTY;
    while (of_a_field(err->detail[n]))
        n++;
    return n > 0 && err->detail[n] == ':' && err->detail[n + 1] == ' ' ? BYTES(err->detail, n)
                                                                       : BYTES_EMPTY;
}
