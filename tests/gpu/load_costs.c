/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "load.h"

#include <stdlib.h>
#include <time.h>

#define LAUNCHES    128 /* of a batch: less than a stream takes before the host has to wait */
#define WARM        16  /* of them, not counted: the processor has rested */
#define MAX_BATCHES 256
#define REST_NS     4000000 /* between batches, so that the GPU is idle most of the time */
#define EVENTS      1024
#define TRIES       32

static CUfunction kernel(const char *name)
{
	static CUmodule module;
	CUfunction function;

	if (module == NULL)
		MUST(cuModuleLoadData(&module, kernels_ptx));
	MUST(cuModuleGetFunction(&function, module, name));
	return function;
}

static void rest(void)
{
	struct timespec time = {.tv_nsec = REST_NS};

	MUST(cuCtxSynchronize());
	nanosleep(&time, NULL);
}

static double batch_ns(CUfunction nothing)
{
	uint64_t start_ns = 0;

	for (int i = 0; i < LAUNCHES; i++) {
		if (i == WARM)
			start_ns = probe_now_ns();
		probe_launch_empty(nothing, NULL);
	}
	return (double)(probe_now_ns() - start_ns) / (LAUNCHES - WARM);
}

/* Now on the default stream, now on the other. */
static void time_single(CUfunction nothing, CUstream other, double times_ns[LAUNCHES - WARM])
{
	for (int i = 0; i < LAUNCHES; i++) {
		uint64_t start_ns = probe_now_ns();
		probe_launch_empty(nothing, i % 2 == 0 ? NULL : other);
		if (i >= WARM)
			times_ns[i - WARM] = (double)(probe_now_ns() - start_ns);
	}
}

struct load_cost load_measure_launch(int batches)
{
	static double single_ns[MAX_BATCHES * (LAUNCHES - WARM)], means_ns[MAX_BATCHES];
	static double in_turns_ns[MAX_BATCHES * (LAUNCHES - WARM)];
	CUfunction nothing = kernel("gpu_nothing");
	int count = batches < 1 ? 1 : batches > MAX_BATCHES ? MAX_BATCHES : batches;
	CUstream other;
	size_t singles = (size_t)count * (LAUNCHES - WARM);

	for (int i = 0; i < count; i++) {
		rest();
		means_ns[i] = batch_ns(nothing);
		rest();
		time_single(nothing, NULL, single_ns + (size_t)i * (LAUNCHES - WARM));
	}
	MUST(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	for (int i = 0; i < count; i++) {
		rest();
		time_single(nothing, other, in_turns_ns + (size_t)i * (LAUNCHES - WARM));
	}
	MUST(cuCtxSynchronize());
	MUST(cuStreamDestroy(other));
	struct load_cost cost = {
		.batch_ns = probe_median(means_ns, (size_t)count),
		.p50_ns = probe_median(single_ns, singles), /* and sorts them */
		.measured_ns = probe_median(in_turns_ns, singles),
	};
	cost.p99_ns = single_ns[singles * 99 / 100];
	return cost;
}

/* One moment by three clocks. The host's lies between two readings, `width_ns` apart. */
struct moment {
	CUevent event;
	uint64_t timer_ns;
	double host_ns, width_ns;
};

static struct moment see_moment(CUfunction read_clock, CUdeviceptr address)
{
	struct moment moment = {.width_ns = 1e18};
	void *params[] = {&address};

	for (int i = 0; i < TRIES; i++) {
		CUevent event;
		MUST(cuEventCreate(&event, CU_EVENT_DEFAULT));
		MUST(cuCtxSynchronize());
		uint64_t before_ns = probe_now_ns();
		MUST(cuEventRecord(event, NULL));
		MUST(cuLaunchKernel(read_clock, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
		MUST(cuCtxSynchronize());
		double width_ns = (double)(probe_now_ns() - before_ns);
		if (width_ns >= moment.width_ns) {
			MUST(cuEventDestroy(event));
			continue;
		}
		if (moment.event != NULL)
			MUST(cuEventDestroy(moment.event));
		moment.event = event;
		moment.width_ns = width_ns;
		moment.host_ns = (double)before_ns + width_ns / 2;
		MUST(cuMemcpyDtoH(&moment.timer_ns, address, sizeof(moment.timer_ns)));
	}
	return moment;
}

static int compare(const void *left, const void *right)
{
	float a = *(const float *)left, b = *(const float *)right;

	return (a > b) - (a < b);
}

/* Of events close to the one that they are measured from, where a float is fine enough. */
static double event_step_ns(void)
{
	static CUevent events[EVENTS];
	static float times_ms[EVENTS];
	CUfunction nothing = kernel("gpu_nothing");
	double smallest_ns = 0;

	for (int i = 0; i < EVENTS; i++) {
		MUST(cuEventCreate(&events[i], CU_EVENT_DEFAULT));
		MUST(cuEventRecord(events[i], NULL));
		if (i % 3 == 0)
			probe_launch_empty(nothing, NULL);
	}
	MUST(cuCtxSynchronize());
	for (int i = 0; i < EVENTS; i++)
		MUST(cuEventElapsedTime(&times_ms[i], events[0], events[i]));
	qsort(times_ms, EVENTS, sizeof(*times_ms), compare);
	for (int i = 1; i < EVENTS; i++) {
		double step_ns = ((double)times_ms[i] - (double)times_ms[i - 1]) * 1e6;
		if (step_ns > 0.5 && (smallest_ns == 0 || step_ns < smallest_ns))
			smallest_ns = step_ns;
	}
	for (int i = 0; i < EVENTS; i++)
		MUST(cuEventDestroy(events[i]));
	return smallest_ns;
}

struct load_clocks load_compare_clocks(uint64_t time_ns)
{
	struct timespec time = {.tv_sec = (time_t)(time_ns / 1000000000u),
		.tv_nsec = (long)(time_ns % 1000000000u)};
	CUfunction read_clock = kernel("gpu_read_clock");
	CUdeviceptr address;
	float elapsed_ms;

	MUST(cuMemAlloc(&address, sizeof(uint64_t)));
	MUST(cuMemsetD8(address, 0, sizeof(uint64_t)));
	struct moment first = see_moment(read_clock, address);
	nanosleep(&time, NULL);
	struct moment second = see_moment(read_clock, address);
	MUST(cuEventElapsedTime(&elapsed_ms, first.event, second.event));
	double host_ns = second.host_ns - first.host_ns;
	double timer_ns = (double)(second.timer_ns - first.timer_ns);
	struct load_clocks clocks = {
		.events_ppm = ((double)elapsed_ms * 1e6 / host_ns - 1) * 1e6,
		.timer_ppm = timer_ns > 0 ? (timer_ns / host_ns - 1) * 1e6 : 0,
		.error_ppm = (first.width_ns + second.width_ns) / 2 / host_ns * 1e6,
		.event_step_ns = event_step_ns(),
	};
	MUST(cuEventDestroy(first.event));
	MUST(cuEventDestroy(second.event));
	MUST(cuMemFree(address));
	return clocks;
}

uint64_t load_clock_step(void)
{
	CUfunction clock_step = kernel("gpu_clock_step");
	CUdeviceptr address;
	uint64_t step_ns;
	void *params[] = {&address};

	MUST(cuMemAlloc(&address, sizeof(step_ns)));
	MUST(cuMemsetD8(address, 0, sizeof(step_ns)));
	MUST(cuLaunchKernel(clock_step, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	MUST(cuMemcpyDtoH(&step_ns, address, sizeof(step_ns)));
	MUST(cuMemFree(address));
	return step_ns == UINT64_MAX ? 0 : step_ns;
}
