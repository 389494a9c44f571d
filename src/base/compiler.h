/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Names for what GNU C offers beyond C11, so that the rest of the source reads as plain C.
 */
#ifndef CUSLICE_BASE_COMPILER_H
#define CUSLICE_BASE_COMPILER_H

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PUBLIC              __attribute__((visibility("default")))
#define COLD                __attribute__((cold, noinline))
#define PRINTF_LIKE(fmt, a) __attribute__((format(printf, fmt, a)))
#define MUST_CHECK          __attribute__((warn_unused_result))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
