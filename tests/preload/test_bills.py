#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What calls are billed, against what the machine says that they took. Measures time.
import statistics

import harness
from harness import client

UNIT_NS = 62500
TAKES_NS = {"KERNEL": UNIT_NS, "FILL": UNIT_NS, "COPY": UNIT_NS, "GRAPH": 3 * UNIT_NS, "FREE": 0}
# 64 KiB take the time of the kernel.
SETTINGS = {"kernel.busy": f"{UNIT_NS}ns", "fill_mib_per_ms": "1", "d2d_mib_per_ms": "1"}
COUNT = 128


class Calls(harness.Case):
    """Every call of bills.def, and nothing else in between."""

    def bills(self, machine, *only):
        """Of each call: symbol, variant, kind, billed and taken in ns."""
        done = machine.run(client("bills"), str(COUNT), *only, limits={"COMPUTE": "90%"})
        calls = []
        for line in self.finished(done).splitlines():
            symbol, variant, kind, result, billed_ns = line.split()
            self.assertEqual(result, "0", line)
            calls.append((symbol, variant, kind, int(billed_ns), COUNT * TAKES_NS[kind]))
        return calls

    def part(self, machine, symbol, variant, part):
        """A host that is held up makes one command seem longer, but not each time."""
        for _ in range(5):
            if 0.95 < part < 1.25:
                break
            print(f"{symbol} {variant}: {part:.3f}, once more")
            (*_, billed_ns, taken_ns), = self.bills(machine, symbol, variant)
            part = billed_ns / taken_ns
        return part

    def check(self, devices):
        parts = []
        with harness.Machine(devices=str(devices), **SETTINGS) as machine:
            calls = self.bills(machine)
            account = machine.account()
            # what the calls are said to take is what the machine saw, and it has all of them
            self.assertEqual(sum(taken_ns for *_, taken_ns in calls),
                             sum(row["gpu_time_ns"] for row in account["processes"]))
            self.assertEqual(account["unsupported"], [])
            for symbol, variant, kind, billed_ns, taken_ns in calls:
                with self.subTest(f"{symbol} {variant}"):
                    if kind == "FREE":
                        self.assertEqual(billed_ns, 0)
                        continue
                    parts.append(self.part(machine, symbol, variant, billed_ns / taken_ns))
                    self.assertGreater(parts[-1], 0.95)
                    self.assertLess(parts[-1], 1.25)
        print(f"{len(parts)} calls, billed in parts of what they took: {min(parts):.3f} to "
              f"{max(parts):.3f}, median {statistics.median(parts):.4f}")
        self.assertGreater(statistics.median(parts), 0.99)
        self.assertLess(statistics.median(parts), 1.05)
        return calls

    def test_each_call_is_billed_as_it_took(self):
        calls = self.check(1)
        self.assertGreater(len(calls), 130)

    def test_copies_between_devices_are_free(self):
        calls = self.check(2)
        self.assertGreater(sum(variant == "peer" for _, variant, *_ in calls), 8)


if __name__ == "__main__":
    harness.main()
