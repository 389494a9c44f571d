#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Lookups: everything that the CUDA runtime asks of cuGetProcAddress_v2, and what dlerror() says.
import csv
import re

import harness
from harness import TREE, client

LOOKUPS = TREE / "tests/data/cudart13-lookups.csv"
HOOK = re.compile(r"^HOOK\((\w+), \d+, (.*)\)$", re.M)
ANY = "FEATURE_ANY"


def hooked(*features):
    """The symbols that are routed where these features are on."""
    rows = HOOK.findall((TREE / "src/driver/hooks.def").read_text())
    return {symbol for symbol, wanted in rows if set(wanted.split(" | ")) & set(features)}


def answers(output):
    """Of each line of the client: the key of the row, and the rest of the words."""
    lines = [line.split(" ") for line in output.splitlines()]
    return [(words[0], words[1:]) for words in lines]


class Lookups(harness.Case):
    @classmethod
    def setUpClass(cls):
        with LOOKUPS.open(newline="") as file:
            cls.symbols = [row["abi_symbol_in_13_0"] for row in csv.DictReader(file)]

    def look_up(self, machine, limits):
        return answers(self.finished(machine.run(client("lookups"), LOOKUPS, limits=limits)))

    def check(self, limits, features):
        routed = hooked(*features)
        count = 0
        with harness.Machine() as machine:
            bare = self.look_up(machine, None)
            sliced = self.look_up(machine, limits)
        self.assertEqual([row for row, _ in bare], [row for row, _ in sliced])
        self.assertEqual(len(bare), len(self.symbols))
        for symbol, (row, before), (_, after) in zip(self.symbols, bare, sliced):
            self.assertEqual(after[3], "again", row)
            if symbol in routed and before[0] == "0":
                count += 1
                # the same result and status, our address, and the one that dlsym gives
                self.assertEqual(after, before[:2] + ["libcuslice.so", "again", "same"], row)
            else:
                self.assertEqual(after, before, row)
        return count

    def test_table_of_lookups_is_whole(self):
        self.assertEqual(len(self.symbols), 439)
        self.assertGreater(len(hooked("FEATURE_MEMORY", "FEATURE_COMPUTE", ANY)), 30)

    def test_without_limits_all_are_the_drivers_own(self):
        self.assertEqual(self.check({}, ()), 0)

    def test_with_quota_the_memory_hooks_are_ours(self):
        self.assertGreater(self.check({"MEMORY": "1GiB"}, ("FEATURE_MEMORY", ANY)), 10)

    def test_with_share_the_launch_hooks_are_ours(self):
        self.assertGreater(self.check({"COMPUTE": "50%"}, ("FEATURE_COMPUTE", ANY)), 8)

    def test_with_both_all_hooks_are_ours(self):
        features = ("FEATURE_MEMORY", "FEATURE_COMPUTE", ANY)
        self.assertGreater(self.check({"MEMORY": "1GiB", "COMPUTE": "50%"}, features), 20)

    def test_share_of_all_is_no_feature(self):
        self.assertEqual(self.check({"COMPUTE": "100%"}, ()), 0)


class Errors(harness.Case):
    def said(self, machine, limits):
        """Without the name of the object that glibc blames where a whole scope was searched."""
        where = "one" if harness.SANITIZER else "two"  # it cannot be in two namespaces
        text = self.finished(machine.run(client("errors"), where, limits=limits))
        return re.sub(r" \S*(client_errors|libcuslice\.so):", " OBJECT:", text).splitlines()

    def test_dlerror_is_as_bare(self):
        for limits in ({}, {"MEMORY": "64MiB", "COMPUTE": "50%"}):
            with harness.Machine() as machine:
                bare = self.said(machine, None)
                self.assertEqual(self.said(machine, limits), bare)
            self.assertIn("probe OBJECT: undefined symbol: cuInit", bare)
            self.assertIn("cuNoSuchFunction libcuda.so.1: undefined symbol: cuNoSuchFunction", bare)


if __name__ == "__main__":
    harness.main()
