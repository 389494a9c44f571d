# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# The machine under test: how a program is run on it, bare or inside a slice, and what it is.
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
GIB = 1 << 30
LOGGED_CHARS = 20000  # of one output of one command

# A machine that is large enough for every row. Kernels of one thread run as long as is set here.
SIMGPU_SETTINGS = ("memory=8GiB", "kernel.gpu_spin=2ms", "kernel.gpu_empty=2us")


class Failed(Exception):
    """Something does not hold; the text says what."""


class Skipped(Exception):
    """Cannot be found out on this machine; the text says why."""


class OutOfTime(Exception):
    """The budget ended while a command ran."""


class Machine:
    """Runs programs of the build. Every command ends by `deadline` (time.monotonic()), which the
    runner sets for each row, and its output goes to the log."""

    def __init__(self, build, out, is_simulated, settings=()):
        self.build = os.path.abspath(build)
        self.out = os.path.abspath(out)
        self.is_simulated = is_simulated
        self.settings = (*SIMGPU_SETTINGS, *settings)
        self.deadline = self.budget_end = float("inf")
        self.kept = None  # (key, fleet) that the next rows may use too: workers.py
        os.makedirs(self.out, exist_ok=True)
        self.log = open(os.path.join(self.out, "log.txt"), "w", encoding="utf-8")

    def program(self, name):
        """The path of a program of tests/gpu; skips the row where it was not built."""
        return self.built("gpu", name)

    def built(self, *names):
        path = os.path.join(self.build, *names)
        if not os.path.exists(path):
            raise Skipped(f"{os.path.join(*names)} is not in the build")
        return path

    def library(self):
        return os.path.join(self.build, "lib", "libcuslice.so")

    def needs_real_gpu(self):
        if self.is_simulated:
            raise Skipped("needs the CUDA runtime, which does not run on simgpu")

    def slice(self, memory=None, compute=None):
        """The environment of a slice: bytes, and a share such as 25%."""
        env = {"LD_PRELOAD": self.library(), "CUSLICE_GROUP": "none"}
        if memory is not None:
            env["CUSLICE_MEMORY"] = str(memory)
        if compute is not None:
            env["CUSLICE_COMPUTE"] = compute
        return env

    def run(self, argv, env=None, settings=(), is_on_machine=True):
        """Runs to the end and returns stdout; anything but status 0 fails the row. `settings` are
        further ones of simgpu; a command that is not `is_on_machine` needs none."""
        self.dismiss()
        command = list(argv)
        if self.is_simulated and is_on_machine:
            command = self.on_simgpu(argv, settings)
        full_env = {**os.environ, **(env or {})}
        self.log.write(f"\n$ {self.shown(argv, env)}\n")
        with tempfile.TemporaryFile("w+", errors="replace") as stdout, \
                tempfile.TemporaryFile("w+", errors="replace") as stderr:
            status = self.wait(subprocess.Popen(
                command, env=full_env, cwd=TREE, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, start_new_session=True))
            texts = [self.take(stdout), self.take(stderr)]
        self.log.flush()
        if status != 0:
            raise Failed(f"{self.shown(argv, env)}: {how_ended(status)}"
                         f"{last_line(texts[1] or texts[0])}")
        return texts[0]

    def dismiss(self):
        """Ends what an earlier row left running for its successors."""
        kept, self.kept = self.kept, None
        if kept is not None:
            kept[1].end()

    def on_simgpu(self, argv, settings, folder=None):
        command = [self.built("simgpu", "simgpu"), "run"]
        if folder is not None:
            command += ["--dir", folder]
        for setting in (*self.settings, *settings):
            command += ["-s", setting]
        return [*command, "--", *argv]

    def take(self, file):
        file.seek(0)
        text = file.read()
        self.log.write(clip(text))
        return text

    def wait(self, process):
        """Waits until the deadline; then, or when the report is interrupted, the process and all
        that it started are killed."""
        try:
            return process.wait(max(0.1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.log.write("(took too long)\n")
        finally:
            if process.poll() is None:
                self.kill(process)
        if time.monotonic() >= self.budget_end:
            raise OutOfTime()
        raise Failed(f"{os.path.basename(process.args[-1])}: hung, or took too long")

    def kill(self, process):
        """One that waits for its GPU may not even die; it is left behind."""
        os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            self.log.write("(did not die)\n")

    def shown(self, argv, env):
        """The command line as one would type it, with short names."""
        words = [f"{name}={value}" for name, value in (env or {}).items()] + list(argv)
        return " ".join(word.replace(self.build + "/", "").replace(TREE + "/", "")
                        .replace(self.out + "/", "") for word in words)


def clip(text):
    """As much of an output as the log keeps."""
    if len(text) <= LOGGED_CHARS:
        return text
    return f"{text[:LOGGED_CHARS]}... ({len(text)} characters in all)\n"


def how_ended(status):
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status > 128 and status - 128 in signal.valid_signals():
        return f"killed by {signal.Signals(status - 128).name}"
    return f"exit status {status}"


def last_line(text):
    lines = text.strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""


def values_of(text):
    """{key: value} of the lines `key=value`."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def answer(argv, pattern=r"(.+)"):
    """What a command of the system says, or "unknown"."""
    try:
        text = subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(pattern, text)
    return found.group(1).strip() if found else "unknown"


def cuda_of_driver():
    """The newest CUDA version that the driver knows. Needs no cuInit."""
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return "unknown"
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        return platform.machine()
    return found.group(1) if found else platform.machine()


def commit_of(machine):
    """Of the build, which may have been made elsewhere, and be a copy without git."""
    try:
        with open(os.path.join(machine.build, "gpu", "commit"), encoding="utf-8") as file:
            built = file.read().strip()
    except OSError:
        built = "unknown"
    if built not in ("", "unknown"):
        return built
    return answer(["git", "-C", TREE, "describe", "--always", "--abbrev=12", "--dirty"])


def driver_version():
    """Where nvidia-smi is missing the kernel's module says it too."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            found = re.search(r"Module +(?:for \S+ +)?([\d.]+)", file.read())
    except OSError:
        return "unknown"
    return found.group(1) if found else "unknown"


def facts_of(machine):
    """What the report says of the machine, in order."""
    facts = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    if machine.is_simulated:
        facts["GPU"] = "simgpu (simulated)"
    else:
        said = answer(["nvidia-smi", "--query-gpu=name,memory.total,driver_version",
                       "--format=csv,noheader"]).split(", ")
        facts["GPU"] = said[0]
        facts["GPU memory"], facts["driver"] = said[1:] if len(said) == 3 else ("unknown",
                                                                                driver_version())
        facts["CUDA of the driver"] = cuda_of_driver()
    facts["CUDA toolkit"] = answer([shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc",
                                    "--version"], r"release ([\d.]+)")
    facts["CPU"] = f"{cpu_model()}, {os.cpu_count()} logical cores"
    facts["system"] = f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}"
    facts["cuslice"] = answer([os.path.join(machine.build, "bin", "cuslice"), "--version"])
    facts["commit"] = commit_of(machine)
    return facts
