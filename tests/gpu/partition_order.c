/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition_order.h"
#include "census.h"
#include "green.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS      16u
#define ROUND_STEPS  32u /* then a chain goes on to the next thread */
#define CENSUS_EVERY 8u  /* rounds */
#define SHORT_CYCLES 2000u
#define LONG_CYCLES  40000u

extern const char kernels_ptx[]; /* partition.ptx */

/* Where a step may be made. The order of the first three is that of the streams of a worker. */
enum place {
	BLOCKING,
	OTHER_BLOCKING,
	FREE,
	OTHER_FREE,
	PER_THREAD,
	LEGACY,
	COPY_IN,
	COPY_OUT,
	FILL,
	PLACES,
};
#define STREAMS PER_THREAD

struct chain {
	CUdeviceptr cell; /* and behind it how many steps were out of order */
	unsigned number;  /* that the next step has to find */
	CUevent event;
	unsigned wrong_on_host;
};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t seed;
	CUstream streams[STREAMS];
	enum place last; /* of the chain in hand */
	uint64_t steps;
};

static struct {
	CUcontext context;
	CUgreenCtx green; /* whose context that is, or NULL */
	bool is_forgetful;
	CUfunction turn_short, turn_long;
	struct chain chains[THREADS];
	struct worker workers[THREADS];
	pthread_barrier_t barrier;
	_Atomic uint64_t last_round;
	uint64_t end_ns;
} order;

static unsigned draw(struct worker *worker, unsigned below)
{
	worker->seed = worker->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(worker->seed >> 33) % below;
}

static bool is_legacy(enum place place)
{
	return place >= LEGACY;
}

static bool is_free(enum place place)
{
	return place == FREE || place == OTHER_FREE;
}

/* By CUDA itself: in one stream, and between the legacy stream and those that block on it. */
static bool is_ordered(enum place before, enum place now)
{
	if (before == now)
		return true;
	if (is_free(before) || is_free(now))
		return false;
	return is_legacy(before) || is_legacy(now);
}

static CUstream stream_at(const struct worker *worker, enum place place)
{
	if (is_legacy(place))
		return NULL;
	return place == PER_THREAD ? CU_STREAM_PER_THREAD : worker->streams[place];
}

/* The per-thread stream cannot be used while a green context is current. */
static enum place draw_place(struct worker *worker)
{
	enum place place = (enum place)draw(worker, PLACES);

	return place == PER_THREAD && order.green != NULL ? LEGACY : place;
}

static void launch_turn(struct worker *worker, struct chain *chain, CUstream stream)
{
	bool is_long = draw(worker, 4) == 0;
	CUdeviceptr wrong = chain->cell + sizeof(unsigned);
	unsigned cycles = is_long ? LONG_CYCLES : SHORT_CYCLES;
	void *params[] = {&chain->cell, &chain->number, &wrong, &census.seen, &cycles};

	MUST(cuLaunchKernel(is_long ? order.turn_long : order.turn_short, 1, 1, 1, 1, 1, 1, 0,
		stream, params, NULL));
	chain->number++;
}

static void take_step(struct worker *worker, struct chain *chain, enum place place)
{
	unsigned found;

	switch (place) {
	case COPY_IN:
		chain->number++;
		MUST(cuMemcpyHtoD(chain->cell, &chain->number, sizeof(chain->number)));
		break;
	case COPY_OUT:
		MUST(cuMemcpyDtoH(&found, chain->cell, sizeof(found)));
		chain->wrong_on_host += found != chain->number ? 1 : 0;
		break;
	case FILL:
		chain->number++;
		MUST(cuMemsetD32(chain->cell, chain->number, 1));
		break;
	default:
		launch_turn(worker, chain, stream_at(worker, place));
	}
	worker->last = place;
	worker->steps++;
}

static void wait_for(struct worker *worker, struct chain *chain, enum place place)
{
	if (!order.is_forgetful)
		MUST(cuStreamWaitEvent(stream_at(worker, place), chain->event, 0));
}

static void record(struct worker *worker, struct chain *chain)
{
	MUST(cuEventRecord(chain->event, stream_at(worker, worker->last)));
}

/* A chain comes with an event behind its last step, and goes with one. */
static void make_round(struct worker *worker, struct chain *chain, uint64_t round)
{
	enum place place = draw_place(worker);

	wait_for(worker, chain, place);
	take_step(worker, chain, place);
	for (unsigned i = 1; i < ROUND_STEPS; i++) {
		place = draw_place(worker);
		if (!is_ordered(worker->last, place)) {
			record(worker, chain);
			wait_for(worker, chain, place);
		}
		take_step(worker, chain, place);
	}
	record(worker, chain);
	if (round % CENSUS_EVERY == worker->index % CENSUS_EVERY)
		MUST(census_launch(stream_at(worker, draw_place(worker))));
}

static void make_streams(struct worker *worker)
{
	for (enum place i = BLOCKING; i < STREAMS; i++) {
		if (is_free(i) && order.green != NULL)
			worker->streams[i] = green_stream(order.green);
		else
			MUST(cuStreamCreate(&worker->streams[i],
				is_free(i) ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
	}
}

static void *work(void *data)
{
	struct worker *worker = data;

	MUST(cuCtxSetCurrent(order.context));
	make_streams(worker);
	for (uint64_t round = 0; atomic_load(&order.last_round) != round; round++) {
		make_round(worker, &order.chains[(worker->index + round) % THREADS], round);
		if (worker->index == 0 && probe_now_ns() >= order.end_ns)
			atomic_store(&order.last_round, round + 1);
		pthread_barrier_wait(&order.barrier);
	}
	MUST(cuStreamSynchronize(NULL));
	for (enum place i = BLOCKING; i < STREAMS; i++) {
		MUST(cuStreamSynchronize(worker->streams[i]));
		MUST(cuStreamDestroy(worker->streams[i]));
	}
	if (order.green == NULL)
		MUST(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	return NULL;
}

static void make_chains(void)
{
	CUmodule module;

	MUST(cuModuleLoadData(&module, kernels_ptx));
	MUST(cuModuleGetFunction(&order.turn_short, module, "gpu_turn_short"));
	MUST(cuModuleGetFunction(&order.turn_long, module, "gpu_turn_long"));
	for (unsigned i = 0; i < THREADS; i++) {
		struct chain *chain = &order.chains[i];
		MUST(cuMemAlloc(&chain->cell, 2 * sizeof(unsigned)));
		MUST(cuMemsetD8(chain->cell, 0, 2 * sizeof(unsigned)));
		MUST(cuEventCreate(&chain->event, CU_EVENT_DISABLE_TIMING));
		order.workers[i].index = i;
		order.workers[i].seed = i;
	}
	MUST(cuCtxSynchronize());
}

/* Chains of which the last number is missing count as out of order too. */
static void tell(void)
{
	uint64_t steps = 0, wrong = 0, wrong_on_host = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		unsigned left[2];
		MUST(cuMemcpyDtoH(left, order.chains[i].cell, sizeof(left)));
		wrong += left[1] + (left[0] != order.chains[i].number ? 1 : 0);
		wrong_on_host += order.chains[i].wrong_on_host;
		steps += order.workers[i].steps;
	}
	probe_say("steps", "%llu", (unsigned long long)steps);
	probe_say("wrong", "%llu", (unsigned long long)wrong);
	probe_say("wrong_on_host", "%llu", (unsigned long long)wrong_on_host);
	probe_say("ran_on", "%u", census_take());
}

/* Which context the work is done in, and which everything else is made in. */
static bool choose(CUcontext primary, const char *variant)
{
	bool is_inside = strcmp(variant, "inside") == 0;
	unsigned sms;

	order.context = primary;
	order.is_forgetful = strcmp(variant, "forget") == 0;
	if (strcmp(variant, "green") == 0 || is_inside) {
		order.green = green_make(green_half(), 0, 0, &sms);
		if (order.green == NULL)
			probe_must(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION, "green_make");
		order.context = green_context(order.green);
		probe_say("partition", "%u", sms);
	}
	if (is_inside)
		MUST(cuCtxSetCurrent(order.context));
	return order.green != NULL || order.is_forgetful || strcmp(variant, "plain") == 0;
}

int order_run(CUcontext primary, unsigned long long time_ms, const char *variant)
{
	if (!choose(primary, variant))
		return 2;
	census_open();
	make_chains();
	atomic_store(&order.last_round, UINT64_MAX);
	order.end_ns = probe_now_ns() + time_ms * 1000000u;
	pthread_barrier_init(&order.barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&order.workers[i].thread, NULL, work, &order.workers[i]);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(order.workers[i].thread, NULL);
	tell();
	return 0;
}
