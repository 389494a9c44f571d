/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice explain: every setting, who made it, which one counts and why the others do not; and who
 * is in the group and at each GPU, what partitions there would be, and limits that the driver keeps
 * itself. It needs no device, so it works wherever the program will run, and at any time.
 */
#include "cli/commands.h"
#include "cli/explain_group.h"
#include "cli/explain_mechanism.h"
#include "cli/explain_native.h"
#include "cli/explain_partition.h"
#include "cli/explain_tenants.h"
#include "cli/json.h"
#include "cli/verdict.h"
#include "config/config_parse.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const not_counted[] = {
#define NOT_COUNTED(text) text,
#include "cli/not_counted.def"
#undef NOT_COUNTED
};

/* What is shown together: the settings of one device, of every device, or of the process. */
struct group {
	const struct config *config;
	char title[CONFIG_NAME_LEN]; /* `0`, `GPU-<uuid>`, empty for every device */
	bool is_process;
	struct config_device device;
};

static struct group device_group(const struct config *config, const struct config_value *value)
{
	struct group group = {.config = config, .device = config_device_of(value)};

	snprintf(group.title, sizeof(group.title), "%s",
		config_device_name(&value->devices, '-').text);
	return group;
}

static bool belongs(const struct group *group, enum config_key key)
{
	return (config_options[key].scope == CONFIG_SCOPE_DEVICE) != group->is_process;
}

static bool is_shown(
	const struct group *group, enum config_key key, const struct config_value *value)
{
	return value->key == key &&
	       (group->is_process || config_value_is_for(value, &group->device));
}

static struct verdict judge(const struct group *group, const struct config_value *value)
{
	return group->is_process ? verdict_for_process(group->config, value)
				 : verdict_for_device(group->config, value, &group->device);
}

static bool any_counts(const struct group *group, enum config_key key)
{
	for (unsigned i = 0; i < group->config->value_count; i++) {
		const struct config_value *value = &group->config->values[i];
		if (is_shown(group, key, value) && judge(group, value).counts)
			return true;
	}
	return false;
}

/* Calls `show` for every device, for each device that any value names, and for the process. */
static void for_each_group(const struct config *config, void (*show)(const struct group *group))
{
	struct config_value every = {.devices = {.by = CONFIG_EVERY_DEVICE}};
	struct group group = device_group(config, &every);

	show(&group);
	for (unsigned i = 0; i < config->value_count; i++) {
		bool is_new = config->values[i].devices.by != CONFIG_EVERY_DEVICE;
		group = device_group(config, &config->values[i]);
		for (unsigned j = 0; j < i && is_new; j++)
			is_new = strcmp(group.title,
					 device_group(config, &config->values[j]).title) != 0;
		if (is_new)
			show(&group);
	}
	group = (struct group){.config = config, .is_process = true};
	show(&group);
}

static void print_row(const char *key, const char *text, const char *remark)
{
	printf("  %-9s %-12s %s\n", key, text, remark);
}

static void print_setting(const struct group *group, enum config_key key)
{
	const struct config *config = group->config;
	struct config_name name = config_key_name(key);
	char remark[600];
	unsigned rows = 0;

	if (!any_counts(group, key)) {
		print_row(name.text,
			config->is_disabled && !group->is_process
				? "off"
				: config_options[key].default_text,
			"by default");
		rows++;
	}
	/* First what counts, then what lost. */
	for (unsigned i = 0; i < 2 * config->value_count; i++) {
		const struct config_value *value = &config->values[i % config->value_count];
		bool is_losers_turn = i >= config->value_count;
		if (!is_shown(group, key, value))
			continue;
		struct verdict verdict = judge(group, value);
		if (verdict.counts == is_losers_turn)
			continue;
		struct config_origin origin = config_value_origin(config, value);
		if (verdict.counts)
			snprintf(remark, sizeof(remark), "%s%s", origin.text,
				rows == 0 ? "" : ", if that is less on the device");
		else
			snprintf(remark, sizeof(remark), "lost, %s: %s", origin.text,
				verdict.reason);
		print_row(rows++ == 0 ? name.text : "", value->text, remark);
	}
}

static void print_group(const struct group *group)
{
	if (group->is_process)
		printf("process\n");
	else if (*group->title == '\0')
		printf("every device\n");
	else
		printf("device %s\n", group->title);
	for (unsigned key = 0; key < CONFIG_KEY_COUNT; key++) {
		if (belongs(group, key))
			print_setting(group, key);
	}
	if (group->is_process)
		return;
	struct explained_mechanism kept = explain_mechanism(group->config, &group->device);
	if (kept.name != NULL)
		print_row("kept by", kept.name, kept.reason);
}

static const char *state_of(const struct config_file *file)
{
	return file->is_read ? "" : ", not read";
}

static void print_problems(const struct config *config)
{
	if (config->problem_count == 0)
		return;
	printf("problems\n");
	for (unsigned i = 0; i < config->problem_count && i < CONFIG_MAX_PROBLEMS; i++)
		printf("  %s\n", config->problems[i]);
	if (config->problem_count > CONFIG_MAX_PROBLEMS)
		printf("  and %u more\n", config->problem_count - CONFIG_MAX_PROBLEMS);
	if (config_is_refused(config))
		printf("  so a program gets no GPU (on_error = refuse)\n");
}

static void print_text(const struct config *config)
{
	if (config->is_disabled)
		printf("everything is off: CUSLICE_DISABLE=1\n");
	for_each_group(config, print_group);
	explain_partition_print(config);
	explain_group_print(config);
	explain_tenants_print(config);
	explain_native_print();
	printf("files\n");
	for (unsigned i = 0; i < config->file_count; i++)
		printf("  %s (%s%s)\n", config->files[i].path,
			verdict_source_name(config->files[i].source), state_of(&config->files[i]));
	if (config->file_count == 0)
		printf("  none\n");
	print_problems(config);
	printf("not counted yet\n");
	for (unsigned i = 0; i < ARRAY_LEN(not_counted); i++)
		printf("  %s\n", not_counted[i]);
}

static void json_values(const struct group *group, enum config_key key, bool that_count)
{
	const struct config *config = group->config;

	json_begin(that_count ? "counts" : "lost", '[');
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (!is_shown(group, key, value))
			continue;
		struct verdict verdict = judge(group, value);
		if (verdict.counts != that_count)
			continue;
		json_begin(NULL, '{');
		json_string("value", value->text);
		json_string("source", verdict_source_name(value->source));
		json_string("origin", config_value_origin(config, value).text);
		if (!verdict.counts)
			json_string("reason", verdict.reason);
		json_end('}');
	}
	json_end(']');
}

static void json_group(const struct group *group)
{
	for (unsigned key = 0; key < CONFIG_KEY_COUNT; key++) {
		if (!belongs(group, key))
			continue;
		json_begin(NULL, '{');
		json_string("setting", config_key_name(key).text);
		if (!group->is_process)
			json_string("device", *group->title == '\0' ? "every" : group->title);
		json_string("default", config_options[key].default_text);
		json_values(group, key, true);
		json_values(group, key, false);
		json_end('}');
	}
}

static void json_mechanism(const struct group *group)
{
	struct explained_mechanism kept = explain_mechanism(group->config, &group->device);

	if (group->is_process || kept.name == NULL)
		return;
	json_begin(NULL, '{');
	json_string("device", *group->title == '\0' ? "every" : group->title);
	json_string("kept_by", kept.name);
	json_string("reason", kept.reason);
	json_end('}');
}

static void json_texts(const char *name, const struct config *config)
{
	json_begin(name, '[');
	for (unsigned i = 0; i < config->problem_count && i < CONFIG_MAX_PROBLEMS; i++)
		json_string(NULL, config->problems[i]);
	json_end(']');
}

static void print_json(const struct config *config)
{
	json_begin(NULL, '{');
	json_bool("disabled", config->is_disabled);
	json_bool("refused", config_is_refused(config));
	json_begin("settings", '[');
	for_each_group(config, json_group);
	json_end(']');
	json_begin("shares", '[');
	for_each_group(config, json_mechanism);
	json_end(']');
	explain_partition_json(config);
	explain_group_json(config);
	explain_tenants_json(config);
	explain_native_json();
	json_begin("files", '[');
	for (unsigned i = 0; i < config->file_count; i++) {
		json_begin(NULL, '{');
		json_string("path", config->files[i].path);
		json_string("source", verdict_source_name(config->files[i].source));
		json_bool("read", config->files[i].is_read);
		json_end('}');
	}
	json_end(']');
	json_number("problem_count", config->problem_count);
	json_texts("problems", config);
	json_begin("not_counted", '[');
	for (unsigned i = 0; i < ARRAY_LEN(not_counted); i++)
		json_string(NULL, not_counted[i]);
	json_end(']');
	json_end('}');
	printf("\n");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	bool *is_json = state->input;

	(void)arg;
	switch (key) {
	case 'j':
		*is_json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is one argument too many", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_explain(int argc, char *argv[])
{
	static const struct argp_option options[] = {
		{"json", 'j', NULL, 0, "As JSON", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.doc = "Show every setting that a program started from here would get: its "
		       "value, where it comes from, and what lost and why; how many SMs a share "
		       "comes to, where partitions keep it; its group and who is in "
		       "it; the programs with which it would take turns at each GPU; and limits of "
		       "memory that the driver keeps itself.\v"
		       "Exit status: 0; 1 where a setting is not understood and the program would "
		       "get no GPU; 125 where cuslice itself fails.",
	};
	static struct config config;
	bool is_json = false;

	argp_err_exit_status = EXIT_OWN_ERROR;
	argp_program_version = NULL;
	if (argp_parse(&argp, argc, argv, 0, NULL, &is_json) != 0)
		return EXIT_OWN_ERROR;
	config_read(environ, &config);
	if (is_json)
		print_json(&config);
	else
		print_text(&config);
	if (fflush(stdout) != 0)
		return EXIT_OWN_ERROR;
	return config_is_refused(&config) ? 1 : 0;
}
