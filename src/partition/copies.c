/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Fills and copies within a device may be work for its SMs. Those that take no stream are done by
 * their asynchronous sisters, in the partition, and waited for where the driver would have waited.
 * Those with a side in memory of the host alone are work for copy engines, and left where they are.
 */
#include "partition/streams.h"

#include <stddef.h>

enum memory {
	OTHER,      /* of the host, or none that the driver knows */
	WAITED_FOR, /* managed, or such that what takes no stream is over when it returns */
	OF_DEVICE,  /* alone */
};

static enum memory memory_at(CUdeviceptr address)
{
	CUmemorytype type;
	unsigned is_managed = 1, is_synchronous = 0;

	if (driver_real.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) !=
			CUDA_SUCCESS ||
		driver_real.cuPointerGetAttribute(
			&is_managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, address) != CUDA_SUCCESS)
		return OTHER;
	driver_real.cuPointerGetAttribute(
		&is_synchronous, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, address);
	if (is_managed != 0 || is_synchronous != 0)
		return WAITED_FOR;
	return type == CU_MEMORYTYPE_DEVICE ? OF_DEVICE : OTHER;
}

enum way {
	ELSEWHERE,   /* on the driver's own default stream */
	AND_WAIT,    /* in the partition, over when the call returns */
	AND_GO_AHEAD /* in the partition; it need not be over */
};

static enum way where_to_fill(CUdeviceptr to)
{
	CUmemorytype type;

	switch (memory_at(to)) {
	case OF_DEVICE:
		return AND_GO_AHEAD;
	case WAITED_FOR:
		return AND_WAIT;
	default:
		return driver_real.cuPointerGetAttribute(
			       &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, to) == CUDA_SUCCESS
			       ? AND_WAIT
			       : ELSEWHERE;
	}
}

static enum way between(enum memory to, enum memory from)
{
	if (to == OTHER || from == OTHER)
		return ELSEWHERE;
	return to == OF_DEVICE && from == OF_DEVICE ? AND_GO_AHEAD : AND_WAIT;
}

static enum way where_to_copy(CUdeviceptr to, CUdeviceptr from)
{
	return between(memory_at(to), memory_at(from));
}

static enum memory side(CUmemorytype type, CUdeviceptr address)
{
	switch (type) {
	case CU_MEMORYTYPE_ARRAY:
		return OF_DEVICE;
	case CU_MEMORYTYPE_DEVICE:
	case CU_MEMORYTYPE_UNIFIED:
		return memory_at(address);
	default:
		return OTHER;
	}
}

/* Of a 2D or a 3D copy. */
#define WHERE_OF(copy)                                                            \
	((copy) == NULL ? ELSEWHERE                                               \
			: between(side((copy)->dstMemoryType, (copy)->dstDevice), \
				  side((copy)->srcMemoryType, (copy)->srcDevice)))

/* A context may ask for the same of all memory. */
static bool must_wait(enum way way)
{
	unsigned flags = 0;

	return way == AND_WAIT || (driver_real.cuCtxGetFlags(&flags) == CUDA_SUCCESS &&
					  (flags & CU_CTX_SYNC_MEMOPS) != 0);
}

/* What the sister refuses is left to the driver as the program asked it: it may be stricter. */
#define IN_STREAM(symbol, in_stream, where, parameters, arguments)                             \
	IN_STREAM_OF(                                                                          \
		symbol##_v2, in_stream, where, parameters, arguments, CU_STREAM_LEGACY, whole) \
	IN_STREAM_OF(symbol##_v2_ptds, in_stream, where, parameters, arguments,                \
		CU_STREAM_PER_THREAD, whole_ptsz)
#define IN_STREAM_OF(symbol, in_stream, where, parameters, arguments, default_stream, kind)     \
	CUresult CUDAAPI beneath_##symbol parameters                                            \
	{                                                                                       \
		enum way way = partition_current() != NULL ? (where) : ELSEWHERE;               \
		CUresult result;                                                                \
		if (way != ELSEWHERE) {                                                         \
			CUstream stream = streams_work(default_stream);                         \
			if (stream == STREAMS_REFUSED)                                          \
				return STREAMS_REFUSAL;                                         \
			result = driver_real.in_stream(UNPACK arguments, stream);               \
			streams_work_done(stream);                                              \
			if (result == CUDA_SUCCESS)                                             \
				return must_wait(way) ? driver_real.cuStreamSynchronize(stream) \
						      : result;                                 \
		}                                                                               \
		if (streams_##kind() == STREAMS_REFUSED)                                        \
			return STREAMS_REFUSAL;                                                 \
		result = driver_real.symbol arguments;                                          \
		streams_##kind##_done();                                                        \
		return result;                                                                  \
	}
#define UNPACK(...) __VA_ARGS__

IN_STREAM(cuMemsetD8, cuMemsetD8Async, where_to_fill(to),
	(CUdeviceptr to, unsigned char value, size_t count), (to, value, count))
IN_STREAM(cuMemsetD16, cuMemsetD16Async, where_to_fill(to),
	(CUdeviceptr to, unsigned short value, size_t count), (to, value, count))
IN_STREAM(cuMemsetD32, cuMemsetD32Async, where_to_fill(to),
	(CUdeviceptr to, unsigned int value, size_t count), (to, value, count))
IN_STREAM(cuMemsetD2D8, cuMemsetD2D8Async, where_to_fill(to),
	(CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height),
	(to, pitch, value, width, height))
IN_STREAM(cuMemsetD2D16, cuMemsetD2D16Async, where_to_fill(to),
	(CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height),
	(to, pitch, value, width, height))
IN_STREAM(cuMemsetD2D32, cuMemsetD2D32Async, where_to_fill(to),
	(CUdeviceptr to, size_t pitch, unsigned int value, size_t width, size_t height),
	(to, pitch, value, width, height))
IN_STREAM(cuMemcpyDtoD, cuMemcpyDtoDAsync_v2, where_to_copy(to, from),
	(CUdeviceptr to, CUdeviceptr from, size_t count), (to, from, count))
IN_STREAM_OF(cuMemcpy, cuMemcpyAsync, where_to_copy(to, from),
	(CUdeviceptr to, CUdeviceptr from, size_t count), (to, from, count), CU_STREAM_LEGACY,
	whole)
IN_STREAM_OF(cuMemcpy_ptds, cuMemcpyAsync, where_to_copy(to, from),
	(CUdeviceptr to, CUdeviceptr from, size_t count), (to, from, count), CU_STREAM_PER_THREAD,
	whole_ptsz)
IN_STREAM(cuMemcpy2D, cuMemcpy2DAsync_v2, WHERE_OF(copy), (const CUDA_MEMCPY2D *copy), (copy))
IN_STREAM(cuMemcpy2DUnaligned, cuMemcpy2DAsync_v2, WHERE_OF(copy), (const CUDA_MEMCPY2D *copy),
	(copy))
IN_STREAM(cuMemcpy3D, cuMemcpy3DAsync_v2, WHERE_OF(copy), (const CUDA_MEMCPY3D *copy), (copy))
