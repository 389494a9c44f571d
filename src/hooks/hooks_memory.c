/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear device memory: reserve, ask the driver, commit or cancel.
 */
#include "base/clock.h"
#include "base/log.h"
#include "driver/driver.h"
#include "hooks/hooks.h"
#include "hooks/pending_frees.h"
#include "ledger/ledger.h"
#include "slice/slice.h"

/* An allocation on its way. Not counted where no device is current: the driver will say so. */
struct charge {
	bool is_counted;
	CUcontext context;
	struct reservation reservation;
};

/* Below this width drivers may choose any pitch; above, they take a multiple of it. Only a first
 * guess: the true pitch is charged. */
#define PITCH_GUESS 512ull

/* How long an allocation waits at most for memory that is being freed in stream order, and how
 * often it looks. Enough for a stream that is about to get there; a program that asks for more than
 * there will be soon hears it soon. */
#define PENDING_WAIT_NS (10 * NS_PER_MS)
#define LOOK_AGAIN_NS   (100 * NS_PER_US)

static COLD bool refuse(unsigned device, uint64_t bytes)
{
	log_at(LOG_INFO, "ledger", "refused %s on GPU %u: %s of %s used",
		units_format_bytes(bytes).text, device,
		units_format_bytes(ledger_used(device)).text,
		units_format_bytes(ledger_quota(device)).text);
	return false;
}

static bool is_enough_with(uint64_t pending_bytes, unsigned device, uint64_t bytes)
{
	uint64_t quota = ledger_quota(device);

	return pending_bytes > 0 && bytes <= quota &&
	       ledger_used(device) <= quota - bytes + pending_bytes;
}

/* The quota has no room: it may have some once streams get to what was freed on them. */
static COLD bool reserve_when_freed(
	unsigned device, uint64_t bytes, struct reservation *ret_reservation)
{
	uint64_t until_ns = clock_now_ns() + PENDING_WAIT_NS;

	for (;;) {
		uint64_t now_ns = clock_now_ns();
		uint64_t pending_bytes = pending_frees_collect(device);
		if (ledger_reserve(device, bytes, ret_reservation))
			return true;
		if (now_ns >= until_ns || !is_enough_with(pending_bytes, device, bytes))
			return refuse(device, bytes);
		clock_sleep_ns(LOOK_AGAIN_NS);
	}
}

/* False where the quota has no room for `bytes`. */
static bool charge_begin(uint64_t bytes, struct charge *ret_charge)
{
	CUdevice device;

	*ret_charge = (struct charge){0};
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device) ||
		driver.cuCtxGetCurrent(&ret_charge->context) != CUDA_SUCCESS)
		return true;
	bytes = ledger_round(bytes);
	ret_charge->is_counted = ledger_reserve((unsigned)device, bytes, &ret_charge->reservation);
	if (!ret_charge->is_counted)
		ret_charge->is_counted =
			reserve_when_freed((unsigned)device, bytes, &ret_charge->reservation);
	return ret_charge->is_counted;
}

/* The driver has answered with `res`. Books what it gave; where it gave more than was reserved and
 * that does not fit, or the ledger has no memory, it goes back. */
static CUresult charge_end(struct charge *charge, CUresult res, CUdeviceptr address, uint64_t bytes)
{
	if (!charge->is_counted)
		return res;
	if (res == CUDA_SUCCESS) {
		if (ledger_extend(&charge->reservation, ledger_round(bytes)) &&
			ledger_commit(&charge->reservation, address, charge->context))
			return CUDA_SUCCESS;
		driver.cuMemFree_v2(address);
		res = CUDA_ERROR_OUT_OF_MEMORY;
	}
	ledger_cancel(&charge->reservation);
	return res;
}

CUresult CUDAAPI hook_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	struct charge charge;
	CUdeviceptr address = 0;

	if (dptr == NULL)
		return driver.cuMemAlloc_v2(dptr, bytesize);
	if (!charge_begin(bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuMemAlloc_v2(&address, bytesize);
	res = charge_end(&charge, res, address, bytesize);
	if (res == CUDA_SUCCESS)
		*dptr = address;
	return res;
}

CUresult CUDAAPI hook_cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	struct charge charge;
	CUdeviceptr address = 0;

	if (dptr == NULL)
		return driver.cuMemAllocManaged(dptr, bytesize, flags);
	if (!charge_begin(bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuMemAllocManaged(&address, bytesize, flags);
	res = charge_end(&charge, res, address, bytesize);
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
	CUdeviceptr address = 0;
	size_t pitch = 0;

	if (dptr == NULL || ret_pitch == NULL)
		return driver.cuMemAllocPitch_v2(dptr, ret_pitch, width, height, element_bytes);
	if (!charge_begin(pitched_bytes(width, height), &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuMemAllocPitch_v2(&address, &pitch, width, height, element_bytes);
	res = charge_end(&charge, res, address, (uint64_t)pitch * height);
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
	CUdeviceptr_v1 address = 0;

	if (dptr == NULL)
		return driver.cuMemAlloc(dptr, bytesize);
	if (!charge_begin(bytesize, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuMemAlloc(&address, bytesize);
	res = charge_end(&charge, res, address, bytesize);
	if (res == CUDA_SUCCESS)
		*dptr = address;
	return res;
}

CUresult CUDAAPI hook_cuMemAllocPitch(CUdeviceptr_v1 *dptr, unsigned int *ret_pitch,
	unsigned int width, unsigned int height, unsigned int element_bytes)
{
	struct charge charge;
	CUdeviceptr_v1 address = 0;
	unsigned int pitch = 0;

	if (dptr == NULL || ret_pitch == NULL)
		return driver.cuMemAllocPitch(dptr, ret_pitch, width, height, element_bytes);
	if (!charge_begin(pitched_bytes(width, height), &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuMemAllocPitch(&address, &pitch, width, height, element_bytes);
	res = charge_end(&charge, res, address, (uint64_t)pitch * height);
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
