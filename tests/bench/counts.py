#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Instructions a call, counted by callgrind. A run of N calls is taken from one of 2 N, so that
# all that happens once cancels out. The same build gives the same counts on every machine, so
# they can be asserted where nanoseconds cannot.
#
#   counts.py BENCH more ROW... LIMIT      each costs at most LIMIT instructions more than bare
#   counts.py BENCH ratio ROW ROW LIMIT    sliced, the first costs at most LIMIT times the second
#   counts.py BENCH table ROW...           nothing is asserted
#   counts.py BENCH skip REASON            says why nothing can be counted
#
# Each prints the table of what it has counted. BENCH is build/bin/cuslice-bench.
# Exit status 0, 1, or 77 where there is no valgrind.
import os
import re
import shutil
import subprocess
import sys
import tempfile

CALLS = 1000
SKIPPED = 77

# As the benchmark sets them up (child.c).
QUOTA = {"CUSLICE_GROUP": "none", "CUSLICE_MEMORY": "50%"}
SHARE = QUOTA | {"CUSLICE_COMPUTE": "50%"}


class Counter:
    def __init__(self, bench):
        build = os.path.dirname(os.path.dirname(os.path.abspath(bench)))
        self.bench = bench
        self.library = os.path.join(build, "lib", "libcuslice.so")
        self.simgpu = os.path.join(build, "simgpu")

    def environment(self, row, is_bare):
        variables = {name: value for name, value in os.environ.items()
                     if name != "LD_PRELOAD" and not name.startswith(("CUSLICE_", "SIMGPU_"))}
        variables |= {"SIMGPU_NULL": "1", "LD_LIBRARY_PATH": self.simgpu}
        if not is_bare:
            variables |= {"LD_PRELOAD": self.library}
            variables |= SHARE if row.endswith("-share") else QUOTA
        return variables

    def run(self, row, is_bare, calls):
        """Instructions of a whole process, by the file that they lie in."""
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "counts")
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                       "--compress-strings=no", "--compress-pos=no", "--log-file=/dev/null",
                       self.bench, "--count", row, "--calls", str(calls)]
            done = subprocess.run(command, env=self.environment(row, is_bare), check=False,
                                  stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                sys.exit(f"{row}: the program ends with {done.returncode}\n{done.stderr}")
            with open(out, encoding="utf-8") as file:
                return self_costs(file)

    def per_call(self, row, is_bare):
        """(instructions in all, instructions inside of libcuslice.so) of one call."""
        once = self.run(row, is_bare, CALLS)
        twice = self.run(row, is_bare, 2 * CALLS)
        ours = twice.get(self.library, 0) - once.get(self.library, 0)
        return (sum(twice.values()) - sum(once.values())) / CALLS, ours / CALLS


def self_costs(lines):
    """Sums up a callgrind file: cost lines count for the last ob=, except those of calls."""
    costs = {}
    current = None
    is_call = False
    for line in lines:
        if line.startswith("ob="):
            current = line[3:].rstrip("\n")
        elif line.startswith("calls="):
            is_call = True
        elif re.match(r"[0-9+*-]", line):
            if not is_call:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            is_call = False
    return costs


def count_rows(counter, rows):
    counted = {}
    print(f"{'instructions a call':24} {'bare':>9} {'sliced':>9} {'more':>9} {'in cuslice':>11}")
    for row in rows:
        bare, _ = counter.per_call(row, True)
        sliced, ours = counter.per_call(row, False)
        counted[row] = bare, sliced
        print(f"{row:24} {bare:9.1f} {sliced:9.1f} {sliced - bare:9.1f} {ours:11.1f}",
              flush=True)
    return counted


def check_more(counter, rows, limit):
    worse = 0
    for row, (bare, sliced) in count_rows(counter, rows).items():
        if sliced - bare > limit:
            print(f"{row} costs {sliced - bare:.1f} instructions more, {limit:g} are allowed")
            worse += 1
    return 1 if worse else 0


def check_ratio(counter, rows, limit):
    counted = count_rows(counter, rows)
    ratio = counted[rows[0]][1] / counted[rows[1]][1]
    print(f"{rows[0]} costs {ratio:.3f} times what {rows[1]} does")
    if ratio > limit:
        print(f"more than {limit:g} times")
    return 1 if ratio > limit else 0


def main(bench, command, *arguments):
    if command == "skip":
        print("skipped: " + " ".join(arguments))
        return SKIPPED
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed")
        return SKIPPED
    counter = Counter(bench)
    if command == "more":
        return check_more(counter, arguments[:-1], float(arguments[-1]))
    if command == "ratio":
        return check_ratio(counter, arguments[:2], float(arguments[2]))
    count_rows(counter, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
