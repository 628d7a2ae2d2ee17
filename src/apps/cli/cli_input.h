/* cli_input.h - a stream of bytes that knows its place: what import reads from a file or a pipe.
 *
 * Owns:     its buffer and, when opened by path, the descriptor.
 * Promises: `offset` and `line` are those of the next byte; memory is bounded by the longest line
 * asked for. Never:    reads ahead further than its buffer. Threads: one owner.
 */
#ifndef VARVE_APPS_CLI_CLI_INPUT_H
#define VARVE_APPS_CLI_CLI_INPUT_H

#include "base/buf.h"

/* Reads some bytes (at least 1 unless at the end). */
typedef enum status (*cli_read_fn)(void *arg, void *out, size_t cap, size_t *ret_len,
                                   struct err *err);

enum { CLI_LINE_MAX = 192 * 1024 * 1024 }; /* the longest line or CSV row: 16 MiB, mostly escapes */

struct cli_input {
    cli_read_fn read;
    void *arg;
    bool (*stopped)(
        void); /* may be NULL; asked when a signal broke into a read: true ends it with CANCELLED */
    int fd;    /* when opened by cli_input_open; else -1 */
    uint8_t *chunk;
    size_t pos, len;
    uint64_t offset, line; /* line counts from 1 */
    bool at_end;
};

enum status cli_input_init(struct cli_input *in, cli_read_fn read, void *arg,
                           struct err *err) WARN_UNUSED;
/* "-" is standard input. NOT_FOUND and the like, with the path. */
enum status cli_input_open(struct cli_input *in, const char *path, struct err *err) WARN_UNUSED;
/* Goes on at a place that an earlier run stopped at (files only). */
enum status cli_input_seek(struct cli_input *in, uint64_t offset, uint64_t line,
                           struct err *err) WARN_UNUSED;
void cli_input_deinit(struct cli_input *in);

/* The next byte: 1; the end: 0; < 0: minus a status. */
int cli_input_fill(struct cli_input *in, struct err *err);
static inline int cli_input_byte(struct cli_input *in, uint8_t *ret, struct err *err)
{
    if (in->pos == in->len) {
        int got = cli_input_fill(in, err);
        if (got <= 0)
            return got;
    }
    *ret = in->chunk[in->pos++];
    in->offset++;
    in->line += *ret == '\n';
    return 1;
}
int cli_input_peek(struct cli_input *in, uint8_t *ret, struct err *err);
/* The next line without its LF or CRLF into `line` (cleared first). *ret_ended: false for a last
 * line without LF. 1, 0, < 0; -TOO_LARGE past CLI_LINE_MAX. */
int cli_input_line(struct cli_input *in, struct buf *line, bool *ret_ended, struct err *err);

/* Which file it is, so that a resumed import is of the same one: size, time of change, XXH64 of the
 * first 64 KiB. */
struct cli_file_id {
    bool known; /* false: a pipe */
    uint64_t size, mtime_ns, head_hash;
};
enum status cli_input_id(struct cli_input *in, struct cli_file_id *ret,
                         struct err *err) WARN_UNUSED;

#endif
