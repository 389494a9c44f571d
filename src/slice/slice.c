/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/slice.h"
#include "base/cancel.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/wipe.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "group/group.h"
#include "group/segment.h"
#include "ledger/ledger.h"
#include "slice/device_order.h"
#include "slice/share.h"
#include "slice/watch.h"
#include "slice/turns.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* What the program asked for through cuslice.h before the devices were known. */
static struct {
	_Atomic uint64_t quota_bytes[CONFIG_MAX_DEVICES]; /* 0 is no wish */
	_Atomic uint32_t share_ppm[CONFIG_MAX_DEVICES];   /* 0 is no wish */
	_Atomic unsigned features;
} wishes;

enum state { UNRESOLVED, RESOLVED, REFUSED, FAILED };
static _Atomic enum state state;
_Atomic unsigned slice_device_count; /* 0 until their limits are set */
static struct lock *resolve_lock;    /* wiped at fork, so that no child waits for a lost holder */

bool slice_init(void)
{
	resolve_lock = wipe_alloc(sizeof(*resolve_lock));
	return resolve_lock != NULL && watch_init();
}

unsigned slice_pending_features(void)
{
	return atomic_load_explicit(&wishes.features, memory_order_relaxed);
}

/* What the settings come to on a device. */
struct limits {
	uint64_t quota_bytes;
	uint64_t burst_ns;
	uint32_t share_ppm;
	struct governor_terms terms;
};

/* Each device as it was found. Passes to children. */
static struct {
	struct config_device identity;
	uint64_t bytes;
	uint32_t sms;
	struct limits limits; /* in force */
} known[CONFIG_MAX_DEVICES];

/* Everything starts without limit; each value that counts can only tighten it. */
static struct limits limits_of(const struct config *config, unsigned device)
{
	struct limits limits = {
		.quota_bytes = LEDGER_UNLIMITED, .burst_ns = UINT64_MAX, .share_ppm = PPM_WHOLE};

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		uint64_t bytes;
		uint32_t ppm;
		if (!config_value_counts(config, value, &known[device].identity))
			continue;
		if (value->key == CONFIG_MEMORY) {
			bytes = units_resolve_size(value->memory, known[device].bytes);
			if (bytes < limits.quota_bytes)
				limits.quota_bytes = bytes;
		} else if (value->key == CONFIG_COMPUTE) {
			ppm = units_resolve_share(value->compute, known[device].sms);
			if (ppm < limits.share_ppm)
				limits.share_ppm = ppm;
		} else if (value->key == CONFIG_BURST && value->burst_ns < limits.burst_ns) {
			limits.burst_ns = value->burst_ns;
		}
	}
	limits.terms = turns_terms_of(config, &known[device].identity, limits.share_ppm);
	return limits;
}

static uint64_t wished_bytes(unsigned device)
{
	uint64_t bytes = atomic_load(&wishes.quota_bytes[device]);

	return bytes == 0 ? LEDGER_UNLIMITED : bytes;
}

static uint32_t wished_share(unsigned device)
{
	uint32_t ppm = atomic_load(&wishes.share_ppm[device]);

	return ppm == 0 ? PPM_WHOLE : ppm;
}

/* The program may wish meanwhile, and then tightens what it finds: a wish that came too late to be
 * seen here must not be lost by what is set here. */
static enum share_room set_limits(unsigned device, struct limits limits)
{
	enum share_room room;
	uint64_t bytes;
	uint32_t ppm;

	do {
		bytes = wished_bytes(device);
		ledger_set_quota(device, bytes < limits.quota_bytes ? bytes : limits.quota_bytes);
	} while (bytes != wished_bytes(device));
	do {
		ppm = wished_share(device);
		room = share_change(device, ppm < limits.share_ppm ? ppm : limits.share_ppm);
	} while (ppm != wished_share(device));
	governor_set_burst(device,
		limits.burst_ns == UINT64_MAX ? GOVERNOR_DEFAULT_BURST_NS : limits.burst_ns);
	turns_change(device, &limits.terms);
	known[device].limits = limits;
	return room;
}

static bool apply_to_device(unsigned device, const struct config_device *identity)
{
	size_t bytes = 0;
	int sms = 0;

	if (driver.cuDeviceTotalMem_v2(&bytes, (CUdevice)device) != CUDA_SUCCESS ||
		driver_real.cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
			(CUdevice)device) != CUDA_SUCCESS)
		return false;
	known[device].identity = *identity;
	known[device].bytes = bytes;
	known[device].sms = share_whole_sms(device, (unsigned)sms);
	struct limits limits = limits_of(entry_config(), device);
	share_set(device, limits.share_ppm, config_mechanism_of(entry_config(), identity),
		(uint32_t)sms);
	(void)set_limits(device, limits);
	return true;
}

/* A MIG instance goes by its own UUID and by its GPU's. */
static bool read_uuids(unsigned device, struct config_device *identity)
{
	CUuuid uuid;

	if (driver.cuDeviceGetUuid(&uuid, (CUdevice)device) != CUDA_SUCCESS)
		return false;
	memcpy(identity->uuids[identity->uuid_count++], uuid.bytes, CONFIG_UUID_LEN);
	if (driver.cuDeviceGetUuid_v2(&uuid, (CUdevice)device) == CUDA_SUCCESS)
		memcpy(identity->uuids[identity->uuid_count++], uuid.bytes, CONFIG_UUID_LEN);
	return true;
}

/* Sets what of each device the settings go by. Returns a reason, or NULL. */
static const char *identify_devices(unsigned count, struct config_device identities[])
{
	unsigned smi_index[CONFIG_MAX_DEVICES];

	if (count > CONFIG_MAX_DEVICES)
		return "there are more devices than can be limited (64)";
	for (unsigned i = 0; i < count; i++)
		identities[i] = (struct config_device){.number = -1};
	if (config_names_devices_by_number(entry_config())) {
		const char *reason = device_order_read(count, smi_index);
		if (reason != NULL)
			return reason;
		for (unsigned i = 0; i < count; i++)
			identities[i].number = (int)smi_index[i];
	}
	if (!config_names_devices_by_uuid(entry_config()) && entry_group()->kind == GROUP_NONE)
		return NULL;
	for (unsigned i = 0; i < count; i++) {
		if (!read_uuids(i, &identities[i]))
			return "a device does not tell its UUID";
	}
	return NULL;
}

static const char *apply_to_devices(unsigned count, const struct config_device identities[])
{
	for (unsigned i = 0; i < count; i++) {
		if (!apply_to_device(i, &identities[i]))
			return "a device does not tell its memory and its number of SMs";
	}
	return NULL;
}

/* In a group a device goes by the UUID of its MIG instance, or else its own. */
static bool name_devices(
	unsigned count, const struct config_device identities[], struct group_reason *ret_reason)
{
	const char *text;

	for (unsigned i = 0; i < count; i++) {
		if (segment_name_device(
			    i, identities[i].uuids[identities[i].uuid_count - 1], &text))
			continue;
		snprintf(ret_reason->text, sizeof(ret_reason->text), "device %u: %s", i, text);
		return false;
	}
	return true;
}

/* Without its group a program is held to its own limits, and must not go on if it has none. */
static bool may_go_on_alone(const struct group_identity *wanted)
{
	const struct config *config = entry_config();
	enum config_source source =
		wanted->setting == NULL ? CONFIG_ENVIRONMENT : wanted->setting->source;
	bool has_limit = config_limits_memory(config) || config_limits_compute(config) ||
			 slice_pending_features() != 0;

	/* A container that nobody limits, but for a policy that may. */
	if (!has_limit && wanted->setting == NULL)
		return true;
	return has_limit && !config_refuses(config, source);
}

/* Before any limit is set, for the group has to know it. False where it cannot be joined and the
 * program must not go on. */
static bool join_group(unsigned count, const struct config_device identities[])
{
	const struct group_identity *wanted = entry_group();
	struct group_reason reason;

	if (wanted->kind == GROUP_NONE ||
		(group_join(wanted, &reason) && name_devices(count, identities, &reason)))
		return true;
	bool may_go_on = may_go_on_alone(wanted);
	log_at(LOG_ERROR, "group", "%s; %s", reason.text,
		may_go_on ? "this process has its limits for itself"
			  : "no GPU for this program, rather than one beside its group's limits");
	return may_go_on;
}

/* `reason` is why the devices could not be identified, or NULL. */
static enum state apply(unsigned count, const struct config_device identities[], const char *reason)
{
	if (reason == NULL && !join_group(count, identities))
		return REFUSED;
	if (reason == NULL)
		reason = apply_to_devices(count, identities);
	if (reason == NULL) {
		for (unsigned i = 0; i < count; i++)
			turns_set(i, &known[i].limits.terms);
		governor_set_device_count(count);
		atomic_store_explicit(&slice_device_count, count, memory_order_release);
		return RESOLVED;
	}
	bool is_fatal = entry_config()->on_error == CONFIG_REFUSE;
	log_at(LOG_ERROR, "slice", "limits cannot be applied: %s%s", reason,
		is_fatal ? "; no GPU for this program (CUSLICE_ON_ERROR=refuse)" : "");
	return is_fatal ? REFUSED : FAILED;
}

/* What the program wished while limits were set. Whoever wishes says so first and then looks
 * whether the devices are known, and here it is the other way round: so one of the two sees to it.
 */
static void heed_wishes(void)
{
	for (unsigned i = 0; i < atomic_load(&slice_device_count); i++) {
		uint64_t bytes = wished_bytes(i);
		uint32_t ppm = wished_share(i);
		if (bytes != LEDGER_UNLIMITED)
			ledger_tighten_quota(i, bytes);
		if (ppm != PPM_WHOLE)
			share_tighten(i, ppm);
	}
}

/* The devices are identified before the lock is taken. That may ask the loader, and a thread that
 * has the loader's lock may wait for ours, in a constructor that uses CUDA. Of several threads
 * that come here at a time each identifies them, and one applies. */
static void resolve(void)
{
	struct config_device identities[CONFIG_MAX_DEVICES];
	int count = 0;

	/* Before the driver's cuInit there is nothing to resolve yet. */
	if (driver.cuDeviceGetCount(&count) != CUDA_SUCCESS || count < 0)
		return;
	const char *reason = identify_devices((unsigned)count, identities);
	lock_take(resolve_lock);
	if (atomic_load_explicit(&state, memory_order_relaxed) == UNRESOLVED) {
		atomic_store(&state, apply((unsigned)count, identities, reason));
		heed_wishes();
	}
	lock_drop(resolve_lock);
}

bool slice_resolve(void)
{
	/* acquire: pairs with the store in resolve() */
	enum state now = atomic_load_explicit(&state, memory_order_acquire);

	if (likely(now != UNRESOLVED))
		return now != REFUSED;
	/* A thread that is cancelled at read() must not leave the lock taken. */
	int cancel_state = cancel_hold();
	resolve();
	cancel_restore(cancel_state);
	return atomic_load_explicit(&state, memory_order_acquire) != REFUSED;
}

COLD bool slice_exists_unknown(CUdevice device)
{
	return slice_resolve() &&
	       (unsigned)device < atomic_load_explicit(&slice_device_count, memory_order_acquire);
}

static bool has_uuid(unsigned device, const uint8_t uuid[CONFIG_UUID_LEN])
{
	CUuuid found;

	if (driver.cuDeviceGetUuid(&found, (CUdevice)device) == CUDA_SUCCESS &&
		memcmp(found.bytes, uuid, CONFIG_UUID_LEN) == 0)
		return true;
	return driver.cuDeviceGetUuid_v2(&found, (CUdevice)device) == CUDA_SUCCESS &&
	       memcmp(found.bytes, uuid, CONFIG_UUID_LEN) == 0;
}

bool slice_find(const uint8_t uuid[CONFIG_UUID_LEN], CUdevice *ret_device)
{
	if (!entry_is_started())
		return false;
	for (unsigned i = 0; slice_exists((CUdevice)i); i++) {
		if (has_uuid(i, uuid)) {
			*ret_device = (CUdevice)i;
			return true;
		}
	}
	return false;
}

static struct limits stricter(struct limits a, const struct limits *b)
{
	if (b->quota_bytes < a.quota_bytes)
		a.quota_bytes = b->quota_bytes;
	if (b->share_ppm < a.share_ppm)
		a.share_ppm = b->share_ppm;
	if (b->burst_ns < a.burst_ns)
		a.burst_ns = b->burst_ns;
	a.terms = turns_stricter(a.terms, &b->terms);
	return a;
}

static bool is_same(const struct limits *a, const struct limits *b)
{
	return a->quota_bytes == b->quota_bytes && a->share_ppm == b->share_ppm &&
	       a->burst_ns == b->burst_ns && turns_are_same(&a->terms, &b->terms);
}

static unsigned apply_again(const struct config *config, unsigned device, bool may_loosen)
{
	static const unsigned changes[] = {
		[SHARE_IN_FULL] = SLICE_CHANGED,
		[SHARE_IN_PART_OF_TIME] = SLICE_CHANGED | SLICE_PART_OF_TIME,
		[SHARE_TOO_LARGE] = SLICE_CHANGED | SLICE_SHARE_TOO_BIG,
	};
	struct limits before = known[device].limits, wanted = limits_of(config, device);

	if (!turns_may_change(device))
		wanted.terms = before.terms;
	struct limits limits = may_loosen ? wanted : stricter(wanted, &before);
	unsigned change = is_same(&limits, &wanted) ? 0 : SLICE_HELD_BACK;
	if (!is_same(&limits, &before)) {
		enum share_room room = set_limits(device, limits);
		bool is_same_share = limits.share_ppm == before.share_ppm;
		change |= changes[is_same_share ? SHARE_IN_FULL : room];
	}
	return change;
}

unsigned slice_apply_again(const struct config *config, bool may_loosen)
{
	unsigned count = atomic_load_explicit(&slice_device_count, memory_order_acquire);
	unsigned change = 0;

	for (unsigned i = 0; i < count; i++)
		change |= apply_again(config, i, may_loosen);
	return change;
}

bool slice_knows_numbers(void)
{
	return atomic_load_explicit(&slice_device_count, memory_order_acquire) == 0 ||
	       known[0].identity.number >= 0;
}

uint64_t slice_quota_of(
	const struct config *config, const struct config_device *identity, uint64_t device_bytes)
{
	uint64_t quota = LEDGER_UNLIMITED;

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key != CONFIG_MEMORY || !config_value_counts(config, value, identity))
			continue;
		uint64_t bytes = units_resolve_size(value->memory, device_bytes);
		quota = bytes < quota ? bytes : quota;
	}
	return quota;
}

/* Keeps a wish for a device that is not known yet. Two threads that wish at a time must both be
 * heard, and the stricter one wins. */
static void wish_bytes(unsigned device, uint64_t bytes)
{
	uint64_t seen = atomic_load(&wishes.quota_bytes[device]);

	while ((seen == 0 || bytes < seen) &&
		!atomic_compare_exchange_weak(&wishes.quota_bytes[device], &seen, bytes))
		;
	atomic_fetch_or(&wishes.features, (unsigned)FEATURE_MEMORY);
}

static void wish_share(unsigned device, uint32_t ppm)
{
	uint32_t seen = atomic_load(&wishes.share_ppm[device]);

	while ((seen == 0 || ppm < seen) &&
		!atomic_compare_exchange_weak(&wishes.share_ppm[device], &seen, ppm))
		;
	atomic_fetch_or(&wishes.features, (unsigned)FEATURE_COMPUTE);
}

bool slice_tighten_memory(unsigned device, uint64_t bytes)
{
	if (device >= CONFIG_MAX_DEVICES)
		return false;
	if (entry_is_started() && (entry_features() & FEATURE_MEMORY) == 0)
		return false;
	wish_bytes(device, bytes);
	if (!entry_is_started() || atomic_load(&state) == UNRESOLVED)
		return true;
	if (!slice_exists((CUdevice)device))
		return false;
	ledger_tighten_quota(device, bytes);
	return true;
}

bool slice_tighten_share(unsigned device, uint32_t ppm)
{
	if (device >= CONFIG_MAX_DEVICES)
		return false;
	if (entry_is_started() && (entry_features() & FEATURE_COMPUTE) == 0)
		return false;
	wish_share(device, ppm);
	if (!entry_is_started() || atomic_load(&state) == UNRESOLVED)
		return true;
	if (!slice_exists((CUdevice)device))
		return false;
	share_tighten(device, ppm);
	return true;
}
