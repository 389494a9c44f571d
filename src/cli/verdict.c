/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/verdict.h"

#include <stdarg.h>
#include <stdio.h>

static struct verdict lost(const char *format, ...) PRINTF_LIKE(1, 2);
static struct verdict lost(const char *format, ...)
{
	struct verdict verdict = {.counts = false};
	va_list args;

	va_start(args, format);
	vsnprintf(verdict.reason, sizeof(verdict.reason), format, args);
	va_end(args);
	return verdict;
}

const char *verdict_source_name(enum config_source source)
{
	static const char *const names[] = {"policy", "environment", "defaults"};

	return names[source];
}

/* How much a value lets through, and in which unit. */
struct amount {
	uint64_t number;
	bool is_part; /* of the device, in parts per million */
};

static struct amount amount_of(const struct config_value *value)
{
	if (value->key == CONFIG_MEMORY && value->memory.ppm != 0)
		return (struct amount){value->memory.ppm, true};
	if (value->key == CONFIG_MEMORY)
		return (struct amount){value->memory.bytes, false};
	if (value->key == CONFIG_COMPUTE && value->compute.ppm != 0)
		return (struct amount){value->compute.ppm, true};
	if (value->key == CONFIG_COMPUTE)
		return (struct amount){value->compute.sm_count, false};
	if (value->key == CONFIG_BURST)
		return (struct amount){value->burst_ns, false};
	return (struct amount){0};
}

/* How a device is shared is no limit: the policy's word comes first, then what is for the device,
 * then who speaks first. */
static bool is_limit(enum config_key key)
{
	return key == CONFIG_MEMORY || key == CONFIG_COMPUTE || key == CONFIG_BURST;
}

/* Of two equal values the first one read is said to count. */
static bool beats(const struct config_value *a, const struct config_value *b)
{
	struct amount x = amount_of(a), y = amount_of(b);

	if (!is_limit(a->key))
		return config_comes_first(a, b) || (!config_comes_first(b, a) && a < b);
	return x.is_part == y.is_part && (x.number < y.number || (x.number == y.number && a < b));
}

struct verdict verdict_for_device(const struct config *config, const struct config_value *value,
	const struct config_device *device)
{
	if (config->is_disabled)
		return lost("everything is off (CUSLICE_DISABLE=1)");
	const struct config_value *other = config_silenced_by(config, value, device);
	if (other != NULL && value->source == CONFIG_DEFAULTS && other->source != CONFIG_DEFAULTS)
		return lost("a default, and %s is set", config_value_origin(config, other).text);
	if (other != NULL)
		return lost("a UUID wins: %s", config_value_origin(config, other).text);
	if (config_is_overruled(config, value, device))
		return lost("the policy limits compute, so its own word alone counts");
	for (unsigned i = 0; i < config->value_count; i++) {
		other = &config->values[i];
		if (other->key != value->key || !config_value_counts(config, other, device) ||
			!beats(other, value))
			continue;
		if (!is_limit(value->key))
			return lost("%s comes first", config_value_origin(config, other).text);
		bool is_same = amount_of(other).number == amount_of(value).number;
		return lost("%s %s", is_same ? "the same as" : "not as strict as",
			config_value_origin(config, other).text);
	}
	return (struct verdict){.counts = true};
}

struct verdict verdict_for_process(const struct config *config, const struct config_value *value)
{
	const struct config_value *chosen = config_chosen(config, value->key);

	if (value->key == CONFIG_DISABLE && value->is_disabled && !config->is_disabled)
		return lost("the policy sets a limit, or is not understood");
	if (value == chosen)
		return (struct verdict){.counts = true};
	const char *why = "comes first";
	if (value->source == CONFIG_DEFAULTS)
		why = "is no default";
	else if (value->key == CONFIG_ON_ERROR)
		why = value->on_error == chosen->on_error ? "says the same" : "is stricter";
	return lost("%s %s", config_value_origin(config, chosen).text, why);
}
