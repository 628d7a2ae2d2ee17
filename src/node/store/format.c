#include "node/store/store_internal.h"

#include "base/hash.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The file VARVE says what the folder is. Text, so that a person sees it too:
 *     varve
 *     format 1
 *     engine rocks
 *     stores 1
 *     crc 1a2b3c4d          CRC32C of all lines before it
 * A folder that another node's state was installed in is of format 2 until that cannot be told any
 * more; it has two lines more before the crc:
 *     folder engine.2                  where the engine is; what else there is of that kind is void
 *     void 3 65536                     entries of the log before this place (epoch, offset) count for
 *                                      nothing; epoch 0: none is void
 * So this file, written whole and synced, is what changes over from one state to the other; and a
 * program that knows only format 1 does not take the wrong one, or none.
 * A newer format is told before the checksum is looked at: its file may well have other lines. */

enum { FORMAT_FILE_MAX = 4096 };

static enum status path_of(const struct store *s, const char *name, struct buf *ret,
                           struct err *err)
{
    if (buf_printf(ret, "%s/%s", s->dir, name) != ST_OK || !buf_cstr(ret))
        return err_set(err, ST_NO_MEMORY, "no memory for a path");
    return ST_OK;
}

static enum status damaged(const struct store *s, const char *what, struct err *err)
{
    return err_set(err, ST_CORRUPT, "%s/VARVE: offset 0: %s", s->dir, what);
}

static bool read_place(struct store *s, const char *text)
{
    char folder[32];
    uint64_t epoch, offset;
    if (sscanf(text,
               "varve\nformat %*u\nengine %*s\nstores %*u\nfolder %31s\nvoid %" SCNu64 " %" SCNu64
               "\n",
               folder, &epoch, &offset) != 3)
        return false;
    for (unsigned i = 0; i < STORE_FOLDERS; i++) {
        if (strcmp(folder, store__folder_name(i)) != 0)
            continue;
        s->folder = i;
        s->void_before = (struct wal_pos){epoch, offset};
        return true;
    }
    return false;
}

static enum status check_content(struct store *s, const char *text, struct err *err)
{
    unsigned format;
    if (sscanf(text, "varve\nformat %u\n", &format) != 1)
        return damaged(s, "not a Varve folder's format file", err);
    if (format > STORE_FORMAT_VERSION)
        return err_set(err, ST_FORMAT_NEWER,
                       "%s/VARVE: the folder was written by a newer Varve (format version %u; this "
                       "one reads up to %d)",
                       s->dir, format, STORE_FORMAT_VERSION);
    const char *crc_line = strstr(text, "crc ");
    unsigned crc;
    char engine[32], extra;
    unsigned stores;
    if (!crc_line || sscanf(crc_line, "crc %8x\n%c", &crc, &extra) != 1 ||
        crc != crc32c(0, text, (size_t)(crc_line - text)))
        return damaged(s, "the checksum does not hold", err);
    if (format == 0 ||
        sscanf(text, "varve\nformat %*u\nengine %31s\nstores %u\n", engine, &stores) != 2 ||
        stores != 1 || (format == 2 && !read_place(s, text)))
        return damaged(s, "a line is missing or unknown", err);
    if (strcmp(engine, s->o.engine_name) != 0)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option engine: %s was made with engine %s, not %s", s->dir, engine,
                       s->o.engine_name);
    return ST_OK;
}

enum status store__format_check(struct store *s, bool *ret_fresh, struct err *err)
{
    struct buf path = BUF_INIT, content = BUF_INIT;
    enum status st = path_of(s, "VARVE", &path, err);
    if (st != ST_OK)
        goto out;
    st = env_read_file(s->env, buf_cstr(&path), FORMAT_FILE_MAX, &content, err);
    if (st == ST_NOT_FOUND) {
        *ret_fresh = true;
        st = ST_OK;
        goto out;
    }
    if (st != ST_OK)
        goto out;
    const char *text = buf_cstr(&content);
    if (!text)
        st = err_set(err, ST_NO_MEMORY, "no memory to read %s", buf_cstr(&path));
    else if (strlen(text) != content.len)
        st = damaged(s, "it holds a zero byte", err);
    else
        st = check_content(s, text, err);
    if (st == ST_OK)
        *ret_fresh = false;
out:
    buf_deinit(&content);
    buf_deinit(&path);
    return st;
}

enum status store__format_write(struct store *s, struct err *err)
{
    struct buf path = BUF_INIT, content = BUF_INIT;
    bool plain = s->folder == 0 && s->void_before.epoch == 0;
    enum status st = path_of(s, "VARVE", &path, err);
    enum status made = buf_printf(&content, "varve\nformat %d\nengine %s\nstores 1\n",
                                  plain ? 1 : STORE_FORMAT_VERSION, s->o.engine_name);
    if (made == ST_OK && !plain)
        made =
            buf_printf(&content, "folder %s\nvoid %" PRIu64 " %" PRIu64 "\n",
                       store__folder_name(s->folder), s->void_before.epoch, s->void_before.offset);
    if (made == ST_OK)
        made = buf_printf(&content, "crc %08" PRIx32 "\n", crc32c(0, content.data, content.len));
    if (st == ST_OK && made != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory to write %s", s->dir);
    if (st == ST_OK)
        st = env_write_file(s->env, buf_cstr(&path), buf_bytes(&content), err);
    buf_deinit(&content);
    buf_deinit(&path);
    return st;
}
