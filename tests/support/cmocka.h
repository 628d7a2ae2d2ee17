/* cmocka.h - cmocka with the headers that it wants before it. */
#ifndef VARVE_SUPPORT_CMOCKA_H
#define VARVE_SUPPORT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
