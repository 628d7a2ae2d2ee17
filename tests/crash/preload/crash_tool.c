/* crash_tool.c - looks at a trace and makes images by hand.
 *
 *     crash_tool list TRACE
 *     crash_tool image TRACE POSITION posix|ext4 keep|lose|ordered|scattered|mixed 512|4096 SEED
 * DIR
 */
#include "crash/preload/crash_images.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[CRASH_KINDS] = {
    [CRASH_PROCESS] = "process", [CRASH_CREATE] = "create",     [CRASH_MKDIR] = "mkdir",
    [CRASH_OPEN] = "open",       [CRASH_CLOSE] = "close",       [CRASH_WRITE] = "write",
    [CRASH_ZERO] = "zero",       [CRASH_TRUNCATE] = "truncate", [CRASH_GROW] = "grow",
    [CRASH_SYNC_BEGIN] = "sync", [CRASH_SYNC_END] = "synced",   [CRASH_RENAME] = "rename",
    [CRASH_LINK] = "link",       [CRASH_UNLINK] = "unlink",     [CRASH_RMDIR] = "rmdir",
    [CRASH_MARK] = "mark",
};

static void list(const struct crash_images *c)
{
    for (size_t i = 0; i < crash_images_count(c); i++) {
        const char *body;
        struct crash_record r = crash_images_record(c, i, &body);
        const char *name = r.kind < CRASH_KINDS && kind_names[r.kind] ? kind_names[r.kind] : "?";
        printf("%zu %s handle=%u offset=%" PRIu64 " size=%" PRIu64 " bytes=%" PRIu64 " %.*s %.*s\n",
               i, name, r.handle, r.offset, r.size, r.data_len, (int)r.path_len, body,
               (int)r.path2_len, body + r.path_len);
        if (r.kind == CRASH_MARK)
            printf("    \"%.*s\"\n", (int)r.data_len, body + r.path_len + r.path2_len);
    }
}

static int word(const char *text, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, words[i]))
            return i;
    fprintf(stderr, "crash_tool: what is \"%s\"?\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    static const char *const models[] = {"posix", "ext4"};
    static const char *const losses[] = {"keep", "lose", "ordered", "scattered", "mixed"};
    struct crash_images *c = NULL;
    char err[CRASH_ERROR_MAX] = "";
    bool image = argc == 9 && !strcmp(argv[1], "image");
    if (!image && !(argc == 3 && !strcmp(argv[1], "list"))) {
        fprintf(stderr,
                "usage: crash_tool list TRACE\n       crash_tool image TRACE POSITION posix|ext4 "
                "keep|lose|ordered|scattered|mixed 512|4096 SEED DIR\n");
        return 2;
    }
    bool ok = crash_images_open(
        argv[2], image ? (enum crash_model)word(argv[4], models, 2) : CRASH_POSIX, &c, err);
    if (ok && image) {
        struct crash_cut cut = {.seed = strtoull(argv[7], NULL, 0),
                                .unit = (unsigned)strtoul(argv[6], NULL, 10),
                                .loss = (enum crash_loss)word(argv[5], losses, 5)};
        ok = crash_images_advance(c, (size_t)strtoull(argv[3], NULL, 10), err) &&
             crash_images_write(c, &cut, argv[8], err);
    } else if (ok) {
        list(c);
    }
    if (!ok)
        fprintf(stderr, "crash_tool: %s\n", err);
    crash_images_close(c);
    return ok ? 0 : 1;
}
