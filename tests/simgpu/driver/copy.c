/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Copies: plain, 2D, 3D and between devices, of linear memory and of arrays. Every form becomes a
 * 3D copy.
 */
#include "copy.h"

#include "array.h"
#include "context.h"
#include "entry.h"
#include "memory.h"
#include "stream.h"
#include "work.h"

/* One side of a copy. */
struct side {
	uintptr_t start;
	size_t pitch, slice;
	bool is_host; /* it is said to be; else it is what it is found to be */
	bool is_device;
	bool is_pageable;
	bool is_synchronous;
	const struct device *on;          /* whose memory it is; NULL: none's */
	const struct array_layout *array; /* of a side that is one */
};

static CUresult find_array(CUarray array, struct side *ret_side)
{
	const CUresult result = array_find(array, &ret_side->start);

	if (result == CUDA_SUCCESS) {
		ret_side->array = &array->layout;
		ret_side->on = array->memory.ctx->device;
	}
	return result;
}

static CUresult find_side(CUmemorytype type, const void *host, CUdeviceptr device, CUarray array,
	struct side *ret_side)
{
	*ret_side = (struct side){0};
	switch (type) {
	case CU_MEMORYTYPE_ARRAY:
		return find_array(array, ret_side);
	case CU_MEMORYTYPE_HOST:
		ret_side->start = (uintptr_t)host;
		ret_side->is_host = true;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_DEVICE:
		ret_side->start = (uintptr_t)device;
		ret_side->is_device = true;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_UNIFIED:
		ret_side->start = (uintptr_t)device;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

/* As place_side(), of an array, which has its own pitch. */
static CUresult place_array(
	struct side *side, const CUDA_MEMCPY3D *copy, size_t x, size_t y, size_t z)
{
	const struct array_layout *layout = side->array;

	if (x > layout->row || copy->WidthInBytes > layout->row - x || y > layout->rows ||
		copy->Height > layout->rows - y || z > layout->slices ||
		copy->Depth > layout->slices - z)
		return CUDA_ERROR_INVALID_VALUE;
	side->pitch = layout->pitch;
	side->slice = layout->slice;
	side->start += z * layout->slice + y * layout->pitch + x;
	return CUDA_SUCCESS;
}

/* Checks the memory that a side touches and completes what is known of it. */
static CUresult place_side(struct side *side, const CUDA_MEMCPY3D *copy, size_t x, size_t y,
	size_t z, size_t slice_rows, bool is_write)
{
	const bool is_plane = copy->Depth <= 1;
	struct memory memory;

	if (side->array)
		return place_array(side, copy, x, y, z);
	if (side->pitch == 0 && copy->Height <= 1 && is_plane)
		side->pitch = copy->WidthInBytes + x;
	if (side->pitch < copy->WidthInBytes + x || (!is_plane && slice_rows < copy->Height + y))
		return CUDA_ERROR_INVALID_VALUE;
	side->slice = slice_rows * side->pitch;
	side->start += z * side->slice + y * side->pitch + x;
	const size_t span = (copy->Depth - 1) * side->slice + (copy->Height - 1) * side->pitch +
			    copy->WidthInBytes;
	const bool is_known = memory_find(side->start, &memory);

	if (side->is_device && !is_known)
		return CUDA_ERROR_INVALID_VALUE;
	if (is_known && !side->is_host && !memory_holds(side->start, span, is_write))
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_known && side->start == 0)
		return CUDA_ERROR_INVALID_VALUE;
	side->is_pageable = !is_known;
	side->is_synchronous = is_known && memory.is_synchronous;
	side->on = is_known && !side->is_host ? memory.device : NULL;
	return CUDA_SUCCESS;
}

/* Fills `work` in for a copy that moves at least one byte. */
static CUresult place_copy(
	const CUDA_MEMCPY3D *copy, struct side *src, struct side *dst, struct work_copy *work)
{
	src->pitch = copy->srcPitch;
	dst->pitch = copy->dstPitch;
	CUresult result = place_side(
		src, copy, copy->srcXInBytes, copy->srcY, copy->srcZ, copy->srcHeight, false);

	if (result == CUDA_SUCCESS)
		result = place_side(dst, copy, copy->dstXInBytes, copy->dstY, copy->dstZ,
			copy->dstHeight, true);
	*work = (struct work_copy){
		.dst = (char *)dst->start,
		.src = (const char *)src->start,
		.width = copy->WidthInBytes,
		.height = copy->Height,
		.depth = copy->Depth,
		.dst_pitch = dst->pitch,
		.dst_slice = dst->slice,
		.src_pitch = src->pitch,
		.src_slice = src->slice,
		.src_is_pageable = src->is_pageable,
		.dst_is_pageable = dst->is_pageable,
		.is_within_device = src->on && src->on == dst->on,
		.is_synchronous = src->is_synchronous || dst->is_synchronous,
	};
	return result;
}

CUresult copy_work_3d(const CUDA_MEMCPY3D *copy, struct work **ret_work)
{
	struct side src, dst;

	if (!copy)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = find_side(
		copy->srcMemoryType, copy->srcHost, copy->srcDevice, copy->srcArray, &src);

	if (result == CUDA_SUCCESS)
		result = find_side(
			copy->dstMemoryType, copy->dstHost, copy->dstDevice, copy->dstArray, &dst);
	if (result != CUDA_SUCCESS)
		return result;
	struct work *work = work_create(WORK_COPY);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (copy->WidthInBytes && copy->Height && copy->Depth)
		result = place_copy(copy, &src, &dst, &work->copy);
	if (result == CUDA_SUCCESS)
		*ret_work = work;
	else
		work_unref(work);
	return result;
}

/* Copies between devices do not wait for the host; with host memory the call waits. */
static bool has_host_side(CUmemorytype src, CUmemorytype dst, const struct work *work)
{
	return src == CU_MEMORYTYPE_HOST || dst == CU_MEMORYTYPE_HOST ||
	       work->copy.src_is_pageable || work->copy.dst_is_pageable;
}

bool copy_context_is_synchronous(void)
{
	CUcontext ctx;

	return context_current_home(&ctx) == CUDA_SUCCESS && (ctx->flags & CU_CTX_SYNC_MEMOPS) != 0;
}

static CUresult copy_now(const CUDA_MEMCPY3D *copy, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = copy_work_3d(copy, &work);

	if (result != CUDA_SUCCESS)
		return result;
	if (has_host_side(copy->srcMemoryType, copy->dstMemoryType, work) ||
		work->copy.is_synchronous || copy_context_is_synchronous())
		return stream_put_and_wait(NULL, meaning, work);
	return stream_put(NULL, meaning, work);
}

static CUresult copy_later(const CUDA_MEMCPY3D *copy, CUstream stream, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = copy_work_3d(copy, &work);

	return result == CUDA_SUCCESS ? stream_put_copy(stream, meaning, work) : result;
}

static CUDA_MEMCPY3D linear(
	CUmemorytype dst_type, uintptr_t dst, CUmemorytype src_type, uintptr_t src, size_t bytes)
{
	return (CUDA_MEMCPY3D){
		.srcMemoryType = src_type,
		.srcHost = (const void *)src,
		.srcDevice = src,
		.dstMemoryType = dst_type,
		.dstHost = (void *)dst,
		.dstDevice = dst,
		.WidthInBytes = bytes,
		.Height = 1,
		.Depth = 1,
	};
}

static CUDA_MEMCPY3D h_to_d(CUdeviceptr dst, const void *src, size_t bytes)
{
	return linear(
		CU_MEMORYTYPE_DEVICE, (uintptr_t)dst, CU_MEMORYTYPE_HOST, (uintptr_t)src, bytes);
}

static CUDA_MEMCPY3D d_to_h(void *dst, CUdeviceptr src, size_t bytes)
{
	return linear(
		CU_MEMORYTYPE_HOST, (uintptr_t)dst, CU_MEMORYTYPE_DEVICE, (uintptr_t)src, bytes);
}

static CUDA_MEMCPY3D d_to_d(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
	return linear(
		CU_MEMORYTYPE_DEVICE, (uintptr_t)dst, CU_MEMORYTYPE_DEVICE, (uintptr_t)src, bytes);
}

static CUDA_MEMCPY3D any_to_any(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
	return linear(CU_MEMORYTYPE_UNIFIED, (uintptr_t)dst, CU_MEMORYTYPE_UNIFIED, (uintptr_t)src,
		bytes);
}

/* Of one row of an array, from `offset` bytes on. */
static CUDA_MEMCPY3D from_array(CUDA_MEMCPY3D copy, CUarray array, size_t offset)
{
	copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.srcArray = array;
	copy.srcXInBytes = offset;
	return copy;
}

static CUDA_MEMCPY3D to_array(CUDA_MEMCPY3D copy, CUarray array, size_t offset)
{
	copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.dstArray = array;
	copy.dstXInBytes = offset;
	return copy;
}

/* The members of the structs that differ in width and order only. */
#define PLANE_MEMBERS(copy)                                                                     \
	.srcXInBytes = (copy)->srcXInBytes, .srcY = (copy)->srcY,                               \
	.srcMemoryType = (copy)->srcMemoryType, .srcHost = (copy)->srcHost,                     \
	.srcDevice = (copy)->srcDevice, .srcArray = (copy)->srcArray,                           \
	.srcPitch = (copy)->srcPitch, .dstXInBytes = (copy)->dstXInBytes, .dstY = (copy)->dstY, \
	.dstMemoryType = (copy)->dstMemoryType, .dstHost = (copy)->dstHost,                     \
	.dstDevice = (copy)->dstDevice, .dstArray = (copy)->dstArray,                           \
	.dstPitch = (copy)->dstPitch, .WidthInBytes = (copy)->WidthInBytes,                     \
	.Height = (copy)->Height
#define SPACE_MEMBERS(copy)                                                        \
	PLANE_MEMBERS(copy), .srcZ = (copy)->srcZ, .srcHeight = (copy)->srcHeight, \
			     .dstZ = (copy)->dstZ, .dstHeight = (copy)->dstHeight, \
			     .Depth = (copy)->Depth

/* A missing description copies nothing from nowhere, which is refused. */
static CUDA_MEMCPY3D plane(const CUDA_MEMCPY2D *copy)
{
	return copy ? (CUDA_MEMCPY3D){PLANE_MEMBERS(copy), .Depth = 1} : (CUDA_MEMCPY3D){0};
}

static CUDA_MEMCPY3D plane_v1(const CUDA_MEMCPY2D_v1 *copy)
{
	return copy ? (CUDA_MEMCPY3D){PLANE_MEMBERS(copy), .Depth = 1} : (CUDA_MEMCPY3D){0};
}

static CUDA_MEMCPY3D space(const CUDA_MEMCPY3D *copy)
{
	return copy ? *copy : (CUDA_MEMCPY3D){0};
}

static CUDA_MEMCPY3D space_v1(const CUDA_MEMCPY3D_v1 *copy)
{
	return copy ? (CUDA_MEMCPY3D){SPACE_MEMBERS(copy)} : (CUDA_MEMCPY3D){0};
}

static CUDA_MEMCPY3D space_peer(const CUDA_MEMCPY3D_PEER *copy)
{
	return copy ? (CUDA_MEMCPY3D){SPACE_MEMBERS(copy)} : (CUDA_MEMCPY3D){0};
}

/* The entry points: each is one line that says how its arguments describe a copy, in three
 * flavours of streams. */
#define NOW(symbol, params, description)                \
	CUresult symbol params                          \
	{                                               \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);    \
		const CUDA_MEMCPY3D copy = description; \
		return copy_now(&copy, STREAM_LEGACY);  \
	}
#define NOW_PTDS(symbol, params, description)              \
	CUresult symbol params                             \
	{                                                  \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);       \
		const CUDA_MEMCPY3D copy = description;    \
		return copy_now(&copy, STREAM_PER_THREAD); \
	}
#define LATER(symbol, params, description)                       \
	CUresult symbol params                                   \
	{                                                        \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);             \
		const CUDA_MEMCPY3D copy = description;          \
		return copy_later(&copy, stream, STREAM_LEGACY); \
	}
#define LATER_PTSZ(symbol, params, description)                      \
	CUresult symbol params                                       \
	{                                                            \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);                 \
		const CUDA_MEMCPY3D copy = description;              \
		return copy_later(&copy, stream, STREAM_PER_THREAD); \
	}

/* clang-format off */
#define ARGS (CUdeviceptr dst, CUdeviceptr src, size_t n)
NOW(cuMemcpy, ARGS, any_to_any(dst, src, n))
NOW_PTDS(cuMemcpy_ptds, ARGS, any_to_any(dst, src, n))
NOW(cuMemcpyDtoD_v2, ARGS, d_to_d(dst, src, n))
NOW_PTDS(cuMemcpyDtoD_v2_ptds, ARGS, d_to_d(dst, src, n))
#undef ARGS
#define ARGS (CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
LATER(cuMemcpyAsync, ARGS, any_to_any(dst, src, n))
LATER_PTSZ(cuMemcpyAsync_ptsz, ARGS, any_to_any(dst, src, n))
LATER(cuMemcpyDtoDAsync_v2, ARGS, d_to_d(dst, src, n))
LATER_PTSZ(cuMemcpyDtoDAsync_v2_ptsz, ARGS, d_to_d(dst, src, n))
#undef ARGS

NOW(cuMemcpyDtoD, (CUdeviceptr_v1 dst, CUdeviceptr_v1 src, unsigned int n), d_to_d(dst, src, n))
LATER(cuMemcpyDtoDAsync, (CUdeviceptr_v1 dst, CUdeviceptr_v1 src, unsigned int n, CUstream stream),
	d_to_d(dst, src, n))

#define ARGS (CUdeviceptr dst, const void *src, size_t n)
NOW(cuMemcpyHtoD_v2, ARGS, h_to_d(dst, src, n))
NOW_PTDS(cuMemcpyHtoD_v2_ptds, ARGS, h_to_d(dst, src, n))
#undef ARGS
#define ARGS (CUdeviceptr dst, const void *src, size_t n, CUstream stream)
LATER(cuMemcpyHtoDAsync_v2, ARGS, h_to_d(dst, src, n))
LATER_PTSZ(cuMemcpyHtoDAsync_v2_ptsz, ARGS, h_to_d(dst, src, n))
#undef ARGS
NOW(cuMemcpyHtoD, (CUdeviceptr_v1 dst, const void *src, unsigned int n), h_to_d(dst, src, n))
LATER(cuMemcpyHtoDAsync, (CUdeviceptr_v1 dst, const void *src, unsigned int n, CUstream stream),
	h_to_d(dst, src, n))

#define ARGS (void *dst, CUdeviceptr src, size_t n)
NOW(cuMemcpyDtoH_v2, ARGS, d_to_h(dst, src, n))
NOW_PTDS(cuMemcpyDtoH_v2_ptds, ARGS, d_to_h(dst, src, n))
#undef ARGS
#define ARGS (void *dst, CUdeviceptr src, size_t n, CUstream stream)
LATER(cuMemcpyDtoHAsync_v2, ARGS, d_to_h(dst, src, n))
LATER_PTSZ(cuMemcpyDtoHAsync_v2_ptsz, ARGS, d_to_h(dst, src, n))
#undef ARGS
NOW(cuMemcpyDtoH, (void *dst, CUdeviceptr_v1 src, unsigned int n), d_to_h(dst, src, n))
LATER(cuMemcpyDtoHAsync, (void *dst, CUdeviceptr_v1 src, unsigned int n, CUstream stream),
	d_to_h(dst, src, n))

/* Device pointers say by themselves whose they are: the contexts add nothing. */
#define ARGS (CUdeviceptr dst, CUcontext dst_ctx __attribute__((unused)), CUdeviceptr src, \
	CUcontext src_ctx __attribute__((unused)), size_t n)
NOW(cuMemcpyPeer, ARGS, d_to_d(dst, src, n))
NOW_PTDS(cuMemcpyPeer_ptds, ARGS, d_to_d(dst, src, n))
#undef ARGS
#define ARGS (CUdeviceptr dst, CUcontext dst_ctx __attribute__((unused)), CUdeviceptr src, \
	CUcontext src_ctx __attribute__((unused)), size_t n, CUstream stream)
LATER(cuMemcpyPeerAsync, ARGS, d_to_d(dst, src, n))
LATER_PTSZ(cuMemcpyPeerAsync_ptsz, ARGS, d_to_d(dst, src, n))
#undef ARGS

#define ARGS (const CUDA_MEMCPY2D *p)
NOW(cuMemcpy2D_v2, ARGS, plane(p))
NOW_PTDS(cuMemcpy2D_v2_ptds, ARGS, plane(p))
NOW(cuMemcpy2DUnaligned_v2, ARGS, plane(p))
NOW_PTDS(cuMemcpy2DUnaligned_v2_ptds, ARGS, plane(p))
#undef ARGS
LATER(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *p, CUstream stream), plane(p))
LATER_PTSZ(cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D *p, CUstream stream), plane(p))
NOW(cuMemcpy2D, (const CUDA_MEMCPY2D_v1 *p), plane_v1(p))
NOW(cuMemcpy2DUnaligned, (const CUDA_MEMCPY2D_v1 *p), plane_v1(p))
LATER(cuMemcpy2DAsync, (const CUDA_MEMCPY2D_v1 *p, CUstream stream), plane_v1(p))

NOW(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *p), space(p))
NOW_PTDS(cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D *p), space(p))
LATER(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *p, CUstream stream), space(p))
LATER_PTSZ(cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D *p, CUstream stream), space(p))
NOW(cuMemcpy3D, (const CUDA_MEMCPY3D_v1 *p), space_v1(p))
LATER(cuMemcpy3DAsync, (const CUDA_MEMCPY3D_v1 *p, CUstream stream), space_v1(p))
NOW(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *p), space_peer(p))
NOW_PTDS(cuMemcpy3DPeer_ptds, (const CUDA_MEMCPY3D_PEER *p), space_peer(p))
LATER(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D_PEER *p, CUstream stream), space_peer(p))
LATER_PTSZ(cuMemcpy3DPeerAsync_ptsz, (const CUDA_MEMCPY3D_PEER *p, CUstream stream), space_peer(p))

#define D_TO_A to_array(d_to_d(0, src, n), dst, dst_x)
#define A_TO_D from_array(d_to_d(dst, 0, n), src, src_x)
#define H_TO_A to_array(h_to_d(0, src, n), dst, dst_x)
#define A_TO_H from_array(d_to_h(dst, 0, n), src, src_x)
#define A_TO_A from_array(to_array(d_to_d(0, 0, n), dst, dst_x), src, src_x)
#define ARGS (CUarray dst, size_t dst_x, CUdeviceptr src, size_t n)
NOW(cuMemcpyDtoA_v2, ARGS, D_TO_A)
NOW_PTDS(cuMemcpyDtoA_v2_ptds, ARGS, D_TO_A)
#undef ARGS
#define ARGS (CUdeviceptr dst, CUarray src, size_t src_x, size_t n)
NOW(cuMemcpyAtoD_v2, ARGS, A_TO_D)
NOW_PTDS(cuMemcpyAtoD_v2_ptds, ARGS, A_TO_D)
#undef ARGS
#define ARGS (CUarray dst, size_t dst_x, const void *src, size_t n)
NOW(cuMemcpyHtoA_v2, ARGS, H_TO_A)
NOW_PTDS(cuMemcpyHtoA_v2_ptds, ARGS, H_TO_A)
#undef ARGS
#define ARGS (CUarray dst, size_t dst_x, const void *src, size_t n, CUstream stream)
LATER(cuMemcpyHtoAAsync_v2, ARGS, H_TO_A)
LATER_PTSZ(cuMemcpyHtoAAsync_v2_ptsz, ARGS, H_TO_A)
#undef ARGS
#define ARGS (void *dst, CUarray src, size_t src_x, size_t n)
NOW(cuMemcpyAtoH_v2, ARGS, A_TO_H)
NOW_PTDS(cuMemcpyAtoH_v2_ptds, ARGS, A_TO_H)
#undef ARGS
#define ARGS (void *dst, CUarray src, size_t src_x, size_t n, CUstream stream)
LATER(cuMemcpyAtoHAsync_v2, ARGS, A_TO_H)
LATER_PTSZ(cuMemcpyAtoHAsync_v2_ptsz, ARGS, A_TO_H)
#undef ARGS
#define ARGS (CUarray dst, size_t dst_x, CUarray src, size_t src_x, size_t n)
NOW(cuMemcpyAtoA_v2, ARGS, A_TO_A)
NOW_PTDS(cuMemcpyAtoA_v2_ptds, ARGS, A_TO_A)
#undef ARGS

NOW(cuMemcpyDtoA, (CUarray dst, unsigned int dst_x, CUdeviceptr_v1 src, unsigned int n), D_TO_A)
NOW(cuMemcpyAtoD, (CUdeviceptr_v1 dst, CUarray src, unsigned int src_x, unsigned int n), A_TO_D)
NOW(cuMemcpyHtoA, (CUarray dst, unsigned int dst_x, const void *src, unsigned int n), H_TO_A)
LATER(cuMemcpyHtoAAsync,
	(CUarray dst, unsigned int dst_x, const void *src, unsigned int n, CUstream stream), H_TO_A)
NOW(cuMemcpyAtoH, (void *dst, CUarray src, unsigned int src_x, unsigned int n), A_TO_H)
LATER(cuMemcpyAtoHAsync,
	(void *dst, CUarray src, unsigned int src_x, unsigned int n, CUstream stream), A_TO_H)
NOW(cuMemcpyAtoA,
	(CUarray dst, unsigned int dst_x, CUarray src, unsigned int src_x, unsigned int n), A_TO_A)
