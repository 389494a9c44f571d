# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# triton_check.py [QUOTA]: a kernel of Triton, whose launcher is linked with libcuda directly. Its
# memory is PyTorch's.
import gc

import torch
import triton
import triton.language as tl

from framework import EXCESS, fill, name_of_refusal, quota_of_arguments, say, say_result


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x * 0.5 + y, mask=mask)


def allocate(size):
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def add(name):
    x = torch.arange(100000, device="cuda", dtype=torch.float32)
    y, out = x % 7, torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), BLOCK=1024)
    say_result(name, out.cpu().numpy().tobytes())


def main():
    say("version", triton.__version__)
    out_of_memory = torch.cuda.OutOfMemoryError
    free, total = torch.cuda.mem_get_info()
    say("total_bytes", total)
    say("free_bytes", free)
    say("device_total_bytes", torch.cuda.get_device_properties(0).total_memory)
    say("over", name_of_refusal(allocate, total + EXCESS, out_of_memory))
    add("kernel")
    quota = quota_of_arguments()
    if quota is not None:
        fill(allocate, quota, out_of_memory)
        gc.collect()
        torch.cuda.empty_cache()
    add("kernel_again")
    say("recovered", "yes")


main()
