/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that ask a stream what it is, or change it.
 */
#include <string.h>

#include "context.h"
#include "entry.h"
#include "stream.h"

/* What the queries answer: a copy, so that no lock is held while it is looked at. */
struct stream_info {
	CUcontext ctx;
	unsigned flags;
	int priority;
	uint64_t id;
};

static CUresult ask(CUstream handle, enum stream_default meaning, struct stream_info *ret_info)
{
	CUstream stream;

	driver_lock();
	const CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		*ret_info = (struct stream_info){
			.ctx = stream->ctx,
			.flags = stream->flags,
			.priority = stream->priority,
			.id = stream->id,
		};
	driver_unlock();
	return result;
}

static CUresult get_flags(CUstream handle, enum stream_default meaning, unsigned *flags)
{
	struct stream_info info;

	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*flags = info.flags;
	return result;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
	ENTER(cuStreamGetFlags);
	return get_flags(hStream, STREAM_LEGACY, flags);
}

CUresult cuStreamGetFlags_ptsz(CUstream hStream, unsigned int *flags)
{
	ENTER(cuStreamGetFlags_ptsz);
	return get_flags(hStream, STREAM_PER_THREAD, flags);
}

static CUresult get_priority(CUstream handle, enum stream_default meaning, int *priority)
{
	struct stream_info info;

	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*priority = info.priority;
	return result;
}

CUresult cuStreamGetPriority(CUstream hStream, int *priority)
{
	ENTER(cuStreamGetPriority);
	return get_priority(hStream, STREAM_LEGACY, priority);
}

CUresult cuStreamGetPriority_ptsz(CUstream hStream, int *priority)
{
	ENTER(cuStreamGetPriority_ptsz);
	return get_priority(hStream, STREAM_PER_THREAD, priority);
}

static CUresult get_id(CUstream handle, enum stream_default meaning, unsigned long long *id)
{
	struct stream_info info;

	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*id = info.id;
	return result;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
	ENTER(cuStreamGetId);
	return get_id(hStream, STREAM_LEGACY, streamId);
}

CUresult cuStreamGetId_ptsz(CUstream hStream, unsigned long long *streamId)
{
	ENTER(cuStreamGetId_ptsz);
	return get_id(hStream, STREAM_PER_THREAD, streamId);
}

static CUresult get_device(CUstream handle, enum stream_default meaning, CUdevice *device)
{
	struct stream_info info;

	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*device = device_ordinal(info.ctx->device);
	return result;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice *device)
{
	ENTER(cuStreamGetDevice);
	return get_device(hStream, STREAM_LEGACY, device);
}

CUresult cuStreamGetDevice_ptsz(CUstream hStream, CUdevice *device)
{
	ENTER(cuStreamGetDevice_ptsz);
	return get_device(hStream, STREAM_PER_THREAD, device);
}

static CUresult get_ctx(CUstream handle, enum stream_default meaning, CUcontext *pctx)
{
	struct stream_info info;

	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*pctx = info.ctx;
	return result;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext *pctx)
{
	ENTER(cuStreamGetCtx);
	return get_ctx(hStream, STREAM_LEGACY, pctx);
}

CUresult cuStreamGetCtx_ptsz(CUstream hStream, CUcontext *pctx)
{
	ENTER(cuStreamGetCtx_ptsz);
	return get_ctx(hStream, STREAM_PER_THREAD, pctx);
}

static CUresult get_ctx_v2(
	CUstream handle, enum stream_default meaning, CUcontext *pctx, CUgreenCtx *pgreen)
{
	struct stream_info info;

	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result == CUDA_SUCCESS)
		*pctx = context_home(info.ctx);
	if (result == CUDA_SUCCESS && pgreen)
		*pgreen = info.ctx->green;
	return result;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx)
{
	ENTER(cuStreamGetCtx_v2);
	return get_ctx_v2(hStream, STREAM_LEGACY, pCtx, pGreenCtx);
}

CUresult cuStreamGetCtx_v2_ptsz(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx)
{
	ENTER(cuStreamGetCtx_v2_ptsz);
	return get_ctx_v2(hStream, STREAM_PER_THREAD, pCtx, pGreenCtx);
}

static bool is_stream_attribute(CUstreamAttrID attr)
{
	return attr == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW ||
	       attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY ||
	       attr == CU_LAUNCH_ATTRIBUTE_PRIORITY ||
	       attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
	       attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN ||
	       attr == CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING;
}

static CUresult get_attribute(
	CUstream handle, enum stream_default meaning, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	CUstream stream;

	if (!value || !is_stream_attribute(attr))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS) {
		*value = stream->attributes[attr];
		if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
			value->priority = stream->priority;
	}
	driver_unlock();
	return result;
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	ENTER(cuStreamGetAttribute);
	return get_attribute(hStream, STREAM_LEGACY, attr, value);
}

CUresult cuStreamGetAttribute_ptsz(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	ENTER(cuStreamGetAttribute_ptsz);
	return get_attribute(hStream, STREAM_PER_THREAD, attr, value);
}

static CUresult set_attribute(CUstream handle, enum stream_default meaning, CUstreamAttrID attr,
	const CUstreamAttrValue *value)
{
	CUstream stream;

	if (!value || !is_stream_attribute(attr))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS) {
		stream->attributes[attr] = *value;
		if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
			stream->priority = value->priority;
	}
	driver_unlock();
	return result;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	ENTER(cuStreamSetAttribute);
	return set_attribute(hStream, STREAM_LEGACY, attr, value);
}

CUresult cuStreamSetAttribute_ptsz(
	CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	ENTER(cuStreamSetAttribute_ptsz);
	return set_attribute(hStream, STREAM_PER_THREAD, attr, value);
}

static CUresult copy_attributes(CUstream to, CUstream from, enum stream_default meaning)
{
	CUstream dst, src;

	driver_lock();
	CUresult result = stream_resolve(to, meaning, &dst);

	if (result == CUDA_SUCCESS)
		result = stream_resolve(from, meaning, &src);
	if (result == CUDA_SUCCESS) {
		if (src != dst)
			memcpy(dst->attributes, src->attributes, sizeof(dst->attributes));
		dst->priority = src->priority;
	}
	driver_unlock();
	return result;
}

CUresult cuStreamCopyAttributes(CUstream dstStream, CUstream srcStream)
{
	ENTER(cuStreamCopyAttributes);
	return copy_attributes(dstStream, srcStream, STREAM_LEGACY);
}

CUresult cuStreamCopyAttributes_ptsz(CUstream dstStream, CUstream srcStream)
{
	ENTER(cuStreamCopyAttributes_ptsz);
	return copy_attributes(dstStream, srcStream, STREAM_PER_THREAD);
}
