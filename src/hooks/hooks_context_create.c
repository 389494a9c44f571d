/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The making of contexts, and the heaps that they are told to have.
 */
#include "driver/driver.h"
#include "hooks/charge.h"
#include "hooks/contexts.h"
#include "hooks/footprint.h"
#include "hooks/hooks.h"
#include "ledger/ledger.h"
#include "slice/slice.h"

/* `call` makes `context` on `device`, or answers with an error. */
#define MAKE_CONTEXT(ret_context, device, context, call) \
	do {                                             \
		struct context_charge charge;            \
		CUcontext context = NULL;                \
		if (!contexts_begin(device, &charge))    \
			return CUDA_ERROR_OUT_OF_MEMORY; \
		CUresult res = call;                     \
		contexts_end(&charge, res, context);     \
		if (res == CUDA_SUCCESS)                 \
			*(ret_context) = context;        \
		return res;                              \
	} while (0)

CUresult CUDAAPI hook_cuCtxCreate(CUcontext *ret_context, unsigned int flags, CUdevice device)
{
	if (ret_context == NULL)
		return driver.cuCtxCreate(ret_context, flags, device);
	MAKE_CONTEXT(ret_context, device, context, driver.cuCtxCreate(&context, flags, device));
}

CUresult CUDAAPI hook_cuCtxCreate_v2(CUcontext *ret_context, unsigned int flags, CUdevice device)
{
	if (ret_context == NULL)
		return driver.cuCtxCreate_v2(ret_context, flags, device);
	MAKE_CONTEXT(ret_context, device, context, driver.cuCtxCreate_v2(&context, flags, device));
}

CUresult CUDAAPI hook_cuCtxCreate_v3(CUcontext *ret_context, CUexecAffinityParam *affinities,
	int affinity_count, unsigned int flags, CUdevice device)
{
	if (ret_context == NULL)
		return driver.cuCtxCreate_v3(
			ret_context, affinities, affinity_count, flags, device);
	MAKE_CONTEXT(ret_context, device, context,
		driver.cuCtxCreate_v3(&context, affinities, affinity_count, flags, device));
}

CUresult CUDAAPI hook_cuCtxCreate_v4(
	CUcontext *ret_context, CUctxCreateParams *params, unsigned int flags, CUdevice device)
{
	if (ret_context == NULL)
		return driver.cuCtxCreate_v4(ret_context, params, flags, device);
	MAKE_CONTEXT(ret_context, device, context,
		driver.cuCtxCreate_v4(&context, params, flags, device));
}

/* Makes it only where it is not there yet. */
CUresult CUDAAPI hook_cuDevicePrimaryCtxRetain(CUcontext *ret_context, CUdevice device)
{
	unsigned int flags;
	int is_active = 0;

	if (ret_context == NULL ||
		driver.cuDevicePrimaryCtxGetState(device, &flags, &is_active) != CUDA_SUCCESS ||
		is_active != 0)
		return driver.cuDevicePrimaryCtxRetain(ret_context, device);
	MAKE_CONTEXT(
		ret_context, device, context, driver.cuDevicePrimaryCtxRetain(&context, device));
}

/* What a context has of these is among its own bytes up to the defaults that NVIDIA documents. */
#define DEFAULT_PRINTF_BYTES (1ull << 20)
#define DEFAULT_MALLOC_BYTES (8ull << 20)

/* A heap's entry in the ledger. Contexts lie further apart than there are limits. */
static uint64_t heap_key(CUcontext context, CUlimit limit)
{
	return ledger_key(LEDGER_CONTEXT, (uintptr_t)context + 1 + (unsigned)limit);
}

/* Whose bytes follow from the limit. The driver takes them at once or with the next launch. */
static bool is_sized(CUlimit limit, uint64_t *ret_default)
{
	*ret_default =
		limit == CU_LIMIT_PRINTF_FIFO_SIZE ? DEFAULT_PRINTF_BYTES : DEFAULT_MALLOC_BYTES;
	return limit == CU_LIMIT_PRINTF_FIFO_SIZE || limit == CU_LIMIT_MALLOC_HEAP_SIZE;
}

/* Whose bytes only the driver knows. */
static bool is_measured(CUlimit limit)
{
	return limit == CU_LIMIT_STACK_SIZE || limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH ||
	       limit == CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT;
}

static uint64_t sized_bytes(size_t value, uint64_t by_default)
{
	return value > by_default ? ledger_round(value - by_default) : 0;
}

static uint64_t limit_of(CUlimit limit)
{
	size_t value;

	return driver.cuCtxGetLimit(&value, limit) == CUDA_SUCCESS ? value : 0;
}

/* The heap has `bytes` now, part of which `more` has reserved. */
static void book_heap(CUcontext context, CUlimit limit, struct charge *more,
	const struct holding *had, uint64_t bytes)
{
	struct reservation reservation = more->reservation;

	reservation.bytes = had->bytes;
	charge_move(more, &reservation);
	ledger_settle(&reservation, bytes);
	if (bytes == 0 || !ledger_commit(&reservation, heap_key(context, limit), context))
		ledger_cancel(&reservation);
}

/* A limit is set by one thread at a time, so nobody misses the entry while it is out. */
static struct holding take_heap_out(CUcontext context, CUlimit limit)
{
	struct holding had = {.bytes = 0};

	if (ledger_take_out(heap_key(context, limit), &had))
		ledger_take_over(&had);
	else
		had.bytes = 0;
	return had;
}

static CUresult set_sized(
	CUdevice device, CUcontext context, CUlimit limit, size_t value, uint64_t by_default)
{
	uint64_t before = sized_bytes(limit_of(limit), by_default);
	uint64_t after = sized_bytes(value, by_default);
	struct charge charge;

	if (!charge_begin_on(device, LEDGER_CONTEXT, after > before ? after - before : 0, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = driver.cuCtxSetLimit(limit, value);
	struct holding had = take_heap_out(context, limit);
	book_heap(context, limit, &charge, &had, sized_bytes(limit_of(limit), by_default));
	return res;
}

/* With the footprints locked. False where what was taken does not fit. */
static bool charge_measured(const struct footprint *footprint, CUcontext context, CUlimit limit)
{
	uint64_t taken = 0, given = 0;
	struct charge charge;

	if (!footprint_taken(footprint, &taken) || !footprint_given(footprint, &given))
		return true;
	if (!charge_begin_on((CUdevice)footprint->device, LEDGER_CONTEXT, taken, &charge))
		return false;
	struct holding had = take_heap_out(context, limit);
	uint64_t bytes = had.bytes + charge.reservation.bytes;
	book_heap(context, limit, &charge, &had, bytes > given ? bytes - given : 0);
	return true;
}

static CUresult set_measured(CUdevice device, CUcontext context, CUlimit limit, size_t value)
{
	struct footprint footprint;
	uint64_t before = limit_of(limit);

	footprint_begin((unsigned)device, 0, &footprint);
	CUresult res = driver.cuCtxSetLimit(limit, value);
	footprint_lock(&footprint);
	if (res == CUDA_SUCCESS && !charge_measured(&footprint, context, limit)) {
		driver.cuCtxSetLimit(limit, before);
		res = CUDA_ERROR_OUT_OF_MEMORY;
	}
	footprint_done(&footprint);
	return res;
}

CUresult CUDAAPI hook_cuCtxSetLimit(CUlimit limit, size_t value)
{
	uint64_t by_default;
	CUcontext context;
	CUdevice device;

	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS ||
		driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS || !slice_exists(device))
		return driver.cuCtxSetLimit(limit, value);
	contexts_see((unsigned)device, context);
	if (is_sized(limit, &by_default))
		return set_sized(device, context, limit, value, by_default);
	if (is_measured(limit))
		return set_measured(device, context, limit, value);
	return driver.cuCtxSetLimit(limit, value);
}
