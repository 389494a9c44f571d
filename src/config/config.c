/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PREFIX     "CUSLICE_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)

/* Where a parser stores its value: the process's settings and the device's, of which one fits. */
struct target {
	struct config *config;
	struct config_slice *slice;
};

static const char *config_parse_memory(const char *value, struct target target)
{
	return units_parse_size(value, &target.slice->memory);
}

static const char *config_parse_compute(const char *value, struct target target)
{
	return units_parse_share(value, &target.slice->compute);
}

static const char *config_parse_on_error(const char *value, struct target target)
{
	if (strcmp(value, "refuse") == 0)
		target.config->on_error = CONFIG_REFUSE;
	else if (strcmp(value, "warn") == 0)
		target.config->on_error = CONFIG_WARN;
	else
		return "use refuse or warn";
	return NULL;
}

static const char *config_parse_log(const char *value, struct target target)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};

	for (unsigned i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcmp(value, levels[i]) == 0) {
			target.config->log = (enum log_level)i;
			return NULL;
		}
	}
	return "use error, warn, info or debug";
}

enum scope { SCOPE_PROCESS, SCOPE_DEVICE };

static const struct option {
	struct config_option shown;
	const char *(*parse)(const char *value, struct target target);
	enum scope scope;
} options[] = {
#define OPTION(KEY, parser, SCOPE, default_text, sentence)                     \
	{{PREFIX #KEY, SCOPE_##SCOPE == SCOPE_DEVICE, default_text, sentence}, \
		config_parse_##parser, SCOPE_##SCOPE},
#include "config/config.def"
#undef OPTION
};

const struct config_option *config_option_at(unsigned i)
{
	return i < ARRAY_LEN(options) ? &options[i].shown : NULL;
}

void config_add_problem(struct config *config, const char *format, ...)
{
	unsigned i = config->problem_count++;
	va_list args;

	if (i >= CONFIG_MAX_PROBLEMS)
		return;
	va_start(args, format);
	vsnprintf(config->problems[i], CONFIG_PROBLEM_LEN, format, args);
	va_end(args);
}

/* Kubernetes gives every container of a namespace the addresses of its services: a service that
 * is called `cuslice` makes CUSLICE_SERVICE_HOST, CUSLICE_PORT, CUSLICE_PORT_80_TCP and more. */
static bool is_kubernetes_service(const char *key)
{
	return strncmp(key, "SERVICE_", 8) == 0 || strncmp(key, "PORT", 4) == 0;
}

/* `MEMORY` or `MEMORY_3`; sets *ret_device to the number, or -1 for every device. */
static const struct option *find_option(const char *name, size_t name_len, int *ret_device)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		size_t len = strlen(options[i].shown.variable);
		if (name_len < len || strncmp(name, options[i].shown.variable, len) != 0)
			continue;
		*ret_device = -1;
		if (name_len == len)
			return &options[i];
		if (options[i].scope != SCOPE_DEVICE || name[len] != '_' || name_len - len > 3)
			continue;
		int device = 0;
		size_t at = len + 1;
		for (; at < name_len && name[at] >= '0' && name[at] <= '9'; at++)
			device = device * 10 + (name[at] - '0');
		if (at != name_len || name_len == len + 1 || device >= CONFIG_MAX_DEVICES)
			continue;
		*ret_device = device;
		return &options[i];
	}
	return NULL;
}

static void read_variable(const char *name, size_t name_len, const char *value, struct config *cfg)
{
	struct target target = {cfg, &cfg->every_device};
	int device;

	const struct option *option = find_option(name, name_len, &device);
	if (option == NULL) {
		if (!is_kubernetes_service(name + PREFIX_LEN))
			config_add_problem(cfg, "%.*s: no such setting", (int)name_len, name);
		return;
	}
	if (device >= 0)
		target.slice = &cfg->device[device];
	const char *reason = option->parse(value, target);
	if (reason != NULL)
		config_add_problem(cfg, "%.*s=\"%.80s\": %s", (int)name_len, name, value, reason);
	else if (device >= 0)
		cfg->has_device_settings = true;
}

void config_read(char *const environment[], struct config *ret_config)
{
	*ret_config = (struct config){.log = LOG_WARN};
	for (; environment != NULL && *environment != NULL; environment++) {
		const char *name = *environment;
		const char *equals = strchr(name, '=');
		if (equals != NULL && strncmp(name, PREFIX, PREFIX_LEN) == 0)
			read_variable(name, (size_t)(equals - name), equals + 1, ret_config);
	}
}

bool config_is_refused(const struct config *config)
{
	return config->problem_count > 0 && config->on_error == CONFIG_REFUSE;
}

static bool limits_memory(const struct config_slice *slice)
{
	return slice->memory.bytes != 0 || slice->memory.ppm != 0;
}

/* 100 % is no limit, so that an orchestrator may always set the variable. */
static bool limits_compute(const struct config_slice *slice)
{
	return slice->compute.sm_count != 0 ||
	       (slice->compute.ppm != 0 && slice->compute.ppm < PPM_WHOLE);
}

static bool any_slice(const struct config *config, bool (*claim)(const struct config_slice *))
{
	bool any = claim(&config->every_device);

	for (unsigned i = 0; i < CONFIG_MAX_DEVICES && !any; i++)
		any = claim(&config->device[i]);
	return any;
}

bool config_limits_memory(const struct config *config)
{
	return any_slice(config, limits_memory);
}

bool config_limits_compute(const struct config *config)
{
	return any_slice(config, limits_compute);
}
