/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A libcuda.so.1 to link the examples with where there is no CUDA toolkit: the names they call, and
 * nothing behind them. It is never loaded.
 */
#define STUB(name)                                            \
	int name(void);                                       \
	__attribute__((visibility("default"))) int name(void) \
	{                                                     \
		return 999;                                   \
	}

STUB(cuCtxSetCurrent)
STUB(cuCtxSynchronize)
STUB(cuDeviceGet)
STUB(cuDeviceGetAttribute)
STUB(cuDeviceGetName)
STUB(cuDevicePrimaryCtxRelease_v2)
STUB(cuDevicePrimaryCtxRetain)
STUB(cuEventCreate)
STUB(cuEventDestroy_v2)
STUB(cuEventRecord)
STUB(cuEventSynchronize)
STUB(cuGetErrorName)
STUB(cuGraphDestroy)
STUB(cuGraphExecDestroy)
STUB(cuGraphInstantiateWithFlags)
STUB(cuGraphLaunch)
STUB(cuInit)
STUB(cuLaunchKernel)
STUB(cuMemAlloc_v2)
STUB(cuMemFree_v2)
STUB(cuMemGetInfo_v2)
STUB(cuMemcpyDtoH_v2)
STUB(cuMemcpyHtoD_v2)
STUB(cuModuleGetFunction)
STUB(cuModuleLoadData)
STUB(cuModuleUnload)
STUB(cuStreamBeginCapture_v2)
STUB(cuStreamCreate)
STUB(cuStreamDestroy_v2)
STUB(cuStreamEndCapture)
STUB(cuStreamSynchronize)
