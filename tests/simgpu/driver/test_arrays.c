/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arrays, mipmapped arrays, external memory and textures of the simulated driver.
 */
#include "test_support.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)

static size_t free_bytes(void)
{
	size_t available, total;

	must(cuMemGetInfo(&available, &total));
	return available;
}

static CUDA_ARRAY3D_DESCRIPTOR floats(size_t width, size_t height, size_t depth, unsigned flags)
{
	return (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = width,
		.Height = height,
		.Depth = depth,
		.Format = CU_AD_FORMAT_FLOAT,
		.NumChannels = 1,
		.Flags = flags,
	};
}

/* What an array of that description takes. */
static size_t taken(const CUDA_ARRAY3D_DESCRIPTOR *description)
{
	const size_t before = free_bytes();
	CUarray array;

	must(cuArray3DCreate(&array, description));
	const size_t bytes = before - free_bytes();

	must(cuArrayDestroy(array));
	assert_int_equal(free_bytes(), before);
	return bytes;
}

static void an_array_takes_more_than_its_elements(void **state)
{
	(void)state;
	assert_int_equal(
		taken(&(CUDA_ARRAY3D_DESCRIPTOR){1, 0, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0}), 512);
	assert_int_equal(
		taken(&(CUDA_ARRAY3D_DESCRIPTOR){1, 1, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0}),
		64 * KIB);
	const CUDA_ARRAY3D_DESCRIPTOR even = floats(1024, 1024, 0, 0);
	const CUDA_ARRAY3D_DESCRIPTOR layers = floats(16, 16, 10, CUDA_ARRAY3D_LAYERED);
	const CUDA_ARRAY3D_DESCRIPTOR space = floats(16, 16, 10, 0);
	const CUDA_ARRAY3D_DESCRIPTOR rows = floats(16, 0, 10, CUDA_ARRAY3D_LAYERED);

	assert_int_equal(taken(&even), 4096 * KIB);
	assert_int_equal(taken(&layers), 10 * 64 * KIB);
	assert_int_equal(taken(&space), 10 * 64 * KIB);
	assert_int_equal(taken(&rows), 10 * 512);
}

static void descriptions_that_make_no_sense_are_refused(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR wrong[] = {
		floats(0, 0, 0, 0),
		floats(131073, 0, 0, 0),
		floats(16, 65537, 0, 0),
		floats(16, 0, 16, 0),
		floats(16, 16, 0, CUDA_ARRAY3D_LAYERED),
		floats(16, 8, 6, CUDA_ARRAY3D_CUBEMAP),
		floats(16, 16, 5, CUDA_ARRAY3D_CUBEMAP),
		floats(16, 16, 8, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED),
		{16, 16, 0, CU_AD_FORMAT_FLOAT, 3, 0},
		{16, 16, 0, (CUarray_format)0x7f, 1, 0},
	};
	CUarray array = (CUarray)7;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_cuda(CUDA_ERROR_INVALID_VALUE, cuArray3DCreate(&array, &wrong[i]));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuArray3DCreate(&array, NULL));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuArrayDestroy(NULL));
	const CUDA_ARRAY3D_DESCRIPTOR large = floats(32768, 32768, 0, 0);

	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuArray3DCreate(&array, &large));
	assert_ptr_equal(array, (CUarray)7);
}

static void arrays_tell_what_they_are(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = floats(30, 20, 6, CUDA_ARRAY3D_LAYERED);
	CUDA_ARRAY3D_DESCRIPTOR told;
	CUDA_ARRAY_DESCRIPTOR plane;
	CUarray array;

	(void)state;
	must(cuArray3DCreate(&array, &description));
	must(cuArray3DGetDescriptor(&told, array));
	assert_int_equal(told.Width, 30);
	assert_int_equal(told.Height, 20);
	assert_int_equal(told.Depth, 6);
	assert_int_equal(told.Format, CU_AD_FORMAT_FLOAT);
	assert_int_equal(told.NumChannels, 1);
	assert_int_equal(told.Flags, CUDA_ARRAY3D_LAYERED);
	must(cuArrayGetDescriptor(&plane, array));
	assert_int_equal(plane.Width, 30);
	assert_int_equal(plane.Height, 20);
	must(cuArrayDestroy(array));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuArrayDestroy(array));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuArrayGetDescriptor(&plane, array));
}

static void only_deferred_arrays_tell_what_they_need(void **state)
{
	CUDA_ARRAY3D_DESCRIPTOR description = floats(100, 100, 0, 0);
	CUDA_ARRAY_MEMORY_REQUIREMENTS requirements;
	CUDA_ARRAY_SPARSE_PROPERTIES sparse;
	const size_t before = free_bytes();
	CUarray array;

	(void)state;
	must(cuArray3DCreate(&array, &description));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuArrayGetMemoryRequirements(&requirements, array, fixture.device));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuArrayGetSparseProperties(&sparse, array));
	must(cuArrayDestroy(array));

	description.Flags = CUDA_ARRAY3D_DEFERRED_MAPPING;
	must(cuArray3DCreate(&array, &description));
	must(cuArrayGetMemoryRequirements(&requirements, array, fixture.device));
	assert_int_equal(requirements.size, 64 * KIB);
	assert_int_equal(free_bytes(), before);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoA(array, 0, "a", 1));
	must(cuArrayDestroy(array));

	description.Flags = CUDA_ARRAY3D_SPARSE;
	must(cuArray3DCreate(&array, &description));
	must(cuArrayGetSparseProperties(&sparse, array));
	assert_int_equal(sparse.tileExtent.width * sparse.tileExtent.height * 4, 64 * KIB);
	assert_int_equal(free_bytes(), before);
	must(cuArrayDestroy(array));
}

static void linear_copies_go_through_an_array(void **state)
{
	const CUDA_ARRAY_DESCRIPTOR row = {256, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1};
	char text[8] = "";
	CUarray arrays[2];
	CUdeviceptr linear;

	(void)state;
	must(cuArrayCreate(&arrays[0], &row));
	must(cuArrayCreate(&arrays[1], &row));
	must(cuMemAlloc(&linear, 256));
	must(cuMemcpyHtoA(arrays[0], 10, "abcdef", 7));
	must(cuMemcpyAtoA(arrays[1], 20, arrays[0], 10, 7));
	must(cuMemcpyAtoD(linear, arrays[1], 20, 7));
	must(cuMemcpyDtoA(arrays[0], 100, linear, 7));
	must(cuMemcpyAtoHAsync(text, arrays[0], 100, 7, NULL));
	must(cuStreamSynchronize(NULL));
	assert_string_equal(text, "abcdef");
	must(cuMemcpyHtoAAsync(arrays[0], 0, "xyz", 4, NULL));
	must(cuMemcpyAtoH(text, arrays[0], 0, 4));
	assert_string_equal(text, "xyz");
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoA(arrays[0], 250, "abcdef", 7));

	must(cuMemFree(linear));
	must(cuArrayDestroy(arrays[0]));
	must(cuArrayDestroy(arrays[1]));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuMemcpyAtoH(text, arrays[0], 0, 4));
}

static void copies_3d_go_through_an_array(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = floats(4, 3, 2, 0);
	float from[2][3][4], to[2][3][4] = {0};
	CUarray array;

	(void)state;
	for (size_t i = 0; i < 24; i++)
		(&from[0][0][0])[i] = (float)i;
	must(cuArray3DCreate(&array, &description));
	CUDA_MEMCPY3D copy = {
		.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = from,
		.srcPitch = 16,
		.srcHeight = 3,
		.dstMemoryType = CU_MEMORYTYPE_ARRAY,
		.dstArray = array,
		.WidthInBytes = 16,
		.Height = 3,
		.Depth = 2,
	};
	must(cuMemcpy3D(&copy));
	copy = (CUDA_MEMCPY3D){
		.srcMemoryType = CU_MEMORYTYPE_ARRAY,
		.srcArray = array,
		.srcXInBytes = 4,
		.srcY = 1,
		.srcZ = 1,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = to,
		.dstPitch = 16,
		.dstHeight = 3,
		.WidthInBytes = 8,
		.Height = 2,
		.Depth = 1,
	};
	must(cuMemcpy3D(&copy));
	assert_true(to[0][0][0] == from[1][1][1] && to[0][1][1] == from[1][2][2]);
	assert_true(to[0][0][2] == 0 && to[0][2][0] == 0);
	copy.WidthInBytes = 16;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&copy));
	must(cuArrayDestroy(array));
}

static void levels_and_planes_are_arrays(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = floats(256, 128, 0, 0);
	const CUDA_ARRAY_DESCRIPTOR nv12 = {64, 32, CU_AD_FORMAT_NV12, 3};
	const size_t before = free_bytes();
	CUDA_ARRAY_DESCRIPTOR told;
	CUmipmappedArray mipmap;
	CUarray array, parts[2], again;
	char byte = 0;

	(void)state;
	must(cuMipmappedArrayCreate(&mipmap, &description, 100));
	assert_int_equal(before - free_bytes(), 128 * KIB + 8 * 64 * KIB);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMipmappedArrayGetLevel(&array, mipmap, 9));
	must(cuMipmappedArrayGetLevel(&array, mipmap, 2));
	must(cuMipmappedArrayGetLevel(&again, mipmap, 2));
	assert_ptr_equal(array, again);
	must(cuArrayGetDescriptor(&told, array));
	assert_int_equal(told.Width, 64);
	assert_int_equal(told.Height, 32);
	must(cuMemcpyHtoA(array, 0, "a", 1));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuArrayDestroy(array));
	must(cuMipmappedArrayDestroy(mipmap));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuArrayGetDescriptor(&told, array));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuMipmappedArrayDestroy(mipmap));

	must(cuArrayCreate(&array, &nv12));
	must(cuArrayGetPlane(&parts[0], array, 0));
	must(cuArrayGetPlane(&parts[1], array, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuArrayGetPlane(&again, array, 2));
	must(cuMemcpyHtoA(parts[0], 0, "b", 1));
	must(cuMemcpyHtoA(parts[1], 0, "c", 1));
	must(cuMemcpyAtoH(&byte, parts[0], 0, 1));
	assert_int_equal(byte, 'b');
	must(cuArrayDestroy(array));
	assert_int_equal(free_bytes(), before);
}

static void a_context_takes_its_arrays_along(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = floats(256, 256, 0, 0);
	CUcontext ctx;
	CUarray array;

	(void)state;
	const size_t before = free_bytes();

	must(cuCtxCreate(&ctx, NULL, 0, fixture.device));
	must(cuArray3DCreate(&array, &description));
	must(cuCtxDestroy(ctx));
	assert_int_equal(free_bytes(), before);
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuArrayDestroy(array));
}

static void external_memory_is_shared_and_takes_nothing(void **state)
{
	const size_t before = free_bytes(), size = 2 * 1024 * KIB;
	CUDA_EXTERNAL_MEMORY_HANDLE_DESC handle = {
		.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD, .size = size};
	const CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer = {.offset = 4096, .size = 4096};
	const CUDA_EXTERNAL_MEMORY_BUFFER_DESC beyond = {.offset = 4096, .size = size};
	const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC image = {
		.arrayDesc = floats(256, 256, 0, 0), .numLevels = 1};
	CUexternalMemory external;
	CUmipmappedArray mipmap;
	CUdeviceptr address;
	char text[8] = "";

	(void)state;
	handle.handle.fd = -1;
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuImportExternalMemory(&external, &handle));
	handle.handle.fd = memfd_create("external", 0);
	assert_int_equal(ftruncate(handle.handle.fd, (off_t)size), 0);
	assert_int_equal(pwrite(handle.handle.fd, "theirs", 7, 4096), 7);
	must(cuImportExternalMemory(&external, &handle));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuExternalMemoryGetMappedBuffer(&address, external, &beyond));
	must(cuExternalMemoryGetMappedBuffer(&address, external, &buffer));
	must(cuExternalMemoryGetMappedMipmappedArray(&mipmap, external, &image));
	must(cuMemcpyDtoH(text, address, 7));
	assert_string_equal(text, "theirs");
	assert_int_equal(free_bytes(), before);

	must(cuDestroyExternalMemory(external));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuDestroyExternalMemory(external));
	must(cuMemFree(address));
	must(cuMipmappedArrayDestroy(mipmap));
	assert_int_equal(free_bytes(), before);
}

static void textures_remember_their_resource(void **state)
{
	const CUDA_ARRAY_DESCRIPTOR row = {256, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1};
	CUDA_RESOURCE_DESC resource = {.resType = CU_RESOURCE_TYPE_ARRAY}, told;
	const CUDA_TEXTURE_DESC texture = {.filterMode = CU_TR_FILTER_MODE_LINEAR};
	CUsurfObject surface;
	CUtexObject object;

	(void)state;
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuTexObjectCreate(&object, &resource, &texture, NULL));
	must(cuArrayCreate(&resource.res.array.hArray, &row));
	must(cuTexObjectCreate(&object, &resource, &texture, NULL));
	must(cuTexObjectGetResourceDesc(&told, object));
	assert_ptr_equal(told.res.array.hArray, resource.res.array.hArray);
	must(cuSurfObjectCreate(&surface, &resource));
	must(cuSurfObjectDestroy(surface));
	must(cuTexObjectDestroy(object));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuTexObjectDestroy(object));
	must(cuArrayDestroy(resource.res.array.hArray));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_array_takes_more_than_its_elements),
		cmocka_unit_test(descriptions_that_make_no_sense_are_refused),
		cmocka_unit_test(arrays_tell_what_they_are),
		cmocka_unit_test(only_deferred_arrays_tell_what_they_need),
		cmocka_unit_test(linear_copies_go_through_an_array),
		cmocka_unit_test(copies_3d_go_through_an_array),
		cmocka_unit_test(levels_and_planes_are_arrays),
		cmocka_unit_test(a_context_takes_its_arrays_along),
		cmocka_unit_test(external_memory_is_shared_and_takes_nothing),
		cmocka_unit_test(textures_remember_their_resource),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
