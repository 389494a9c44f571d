# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Programs on a simulated machine, watched from outside: the GPU time is the machine's own account,
# neither the library's nor the program's.
import contextlib
import os
import subprocess
import tempfile

from figures import Trace

WATCH_EVERY = "5ms"
PATIENCE_S = 60  # beyond the time that a program has


class Failed(Exception):
    """A program or the machine did not work: nothing was measured."""


def clean_environment():
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("CUSLICE_", "SIMGPU_", "CUDA_")) and name != "LD_PRELOAD"}


class Bench:
    """The programs of a build folder. more: variables for the limited programs."""

    def __init__(self, build, more=None):
        self.simgpu = os.path.join(build, "simgpu")
        self.library = os.path.join(build, "lib", "libcuslice.so")
        self.workload = os.path.join(build, "bin", "shares-workload")
        self.more = more or {}
        for path in (self.simgpu, self.library, self.workload):
            if not os.path.exists(path):
                raise Failed(f"{path}: not there; build first")

    def environment(self, folder, share):
        """share None: bare."""
        environment = clean_environment()
        environment |= {"SIMGPU_DIR": folder, "LD_LIBRARY_PATH": self.simgpu}
        if share is not None:
            environment |= {"LD_PRELOAD": self.library, "CUSLICE_GROUP": "none",
                            "CUSLICE_COMPUTE": f"{share:g}%"}
            environment |= self.more
        return environment

    def command(self, folder, *arguments, **more):
        return subprocess.Popen([os.path.join(self.simgpu, "simgpu"), *arguments],
                                env=self.environment(folder, None), **more)

    @contextlib.contextmanager
    def machine(self, folder, settings):
        """One that lives as long as cat does, which ends with our end of its pipe: nothing is left
        behind however we end."""
        cat = self.command(folder, "run", "--dir", folder, *(f"-s{each}" for each in settings),
                           "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            cat.stdin.write(b"ready\n")
            cat.stdin.flush()
            if cat.stdout.readline() != b"ready\n":
                raise Failed("the machine did not start")
            yield
        finally:
            cat.communicate()

    def run(self, programs, seconds):
        """Runs all of `programs`, pairs of a load and a share (None: bare), at once on a machine
        of their own, for that long. Returns for each its Trace and what it said."""
        settings = sorted({f"kernel.{load.kernel}={load.kernel_ns}ns" for load, _ in programs})
        with tempfile.TemporaryDirectory(prefix="shares-") as folder:
            with self.machine(folder, settings):
                return self.run_watched(folder, programs, seconds)

    def run_watched(self, folder, programs, seconds):
        lines_path = os.path.join(folder, "watched")
        with open(lines_path, "wb") as lines:
            watcher = self.command(folder, "watch", "--every", WATCH_EVERY, stdout=lines)
        try:
            running = [self.start(folder, load, share, seconds) for load, share in programs]
            said = [self.finish(process, seconds) for process in running]
        finally:
            watcher.terminate()
            watcher.wait()
        traces = read_traces(lines_path)
        return [(traces.get(process.pid, Trace()), fields)
                for process, fields in zip(running, said)]

    def start(self, folder, load, share, seconds):
        return subprocess.Popen([self.workload, *load.arguments(seconds)],
                                env=self.environment(folder, share), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @staticmethod
    def finish(process, seconds):
        try:
            stdout, stderr = process.communicate(timeout=seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed("a program did not end") from None
        if process.returncode != 0 or stderr:
            raise Failed(f"a program ended with {process.returncode}: {stdout}{stderr}")
        return {name: int(value) for name, value in map(str.split, stdout.splitlines())}


def read_traces(path):
    """The lines of `simgpu watch`, by pid."""
    traces = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # the watcher was ended while it wrote
            at_ns, _, pid, used_ns, ended = map(int, line.split())
            traces.setdefault(pid, Trace()).add(at_ns, used_ns, ended)
    return traces
