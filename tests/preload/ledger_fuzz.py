#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Random uses of device memory, by one process or by a group of them of which some are killed and
# stopped, against the account of the simulated machine; docs/testing.md says what is compared. A
# sequence that fails is played again with less and less of it, and what is left is printed.
import argparse
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

import harness
from harness import MIB, client

QUOTA = 128 * MIB
# What simgpu takes for a context, a module's code and its variables.
ALONE = {"FUZZ_CONTEXT_BYTES": 4 * MIB, "FUZZ_MODULE_BYTES": MIB,
         "FUZZ_VARIABLE_BYTES": 3 * MIB}
# In a group contexts take next to nothing: the first one of a process is made whatever the quota says.
FREE = {"FUZZ_CONTEXT_BYTES": 512, "FUZZ_MODULE_BYTES": 0, "FUZZ_VARIABLE_BYTES": 0}
# Where things stand in the segment (src/group/segment_layout.h, segment_protocol.c).
SLOTS, OWNERS_OFFSET, WORD_OFFSET, ACCOUNTS_OFFSET, TOTAL_SHIFT, UNIT = \
    256, 128, 2176, 2176 + 192, 28, 512
# How imports of one thing by several members add up is what test_imports.py is about.
NOT_IN_GROUPS = "opened"
# While NVML lists a dead process, one in a PID namespace does not take the list for its own: what a
# module takes is then the drop of free memory, which is the neighbours' too (docs/memory.md).
NOT_BESIDE_KILLS = "module,library"
LATE_S = 1  # how long the group may need to hear of what has come back


class Mismatch(Exception):
    """The books differ, or a program has ended that should not have."""


def machine(costs):
    return harness.Machine(**{
        "memory": "4GiB", "kernel.busy": "2ms", "context_bytes": str(costs["FUZZ_CONTEXT_BYTES"]),
        "module_bytes": str(costs["FUZZ_MODULE_BYTES"])})


def ranges(steps):
    """`FROM COUNT` for each run of steps that follow one another."""
    text, start = [], None
    for i, step in enumerate(steps):
        if start is None:
            start = step
        if i + 1 == len(steps) or steps[i + 1] != step + 1:
            text.append(f"{start} {step - start + 1}")
            start = None
    return " ".join(text)


class Program:
    """A client_ledger_fuzz."""

    def __init__(self, on_machine, limits, *arguments, **more):
        environment = on_machine.environment(limits)
        environment |= {name: str(value) for name, value in more.items()}
        self.process = subprocess.Popen(
            [client("ledger_fuzz"), *map(str, arguments)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # what it has said last tells why

    def hear(self, word):
        """The numbers that follow `word`, which has to be what comes next."""
        for line in self.process.stdout:
            first, _, rest = line.rstrip("\n").partition(" ")
            if first == "step":
                print(f"[{self.process.pid}] {line}", end="", flush=True)
                continue
            if first == word:
                return list(map(int, rest.split()))
            raise Mismatch(line.rstrip("\n"))
        raise Mismatch(f"a program has ended with {self.process.wait()}")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Partner:
    """The process whose memory is opened by others; in a with statement."""

    def __init__(self, on_machine):
        self.path = os.path.join(on_machine.folder.name, "partner")
        self.program = Program(on_machine, None, self.path)

    def __enter__(self):
        self.program.hear("ready")
        return self

    def __exit__(self, *_):
        self.program.end()


def play_alone(options, steps):
    """One process plays `steps`; a Mismatch tells where the books differ. Returns how often it was
    granted and refused what it asked for."""
    more = dict(ALONE, FUZZ_ALONE=1)
    if options.tell:
        more["FUZZ_TELL"] = 1
    if options.without:
        more["FUZZ_WITHOUT"] = options.without
    if options.fault:
        more[f"FUZZ_{options.fault.upper()}_AT"] = options.fault_at
        more["FUZZ_BEHIND"] = harness.CLIENTS / "libclient_ledger_fuzz_behind.so"
    with machine(ALONE) as on_machine, Partner(on_machine) as partner:
        program = Program(on_machine, {"MEMORY": str(QUOTA)}, partner.path, QUOTA, options.seed,
                          **more)
        try:
            program.hear("ready")
            program.say("steps " + ranges(steps))
            answers = program.hear("done")
            program.say("end")
            program.hear("rest")
            program.hear("end")
            return answers
        finally:
            program.end()


class Segment:
    """The books of a group, as they stand in the only segment of a folder."""

    def __init__(self, folder):
        [path] = pathlib.Path(folder).glob("*.group")
        self.file = path.open("rb", buffering=0)

    def read(self, offset, form):
        self.file.seek(offset)
        return struct.unpack(form, self.file.read(struct.calcsize(form)))

    def used(self):
        """Bytes of all members on the only device."""
        return (self.read(WORD_OFFSET, "<Q")[0] >> TOTAL_SHIFT) * UNIT

    def owners(self):
        return {owner for owner in self.read(OWNERS_OFFSET, f"<{SLOTS}Q") if owner}

    def held(self):
        """Bytes of each member by its pid, while all are at rest."""
        held = {}
        for slot, owner in enumerate(self.read(OWNERS_OFFSET, f"<{SLOTS}Q")):
            done, *units = self.read(ACCOUNTS_OFFSET + 64 * slot, "<3Q")
            if owner:
                held[owner] = units[done % 2] * UNIT
        return held


def memory_of(pid):
    """The most that a process has had in memory at a time, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


class Group:
    """Processes of one group that play rounds of random steps; some are killed and stopped."""

    def __init__(self, options, on_machine, partner, folder):
        self.options, self.machine, self.partner = options, on_machine, partner
        self.folder = folder
        self.random = random.Random(options.seed)
        self.members, self.started = [], 0
        self.elsewhere = self.account()["used"]
        self.killed = self.stopped = self.refused = self.granted = self.steps = 0
        self.reap_s, self.most_memory = [], 0
        self.segment = None
        for _ in range(options.processes):
            self.members.append(self.start())
        for member in self.members:
            member.hear("ready")
        self.segment = Segment(folder)

    def close(self):
        for member in self.members:
            member.end()
        self.segment.file.close()

    def account(self):
        return self.machine.account()["devices"][0]

    def start(self):
        options = self.options
        more = dict(FREE, FUZZ_CHUNKS=1, FUZZ_WITHOUT=NOT_IN_GROUPS)
        if options.kills:
            more["FUZZ_WITHOUT"] += "," + NOT_BESIDE_KILLS
        if options.tell:
            more["FUZZ_TELL"] = 1
        if options.without:
            more["FUZZ_WITHOUT"] += "," + options.without
        if options.fault and self.started == 0:
            more[f"FUZZ_{options.fault.upper()}_AT"] = options.fault_at
            more["FUZZ_BEHIND"] = harness.CLIENTS / "libclient_ledger_fuzz_behind.so"
        self.started += 1
        return Program(self.machine, {"MEMORY": str(QUOTA), "GROUP": self.folder},
                       self.partner.path, QUOTA, options.seed * 1000 + self.started, **more)

    def kill(self, member):
        """Notes how long the group keeps what the dead member had."""
        member.process.kill()
        member.process.wait()
        since = time.monotonic()
        while member.process.pid in self.segment.owners():
            if time.monotonic() > since + 10:
                raise Mismatch("a killed member is still in the books after 10 s")
            time.sleep(0.001)
        self.reap_s.append(time.monotonic() - since)
        self.killed += 1

    def replace(self, member):
        member.end()
        self.members.remove(member)
        self.members.append(self.start())
        self.members[-1].hear("ready")

    def disturb(self):
        """While they play: stops some for a moment, and kills some. Returns the killed."""
        dead = []
        for member in self.random.sample(self.members, max(1, len(self.members) // 8)):
            time.sleep(self.random.random() * 0.02)
            if self.random.random() < 0.5:
                member.process.send_signal(signal.SIGSTOP)
                time.sleep(self.random.random() * 0.05)
                member.process.send_signal(signal.SIGCONT)
                self.stopped += 1
            else:
                self.kill(member)
                dead.append(member)
        return dead

    def play(self, steps):
        for member in self.members:
            member.say("steps " + ranges(steps))
        dead = self.disturb() if self.options.kills else []
        for member in self.members:
            if member not in dead:
                granted, refused = member.hear("done")
                self.granted += granted
                self.refused += refused
                self.steps += len(steps)
        for member in dead:
            self.replace(member)

    def check(self, imported, what):
        """All are at rest: the group has what the machine has, and never had more."""
        until = time.monotonic() + LATE_S
        while True:
            device, used = self.account(), self.segment.used()
            held = device["used"] - self.elsewhere
            if used == held + imported:
                break
            if time.monotonic() > until:
                raise Mismatch(f"{what}: the group counts {used}, the machine {held} and "
                               f"{imported} imported; {self.differences()}")
            time.sleep(0.01)
        most = QUOTA + self.killed * FREE["FUZZ_CONTEXT_BYTES"]
        if device["peak"] - self.elsewhere > most:
            raise Mismatch(f"{what}: the machine gave {device['peak'] - self.elsewhere} "
                           f"of {most}")

    def differences(self):
        """Whose books differ, be it because of imports."""
        machine = {}
        for line in self.machine.account()["processes"]:
            machine[line["pid"]] = machine.get(line["pid"], 0) + line["held"]
        return ", ".join(
            f"process {pid} counts {held}, the machine {machine.get(pid, 0)}"
            for pid, held in self.segment.held().items() if held != machine.get(pid, 0))

    def rest(self, what):
        for member in self.members:
            member.say("rest")
        self.check(sum(member.hear("rest")[0] for member in self.members), what)
        self.most_memory = max([self.most_memory] + [
            memory_of(member.process.pid) for member in self.members])

    def end(self):
        for member in self.members:
            member.say("end")
            member.hear("rest")
        for member in self.members:
            member.hear("end")
        self.check(0, "at the end")
        if self.segment.used() != 0:
            raise Mismatch(f"at the end: the group counts {self.segment.used()}")


def play_group(options, steps):
    """A group plays `steps` in rounds. Returns what there is to tell."""
    per_round = max(1, len(steps) // options.rounds)
    with machine(FREE) as on_machine, Partner(on_machine) as partner, \
            tempfile.TemporaryDirectory(dir="/dev/shm", prefix="cuslice-fuzz-") as folder:
        group = None
        try:
            group = Group(options, on_machine, partner, folder)
            for i in range(0, len(steps), per_round):
                group.play(steps[i:i + per_round])
                group.rest(f"after step {steps[min(i + per_round, len(steps)) - 1]}")
            group.end()
            group.peak = group.account()["peak"] - group.elsewhere
            return group
        finally:
            if group:
                group.close()


def fails(play, options, steps):
    """What a run says that fails; None where it does not."""
    try:
        play(options, steps)
    except Mismatch as mismatch:
        return str(mismatch)
    return None


def smaller_parts(steps, parts):
    """Each without one part, as delta debugging has it."""
    length = (len(steps) + parts - 1) // parts
    for i in range(0, len(steps), length):
        yield steps[:i] + steps[i + length:]


def shrink(play, options, steps, failure):
    """The fewest steps that still fail, found by leaving parts out; and what the run then says."""
    until, parts = time.monotonic() + options.shrink_s, 2
    while len(steps) > 1 and time.monotonic() < until:
        for candidate in smaller_parts(steps, parts):
            said = fails(play, options, candidate) if candidate else None
            if said:
                steps, failure, parts = candidate, said, max(parts - 1, 2)
                break
        else:
            if parts >= len(steps):
                break
            parts = min(parts * 2, len(steps))
    return steps, failure


def shrink_group(options, steps, failure):
    """The same of a group, of which first the number of processes becomes less."""
    fewer = argparse.Namespace(**vars(options))
    for fewer.kills, fewer.processes in (
            (kills, processes) for kills in (False, options.kills)
            for processes in (1, 2, 4, 8, 16) if processes < options.processes):
        said = fails(play_group, fewer, steps)
        if said:
            return fewer, *shrink(play_group, fewer, steps, said)
    return options, *shrink(play_group, options, steps, failure)


def run(options):
    """Returns what the run has to tell. A Mismatch says what the shrunk run said, and how to play
    it again; its `steps` are what is left."""
    play = play_alone if options.processes == 1 and not options.grouped else play_group
    steps = options.steps or list(range(options.operations))
    try:
        return play(options, steps)
    except Mismatch as mismatch:
        failure = str(mismatch)
    if options.shrink_s > 0 and play is play_alone:
        steps, failure = shrink(play, options, steps, failure)
    elif options.shrink_s > 0:
        options, steps, failure = shrink_group(options, steps, failure)
    said = Mismatch(
        f"{failure}\nseed {options.seed}, {len(steps)} steps of {options.processes} processes; "
        f"again:\n  tests/preload/ledger_fuzz.py --seed {options.seed} "
        f"--processes {options.processes}{' --grouped' if play is play_group else ''} "
        f"{'--kills ' if options.kills else ''}"
        f"{f'--without {options.without} ' if options.without else ''}"
        f"{f'--fault {options.fault} --fault-at {options.fault_at} ' if options.fault else ''}"
        f"--rounds {options.rounds} --tell "
        f"--steps '{ranges(steps)}'")
    said.steps, said.options = steps, options
    raise said from None


def parse(arguments):
    parser = argparse.ArgumentParser(description="random uses of device memory, on simgpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operations", type=int, default=1000, help="of each process")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--grouped", action="store_true", help="a group even of one process")
    parser.add_argument("--rounds", type=int, default=5, help="after each all is compared")
    parser.add_argument("--kills", action="store_true", help="kill and stop members")
    parser.add_argument("--steps", help="FROM COUNT...: these alone")
    parser.add_argument("--without", help="families that are left out (ledger_fuzz.c)")
    parser.add_argument("--tell", action="store_true", help="say what each step does")
    parser.add_argument("--fault", choices=("forget", "behind"), help="of the test's own")
    parser.add_argument("--fault-at", type=int, default=0, help="the step from which on")
    parser.add_argument("--shrink-s", type=float, default=60, help="how long to shrink; 0: not")
    options = parser.parse_args(arguments)
    if options.steps:
        numbers = list(map(int, options.steps.split()))
        options.steps = [step for first, count in zip(numbers[::2], numbers[1::2])
                         for step in range(first, first + count)]
    return options


def main():
    options = parse(sys.argv[1:])
    since = time.monotonic()
    try:
        told = run(options)
    except Mismatch as mismatch:
        print(mismatch)
        return 1
    took_s = time.monotonic() - since
    if isinstance(told, list):
        print(f"granted {told[0]}, refused {told[1]}, {took_s:.1f} s")
        return 0
    reaps = sorted(told.reap_s) or [0]
    print(f"steps {told.steps}, granted {told.granted}, refused {told.refused}, "
          f"killed {told.killed}, stopped {told.stopped}, peak {told.peak} of {QUOTA}, "
          f"back after a death: median {reaps[len(reaps) // 2] * 1000:.0f} ms, "
          f"most {reaps[-1] * 1000:.0f} ms, memory of a member {told.most_memory >> 20} MiB, "
          f"{took_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
