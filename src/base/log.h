/* log.h - the program's own log: JSON lines for machines, one readable line for people.
 *
 * Owns:     the process-wide level, format and sink. Promises: one line a call, written with one
 *           write(2).
 * Never:    blocks on anything but that write; never logs user values.
 * Threads:  any.
 */
#ifndef VARVE_BASE_LOG_H
#define VARVE_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_HUMAN, LOG_JSON };

struct log_field {
    const char *name;
    enum { LOG_STR, LOG_U64, LOG_I64, LOG_F64, LOG_BOOL, LOG_END } kind;
    union {
        const char *str;
        uint64_t u64;
        int64_t i64;
        double f64;
    } v;
};
#define LOG_FSTR(n, s)  ((struct log_field){(n), LOG_STR, {.str = (s)}})
#define LOG_FU64(n, x)  ((struct log_field){(n), LOG_U64, {.u64 = (x)}})
#define LOG_FI64(n, x)  ((struct log_field){(n), LOG_I64, {.i64 = (x)}})
#define LOG_FF64(n, x)  ((struct log_field){(n), LOG_F64, {.f64 = (x)}})
#define LOG_FBOOL(n, x) ((struct log_field){(n), LOG_BOOL, {.u64 = (x)}})

typedef void (*log_sink_fn)(void *arg, const char *line, unsigned long len);

void log_configure(enum log_level level, enum log_format format);
void log_set_sink(log_sink_fn fn, void *arg); /* NULL: standard error */
/* The clock for time stamps, Unix milliseconds; NULL: none is printed. Set by env_linux and by the
 * simulator. */
void log_set_clock(uint64_t (*now_ms)(void *arg), void *arg);
int log_enabled(enum log_level level);
/* `fields` ends with kind LOG_END; use the macro. */
void log_write(enum log_level level, const char *module, const char *message,
               const struct log_field *fields);

#define log_at(level, module, message, ...)                                                        \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_write((level), (module), (message),                                                \
                      (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0, LOG_END, {0}}});    \
    } while (0)

#endif
