/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Values as people write them. Each function returns true and the value, or false and the reason, a
 * sentence part such as: unknown unit "GG" (use B, KiB, MiB, GiB or TiB).
 */
#ifndef SIMGPU_VALUE_H
#define SIMGPU_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for any reason. */
#define VALUE_REASON_LEN 160

/* A whole number in decimal. */
bool value_read_number(const char *text, uint64_t *ret_number, char *ret_reason);

/* A whole number of bytes, with or without a binary unit: 512, 64MiB, 8 GiB. */
bool value_read_bytes(const char *text, uint64_t *ret_bytes, char *ret_reason);

/* A whole number of ns, us, ms or s: 100us. The unit may not be left out. */
bool value_read_duration(const char *text, uint64_t *ret_ns, char *ret_reason);

/* A compute capability: 9.0. */
bool value_read_capability(
	const char *text, uint32_t *ret_major, uint32_t *ret_minor, char *ret_reason);

/* The UUID of a device: 32 hexadecimal digits, dashes anywhere, "GPU-" before it or not. */
bool value_read_uuid(const char *text, uint8_t ret_uuid[16], char *ret_reason);

/* A number of up to three digits before and six behind the point, in millionths: 0.5, 12. */
bool value_read_part(const char *text, uint32_t *ret_ppm, char *ret_reason);

/* Names of bits, separated by commas, or "none": names[i] stands for bit i, NULL ends them. */
bool value_read_bits(
	const char *text, const char *const names[], uint32_t *ret_bits, char *ret_reason);

/* A name of 1 to size - 1 printable ASCII characters. */
bool value_read_name(const char *text, char *ret_name, size_t size, char *ret_reason);

#endif
