/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Device, managed and host memory of the simulated driver.
 */
#include "test_support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first entry points, with addresses of 32 bits; cuda.h no longer lets their names through. */
CUresult alloc_v1(unsigned *address, unsigned size) __asm__("cuMemAlloc");
CUresult free_v1(unsigned address) __asm__("cuMemFree");
CUresult copy_to_v1(unsigned address, const void *from, unsigned size) __asm__("cuMemcpyHtoD");

#define MIB ((size_t)1 << 20)

static size_t free_bytes(void)
{
	size_t available, total;

	must(cuMemGetInfo(&available, &total));
	return available;
}

static void alloc_takes_and_free_gives_rounded_bytes(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address;

	(void)state;
	must(cuMemAlloc(&address, 1));
	assert_int_equal(before - free_bytes(), 512);

	must(cuMemFree(address));
	assert_int_equal(free_bytes(), before);
}

static void either_half_of_the_info_may_be_left_out(void **state)
{
	size_t available = 7, total = 7, only = 7;

	(void)state;
	must(cuMemGetInfo(&available, &total));
	must(cuMemGetInfo(&only, NULL));
	assert_int_equal(only, available);
	must(cuMemGetInfo(NULL, &only));
	assert_int_equal(only, total);
	must(cuMemGetInfo(NULL, NULL));
}

/* `simgpu run` has two children: the server, and this program. */
static pid_t server_pid(void)
{
	char path[64], text[256] = "";
	int first = 0, second = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", getppid(), getppid());
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_int_equal(2, sscanf(text, "%d %d", &first, &second));
	return first == getpid() ? second : first;
}

static atomic_bool is_freed;

static void *free_it(void *address)
{
	CUresult result = cuCtxSetCurrent(fixture.ctx);

	if (result == CUDA_SUCCESS)
		result = cuMemFree((CUdeviceptr)(uintptr_t)address);
	atomic_store(&is_freed, true);
	return (void *)(uintptr_t)result;
}

/* Who looks at the account afterwards, by a connection of its own, finds the bytes there. */
static void free_returns_once_the_machine_has_the_bytes(void **state)
{
	const pid_t server = server_pid();
	pthread_t thread;
	CUdeviceptr address;
	void *result;

	(void)state;
	must(cuMemAlloc(&address, 512));
	assert_int_equal(0, kill(server, SIGSTOP));
	assert_int_equal(0, pthread_create(&thread, NULL, free_it, (void *)(uintptr_t)address));
	usleep(50000);
	const bool was_freed = atomic_load(&is_freed);

	assert_int_equal(0, kill(server, SIGCONT));
	pthread_join(thread, &result);
	assert_false(was_freed);
	must((CUresult)(uintptr_t)result);
}

static void alloc_of_nothing_is_refused(void **state)
{
	CUdeviceptr address = 7;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&address, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(NULL, 1));

	assert_int_equal(address, 7);
}

static void alloc_beyond_the_device_is_refused(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr all, one = 7;

	(void)state;
	must(cuMemAlloc(&all, before));
	assert_int_equal(free_bytes(), 0);

	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&one, 1));
	assert_int_equal(one, 7);

	must(cuMemFree(all));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&one, SIZE_MAX));
	assert_int_equal(free_bytes(), before);
}

static void free_of_what_is_no_allocation_is_refused(void **state)
{
	CUdeviceptr address;

	(void)state;
	must(cuMemAlloc(&address, MIB));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address + 512));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(0x1234));
	must(cuMemFree(0));
	must(cuMemFree(address));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address));
}

static void memory_is_zero_and_its_own(void **state)
{
	CUdeviceptr a, b;

	(void)state;
	must(cuMemAlloc(&a, MIB));
	must(cuMemAlloc(&b, MIB));
	must(cuMemsetD32(a, 0x01020304, MIB / 4));
	assert_int_equal(read_int(a, MIB / 4 - 1), 0x01020304);
	assert_int_equal(read_int(b, 0), 0);

	must(cuMemFree(a));
	must(cuMemAlloc(&a, MIB));
	assert_int_equal(read_int(a, 0), 0);
	must(cuMemFree(a));
	must(cuMemFree(b));
}

static void pitch_is_the_width_rounded_up(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address;
	size_t pitch;

	(void)state;
	must(cuMemAllocPitch(&address, &pitch, 1000, 10, 4));
	assert_int_equal(pitch, 1024);
	assert_int_equal(before - free_bytes(), 10240);
	must(cuMemFree(address));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch(&address, &pitch, 1000, 10, 3));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch(&address, &pitch, 0, 10, 4));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch(&address, &pitch, SIZE_MAX, 2, 4));
}

static void addresses_tell_their_allocation(void **state)
{
	CUdeviceptr address, base;
	CUmemorytype type;
	CUcontext ctx;
	size_t size;

	(void)state;
	must(cuMemAlloc(&address, 1000));
	must(cuMemGetAddressRange(&base, &size, address + 999));
	assert_int_equal(base, address);
	assert_int_equal(size, 1000);
	must(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address + 1));
	assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
	must(cuPointerGetAttribute(&ctx, CU_POINTER_ATTRIBUTE_CONTEXT, address));
	assert_ptr_equal(ctx, fixture.ctx);

	must(cuMemFree(address));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange(&base, &size, address));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
}

static void attributes_of_unknown_memory_are_nothing(void **state)
{
	CUpointer_attribute attributes[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
	unsigned type = 9;
	int ordinal = 9;
	void *data[] = {&type, &ordinal};

	(void)state;
	must(cuPointerGetAttributes(2, attributes, data, (CUdeviceptr)(uintptr_t)&type));

	assert_int_equal(type, 0);
	assert_int_equal(ordinal, -2);
}

static void managed_memory_is_seen_by_both_sides(void **state)
{
	CUdeviceptr address;
	int is_managed;

	(void)state;
	must(cuMemAllocManaged(&address, MIB, CU_MEM_ATTACH_GLOBAL));
	must(cuMemsetD8(address, 5, MIB));
	must(cuCtxSynchronize());
	assert_int_equal(((const char *)(uintptr_t)address)[MIB - 1], 5);
	must(cuPointerGetAttribute(&is_managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, address));
	assert_int_equal(is_managed, 1);
	must(cuMemFree(address));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAllocManaged(&address, MIB, 0));
}

static void host_memory_takes_nothing_of_the_device(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr device;
	unsigned flags;
	void *host;

	(void)state;
	must(cuMemHostAlloc(&host, MIB, CU_MEMHOSTALLOC_PORTABLE));
	assert_int_equal(free_bytes(), before);
	must(cuMemHostGetDevicePointer(&device, host, 0));
	assert_int_equal(device, (uintptr_t)host);
	must(cuMemHostGetFlags(&flags, host));
	assert_int_equal(flags, CU_MEMHOSTALLOC_PORTABLE);

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree((CUdeviceptr)(uintptr_t)host));
	must(cuMemFreeHost(host));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(host));
}

static void registered_memory_is_known_until_it_is_not(void **state)
{
	static char buffer[4096];
	CUdeviceptr device;

	(void)state;
	must(cuMemHostRegister(buffer, sizeof(buffer), 0));
	assert_cuda(
		CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(buffer + 1, 10, 0));
	must(cuMemHostGetDevicePointer(&device, buffer + 5, 0));

	must(cuMemHostUnregister(buffer));
	assert_cuda(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(buffer));
}

static void copies_2d_move_only_their_rectangle(void **state)
{
	const char source[3][4] = {"abc", "def", "ghi"};
	char back[2][2] = {{0}};
	CUdeviceptr address;
	size_t pitch;

	(void)state;
	must(cuMemAllocPitch(&address, &pitch, 4, 3, 4));
	CUDA_MEMCPY2D in = {
		.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = source,
		.srcPitch = 4,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = address,
		.dstPitch = pitch,
		.WidthInBytes = 4,
		.Height = 3,
	};
	CUDA_MEMCPY2D out = {
		.srcXInBytes = 1,
		.srcY = 1,
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = address,
		.srcPitch = pitch,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = back,
		.dstPitch = 2,
		.WidthInBytes = 2,
		.Height = 2,
	};

	must(cuMemcpy2D(&in));
	must(cuMemcpy2D(&out));
	assert_memory_equal(back, "efhi", 4);

	in.srcPitch = 3;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&in));
	must(cuMemFree(address));
}

static void copies_3d_respect_slices(void **state)
{
	char source[2][3][4], back[2][2][2];
	CUdeviceptr address;

	(void)state;
	for (size_t i = 0; i < sizeof(source); i++)
		((char *)source)[i] = (char)i;
	must(cuMemAlloc(&address, sizeof(source)));
	must(cuMemcpyHtoD(address, source, sizeof(source)));
	const CUDA_MEMCPY3D out = {
		.srcXInBytes = 2,
		.srcY = 1,
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = address,
		.srcPitch = 4,
		.srcHeight = 3,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = back,
		.dstPitch = 2,
		.dstHeight = 2,
		.WidthInBytes = 2,
		.Height = 2,
		.Depth = 2,
	};

	must(cuMemcpy3D(&out));

	const char expected[] = {6, 7, 10, 11, 18, 19, 22, 23};
	assert_memory_equal(back, expected, sizeof(expected));
	must(cuMemFree(address));
}

static void copies_beyond_an_allocation_are_refused(void **state)
{
	char buffer[2048];
	CUdeviceptr address;

	(void)state;
	must(cuMemAlloc(&address, 512));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(address, buffer, 513));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(buffer, address + 1, 512));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(address, 0, 513));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD((CUdeviceptr)(uintptr_t)buffer, buffer, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(address + 1, 0, 1));
	must(cuMemFree(address));
}

static void stream_ordered_memory_comes_back_in_order(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address;
	CUstream stream;

	(void)state;
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	must(cuMemAllocAsync(&address, MIB, stream));
	must(launch_slow(stream));
	must(cuMemFreeAsync(address, stream));
	assert_int_equal(before - free_bytes(), 2 * MIB);

	must(cuStreamSynchronize(stream));
	assert_int_equal(free_bytes(), before);
	must(cuStreamDestroy(stream));
}

/* It ended with its context, before the stream of another came to it. */
static void free_in_order_gives_nothing_else_back(void **state)
{
	CUdeviceptr address, again;
	CUcontext ctx, popped;
	CUstream stream;

	(void)state;
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	must(cuCtxCreate(&ctx, NULL, 0, fixture.device));
	must(cuMemAlloc(&address, MIB));
	must(cuCtxPopCurrent(&popped));
	must(launch_slow(stream));
	must(cuMemFreeAsync(address, stream));
	must(cuCtxDestroy(ctx));
	must(cuMemAlloc(&again, MIB));
	assert_int_equal(again, address);

	must(cuStreamSynchronize(stream));
	must(cuMemFree(again));
	must(cuStreamDestroy(stream));
}

static void a_context_gives_back_all_it_held(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address;
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, fixture.device));
	must(cuMemAlloc(&address, MIB));
	must(cuMemAlloc(&address, MIB));
	assert_true(before - free_bytes() > 2 * MIB);

	must(cuCtxDestroy(ctx));
	assert_int_equal(free_bytes(), before);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address));
}

static void old_entry_points_allocate_below_4_gib(void **state)
{
	const size_t before = free_bytes();
	unsigned address;
	int value = 5;

	(void)state;
	must(alloc_v1(&address, 4096));
	must(copy_to_v1(address, &value, sizeof(value)));
	assert_int_equal(read_int(address, 0), 5);
	assert_int_equal(before - free_bytes(), 4096);

	must(free_v1(address));
	assert_int_equal(free_bytes(), before);
}

/* ThreadSanitizer takes 10 s for as many as there are elsewhere, and sees one thread. */
#if defined(__SANITIZE_THREAD__)
#define MANY 5000
#else
#define MANY 50000
#endif

static void many_allocations_may_live(void **state)
{
	const size_t count = MANY, before = free_bytes();
	CUdeviceptr *addresses = calloc(count, sizeof(*addresses));

	(void)state;
	for (size_t i = 0; i < count; i++)
		must(cuMemAlloc(&addresses[i], 1 + i % 2000));
	for (size_t i = 0; i < count; i += 2)
		must(cuMemFree(addresses[i]));
	for (size_t i = 0; i < count; i += 2)
		must(cuMemAlloc(&addresses[i], 512));
	for (size_t i = 0; i < count; i++)
		must(cuMemFree(addresses[i]));

	assert_int_equal(free_bytes(), before);
	free(addresses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alloc_takes_and_free_gives_rounded_bytes),
		cmocka_unit_test(either_half_of_the_info_may_be_left_out),
		cmocka_unit_test(free_returns_once_the_machine_has_the_bytes),
		cmocka_unit_test(alloc_of_nothing_is_refused),
		cmocka_unit_test(alloc_beyond_the_device_is_refused),
		cmocka_unit_test(free_of_what_is_no_allocation_is_refused),
		cmocka_unit_test(memory_is_zero_and_its_own),
		cmocka_unit_test(pitch_is_the_width_rounded_up),
		cmocka_unit_test(addresses_tell_their_allocation),
		cmocka_unit_test(attributes_of_unknown_memory_are_nothing),
		cmocka_unit_test(managed_memory_is_seen_by_both_sides),
		cmocka_unit_test(host_memory_takes_nothing_of_the_device),
		cmocka_unit_test(registered_memory_is_known_until_it_is_not),
		cmocka_unit_test(copies_2d_move_only_their_rectangle),
		cmocka_unit_test(copies_3d_respect_slices),
		cmocka_unit_test(copies_beyond_an_allocation_are_refused),
		cmocka_unit_test(stream_ordered_memory_comes_back_in_order),
		cmocka_unit_test(free_in_order_gives_nothing_else_back),
		cmocka_unit_test(a_context_gives_back_all_it_held),
		cmocka_unit_test(old_entry_points_allocate_below_4_gib),
		cmocka_unit_test(many_allocations_may_live),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
