/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arrays and mipmapped arrays. What one takes is the driver's secret: see hooks/array_costs.h.
 */
#include "base/wipe.h"
#include "driver/driver.h"
#include "hooks/array_costs.h"
#include "hooks/capture_mode.h"
#include "hooks/charge.h"
#include "hooks/hooks.h"
#include "hooks/settle.h"
#include "slice/slice.h"

#include <stdatomic.h>

/* Arrays on their way, and all that ever were: whoever looks at the drop of the free memory must
 * be alone with it. Wiped at fork: in a child no thread of its parent's is on its way. */
static struct traffic {
	atomic_uint under_way, begun;
} * traffic;

bool hooks_array_init(void)
{
	traffic = wipe_alloc(sizeof(*traffic));
	return traffic != NULL;
}

/* The free memory as it was when nothing of this process changed it. */
struct reading {
	bool is_taken;
	unsigned begun;
	uint64_t used_bytes; /* of the ledger */
	uint64_t free_bytes; /* of the device */
};

struct creation {
	struct array_shape shape;
	struct array_cost cost;
	struct charge charge;
	struct reading before;
};

static bool read_free(unsigned device, struct reading *ret_reading)
{
	size_t free_bytes = 0, total_bytes;

	uint64_t leaving_bytes = settle_what_came_back(device);
	ret_reading->begun = atomic_load(&traffic->begun);
	ret_reading->used_bytes = ledger_used(device);
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	restore_capture(mode);
	ret_reading->is_taken =
		res == CUDA_SUCCESS && leaving_bytes == 0 && atomic_load(&traffic->under_way) == 1;
	ret_reading->free_bytes = free_bytes;
	return ret_reading->is_taken;
}

/* Asks the driver of a twin that has no memory of its own, for only those are told of. 0 where it
 * does not know deferred mapping, or not for such an array. */
static uint64_t ask_of_array(const struct array_shape *shape)
{
	CUDA_ARRAY3D_DESCRIPTOR twin = {
		.Width = shape->width,
		.Height = shape->height,
		.Depth = shape->depth,
		.Format = (CUarray_format)shape->format,
		.NumChannels = shape->channels,
		.Flags = shape->flags | CUDA_ARRAY3D_DEFERRED_MAPPING,
	};
	CUDA_ARRAY_MEMORY_REQUIREMENTS requirements = {0};
	CUmipmappedArray mipmap;
	CUarray array;
	CUresult res;

	if (shape->levels > 0) {
		if (driver.cuMipmappedArrayCreate(&mipmap, &twin, shape->levels) != CUDA_SUCCESS)
			return 0;
		res = driver.cuMipmappedArrayGetMemoryRequirements(
			&requirements, mipmap, (CUdevice)shape->device);
		driver.cuMipmappedArrayDestroy(mipmap);
	} else {
		if (driver.cuArray3DCreate_v2(&array, &twin) != CUDA_SUCCESS)
			return 0;
		res = driver.cuArrayGetMemoryRequirements(
			&requirements, array, (CUdevice)shape->device);
		driver.cuArrayDestroy(array);
	}
	return res == CUDA_SUCCESS ? requirements.size : 0;
}

static uint64_t ask_driver(const struct array_shape *shape)
{
	int is_supported = 0;

	if (driver.cuDeviceGetAttribute(&is_supported,
		    CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
		    (CUdevice)shape->device) != CUDA_SUCCESS ||
		is_supported == 0)
		return 0;
	return ask_of_array(shape);
}

/* Reserves what the array will cost as far as that is known, first without a call of the driver.
 * False where the quota has no room. */
static bool reserve(struct creation *creation)
{
	const struct array_shape *shape = &creation->shape;

	array_costs_find(shape, &creation->cost);
	if (!charge_begin(LEDGER_ARRAY, creation->cost.bytes, &creation->charge))
		return false;
	if (!creation->charge.is_counted || creation->cost.knowledge != ARRAY_UNKNOWN)
		return true;
	array_costs_told(shape, ask_driver(shape));
	array_costs_find(shape, &creation->cost);
	return charge_extend(&creation->charge, creation->cost.bytes);
}

/* Returns false where the array is to be refused. */
static bool begin(struct creation *creation)
{
	CUdevice device;

	if (array_is_unbacked(&creation->shape) || driver.cuCtxGetDevice(&device) != CUDA_SUCCESS)
		return true;
	creation->shape.device = (uint32_t)device;
	if (!reserve(creation))
		return false;
	if (!creation->charge.is_counted)
		return true;
	atomic_fetch_add(&traffic->under_way, 1);
	atomic_fetch_add(&traffic->begun, 1);
	if (creation->cost.knowledge != ARRAY_SETTLED)
		read_free((unsigned)device, &creation->before);
	return true;
}

/* What the array costs, after the driver made it. */
static uint64_t cost_now(struct creation *creation)
{
	const struct reading *before = &creation->before;
	unsigned device = creation->shape.device;
	struct reading after;

	if (!before->is_taken || !read_free(device, &after) || after.begun != before->begun ||
		after.used_bytes != before->used_bytes)
		return creation->cost.bytes;
	return array_costs_saw_drop(
		&creation->shape, (int64_t)(before->free_bytes - after.free_bytes));
}

/* The driver has answered with `res` and `handle`. False where it is to be undone, for the quota
 * has no room for what it took. */
static bool end(struct creation *creation, CUresult res, const void *handle)
{
	struct charge *charge = &creation->charge;
	uint64_t bytes = creation->cost.bytes;

	if (!charge->is_counted)
		return true;
	if (res == CUDA_SUCCESS)
		bytes = cost_now(creation);
	atomic_fetch_sub(&traffic->under_way, 1);
	ledger_shrink(&charge->reservation, ledger_round(bytes));
	return charge_end(charge, res, (uintptr_t)handle, bytes);
}

static CUresult end_array(
	struct creation *creation, CUresult res, CUarray array, CUarray *ret_array)
{
	if (!end(creation, res, array)) {
		driver.cuArrayDestroy(array);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (res == CUDA_SUCCESS)
		*ret_array = array;
	return res;
}

/* What the descriptions of all versions have. */
#define PLANE_SHAPE(from)                                                                     \
	.width = (from)->Width, .height = (from)->Height, .format = (uint32_t)(from)->Format, \
	.channels = (from)->NumChannels
#define SPACE_SHAPE(from) PLANE_SHAPE(from), .depth = (from)->Depth, .flags = (from)->Flags

CUresult CUDAAPI hook_cuArrayCreate_v2(CUarray *ret_array, const CUDA_ARRAY_DESCRIPTOR *description)
{
	struct creation creation = {0};
	CUarray array = NULL;

	if (ret_array == NULL || description == NULL)
		return driver.cuArrayCreate_v2(ret_array, description);
	creation.shape = (struct array_shape){PLANE_SHAPE(description)};
	if (!begin(&creation))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res;
	do
		res = driver.cuArrayCreate_v2(&array, description);
	while (charge_again(&creation.charge, res));
	return end_array(&creation, res, array, ret_array);
}

CUresult CUDAAPI hook_cuArrayCreate(CUarray *ret_array, const CUDA_ARRAY_DESCRIPTOR_v1 *description)
{
	struct creation creation = {0};
	CUarray array = NULL;

	if (ret_array == NULL || description == NULL)
		return driver.cuArrayCreate(ret_array, description);
	creation.shape = (struct array_shape){PLANE_SHAPE(description)};
	if (!begin(&creation))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res;
	do
		res = driver.cuArrayCreate(&array, description);
	while (charge_again(&creation.charge, res));
	return end_array(&creation, res, array, ret_array);
}

CUresult CUDAAPI hook_cuArray3DCreate_v2(
	CUarray *ret_array, const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	struct creation creation = {0};
	CUarray array = NULL;

	if (ret_array == NULL || description == NULL)
		return driver.cuArray3DCreate_v2(ret_array, description);
	creation.shape = (struct array_shape){SPACE_SHAPE(description)};
	if (!begin(&creation))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res;
	do
		res = driver.cuArray3DCreate_v2(&array, description);
	while (charge_again(&creation.charge, res));
	return end_array(&creation, res, array, ret_array);
}

CUresult CUDAAPI hook_cuArray3DCreate(
	CUarray *ret_array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *description)
{
	struct creation creation = {0};
	CUarray array = NULL;

	if (ret_array == NULL || description == NULL)
		return driver.cuArray3DCreate(ret_array, description);
	creation.shape = (struct array_shape){SPACE_SHAPE(description)};
	if (!begin(&creation))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res;
	do
		res = driver.cuArray3DCreate(&array, description);
	while (charge_again(&creation.charge, res));
	return end_array(&creation, res, array, ret_array);
}

CUresult CUDAAPI hook_cuMipmappedArrayCreate(CUmipmappedArray *ret_mipmap,
	const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned int level_count)
{
	struct creation creation = {0};
	CUmipmappedArray mipmap = NULL;

	if (ret_mipmap == NULL || description == NULL)
		return driver.cuMipmappedArrayCreate(ret_mipmap, description, level_count);
	creation.shape = (struct array_shape){
		SPACE_SHAPE(description), .levels = level_count > 0 ? level_count : 1};
	if (!begin(&creation))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res;
	do
		res = driver.cuMipmappedArrayCreate(&mipmap, description, level_count);
	while (charge_again(&creation.charge, res));
	if (!end(&creation, res, mipmap)) {
		driver.cuMipmappedArrayDestroy(mipmap);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (res == CUDA_SUCCESS)
		*ret_mipmap = mipmap;
	return res;
}

static CUresult end_destroy(bool is_ours, const struct holding *holding, CUresult res)
{
	if (is_ours && res == CUDA_SUCCESS)
		ledger_give_back(holding);
	else if (is_ours)
		ledger_put_back(holding);
	return res;
}

/* Levels, planes and arrays over external memory have no entry, and pass. */
CUresult CUDAAPI hook_cuArrayDestroy(CUarray array)
{
	struct holding holding;
	bool is_ours = ledger_take_out(ledger_key(LEDGER_ARRAY, (uintptr_t)array), &holding);

	return end_destroy(is_ours, &holding, driver.cuArrayDestroy(array));
}

CUresult CUDAAPI hook_cuMipmappedArrayDestroy(CUmipmappedArray mipmap)
{
	struct holding holding;
	bool is_ours = ledger_take_out(ledger_key(LEDGER_ARRAY, (uintptr_t)mipmap), &holding);

	return end_destroy(is_ours, &holding, driver.cuMipmappedArrayDestroy(mipmap));
}
