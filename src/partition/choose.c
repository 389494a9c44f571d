/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/choose.h"
#include "base/units.h"

/* `32sm` becomes millionths of the device on its way here, which are not always whole: what is
 * within this of a size means that size. An SM in millionths; devices have fewer than 1000. */
#define NEAR_PPM_SM 1000u

struct partition_rules partition_rules_of(unsigned cc_major, unsigned sm_count)
{
	struct partition_rules rules = {.sm_count = sm_count, .least = 2, .step = 2};

	if (cc_major >= 9)
		rules.least = rules.step = 8;
	else if (cc_major == 8)
		rules.least = 4;
	return rules;
}

struct partition_rules partition_rules_told(
	struct partition_rules documented, unsigned least, unsigned step)
{
	if (least == 0 || step == 0 || least > documented.sm_count)
		return documented;
	return (struct partition_rules){documented.sm_count, least, step};
}

/* The largest size of at most so many SMs; the least where none is so small. */
static unsigned size_below(const struct partition_rules *rules, unsigned sms)
{
	unsigned size = sms / rules->step * rules->step;

	return size < rules->least ? rules->least : size;
}

struct partition_choice partition_choose(
	const struct partition_rules *rules, uint32_t share_ppm, bool is_exact)
{
	uint64_t wanted = (uint64_t)rules->sm_count * share_ppm; /* millionths of an SM */
	unsigned below = size_below(rules, (unsigned)((wanted + NEAR_PPM_SM) / PPM_WHOLE));
	uint64_t below_ppm = (uint64_t)below * PPM_WHOLE;
	unsigned chosen = below;

	/* A remainder that is no whole step is nobody's: the next size up is the device. */
	unsigned above =
		below + rules->step < rules->sm_count ? below + rules->step : rules->sm_count;

	if (wanted > below_ppm + NEAR_PPM_SM &&
		(is_exact || 2 * (wanted - below_ppm) > (uint64_t)(above - below) * PPM_WHOLE))
		chosen = above;
	if (chosen > rules->sm_count)
		chosen = rules->sm_count;
	uint64_t duty = wanted / chosen;
	return (struct partition_choice){
		.sm_count = chosen,
		.duty_ppm = duty + NEAR_PPM_SM / chosen >= PPM_WHOLE ? PPM_WHOLE : (uint32_t)duty,
		.waves = (rules->sm_count + chosen - 1) / chosen,
	};
}
