/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Virtual memory management and multicast of the simulated driver, in one process.
 */
#include "test_support.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB  ((size_t)1 << 20)
#define UNIT (2 * MIB)

static const CUmemAllocationProp on_device_0 = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static size_t free_bytes(void)
{
	size_t available, total;

	must(cuMemGetInfo(&available, &total));
	return available;
}

static CUmemGenericAllocationHandle create(size_t size)
{
	CUmemGenericAllocationHandle handle;

	must(cuMemCreate(&handle, size, &on_device_0, 0));
	return handle;
}

static CUdeviceptr reserve(size_t size)
{
	CUdeviceptr address;

	must(cuMemAddressReserve(&address, size, 0, 0, 0));
	return address;
}

static CUresult set_access(CUdeviceptr address, size_t size, CUmemAccess_flags flags)
{
	const CUmemAccessDesc desc = {.location = on_device_0.location, .flags = flags};

	return cuMemSetAccess(address, size, &desc, 1);
}

static void granularity_is_that_of_the_device(void **state)
{
	CUmemAllocationProp prop = on_device_0;
	size_t bytes = 0;

	(void)state;
	must(cuMemGetAllocationGranularity(&bytes, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	assert_int_equal(bytes, UNIT);
	must(cuMemGetAllocationGranularity(&bytes, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
	assert_int_equal(bytes, UNIT);

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemGetAllocationGranularity(NULL, &prop, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemGetAllocationGranularity(&bytes, NULL, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemGetAllocationGranularity(&bytes, &prop, 7));
	prop.location.id = 9;
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, cuMemGetAllocationGranularity(&bytes, &prop, 0));
}

static CUresult create_with(CUmemAllocationProp prop, size_t size)
{
	CUmemGenericAllocationHandle handle = 7;
	const CUresult result = cuMemCreate(&handle, size, &prop, 0);

	assert_int_equal(handle == 7, result != CUDA_SUCCESS);
	if (result == CUDA_SUCCESS)
		must(cuMemRelease(handle));
	return result;
}

static void create_refuses_what_is_documented(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp prop = on_device_0;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, create_with(prop, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, create_with(prop, MIB));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, UNIT, NULL, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemCreate(NULL, UNIT, &prop, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, UNIT, &prop, 1));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, create_with(prop, (size_t)1 << 40));
	prop.type = CU_MEM_ALLOCATION_TYPE_INVALID;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, create_with(prop, UNIT));
	prop = on_device_0;
	prop.location.id = 2;
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, create_with(prop, UNIT));
	prop.location.id = -1;
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, create_with(prop, UNIT));
	prop = on_device_0;
	prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, create_with(prop, UNIT));
	prop.location.type = CU_MEM_LOCATION_TYPE_HOST;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, create_with(prop, UNIT));
	prop.location.type = CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, create_with(prop, UNIT));
}

static void create_needs_no_context_and_takes_from_its_own_device(void **state)
{
	CUmemAllocationProp prop = on_device_0;
	CUmemGenericAllocationHandle handle;
	CUcontext other;

	(void)state;
	const size_t before = free_bytes();
	must(cuCtxCreate(&other, NULL, 0, 1));
	const size_t before_there = free_bytes();
	must(cuCtxPopCurrent(NULL));
	must(cuCtxSetCurrent(NULL));
	prop.location.id = 1;
	must(cuMemCreate(&handle, 5 * UNIT, &prop, 0));
	must(cuCtxSetCurrent(other));
	assert_int_equal(before_there - free_bytes(), 5 * UNIT);
	must(cuMemRelease(handle));
	assert_int_equal(before_there, free_bytes());
	must(cuCtxDestroy(other));
	must(cuCtxSetCurrent(fixture.ctx));
	assert_int_equal(before, free_bytes());
}

static void host_memory_takes_nothing_of_a_device(void **state)
{
	const CUmemLocationType types[] = {
		CU_MEM_LOCATION_TYPE_HOST, CU_MEM_LOCATION_TYPE_HOST_NUMA};
	const size_t before = free_bytes();

	(void)state;
	for (int i = 0; i < 2; i++) {
		const CUmemAllocationProp prop = {
			.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {.type = types[i]}};
		const CUmemAccessDesc desc = {.location = prop.location, .flags = 3};
		CUmemGenericAllocationHandle handle;
		const CUdeviceptr address = reserve(UNIT);

		must(cuMemCreate(&handle, UNIT, &prop, 0));
		assert_int_equal(before, free_bytes());
		must(cuMemMap(address, UNIT, 0, handle, 0));
		must(cuMemSetAccess(address, UNIT, &desc, 1));
		*(volatile int *)(uintptr_t)address = 5;
		assert_int_equal(read_int(address, 0), 5);
		must(cuMemUnmap(address, UNIT));
		must(cuMemRelease(handle));
		must(cuMemAddressFree(address, UNIT));
	}
}

static void memory_lives_until_released_and_unmapped(void **state)
{
	const size_t before = free_bytes();
	const CUmemGenericAllocationHandle handle = create(UNIT);
	const CUdeviceptr address = reserve(2 * UNIT);

	(void)state;
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, handle, 0));
	must(cuMemRelease(handle));
	assert_int_equal(before - free_bytes(), UNIT);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle));
	must(cuMemUnmap(address, UNIT));
	assert_int_equal(before - free_bytes(), UNIT);
	must(cuMemUnmap(address + UNIT, UNIT));
	assert_int_equal(before, free_bytes());
	must(cuMemAddressFree(address, 2 * UNIT));
}

static void retained_handle_is_the_same_and_keeps_the_memory(void **state)
{
	const size_t before = free_bytes();
	const CUmemGenericAllocationHandle handle = create(UNIT);
	const CUdeviceptr address = reserve(UNIT);
	CUmemGenericAllocationHandle retained = 0;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemRetainAllocationHandle(&retained, (void *)(uintptr_t)address));
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(cuMemRelease(handle));
	must(cuMemRetainAllocationHandle(&retained, (void *)(uintptr_t)(address + 12345)));
	assert_true(retained == handle);
	must(cuMemUnmap(address, UNIT));
	assert_int_equal(before - free_bytes(), UNIT);
	must(cuMemRelease(retained));
	assert_int_equal(before, free_bytes());
	must(cuMemAddressFree(address, UNIT));
}

static void map_refuses_what_is_documented(void **state)
{
	const CUmemGenericAllocationHandle handle = create(2 * UNIT);
	const CUdeviceptr address = reserve(4 * UNIT);

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, 0, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, MIB, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address + MIB, UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, UNIT, UNIT, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, 3 * UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, UNIT, 0, handle, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, UNIT, 0, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(64 * UNIT, UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address + 3 * UNIT, 2 * UNIT, 0, handle, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address + UNIT, UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMap(address, 2 * UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(address, 4 * UNIT));

	must(cuMemUnmap(address + UNIT, UNIT));
	must(cuMemRelease(handle));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(address, UNIT));
	must(cuMemAddressFree(address, 4 * UNIT));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(address, 4 * UNIT));
}

static void unmap_takes_whole_mappings_and_several(void **state)
{
	const CUmemGenericAllocationHandle handle = create(2 * UNIT);
	const CUdeviceptr address = reserve(5 * UNIT);

	(void)state;
	must(cuMemMap(address, 2 * UNIT, 0, handle, 0));
	must(cuMemMap(address + 2 * UNIT, UNIT, 0, handle, 0));
	must(cuMemMap(address + 4 * UNIT, UNIT, 0, handle, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address, UNIT));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address + UNIT, UNIT));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(address, 5 * UNIT));
	must(cuMemUnmap(address, 3 * UNIT));
	must(cuMemUnmap(address + 4 * UNIT, UNIT));
	must(cuMemRelease(handle));
	must(cuMemAddressFree(address, 5 * UNIT));
}

static void reserve_obeys_alignment_and_hint(void **state)
{
	CUdeviceptr address, again;

	(void)state;
	must(cuMemAddressReserve(&address, UNIT, 64 * UNIT, 0, 0));
	assert_int_equal(address % (64 * UNIT), 0);
	must(cuMemAddressFree(address, UNIT));
	must(cuMemAddressReserve(&again, UNIT, 0, address, 0));
	assert_int_equal(address, again);
	must(cuMemAddressReserve(&address, UNIT, 0, again, 0));
	assert_int_not_equal(address, again);
	must(cuMemAddressFree(address, UNIT));
	must(cuMemAddressFree(again, UNIT));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, 0, 0, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, 100, 0, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, UNIT, 3, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, UNIT, 0, 5, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, UNIT, 0, 0, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(NULL, UNIT, 0, 0, 0));
	assert_cuda(
		CUDA_ERROR_OUT_OF_MEMORY, cuMemAddressReserve(&address, (size_t)1 << 60, 0, 0, 0));
}

static void access_decides_what_may_be_done(void **state)
{
	const CUmemGenericAllocationHandle handle = create(UNIT);
	const CUdeviceptr address = reserve(2 * UNIT);
	unsigned long long flags = 9;
	int value = 3;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, set_access(address, UNIT, 3));
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, handle, 0));
	must(cuMemGetAccess(&flags, &on_device_0.location, address));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(address, &value, sizeof(value)));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(&value, address, sizeof(value)));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(address, 1, 1));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, set_access(address, UNIT, 2));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, set_access(address, MIB, 3));
	must(set_access(address, UNIT, CU_MEM_ACCESS_FLAGS_PROT_READ));
	must(cuMemGetAccess(&flags, &on_device_0.location, address + 5));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READ);
	must(cuMemcpyDtoH(&value, address, sizeof(value)));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(address, &value, sizeof(value)));

	/* All of it or nothing. */
	const CUmemAccessDesc bad[] = {{on_device_0.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
		{{CU_MEM_LOCATION_TYPE_DEVICE, 9}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}};
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, cuMemSetAccess(address, 2 * UNIT, bad, 2));
	must(cuMemGetAccess(&flags, &on_device_0.location, address));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READ);
	must(set_access(address, 2 * UNIT, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	must(cuMemsetD8(address, 1, 2 * UNIT));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(address, 1, 2 * UNIT + 1));

	/* A new mapping starts without. */
	must(cuMemUnmap(address, UNIT));
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(cuMemGetAccess(&flags, &on_device_0.location, address));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
	must(cuMemUnmap(address, 2 * UNIT));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMemGetAccess(&flags, &on_device_0.location, address));
	must(cuMemRelease(handle));
	must(cuMemAddressFree(address, 2 * UNIT));
}

static void kernels_and_copies_work_on_it(void **state)
{
	const CUmemGenericAllocationHandle a = create(UNIT), b = create(UNIT);
	const CUdeviceptr address = reserve(2 * UNIT);

	(void)state;
	must(cuMemMap(address, UNIT, 0, a, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, b, 0));
	must(set_access(address, 2 * UNIT, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	must(cuMemsetD32(address + UNIT - 400, 5, 200));
	must(launch_add(address + UNIT - 64, 2, 32, NULL));
	assert_int_equal(read_int(address + UNIT - 64, 0), 7);
	assert_int_equal(read_int(address + UNIT - 64, 31), 7);
	assert_int_equal(read_int(address + UNIT, 99), 5);

	/* The bytes belong to the allocation, wherever it is mapped. */
	must(cuMemUnmap(address, 2 * UNIT));
	must(cuMemMap(address, UNIT, 0, b, 0));
	must(set_access(address, UNIT, CU_MEM_ACCESS_FLAGS_PROT_READ));
	assert_int_equal(read_int(address, 99), 5);
	must(cuMemUnmap(address, UNIT));
	must(cuMemRelease(a));
	must(cuMemRelease(b));
	must(cuMemAddressFree(address, 2 * UNIT));
}

static void twin_without_access_ends_the_process(void **state)
{
	int status = 0;

	(void)state;
	/* A child of exec only: CUDA does not work after a fork. */
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", "test", "no_access", (char *)NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) ||
		    (WIFEXITED(status) && WEXITSTATUS(status) == 99));
}

/* Ends by SIGSEGV, or where a sanitizer catches it by its exit status. */
static int touch_without_access(void)
{
	void *state = NULL;

	setenv("ASAN_OPTIONS", "exitcode=99:log_path=/dev/null", 1);
	fixture_setup(&state);
	const CUmemGenericAllocationHandle handle = create(UNIT);
	const CUdeviceptr address = reserve(UNIT);

	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(launch_add(address, 1, 1, NULL));
	must(cuCtxSynchronize());
	return 0;
}

static void pointer_tells_what_it_maps(void **state)
{
	const CUmemGenericAllocationHandle handle = create(UNIT);
	const CUdeviceptr address = reserve(2 * UNIT);
	CUmemAllocationProp prop;
	unsigned long long first, second;
	CUdeviceptr base;
	size_t size;
	int device = 9;

	(void)state;
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, handle, 0));
	must(cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address));
	assert_int_equal(device, 0);
	must(cuPointerGetAttribute(&first, CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, address));
	must(cuPointerGetAttribute(&second, CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, address + UNIT));
	assert_true(first == second);
	must(cuMemGetAddressRange(&base, &size, address + UNIT + 5));
	assert_int_equal(base, address + UNIT);
	assert_int_equal(size, UNIT);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address));
	must(cuMemGetAllocationPropertiesFromHandle(&prop, handle));
	assert_memory_equal(&prop, &on_device_0, sizeof(prop));
	must(cuMemUnmap(address, 2 * UNIT));
	must(cuMemRelease(handle));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMemGetAllocationPropertiesFromHandle(&prop, handle));
	must(cuMemAddressFree(address, 2 * UNIT));
}

static void context_that_dies_leaves_it(void **state)
{
	const CUdeviceptr address = reserve(UNIT);
	CUcontext ctx;

	(void)state;
	const size_t before = free_bytes();
	must(cuCtxCreate(&ctx, NULL, 0, 0));
	const CUmemGenericAllocationHandle handle = create(UNIT);
	must(cuMemMap(address, UNIT, 0, handle, 0));
	must(set_access(address, UNIT, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	must(cuCtxDestroy(ctx));
	must(cuCtxSetCurrent(fixture.ctx));
	assert_int_equal(before - free_bytes(), UNIT);
	must(cuMemsetD8(address, 1, UNIT));
	must(cuMemUnmap(address, UNIT));
	must(cuMemRelease(handle));
	must(cuMemAddressFree(address, UNIT));
	assert_int_equal(before, free_bytes());
}

static void import_of_the_own_export_is_the_same_memory(void **state)
{
	const size_t before = free_bytes();
	const CUmemAllocationHandleType fd_type = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	CUmemAllocationProp prop = on_device_0;
	CUmemGenericAllocationHandle handle, imported;
	int fd = -1;

	(void)state;
	prop.requestedHandleTypes = fd_type;
	must(cuMemCreate(&handle, UNIT, &prop, 0));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_FABRIC, 0));
	must(cuMemExportToShareableHandle(&fd, handle, fd_type, 0));
	must(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)fd, fd_type));
	assert_int_equal(before - free_bytes(), UNIT);
	must(cuMemRelease(handle));
	assert_int_equal(before - free_bytes(), UNIT);
	must(cuMemRelease(imported));
	assert_int_equal(before - free_bytes(), UNIT); /* the fd */
	must(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)fd, fd_type));
	close(fd);
	must(cuMemRelease(imported));
	assert_int_equal(before, free_bytes());
}

static void export_and_import_refuse_what_is_documented(void **state)
{
	const CUmemAllocationHandleType fd_type = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	const CUmemGenericAllocationHandle handle = create(UNIT);
	CUmemGenericAllocationHandle imported;
	int fds[2], fd = -1;

	(void)state;
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMemExportToShareableHandle(&fd, handle, fd_type, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemExportToShareableHandle(&fd, 0, fd_type, 0));
	assert_int_equal(fd, -1);
	assert_int_equal(pipe(fds), 0);
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)fds[0], fd_type));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)-1, fd_type));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuMemImportFromShareableHandle(&imported, NULL, CU_MEM_HANDLE_TYPE_FABRIC));
	close(fds[0]);
	close(fds[1]);
	must(cuMemRelease(handle));
}

static void sparse_arrays_are_refused(void **state)
{
	CUarrayMapInfo info = {.resourceType = CU_RESOURCE_TYPE_ARRAY};

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMapArrayAsync(NULL, 1, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMapArrayAsync(&info, 0, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemMapArrayAsync(&info, 1, NULL));
}

static void multicast_costs_nothing_and_keeps_what_is_bound(void **state)
{
	const CUmulticastObjectProp prop = {.numDevices = 2, .size = 4 * UNIT};
	const CUmemGenericAllocationHandle memory = create(UNIT);
	CUmemGenericAllocationHandle object;
	const size_t before = free_bytes();
	size_t bytes;

	(void)state;
	must(cuMulticastGetGranularity(&bytes, &prop, CU_MULTICAST_GRANULARITY_MINIMUM));
	assert_int_equal(bytes, UNIT);
	must(cuMulticastCreate(&object, &prop));
	must(cuMulticastAddDevice(object, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMulticastAddDevice(object, 0));
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, cuMulticastAddDevice(object, 7));
	must(cuMulticastAddDevice(object, 1));
	must(cuMulticastBindMem(object, UNIT, memory, 0, UNIT, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMulticastBindMem(object, UNIT, memory, 0, UNIT, 0));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMulticastBindMem(object, 4 * UNIT, memory, 0, UNIT, 0));
	assert_int_equal(before, free_bytes());
	must(cuMemRelease(memory));
	assert_int_equal(before, free_bytes());
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMulticastUnbind(object, 0, 0, UNIT));
	must(cuMulticastUnbind(object, 0, UNIT, UNIT));
	assert_int_equal(free_bytes(), before + UNIT);
	must(cuMemRelease(object));
}

static void multicast_is_bound_by_address_and_mapped(void **state)
{
	const CUmulticastObjectProp prop = {.numDevices = 1, .size = UNIT};
	const CUmemGenericAllocationHandle memory = create(UNIT);
	const CUdeviceptr address = reserve(2 * UNIT);
	CUmemGenericAllocationHandle object;

	(void)state;
	const size_t before = free_bytes();
	must(cuMemMap(address, UNIT, 0, memory, 0));
	must(cuMulticastCreate(&object, &prop));
	must(cuMulticastAddDevice(object, 0));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuMulticastBindAddr(object, 0, address + UNIT, UNIT, 0));
	must(cuMulticastBindAddr(object, 0, address, UNIT, 0));
	must(cuMemMap(address + UNIT, UNIT, 0, object, 0));
	must(cuMemRelease(memory));
	must(cuMemUnmap(address, UNIT));
	must(cuMemRelease(object));
	assert_int_equal(before, free_bytes());
	must(cuMemUnmap(address + UNIT, UNIT)); /* the last of the object, and so of the memory */
	assert_int_equal(free_bytes(), before + UNIT);
	must(cuMemAddressFree(address, 2 * UNIT));
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(granularity_is_that_of_the_device),
		cmocka_unit_test(create_refuses_what_is_documented),
		cmocka_unit_test(create_needs_no_context_and_takes_from_its_own_device),
		cmocka_unit_test(host_memory_takes_nothing_of_a_device),
		cmocka_unit_test(memory_lives_until_released_and_unmapped),
		cmocka_unit_test(retained_handle_is_the_same_and_keeps_the_memory),
		cmocka_unit_test(map_refuses_what_is_documented),
		cmocka_unit_test(unmap_takes_whole_mappings_and_several),
		cmocka_unit_test(reserve_obeys_alignment_and_hint),
		cmocka_unit_test(access_decides_what_may_be_done),
		cmocka_unit_test(kernels_and_copies_work_on_it),
		cmocka_unit_test(twin_without_access_ends_the_process),
		cmocka_unit_test(pointer_tells_what_it_maps),
		cmocka_unit_test(context_that_dies_leaves_it),
		cmocka_unit_test(import_of_the_own_export_is_the_same_memory),
		cmocka_unit_test(export_and_import_refuse_what_is_documented),
		cmocka_unit_test(sparse_arrays_are_refused),
		cmocka_unit_test(multicast_costs_nothing_and_keeps_what_is_bound),
		cmocka_unit_test(multicast_is_bound_by_address_and_mapped),
	};

	if (argc > 1 && argv[1][0] == 'n')
		return touch_without_access();
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
