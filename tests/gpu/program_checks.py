# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Rows that run whole programs: examples, the CUDA runtime, frameworks, traces, costs.
import csv
import glob
import importlib.util
import os
import re
import sys
import tempfile

from driver_checks import QUOTA, judge, judge_slice
from machine import GIB, HERE, TREE, Failed, Skipped, values_of

FRAMEWORK_QUOTA = 4 * GIB
BUSY_SECONDS = 3


def runtime_libraries():
    """LD_LIBRARY_PATH for the shared runtime, which may be the toolkit's or a wheel's."""
    folders = ["/usr/local/cuda/lib64"]
    for path in sys.path:
        folders += sorted(glob.glob(os.path.join(path, "nvidia", "*", "lib")))
    return ":".join([*folders, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(":")


def check_runtime(kind, machine):
    machine.needs_real_gpu()
    program = machine.program(f"gpu-runtime-{kind}")
    env = {"LD_LIBRARY_PATH": runtime_libraries()} if kind == "shared" else {}
    bare = values_of(machine.run([program, kind], env=env))
    sliced = values_of(machine.run([program, kind, str(QUOTA)],
                                   env={**env, **machine.slice(memory=QUOTA)}))
    return judge_slice(bare, sliced, QUOTA, equal=("launches", "graph"))


def check_saxpy(machine):
    saxpy = machine.built("bin", "saxpy")
    command = machine.built("bin", "cuslice")
    env = {}
    if machine.is_simulated:
        env["SIMGPU_TWINS"] = machine.built("simgpu", "twins.so")
    bare = machine.run([saxpy], env=env)
    sliced = machine.run([command, "run", "-m", str(QUOTA), "-c", "50%", "--", saxpy], env=env)
    return judge([
        ("result right" in bare, "the bare result is wrong"),
        ("result right" in sliced, "the result inside a slice is wrong"),
        (f"of {QUOTA} bytes free" in sliced, "the quota is not seen"),
        (re.search(r": refused$", sliced, re.MULTILINE), "more than the quota was granted"),
        (f"of {QUOTA} bytes free" not in bare, "the bare run has a quota"),
    ], {"quota": QUOTA})


def run_busy(machine, mode, share=None, seconds=BUSY_SECONDS):
    """(kernels per second, seconds, GPU time billed in seconds)"""
    env = {}
    if share is not None:
        env = machine.slice(compute=f"{share}%")
        env["LD_PRELOAD"] = f"{machine.program('gpu-billed.so')}:{env['LD_PRELOAD']}"
    text = machine.run(
        [machine.built("bin", "busy"), "--seconds", str(seconds), "--mode", mode], env=env,
        settings=("kernel.spin=1ms",))
    values = values_of(text)
    elapsed = re.search(r" in ([\d.]+) s$", text, re.MULTILINE)
    return (float(values["rate"]), float(elapsed.group(1)),
            int(values.get("billed_ns", 0)) / 1e9)


def check_busy(mode, machine):
    """Kernels are of one length, so the bare rate tells what one takes, and what was billed can be
    compared with what was done. The first run only raises the clocks; the bare rate is the mean of
    one before and one after. A program that waits for each kernel leaves the GPU idle in between,
    so what it gets of the GPU is told by the bare rate of one that does not."""
    full = "queue" if mode == "sync" else mode
    run_busy(machine, full, seconds=1)
    before, _, _ = run_busy(machine, full)
    sliced = [(share, run_busy(machine, mode, share)) for share in (50, 25)]
    after, _, _ = run_busy(machine, full)
    bare_rate = (before + after) / 2
    figures, claims = {"bare per s": f"{before:.1f} and {after:.1f}"}, []
    for share, (rate, elapsed, billed) in sliced:
        reached = 100 * rate / bare_rate
        figures[f"{share} % gives"] = f"{reached:.2f} %"
        figures[f"{share} % billed of wall"] = f"{100 * billed / elapsed:.2f} %"
        figures[f"{share} % billed of done"] = \
            f"{100 * billed / (rate * elapsed / bare_rate):.2f} %"
        claims.append((abs(reached - share) <= 2, f"{share} % gives {reached:.2f} %"))
        claims.append((billed > 0, f"{share} %: nothing was billed"))
    return judge(claims, figures)


def check_framework(name, machine):
    machine.needs_real_gpu()
    if importlib.util.find_spec(name) is None:
        raise Skipped(f"{name} is not installed")
    script = [sys.executable, "-B", os.path.join(HERE, f"{name}_check.py")]
    bare = values_of(machine.run(script))
    sliced = values_of(machine.run([*script, str(FRAMEWORK_QUOTA)], env=machine.slice(
        memory=FRAMEWORK_QUOTA, compute="75%")))
    results = tuple(key for key in bare if key.startswith("result_"))
    figures = judge_slice(bare, sliced, FRAMEWORK_QUOTA, equal=results or ("result",))
    return {"version": bare.get("version"), "results": len(results), **figures}


# By PYTORCH_CUDA_ALLOC_CONF. True: fails where it is not held; False: docs say that it is not
# counted yet.
TORCH_ALLOCATORS = {
    "default": ("", True),
    "expandable": ("expandable_segments:True", True),
    "async": ("backend:cudaMallocAsync", True),
}


def judge_torch_memory(values, quota, is_counted):
    def number(key):
        return int(values[key])

    granted = [number(f"granted_{i}") for i in range(3)]
    figures = {"version": values["version"], "allocator": values["allocator"], "quota": quota,
               "granted": " ".join(map(str, granted)),
               **{f"{when} {what}": number(f"{when}_{what}_bytes")
                  for when in ("full", "empty", "end") for what in ("real", "charged")}}
    if not is_counted and granted[0] > quota:
        raise Skipped(f"not charged by this build; {granted[0]} were granted", figures)
    return judge([
        (quota * 3 // 4 <= min(granted) and max(granted) <= quota, f"granted {granted}"),
        (granted[0] == granted[2], f"granted {granted}, one time after the other"),
        (values["refused"] == "OutOfMemoryError", f"filling ended with {values['refused']}"),
        (values["train_refused"] == "OutOfMemoryError",
         f"too large a batch ended with {values['train_refused']}"),
        (values["recovered"] == "yes", "no recovery"),
        (number("full_charged_bytes") >= number("full_real_bytes") - 64 * 2**20,
         f"{number('full_real_bytes') - number('full_charged_bytes')} bytes are not charged"),
    ], figures)


def check_torch_memory(allocator, machine):
    machine.needs_real_gpu()
    if importlib.util.find_spec("torch") is None:
        raise Skipped("torch is not installed")
    setting, is_counted = TORCH_ALLOCATORS[allocator]
    env = {"PYTORCH_CUDA_ALLOC_CONF": setting} if setting else {}
    script = [sys.executable, "-B", os.path.join(HERE, "torch_memory.py"), str(FRAMEWORK_QUOTA)]
    values = values_of(machine.run(script, env={**env, **machine.slice(memory=FRAMEWORK_QUOTA)}))
    return judge_torch_memory(values, FRAMEWORK_QUOTA, is_counted)


def trace_command(what, machine):
    """The program to trace, and its environment."""
    if what == "client":
        return [machine.program("gpu-client-lookup"), "procaddress-v2"], {}
    machine.needs_real_gpu()
    if what == "runtime":
        return [machine.program("gpu-runtime-static"), "static", str(QUOTA)], {}
    if importlib.util.find_spec("torch") is None:
        raise Skipped("torch is not installed")
    return [sys.executable, "-B", os.path.join(HERE, "torch_check.py")], {}


def read_trace(pattern):
    """({(how, name, version, flags, symbol)}, {symbol: calls}) of all processes."""
    lookups, calls = set(), {}
    for path in glob.glob(pattern):
        with open(path, encoding="utf-8") as file:
            for fields in csv.reader(file):
                if len(fields) == 6 and fields[0] == "lookup":
                    lookups.add(tuple(fields[1:]))
                elif len(fields) == 3 and fields[0] == "calls":
                    calls[fields[1]] = calls.get(fields[1], 0) + int(fields[2])
    return lookups, calls


def hooked_symbols():
    with open(os.path.join(TREE, "src", "driver", "hooks.def"), encoding="utf-8") as file:
        return set(re.findall(r"^HOOK\((\w+)", file.read(), re.MULTILINE))


def classes_of_symbols():
    path = os.path.join(TREE, "tests", "data", "driver-entry-points.csv")
    with open(path, encoding="utf-8", newline="") as file:
        return {line["symbol"]: set(line["class"].split("|")) for line in csv.DictReader(file)}


def write_trace(path, lookups, calls):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "cuda_version", "flags", "how", "symbol", "calls"])
        for how, name, version, flags, symbol in sorted(
                lookups, key=lambda found: (found[1], int(found[2]), found[3], found[0])):
            writer.writerow([name, version, flags, how, symbol, calls.get(symbol, 0)])


def check_trace(what, machine):
    argv, env = trace_command(what, machine)
    auditor = machine.program("gpu-trace.so")
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "trace")
        machine.run(argv, env={**env, "LD_AUDIT": auditor, "GPU_TRACE_LOG": log})
        lookups, calls = read_trace(f"{log}.*")
    write_trace(os.path.join(machine.out, f"trace-{what}.csv"), lookups, calls)
    classes, hooked = classes_of_symbols(), hooked_symbols()
    unhooked = sorted(symbol for symbol in calls if symbol not in hooked and
                      classes.get(symbol, set()) & {"alloc", "alloc-implicit", "submit"})
    figures = {"lookups": len(lookups), "symbols": len({found[4] for found in lookups} - {""}),
               "refused lookups": sum(found[4] == "" for found in lookups),
               "functions called": len(calls),
               "called, takes memory or time, not hooked": [
                   f"{symbol} ({', '.join(sorted(classes[symbol]))}): {calls[symbol]} calls"
                   for symbol in unhooked]}
    return judge([
        (any(found[1] == "cuInit" for found in lookups), "no lookup of cuInit was seen"),
        (calls.get("cuInit", 0) > 0, "no call of cuInit was counted"),
    ], figures)


def check_costs(machine):
    bench = machine.built("bin", "cuslice-bench")
    driver = "null" if machine.is_simulated else "real"
    rows = "launch,launch-linked,launch-share,alloc-1,alloc-1k,random-1k,meminfo,refused,dlsym," \
           "getproc,cuinit,start"
    # Over simgpu's null mode it finds the driver by itself and needs no machine.
    text = machine.run([bench, "--driver", driver, "--quick", "--rows", rows, "--json",
                        os.path.join(machine.out, "bench.json")], is_on_machine=False)
    if not text.strip():
        raise Failed("it printed nothing")
    return {"table": text.splitlines()}
