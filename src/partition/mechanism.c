/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/mechanism.h"
#include "base/compiler.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define TOO_OLD "a partition of its SMs needs a driver for CUDA 12.5 or later"

PRINTF_LIKE(3, 4)
static struct mechanism_choice choice(
	enum mechanism mechanism, bool is_as_asked, const char *format, ...)
{
	struct mechanism_choice chosen = {mechanism, is_as_asked, ""};
	va_list args;

	va_start(args, format);
	vsnprintf(chosen.why, sizeof(chosen.why), format, args);
	va_end(args);
	return chosen;
}

static struct mechanism_choice choose_static(const struct mechanism_facts *facts, bool is_as_asked)
{
	return choice(MECHANISM_MPS_STATIC, is_as_asked,
		"%s%s names SMs that MPS keeps for it, and time keeps a share of these",
		is_as_asked ? "" : "no partition of ours, for ", facts->mps_variable);
}

/* Why MPS does not keep the share. */
static const char *why_not_mps(const struct mechanism_facts *facts)
{
	return facts->has_percentage ? "the driver does not use MPS" : facts->no_mps;
}

static struct mechanism_choice choose_mps(const struct mechanism_facts *facts)
{
	if (facts->has_mps && facts->has_percentage)
		return choice(MECHANISM_MPS, true, "the driver gives it a percentage of the SMs");
	return choice(MECHANISM_TIME, false, "%s", why_not_mps(facts));
}

/* Where processes have the device by turns a partition serves those that are alone: beside others
 * it multiplies with the turns. */
static const char *why_no_partition(const struct mechanism_facts *facts)
{
	if (!facts->can_partition)
		return TOO_OLD;
	if (!facts->is_covered)
		return "no report shows that partitions hold on this GPU with this driver";
	if (facts->company == MECHANISM_BESIDE_OTHERS)
		return "others are at it";
	if (facts->company == MECHANISM_BESIDE_UNSEEN)
		return "others at it could not be seen";
	return NULL;
}

static struct mechanism_choice choose_best(const struct mechanism_facts *facts)
{
	if (facts->has_mps && facts->has_percentage)
		return choose_mps(facts);
	/* Clients overlap, whether or not their share could be told to MPS. */
	if (facts->has_mps)
		return choice(MECHANISM_TIME, true, "%s", facts->no_mps);
	const char *reason = why_no_partition(facts);
	if (reason != NULL)
		return choice(MECHANISM_TIME, true, "%s; %s", why_not_mps(facts), reason);
	return choice(MECHANISM_BOTH, true,
		"%s; nobody else is at it, and a report shows that partitions hold here",
		why_not_mps(facts));
}

/* Beside a percentage time alone would make the share smaller once more: a part of the time on a
 * part of the SMs. */
static struct mechanism_choice choose_partition(const struct mechanism_facts *facts)
{
	if (facts->has_mps && facts->mps_variable != NULL)
		return choice(facts->has_percentage ? MECHANISM_MPS : MECHANISM_TIME, false,
			"no partition of SMs beside %s, which may make it larger",
			facts->mps_variable);
	if (!facts->can_partition)
		return choice(MECHANISM_TIME, false, TOO_OLD);
	return choice(facts->asked == CONFIG_SM ? MECHANISM_SM : MECHANISM_BOTH, true, "asked for");
}

struct mechanism_choice mechanism_choose(const struct mechanism_facts *facts)
{
	bool is_by_name = facts->asked == CONFIG_SM || facts->asked == CONFIG_BOTH;

	if (facts->asked == CONFIG_TIME)
		return choice(MECHANISM_TIME, true, "asked for");
	if (facts->has_mps && facts->is_static)
		return choose_static(facts, !is_by_name);
	if (is_by_name)
		return choose_partition(facts);
	return facts->asked == CONFIG_MPS ? choose_mps(facts) : choose_best(facts);
}

const char *mechanism_name(enum mechanism mechanism)
{
	static const char *const names[MECHANISM_COUNT] = {
		[MECHANISM_TIME] = "time",
		[MECHANISM_SM] = "sm",
		[MECHANISM_BOTH] = "both",
		[MECHANISM_MPS] = "mps",
		[MECHANISM_MPS_STATIC] = "mps",
	};

	return names[mechanism];
}
