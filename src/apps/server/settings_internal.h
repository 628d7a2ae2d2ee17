/* settings_internal.h - what the files of the settings share.
 *
 * Owns:     nothing. Never: used beyond settings*.c. Threads: as settings.h.
 */
#ifndef VARVE_APPS_SERVER_SETTINGS_INTERNAL_H
#define VARVE_APPS_SERVER_SETTINGS_INTERNAL_H

#include "apps/server/settings.h"

enum setting_kind {
    SETTING_TEXT,
    SETTING_NUMBER, /* above 0 */
    SETTING_AMOUNT, /* a number, 0 too */
    SETTING_SIZE,
    SETTING_DURATION,
    SETTING_BOOL,
    SETTING_CHOICE
};
struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    const char *value;   /* the default */
    const char *choices; /* with commas */
    bool reload;
    const char *help;
};
extern const struct setting settings__table[SETTING_COUNT];

enum { SETTING_NAME_MAX = 48 };
#define SETTINGS_INTERVAL_MAX (UINT64_C(49) * 24 * 60 * 60 * 1000) /* ms, within 32 bits */
size_t settings__find(const char *name);                           /* SETTING_COUNT: none */
enum status settings__unknown(const char *name, struct err *err);
void settings__flag(const char *name, char out[SETTING_NAME_MAX]); /* "tls-cert" */
enum status settings__check_cluster(const struct settings *s, struct err *err);
uint64_t *settings__number(const struct settings *s, const struct setting *d);
const char **settings__text(const struct settings *s, const struct setting *d);

#endif
