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
#   counts.py BENCH samples ROW [LIMIT]    inside of libcuslice.so, a call that takes no sample of the
#                                          GPU's time costs at most LIMIT; those that do are told apart
#   counts.py BENCH skip REASON            says why nothing can be counted
#
# Each prints the table of what it has counted. BENCH is build/bin/cuslice-bench.
# Exit status 0, 1, or 77 where there is no valgrind.
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

CALLS = 1000
# To tell calls with samples apart, the counts are written after every few calls.
PARTS, PART_CALLS = 400, 100
SKIPPED = 77
# Where groups are. How many members one has does not show in what an allocation executes.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None

# As the benchmark sets them up (child.c).
QUOTA = {"CUSLICE_GROUP": "none", "CUSLICE_MEMORY": "50%"}
SETUPS = {"share": {"CUSLICE_COMPUTE": "50%"}, "whole": {"CUSLICE_COMPUTE": "100%"}}


class Counter:
    def __init__(self, bench):
        build = os.path.dirname(os.path.dirname(os.path.abspath(bench)))
        self.bench = bench
        self.library = os.path.join(build, "lib", "libcuslice.so")
        self.simgpu = os.path.join(build, "simgpu")

    def environment(self, row, is_bare, folder):
        variables = {name: value for name, value in os.environ.items()
                     if name != "LD_PRELOAD" and not name.startswith(("CUSLICE_", "SIMGPU_"))}
        variables |= {"SIMGPU_NULL": "1", "LD_LIBRARY_PATH": self.simgpu}
        if not is_bare:
            variables |= {"LD_PRELOAD": self.library}
            variables |= QUOTA | SETUPS.get(row.rpartition("-")[2], {})
            if row.endswith("-group"):
                variables |= {"CUSLICE_GROUP": folder}
        return variables

    def run(self, row, is_bare, calls):
        """Instructions of a whole process, by the file that they lie in."""
        return self.callgrind(row, is_bare, calls, 1, [], self_costs)

    def run_parts(self, row):
        """Of the sliced row, for each part but the first: instructions inside of libcuslice.so and
        events recorded."""
        options = ["--dump-after=count_part", "--combine-dumps=yes"]
        parts = self.callgrind(row, False, PART_CALLS, PARTS, options, self.costs_of_parts)
        return parts[1:PARTS]

    def callgrind(self, row, is_bare, calls, parts, options, read):
        with tempfile.TemporaryDirectory(prefix="cuslice-bench-", dir=IN_MEMORY) as folder:
            out = os.path.join(folder, "counts")
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                       "--compress-strings=no", "--compress-pos=no", "--log-file=/dev/null",
                       *options, self.bench, "--count", row, "--calls", str(calls),
                       "--parts", str(parts)]
            done = subprocess.run(command, env=self.environment(row, is_bare, folder), check=False,
                                  stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                sys.exit(f"{row}: the program ends with {done.returncode}\n{done.stderr}")
            with open(out, encoding="utf-8") as file:
                return read(file)

    def costs_of_parts(self, lines):
        parts = []
        for part in split_parts(lines):
            parts.append((self_costs(part).get(self.library, 0), calls_of(part, "cuEventRecord")))
        return parts

    def per_call(self, row, is_bare):
        """(instructions in all, instructions inside of libcuslice.so) of one call."""
        once = self.run(row, is_bare, CALLS)
        twice = self.run(row, is_bare, 2 * CALLS)
        ours = twice.get(self.library, 0) - once.get(self.library, 0)
        return (sum(twice.values()) - sum(once.values())) / CALLS, ours / CALLS


def split_parts(lines):
    parts = []
    for line in lines:
        if line.startswith("part:"):
            parts.append([])
        if parts:
            parts[-1].append(line)
    return parts


def calls_of(lines, function):
    """How often it was called."""
    count, is_callee = 0, False
    for line in lines:
        if line.startswith("cfn="):
            is_callee = line[4:].rstrip("\n") == function
        elif line.startswith("calls=") and is_callee:
            count += int(line[6:].split()[0])
    return count


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


def tell_samples(counter, row, limit):
    """A sample is a pair of events."""
    parts = counter.run_parts(row)
    samples = sum(records for _, records in parts) / 2
    calls = PART_CALLS * len(parts)
    plain = [ours / PART_CALLS for ours, records in parts if records == 0]
    print(f"{row}: {samples:g} of {calls} calls took a sample, {100 * samples / calls:.3f} %; "
          f"instructions in cuslice a call: {sum(ours for ours, _ in parts) / calls:.1f} of all")
    if not plain:
        print("every part has samples: what a call costs without one cannot be told")
        return 1 if limit is not None else 0
    usual = statistics.median(plain)
    print(f"without a sample {usual:.1f} in the median, {max(plain):.1f} at most "
          f"(mean of {PART_CALLS} calls)")
    if samples:
        more = sum(ours - PART_CALLS * usual for ours, records in parts if records > 0)
        print(f"with a sample {usual + more / samples:.0f}")
    if limit is not None and usual > limit:
        print(f"{usual:.1f} without a sample, {limit:g} are allowed")
        return 1
    return 0


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
    if command == "samples":
        return tell_samples(counter, arguments[0], float(arguments[1]) if arguments[1:] else None)
    count_rows(counter, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
