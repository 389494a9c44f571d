/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "config/config.h"
#include "config/config_file.h"
#include "config/config_parse.h"
#include "config/config_policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#define PREFIX     "CUSLICE_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)

/* Kubernetes gives every container of a namespace the addresses of its services: a service that
 * is called `cuslice` makes CUSLICE_SERVICE_HOST, CUSLICE_PORT, CUSLICE_PORT_80_TCP and more. */
static bool is_kubernetes_service(const char *key)
{
	return strncmp(key, "SERVICE_", 8) == 0 || strncmp(key, "PORT", 4) == 0;
}

/* `CUSLICE_MEMORY` or `CUSLICE_MEMORY_3`: sets the key and the devices of `ret_value`. */
static bool parse_name(const char *name, size_t name_len, struct config_value *ret_value)
{
	for (unsigned i = 0; i < CONFIG_KEY_COUNT; i++) {
		const struct config_option *option = &config_options[i];
		size_t len = strlen(option->variable);
		if (name_len < len || strncmp(name, option->variable, len) != 0)
			continue;
		ret_value->key = (enum config_key)i;
		if (name_len == len)
			return true;
		if (option->scope == CONFIG_SCOPE_DEVICE && name[len] == '_' &&
			config_parse_device(
				name + len + 1, name_len - len - 1, &ret_value->devices))
			return true;
	}
	return false;
}

static void read_variable(
	struct config *config, const char *name, size_t name_len, const char *text)
{
	struct config_value value = {.source = CONFIG_ENVIRONMENT};

	if (!parse_name(name, name_len, &value)) {
		if (!is_kubernetes_service(name + PREFIX_LEN))
			config_add_problem(config, "%.*s: no such setting",
				name_len < 80 ? (int)name_len : 80, name);
		return;
	}
	const char *reason = config_parse_value(text, &value);
	if (reason != NULL)
		config_add_problem(config, "%.*s=\"%.80s\": %s", (int)name_len, name, text, reason);
	else
		config_add_value(config, &value);
}

static void read_environment(struct config *config, char *const environment[])
{
	for (; environment != NULL && *environment != NULL; environment++) {
		const char *name = *environment;
		const char *equals = strchr(name, '=');
		if (equals != NULL && strncmp(name, PREFIX, PREFIX_LEN) == 0)
			read_variable(config, name, (size_t)(equals - name), equals + 1);
	}
}

static const char *find_variable(char *const environment[], const char *name)
{
	size_t len = strlen(name);

	for (; environment != NULL && *environment != NULL; environment++) {
		if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
			return *environment + len + 1;
	}
	return NULL;
}

/* The plain INI file: the one that is named has to be there. */
static void read_defaults(struct config *config, char *const environment[])
{
	const char *named = find_variable(environment, config_options[CONFIG_CONFIG].variable);
	const char *folder = find_variable(environment, "XDG_CONFIG_HOME");
	const char *home = find_variable(environment, "HOME");
	char path[CONFIG_PATH_LEN];
	int len;

	if (named != NULL) {
		/* An empty or overlong name is a problem that has been noted with the variable. */
		if (*named != '\0' && strlen(named) < CONFIG_PATH_LEN)
			config_file_read(config, CONFIG_DEFAULTS, named, false);
		return;
	}
	if (folder != NULL && *folder == '/')
		len = snprintf(path, sizeof(path), "%s/cuslice/cuslice.ini", folder);
	else if (home != NULL && *home == '/')
		len = snprintf(path, sizeof(path), "%s/.config/cuslice/cuslice.ini", home);
	else
		return;
	if (len < (int)sizeof(path))
		config_file_read(config, CONFIG_DEFAULTS, path, true);
}

/* Of two values for the process the one of higher rank is chosen, of equals the first. Whoever
 * refuses is stricter than who warns. How much is said limits nobody: there the variable wins. */
static int rank_of(const struct config_value *value)
{
	bool is_strict = value->key == CONFIG_LOG ? value->source == CONFIG_ENVIRONMENT
						  : value->key == CONFIG_ON_ERROR &&
							    value->on_error == CONFIG_REFUSE;

	return (value->source == CONFIG_DEFAULTS ? 0 : 2) + is_strict;
}

static const struct config_value *choose(
	const struct config *config, enum config_key key, bool is_of_policy_alone)
{
	const struct config_value *chosen = NULL;

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == key && (!is_of_policy_alone || value->source == CONFIG_POLICY) &&
			(chosen == NULL || rank_of(value) > rank_of(chosen)))
			chosen = value;
	}
	return chosen;
}

const struct config_value *config_chosen(const struct config *config, enum config_key key)
{
	return choose(config, key, false);
}

bool config_names_group(const struct config *config)
{
	const struct config_value *chosen = config_chosen(config, CONFIG_GROUP);

	return !config->is_disabled && chosen != NULL && strcmp(chosen->text, CONFIG_NO_GROUP) != 0;
}

bool config_refuses(const struct config *config, enum config_source source)
{
	const struct config_value *chosen =
		choose(config, CONFIG_ON_ERROR, source == CONFIG_POLICY);

	return chosen == NULL || chosen->on_error == CONFIG_REFUSE;
}

static bool policy_is_refused(const struct config *config)
{
	return config->policy_problem_count > 0 && config_refuses(config, CONFIG_POLICY);
}

bool config_is_refused(const struct config *config)
{
	if (config->is_disabled)
		return false;
	return policy_is_refused(config) || (config->problem_count > config->policy_problem_count &&
						    config->on_error == CONFIG_REFUSE);
}

/* 100 % of the compute is no limit, so that an orchestrator may always set the variable. */
static bool is_limit(const struct config_value *value)
{
	return value->key == CONFIG_MEMORY ||
	       (value->key == CONFIG_COMPUTE &&
		       (value->compute.sm_count != 0 || value->compute.ppm < PPM_WHOLE));
}

/* Whoever starts the program may turn everything off, but not what the policy limits. */
static bool may_be_disabled(const struct config *config)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		if (config->values[i].source == CONFIG_POLICY && is_limit(&config->values[i]))
			return false;
	}
	return !policy_is_refused(config);
}

void config_read_from(char *const environment[], const char *policy_dir, bool is_secure,
	struct config *ret_config)
{
	const struct config_value *chosen;
	int saved_errno = errno;

	memset(ret_config, 0, sizeof(*ret_config));
	if (policy_dir != NULL)
		config_policy_read(ret_config, policy_dir);
	read_environment(ret_config, environment);
	if (!is_secure)
		read_defaults(ret_config, environment);
	chosen = config_chosen(ret_config, CONFIG_ON_ERROR);
	ret_config->on_error = chosen == NULL ? CONFIG_REFUSE : chosen->on_error;
	chosen = config_chosen(ret_config, CONFIG_LOG);
	ret_config->log = chosen == NULL ? LOG_WARN : chosen->log;
	chosen = config_chosen(ret_config, CONFIG_DISABLE);
	ret_config->is_disabled =
		chosen != NULL && chosen->is_disabled && may_be_disabled(ret_config);
	errno = saved_errno;
}

void config_read(char *const environment[], struct config *ret_config)
{
	config_read_from(environment, CONFIG_POLICY_DIR, getauxval(AT_SECURE) != 0, ret_config);
}

bool config_value_is_for(const struct config_value *value, const struct config_device *device)
{
	const struct config_devices *devices = &value->devices;

	if (devices->by == CONFIG_EVERY_DEVICE)
		return true;
	if (devices->by == CONFIG_NUMBER)
		return device->number >= 0 && devices->number == (unsigned)device->number;
	for (unsigned i = 0; i < device->uuid_count; i++) {
		if (memcmp(devices->uuid, device->uuids[i], CONFIG_UUID_LEN) == 0)
			return true;
	}
	return false;
}

/* `other` speaks of the same setting of the same device, and with more authority. */
static bool silences(const struct config_value *other, const struct config_value *value)
{
	if (value->source == CONFIG_DEFAULTS && other->source != CONFIG_DEFAULTS)
		return true;
	return value->source == other->source && value->file == other->file &&
	       value->devices.by == CONFIG_NUMBER && other->devices.by == CONFIG_UUID;
}

const struct config_value *config_silenced_by(const struct config *config,
	const struct config_value *value, const struct config_device *device)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *other = &config->values[i];
		if (other->key == value->key && config_value_is_for(other, device) &&
			silences(other, value))
			return other;
	}
	return NULL;
}

bool config_value_counts(const struct config *config, const struct config_value *value,
	const struct config_device *device)
{
	return !config->is_disabled && config_value_is_for(value, device) &&
	       config_silenced_by(config, value, device) == NULL;
}

struct config_device config_device_of(const struct config_value *value)
{
	struct config_device device = {.number = -1};

	if (value->devices.by == CONFIG_NUMBER)
		device.number = (int)value->devices.number;
	if (value->devices.by == CONFIG_UUID) {
		device.uuid_count = 1;
		memcpy(device.uuids[0], value->devices.uuid, CONFIG_UUID_LEN);
	}
	return device;
}

/* Any limit of this key that counts for the device it speaks of. */
static bool limits(const struct config *config, enum config_key key)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		struct config_device device = config_device_of(value);
		if (value->key == key && is_limit(value) &&
			config_value_counts(config, value, &device))
			return true;
	}
	return false;
}

bool config_limits_memory(const struct config *config)
{
	return limits(config, CONFIG_MEMORY);
}

bool config_limits_compute(const struct config *config)
{
	return limits(config, CONFIG_COMPUTE);
}

static bool policy_limits_compute(const struct config *config, const struct config_device *device)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == CONFIG_COMPUTE && value->source == CONFIG_POLICY &&
			config_value_counts(config, value, device))
			return true;
	}
	return false;
}

bool config_comes_first(const struct config_value *a, const struct config_value *b)
{
	if (a->source != b->source)
		return a->source < b->source;
	return a->devices.by != CONFIG_EVERY_DEVICE && b->devices.by == CONFIG_EVERY_DEVICE;
}

/* The value of the most trusted source that speaks, the first of its that count alike. */
static const struct config_value *first_of(
	const struct config *config, const struct config_device *device, enum config_key key)
{
	const struct config_value *first = NULL;
	bool is_policys = policy_limits_compute(config, device);

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == key && config_value_counts(config, value, device) &&
			(!is_policys || value->source == CONFIG_POLICY) &&
			(first == NULL || config_comes_first(value, first)))
			first = value;
	}
	return first;
}

bool config_is_overruled(const struct config *config, const struct config_value *value,
	const struct config_device *device)
{
	bool is_of_turns = value->key == CONFIG_WEIGHT || value->key == CONFIG_CLASS ||
			   value->key == CONFIG_BORROW || value->key == CONFIG_QUANTUM;

	return is_of_turns && value->source != CONFIG_POLICY &&
	       policy_limits_compute(config, device);
}

struct config_turns config_turns_of(const struct config *config, const struct config_device *device)
{
	const struct config_value *weight = first_of(config, device, CONFIG_WEIGHT);
	const struct config_value *class = first_of(config, device, CONFIG_CLASS);
	const struct config_value *borrow = first_of(config, device, CONFIG_BORROW);
	const struct config_value *quantum = first_of(config, device, CONFIG_QUANTUM);

	return (struct config_turns){
		.weight = weight != NULL ? weight->weight : 0,
		.is_latency = class != NULL && class->is_latency,
		.may_borrow = borrow != NULL && borrow->may_borrow,
		.quantum_ns = quantum != NULL ? quantum->quantum_ns : 0,
	};
}

bool config_wants_turns(const struct config *config)
{
	for (unsigned i = 0; i < config->value_count && !config->is_disabled; i++) {
		if (config->values[i].key == CONFIG_WEIGHT || config->values[i].key == CONFIG_CLASS)
			return true;
	}
	return false;
}

enum config_mechanism config_mechanism_of(
	const struct config *config, const struct config_device *device)
{
	const struct config_value *first = NULL;

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == CONFIG_MECHANISM && config_value_counts(config, value, device) &&
			(first == NULL || config_comes_first(value, first)))
			first = value;
	}
	return first != NULL ? first->mechanism : CONFIG_AUTO;
}

static bool is_partition(enum config_mechanism mechanism, bool auto_may)
{
	return mechanism == CONFIG_SM || mechanism == CONFIG_BOTH ||
	       (mechanism == CONFIG_AUTO && auto_may);
}

bool config_wants_partition(const struct config *config, bool auto_may)
{
	struct config_device every = {.number = -1};
	bool is_wanted = is_partition(config_mechanism_of(config, &every), auto_may);

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		is_wanted |=
			value->key == CONFIG_MECHANISM && is_partition(value->mechanism, auto_may);
	}
	return is_wanted && !config->is_disabled && config_limits_compute(config);
}

static bool names_devices(const struct config *config, int by)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		if ((int)config->values[i].devices.by == by)
			return !config->is_disabled;
	}
	return false;
}

bool config_names_devices_by_number(const struct config *config)
{
	return names_devices(config, CONFIG_NUMBER);
}

bool config_names_devices_by_uuid(const struct config *config)
{
	return names_devices(config, CONFIG_UUID);
}

struct config_origin config_value_origin(
	const struct config *config, const struct config_value *value)
{
	struct config_origin origin;

	if (value->source == CONFIG_ENVIRONMENT) {
		snprintf(origin.text, sizeof(origin.text), "%s",
			config_variable_name(value->key, &value->devices).text);
		return origin;
	}
	const char *path = config->files[value->file].path;
	size_t len = strlen(path), longest = 180;
	bool is_long = len > longest;
	snprintf(origin.text, sizeof(origin.text), "%s%.180s:%u", is_long ? "..." : "",
		is_long ? path + len - longest : path, value->line);
	return origin;
}
