/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How long fills and copies take, and which of them are GPU time, on a machine of two devices that
 * fills 2 MiB, copies 1 MiB within a device and 4 MiB otherwise in a millisecond.
 */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

static CUdeviceptr from, to, foreign;
static CUarray array;
static CUstream streams[2];
static CUevent events[2];
static char pageable[1 << 20];

static int set_up(void **state)
{
	const CUDA_ARRAY_DESCRIPTOR description = {
		.Width = 1024, .Height = 256, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
	CUcontext other;

	if (fixture_setup(state) != 0)
		return -1;
	must(cuMemAlloc(&from, MIB));
	must(cuMemAlloc(&to, MIB));
	must(cuArrayCreate(&array, &description));
	for (unsigned i = 0; i < 2; i++) {
		must(cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
		must(cuEventCreate(&events[i], CU_EVENT_DEFAULT));
	}
	must(cuDevicePrimaryCtxRetain(&other, 1));
	must(cuCtxPushCurrent(other));
	must(cuMemAlloc(&foreign, MIB));
	must(cuCtxPopCurrent(&other));
	return 0;
}

/* Of this process, on all devices. */
static uint64_t gpu_time_ns(void)
{
	static char text[4096];
	uint64_t sum_ns = 0;
	FILE *account = popen(SIMGPU_COMMAND " account --json", "r");

	assert_non_null(account);
	text[fread(text, 1, sizeof(text) - 1, account)] = '\0';
	assert_int_equal(pclose(account), 0);
	char *at = strstr(text, "\"processes\"");
	assert_non_null(at);
	while ((at = strstr(at, "\"gpu_time_ns\"")) != NULL) {
		at = strchr(at, ':') + 1;
		sum_ns += strtoull(at, NULL, 10);
	}
	return sum_ns;
}

/* When begin() was called. */
static uint64_t measured_before_ns;

/* What is put on the first stream from here on is looked at by assert_took(), in time between
 * events and in GPU time. */
static void begin(void)
{
	measured_before_ns = gpu_time_ns();
	must(cuEventRecord(events[0], streams[0]));
}

static void assert_took(double ms, uint64_t gpu_ns)
{
	float elapsed_ms;

	must(cuEventRecord(events[1], streams[0]));
	must(cuCtxSynchronize());
	must(cuEventElapsedTime(&elapsed_ms, events[0], events[1]));
	/* The command came some time after the first event. */
	assert_true(elapsed_ms > ms - 0.001);
	assert_int_equal(gpu_time_ns() - measured_before_ns, gpu_ns);
}

static void fill_takes_gpu_time(void **state)
{
	(void)state;
	begin();
	must(cuMemsetD8Async(to, 1, MIB, streams[0]));
	assert_took(0.5, 500000);
	begin();
	must(cuMemsetD2D32Async(to, 1024, 1, 128, 512, streams[0]));
	assert_took(0.125, 125000);
}

static void copy_within_a_device_takes_gpu_time(void **state)
{
	(void)state;
	begin();
	must(cuMemcpyDtoDAsync(to, from, MIB, streams[0]));
	assert_took(1, 1000000);
	begin();
	must(cuMemcpyAsync(to, from, MIB / 2, streams[0]));
	assert_took(0.5, 500000);
}

static void array_is_memory_of_its_device(void **state)
{
	(void)state;
	begin();
	must(cuMemcpyDtoA(array, 0, from, 4096));
	assert_took(0, 3906);
}

static void batch_copies_one_after_the_other(void **state)
{
	CUdeviceptr dsts[] = {to, to + MIB / 2};
	CUdeviceptr srcs[] = {from, (CUdeviceptr)(uintptr_t)pageable};
	size_t sizes[] = {MIB / 2, MIB / 2}, first = 0;
	CUmemcpyAttributes order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};

	(void)state;
	must(cuMemsetD8(from, 7, MIB));
	must(cuCtxSynchronize());
	memset(pageable, 9, sizeof(pageable));
	begin();
	must(cuMemcpyBatchAsync(dsts, srcs, sizes, 2, &order, &first, 1, streams[0]));
	assert_took(0.5 + 0.125, 500000);
	assert_int_equal(read_int(to, MIB / 8 - 1), 0x07070707);
	assert_int_equal(read_int(to, MIB / 8), 0x09090909);
}

static void batch_of_nonsense_is_refused(void **state)
{
	size_t size = 1, first[] = {0, 1};
	CUmemcpyAttributes order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM},
			   none = {0};

	(void)state;
	begin();
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(&to, &from, &size, 1, &order, first, 1, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(&to, &from, &size, 1, &order, first, 2, streams[0]));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(&to, &from, &size, 1, &order, first + 1, 1, streams[0]));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(&to, &from, &size, 1, &none, first, 1, streams[0]));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(NULL, &from, &size, 1, &order, first, 1, streams[0]));
	assert_took(0, 0);
}

/* Two layers of a pitched box, and a box out of an array. */
static void batch_copies_boxes(void **state)
{
	CUDA_MEMCPY3D_BATCH_OP ops[2] = {
		{.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER,
			 .op.ptr = {.ptr = from, .rowLength = 1024, .layerHeight = 16}},
			.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER, .op.ptr = {.ptr = to}},
			.extent = {512, 8, 2},
			.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM},
		{.src = {.type = CU_MEMCPY_OPERAND_TYPE_ARRAY,
			 .op.array = {.array = array, .offset = {1, 2, 0}}},
			.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER,
				.op.ptr = {.ptr = to + 65536}},
			.extent = {4, 2, 1},
			.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM}};
	CUDA_MEMCPY2D marks = {.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = pageable,
		.srcPitch = 4096,
		.dstMemoryType = CU_MEMORYTYPE_ARRAY,
		.dstArray = array,
		.WidthInBytes = 4096,
		.Height = 4};

	(void)state;
	for (unsigned i = 0; i < MIB / 4; i++)
		((unsigned *)pageable)[i] = i;
	must(cuMemcpyHtoD(from, pageable, MIB));
	must(cuMemcpy2D(&marks));
	begin();
	must(cuMemcpy3DBatchAsync(2, ops, 0, streams[0]));
	assert_took(0, 8192 * 1000000ull / MIB + 32 * 1000000ull / MIB);
	assert_int_equal(read_int(to, 128), 256);          /* second row */
	assert_int_equal(read_int(to, 8 * 128), 16 * 256); /* second layer */
	assert_int_equal(read_int(to + 65536, 0), 2 * 1024 + 1);
	assert_int_equal(read_int(to + 65536, 7), 3 * 1024 + 4);
	ops[1].extent.depth = 0;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemcpy3DBatchAsync(1, &ops[1], 0, streams[0]));
}

static void copy_with_a_host_side_takes_none(void **state)
{
	(void)state;
	begin();
	must(cuMemcpyHtoDAsync(to, pageable, MIB, streams[0]));
	assert_took(0.25, 0);
	begin();
	must(cuMemcpyAsync((CUdeviceptr)(uintptr_t)pageable, from, MIB, streams[0]));
	assert_took(0.25, 0);
}

static void copy_between_devices_takes_none(void **state)
{
	(void)state;
	begin();
	must(cuMemcpyDtoDAsync(foreign, from, MIB, streams[0]));
	assert_took(0.25, 0);
}

static void fills_run_beside_each_other(void **state)
{
	(void)state;
	must(cuStreamSynchronize(streams[1]));
	begin();
	/* Held back until both are there. */
	must(launch_slow(streams[0]));
	must(cuEventRecord(events[1], streams[0]));
	must(cuStreamWaitEvent(streams[1], events[1], 0));
	must(cuMemsetD8Async(to, 1, MIB, streams[0]));
	must(cuMemsetD8Async(from, 1, MIB, streams[1]));
	assert_took(20.5, 20500000);
}

static void fill_of_nothing_takes_nothing(void **state)
{
	(void)state;
	begin();
	must(cuMemsetD8Async(to, 1, 0, streams[0]));
	assert_took(0, 0);
}

static void node_takes_what_the_call_does(void **state)
{
	CUgraph graph;
	CUgraphExec exec;

	(void)state;
	must(cuStreamBeginCapture(streams[0], CU_STREAM_CAPTURE_MODE_RELAXED));
	must(cuMemsetD8Async(to, 1, MIB, streams[0]));
	must(cuMemcpyDtoDAsync(to, from, MIB, streams[0]));
	must(cuStreamEndCapture(streams[0], &graph));
	must(cuGraphInstantiate(&exec, graph, 0));
	begin();
	must(cuGraphLaunch(exec, streams[0]));
	assert_took(1.5, 1500000);
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fill_takes_gpu_time),
		cmocka_unit_test(copy_within_a_device_takes_gpu_time),
		cmocka_unit_test(array_is_memory_of_its_device),
		cmocka_unit_test(batch_copies_one_after_the_other),
		cmocka_unit_test(batch_of_nonsense_is_refused),
		cmocka_unit_test(batch_copies_boxes),
		cmocka_unit_test(copy_with_a_host_side_takes_none),
		cmocka_unit_test(copy_between_devices_takes_none),
		cmocka_unit_test(fills_run_beside_each_other),
		cmocka_unit_test(fill_of_nothing_takes_nothing),
		cmocka_unit_test(node_takes_what_the_call_does),
	};

	return cmocka_run_group_tests(tests, set_up, fixture_teardown);
}
