/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_unseen_free
 *
 * Loads a module when the driver has given memory back in the order of a stream, in a moment in
 * which nobody can see that the stream is so far: what happens after the free is told in order, and
 * a host function of another stream, which waits for the same and blocks, stands before it.
 */
#include "client.h"

#include <stdatomic.h>
#include <unistd.h>

static struct functions cu;
static atomic_bool has_come, may_go;

static void CUDA_CB block(void *unused)
{
	(void)unused;
	atomic_store(&has_come, true);
	while (!atomic_load(&may_go))
		usleep(1000);
}

static CUstream create_stream(void)
{
	CUstream stream;

	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	return stream;
}

static void free_unseen(CUfunction kernel, CUstream stream)
{
	CUstream other = create_stream();
	CUdeviceptr address;
	CUevent before;

	must(cu.cuMemAlloc_v2(&address, 16 * MIB), "alloc");
	must(cu.cuEventCreate(&before, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
	must(launch(&cu, kernel, stream), "launch");
	must(cu.cuEventRecord(before, stream), "cuEventRecord");
	must(cu.cuStreamWaitEvent(other, before, 0), "cuStreamWaitEvent");
	must(cu.cuLaunchHostFunc(other, block, NULL), "cuLaunchHostFunc");
	must(cu.cuMemFreeAsync(address, stream), "free");
	while (!atomic_load(&has_come))
		usleep(1000);
}

int main(void)
{
	CUdeviceptr address;
	CUcontext context;
	CUmodule module;

	functions_from_link(&cu);
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	CUstream stream = create_stream();
	free_unseen(load_kernel(&cu, &module), stream);
	wait_for_test("freed");
	load_kernel(&cu, &module);
	atomic_store(&may_go, true);
	must(cu.cuStreamSynchronize(stream), "sync");
	must(cu.cuMemAlloc_v2(&address, 512), "alloc");
	wait_for_test("loaded");
	return 0;
}
