/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a thread asks for through cuslice.h at the very time at which another finds the devices.
 */
#include "unit.h"
#include "base/units.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "group/group.h"
#include "group/segment.h"
#include "ledger/ledger.h"
#include "slice/device_order.h"
#include "slice/share.h"
#include "slice/slice.h"
#include "slice/turns.h"
#include "slice/watch.h"

#include <pthread.h>

#define MIB       (UINT64_C(1) << 20)
#define SHARE_PPM 100000u

struct driver driver, driver_real;

static const struct config config;
static const struct group_identity nobodys_group;
static uint64_t quota_bytes[CONFIG_MAX_DEVICES];
static uint32_t share_ppm[CONFIG_MAX_DEVICES];

bool entry_is_started(void)
{
	return true;
}

unsigned entry_features(void)
{
	return FEATURE_MEMORY | FEATURE_COMPUTE;
}

const struct config *entry_config(void)
{
	return &config;
}

const struct group_identity *entry_group(void)
{
	return &nobodys_group;
}

bool group_join(const struct group_identity *group, struct group_reason *ret_reason)
{
	(void)group;
	(void)ret_reason;
	return false;
}

bool segment_name_device(unsigned device, const unsigned char uuid[16], const char **ret_reason)
{
	(void)device;
	(void)uuid;
	(void)ret_reason;
	return false;
}

const char *device_order_read(unsigned count, unsigned ret_index[])
{
	(void)count;
	(void)ret_index;
	return "not asked for";
}

void governor_set_burst(unsigned device, uint64_t burst_ns)
{
	(void)device;
	(void)burst_ns;
}

void governor_set_device_count(unsigned count)
{
	(void)count;
}

void ledger_set_quota(unsigned device, uint64_t bytes)
{
	quota_bytes[device] = bytes;
}

void ledger_tighten_quota(unsigned device, uint64_t bytes)
{
	if (bytes < quota_bytes[device])
		quota_bytes[device] = bytes;
}

unsigned share_whole_sms(unsigned device, unsigned told)
{
	(void)device;
	return told;
}

void share_set(unsigned device, uint32_t ppm, enum config_mechanism asked, unsigned sms)
{
	(void)asked;
	(void)sms;
	share_ppm[device] = ppm;
}

void share_tighten(unsigned device, uint32_t ppm)
{
	if (ppm < share_ppm[device])
		share_ppm[device] = ppm;
}

enum share_room share_change(unsigned device, uint32_t ppm)
{
	share_ppm[device] = ppm;
	return SHARE_IN_FULL;
}

struct governor_terms turns_terms_of(
	const struct config *settings, const struct config_device *identity, uint32_t ppm)
{
	(void)settings;
	(void)identity;
	(void)ppm;
	return (struct governor_terms){0};
}

struct governor_terms turns_stricter(struct governor_terms a, const struct governor_terms *b)
{
	(void)b;
	return a;
}

bool turns_are_same(const struct governor_terms *a, const struct governor_terms *b)
{
	(void)a;
	(void)b;
	return true;
}

bool turns_may_change(unsigned device)
{
	(void)device;
	return false;
}

void turns_change(unsigned device, const struct governor_terms *terms)
{
	(void)device;
	(void)terms;
}

bool watch_init(void)
{
	return true;
}

static void *wish(void *unused)
{
	assert_true(slice_tighten_memory(0, MIB));
	assert_true(slice_tighten_share(1, SHARE_PPM));
	return unused;
}

/* The limits of all devices are set, and nobody knows yet that there are any. */
void turns_set(unsigned device, const struct governor_terms *terms)
{
	pthread_t thread;

	(void)terms;
	if (device != 1)
		return;
	assert_int_equal(pthread_create(&thread, NULL, wish, NULL), 0);
	pthread_join(thread, NULL);
}

static CUresult CUDAAPI get_count(int *ret_count)
{
	*ret_count = 2;
	return CUDA_SUCCESS;
}

static CUresult CUDAAPI total_mem(size_t *ret_bytes, CUdevice device)
{
	(void)device;
	*ret_bytes = 1024 * MIB;
	return CUDA_SUCCESS;
}

static CUresult CUDAAPI get_attribute(int *ret_value, CUdevice_attribute attribute, CUdevice device)
{
	(void)attribute;
	(void)device;
	*ret_value = 132;
	return CUDA_SUCCESS;
}

static void wish_while_devices_are_found_is_heard(void **state)
{
	(void)state;
	driver.cuDeviceGetCount = get_count;
	driver.cuDeviceTotalMem_v2 = total_mem;
	driver_real.cuDeviceGetAttribute = get_attribute;
	assert_true(slice_init() && slice_resolve());
	assert_true(slice_exists(0) && slice_exists(1) && !slice_exists(2));
	assert_int_equal(quota_bytes[0], MIB);
	assert_int_equal(quota_bytes[1], LEDGER_UNLIMITED);
	assert_int_equal(share_ppm[0], PPM_WHOLE);
	assert_int_equal(share_ppm[1], SHARE_PPM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wish_while_devices_are_found_is_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
