/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Copies within a device: commands like kernels, for the SMs do them, or an engine that takes the
 * bandwidth from the SMs. Copies with a side in the host or between devices go through: they wait
 * for a bus, while others have the SMs. Arrays do not say on which device they are; that is taken
 * for the other side's.
 */
#include "driver/driver.h"
#include "hooks/admit.h"
#include "hooks/hooks.h"

#define ON_NONE  (-1)
#define ON_ARRAY (-2)

/* The device that one side of a copy lies on. What the caller calls device memory may be memory of
 * the host that the device can see. */
static int device_of(CUmemorytype type, CUdeviceptr address)
{
	CUpointer_attribute attributes[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
	unsigned int seen_type = CU_MEMORYTYPE_HOST;
	int device = ON_NONE;
	void *values[] = {&seen_type, &device};

	if (type == CU_MEMORYTYPE_ARRAY)
		return ON_ARRAY;
	if (type == CU_MEMORYTYPE_HOST ||
		driver.cuPointerGetAttributes(ARRAY_LEN(values), attributes, values, address) !=
			CUDA_SUCCESS ||
		seen_type != CU_MEMORYTYPE_DEVICE)
		return ON_NONE;
	return device;
}

static bool is_within_device(
	CUmemorytype dst_type, CUdeviceptr dst, CUmemorytype src_type, CUdeviceptr src)
{
	int from = device_of(src_type, src);

	if (from == ON_NONE)
		return false;
	int to = device_of(dst_type, dst);
	return to == from || (to != ON_NONE && (to == ON_ARRAY || from == ON_ARRAY));
}

/* How many bytes are to be billed of a copy of `bytes`. */
static uint64_t linear_bytes(CUdeviceptr dst, CUdeviceptr src, uint64_t bytes)
{
	if (bytes == 0 || !is_within_device(CU_MEMORYTYPE_UNIFIED, dst, CU_MEMORYTYPE_UNIFIED, src))
		return 0;
	return bytes;
}

/* One side of it is an array. */
static uint64_t array_bytes(CUdeviceptr other, uint64_t bytes)
{
	if (bytes == 0 || device_of(CU_MEMORYTYPE_UNIFIED, other) == ON_NONE)
		return 0;
	return bytes;
}

/* The structs of all versions differ in widths and order only. */
#define DESCRIBED_BYTES(copy, depth)                                                  \
	((copy) != NULL && is_within_device((copy)->dstMemoryType, (copy)->dstDevice, \
				   (copy)->srcMemoryType, (copy)->srcDevice)          \
			? (uint64_t)(copy)->WidthInBytes * (copy)->Height * (depth)   \
			: 0)
#define PLANE_BYTES DESCRIBED_BYTES(copy, 1)
#define SPACE_BYTES DESCRIBED_BYTES(copy, copy->Depth)

static uint64_t batch_bytes(
	const CUdeviceptr *dsts, const CUdeviceptr *srcs, const size_t *sizes, size_t count)
{
	uint64_t bytes = 0;

	if (dsts == NULL || srcs == NULL || sizes == NULL)
		return 0;
	for (size_t i = 0; i < count; i++)
		bytes += linear_bytes(dsts[i], srcs[i], sizes[i]);
	return bytes;
}

static CUmemorytype operand_type(const CUmemcpy3DOperand *operand)
{
	return operand->type == CU_MEMCPY_OPERAND_TYPE_ARRAY ? CU_MEMORYTYPE_ARRAY
							     : CU_MEMORYTYPE_UNIFIED;
}

/* Between arrays the extent is in elements, which is as good to tell copies apart. */
static uint64_t batch_3d_bytes(const CUDA_MEMCPY3D_BATCH_OP *ops, size_t count)
{
	uint64_t bytes = 0;

	if (ops == NULL)
		return 0;
	for (size_t i = 0; i < count; i++) {
		const CUDA_MEMCPY3D_BATCH_OP *op = &ops[i];
		if (is_within_device(operand_type(&op->dst), op->dst.op.ptr.ptr,
			    operand_type(&op->src), op->src.op.ptr.ptr))
			bytes += op->extent.width * op->extent.height * op->extent.depth;
	}
	return bytes;
}

/* clang-format off */
#define LINEAR(symbol, params, args, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY, linear_bytes(dst, src, n), stream)
#define WITH_ARRAY(symbol, params, args, bytes, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY, bytes, stream)
#define PLANE(symbol, params, args, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY_ROWS, PLANE_BYTES, stream)
#define SPACE(symbol, params, args, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY_ROWS, SPACE_BYTES, stream)
#define BATCH(symbol, params, args, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY_BATCH, \
		batch_bytes(dsts, srcs, sizes, count), stream)
#define BATCH_3D(symbol, params, args, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_COPY_BATCH, batch_3d_bytes(ops, count), stream)

#define PARAMS (CUdeviceptr dst, CUdeviceptr src, size_t n)
#define ARGS (dst, src, n)
LINEAR(cuMemcpy, PARAMS, ARGS, NULL)
LINEAR(cuMemcpy_ptds, PARAMS, ARGS, CU_STREAM_PER_THREAD)
LINEAR(cuMemcpyDtoD_v2, PARAMS, ARGS, NULL)
LINEAR(cuMemcpyDtoD_v2_ptds, PARAMS, ARGS, CU_STREAM_PER_THREAD)
LINEAR(cuMemcpyDtoD, (CUdeviceptr_v1 dst, CUdeviceptr_v1 src, unsigned int n), ARGS, NULL)
#undef PARAMS
#undef ARGS
#define PARAMS (CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
#define ARGS (dst, src, n, stream)
LINEAR(cuMemcpyAsync, PARAMS, ARGS, stream)
LINEAR(cuMemcpyAsync_ptsz, PARAMS, ARGS, per_thread(stream))
LINEAR(cuMemcpyDtoDAsync_v2, PARAMS, ARGS, stream)
LINEAR(cuMemcpyDtoDAsync_v2_ptsz, PARAMS, ARGS, per_thread(stream))
LINEAR(cuMemcpyDtoDAsync,
	(CUdeviceptr_v1 dst, CUdeviceptr_v1 src, unsigned int n, CUstream stream), ARGS, stream)
#undef PARAMS
#undef ARGS

/* Addresses say by themselves whose they are. */
#define PARAMS (CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n)
#define ARGS (dst, dst_ctx, src, src_ctx, n)
LINEAR(cuMemcpyPeer, PARAMS, ARGS, NULL)
LINEAR(cuMemcpyPeer_ptds, PARAMS, ARGS, CU_STREAM_PER_THREAD)
#undef PARAMS
#undef ARGS
#define PARAMS (CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n, \
	CUstream stream)
#define ARGS (dst, dst_ctx, src, src_ctx, n, stream)
LINEAR(cuMemcpyPeerAsync, PARAMS, ARGS, stream)
LINEAR(cuMemcpyPeerAsync_ptsz, PARAMS, ARGS, per_thread(stream))
#undef PARAMS
#undef ARGS

#define PARAMS (CUarray dst, size_t x, CUdeviceptr src, size_t n)
#define ARGS (dst, x, src, n)
WITH_ARRAY(cuMemcpyDtoA_v2, PARAMS, ARGS, array_bytes(src, n), NULL)
WITH_ARRAY(cuMemcpyDtoA_v2_ptds, PARAMS, ARGS, array_bytes(src, n), CU_STREAM_PER_THREAD)
WITH_ARRAY(cuMemcpyDtoA, (CUarray dst, unsigned int x, CUdeviceptr_v1 src, unsigned int n), ARGS,
	array_bytes(src, n), NULL)
#undef PARAMS
#undef ARGS
#define PARAMS (CUdeviceptr dst, CUarray src, size_t x, size_t n)
#define ARGS (dst, src, x, n)
WITH_ARRAY(cuMemcpyAtoD_v2, PARAMS, ARGS, array_bytes(dst, n), NULL)
WITH_ARRAY(cuMemcpyAtoD_v2_ptds, PARAMS, ARGS, array_bytes(dst, n), CU_STREAM_PER_THREAD)
WITH_ARRAY(cuMemcpyAtoD, (CUdeviceptr_v1 dst, CUarray src, unsigned int x, unsigned int n), ARGS,
	array_bytes(dst, n), NULL)
#undef PARAMS
#undef ARGS
#define PARAMS (CUarray dst, size_t x, CUarray src, size_t y, size_t n)
#define ARGS (dst, x, src, y, n)
WITH_ARRAY(cuMemcpyAtoA_v2, PARAMS, ARGS, n, NULL)
WITH_ARRAY(cuMemcpyAtoA_v2_ptds, PARAMS, ARGS, n, CU_STREAM_PER_THREAD)
WITH_ARRAY(cuMemcpyAtoA,
	(CUarray dst, unsigned int x, CUarray src, unsigned int y, unsigned int n), ARGS, n, NULL)
#undef PARAMS
#undef ARGS

PLANE(cuMemcpy2D, (const CUDA_MEMCPY2D_v1 *copy), (copy), NULL)
PLANE(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *copy), (copy), NULL)
PLANE(cuMemcpy2D_v2_ptds, (const CUDA_MEMCPY2D *copy), (copy), CU_STREAM_PER_THREAD)
PLANE(cuMemcpy2DUnaligned, (const CUDA_MEMCPY2D_v1 *copy), (copy), NULL)
PLANE(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *copy), (copy), NULL)
PLANE(cuMemcpy2DUnaligned_v2_ptds, (const CUDA_MEMCPY2D *copy), (copy), CU_STREAM_PER_THREAD)
SPACE(cuMemcpy3D, (const CUDA_MEMCPY3D_v1 *copy), (copy), NULL)
SPACE(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *copy), (copy), NULL)
SPACE(cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D *copy), (copy), CU_STREAM_PER_THREAD)
SPACE(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *copy), (copy), NULL)
SPACE(cuMemcpy3DPeer_ptds, (const CUDA_MEMCPY3D_PEER *copy), (copy), CU_STREAM_PER_THREAD)
#define ARGS (copy, stream)
PLANE(cuMemcpy2DAsync, (const CUDA_MEMCPY2D_v1 *copy, CUstream stream), ARGS, stream)
PLANE(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *copy, CUstream stream), ARGS, stream)
PLANE(cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D *copy, CUstream stream), ARGS,
	per_thread(stream))
SPACE(cuMemcpy3DAsync, (const CUDA_MEMCPY3D_v1 *copy, CUstream stream), ARGS, stream)
SPACE(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *copy, CUstream stream), ARGS, stream)
SPACE(cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D *copy, CUstream stream), ARGS,
	per_thread(stream))
SPACE(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D_PEER *copy, CUstream stream), ARGS, stream)
SPACE(cuMemcpy3DPeerAsync_ptsz, (const CUDA_MEMCPY3D_PEER *copy, CUstream stream), ARGS,
	per_thread(stream))
#undef ARGS

/* A batch is one command: where a part of it is within a device, all of it is measured. */
#define PARAMS (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, \
	CUmemcpyAttributes *attributes, size_t *indices, size_t attribute_count, size_t *failed, \
	CUstream stream)
#define ARGS (dsts, srcs, sizes, count, attributes, indices, attribute_count, failed, stream)
BATCH(cuMemcpyBatchAsync, PARAMS, ARGS, stream)
BATCH(cuMemcpyBatchAsync_ptsz, PARAMS, ARGS, per_thread(stream))
#undef PARAMS
#undef ARGS
#define PARAMS (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, \
	CUmemcpyAttributes *attributes, size_t *indices, size_t attribute_count, CUstream stream)
#define ARGS (dsts, srcs, sizes, count, attributes, indices, attribute_count, stream)
BATCH(cuMemcpyBatchAsync_v2, PARAMS, ARGS, stream)
BATCH(cuMemcpyBatchAsync_v2_ptsz, PARAMS, ARGS, per_thread(stream))
#undef PARAMS
#undef ARGS
#define PARAMS (size_t count, CUDA_MEMCPY3D_BATCH_OP *ops, size_t *failed, \
	unsigned long long flags, CUstream stream)
#define ARGS (count, ops, failed, flags, stream)
BATCH_3D(cuMemcpy3DBatchAsync, PARAMS, ARGS, stream)
BATCH_3D(cuMemcpy3DBatchAsync_ptsz, PARAMS, ARGS, per_thread(stream))
#undef PARAMS
#undef ARGS
#define PARAMS (size_t count, CUDA_MEMCPY3D_BATCH_OP *ops, unsigned long long flags, \
	CUstream stream)
#define ARGS (count, ops, flags, stream)
BATCH_3D(cuMemcpy3DBatchAsync_v2, PARAMS, ARGS, stream)
BATCH_3D(cuMemcpy3DBatchAsync_v2_ptsz, PARAMS, ARGS, per_thread(stream))
