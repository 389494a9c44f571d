# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# cupy_partition.py: results of CuPy, and on how many SMs its streams' work runs.
import cupy

from framework import say, say_result
from side_census import Census

SCALE = r"""
extern "C" __global__ void scale(float *x, float factor, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		x[i] = x[i] * factor + 1.0f;
}"""

say("version", cupy.__version__)
data = cupy.arange(1 << 20, dtype=cupy.float32)
census = Census()
for number, stream in enumerate((cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True))):
    with stream:
        cupy.RawKernel(SCALE, "scale")((4096,), (256,), (data, cupy.float32(0.5), cupy.int32(1 << 20)))
        census.bring(stream.ptr)
    stream.synchronize()
    say_result(f"kernel_{number}", cupy.asnumpy(data).tobytes())
left = (cupy.arange(1 << 20, dtype=cupy.float32) % 5).reshape(1024, 1024)
say_result("matmul", cupy.asnumpy(left @ left).tobytes())
census.tell()
