#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Builds three of NVIDIA's samples from their public sources, which are not part of this project, and
# runs them on simgpu: bare, under a quota that is large enough, in a group, and under one that is not.
#
#   samples.py SOURCES BUILD [--out FOLDER] [--nvcc NVCC]
#
#   SOURCES  the folder with Samples/ and Common/, as in NVIDIA's repository cuda-samples of version
#            11.8, or in Debian's package nvidia-cuda-samples
#            (/usr/share/doc/nvidia-cuda-toolkit/examples)
#   BUILD    a build of cuslice
#
# Writes a table in Markdown; the exit status is 1 where something is not as it should be.
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
PATIENCE_S = 120
ENOUGH, TOO_LITTLE = "1GiB", "1MiB"
OUT_OF_MEMORY = re.compile(r"CUDA_ERROR_OUT_OF_MEMORY|error = 0*2\b|\(error 0*2\)|out of memory")
# What differs from run to run: addresses, and the order in which threads say something.
ADDRESS = re.compile(r"0x[0-9a-f]+")

# Name, folder below Samples, kernel source, what its image is called, arguments, what it says only
# at its end, and whether it sees that a kernel did nothing. memMapIPCDrv does not: with one device it
# wants zeros, and that is what the memory has.
SAMPLES = [
    ("vectorAddMMAP", "0_Introduction", "vectorAdd_kernel", "fatbin", [], "Result = PASS", True),
    ("memMapIPCDrv", "3_CUDA_Features", "memMapIpc_kernel", "ptx", [], "verifying...", False),
    ("threadMigration", "2_Concepts_and_Techniques", "threadMigration_kernel", "fatbin",
     ["-qatest"], "ThreadProc() Finished!", True),
]


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False, timeout=PATIENCE_S, **more)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def build(sources, build_folder, nvcc, out):
    cuda = pathlib.Path(nvcc).resolve().parents[1] / "include"
    stub = build_folder / "simgpu/libcuda.so.1"
    for name, folder, kernel, kind, *_ in SAMPLES:
        place = sources / "Samples" / folder / name
        more = [sources / "Common/helper_multiprocess.cpp"] if name == "memMapIPCDrv" else []
        run("g++", "-w", "-O2", "-include", HERE / "before_13.h", f"-I{sources}/Common",
            f"-I{cuda}", "-o", out / name, *sorted(place.glob("*.cpp")), *more, stub, "-lpthread",
            "-lrt", "-Wl,--allow-shlib-undefined")
        run(nvcc, "-m64", f"-{kind}", "-arch=sm_90", "-o", out / f"{kernel}64.{kind}",
            place / f"{kernel}.cu")
    run("gcc", "-shared", "-fPIC", "-O2", f"-I{TREE}/tests/simgpu", "-o", out / "twins.so",
        HERE / "twins.c")


class Machine:
    """A simulated machine that lasts from one run to the next."""

    def __init__(self, build_folder, out):
        self.build, self.out = build_folder, out
        self.folder = tempfile.mkdtemp(prefix="cuslice-samples-")
        self.command("start")

    def command(self, *words):
        run(self.build / "simgpu/simgpu", words[0], "--dir", self.folder, *words[1:])

    def sample(self, name, arguments, limits=None, has_twins=True):
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("CUSLICE_", "SIMGPU_")) and key != "LD_PRELOAD"}
        environment |= {"SIMGPU_DIR": self.folder, "SIMGPU_TWINS": str(self.out / "twins.so") if has_twins else "",
                        "LD_LIBRARY_PATH": str(self.build / "simgpu")}
        if limits:
            environment["LD_PRELOAD"] = str(self.build / "lib/libcuslice.so")
            environment |= {f"CUSLICE_{key}": value for key, value in limits.items()}
        return subprocess.run([self.out / name, *arguments], env=environment, cwd=self.out,
                              capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def end(self):
        self.command("stop")
        shutil.rmtree(self.folder)


def said(done):
    """What a run has said, whatever its addresses and the order of its threads."""
    return sorted(ADDRESS.sub("ADDRESS", done.stdout + done.stderr).splitlines())


def tail(done):
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1].strip() if lines else ""


def judge_bare(bare, idle, words, sees_idle):
    if bare.returncode != 0 or words not in bare.stdout or "mismatch" in bare.stdout:
        return f"WRONG: status {bare.returncode}, {tail(bare)}"
    if sees_idle and idle.returncode == 0:
        return "WRONG: sees no difference where kernels do nothing"
    return "status 0"


def judge(bare, limited):
    if (limited.returncode, said(limited)) == (bare.returncode, said(bare)):
        return "same output and status"
    return f"DIFFERS: status {limited.returncode}, {tail(limited)}"


def judge_refusal(done):
    text = done.stdout + done.stderr
    if done.returncode <= 0:
        return f"WRONG: status {done.returncode}"
    told = OUT_OF_MEMORY.search(text)
    return f"status {done.returncode}, {told.group(0)}" if told else f"WRONG: {tail(done)}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--nvcc", default=shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc")
    given = parser.parse_args()
    out = (given.out or pathlib.Path(tempfile.mkdtemp(prefix="cuslice-samples-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    build(given.sources.resolve(), given.build.resolve(), given.nvcc, out)
    machine = Machine(given.build.resolve(), out)
    is_good = True
    print(f"| sample | bare | `CUSLICE_MEMORY={ENOUGH}` | the same, in a group "
          f"| `CUSLICE_MEMORY={TOO_LITTLE}` |\n|---|---|---|---|---|")
    for name, _, _, _, arguments, words, sees_idle in SAMPLES:
        bare = machine.sample(name, arguments)
        idle = machine.sample(name, arguments, has_twins=False)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as group:
            alone = machine.sample(name, arguments, {"MEMORY": ENOUGH, "GROUP": "none"})
            grouped = machine.sample(name, arguments, {"MEMORY": ENOUGH, "GROUP": group})
        refused = machine.sample(name, arguments, {"MEMORY": TOO_LITTLE, "GROUP": "none"})
        cells = [judge_bare(bare, idle, words, sees_idle), judge(bare, alone), judge(bare, grouped),
                 judge_refusal(refused)]
        is_good &= not any(cell.startswith(("DIFFERS", "WRONG")) for cell in cells)
        print(f"| {name} | " + " | ".join(cells) + " |")
    machine.end()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
