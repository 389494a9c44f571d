/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "linked.h"

CUresult linked_launch(CUfunction kernel, unsigned calls)
{
	CUresult worst = CUDA_SUCCESS;

	for (unsigned i = 0; i < calls; i++) {
		CUresult res = cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
		if (res != CUDA_SUCCESS)
			worst = res;
	}
	return worst;
}
