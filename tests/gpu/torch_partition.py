# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# torch_partition.py [CASE...]: results of PyTorch, and on how many SMs its streams' work runs.
# `result_*` have to be those of a bare run to the bit: they come from small whole numbers, of which
# sums are exact in any order, because libraries choose that order by the number of SMs that they
# are told of. `other_*` may differ for that reason. A case that fails is told, and the next is run.
import os
import sys

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
import torch.nn.functional as functional

from framework import digest_of, say, say_result
from side_census import Census

BF16 = torch.bfloat16


def whole(*shape, dtype=torch.float32):
    """Made by the host: PyTorch's numbers of the GPU depend on its SMs."""
    return torch.randint(-2, 3, shape).to("cuda", dtype)


def real(*shape, dtype=BF16):
    return torch.randn(shape).to("cuda", dtype)


def bytes_of(tensor):
    return tensor.detach().float().cpu().numpy().tobytes()


def say_other(name, tensor):
    say(f"other_{name}", digest_of(bytes_of(tensor)))


def matmul():
    for dtype in (torch.float32, BF16):
        left, right = whole(2048, 2048, dtype=dtype), whole(2048, 2048, dtype=dtype)
        say_result(f"matmul_{str(dtype)[6:]}", bytes_of(left @ right))
    say_other("matmul", real(2048, 2048) @ real(2048, 2048))


def attention():
    """Equal scores: the mean of whole numbers, as many as a power of two."""
    shape = (8, 16, 1024, 64)
    zeros = torch.zeros(shape, device="cuda", dtype=BF16)
    say_result("attention", bytes_of(functional.scaled_dot_product_attention(
        zeros, whole(*shape, dtype=BF16), whole(*shape, dtype=BF16))))
    query, key, value = (real(*shape) for _ in range(3))
    say_other("attention", functional.scaled_dot_product_attention(query, key, value,
                                                                   is_causal=True))


def convolution():
    data = whole(8, 64, 64, 64, dtype=BF16).to(memory_format=torch.channels_last)
    weight = whole(64, 64, 3, 3, dtype=BF16).to(memory_format=torch.channels_last)
    say_result("convolution", bytes_of(functional.conv2d(data, weight, padding=1)))
    say_other("convolution", functional.conv2d(data.float(), weight.float(), padding=1))


def compiled():
    """By Triton."""
    function = torch.compile(lambda x, y: torch.relu(x * 2 + y).sum(dim=-1))
    say_result("compiled", bytes_of(function(whole(4096, 1024), whole(4096, 1024))))


def graph():
    weight, data = whole(512, 512), whole(512, 512)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        weight @ data  # cuBLAS sets itself up, which must not happen in a capture
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        for _ in range(8):
            data.copy_(torch.remainder(weight @ data, 5))
        census.bring(torch.cuda.current_stream().cuda_stream)
    for _ in range(5):
        captured.replay()
    say_result("graph", bytes_of(data))


def random():
    torch.manual_seed(1)
    say_other("random", torch.rand(1 << 22, device="cuda"))


CASES = {case.__name__: case for case in (matmul, attention, convolution, compiled, graph, random)}


def run(name):
    torch.manual_seed(1)
    try:
        CASES[name]()
        census.bring(torch.cuda.current_stream().cuda_stream)
        census.bring(torch.cuda.Stream().cuda_stream)
        torch.cuda.synchronize()
    except Exception as error:  # which package is missing is for the reader
        say(f"error_{name}", f"{type(error).__name__}: {str(error).splitlines()[:1]}")


torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
torch.use_deterministic_algorithms(True)
torch.zeros(1, device="cuda")
census = Census()
say("version", torch.__version__)
say("allocator", torch.cuda.get_allocator_backend())
for one in sys.argv[1:] or CASES:
    run(one)
census.tell()
