/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_mechanism.h"
#include "partition/mps.h"

#include <stdio.h>

static bool has_share(const struct config *config, const struct config_device *device)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == CONFIG_COMPUTE && value->compute.ppm != PPM_WHOLE &&
			config_value_counts(config, value, device))
			return true;
	}
	return false;
}

static const struct mps_plan *plan_of(const struct config *config)
{
	static struct mps_plan plan;
	static bool is_made;

	if (!is_made)
		plan = mps_plan(config);
	is_made = true;
	return &plan;
}

static struct explained_mechanism by_mps_or_time(const struct config *config, const char *asked)
{
	const struct mps_plan *plan = plan_of(config);
	struct explained_mechanism chosen = {.name = "time"};

	if (plan->ppm != PPM_WHOLE) {
		chosen.name = "mps";
		snprintf(chosen.reason, sizeof(chosen.reason), "%.239s; %s=%.15s", plan->reason,
			MPS_PERCENTAGE, plan->percentage);
	} else {
		snprintf(chosen.reason, sizeof(chosen.reason), "%.40s, but %.239s", asked,
			plan->reason);
	}
	return chosen;
}

struct explained_mechanism explain_mechanism(
	const struct config *config, const struct config_device *device)
{
	if (!has_share(config, device))
		return (struct explained_mechanism){.name = NULL};
	switch (config_mechanism_of(config, device)) {
	case CONFIG_AUTO:
		return by_mps_or_time(config, "mps is for choice");
	case CONFIG_MPS:
		return by_mps_or_time(config, "mps is asked for");
	case CONFIG_SM:
		return (struct explained_mechanism){
			"sm", "asked for; time where the driver cannot, or its test fails"};
	case CONFIG_BOTH:
		return (struct explained_mechanism){
			"both", "asked for; time where the driver cannot, or its test fails"};
	case CONFIG_TIME:
		break;
	}
	return (struct explained_mechanism){"time", "asked for"};
}
