/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The end of a context: its memory goes with it, and so do the events that measure in it.
 */
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/array_costs.h"
#include "hooks/charge.h"
#include "hooks/contexts.h"
#include "hooks/graph_memory.h"
#include "hooks/hooks.h"
#include "hooks/pending_frees.h"
#include "hooks/physical.h"
#include "hooks/pools.h"
#include "ledger/ledger.h"
#include "partition/partition.h"
#include "slice/slice.h"

#define MAX_ATTACHED 64

/* Contexts that are attached to more than once: a use count of the driver's that it does not tell.
 * Wiped at fork, for contexts do not pass to children. */
static struct attachments {
	struct lock lock;
	bool has_overflowed;
	struct {
		CUcontext context;
		unsigned
			count; /* beyond the first, which is the making of the context; 0: unused */
	} table[MAX_ATTACHED];
} * attachments;

bool hooks_init(void)
{
	attachments = wipe_alloc(sizeof(*attachments));
	return attachments != NULL && pending_frees_init() && array_costs_init() &&
	       hooks_array_init() && pools_init() && physicals_init() && charge_init() &&
	       hooks_module_init() && graph_memory_init();
}

/* Its entry, or for one without the first unused; MAX_ATTACHED where there is none. */
static unsigned find_attached(CUcontext context)
{
	unsigned unused = MAX_ATTACHED;

	for (unsigned i = 0; i < MAX_ATTACHED; i++) {
		if (attachments->table[i].count == 0)
			unused = i < unused ? i : unused;
		else if (attachments->table[i].context == context)
			return i;
	}
	return unused;
}

static void count_attach(CUcontext context)
{
	lock_take(&attachments->lock);
	unsigned i = find_attached(context);
	if (i < MAX_ATTACHED) {
		attachments->table[i].context = context;
		attachments->table[i].count++;
	} else {
		attachments->has_overflowed = true;
	}
	lock_drop(&attachments->lock);
}

/* True where this detach is the end of the context. Once there were too many to count, one that is
 * not known is taken to live on: its bytes stay charged, which errs on the side of the limit. */
static bool count_detach(CUcontext context)
{
	lock_take(&attachments->lock);
	unsigned i = find_attached(context);
	bool is_attached = i < MAX_ATTACHED && attachments->table[i].count > 0;
	bool is_end = !is_attached && !attachments->has_overflowed;
	if (is_attached)
		attachments->table[i].count--;
	lock_drop(&attachments->lock);
	return is_end;
}

static void forget_attached(CUcontext context)
{
	lock_take(&attachments->lock);
	unsigned i = find_attached(context);
	if (i < MAX_ATTACHED)
		attachments->table[i].count = 0;
	lock_drop(&attachments->lock);
}

/* What ran in the context is billed first: after the call its events may not be touched. */
static void before_end(CUcontext context)
{
	governor_settle_context(context);
	pending_frees_hold_context(context);
	ledger_begin_end();
}

/* It did not end after all. */
static CUresult context_lives(CUcontext context, CUresult res)
{
	ledger_end_end();
	governor_keep_context(context);
	pending_frees_resume_context(context);
	return res;
}

/* What was allocated from them in its streams is gone too. */
static void settle_pools(void)
{
	for (unsigned device = 0; device < LEDGER_MAX_DEVICES; device++) {
		if (slice_exists((CUdevice)device))
			pools_settle(device);
	}
}

static CUresult context_gone(CUcontext context, CUresult res)
{
	if (res != CUDA_SUCCESS)
		return context_lives(context, res);
	forget_attached(context);
	contexts_forget(context);
	hooks_module_drop_context(context);
	pending_frees_drop_context(context);
	ledger_drop_context(context);
	settle_pools();
	ledger_end_end();
	governor_lose_context(context);
	/* Its functions and graphs are gone, and their handles may be others' from now on. */
	governor_doubt(COSTS_ALL);
	return res;
}

CUresult CUDAAPI hook_cuCtxDestroy_v2(CUcontext context)
{
	before_end(context);
	return context_gone(context, driver.cuCtxDestroy_v2(context));
}

CUresult CUDAAPI hook_cuCtxDestroy(CUcontext context)
{
	before_end(context);
	return context_gone(context, driver.cuCtxDestroy(context));
}

CUresult CUDAAPI hook_cuCtxAttach(CUcontext *ret_context, unsigned int flags)
{
	CUresult res = driver.cuCtxAttach(ret_context, flags);

	if (res == CUDA_SUCCESS)
		count_attach(*ret_context);
	return res;
}

/* The last detach destroys the context. */
CUresult CUDAAPI hook_cuCtxDetach(CUcontext context)
{
	before_end(context);
	CUresult res = driver.cuCtxDetach(context);
	if (res == CUDA_SUCCESS && count_detach(context))
		return context_gone(context, res);
	return context_lives(context, res);
}

static bool primary_is_active(CUdevice device)
{
	unsigned int flags;
	int is_active = 0;

	return driver.cuDevicePrimaryCtxGetState(device, &flags, &is_active) == CUDA_SUCCESS &&
	       is_active != 0;
}

/* The primary context of a device, NULL where none is active. Its handle is to be had only by
 * retaining it, which `release` undoes. */
static CUcontext primary_of(CUdevice device, CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = NULL;

	if (!primary_is_active(device) ||
		driver.cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS)
		return NULL;
	release(device);
	return context;
}

/* After a call by which a reference has ended, with the context that primary_of() gave before. */
static CUresult released(CUdevice device, CUcontext context, CUresult res)
{
	bool is_gone = res == CUDA_SUCCESS && !primary_is_active(device);

	if (is_gone)
		partition_forget((unsigned)device);
	if (context == NULL)
		return res;
	return is_gone ? context_gone(context, res) : context_lives(context, res);
}

/* Releasing ends the context only with its last reference. */
static CUresult release_primary(CUdevice device, CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = primary_of(device, release);

	if (context != NULL)
		before_end(context);
	return released(device, context, release(device));
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxRelease(CUdevice device)
{
	return release_primary(device, driver.cuDevicePrimaryCtxRelease);
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return release_primary(device, driver.cuDevicePrimaryCtxRelease_v2);
}

static CUresult reset_primary(
	CUdevice device, CUresult(CUDAAPI *reset)(CUdevice), CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = primary_of(device, release);

	if (context != NULL)
		before_end(context);
	partition_forget((unsigned)device);
	CUresult res = reset(device);
	return context != NULL ? context_gone(context, res) : res;
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxReset(CUdevice device)
{
	return reset_primary(
		device, driver.cuDevicePrimaryCtxReset, driver.cuDevicePrimaryCtxRelease);
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return reset_primary(
		device, driver.cuDevicePrimaryCtxReset_v2, driver.cuDevicePrimaryCtxRelease_v2);
}

static bool find_device_of_green(CUgreenCtx green, CUdevice *ret_device)
{
	CUcontext context;

	if (driver.cuCtxFromGreenCtx(&context, green) != CUDA_SUCCESS ||
		driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return false;
	bool is_known = driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	driver.cuCtxPopCurrent_v2(&context);
	return is_known;
}

/* A green context has a reference to its primary one, which may be the last. */
CUresult CUDAAPI hook_cuGreenCtxDestroy(CUgreenCtx green)
{
	CUdevice device;

	if (!find_device_of_green(green, &device))
		return driver.cuGreenCtxDestroy(green);
	CUcontext context = primary_of(device, driver.cuDevicePrimaryCtxRelease_v2);
	if (context != NULL)
		before_end(context);
	return released(device, context, driver.cuGreenCtxDestroy(green));
}
