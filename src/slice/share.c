/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/share.h"
#include "base/log.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "partition/partition.h"

#include <stdatomic.h>

/* What the governor would keep without the partition. Passes to children. */
static struct {
	_Atomic uint32_t ppm; /* 0: no partition */
	unsigned sms, chosen;
} partitioned[CONFIG_MAX_DEVICES];

/* The part of the time in which a partition has the device's share. */
static uint32_t duty_of(unsigned device, uint32_t ppm)
{
	uint64_t duty = (uint64_t)ppm * partitioned[device].sms / partitioned[device].chosen;

	if (duty > PPM_WHOLE)
		return PPM_WHOLE;
	return duty > 0 ? (uint32_t)duty : 1;
}

static void keep_by_time(unsigned device)
{
	governor_tighten_share(device, atomic_load(&partitioned[device].ppm));
}

/* The driver is believed before the documents. */
static struct partition_rules rules_of(unsigned device, unsigned sms)
{
	CUdevResource all;
	int major = 0;

	driver_real.cuDeviceGetAttribute(
		&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, (CUdevice)device);
	struct partition_rules rules = partition_rules_of((unsigned)major, sms);
	if (driver_real.cuDeviceGetDevResource((CUdevice)device, &all, CU_DEV_RESOURCE_TYPE_SM) !=
		CUDA_SUCCESS)
		return rules;
	return partition_rules_told(
		rules, all.sm.minSmPartitionSize, all.sm.smCoscheduledAlignment);
}

static bool partition(unsigned device, uint32_t ppm, bool is_exact, unsigned sms)
{
	if (!partition_is_possible()) {
		log_at(LOG_WARN, "partition",
			"GPU %u: a partition of its SMs needs a driver for CUDA 12.5 or later; the "
			"compute share is kept by time instead",
			device);
		return false;
	}
	struct partition_rules rules = rules_of(device, sms);
	struct partition_choice choice = partition_choose(&rules, ppm, is_exact);
	if (choice.sm_count == sms)
		return false;
	partitioned[device].sms = sms;
	partitioned[device].chosen = choice.sm_count;
	atomic_store(&partitioned[device].ppm, ppm);
	governor_tighten_share(device, choice.duty_ppm);
	partition_wish(device, choice.sm_count, keep_by_time);
	log_at(LOG_INFO, "partition", "GPU %u: %u of %u SMs, %u.%u %% of the time", device,
		choice.sm_count, sms, choice.duty_ppm / 10000, choice.duty_ppm / 1000 % 10);
	return true;
}

void share_set(unsigned device, uint32_t ppm, enum config_mechanism mechanism, unsigned sms)
{
	bool wants_sms = mechanism == CONFIG_SM || mechanism == CONFIG_BOTH;

	if (ppm == PPM_WHOLE || !wants_sms ||
		!partition(device, ppm, mechanism == CONFIG_BOTH, sms))
		governor_tighten_share(device, ppm);
}

void share_tighten(unsigned device, uint32_t ppm)
{
	uint32_t kept = atomic_load(&partitioned[device].ppm);

	if (kept == 0 || partition_sm_count(device) == 0) {
		governor_tighten_share(device, ppm);
		return;
	}
	while (ppm < kept && !atomic_compare_exchange_weak(&partitioned[device].ppm, &kept, ppm))
		;
	governor_tighten_share(device, duty_of(device, ppm));
}

void share_change(unsigned device, uint32_t ppm)
{
	if (atomic_load(&partitioned[device].ppm) == 0 || partition_sm_count(device) == 0) {
		governor_set_share(device, ppm);
		return;
	}
	atomic_store(&partitioned[device].ppm, ppm);
	governor_set_share(device, duty_of(device, ppm));
}
