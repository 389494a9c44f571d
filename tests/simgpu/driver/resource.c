/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Division of SMs. Where cuda.h leaves open what comes out, the choice is said here.
 */
#include "resource.h"

#include <stdatomic.h>
#include <string.h>

#include "entry.h"

#define MAGIC 0x51b6ca11u
/* SMs come in pairs that share a scheduler; no partition is finer. */
#define PAIR            2u
#define LARGEST_CLUSTER 16u

/* What is behind the type of a CUdevResource, in the padding. */
struct hidden {
	uint32_t magic;
	int32_t device;
	uint64_t split; /* which call made it; 0: no split */
	uint32_t alignment;
	uint32_t reserved;
	uint64_t sms[RESOURCE_SM_WORDS];
};
_Static_assert(sizeof(struct hidden) <= sizeof(((CUdevResource *)NULL)->_internal_padding),
	"a resource has room for its SMs");

/* What partitions of a device must be multiples of, and how small they may be. */
struct grain {
	uint32_t least, step;
};

static _Atomic uint64_t last_split;

uint32_t share_count(const struct sm_share *share)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < RESOURCE_SM_WORDS; i++)
		count += (uint32_t)__builtin_popcountll(share->sms[i]);
	return count;
}

static struct grain grain_of(const struct device *device, unsigned flags)
{
	const uint32_t major = device->info->cc_major;
	struct grain grain = {.least = 8, .step = 8};

	if (major < 9)
		grain = (struct grain){.least = major == 8 ? 4 : PAIR, .step = PAIR};
	if (flags & CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING)
		grain = (struct grain){.least = PAIR, .step = PAIR};
	if (flags & CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE)
		grain = (struct grain){.least = LARGEST_CLUSTER, .step = LARGEST_CLUSTER};
	return grain;
}

struct sm_share share_of_device(const struct device *device)
{
	struct sm_share share = {.alignment = grain_of(device, 0).step};

	for (uint32_t sm = 0; sm < device->sm_count && sm < RESOURCE_MAX_SMS; sm++)
		share.sms[sm / 64] |= UINT64_C(1) << sm % 64;
	return share;
}

static void write_resource(const struct device *device, const struct sm_share *share,
	uint64_t split, CUdevResource *ret_resource)
{
	struct hidden hidden = {
		.magic = MAGIC,
		.device = device->index,
		.split = split,
		.alignment = share->alignment,
	};
	const uint32_t count = share_count(share);

	memset(ret_resource, 0, sizeof(*ret_resource));
	if (count == 0)
		return;
	memcpy(hidden.sms, share->sms, sizeof(hidden.sms));
	memcpy(ret_resource->_internal_padding, &hidden, sizeof(hidden));
	ret_resource->type = CU_DEV_RESOURCE_TYPE_SM;
	ret_resource->sm.smCount = count;
	ret_resource->sm.minSmPartitionSize = grain_of(device, 0).least;
	ret_resource->sm.smCoscheduledAlignment = share->alignment;
}

CUresult resource_describe(
	const struct device *device, const struct sm_share *share, CUdevResource *ret_resource)
{
	if (device->info->sm_count > RESOURCE_MAX_SMS)
		return CUDA_ERROR_NOT_SUPPORTED;
	write_resource(device, share, 0, ret_resource);
	return CUDA_SUCCESS;
}

static const struct device *device_of_index(int index)
{
	for (int i = 0; i < devices_count(); i++) {
		if (device_of(i)->index == index)
			return device_of(i);
	}
	return NULL;
}

/* Reads what a resource stands for.
 * Returns  CUDA_ERROR_INVALID_RESOURCE_TYPE if it is not one of SMs, CUDA_ERROR_INVALID_VALUE if
 *          the driver did not make it
 */
static CUresult read_resource(const CUdevResource *resource, struct hidden *ret_hidden)
{
	if (!resource)
		return CUDA_ERROR_INVALID_VALUE;
	if (resource->type != CU_DEV_RESOURCE_TYPE_SM)
		return CUDA_ERROR_INVALID_RESOURCE_TYPE;
	memcpy(ret_hidden, resource->_internal_padding, sizeof(*ret_hidden));
	if (ret_hidden->magic != MAGIC || !device_of_index(ret_hidden->device))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDevResource(CUdevice dev, CUdevResource *resource, CUdevResourceType type)
{
	ENTER_SINCE(12040, cuDeviceGetDevResource);
	const struct device *device = device_of(dev);

	if (!resource)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	if (type != CU_DEV_RESOURCE_TYPE_SM)
		return CUDA_ERROR_INVALID_RESOURCE_TYPE;
	const struct sm_share share = share_of_device(device);

	return resource_describe(device, &share, resource);
}

/* Takes the first `count` SMs out of `rest`. */
static struct sm_share take(struct sm_share *rest, uint32_t count, uint32_t alignment)
{
	struct sm_share taken = {.alignment = alignment};

	for (uint32_t sm = 0; sm < RESOURCE_MAX_SMS && count > 0; sm++) {
		const uint64_t bit = UINT64_C(1) << sm % 64;

		if (!(rest->sms[sm / 64] & bit))
			continue;
		rest->sms[sm / 64] &= ~bit;
		taken.sms[sm / 64] |= bit;
		count--;
	}
	return taken;
}

/* How many SMs a group has; 0 where not even one fits. */
static uint32_t group_size(
	const struct device *device, unsigned flags, uint32_t wanted, uint32_t available)
{
	const struct grain grain = grain_of(device, flags);
	const uint32_t least = wanted > grain.least ? wanted : grain.least;
	const uint32_t size = (least + grain.step - 1) / grain.step * grain.step;

	return size <= available ? size : 0;
}

static bool are_split_flags(const struct device *device, unsigned flags)
{
	const unsigned known = CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING |
			       CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE;

	/* One wants clusters as large as they can be, the other none. */
	if ((flags & ~known) || flags == known)
		return false;
	return !(flags & CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE) ||
	       device->info->cc_major >= 9;
}

static void split_into(const struct device *device, struct sm_share *rest, CUdevResource *result,
	unsigned groups, uint32_t size, uint32_t alignment, uint64_t split)
{
	for (unsigned i = 0; i < groups; i++) {
		const struct sm_share group = take(rest, size, alignment);

		write_resource(device, &group, split, &result[i]);
	}
}

/* Groups are made of neighbours, from the first SM on. What is left keeps no alignment but that of
 * pairs. */
CUresult cuDevSmResourceSplitByCount(CUdevResource *result, unsigned int *nbGroups,
	const CUdevResource *input, CUdevResource *remaining, unsigned int useFlags,
	unsigned int minCount)
{
	struct hidden from;
	struct sm_share rest = {.alignment = PAIR};

	ENTER_SINCE(12040, cuDevSmResourceSplitByCount);
	if (!nbGroups || (result && *nbGroups == 0))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult read = read_resource(input, &from);

	if (read != CUDA_SUCCESS)
		return read;
	const struct device *device = device_of_index(from.device);

	memcpy(rest.sms, from.sms, sizeof(rest.sms));
	const uint32_t available = share_count(&rest);

	if (!are_split_flags(device, useFlags) || minCount > available)
		return CUDA_ERROR_INVALID_VALUE;
	const uint32_t size = group_size(device, useFlags, minCount, available);

	/* What a split made has to become a green context before it is split again. */
	if (from.split || size == 0)
		return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
	unsigned groups = available / size;

	if (result && *nbGroups < groups)
		groups = *nbGroups;
	*nbGroups = groups;
	if (!result)
		return CUDA_SUCCESS;
	const uint64_t split = atomic_fetch_add(&last_split, 1) + 1;

	split_into(device, &rest, result, groups, size, grain_of(device, useFlags).step, split);
	if (remaining)
		write_resource(device, &rest, split, remaining);
	return CUDA_SUCCESS;
}

/* Adds one resource to the descriptor; the first decides of which device and which split it is. */
static CUresult add_resource(CUdevResourceDesc desc, const struct hidden *first, bool is_first,
	const struct hidden *resource)
{
	const bool is_of_same_split = resource->split && resource->split == first->split;

	if (!is_first && (resource->device != first->device || !is_of_same_split))
		return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
	for (uint32_t i = 0; i < RESOURCE_SM_WORDS; i++) {
		if (desc->share.sms[i] & resource->sms[i])
			return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
		desc->share.sms[i] |= resource->sms[i];
	}
	if (resource->alignment < desc->share.alignment)
		desc->share.alignment = resource->alignment;
	return CUDA_SUCCESS;
}

CUresult cuDevResourceGenerateDesc(
	CUdevResourceDesc *phDesc, CUdevResource *resources, unsigned int nbResources)
{
	struct hidden first = {0}, resource;
	CUresult result = CUDA_SUCCESS;

	ENTER_SINCE(12040, cuDevResourceGenerateDesc);
	if (!phDesc || !resources || nbResources == 0)
		return CUDA_ERROR_INVALID_VALUE;
	CUdevResourceDesc desc = handle_create(HANDLE_DESCRIPTOR, sizeof(*desc));

	if (!desc)
		return CUDA_ERROR_OUT_OF_MEMORY;
	desc->share.alignment = UINT32_MAX;
	for (unsigned i = 0; i < nbResources && result == CUDA_SUCCESS; i++) {
		result = read_resource(&resources[i], &resource);
		if (result == CUDA_SUCCESS && i == 0)
			first = resource;
		if (result == CUDA_SUCCESS)
			result = add_resource(desc, &first, i == 0, &resource);
	}
	if (result != CUDA_SUCCESS) {
		handle_recycle(&desc->handle, HANDLE_DESCRIPTOR);
		return result;
	}
	desc->device = device_of_index(first.device);
	handle_keep(&desc->handle);
	*phDesc = desc;
	return CUDA_SUCCESS;
}
