# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows about frameworks in a partition: their results beside those of a bare run, and on how many SMs
# the work of their streams runs.
import importlib.util
import os
import sys

import partition_checks as partitions
from driver_checks import judge
from machine import HERE, Skipped, values_of

# PyTorch with the driver's own pools; what matters most of it.
POOLS = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
POOL_CASES = ("matmul", "convolution", "graph")
LIMIT_S = 60


def keys_of(values, what):
    return sorted(key[len(what):] for key in values if key.startswith(what))


def judge_framework(bare, said, name="slice"):
    """What holds of a run in a slice beside a bare one. Cases that fail bare are not judged."""
    results, told = keys_of(bare, "result_"), int(said["told"])
    claims = [
        (results, "no result"),
        (told < int(bare["told"]), f"{name}: told of all {told} SMs: no partition was made"),
        (0 < int(said["ran_on"]) <= told, f"{name}: ran on {said['ran_on']} SMs, told of {told}"),
        (int(bare["ran_on"]) > told, f"bare on {bare['ran_on']} SMs, which shows nothing"),
    ]
    for key in results:
        claims.append((bare[f"result_{key}"] == said.get(f"result_{key}"),
                       f"{name}: {key} differs from the bare run"))
    for case in keys_of(said, "error_"):
        claims.append((f"error_{case}" in bare, f"{name}: {case}: {said[f'error_{case}']}"))
    return claims


def figures_of(bare, said):
    results = keys_of(bare, "result_")
    differing = [key for key in keys_of(bare, "other_")
                 if bare[f"other_{key}"] != said.get(f"other_{key}")]
    figures = {"version": bare.get("version"), "told": said["told"],
               "ran on": f"{said['ran_on']} (bare {bare['ran_on']})",
               "equal": ", ".join(key for key in results
                                  if bare[f"result_{key}"] == said.get(f"result_{key}"))}
    if keys_of(bare, "other_"):
        figures["may differ, and do"] = ", ".join(differing) or "none"
    for case in keys_of(bare, "error_"):
        figures[f"not tried: {case}"] = bare[f"error_{case}"]
    return figures


def run(machine, name, env=None, cases=()):
    # What is compiled bare needs not be compiled again.
    caches = {"TORCHINDUCTOR_CACHE_DIR": os.path.join(machine.out, "inductor"),
              "TRITON_CACHE_DIR": os.path.join(machine.out, "triton"),
              "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    script = os.path.join(HERE, f"{name}_partition.py")
    with partitions.within(machine, LIMIT_S):
        return values_of(machine.run([sys.executable, "-B", script, *cases],
                                     env={**caches, **(env or {})}))


def needs(machine, name):
    machine.needs_real_gpu()
    if importlib.util.find_spec(name) is None:
        raise Skipped(f"{name} is not installed")


def check_framework(name, machine):
    needs(machine, name)
    bare, said = run(machine, name), run(machine, name, partitions.confined(machine, partitions.HALF))
    return judge(judge_framework(bare, said), figures_of(bare, said))


def check_torch(machine):
    """Both of its allocators."""
    needs(machine, "torch")
    half = partitions.confined(machine, partitions.HALF)
    bare, said = run(machine, "torch"), run(machine, "torch", half)
    pooled = run(machine, "torch", {**half, **POOLS}, POOL_CASES)
    claims = judge_framework(bare, said)
    claims += judge_framework(only(bare, POOL_CASES), pooled, pooled["allocator"])
    claims.append((pooled["allocator"] != said["allocator"], "there is one allocator alone"))
    return judge(claims, figures_of(bare, said) | {"allocators": f"{said['allocator']}, "
                                                                 f"{pooled['allocator']}"})


def only(values, cases):
    """Without the results of other cases."""
    return {key: value for key, value in values.items() if not key.startswith("result_") or
            key[len("result_"):].split("_")[0] in cases}
