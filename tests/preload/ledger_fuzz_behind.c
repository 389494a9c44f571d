/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A library that calls the driver, for programs that open it with RTLD_DEEPBIND.
 */
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

CUresult behind_free(CUdeviceptr address);

__attribute__((visibility("default"))) CUresult behind_free(CUdeviceptr address)
{
	return cuMemFree_v2(address);
}
