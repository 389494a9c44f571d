/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream capture. Its entry points are not supported yet, so that no stream is ever captured.
 */
#include "capture.h"

CUresult capture_check_unsafe(void)
{
	return CUDA_SUCCESS;
}

CUresult capture_refuse_context(CUcontext ctx)
{
	(void)ctx;
	return CUDA_SUCCESS;
}

CUresult capture_refuse_stream(CUstream stream)
{
	(void)stream;
	return CUDA_SUCCESS;
}

CUresult capture_refuse_legacy(CUcontext ctx)
{
	(void)ctx;
	return CUDA_SUCCESS;
}

CUresult capture_add_work(CUstream stream, struct work *work)
{
	(void)stream, (void)work;
	return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult capture_record(CUstream stream, CUevent event)
{
	(void)stream, (void)event;
	return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult capture_wait(CUstream stream, CUevent event)
{
	(void)stream, (void)event;
	return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult capture_refuse_event(CUevent event)
{
	(void)event;
	return CUDA_SUCCESS;
}

void capture_forget_stream(CUstream stream)
{
	(void)stream;
}
