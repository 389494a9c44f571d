# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# torch_check.py [QUOTA]: results of PyTorch, and how it meets the end of memory.
import gc
import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # results do not depend on the order

import torch

from framework import EXCESS, fill, name_of_refusal, quota_of_arguments, say, say_result


def bytes_of(tensor):
    return tensor.detach().float().cpu().numpy().tobytes()


def allocate(size):
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def multiply():
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        left = torch.randn(2048, 2048, device="cuda", dtype=dtype)
        right = torch.randn(2048, 2048, device="cuda", dtype=dtype)
        say_result(f"matmul_{str(dtype)[6:]}", bytes_of(left @ right))


def convolve():
    torch.manual_seed(2)
    layer = torch.nn.Conv2d(16, 32, 3, padding=1).cuda()
    say_result("convolution", bytes_of(layer(torch.randn(8, 16, 64, 64, device="cuda"))))


def train():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(),
                                torch.nn.Linear(512, 10)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.randn(512, 256, device="cuda")
    for _ in range(20):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    say_result("training", bytes_of(model[0].weight))


def replay_graph():
    torch.manual_seed(4)
    weight = torch.randn(512, 512, device="cuda")
    data = torch.randn(512, 512, device="cuda") / 23
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        weight @ data  # cuBLAS sets itself up, which must not happen in a capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(8):
            data.copy_(torch.tanh(weight @ data))
    for _ in range(5):
        graph.replay()
    say_result("graph", bytes_of(data))


def main():
    say("version", torch.__version__)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    out_of_memory = torch.cuda.OutOfMemoryError
    free, total = torch.cuda.mem_get_info()
    say("total_bytes", total)
    say("free_bytes", free)
    say("device_total_bytes", torch.cuda.get_device_properties(0).total_memory)
    say("over", name_of_refusal(allocate, total + EXCESS, out_of_memory))
    multiply()
    convolve()
    quota = quota_of_arguments()
    if quota is not None:
        fill(allocate, quota, out_of_memory)
        gc.collect()
        torch.cuda.empty_cache()
    train()
    replay_graph()
    say("recovered", "yes")


main()
