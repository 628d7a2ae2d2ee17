#include "apps/cli/cli_input.h"
#include "base/alloc.h"
#include "base/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 * 1024, HEAD_BYTES = 64 * 1024 };

static enum status read_fd(void *arg, void *out, size_t cap, size_t *ret_len, struct err *err)
{
    const struct cli_input *in = arg;
    ssize_t n;
    do {
        n = read(in->fd, out, cap);
        if (n < 0 && errno == EINTR && in->stopped && in->stopped())
            return err_set(err, ST_CANCELLED, "stopped");
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(err, errno, "cannot read the input");
    *ret_len = (size_t)n;
    return ST_OK;
}

enum status cli_input_init(struct cli_input *in, cli_read_fn read, void *arg, struct err *err)
{
    *in = (struct cli_input){.read = read, .arg = arg, .fd = -1, .line = 1};
    in->chunk = mem_alloc(CHUNK_BYTES);
    if (!in->chunk)
        return err_set(err, ST_NO_MEMORY, "no memory to read with");
    return ST_OK;
}

enum status cli_input_open(struct cli_input *in, const char *path, struct err *err)
{
    enum status st = cli_input_init(in, read_fd, in, err);
    if (st != ST_OK)
        return st;
    in->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd >= 0)
        return ST_OK;
    st = errno == ENOENT ? err_set(err, ST_NOT_FOUND, "%s: there is no such file", path)
                         : err_errno(err, errno, "cannot open %s", path);
    cli_input_deinit(in);
    return st;
}

enum status cli_input_seek(struct cli_input *in, uint64_t offset, uint64_t line, struct err *err)
{
    if (lseek(in->fd, (off_t)offset, SEEK_SET) < 0)
        return err_errno(err, errno, "cannot go to byte %llu", (unsigned long long)offset);
    in->pos = in->len = 0;
    in->offset = offset;
    in->line = line;
    in->at_end = false;
    return ST_OK;
}

void cli_input_deinit(struct cli_input *in)
{
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
    mem_free(in->chunk);
    in->chunk = NULL;
}

int cli_input_fill(struct cli_input *in, struct err *err)
{
    if (in->at_end)
        return 0;
    size_t len = 0;
    enum status st = in->read(in->arg, in->chunk, CHUNK_BYTES, &len, err);
    if (st != ST_OK)
        return -(int)st;
    in->pos = 0;
    in->len = len;
    in->at_end = len == 0;
    return len > 0;
}

int cli_input_peek(struct cli_input *in, uint8_t *ret, struct err *err)
{
    if (in->pos == in->len) {
        int got = cli_input_fill(in, err);
        if (got <= 0)
            return got;
    }
    *ret = in->chunk[in->pos];
    return 1;
}

int cli_input_line(struct cli_input *in, struct buf *line, bool *ret_ended, struct err *err)
{
    bool ended = false;
    buf_clear(line);
    while (!ended) {
        if (in->pos == in->len) {
            int got = cli_input_fill(in, err);
            if (got < 0)
                return got;
            if (got == 0)
                break;
        }
        const uint8_t *from = in->chunk + in->pos;
        const uint8_t *lf = memchr(from, '\n', in->len - in->pos);
        size_t n = lf ? (size_t)(lf - from) : in->len - in->pos;
        if (line->len + n > CLI_LINE_MAX)
            return -(int)err_set(err, ST_TOO_LARGE, "line %llu is longer than 192 MiB",
                                 (unsigned long long)in->line);
        enum status st = buf_append(line, from, n);
        if (st != ST_OK)
            return -(int)err_set(err, st, "no memory for a line");
        ended = lf != NULL;
        in->pos += n + ended;
        in->offset += n + ended;
        in->line += ended;
    }
    if (!ended && line->len == 0)
        return 0;
    if (line->len && line->data[line->len - 1] == '\r')
        line->len--;
    *ret_ended = ended;
    return 1;
}

enum status cli_input_id(struct cli_input *in, struct cli_file_id *ret, struct err *err)
{
    struct stat s;
    *ret = (struct cli_file_id){0};
    if (fstat(in->fd, &s) != 0)
        return err_errno(err, errno, "cannot tell the input's size");
    if (S_ISDIR(s.st_mode))
        return err_set(err, ST_INVALID_ARGUMENT, "the input is a folder");
    if (!S_ISREG(s.st_mode))
        return ST_OK;
    uint8_t *head = mem_alloc(HEAD_BYTES);
    if (!head)
        return err_set(err, ST_NO_MEMORY, "no memory to read with");
    size_t len = 0;
    ssize_t n = 1;
    while (len < HEAD_BYTES && n > 0) {
        n = pread(in->fd, head + len, HEAD_BYTES - len, (off_t)len);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            len += (size_t)n;
    }
    enum status st = n < 0 ? err_errno(err, errno, "cannot read the input") : ST_OK;
    if (st == ST_OK)
        *ret = (struct cli_file_id){.known = true,
                                    .size = (uint64_t)s.st_size,
                                    .mtime_ns = (uint64_t)s.st_mtim.tv_sec * 1000000000U +
                                                (uint64_t)s.st_mtim.tv_nsec,
                                    .head_hash = hash_xxh64(head, len, 0)};
    mem_free(head);
    return st;
}
