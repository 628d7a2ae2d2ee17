/* hexdump.h - bytes for people, when a test fails: offset, sixteen in hex, the printable ones as
 * text. */
#ifndef VARVE_SUPPORT_HEXDUMP_H
#define VARVE_SUPPORT_HEXDUMP_H

#include <stddef.h>
#include <stdio.h>

void hex_dump(FILE *to, const char *label, const void *data, size_t len);

#endif
