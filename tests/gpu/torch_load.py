# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The workloads of PyTorch, as a worker like gpu-load: orders "hello", "run WORKLOAD LEAD_MS MS" on
# stdin. Events only tell when work has ended; they measure nothing.
import collections
import os
import sys
import time

import torch

from framework import say
from own_slice import read_slice
from torch_model import Decoder

AHEAD = 8  # batches that are queued
LARGE, SMALL = 8192, 2048


def billed_ns():
    found = read_slice()
    return found.gpu_time_ns if found else 0


def matrix_product(size):
    torch.manual_seed(1)
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.matmul(left, right, out=out)


def decoder():
    torch.manual_seed(2)
    return Decoder().to("cuda", torch.bfloat16).eval()


def decode():
    """The host sees each token before it asks for the next, as a server does."""
    model = decoder()

    def step():
        model.step()
        model.token.item()
    return step


def decode_by_graph():
    model = decoder()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries set themselves up, which must not happen in a capture
            model.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model.step()

    def step():
        graph.replay()
        model.token.item()
    return step


# Name: (what makes it, calls of a batch).
WORKLOADS = {
    "gemm": (lambda: matrix_product(LARGE), 1),
    "gemm-small": (lambda: matrix_product(SMALL), 32),
    "decode": (decode, 1),
    "decode-graph": (decode_by_graph, 1),
}
made = {}


def workload(name):
    """Made, and run for the first time, when it is first asked for."""
    if name not in made:
        make, batch = WORKLOADS[name]
        made[name] = make(), batch
        for _ in range(3):
            made[name][0]()
        torch.cuda.synchronize()
    return made[name]


def rates_of_windows(times, batch):
    """(most, least) calls per second in any window of a second; batches ended at `times`."""
    rates, until = [], 0
    for first, start in enumerate(times):
        while until < len(times) and times[until] - start < 1:
            until += 1
        if until == len(times):
            break
        rates.append((until - first) * batch / (times[until] - start))
    return (max(rates), min(rates)) if rates else (0, 0)


def work(call, batch, lead_s, time_s):
    """When each batch after the lead-in was seen to have ended, the last of the lead-in first."""
    queued = collections.deque()
    start, times, is_over = time.monotonic(), [], False
    while queued or not is_over:
        while not is_over and len(queued) < AHEAD:
            for _ in range(batch):
                call()
            event = torch.cuda.Event()
            event.record()
            queued.append(event)
        queued.popleft().synchronize()
        now = time.monotonic()
        if not times and now - start >= lead_s:
            print("begun", flush=True)
            times.append(now)
        elif times:
            times.append(now)
            is_over = now - times[0] >= time_s
    print("ended", flush=True)
    return times


def run(name, lead_ms, time_ms):
    call, batch = workload(name)
    billed = billed_ns()
    times = work(call, batch, int(lead_ms) / 1000, int(time_ms) / 1000)
    most, least = rates_of_windows(times, batch)
    say("done", (len(times) - 1) * batch)
    say("wall_ns", int((times[-1] - times[0]) * 1e9))
    say("busy_ns", 0)
    say("most_per_s", most)
    say("least_per_s", least)
    say("billed_ns", billed_ns() - billed)


def hello():
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    say("uuid", uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    say("pid", os.getpid())
    say("is_sliced", "yes" if read_slice() else "no")
    say("clock_step_ns", 0)


def main():
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    for line in sys.stdin:
        {"hello": hello, "run": run}[line.split()[0]](*line.split()[1:])
        print(".", flush=True)


main()
