/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/rules.h"

struct partition_rules partition_rules_ask(
	const struct partition_oracle *oracle, CUdevice device, unsigned sms)
{
	/* Drivers of before 13.0 know nothing of what is behind the count. */
	CUdevResource all = {.type = CU_DEV_RESOURCE_TYPE_INVALID};
	int major = 0;

	oracle->get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
	struct partition_rules rules = partition_rules_of((unsigned)major, sms);
	if (oracle->get_resource == NULL ||
		oracle->get_resource(device, &all, CU_DEV_RESOURCE_TYPE_SM) != CUDA_SUCCESS)
		return rules;
	return partition_rules_told(
		rules, all.sm.minSmPartitionSize, all.sm.smCoscheduledAlignment);
}
