#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What a program is told of its device's memory: one story, by which it can live, and in which it
# meets what limiters have been seen to get wrong.
import harness
from harness import MIB, OUT_OF_MEMORY, client, fields

QUOTA = 64 * MIB
OVER = str(OUT_OF_MEMORY)
INVALID_VALUE, NOT_INITIALIZED, INVALID_DEVICE, INVALID_CONTEXT = "1", "3", "101", "201"


class Views(harness.Case):
    def machine(self, **settings):
        return harness.Machine(**{"context_bytes": "0"} | settings)

    def run_client(self, machine, what, quota=QUOTA):
        limits = None if quota is None else {"MEMORY": str(quota)}
        return self.finished(machine.run(client("views"), what, limits=limits))

    def test_total_is_the_smaller_of_quota_and_device(self):
        for quota, device, total in ((QUOTA, 1 << 30, QUOTA), (1 << 40, 1 << 30, 1 << 30),
                                     (1 << 30, 1 << 30, 1 << 30)):
            with self.subTest(quota=quota), self.machine(memory=str(device)) as machine:
                seen = fields(self.run_client(machine, "story", quota))
                for key in "info", "info_v1", "halves", "halves_v1", "total":
                    self.assertEqual(seen[key], f"{total} {total}", key)

    def test_errors_are_the_drivers(self):
        with self.machine() as machine:
            bare, limited = (self.run_client(machine, "story", quota) for quota in (None, QUOTA))
        bare, limited = fields(bare), fields(limited)
        for key in "before_init", "no_context", "untouched", "null", "no_device":
            self.assertEqual(limited[key], bare[key], key)
        self.assertEqual(limited["before_init"], NOT_INITIALIZED)
        self.assertEqual(limited["no_context"], f"{INVALID_CONTEXT} {INVALID_CONTEXT}")
        self.assertEqual(limited["untouched"], "7 7 7")
        self.assertEqual(limited["no_device"], INVALID_DEVICE)

    def test_outputs_may_be_left_out(self):
        with self.machine() as machine:
            seen = fields(self.run_client(machine, "story"))
        self.assertEqual(seen["null"], f"0 0 {INVALID_VALUE}")
        self.assertEqual(seen["halves"], f"{QUOTA} {QUOTA}")

    def test_free_falls_by_what_was_allocated(self):
        with self.machine() as machine:
            seen = fields(self.run_client(machine, "falls"))
        self.assertEqual(seen["linear"], "512")
        self.assertEqual(seen["freed"], "0")
        self.assertEqual(seen["pitched"], f"{1000 * 512} 512")
        self.assertEqual(seen["managed"], str(MIB + 512))
        self.assertEqual(seen["array"], str(64 * 1024))

    def test_sizes_near_2_to_the_64_are_refused(self):
        with self.machine() as machine:
            seen = self.run_client(machine, "odd_sizes")
        sizes = [line for line in seen.splitlines() if line.startswith("size")]
        self.assertEqual(sizes[:5], [f"size {OVER} {OVER} {OVER}"] * 5)
        self.assertEqual(sizes[5], "size " + " ".join([INVALID_VALUE] * 3))
        self.assertEqual(fields(seen)["v1"], OVER)
        self.assertEqual(fields(seen)["null"], " ".join([INVALID_VALUE] * 3))
        self.assertEqual(fields(seen)["untouched"], "42 42 42 42")
        self.assertEqual(fields(seen)["at_end"], str(QUOTA))

    def test_a_narrow_pitched_allocation_costs_what_it_takes(self):
        with self.machine() as machine:
            seen = fields(self.run_client(machine, "odd_sizes"))
        self.assertEqual((seen["narrow"], seen["narrow_v1"]), (OVER, OVER))

    def test_a_program_that_fills_what_it_is_told_gets_all_of_it(self):
        with self.machine() as machine:
            for quota in (QUOTA, 100 * 1000 * 1000 // 512 * 512, 1 << 30):
                with self.subTest(quota=quota):
                    seen = fields(self.run_client(machine, "profile", quota))
                    self.assertEqual((seen["cache"], seen["last"], seen["over"]), ("0", "0", OVER))
                    self.assertIn(int(seen["rest"]), (-512, 0))
                    self.assertEqual(seen["free"], "0")

    def test_free_never_underflows(self):
        with self.machine() as machine:
            seen = fields(self.run_client(machine, "below_what_is_held"))
        self.assertEqual(seen["held"], f"0 {16 * MIB}")
        self.assertEqual(seen["over"], OVER)
        self.assertEqual(seen["freed"], str(16 * MIB))

    def test_free_is_no_more_than_the_device_has(self):
        with self.machine(memory="256MiB") as machine:
            neighbour = machine.start(client("views"), "hold", str(250 * MIB))
            with neighbour:
                neighbour.stdout.readline()
                seen = fields(self.run_client(machine, "story"))
                self.assertEqual(seen["info"], f"{6 * MIB} {QUOTA}")
                neighbour.stdin.write("\n")


if __name__ == "__main__":
    harness.main()
