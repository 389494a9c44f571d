/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of arrays and mipmapped arrays.
 */
#include "array.h"
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "memory.h"

#define NO_MEMORY  (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING)
#define TILE_BYTES 65536u

/* Takes what `levels` levels of the array need in the current context. */
static CUresult take_memory(const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned levels,
	struct array_memory *ret_memory)
{
	CUcontext ctx;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result != CUDA_SUCCESS)
		return result;
	*ret_memory = (struct array_memory){.ctx = ctx, .ctx_id = ctx->id};
	if ((description->Flags & NO_MEMORY) != 0)
		return CUDA_SUCCESS;
	return memory_reserve(
		ctx, MEMORY_ARRAY, array_bytes(description, levels), 0, false, &ret_memory->base);
}

static CUresult give_memory(const struct array_memory *memory)
{
	CUresult result = array_check_context(memory);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result == CUDA_SUCCESS)
		result = context_wait(memory->ctx);
	if (result == CUDA_SUCCESS && memory->base)
		result = memory_release(memory->base);
	return result;
}

static CUresult create(CUarray *ret_array, const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	struct array_memory memory;
	CUresult result = array_check(description);

	if (!ret_array)
		return CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		result = take_memory(description, 1, &memory);
	if (result != CUDA_SUCCESS)
		return result;
	CUarray array = handle_create(HANDLE_ARRAY, sizeof(*array));

	if (!array) {
		give_memory(&memory);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	array->description = *description;
	array->layout = array_layout_of(description);
	array->memory = memory;
	*ret_array = array;
	return CUDA_SUCCESS;
}

/* The members that all descriptions have. */
#define PLANE_MEMBERS(from)                                                         \
	.Width = (from)->Width, .Height = (from)->Height, .Format = (from)->Format, \
	.NumChannels = (from)->NumChannels
#define SPACE_MEMBERS(from) PLANE_MEMBERS(from), .Depth = (from)->Depth, .Flags = (from)->Flags

CUresult cuArrayCreate_v2(CUarray *pHandle, const CUDA_ARRAY_DESCRIPTOR *pAllocateArray)
{
	ENTER(cuArrayCreate_v2);
	if (!pAllocateArray)
		return CUDA_ERROR_INVALID_VALUE;
	return create(pHandle, &(CUDA_ARRAY3D_DESCRIPTOR){PLANE_MEMBERS(pAllocateArray)});
}

CUresult cuArrayCreate(CUarray *pHandle, const CUDA_ARRAY_DESCRIPTOR_v1 *pAllocateArray)
{
	ENTER(cuArrayCreate);
	if (!pAllocateArray)
		return CUDA_ERROR_INVALID_VALUE;
	return create(pHandle, &(CUDA_ARRAY3D_DESCRIPTOR){PLANE_MEMBERS(pAllocateArray)});
}

CUresult cuArray3DCreate_v2(CUarray *pHandle, const CUDA_ARRAY3D_DESCRIPTOR *pAllocateArray)
{
	ENTER(cuArray3DCreate_v2);
	if (!pAllocateArray)
		return CUDA_ERROR_INVALID_VALUE;
	return create(pHandle, pAllocateArray);
}

CUresult cuArray3DCreate(CUarray *pHandle, const CUDA_ARRAY3D_DESCRIPTOR_v1 *pAllocateArray)
{
	ENTER(cuArray3DCreate);
	if (!pAllocateArray)
		return CUDA_ERROR_INVALID_VALUE;
	return create(pHandle, &(CUDA_ARRAY3D_DESCRIPTOR){SPACE_MEMBERS(pAllocateArray)});
}

#define DESCRIBE(symbol, type, members)                                    \
	CUresult symbol(type *pArrayDescriptor, CUarray hArray)            \
	{                                                                  \
		ENTER(symbol);                                             \
		if (!pArrayDescriptor)                                     \
			return CUDA_ERROR_INVALID_VALUE;                   \
		if (!handle_is(hArray, HANDLE_ARRAY))                      \
			return CUDA_ERROR_INVALID_HANDLE;                  \
		*pArrayDescriptor = (type){members(&hArray->description)}; \
		return CUDA_SUCCESS;                                       \
	}

DESCRIBE(cuArrayGetDescriptor_v2, CUDA_ARRAY_DESCRIPTOR, PLANE_MEMBERS)
DESCRIBE(cuArray3DGetDescriptor_v2, CUDA_ARRAY3D_DESCRIPTOR, SPACE_MEMBERS)

/* The 2.0 functions know 32-bit extents, which are enough for every array. */
#undef PLANE_MEMBERS
#define PLANE_MEMBERS(from)                                                   \
	.Width = (unsigned)(from)->Width, .Height = (unsigned)(from)->Height, \
	.Format = (from)->Format, .NumChannels = (from)->NumChannels
#undef SPACE_MEMBERS
#define SPACE_MEMBERS(from) \
	PLANE_MEMBERS(from), .Depth = (unsigned)(from)->Depth, .Flags = (from)->Flags
DESCRIBE(cuArrayGetDescriptor, CUDA_ARRAY_DESCRIPTOR_v1, PLANE_MEMBERS)
DESCRIBE(cuArray3DGetDescriptor, CUDA_ARRAY3D_DESCRIPTOR_v1, SPACE_MEMBERS)

/* Ends the parts of what is destroyed. */
static void retire_parts(CUarray part)
{
	while (part) {
		CUarray next = part->next_part;

		handle_recycle(&part->handle, HANDLE_ARRAY);
		part = next;
	}
}

CUresult cuArrayDestroy(CUarray hArray)
{
	ENTER(cuArrayDestroy);
	if (!handle_is(hArray, HANDLE_ARRAY) || hArray->is_part)
		return CUDA_ERROR_INVALID_HANDLE;
	const CUresult result = give_memory(&hArray->memory);

	/* The handle of one that died with its context ends too. */
	if (result != CUDA_SUCCESS && result != CUDA_ERROR_CONTEXT_IS_DESTROYED)
		return result;
	driver_lock();
	retire_parts(hArray->parts);
	handle_recycle(&hArray->handle, HANDLE_ARRAY);
	driver_unlock();
	return result;
}

/* Gives the part of that number, made at the first time. The driver lock is held. */
static CUresult find_part(CUarray *parts, unsigned number,
	const CUDA_ARRAY3D_DESCRIPTOR *description, const struct array_memory *memory,
	CUarray *ret_array)
{
	CUarray part = *parts;

	while (part && part->part != number)
		part = part->next_part;
	if (!part) {
		part = handle_create(HANDLE_ARRAY, sizeof(*part));
		if (!part)
			return CUDA_ERROR_OUT_OF_MEMORY;
		part->description = *description;
		part->layout = array_layout_of(description);
		part->memory = *memory;
		part->part = number;
		part->is_part = true;
		part->next_part = *parts;
		*parts = part;
	}
	*ret_array = part;
	return CUDA_SUCCESS;
}

CUresult cuArrayGetPlane(CUarray *pPlaneArray, CUarray hArray, unsigned int planeIdx)
{
	ENTER(cuArrayGetPlane);
	if (!handle_is(hArray, HANDLE_ARRAY))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pPlaneArray || hArray->description.Format != CU_AD_FORMAT_NV12 || planeIdx > 1)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_ARRAY3D_DESCRIPTOR plane = hArray->description;

	plane.Format = CU_AD_FORMAT_UNSIGNED_INT8;
	plane.NumChannels = planeIdx + 1;
	plane.Width >>= planeIdx;
	plane.Height >>= planeIdx;
	driver_lock();
	const CUresult result =
		find_part(&hArray->parts, planeIdx, &plane, &hArray->memory, pPlaneArray);

	if (result == CUDA_SUCCESS && planeIdx == 1)
		(*pPlaneArray)->offset = hArray->layout.pitch * hArray->layout.rows;
	driver_unlock();
	return result;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *pHandle,
	const CUDA_ARRAY3D_DESCRIPTOR *pMipmappedArrayDesc, unsigned int numMipmapLevels)
{
	struct array_memory memory;

	ENTER(cuMipmappedArrayCreate);
	if (!pHandle || !pMipmappedArrayDesc)
		return CUDA_ERROR_INVALID_VALUE;
	const unsigned most = array_max_levels(pMipmappedArrayDesc);
	const unsigned wanted = numMipmapLevels ? numMipmapLevels : 1;
	const unsigned levels = wanted < most ? wanted : most;
	CUresult result = array_check(pMipmappedArrayDesc);

	if (result == CUDA_SUCCESS)
		result = take_memory(pMipmappedArrayDesc, levels, &memory);
	if (result != CUDA_SUCCESS)
		return result;
	CUmipmappedArray mipmap = handle_create(HANDLE_MIPMAP, sizeof(*mipmap));

	if (!mipmap) {
		give_memory(&memory);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	mipmap->description = *pMipmappedArrayDesc;
	mipmap->levels = levels;
	mipmap->memory = memory;
	*pHandle = mipmap;
	return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(
	CUarray *pLevelArray, CUmipmappedArray hMipmappedArray, unsigned int level)
{
	ENTER(cuMipmappedArrayGetLevel);
	if (!handle_is(hMipmappedArray, HANDLE_MIPMAP))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pLevelArray || level >= hMipmappedArray->levels)
		return CUDA_ERROR_INVALID_VALUE;
	const CUDA_ARRAY3D_DESCRIPTOR description =
		array_level(&hMipmappedArray->description, level);

	driver_lock();
	const CUresult result = find_part(&hMipmappedArray->parts, level, &description,
		&hMipmappedArray->memory, pLevelArray);

	if (result == CUDA_SUCCESS)
		(*pLevelArray)->offset = array_bytes(&hMipmappedArray->description, level);
	driver_unlock();
	return result;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmappedArray)
{
	ENTER(cuMipmappedArrayDestroy);
	if (!handle_is(hMipmappedArray, HANDLE_MIPMAP))
		return CUDA_ERROR_INVALID_HANDLE;
	const CUresult result = give_memory(&hMipmappedArray->memory);

	/* The handle of one that died with its context ends too. */
	if (result != CUDA_SUCCESS && result != CUDA_ERROR_CONTEXT_IS_DESTROYED)
		return result;
	driver_lock();
	retire_parts(hMipmappedArray->parts);
	handle_recycle(&hMipmappedArray->handle, HANDLE_MIPMAP);
	driver_unlock();
	return result;
}

/* As cuda.h says, only those with deferred mapping tell. */
static CUresult tell_requirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *ret_requirements,
	const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned levels, CUdevice device)
{
	if (!ret_requirements || !device_of(device) ||
		(description->Flags & CUDA_ARRAY3D_DEFERRED_MAPPING) == 0)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_requirements = (CUDA_ARRAY_MEMORY_REQUIREMENTS){
		.size = array_bytes(description, levels),
		.alignment = TILE_BYTES,
	};
	return CUDA_SUCCESS;
}

CUresult cuArrayGetMemoryRequirements(
	CUDA_ARRAY_MEMORY_REQUIREMENTS *memoryRequirements, CUarray array, CUdevice device)
{
	ENTER(cuArrayGetMemoryRequirements);
	if (!handle_is(array, HANDLE_ARRAY))
		return CUDA_ERROR_INVALID_VALUE;
	return tell_requirements(memoryRequirements, &array->description, 1, device);
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *memoryRequirements,
	CUmipmappedArray mipmap, CUdevice device)
{
	ENTER(cuMipmappedArrayGetMemoryRequirements);
	if (!handle_is(mipmap, HANDLE_MIPMAP))
		return CUDA_ERROR_INVALID_VALUE;
	return tell_requirements(memoryRequirements, &mipmap->description, mipmap->levels, device);
}

/* Square tiles of 64 KiB, twice as wide as high where that does not come out even. */
static CUresult tell_sparse(CUDA_ARRAY_SPARSE_PROPERTIES *ret_properties,
	const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned levels)
{
	unsigned width = 256, height = 256, level = 0;

	if (!ret_properties || (description->Flags & CUDA_ARRAY3D_SPARSE) == 0)
		return CUDA_ERROR_INVALID_VALUE;
	while (width * height * array_element_bytes(description) > TILE_BYTES) {
		if (height == width)
			height /= 2;
		else
			width /= 2;
	}
	*ret_properties = (CUDA_ARRAY_SPARSE_PROPERTIES){.tileExtent = {width, height, 1}};
	while (level < levels && array_level(description, level).Width >= width &&
		array_level(description, level).Height >= height)
		level++;
	ret_properties->miptailFirstLevel = levels > 1 ? level : 0;
	if (levels > 1)
		ret_properties->miptailSize =
			array_bytes(description, levels) - array_bytes(description, level);
	return CUDA_SUCCESS;
}

CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES *sparseProperties, CUarray array)
{
	ENTER(cuArrayGetSparseProperties);
	if (!handle_is(array, HANDLE_ARRAY) || array->is_part)
		return CUDA_ERROR_INVALID_VALUE;
	return tell_sparse(sparseProperties, &array->description, 1);
}

CUresult cuMipmappedArrayGetSparseProperties(
	CUDA_ARRAY_SPARSE_PROPERTIES *sparseProperties, CUmipmappedArray mipmap)
{
	ENTER(cuMipmappedArrayGetSparseProperties);
	if (!handle_is(mipmap, HANDLE_MIPMAP))
		return CUDA_ERROR_INVALID_VALUE;
	return tell_sparse(sparseProperties, &mipmap->description, mipmap->levels);
}
