/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "semantics.h"

#include <unistd.h>

#define MS 1000000ull

static CUevent new_event(void)
{
	CUevent event;

	MUST(cuEventCreate(&event, CU_EVENT_DEFAULT));
	return event;
}

static CUstream new_stream(void)
{
	CUstream stream;

	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	return stream;
}

void check_elapsed_negative(void)
{
	probe_open();
	CUfunction spin = probe_kernel("gpu_spin");
	CUstream stream = new_stream();
	CUevent first = new_event(), second = new_event();

	MUST(cuEventRecord(first, stream));
	probe_launch_spin(spin, stream, 2 * MS);
	MUST(cuEventRecord(second, stream));
	MUST(cuStreamSynchronize(stream));

	float forth_ms = semantics_elapsed_ms(first, second);
	float back_ms = semantics_elapsed_ms(second, first);
	probe_say("forth_ms", "%.6f", (double)forth_ms);
	probe_say("back_ms", "%.6f", (double)back_ms);
	float error_ms = forth_ms + back_ms;
	semantics_holds(forth_ms > 0 && back_ms < 0 && error_ms < 0.001f && error_ms > -0.001f);
}

#define STEP_EVENTS 512

/* How far off the lengths between neighbours are when both ends are measured from `base`, beside
 * when one is measured from the other. */
static double largest_error_ns(const CUevent events[STEP_EVENTS], CUevent base)
{
	double largest = 0;

	for (int i = 1; i < STEP_EVENTS; i++) {
		double from_base_ms = (double)semantics_elapsed_ms(base, events[i]) -
				      (double)semantics_elapsed_ms(base, events[i - 1]);
		double direct_ms = (double)semantics_elapsed_ms(events[i - 1], events[i]);
		double error_ns = (from_base_ms - direct_ms) * 1e6;
		largest = error_ns > largest ? error_ns : largest;
		largest = -error_ns > largest ? -error_ns : largest;
	}
	return largest;
}

/* The time between two events is a float: the further apart, the coarser. */
void check_elapsed_step(void)
{
	static CUevent events[STEP_EVENTS];

	probe_open();
	CUfunction empty = probe_kernel("gpu_empty");
	CUstream stream = new_stream();
	CUevent base = new_event();

	MUST(cuEventRecord(base, stream));
	MUST(cuStreamSynchronize(stream));
	sleep(5);
	for (int i = 0; i < STEP_EVENTS; i++) {
		events[i] = new_event();
		probe_launch_empty(empty, stream);
		MUST(cuEventRecord(events[i], stream));
	}
	MUST(cuStreamSynchronize(stream));

	double near_ns = largest_error_ns(events, events[0]);
	double far_ns = largest_error_ns(events, base);
	probe_say("distance_ms", "%.3f", (double)semantics_elapsed_ms(base, events[0]));
	probe_say("error_near_ns", "%.1f", near_ns);
	probe_say("error_far_ns", "%.1f", far_ns);
	semantics_holds(far_ns <= 1000);
}

#define PAIRS 128

enum load { NOTHING, EMPTY_LAUNCH, SPIN_1_MS };

struct kernels {
	CUfunction empty, spin;
	CUstream stream;
};

static void launch(const struct kernels *kernels, enum load load)
{
	if (load == EMPTY_LAUNCH)
		probe_launch_empty(kernels->empty, kernels->stream);
	else if (load == SPIN_1_MS)
		probe_launch_spin(kernels->spin, kernels->stream, MS);
}

/* What two events around a command bill for it, the median of `count`. Queued: behind other work,
 * so that the host is not what is measured. */
static double billed_ns(const struct kernels *kernels, enum load load, bool is_queued, int count)
{
	CUevent begin[PAIRS], end[PAIRS];
	double times_ns[PAIRS];

	if (is_queued)
		probe_launch_spin(kernels->spin, kernels->stream, 5 * MS);
	for (int i = 0; i < count; i++) {
		begin[i] = new_event();
		end[i] = new_event();
		MUST(cuEventRecord(begin[i], kernels->stream));
		launch(kernels, load);
		MUST(cuEventRecord(end[i], kernels->stream));
		if (!is_queued)
			MUST(cuStreamSynchronize(kernels->stream));
	}
	MUST(cuStreamSynchronize(kernels->stream));
	for (int i = 0; i < count; i++) {
		times_ns[i] = (double)semantics_elapsed_ms(begin[i], end[i]) * 1e6;
		MUST(cuEventDestroy(begin[i]));
		MUST(cuEventDestroy(end[i]));
	}
	return probe_median(times_ns, (size_t)count);
}

void check_empty_elapsed(void)
{
	probe_open();
	struct kernels kernels = {
		.empty = probe_kernel("gpu_empty"),
		.spin = probe_kernel("gpu_spin"),
		.stream = new_stream(),
	};

	(void)billed_ns(&kernels, EMPTY_LAUNCH, true, PAIRS); /* warm */
	double queued_ns = billed_ns(&kernels, EMPTY_LAUNCH, true, PAIRS);
	probe_say("pair_alone_queued_ns", "%.0f", billed_ns(&kernels, NOTHING, true, PAIRS));
	probe_say("pair_alone_idle_ns", "%.0f", billed_ns(&kernels, NOTHING, false, PAIRS));
	probe_say("empty_queued_ns", "%.0f", queued_ns);
	probe_say("empty_idle_ns", "%.0f", billed_ns(&kernels, EMPTY_LAUNCH, false, PAIRS));
	probe_say("spin_1ms_queued_ns", "%.0f", billed_ns(&kernels, SPIN_1_MS, true, 16));
	probe_say("spin_1ms_idle_ns", "%.0f", billed_ns(&kernels, SPIN_1_MS, false, 16));
	semantics_holds(queued_ns >= 0 && queued_ns <= 20000);
}

/* Fewer than a stream takes before the host has to wait for it. */
#define CALLS   256
#define BATCHES 15

enum call {
	LAUNCH,
	RECORD,
	SAMPLED_LAUNCH,
	SAMPLE,
	QUERY_ENDED,
	QUERY_RUNNING,
	ELAPSED,
	ELAPSED_OLD,
	CAPTURING,
	RELAX
};

struct cost_setup {
	struct kernels kernels;
	CUevent begin, end, running, old_begin, old_end;
};

static void make_call(const struct cost_setup *setup, enum call call)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUstreamCaptureStatus status;
	CUstream stream = setup->kernels.stream;
	float ms;

	switch (call) {
	case LAUNCH:
		probe_launch_empty(setup->kernels.empty, stream);
		break;
	case RECORD:
		MUST(cuEventRecord(setup->begin, stream));
		break;
	case SAMPLED_LAUNCH:
		MUST(cuEventRecord(setup->begin, stream));
		probe_launch_empty(setup->kernels.empty, stream);
		MUST(cuEventRecord(setup->end, stream));
		break;
	case SAMPLE: /* as the meter does, but that an earlier command is looked at */
		make_call(setup, SAMPLED_LAUNCH);
		(void)cuEventQuery(setup->running);
		make_call(setup, ELAPSED_OLD);
		break;
	case QUERY_ENDED:
		MUST(cuEventQuery(setup->end));
		break;
	case QUERY_RUNNING:
		(void)cuEventQuery(setup->running);
		break;
	case ELAPSED:
		MUST(cuEventElapsedTime(&ms, setup->begin, setup->end));
		break;
	case ELAPSED_OLD:
		MUST(cuEventElapsedTime(&ms, setup->old_begin, setup->old_end));
		break;
	case CAPTURING:
		MUST(cuStreamIsCapturing(stream, &status));
		break;
	case RELAX:
		MUST(cuThreadExchangeStreamCaptureMode(&mode));
		MUST(cuThreadExchangeStreamCaptureMode(&mode));
		break;
	}
}

static double cost_ns(const struct cost_setup *setup, enum call call)
{
	double costs[BATCHES];

	for (int batch = 0; batch < BATCHES; batch++) {
		if (call == QUERY_RUNNING) {
			probe_launch_spin(setup->kernels.spin, setup->kernels.stream, 2 * MS);
			MUST(cuEventRecord(setup->running, setup->kernels.stream));
		}
		uint64_t start_ns = probe_now_ns();
		for (int i = 0; i < CALLS; i++)
			make_call(setup, call);
		costs[batch] = (double)(probe_now_ns() - start_ns) / CALLS;
		MUST(cuStreamSynchronize(setup->kernels.stream));
	}
	return probe_median(costs, BATCHES);
}

void check_event_cost(void)
{
	probe_open();
	struct cost_setup setup = {
		.kernels = {.empty = probe_kernel("gpu_empty"),
			.spin = probe_kernel("gpu_spin"),
			.stream = new_stream()},
		.begin = new_event(),
		.end = new_event(),
		.running = new_event(),
		.old_begin = new_event(),
		.old_end = new_event(),
	};

	MUST(cuEventRecord(setup.old_begin, setup.kernels.stream));
	MUST(cuEventRecord(setup.old_end, setup.kernels.stream));
	(void)cost_ns(&setup, SAMPLED_LAUNCH); /* warm; all events have ended after it */
	double launch_ns = cost_ns(&setup, LAUNCH), record_ns = cost_ns(&setup, RECORD);
	probe_say("launch_ns", "%.0f", launch_ns);
	probe_say("record_ns", "%.0f", record_ns);
	probe_say("launch_with_two_records_ns", "%.0f", cost_ns(&setup, SAMPLED_LAUNCH));
	probe_say("sample_beyond_launch_ns", "%.0f", cost_ns(&setup, SAMPLE) - launch_ns);
	probe_say("query_ended_ns", "%.0f", cost_ns(&setup, QUERY_ENDED));
	probe_say("query_running_ns", "%.0f", cost_ns(&setup, QUERY_RUNNING));
	probe_say("elapsed_ns", "%.0f", cost_ns(&setup, ELAPSED));
	probe_say("is_capturing_ns", "%.0f", cost_ns(&setup, CAPTURING));
	probe_say("relax_and_restore_ns", "%.0f", cost_ns(&setup, RELAX));
	semantics_holds(record_ns <= 10000);
}
