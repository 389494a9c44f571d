/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A library that is linked with libcuda, for programs that are not. With PLUGIN_LATE set it uses
 * the driver once more in its destructor.
 */
#include "scenario.h"

#include <stdlib.h>

__attribute__((visibility("default"))) int plugin_run(void);
/* A few launches in the context that is current; 0 where all is well. */
__attribute__((visibility("default"))) int plugin_launch(void);

int plugin_run(void)
{
	struct functions cu;

	functions_from_link(&cu);
	return scenario(&cu);
}

int plugin_launch(void)
{
	struct functions cu;
	CUmodule module;
	CUresult res = CUDA_SUCCESS;

	functions_from_link(&cu);
	CUfunction kernel = load_kernel(&cu, &module);
	for (unsigned i = 0; i < 5 && res == CUDA_SUCCESS; i++)
		res = launch(&cu, kernel, NULL);
	return res == CUDA_SUCCESS ? (int)cu.cuModuleUnload(module) : (int)res;
}

__attribute__((destructor)) static void finish(void)
{
	struct functions cu;
	size_t free_bytes, total_bytes;

	if (getenv("PLUGIN_LATE") == NULL)
		return;
	functions_from_link(&cu);
	say("late_free %d", (int)cu.cuMemFree_v2(0x1234));
	say("late_info %d", (int)cu.cuMemGetInfo_v2(&free_bytes, &total_bytes));
}
