/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream-ordered memory and its pools. A chunk has 2 MiB here, the device 256 MiB.
 */
#include "test_support.h"

#include <string.h>

#define MIB ((size_t)1 << 20)

/* Of cuda.h only the names without suffix are left to programs. */
CUresult alloc_async_ptsz(CUdeviceptr *address, size_t size, CUstream stream) __asm__(
	"cuMemAllocAsync_ptsz");
CUresult alloc_from_pool_ptsz(CUdeviceptr *address, size_t size, CUmemoryPool pool,
	CUstream stream) __asm__("cuMemAllocFromPoolAsync_ptsz");
CUresult free_async_ptsz(CUdeviceptr address, CUstream stream) __asm__("cuMemFreeAsync_ptsz");

static size_t free_bytes(void)
{
	size_t available, total;

	must(cuMemGetInfo(&available, &total));
	return available;
}

static uint64_t number(CUmemoryPool pool, CUmemPool_attribute attribute)
{
	cuuint64_t value;

	must(cuMemPoolGetAttribute(pool, attribute, &value));
	return value;
}

#define assert_pool(pool, reserved, used)                                                       \
	do {                                                                                    \
		assert_int_equal(number(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), reserved); \
		assert_int_equal(number(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), used);         \
	} while (0)

static CUmemoryPool make_pool(size_t max_bytes)
{
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
		.maxSize = max_bytes,
	};
	CUmemoryPool pool;

	must(cuMemPoolCreate(&pool, &props));
	return pool;
}

static void keep_all(CUmemoryPool pool)
{
	cuuint64_t threshold = UINT64_MAX;

	must(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
}

static CUstream make_stream(void)
{
	CUstream stream;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	return stream;
}

static void pool_takes_chunks_and_hands_out_parts(void **state)
{
	const size_t before = free_bytes();
	CUmemoryPool pool = make_pool(0);
	CUstream stream = make_stream();
	CUdeviceptr parts[5];

	(void)state;
	for (int i = 0; i < 4; i++)
		must(cuMemAllocFromPoolAsync(&parts[i], MIB / 2, pool, stream));
	assert_pool(pool, 2 * MIB, 2 * MIB);
	must(cuMemAllocFromPoolAsync(&parts[4], 1, pool, stream));
	assert_pool(pool, 4 * MIB, 2 * MIB + 512);
	assert_int_equal(before - free_bytes(), 4 * MIB);

	for (int i = 0; i < 5; i++)
		must(cuMemFreeAsync(parts[i], stream));
	must(cuStreamSynchronize(stream));
	assert_pool(pool, 0, 0);
	assert_int_equal(number(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 4 * MIB);
	assert_int_equal(number(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 2 * MIB + 512);
	must(cuMemPoolDestroy(pool));
	must(cuStreamDestroy(stream));
	assert_int_equal(free_bytes(), before);
}

static void freed_memory_is_used_again_in_its_stream_at_once(void **state)
{
	CUmemoryPool pool = make_pool(0);
	CUstream stream = make_stream();
	CUdeviceptr first, second;

	(void)state;
	must(cuMemAllocFromPoolAsync(&first, 2 * MIB, pool, stream));
	must(launch_slow(stream));
	must(cuMemFreeAsync(first, stream));
	assert_pool(pool, 2 * MIB, 2 * MIB);
	must(cuMemAllocFromPoolAsync(&second, 2 * MIB, pool, stream));
	assert_int_equal(first, second);
	assert_cuda(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
	assert_pool(pool, 2 * MIB, 2 * MIB);

	/* The free of the first ends, which the second must survive. */
	must(cuStreamSynchronize(stream));
	assert_pool(pool, 2 * MIB, 2 * MIB);
	must(cuMemFree(second));
	assert_pool(pool, 2 * MIB, 0);
	must(cuCtxSynchronize());
	assert_pool(pool, 0, 0);
	must(cuMemPoolDestroy(pool));
	must(cuStreamDestroy(stream));
}

static void other_streams_wait_for_it_if_they_may(void **state)
{
	CUmemoryPool pool = make_pool(0);
	CUstream a = make_stream(), b = make_stream();
	CUdeviceptr first, second, third;
	int may_not = 0;

	(void)state;
	must(cuMemAllocFromPoolAsync(&first, 2 * MIB, pool, a));
	must(launch_slow(a));
	must(cuMemFreeAsync(first, a));
	must(cuMemAllocFromPoolAsync(&second, 2 * MIB, pool, b));
	assert_int_equal(first, second);
	must(cuMemFreeAsync(second, b));
	assert_cuda(CUDA_ERROR_NOT_READY, cuStreamQuery(b));

	must(cuMemPoolSetAttribute(
		pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, &may_not));
	must(cuMemAllocFromPoolAsync(&third, 2 * MIB, pool, a));
	assert_int_not_equal(third, second);
	assert_pool(pool, 4 * MIB, 4 * MIB);
	must(cuMemFreeAsync(third, a));
	must(cuCtxSynchronize());
	assert_pool(pool, 0, 0);
	must(cuMemPoolDestroy(pool));
	must(cuStreamDestroy(a));
	must(cuStreamDestroy(b));
}

static void synchronising_gives_back_what_is_above_the_threshold(void **state)
{
	cuuint64_t threshold = 4 * MIB;
	CUmemoryPool pool = make_pool(0);
	CUstream stream = make_stream();
	CUdeviceptr parts[4];
	CUevent event;

	(void)state;
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	must(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
	for (int i = 0; i < 4; i++)
		must(cuMemAllocFromPoolAsync(&parts[i], 2 * MIB, pool, stream));
	for (int i = 0; i < 4; i++)
		must(cuMemFreeAsync(parts[i], stream));
	must(cuEventRecord(event, stream));
	must(cuEventSynchronize(event));
	assert_pool(pool, 4 * MIB, 0);
	must(cuMemPoolTrimTo(pool, 4 * MIB));
	assert_pool(pool, 4 * MIB, 0);
	must(cuMemPoolTrimTo(pool, 1));
	assert_pool(pool, 2 * MIB, 0);
	must(cuMemPoolTrimTo(pool, 0));
	assert_pool(pool, 0, 0);
	must(cuMemPoolDestroy(pool));
	must(cuEventDestroy(event));
	must(cuStreamDestroy(stream));
}

static void memory_that_is_short_is_taken_from_pools_that_keep_it(void **state)
{
	const size_t before = free_bytes();
	CUmemoryPool pool = make_pool(0), other = make_pool(0);
	CUstream stream = make_stream();
	CUdeviceptr all, rest;

	(void)state;
	keep_all(pool);
	must(cuMemAllocFromPoolAsync(&all, before / 2, pool, stream));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY,
		cuMemAllocFromPoolAsync(&rest, before - 2 * MIB, other, stream));
	must(cuMemFreeAsync(all, stream));
	must(cuStreamSynchronize(stream));
	assert_true(before - free_bytes() >= before / 2);

	must(cuMemAllocFromPoolAsync(&rest, before - 2 * MIB, other, stream));
	assert_pool(pool, 0, 0);
	must(cuMemFreeAsync(rest, stream));
	must(cuStreamSynchronize(stream));
	must(cuMemAllocFromPoolAsync(&all, before / 2, pool, stream));
	must(cuMemFreeAsync(all, stream));
	must(cuStreamSynchronize(stream));
	must(cuMemAlloc(&all, before - 2 * MIB));
	must(cuMemFree(all));
	must(cuMemPoolDestroy(pool));
	must(cuMemPoolDestroy(other));
	must(cuStreamDestroy(stream));
	assert_int_equal(free_bytes(), before);
}

static void pool_has_its_largest_size(void **state)
{
	CUmemoryPool pool = make_pool(4 * MIB);
	CUdeviceptr parts[2], more = 7;

	(void)state;
	must(cuMemAllocFromPoolAsync(&parts[0], 2 * MIB, pool, NULL));
	must(cuMemAllocFromPoolAsync(&parts[1], 2 * MIB, pool, NULL));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocFromPoolAsync(&more, 1, pool, NULL));
	assert_int_equal(more, 7);
	must(cuMemFree(parts[0]));
	must(cuMemFree(parts[1]));
	must(cuMemPoolDestroy(pool));
}

static void destroyed_pool_ends_with_its_last_part(void **state)
{
	const size_t before = free_bytes();
	CUmemoryPool pool = make_pool(0), current, original;
	CUstream stream = make_stream();
	CUdeviceptr part;

	(void)state;
	must(cuDeviceGetDefaultMemPool(&original, fixture.device));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(original));
	must(cuDeviceSetMemPool(fixture.device, pool));
	must(cuDeviceGetMemPool(&current, fixture.device));
	assert_ptr_equal(current, pool);
	must(cuMemAllocAsync(&part, MIB, stream));
	assert_pool(pool, 2 * MIB, MIB);
	must(launch_slow(stream));

	must(cuMemPoolDestroy(pool));
	must(cuDeviceGetMemPool(&current, fixture.device));
	assert_ptr_equal(current, original);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocFromPoolAsync(&part, 1, pool, stream));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool));
	assert_int_equal(before - free_bytes(), 2 * MIB);
	must(cuMemFreeAsync(part, stream));
	must(cuStreamSynchronize(stream));
	assert_int_equal(free_bytes(), before);
	must(cuStreamDestroy(stream));
}

static void pools_are_found_by_location(void **state)
{
	CUmemLocation here = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
	CUmemLocation nowhere = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 9};
	CUmemoryPool pool, same, mine = make_pool(0);

	(void)state;
	must(cuDeviceGetDefaultMemPool(&pool, fixture.device));
	must(cuMemGetDefaultMemPool(&same, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
	assert_ptr_equal(pool, same);
	must(cuMemSetMemPool(&here, CU_MEM_ALLOCATION_TYPE_PINNED, mine));
	must(cuMemGetMemPool(&same, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
	assert_ptr_equal(mine, same);
	must(cuMemPoolDestroy(mine));
	must(cuMemGetMemPool(&same, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
	assert_ptr_equal(pool, same);

	assert_cuda(CUDA_ERROR_INVALID_DEVICE,
		cuMemGetMemPool(&same, &nowhere, CU_MEM_ALLOCATION_TYPE_PINNED));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemGetMemPool(&same, &here, CU_MEM_ALLOCATION_TYPE_INVALID));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuMemGetMemPool(&same, &here, CU_MEM_ALLOCATION_TYPE_MANAGED));
}

static void host_pool_takes_nothing_of_the_device(void **state)
{
	const size_t before = free_bytes();
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_HOST},
	};
	CUmemoryPool pool;
	CUdeviceptr part;

	(void)state;
	must(cuMemPoolCreate(&pool, &props));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuDeviceSetMemPool(fixture.device, pool));
	must(cuMemAllocFromPoolAsync(&part, MIB, pool, NULL));
	assert_pool(pool, 2 * MIB, MIB);
	assert_int_equal(free_bytes(), before);
	must(cuMemFree(part));
	must(cuMemPoolDestroy(pool));
}

static void attributes_can_be_set_as_documented(void **state)
{
	CUmemoryPool pool = make_pool(0);
	cuuint64_t zero = 0, one = 1;
	int flag = -1;

	(void)state;
	for (int i = 1; i <= 3; i++) {
		must(cuMemPoolGetAttribute(pool, (CUmemPool_attribute)i, &flag));
		assert_int_equal(flag, 1);
	}
	assert_int_equal(number(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD), 0);
	must(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &zero));
	must(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &one));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &zero));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemPoolGetAttribute(pool, (CUmemPool_attribute)99, &one));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, NULL));
	must(cuMemPoolDestroy(pool));
}

static void access_is_that_of_the_own_device(void **state)
{
	CUmemAccessDesc own = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	CUmemoryPool pool = make_pool(0);
	CUmemAccess_flags flags;

	(void)state;
	must(cuMemPoolSetAccess(pool, &own, 1));
	must(cuMemPoolGetAccess(&flags, pool, &own.location));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	own.location.id = 7;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemPoolSetAccess(pool, &own, 1));
	must(cuMemPoolDestroy(pool));
}

static void pointers_tell_their_pool(void **state)
{
	CUmemoryPool pool = make_pool(0), found;
	CUdeviceptr part, base;
	size_t size;

	(void)state;
	must(cuMemAllocFromPoolAsync(&part, 1000, pool, NULL));
	must(cuPointerGetAttribute(&found, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, part));
	assert_ptr_equal(found, pool);
	must(cuMemGetAddressRange(&base, &size, part + 1));
	assert_int_equal(base, part);
	assert_int_equal(size, 1000);
	must(cuMemsetD32(part, 5, 250));
	assert_int_equal(read_int(part, 249), 5);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(part, 5, 257));
	must(cuMemFree(part));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(part));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(part, NULL));
	must(cuMemPoolDestroy(pool));
}

static void context_that_ends_frees_what_its_streams_took(void **state)
{
	const size_t before = free_bytes();
	CUmemoryPool pool = make_pool(0);
	CUdeviceptr part;
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, fixture.device));
	must(cuMemAllocFromPoolAsync(&part, MIB, pool, NULL));
	assert_pool(pool, 2 * MIB, MIB);
	must(cuCtxDestroy(ctx));
	assert_pool(pool, 0, 0);
	assert_int_equal(free_bytes(), before);
	must(cuMemPoolDestroy(pool));
}

static void per_thread_functions_mean_the_threads_stream(void **state)
{
	CUmemoryPool pool = make_pool(0);
	CUstream blocked = make_stream();
	CUdeviceptr a, b;

	(void)state;
	must(alloc_async_ptsz(&a, MIB, NULL));
	must(alloc_from_pool_ptsz(&b, MIB, pool, NULL));
	must(launch_slow(CU_STREAM_PER_THREAD));
	must(free_async_ptsz(a, NULL));
	must(free_async_ptsz(b, NULL));
	must(cuStreamSynchronize(blocked));
	assert_pool(pool, 2 * MIB, MIB);
	must(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	assert_pool(pool, 0, 0);
	must(cuMemPoolDestroy(pool));
	must(cuStreamDestroy(blocked));
}

static void refusals_leave_the_output_alone(void **state)
{
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 9},
	};
	CUmemoryPool pool = NULL;
	CUdeviceptr part = 7;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocAsync(&part, 0, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocAsync(NULL, 1, NULL));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocAsync(&part, SIZE_MAX, NULL));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocAsync(&part, 1024 * MIB, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocFromPoolAsync(&part, 1, NULL, NULL));
	assert_int_equal(part, 7);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemPoolCreate(&pool, &props));
	props.location.id = 0;
	props.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuMemPoolCreate(&pool, &props));
	props.reserved[0] = 1;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemPoolCreate(&pool, &props));
	assert_null(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_takes_chunks_and_hands_out_parts),
		cmocka_unit_test(freed_memory_is_used_again_in_its_stream_at_once),
		cmocka_unit_test(other_streams_wait_for_it_if_they_may),
		cmocka_unit_test(synchronising_gives_back_what_is_above_the_threshold),
		cmocka_unit_test(memory_that_is_short_is_taken_from_pools_that_keep_it),
		cmocka_unit_test(pool_has_its_largest_size),
		cmocka_unit_test(destroyed_pool_ends_with_its_last_part),
		cmocka_unit_test(pools_are_found_by_location),
		cmocka_unit_test(host_pool_takes_nothing_of_the_device),
		cmocka_unit_test(attributes_can_be_set_as_documented),
		cmocka_unit_test(access_is_that_of_the_own_device),
		cmocka_unit_test(pointers_tell_their_pool),
		cmocka_unit_test(context_that_ends_frees_what_its_streams_took),
		cmocka_unit_test(per_thread_functions_mean_the_threads_stream),
		cmocka_unit_test(refusals_leave_the_output_alone),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
