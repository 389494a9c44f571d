/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Copies in batches: one after the other here. The first that makes no sense ends a batch; those
 * before it are made.
 */
#include "array.h"
#include "copy.h"
#include "entry.h"
#include "handle.h"
#include "stream.h"

/* The default stream of all threads cannot take a batch. */
static bool is_for_batches(CUstream stream, enum stream_default meaning)
{
	return stream != CU_STREAM_LEGACY && (stream != NULL || meaning == STREAM_PER_THREAD);
}

static CUresult put(const CUDA_MEMCPY3D *copy, CUstream stream, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = copy_work_3d(copy, &work);

	return result == CUDA_SUCCESS ? stream_put_copy(stream, meaning, work) : result;
}

/* The attributes are for the copies from their index up to the next one's, from 0 on. */
static bool attributes_are_valid(
	const CUmemcpyAttributes *attributes, const size_t *indices, size_t number, size_t count)
{
	if (!attributes || !indices || number == 0 || number > count || indices[0] != 0)
		return false;
	for (size_t i = 0; i < number; i++) {
		if (attributes[i].srcAccessOrder < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
			attributes[i].srcAccessOrder > CU_MEMCPY_SRC_ACCESS_ORDER_ANY ||
			indices[i] >= count || (i > 0 && indices[i] <= indices[i - 1]))
			return false;
	}
	return true;
}

static CUresult copy_batch(const CUdeviceptr *dsts, const CUdeviceptr *srcs, const size_t *sizes,
	size_t count, CUstream stream, enum stream_default meaning, size_t *ret_failed)
{
	CUresult result = CUDA_SUCCESS;

	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
		const CUDA_MEMCPY3D copy = {
			.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
			.srcDevice = srcs[i],
			.dstMemoryType = CU_MEMORYTYPE_UNIFIED,
			.dstDevice = dsts[i],
			.WidthInBytes = sizes[i],
			.Height = 1,
			.Depth = 1,
		};

		result = put(&copy, stream, meaning);
		if (result != CUDA_SUCCESS && ret_failed)
			*ret_failed = i;
	}
	return result;
}

/* The bytes of an element: 1 where no array is among the two. */
static size_t element_bytes(const CUDA_MEMCPY3D_BATCH_OP *op)
{
	if (op->src.type == CU_MEMCPY_OPERAND_TYPE_ARRAY &&
		handle_is(op->src.op.array.array, HANDLE_ARRAY))
		return array_element_bytes(&op->src.op.array.array->description);
	if (op->dst.type == CU_MEMCPY_OPERAND_TYPE_ARRAY &&
		handle_is(op->dst.op.array.array, HANDLE_ARRAY))
		return array_element_bytes(&op->dst.op.array.array->description);
	return 1;
}

static CUDA_MEMCPY3D describe(const CUDA_MEMCPY3D_BATCH_OP *op)
{
	const CUmemcpy3DOperand *src = &op->src, *dst = &op->dst;
	const size_t bytes = element_bytes(op);
	CUDA_MEMCPY3D copy = {
		.WidthInBytes = op->extent.width * bytes,
		.Height = op->extent.height,
		.Depth = op->extent.depth,
	};

	if (src->type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
		copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
		copy.srcArray = src->op.array.array;
		copy.srcXInBytes = src->op.array.offset.x * bytes;
		copy.srcY = src->op.array.offset.y;
		copy.srcZ = src->op.array.offset.z;
	} else {
		copy.srcMemoryType = CU_MEMORYTYPE_UNIFIED;
		copy.srcDevice = src->op.ptr.ptr;
		copy.srcPitch =
			src->op.ptr.rowLength ? src->op.ptr.rowLength * bytes : copy.WidthInBytes;
		copy.srcHeight = src->op.ptr.layerHeight ? src->op.ptr.layerHeight : copy.Height;
	}
	if (dst->type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
		copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
		copy.dstArray = dst->op.array.array;
		copy.dstXInBytes = dst->op.array.offset.x * bytes;
		copy.dstY = dst->op.array.offset.y;
		copy.dstZ = dst->op.array.offset.z;
	} else {
		copy.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
		copy.dstDevice = dst->op.ptr.ptr;
		copy.dstPitch =
			dst->op.ptr.rowLength ? dst->op.ptr.rowLength * bytes : copy.WidthInBytes;
		copy.dstHeight = dst->op.ptr.layerHeight ? dst->op.ptr.layerHeight : copy.Height;
	}
	return copy;
}

static CUresult copy_batch_3d(const CUDA_MEMCPY3D_BATCH_OP *ops, size_t count, CUstream stream,
	enum stream_default meaning, size_t *ret_failed)
{
	CUresult result = CUDA_SUCCESS;

	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
		const CUDA_MEMCPY3D copy = describe(&ops[i]);
		const bool is_valid = copy.WidthInBytes && copy.Height && copy.Depth &&
				      ops[i].srcAccessOrder >= CU_MEMCPY_SRC_ACCESS_ORDER_STREAM &&
				      ops[i].srcAccessOrder <= CU_MEMCPY_SRC_ACCESS_ORDER_ANY;

		result = is_valid ? put(&copy, stream, meaning) : CUDA_ERROR_INVALID_VALUE;
		if (result != CUDA_SUCCESS && ret_failed)
			*ret_failed = i;
	}
	return result;
}

/* The entry points: two versions, of which the first told which copy failed, in two flavours of
 * streams. */
#define BATCH(symbol, failed, meaning, ...)                                                \
	CUresult symbol(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, \
		CUmemcpyAttributes *attributes, size_t *indices, size_t number,            \
		__VA_ARGS__ CUstream stream)                                               \
	{                                                                                  \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);                                       \
		if (!dsts || !srcs || !sizes || !is_for_batches(stream, meaning) ||        \
			!attributes_are_valid(attributes, indices, number, count))         \
			return CUDA_ERROR_INVALID_VALUE;                                   \
		return copy_batch(dsts, srcs, sizes, count, stream, meaning, failed);      \
	}
#define BATCH_3D(symbol, failed, meaning, ...)                                            \
	CUresult symbol(size_t count, CUDA_MEMCPY3D_BATCH_OP *ops,                        \
		__VA_ARGS__ unsigned long long flags, CUstream stream)                    \
	{                                                                                 \
		ENTER_OR_NULL(symbol, CUDA_SUCCESS);                                      \
		if (!ops || count == 0 || flags != 0 || !is_for_batches(stream, meaning)) \
			return CUDA_ERROR_INVALID_VALUE;                                  \
		return copy_batch_3d(ops, count, stream, meaning, failed);                \
	}
#define FAILED size_t *failed,

/* clang-format off */
BATCH(cuMemcpyBatchAsync, failed, STREAM_LEGACY, FAILED)
BATCH(cuMemcpyBatchAsync_ptsz, failed, STREAM_PER_THREAD, FAILED)
BATCH(cuMemcpyBatchAsync_v2, NULL, STREAM_LEGACY)
BATCH(cuMemcpyBatchAsync_v2_ptsz, NULL, STREAM_PER_THREAD)
BATCH_3D(cuMemcpy3DBatchAsync, failed, STREAM_LEGACY, FAILED)
BATCH_3D(cuMemcpy3DBatchAsync_ptsz, failed, STREAM_PER_THREAD, FAILED)
BATCH_3D(cuMemcpy3DBatchAsync_v2, NULL, STREAM_LEGACY)
BATCH_3D(cuMemcpy3DBatchAsync_v2_ptsz, NULL, STREAM_PER_THREAD)
