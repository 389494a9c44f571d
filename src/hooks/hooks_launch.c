/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Every way to submit work: admitted by the governor, launched, reported as submitted.
 */
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/hooks.h"

/* Cooperative launches over several devices; the driver takes one a device. */
#define MAX_LAUNCH_LIST 64

static void admit(const void *key, CUstream stream, struct ticket *ret_ticket)
{
	struct command command = {.key = key, .stream = stream};

	governor_admit(&command, ret_ticket);
}

static CUresult submitted(const struct ticket *ticket, CUresult res)
{
	governor_submitted(ticket, res);
	return res;
}

/* In the _ptsz functions NULL means the calling thread's stream. */
static CUstream per_thread(CUstream stream)
{
	return stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

CUresult CUDAAPI hook_cuLaunchKernel(CUfunction f, unsigned int grid_x, unsigned int grid_y,
	unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
	unsigned int shared_bytes, CUstream stream, void **params, void **extra)
{
	struct ticket ticket;

	admit(f, stream, &ticket);
	return submitted(&ticket, driver.cuLaunchKernel(f, grid_x, grid_y, grid_z, block_x, block_y,
					  block_z, shared_bytes, stream, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernel_ptsz(CUfunction f, unsigned int grid_x, unsigned int grid_y,
	unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
	unsigned int shared_bytes, CUstream stream, void **params, void **extra)
{
	struct ticket ticket;

	admit(f, per_thread(stream), &ticket);
	return submitted(&ticket, driver.cuLaunchKernel_ptsz(f, grid_x, grid_y, grid_z, block_x,
					  block_y, block_z, shared_bytes, stream, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernelEx(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	struct ticket ticket;

	if (config == NULL)
		return driver.cuLaunchKernelEx(config, f, params, extra);
	admit(f, config->hStream, &ticket);
	return submitted(&ticket, driver.cuLaunchKernelEx(config, f, params, extra));
}

CUresult CUDAAPI hook_cuLaunchKernelEx_ptsz(
	const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	struct ticket ticket;

	if (config == NULL)
		return driver.cuLaunchKernelEx_ptsz(config, f, params, extra);
	admit(f, per_thread(config->hStream), &ticket);
	return submitted(&ticket, driver.cuLaunchKernelEx_ptsz(config, f, params, extra));
}

CUresult CUDAAPI hook_cuLaunchCooperativeKernel(CUfunction f, unsigned int grid_x,
	unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
	unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params)
{
	struct ticket ticket;

	admit(f, stream, &ticket);
	return submitted(&ticket, driver.cuLaunchCooperativeKernel(f, grid_x, grid_y, grid_z,
					  block_x, block_y, block_z, shared_bytes, stream, params));
}

CUresult CUDAAPI hook_cuLaunchCooperativeKernel_ptsz(CUfunction f, unsigned int grid_x,
	unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
	unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params)
{
	struct ticket ticket;

	admit(f, per_thread(stream), &ticket);
	return submitted(&ticket, driver.cuLaunchCooperativeKernel_ptsz(f, grid_x, grid_y, grid_z,
					  block_x, block_y, block_z, shared_bytes, stream, params));
}

/* One launch a device, all or none. Each is admitted to the device that is current, which holds
 * the caller to that one's share; the others' shares are not yet looked at. */
CUresult CUDAAPI hook_cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *launches, unsigned int count, unsigned int flags)
{
	struct ticket tickets[MAX_LAUNCH_LIST];

	if (launches == NULL || count > MAX_LAUNCH_LIST)
		return driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
	for (unsigned i = 0; i < count; i++)
		admit(launches[i].function, launches[i].hStream, &tickets[i]);
	CUresult res = driver.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
	for (unsigned i = 0; i < count; i++)
		governor_submitted(&tickets[i], res);
	return res;
}

CUresult CUDAAPI hook_cuLaunch(CUfunction f)
{
	struct ticket ticket;

	admit(f, NULL, &ticket);
	return submitted(&ticket, driver.cuLaunch(f));
}

CUresult CUDAAPI hook_cuLaunchGrid(CUfunction f, int grid_width, int grid_height)
{
	struct ticket ticket;

	admit(f, NULL, &ticket);
	return submitted(&ticket, driver.cuLaunchGrid(f, grid_width, grid_height));
}

CUresult CUDAAPI hook_cuLaunchGridAsync(
	CUfunction f, int grid_width, int grid_height, CUstream stream)
{
	struct ticket ticket;

	admit(f, stream, &ticket);
	return submitted(&ticket, driver.cuLaunchGridAsync(f, grid_width, grid_height, stream));
}

CUresult CUDAAPI hook_cuGraphLaunch(CUgraphExec graph, CUstream stream)
{
	struct ticket ticket;

	admit(graph, stream, &ticket);
	return submitted(&ticket, driver.cuGraphLaunch(graph, stream));
}

CUresult CUDAAPI hook_cuGraphLaunch_ptsz(CUgraphExec graph, CUstream stream)
{
	struct ticket ticket;

	admit(graph, per_thread(stream), &ticket);
	return submitted(&ticket, driver.cuGraphLaunch_ptsz(graph, stream));
}
