/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/meter.h"
#include "base/clock.h"

/* A float of milliseconds has steps of 30 ns at this distance. */
#define REBASE_AFTER_NS ((int64_t)(250 * NS_PER_MS))
/* The resolution of events that the driver's documentation gives is half a microsecond; twice that
 * for the two ends. */
#define EVENT_STEP_NS NS_PER_US
/* The clocks of the host and of the GPU drift apart by no more than 1 ns in so many. */
#define DRIFT_ONE_IN 2000

/* While the thread captures in global mode, the driver counts calls like these among the unsafe
 * ones and would spoil the program's capture. They touch no captured stream, so they may pass. */
static CUstreamCaptureMode relax_capture(void)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;

	driver.cuThreadExchangeStreamCaptureMode(&mode);
	return mode;
}

static void restore_capture(CUstreamCaptureMode mode)
{
	driver.cuThreadExchangeStreamCaptureMode(&mode);
}

/* Events are made in the context that is current. */
static bool create_event(CUcontext context, CUevent *ret_event)
{
	CUcontext current = NULL;

	if (driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS && current == context)
		return driver.cuEventCreate(ret_event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
	if (driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return false;
	bool is_made = driver.cuEventCreate(ret_event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
	driver.cuCtxPopCurrent_v2(&current);
	return is_made;
}

static bool create_pair(CUcontext context, struct meter_pair *ret_pair)
{
	struct meter_pair pair;

	if (!create_event(context, &pair.begin))
		return false;
	if (!create_event(context, &pair.end)) {
		driver.cuEventDestroy_v2(pair.begin);
		return false;
	}
	*ret_pair = pair;
	return true;
}

bool meter_take_pair(struct meter *meter, struct meter_pair *ret_pair)
{
	if (meter->spare_count > 0) {
		*ret_pair = meter->spare[--meter->spare_count];
		return true;
	}
	CUstreamCaptureMode mode = relax_capture();
	bool is_made = create_pair(meter->context, ret_pair);
	restore_capture(mode);
	return is_made;
}

void meter_drop_pair(struct meter_pair pair)
{
	CUstreamCaptureMode mode = relax_capture();

	driver.cuEventDestroy_v2(pair.begin);
	driver.cuEventDestroy_v2(pair.end);
	restore_capture(mode);
}

void meter_keep_pair(struct meter *meter, struct meter_pair pair)
{
	if (meter->spare_count < METER_SPARE_PAIRS)
		meter->spare[meter->spare_count++] = pair;
	else
		meter_drop_pair(pair);
}

void meter_finish(struct meter *meter)
{
	CUstreamCaptureMode mode = relax_capture();

	while (meter->spare_count > 0)
		meter_drop_pair(meter->spare[--meter->spare_count]);
	if (meter->base != NULL)
		driver.cuEventDestroy_v2(meter->base);
	restore_capture(mode);
	*meter = (struct meter){0};
}

static bool record(CUevent event, CUstream stream)
{
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuEventRecord(event, stream);

	restore_capture(mode);
	return res == CUDA_SUCCESS;
}

bool meter_begin(struct meter_pair pair, CUstream stream)
{
	return record(pair.begin, stream);
}

bool meter_end(struct meter_pair pair, CUstream stream)
{
	return record(pair.end, stream);
}

bool meter_is_idle(CUstream stream)
{
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuStreamQuery(stream);

	restore_capture(mode);
	return res == CUDA_SUCCESS;
}

static bool elapsed_ns(CUevent from, CUevent to, int64_t *ret_ns)
{
	float ms;

	if (driver.cuEventElapsedTime(&ms, from, to) != CUDA_SUCCESS)
		return false;
	*ret_ns = (int64_t)((double)ms * 1e6 + (ms < 0 ? -0.5 : 0.5));
	return true;
}

/* The command's end becomes the base, and what was the base takes its place in the pair. */
static void move_base(struct meter *meter, struct meter_pair *pair, int64_t end_ns)
{
	CUevent displaced = meter->base;

	meter->base = pair->end;
	meter->origin_ns = end_ns;
	pair->end = displaced;
}

/* Sets when the pair's end was reached, on the meter's time line. Before there is a base, the line
 * begins with this command. */
static bool find_end(
	struct meter *meter, struct meter_pair *pair, int64_t length_ns, int64_t *ret_end_ns)
{
	if (meter->base == NULL) {
		*ret_end_ns = length_ns;
		if (!create_event(meter->context, &meter->base))
			return false;
		move_base(meter, pair, *ret_end_ns);
		return true;
	}
	if (!elapsed_ns(meter->base, pair->end, ret_end_ns))
		return false;
	*ret_end_ns += meter->origin_ns;
	if (*ret_end_ns - meter->origin_ns > REBASE_AFTER_NS)
		move_base(meter, pair, *ret_end_ns);
	return true;
}

/* What stands on the meter's line in the host's time. No event is reached before it is recorded,
 * and on an idle stream not much later, so the latest of the begins says how the two lie. */
static uint64_t host_time(
	struct meter *meter, int64_t begin_ns, int64_t end_ns, const struct meter_times *times)
{
	int64_t ahead_ns = (int64_t)times->admitted_ns - begin_ns;

	if (meter->ahead_at_ns != 0) {
		int64_t drift_ns = (int64_t)(times->now_ns - meter->ahead_at_ns) / DRIFT_ONE_IN;
		if (ahead_ns < meter->ahead_ns - drift_ns)
			ahead_ns = meter->ahead_ns - drift_ns;
	}
	/* What was asked for has ended. */
	if (end_ns + ahead_ns > (int64_t)times->now_ns)
		ahead_ns = (int64_t)times->now_ns - end_ns;
	meter->ahead_ns = ahead_ns;
	meter->ahead_at_ns = times->now_ns;
	return (uint64_t)(end_ns + ahead_ns);
}

static enum meter_state read_pair(struct meter *meter, struct meter_pair pair,
	const struct meter_gaps *gaps, const struct meter_times *times,
	struct meter_reading *ret_reading)
{
	int64_t length_ns, end_ns;

	CUresult res = driver.cuEventQuery(pair.end);
	if (res != CUDA_SUCCESS)
		return res == CUDA_ERROR_NOT_READY ? METER_RUNNING : METER_BROKEN;
	if (!elapsed_ns(pair.begin, pair.end, &length_ns))
		return METER_BROKEN;
	if (length_ns < 0)
		length_ns = 0;
	if (!find_end(meter, &pair, length_ns, &end_ns))
		return METER_BROKEN;
	uint64_t host_ns = gaps->before_ns + gaps->after_ns;
	*ret_reading = (struct meter_reading){
		.length_ns = (uint64_t)length_ns,
		.fresh_ns = busy_add(&meter->busy, end_ns - length_ns, end_ns),
		.slack_ns = gaps->before_ns,
		.end_ns = host_time(meter, end_ns - length_ns, end_ns, times),
	};
	/* It may have ended long before the host came to record its end. */
	if (host_ns > 0 && (uint64_t)length_ns <= host_ns + EVENT_STEP_NS)
		ret_reading->slack_ns = (uint64_t)length_ns;
	meter_keep_pair(meter, pair);
	return METER_DONE;
}

enum meter_state meter_read(struct meter *meter, struct meter_pair pair,
	const struct meter_gaps *gaps, const struct meter_times *times,
	struct meter_reading *ret_reading)
{
	CUstreamCaptureMode mode = relax_capture();
	enum meter_state state = read_pair(meter, pair, gaps, times, ret_reading);

	restore_capture(mode);
	return state;
}
