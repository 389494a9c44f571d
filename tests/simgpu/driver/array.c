/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What arrays there can be, and their layout.
 */
#include "array.h"

#include "context.h"

#define PITCH_ALIGN 512u
#define SLICE_ALIGN ((size_t)64 << 10)

#define MAX_WIDTH_1D  131072u
#define MAX_WIDTH_2D  131072u
#define MAX_HEIGHT_2D 65536u
#define MAX_EXTENT_3D 16384u
#define MAX_LAYERED   32768u
#define MAX_LAYERS    2048u

static size_t round_up(size_t value, size_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static bool is_layered(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	return (description->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
}

/* Bytes of one channel, or of the first plane's; 0 for a format that simgpu does not have. */
static size_t channel_bytes(CUarray_format format)
{
	switch ((unsigned)format) {
	case CU_AD_FORMAT_UNSIGNED_INT8:
	case CU_AD_FORMAT_SIGNED_INT8:
	case CU_AD_FORMAT_NV12:
		return 1;
	case CU_AD_FORMAT_UNSIGNED_INT16:
	case CU_AD_FORMAT_SIGNED_INT16:
	case CU_AD_FORMAT_HALF:
		return 2;
	case CU_AD_FORMAT_UNSIGNED_INT32:
	case CU_AD_FORMAT_SIGNED_INT32:
	case CU_AD_FORMAT_FLOAT:
		return 4;
	default:
		return 0;
	}
}

size_t array_element_bytes(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	const bool is_planar = description->Format == CU_AD_FORMAT_NV12;

	return channel_bytes(description->Format) * (is_planar ? 1 : description->NumChannels);
}

static bool is_element_known(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	const unsigned channels = description->NumChannels;

	if (description->Format == CU_AD_FORMAT_NV12)
		return channels == 3 && description->Height % 2 == 0 &&
		       description->Width % 2 == 0 && description->Depth == 0;
	return channel_bytes(description->Format) != 0 &&
	       (channels == 1 || channels == 2 || channels == 4);
}

static bool fits_flags(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	const size_t depth = description->Depth;

	if ((description->Flags & CUDA_ARRAY3D_CUBEMAP) != 0) {
		const bool is_depth_right =
			is_layered(description) && (description->Flags & CUDA_ARRAY3D_LAYERED) != 0
				? depth != 0 && depth % 6 == 0
				: depth == 6;

		return description->Width == description->Height && is_depth_right;
	}
	if ((description->Flags & CUDA_ARRAY3D_LAYERED) != 0)
		return depth != 0;
	if ((description->Flags & CUDA_ARRAY3D_TEXTURE_GATHER) != 0 && depth != 0)
		return false;
	return depth == 0 || description->Height != 0;
}

static bool fits_extents(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	const size_t width = description->Width, height = description->Height;
	const size_t depth = description->Depth;

	if (is_layered(description))
		return width <= MAX_LAYERED && height <= MAX_LAYERED && depth <= MAX_LAYERS;
	if (depth != 0)
		return width <= MAX_EXTENT_3D && height <= MAX_EXTENT_3D && depth <= MAX_EXTENT_3D;
	if (height != 0)
		return width <= MAX_WIDTH_2D && height <= MAX_HEIGHT_2D;
	return width <= MAX_WIDTH_1D;
}

CUresult array_check(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	if (description->Width == 0 || !is_element_known(description) || !fits_flags(description) ||
		!fits_extents(description))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

static size_t halved(size_t extent, unsigned level)
{
	if (extent == 0)
		return 0;
	return extent >> level ? extent >> level : 1;
}

CUDA_ARRAY3D_DESCRIPTOR array_level(const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned level)
{
	CUDA_ARRAY3D_DESCRIPTOR result = *description;

	result.Width = halved(description->Width, level);
	result.Height = halved(description->Height, level);
	if (!is_layered(description))
		result.Depth = halved(description->Depth, level);
	return result;
}

unsigned array_max_levels(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	size_t longest = description->Width;
	unsigned levels = 0;

	if (description->Height > longest)
		longest = description->Height;
	if (!is_layered(description) && description->Depth > longest)
		longest = description->Depth;
	for (; longest; longest >>= 1)
		levels++;
	return levels;
}

struct array_layout array_layout_of(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	struct array_layout layout = {
		.row = description->Width * array_element_bytes(description),
		.rows = description->Height ? description->Height : 1,
		.slices = description->Depth ? description->Depth : 1,
	};
	size_t rows = layout.rows;

	if (description->Format == CU_AD_FORMAT_NV12)
		rows += rows / 2;
	layout.pitch = round_up(layout.row, PITCH_ALIGN);
	layout.slice = layout.pitch * rows;
	if (description->Height != 0)
		layout.slice = round_up(layout.slice, SLICE_ALIGN);
	return layout;
}

size_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned levels)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < levels; i++) {
		const CUDA_ARRAY3D_DESCRIPTOR level = array_level(description, i);
		const struct array_layout layout = array_layout_of(&level);

		bytes += layout.slice * layout.slices;
	}
	return bytes;
}

CUresult array_check_context(const struct array_memory *memory)
{
	if (!handle_is(memory->ctx, HANDLE_CONTEXT) || memory->ctx->id != memory->ctx_id)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	return CUDA_SUCCESS;
}

CUresult array_find(CUarray array, uintptr_t *ret_start)
{
	if (!handle_is(array, HANDLE_ARRAY))
		return CUDA_ERROR_INVALID_HANDLE;
	const CUresult result = array_check_context(&array->memory);

	if (result != CUDA_SUCCESS)
		return result;
	if (array->memory.base == 0)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_start = (uintptr_t)array->memory.base + array->offset;
	return CUDA_SUCCESS;
}
