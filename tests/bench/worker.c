/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "worker.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "protocol.h"
#include "stats.h"
#include "task.h"

#define MAX_SINGLES 10000

static void describe(const struct task *task, struct reply *reply)
{
	const char *preload = getenv("LD_PRELOAD");
	CUdevice device;

	reply->is_preloaded = preload != NULL && dlopen(preload, RTLD_LAZY | RTLD_NOLOAD) != NULL;
	if (task->cuda.cuDriverGetVersion(&reply->driver_version) != CUDA_SUCCESS ||
		task->cuda.cuDeviceGet(&device, 0) != CUDA_SUCCESS ||
		task->cuda.cuDeviceGetName(reply->device, sizeof(reply->device), device) !=
			CUDA_SUCCESS)
		reply->state = TASK_FAILED;
}

static void tell_singles(double *times, size_t count, struct singles *ret_singles)
{
	*ret_singles = (struct singles){.count = (uint32_t)count};
	if (count == 0)
		return;
	struct stats stats = stats_of(times, count);
	ret_singles->median_ns = (uint32_t)stats.median;
	ret_singles->p99_ns = (uint32_t)stats.p99;
}

/* Calls that record events take samples of the GPU's time, and are told apart. */
static bool run_singles(
	struct task *task, const struct row *row, unsigned calls, struct reply *reply)
{
	static double plain[MAX_SINGLES], sampled[MAX_SINGLES];
	size_t plain_count = 0, sampled_count = 0;

	for (unsigned i = 0; i < calls && i < MAX_SINGLES; i++) {
		uint64_t records = task_event_records(task);
		uint64_t begin_ns = clock_now_ns();
		if (!task_run(task, row, 1))
			return false;
		double time_ns = (double)(clock_now_ns() - begin_ns);
		if (task_event_records(task) == records)
			plain[plain_count++] = time_ns;
		else
			sampled[sampled_count++] = time_ns;
	}
	tell_singles(plain, plain_count, &reply->singles);
	tell_singles(sampled, sampled_count, &reply->samples);
	return true;
}

static bool run_batch(struct task *task, const struct row *row, const struct request *request,
	struct reply *reply)
{
	/* The other side ran meanwhile; what it took from the caches is not to be paid here. */
	if (!task_run(task, row, request->calls / 20 + 1))
		return false;
	task_settle(task, row);
	uint64_t records = task_event_records(task);
	uint64_t begin_ns = clock_now_ns();
	if (!task_run(task, row, request->calls))
		return false;
	reply->elapsed_ns = clock_now_ns() - begin_ns;
	reply->records = task_event_records(task) - records;
	task_settle(task, row);
	if (!run_singles(task, row, request->singles, reply))
		return false;
	task_settle(task, row);
	return true;
}

static void answer(struct task *task, const struct request *request, struct reply *reply)
{
	const struct row *row = &rows[request->row];

	switch (request->kind) {
	case REQUEST_DESCRIBE:
		describe(task, reply);
		break;
	case REQUEST_PREPARE:
		reply->state = task_prepare(task, row);
		break;
	case REQUEST_BATCH:
		if (!run_batch(task, row, request, reply))
			reply->state = TASK_FAILED;
		break;
	case REQUEST_FINISH:
		task_finish(task);
		break;
	}
}

int worker_main(void)
{
	struct task task;
	struct request request;

	if (!task_open(&task))
		return EXIT_FAILURE;
	while (protocol_receive(CHILD_FD, &request, sizeof(request))) {
		struct reply reply = {.state = TASK_READY};
		answer(&task, &request, &reply);
		if (!protocol_send(CHILD_FD, &reply, sizeof(reply)))
			return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int worker_init_main(void)
{
	uint64_t begin_ns = clock_now_ns();
	void *libcuda = dlopen("libcuda.so.1", RTLD_NOW);
	__typeof__(cuInit) *init =
		libcuda != NULL ? (__typeof__(cuInit) *)dlsym(libcuda, "cuInit") : NULL;

	if (init == NULL || init(0) != CUDA_SUCCESS)
		return EXIT_FAILURE;
	uint64_t elapsed_ns = clock_now_ns() - begin_ns;
	return protocol_send(CHILD_FD, &elapsed_ns, sizeof(elapsed_ns)) ? EXIT_SUCCESS
									: EXIT_FAILURE;
}

__attribute__((noinline)) bool count_part(struct task *task, const struct row *row, unsigned calls)
{
	bool is_well = task_run(task, row, calls);

	__asm__ volatile("" ::: "memory"); /* no tail call: callgrind is to see the end */
	return is_well;
}

int worker_count_main(const struct row *row, unsigned calls, unsigned parts)
{
	struct task task;

	if (!task_open(&task) || task_prepare(&task, row) != TASK_READY)
		return EXIT_FAILURE;
	for (unsigned i = 0; i < parts; i++) {
		if (!count_part(&task, row, calls))
			return EXIT_FAILURE;
	}
	task_finish(&task);
	return EXIT_SUCCESS;
}
