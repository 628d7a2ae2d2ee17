/* hexdump.c - see hexdump.h. */
#include "support/hexdump.h"

#include <stdint.h>

enum { PER_ROW = 16 };

void hex_dump(FILE *to, const char *label, const void *data, size_t len)
{
    const uint8_t *p = data;
    fprintf(to, "%s (%zu bytes)\n", label, len);
    for (size_t row = 0; row < len; row += PER_ROW) {
        fprintf(to, "%08zx ", row);
        for (size_t i = row; i < row + PER_ROW; i++) {
            if (i < len)
                fprintf(to, " %02x", p[i]);
            else
                fputs("   ", to);
        }
        fputs("  ", to);
        for (size_t i = row; i < row + PER_ROW && i < len; i++)
            fputc(p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '.', to);
        fputc('\n', to);
    }
}
