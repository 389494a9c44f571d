/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "task.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "paths.h"

/* Bytes of one allocation: what drivers hand out at least. */
#define ALLOC_BYTES 512

/* A batch of empty kernels is thought to take a millisecond or two, and half of the time is ours.
 */
#define PAY_US 5000

#define HOOKED_NAME    "cuMemAlloc"
#define HOOKED_SYMBOL  "cuMemAlloc_v2"
#define HOOKED_VERSION 12000

bool task_open(struct task *ret_task)
{
	*ret_task = (struct task){.random = 0x9e3779b97f4a7c15ull};
	if (!cuda_client_open(&ret_task->cuda))
		return false;
	ret_task->event_records = cuda_client_event_records(&ret_task->cuda);
	return true;
}

static bool complain(const struct row *row, CUresult res)
{
	fprintf(stderr, "cuslice-bench: %s: a call answers %d\n", row->name, (int)res);
	return false;
}

static enum task_state prepare_linked(struct task *task)
{
	char path[PATH_MAX];
	void *library;

	if (task->linked_launch != NULL)
		return TASK_READY;
	if (!paths_of_linked(path) || (library = dlopen(path, RTLD_NOW)) == NULL ||
		(task->linked_launch = (__typeof__(linked_launch) *)dlsym(
			 library, LINKED_SYMBOL)) == NULL) {
		fprintf(stderr, "cuslice-bench: no linked caller: %s\n", dlerror());
		return TASK_FAILED;
	}
	return TASK_READY;
}

static enum task_state prepare_launch(struct task *task, const struct row *row)
{
	if (task->kernel == NULL && !cuda_client_load_kernel(&task->cuda, "empty", &task->kernel))
		return TASK_FAILED;
	return row->work == WORK_LAUNCH_LINKED ? prepare_linked(task) : TASK_READY;
}

/* The newest is taken and freed by the call itself, all others stand beside it. */
static enum task_state prepare_live(struct task *task, const struct row *row)
{
	size_t count = row->work == WORK_NEWEST ? row->live - 1 : row->live;

	task->live = calloc(count + 1, sizeof(*task->live));
	if (task->live == NULL) {
		fprintf(stderr, "cuslice-bench: %s: out of memory\n", row->name);
		return TASK_FAILED;
	}
	while (task->live_count < count) {
		CUresult res = task->cuda.cuMemAlloc_v2(&task->live[task->live_count], ALLOC_BYTES);
		if (res != CUDA_SUCCESS)
			return complain(row, res), TASK_FAILED;
		task->live_count++;
	}
	return TASK_READY;
}

static enum task_state prepare_refused(struct task *task, const struct row *row)
{
	size_t free_bytes, total_bytes;
	CUdeviceptr address;

	/* Something is held, so that all there is would fit, but does not. */
	if (prepare_live(task, row) != TASK_READY)
		return TASK_FAILED;
	CUresult res = task->cuda.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	if (res != CUDA_SUCCESS)
		return complain(row, res), TASK_FAILED;
	task->too_much = total_bytes;
	if (task->cuda.cuMemAlloc_v2(&address, task->too_much) != CUDA_SUCCESS)
		return TASK_READY;
	task->cuda.cuMemFree_v2(address);
	return TASK_IMPOSSIBLE;
}

enum task_state task_prepare(struct task *task, const struct row *row)
{
	switch (row->work) {
	case WORK_LAUNCH:
	case WORK_LAUNCH_LINKED:
		return prepare_launch(task, row);
	case WORK_NEWEST:
	case WORK_RANDOM:
		return prepare_live(task, row);
	case WORK_REFUSED:
		return prepare_refused(task, row);
	case WORK_MEMINFO:
	case WORK_DLSYM:
	case WORK_GETPROC:
		return TASK_READY;
	case WORK_INIT:
	case WORK_START:
		break;
	}
	return TASK_IMPOSSIBLE;
}

/* Each of these returns the last answer that was not the expected one, else CUDA_SUCCESS. They
 * are the loops that are measured: alike, and as short as they can be. */

static CUresult run_launch(struct task *task, unsigned calls)
{
	CUresult worst = CUDA_SUCCESS;

	for (unsigned i = 0; i < calls; i++) {
		CUresult res = task->cuda.cuLaunchKernel(
			task->kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
		if (res != CUDA_SUCCESS)
			worst = res;
	}
	return worst;
}

static CUresult run_newest(struct task *task, unsigned calls)
{
	for (unsigned i = 0; i < calls; i++) {
		CUdeviceptr address;
		CUresult res = task->cuda.cuMemAlloc_v2(&address, ALLOC_BYTES);
		if (res == CUDA_SUCCESS)
			res = task->cuda.cuMemFree_v2(address);
		if (res != CUDA_SUCCESS)
			return res;
	}
	return CUDA_SUCCESS;
}

static size_t random_below(struct task *task, size_t limit)
{
	task->random ^= task->random << 13;
	task->random ^= task->random >> 7;
	task->random ^= task->random << 17;
	return (size_t)(((unsigned __int128)task->random * limit) >> 64);
}

static CUresult run_random(struct task *task, unsigned calls)
{
	for (unsigned i = 0; i < calls; i++) {
		CUdeviceptr *address = &task->live[random_below(task, task->live_count)];
		CUresult res = task->cuda.cuMemFree_v2(*address);
		if (res == CUDA_SUCCESS)
			res = task->cuda.cuMemAlloc_v2(address, ALLOC_BYTES);
		if (res != CUDA_SUCCESS)
			return res;
	}
	return CUDA_SUCCESS;
}

static CUresult run_meminfo(struct task *task, unsigned calls)
{
	CUresult worst = CUDA_SUCCESS;

	for (unsigned i = 0; i < calls; i++) {
		size_t free_bytes, total_bytes;
		CUresult res = task->cuda.cuMemGetInfo_v2(&free_bytes, &total_bytes);
		if (res != CUDA_SUCCESS)
			worst = res;
	}
	return worst;
}

static CUresult run_refused(struct task *task, unsigned calls)
{
	for (unsigned i = 0; i < calls; i++) {
		CUdeviceptr address;
		CUresult res = task->cuda.cuMemAlloc_v2(&address, task->too_much);
		if (res != CUDA_ERROR_OUT_OF_MEMORY)
			return res == CUDA_SUCCESS ? CUDA_ERROR_UNKNOWN : res;
	}
	return CUDA_SUCCESS;
}

static CUresult run_dlsym(struct task *task, unsigned calls)
{
	for (unsigned i = 0; i < calls; i++) {
		if (dlsym(task->cuda.libcuda, HOOKED_SYMBOL) == NULL)
			return CUDA_ERROR_NOT_FOUND;
	}
	return CUDA_SUCCESS;
}

static CUresult run_getproc(struct task *task, unsigned calls)
{
	CUresult worst = CUDA_SUCCESS;

	for (unsigned i = 0; i < calls; i++) {
		void *address;
		CUresult res = task->cuda.cuGetProcAddress_v2(
			HOOKED_NAME, &address, HOOKED_VERSION, 0, NULL);
		if (res != CUDA_SUCCESS)
			worst = res;
	}
	return worst;
}

static CUresult run(struct task *task, enum work work, unsigned calls)
{
	switch (work) {
	case WORK_LAUNCH:
		return run_launch(task, calls);
	case WORK_LAUNCH_LINKED:
		return task->linked_launch(task->kernel, calls);
	case WORK_NEWEST:
		return run_newest(task, calls);
	case WORK_RANDOM:
		return run_random(task, calls);
	case WORK_MEMINFO:
		return run_meminfo(task, calls);
	case WORK_REFUSED:
		return run_refused(task, calls);
	case WORK_DLSYM:
		return run_dlsym(task, calls);
	case WORK_GETPROC:
		return run_getproc(task, calls);
	case WORK_INIT:
	case WORK_START:
		break;
	}
	return CUDA_ERROR_NOT_SUPPORTED;
}

bool task_run(struct task *task, const struct row *row, unsigned calls)
{
	CUresult res = run(task, row->work, calls);

	return res == CUDA_SUCCESS || complain(row, res);
}

void task_settle(const struct task *task, const struct row *row)
{
	task->cuda.cuCtxSynchronize();
	if (row->setup == SETUP_SHARE)
		usleep(PAY_US);
}

uint64_t task_event_records(const struct task *task)
{
	return task->event_records != NULL ? *task->event_records : 0;
}

void task_finish(struct task *task)
{
	while (task->live_count > 0)
		task->cuda.cuMemFree_v2(task->live[--task->live_count]);
	free(task->live);
	task->live = NULL;
}
