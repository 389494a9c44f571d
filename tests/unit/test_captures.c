/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Captures in progress are counted, whatever their ends answer: a count that stays up makes every
 * launch ask the driver for ever.
 */
#include "unit.h"
#include "fake_driver.h"
#include "governor/governor.h"
#include "hooks/hooks.h"
#include "partition/partition.h"

static int counted_by_partition;

void partition_capture_began(void)
{
	counted_by_partition++;
}

void partition_capture_ended(void)
{
	counted_by_partition--;
}

static CUresult end_result;
static bool end_ends;

static CUresult begin_capture(CUstream stream, CUstreamCaptureMode mode)
{
	(void)stream;
	(void)mode;
	fake.capturing = CU_STREAM_CAPTURE_STATUS_ACTIVE;
	return CUDA_SUCCESS;
}

static CUresult end_capture(CUstream stream, CUgraph *ret_graph)
{
	(void)stream;
	(void)ret_graph;
	if (end_ends)
		fake.capturing = CU_STREAM_CAPTURE_STATUS_NONE;
	return end_result;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	if (!governor_init())
		return -1;
	governor_set_device_count(1);
	driver.cuStreamBeginCapture_v2 = begin_capture;
	driver.cuStreamEndCapture = end_capture;
	return 0;
}

static void end_with(CUresult result, bool is_end)
{
	CUgraph graph;

	end_result = result;
	end_ends = is_end;
	assert_int_equal(hook_cuStreamEndCapture(fake_stream(1), &graph), result);
}

static void every_end_is_counted(void **state)
{
	static const CUresult results[] = {CUDA_SUCCESS, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
		CUDA_ERROR_STREAM_CAPTURE_UNJOINED};

	(void)state;
	for (unsigned i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		assert_non_null(governor_sole_front);
		hook_cuStreamBeginCapture_v2(fake_stream(1), CU_STREAM_CAPTURE_MODE_GLOBAL);
		assert_null(governor_sole_front);
		assert_int_equal(counted_by_partition, 1);
		end_with(results[i], true);
		assert_non_null(governor_sole_front);
		assert_int_equal(counted_by_partition, 0);
	}
}

static void capture_that_goes_on_is_counted_on(void **state)
{
	(void)state;
	hook_cuStreamBeginCapture_v2(fake_stream(1), CU_STREAM_CAPTURE_MODE_GLOBAL);
	end_with(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, false);
	assert_null(governor_sole_front);
	assert_int_equal(counted_by_partition, 1);
	end_with(CUDA_SUCCESS, true);
	assert_non_null(governor_sole_front);
	assert_int_equal(counted_by_partition, 0);
}

/* While another stream captures. */
static void end_without_a_capture_is_not_counted(void **state)
{
	(void)state;
	governor_capture_began();
	end_with(CUDA_ERROR_ILLEGAL_STATE, false);
	assert_null(governor_sole_front);
	governor_capture_ended();
	assert_non_null(governor_sole_front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_end_is_counted, setup),
		cmocka_unit_test_setup(capture_that_goes_on_is_counted_on, setup),
		cmocka_unit_test_setup(end_without_a_capture_is_not_counted, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
