/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The view by NVML: a device's memory is what its slice has, as cuMemGetInfo tells it. A process
 * that has not used CUDA is told what its settings say; it holds nothing.
 */
#include "driver/nvml.h"
#include "entry/entry_nvml.h"
#include "hooks/hooks.h"
#include "hooks/graph_memory.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"
#include "ledger/ledger.h"
#include "slice/slice.h"

#include <string.h>

/* The thread is in a call of ours: one version may call the other by its symbol, which leads here,
 * and a view of a view would be half of a half. */
static __thread bool is_inside __attribute__((tls_model("initial-exec")));

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* From GPU-01234567-89ab-..., or MIG-... */
static bool parse_uuid(const char *text, uint8_t ret_uuid[CONFIG_UUID_LEN])
{
	unsigned digits = 0;

	memset(ret_uuid, 0, CONFIG_UUID_LEN);
	for (text += strcspn(text, "-"); *text != '\0'; text++) {
		int digit = hex_digit(*text);
		if (*text == '-')
			continue;
		if (digit < 0 || digits == 2 * CONFIG_UUID_LEN)
			return false;
		ret_uuid[digits / 2] = (uint8_t)(ret_uuid[digits / 2] << 4 | digit);
		digits++;
	}
	return digits == 2 * CONFIG_UUID_LEN;
}

/* What the settings go by. NVML's index is nvidia-smi's number. */
static struct config_device identify(nvmlDevice_t device)
{
	struct config_device identity = {.number = -1};
	char text[NVML_UUID_LEN];
	unsigned index;

	if (nvml.nvmlDeviceGetIndex(device, &index) == NVML_SUCCESS && index < CONFIG_MAX_DEVICES)
		identity.number = (int)index;
	if (nvml.nvmlDeviceGetUUID(device, text, sizeof(text)) == NVML_SUCCESS &&
		parse_uuid(text, identity.uuids[0]))
		identity.uuid_count = 1;
	return identity;
}

static void find_quota(const struct config_device *identity, uint64_t total, uint64_t *ret_quota,
	uint64_t *ret_used)
{
	const struct config *config = entry_nvml_config();
	CUdevice cuda_device;

	*ret_used = 0;
	if (identity->uuid_count > 0 && slice_find(identity->uuids[0], &cuda_device)) {
		pending_frees_collect((unsigned)cuda_device);
		pools_settle((unsigned)cuda_device);
		graph_memory_settle((unsigned)cuda_device);
		*ret_quota = ledger_quota((unsigned)cuda_device);
		*ret_used = ledger_used((unsigned)cuda_device);
	} else {
		*ret_quota =
			config != NULL ? slice_quota_of(config, identity, total) : LEDGER_UNLIMITED;
	}
}

/* Bytes, as NVML says; false where the device is not limited, and they stay. */
static bool show_slice(nvmlDevice_t device, unsigned long long *total, unsigned long long *free,
	unsigned long long *used)
{
	const struct config_device identity = identify(device);
	uint64_t quota, held;

	find_quota(&identity, *total, &quota, &held);
	if (quota == LEDGER_UNLIMITED)
		return false;
	*total = smaller(quota, *total);
	*used = smaller(held, *total);
	*free = smaller(*free, *total - *used);
	return true;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
	if (is_inside)
		return nvml.nvmlDeviceGetMemoryInfo(device, memory);
	is_inside = true;
	nvmlReturn_t res = nvml.nvmlDeviceGetMemoryInfo(device, memory);
	is_inside = false;
	if (res == NVML_SUCCESS && memory != NULL)
		(void)show_slice(device, &memory->total, &memory->free, &memory->used);
	return res;
}

/* What the driver reserves for itself is no part of a slice. */
nvmlReturn_t hook_nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
	if (is_inside)
		return nvml.nvmlDeviceGetMemoryInfo_v2(device, memory);
	is_inside = true;
	nvmlReturn_t res = nvml.nvmlDeviceGetMemoryInfo_v2(device, memory);
	is_inside = false;
	if (res == NVML_SUCCESS && memory != NULL &&
		show_slice(device, &memory->total, &memory->free, &memory->used))
		memory->reserved = 0;
	return res;
}
