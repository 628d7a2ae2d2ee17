/* assert.h - ASSERT stays on in release and guards invariants only, never input; DASSERT is for
 * costly ones. */
#ifndef VARVE_BASE_ASSERT_H
#define VARVE_BASE_ASSERT_H

__attribute__((noreturn, cold)) void assert_failed(const char *expr, const char *file, int line);

#define ASSERT(expr)                                                                               \
    (__builtin_expect(!!(expr), 1) ? (void)0 : assert_failed(#expr, __FILE__, __LINE__))
#ifdef VARVE_DEBUG
#define DASSERT(expr) ASSERT(expr)
#else
#define DASSERT(expr) ((void)sizeof(!!(expr)))
#endif

#endif
