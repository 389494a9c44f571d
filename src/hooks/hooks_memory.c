/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear device memory.
 */
#include "driver/driver.h"
#include "hooks/charge.h"
#include "hooks/hooks.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"
#include "ledger/ledger.h"

/* Below this width drivers may choose any pitch; above, they take a multiple of it. Only a first
 * guess: the true pitch is charged. */
#define PITCH_GUESS 512ull

/* The driver has answered with `res`. Books what it gave, or gives it back. */
static CUresult end_linear(struct charge *charge, CUresult res, CUdeviceptr address, uint64_t bytes)
{
	if (charge_end(charge, res, address, bytes))
		return res;
	driver.cuMemFree_v2(address);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI hook_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	struct charge charge;
	CUresult res;
	CUdeviceptr address = 0;

	if (dptr == NULL)
		return driver.cuMemAlloc_v2(dptr, bytesize);
	if (!charge_begin(LEDGER_LINEAR, bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do
		res = driver.cuMemAlloc_v2(&address, bytesize);
	while (charge_again(&charge, res));
	res = end_linear(&charge, res, address, bytesize);
	if (res == CUDA_SUCCESS)
		*dptr = address;
	return res;
}

CUresult CUDAAPI hook_cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	struct charge charge;
	CUresult res;
	CUdeviceptr address = 0;

	if (dptr == NULL)
		return driver.cuMemAllocManaged(dptr, bytesize, flags);
	if (!charge_begin(LEDGER_LINEAR, bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do
		res = driver.cuMemAllocManaged(&address, bytesize, flags);
	while (charge_again(&charge, res));
	res = end_linear(&charge, res, address, bytesize);
	if (res == CUDA_SUCCESS)
		*dptr = address;
	return res;
}

/* As the driver will take it at least; an overflow is larger than any quota. */
static uint64_t pitched_bytes(uint64_t width, uint64_t height)
{
	uint64_t pitch, bytes;

	if (__builtin_add_overflow(width, PITCH_GUESS - 1, &pitch))
		return UINT64_MAX;
	pitch -= pitch % PITCH_GUESS;
	return __builtin_mul_overflow(pitch, height, &bytes) ? UINT64_MAX : bytes;
}

CUresult CUDAAPI hook_cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *ret_pitch, size_t width,
	size_t height, unsigned int element_bytes)
{
	struct charge charge;
	CUresult res;
	CUdeviceptr address = 0;
	size_t pitch = 0;

	if (dptr == NULL || ret_pitch == NULL)
		return driver.cuMemAllocPitch_v2(dptr, ret_pitch, width, height, element_bytes);
	if (!charge_begin(LEDGER_LINEAR, pitched_bytes(width, height), &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do
		res = driver.cuMemAllocPitch_v2(&address, &pitch, width, height, element_bytes);
	while (charge_again(&charge, res));
	res = end_linear(&charge, res, address, (uint64_t)pitch * height);
	if (res == CUDA_SUCCESS) {
		*dptr = address;
		*ret_pitch = pitch;
	}
	return res;
}

/* The 2.0 functions know 32-bit addresses and sizes; today's drivers still export them. */
CUresult CUDAAPI hook_cuMemAlloc(CUdeviceptr_v1 *dptr, unsigned int bytesize)
{
	struct charge charge;
	CUresult res;
	CUdeviceptr_v1 address = 0;

	if (dptr == NULL)
		return driver.cuMemAlloc(dptr, bytesize);
	if (!charge_begin(LEDGER_LINEAR, bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do
		res = driver.cuMemAlloc(&address, bytesize);
	while (charge_again(&charge, res));
	res = end_linear(&charge, res, address, bytesize);
	if (res == CUDA_SUCCESS)
		*dptr = address;
	return res;
}

CUresult CUDAAPI hook_cuMemAllocPitch(CUdeviceptr_v1 *dptr, unsigned int *ret_pitch,
	unsigned int width, unsigned int height, unsigned int element_bytes)
{
	struct charge charge;
	CUresult res;
	CUdeviceptr_v1 address = 0;
	unsigned int pitch = 0;

	if (dptr == NULL || ret_pitch == NULL)
		return driver.cuMemAllocPitch(dptr, ret_pitch, width, height, element_bytes);
	if (!charge_begin(LEDGER_LINEAR, pitched_bytes(width, height), &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do
		res = driver.cuMemAllocPitch(&address, &pitch, width, height, element_bytes);
	while (charge_again(&charge, res));
	res = end_linear(&charge, res, address, (uint64_t)pitch * height);
	if (res == CUDA_SUCCESS) {
		*dptr = address;
		*ret_pitch = pitch;
	}
	return res;
}

static CUresult end_free(bool is_ours, const struct holding *holding, CUresult res)
{
	if (is_ours && res == CUDA_SUCCESS)
		ledger_give_back(holding);
	else if (is_ours)
		ledger_put_back(holding);
	return res;
}

CUresult CUDAAPI hook_cuMemFree_v2(CUdeviceptr dptr)
{
	struct holding holding;
	bool is_ours = ledger_take_out(dptr, &holding);

	return end_free(is_ours, &holding, driver.cuMemFree_v2(dptr));
}

CUresult CUDAAPI hook_cuMemFree(CUdeviceptr_v1 dptr)
{
	struct holding holding;
	bool is_ours = ledger_take_out(dptr, &holding);

	return end_free(is_ours, &holding, driver.cuMemFree(dptr));
}

/* Linear memory may be freed in stream order too, and is the program's until the stream is there.
 */
static CUresult end_free_async(
	bool is_ours, const struct holding *holding, CUstream stream, CUresult res)
{
	if (!is_ours)
		pools_note_free();
	if (!is_ours || res != CUDA_SUCCESS)
		return end_free(is_ours, holding, res);
	pending_frees_add(holding, stream);
	return res;
}

CUresult CUDAAPI hook_cuMemFreeAsync(CUdeviceptr dptr, CUstream stream)
{
	struct holding holding;
	bool is_ours = ledger_take_out(dptr, &holding);

	return end_free_async(is_ours, &holding, stream, driver.cuMemFreeAsync(dptr, stream));
}

CUresult CUDAAPI hook_cuMemFreeAsync_ptsz(CUdeviceptr dptr, CUstream stream)
{
	struct holding holding;
	bool is_ours = ledger_take_out(dptr, &holding);

	CUresult res = driver.cuMemFreeAsync_ptsz(dptr, stream);
	return end_free_async(
		is_ours, &holding, stream == NULL ? CU_STREAM_PER_THREAD : stream, res);
}
