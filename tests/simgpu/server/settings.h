/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The settings of a simulated machine, as `key=value`. docs/simgpu.md has the table of keys.
 */
#ifndef SIMGPU_SETTINGS_H
#define SIMGPU_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../wire.h"

#define SETTINGS_ERROR_LEN 512

struct device_settings {
	char name[WIRE_NAME_LEN];
	uint8_t uuid[16];
	uint64_t memory_bytes, limit_bytes;
	uint64_t granularity_bytes, context_bytes, module_bytes, pool_chunk_bytes;
	uint32_t sm_count;
	uint32_t cc_major, cc_minor;
	uint32_t own; /* one bit per key that was set for this device alone */
};

struct settings {
	uint32_t device_count;
	uint32_t driver_version;
	uint32_t copy_mib_per_ms, fill_mib_per_ms, d2d_mib_per_ms;
	uint32_t memory_answer_us;
	uint32_t strict_capture;
	uint32_t mps, mps_percentage;
	uint32_t leaks; /* enum wire_leak */
	uint64_t slice_us, switch_us, reclaim_us;
	uint32_t kernel_count;
	struct wire_kernel_time kernels[WIRE_MAX_KERNELS];
	struct device_settings devices[WIRE_MAX_DEVICES];
};

/* The defaults. The UUIDs of the devices follow from `place`, so that machines in different places
 * have different ones, and one that is started again at the same place has the same. */
void settings_init(struct settings *settings, const char *place);

/* Obeys "key=value". With `is_live` only what may change while the machine runs is accepted.
 * Returns false, with the settings as they were and a message without newline in `ret_error`
 * (SETTINGS_ERROR_LEN bytes), if key or value is not understood. */
bool settings_set(struct settings *settings, const char *assignment, bool is_live, char *ret_error);

/* Obeys a file: one key=value per line, blank lines and lines that start with # are skipped. */
bool settings_read_file(struct settings *settings, const char *path, char *ret_error);

/* Whether the settings fit together. To be called once all are known. */
bool settings_check(const struct settings *settings, char *ret_error);

#endif
