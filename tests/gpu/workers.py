# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Processes that wait for orders: several that share the machine, each bare or in a slice of its
# own, working in turns or side by side. Starting PyTorch takes seconds, and runs that follow one
# another closely meet the same clocks and temperatures.
import os
import select
import subprocess
import tempfile
import time

from machine import TREE, Failed, OutOfTime, clip, how_ended, last_line


class Worker:
    """A process that reads orders, one a line, and answers by lines `key=value` and a line "."."""

    def __init__(self, machine, name, argv, env):
        self.machine, self.name, self.buffer = machine, name, b""
        self.stderr = tempfile.TemporaryFile("w+", errors="replace")
        machine.log.write(f"\n$ {machine.shown(argv, env)}    ({name})\n")
        self.process = subprocess.Popen(
            argv, env={**os.environ, **env}, cwd=TREE, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.stderr, start_new_session=True)

    def order(self, line):
        """Does not wait for the answer."""
        self.machine.log.write(f"{self.name} < {line}\n")
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(self.how_it_ended()) from error

    def line(self):
        """The next line of output."""
        while b"\n" not in self.buffer:
            left = min(self.machine.deadline - time.monotonic(), 3600)
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                if time.monotonic() >= self.machine.budget_end:
                    raise OutOfTime()
                raise Failed(f"{self.name}: hung, or took too long")
            found = os.read(self.process.stdout.fileno(), 65536)
            if not found:
                raise Failed(self.how_it_ended())
            self.buffer += found
        line, self.buffer = self.buffer.split(b"\n", 1)
        text = line.decode(errors="replace")
        self.machine.log.write(f"{self.name} > {text}\n")
        return text

    def wait_for(self, text):
        while self.line() != text:
            pass

    def answer(self):
        """{key: value} of what it says until "."."""
        values = {}
        while (line := self.line()) != ".":
            key, sign, value = line.partition("=")
            if sign:
                values[key] = value
        return values

    def ask(self, line):
        self.order(line)
        return self.answer()

    def how_it_ended(self):
        try:
            status = how_ended(self.process.wait(5))
        except subprocess.TimeoutExpired:
            status = "closed its output"
        self.stderr.seek(0)
        return f"{self.name}: {status}{last_line(self.stderr.read())}"

    def end(self):
        """It ends by itself at the end of its input; one that does not is killed."""
        try:
            self.process.stdin.close()
            self.process.wait(2)
        except (OSError, subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.machine.kill(self.process)
        self.process.stdout.close()
        self.stderr.seek(0)
        self.machine.log.write(clip(self.stderr.read()))
        self.stderr.close()


class Fleet:
    """Workers on one machine, which on simgpu is one of their own."""

    def __init__(self, machine, settings=()):
        self.machine, self.workers, self.simulated, self.folder = machine, {}, None, None
        self.files = []  # to be removed at the end, where they are there
        if machine.is_simulated:
            self.folder = tempfile.TemporaryDirectory(prefix="cuslice-")
            self.simulated = self.start_simgpu(settings)

    def start_simgpu(self, settings):
        """It ends with the process that it runs, which ends when our end of the pipe is closed,
        whatever happens to us."""
        simgpu = Worker(self.machine, "simgpu", self.machine.on_simgpu(
            ["sh", "-c", "echo .; exec cat"], settings, self.folder.name), {})
        simgpu.answer()
        return simgpu

    def start(self, name, argv, env=None):
        place = {}
        if self.simulated:
            place = {"SIMGPU_DIR": self.folder.name,
                     "LD_LIBRARY_PATH": os.path.join(self.machine.build, "simgpu")}
        self.workers[name] = Worker(self.machine, name, argv, {**place, **(env or {})})
        return self.workers[name]

    def account(self):
        """What simgpu says of its use, as JSON text."""
        return subprocess.run(
            [self.machine.built("simgpu", "simgpu"), "account", "--json", "--dir",
             self.folder.name], capture_output=True, text=True, check=True, timeout=20).stdout

    def end(self):
        for worker in self.workers.values():
            worker.end()
        for file in filter(os.path.exists, self.files):
            os.remove(file)
        if self.simulated:
            self.simulated.end()
            self.folder.cleanup()


def fleet_of(machine, key, make, settings=()):
    """The fleet of the row before, if that was made with the same key; else a new one."""
    if machine.kept is None or machine.kept[0] != key:
        machine.dismiss()
        fleet = Fleet(machine, settings)
        machine.kept = (key, fleet)
        make(fleet)
    return machine.kept[1]
