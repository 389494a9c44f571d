#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What NVML tells of a device's memory is the slice, to a process that uses CUDA and to one that
# does not, where it was started with a limit; else every answer is NVML's own. In MiB.
import harness
from harness import MIB, client, fields

WHOLE = "1024 0 1024"
UUIDS = ["00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb"]


class Nvml(harness.Case):
    clients = ("nvml", "linked_nvml")

    def machine(self, devices=1):
        uuids = {f"device.{i}.uuid": uuid for i, uuid in enumerate(UUIDS[:devices])}
        return harness.Machine(devices=str(devices), context_bytes="0", **uuids)

    def seen(self, machine, what, limits, name="nvml", **environment):
        done = machine.run(client(name), what, limits=limits, **environment)
        return fields(self.finished(done))

    def test_a_process_without_cuda_is_shown_its_settings(self):
        with self.machine(2) as machine:
            for limits, first, second in (
                    ({"MEMORY": "64MiB"}, "64 0 64", "64 0 64"),
                    ({"MEMORY_1": "64MiB"}, WHOLE, "64 0 64"),
                    ({"MEMORY": "50%", "MEMORY_0": "100MiB"}, "100 0 100", "512 0 512"),
                    ({"MEMORY_GPU_" + UUIDS[1].replace("-", "_"): "64MiB"}, WHOLE, "64 0 64"),
                    ({"MEMORY": "4GiB"}, WHOLE, WHOLE)):
                for name in self.clients:
                    with self.subTest(limits=limits, client=name):
                        seen = self.seen(machine, "alone", limits, name)
                        for version in "device_", "device_v2_":
                            self.assertEqual(seen[version + "0"], first)
                            self.assertEqual(seen[version + "1"], second)

    def test_a_process_with_cuda_is_shown_what_it_holds(self):
        with self.machine(2) as machine:
            for name in self.clients:
                seen = self.seen(machine, "with_cuda", {"MEMORY": "64MiB"}, name)
                for version in "", "_v2":
                    self.assertEqual(seen[f"before_init{version}_0"], "64 0 64")
                    self.assertEqual(seen[f"empty{version}_0"], "64 0 64")
                    self.assertEqual(seen[f"held{version}_0"], "64 10 54")
                    self.assertEqual(seen[f"held{version}_1"], "64 0 64")
                    self.assertEqual(seen[f"tightened{version}_0"], "8 8 0")
                    self.assertEqual(seen[f"freed{version}_0"], "8 0 8")

    def test_devices_in_another_order_are_told_apart(self):
        with self.machine(2) as machine:
            seen = self.seen(machine, "with_cuda", {"MEMORY_0": "64MiB", "MEMORY_1": "128MiB"},
                             CUDA_VISIBLE_DEVICES="1,0")
        self.assertEqual((seen["held_0"], seen["held_1"]), ("64 0 64", "128 10 118"))

    def test_a_device_that_cuda_does_not_see_is_shown_by_the_settings(self):
        with self.machine(2) as machine:
            seen = self.seen(machine, "with_cuda", {"MEMORY": "64MiB"}, CUDA_VISIBLE_DEVICES="1")
        self.assertEqual((seen["held_0"], seen["held_1"]), ("64 0 64", "64 10 54"))

    def test_free_is_no_more_than_the_device_has(self):
        with self.machine() as machine:
            neighbour = machine.start(client("views"), "hold", str(1000 * MIB))
            with neighbour:
                neighbour.stdout.readline()
                seen = self.seen(machine, "alone", {"MEMORY": "64MiB"})
                neighbour.stdin.write("\n")
        self.assertEqual(seen["device_0"], "64 0 24")

    def test_errors_are_nvmls(self):
        with self.machine() as machine:
            for name in self.clients:
                bare, limited = (self.seen(machine, "errors", limits, name)
                                 for limits in (None, {"MEMORY": "64MiB"}))
                self.assertEqual(bare, limited)

    def test_a_process_without_a_limit_gets_nvmls_own_functions(self):
        with self.machine() as machine:
            for limits in ({}, {"COMPUTE": "50%"}, {"MEMORY": "64MiB", "DISABLE": "1"}):
                with self.subTest(limits=limits):
                    self.assertEqual(self.seen(machine, "owner", limits)["owner"], "nvml")
                    for name in self.clients:
                        seen = self.seen(machine, "alone", limits, name)
                        self.assertEqual(seen["device_0"], WHOLE)
            self.assertEqual(self.seen(machine, "owner", {"MEMORY": "1MiB"})["owner"], "other")

    def test_settings_that_are_not_understood_show_the_device(self):
        with self.machine() as machine:
            for name in self.clients:
                seen = self.seen(machine, "alone", {"MEMORY": "much"}, name)
                self.assertEqual(seen["device_0"], WHOLE)

    def test_lookups_in_the_global_scope_are_as_without_us(self):
        with self.machine() as machine:
            for limits, shown in (({"MEMORY": "64MiB"}, "64 0 64"), ({}, WHOLE), (None, WHOLE)):
                seen = self.seen(machine, "global", limits)
                self.assertEqual((seen["absent"], seen["error"]), ("1", "1"))
                self.assertEqual((seen["global_0"], seen["program_0"]), (shown, shown))

    def test_threads_may_be_first_at_once(self):
        with self.machine() as machine:
            self.seen(machine, "threads", {"MEMORY": "64MiB"})


if __name__ == "__main__":
    harness.main()
