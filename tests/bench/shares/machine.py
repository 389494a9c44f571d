# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Programs on a simulated machine, watched from outside: the GPU time is the machine's own account,
# neither the library's nor the program's.
import contextlib
import glob
import os
import secrets
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


class TooLittle(Failed):
    """The computer was so busy that nothing can be said; once more may help."""


class Bench:
    """The programs of a build folder. more: variables for the limited programs; settings: of the
    machine, "KEY=VALUE" each."""

    def __init__(self, build, more=None, settings=()):
        self.simgpu = os.path.join(build, "simgpu")
        self.library = os.path.join(build, "lib", "libcuslice.so")
        self.workload = os.path.join(build, "bin", "shares-workload")
        self.more, self.settings = more or {}, settings
        for path in (self.simgpu, self.library, self.workload):
            if not os.path.exists(path):
                raise Failed(f"{path}: not there; build first")

    def environment(self, folder, share, more=()):
        """share None: bare. more: pairs of a variable and its value, or None for none."""
        environment = clean_environment()
        environment |= {"SIMGPU_DIR": folder, "LD_LIBRARY_PATH": self.simgpu}
        if share is not None:
            environment |= {"LD_PRELOAD": self.library, "CUSLICE_GROUP": "none",
                            "CUSLICE_COMPUTE": f"{share:g}%"}
            environment |= self.more | dict(more)
        return {name: value for name, value in environment.items() if value is not None}

    def command(self, folder, *arguments, **more):
        return subprocess.Popen([os.path.join(self.simgpu, "simgpu"), *arguments],
                                env=self.environment(folder, None), **more)

    @contextlib.contextmanager
    def machine(self, folder, settings):
        """One that lives as long as cat does, which ends with our end of its pipe: nothing is left
        behind however we end. Its device is like no other, and so is what the library shares."""
        uuid = secrets.token_hex(16)
        settings = [f"uuid={uuid}", *self.settings, *settings]
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
            remove_shared(uuid)

    @contextlib.contextmanager
    def stage(self, loads, every=WATCH_EVERY):
        """A machine on which programs with these loads can be started. What they used is known
        when it is over."""
        settings = sorted({f"kernel.{load.kernel}={load.kernel_ns}ns" for load in loads})
        with tempfile.TemporaryDirectory(prefix="shares-") as folder:
            with self.machine(folder, settings):
                stage = Stage(self, folder)
                with stage.watched(every):
                    yield stage
            stage.traces = read_traces(stage.lines_path)

    def run(self, programs, seconds, every=WATCH_EVERY):
        """Runs all of `programs`, of each a load, a share (None: bare) and perhaps more variables,
        at once on a machine of their own, for that long. Returns for each its Trace and what it
        said."""
        with self.stage([program[0] for program in programs], every) as stage:
            running = [stage.start(seconds, *program) for program in programs]
            said = [stage.finish(each) for each in running]
        return [(stage.trace(each), fields) for each, fields in zip(running, said)]


class Stage:
    def __init__(self, bench, folder):
        self.bench, self.folder = bench, folder
        self.lines_path = os.path.join(folder, "watched")
        self.traces, self.started = {}, []

    @contextlib.contextmanager
    def watched(self, every):
        """Nothing that was started is left when it is over."""
        with open(self.lines_path, "wb") as lines:
            watcher = self.bench.command(self.folder, "watch", "--every", every, stdout=lines)
        try:
            yield
        finally:
            for process in self.started:
                if process.poll() is None:
                    process.kill()
                    process.communicate()
            watcher.terminate()
            watcher.wait()

    def start(self, seconds, load, share, more=()):
        process = subprocess.Popen([self.bench.workload, *load.arguments(seconds)],
                                   env=self.bench.environment(self.folder, share, more), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.patience_s = seconds + PATIENCE_S
        self.started.append(process)
        return process

    @staticmethod
    def finish(process):
        try:
            stdout, stderr = process.communicate(timeout=process.patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed("a program did not end") from None
        if process.returncode != 0 or stderr:
            raise Failed(f"a program ended with {process.returncode}: {stdout}{stderr}")
        return {name: int(value) for name, value in map(str.split, stdout.splitlines())}

    @staticmethod
    def kill(process):
        """Whether it was still there to be killed."""
        was_alive = process.poll() is None
        process.kill()
        process.communicate()
        return was_alive

    def trace(self, process):
        return self.traces.get(process.pid, Trace())


def remove_shared(uuid):
    """What programs that share a device leave behind in shared memory."""
    for path in glob.glob(f"/dev/shm/cuslice-{os.getuid()}/device-*"):
        if uuid in os.path.basename(path).lower().replace("-", ""):
            os.unlink(path)


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
