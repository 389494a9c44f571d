/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of contexts, but for primary ones.
 */
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "event.h"
#include "pool.h"
#include "stream.h"
#include "thread.h"

#define GREATEST_PRIORITY (-5)

static CUresult create_limited(
	CUcontext *pctx, unsigned flags, CUdevice dev, const uint32_t *sm_limit)
{
	struct device *device = device_of(dev);
	CUcontext ctx;

	if (!pctx || (flags & ~(unsigned)CU_CTX_FLAGS_MASK))
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	CUresult result = context_create_limited(
		device, flags, sm_limit ? *sm_limit : device->sm_count, &ctx);

	if (result != CUDA_SUCCESS)
		return result;
	result = context_push(ctx);
	if (result == CUDA_SUCCESS)
		*pctx = ctx;
	else
		(void)context_destroy(ctx);
	return result;
}

static CUresult create(CUcontext *pctx, unsigned flags, CUdevice dev)
{
	return create_limited(pctx, flags, dev, NULL);
}

/* Only MPS can give a context some SMs. The last of several parameters counts. */
static CUresult create_with_affinity(
	CUcontext *pctx, const CUexecAffinityParam *params, int count, unsigned flags, CUdevice dev)
{
	if (!params && !count)
		return create(pctx, flags, dev);
	if (!params || count <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!entry.machine->mps)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	const CUexecAffinityParam *last = &params[count - 1];

	if (last->type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	if (last->param.smCount.val == 0)
		return CUDA_ERROR_INVALID_VALUE;
	return create_limited(pctx, flags, dev, &last->param.smCount.val);
}

CUresult cuCtxCreate(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	ENTER(cuCtxCreate);
	return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	ENTER(cuCtxCreate_v2);
	return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v3(
	CUcontext *pctx, CUexecAffinityParam *params, int count, unsigned int flags, CUdevice dev)
{
	ENTER(cuCtxCreate_v3);
	return create_with_affinity(pctx, params, count, flags, dev);
}

CUresult cuCtxCreate_v4(
	CUcontext *pctx, CUctxCreateParams *params, unsigned int flags, CUdevice dev)
{
	ENTER(cuCtxCreate_v4);
	if (params && params->cigParams)
		return CUDA_ERROR_NOT_SUPPORTED;
	return create_with_affinity(pctx, params ? params->execAffinityParams : NULL,
		params ? params->numExecAffinityParams : 0, flags, dev);
}

static CUresult destroy(CUcontext ctx)
{
	if (!handle_is(ctx, HANDLE_CONTEXT) || ctx->is_primary || ctx->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	context_pop_if_current(ctx);
	return context_destroy(ctx);
}

CUresult cuCtxDestroy(CUcontext ctx)
{
	ENTER(cuCtxDestroy);
	return destroy(ctx);
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
	ENTER(cuCtxDestroy_v2);
	return destroy(ctx);
}

CUresult cuCtxAttach(CUcontext *pctx, unsigned int flags)
{
	CUcontext ctx;

	ENTER(cuCtxAttach);
	if (!pctx || flags)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	driver_lock();
	ctx->attachments++;
	driver_unlock();
	*pctx = ctx;
	return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext ctx)
{
	CUcontext current;

	ENTER(cuCtxDetach);
	const CUresult result = context_current(&current);

	if (result != CUDA_SUCCESS)
		return result;
	if (ctx != current || ctx->is_primary || ctx->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	driver_lock();
	const bool is_last = --ctx->attachments == 0;

	driver_unlock();
	return is_last ? destroy(ctx) : CUDA_SUCCESS;
}

static CUresult push(CUcontext ctx)
{
	if (!handle_is(ctx, HANDLE_CONTEXT))
		return CUDA_ERROR_INVALID_CONTEXT;
	return context_push(ctx);
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
	ENTER(cuCtxPushCurrent);
	return push(ctx);
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
	ENTER(cuCtxPushCurrent_v2);
	return push(ctx);
}

static CUresult pop(CUcontext *pctx)
{
	struct thread *thread = thread_self();

	if (!thread || thread->context_count == 0)
		return CUDA_ERROR_INVALID_CONTEXT;
	thread->context_count--;
	if (pctx)
		*pctx = thread->contexts[thread->context_count];
	return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *pctx)
{
	ENTER(cuCtxPopCurrent);
	return pop(pctx);
}

CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
	ENTER(cuCtxPopCurrent_v2);
	return pop(pctx);
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
	ENTER(cuCtxSetCurrent);
	struct thread *thread = thread_self();

	if (!thread)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (ctx && !handle_is(ctx, HANDLE_CONTEXT))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (thread->context_count)
		thread->context_count--;
	return ctx ? context_push(ctx) : CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *pctx)
{
	ENTER(cuCtxGetCurrent);
	const struct thread *thread = thread_self();

	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	*pctx = thread && thread->context_count ? thread->contexts[thread->context_count - 1]
						: NULL;
	return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *device, CUcontext ctx)
{
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_resolve(&ctx);

	if (result == CUDA_SUCCESS)
		*device = device_ordinal(ctx->device);
	return result;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	ENTER(cuCtxGetDevice);
	return get_device(device, NULL);
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
	ENTER(cuCtxGetDevice_v2);
	return get_device(device, ctx);
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	CUcontext ctx;

	ENTER(cuCtxGetFlags);
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		*flags = ctx->flags;
	return result;
}

CUresult cuCtxSetFlags(unsigned int flags)
{
	CUcontext ctx;

	ENTER(cuCtxSetFlags);
	if (flags & ~(unsigned)CU_CTX_FLAGS_MASK)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		ctx->flags = flags;
	return result;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
	ENTER(cuCtxGetId);
	if (!ctxId)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_resolve(&ctx);

	if (result == CUDA_SUCCESS)
		*ctxId = ctx->id;
	return result;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
	ENTER(cuCtxGetApiVersion);
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_resolve(&ctx);

	if (result == CUDA_SUCCESS)
		*version = ctx->api_version;
	return result;
}

static CUresult synchronize(CUcontext ctx)
{
	CUresult result = context_resolve(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_context(ctx);
	if (result == CUDA_SUCCESS)
		result = context_wait(ctx);
	pools_release_excess();
	return result;
}

CUresult cuCtxSynchronize(void)
{
	ENTER_OR_NULL(cuCtxSynchronize, CUDA_SUCCESS);
	return synchronize(NULL);
}

CUresult cuCtxSynchronize_v2(CUcontext ctx)
{
	ENTER_OR_NULL(cuCtxSynchronize_v2, CUDA_SUCCESS);
	return synchronize(ctx);
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	CUcontext ctx;

	ENTER(cuCtxSetLimit);
	if ((unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	const CUresult result = context_current_home(&ctx);

	return result == CUDA_SUCCESS ? context_set_limit(ctx, limit, value) : result;
}

CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
	CUcontext ctx;

	ENTER(cuCtxGetLimit);
	if (!pvalue || (unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		*pvalue = ctx->limits[limit];
	return result;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *pconfig)
{
	CUcontext ctx;

	ENTER(cuCtxGetCacheConfig);
	if (!pconfig)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		*pconfig = ctx->cache_config;
	return result;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
	CUcontext ctx;

	ENTER(cuCtxSetCacheConfig);
	if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		ctx->cache_config = config;
	return result;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *pConfig)
{
	CUcontext ctx;

	ENTER(cuCtxGetSharedMemConfig);
	if (!pConfig)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		*pConfig = ctx->shared_config;
	return result;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	CUcontext ctx;

	ENTER(cuCtxSetSharedMemConfig);
	if ((unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		ctx->shared_config = config;
	return result;
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
	CUcontext ctx;

	ENTER(cuCtxGetStreamPriorityRange);
	const CUresult result = context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	if (leastPriority)
		*leastPriority = 0;
	if (greatestPriority)
		*greatestPriority = GREATEST_PRIORITY;
	return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache(void)
{
	CUcontext ctx;

	ENTER(cuCtxResetPersistingL2Cache);
	return context_current(&ctx);
}

CUresult cuCtxGetExecAffinity(CUexecAffinityParam *pExecAffinity, CUexecAffinityType type)
{
	ENTER(cuCtxGetExecAffinity);
	if (!pExecAffinity || (unsigned)type >= CU_EXEC_AFFINITY_TYPE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (!entry.machine->mps)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	CUcontext ctx;
	const CUresult result = context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	*pExecAffinity = (CUexecAffinityParam){.type = type};
	pExecAffinity->param.smCount.val = context_sm_count(ctx);
	return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags)
{
	CUcontext ctx;

	ENTER(cuCtxEnablePeerAccess);
	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	return handle_is(peerContext, HANDLE_CONTEXT) ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED
						      : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxDisablePeerAccess(CUcontext peerContext)
{
	ENTER(cuCtxDisablePeerAccess);
	return handle_is(peerContext, HANDLE_CONTEXT) ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED
						      : CUDA_ERROR_INVALID_CONTEXT;
}
