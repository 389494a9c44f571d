#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Beside another preloaded library that wraps a driver function, or dlsym itself, and hands on by
# RTLD_NEXT: no recursion, the quota holds, and the other still sees what it saw without us; where
# it stands behind us, only as long as there is no limit on what it wraps.
import re
import unittest

import harness
from harness import CLIENTS, LIBRARY, client
from test_kinds import under_quota

COUNTS = re.compile(r"interposer: (\d+) allocations, (\d+) lookups\n")
COMMANDS = {"linked": (client("linked"),), "dlsym": (client("kinds"), "soname"),
            "cuGetProcAddress": (client("kinds"), "proc2")}


class Interposers(harness.Case):
    def run_counted(self, machine, command, limits, libraries):
        done = machine.run(*command, limits=limits, libraries=libraries, INTERPOSER_COUNT="1")
        counts = COUNTS.fullmatch(done.stderr)
        self.assertTrue(counts, f"{done.returncode}: {done.stderr}{done.stdout}")
        self.assertEqual(done.returncode, 0)
        return harness.fields(done.stdout), int(counts[1]), int(counts[2])

    def check(self, name, is_first, limits):
        other = CLIENTS / f"libclient_interposer_{name}.so"
        libraries = (other, LIBRARY) if is_first else (LIBRARY, other)
        for how, command in COMMANDS.items():
            with self.subTest(f"{name} {how} first={is_first} {limits}"), \
                    harness.Machine() as machine:
                bare, allocations, _ = self.run_counted(machine, command, {}, (other,))
                expected = under_quota(bare) if "MEMORY" in limits else bare
                if is_first and name.startswith("dlsym") and how != "linked":
                    expected = bare
                sliced, sliced_allocations, _ = self.run_counted(machine, command, limits,
                                                                 libraries)
                self.assertEqual(sliced, expected)
                if how == "linked":
                    self.assertGreater(allocations, 5)
                if is_first or not limits:
                    self.assertEqual(sliced_allocations, allocations)

    def test_wrapper_of_a_driver_function(self):
        for level in ("O0", "O2"):
            for is_first in (True, False):
                for limits in ({}, {"MEMORY": "64MiB"}):
                    self.check(f"alloc_{level}", is_first, limits)

    # One that stands in front of us and asks for libc's dlsym by version leaves us out: lookups
    # through it are safe, and not reached. `cuslice run` puts us in front.
    @unittest.skipIf(harness.SANITIZER, "sanitizers look up before a wrapper can work")
    def test_wrapper_of_dlsym(self):
        for level in ("O0", "O2"):
            for is_first in (True, False):
                for limits in ({}, {"MEMORY": "64MiB"}):
                    self.check(f"dlsym_{level}", is_first, limits)

    def test_preload_named_twice_is_one(self):
        with harness.Machine() as machine:
            bare = harness.fields(self.finished(machine.run(client("linked"))))
            done = machine.run(client("linked"), limits={"MEMORY": "64MiB"},
                               libraries=(LIBRARY, LIBRARY))
            self.assertEqual(harness.fields(self.finished(done)), under_quota(bare))


if __name__ == "__main__":
    harness.main()
