/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/turns.h"
#include "base/log.h"
#include "driver/driver.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "group/group.h"
#include "group/segment.h"
#include "slice/share.h"
#include "token/token.h"

/* Set while nobody else asks. Passes to children. */
static bool has_turns[CONFIG_MAX_DEVICES];

/* A hash of whom this process spends its share with; 0 where it is alone. */
static uint64_t group_hash(void)
{
	const struct group_identity *group = entry_group();
	uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */

	if (group->kind == GROUP_NONE)
		return 0;
	for (const char *at = group->path; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 0x100000001b3ull;
	return hash;
}

static uint32_t weight_of(const struct config_turns *turns, uint32_t share_ppm)
{
	if (turns->weight != 0)
		return turns->weight;
	return share_ppm >= 100 ? share_ppm / 100 : 1;
}

/* The segment of a MIG instance is its own. */
static bool find_segment(unsigned device, char path[GROUP_PATH_LEN])
{
	struct group_reason reason;
	CUuuid uuid;

	if (driver.cuDeviceGetUuid(&uuid, (CUdevice)device) != CUDA_SUCCESS)
		return false;
	(void)driver.cuDeviceGetUuid_v2(&uuid, (CUdevice)device);
	if (group_find_device(entry_group(), (unsigned char *)uuid.bytes, path, &reason))
		return true;
	log_at(LOG_INFO, "slice",
		"GPU %u: %s; others at it cannot be seen, the share is a cap alone", device,
		reason.text);
	return false;
}

struct governor_terms turns_terms_of(
	const struct config *config, const struct config_device *identity, uint32_t share_ppm)
{
	struct config_turns turns = config_turns_of(config, identity);

	return (struct governor_terms){
		.has_turns = turns.weight != 0 || turns.is_latency,
		.may_borrow = turns.may_borrow,
		.is_latency = turns.is_latency,
		.weight = weight_of(&turns, share_ppm),
		.quantum_ns = turns.quantum_ns != 0 ? turns.quantum_ns : TOKEN_QUANTUM_NS,
	};
}

/* Without turns nothing but the share holds it, so to have them is stricter. */
struct governor_terms turns_stricter(struct governor_terms a, const struct governor_terms *b)
{
	a.has_turns |= b->has_turns;
	a.may_borrow &= b->may_borrow;
	a.is_latency &= b->is_latency;
	if (b->weight < a.weight)
		a.weight = b->weight;
	if (b->quantum_ns < a.quantum_ns)
		a.quantum_ns = b->quantum_ns;
	return a;
}

bool turns_are_same(const struct governor_terms *a, const struct governor_terms *b)
{
	return a->has_turns == b->has_turns && a->may_borrow == b->may_borrow &&
	       a->is_latency == b->is_latency && a->weight == b->weight &&
	       a->quantum_ns == b->quantum_ns;
}

void turns_set(unsigned device, const struct governor_terms *terms)
{
	uint32_t share_ppm = governor_share(device);
	const struct token_request request = {
		.entitlement =
			{
				.guarantee_ppm = share_ppm < PPM_WHOLE ? share_ppm : 0,
				.weight = terms->weight,
				.class = terms->is_latency ? TOKEN_LATENCY : TOKEN_BATCH,
				.may_borrow = terms->may_borrow,
			},
		.group = group_hash(),
		.quantum_ns = terms->quantum_ns,
	};
	char path[GROUP_PATH_LEN];

	if (share_is_by_mps(device))
		return;
	/* The group or the policy may bring a share later. Nothing is opened before. */
	bool may_come = segment_is_used() || entry_config()->has_policy;
	if ((share_ppm >= PPM_WHOLE && !terms->has_turns && !may_come) ||
		!find_segment(device, path))
		return;
	token_name_device(device, path, &request);
	has_turns[device] = true;
	governor_set_terms(device, terms);
}

bool turns_may_change(unsigned device)
{
	return has_turns[device];
}

void turns_change(unsigned device, const struct governor_terms *terms)
{
	if (has_turns[device])
		governor_set_terms(device, terms);
}
