/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The settings by name, and their values by text: what the environment and INI files share.
 */
#ifndef CUSLICE_CONFIG_CONFIG_PARSE_H
#define CUSLICE_CONFIG_CONFIG_PARSE_H

#include "config/config.h"

#include <stddef.h>

enum config_scope { CONFIG_SCOPE_DEVICE, CONFIG_SCOPE_PROCESS, CONFIG_SCOPE_VARIABLE };

/* A row of config.def. */
struct config_option {
	const char *variable; /* CUSLICE_MEMORY */
	enum config_scope scope;
	const char *default_text, *sentence;
};
extern const struct config_option config_options[CONFIG_KEY_COUNT];

/* Sets the fields of `value` that its key says, from text.
 * Returns NULL, or a reason (static text) and leaves `value` as it is.
 */
const char *config_parse_value(const char *text, struct config_value *value) MUST_CHECK;

/* True for a path that names the file of a group itself, not a directory for it: it ends in
 * `/NAME.group`. */
bool config_is_group_file(const char *path);

/* Reads a device: `0`, `GPU-<uuid>` or `MIG-<uuid>`. Underscores may stand for the dashes, as they
 * must in variables that pass through a shell. False where it is none. */
bool config_parse_device(
	const char *text, size_t len, struct config_devices *ret_devices) MUST_CHECK;

/* The reverse: `0`, or `GPU_<uuid>` with `dash` between its parts; "" for every device. */
struct config_name {
	char text[CONFIG_NAME_LEN];
};
struct config_name config_device_name(const struct config_devices *devices, char dash);

/* The key in a file: memory. */
struct config_name config_key_name(enum config_key key);

/* The variable that sets `key` for these devices: CUSLICE_MEMORY, CUSLICE_MEMORY_0. */
struct config_name config_variable_name(enum config_key key, const struct config_devices *devices);

/* The keys that an INI section may have, `memory, compute, burst`; of devices alone, or all. */
struct config_name config_known_keys(bool is_for_device);

/* Adds a value. Past CONFIG_MAX_VALUES it is a problem. */
void config_add_value(struct config *config, const struct config_value *value);

/* Notes a problem in a source. Those of the policy are counted apart. */
void config_add_problem_in(struct config *config, enum config_source source, const char *format,
	...) PRINTF_LIKE(3, 4);

#endif
