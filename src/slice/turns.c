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

void turns_set(unsigned device, const struct config_device *identity)
{
	struct config_turns turns = config_turns_of(entry_config(), identity);
	uint32_t share_ppm = governor_share(device);
	struct governor_terms terms = {
		.has_turns = turns.weight != 0 || turns.is_latency,
		.may_borrow = turns.may_borrow,
		.is_latency = turns.is_latency,
	};
	struct token_request request = {
		.entitlement =
			{
				.guarantee_ppm = share_ppm < PPM_WHOLE ? share_ppm : 0,
				.weight = weight_of(&turns, share_ppm),
				.class = turns.is_latency ? TOKEN_LATENCY : TOKEN_BATCH,
				.may_borrow = turns.may_borrow,
			},
		.group = group_hash(),
		.quantum_ns = turns.quantum_ns,
	};
	char path[GROUP_PATH_LEN];

	if (share_is_by_mps(device))
		return;
	/* The group or the policy may bring a share later. Nothing is opened before. */
	bool may_come = segment_is_used() || entry_config()->has_policy;
	if ((share_ppm >= PPM_WHOLE && !terms.has_turns && !may_come) ||
		!find_segment(device, path))
		return;
	token_name_device(device, path, &request);
	governor_set_terms(device, &terms);
}
