/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Every way to submit work: admitted by the governor, launched, reported as submitted.
 */
#include "driver/driver.h"
#include "hooks/admit.h"
#include "hooks/graph_memory.h"
#include "hooks/hooks.h"

static uint64_t config_key(const CUlaunchConfig *config, CUfunction f)
{
	return costs_kernel_key(f, config->gridDimX, config->gridDimY, config->gridDimZ);
}

static uint64_t graph_key(CUgraphExec graph)
{
	return (uint64_t)(uintptr_t)graph;
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

/* One kernel a device, which wait for each other: the first stands for all of them, and is billed
 * to the device that is current; the others' shares are not yet looked at. Admitting one after the
 * other would wait for the end of what has not been launched. */
CUresult CUDAAPI hook_cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *launches, unsigned int count, unsigned int flags)
{
	struct ticket ticket;

	if (launches == NULL || count == 0)
		return driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
	admit(costs_kernel_key(launches[0].function, launches[0].gridDimX, launches[0].gridDimY,
		      launches[0].gridDimZ),
		launches[0].hStream, &ticket);
	return governor_submitted(
		&ticket, driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags));
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
