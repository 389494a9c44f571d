/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What was asked for, as written, by whom, and whose word counts. Nothing here knows a device:
 * slice/slice.c turns the values that count into limits once the driver has told what devices
 * there are, by letting each tighten; so 50% and 4GiB need not be compared before.
 *
 * Three sources speak: the policy (every *.ini of a folder, by name), the environment's CUSLICE_*,
 * and one plain INI file with defaults. A policy or a variable silences the defaults for the same
 * setting of the same device; all values that are left count together, the strictest wins.
 */
#ifndef CUSLICE_CONFIG_CONFIG_H
#define CUSLICE_CONFIG_CONFIG_H

#include "base/log.h"
#include "base/units.h"

#include <stdbool.h>
#include <stdint.h>

/* Fixed when compiling (tests do, with another): from a variable a tenant could choose it. */
#ifndef CONFIG_POLICY_DIR
#define CONFIG_POLICY_DIR "/etc/cuslice"
#endif

#define CONFIG_MAX_DEVICES  64
#define CONFIG_MAX_VALUES   256
#define CONFIG_MAX_FILES    24
#define CONFIG_MAX_PROBLEMS 4
#define CONFIG_PROBLEM_LEN  400
#define CONFIG_PATH_LEN     512
#define CONFIG_TEXT_LEN     200
#define CONFIG_UUID_LEN     16
#define CONFIG_NAME_LEN     128
#define CONFIG_GROUP_LEN    64 /* the longest name of a group */

#define CONFIG_NO_GROUP     "none"
#define CONFIG_GROUP_SUFFIX ".group" /* of the files that groups share */

enum config_key {
#define OPTION(KEY, parser, scope, default_text, sentence) CONFIG_##KEY,
#include "config/config.def"
#undef OPTION
	CONFIG_KEY_COUNT
};

enum config_source { CONFIG_POLICY, CONFIG_ENVIRONMENT, CONFIG_DEFAULTS };
enum config_on_error { CONFIG_REFUSE, CONFIG_WARN };
enum config_mechanism { CONFIG_AUTO, CONFIG_TIME, CONFIG_SM, CONFIG_MPS, CONFIG_BOTH };

/* Which devices a value is for. */
struct config_devices {
	enum { CONFIG_EVERY_DEVICE, CONFIG_NUMBER, CONFIG_UUID } by;
	unsigned number;               /* nvidia-smi's, below CONFIG_MAX_DEVICES */
	uint8_t uuid[CONFIG_UUID_LEN]; /* in the order in which it is written */
	bool is_mig;                   /* written MIG-..., not GPU-... */
};

/* One setting as somebody made it. */
struct config_value {
	enum config_key key;
	enum config_source source;
	struct config_devices devices;
	unsigned file, line;        /* where, unless in the environment; file as in config.files */
	char text[CONFIG_TEXT_LEN]; /* as written; a group in full, others perhaps cut */
	union {
		struct size_value memory;
		struct share_value compute;
		uint64_t burst_ns;
		uint32_t weight;
		bool is_latency;
		bool may_borrow;
		uint64_t quantum_ns;
		enum config_mechanism mechanism;
		enum config_on_error on_error;
		enum log_level log;
		bool is_disabled;
	};
};

/* A file that was looked for. */
struct config_file {
	enum config_source source; /* policy or defaults */
	bool is_read;              /* false: it is not there, or could not be read (a problem) */
	char path[CONFIG_PATH_LEN];
};

struct config {
	struct config_value values[CONFIG_MAX_VALUES]; /* in the order of reading */
	unsigned value_count;
	struct config_file files[CONFIG_MAX_FILES];
	unsigned file_count;

	const char *policy_dir; /* where it was looked for; NULL: nowhere */
	bool has_policy;        /* the folder is there */

	/* What came out for the process. */
	enum config_on_error on_error;
	enum log_level log;
	bool is_disabled;

	/* What was not understood: the setting quoted, with where it stands and the reason. Counts
	 * all, keeps some. */
	unsigned problem_count;
	unsigned policy_problem_count; /* of these, in the policy */
	char problems[CONFIG_MAX_PROBLEMS][CONFIG_PROBLEM_LEN];
};

/* Reads the policy, the CUSLICE_* variables of `environment` (NULL-terminated, as environ), and the
 * plain INI file: CUSLICE_CONFIG, else cuslice/cuslice.ini below XDG_CONFIG_HOME or ~/.config. In a
 * process with privileges of its own (AT_SECURE) no file that the environment names is read.
 * ret_config  overwritten in full
 * Threads     reads the environment without a lock, as every getenv does. Keeps errno.
 */
void config_read(char *const environment[], struct config *ret_config);

/* The same with another policy folder (NULL: none), and with AT_SECURE as said. */
void config_read_from(char *const environment[], const char *policy_dir, bool is_secure,
	struct config *ret_config);

/* A device as far as it is known. */
struct config_device {
	int number;          /* nvidia-smi's, negative where it is not known */
	unsigned uuid_count; /* 0: not known; 2: of a MIG instance and its GPU */
	uint8_t uuids[2][CONFIG_UUID_LEN];
};

/* True where the value has a say for the device: it is meant, and not silenced. A policy or a
 * variable silences defaults for the same setting; in one file or in the environment a UUID
 * silences the number of the same device. Nothing has a say where all is turned off. */
bool config_value_counts(const struct config *config, const struct config_value *value,
	const struct config_device *device);

/* True where the value is meant for the device, counting or not. */
bool config_value_is_for(const struct config_value *value, const struct config_device *device);

/* Why it has none: the value that silences it, NULL where nothing does. */
const struct config_value *config_silenced_by(const struct config *config,
	const struct config_value *value, const struct config_device *device);

/* The device that a value's own section or name speaks of; nothing else is known of it. */
struct config_device config_device_of(const struct config_value *value);

/* True where any value names devices in this way, unless all is turned off. */
bool config_names_devices_by_number(const struct config *config);
bool config_names_devices_by_uuid(const struct config *config);

/* The value that decides a setting of the process (group, on_error, log, config, disable): the
 * strictest of policy and environment, else the defaults'. For the log the environment comes first,
 * for the group the policy. NULL where nobody says anything. */
const struct config_value *config_chosen(const struct config *config, enum config_key key);

/* Of two values that say how a device is shared: true where `a` counts before `b`, whoever was read
 * first. The source decides, then whether it speaks of the device itself. */
bool config_comes_first(const struct config_value *a, const struct config_value *b);

/* How a device is shared with others. Where the policy limits the device's compute, its word alone
 * counts: what it does not say stays as it is by default. */
struct config_turns {
	uint32_t weight; /* 0: nobody says */
	bool is_latency, may_borrow;
	uint64_t quantum_ns; /* 0: nobody says */
};
struct config_turns config_turns_of(
	const struct config *config, const struct config_device *device);

/* True where a value for that device says how it is shared with others, and does not count because
 * the policy limits the device's compute and is silent about that. */
bool config_is_overruled(const struct config *config, const struct config_value *value,
	const struct config_device *device);

/* True where a weight or class makes turns of it, though nothing limits compute. */
bool config_wants_turns(const struct config *config);

/* True where a setting names a group. */
bool config_names_group(const struct config *config);

/* True where the program must not get a GPU: something was not understood, and on_error says
 * refuse. For the policy's own problems only the policy's on_error counts. */
bool config_is_refused(const struct config *config);

/* True where what `source` asked for and cannot be had must keep the program from a GPU: its
 * on_error says refuse. For what the policy asks for only the policy's own counts. */
bool config_refuses(const struct config *config, enum config_source source);

/* True where any device is to be limited in memory, or in compute to less than all of it. */
bool config_limits_memory(const struct config *config);
bool config_limits_compute(const struct config *config);

/* How the device's share is to be kept: as the first source says that says anything, and there the
 * value for the device before one for all. */
enum config_mechanism config_mechanism_of(
	const struct config *config, const struct config_device *device);

/* True where any device is to be confined to some of its SMs, or is with `auto`, if that may. */
bool config_wants_partition(const struct config *config, bool auto_may);

/* Notes one more problem. What is no printable ASCII becomes a question mark. */
void config_add_problem(struct config *config, const char *format, ...) PRINTF_LIKE(2, 3);

/* Where a value comes from: `CUSLICE_MEMORY_0`, `/etc/cuslice/site.ini:3`. Of a long path the end
 * is kept. */
struct config_origin {
	char text[200];
};
struct config_origin config_value_origin(
	const struct config *config, const struct config_value *value);

#endif
