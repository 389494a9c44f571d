/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "green.h"

#include <dlfcn.h>

#define MAX_GROUPS 512u

/* A driver function by its name, at run time. */
#define CALL(name) ((__typeof__(&name))look_up(#name))

static void *look_up(const char *name)
{
	void *function = dlsym(RTLD_DEFAULT, name);

	if (function == NULL)
		probe_must(CUDA_ERROR_NOT_SUPPORTED, name);
	return function;
}

static CUdevResource all_sms(void)
{
	CUdevResource all;

	MUST(CALL(cuDeviceGetDevResource)(0, &all, CU_DEV_RESOURCE_TYPE_SM));
	return all;
}

unsigned green_sms_of_device(void)
{
	return all_sms().sm.smCount;
}

/* How many parts there are; at most MAX_GROUPS, and `count`. */
static unsigned split(CUdevResource parts[MAX_GROUPS], unsigned sms, unsigned flags, unsigned count)
{
	CUdevResource all = all_sms(), rest;
	unsigned groups = count < MAX_GROUPS ? count : MAX_GROUPS;

	if (CALL(cuDevSmResourceSplitByCount)(parts, &groups, &all, &rest, flags, sms) !=
		CUDA_SUCCESS)
		return 0;
	return groups;
}

static CUgreenCtx make(CUdevResource *parts, unsigned count, unsigned *ret_sms)
{
	CUdevResourceDesc description;
	CUgreenCtx green;

	*ret_sms = 0;
	for (unsigned i = 0; i < count; i++)
		*ret_sms += parts[i].sm.smCount;
	MUST(CALL(cuDevResourceGenerateDesc)(&description, parts, count));
	MUST(CALL(cuGreenCtxCreate)(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM));
	return green;
}

CUgreenCtx green_make(unsigned sms, unsigned flags, unsigned index, unsigned *ret_sms)
{
	static CUdevResource parts[MAX_GROUPS];

	if (index >= MAX_GROUPS || split(parts, sms, flags, index + 1) != index + 1)
		return NULL;
	return make(&parts[index], 1, ret_sms);
}

CUgreenCtx green_merge(unsigned sms, unsigned count, unsigned *ret_sms)
{
	static CUdevResource parts[MAX_GROUPS];
	unsigned groups = split(parts, sms, 0, count);

	return groups == 0 ? NULL : make(parts, groups, ret_sms);
}

/* In multiples of the least partition, which are multiples of the step. */
unsigned green_half(void)
{
	static CUdevResource parts[MAX_GROUPS];
	unsigned half = green_sms_of_device() / 2;
	unsigned step = split(parts, 1, 0, 1) == 1 ? parts[0].sm.smCount : 1;

	return half / step * step;
}

void green_destroy(CUgreenCtx green)
{
	MUST(CALL(cuGreenCtxDestroy)(green));
}

CUcontext green_context(CUgreenCtx green)
{
	CUcontext context;

	MUST(CALL(cuCtxFromGreenCtx)(&context, green));
	return context;
}

CUstream green_stream(CUgreenCtx green)
{
	CUstream stream;

	MUST(CALL(cuGreenCtxStreamCreate)(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	return stream;
}
