/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the user asked for, as written: nothing here knows a device. slice/slice.c turns it into
 * limits in bytes and parts per million once the driver has told what devices there are.
 */
#ifndef CUSLICE_CONFIG_CONFIG_H
#define CUSLICE_CONFIG_CONFIG_H

#include "base/log.h"
#include "base/units.h"

#include <stdbool.h>

#define CONFIG_MAX_DEVICES  64
#define CONFIG_MAX_PROBLEMS 4
#define CONFIG_PROBLEM_LEN  240

enum config_on_error { CONFIG_REFUSE, CONFIG_WARN };

/* The limits of one device; all zero where nothing was asked. */
struct config_slice {
	struct size_value memory;
	struct share_value compute;
};

struct config {
	struct config_slice every_device;
	struct config_slice
		device[CONFIG_MAX_DEVICES]; /* by nvidia-smi's index; adds to the above */
	bool has_device_settings;           /* any of device[] is set */
	enum config_on_error on_error;
	enum log_level log;

	/* What was not understood: the setting quoted, with the reason. Counts all, keeps some. */
	unsigned problem_count;
	char problems[CONFIG_MAX_PROBLEMS][CONFIG_PROBLEM_LEN];
};

/* Reads the CUSLICE_* variables of `environment` (NULL-terminated, as environ).
 * ret_config  overwritten in full; where a setting has a problem the field keeps its default
 * Threads     reads the environment without a lock, as every getenv does
 */
void config_read(char *const environment[], struct config *ret_config);

/* True where the program must not get a GPU: a problem, and on_error says refuse. */
bool config_is_refused(const struct config *config);

/* True where any device is to be limited in memory, or in compute to less than all of it. */
bool config_limits_memory(const struct config *config);
bool config_limits_compute(const struct config *config);

/* Notes one more problem. Threads: none of its own. */
void config_add_problem(struct config *config, const char *format, ...) PRINTF_LIKE(2, 3);

/* The rows of config.def, for help texts. */
struct config_option {
	const char *variable; /* CUSLICE_MEMORY */
	bool per_device;
	const char *default_text, *sentence;
};
const struct config_option *config_option_at(unsigned i); /* NULL behind the last */

#endif
