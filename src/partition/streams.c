/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver's functions that take a stream, with the program's streams exchanged for those of the
 * partition. Most need no more than that and are in assembly; here are the others.
 */
#include "partition/streams.h"
#include "partition/partition.h"

#include <stdatomic.h>
#include <stddef.h>

/* An address that no stream has. */
const char streams_refused[1];

/* Captures in progress. A forked child may inherit some, which costs it little. */
static _Atomic unsigned captures;

void partition_capture_began(void)
{
	atomic_fetch_add_explicit(&captures, 1, memory_order_relaxed);
}

void partition_capture_ended(void)
{
	atomic_fetch_sub_explicit(&captures, 1, memory_order_relaxed);
}

bool streams_has_captures(void)
{
	return unlikely(atomic_load_explicit(&captures, memory_order_relaxed) != 0);
}

/* What stands for a default stream; the stream itself for others, and without a partition. */
CUstream streams_handle(CUstream stream)
{
	if (!streams_is_legacy(stream) && stream != CU_STREAM_PER_THREAD)
		return stream;
	struct lanes *lanes = partition_current();
	if (lanes == NULL)
		return stream;
	if (streams_is_legacy(stream))
		return lanes->legacy;
	CUstream lane = lanes_of_thread(lanes);
	return lane != NULL ? lane : stream;
}

CUstream streams_question(CUstream stream)
{
	return streams_is_legacy(stream) ? stream : streams_handle(stream);
}

static void order_whole(void)
{
	struct lanes *lanes = partition_current();

	if (lanes != NULL)
		lanes_order_whole(lanes);
}

CUstream streams_captured(CUstream stream)
{
	struct lanes *lanes;

	if (!streams_is_legacy(stream))
		return streams_handle(stream);
	lanes = streams_has_captures() ? partition_current() : NULL;
	return lanes != NULL && lanes_are_captured(lanes, false) ? STREAMS_REFUSED : stream;
}

static void order_stream(CUstream stream)
{
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL)
			lanes_order(lanes, stream);
	}
}

CUstream streams_work(CUstream stream)
{
	if (streams_is_legacy(stream)) {
		struct lanes *lanes = partition_current();
		if (lanes == NULL)
			return stream;
		if (streams_has_captures() && lanes_are_captured(lanes, true))
			return STREAMS_REFUSED;
		lanes_order_legacy(lanes);
		return lanes->legacy;
	}
	stream = streams_handle(stream);
	if (stream == CU_STREAM_PER_THREAD) {
		order_whole(); /* there was no lane to be had: at least in order */
		return stream;
	}
	order_stream(stream);
	return stream;
}

void streams_work_done(CUstream stream)
{
	if (stream == CU_STREAM_PER_THREAD) {
		streams_whole_done();
		return;
	}
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL)
			lanes_done(lanes, stream);
	}
}

void streams_work_ptsz_done(CUstream stream)
{
	streams_work_done(stream);
}

CUstream streams_handle_ptsz(CUstream stream)
{
	return streams_handle(streams_of_thread(stream));
}

CUstream streams_question_ptsz(CUstream stream)
{
	return streams_question(streams_of_thread(stream));
}

CUstream streams_captured_ptsz(CUstream stream)
{
	return streams_captured(streams_of_thread(stream));
}

CUstream streams_work_ptsz(CUstream stream)
{
	return streams_work(streams_of_thread(stream));
}

/* The driver is to refuse its own. */
CUstream streams_batch(CUstream stream)
{
	return streams_is_legacy(stream) ? stream : streams_work(stream);
}

CUstream streams_batch_ptsz(CUstream stream)
{
	return streams_batch(streams_of_thread(stream));
}

void streams_batch_done(CUstream stream)
{
	streams_work_done(stream);
}

void streams_batch_ptsz_done(CUstream stream)
{
	streams_work_done(stream);
}

CUstream streams_whole(void)
{
	struct lanes *lanes = streams_has_captures() ? partition_current() : NULL;

	if (lanes != NULL && lanes_are_captured(lanes, true))
		return STREAMS_REFUSED;
	order_whole();
	return NULL;
}

CUstream streams_whole_ptsz(void)
{
	struct lanes *lanes = partition_current();

	if (lanes != NULL)
		lanes_order_whole_thread(lanes);
	return NULL;
}

void streams_whole_done(void)
{
	struct lanes *lanes = partition_current();

	if (lanes != NULL)
		lanes_done_whole(lanes);
}

void streams_whole_ptsz_done(void)
{
	struct lanes *lanes = partition_current();

	if (lanes != NULL)
		lanes_done_whole_thread(lanes);
}

CUresult CUDAAPI beneath_cuStreamCreateWithPriority(
	CUstream *ret_stream, unsigned int flags, int priority)
{
	struct lanes *lanes = partition_current();

	if (lanes == NULL)
		return driver_real.cuStreamCreateWithPriority(ret_stream, flags, priority);
	return lanes_create(lanes, ret_stream, flags, priority);
}

CUresult CUDAAPI beneath_cuStreamCreate(CUstream *ret_stream, unsigned int flags)
{
	struct lanes *lanes = partition_current();

	if (lanes == NULL)
		return driver_real.cuStreamCreate(ret_stream, flags);
	return lanes_create(lanes, ret_stream, flags, 0);
}

static void forget(CUstream stream)
{
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL)
			lanes_forget(lanes, stream);
	}
}

CUresult CUDAAPI beneath_cuStreamDestroy_v2(CUstream stream)
{
	forget(stream);
	return driver_real.cuStreamDestroy_v2(stream);
}

CUresult CUDAAPI beneath_cuStreamDestroy(CUstream stream)
{
	forget(stream);
	return driver_real.cuStreamDestroy(stream);
}

/* Streams of a partition never block; the program is told what it asked for. */
static CUresult show_flags(CUstream stream, CUresult result, unsigned int *flags)
{
	for (unsigned i = 0; i < partition_places() && result == CUDA_SUCCESS; i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL && lanes_blocks(lanes, stream))
			*flags &= ~(unsigned)CU_STREAM_NON_BLOCKING;
	}
	return result;
}

CUresult CUDAAPI beneath_cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
	return show_flags(stream, driver_real.cuStreamGetFlags(stream, flags), flags);
}

CUresult CUDAAPI beneath_cuStreamGetFlags_ptsz(CUstream stream, unsigned int *flags)
{
	return show_flags(stream, driver_real.cuStreamGetFlags_ptsz(stream, flags), flags);
}

/* The program knows the primary context, and no partition. */
static CUresult show_context(CUresult result, CUcontext *context)
{
	for (unsigned i = 0; i < partition_places() && result == CUDA_SUCCESS; i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL && *context == lanes->green_context)
			*context = lanes->primary;
	}
	return result;
}

CUresult CUDAAPI beneath_cuStreamGetCtx(CUstream stream, CUcontext *context)
{
	return show_context(driver_real.cuStreamGetCtx(stream, context), context);
}

CUresult CUDAAPI beneath_cuStreamGetCtx_ptsz(CUstream stream, CUcontext *context)
{
	return show_context(driver_real.cuStreamGetCtx_ptsz(stream, context), context);
}

/* The partition that a green context is, NULL for the program's own. */
static struct lanes *of_green(CUgreenCtx green)
{
	for (unsigned i = 0; green != NULL && i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL && lanes->green == green)
			return lanes;
	}
	return NULL;
}

static CUresult show_contexts(CUresult result, CUcontext *context, CUgreenCtx *green)
{
	struct lanes *lanes = result == CUDA_SUCCESS && green != NULL ? of_green(*green) : NULL;

	if (lanes != NULL) {
		*green = NULL;
		*context = lanes->primary;
	}
	return result;
}

CUresult CUDAAPI beneath_cuStreamGetCtx_v2(CUstream stream, CUcontext *context, CUgreenCtx *green)
{
	return show_contexts(driver_real.cuStreamGetCtx_v2(stream, context, green), context, green);
}

CUresult CUDAAPI beneath_cuStreamGetCtx_v2_ptsz(
	CUstream stream, CUcontext *context, CUgreenCtx *green)
{
	return show_contexts(
		driver_real.cuStreamGetCtx_v2_ptsz(stream, context, green), context, green);
}

CUresult CUDAAPI beneath_cuStreamGetGreenCtx(CUstream stream, CUgreenCtx *green)
{
	CUresult result = driver_real.cuStreamGetGreenCtx(stream, green);

	if (result == CUDA_SUCCESS && of_green(*green) != NULL)
		*green = NULL;
	return result;
}

CUresult CUDAAPI beneath_cuStreamCopyAttributes(CUstream to, CUstream from)
{
	return driver_real.cuStreamCopyAttributes(streams_handle(to), streams_handle(from));
}

CUresult CUDAAPI beneath_cuStreamCopyAttributes_ptsz(CUstream to, CUstream from)
{
	return driver_real.cuStreamCopyAttributes_ptsz(
		streams_handle_ptsz(to), streams_handle_ptsz(from));
}

/* Whether and when a stream's work is over. These bring none, so a stream is not made to wait for
 * others: one that has nothing to do says so. */
static CUstream to_be_waited_for(CUstream stream)
{
	if (streams_is_legacy(stream))
		return streams_work(stream);
	stream = streams_handle(stream);
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL)
			lanes_catch_up(lanes, stream);
	}
	return stream;
}

static CUresult synchronize(CUstream stream)
{
	stream = to_be_waited_for(stream);
	return stream != STREAMS_REFUSED ? driver_real.cuStreamSynchronize(stream)
					 : STREAMS_REFUSAL;
}

CUresult CUDAAPI beneath_cuStreamSynchronize(CUstream stream)
{
	return synchronize(stream);
}

CUresult CUDAAPI beneath_cuStreamSynchronize_ptsz(CUstream stream)
{
	return synchronize(streams_of_thread(stream));
}

static CUresult query(CUstream named)
{
	struct lanes *captured =
		streams_is_legacy(named) && streams_has_captures() ? partition_current() : NULL;
	CUstream stream = streams_handle(named);

	if (captured != NULL && lanes_are_captured(captured, true))
		return STREAMS_REFUSAL;
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *lanes = partition_at(i);
		CUresult result = lanes != NULL ? lanes_query_others(lanes, stream) : CUDA_SUCCESS;
		if (result != CUDA_SUCCESS)
			return result;
	}
	return driver_real.cuStreamQuery(stream);
}

CUresult CUDAAPI beneath_cuStreamQuery(CUstream stream)
{
	return query(stream);
}

CUresult CUDAAPI beneath_cuStreamQuery_ptsz(CUstream stream)
{
	return query(streams_of_thread(stream));
}

CUresult CUDAAPI beneath_cuLaunchKernelEx(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	if (config == NULL)
		return driver_real.cuLaunchKernelEx(config, f, params, extra);
	CUlaunchConfig confined = *config;
	confined.hStream = streams_work(config->hStream);
	if (confined.hStream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = driver_real.cuLaunchKernelEx(&confined, f, params, extra);
	streams_work_done(confined.hStream);
	return result;
}

CUresult CUDAAPI beneath_cuLaunchKernelEx_ptsz(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	if (config == NULL)
		return driver_real.cuLaunchKernelEx_ptsz(config, f, params, extra);
	CUlaunchConfig confined = *config;
	confined.hStream = streams_work_ptsz(config->hStream);
	if (confined.hStream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = driver_real.cuLaunchKernelEx_ptsz(&confined, f, params, extra);
	streams_work_done(confined.hStream);
	return result;
}

/* Launches of before CUDA 4.0, with what their function remembers, on the legacy stream. */
CUresult CUDAAPI beneath_cuLaunchGrid(CUfunction f, int width, int height)
{
	if (partition_current() == NULL)
		return driver_real.cuLaunchGrid(f, width, height);
	CUstream stream = streams_work(CU_STREAM_LEGACY);
	if (stream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = driver_real.cuLaunchGridAsync(f, width, height, stream);
	streams_work_done(stream);
	return result;
}

CUresult CUDAAPI beneath_cuLaunch(CUfunction f)
{
	return partition_current() == NULL ? driver_real.cuLaunch(f)
					   : beneath_cuLaunchGrid(f, 1, 1);
}

/* Its streams are none of the default ones. */
CUresult CUDAAPI beneath_cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *list, unsigned int count, unsigned int flags)
{
	for (unsigned i = 0; list != NULL && i < count; i++)
		order_stream(list[i].hStream);
	CUresult result = driver_real.cuLaunchCooperativeKernelMultiDevice(list, count, flags);
	for (unsigned i = 0; list != NULL && i < count; i++)
		streams_work_done(list[i].hStream);
	return result;
}

/* Streams of the program's own green contexts are nobody's lanes. */
CUresult CUDAAPI beneath_cuGreenCtxCreate(
	CUgreenCtx *ret_green, CUdevResourceDesc description, CUdevice device, unsigned int flags)
{
	CUresult result = driver_real.cuGreenCtxCreate(ret_green, description, device, flags);

	if (result == CUDA_SUCCESS)
		partition_give_up((unsigned)device, "the program has green contexts of its own");
	return result;
}

/* Programs size their work by the SMs that they are told of. */
CUresult CUDAAPI beneath_cuDeviceGetAttribute(
	int *ret_value, CUdevice_attribute attribute, CUdevice device)
{
	CUresult result = driver_real.cuDeviceGetAttribute(ret_value, attribute, device);
	unsigned sm_count = result == CUDA_SUCCESS ? partition_sm_count((unsigned)device) : 0;

	if (attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT && sm_count != 0)
		*ret_value = (int)sm_count;
	return result;
}

/* Hooks that nothing but the partition needs. */
#define STREAM_HOOK(symbol)
#define STREAM_HOOK_IN_CALLS(symbol)
#define STREAM_HOOK_IN_C(symbol)                \
	extern __typeof__(symbol) hook_##symbol \
		__attribute__((alias("beneath_" #symbol), visibility("hidden")));
#define NODE_HOOK(symbol)
#include "partition/streams_hooks.def"
#undef STREAM_HOOK
#undef STREAM_HOOK_IN_C
#undef NODE_HOOK
#undef STREAM_HOOK_IN_CALLS

void *streams_beneath[STREAMS_COUNT];

static const struct {
	size_t offset;
	void (*function)(void);
} rows[STREAMS_COUNT] = {
#define STREAM(symbol, position, kind) \
	{offsetof(struct driver, symbol), (void (*)(void))beneath_##symbol},
#define STREAM_IN_C(symbol) {offsetof(struct driver, symbol), (void (*)(void))beneath_##symbol},
#include "partition/streams.def"
#undef STREAM
#undef STREAM_IN_C
};

/* What this driver lacks goes on answering so. */
void partition_stand_between(void)
{
	for (unsigned i = 0; i < STREAMS_COUNT; i++) {
		void **slot = (void **)((char *)&driver + rows[i].offset);
		streams_beneath[i] = *slot;
		if (*slot != driver_absent())
			*slot = (void *)rows[i].function;
	}
}
