/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/share.h"
#include "base/log.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "group/segment.h"
#include "partition/mps.h"
#include "partition/partition.h"

#include <stdatomic.h>
#include <stdlib.h>

/* What the governor would keep without the partition. Passes to children. */
static struct {
	_Atomic uint32_t ppm; /* 0: no partition */
	uint32_t made_for_ppm;
	unsigned sms, chosen; /* the percentage of MPS as millionths of a million */
	bool is_by_mps;
} partitioned[CONFIG_MAX_DEVICES];

/* The part of the time in which a partition has the device's share. Each process of a group has a
 * percentage of its own, so they spend the time of one together, which only a share makes them. */
static uint32_t duty_of(unsigned device, uint32_t ppm)
{
	uint64_t duty = (uint64_t)ppm * partitioned[device].sms / partitioned[device].chosen;
	bool is_together = partitioned[device].is_by_mps && segment_is_used();

	if (duty >= PPM_WHOLE)
		return is_together ? PPM_WHOLE - 1 : PPM_WHOLE;
	return duty > 0 ? (uint32_t)duty : 1;
}

static bool has_partition(unsigned device)
{
	return atomic_load(&partitioned[device].ppm) != 0 &&
	       (partitioned[device].is_by_mps || partition_sm_count(device) != 0);
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

/* True where the driver does what it was told by mps_begin(). Older ones do not say. */
static bool mps_holds(unsigned device)
{
	int is_on = 0;

	if (mps_begun()->ppm == PPM_WHOLE)
		return false;
	return driver_real.cuDeviceGetAttribute(
		       &is_on, CU_DEVICE_ATTRIBUTE_MPS_ENABLED, (CUdevice)device) != CUDA_SUCCESS ||
	       is_on != 0;
}

unsigned share_whole_sms(unsigned device, unsigned told)
{
	if (!mps_holds(device))
		return told;
	return (unsigned)((uint64_t)told * PPM_WHOLE / mps_begun()->ppm);
}

bool share_is_by_mps(unsigned device)
{
	return partitioned[device].is_by_mps;
}

static void say_not_mps(unsigned device, enum config_mechanism mechanism)
{
	const struct mps_plan *plan = mps_begun();

	log_at(mechanism == CONFIG_MPS ? LOG_WARN : LOG_INFO, "mps",
		"GPU %u: the compute share is kept by time: %s", device,
		plan->ppm != PPM_WHOLE ? "the driver does not use MPS"
		: plan->is_asked       ? plan->reason
				       : "MPS was not asked for before cuInit");
}

/* Clients of MPS run at the same time. How long their work takes is not how long they have the
 * device, and turns would keep it idle. */
static bool keep_by_mps(unsigned device, uint32_t ppm, enum config_mechanism mechanism)
{
	if (!mps_holds(device)) {
		say_not_mps(device, mechanism);
		return false;
	}
	partitioned[device].sms = PPM_WHOLE;
	partitioned[device].chosen = mps_begun()->ppm;
	partitioned[device].is_by_mps = true;
	partitioned[device].made_for_ppm = ppm;
	atomic_store(&partitioned[device].ppm, ppm);
	uint32_t duty_ppm = duty_of(device, ppm);
	governor_tighten_share(device, duty_ppm);
	log_at(LOG_INFO, "mps", "GPU %u: %s %% of the SMs by MPS, %u.%u %% of the time, no turns",
		device, mps_begun()->percentage, duty_ppm / 10000, duty_ppm / 1000 % 10);
	return true;
}

/* The driver may give green contexts all the SMs of a client that has a part of them. Where the
 * daemon alone gave it that, nothing tells: the driver knows no other number of SMs than the
 * client's. There the self-test has to notice. */
static bool is_scaled_by_mps(unsigned device)
{
	const char *variable = mps_variable();
	int is_on = 0;

	if (variable == NULL ||
		driver_real.cuDeviceGetAttribute(&is_on, CU_DEVICE_ATTRIBUTE_MPS_ENABLED,
			(CUdevice)device) != CUDA_SUCCESS ||
		is_on == 0)
		return false;
	log_at(LOG_WARN, "partition",
		"GPU %u: no partition of SMs beside %s, which may make it larger; the compute "
		"share is kept by time instead",
		device, variable);
	return true;
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
	if (is_scaled_by_mps(device))
		return false;
	struct partition_rules rules = rules_of(device, sms);
	struct partition_choice choice = partition_choose(&rules, ppm, is_exact);
	if (choice.sm_count == sms)
		return false;
	partitioned[device].sms = sms;
	partitioned[device].chosen = choice.sm_count;
	partitioned[device].made_for_ppm = ppm;
	atomic_store(&partitioned[device].ppm, ppm);
	governor_tighten_share(device, choice.duty_ppm);
	partition_wish(device, choice.sm_count, keep_by_time);
	log_at(LOG_INFO, "partition", "GPU %u: %u of %u SMs, %u.%u %% of the time", device,
		choice.sm_count, sms, choice.duty_ppm / 10000, choice.duty_ppm / 1000 % 10);
	return true;
}

void share_set(unsigned device, uint32_t ppm, enum config_mechanism mechanism, unsigned sms)
{
	bool is_kept = false;

	if (ppm != PPM_WHOLE && (mechanism == CONFIG_AUTO || mechanism == CONFIG_MPS))
		is_kept = keep_by_mps(device, ppm, mechanism);
	else if (ppm != PPM_WHOLE && mechanism != CONFIG_TIME)
		is_kept = partition(device, ppm, mechanism == CONFIG_BOTH, sms);
	if (!is_kept)
		governor_tighten_share(device, ppm);
}

void share_tighten(unsigned device, uint32_t ppm)
{
	uint32_t kept = atomic_load(&partitioned[device].ppm);

	if (!has_partition(device)) {
		governor_tighten_share(device, ppm);
		return;
	}
	while (ppm < kept && !atomic_compare_exchange_weak(&partitioned[device].ppm, &kept, ppm))
		;
	governor_tighten_share(device, duty_of(device, ppm));
}

enum share_room share_change(unsigned device, uint32_t ppm)
{
	bool has_one;

	/* It may be given up meanwhile, which only tightens. */
	do {
		has_one = has_partition(device);
		if (has_one)
			atomic_store(&partitioned[device].ppm, ppm);
		governor_set_share(device, has_one ? duty_of(device, ppm) : ppm);
	} while (has_one != has_partition(device));
	uint32_t made_for_ppm = partitioned[device].made_for_ppm;
	if (!has_one || ppm == made_for_ppm)
		return SHARE_IN_FULL;
	return ppm < made_for_ppm ? SHARE_IN_PART_OF_TIME : SHARE_TOO_LARGE;
}
