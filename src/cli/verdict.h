/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What became of a setting, in the words of `cuslice explain`.
 */
#ifndef CUSLICE_CLI_VERDICT_H
#define CUSLICE_CLI_VERDICT_H

#include "config/config.h"

struct verdict {
	bool counts;
	char reason[300]; /* why not; empty where it counts */
};

/* For a setting of devices. Where percents and bytes (or SMs) cannot be compared without the
 * device, both count. */
struct verdict verdict_for_device(const struct config *config, const struct config_value *value,
	const struct config_device *device);

/* For a setting of the process. */
struct verdict verdict_for_process(const struct config *config, const struct config_value *value);

/* "policy", "environment" or "defaults". */
const char *verdict_source_name(enum config_source source);

#endif
