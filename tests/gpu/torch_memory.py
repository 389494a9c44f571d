# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# torch_memory.py QUOTA: PyTorch at the end of its memory, several times, and what it takes of the
# device beside what is charged. Which allocator it uses is told by PYTORCH_CUDA_ALLOC_CONF.
import gc
import os
import subprocess
import sys

import torch

from framework import CHUNK, MIB, say
from own_slice import read_slice

ROUNDS = 3


def allocate(size):
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def fill(most):
    """Chunks until there is no more; (how many, the name of the refusal)"""
    chunks = []
    while len(chunks) * CHUNK < most:
        try:
            chunks.append(allocate(CHUNK))
        except torch.cuda.OutOfMemoryError as error:
            return len(chunks), type(error).__name__, chunks
    return len(chunks), "granted", chunks


def empty():
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def loss_of(batch):
    """Of some steps of training; needs more memory with a larger batch."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4096, 8192), torch.nn.ReLU(),
                                torch.nn.Linear(8192, 4096)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs = torch.randn(batch, 4096, device="cuda")
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def train_too_much(quota):
    """A batch of which the activations alone do not fit, then one that does."""
    too_many = quota // (4096 * 4)
    try:
        loss_of(too_many)
        say("train_refused", "granted")
    except torch.cuda.OutOfMemoryError as error:
        say("train_refused", type(error).__name__)
    empty()
    say("loss", f"{loss_of(256):.6e}")


def start_watcher():
    """Tells what NVML sees without the library, which shows programs their slice: meter.py."""
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    bare = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "meter.py")
    return subprocess.Popen(
        [sys.executable, "-B", script, uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"],
        env=bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Readings:
    """What the whole device holds, by NVML, and what is charged to this process; from the start."""

    def __init__(self):
        self.watcher = start_watcher()
        self.real, self.charged = self.now()

    def now(self):
        self.watcher.stdin.write("\n")
        self.watcher.stdin.flush()
        answer = self.watcher.stdout.readline()
        if not answer:
            sys.exit("NVML does not tell what is used")
        found = read_slice()
        return int(answer), found.used_bytes if found else 0

    def say(self, name):
        real, charged = self.now()
        say(f"{name}_real_bytes", real - self.real)
        say(f"{name}_charged_bytes", charged - self.charged)


def main():
    quota = int(sys.argv[1])
    torch.cuda.init()
    allocate(MIB)
    empty()
    say("version", torch.__version__)
    say("allocator", torch.cuda.get_allocator_backend())
    readings = Readings()
    for number in range(ROUNDS):
        count, refused, chunks = fill(quota * 3 // 2)
        torch.cuda.synchronize()
        if number == 0:
            readings.say("full")
            say("refused", refused)
        say(f"granted_{number}", count * CHUNK)
        chunks.clear()
        empty()
    readings.say("empty")
    train_too_much(quota)
    empty()
    readings.say("end")
    say("recovered", "yes")


main()
