/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memsets: plain and 2D, of one, two and four bytes. Those without a stream are over when they
 * return where the memory is managed or the host's, or where that is asked for, and only there.
 */
#include "copy.h"
#include "entry.h"
#include "memory.h"
#include "stream.h"
#include "work.h"

CUresult fill_work(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element_bytes,
	size_t width, size_t height, struct work **ret_work)
{
	const bool is_empty = width == 0 || height == 0;

	if (element_bytes != 1 && element_bytes != 2 && element_bytes != 4)
		return CUDA_ERROR_INVALID_VALUE;
	if (dst % element_bytes != 0 || (height > 1 && pitch % element_bytes != 0) ||
		(height > 1 && pitch < width * element_bytes))
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_empty && !memory_holds(dst, (height - 1) * pitch + width * element_bytes, true))
		return CUDA_ERROR_INVALID_VALUE;
	struct work *work = work_create(WORK_FILL);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->fill = (struct work_fill){
		.dst = (char *)(uintptr_t)dst,
		.pitch = pitch,
		.width = width,
		.height = is_empty ? 0 : height,
		.value = value,
		.element_bytes = element_bytes,
	};
	*ret_work = work;
	return CUDA_SUCCESS;
}

/* element_bytes  of `value` */
static CUresult fill(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element_bytes,
	size_t width, size_t height, CUstream stream, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = fill_work(dst, pitch, value, element_bytes, width, height, &work);

	return result == CUDA_SUCCESS ? stream_put(stream, meaning, work) : result;
}

static bool is_waited_for(CUdeviceptr address)
{
	struct memory found;

	return copy_context_is_synchronous() ||
	       (memory_find(address, &found) &&
		       (found.kind == MEMORY_MANAGED || found.kind == MEMORY_HOST ||
			       found.kind == MEMORY_REGISTERED || found.is_synchronous));
}

/* Without a stream. */
static CUresult fill_now(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element_bytes,
	size_t width, size_t height, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = fill_work(dst, pitch, value, element_bytes, width, height, &work);

	if (result != CUDA_SUCCESS)
		return result;
	return is_waited_for(dst) ? stream_put_and_wait(NULL, meaning, work)
				  : stream_put(NULL, meaning, work);
}

/* The entry points of one element size: a row of `n`, or rows of `w` by `h`, in three flavours of
 * streams. */
#define FILLS(bits, type)                                                                       \
	CUresult cuMemsetD##bits(CUdeviceptr_v1 dst, type value, unsigned int n)                \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD##bits, CUDA_SUCCESS);                                   \
		return fill_now(dst, 0, value, sizeof(value), n, 1, STREAM_LEGACY);             \
	}                                                                                       \
	CUresult cuMemsetD##bits##_v2(CUdeviceptr dst, type value, size_t n)                    \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD##bits##_v2, CUDA_SUCCESS);                              \
		return fill_now(dst, 0, value, sizeof(value), n, 1, STREAM_LEGACY);             \
	}                                                                                       \
	CUresult cuMemsetD##bits##_v2_ptds(CUdeviceptr dst, type value, size_t n)               \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD##bits##_v2_ptds, CUDA_SUCCESS);                         \
		return fill_now(dst, 0, value, sizeof(value), n, 1, STREAM_PER_THREAD);         \
	}                                                                                       \
	CUresult cuMemsetD##bits##Async(CUdeviceptr dst, type value, size_t n, CUstream stream) \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD##bits##Async, CUDA_SUCCESS);                            \
		return fill(dst, 0, value, sizeof(value), n, 1, stream, STREAM_LEGACY);         \
	}                                                                                       \
	CUresult cuMemsetD##bits##Async_ptsz(                                                   \
		CUdeviceptr dst, type value, size_t n, CUstream stream)                         \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD##bits##Async_ptsz, CUDA_SUCCESS);                       \
		return fill(dst, 0, value, sizeof(value), n, 1, stream, STREAM_PER_THREAD);     \
	}                                                                                       \
	CUresult cuMemsetD2D##bits(CUdeviceptr_v1 dst, unsigned int pitch, type value,          \
		unsigned int w, unsigned int h)                                                 \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD2D##bits, CUDA_SUCCESS);                                 \
		return fill_now(dst, pitch, value, sizeof(value), w, h, STREAM_LEGACY);         \
	}                                                                                       \
	CUresult cuMemsetD2D##bits##_v2(                                                        \
		CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h)                  \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD2D##bits##_v2, CUDA_SUCCESS);                            \
		return fill_now(dst, pitch, value, sizeof(value), w, h, STREAM_LEGACY);         \
	}                                                                                       \
	CUresult cuMemsetD2D##bits##_v2_ptds(                                                   \
		CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h)                  \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD2D##bits##_v2_ptds, CUDA_SUCCESS);                       \
		return fill_now(dst, pitch, value, sizeof(value), w, h, STREAM_PER_THREAD);     \
	}                                                                                       \
	CUresult cuMemsetD2D##bits##Async(                                                      \
		CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h, CUstream stream) \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD2D##bits##Async, CUDA_SUCCESS);                          \
		return fill(dst, pitch, value, sizeof(value), w, h, stream, STREAM_LEGACY);     \
	}                                                                                       \
	CUresult cuMemsetD2D##bits##Async_ptsz(                                                 \
		CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h, CUstream stream) \
	{                                                                                       \
		ENTER_OR_NULL(cuMemsetD2D##bits##Async_ptsz, CUDA_SUCCESS);                     \
		return fill(dst, pitch, value, sizeof(value), w, h, stream, STREAM_PER_THREAD); \
	}

FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
