# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# cupy_check.py [QUOTA]: results of CuPy, and how it meets the end of memory.
import gc

import cupy

from framework import EXCESS, fill, name_of_refusal, quota_of_arguments, say, say_result


def allocate(size):
    return cupy.empty(size, dtype=cupy.uint8)


def multiply():
    left = cupy.arange(1024 * 1024, dtype=cupy.float32).reshape(1024, 1024) % 97
    right = cupy.arange(1024 * 1024, dtype=cupy.float32).reshape(1024, 1024) % 89
    say_result("matmul", cupy.asnumpy(left @ right).tobytes())


def compile_kernel():
    """A kernel of our own: CuPy compiles it by NVRTC and launches it by the driver."""
    kernel = cupy.RawKernel(r"""
extern "C" __global__ void scale(float *x, float factor, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		x[i] = x[i] * factor + 1.0f;
}""", "scale")
    data = cupy.arange(100000, dtype=cupy.float32)
    kernel((391,), (256,), (data, cupy.float32(0.5), cupy.int32(data.size)))
    say_result("kernel", cupy.asnumpy(data).tobytes())


def main():
    say("version", cupy.__version__)
    out_of_memory = cupy.cuda.memory.OutOfMemoryError
    free, total = cupy.cuda.Device(0).mem_info
    say("total_bytes", total)
    say("free_bytes", free)
    say("device_total_bytes", cupy.cuda.runtime.getDeviceProperties(0)["totalGlobalMem"])
    say("over", name_of_refusal(allocate, total + EXCESS, out_of_memory))
    multiply()
    quota = quota_of_arguments()
    if quota is not None:
        fill(allocate, quota, out_of_memory)
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
    compile_kernel()
    say("recovered", "yes")


main()
