/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_mechanism.h"
#include "partition/covered.h"
#include "partition/mechanism.h"
#include "partition/mps.h"

#include <stdio.h>
#include <stdlib.h>

/* A share of less than that, or of so many SMs, which may be less. */
static bool has_share_below(
	const struct config *config, const struct config_device *device, uint32_t ppm)
{
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == CONFIG_COMPUTE && value->compute.ppm < ppm &&
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

/* The driver is taken for new enough, and for one that uses the daemon that is there. */
static struct mechanism_facts facts_of(
	const struct config *config, const struct config_device *device)
{
	const struct mps_plan *plan = plan_of(config);

	return (struct mechanism_facts){
		.asked = config_mechanism_of(config, device),
		.has_mps = mps_find(getenv("CUDA_MPS_PIPE_DIRECTORY")).is_there,
		.has_percentage = plan->ppm != PPM_WHOLE,
		.no_mps = plan->is_asked ? plan->reason : MECHANISM_MPS_NOT_ASKED,
		.mps_variable = mps_variable(),
		.is_static = mps_names_partition(),
		.can_partition = true,
	};
}

static void write_reason(struct explained_mechanism *explained, const struct mps_plan *plan,
	const struct mechanism_facts *facts, const struct mechanism_choice *chosen, bool is_less)
{
	char *reason = explained->reason;
	size_t size = sizeof(explained->reason);

	if (chosen->mechanism == MECHANISM_MPS && chosen->is_as_asked)
		snprintf(reason, size, "%.239s; %s=%.15s%s", plan->reason, MPS_PERCENTAGE,
			plan->percentage, is_less ? "; time keeps what is less" : "");
	else if (chosen->mechanism == MECHANISM_SM || chosen->mechanism == MECHANISM_BOTH)
		snprintf(
			reason, size, "asked for; time where the driver cannot, or its test fails");
	else if (facts->asked == CONFIG_AUTO && !facts->has_mps && covered_any())
		snprintf(reason, size,
			"%.239s; both on a GPU that a report covers, while nobody else is at it",
			facts->no_mps);
	else
		snprintf(reason, size, "%s", chosen->why);
}

struct explained_mechanism explain_mechanism(
	const struct config *config, const struct config_device *device)
{
	struct explained_mechanism explained = {.name = NULL};

	if (!has_share_below(config, device, PPM_WHOLE))
		return explained;
	struct mechanism_facts facts = facts_of(config, device);
	struct mechanism_choice chosen = mechanism_choose(&facts);
	explained.mechanism = chosen.mechanism;
	explained.name = mechanism_name(chosen.mechanism);
	const struct mps_plan *plan = plan_of(config);
	write_reason(&explained, plan, &facts, &chosen, has_share_below(config, device, plan->ppm));
	return explained;
}
