/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Every way to submit work: admitted by the governor, launched, reported as submitted.
 */
#include "driver/driver.h"
#include "driver/stream_context.h"
#include "hooks/admit.h"
#include "hooks/graph_memory.h"
#include "hooks/hooks.h"
#include "slice/slice.h"

/* So long may what was let go on one device wait for another. */
#define HELD_UP_NS (200 * NS_PER_US)

static uint64_t config_key(const CUlaunchConfig *config, CUfunction f)
{
	return costs_kernel_key(f, config->gridDimX, config->gridDimY, config->gridDimZ);
}

CUresult CUDAAPI hook_cuLaunchKernel(CUfunction f, unsigned int grid_x, unsigned int grid_y,
	unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
	unsigned int shared_bytes, CUstream stream, void **params, void **extra)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, grid_x, grid_y, grid_z), stream, &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchKernel(f, grid_x, grid_y, grid_z, block_x, block_y, block_z,
				 shared_bytes, stream, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernel_ptsz(CUfunction f, unsigned int grid_x, unsigned int grid_y,
	unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
	unsigned int shared_bytes, CUstream stream, void **params, void **extra)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, grid_x, grid_y, grid_z), per_thread(stream), &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchKernel_ptsz(f, grid_x, grid_y, grid_z, block_x, block_y,
				 block_z, shared_bytes, stream, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernelEx(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	struct ticket ticket;

	if (config == NULL)
		return driver.cuLaunchKernelEx(config, f, params, extra);
	admit(config_key(config, f), config->hStream, &ticket);
	return governor_submitted(&ticket, driver.cuLaunchKernelEx(config, f, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernelEx_ptsz(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	struct ticket ticket;

	if (config == NULL)
		return driver.cuLaunchKernelEx_ptsz(config, f, params, extra);
	admit(config_key(config, f), per_thread(config->hStream), &ticket);
	return governor_submitted(&ticket, driver.cuLaunchKernelEx_ptsz(config, f, params, extra));
}

CUresult CUDAAPI hook_cuLaunchCooperativeKernel(CUfunction f, unsigned int grid_x,
	unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
	unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, grid_x, grid_y, grid_z), stream, &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchCooperativeKernel(f, grid_x, grid_y, grid_z, block_x,
				 block_y, block_z, shared_bytes, stream, params));
}

CUresult CUDAAPI hook_cuLaunchCooperativeKernel_ptsz(CUfunction f, unsigned int grid_x,
	unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
	unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, grid_x, grid_y, grid_z), per_thread(stream), &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchCooperativeKernel_ptsz(f, grid_x, grid_y, grid_z, block_x,
				 block_y, block_z, shared_bytes, stream, params));
}

/* In the context of its stream, for that tells on which device it is. */
static void admit_on_its_device(const CUDA_LAUNCH_PARAMS *launch, struct ticket *ret_ticket)
{
	CUcontext context;

	*ret_ticket = (struct ticket){0};
	if (!stream_get_context(launch->hStream, &context) ||
		driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return;
	admit(costs_kernel_key(
		      launch->function, launch->gridDimX, launch->gridDimY, launch->gridDimZ),
		launch->hStream, ret_ticket);
	driver.cuCtxPopCurrent_v2(&context);
}

static void submitted_all(const struct ticket *tickets, unsigned int count, CUresult res)
{
	for (unsigned int i = 0; i < count; i++)
		governor_submitted(&tickets[i], res);
}

/* One kernel a device, which wait for each other, so each device is to let its own go. While one
 * makes us wait, those that went before are held up with it: they are handed back, as if the driver
 * had refused, and asked again. */
static void admit_all(
	const CUDA_LAUNCH_PARAMS *launches, unsigned int count, struct ticket *ret_tickets)
{
	for (unsigned int tries = 1;; tries++) {
		admit_on_its_device(&launches[0], &ret_tickets[0]);
		uint64_t begun_ns = clock_now_ns();
		for (unsigned int i = 1; i < count; i++)
			admit_on_its_device(&launches[i], &ret_tickets[i]);
		if (tries > count || clock_now_ns() - begun_ns < HELD_UP_NS)
			return;
		submitted_all(ret_tickets, count, CUDA_ERROR_NOT_READY);
	}
}

CUresult CUDAAPI hook_cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *launches, unsigned int count, unsigned int flags)
{
	struct ticket tickets[CONFIG_MAX_DEVICES];

	/* More than there can be devices: the driver's to refuse. */
	if (launches == NULL || count == 0 || count > ARRAY_LEN(tickets))
		return driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
	admit_all(launches, count, tickets);
	CUresult res = driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
	submitted_all(tickets, count, res);
	return res;
}

CUresult CUDAAPI hook_cuLaunch(CUfunction f)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, 1, 1, 1), NULL, &ticket);
	return governor_submitted(&ticket, driver.cuLaunch(f));
}

CUresult CUDAAPI hook_cuLaunchGrid(CUfunction f, int grid_width, int grid_height)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, (unsigned)grid_width, (unsigned)grid_height, 1), NULL, &ticket);
	return governor_submitted(&ticket, driver.cuLaunchGrid(f, grid_width, grid_height));
}

CUresult CUDAAPI hook_cuLaunchGridAsync(
	CUfunction f, int grid_width, int grid_height, CUstream stream)
{
	struct ticket ticket;

	admit(costs_kernel_key(f, (unsigned)grid_width, (unsigned)grid_height, 1), stream, &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchGridAsync(f, grid_width, grid_height, stream));
}

/* The same once the process has graphs that allocate memory. */
static COLD CUresult launch_with_memory(CUgraphExec graph, CUstream stream, CUstream real_stream,
	CUresult(CUDAAPI *launch)(CUgraphExec, CUstream))
{
	struct graph_call call;
	struct ticket ticket;

	if (!graph_memory_begin(graph, real_stream, &call))
		return CUDA_ERROR_OUT_OF_MEMORY;
	admit(graph_key(graph), real_stream, &ticket);
	CUresult res = governor_submitted(&ticket, launch(graph, stream));
	graph_memory_end(&call, graph, res);
	return res;
}

CUresult CUDAAPI hook_cuGraphLaunch(CUgraphExec graph, CUstream stream)
{
	struct ticket ticket;

	if (unlikely(graph_memory_is_used()))
		return launch_with_memory(graph, stream, stream, driver.cuGraphLaunch);
	admit(graph_key(graph), stream, &ticket);
	return governor_submitted(&ticket, driver.cuGraphLaunch(graph, stream));
}

CUresult CUDAAPI hook_cuGraphLaunch_ptsz(CUgraphExec graph, CUstream stream)
{
	struct ticket ticket;

	if (unlikely(graph_memory_is_used()))
		return launch_with_memory(
			graph, stream, per_thread(stream), driver.cuGraphLaunch_ptsz);
	admit(graph_key(graph), per_thread(stream), &ticket);
	return governor_submitted(&ticket, driver.cuGraphLaunch_ptsz(graph, stream));
}
