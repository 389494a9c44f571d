/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Sizes and shares as people write them. Strict: what is not understood is refused with a reason,
 * never guessed. No locale, no libc number parser (their symbol versions differ between systems).
 */
#ifndef CUSLICE_BASE_UNITS_H
#define CUSLICE_BASE_UNITS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define PPM_WHOLE 1000000u /* parts per million: 100 % */

/* A size in bytes, or a part of the device's memory that is still to be resolved. */
struct size_value {
	uint64_t bytes; /* 1 .. INT64_MAX; 0 where ppm counts */
	uint32_t ppm;   /* 1 .. PPM_WHOLE of the device's memory; 0 where bytes count */
};

/* A part of the device's compute, or a number of SMs that is still to be resolved. */
struct share_value {
	uint32_t ppm;      /* 1 .. PPM_WHOLE; 0 where sm_count counts */
	uint32_t sm_count; /* 1 .. 65535; 0 where ppm counts */
};

/* Reads `4GiB 4Gi 4GB 512MiB 1.5GiB 50% 1073741824`; KiB, MiB, GiB, TiB (and Ki, Mi, Gi, Ti) are
 * powers of 1024, kB, KB, MB, GB, TB powers of 1000. One space may stand before the unit. A
 * fraction of a byte is dropped.
 * Returns NULL and sets *ret_size, or a reason (static text) and leaves it untouched.
 */
const char *units_parse_size(const char *text, struct size_value *ret_size) MUST_CHECK;

/* Reads `25%`, `0.25` (a fraction: 0 < x <= 1, with a point) and `32sm`. Parts finer than one
 * millionth are dropped, but never to zero.
 * Returns NULL and sets *ret_share, or a reason (static text) and leaves it untouched.
 */
const char *units_parse_share(const char *text, struct share_value *ret_share) MUST_CHECK;

/* Bytes of `size` on a device of `device_bytes`. Pure. */
uint64_t units_resolve_size(struct size_value size, uint64_t device_bytes);

/* Parts per million, 1 .. PPM_WHOLE, of `share` on a device of `device_sms` SMs. Pure. */
uint32_t units_resolve_share(struct share_value share, uint32_t device_sms);

/* Bytes for people: `1.50 GiB`, exact below 1 KiB, rounded down above. */
struct units_text {
	char text[32];
};
struct units_text units_format_bytes(uint64_t bytes);

#endif
