/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "config/config_parse.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHORTEST_BURST_NS   NS_PER_MS
#define LONGEST_BURST_NS    (10 * NS_PER_S)
#define SHORTEST_QUANTUM_NS NS_PER_MS
#define LONGEST_QUANTUM_NS  (100 * NS_PER_MS)
#define MOST_WEIGHT         10000u
#define PREFIX_LEN          (sizeof("CUSLICE_") - 1)

static const char *parse_memory(const char *text, struct config_value *value)
{
	return units_parse_size(text, &value->memory);
}

static const char *parse_compute(const char *text, struct config_value *value)
{
	return units_parse_share(text, &value->compute);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A whole number of us, ms or s; `range` says which. */
static const char *parse_time(
	const char *text, uint64_t least_ns, uint64_t most_ns, const char *range, uint64_t *ret_ns)
{
	const char *at = text;
	uint64_t number = 0;

	/* Beyond the bounds in any unit, and far from overflowing. */
	for (; is_digit(*at) && number <= most_ns; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	if (at == text || is_digit(*at))
		return at == text ? "a whole number and a unit are needed: 20ms or 1s" : range;
	if (*at == ' ')
		at++;
	if (strcmp(at, "us") == 0)
		number *= NS_PER_US;
	else if (strcmp(at, "ms") == 0)
		number *= NS_PER_MS;
	else if (strcmp(at, "s") == 0)
		number *= NS_PER_S;
	else
		return *at == '\0' ? "a unit is missing; write 20ms or 1s"
				   : "a whole number of us, ms or s is needed: 20ms or 1s";
	if (number < least_ns || number > most_ns)
		return range;
	*ret_ns = number;
	return NULL;
}

static const char *parse_burst(const char *text, struct config_value *value)
{
	return parse_time(text, SHORTEST_BURST_NS, LONGEST_BURST_NS, "a burst is 1ms to 10s",
		&value->burst_ns);
}

static const char *parse_quantum(const char *text, struct config_value *value)
{
	return parse_time(text, SHORTEST_QUANTUM_NS, LONGEST_QUANTUM_NS,
		"a quantum is 1ms to 100ms", &value->quantum_ns);
}

static const char *parse_weight(const char *text, struct config_value *value)
{
	uint32_t weight = 0;
	const char *at = text;

	for (; is_digit(*at) && weight <= MOST_WEIGHT; at++)
		weight = weight * 10 + (uint32_t)(*at - '0');
	if (at == text || *at != '\0' || weight < 1 || weight > MOST_WEIGHT)
		return "a weight is a whole number from 1 to 10000";
	value->weight = weight;
	return NULL;
}

static const char *parse_class(const char *text, struct config_value *value)
{
	if (strcmp(text, "batch") != 0 && strcmp(text, "latency") != 0)
		return "use batch or latency";
	value->is_latency = *text == 'l';
	return NULL;
}

static const char *parse_borrow(const char *text, struct config_value *value)
{
	if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
		return "use yes or no";
	value->may_borrow = *text == 'y';
	return NULL;
}

static const char *parse_on_error(const char *text, struct config_value *value)
{
	if (strcmp(text, "refuse") == 0)
		value->on_error = CONFIG_REFUSE;
	else if (strcmp(text, "warn") == 0)
		value->on_error = CONFIG_WARN;
	else
		return "use refuse or warn";
	return NULL;
}

static const char *parse_mechanism(const char *text, struct config_value *value)
{
	static const char *const mechanisms[] = {"auto", "time", "sm", "mps", "both"};

	for (unsigned i = 0; i < ARRAY_LEN(mechanisms); i++) {
		if (strcmp(text, mechanisms[i]) == 0) {
			value->mechanism = (enum config_mechanism)i;
			return NULL;
		}
	}
	return "use auto, time, sm, mps or both";
}

static const char *parse_log(const char *text, struct config_value *value)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};

	for (unsigned i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcmp(text, levels[i]) == 0) {
			value->log = (enum log_level)i;
			return NULL;
		}
	}
	return "use error, warn, info or debug";
}

/* The path itself is used where it stands, in the environment. */
static const char *parse_path(const char *text, struct config_value *value)
{
	(void)value;
	if (*text == '\0')
		return "the name of a file is needed";
	return strlen(text) < CONFIG_PATH_LEN ? NULL : "the name of the file is too long";
}

static bool is_group_name(const char *text, size_t len)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return len > 0 && len <= CONFIG_GROUP_LEN && *text != '.' && strspn(text, letters) >= len;
}

bool config_is_group_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t suffix_len = strlen(CONFIG_GROUP_SUFFIX);
	size_t len = slash == NULL ? 0 : strlen(slash + 1);

	return len > suffix_len && strcmp(slash + 1 + len - suffix_len, CONFIG_GROUP_SUFFIX) == 0;
}

/* The path of a directory, or of a group's file in one. */
static const char *check_group_path(const char *text)
{
	if (strlen(text) >= CONFIG_TEXT_LEN)
		return "the path is too long";
	for (const char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return "the path has a control character";
	}
	const char *name = strrchr(text, '/') + 1;
	if (config_is_group_file(text) &&
		!is_group_name(name, strlen(name) - strlen(CONFIG_GROUP_SUFFIX)))
		return "the file is not named as a group can be";
	return NULL;
}

static const char *parse_group(const char *text, struct config_value *value)
{
	(void)value;
	if (*text == '/')
		return check_group_path(text);
	if (is_group_name(text, strlen(text)))
		return NULL;
	return "use a name (1 to 64 letters, digits, '.', '_' and '-', no '.' in front), the full "
	       "path of a directory, or none";
}

static const char *parse_disable(const char *text, struct config_value *value)
{
	if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
		return "use 0 or 1";
	value->is_disabled = *text == '1';
	return NULL;
}

const struct config_option config_options[CONFIG_KEY_COUNT] = {
#define OPTION(KEY, parser, scope, default_text, sentence) \
	{"CUSLICE_" #KEY, CONFIG_SCOPE_##scope, default_text, sentence},
#include "config/config.def"
#undef OPTION
};

const char *config_parse_value(const char *text, struct config_value *value)
{
	static const char *(*const parsers[])(const char *, struct config_value *) = {
#define OPTION(KEY, parser, scope, default_text, sentence) parse_##parser,
#include "config/config.def"
#undef OPTION
	};

	const char *reason = parsers[value->key](text, value);
	if (reason != NULL)
		return reason;
	snprintf(value->text, sizeof(value->text), "%s", text);
	return NULL;
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool is_dash(char c)
{
	return c == '-' || c == '_';
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool parse_uuid(const char *text, size_t len, uint8_t ret_uuid[CONFIG_UUID_LEN])
{
	if (len != 36)
		return false;
	for (size_t i = 0, byte = 0; i < len; byte++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (!is_dash(text[i++]))
				return false;
		}
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret_uuid[byte] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	return true;
}

bool config_parse_device(const char *text, size_t len, struct config_devices *ret_devices)
{
	struct config_devices devices = {.by = CONFIG_UUID};

	if (len > 4 && is_dash(text[3]) &&
		(strncmp(text, "GPU", 3) == 0 || strncmp(text, "MIG", 3) == 0)) {
		devices.is_mig = *text == 'M';
		if (!parse_uuid(text + 4, len - 4, devices.uuid))
			return false;
		*ret_devices = devices;
		return true;
	}
	if (len < 1 || len > 2 || !is_digit(text[0]) || !is_digit(text[len - 1]))
		return false;
	devices.by = CONFIG_NUMBER;
	devices.number = (unsigned)(text[0] - '0');
	if (len == 2)
		devices.number = devices.number * 10 + (unsigned)(text[1] - '0');
	if (devices.number >= CONFIG_MAX_DEVICES)
		return false;
	*ret_devices = devices;
	return true;
}

struct config_name config_device_name(const struct config_devices *devices, char dash)
{
	struct config_name name = {""};
	const uint8_t *b = devices->uuid;

	if (devices->by == CONFIG_NUMBER)
		snprintf(name.text, sizeof(name.text), "%u", devices->number);
	if (devices->by != CONFIG_UUID)
		return name;
	snprintf(name.text, sizeof(name.text),
		"%s%c%02x%02x%02x%02x%c%02x%02x%c%02x%02x%c%02x%02x%c%02x%02x%02x%02x%02x%02x",
		devices->is_mig ? "MIG" : "GPU", dash, b[0], b[1], b[2], b[3], dash, b[4], b[5],
		dash, b[6], b[7], dash, b[8], b[9], dash, b[10], b[11], b[12], b[13], b[14], b[15]);
	return name;
}

struct config_name config_key_name(enum config_key key)
{
	struct config_name name;

	snprintf(name.text, sizeof(name.text), "%s", config_options[key].variable + PREFIX_LEN);
	for (char *at = name.text; *at != '\0'; at++)
		*at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
	return name;
}

struct config_name config_variable_name(enum config_key key, const struct config_devices *devices)
{
	struct config_name name, device = config_device_name(devices, '_');

	snprintf(name.text, sizeof(name.text), "%.24s%s%.48s", config_options[key].variable,
		*device.text == '\0' ? "" : "_", device.text);
	return name;
}

struct config_name config_known_keys(bool is_for_device)
{
	struct config_name list = {""};
	size_t len = 0;

	for (unsigned i = 0; i < CONFIG_KEY_COUNT; i++) {
		enum config_scope scope = config_options[i].scope;
		if (scope == CONFIG_SCOPE_VARIABLE ||
			(is_for_device && scope != CONFIG_SCOPE_DEVICE))
			continue;
		int written = snprintf(list.text + len, sizeof(list.text) - len, "%s%.20s",
			len == 0 ? "" : ", ", config_key_name(i).text);
		len += (size_t)written;
		if (len >= sizeof(list.text))
			break;
	}
	return list;
}

void config_add_value(struct config *config, const struct config_value *value)
{
	if (config->value_count == CONFIG_MAX_VALUES) {
		config_add_problem_in(config, value->source, "%s: more than %d settings",
			config_value_origin(config, value).text, CONFIG_MAX_VALUES);
		return;
	}
	config->values[config->value_count++] = *value;
}

/* What goes to a terminal must not steer it. */
static void make_printable(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

static void add_problem(struct config *config, enum config_source source, const char *format,
	va_list args) PRINTF_LIKE(3, 0);
static void add_problem(
	struct config *config, enum config_source source, const char *format, va_list args)
{
	unsigned i = config->problem_count++;

	if (source == CONFIG_POLICY)
		config->policy_problem_count++;
	if (i >= CONFIG_MAX_PROBLEMS)
		return;
	vsnprintf(config->problems[i], CONFIG_PROBLEM_LEN, format, args);
	make_printable(config->problems[i]);
}

void config_add_problem_in(
	struct config *config, enum config_source source, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_problem(config, source, format, args);
	va_end(args);
}

void config_add_problem(struct config *config, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_problem(config, CONFIG_ENVIRONMENT, format, args);
	va_end(args);
}
