/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/share.h"
#include "base/clock.h"
#include "base/log.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "group/segment.h"
#include "partition/covered.h"
#include "partition/mechanism.h"
#include "partition/mps.h"
#include "partition/partition.h"
#include "partition/rules.h"
#include "token/token.h"

#include <stdatomic.h>
#include <string.h>

/* Until whoever is at the device sees that another has died, with room for a busy computer. */
#define REAPED_NS    (30 * NS_PER_MS)
#define REAPED_LOOKS 6u

/* What the governor would keep without the partition. Passes to children. */
static struct {
	_Atomic uint32_t ppm; /* 0: no partition */
	uint32_t made_for_ppm;
	unsigned sms, chosen; /* the percentage of MPS as millionths of a million */
	bool is_by_mps;
	bool is_auto;             /* serves as long as nobody else is at the device */
	_Atomic bool has_company; /* somebody is, or there is no partition yet */
	char objection[MECHANISM_WHY_LEN];
} partitioned[CONFIG_MAX_DEVICES];
static _Atomic bool looks_again;

/* The part of the time in which a partition has the device's share. Less than the whole where only
 * a share does something: it makes processes of a group, each of which has a percentage of its own,
 * spend the time of one together, and it shows who has chosen a partition by itself to others. */
static uint32_t duty_of(unsigned device, uint32_t ppm)
{
	uint64_t duty = (uint64_t)ppm * partitioned[device].sms / partitioned[device].chosen;
	bool needs_share =
		(partitioned[device].is_by_mps && segment_is_used()) || partitioned[device].is_auto;

	if (atomic_load(&partitioned[device].has_company))
		return ppm;
	if (duty >= PPM_WHOLE)
		return needs_share ? PPM_WHOLE - 1 : PPM_WHOLE;
	return duty > 0 ? (uint32_t)duty : 1;
}

static bool has_partition(unsigned device)
{
	return atomic_load(&partitioned[device].ppm) != 0 &&
	       (partitioned[device].is_by_mps || partition_sm_count(device) != 0);
}

/* True where the driver uses MPS for this process. Those of CUDA 11 do not say so by the attribute;
 * to a client of MPS alone they say that contexts may have a number of SMs. One that says neither
 * keeps no share, or what is left to MPS would be nobody's to keep. */
static bool has_mps(unsigned device)
{
	int is_on = 0;

	if (driver_real.cuDeviceGetAttribute(
		    &is_on, CU_DEVICE_ATTRIBUTE_MPS_ENABLED, (CUdevice)device) != CUDA_SUCCESS &&
		driver_real.cuDeviceGetExecAffinitySupport(
			&is_on, CU_EXEC_AFFINITY_TYPE_SM_COUNT, (CUdevice)device) != CUDA_SUCCESS)
		return false;
	return is_on != 0;
}

unsigned share_whole_sms(unsigned device, unsigned told)
{
	uint32_t ppm = mps_begun()->ppm;

	return ppm == PPM_WHOLE || !has_mps(device) ? told
						    : (unsigned)((uint64_t)told * PPM_WHOLE / ppm);
}

bool share_is_by_mps(unsigned device)
{
	return partitioned[device].is_by_mps;
}

static bool is_covered(unsigned device)
{
	char name[256] = "";
	int major = 0, minor = 0, version = 0;

	if (!covered_any())
		return false;
	driver_real.cuDeviceGetName(name, sizeof(name), (CUdevice)device);
	driver_real.cuDeviceGetAttribute(
		&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, (CUdevice)device);
	driver_real.cuDeviceGetAttribute(
		&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, (CUdevice)device);
	driver_real.cuDriverGetVersion(&version);
	return covered_find(covered_rows, name, (unsigned)major, (unsigned)minor, version) != NULL;
}

static struct mechanism_choice choose(
	unsigned device, enum config_mechanism asked, enum mechanism_company company)
{
	const struct mps_plan *plan = mps_begun();

	return mechanism_choose(&(struct mechanism_facts){
		.asked = asked,
		.has_mps = has_mps(device),
		.has_percentage = plan->ppm != PPM_WHOLE,
		.no_mps = plan->is_asked ? plan->reason : MECHANISM_MPS_NOT_ASKED,
		.mps_variable = mps_variable(),
		.is_static = mps_names_partition(),
		.can_partition = partition_is_possible(),
		.is_covered = is_covered(device),
		.company = company,
	});
}

/* Clients of MPS run at the same time. How long their work takes is not how long they have the
 * device, and turns would keep it idle. */
static void keep_by_mps(unsigned device, uint32_t ppm, bool is_static)
{
	const struct mps_plan *plan = mps_begun();

	partitioned[device].sms = PPM_WHOLE;
	partitioned[device].chosen = is_static ? PPM_WHOLE : plan->ppm;
	partitioned[device].is_by_mps = true;
	partitioned[device].made_for_ppm = ppm;
	atomic_store(&partitioned[device].ppm, ppm);
	uint32_t duty_ppm = duty_of(device, ppm);
	governor_tighten_share(device, duty_ppm);
	log_at(LOG_INFO, "mps", "GPU %u: %s%s by MPS, %u.%u %% of the time, no turns", device,
		is_static ? "" : plan->percentage,
		is_static ? "the SMs of " MPS_SM_PARTITION : " % of the SMs", duty_ppm / 10000,
		duty_ppm / 1000 % 10);
}

static enum mechanism_company company_of(const struct token_seat *seat)
{
	if (seat == NULL)
		return MECHANISM_BESIDE_UNSEEN;
	return token_sees_others(seat) ? MECHANISM_BESIDE_OTHERS : MECHANISM_ALONE;
}

/* What was decided at the start is looked at again with those who are there now. One that has died
 * just before is there until it is reaped. Who is to be seen has to be there: of two that come at a
 * time one sees the other. */
static const char *object_beside_others(unsigned device)
{
	enum mechanism_company company = company_of(token_join(device));

	for (unsigned i = 0; i < REAPED_LOOKS && company == MECHANISM_BESIDE_OTHERS; i++) {
		clock_sleep_ns(REAPED_NS / REAPED_LOOKS);
		company = company_of(token_join(device));
	}
	struct mechanism_choice chosen = choose(device, CONFIG_AUTO, company);

	if (chosen.mechanism == MECHANISM_BOTH)
		return NULL;
	memcpy(partitioned[device].objection, chosen.why, sizeof(chosen.why));
	return partitioned[device].objection;
}

static void keep_by_time(unsigned device)
{
	atomic_store(&partitioned[device].has_company, partitioned[device].is_auto);
	governor_tighten_share(device, atomic_load(&partitioned[device].ppm));
}

static const struct partition_keeper keeper = {.give_up = keep_by_time};
static const struct partition_keeper keeper_while_alone = {
	.object = object_beside_others, .give_up = keep_by_time};

/* False where the partition would be the device. */
static bool keep_by_partition(
	unsigned device, uint32_t ppm, enum mechanism mechanism, bool is_auto, unsigned sms)
{
	const struct partition_oracle oracle = {
		driver_real.cuDeviceGetAttribute, driver_real.cuDeviceGetDevResource};
	struct partition_rules rules = partition_rules_ask(&oracle, (CUdevice)device, sms);
	struct partition_choice choice = partition_choose(&rules, ppm, mechanism == MECHANISM_BOTH);

	if (choice.sm_count == sms) {
		log_at(LOG_INFO, "partition",
			"GPU %u: none, for the size next to the share is all %u SMs; time keeps it",
			device, sms);
		return false;
	}
	partitioned[device].sms = sms;
	partitioned[device].chosen = choice.sm_count;
	partitioned[device].made_for_ppm = ppm;
	partitioned[device].is_auto = is_auto;
	atomic_store(&partitioned[device].has_company, is_auto);
	atomic_store(&partitioned[device].ppm, ppm);
	governor_tighten_share(device, is_auto ? ppm : choice.duty_ppm);
	if (is_auto)
		atomic_store(&looks_again, true);
	partition_wish(device, choice.sm_count, is_auto ? &keeper_while_alone : &keeper);
	log_at(LOG_INFO, "partition", "GPU %u: %u of %u SMs, %u.%u %% of the time%s", device,
		choice.sm_count, sms, choice.duty_ppm / 10000, choice.duty_ppm / 1000 % 10,
		is_auto ? ", while nobody else is at it" : "");
	return true;
}

void share_set(unsigned device, uint32_t ppm, enum config_mechanism asked, unsigned sms)
{
	if (ppm == PPM_WHOLE)
		return;
	struct mechanism_choice chosen = choose(device, asked, MECHANISM_ALONE);
	enum mechanism mechanism = chosen.mechanism;
	bool is_told = asked != CONFIG_TIME && (!chosen.is_as_asked || asked == CONFIG_AUTO);

	if (is_told)
		log_at(chosen.is_as_asked ? LOG_INFO : LOG_WARN, "slice",
			"GPU %u: the compute share is kept by %s: %s", device,
			mechanism_name(mechanism), chosen.why);
	if (mechanism == MECHANISM_MPS || mechanism == MECHANISM_MPS_STATIC)
		keep_by_mps(device, ppm, mechanism == MECHANISM_MPS_STATIC);
	else if (mechanism == MECHANISM_TIME ||
		 !keep_by_partition(device, ppm, mechanism, asked == CONFIG_AUTO, sms))
		governor_tighten_share(device, ppm);
}

/* What the governor is to keep of a share. Without a partition, or before there is one again, that
 * is all of it. */
static uint32_t kept_by_time(unsigned device, uint32_t ppm)
{
	return has_partition(device) ? duty_of(device, ppm) : ppm;
}

/* Beside others a partition has its SMs for the whole share of the time, so that is the share. */
uint32_t share_in_force(unsigned device)
{
	uint64_t ppm = governor_share(device);

	if (!has_partition(device) || atomic_load(&partitioned[device].has_company))
		return (uint32_t)ppm;
	if (ppm == PPM_WHOLE - 1) /* see duty_of() */
		ppm = PPM_WHOLE;
	ppm = ppm * partitioned[device].chosen / partitioned[device].sms;
	return ppm > 0 ? (uint32_t)ppm : 1;
}

void share_tighten(unsigned device, uint32_t ppm)
{
	uint32_t kept = atomic_load(&partitioned[device].ppm);

	while (ppm < kept && !atomic_compare_exchange_weak(&partitioned[device].ppm, &kept, ppm))
		;
	governor_tighten_share(device, kept_by_time(device, ppm));
}

enum share_room share_change(unsigned device, uint32_t ppm)
{
	bool has_one;

	if (atomic_load(&partitioned[device].ppm) != 0)
		atomic_store(&partitioned[device].ppm, ppm);
	/* It may be given up meanwhile, which only tightens. */
	do {
		has_one = has_partition(device);
		governor_set_share(device, kept_by_time(device, ppm));
	} while (has_one != has_partition(device));
	uint32_t made_for_ppm = partitioned[device].made_for_ppm;
	if (!has_one || ppm == made_for_ppm)
		return SHARE_IN_FULL;
	return ppm < made_for_ppm ? SHARE_IN_PART_OF_TIME : SHARE_TOO_LARGE;
}

bool share_looks_again(void)
{
	return atomic_load(&looks_again);
}

/* A partition that was made while nobody else was there stays as it is, for the program's streams
 * are in it. Beside others it would have its SMs for a part of all turns; so that they get what is
 * theirs it takes turns with its share then, and no more than that. The thread that looks is the
 * one that joins for others: it would wait for itself. */
bool share_look_again(unsigned device)
{
	if (!partitioned[device].is_auto)
		return false;
	bool has_company =
		!partition_holds(device) || company_of(token_joined(device)) != MECHANISM_ALONE;
	if (atomic_exchange(&partitioned[device].has_company, has_company) == has_company)
		return false;
	bool has_one;
	uint32_t ppm;
	do { /* the program may tighten it, or the partition be given up, meanwhile */
		has_one = has_partition(device);
		ppm = atomic_load(&partitioned[device].ppm);
		governor_set_share(device, kept_by_time(device, ppm));
	} while (ppm != atomic_load(&partitioned[device].ppm) || has_one != has_partition(device));
	return true;
}

bool share_is_beside_others(unsigned device)
{
	return atomic_load(&partitioned[device].has_company);
}
